/*
 * pool_test.c - both ways of taking candidates into a search's pool (src/hnsw/pool.c) leave the same pool, also where distances tie at
 * its edge: which of them stays must not depend on the processor, or the graph would.
 *
 * Few different distances, so that ties are everywhere; batches of every length up to three registers. Distances are also compared
 * with a plain pool's: all of them sorted, cut off at the limit.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hnsw/hnsw_int.h"
#include "unit/hnsw/engine_help.h"

enum { LIMIT_MOST = 70, BATCH_MOST = 48, BATCHES = 40, TAKEN_MOST = BATCHES * BATCH_MOST };

static int by_value(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void pools_are_the_same(pool_function take, uint64_t seed) {
    rng r = {seed};
    const uint32_t limit = 1 + rng_below(&r, LIMIT_MOST);
    const uint32_t distances = 2 + rng_below(&r, 12); /* different ones */
    uint64_t keys[LIMIT_MOST + 32] = {0}, any[LIMIT_MOST + 32] = {0};
    float plain[TAKEN_MOST];
    pool p = {.keys = keys, .limit = limit}, q = {.keys = any, .limit = limit};
    uint32_t taken = 0, slot = 0;
    for (uint32_t batch = 0; batch < BATCHES; batch++) {
        float d[BATCH_MOST + 16];
        uint32_t slots[BATCH_MOST + 16];
        const uint32_t count = 1 + rng_below(&r, BATCH_MOST);
        for (uint32_t i = 0; i < count; i++) {
            d[i] = (float)rng_below(&r, distances);
            slots[i] = (slot++ * 2654435761u) >> 1; /* each once, in no order */
            plain[taken++] = d[i];
        }
        take(&p, INFINITY, d, slots, count);
        pool_take_any(&q, INFINITY, d, slots, count);
        qsort(plain, taken, sizeof plain[0], by_value);
        assert_int_equal(p.size, taken < limit ? taken : limit);
        assert_int_equal(p.size, q.size);
        assert_int_equal(p.next, q.next);
        for (uint32_t i = 0; i < p.size; i++) {
            if (keys[i] != any[i] || key_distance(keys[i]) != plain[i]) {
                fail_msg("seed %llu, limit %u: place %u after batch %u is (%g, %u), not (%g, %u)",
                         (unsigned long long)seed, limit, i, batch, (double)key_distance(keys[i]), key_slot(keys[i]),
                         (double)plain[i], key_slot(any[i]));
            }
        }
        while (p.next < p.size) { /* as a walk goes on: some are expanded, which must not change where others belong */
            const bool expanded = rng_below(&r, 2) == 0;
            p.keys[p.next] |= expanded ? KEY_EXPANDED : 0;
            q.keys[q.next] |= expanded ? KEY_EXPANDED : 0;
            p.next++;
            q.next++;
        }
    }
}

static void the_plain_way(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 400u * help_rounds(); seed++) {
        pools_are_the_same(pool_take_any, seed);
    }
}

static void by_avx512(void **state) {
    (void)state;
#if defined(__x86_64__)
    if (strcmp(vd_hnsw_cpu(), "avx512") == 0) {
        for (uint64_t seed = 1; seed <= 400u * help_rounds(); seed++) {
            pools_are_the_same(pool_take_avx512, seed);
        }
        return;
    }
#endif
    print_message("no AVX-512 here: not compared\n");
    skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_way),
        cmocka_unit_test(by_avx512),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
