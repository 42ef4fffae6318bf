/*
 * kernels.h - the arithmetic of the engine, one table of functions per instruction set, chosen once.
 *
 * Contract on every instruction set:
 *   dot_codes  integers: identical everywhere.
 *   exact_*    doubles: bit-identical everywhere. Element i goes to lane i % 16; each lane is summed in order of i with a
 *              separate multiply and add; then lanes are reduced as a tree: l[j] += l[j+8] (j<8), l[j] += l[j+4] (j<4),
 *              l[j] += l[j+2] (j<2), l[0] + l[1]. A product of two floats is exact in double, so dot needs no care; the
 *              square in l2 does: (double)a - (double)b is rounded, squared, rounded, added.
 *   *_f32_n    float32: only for walking the graph; may differ in the last bits between instruction sets.
 * No function reads past the lengths it is given.
 */
#ifndef VECTORD_HNSW_KERNELS_H
#define VECTORD_HNSW_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define KERNEL_CODE_PAD                                                                                                \
    64 /* code vectors are padded to this many bytes with 128 (zero), queries with 0, and 64-byte aligned */

typedef struct hnsw_kernels {
    const char *name; /* "scalar", "avx2", "avx512", "neon" */
    /* out[j] = sum over i < size of query[i] * (int)codes[slots[j] * stride + i], for j < count; size is a multiple of 64,
     * codes and query 64-byte aligned. */
    void (*dot_codes)(const int8_t *query, const uint8_t *codes, size_t stride, const uint32_t *slots, size_t count,
                      size_t size, int32_t *out);
    /* out[j] = dot(query, vectors + slots[j] * stride); stride in floats; any dimension, any alignment of 4. */
    void (*dot_f32)(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                    size_t dimension, float *out);
    /* out[j] = sum of squared differences. */
    void (*l2_f32)(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                   size_t dimension, float *out);
    double (*exact_dot)(const float *a, const float *b, size_t dimension);
    double (*exact_l2)(const float *a, const float *b, size_t dimension); /* the sum, not its root */
    float (*max_abs)(const float *a, size_t dimension);
    /* codes[i] = 128 + rint(a[i] * inverse_scale) for i < dimension (result within 1..255 by the caller's choice of scale),
     * 128 for dimension <= i < size; returns the sum of (codes[i] - 128). Ties to even; identical everywhere. */
    int32_t (*encode)(const float *a, size_t dimension, float inverse_scale, uint8_t *codes, size_t size);
} hnsw_kernels;

extern const hnsw_kernels kernels_scalar;
#if defined(__x86_64__)
extern const hnsw_kernels kernels_avx2;   /* AVX2 + FMA */
extern const hnsw_kernels kernels_avx512; /* F, BW, VL, DQ, VNNI */
#elif defined(__aarch64__)
extern const hnsw_kernels kernels_neon;
#endif

/* The best set this machine has, or the one VECTORD_CPU names when the machine has it. Never NULL. */
const hnsw_kernels *kernels_select(void);
/* By name, if this machine can run it; else NULL (tests walk all of them). */
const hnsw_kernels *kernels_find(const char *name);

#endif
