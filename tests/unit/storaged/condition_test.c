/* If-Match, If-None-Match, Range: what holds, what is nonsense, and that nonsense never lets a change happen. */
#include "storaged/condition.h"
#include "unit/store/check.h"

static void lists_of_tags(void **state) {
    (void)state;
    static const struct {
        const char *match, *none_match;
        const char *etag; /* of what is there; NULL: nothing */
        bool holds;
    } cases[] = {
        {NULL, NULL, NULL, true},
        {NULL, NULL, "aa", true},
        {NULL, "*", NULL, true},
        {NULL, "*", "aa", false},
        {NULL, "*", "", false}, /* damaged is there too */
        {NULL, " * ", "aa", false},
        {NULL, "\"aa\"", "aa", false},
        {NULL, "\"bb\"", "aa", true},
        {NULL, "W/\"aa\"", "aa", false}, /* compared weakly */
        {NULL, "\"x\", \"aa\"", "aa", false},
        {NULL, ",,\"x\",,\"aa\",", "aa", false},
        {NULL, "\"aa\"", NULL, true},
        {"*", NULL, NULL, false},
        {"*", NULL, "aa", true},
        {"*", NULL, "", true}, /* what is damaged may be replaced by who says that something is there */
        {"\"aa\"", NULL, "aa", true},
        {"\"aa\"", NULL, "", false},
        {"\"\"", NULL, "", false}, /* an empty tag is nobody's */
        {"\"aa\"", NULL, NULL, false},
        {"\"bb\"", NULL, "aa", false},
        {"W/\"aa\"", NULL, "aa", false}, /* compared strongly */
        {"\"b\",\t\"aa\"", NULL, "aa", true},
        {"\"a\"", NULL, "aa", false},
        {"\"aa\"", "\"bb\"", "aa", true},
        {"\"aa\"", "*", "aa", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        object_condition c = {cases[i].match, cases[i].none_match};
        OK(condition_check(&c, NULL));
        if (condition_holds(&c, cases[i].etag) != cases[i].holds) {
            fail_msg("case %zu: If-Match %s, If-None-Match %s, there is %s", i, c.if_match ? c.if_match : "-",
                     c.if_none_match ? c.if_none_match : "-", cases[i].etag ? cases[i].etag : "nothing");
        }
    }
}

static void nonsense_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",       " ",       ",",       "aa",       "\"aa",   "aa\"",    "\"aa\" \"bb\"",
                                      "**",     "*,\"a\"", "\"a\",*", "w/\"aa\"", "\"a\"x", "W\"aa\"", "W/",
                                      "\"a\",b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        object_condition match = {bad[i], NULL}, none = {NULL, bad[i]};
        vd_error err;
        FAILS(condition_check(&match, &err), VD_INVALID_ARGUMENT);
        assert_string_equal(err.field, "If-Match");
        FAILS(condition_check(&none, &err), VD_INVALID_ARGUMENT);
        assert_string_equal(err.field, "If-None-Match");
    }
}

static void ranges(void **state) {
    (void)state;
    static const struct {
        const char *value;
        uint64_t size;
        byte_range kind;
        uint64_t offset, length;
    } cases[] = {
        {NULL, 10, RANGE_WHOLE, 0, 10},
        {"bytes=0-9", 10, RANGE_PART, 0, 10},
        {"bytes=0-0", 10, RANGE_PART, 0, 1},
        {"bytes=3-", 10, RANGE_PART, 3, 7},
        {"bytes=3-100", 10, RANGE_PART, 3, 7},
        {"bytes=9-9", 10, RANGE_PART, 9, 1},
        {"bytes=-3", 10, RANGE_PART, 7, 3},
        {"bytes=-30", 10, RANGE_PART, 0, 10},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 10},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 10},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-1", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=999999999999999999-", 10, RANGE_UNSATISFIABLE, 0, 10},
        {"bytes=5-3", 10, RANGE_WHOLE, 0, 10},
        {"bytes=", 10, RANGE_WHOLE, 0, 10},
        {"bytes=-", 10, RANGE_WHOLE, 0, 10},
        {"bytes=a-b", 10, RANGE_WHOLE, 0, 10},
        {"bytes=0-1,3-4", 10, RANGE_WHOLE, 0, 10},
        {"bytes=9999999999999999999999-", 10, RANGE_WHOLE, 0, 10},
        {"lines=0-1", 10, RANGE_WHOLE, 0, 10},
        {"bytes=0-1x", 10, RANGE_WHOLE, 0, 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t offset = 99, length = 99;
        byte_range kind = condition_range(cases[i].value, cases[i].size, &offset, &length);
        if (kind != cases[i].kind || offset != cases[i].offset || length != cases[i].length) {
            fail_msg("%s of %llu: %d %llu+%llu", cases[i].value, (unsigned long long)cases[i].size, (int)kind,
                     (unsigned long long)offset, (unsigned long long)length);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_tags),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
