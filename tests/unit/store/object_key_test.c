/* What may be a key, and its two encodings: each comes back, and nothing else decodes. */
#include "store/object_key.h"
#include "unit/store/check.h"
#include "vectord/limits.h"

static void rules(void **state) {
    (void)state;
    static const struct {
        const char *key;
        size_t size;
        const char *part; /* NULL: a key */
    } cases[] = {
        {"a", 1, NULL},           {"a/b", 3, NULL},      {"a//b/", 5, NULL},      {"...", 3, NULL},
        {"a..b", 4, NULL},        {".", 1, NULL},        {"./a", 3, NULL},        {"..a/b..", 7, NULL},
        {"caf\xC3\xA9", 5, NULL}, {"", 0, "empty"},      {"/a", 2, "begins"},     {"..", 2, "\"..\""},
        {"a/..", 4, "\"..\""},    {"../a", 4, "\"..\""}, {"a/../b", 6, "\"..\""}, {"a\0b", 3, "%00 at byte 1"},
        {"a\nb", 3, "%0A"},       {"\x7f", 1, "%7F"},    {"\xC3", 1, "UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vd_error err = {0};
        vd_status status = object_key_check(bytes_of(cases[i].key, cases[i].size), &err);
        if (status != (cases[i].part ? VD_INVALID_ARGUMENT : VD_OK) ||
            (cases[i].part && !strstr(err.text, cases[i].part))) {
            fail_msg("\"%s\": %s", cases[i].key, err.text);
        }
    }
    static char longest[VD_OBJECT_KEY_MAX_BYTES + 1];
    memset(longest, 'k', sizeof longest);
    OK(object_key_check(bytes_of(longest, VD_OBJECT_KEY_MAX_BYTES), NULL));
    FAILS(object_key_check(bytes_of(longest, VD_OBJECT_KEY_MAX_BYTES + 1), NULL), VD_INVALID_ARGUMENT);
}

static void file_names_come_back(void **state) {
    (void)state;
    int checked = 0;
    for (int a = 1; a < 256; a++) {
        for (int b = 1; b < 256; b++) {
            char key[3] = {(char)a, (char)b, '\0'}, name[16], again[16];
            assert_true(object_key_to_file(bytes_str(key), '~', name, sizeof name));
            assert_null(strchr(name, '/'));
            assert_true(name[0] != '.' && name[0] != '~');
            assert_true(object_key_from_file(name, '~', again, sizeof again));
            assert_string_equal(again, key);
            checked++;
        }
    }
    print_message("%d keys\n", checked);
    char small[4];
    assert_true(object_key_to_file(bytes_str("abc"), 0, small, sizeof small));
    assert_false(object_key_to_file(bytes_str("abcd"), 0, small, sizeof small));
    assert_true(object_key_to_file(bytes_str("/"), 0, small, sizeof small));
    assert_false(object_key_to_file(bytes_str("a/"), 0, small, sizeof small));
    assert_false(object_key_from_file("%00", 0, small, sizeof small));
}

static void url_paths(void **state) {
    (void)state;
    char out[64];
    assert_true(object_key_to_url(bytes_str("_vectors/a b%+?#&=\xC3\xA9~.-"), out, sizeof out));
    assert_string_equal(out, "_vectors/a%20b%25%2B%3F%23%26%3D%C3%A9~.-");
    assert_false(object_key_to_url(bytes_str("abc"), out, 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),
        cmocka_unit_test(file_names_come_back),
        cmocka_unit_test(url_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
