/* dedupe_test.c - the window holds exactly the last `limit` request ids, whatever was put and evicted before. */
#include "unit/registry/fixture.h"

static bytes id_of(uint32_t i, char out[32]) {
    return bytes_of(out, (size_t)snprintf(out, 32, "request-%u", i));
}

static void put(dedupe_window *w, bytes id, uint64_t affected) {
    dedupe_put(w, 1, id, &(dedupe_answer){.affected = affected, .length = affected + 7, .sequence = affected + 1});
}

static void window(void **state) {
    (void)state;
    enum { LIMIT = 256, PUTS = 5000 };
    dedupe_window w;
    dedupe_init(&w, LIMIT);
    char text[32];
    for (uint32_t i = 0; i < PUTS; i++) {
        put(&w, id_of(i, text), i);
        uint32_t oldest = i + 1 > LIMIT ? i + 1 - LIMIT : 0;
        /* both edges of the window every time, all of it now and then */
        uint32_t from = i % 97 == 0 ? oldest : i;
        for (uint32_t j = from; j <= i; j++) {
            const dedupe_entry *seen = dedupe_find(&w, 1, id_of(j, text));
            assert_non_null(seen);
            assert_int_equal(seen->answer.affected, j);
            assert_int_equal(seen->answer.length, j + 7);
            assert_int_equal(seen->answer.sequence, j + 1);
            assert_ptr_equal(dedupe_at(&w, j - oldest), seen); /* in the order of arrival */
        }
        assert_non_null(dedupe_find(&w, 1, id_of(oldest, text)));
        if (oldest) {
            assert_null(dedupe_find(&w, 1, id_of(oldest - 1, text)));
        }
    }
    dedupe_fini(&w);
}

static void kinds_and_limits(void **state) {
    (void)state;
    dedupe_window w;
    dedupe_init(&w, 64);
    assert_null(dedupe_find(&w, 1, bytes_str("a")));
    put(&w, bytes_str("a"), 1);
    put(&w, bytes_str("a"), 9); /* the first answer stays */
    assert_int_equal(dedupe_find(&w, 1, bytes_str("a"))->answer.affected, 1);
    assert_null(dedupe_find(&w, 2, bytes_str("a")));
    put(&w, (bytes){NULL, 0}, 1);
    assert_null(dedupe_find(&w, 1, (bytes){NULL, 0}));
    char longest[VD_REQUEST_ID_MAX_BYTES + 1];
    memset(longest, 7, sizeof longest);
    OK(dedupe_check_id(bytes_of(longest, VD_REQUEST_ID_MAX_BYTES), NULL));
    FAILS(dedupe_check_id(bytes_of(longest, sizeof longest), NULL), VD_INVALID_ARGUMENT);
    put(&w, bytes_of(longest, VD_REQUEST_ID_MAX_BYTES), 5);
    assert_int_equal(dedupe_find(&w, 1, bytes_of(longest, VD_REQUEST_ID_MAX_BYTES))->answer.affected, 5);
    dedupe_fini(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(window), cmocka_unit_test(kinds_and_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
