/*
 * kernels.h - the arithmetic of the engine, one table of functions per instruction set, chosen once.
 *
 * Contract on every instruction set: THE SAME BITS. Integers are exact; floating point is added in one fixed order with separate
 * multiplies and adds (no fused multiply-add anywhere), so that a graph built on one processor is the graph built on any.
 *
 *   order      Element i goes to lane i % 16; each lane is summed in order of i with a separate multiply and add, starting from
 *              +0; then lanes are reduced as a tree: l[j] += l[j+8] (j<8), l[j] += l[j+4] (j<4), l[j] += l[j+2] (j<2),
 *              l[0] + l[1]. exact_*: in double (a product of two float32 is exact there; the square in l2 is rounded before it is
 *              added). score_f*: the same in float32, every product and every difference rounded to float32.
 *
 * Codes. A component is an integer -127..127 times the vector's scale. Stored, it is biased to u = code + 128 (1..255) and its two
 * halves lie in two planes, so that a walk can read the upper halves alone (half the bytes) and whoever wants all eight bits adds
 * the other plane: 16 * high + low = u. Byte j (0..63) of line b of a plane holds the nibble of component 128 b + j in its lower
 * four bits and that of component 128 b + 64 + j in its upper four. Components beyond the dimension are u = 128. A query is its
 * signed code in natural order, zeros beyond the dimension.
 *
 * No function reads past the lengths it is given, but for prefetching.
 */
#ifndef VECTORD_HNSW_KERNELS_H
#define VECTORD_HNSW_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_LINE       64  /* bytes; planes of codes are aligned to it and a multiple of it per slot */
#define KERNEL_LINE_CODES 128 /* components per line of nibbles: a query code is padded to a multiple of it with 0 */
#define KERNEL_OUT_PAD                                                                                                 \
    16 /* score functions may write results up to the next multiple of this; what is there means nothing */

/* What distances are asked for. Fields that a function does not use may hold anything. */
typedef struct kernel_query {
    const int8_t *code;  /* codes: [2 * stride of the plane], 64-byte aligned */
    const float *vector; /* floats: [dimension] */
    int32_t code_sum;    /* sum of `code` */
    float base;          /* see `score` below */
    float scale;
} kernel_query;

/* Where the vectors lie. */
typedef struct kernel_plane {
    const uint8_t *high; /* codes: upper nibbles. Floats: the values themselves, 4- or 2-byte, aligned to their size */
    const uint8_t *low;  /* score_both: lower nibbles */
    size_t stride;       /* bytes per slot, of either plane; codes: a multiple of 64 */
    size_t dimension;    /* floats: values per vector */
    const float *factor; /* [slot] */
    const float *norm2;  /* [slot]; NULL: 0 for all */
} kernel_plane;

/*
 * out[i] = the distance of slots[i], i < count, never below +0 (max(d, +0); a NaN gives +0):
 *   score_high   (base + norm2[slot]) - (float)(2 * dot(code, high) - 15 * code_sum) * ((8 * scale) * factor[slot])
 *   score_both   (base + norm2[slot]) - (float)(16 * dot(code, high) + dot(code, low) - 128 * code_sum) * (scale * factor[slot])
 *   dot_f32/16   base - dot(vector, x) * (scale * factor[slot])
 *   l2_f32/bf16  sum (vector[i] - x[i])^2
 *   l2_f16       sum (vector[i] - x[i] * factor[slot])^2
 * f16 is IEEE binary16 (subnormals count), bf16 the upper half of a float32 (no rounding, subnormals count: widened by a shift).
 * Every float operation as written, in that order, rounded to float32. norm2 NULL: base stands alone.
 * `ahead`: slots whose vectors will be asked for next; they are prefetched in between, a few for each few computed, since a burst
 * of prefetches stalls on the processor's fill buffers while spread ones run beside the arithmetic. Every 64-byte line of the
 * planes that the function itself reads, and the cache line of factor. May be empty (NULL, 0); any length.
 */
typedef void (*kernel_score)(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                             const uint32_t *ahead, uint32_t ahead_count, float *out);

typedef struct hnsw_kernels {
    const char *name; /* "scalar", "avx2", "avx2vnni", "avx512", "neon", "neondot" */
    kernel_score score_high, score_both;
    kernel_score dot_f32, dot_f16, dot_bf16;
    kernel_score l2_f32, l2_f16, l2_bf16;
    double (*exact_dot)(const float *a, const float *b, size_t dimension);
    double (*exact_l2)(const float *a, const float *b, size_t dimension); /* the sum, not its root */
    float (*max_abs)(const float *a, size_t dimension);                   /* a NaN among them is passed over */
    /* code[i] = rint(a[i] * inverse_scale), ties to even, for i < dimension (within -127..127 by the caller's choice of scale); 0
     * for dimension <= i < size. Returns their sum. */
    int32_t (*quantize)(const float *a, size_t dimension, float inverse_scale, int8_t *code, size_t size);
    /* Between a signed code of `size` components (a multiple of 128) and its two planes' size / 2 bytes each. unpack with low
     * NULL: as if every lower nibble were 8. All 64-byte aligned. */
    void (*pack)(const int8_t *code, size_t size, uint8_t *high, uint8_t *low);
    void (*unpack)(const uint8_t *high, const uint8_t *low, size_t size, int8_t *code);
    int32_t (*sum)(const int8_t *code, size_t size); /* of all components; aligned and padded as above */
    /*
     * The exact float32 values from a code and what was kept beside it. rest16[i] and rest8[i] are bits 0..15 and 16..23 of value
     * i. For code[i] != 0 the value has the sign of code[i] and the magnitude whose bits are nearest to those of |code[i]| * scale
     * among all that end in these 24 (in the sense: r = bits(|code| * scale) - 0x100000; the answer is r + d, where d is
     * (rest24 - r) mod 2^24 taken as a signed 24-bit number; all mod 2^32, and the sign bit set from the code). For code[i] == 0
     * the upper byte comes from `exceptions`, one byte each in order of i; but when `sparse`, a zero code whose 24 bits are all zero
     * is +0.0 and takes none. `exceptions` may be NULL when none is needed. code: [dimension] and readable to the next multiple
     * of 128; rest16, rest8: any alignment (rest16 of 2).
     */
    void (*restore)(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, float scale,
                    const uint8_t *exceptions, bool sparse, size_t dimension, float *out);
} hnsw_kernels;

extern const hnsw_kernels kernels_scalar;
#if defined(__x86_64__)
extern const hnsw_kernels kernels_avx2;     /* AVX2, F16C */
extern const hnsw_kernels kernels_avx2vnni; /* the same and AVX-VNNI */
extern const hnsw_kernels kernels_avx512;   /* F, BW, VL, DQ, VNNI, and F16C */
#elif defined(__aarch64__)
extern const hnsw_kernels kernels_neon;
extern const hnsw_kernels kernels_neondot; /* the same and dotprod */
#endif

/* The best set this machine has, or the one VECTORD_CPU names when the machine has it. Never NULL. */
const hnsw_kernels *kernels_select(void);
/* By name, if this machine can run it; else NULL (tests walk all of them). */
const hnsw_kernels *kernels_find(const char *name);

#endif
