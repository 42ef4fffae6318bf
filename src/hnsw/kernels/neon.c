/*
 * neon.c - the kernels for 64-bit ARM, with what every such processor has (no dotprod, no i8mm).
 *
 * Vectors go four per turn (batch.h). Tails of fewer than four floats are copied into a zeroed register's worth, so the
 * same code serves them.
 *
 * NEON multiplies bytes of equal signedness only. A code with its top bit flipped is code - 128 as a signed byte, so
 * sum(query * code) = sum(query * (code - 128)) + 128 * sum(query), the same integer as everywhere; the last term is one
 * per query.
 *
 * Relies on the caller for prefetching, and on -ffp-contract=off: the intrinsics of multiply and add are plain operators to
 * the compiler, and exact_l2 must not have them fused.
 */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

#include "hnsw/kernels/batch.h"
#include "hnsw/kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Up to four floats from p, the rest +0.0; left >= 1. */
INLINE float32x4_t load_some(const float *p, size_t left) {
    if (left >= 4) {
        return vld1q_f32(p);
    }
    float some[4] = {0};
    memcpy(some, p, left * sizeof *p);
    return vld1q_f32(some);
}

/* 128 * sum(query), what the flipped top bits take away. */
static int32_t offset_of(const int8_t *query, size_t size) {
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < size; i += 16) {
        sum = vpadalq_s16(sum, vpaddlq_s8(vld1q_s8(query + i)));
    }
    return 128 * vaddvq_s32(sum);
}

/* A product is at most 128 * 128 in size, so it fits 16 bits; pairs are added into 32. */
static void dot_codes(const int8_t *query, const uint8_t *codes, size_t stride, const uint32_t *slots, size_t count,
                      size_t size, int32_t *out) {
    const int32_t offset = offset_of(query, size);
    const uint8x16_t top_bit = vdupq_n_u8(0x80);
    for (size_t j = 0; j < count; j += BATCH) {
        const size_t left = count - j;
        const uint8_t *x[BATCH];
        BATCH_PICK(x, codes, stride, slots + j, left);
        int32x4_t sum[BATCH];
        for (int k = 0; k < BATCH; k++) {
            sum[k] = vdupq_n_s32(0);
        }
        for (size_t i = 0; i < size; i += 16) {
            const int8x16_t q = vld1q_s8(query + i);
            for (int k = 0; k < BATCH; k++) {
                const int8x16_t c = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x[k] + i), top_bit));
                sum[k] = vpadalq_s16(sum[k], vmull_s8(vget_low_s8(c), vget_low_s8(q)));
                sum[k] = vpadalq_s16(sum[k], vmull_high_s8(c, q));
            }
        }
        for (size_t k = 0; k < BATCH && k < left; k++) {
            out[j + k] = vaddvq_s32(sum[k]) + offset;
        }
    }
}

/* sum + q * x, or sum + (q - x)^2. */
INLINE float32x4_t step_f32(float32x4_t sum, float32x4_t q, float32x4_t x, int squared) {
    if (squared) {
        const float32x4_t d = vsubq_f32(q, x);
        return vfmaq_f32(sum, d, d);
    }
    return vfmaq_f32(sum, q, x);
}

INLINE void score_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                      size_t dimension, float *out, int squared) {
    for (size_t j = 0; j < count; j += BATCH) {
        const size_t left = count - j;
        const float *x[BATCH];
        BATCH_PICK(x, vectors, stride, slots + j, left);
        float32x4_t even[BATCH];
        float32x4_t odd[BATCH];
        for (int k = 0; k < BATCH; k++) {
            even[k] = odd[k] = vdupq_n_f32(0);
        }
        size_t i = 0;
        for (; i + 8 <= dimension; i += 8) {
            const float32x4_t q0 = vld1q_f32(query + i);
            const float32x4_t q1 = vld1q_f32(query + i + 4);
            for (int k = 0; k < BATCH; k++) {
                even[k] = step_f32(even[k], q0, vld1q_f32(x[k] + i), squared);
                odd[k] = step_f32(odd[k], q1, vld1q_f32(x[k] + i + 4), squared);
            }
        }
        for (; i < dimension; i += 4) {
            const float32x4_t q = load_some(query + i, dimension - i);
            for (int k = 0; k < BATCH; k++) {
                even[k] = step_f32(even[k], q, load_some(x[k] + i, dimension - i), squared);
            }
        }
        for (size_t k = 0; k < BATCH && k < left; k++) {
            out[j + k] = vaddvq_f32(vaddq_f32(even[k], odd[k]));
        }
    }
}

static void dot_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                    size_t dimension, float *out) {
    score_f32(query, vectors, stride, slots, count, dimension, out, 0);
}

static void l2_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                   size_t dimension, float *out) {
    score_f32(query, vectors, stride, slots, count, dimension, out, 1);
}

INLINE float64x2_t add_exact(float64x2_t sum, float64x2_t x, float64x2_t y, int squared) {
    if (squared) {
        const float64x2_t d = vsubq_f64(x, y);
        return vaddq_f64(sum, vmulq_f64(d, d));
    }
    return vaddq_f64(sum, vmulq_f64(x, y));
}

/* Lane sums start at +0.0 and so are never -0.0 (rounding to nearest, -0.0 comes only of -0.0 + -0.0): the zeros of a tail
 * change no bit. */
INLINE double exact(const float *a, const float *b, size_t dimension, int squared) {
    float64x2_t lane[8]; /* lane[n] is lanes 2n and 2n + 1 */
    for (int n = 0; n < 8; n++) {
        lane[n] = vdupq_n_f64(0);
    }
    size_t i = 0;
    for (; i + 16 <= dimension; i += 16) {
        for (int n = 0; n < 8; n += 2) {
            const float32x4_t x = vld1q_f32(a + i + 2 * n);
            const float32x4_t y = vld1q_f32(b + i + 2 * n);
            lane[n] = add_exact(lane[n], vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)), squared);
            lane[n + 1] = add_exact(lane[n + 1], vcvt_high_f64_f32(x), vcvt_high_f64_f32(y), squared);
        }
    }
    for (int n = 0; i < dimension; i += 4, n += 2) {
        const float32x4_t x = load_some(a + i, dimension - i);
        const float32x4_t y = load_some(b + i, dimension - i);
        lane[n] = add_exact(lane[n], vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)), squared);
        lane[n + 1] = add_exact(lane[n + 1], vcvt_high_f64_f32(x), vcvt_high_f64_f32(y), squared);
    }
    for (int half = 4; half > 0; half /= 2) {
        for (int n = 0; n < half; n++) {
            lane[n] = vaddq_f64(lane[n], lane[n + half]);
        }
    }
    return vgetq_lane_f64(lane[0], 0) + vgetq_lane_f64(lane[0], 1);
}

static double exact_dot(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, 0);
}

static double exact_l2(const float *a, const float *b, size_t dimension) {
    return exact(a, b, dimension, 1);
}

/* Compare and select rather than vmaxq_f32, which would return a NaN: `v > most ? v : most` passes over it. */
static float max_abs(const float *a, size_t dimension) {
    float32x4_t most = vdupq_n_f32(0);
    for (size_t i = 0; i < dimension; i += 4) {
        const float32x4_t v = vabsq_f32(load_some(a + i, dimension - i));
        most = vbslq_f32(vcgtq_f32(v, most), v, most);
    }
    return vmaxvq_f32(most);
}

static int32_t encode(const float *a, size_t dimension, float inverse_scale, uint8_t *codes, size_t size) {
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < dimension; i += 4) {
        const size_t left = dimension - i;
        const int32x4_t c = vcvtnq_s32_f32(vmulq_n_f32(load_some(a + i, left), inverse_scale));
        const int16x4_t wide = vmovn_s32(vaddq_s32(c, vdupq_n_s32(128)));
        uint8_t bytes[8];
        sum = vaddq_s32(sum, c);
        vst1_u8(bytes, vreinterpret_u8_s8(vmovn_s16(vcombine_s16(wide, wide))));
        memcpy(codes + i, bytes, left < 4 ? left : 4);
    }
    if (size > dimension) {
        memset(codes + dimension, 128, size - dimension);
    }
    return vaddvq_s32(sum);
}

const hnsw_kernels kernels_neon = {
    .name = "neon",
    .dot_codes = dot_codes,
    .dot_f32 = dot_f32,
    .l2_f32 = l2_f32,
    .exact_dot = exact_dot,
    .exact_l2 = exact_l2,
    .max_abs = max_abs,
    .encode = encode,
};
#endif
