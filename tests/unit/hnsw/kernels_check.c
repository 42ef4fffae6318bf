/*
 * kernels_check.c - one set of kernels against the plain C ones.
 *
 * Integers, doubles, codes and maxima must have the same bits; float32 sums must lie within the error bound of their own
 * length around a sum in double. Every buffer a kernel is given ends where its page ends and the next page cannot be
 * touched, so one byte too far, read or written, ends the test with a signal.
 */
#include "kernels_check.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DIMENSION_MAX 2100
#define COUNT_MAX     9
#define PAD_MAX       64

#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        return false;                                                                                                  \
    } while (0)

/* ---- memory with a closed page behind it ---- */

typedef struct guarded {
    uint8_t *start;
    uint8_t *end; /* the closed page */
    size_t mapped;
} guarded;

static guarded guarded_new(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t open = (bytes + page - 1) / page * page;
    guarded g = {.mapped = open + page};
    g.start = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.start == MAP_FAILED || mprotect(g.start + open, page, PROT_NONE) != 0) {
        perror("kernels_check: mmap");
        abort();
    }
    g.end = g.start + open;
    return g;
}

static void guarded_free(guarded *g) {
    munmap(g->start, g->mapped);
}

/* The last `bytes` bytes before the closed page. */
static void *last(const guarded *g, size_t bytes) {
    return g->end - bytes;
}

/* ---- values ---- */

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 16;
}

static uint64_t seed_of(size_t a, size_t b) {
    return 0x9E3779B97F4A7C15u ^ (a * 0x100000001B3u) ^ (b << 40);
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

enum { PLAIN, WIDE, TINY, GREATEST, ZEROS, ANY_FINITE, KINDS };

/* Kinds of vectors: in [-1, 1); of very different sizes; denormal; the greatest floats; zeros of both signs; any bits. */
static float value_of(int kind, uint64_t *state) {
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
    default:
        return plain;
    }
}

static void fill(float *values, size_t count, int kind, uint64_t *state) {
    for (size_t i = 0; i < count; i++) {
        values[i] = value_of(kind, state);
    }
}

/* Every length to 300, where each tail and each turn of a loop occurs; then by 13, prime to all register widths. */
static size_t next_dimension(size_t d) {
    if (d < 300) {
        return d + 1;
    }
    return d < DIMENSION_MAX && d + 13 > DIMENSION_MAX ? DIMENSION_MAX : d + 13;
}

/* Slots in any order, some twice; slot COUNT_MAX - 1, the one that ends at the closed page, is always among the first. */
static void fill_slots(uint32_t *slots, size_t count, uint64_t *state) {
    for (size_t j = 0; j < count; j++) {
        slots[j] = (uint32_t)(next_random(state) % COUNT_MAX);
    }
    if (count > 0) {
        slots[next_random(state) % count] = COUNT_MAX - 1;
    }
}

/* ---- the checks ---- */

enum { CODES_RANDOM, CODES_EXTREME_RANDOM, CODES_GREATEST, CODES_LEAST, CODES_ZERO, CODE_KINDS };

static void fill_codes(int8_t *query, size_t size, uint8_t *codes, size_t code_bytes, int kind, uint64_t *state) {
    static const uint8_t edges[] = {0, 1, 127, 128, 129, 254, 255, 255};
    for (size_t i = 0; i < size; i++) {
        const uint64_t r = next_random(state);
        query[i] = (int8_t)(kind == CODES_RANDOM           ? (int)(r % 256) - 128
                            : kind == CODES_EXTREME_RANDOM ? (int)edges[r % 8] - 128
                            : kind == CODES_LEAST          ? -128
                                                           : 127);
    }
    for (size_t i = 0; i < code_bytes; i++) {
        const uint64_t r = next_random(state);
        codes[i] = (uint8_t)(kind == CODES_RANDOM           ? r % 256
                             : kind == CODES_EXTREME_RANDOM ? edges[r % 8]
                             : kind == CODES_ZERO           ? 0
                                                            : 255);
    }
}

static bool check_dot_codes(const hnsw_kernels *set) {
    guarded query_room = guarded_new(16384);
    guarded code_room = guarded_new(COUNT_MAX * (16384 + 2 * KERNEL_CODE_PAD));
    guarded slot_room = guarded_new(COUNT_MAX * sizeof(uint32_t));
    guarded out_room = guarded_new(COUNT_MAX * sizeof(int32_t));
    for (size_t size = KERNEL_CODE_PAD; size <= 16384; size += size < 2112 ? KERNEL_CODE_PAD : 14272) {
        for (int kind = 0; kind < CODE_KINDS; kind++) {
            uint64_t state = seed_of(size, (size_t)kind);
            const size_t stride = size + next_random(&state) % 3 * KERNEL_CODE_PAD;
            const size_t code_bytes = (COUNT_MAX - 1) * stride + size;
            int8_t *query = last(&query_room, size);
            uint8_t *codes = last(&code_room, code_bytes);
            fill_codes(query, size, codes, code_bytes, kind, &state);
            for (size_t count = 0; count <= COUNT_MAX; count++) {
                uint32_t *slots = last(&slot_room, count * sizeof *slots);
                int32_t *out = last(&out_room, count * sizeof *out);
                int32_t expected[COUNT_MAX];
                fill_slots(slots, count, &state);
                kernels_scalar.dot_codes(query, codes, stride, slots, count, size, expected);
                set->dot_codes(query, codes, stride, slots, count, size, out);
                for (size_t j = 0; j < count; j++) {
                    if (out[j] != expected[j]) {
                        FAIL("%s dot_codes size %zu kind %d count %zu: out[%zu] is %" PRId32 ", not %" PRId32,
                             set->name, size, kind, count, j, out[j], expected[j]);
                    }
                }
            }
        }
    }
    guarded_free(&query_room);
    guarded_free(&code_room);
    guarded_free(&slot_room);
    guarded_free(&out_room);
    return true;
}

typedef void (*score_f32)(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                          size_t dimension, float *out);

/* The sum in double, and how far a float32 sum may be from it. The fewest lanes any set uses is eight, so the longest chain
 * of additions is an eighth of the vector; each rounds by at most half of FLT_EPSILON of the sum of sizes, and so do the
 * few of a product and of adding up the lanes: a whole one is allowed. Denormals round absolutely. */
static double true_score(const float *a, const float *b, size_t dimension, bool squared, double *room) {
    double sum = 0;
    double size = 0;
    for (size_t i = 0; i < dimension; i++) {
        const double d = (double)a[i] - (double)b[i];
        const double term = squared ? d * d : (double)a[i] * (double)b[i];
        sum += term;
        size += fabs(term);
    }
    *room = size * (double)FLT_EPSILON * ((double)dimension / 8 + 16) + (double)FLT_TRUE_MIN * (double)(dimension + 16);
    return sum;
}

static bool check_one_f32(const hnsw_kernels *set, score_f32 score, const char *what, bool squared) {
    guarded query_room = guarded_new(DIMENSION_MAX * sizeof(float));
    guarded vector_room = guarded_new(COUNT_MAX * (DIMENSION_MAX + PAD_MAX) * sizeof(float));
    guarded slot_room = guarded_new(COUNT_MAX * sizeof(uint32_t));
    guarded out_room = guarded_new(COUNT_MAX * sizeof(float));
    for (size_t d = 1; d <= DIMENSION_MAX; d = next_dimension(d)) {
        for (int kind = PLAIN; kind <= TINY; kind++) {
            uint64_t state = seed_of(d, (size_t)kind);
            const size_t stride = d + next_random(&state) % PAD_MAX;
            float *query = last(&query_room, d * sizeof *query);
            const size_t floats = (COUNT_MAX - 1) * stride + d;
            float *vectors = last(&vector_room, floats * sizeof *vectors);
            float first[COUNT_MAX]; /* by slot: what it scored when first seen */
            bool seen[COUNT_MAX] = {false};
            fill(query, d, kind, &state);
            fill(vectors, floats, kind, &state);
            for (size_t count = 0; count <= COUNT_MAX; count++) {
                uint32_t *slots = last(&slot_room, count * sizeof *slots);
                float *out = last(&out_room, count * sizeof *out);
                fill_slots(slots, count, &state);
                score(query, vectors, stride, slots, count, d, out);
                for (size_t j = 0; j < count; j++) {
                    const uint32_t slot = slots[j];
                    if (seen[slot]) {
                        if (bits_of_float(out[j]) != bits_of_float(first[slot])) {
                            FAIL("%s %s d %zu count %zu: %a at place %zu, but %a elsewhere", set->name, what, d, count,
                                 (double)out[j], j, (double)first[slot]);
                        }
                        continue;
                    }
                    double room;
                    const double expected = true_score(query, vectors + slot * stride, d, squared, &room);
                    if (!(fabs((double)out[j] - expected) <= room)) {
                        FAIL("%s %s d %zu kind %d count %zu: out[%zu] is %.9g, not %.9g +- %.3g", set->name, what, d,
                             kind, count, j, (double)out[j], expected, room);
                    }
                    seen[slot] = true;
                    first[slot] = out[j];
                }
            }
        }
    }
    guarded_free(&query_room);
    guarded_free(&vector_room);
    guarded_free(&slot_room);
    guarded_free(&out_room);
    return true;
}

static bool check_dot_f32(const hnsw_kernels *set) {
    return check_one_f32(set, set->dot_f32, "dot_f32", false);
}

static bool check_l2_f32(const hnsw_kernels *set) {
    return check_one_f32(set, set->l2_f32, "l2_f32", true);
}

/* Sums beyond float32 are infinite, not NaN and not something finite: a search then ranks them last. */
static bool check_f32_overflow(const hnsw_kernels *set) {
    float greatest[40];
    float opposite[40];
    const uint32_t slots[5] = {0, 0, 0, 0, 0};
    for (size_t i = 0; i < 40; i++) {
        greatest[i] = FLT_MAX;
        opposite[i] = -FLT_MAX;
    }
    for (size_t d = 1; d <= 40; d++) {
        float dot[5];
        float l2[5];
        set->dot_f32(greatest, opposite, d, slots, 5, d, dot);
        set->l2_f32(greatest, opposite, d, slots, 5, d, l2);
        for (size_t j = 0; j < 5; j++) {
            if (!(isinf(dot[j]) && dot[j] < 0) || !(isinf(l2[j]) && l2[j] > 0)) {
                FAIL("%s f32 d %zu: dot %g, l2 %g of the greatest floats", set->name, d, (double)dot[j], (double)l2[j]);
            }
        }
    }
    return true;
}

static bool check_exact(const hnsw_kernels *set) {
    guarded a_room = guarded_new(DIMENSION_MAX * sizeof(float));
    guarded b_room = guarded_new(DIMENSION_MAX * sizeof(float));
    for (size_t d = 0; d <= DIMENSION_MAX; d = next_dimension(d)) {
        float *a = last(&a_room, d * sizeof *a);
        float *b = last(&b_room, d * sizeof *b);
        for (int kind = 0; kind < KINDS * KINDS; kind++) {
            uint64_t state = seed_of(d, (size_t)kind);
            fill(a, d, kind / KINDS, &state);
            fill(b, d, kind % KINDS, &state);
            const double dot = set->exact_dot(a, b, d);
            const double l2 = set->exact_l2(a, b, d);
            const double dot_expected = kernels_scalar.exact_dot(a, b, d);
            const double l2_expected = kernels_scalar.exact_l2(a, b, d);
            if (bits_of(dot) != bits_of(dot_expected)) {
                FAIL("%s exact_dot d %zu kind %d: %a, not %a", set->name, d, kind, dot, dot_expected);
            }
            if (bits_of(l2) != bits_of(l2_expected)) {
                FAIL("%s exact_l2 d %zu kind %d: %a, not %a", set->name, d, kind, l2, l2_expected);
            }
        }
    }
    guarded_free(&a_room);
    guarded_free(&b_room);
    return true;
}

/* The order of additions that kernels.h writes down, spelled out once more by hand: lane i % 16, then the tree. */
static bool check_exact_order(const hnsw_kernels *set) {
    float a[83];
    float b[83];
    uint64_t state = seed_of(83, 7);
    fill(a, 83, WIDE, &state);
    fill(b, 83, WIDE, &state);
    double l[16] = {0};
    double m[16] = {0};
    for (size_t i = 0; i < 83; i++) {
        volatile double d = (double)a[i] - (double)b[i];
        volatile double square = d * d;
        l[i % 16] += (double)a[i] * (double)b[i];
        m[i % 16] += square;
    }
    const double dot = (((l[0] + l[8]) + (l[4] + l[12])) + ((l[2] + l[10]) + (l[6] + l[14]))) +
                       (((l[1] + l[9]) + (l[5] + l[13])) + ((l[3] + l[11]) + (l[7] + l[15])));
    const double l2 = (((m[0] + m[8]) + (m[4] + m[12])) + ((m[2] + m[10]) + (m[6] + m[14]))) +
                      (((m[1] + m[9]) + (m[5] + m[13])) + ((m[3] + m[11]) + (m[7] + m[15])));
    if (bits_of(set->exact_dot(a, b, 83)) != bits_of(dot) || bits_of(set->exact_l2(a, b, 83)) != bits_of(l2)) {
        FAIL("%s exact: %a and %a, not %a and %a", set->name, set->exact_dot(a, b, 83), set->exact_l2(a, b, 83), dot,
             l2);
    }
    return true;
}

static bool check_max_abs(const hnsw_kernels *set) {
    guarded room = guarded_new(DIMENSION_MAX * sizeof(float));
    for (size_t d = 0; d <= DIMENSION_MAX; d = next_dimension(d)) {
        float *a = last(&room, d * sizeof *a);
        for (int kind = 0; kind < KINDS; kind++) {
            uint64_t state = seed_of(d, (size_t)kind);
            fill(a, d, kind, &state);
            for (int twist = 0; twist < 3; twist++) {
                if (d > 0 && twist > 0) {
                    a[next_random(&state) % d] = twist == 1 ? nanf("") : -INFINITY;
                }
                const float most = set->max_abs(a, d);
                const float expected = kernels_scalar.max_abs(a, d);
                if (bits_of_float(most) != bits_of_float(expected)) {
                    FAIL("%s max_abs d %zu kind %d twist %d: %a, not %a", set->name, d, kind, twist, (double)most,
                         (double)expected);
                }
            }
        }
    }
    /* Each place alone, so that no lane is dropped. */
    for (size_t i = 0; i < 100; i++) {
        float *a = last(&room, 100 * sizeof *a);
        memset(a, 0, 100 * sizeof *a);
        a[i] = -3.0f;
        if (set->max_abs(a, 100) != 3.0f) {
            FAIL("%s max_abs does not see place %zu", set->name, i);
        }
    }
    guarded_free(&room);
    return true;
}

static bool check_one_encode(const hnsw_kernels *set, const float *a, size_t d, float inverse_scale, uint8_t *codes,
                             size_t size, const char *what) {
    uint8_t expected[DIMENSION_MAX + PAD_MAX];
    memset(codes, 0xee, size);
    const int32_t sum = set->encode(a, d, inverse_scale, codes, size);
    const int32_t sum_expected = kernels_scalar.encode(a, d, inverse_scale, expected, size);
    if (sum != sum_expected) {
        FAIL("%s encode of %s d %zu size %zu: sum %" PRId32 ", not %" PRId32, set->name, what, d, size, sum,
             sum_expected);
    }
    for (size_t i = 0; i < size; i++) {
        if (codes[i] != expected[i]) {
            FAIL("%s encode of %s d %zu size %zu: codes[%zu] is %d, not %d", set->name, what, d, size, i, codes[i],
                 expected[i]);
        }
    }
    return true;
}

static bool check_encode(const hnsw_kernels *set) {
    guarded a_room = guarded_new(DIMENSION_MAX * sizeof(float));
    guarded code_room = guarded_new(DIMENSION_MAX + PAD_MAX);
    for (size_t d = 1; d <= DIMENSION_MAX; d = next_dimension(d)) {
        float *a = last(&a_room, d * sizeof *a);
        const size_t sizes[] = {(d + 63) / 64 * 64, d};
        for (size_t s = 0; s < 2; s++) {
            uint8_t *codes = last(&code_room, sizes[s]);
            uint64_t state = seed_of(d, s);
            for (int kind = PLAIN; kind <= WIDE; kind++) {
                fill(a, d, kind, &state);
                const float scale = 127.0f / kernels_scalar.max_abs(a, d);
                if (!check_one_encode(set, a, d, scale, codes, sizes[s], kind == PLAIN ? "plain" : "wide")) {
                    return false;
                }
            }
            /* Halves, where rounding to even and away from zero part; and their neighbours to both sides. */
            for (size_t i = 0; i < d; i++) {
                const float half = (float)((int)(next_random(&state) % 254) - 127) + 0.5f;
                const uint64_t side = next_random(&state) % 3;
                a[i] = side == 0 ? half : nextafterf(half, side == 1 ? 1e9f : -1e9f);
            }
            if (!check_one_encode(set, a, d, 1.0f, codes, sizes[s], "halves")) {
                return false;
            }
            fill(a, d, TINY, &state);
            if (!check_one_encode(set, a, d, 1e30f, codes, sizes[s], "denormals")) {
                return false;
            }
            fill(a, d, GREATEST, &state);
            if (!check_one_encode(set, a, d, 127.0f / FLT_MAX, codes, sizes[s], "greatest") ||
                !check_one_encode(set, a, d, 0.0f, codes, sizes[s], "scale nought")) {
                return false;
            }
        }
    }
    guarded_free(&a_room);
    guarded_free(&code_room);
    return true;
}

/* Known answers, so that the plain kernels the others are held to are not trusted blindly. */
static bool check_known_answers(const hnsw_kernels *set) {
    const float a[6] = {1.0f, -2.0f, 3.0f, 0.5f, -0.5f, 1.5f};
    const float b[6] = {4.0f, 1.0f, -1.0f, 2.0f, 2.0f, 0.0f};
    const uint8_t expected[8] = {129, 126, 131, 128, 128, 130, 128, 128};
    _Alignas(64) int8_t query[64] = {0};
    _Alignas(64) uint8_t codes[128];
    const uint32_t slots[2] = {1, 0};
    uint8_t encoded[8];
    float f32[2];
    int32_t out[2];
    memset(codes, 128, 64);
    memset(codes + 64, 255, 64);
    query[0] = -128;
    query[63] = 127;
    set->dot_codes(query, codes, 64, slots, 2, 64, out);
    set->dot_f32(a, b, 6, (const uint32_t[]){0, 0}, 2, 6, f32);
    if (out[0] != -255 || out[1] != -128 || f32[0] != -1.0f || f32[1] != -1.0f) {
        FAIL("%s: dot_codes %d %d, dot_f32 %g %g", set->name, out[0], out[1], (double)f32[0], (double)f32[1]);
    }
    set->l2_f32(a, b, 6, (const uint32_t[]){0, 0}, 1, 6, f32);
    if (f32[0] != 44.75f || set->exact_l2(a, b, 6) != 44.75 || set->exact_dot(a, b, 6) != -1.0) {
        FAIL("%s: l2_f32 %g exact_l2 %g exact_dot %g", set->name, (double)f32[0], set->exact_l2(a, b, 6),
             set->exact_dot(a, b, 6));
    }
    if (set->max_abs(a, 6) != 3.0f || set->encode(a, 6, 1.0f, encoded, 8) != 4 || memcmp(encoded, expected, 8) != 0) {
        FAIL("%s: max_abs or encode", set->name);
    }
    return true;
}

const kernels_check kernels_checks[] = {
    {"known answers", check_known_answers},
    {"dot_codes: the integers of the plain kernel", check_dot_codes},
    {"dot_f32: within rounding, whatever the place in the batch", check_dot_f32},
    {"l2_f32: within rounding, whatever the place in the batch", check_l2_f32},
    {"f32: beyond the greatest float is infinite", check_f32_overflow},
    {"exact: the bits of the plain kernel", check_exact},
    {"exact: the order of additions of the contract", check_exact_order},
    {"max_abs: the bits of the plain kernel", check_max_abs},
    {"encode: the codes of the plain kernel", check_encode},
};
const size_t kernels_check_count = sizeof kernels_checks / sizeof *kernels_checks;
