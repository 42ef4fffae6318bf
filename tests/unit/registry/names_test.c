/* names_test.c - which names are allowed, and that keys and what they stand for go both ways. */
#include "unit/registry/fixture.h"

static void rules(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t size;
        const char *error; /* NULL: allowed */
    } rows[] = {
        {"t", 1, NULL},
        {"a/b c?d#e%2F", 12, NULL},
        {".hidden", 7, NULL},
        {"...", 3, NULL},
        {"\xC3\xA9", 2, NULL},
        {"\xC2\xA0", 2, NULL},
        {"", 0, "name: must not be empty"},
        {".", 1, "name: must not be \".\" or \"..\""},
        {"..", 2, "name: must not be \".\" or \"..\""},
        {"a\0b", 3, "name: control character at byte 1"},
        {"a\x7F", 2, "name: control character at byte 1"},
        {"\xC2\x85", 2, "name: control character at byte 0"},
        {"a\xFF", 2, "name: not valid UTF-8"},
        {".journal/x", 10, "name: must not begin with \".journal/\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vd_error err = {0};
        vd_status status = registry_name_check(bytes_of(rows[i].name, rows[i].size), &err);
        assert_int_equal(status, rows[i].error ? VD_INVALID_ARGUMENT : VD_OK);
        if (rows[i].error) {
            assert_string_equal(err.text, rows[i].error);
            assert_string_equal(err.field, "name");
        }
    }
    char longest[VD_INDEX_NAME_MAX_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    OK(registry_name_check(bytes_of(longest, VD_INDEX_NAME_MAX_BYTES), NULL));
    vd_error err = {0};
    FAILS(registry_name_check(bytes_of(longest, sizeof longest), &err), VD_INVALID_ARGUMENT);
    assert_string_equal(err.text, "name: at most 200 bytes (got 201)");
}

static void keys(void **state) {
    (void)state;
    char key[FRAME_KEY_MAX];
    bytes name;
    registry_frame_key(bytes_str("a/b.lhv1"), key);
    assert_string_equal(key, "_vectors/a/b.lhv1.lhv1");
    assert_true(registry_parse_frame_key(key, &name));
    assert_true(bytes_equal(name, bytes_str("a/b.lhv1")));
    assert_false(registry_parse_frame_key("_vectors/.lhv1", &name));
    assert_false(registry_parse_frame_key("_vectors/x.txt", &name));
    assert_false(registry_parse_frame_key("other/x.lhv1", &name));

    uint8_t epoch[LHV1_EPOCH_BYTES], got[LHV1_EPOCH_BYTES];
    for (size_t i = 0; i < sizeof epoch; i++) {
        epoch[i] = (uint8_t)(i * 17);
    }
    char journal[JOURNAL_KEY_MAX];
    uint64_t first;
    registry_segment_key(epoch, 0xFEDCBA9876543210u, journal);
    assert_string_equal(journal, "_vectors/.journal/00112233445566778899aabbccddeeff/fedcba9876543210");
    assert_true(registry_parse_journal_key(journal, got, &first));
    assert_memory_equal(got, epoch, sizeof epoch);
    assert_true(first == 0xFEDCBA9876543210u);
    assert_false(registry_parse_frame_key(journal, &name));
    assert_false(registry_parse_journal_key("_vectors/.journal/00/0000000000000001", got, &first));
    assert_false(registry_parse_journal_key("_vectors/.journal/00112233445566778899aabbccddeeff/1", got, &first));
    assert_false(registry_parse_journal_key("_vectors/x.lhv1", got, &first));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rules), cmocka_unit_test(keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
