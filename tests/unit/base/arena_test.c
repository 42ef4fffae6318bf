/* arena_test.c - bump allocation: alignment, limits, reuse, and every allocation failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static void blocks_are_aligned_and_apart(void **state) {
    (void)state;
    arena a;
    arena_init(&a, NULL, 0);
    unsigned char *blocks[300];
    for (size_t i = 0; i < 300; i++) {
        blocks[i] = arena_alloc(&a, i);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i & 0xFF), i);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_int_equal(blocks[i][j], i & 0xFF);
        }
    }
    arena_fini(&a);
    assert_int_equal(a.total_bytes, 0);
}

static void a_large_block_gets_its_own(void **state) {
    (void)state;
    arena a;
    arena_init(&a, NULL, 0);
    char *small = arena_alloc(&a, 10);
    char *large = arena_alloc(&a, 8u << 20);
    assert_true(small && large);
    memset(large, 1, 8u << 20);
    arena_reset(&a); /* must not hold 8 MiB for ever */
    assert_int_equal(a.total_bytes, 0);
    assert_non_null(arena_alloc(&a, 10));
    arena_fini(&a);
}

static void reset_keeps_a_block(void **state) {
    (void)state;
    arena a;
    arena_init(&a, NULL, 0);
    arena_reset(&a);
    void *first = arena_alloc(&a, 100);
    size_t total = a.total_bytes;
    arena_reset(&a);
    assert_ptr_equal(arena_alloc(&a, 100), first);
    assert_int_equal(a.total_bytes, total);
    arena_fini(&a);
    arena_fini(&a);
}

static void the_limit_is_kept(void **state) {
    (void)state;
    arena a;
    arena_init(&a, NULL, 10000);
    size_t got = 0;
    while (arena_alloc(&a, 100)) {
        got += 100;
        assert_true(a.total_bytes <= 10000);
    }
    assert_true(got >= 5000); /* most of the allowance is of use */
    assert_null(arena_alloc(&a, 100000));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 100));
    arena_fini(&a);
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    arena a;
    arena_init(&a, NULL, 0);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 20));
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_null(arena_strndup(&a, "", SIZE_MAX));
    assert_non_null(arena_alloc(&a, 0));
    arena_fini(&a);
}

static void texts(void **state) {
    (void)state;
    arena a;
    arena_init(&a, NULL, 0);
    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    assert_string_equal(arena_strndup(&a, NULL, 0), "");
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 42), "x-42");
    const unsigned char *zeros = arena_calloc(&a, 10, 10);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(zeros[i], 0);
    }
    arena_fini(&a);
}

typedef struct failing {
    int calls, fail_at;
    size_t held;
} failing;

static void *fail_alloc(void *context, size_t size) {
    failing *f = context;
    if (++f->calls == f->fail_at) {
        return NULL;
    }
    f->held += size;
    return malloc(size);
}

static void fail_release(void *context, void *block, size_t size) {
    failing *f = context;
    f->held -= size;
    free(block);
}

static void each_allocation_may_fail(void **state) {
    (void)state;
    for (int i = 1; i <= 6; i++) {
        failing f = {0, i, 0};
        vd_allocator allocator = {&f, fail_alloc, NULL, fail_release};
        arena a;
        arena_init(&a, &allocator, 0);
        int failed = 0;
        for (int n = 0; n < 100; n++) {
            char *p = arena_alloc(&a, 3000);
            if (p) {
                memset(p, 1, 3000);
            } else {
                failed++;
            }
        }
        assert_int_equal(failed, 1); /* and it goes on afterwards */
        arena_fini(&a);
        assert_int_equal(f.held, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(a_large_block_gets_its_own),
        cmocka_unit_test(reset_keeps_a_block),
        cmocka_unit_test(the_limit_is_kept),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(texts),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
