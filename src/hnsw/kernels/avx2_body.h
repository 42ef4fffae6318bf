/*
 * avx2_body.h - what the sets with AVX2 share: the scores of codes around an inner product of one's own, and the names
 * of all else, which is compiled once, in avx2.c.
 *
 * The file that includes this defines before: TARGET, the attribute of its functions; INLINE; and
 *   __m256i dot_high(code, high, lines)       lanes whose sum is dot(code, high), of one vector
 *   __m256i dot_both(code, high, low, lines)  lanes whose sum is 16 * dot(code, high) + dot(code, low)
 * An inline function taking these as pointers would not do: it would have to be of one target, and they are of two.
 */
#ifndef VECTORD_HNSW_KERNELS_AVX2_BODY_H
#define VECTORD_HNSW_KERNELS_AVX2_BODY_H

#include "hnsw/kernels/batch.h"
#include "hnsw/kernels/kernels.h"

void kernels_avx2_dot_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_avx2_dot_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_avx2_dot_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                           const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_avx2_l2_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_avx2_l2_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_avx2_l2_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out);
double kernels_avx2_exact_dot(const float *a, const float *b, size_t dimension);
double kernels_avx2_exact_l2(const float *a, const float *b, size_t dimension);
float kernels_avx2_max_abs(const float *a, size_t dimension);
int32_t kernels_avx2_quantize(const float *a, size_t dimension, float inverse_scale, int8_t *code, size_t size);
void kernels_avx2_pack(const int8_t *code, size_t size, uint8_t *high, uint8_t *low);
int32_t kernels_avx2_sum(const int8_t *code, size_t size);
void kernels_avx2_unpack(const uint8_t *high, const uint8_t *low, size_t size, int8_t *code);
void kernels_avx2_restore(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, float scale,
                          const uint8_t *exceptions, bool sparse, size_t dimension, float *out);

INLINE __m128 four_of(const float *values, const uint32_t s[BATCH]) {
    return _mm_set_ps(values[s[3]], values[s[2]], values[s[1]], values[s[0]]);
}

/* vmaxps gives its second operand when one is NaN, or both are zero of either sign: +0 in each case. */
INLINE void put(float *out, __m128 distances) {
    _mm_storeu_ps(out, _mm_max_ps(distances, _mm_setzero_ps()));
}

/* {sum of a, sum of b, sum of c, sum of d}: interleaving keeps them apart while each add halves the lanes of all. */
INLINE __m128i sum_four(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    const __m256i all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

/* `fixed` lines per vector, known when compiling so that all of them are unrolled; 0: as many as there are. */
INLINE void score_codes(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                        const uint32_t *ahead, uint32_t ahead_count, float *out, bool both, size_t fixed) {
    const size_t lines = fixed ? fixed : p->stride / KERNEL_LINE;
    const size_t stride = lines * KERNEL_LINE;
    const int8_t *code = q->code;
    const uint8_t *high = p->high;
    const uint8_t *low = p->low;
    const float *factor = p->factor;
    const float *norm2 = p->norm2;
    const __m128i offset = _mm_set1_epi32((both ? 128 : 15) * q->code_sum);
    const __m128 scale = _mm_set1_ps(both ? q->scale : 8 * q->scale);
    const __m128 base = _mm_set1_ps(q->base);
    batch_ahead next = batch_ahead_of(ahead, ahead_count, count);
    for (uint32_t j = 0; j < count; j += BATCH) {
        uint32_t s[BATCH];
        batch_pick(s, slots + j, count - j);
        batch_ahead_turn(&next);
        if (fixed) { /* of so few lines, all in one go: to ask before each vector costs 5 to 10 % */
            batch_ahead_codes(&next, p, lines, both);
        }
        __m256i sum[BATCH];
        for (int k = 0; k < BATCH; k++) {
            if (!fixed) {
                batch_ahead_code(&next, p, lines, both);
            }
            sum[k] = both ? dot_both(code, high + s[k] * stride, low + s[k] * stride, lines)
                          : dot_high(code, high + s[k] * stride, lines);
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

TARGET static void score_high(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                              const uint32_t *ahead, uint32_t ahead_count, float *out) {
    if (p->stride == 3 * KERNEL_LINE) {
        score_codes(q, p, slots, count, ahead, ahead_count, out, false, 3);
    } else {
        score_codes(q, p, slots, count, ahead, ahead_count, out, false, 0);
    }
}

TARGET static void score_both(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                              const uint32_t *ahead, uint32_t ahead_count, float *out) {
    if (p->stride == 3 * KERNEL_LINE) {
        score_codes(q, p, slots, count, ahead, ahead_count, out, true, 3);
    } else {
        score_codes(q, p, slots, count, ahead, ahead_count, out, true, 0);
    }
}

#endif
