/* metadata_test.c - absent, cleared or set; what is trimmed, what is refused; payload blocks are counted. */
#include "unit/registry/fixture.h"

static void rules(void **state) {
    (void)state;
    static const struct {
        const char *raw;
        metadata_rule rule;
        const char *kept;
    } rows[] = {
        {"", METADATA_KEEP, ""},
        {" \n", METADATA_KEEP, ""},
        {"null", METADATA_KEEP, NULL},
        {" null ", METADATA_KEEP, NULL},
        {"{}", METADATA_CLEAR, NULL},
        {"\t{ \r\n} ", METADATA_CLEAR, NULL},
        {"{\"a\":1}", METADATA_SET, "{\"a\":1}"},
        {"  {\"a\" : 1.50} \n", METADATA_SET, "{\"a\" : 1.50}"},
        {"[]", METADATA_SET, "[]"},
        {"0", METADATA_SET, "0"},
        {"\"x\"", METADATA_SET, "\"x\""},
        {"false", METADATA_SET, "false"},
        {"{\"a\":1,\"a\":2}", METADATA_SET, "{\"a\":1,\"a\":2}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        metadata_rule rule;
        bytes trimmed;
        OK(index_metadata_check(bytes_str(rows[i].raw), &rule, &trimmed, NULL));
        assert_int_equal(rule, rows[i].rule);
        if (rows[i].kept) {
            assert_true(bytes_equal(trimmed, bytes_str(rows[i].kept)));
        }
    }
    metadata_rule rule;
    bytes trimmed;
    OK(index_metadata_check((bytes){NULL, 0}, &rule, &trimmed, NULL));
    assert_int_equal(rule, METADATA_KEEP);
}

static void refused(void **state) {
    (void)state;
    static const char *const rows[] = {"{", "{\"a\":}", "nul", "{} x", "{\"a\":1}}", "'x'", "{\"a\":\"\xFF\"}", "01"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        metadata_rule rule;
        bytes trimmed;
        vd_error err = {0};
        FAILS(index_metadata_check(bytes_str(rows[i]), &rule, &trimmed, &err), VD_INVALID_ARGUMENT);
        assert_memory_equal(err.text, "metadata: ", 10);
    }
}

static void depth_and_size(void **state) {
    (void)state;
    metadata_rule rule;
    bytes trimmed;
    char deep[2 * (VD_METADATA_DEPTH_MAX + 1)];
    memset(deep, '[', VD_METADATA_DEPTH_MAX);
    memset(deep + VD_METADATA_DEPTH_MAX, ']', VD_METADATA_DEPTH_MAX);
    OK(index_metadata_check(bytes_of(deep, 2 * VD_METADATA_DEPTH_MAX), &rule, &trimmed, NULL));
    memset(deep, '[', VD_METADATA_DEPTH_MAX + 1);
    memset(deep + VD_METADATA_DEPTH_MAX + 1, ']', VD_METADATA_DEPTH_MAX + 1);
    FAILS(index_metadata_check(bytes_of(deep, sizeof deep), &rule, &trimmed, NULL), VD_INVALID_ARGUMENT);

    char *large = malloc(VD_METADATA_MAX_BYTES + 1);
    assert_non_null(large);
    memset(large, 'x', VD_METADATA_MAX_BYTES + 1);
    large[0] = '"';
    large[VD_METADATA_MAX_BYTES - 1] = '"';
    OK(index_metadata_check(bytes_of(large, VD_METADATA_MAX_BYTES), &rule, &trimmed, NULL));
    large[VD_METADATA_MAX_BYTES - 1] = 'x';
    large[VD_METADATA_MAX_BYTES] = '"';
    vd_error err = {0};
    FAILS(index_metadata_check(bytes_of(large, VD_METADATA_MAX_BYTES + 1), &rule, &trimmed, &err), VD_INVALID_ARGUMENT);
    assert_string_equal(err.text, "metadata: at most 1048576 bytes (got 1048577)");
    free(large);
}

static void payloads(void **state) {
    (void)state;
    index_payload *payload = index_payload_new(bytes_str("{\"a\":1}"));
    assert_non_null(payload);
    index_payload_retain(payload);
    index_payload_release(NULL, payload);
    assert_true(bytes_equal(index_payload_bytes(payload), bytes_str("{\"a\":1}")));
    index_payload_release(NULL, payload); /* a leak or a double free is for the sanitizer to see */
    index_payload_release(NULL, NULL);
    index_payload_retain(NULL);
    assert_null(index_payload_bytes(NULL).data);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rules), cmocka_unit_test(refused),
                                       cmocka_unit_test(depth_and_size), cmocka_unit_test(payloads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
