/*
 * avx512.c - the kernels for x86-64 with AVX-512 F, BW, VL, DQ and VNNI, and F16C.
 *
 * Vectors go four per turn (batch.h), their four sums are reduced together. Sixteen lanes of the contract are one
 * register, so a vector of floats is one sum and four of them hide the latency of an addition. Tails are masked loads:
 * a masked-out lane is not read, and holds +0.0; sums start at +0.0 and so are never -0.0 (rounding to nearest, -0.0
 * comes only of -0.0 + -0.0), so the zeros that a tail adds change no bit.
 *
 * Codes: vpdpbusd takes unsigned bytes, four products of at most 255 * 127 to a lane, without saturation. So the upper
 * nibbles are left where they are, as 16 times their value, and it is their sum that is shifted down, not every
 * register.
 *
 * Relies on select.c for never calling this on a machine without these instructions: every function carries its target,
 * so the rest of the program stays plain x86-64.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "hnsw/kernels/batch.h"
#include "hnsw/kernels/kernels.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* The lowest `left` of 16 lanes; all of them when left is 16 or more. */
INLINE __mmask16 lanes(size_t left) {
    return (__mmask16)(left < 16 ? (1U << left) - 1 : 0xffffU);
}

/* ---- what both kinds of scores share ---- */

INLINE __m128 four_of(const float *values, const uint32_t s[BATCH]) {
    return _mm_set_ps(values[s[3]], values[s[2]], values[s[1]], values[s[0]]);
}

/* vmaxps gives its second operand when one is NaN, or both are zero of either sign: +0 in each case. */
INLINE void put(float *out, __m128 distances) {
    _mm_storeu_ps(out, _mm_max_ps(distances, _mm_setzero_ps()));
}

/* ---- codes ---- */

/* {sum of a, sum of b, sum of c, sum of d}: interleaving keeps them apart while each add halves the lanes of all. */
INLINE __m128i sum_four(__m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* The two halves of each byte of a plane's line, the upper one as 16 times its value. */
INLINE __m512i lower_of(__m512i x) {
    return _mm512_and_si512(x, _mm512_set1_epi8(0x0f));
}

INLINE __m512i upper_of(__m512i x) {
    return _mm512_and_si512(x, _mm512_set1_epi8((char)0xf0));
}

/* The codes of both planes put together again, those in the lower and those in the upper halves; 0xca is "where the
 * first operand has ones the second, else the third". What a shift brings over from the neighbouring byte falls where
 * the other operand is taken. */
INLINE __m512i first_of(__m512i high, __m512i low) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8((char)0xf0), _mm512_slli_epi16(high, 4), low, 0xca);
}

INLINE __m512i second_of(__m512i high, __m512i low) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8((char)0xf0), high, _mm512_srli_epi16(low, 4), 0xca);
}

INLINE __m512i line_of(const uint8_t *plane, size_t b) {
    return _mm512_load_si512(plane + b * KERNEL_LINE);
}

INLINE __m512i query_of(const int8_t *code, size_t n) {
    return _mm512_load_si512(code + n * 64);
}

/* Lanes whose sum is dot(code, high), of one vector: the upper halves, divided by 16, and then the lower ones on top.
 * One sum per vector, since a turn's four run beside one another, and those of the next turn too. */
INLINE __m512i dot_high(const __m512i *query, const uint8_t *high, size_t lines) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t b = 0; b < lines; b++) {
        sum = _mm512_dpbusd_epi32(sum, upper_of(line_of(high, b)), query[2 * b + 1]);
    }
    sum = _mm512_srai_epi32(sum, 4);
    for (size_t b = 0; b < lines; b++) {
        sum = _mm512_dpbusd_epi32(sum, lower_of(line_of(high, b)), query[2 * b]);
    }
    return sum;
}

/* Lanes whose sum is 16 * dot(code, high) + dot(code, low). */
INLINE __m512i dot_both(const __m512i *query, const uint8_t *high, const uint8_t *low, size_t lines) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t b = 0; b < lines; b++) {
        sum = _mm512_dpbusd_epi32(sum, first_of(line_of(high, b), line_of(low, b)), query[2 * b]);
        sum = _mm512_dpbusd_epi32(sum, second_of(line_of(high, b), line_of(low, b)), query[2 * b + 1]);
    }
    return sum;
}

/* The same for a turn's four and any number of lines, through which the query is read once; what is ahead is prefetched
 * on the way. */
INLINE void dot_high_four(__m512i sum[BATCH], const int8_t *code, const uint8_t *const high[BATCH], size_t lines,
                          batch_ahead *next, const kernel_plane *p) {
    __m512i sum16[BATCH];
    for (int k = 0; k < BATCH; k++) {
        sum[k] = sum16[k] = _mm512_setzero_si512();
    }
    for (size_t b = 0; b < lines; b++) {
        if (b % 4 == 0) {
            batch_ahead_code(next, p, lines, false);
        }
        const __m512i q0 = query_of(code, 2 * b);
        const __m512i q1 = query_of(code, 2 * b + 1);
        for (int k = 0; k < BATCH; k++) {
            sum[k] = _mm512_dpbusd_epi32(sum[k], lower_of(line_of(high[k], b)), q0);
            sum16[k] = _mm512_dpbusd_epi32(sum16[k], upper_of(line_of(high[k], b)), q1);
        }
    }
    for (int k = 0; k < BATCH; k++) {
        sum[k] = _mm512_add_epi32(sum[k], _mm512_srai_epi32(sum16[k], 4));
    }
}

INLINE void dot_both_four(__m512i sum[BATCH], const int8_t *code, const uint8_t *const high[BATCH],
                          const uint8_t *const low[BATCH], size_t lines, batch_ahead *next, const kernel_plane *p) {
    __m512i sum1[BATCH];
    for (int k = 0; k < BATCH; k++) {
        sum[k] = sum1[k] = _mm512_setzero_si512();
    }
    for (size_t b = 0; b < lines; b++) {
        if (b % 4 == 0) {
            batch_ahead_code(next, p, lines, true);
        }
        const __m512i q0 = query_of(code, 2 * b);
        const __m512i q1 = query_of(code, 2 * b + 1);
        for (int k = 0; k < BATCH; k++) {
            const __m512i h = line_of(high[k], b);
            const __m512i l = line_of(low[k], b);
            sum[k] = _mm512_dpbusd_epi32(sum[k], first_of(h, l), q0);
            sum1[k] = _mm512_dpbusd_epi32(sum1[k], second_of(h, l), q1);
        }
    }
    for (int k = 0; k < BATCH; k++) {
        sum[k] = _mm512_add_epi32(sum[k], sum1[k]);
    }
}

#define FIXED_MAX 6 /* lines of which the query stays in registers: 12 of the 32 */

/* `fixed` lines per vector, known when compiling; 0: as many as there are. */
INLINE void score_codes(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                        const uint32_t *ahead, uint32_t ahead_count, float *out, bool both, size_t fixed) {
    const size_t lines = fixed ? fixed : p->stride / KERNEL_LINE;
    const size_t stride = lines * KERNEL_LINE;
    const float *factor = p->factor;
    const float *norm2 = p->norm2;
    const __m128i offset = _mm_set1_epi32((both ? 128 : 15) * q->code_sum);
    const __m128 scale = _mm_set1_ps(both ? q->scale : 8 * q->scale);
    const __m128 base = _mm_set1_ps(q->base);
    __m512i query[2 * FIXED_MAX];
    for (size_t n = 0; n < 2 * fixed; n++) {
        query[n] = query_of(q->code, n);
    }
    batch_ahead next = batch_ahead_of(ahead, ahead_count, count);
    for (uint32_t j = 0; j < count; j += BATCH) {
        uint32_t s[BATCH];
        batch_pick(s, slots + j, count - j);
        batch_ahead_turn(&next);
        const uint8_t *high[BATCH];
        const uint8_t *low[BATCH];
        __m512i sum[BATCH];
        for (int k = 0; k < BATCH; k++) {
            high[k] = p->high + s[k] * stride;
            low[k] = both ? p->low + s[k] * stride : NULL;
            if (fixed) {
                batch_ahead_code(&next, p, lines, both);
                sum[k] = both ? dot_both(query, high[k], low[k], fixed) : dot_high(query, high[k], fixed);
            }
        }
        if (!fixed && both) {
            dot_both_four(sum, q->code, high, low, lines, &next, p);
        } else if (!fixed) {
            dot_high_four(sum, q->code, high, lines, &next, p);
        }
        batch_ahead_codes(&next, p, lines, both);
        const __m128i dot = sum_four(sum[0], sum[1], sum[2], sum[3]);
        const __m128i whole = _mm_sub_epi32(both ? dot : _mm_add_epi32(dot, dot), offset);
        const __m128 product = _mm_mul_ps(_mm_cvtepi32_ps(whole), _mm_mul_ps(scale, four_of(factor, s)));
        put(out + j, _mm_sub_ps(norm2 ? _mm_add_ps(base, four_of(norm2, s)) : base, product));
    }
    batch_ahead_turn(&next);
    batch_ahead_codes(&next, p, lines, both);
}

TARGET static void high_3(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, false, 3);
}

TARGET static void high_6(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, false, 6);
}

TARGET static void high_any(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                            const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, false, 0);
}

TARGET static void both_3(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, true, 3);
}

TARGET static void both_6(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, true, 6);
}

TARGET static void both_any(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                            const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, true, 0);
}

/* 384 and 768 components have their own. Functions apart, not one with three loops: what the loops share would be kept
 * in registers that each of them needs. */
static void score_high(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                       const uint32_t *ahead, uint32_t ahead_count, float *out) {
    const kernel_score score = p->stride == 3 * KERNEL_LINE ? high_3 : p->stride == 6 * KERNEL_LINE ? high_6 : high_any;
    score(q, p, slots, count, ahead, ahead_count, out);
}

static void score_both(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                       const uint32_t *ahead, uint32_t ahead_count, float *out) {
    const kernel_score score = p->stride == 3 * KERNEL_LINE ? both_3 : p->stride == 6 * KERNEL_LINE ? both_6 : both_any;
    score(q, p, slots, count, ahead, ahead_count, out);
}

/* ---- floats ---- */

enum encoding { F32, F16, BF16 };

INLINE size_t size_of(enum encoding e) {
    return e == F32 ? 4 : 2;
}

/* Values i..i+15, those the mask leaves out +0. */
INLINE __m512 load(enum encoding e, const uint8_t *x, size_t i, __mmask16 m) {
    if (e == F32) {
        return _mm512_maskz_loadu_ps(m, x + i * 4);
    }
    const __m256i halves = _mm256_maskz_loadu_epi16(m, x + i * 2);
    return e == F16 ? _mm512_cvtph_ps(halves)
                    : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* The tree of the contract for four at once: 16 lanes to four by halves, then across. */
INLINE __m128 halve(__m512 a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

INLINE __m128 reduce_four(const __m512 sum[BATCH]) {
    const __m128 a = halve(sum[0]);
    const __m128 b = halve(sum[1]);
    const __m128 c = halve(sum[2]);
    const __m128 d = halve(sum[3]);
    /* {a0 + a2, a1 + a3, b0 + b2, b1 + b3}, the same of c and d; then the even ones to the odd ones. */
    const __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    const __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    return _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd));
}

/* sum + q * x, or sum + (q - x)^2, or sum + (q - x * factor)^2; multiply and add apart, as the contract asks. The mask
 * matters to the last alone: nothing times an infinite factor is no number. */
INLINE __m512 step(__m512 sum, __m512 q, __m512 x, __m512 factor, enum encoding e, bool squared, __mmask16 m) {
    if (!squared) {
        return _mm512_add_ps(sum, _mm512_mul_ps(q, x));
    }
    const __m512 d = _mm512_sub_ps(q, e == F16 ? _mm512_mul_ps(x, factor) : x);
    return _mm512_mask_add_ps(sum, m, sum, _mm512_mul_ps(d, d));
}

INLINE void score_floats(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out, enum encoding e, bool squared) {
    const size_t dimension = p->dimension;
    const bool scaled = !squared || e == F16;
    const __m128 base = _mm_set1_ps(q->base);
    const __m128 scale = _mm_set1_ps(q->scale);
    batch_ahead next = batch_ahead_of(ahead, ahead_count, count);
    for (uint32_t j = 0; j < count; j += BATCH) {
        uint32_t s[BATCH];
        batch_pick(s, slots + j, count - j);
        const uint8_t *x[BATCH];
        const uint8_t *y[BATCH];
        __m512 sum[BATCH];
        __m512 factor[BATCH];
        for (int k = 0; k < BATCH; k++) {
            x[k] = p->high + s[k] * p->stride;
            sum[k] = _mm512_setzero_ps();
            factor[k] = squared && e == F16 ? _mm512_set1_ps(p->factor[s[k]]) : _mm512_setzero_ps();
        }
        const bool prefetch = batch_ahead_beside(&next, p, dimension * size_of(e), scaled, x, y);
        size_t i = 0;
        for (; i + 16 <= dimension; i += 16) {
            if (prefetch && i * size_of(e) % KERNEL_LINE == 0) {
                for (int k = 0; k < BATCH; k++) {
                    batch_prefetch_line(y[k] + i * size_of(e));
                }
            }
            const __m512 v = _mm512_loadu_ps(q->vector + i);
            for (int k = 0; k < BATCH; k++) {
                sum[k] = step(sum[k], v, load(e, x[k], i, 0xffff), factor[k], e, squared, 0xffff);
            }
        }
        if (i < dimension) {
            const __mmask16 m = lanes(dimension - i);
            const __m512 v = _mm512_maskz_loadu_ps(m, q->vector + i);
            for (int k = 0; k < BATCH; k++) {
                sum[k] = step(sum[k], v, load(e, x[k], i, m), factor[k], e, squared, m);
            }
        }
        const __m128 four = reduce_four(sum);
        put(out + j, squared ? four : _mm_sub_ps(base, _mm_mul_ps(four, _mm_mul_ps(scale, four_of(p->factor, s)))));
    }
    batch_ahead_turn(&next);
    batch_ahead_floats(&next, p, dimension * size_of(e), scaled);
}

TARGET static void dot_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                           const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F32, false);
}

TARGET static void dot_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                           const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F16, false);
}

TARGET static void dot_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                            const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, BF16, false);
}

TARGET static void l2_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F32, true);
}

TARGET static void l2_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F16, true);
}

TARGET static void l2_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                           const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, BF16, true);
}

INLINE __m512d step_exact(__m512d sum, __m256 a, __m256 b, bool squared) {
    const __m512d x = _mm512_cvtps_pd(a);
    const __m512d y = _mm512_cvtps_pd(b);
    if (squared) {
        const __m512d d = _mm512_sub_pd(x, y);
        return _mm512_add_pd(sum, _mm512_mul_pd(d, d));
    }
    return _mm512_add_pd(sum, _mm512_mul_pd(x, y));
}

INLINE double exact(const float *a, const float *b, size_t dimension, bool squared) {
    __m512d low = _mm512_setzero_pd();  /* lanes 0..7 */
    __m512d high = _mm512_setzero_pd(); /* lanes 8..15 */
    size_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        low = step_exact(low, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), squared);
        high = step_exact(high, _mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), squared);
    }
    if (i < dimension) {
        const __mmask16 m = lanes(dimension - i);
        const __m512 x = _mm512_maskz_loadu_ps(m, a + i);
        const __m512 y = _mm512_maskz_loadu_ps(m, b + i);
        low = step_exact(low, _mm512_castps512_ps256(x), _mm512_castps512_ps256(y), squared);
        high = step_exact(high, _mm512_extractf32x8_ps(x, 1), _mm512_extractf32x8_ps(y, 1), squared);
    }
    const __m512d eight = _mm512_add_pd(low, high);
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

TARGET static double exact_dot(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, false);
}

TARGET static double exact_l2(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, true);
}

/* ---- to codes and back ---- */

/* A NaN among the values is passed over, see put. */
TARGET static float max_abs(const float *a, size_t dimension) {
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < dimension; i += 16) {
        most = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(lanes(dimension - i), a + i)), most);
    }
    return _mm512_reduce_max_ps(most);
}

TARGET static int32_t quantize(const float *a, size_t dimension, float inverse_scale, int8_t *code, size_t size) {
    const __m512 scale = _mm512_set1_ps(inverse_scale);
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < dimension; i += 16) {
        const __mmask16 m = lanes(dimension - i);
        const __m512i c = _mm512_cvtps_epi32(_mm512_maskz_mul_ps(m, _mm512_maskz_loadu_ps(m, a + i), scale));
        sum = _mm512_add_epi32(sum, c);
        _mm_mask_storeu_epi8(code + i, m, _mm512_cvtepi32_epi8(c));
    }
    if (size > dimension) {
        memset(code + dimension, 0, size - dimension);
    }
    return _mm512_reduce_add_epi32(sum);
}

/* code + 128 is the code with its top bit flipped. */
TARGET static void pack(const int8_t *code, size_t size, uint8_t *high, uint8_t *low) {
    const __m512i top = _mm512_set1_epi8((char)0x80);
    const __m512i upper = _mm512_set1_epi8((char)0xf0);
    for (size_t b = 0; b < size / KERNEL_LINE_CODES; b++) {
        const __m512i u0 = _mm512_xor_si512(_mm512_load_si512(code + b * KERNEL_LINE_CODES), top);
        const __m512i u1 = _mm512_xor_si512(_mm512_load_si512(code + b * KERNEL_LINE_CODES + 64), top);
        _mm512_store_si512(high + b * KERNEL_LINE,
                           _mm512_ternarylogic_epi32(upper, u1, _mm512_srli_epi16(u0, 4), 0xca));
        _mm512_store_si512(low + b * KERNEL_LINE, _mm512_ternarylogic_epi32(upper, _mm512_slli_epi16(u1, 4), u0, 0xca));
    }
}

TARGET static int32_t sum(const int8_t *code, size_t size) {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i total = _mm512_setzero_si512();
    for (size_t i = 0; i < size; i += 64) {
        total = _mm512_dpbusd_epi32(total, ones, _mm512_load_si512(code + i));
    }
    return _mm512_reduce_add_epi32(total);
}

TARGET static void unpack(const uint8_t *high, const uint8_t *low, size_t size, int8_t *code) {
    const __m512i top = _mm512_set1_epi8((char)0x80);
    const __m512i upper = _mm512_set1_epi8((char)0xf0);
    for (size_t b = 0; b < size / KERNEL_LINE_CODES; b++) {
        const __m512i h = _mm512_load_si512(high + b * KERNEL_LINE);
        const __m512i l = low ? _mm512_load_si512(low + b * KERNEL_LINE) : _mm512_set1_epi8((char)0x88);
        const __m512i u0 = _mm512_ternarylogic_epi32(upper, _mm512_slli_epi16(h, 4), l, 0xca);
        const __m512i u1 = _mm512_ternarylogic_epi32(upper, h, _mm512_srli_epi16(l, 4), 0xca);
        _mm512_store_si512(code + b * KERNEL_LINE_CODES, _mm512_xor_si512(u0, top));
        _mm512_store_si512(code + b * KERNEL_LINE_CODES + 64, _mm512_xor_si512(u1, top));
    }
}

/* Sixteen values, those of `m` alone loaded and stored.
 *
 * What the contract says of the upper byte, r + d less the 24 bits, is that of r - rest24 + 0x7fffff: one more when the
 * 24 bits of r are ahead of the rest by more than half their range. The sign of the code is that of its product with
 * the scale, so far from the lower bits that it can stay on.
 *
 * The lanes of zero codes get as many exceptions as there are, dealt out to them in order; all without a branch, as 2 %
 * of zero codes are in a quarter of all sixteens, which no processor foresees. A zero code that takes none has r =
 * rest24 = 0, and so a zero for its upper byte. */
INLINE const uint8_t *restore_sixteen(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, __m512 scale,
                                      const uint8_t *exceptions, bool sparse, __mmask16 m, float *out) {
    const __m512i c = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)code));
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, rest16));
    const __m512i high = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, rest8));
    const __m512i rest = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
    const __m512i near_by = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(c), scale));
    __m512i upper = _mm512_add_epi32(_mm512_sub_epi32(near_by, rest), _mm512_set1_epi32(0x7fffff - 0x100000));
    upper = _mm512_ternarylogic_epi32(_mm512_set1_epi32(INT32_MIN), c, upper, 0xca);
    const __mmask16 zero = _mm512_mask_testn_epi32_mask(m, c, c);
    const __mmask16 taking = sparse ? _mm512_mask_test_epi32_mask(zero, rest, rest) : zero;
    const int n = __builtin_popcount(taking);
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8((__mmask16)((1U << n) - 1), exceptions));
    upper = _mm512_mask_expand_epi32(upper, taking, _mm512_slli_epi32(bytes, 24));
    const __m512i value = _mm512_ternarylogic_epi32(_mm512_set1_epi32((int)0xff000000), upper, rest, 0xca);
    _mm512_mask_storeu_epi32(out, m, value);
    return exceptions + n;
}

TARGET static void restore(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, float scale,
                           const uint8_t *exceptions, bool sparse, size_t dimension, float *out) {
    const __m512 scales = _mm512_set1_ps(scale);
    const uint8_t *e = exceptions ? exceptions : rest8; /* somewhere to load nothing from */
    size_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        e = restore_sixteen(code + i, rest16 + i, rest8 + i, scales, e, sparse, 0xffff, out + i);
    }
    if (i < dimension) {
        restore_sixteen(code + i, rest16 + i, rest8 + i, scales, e, sparse, lanes(dimension - i), out + i);
    }
}

const hnsw_kernels kernels_avx512 = {
    .name = "avx512",
    .score_high = score_high,
    .score_both = score_both,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .l2_f32 = l2_f32,
    .l2_f16 = l2_f16,
    .l2_bf16 = l2_bf16,
    .exact_dot = exact_dot,
    .exact_l2 = exact_l2,
    .max_abs = max_abs,
    .quantize = quantize,
    .pack = pack,
    .unpack = unpack,
    .sum = sum,
    .restore = restore,
};
#endif
