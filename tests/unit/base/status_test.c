/* status_test.c - the table of statuses is whole, and errors are cut, never overrun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "vectord/status.h"

static void known_answers(void **state) {
    (void)state;
    assert_string_equal(vd_status_text(VD_OK), "ok");
    assert_string_equal(vd_status_name(VD_NOT_FOUND), "NOT_FOUND");
    assert_int_equal(vd_status_http(VD_NOT_FOUND), 404);
    assert_int_equal(vd_status_http(VD_ALREADY_EXISTS), 409);
    assert_int_equal(vd_status_http(VD_TOO_LARGE), 413);
    assert_int_equal(vd_status_rpc(VD_TOO_LARGE), VD_RESOURCE_EXHAUSTED);
    assert_int_equal(vd_status_http(VD_DISK_FULL), 507);
    assert_int_equal(vd_status_http(VD_UNAVAILABLE), 503);
}

static void every_status_has_a_row(void **state) {
    (void)state;
#define CHECK(name, value, rpc, http, text)                                                                            \
    assert_int_equal(VD_##name, value);                                                                                \
    assert_string_equal(vd_status_name(VD_##name), #name);                                                             \
    assert_string_equal(vd_status_text(VD_##name), text);                                                              \
    assert_int_equal(vd_status_rpc(VD_##name), rpc);                                                                   \
    assert_int_equal(vd_status_http(VD_##name), http);                                                                 \
    assert_in_range(rpc, 0, 16);                                                                                       \
    assert_in_range(http, 200, 599);
    VD_STATUS_MAP(CHECK)
#undef CHECK
}

static void a_foreign_value_is_unknown(void **state) {
    (void)state;
    static const int foreign[] = {-1, 17, 31, 38, 1000};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        assert_string_equal(vd_status_name((vd_status)foreign[i]), "UNKNOWN");
        assert_int_equal(vd_status_rpc((vd_status)foreign[i]), 2);
        assert_int_equal(vd_status_http((vd_status)foreign[i]), 500);
    }
}

static void an_error_is_filled_and_cut(void **state) {
    (void)state;
    struct {
        vd_error err;
        char behind[8];
    } s;
    char longest[1000];
    memset(&s, 'x', sizeof s);
    memset(longest, 'y', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(vd_fail(&s.err, VD_INVALID_ARGUMENT, "items[3].vector", "items[%d]: %s", 3, "bad"),
                     VD_INVALID_ARGUMENT);
    assert_int_equal(s.err.status, VD_INVALID_ARGUMENT);
    assert_int_equal(s.err.retry_after_s, 0);
    assert_string_equal(s.err.field, "items[3].vector");
    assert_string_equal(s.err.text, "items[3]: bad");
    assert_int_equal(vd_fail(&s.err, VD_INTERNAL, longest, "%s", longest), VD_INTERNAL);
    assert_int_equal(strlen(s.err.text), sizeof s.err.text - 1);
    assert_int_equal(strlen(s.err.field), sizeof s.err.field - 1);
    assert_memory_equal(s.behind, "xxxxxxxx", 8);
    vd_fail(&s.err, VD_INTERNAL, NULL, "x");
    assert_string_equal(s.err.field, "");
    assert_int_equal(vd_fail(NULL, VD_ABORTED, NULL, "nobody reads this"), VD_ABORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(every_status_has_a_row),
        cmocka_unit_test(a_foreign_value_is_unknown),
        cmocka_unit_test(an_error_is_filled_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
