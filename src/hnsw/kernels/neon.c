/*
 * neon.c - the kernels for 64-bit ARM, with what every such processor has (no dotprod, no i8mm).
 *
 * Vectors go four per turn (batch.h). Sixteen lanes of the contract are four registers. Tails of fewer than four floats
 * are copied into a zeroed register's worth, so the same code serves them; sums start at +0.0 and so are never -0.0
 * (rounding to nearest, -0.0 comes only of -0.0 + -0.0), so the zeros of a tail change no bit.
 *
 * Codes: NEON multiplies bytes of equal signedness only, and a nibble is a signed byte as well as an unsigned one.
 * Products are at most 15 * 127 = 1905 and are added in 16 bits, a line's 16 to each lane (30480) before they are
 * widened.
 *
 * Relies on -ffp-contract=off: the intrinsics of multiply and add are plain operators to the compiler, and must not be
 * fused. For the same reason there is no vmlaq_f32 here, which may be made one instruction in any case.
 */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hnsw/kernels/kernels.h"
#include "hnsw/kernels/restore.h"

#define TARGET /* nothing beyond the architecture itself */
#define INLINE static inline __attribute__((always_inline))

/* ---- codes ---- */

/* Sums of a line of nibbles, in 16 bits. */
INLINE int16x8_t line(const int8_t *code, const uint8_t *nibbles) {
    int16x8_t sum0 = vdupq_n_s16(0);
    int16x8_t sum1 = vdupq_n_s16(0);
    for (size_t i = 0; i < 64; i += 16) {
        const uint8x16_t x = vld1q_u8(nibbles + i);
        const int8x16_t x0 = vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15)));
        const int8x16_t x1 = vreinterpretq_s8_u8(vshrq_n_u8(x, 4));
        const int8x16_t q0 = vld1q_s8(code + i);
        const int8x16_t q1 = vld1q_s8(code + 64 + i);
        sum0 = vmlal_high_s8(vmlal_s8(sum0, vget_low_s8(x0), vget_low_s8(q0)), x0, q0);
        sum1 = vmlal_high_s8(vmlal_s8(sum1, vget_low_s8(x1), vget_low_s8(q1)), x1, q1);
    }
    return vaddq_s16(sum0, sum1);
}

INLINE int32x4_t dot_high(const int8_t *code, const uint8_t *high, size_t lines) {
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t b = 0; b < lines; b++, code += 128, high += 64) {
        sum = vpadalq_s16(sum, line(code, high));
    }
    return sum;
}

INLINE int32x4_t dot_both(const int8_t *code, const uint8_t *high, const uint8_t *low, size_t lines) {
    int32x4_t sum = vdupq_n_s32(0);
    int32x4_t sum16 = vdupq_n_s32(0);
    for (size_t b = 0; b < lines; b++, code += 128, high += 64, low += 64) {
        sum16 = vpadalq_s16(sum16, line(code, high));
        sum = vpadalq_s16(sum, line(code, low));
    }
    return vaddq_s32(sum, vshlq_n_s32(sum16, 4));
}

#include "hnsw/kernels/neon_body.h"

/* ---- floats ---- */

enum encoding { F32, F16, BF16 };

INLINE size_t size_of(enum encoding e) {
    return e == F32 ? 4 : 2;
}

INLINE float32x4_t widen(enum encoding e, uint16x4_t halves) {
    return e == F16 ? vcvt_f32_f16(vreinterpret_f16_u16(halves)) : vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}

/* Values i..i+3. */
INLINE float32x4_t load(enum encoding e, const uint8_t *x, size_t i) {
    return e == F32 ? vld1q_f32((const float *)(const void *)(x + i * 4))
                    : widen(e, vld1_u16((const uint16_t *)(const void *)(x + i * 2)));
}

/* As many of them as are `left`, +0 for the rest. */
INLINE float32x4_t load_some(enum encoding e, const uint8_t *x, size_t i, size_t left) {
    if (left >= 4) {
        return load(e, x, i);
    }
    uint8_t some[16] = {0};
    memcpy(some, x + i * size_of(e), left * size_of(e));
    return load(e, some, 0);
}

/* q * x, or (q - x)^2, or (q - x * factor)^2. */
INLINE float32x4_t term(float32x4_t q, float32x4_t x, float32x4_t factor, enum encoding e, bool squared) {
    if (!squared) {
        return vmulq_f32(q, x);
    }
    const float32x4_t d = vsubq_f32(q, e == F16 ? vmulq_f32(x, factor) : x);
    return vmulq_f32(d, d);
}

/* The tree of the contract for four at once: 16 lanes to four by halves, then across. */
INLINE float32x4_t halve(const float32x4_t sum[4]) {
    return vaddq_f32(vaddq_f32(sum[0], sum[2]), vaddq_f32(sum[1], sum[3]));
}

INLINE float32x4_t low_halves(float32x4_t a, float32x4_t b) {
    return vcombine_f32(vget_low_f32(a), vget_low_f32(b));
}

INLINE float32x4_t high_halves(float32x4_t a, float32x4_t b) {
    return vcombine_f32(vget_high_f32(a), vget_high_f32(b));
}

INLINE float32x4_t reduce_four(float32x4_t sum[BATCH][4]) {
    const float32x4_t a = halve(sum[0]);
    const float32x4_t b = halve(sum[1]);
    const float32x4_t c = halve(sum[2]);
    const float32x4_t d = halve(sum[3]);
    /* {a0 + a2, a1 + a3, b0 + b2, b1 + b3}, the same of c and d; then the even ones to the odd ones. */
    const float32x4_t ab = vaddq_f32(low_halves(a, b), high_halves(a, b));
    const float32x4_t cd = vaddq_f32(low_halves(c, d), high_halves(c, d));
    return vpaddq_f32(ab, cd);
}

INLINE void score_floats(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out, enum encoding e, bool squared) {
    const size_t dimension = p->dimension;
    const bool scaled = !squared || e == F16;
    const uint8_t *query = (const uint8_t *)q->vector;
    const float32x4_t base = vdupq_n_f32(q->base);
    const float32x4_t scale = vdupq_n_f32(q->scale);
    batch_ahead next = batch_ahead_of(ahead, ahead_count, count);
    for (uint32_t j = 0; j < count; j += BATCH) {
        uint32_t s[BATCH];
        batch_pick(s, slots + j, count - j);
        const uint8_t *x[BATCH];
        const uint8_t *y[BATCH];
        float32x4_t sum[BATCH][4]; /* sum[k][n] is lanes 4n .. 4n+3 */
        float32x4_t factor[BATCH];
        for (int k = 0; k < BATCH; k++) {
            x[k] = p->high + s[k] * p->stride;
            factor[k] = vdupq_n_f32(squared && e == F16 ? p->factor[s[k]] : 0);
            for (int n = 0; n < 4; n++) {
                sum[k][n] = vdupq_n_f32(0);
            }
        }
        const bool prefetch = batch_ahead_beside(&next, p, dimension * size_of(e), scaled, x, y);
        size_t i = 0;
        for (; i + 16 <= dimension; i += 16) {
            if (prefetch && i * size_of(e) % KERNEL_LINE == 0) {
                for (int k = 0; k < BATCH; k++) {
                    batch_prefetch_line(y[k] + i * size_of(e));
                }
            }
            for (size_t n = 0; n < 4; n++) {
                const float32x4_t v = load(F32, query, i + 4 * n);
                for (int k = 0; k < BATCH; k++) {
                    sum[k][n] = vaddq_f32(sum[k][n], term(v, load(e, x[k], i + 4 * n), factor[k], e, squared));
                }
            }
        }
        for (size_t n = 0; n < 4 && i + 4 * n < dimension; n++) {
            const size_t left = dimension - i - 4 * n;
            const float32x4_t v = load_some(F32, query, i + 4 * n, left);
            /* Masked, since nothing times an infinite factor is no number. */
            const uint32x4_t mask = vcltq_u32((uint32x4_t){0, 1, 2, 3}, vdupq_n_u32((uint32_t)left));
            for (int k = 0; k < BATCH; k++) {
                const float32x4_t t = term(v, load_some(e, x[k], i + 4 * n, left), factor[k], e, squared);
                sum[k][n] = vaddq_f32(sum[k][n], vbslq_f32(mask, t, vdupq_n_f32(0)));
            }
        }
        const float32x4_t four = reduce_four(sum);
        put(out + j, squared ? four : vsubq_f32(base, vmulq_f32(four, vmulq_f32(scale, four_of(p->factor, s)))));
    }
    batch_ahead_turn(&next);
    batch_ahead_floats(&next, p, dimension * size_of(e), scaled);
}

void kernels_neon_dot_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F32, false);
}

void kernels_neon_dot_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F16, false);
}

void kernels_neon_dot_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                           const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, BF16, false);
}

void kernels_neon_l2_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F32, true);
}

void kernels_neon_l2_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                         const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, F16, true);
}

void kernels_neon_l2_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                          const uint32_t *ahead, uint32_t ahead_count, float *out) {
    score_floats(q, p, slots, count, ahead, ahead_count, out, BF16, true);
}

INLINE float64x2_t add_exact(float64x2_t sum, float64x2_t x, float64x2_t y, bool squared) {
    if (squared) {
        const float64x2_t d = vsubq_f64(x, y);
        return vaddq_f64(sum, vmulq_f64(d, d));
    }
    return vaddq_f64(sum, vmulq_f64(x, y));
}

INLINE void add_exact_four(float64x2_t lane[2], float32x4_t x, float32x4_t y, bool squared) {
    lane[0] = add_exact(lane[0], vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)), squared);
    lane[1] = add_exact(lane[1], vcvt_high_f64_f32(x), vcvt_high_f64_f32(y), squared);
}

INLINE double exact(const float *a, const float *b, size_t dimension, bool squared) {
    float64x2_t lane[8]; /* lane[n] is lanes 2n and 2n + 1 */
    for (int n = 0; n < 8; n++) {
        lane[n] = vdupq_n_f64(0);
    }
    size_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        for (int n = 0; n < 8; n += 2) {
            add_exact_four(lane + n, vld1q_f32(a + i + 2 * n), vld1q_f32(b + i + 2 * n), squared);
        }
    }
    for (int n = 0; i < dimension; i += 4, n += 2) {
        const float32x4_t x = load_some(F32, (const uint8_t *)a, i, dimension - i);
        const float32x4_t y = load_some(F32, (const uint8_t *)b, i, dimension - i);
        add_exact_four(lane + n, x, y, squared);
    }
    for (int half = 4; half > 0; half /= 2) {
        for (int n = 0; n < half; n++) {
            lane[n] = vaddq_f64(lane[n], lane[n + half]);
        }
    }
    return vgetq_lane_f64(lane[0], 0) + vgetq_lane_f64(lane[0], 1);
}

double kernels_neon_exact_dot(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, false);
}

double kernels_neon_exact_l2(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, true);
}

/* ---- to codes and back ---- */

/* A NaN among the values is passed over, see put. */
float kernels_neon_max_abs(const float *a, size_t dimension) {
    float32x4_t most = vdupq_n_f32(0);
    for (size_t i = 0; i < dimension; i += 4) {
        const float32x4_t v = vabsq_f32(load_some(F32, (const uint8_t *)a, i, dimension - i));
        most = vbslq_f32(vcgtq_f32(v, most), v, most);
    }
    return vmaxvq_f32(most);
}

int32_t kernels_neon_quantize(const float *a, size_t dimension, float inverse_scale, int8_t *code, size_t size) {
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < dimension; i += 4) {
        const size_t left = dimension - i;
        const float32x4_t v = load_some(F32, (const uint8_t *)a, i, left);
        /* Zeros come out of the lanes of a tail whatever the scale. */
        const uint32x4_t mask = vcltq_u32((uint32x4_t){0, 1, 2, 3}, vdupq_n_u32((uint32_t)(left < 4 ? left : 4)));
        const int32x4_t c = vandq_s32(vcvtnq_s32_f32(vmulq_n_f32(v, inverse_scale)), vreinterpretq_s32_u32(mask));
        const int16x4_t words = vmovn_s32(c);
        int8_t bytes[8];
        sum = vaddq_s32(sum, c);
        vst1_s8(bytes, vmovn_s16(vcombine_s16(words, words)));
        memcpy(code + i, bytes, left < 4 ? left : 4);
    }
    if (size > dimension) {
        memset(code + dimension, 0, size - dimension);
    }
    return vaddvq_s32(sum);
}

/* code + 128 is the code with its top bit flipped; sri and sli shift one operand in beside what stays of the other. */
void kernels_neon_pack(const int8_t *code, size_t size, uint8_t *high, uint8_t *low) {
    const uint8x16_t top = vdupq_n_u8(0x80);
    for (size_t i = 0; i < size / 2; i += 16) {
        const int8_t *c = code + i / KERNEL_LINE * KERNEL_LINE_CODES + i % KERNEL_LINE;
        const uint8x16_t u0 = veorq_u8(vreinterpretq_u8_s8(vld1q_s8(c)), top);
        const uint8x16_t u1 = veorq_u8(vreinterpretq_u8_s8(vld1q_s8(c + KERNEL_LINE)), top);
        vst1q_u8(high + i, vsriq_n_u8(u1, u0, 4));
        vst1q_u8(low + i, vsliq_n_u8(u0, u1, 4));
    }
}

int32_t kernels_neon_sum(const int8_t *code, size_t size) {
    int32x4_t total = vdupq_n_s32(0);
    for (size_t i = 0; i < size; i += 16) {
        total = vpadalq_s16(total, vpaddlq_s8(vld1q_s8(code + i)));
    }
    return vaddvq_s32(total);
}

void kernels_neon_unpack(const uint8_t *high, const uint8_t *low, size_t size, int8_t *code) {
    const uint8x16_t top = vdupq_n_u8(0x80);
    for (size_t i = 0; i < size / 2; i += 16) {
        int8_t *c = code + i / KERNEL_LINE * KERNEL_LINE_CODES + i % KERNEL_LINE;
        const uint8x16_t h = vld1q_u8(high + i);
        const uint8x16_t l = low ? vld1q_u8(low + i) : vdupq_n_u8(0x88);
        vst1q_s8(c, vreinterpretq_s8_u8(veorq_u8(vsliq_n_u8(l, h, 4), top)));
        vst1q_s8(c + KERNEL_LINE, vreinterpretq_s8_u8(veorq_u8(vsriq_n_u8(h, l, 4), top)));
    }
}

/* Four values of codes other than zero.
 *
 * What the contract says of the upper byte, r + d less the 24 bits, is that of r - rest24 + 0x7fffff: one more when the
 * 24 bits of r are ahead of the rest by more than half their range. The sign of the code, which its product with the
 * scale has too, is above all that. */
INLINE float32x4_t restore_four(int16x4_t code, uint16x4_t rest16, uint16x4_t rest8, float scale) {
    const int32x4_t c = vmovl_s16(code);
    const uint32x4_t rest = vorrq_u32(vmovl_u16(rest16), vshll_n_u16(rest8, 16));
    const uint32x4_t near_by = vreinterpretq_u32_f32(vmulq_n_f32(vcvtq_f32_s32(c), scale));
    const uint32x4_t upper = vaddq_u32(vsubq_u32(near_by, rest), vdupq_n_u32(0x7fffff - 0x100000));
    const uint32x4_t bits = vbslq_u32(vdupq_n_u32(0x7f000000), upper, rest);
    return vreinterpretq_f32_u32(vbslq_u32(vdupq_n_u32(0x80000000), vreinterpretq_u32_s32(c), bits));
}

/* Zero codes are few: eight values are restored as if there were none, then those lanes are overwritten one by one. */
void kernels_neon_restore(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, float scale,
                          const uint8_t *exceptions, bool sparse, size_t dimension, float *out) {
    size_t i = 0;
    for (; i + 8 <= dimension; i += 8) {
        const int8x8_t bytes = vld1_s8(code + i);
        const int16x8_t c = vmovl_s8(bytes);
        const uint16x8_t low = vld1q_u16(rest16 + i);
        const uint16x8_t high = vmovl_u8(vld1_u8(rest8 + i));
        vst1q_f32(out + i, restore_four(vget_low_s16(c), vget_low_u16(low), vget_low_u16(high), scale));
        vst1q_f32(out + i + 4, restore_four(vget_high_s16(c), vget_high_u16(low), vget_high_u16(high), scale));
        uint64_t zero = vget_lane_u64(vreinterpret_u64_u8(vceqz_s8(bytes)), 0); /* a byte of ones each */
        while (zero != 0) {
            const int lane = __builtin_ctzll(zero) / 8;
            const size_t at = i + (size_t)lane;
            out[at] = restore_one(0, rest16[at] | (uint32_t)rest8[at] << 16, scale, &exceptions, sparse);
            zero &= ~(UINT64_C(0xff) << 8 * lane);
        }
    }
    for (; i < dimension; i++) {
        out[i] = restore_one(code[i], rest16[i] | (uint32_t)rest8[i] << 16, scale, &exceptions, sparse);
    }
}

const hnsw_kernels kernels_neon = {
    .name = "neon",
    .score_high = score_high,
    .score_both = score_both,
    .dot_f32 = kernels_neon_dot_f32,
    .dot_f16 = kernels_neon_dot_f16,
    .dot_bf16 = kernels_neon_dot_bf16,
    .l2_f32 = kernels_neon_l2_f32,
    .l2_f16 = kernels_neon_l2_f16,
    .l2_bf16 = kernels_neon_l2_bf16,
    .exact_dot = kernels_neon_exact_dot,
    .exact_l2 = kernels_neon_exact_l2,
    .max_abs = kernels_neon_max_abs,
    .quantize = kernels_neon_quantize,
    .pack = kernels_neon_pack,
    .unpack = kernels_neon_unpack,
    .sum = kernels_neon_sum,
    .restore = kernels_neon_restore,
};
#endif
