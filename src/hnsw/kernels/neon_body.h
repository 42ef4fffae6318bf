/*
 * neon_body.h - what the sets for 64-bit ARM share: the scores of codes around an inner product of one's own, and the
 * names of all else, which is compiled once, in neon.c.
 *
 * The file that includes this defines before: TARGET, the attribute of its functions; INLINE; and
 *   int32x4_t dot_high(code, high, lines)       lanes whose sum is dot(code, high), of one vector
 *   int32x4_t dot_both(code, high, low, lines)  lanes whose sum is 16 * dot(code, high) + dot(code, low)
 * An inline function taking these as pointers would not do: it would have to be of one target, and they are of two.
 */
#ifndef VECTORD_HNSW_KERNELS_NEON_BODY_H
#define VECTORD_HNSW_KERNELS_NEON_BODY_H

#include "hnsw/kernels/batch.h"
#include "hnsw/kernels/kernels.h"

void kernels_neon_dot_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_neon_dot_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_neon_dot_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                           const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_neon_l2_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_neon_l2_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out);
void kernels_neon_l2_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out);
double kernels_neon_exact_dot(const float *a, const float *b, size_t dimension);
double kernels_neon_exact_l2(const float *a, const float *b, size_t dimension);
float kernels_neon_max_abs(const float *a, size_t dimension);
int32_t kernels_neon_quantize(const float *a, size_t dimension, float inverse_scale, int8_t *code, size_t size);
void kernels_neon_pack(const int8_t *code, size_t size, uint8_t *high, uint8_t *low);
int32_t kernels_neon_sum(const int8_t *code, size_t size);
void kernels_neon_unpack(const uint8_t *high, const uint8_t *low, size_t size, int8_t *code);
void kernels_neon_restore(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, float scale,
                          const uint8_t *exceptions, bool sparse, size_t dimension, float *out);

INLINE float32x4_t four_of(const float *values, const uint32_t s[BATCH]) {
    const float four[BATCH] = {values[s[0]], values[s[1]], values[s[2]], values[s[3]]};
    return vld1q_f32(four);
}

/* Compare and select rather than vmaxq_f32, which would return a NaN: that is +0 here, and so is -0. */
INLINE void put(float *out, float32x4_t distances) {
    const float32x4_t zero = vdupq_n_f32(0);
    vst1q_f32(out, vbslq_f32(vcgtq_f32(distances, zero), distances, zero));
}

INLINE void score_codes(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                        const uint32_t *ahead, uint32_t ahead_count, float *out, bool both) {
    const size_t lines = p->stride / KERNEL_LINE;
    const int8_t *code = q->code;
    const uint8_t *high = p->high;
    const uint8_t *low = p->low;
    const float *norm2 = p->norm2;
    const int32x4_t offset = vdupq_n_s32((both ? 128 : 15) * q->code_sum);
    const float32x4_t scale = vdupq_n_f32(both ? q->scale : 8 * q->scale);
    const float32x4_t base = vdupq_n_f32(q->base);
    batch_ahead next = batch_ahead_of(ahead, ahead_count, count);
    for (uint32_t j = 0; j < count; j += BATCH) {
        uint32_t s[BATCH];
        batch_pick(s, slots + j, count - j);
        batch_ahead_turn(&next);
        int32x4_t sum[BATCH];
        for (int k = 0; k < BATCH; k++) {
            batch_ahead_code(&next, p, lines, both);
            const size_t at = s[k] * p->stride;
            sum[k] = both ? dot_both(code, high + at, low + at, lines) : dot_high(code, high + at, lines);
        }
        batch_ahead_codes(&next, p, lines, both);
        const int32x4_t dot = vpaddq_s32(vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3]));
        const int32x4_t whole = vsubq_s32(both ? dot : vaddq_s32(dot, dot), offset);
        const float32x4_t product = vmulq_f32(vcvtq_f32_s32(whole), vmulq_f32(scale, four_of(p->factor, s)));
        put(out + j, vsubq_f32(norm2 ? vaddq_f32(base, four_of(norm2, s)) : base, product));
    }
    batch_ahead_turn(&next);
    batch_ahead_codes(&next, p, lines, both);
}

TARGET static void score_high(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                              const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, false);
}

TARGET static void score_both(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                              const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_codes(q, p, slots, count, ahead, ahead_count, out, true);
}

#endif
