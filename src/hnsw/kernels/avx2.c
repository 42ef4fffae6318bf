/*
 * avx2.c - the kernels for x86-64 with AVX2 and F16C (Haswell, 2013, and nearly everything after).
 *
 * Vectors go four per turn (batch.h), their four sums are reduced together. Sixteen lanes of the contract are two
 * registers. Tails of a vector are masked loads: a masked-out lane is not read, and holds +0.0; sums start at +0.0 and
 * so are never -0.0 (rounding to nearest, -0.0 comes only of -0.0 + -0.0), so the zeros that a tail adds change no bit.
 *
 * Codes: vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits. Of nibbles such a pair is at most
 * 2 * 15 * 127 = 3810, and eight of them (two lines, both halves of each byte) at most 30480, which still fits; then
 * vpmaddwd widens to 32 bits, and multiplies by 16 on the way where that is wanted. Whole codes would not fit, with
 * pairs of 2 * 255 * 127.
 *
 * Relies on select.c for never calling this on a machine without these instructions: every function carries its target,
 * so the rest of the program stays plain x86-64.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hnsw/kernels/kernels.h"
#include "hnsw/kernels/restore.h"

#define TARGET __attribute__((target("avx2,f16c")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* ---- codes ---- */

INLINE __m256i load(const void *p) {
    return _mm256_load_si256((const __m256i *)p);
}

/* Sums of a line of nibbles, in 16 bits: four pairs to a lane, 15240 at most. */
INLINE __m256i line(const int8_t *code, const uint8_t *nibbles) {
    const __m256i lower = _mm256_set1_epi8(0x0f);
    __m256i part[2];
    for (size_t i = 0; i < 2; i++) {
        const __m256i x = load(nibbles + 32 * i);
        const __m256i x0 = _mm256_and_si256(x, lower);
        const __m256i x1 = _mm256_and_si256(_mm256_srli_epi16(x, 4), lower);
        part[i] = _mm256_add_epi16(_mm256_maddubs_epi16(x0, load(code + 32 * i)),
                                   _mm256_maddubs_epi16(x1, load(code + 64 + 32 * i)));
    }
    return _mm256_add_epi16(part[0], part[1]);
}

INLINE __m256i dot_high(const int8_t *code, const uint8_t *high, size_t lines) {
    const __m256i once = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    size_t b = 0;
    for (; b + 2 <= lines; b += 2) {
        const __m256i two = _mm256_add_epi16(line(code + b * KERNEL_LINE_CODES, high + b * KERNEL_LINE),
                                             line(code + (b + 1) * KERNEL_LINE_CODES, high + (b + 1) * KERNEL_LINE));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(two, once));
    }
    if (b < lines) {
        const __m256i one = line(code + b * KERNEL_LINE_CODES, high + b * KERNEL_LINE);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(one, once));
    }
    return sum;
}

INLINE __m256i dot_both(const int8_t *code, const uint8_t *high, const uint8_t *low, size_t lines) {
    const __m256i once = _mm256_set1_epi16(1);
    const __m256i times16 = _mm256_set1_epi16(16);
    __m256i sum = _mm256_setzero_si256();
    for (size_t b = 0; b < lines; b++) {
        const __m256i h = line(code + b * KERNEL_LINE_CODES, high + b * KERNEL_LINE);
        const __m256i l = line(code + b * KERNEL_LINE_CODES, low + b * KERNEL_LINE);
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(h, times16), _mm256_madd_epi16(l, once)));
    }
    return sum;
}

#include "hnsw/kernels/avx2_body.h"

/* ---- floats ---- */

/* All bits set in the lowest `left` of 8 lanes; in all of them when left is 8 or more. */
INLINE __m256i lanes(size_t left) {
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + (left < 8 ? 8 - left : 0)));
}

enum encoding { F32, F16, BF16 };

INLINE size_t size_of(enum encoding e) {
    return e == F32 ? 4 : 2;
}

INLINE __m256 widen(enum encoding e, __m128i halves) {
    return e == F16 ? _mm256_cvtph_ps(halves)
                    : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

/* Values i..i+7. */
INLINE __m256 load_eight(enum encoding e, const uint8_t *x, size_t i) {
    return e == F32 ? _mm256_loadu_ps((const float *)(const void *)(x + i * 4))
                    : widen(e, _mm_loadu_si128((const __m128i *)(const void *)(x + i * 2)));
}

/* As many of them as are `left`, 1..7, and +0 for the rest. There is no masked load of 16-bit lanes. */
INLINE __m256 load_some(enum encoding e, const uint8_t *x, size_t i, size_t left) {
    if (e == F32) {
        return _mm256_maskload_ps((const float *)(const void *)(x + i * 4), lanes(left));
    }
    uint16_t some[8] = {0};
    memcpy(some, x + i * 2, left * 2);
    return widen(e, _mm_loadu_si128((const __m128i *)(const void *)some));
}

/* sum + q * x, or sum + (q - x)^2, or sum + (q - x * factor)^2; multiply and add apart, as the contract asks. */
INLINE __m256 term(__m256 q, __m256 x, __m256 factor, enum encoding e, bool squared) {
    if (!squared) {
        return _mm256_mul_ps(q, x);
    }
    const __m256 d = _mm256_sub_ps(q, e == F16 ? _mm256_mul_ps(x, factor) : x);
    return _mm256_mul_ps(d, d);
}

/* The tree of the contract for four at once: 16 lanes to four by halves, then across. */
INLINE __m128 halve(const __m256 sum[2]) {
    const __m256 eight = _mm256_add_ps(sum[0], sum[1]);
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

INLINE __m128 reduce_four(__m256 sum[BATCH][2]) {
    const __m128 a = halve(sum[0]);
    const __m128 b = halve(sum[1]);
    const __m128 c = halve(sum[2]);
    const __m128 d = halve(sum[3]);
    /* {a0 + a2, a1 + a3, b0 + b2, b1 + b3}, the same of c and d; then the even ones to the odd ones. */
    const __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    const __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    return _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd));
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
        __m256 sum[BATCH][2];
        __m256 factor[BATCH];
        for (int k = 0; k < BATCH; k++) {
            x[k] = p->high + s[k] * p->stride;
            sum[k][0] = sum[k][1] = _mm256_setzero_ps();
            factor[k] = squared && e == F16 ? _mm256_set1_ps(p->factor[s[k]]) : _mm256_setzero_ps();
        }
        const bool prefetch = batch_ahead_beside(&next, p, dimension * size_of(e), scaled, x, y);
        size_t i = 0;
        for (; i + 16 <= dimension; i += 16) {
            if (prefetch && i * size_of(e) % KERNEL_LINE == 0) {
                for (int k = 0; k < BATCH; k++) {
                    batch_prefetch_line(y[k] + i * size_of(e));
                }
            }
            const __m256 v0 = _mm256_loadu_ps(q->vector + i);
            const __m256 v1 = _mm256_loadu_ps(q->vector + i + 8);
            for (int k = 0; k < BATCH; k++) {
                sum[k][0] = _mm256_add_ps(sum[k][0], term(v0, load_eight(e, x[k], i), factor[k], e, squared));
                sum[k][1] = _mm256_add_ps(sum[k][1], term(v1, load_eight(e, x[k], i + 8), factor[k], e, squared));
            }
        }
        if (i + 8 <= dimension) {
            const __m256 v = _mm256_loadu_ps(q->vector + i);
            for (int k = 0; k < BATCH; k++) {
                sum[k][0] = _mm256_add_ps(sum[k][0], term(v, load_eight(e, x[k], i), factor[k], e, squared));
            }
            i += 8;
        }
        if (i < dimension) {
            const size_t left = dimension - i;
            const __m256 m = _mm256_castsi256_ps(lanes(left));
            const __m256 v = _mm256_maskload_ps(q->vector + i, lanes(left));
            const size_t half = i / 8 % 2;
            for (int k = 0; k < BATCH; k++) {
                /* Masked, since nothing times an infinite factor is no number. */
                const __m256 t = _mm256_and_ps(term(v, load_some(e, x[k], i, left), factor[k], e, squared), m);
                if (half) {
                    sum[k][1] = _mm256_add_ps(sum[k][1], t);
                } else {
                    sum[k][0] = _mm256_add_ps(sum[k][0], t);
                }
            }
        }
        const __m128 four = reduce_four(sum);
        put(out + j, squared ? four : _mm_sub_ps(base, _mm_mul_ps(four, _mm_mul_ps(scale, four_of(p->factor, s)))));
    }
    batch_ahead_turn(&next);
    batch_ahead_floats(&next, p, dimension * size_of(e), scaled);
}

TARGET void kernels_avx2_dot_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                                 const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F32, false);
}

TARGET void kernels_avx2_dot_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                                 const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F16, false);
}

TARGET void kernels_avx2_dot_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                                  const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, BF16, false);
}

TARGET void kernels_avx2_l2_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                                const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F32, true);
}

TARGET void kernels_avx2_l2_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                                const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F16, true);
}

TARGET void kernels_avx2_l2_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                                 const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, BF16, true);
}

INLINE __m256d add_exact(__m256d sum, __m128 a, __m128 b, bool squared) {
    const __m256d x = _mm256_cvtps_pd(a);
    const __m256d y = _mm256_cvtps_pd(b);
    if (squared) {
        const __m256d d = _mm256_sub_pd(x, y);
        return _mm256_add_pd(sum, _mm256_mul_pd(d, d));
    }
    return _mm256_add_pd(sum, _mm256_mul_pd(x, y));
}

INLINE double exact(const float *a, const float *b, size_t dimension, bool squared) {
    __m256d lane[4]; /* lane[n] is lanes 4n .. 4n+3 */
    for (int n = 0; n < 4; n++) {
        lane[n] = _mm256_setzero_pd();
    }
    size_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        for (int n = 0; n < 4; n++) {
            lane[n] = add_exact(lane[n], _mm_loadu_ps(a + i + 4 * n), _mm_loadu_ps(b + i + 4 * n), squared);
        }
    }
    for (int n = 0; i < dimension; i += 8, n += 2) {
        const __m256i m = lanes(dimension - i);
        const __m256 x = _mm256_maskload_ps(a + i, m);
        const __m256 y = _mm256_maskload_ps(b + i, m);
        lane[n] = add_exact(lane[n], _mm256_castps256_ps128(x), _mm256_castps256_ps128(y), squared);
        lane[n + 1] = add_exact(lane[n + 1], _mm256_extractf128_ps(x, 1), _mm256_extractf128_ps(y, 1), squared);
    }
    const __m256d four = _mm256_add_pd(_mm256_add_pd(lane[0], lane[2]), _mm256_add_pd(lane[1], lane[3]));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

TARGET double kernels_avx2_exact_dot(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, false);
}

TARGET double kernels_avx2_exact_l2(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, true);
}

/* ---- to codes and back ---- */

/* A NaN among the values is passed over, see put. */
TARGET float kernels_avx2_max_abs(const float *a, size_t dimension) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= dimension; i += 8) {
        most = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(a + i), magnitude), most);
    }
    if (i < dimension) {
        most = _mm256_max_ps(_mm256_and_ps(_mm256_maskload_ps(a + i, lanes(dimension - i)), magnitude), most);
    }
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
}

/* Eight codes, in the low half. */
INLINE __m128i codes_of(__m256i c) {
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    return _mm_packs_epi16(words, words);
}

TARGET int32_t kernels_avx2_quantize(const float *a, size_t dimension, float inverse_scale, int8_t *code, size_t size) {
    const __m256 scale = _mm256_set1_ps(inverse_scale);
    __m256i sum = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= dimension; i += 8) {
        const __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(a + i), scale));
        sum = _mm256_add_epi32(sum, c);
        _mm_storel_epi64((__m128i *)(void *)(code + i), codes_of(c));
    }
    if (i < dimension) {
        const __m256i m = lanes(dimension - i);
        const __m256i c = _mm256_and_si256(m, _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_maskload_ps(a + i, m), scale)));
        int8_t last[8];
        sum = _mm256_add_epi32(sum, c);
        _mm_storel_epi64((__m128i *)(void *)last, codes_of(c));
        memcpy(code + i, last, dimension - i);
    }
    if (size > dimension) {
        memset(code + dimension, 0, size - dimension);
    }
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    four = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 1)));
}

INLINE void store(void *p, __m256i x) {
    _mm256_store_si256((__m256i *)p, x);
}

/* The lower nibbles of `a`, and those of `b` above them. */
INLINE __m256i nibbles(__m256i a, __m256i b) {
    const __m256i lower = _mm256_set1_epi8(0x0f);
    return _mm256_or_si256(_mm256_and_si256(a, lower), _mm256_slli_epi16(_mm256_and_si256(b, lower), 4));
}

/* The upper nibbles of `a`, and those of `b` above them. */
INLINE __m256i upper_nibbles(__m256i a, __m256i b) {
    const __m256i upper = _mm256_set1_epi8((char)0xf0);
    return _mm256_or_si256(_mm256_srli_epi16(_mm256_and_si256(a, upper), 4), _mm256_and_si256(b, upper));
}

/* code + 128 is the code with its top bit flipped. */
TARGET void kernels_avx2_pack(const int8_t *code, size_t size, uint8_t *high, uint8_t *low) {
    const __m256i top = _mm256_set1_epi8((char)0x80);
    for (size_t i = 0; i < size / 2; i += 32) {
        const int8_t *c = code + i / KERNEL_LINE * KERNEL_LINE_CODES + i % KERNEL_LINE;
        const __m256i u0 = _mm256_xor_si256(load(c), top);
        const __m256i u1 = _mm256_xor_si256(load(c + KERNEL_LINE), top);
        store(high + i, upper_nibbles(u0, u1));
        store(low + i, nibbles(u0, u1));
    }
}

/* The halves of two codes are put together just as they were taken apart. */
TARGET int32_t kernels_avx2_sum(const int8_t *code, size_t size) {
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    __m256i total = _mm256_setzero_si256();
    for (size_t i = 0; i < size; i += 32) {
        const __m256i pairs = _mm256_maddubs_epi16(ones8, _mm256_load_si256((const __m256i *)(const void *)(code + i)));
        total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, ones16));
    }
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    four = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(four) + _mm_extract_epi32(four, 1);
}

TARGET void kernels_avx2_unpack(const uint8_t *high, const uint8_t *low, size_t size, int8_t *code) {
    const __m256i top = _mm256_set1_epi8((char)0x80);
    for (size_t i = 0; i < size / 2; i += 32) {
        int8_t *c = code + i / KERNEL_LINE * KERNEL_LINE_CODES + i % KERNEL_LINE;
        const __m256i h = load(high + i);
        const __m256i l = low ? load(low + i) : _mm256_set1_epi8((char)0x88);
        store(c, _mm256_xor_si256(nibbles(l, h), top));
        store(c + KERNEL_LINE, _mm256_xor_si256(upper_nibbles(l, h), top));
    }
}

/* Zero codes are few: eight values are restored as if there were none, then those lanes are overwritten one by one.
 *
 * What the contract says of the upper byte, r + d less the 24 bits, is that of r - rest24 + 0x7fffff: one more when the
 * 24 bits of r are ahead of the rest by more than half their range. The sign of the code, which its product with the
 * scale has too, is above all that. */
TARGET void kernels_avx2_restore(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, float scale,
                                 const uint8_t *exceptions, bool sparse, size_t dimension, float *out) {
    const __m256 scales = _mm256_set1_ps(scale);
    const __m256i sign = _mm256_set1_epi32(INT32_MIN);
    const __m256i exponent = _mm256_set1_epi32(0x7f000000);
    const __m256i offset = _mm256_set1_epi32(0x7fffff - 0x100000);
    size_t i = 0;
    for (; i + 8 <= dimension; i += 8) {
        const __m256i c = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(code + i)));
        const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(rest16 + i)));
        const __m256i high = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(rest8 + i)));
        const __m256i rest = _mm256_or_si256(low, _mm256_slli_epi32(high, 16));
        const __m256i near_by = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(c), scales));
        const __m256i upper = _mm256_add_epi32(_mm256_sub_epi32(near_by, rest), offset);
        const __m256i bits =
            _mm256_or_si256(_mm256_or_si256(_mm256_and_si256(c, sign), rest), _mm256_and_si256(upper, exponent));
        _mm256_storeu_si256((__m256i *)(void *)(out + i), bits);
        const __m256i none = _mm256_cmpeq_epi32(c, _mm256_setzero_si256());
        for (unsigned zero = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(none)); zero != 0; zero &= zero - 1) {
            const size_t at = i + (size_t)__builtin_ctz(zero);
            out[at] = restore_one(0, rest16[at] | (uint32_t)rest8[at] << 16, scale, &exceptions, sparse);
        }
    }
    for (; i < dimension; i++) {
        out[i] = restore_one(code[i], rest16[i] | (uint32_t)rest8[i] << 16, scale, &exceptions, sparse);
    }
}

const hnsw_kernels kernels_avx2 = {
    .name = "avx2",
    .score_high = score_high,
    .score_both = score_both,
    .dot_f32 = kernels_avx2_dot_f32,
    .dot_f16 = kernels_avx2_dot_f16,
    .dot_bf16 = kernels_avx2_dot_bf16,
    .l2_f32 = kernels_avx2_l2_f32,
    .l2_f16 = kernels_avx2_l2_f16,
    .l2_bf16 = kernels_avx2_l2_bf16,
    .exact_dot = kernels_avx2_exact_dot,
    .exact_l2 = kernels_avx2_exact_l2,
    .max_abs = kernels_avx2_max_abs,
    .quantize = kernels_avx2_quantize,
    .pack = kernels_avx2_pack,
    .unpack = kernels_avx2_unpack,
    .sum = kernels_avx2_sum,
    .restore = kernels_avx2_restore,
};
#endif
