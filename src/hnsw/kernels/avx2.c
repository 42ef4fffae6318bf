/*
 * avx2.c - the kernels for x86-64 with AVX2 and FMA (Haswell, 2013, and nearly everything after).
 *
 * Vectors go four per turn (batch.h), their four sums are reduced together. Tails of a vector are masked loads: a
 * masked-out lane is not read, and holds +0.0.
 *
 * The byte instruction of AVX2 (vpmaddubsw) saturates at 16 bits, which 255 * 127 * 2 exceeds; so codes and query are
 * widened to 16 bits, even and odd bytes apart (a mask and a shift, no shuffle), and multiplied by vpmaddwd: the same
 * integers as everywhere.
 *
 * Relies on the caller for prefetching, and on select.c for never calling this on a machine without these instructions:
 * every function carries its target, so the rest of the program stays plain x86-64.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "hnsw/kernels/batch.h"
#include "hnsw/kernels/kernels.h"

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* All bits set in the lowest `left` of 8 lanes; in all of them when left is 8 or more. */
INLINE __m256i lanes(size_t left) {
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + (left < 8 ? 8 - left : 0)));
}

/* The first min(left, 4) of the four results. */
INLINE void put(void *out, __m128i four, size_t left) {
    if (left >= BATCH) {
        _mm_storeu_si128((__m128i *)out, four);
    } else {
        int32_t all[BATCH];
        _mm_storeu_si128((__m128i *)(void *)all, four);
        memcpy(out, all, left * sizeof all[0]);
    }
}

INLINE __m256i load32(const void *p) {
    return _mm256_load_si256((const __m256i *)p);
}

/* {sum of a, sum of b, sum of c, sum of d}: interleaving keeps the four apart while each add halves the lanes of all. */
INLINE __m128i sum_four_i32(__m256i a, __m256i b, __m256i c, __m256i d) {
    __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    __m256i all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

INLINE __m128 sum_four_f32(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 all = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd))),
                               _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd))));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

TARGET static void dot_codes(const int8_t *query, const uint8_t *codes, size_t stride, const uint32_t *slots,
                             size_t count, size_t size, int32_t *out) {
    const __m256i low_byte = _mm256_set1_epi16(0xff);
    for (size_t j = 0; j < count; j += BATCH) {
        const size_t left = count - j;
        const uint8_t *x[BATCH];
        BATCH_PICK(x, codes, stride, slots + j, left);
        __m256i sum[BATCH];
        for (int k = 0; k < BATCH; k++) {
            sum[k] = _mm256_setzero_si256();
        }
        for (size_t i = 0; i < size; i += 32) {
            const __m256i q = load32(query + i);
            const __m256i q_even = _mm256_srai_epi16(_mm256_slli_epi16(q, 8), 8);
            const __m256i q_odd = _mm256_srai_epi16(q, 8);
            for (int k = 0; k < BATCH; k++) {
                const __m256i c = load32(x[k] + i);
                const __m256i even = _mm256_madd_epi16(_mm256_and_si256(c, low_byte), q_even);
                const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(c, 8), q_odd);
                sum[k] = _mm256_add_epi32(sum[k], _mm256_add_epi32(even, odd));
            }
        }
        put(out + j, sum_four_i32(sum[0], sum[1], sum[2], sum[3]), left);
    }
}

/* sum + q * x, or sum + (q - x)^2. */
INLINE __m256 step_f32(__m256 sum, __m256 q, __m256 x, int squared) {
    if (squared) {
        const __m256 d = _mm256_sub_ps(q, x);
        return _mm256_fmadd_ps(d, d, sum);
    }
    return _mm256_fmadd_ps(q, x, sum);
}

/* Two sums per vector, as one fused multiply-add takes four cycles and two start in each. */
INLINE void score_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                      size_t dimension, float *out, int squared) {
    for (size_t j = 0; j < count; j += BATCH) {
        const size_t left = count - j;
        const float *x[BATCH];
        BATCH_PICK(x, vectors, stride, slots + j, left);
        __m256 even[BATCH];
        __m256 odd[BATCH];
        for (int k = 0; k < BATCH; k++) {
            even[k] = odd[k] = _mm256_setzero_ps();
        }
        size_t i = 0;
        for (; i + 16 <= dimension; i += 16) {
            const __m256 q0 = _mm256_loadu_ps(query + i);
            const __m256 q1 = _mm256_loadu_ps(query + i + 8);
            for (int k = 0; k < BATCH; k++) {
                even[k] = step_f32(even[k], q0, _mm256_loadu_ps(x[k] + i), squared);
                odd[k] = step_f32(odd[k], q1, _mm256_loadu_ps(x[k] + i + 8), squared);
            }
        }
        for (; i < dimension; i += 8) {
            const __m256i m = lanes(dimension - i);
            const __m256 q = _mm256_maskload_ps(query + i, m);
            for (int k = 0; k < BATCH; k++) {
                even[k] = step_f32(even[k], q, _mm256_maskload_ps(x[k] + i, m), squared);
            }
        }
        for (int k = 0; k < BATCH; k++) {
            even[k] = _mm256_add_ps(even[k], odd[k]);
        }
        put(out + j, _mm_castps_si128(sum_four_f32(even[0], even[1], even[2], even[3])), left);
    }
}

TARGET static void dot_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                           size_t dimension, float *out) {
    score_f32(query, vectors, stride, slots, count, dimension, out, 0);
}

TARGET static void l2_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                          size_t dimension, float *out) {
    score_f32(query, vectors, stride, slots, count, dimension, out, 1);
}

INLINE __m256d add_exact(__m256d sum, __m128 a, __m128 b, int squared) {
    const __m256d x = _mm256_cvtps_pd(a);
    const __m256d y = _mm256_cvtps_pd(b);
    if (squared) {
        const __m256d d = _mm256_sub_pd(x, y);
        return _mm256_add_pd(sum, _mm256_mul_pd(d, d));
    }
    return _mm256_add_pd(sum, _mm256_mul_pd(x, y));
}

/* Lane sums start at +0.0 and so are never -0.0 (rounding to nearest, -0.0 comes only of -0.0 + -0.0): the zeros a masked
 * tail adds change no bit. Multiply and add stay apart, as the contract asks. */
INLINE double exact(const float *a, const float *b, size_t dimension, int squared) {
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

TARGET static double exact_dot(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, 0);
}

TARGET static double exact_l2(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, 1);
}

/* vmaxps gives its second operand when one is NaN: a NaN among the values is passed over, as in `v > most ? v : most`. */
TARGET static float max_abs(const float *a, size_t dimension) {
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

/* The low bytes of (c + 128), eight of them in the low half. */
INLINE __m128i codes_of(__m256i c) {
    const __m256i wide = _mm256_and_si256(_mm256_add_epi32(c, _mm256_set1_epi32(128)), _mm256_set1_epi32(0xff));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    return _mm_packus_epi16(words, words);
}

TARGET static int32_t encode(const float *a, size_t dimension, float inverse_scale, uint8_t *codes, size_t size) {
    const __m256 scale = _mm256_set1_ps(inverse_scale);
    __m256i sum = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 8 <= dimension; i += 8) {
        const __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(a + i), scale));
        sum = _mm256_add_epi32(sum, c);
        _mm_storel_epi64((__m128i *)(void *)(codes + i), codes_of(c));
    }
    if (i < dimension) {
        const __m256i m = lanes(dimension - i);
        const __m256i c = _mm256_and_si256(m, _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_maskload_ps(a + i, m), scale)));
        uint8_t last[8];
        sum = _mm256_add_epi32(sum, c);
        _mm_storel_epi64((__m128i *)(void *)last, codes_of(c));
        memcpy(codes + i, last, dimension - i);
    }
    if (size > dimension) {
        memset(codes + dimension, 128, size - dimension);
    }
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    four = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 1)));
}

const hnsw_kernels kernels_avx2 = {
    .name = "avx2",
    .dot_codes = dot_codes,
    .dot_f32 = dot_f32,
    .l2_f32 = l2_f32,
    .exact_dot = exact_dot,
    .exact_l2 = exact_l2,
    .max_abs = max_abs,
    .encode = encode,
};
#endif
