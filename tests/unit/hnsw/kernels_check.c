/*
 * kernels_check.c - one set of kernels against the plain C ones, and all of them against the contract spelled out by
 * hand.
 *
 * Everything must have the same bits, floats included. Every buffer a kernel is given ends where its page ends, or
 * starts where its page starts, and the pages beside it cannot be touched: one byte too far, read or written, ends the
 * test with a signal. What a function is not to use is a pointer into nowhere.
 *
 * Scores are compared by slot with those of the plain kernels over all slots at once: so the value of a vector does not
 * depend on its place among the others, nor on how many there are.
 */
#include "kernels_check.h"

#include <inttypes.h>

#include "kernels_check_help.h"

#define SLOTS     9
#define COUNT_MAX 40
#define AHEAD_MAX 70
#define OUT_MAX   48 /* COUNT_MAX up to the next multiple of KERNEL_OUT_PAD */

#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        return false;                                                                                                  \
    } while (0)

static void *const NOWHERE = (void *)(uintptr_t)64;

/* ---- scores, whatever they are of: all counts, with and without slots ahead ---- */

typedef struct score_rooms {
    room slots, ahead, out;
} score_rooms;

static score_rooms score_rooms_new(void) {
    return (score_rooms){room_new(COUNT_MAX * 4), room_new(AHEAD_MAX * 4), room_new(OUT_MAX * 4)};
}

static void score_rooms_free(score_rooms *r) {
    room_free(&r->slots);
    room_free(&r->ahead);
    room_free(&r->out);
}

/* Slots in any order, some twice; the first and the last, beside the closed pages, are among them where there is
 * room. */
static void fill_slots(uint32_t *slots, size_t count, uint64_t *state) {
    for (size_t j = 0; j < count; j++) {
        slots[j] = (uint32_t)(next_random(state) % SLOTS);
    }
    if (count > 0) {
        slots[next_random(state) % count] = SLOTS - 1;
        slots[next_random(state) % count] = 0;
    }
}

/* Every `step`th count. The plain kernels know no turns, and are slow: a few do for them. */
static bool check_counts(const hnsw_kernels *set, const char *what, kernel_score score, const score_rooms *rooms,
                         const kernel_query *q, const kernel_plane *p, const float expected[SLOTS], uint32_t step,
                         uint64_t *state) {
    const uint32_t first = step > 1 ? (uint32_t)(next_random(state) % step) : 0;
    for (uint32_t count = first; count <= COUNT_MAX; count += set == &kernels_scalar ? 10 : step) {
        const uint32_t ahead_count = count % 3 ? (uint32_t)(next_random(state) % (AHEAD_MAX + 1)) : 0;
        const uint32_t padded = (count + KERNEL_OUT_PAD - 1) / KERNEL_OUT_PAD * KERNEL_OUT_PAD;
        const bool at_end = count % 5 != 0;
        uint32_t *slots = place(&rooms->slots, count * sizeof *slots, at_end);
        uint32_t *ahead = place(&rooms->ahead, ahead_count * sizeof *ahead, at_end);
        float *out = place(&rooms->out, padded * sizeof *out, at_end);
        fill_slots(slots, count, state);
        fill_slots(ahead, ahead_count, state);
        memset(out, 0xff, padded * sizeof *out);
        score(q, p, slots, count, ahead_count ? ahead : NULL, ahead_count, out);
        for (uint32_t j = 0; j < count; j++) {
            if (bits_of(out[j]) != bits_of(expected[slots[j]])) {
                FAIL("%s %s stride %zu dimension %zu count %" PRIu32 " ahead %" PRIu32 ": out[%" PRIu32
                     "] is %a, not %a",
                     set->name, what, p->stride, p->dimension, count, ahead_count, j, (double)out[j],
                     (double)expected[slots[j]]);
            }
        }
    }
    return true;
}

/* The numbers beside the vectors: ordinary ones first, then what may not be finite. */
static void fill_numbers(float factor[SLOTS], float norm2[SLOTS], bool strange, uint64_t *state) {
    static const float odd[SLOTS] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-42f, FLT_MAX, -1.0f, FLT_MIN};
    for (size_t j = 0; j < SLOTS; j++) {
        factor[j] = strange ? odd[next_random(state) % SLOTS] : fabsf(value_of(PLAIN, state)) * 0.02f;
        norm2[j] = strange ? odd[next_random(state) % SLOTS] : fabsf(value_of(PLAIN, state)) * 3.0f;
    }
}

/* ---- codes ---- */

enum { CODES_RANDOM, CODES_EDGES, CODES_GREATEST, CODES_LEAST, CODES_ZERO, CODE_KINDS };

static void fill_codes(int8_t *query, size_t size, uint8_t *planes, size_t bytes, int kind, uint64_t *state) {
    static const int edges[8] = {-127, -127, -1, 0, 1, 126, 127, 127};
    static const uint8_t edge_bytes[8] = {0x00, 0xff, 0xff, 0x0f, 0xf0, 0x1e, 0x87, 0x78};
    for (size_t i = 0; i < size; i++) {
        const uint64_t r = next_random(state);
        query[i] = (int8_t)(kind == CODES_RANDOM  ? (int)(r % 255) - 127
                            : kind == CODES_EDGES ? edges[r % 8]
                            : kind == CODES_LEAST ? -127
                                                  : 127);
    }
    for (size_t i = 0; i < bytes; i++) {
        const uint64_t r = next_random(state);
        planes[i] = (uint8_t)(kind == CODES_RANDOM  ? r
                              : kind == CODES_EDGES ? edge_bytes[r % 8]
                              : kind == CODES_ZERO  ? 0
                                                    : 255);
    }
}

static bool check_codes(const hnsw_kernels *set) {
    enum { SIZE_MAX_CODES = 16384 };
    room query_room = room_new(SIZE_MAX_CODES);
    room high_room = room_new((size_t)SLOTS * SIZE_MAX_CODES / 2);
    room low_room = room_new((size_t)SLOTS * SIZE_MAX_CODES / 2);
    room factor_room = room_new(SLOTS * 4);
    room norm_room = room_new(SLOTS * 4);
    score_rooms rooms = score_rooms_new();
    static const uint32_t all[SLOTS] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    bool ok = true;
    for (size_t round = 0; round < rounds(); round++) {
        for (size_t size = KERNEL_LINE_CODES; ok && size <= SIZE_MAX_CODES; size += size < 2176 ? 128 : 14208) {
            for (int kind = 0; ok && kind < CODE_KINDS; kind++) {
                uint64_t state = seed_of(size, (size_t)kind, round);
                const bool at_end = next_random(&state) % 4 != 0;
                const size_t bytes = SLOTS * size / 2;
                int8_t *query = place(&query_room, size, at_end);
                uint8_t *high = place(&high_room, bytes, at_end);
                uint8_t *low = place(&low_room, bytes, at_end);
                float *factor = place(&factor_room, SLOTS * 4, at_end);
                float *norm2 = place(&norm_room, SLOTS * 4, at_end);
                fill_codes(query, size, high, bytes, kind, &state);
                fill_codes(query, size, low, bytes, kind, &state);
                fill_numbers(factor, norm2, kind == CODES_EDGES, &state);
                kernel_query q = {query, NOWHERE, 0, 5.0f * value_of(PLAIN, &state), 0.011f};
                for (size_t i = 0; i < size; i++) {
                    q.code_sum += query[i];
                }
                const kernel_plane both = {high, low, size / 2, 0, factor, norm2};
                const kernel_plane bare = {high, low, size / 2, 0, factor, NULL};
                const kernel_plane high_only = {high, NOWHERE, size / 2, 0, factor, norm2};
                float expected[4][SLOTS];
                kernels_scalar.score_high(&q, &high_only, all, SLOTS, NULL, 0, expected[0]);
                kernels_scalar.score_high(&q, &bare, all, SLOTS, NULL, 0, expected[1]);
                kernels_scalar.score_both(&q, &both, all, SLOTS, NULL, 0, expected[2]);
                kernels_scalar.score_both(&q, &bare, all, SLOTS, NULL, 0, expected[3]);
                ok = check_counts(set, "score_high", set->score_high, &rooms, &q, &high_only, expected[0], 1, &state) &&
                     check_counts(set, "score_high", set->score_high, &rooms, &q, &bare, expected[1], 1, &state) &&
                     check_counts(set, "score_both", set->score_both, &rooms, &q, &both, expected[2], 1, &state) &&
                     check_counts(set, "score_both", set->score_both, &rooms, &q, &bare, expected[3], 1, &state);
            }
        }
    }
    room_free(&query_room);
    room_free(&high_room);
    room_free(&low_room);
    room_free(&factor_room);
    room_free(&norm_room);
    score_rooms_free(&rooms);
    return ok;
}

/* The upper (shift 4) or lower (0) half of component i's code + 128, as the contract places it in a plane. */
static uint32_t nibble_of(const uint8_t *plane, size_t i) {
    const uint8_t byte = plane[i / 128 * 64 + i % 64];
    return i % 128 < 64 ? byte & 15u : (uint32_t)byte >> 4;
}

/* The scores once more, from codes and not from planes, component by component in 64 bits. */
static bool check_code_formula(const hnsw_kernels *set) {
    enum { SIZE = 640 };
    _Alignas(64) int8_t query[SIZE];
    _Alignas(64) int8_t code[2][SIZE];
    _Alignas(64) uint8_t high[SIZE];
    _Alignas(64) uint8_t low[SIZE];
    for (size_t trial = 0; trial < 200 * rounds(); trial++) {
        uint64_t state = seed_of(trial, 1, 0);
        const float factor[2] = {fabsf(value_of(PLAIN, &state)), fabsf(value_of(PLAIN, &state))};
        const float norm2[2] = {value_of(PLAIN, &state) * 1000.0f, 77.0f};
        kernel_query q = {query, NULL, 0, value_of(PLAIN, &state) * 1000.0f, value_of(PLAIN, &state)};
        const kernel_plane p = {high, low, SIZE / 2, SIZE, factor, norm2};
        int64_t dot_high[2] = {0, 0};
        int64_t dot[2] = {0, 0};
        for (size_t i = 0; i < SIZE; i++) {
            query[i] = (int8_t)((int)(next_random(&state) % 255) - 127);
            q.code_sum += query[i];
            for (size_t j = 0; j < 2; j++) {
                code[j][i] = (int8_t)((int)(next_random(&state) % 255) - 127);
                dot[j] += query[i] * code[j][i];
                /* What the upper half says: the middle of its sixteen values, -120, -104 .. 120, in halves of a
                 * step. */
                dot_high[j] += query[i] * (2 * ((code[j][i] + 128) / 16) - 15);
            }
        }
        set->pack(code[0], SIZE, high, low);
        set->pack(code[1], SIZE, high + SIZE / 2, low + SIZE / 2);
        float out[2][KERNEL_OUT_PAD];
        set->score_high(&q, &p, (const uint32_t[]){1, 0}, 2, NULL, 0, out[0]);
        set->score_both(&q, &p, (const uint32_t[]){1, 0}, 2, NULL, 0, out[1]);
        for (size_t j = 0; j < 2; j++) {
            volatile float base = q.base + norm2[j];
            volatile float scale8 = 8 * q.scale;
            volatile float high_scale = scale8 * factor[j];
            volatile float scale = q.scale * factor[j];
            volatile float high_product = (float)dot_high[j] * high_scale;
            volatile float product = (float)dot[j] * scale;
            const float expected_high = base > high_product ? base - high_product : 0.0f;
            const float expected = base > product ? base - product : 0.0f;
            if (bits_of(out[0][1 - j]) != bits_of(expected_high) || bits_of(out[1][1 - j]) != bits_of(expected)) {
                FAIL("%s codes trial %zu: score_high %a, not %a; score_both %a, not %a", set->name, trial,
                     (double)out[0][1 - j], (double)expected_high, (double)out[1][1 - j], (double)expected);
            }
        }
    }
    return true;
}

static bool check_pack(const hnsw_kernels *set) {
    enum { SIZE = 2176 };
    room code_room = room_new(SIZE);
    room high_room = room_new(SIZE / 2);
    room low_room = room_new(SIZE / 2);
    room back_room = room_new(SIZE);
    for (size_t trial = 0; trial < 34 * rounds(); trial++) {
        uint64_t state = seed_of(trial, 2, 0);
        const size_t size = (trial % 17 + 1) * 128;
        int8_t *code = place(&code_room, size, trial & 1);
        int8_t *back = place(&back_room, size, trial & 1);
        uint8_t *high = place(&high_room, size / 2, trial & 1);
        uint8_t *low = place(&low_room, size / 2, trial & 1);
        for (size_t i = 0; i < size; i++) {
            code[i] = (int8_t)((int)(next_random(&state) % 255) - 127);
        }
        set->pack(code, size, high, low);
        set->unpack(high, low, size, back);
        if (set->sum(back, size) != kernels_scalar.sum(back, size)) {
            FAIL("%s sum size %zu: another sum than the scalar one", set->name, size);
        }
        if (memcmp(code, back, size) != 0) {
            FAIL("%s unpack size %zu: not what was packed", set->name, size);
        }
        set->unpack(high, NULL, size, back);
        for (size_t i = 0; i < size; i++) {
            const uint32_t u = (uint32_t)(code[i] + 128);
            if (nibble_of(high, i) != u / 16 || nibble_of(low, i) != u % 16) {
                FAIL("%s pack size %zu: component %zu", set->name, size, i);
            }
            if (back[i] != (int)(u / 16 * 16 + 8) - 128) {
                FAIL("%s unpack size %zu without the lower plane: component %zu is %d", set->name, size, i, back[i]);
            }
        }
    }
    room_free(&code_room);
    room_free(&high_room);
    room_free(&low_room);
    room_free(&back_room);
    return true;
}

/* ---- floats ---- */

enum { AS_F32, AS_F16, AS_BF16 };

typedef struct float_kernel {
    const char *what;
    size_t at; /* in the table */
    int as;
    bool squared;
} float_kernel;

static const float_kernel float_kernels[] = {
    {"dot_f32", offsetof(hnsw_kernels, dot_f32), AS_F32, false},
    {"l2_f32", offsetof(hnsw_kernels, l2_f32), AS_F32, true},
    {"dot_f16", offsetof(hnsw_kernels, dot_f16), AS_F16, false},
    {"l2_f16", offsetof(hnsw_kernels, l2_f16), AS_F16, true},
    {"dot_bf16", offsetof(hnsw_kernels, dot_bf16), AS_BF16, false},
    {"l2_bf16", offsetof(hnsw_kernels, l2_bf16), AS_BF16, true},
};
#define FLOAT_KERNELS (sizeof float_kernels / sizeof *float_kernels)

static kernel_score score_of(const hnsw_kernels *set, const float_kernel *f) {
    kernel_score score;
    memcpy(&score, (const char *)set + f->at, sizeof score);
    return score;
}

/* Halves of PLAIN are random bits without infinities, those of GREATEST have these and NaNs as well. */
static void fill_stored(uint8_t *stored, size_t count, int as, int kind, uint64_t *state) {
    for (size_t i = 0; i < count; i++) {
        const float value = value_of(kind, state);
        uint16_t half = (uint16_t)(as == AS_BF16 && kind != GREATEST ? bits_of(value) >> 16 : next_random(state));
        if (as == AS_F16 && kind != GREATEST && (half & 0x7c00u) == 0x7c00u) {
            half &= 0x83ffu;
        }
        if (as == AS_F32) {
            memcpy(stored + i * 4, &value, 4);
        } else {
            memcpy(stored + i * 2, &half, 2);
        }
    }
}

static bool check_floats(const hnsw_kernels *set) {
    room query_room = room_new(DIMENSION_MAX * 4);
    room stored_room = room_new((size_t)SLOTS * (DIMENSION_MAX + 64) * 4);
    room factor_room = room_new(SLOTS * 4);
    score_rooms rooms = score_rooms_new();
    static const uint32_t all[SLOTS] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    bool ok = true;
    for (size_t round = 0; round < rounds(); round++) {
        for (size_t d = 1; ok && d <= DIMENSION_MAX; d = next_dimension(d)) {
            for (size_t n = 0; ok && n < FLOAT_KERNELS; n++) {
                const float_kernel *f = &float_kernels[n];
                uint64_t state = seed_of(d, n, round);
                const int kind = (int)((d + n + round) % KINDS);
                const bool at_end = next_random(&state) % 4 != 0;
                const size_t size = f->as == AS_F32 ? 4 : 2;
                const size_t stride = (d + next_random(&state) % 64) * size;
                const size_t bytes = (SLOTS - 1) * stride + d * size;
                float *query = place(&query_room, d * 4, at_end);
                uint8_t *stored = place(&stored_room, bytes, at_end);
                float *factor = place(&factor_room, SLOTS * 4, at_end);
                float norm2[SLOTS];
                fill(query, d, kind, &state);
                fill_stored(stored, bytes / size, f->as, kind, &state);
                fill_numbers(factor, norm2, kind == ANY_FINITE, &state);
                const bool scaled = !f->squared || f->as == AS_F16;
                const kernel_query q = {NOWHERE, query, 12345, 1.0f, 0.5f};
                const kernel_plane p = {stored, NOWHERE, stride, d, scaled ? factor : NOWHERE, NOWHERE};
                float expected[SLOTS];
                score_of(&kernels_scalar, f)(&q, &p, all, SLOTS, NULL, 0, expected);
                ok = check_counts(set, f->what, score_of(set, f), &rooms, &q, &p, expected, d <= 40 ? 1 : 7, &state);
            }
        }
    }
    room_free(&query_room);
    room_free(&stored_room);
    room_free(&factor_room);
    score_rooms_free(&rooms);
    return ok;
}

/* The order of additions that kernels.h writes down, spelled out: lane i % 16, then the tree. */
static float tree_f32(const float l[16]) {
    return (((l[0] + l[8]) + (l[4] + l[12])) + ((l[2] + l[10]) + (l[6] + l[14]))) +
           (((l[1] + l[9]) + (l[5] + l[13])) + ((l[3] + l[11]) + (l[7] + l[15])));
}

static double tree_f64(const double l[16]) {
    return (((l[0] + l[8]) + (l[4] + l[12])) + ((l[2] + l[10]) + (l[6] + l[14]))) +
           (((l[1] + l[9]) + (l[5] + l[13])) + ((l[3] + l[11]) + (l[7] + l[15])));
}

/* binary16 by its definition: sign, 5 bits of exponent, 10 of fraction. */
static float f16_value(uint16_t half) {
    const int exponent = half >> 10 & 31;
    const int fraction = half & 1023;
    const float magnitude =
        exponent == 0 ? ldexpf((float)fraction, -24) : ldexpf((float)(1024 + fraction), exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

static float stored_value(const uint8_t *stored, size_t i, int as) {
    uint32_t bits;
    uint16_t half;
    memcpy(&half, stored + i * 2, 2);
    if (as == AS_F16) {
        return f16_value(half);
    }
    bits = (uint32_t)half << 16;
    if (as == AS_F32) {
        memcpy(&bits, stored + i * 4, 4);
    }
    return float_of(bits);
}

/* The scores once more by hand; volatile, so that no compiler fuses a multiply and an add here. */
static bool check_float_formula(const hnsw_kernels *set) {
    enum { D = 83 };
    for (size_t trial = 0; trial < 300 * rounds(); trial++) {
        for (size_t n = 0; n < FLOAT_KERNELS; n++) {
            const float_kernel *f = &float_kernels[n];
            uint64_t state = seed_of(trial, n, 3);
            float query[D];
            _Alignas(4) uint8_t stored[D * 4];
            fill(query, D, trial % 2 ? WIDE : PLAIN, &state);
            fill_stored(stored, f->as == AS_F32 ? D : 2 * D, f->as, trial % 2 ? WIDE : PLAIN, &state);
            const float factor = value_of(PLAIN, &state);
            const kernel_query q = {NULL, query, 0, value_of(PLAIN, &state) * 100.0f, value_of(PLAIN, &state)};
            const kernel_plane p = {stored, NULL, sizeof stored, D, &factor, NULL};
            float lane[16] = {0};
            for (size_t i = 0; i < D; i++) {
                const float x = stored_value(stored, i, f->as);
                volatile float scaled = f->as == AS_F16 ? x * factor : x;
                volatile float difference = query[i] - scaled;
                volatile float square = difference * difference;
                volatile float product = query[i] * x;
                lane[i % 16] += f->squared ? square : product;
            }
            const float sum = tree_f32(lane);
            volatile float scale = q.scale * factor;
            volatile float product = sum * scale;
            float expected = f->squared ? sum : q.base - product;
            expected = expected > 0 ? expected : 0.0f;
            float out[KERNEL_OUT_PAD];
            score_of(set, f)(&q, &p, (const uint32_t[]){0}, 1, NULL, 0, out);
            if (bits_of(out[0]) != bits_of(expected)) {
                FAIL("%s %s trial %zu: %a, not %a", set->name, f->what, trial, (double)out[0], (double)expected);
            }
        }
    }
    return true;
}

/* Each of the 65536 halves, as the square of its distance from zero: the conversion is the reference's, subnormals and
 * all. */
static bool check_halves(const hnsw_kernels *set) {
    const float zero = 0.0f;
    const float factor = 1.0f;
    const kernel_query q = {NULL, &zero, 0, 0.0f, 0.0f};
    for (uint32_t half = 0; half < 65536; half++) {
        const uint16_t stored = (uint16_t)half;
        const kernel_plane p = {(const uint8_t *)&stored, NULL, 2, 1, &factor, NULL};
        const float x = f16_value(stored);
        const float y = float_of(half << 16);
        const bool finite = (half >> 10 & 31) != 31;
        float out[KERNEL_OUT_PAD];
        set->l2_f16(&q, &p, (const uint32_t[]){0}, 1, NULL, 0, out);
        const float expected16 = finite ? x * x : half & 1023u ? 0.0f : INFINITY; /* a NaN is +0 */
        if (bits_of(out[0]) != bits_of(expected16)) {
            FAIL("%s l2_f16 of %04" PRIx32 ": %a, not %a", set->name, half, (double)out[0], (double)expected16);
        }
        set->l2_bf16(&q, &p, (const uint32_t[]){0}, 1, NULL, 0, out);
        const float expected = isnan(y) ? 0.0f : y * y;
        if (bits_of(out[0]) != bits_of(expected)) {
            FAIL("%s l2_bf16 of %04" PRIx32 ": %a, not %a", set->name, half, (double)out[0], (double)expected);
        }
    }
    return true;
}

static bool check_exact(const hnsw_kernels *set) {
    room a_room = room_new(DIMENSION_MAX * 4);
    room b_room = room_new(DIMENSION_MAX * 4);
    for (size_t round = 0; round < rounds(); round++) {
        for (size_t d = 0; d <= DIMENSION_MAX; d = next_dimension(d)) {
            float *a = place(&a_room, d * 4, d % 4);
            float *b = place(&b_room, d * 4, d % 4);
            for (int kind = 0; kind < KINDS * KINDS; kind += 1 + (d > 300)) {
                uint64_t state = seed_of(d, (size_t)kind, round);
                fill(a, d, kind / KINDS, &state);
                fill(b, d, kind % KINDS, &state);
                double dot[16] = {0};
                double l2[16] = {0};
                for (size_t i = 0; i < d; i++) {
                    volatile double difference = (double)a[i] - (double)b[i];
                    volatile double square = difference * difference;
                    volatile double product = (double)a[i] * (double)b[i];
                    dot[i % 16] += product;
                    l2[i % 16] += square;
                }
                if (!same(set->exact_dot(a, b, d), tree_f64(dot)) || !same(set->exact_l2(a, b, d), tree_f64(l2))) {
                    FAIL("%s exact d %zu kind %d: dot %a, not %a; l2 %a, not %a", set->name, d, kind,
                         set->exact_dot(a, b, d), tree_f64(dot), set->exact_l2(a, b, d), tree_f64(l2));
                }
            }
        }
    }
    room_free(&a_room);
    room_free(&b_room);
    return true;
}

/* ---- to codes and back ---- */

static bool check_max_abs(const hnsw_kernels *set) {
    room a_room = room_new(DIMENSION_MAX * 4);
    for (size_t d = 0; d <= DIMENSION_MAX; d = next_dimension(d)) {
        float *a = place(&a_room, d * 4, d % 4);
        for (int kind = 0; kind < 2 * KINDS; kind++) {
            uint64_t state = seed_of(d, (size_t)kind, 4);
            fill(a, d, kind % KINDS, &state);
            if (d > 0 && kind >= KINDS) { /* a NaN of either sign, and an infinity, somewhere */
                a[next_random(&state) % d] = next_random(&state) & 1 ? NAN : -NAN;
                a[next_random(&state) % d] = next_random(&state) & 1 ? -INFINITY : NAN;
            }
            float most = 0;
            for (size_t i = 0; i < d; i++) {
                most = fabsf(a[i]) > most ? fabsf(a[i]) : most;
            }
            if (bits_of(set->max_abs(a, d)) != bits_of(most)) {
                FAIL("%s max_abs d %zu kind %d: %a, not %a", set->name, d, kind, (double)set->max_abs(a, d),
                     (double)most);
            }
        }
    }
    for (size_t i = 0; i < 100; i++) { /* each place alone, so that no lane is dropped */
        float *a = place(&a_room, 400, true);
        memset(a, 0, 400);
        a[i] = -3.0f;
        if (set->max_abs(a, 100) != 3.0f) {
            FAIL("%s max_abs does not see place %zu", set->name, i);
        }
    }
    room_free(&a_room);
    return true;
}

static bool check_one_quantize(const hnsw_kernels *set, const float *a, size_t d, float inverse, int8_t *code,
                               size_t size, const char *what) {
    int32_t expected_sum = 0;
    memset(code, 0x55, size);
    const int32_t sum = set->quantize(a, d, inverse, code, size);
    for (size_t i = 0; i < size; i++) {
        volatile float product = i < d ? a[i] * inverse : 0.0f;
        const int expected = (int)rintf(product);
        expected_sum += expected;
        if (code[i] != expected) {
            FAIL("%s quantize of %s d %zu size %zu: code[%zu] of %a is %d, not %d", set->name, what, d, size, i,
                 (double)product, code[i], expected);
        }
    }
    if (sum != expected_sum) {
        FAIL("%s quantize of %s d %zu: sum %" PRId32 ", not %" PRId32, set->name, what, d, sum, expected_sum);
    }
    return true;
}

static bool check_quantize(const hnsw_kernels *set) {
    room a_room = room_new(DIMENSION_MAX * 4);
    room code_room = room_new(DIMENSION_MAX + KERNEL_LINE_CODES);
    bool ok = true;
    for (size_t d = 1; ok && d <= DIMENSION_MAX; d = next_dimension(d)) {
        float *a = place(&a_room, d * 4, d % 4);
        const size_t sizes[] = {(d + 127) / 128 * 128, d, d + 1};
        for (size_t s = 0; ok && s < 3; s++) {
            int8_t *code = place(&code_room, sizes[s], d % 4);
            uint64_t state = seed_of(d, s, 5);
            for (int kind = PLAIN; ok && kind <= WIDE; kind++) {
                fill(a, d, kind, &state);
                ok = check_one_quantize(set, a, d, 127.0f / kernels_scalar.max_abs(a, d), code, sizes[s], "plain");
            }
            /* Halves, where rounding to even and away from zero part; and their neighbours to both sides. */
            for (size_t i = 0; i < d; i++) {
                const float half = (float)((int)(next_random(&state) % 253) - 126) + 0.5f;
                const uint64_t side = next_random(&state) % 3;
                a[i] = side == 0 ? half : nextafterf(half, side == 1 ? 1e9f : -1e9f);
            }
            ok = ok && check_one_quantize(set, a, d, 1.0f, code, sizes[s], "halves");
            fill(a, d, TINY, &state);
            ok = ok && check_one_quantize(set, a, d, 1e30f, code, sizes[s], "subnormals");
            fill(a, d, GREATEST, &state);
            ok = ok && check_one_quantize(set, a, d, 127.0f / FLT_MAX, code, sizes[s], "greatest") &&
                 check_one_quantize(set, a, d, 0.0f, code, sizes[s], "scale nought");
        }
    }
    room_free(&a_room);
    room_free(&code_room);
    return ok;
}

typedef struct restore_rooms {
    room code, rest16, rest8, exceptions, out;
} restore_rooms;

typedef struct encoded {
    int8_t *code;
    uint16_t *rest16;
    uint8_t *rest8;
    uint8_t *exceptions;
    float *out;
    size_t exception_count;
} encoded;

static encoded encoded_at(const restore_rooms *r, size_t d, size_t exception_count, bool at_end) {
    return (encoded){
        place(&r->code, (d + 127) / 128 * 128, at_end), place(&r->rest16, d * 2, at_end), place(&r->rest8, d, at_end),
        place(&r->exceptions, exception_count, at_end), place(&r->out, d * 4, at_end),    exception_count};
}

/* Whether value i of code zero has a byte among the exceptions. */
static bool takes(const encoded *e, size_t i, bool sparse) {
    return e->code[i] == 0 && !(sparse && e->rest16[i] == 0 && e->rest8[i] == 0);
}

static bool same_floats(const hnsw_kernels *set, const char *what, size_t d, const encoded *e, const float *expected) {
    for (size_t i = 0; i < d; i++) {
        if (bits_of(e->out[i]) != bits_of(expected[i])) {
            FAIL("%s restore of %s d %zu: value %zu of code %d is %a, not %a", set->name, what, d, i, e->code[i],
                 (double)e->out[i], (double)expected[i]);
        }
    }
    return true;
}

/* An encoder: what comes back must be what went in, bit for bit. Where the reciprocal of the scale is no float, and for
 * zeros alone, all codes are zero and all upper bytes exceptions. */
static bool check_one_round_trip(const hnsw_kernels *set, const restore_rooms *rooms, const float *a, size_t d,
                                 bool sparse, bool at_end) {
    int8_t code[DIMENSION_MAX + KERNEL_LINE_CODES];
    const size_t size = (d + 127) / 128 * 128;
    const float most = set->max_abs(a, d);
    const float scale = most / 127.0f;
    const float inverse = 127.0f / most;
    memset(code, 0, size);
    if (isfinite(inverse)) {
        set->quantize(a, d, inverse, code, size);
    }
    encoded e = encoded_at(rooms, d, 0, at_end);
    memcpy(e.code, code, size);
    for (size_t i = 0; i < d; i++) {
        const uint32_t bits = bits_of(a[i]);
        e.rest16[i] = (uint16_t)bits;
        e.rest8[i] = (uint8_t)(bits >> 16);
        if (code[i] == 0 && (bits & 0xffffffu) == 0 && bits != 0) {
            sparse = false; /* such a value could not be told from +0 */
        }
    }
    for (size_t i = 0; i < d; i++) {
        e.exception_count += takes(&e, i, sparse);
    }
    e.exceptions = place(&rooms->exceptions, e.exception_count, at_end);
    for (size_t i = 0, n = 0; i < d; i++) {
        if (takes(&e, i, sparse)) {
            e.exceptions[n++] = (uint8_t)(bits_of(a[i]) >> 24);
        }
    }
    memset(e.out, 0x55, d * 4);
    set->restore(e.code, e.rest16, e.rest8, scale, e.exception_count ? e.exceptions : NULL, sparse, d, e.out);
    return same_floats(set, sparse ? "sparse values" : "values", d, &e, a);
}

/* The contract in 64 bits: of all numbers that end in the 24 bits, the one in [r - 2^23, r + 2^23). */
static float restored(int8_t code, uint32_t rest24, float scale) {
    volatile float product = (float)abs(code) * scale;
    const int64_t r = (int64_t)bits_of(product) - 0x100000;
    int64_t v = (int64_t)rest24 - 0x2000000;
    while (v < r - 0x800000) {
        v += 0x1000000;
    }
    return float_of(((uint32_t)v & 0x7fffffffu) | (code < 0 ? 0x80000000u : 0));
}

/* Any codes, any rests, any scale: what no encoder would write must still be the same everywhere. */
static bool check_one_nonsense(const hnsw_kernels *set, const restore_rooms *rooms, size_t d, bool sparse, bool at_end,
                               uint64_t *state) {
    const encoded e = encoded_at(rooms, d, d, at_end);
    float expected[DIMENSION_MAX];
    const float scale = fabsf(value_of(next_random(state) & 1 ? ANY_FINITE : PLAIN, state)) / 127.0f;
    size_t n = 0;
    for (size_t i = 0; i < d; i++) {
        const uint64_t r = next_random(state);
        e.code[i] = (int8_t)(r % 7 == 0 ? 0 : (int)(r % 255) - 127);
        uint32_t rest24 = (uint32_t)(r >> 8) & ((r >> 32 & 1 ? 0xffffu : 0) | (r >> 33 & 1 ? 0xff0000u : 0));
        if (r % 5 == 0) { /* as far from r as can be, where the nearest changes sides */
            volatile float product = (float)abs(e.code[i]) * scale;
            rest24 = (bits_of(product) - 0x100000 + 0x7fffff + (uint32_t)(r >> 40 & 3)) & 0xffffff;
        }
        e.rest16[i] = (uint16_t)rest24;
        e.rest8[i] = (uint8_t)(rest24 >> 16);
        e.exceptions[i] = (uint8_t)next_random(state);
    }
    for (size_t i = 0; i < d; i++) {
        const uint32_t rest24 = e.rest16[i] | (uint32_t)e.rest8[i] << 16;
        expected[i] = e.code[i] != 0         ? restored(e.code[i], rest24, scale)
                      : takes(&e, i, sparse) ? float_of(rest24 | (uint32_t)e.exceptions[n++] << 24)
                                             : 0.0f;
    }
    set->restore(e.code, e.rest16, e.rest8, scale, e.exceptions, sparse, d, e.out);
    return same_floats(set, "nonsense", d, &e, expected);
}

static bool check_restore(const hnsw_kernels *set) {
    restore_rooms rooms = {room_new(DIMENSION_MAX + KERNEL_LINE_CODES), room_new(DIMENSION_MAX * 2),
                           room_new(DIMENSION_MAX), room_new(DIMENSION_MAX), room_new(DIMENSION_MAX * 4)};
    float a[DIMENSION_MAX];
    bool ok = true;
    for (size_t round = 0; round < rounds(); round++) {
        for (size_t d = 1; ok && d <= DIMENSION_MAX; d = next_dimension(d)) {
            for (int kind = 0; ok && kind < ALL; kind++) {
                uint64_t state = seed_of(d, (size_t)kind, 6 + round);
                fill(a, d, kind, &state);
                ok = check_one_round_trip(set, &rooms, a, d, kind % 2, d % 4) &&
                     check_one_round_trip(set, &rooms, a, d, kind % 2 == 0, true) &&
                     check_one_nonsense(set, &rooms, d, kind % 2, d % 4, &state);
            }
        }
    }
    room_free(&rooms.code);
    room_free(&rooms.rest16);
    room_free(&rooms.rest8);
    room_free(&rooms.exceptions);
    room_free(&rooms.out);
    return ok;
}

/* Every exponent, each with the fractions at its edges, beside a greatest value of each nearness to it. */
static bool check_restore_exponents(const hnsw_kernels *set) {
    static const uint32_t fractions[] = {0, 1, 0x3fffff, 0x400000, 0x400001, 0x7ffffe, 0x7fffff, 0x123456};
    restore_rooms rooms = {room_new(128), room_new(32), room_new(16), room_new(16), room_new(64)};
    bool ok = true;
    for (uint32_t exponent = 0; ok && exponent < 255; exponent++) {
        for (uint32_t above = 0; ok && above < 12 && exponent + above < 255; above++) {
            for (size_t n = 0; ok && n < 8; n++) {
                float a[16];
                for (size_t i = 0; i < 16; i++) {
                    a[i] = float_of(exponent << 23 | fractions[i % 8] | (i < 8 ? 0 : 0x80000000u));
                }
                a[(exponent + n) % 16] = float_of((exponent + above) << 23 | fractions[n]);
                ok = check_one_round_trip(set, &rooms, a, 16, n % 2, true);
            }
        }
    }
    room_free(&rooms.code);
    room_free(&rooms.rest16);
    room_free(&rooms.rest8);
    room_free(&rooms.exceptions);
    room_free(&rooms.out);
    return ok;
}

/* Answers worked out on paper, so that no reference is trusted blindly. */
static bool check_known_answers(const hnsw_kernels *set) {
    const float a[6] = {1.0f, -2.0f, 3.0f, 0.5f, -0.5f, 1.5f};
    const float b[6] = {4.0f, 1.0f, -1.0f, 2.0f, 2.0f, 0.0f};
    const int8_t expected[8] = {1, -2, 3, 0, 0, 2, 0, 0};
    const float two[1] = {2.0f};
    int8_t code[8];
    float out[KERNEL_OUT_PAD];
    const kernel_query q = {NULL, a, 0, 10.0f, 0.5f};
    const kernel_plane p = {(const uint8_t *)b, NULL, sizeof b, 6, two, NULL};
    set->dot_f32(&q, &p, (const uint32_t[]){0}, 1, NULL, 0, out); /* 10 - -1 * (0.5 * 2) */
    if (out[0] != 11.0f || set->exact_dot(a, b, 6) != -1.0) {
        FAIL("%s: dot_f32 %g exact_dot %g", set->name, (double)out[0], set->exact_dot(a, b, 6));
    }
    set->l2_f32(&q, &p, (const uint32_t[]){0}, 1, NULL, 0, out); /* 9 + 9 + 16 + 2.25 + 6.25 + 2.25 */
    if (out[0] != 44.75f || set->exact_l2(a, b, 6) != 44.75) {
        FAIL("%s: l2_f32 %g exact_l2 %g", set->name, (double)out[0], set->exact_l2(a, b, 6));
    }
    if (set->max_abs(a, 6) != 3.0f || set->quantize(a, 6, 1.0f, code, 8) != 4 || memcmp(code, expected, 8) != 0) {
        FAIL("%s: max_abs or quantize", set->name);
    }
    /* Codes 100 and -28 (u = 228 = 0xe4, 100 = 0x64) in places 0 and 64 share the bytes 0x6e and 0x44. */
    _Alignas(64) int8_t vector[128] = {100};
    _Alignas(64) int8_t query[128] = {3};
    _Alignas(64) uint8_t high[64];
    _Alignas(64) uint8_t low[64];
    vector[64] = -28;
    query[64] = -2;
    set->pack(vector, 128, high, low);
    const kernel_query qc = {query, NULL, 1, 1000.0f, 0.5f};
    const kernel_plane pc = {high, low, 64, 0, two, two};
    set->score_both(&qc, &pc, (const uint32_t[]){0}, 1, NULL, 0, out); /* 1000 + 2 - (300 + 56) * (0.5 * 2) */
    const float both = out[0];
    set->score_high(&qc, &pc, (const uint32_t[]){0}, 1, NULL, 0, out); /* 1002 - (2 * (3 * 14 - 2 * 6) - 15) * 8 */
    if (high[0] != 0x6e || low[0] != 0x44 || high[1] != 0x88 || low[1] != 0 || both != 646.0f || out[0] != 642.0f) {
        FAIL("%s: bytes %02x %02x, score_both %g score_high %g", set->name, high[0], low[0], (double)both,
             (double)out[0]);
    }
    /* 5 * 0.25 = 1.25 = 0x3fa00000; the nearest number that ends in 0xc00001 is 0x3fc00001, a 1.5; one that ends
     * in 0x000001 is 0x40000001, and in 0x300000 0x3f300000: r is 0x3f900000, less than half of 0x1000000 from each. */
    _Alignas(64) const int8_t codes[128] = {5, -5, 5, 0, 0};
    const uint16_t rest16[5] = {1, 1, 0, 7, 0};
    const uint8_t rest8[5] = {0xc0, 0x00, 0x30, 0x80, 0};
    const uint32_t bits[5] = {0x3fc00001, 0xc0000001, 0x3f300000, 0xbf800007, 0};
    float values[5];
    set->restore(codes, rest16, rest8, 0.25f, (const uint8_t[]){0xbf}, true, 5, values);
    if (memcmp(values, bits, sizeof values) != 0) {
        FAIL("%s: restore %a %a %a %a %a", set->name, (double)values[0], (double)values[1], (double)values[2],
             (double)values[3], (double)values[4]);
    }
    return true;
}

const kernels_check kernels_checks[] = {
    {"known answers", check_known_answers},
    {"codes: the scores of the plain kernel, any count, ahead or not", check_codes},
    {"codes: the formula of the contract", check_code_formula},
    {"pack, unpack: the layout of the contract, and back", check_pack},
    {"floats: the scores of the plain kernel, any count, ahead or not", check_floats},
    {"floats: the order of additions of the contract", check_float_formula},
    {"floats: every half", check_halves},
    {"exact: the order of additions of the contract", check_exact},
    {"max_abs: a NaN is passed over", check_max_abs},
    {"quantize: rint, and zeros beyond", check_quantize},
    {"restore: every value comes back, and nonsense as the contract has it", check_restore},
    {"restore: every exponent", check_restore_exponents},
};
const size_t kernels_check_count = sizeof kernels_checks / sizeof *kernels_checks;
