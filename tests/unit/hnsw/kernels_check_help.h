/*
 * kernels_check_help.h - what the checks of the kernels work on: memory between pages that cannot be touched, and kinds
 * of vectors that every rounding, tail and exponent occurs in. All of it comes from a seed: a failure can be had again.
 */
#ifndef VECTORD_TESTS_KERNELS_CHECK_HELP_H
#define VECTORD_TESTS_KERNELS_CHECK_HELP_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- memory between closed pages ---- */

typedef struct room {
    uint8_t *start; /* the page before is closed */
    uint8_t *end;   /* and so is this one */
    size_t page;
} room;

static inline room room_new(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t open = (bytes + page) / page * page;
    uint8_t *all = mmap(NULL, open + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + page, open, PROT_READ | PROT_WRITE) != 0) {
        perror("kernels_check: mmap");
        abort();
    }
    return (room){all + page, all + page + open, page};
}

static inline void room_free(room *r) {
    munmap(r->start - r->page, (size_t)(r->end - r->start) + 2 * r->page);
}

/* The last `bytes` before the closed page, or the first after the other. */
static inline void *place(const room *r, size_t bytes, bool at_end) {
    return at_end ? r->end - bytes : r->start;
}

/* ---- values ---- */

static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 16;
}

static inline uint64_t seed_of(size_t a, size_t b, size_t round) {
    uint64_t state = 0x9E3779B97F4A7C15u ^ (a * 0x100000001B3u) ^ ((uint64_t)b << 40) ^ (round * 0xD1B54A32D192ED03u);
    (void)next_random(&state);
    return state;
}

static inline size_t rounds(void) {
    const char *wish = getenv("VECTORD_TEST_ROUNDS");
    const long n = wish ? strtol(wish, NULL, 10) : 1;
    return n > 0 ? (size_t)n : 1;
}

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline bool same(double a, double b) {
    return memcmp(&a, &b, sizeof a) == 0;
}

/* Kinds of vectors: in [-1, 1); of very different sizes; subnormal; the greatest floats; zeros of both signs; any
 * finite bits. The kinds after these are for restore: one value far above the rest; mostly +0; the same throughout;
 * whole steps and half steps of an even scale, where codes are decided; those of float32 that keep 8 bits only, whose
 * rests are zero. */
enum {
    PLAIN,
    WIDE,
    TINY,
    GREATEST,
    ZEROS,
    ANY_FINITE,
    KINDS,
    ONE_HUGE = KINDS,
    SPARSE,
    CONSTANT,
    HALF_STEPS,
    SHORT,
    ALL
};

static inline float value_of(int kind, uint64_t *state) {
    const uint32_t r = (uint32_t)next_random(state);
    const float plain = (float)(int32_t)r / 2147483648.0f;
    switch (kind) {
    case WIDE:
        return ldexpf(plain, (int)(next_random(state) % 80) - 40);
    case TINY:
        return float_of(r & 0x807fffffu);
    case GREATEST:
        return r & 1 ? FLT_MAX : -FLT_MAX;
    case ZEROS:
        return r & 1 ? 0.0f : -0.0f;
    case ANY_FINITE:
        return (r & 0x7f800000u) == 0x7f800000u ? plain : float_of(r);
    case ONE_HUGE:
        return ldexpf(plain, -30 - (int)(next_random(state) % 90));
    case SPARSE:
        return r % 10 ? 0.0f : (float)(int)(next_random(state) % 9) - 4.0f;
    case HALF_STEPS:
        return (float)((int)(r % 509) - 254) * 0.5f;
    case SHORT:
        return float_of(r & 0xff000000u);
    default:
        return plain;
    }
}

static inline void fill(float *values, size_t count, int kind, uint64_t *state) {
    for (size_t i = 0; i < count; i++) {
        values[i] = kind == CONSTANT && i > 0 ? values[0] : value_of(kind, state);
    }
    if (count > 0 && kind == ONE_HUGE) {
        values[next_random(state) % count] = 1e30f;
    } else if (count > 0 && kind == HALF_STEPS) {
        values[next_random(state) % count] = 127.0f;
    }
}

#define DIMENSION_MAX 2100

/* Every length to 300, where each tail and each turn of a loop occurs; then by 13, prime to all register widths. */
static inline size_t next_dimension(size_t d) {
    if (d < 300) {
        return d + 1;
    }
    return d < DIMENSION_MAX && d + 13 > DIMENSION_MAX ? DIMENSION_MAX : d + 13;
}

#endif
