/*
 * avx2vnni.c - the kernels for x86-64 with AVX2 and AVX-VNNI (the desktop processors since 2021 that have no AVX-512).
 *
 * Only the inner products of codes are of its own; all else is that of avx2.c. vpdpbusd adds four products of an
 * unsigned and a signed byte to a lane without saturation. So upper nibbles are left where they are, as 16 times their
 * value, and it is their sum that is shifted.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define TARGET __attribute__((target("avx2,f16c,avxvnni")))
#define INLINE TARGET static inline __attribute__((always_inline))

INLINE __m256i load(const void *p) {
    return _mm256_load_si256((const __m256i *)p);
}

INLINE __m256i lower_of(__m256i x) {
    return _mm256_and_si256(x, _mm256_set1_epi8(0x0f));
}

INLINE __m256i upper_of(__m256i x) {
    return _mm256_and_si256(x, _mm256_set1_epi8((char)0xf0));
}

INLINE __m256i dot_high(const int8_t *code, const uint8_t *high, size_t lines) {
    __m256i sum = _mm256_setzero_si256();
    __m256i sum16 = _mm256_setzero_si256();
    for (size_t b = 0; b < lines; b++, code += 128, high += 64) {
        for (size_t i = 0; i < 64; i += 32) {
            const __m256i h = load(high + i);
            sum = _mm256_dpbusd_avx_epi32(sum, lower_of(h), load(code + i));
            sum16 = _mm256_dpbusd_avx_epi32(sum16, upper_of(h), load(code + 64 + i));
        }
    }
    return _mm256_add_epi32(sum, _mm256_srai_epi32(sum16, 4));
}

/* Four sums for the four kinds of nibbles: to put the codes together first would take two shifts more and save two
 * products only. */
INLINE __m256i dot_both(const int8_t *code, const uint8_t *high, const uint8_t *low, size_t lines) {
    __m256i high0 = _mm256_setzero_si256();
    __m256i high1 = _mm256_setzero_si256();
    __m256i low0 = _mm256_setzero_si256();
    __m256i low1 = _mm256_setzero_si256();
    for (size_t b = 0; b < lines; b++, code += 128, high += 64, low += 64) {
        for (size_t i = 0; i < 64; i += 32) {
            const __m256i h = load(high + i);
            const __m256i l = load(low + i);
            high0 = _mm256_dpbusd_avx_epi32(high0, lower_of(h), load(code + i));
            high1 = _mm256_dpbusd_avx_epi32(high1, upper_of(h), load(code + 64 + i));
            low0 = _mm256_dpbusd_avx_epi32(low0, lower_of(l), load(code + i));
            low1 = _mm256_dpbusd_avx_epi32(low1, upper_of(l), load(code + 64 + i));
        }
    }
    return _mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(high0, 4), high1),
                            _mm256_add_epi32(low0, _mm256_srai_epi32(low1, 4)));
}

#include "hnsw/kernels/avx2_body.h"

const hnsw_kernels kernels_avx2vnni = {
    .name = "avx2vnni",
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
