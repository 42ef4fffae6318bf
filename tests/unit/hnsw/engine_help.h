/*
 * engine_help.h - what the tests of the engine share: seeded data, an oracle for distances and answers, an allocator that counts
 * and can fail, and fault texts that threads may write (cmocka's asserts are for the main thread alone).
 *
 * The oracle computes distances by the rule that kernels.h documents, element by element, so answers can be compared bit by bit.
 */
#ifndef VECTORD_TESTS_ENGINE_HELP_H
#define VECTORD_TESTS_ENGINE_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/executor.h"
#include "vectord/hnsw.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HELP_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HELP_SANITIZED 1
#endif
#endif
#ifndef HELP_SANITIZED
#define HELP_SANITIZED 0
#endif

/* `normal` of work, `slow` of it under a sanitizer. */
static inline uint32_t help_amount(uint32_t normal, uint32_t slow) {
    return HELP_SANITIZED ? slow : normal;
}
/* VECTORD_TEST_ROUNDS in the environment, 1 without it: how many times as long a test shall look. */
uint32_t help_rounds(void);

/* ---- numbers: xoshiro-free and libm-free, so a seed means the same data everywhere ---- */
typedef struct rng {
    uint64_t state;
} rng;
uint64_t rng_next(rng *r);
uint32_t rng_below(rng *r, uint32_t limit);
double rng_unit(rng *r);  /* [0, 1) */
float rng_normal(rng *r); /* near enough: the sum of 12 uniform numbers less 6 */
uint64_t mix64(uint64_t value);

typedef enum shape { SHAPE_CLUSTERED, SHAPE_UNIFORM, SHAPE_GRID, SHAPE_OFFSET } shape;
/* Fills `count` vectors. CLUSTERED: 50 centres, spread about a third of their distance; UNIFORM: in [-1, 1]; GRID: small whole
 * numbers, so full of ties; OFFSET: a spread of 1 around a point that is 1,000 away. Never all zero. */
void data_fill(rng *r, shape kind, float *out, size_t count, uint32_t dimension);

/* ---- the oracle ---- */
double oracle_distance(vd_metric metric, const float *a, const float *b, uint32_t dimension);
int oracle_id_order(vd_id a, vd_id b);
static inline bool same_bits(double a, double b) {
    return memcmp(&a, &b, sizeof a) == 0;
}

/* ---- a pool of two threads for a group of tests: give both to cmocka_run_group_tests ---- */
extern executor_pool *help_pool;
int help_pool_up(void **state);
int help_pool_down(void **state);

/* ---- indexes ---- */
/* Fails the test with the text when an index cannot be made. */
vd_hnsw *help_new(const vd_hnsw_options *options);
/* Fails the test unless every invariant holds. */
void help_check(vd_hnsw *index, const char *when);
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        vd_error ok_error = {0};                                                                                       \
        vd_error *err = &ok_error;                                                                                     \
        vd_status ok_status = (call);                                                                                  \
        if (ok_status != VD_OK) {                                                                                      \
            fail_msg("%s: %s (%s)", #call, vd_status_name(ok_status), ok_error.text);                                  \
        }                                                                                                              \
    } while (0)

/* Recall by distance at k = 10: the share of hits no further than the exact tenth, over all queries; asks for exact answers
 * itself. `ef` 0: the index's own choice. */
double help_recall(const vd_hnsw *index, const float *queries, uint32_t count, uint32_t dimension, uint32_t ef);

/* ---- an allocator that checks sizes, counts, and fails on demand ---- */
typedef struct fault_allocator {
    vd_allocator face;
    _Atomic int64_t blocks; /* handed out and not released */
    _Atomic int64_t bytes;
    _Atomic uint64_t calls;  /* that ask for memory */
    _Atomic uint64_t failed; /* of them */
    _Atomic int64_t budget;  /* so many calls succeed before all fail; negative: no end */
    _Atomic bool wrong_size; /* a release or resize named another size than was asked for */
} fault_allocator;
void fault_allocator_init(fault_allocator *a);

/* ---- the first fault that any thread found ---- */
typedef struct fault_note {
    _Atomic int taken;
    _Atomic bool ready;
    char text[256];
} fault_note;
void fault_put(fault_note *note, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline bool fault_any(fault_note *note) {
    return atomic_load(&note->taken) != 0;
}
void fault_assert_none(fault_note *note);

#endif
