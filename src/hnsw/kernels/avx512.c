/*
 * avx512.c - the kernels for x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
 *
 * Vectors go four per turn (batch.h), their four sums are reduced together. Tails of a vector are masked loads: a
 * masked-out lane is not read, and holds +0.0.
 *
 * Relies on the caller for prefetching, and on select.c for never calling this on a machine without these instructions:
 * every function carries its target, so the rest of the program stays plain x86-64.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "hnsw/kernels/batch.h"
#include "hnsw/kernels/kernels.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* The lowest `left` of 16 lanes; all of them when left is 16 or more. */
INLINE __mmask16 lanes(size_t left) {
    return (__mmask16)(left < 16 ? (1U << left) - 1 : 0xffffU);
}

INLINE __mmask8 wanted(size_t left) {
    return (__mmask8)(left < BATCH ? (1U << left) - 1 : 0xfU);
}

/* {sum of a, sum of b, sum of c, sum of d}: interleaving keeps the four apart while each add halves the lanes of all. */
INLINE __m128i sum_four_i32(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE __m128 sum_four_f32(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512 all = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))),
                               _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* Two sums per vector: vpdpbusd takes four cycles and the loads of a step for four vectors only two and a half, so four
 * chains would wait on themselves. */
TARGET static void dot_codes(const int8_t *query, const uint8_t *codes, size_t stride, const uint32_t *slots,
                             size_t count, size_t size, int32_t *out) {
    for (size_t j = 0; j < count; j += BATCH) {
        const size_t left = count - j;
        const uint8_t *x[BATCH];
        BATCH_PICK(x, codes, stride, slots + j, left);
        __m512i even[BATCH];
        __m512i odd[BATCH];
        for (int k = 0; k < BATCH; k++) {
            even[k] = odd[k] = _mm512_setzero_si512();
        }
        size_t i = 0;
        for (; i + 128 <= size; i += 128) {
            const __m512i q0 = _mm512_load_si512(query + i);
            const __m512i q1 = _mm512_load_si512(query + i + 64);
            for (int k = 0; k < BATCH; k++) {
                even[k] = _mm512_dpbusd_epi32(even[k], _mm512_load_si512(x[k] + i), q0);
                odd[k] = _mm512_dpbusd_epi32(odd[k], _mm512_load_si512(x[k] + i + 64), q1);
            }
        }
        if (i < size) {
            const __m512i q0 = _mm512_load_si512(query + i);
            for (int k = 0; k < BATCH; k++) {
                even[k] = _mm512_dpbusd_epi32(even[k], _mm512_load_si512(x[k] + i), q0);
            }
        }
        for (int k = 0; k < BATCH; k++) {
            even[k] = _mm512_add_epi32(even[k], odd[k]);
        }
        _mm_mask_storeu_epi32(out + j, wanted(left), sum_four_i32(even[0], even[1], even[2], even[3]));
    }
}

/* sum + q * x, or sum + (q - x)^2. */
INLINE __m512 step_f32(__m512 sum, __m512 q, __m512 x, int squared) {
    if (squared) {
        const __m512 d = _mm512_sub_ps(q, x);
        return _mm512_fmadd_ps(d, d, sum);
    }
    return _mm512_fmadd_ps(q, x, sum);
}

INLINE void score_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                      size_t dimension, float *out, int squared) {
    for (size_t j = 0; j < count; j += BATCH) {
        const size_t left = count - j;
        const float *x[BATCH];
        BATCH_PICK(x, vectors, stride, slots + j, left);
        __m512 even[BATCH];
        __m512 odd[BATCH];
        for (int k = 0; k < BATCH; k++) {
            even[k] = odd[k] = _mm512_setzero_ps();
        }
        size_t i = 0;
        for (; i + 32 <= dimension; i += 32) {
            const __m512 q0 = _mm512_loadu_ps(query + i);
            const __m512 q1 = _mm512_loadu_ps(query + i + 16);
            for (int k = 0; k < BATCH; k++) {
                even[k] = step_f32(even[k], q0, _mm512_loadu_ps(x[k] + i), squared);
                odd[k] = step_f32(odd[k], q1, _mm512_loadu_ps(x[k] + i + 16), squared);
            }
        }
        for (; i < dimension; i += 16) {
            const __mmask16 m = lanes(dimension - i);
            const __m512 q = _mm512_maskz_loadu_ps(m, query + i);
            for (int k = 0; k < BATCH; k++) {
                even[k] = step_f32(even[k], q, _mm512_maskz_loadu_ps(m, x[k] + i), squared);
            }
        }
        for (int k = 0; k < BATCH; k++) {
            even[k] = _mm512_add_ps(even[k], odd[k]);
        }
        _mm_mask_storeu_ps(out + j, wanted(left), sum_four_f32(even[0], even[1], even[2], even[3]));
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

/* Lane sums start at +0.0 and so are never -0.0 (rounding to nearest, -0.0 comes only of -0.0 + -0.0): the zeros a masked
 * tail adds change no bit. Multiply and add stay apart, as the contract asks. */
INLINE __m512d step_exact(__m512d sum, __m256 a, __m256 b, int squared) {
    const __m512d x = _mm512_cvtps_pd(a);
    const __m512d y = _mm512_cvtps_pd(b);
    if (squared) {
        const __m512d d = _mm512_sub_pd(x, y);
        return _mm512_add_pd(sum, _mm512_mul_pd(d, d));
    }
    return _mm512_add_pd(sum, _mm512_mul_pd(x, y));
}

INLINE double exact(const float *a, const float *b, size_t dimension, int squared) {
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
    return exact(a, b, dimension, 0);
}

TARGET static double exact_l2(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, 1);
}

/* vmaxps gives its second operand when one is NaN: a NaN among the values is passed over, as in `v > most ? v : most`. */
TARGET static float max_abs(const float *a, size_t dimension) {
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < dimension; i += 16) {
        most = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(lanes(dimension - i), a + i)), most);
    }
    return _mm512_reduce_max_ps(most);
}

TARGET static int32_t encode(const float *a, size_t dimension, float inverse_scale, uint8_t *codes, size_t size) {
    const __m512 scale = _mm512_set1_ps(inverse_scale);
    const __m512i zero = _mm512_set1_epi32(128);
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < dimension; i += 16) {
        const __mmask16 m = lanes(dimension - i);
        const __m512i c = _mm512_cvtps_epi32(_mm512_maskz_mul_ps(m, _mm512_maskz_loadu_ps(m, a + i), scale));
        sum = _mm512_add_epi32(sum, c);
        _mm_mask_storeu_epi8(codes + i, m, _mm512_cvtepi32_epi8(_mm512_add_epi32(c, zero)));
    }
    if (size > dimension) {
        memset(codes + dimension, 128, size - dimension);
    }
    return _mm512_reduce_add_epi32(sum);
}

const hnsw_kernels kernels_avx512 = {
    .name = "avx512",
    .dot_codes = dot_codes,
    .dot_f32 = dot_f32,
    .l2_f32 = l2_f32,
    .exact_dot = exact_dot,
    .exact_l2 = exact_l2,
    .max_abs = max_abs,
    .encode = encode,
};
#endif
