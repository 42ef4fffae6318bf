/*
 * neondot.c - the kernels for 64-bit ARM with dotprod (most since 2018).
 *
 * Only the inner products of codes are of its own; all else is that of neon.c. sdot adds four products of signed bytes
 * to a lane; a nibble is a signed byte as well as an unsigned one.
 */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

/* gcc and clang write the same extension differently. */
#if defined(__clang__)
#define TARGET __attribute__((target("dotprod")))
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define INLINE TARGET static inline __attribute__((always_inline))

INLINE int8x16_t lower(uint8x16_t x) {
    return vreinterpretq_s8_u8(vandq_u8(x, vdupq_n_u8(15)));
}

INLINE int8x16_t upper(uint8x16_t x) {
    return vreinterpretq_s8_u8(vshrq_n_u8(x, 4));
}

/* To each lane four products. An older clang has the intrinsic only when all of the file is for dotprod. */
INLINE int32x4_t add_four(int32x4_t sum, int8x16_t a, int8x16_t b) {
#if defined(__clang__) && __clang_major__ < 16
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
#else
    return vdotq_s32(sum, a, b);
#endif
}

INLINE int32x4_t dot_high(const int8_t *code, const uint8_t *high, size_t lines) {
    int32x4_t sum0 = vdupq_n_s32(0);
    int32x4_t sum1 = vdupq_n_s32(0);
    for (size_t b = 0; b < lines; b++, code += 128, high += 64) {
        for (size_t i = 0; i < 64; i += 16) {
            const uint8x16_t x = vld1q_u8(high + i);
            sum0 = add_four(sum0, lower(x), vld1q_s8(code + i));
            sum1 = add_four(sum1, upper(x), vld1q_s8(code + 64 + i));
        }
    }
    return vaddq_s32(sum0, sum1);
}

INLINE int32x4_t dot_both(const int8_t *code, const uint8_t *high, const uint8_t *low, size_t lines) {
    int32x4_t sum = vdupq_n_s32(0);
    int32x4_t sum16 = vdupq_n_s32(0);
    for (size_t b = 0; b < lines; b++, code += 128, high += 64, low += 64) {
        for (size_t i = 0; i < 64; i += 16) {
            const uint8x16_t h = vld1q_u8(high + i);
            const uint8x16_t l = vld1q_u8(low + i);
            const int8x16_t q0 = vld1q_s8(code + i);
            const int8x16_t q1 = vld1q_s8(code + 64 + i);
            sum16 = add_four(add_four(sum16, lower(h), q0), upper(h), q1);
            sum = add_four(add_four(sum, lower(l), q0), upper(l), q1);
        }
    }
    return vaddq_s32(sum, vshlq_n_s32(sum16, 4));
}

#include "hnsw/kernels/neon_body.h"

const hnsw_kernels kernels_neondot = {
    .name = "neondot",
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
