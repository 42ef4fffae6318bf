/*
 * scalar.c - the kernels in plain C: what runs where nothing better is known, and the oracle of the others.
 *
 * Written for the eye, with the contract of kernels.h as its outline: one vector at a time, one component at a time.
 * Relies on -ffp-contract=off, as everything here does: where the processor has a fused multiply-add (any 64-bit ARM),
 * a compiler left to itself would put it in and no other set would then come to the same bits.
 */
#include <math.h>
#include <string.h>

#include "hnsw/kernels/kernels.h"
#include "hnsw/kernels/restore.h"

#define LANES 16

/* ---- prefetching: all that is ahead in one go, as there is nothing here to hide it behind ---- */

static void prefetch(const uint8_t *from, size_t bytes) {
    for (size_t i = 0; i < bytes; i += KERNEL_LINE) {
        __builtin_prefetch(from + i, 0, 3);
    }
    __builtin_prefetch(from + bytes - 1, 0, 3);
}

/* ---- codes ---- */

/* max(d, +0), a NaN and -0 to +0. */
static float at_least_zero(float d) {
    return d > 0 ? d : 0.0f;
}

static float base_of(const kernel_query *q, const kernel_plane *p, uint32_t slot) {
    return p->norm2 ? q->base + p->norm2[slot] : q->base;
}

static int32_t dot_nibbles(const int8_t *code, const uint8_t *plane, size_t bytes) {
    int32_t sum = 0;
    for (size_t i = 0; i < bytes; i++) {
        const int8_t *q = code + i / KERNEL_LINE * KERNEL_LINE_CODES + i % KERNEL_LINE;
        sum += q[0] * (plane[i] & 15) + q[KERNEL_LINE] * (plane[i] >> 4);
    }
    return sum;
}

static void score_high(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                       const uint32_t *ahead, uint32_t ahead_count, float *out) {
    for (uint32_t j = 0; j < ahead_count; j++) {
        prefetch(p->high + ahead[j] * p->stride, p->stride);
        __builtin_prefetch(p->factor + ahead[j], 0, 3);
    }
    for (uint32_t j = 0; j < count; j++) {
        const int32_t high = dot_nibbles(q->code, p->high + slots[j] * p->stride, p->stride);
        const float product = (float)(2 * high - 15 * q->code_sum) * ((8 * q->scale) * p->factor[slots[j]]);
        out[j] = at_least_zero(base_of(q, p, slots[j]) - product);
    }
}

static void score_both(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                       const uint32_t *ahead, uint32_t ahead_count, float *out) {
    for (uint32_t j = 0; j < ahead_count; j++) {
        prefetch(p->high + ahead[j] * p->stride, p->stride);
        prefetch(p->low + ahead[j] * p->stride, p->stride);
        __builtin_prefetch(p->factor + ahead[j], 0, 3);
    }
    for (uint32_t j = 0; j < count; j++) {
        const int32_t high = dot_nibbles(q->code, p->high + slots[j] * p->stride, p->stride);
        const int32_t low = dot_nibbles(q->code, p->low + slots[j] * p->stride, p->stride);
        const float product = (float)(16 * high + low - 128 * q->code_sum) * (q->scale * p->factor[slots[j]]);
        out[j] = at_least_zero(base_of(q, p, slots[j]) - product);
    }
}

/* ---- floats ---- */

static float of_f32(const uint8_t *values, size_t i) {
    float value;
    memcpy(&value, values + i * sizeof value, sizeof value);
    return value;
}

/* A subnormal is its fraction times 2^-24; every other fraction keeps its place below an exponent that is 112
 * greater. */
static float of_f16(const uint8_t *values, size_t i) {
    uint16_t half;
    memcpy(&half, values + i * sizeof half, sizeof half);
    const uint32_t exponent = half >> 10 & 31;
    const uint32_t fraction = half & 1023u;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f;
    } else {
        const uint32_t bits = (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
        memcpy(&value, &bits, sizeof value);
    }
    return half >> 15 ? -value : value;
}

static float of_bf16(const uint8_t *values, size_t i) {
    uint16_t upper;
    memcpy(&upper, values + i * sizeof upper, sizeof upper);
    const uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

typedef float (*value_of)(const uint8_t *values, size_t i);

static float reduce_f32(float lane[LANES]) {
    for (size_t half = LANES / 2; half > 1; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0] + lane[1];
}

static inline void dot_floats(value_of get, size_t size, const kernel_query *q, const kernel_plane *p,
                              const uint32_t *slots, uint32_t count, const uint32_t *ahead, uint32_t ahead_count,
                              float *out) {
    for (uint32_t j = 0; j < ahead_count; j++) {
        prefetch(p->high + ahead[j] * p->stride, p->dimension * size);
        __builtin_prefetch(p->factor + ahead[j], 0, 3);
    }
    for (uint32_t j = 0; j < count; j++) {
        const uint8_t *x = p->high + slots[j] * p->stride;
        float lane[LANES] = {0};
        for (size_t i = 0; i < p->dimension; i++) {
            const float product = q->vector[i] * get(x, i);
            lane[i % LANES] += product;
        }
        const float product = reduce_f32(lane) * (q->scale * p->factor[slots[j]]);
        out[j] = at_least_zero(q->base - product);
    }
}

/* factor NULL: 1 for all, which changes no bit. */
static inline void l2_floats(value_of get, size_t size, const float *factor, const kernel_query *q,
                             const kernel_plane *p, const uint32_t *slots, uint32_t count, const uint32_t *ahead,
                             uint32_t ahead_count, float *out) {
    for (uint32_t j = 0; j < ahead_count; j++) {
        prefetch(p->high + ahead[j] * p->stride, p->dimension * size);
        if (factor) {
            __builtin_prefetch(factor + ahead[j], 0, 3);
        }
    }
    for (uint32_t j = 0; j < count; j++) {
        const uint8_t *x = p->high + slots[j] * p->stride;
        const float times = factor ? factor[slots[j]] : 1.0f;
        float lane[LANES] = {0};
        for (size_t i = 0; i < p->dimension; i++) {
            const float scaled = get(x, i) * times;
            const float d = q->vector[i] - scaled;
            const float square = d * d;
            lane[i % LANES] += square;
        }
        out[j] = at_least_zero(reduce_f32(lane));
    }
}

static void dot_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                    const uint32_t *ahead, uint32_t ahead_count, float *out) {
    dot_floats(of_f32, 4, q, p, slots, count, ahead, ahead_count, out);
}

static void dot_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                    const uint32_t *ahead, uint32_t ahead_count, float *out) {
    dot_floats(of_f16, 2, q, p, slots, count, ahead, ahead_count, out);
}

static void dot_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                     const uint32_t *ahead, uint32_t ahead_count, float *out) {
    dot_floats(of_bf16, 2, q, p, slots, count, ahead, ahead_count, out);
}

static void l2_f32(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                   const uint32_t *ahead, uint32_t ahead_count, float *out) {
    l2_floats(of_f32, 4, NULL, q, p, slots, count, ahead, ahead_count, out);
}

static void l2_f16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                   const uint32_t *ahead, uint32_t ahead_count, float *out) {
    l2_floats(of_f16, 2, p->factor, q, p, slots, count, ahead, ahead_count, out);
}

static void l2_bf16(const kernel_query *q, const kernel_plane *p, const uint32_t *slots, uint32_t count,
                    const uint32_t *ahead, uint32_t ahead_count, float *out) {
    l2_floats(of_bf16, 2, NULL, q, p, slots, count, ahead, ahead_count, out);
}

static double reduce(double lane[LANES]) {
    for (size_t half = LANES / 2; half > 1; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0] + lane[1];
}

static double exact_dot(const float *a, const float *b, size_t dimension) {
    double lane[LANES] = {0};
    for (size_t i = 0; i < dimension; i++) {
        lane[i % LANES] += (double)a[i] * (double)b[i];
    }
    return reduce(lane);
}

static double exact_l2(const float *a, const float *b, size_t dimension) {
    double lane[LANES] = {0};
    for (size_t i = 0; i < dimension; i++) {
        const double d = (double)a[i] - (double)b[i];
        const double square = d * d;
        lane[i % LANES] += square;
    }
    return reduce(lane);
}

/* ---- to codes and back ---- */

static float max_abs(const float *a, size_t dimension) {
    float most = 0;
    for (size_t i = 0; i < dimension; i++) {
        const float v = fabsf(a[i]);
        most = v > most ? v : most;
    }
    return most;
}

static int32_t quantize(const float *a, size_t dimension, float inverse_scale, int8_t *code, size_t size) {
    int32_t sum = 0;
    for (size_t i = 0; i < dimension; i++) {
        code[i] = (int8_t)lrintf(a[i] * inverse_scale);
        sum += code[i];
    }
    if (size > dimension) {
        memset(code + dimension, 0, size - dimension);
    }
    return sum;
}

static void pack(const int8_t *code, size_t size, uint8_t *high, uint8_t *low) {
    for (size_t i = 0; i < size / 2; i++) {
        const int8_t *c = code + i / KERNEL_LINE * KERNEL_LINE_CODES + i % KERNEL_LINE;
        const uint32_t first = (uint32_t)(c[0] + 128);
        const uint32_t second = (uint32_t)(c[KERNEL_LINE] + 128);
        high[i] = (uint8_t)(first >> 4 | (second >> 4) << 4);
        low[i] = (uint8_t)((first & 15) | (second & 15) << 4);
    }
}

static int32_t sum(const int8_t *code, size_t size) {
    int32_t total = 0;
    for (size_t i = 0; i < size; i++) {
        total += code[i];
    }
    return total;
}

static void unpack(const uint8_t *high, const uint8_t *low, size_t size, int8_t *code) {
    for (size_t i = 0; i < size / 2; i++) {
        int8_t *c = code + i / KERNEL_LINE * KERNEL_LINE_CODES + i % KERNEL_LINE;
        const uint32_t lower = low ? low[i] : 0x88u;
        c[0] = (int8_t)((int32_t)((high[i] & 15u) << 4 | (lower & 15u)) - 128);
        c[KERNEL_LINE] = (int8_t)((int32_t)((high[i] & 0xf0u) | lower >> 4) - 128);
    }
}

static void restore(const int8_t *code, const uint16_t *rest16, const uint8_t *rest8, float scale,
                    const uint8_t *exceptions, bool sparse, size_t dimension, float *out) {
    for (size_t i = 0; i < dimension; i++) {
        const uint32_t rest24 = rest16[i] | (uint32_t)rest8[i] << 16;
        out[i] = restore_one(code[i], rest24, scale, &exceptions, sparse);
    }
}

const hnsw_kernels kernels_scalar = {
    .name = "scalar",
    .score_high = score_high,
    .score_both = score_both,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .l2_f32 = l2_f32,
    .l2_f16 = l2_f16,
    .l2_bf16 = l2_bf16,
    .exact_dot = exact_dot,
    .exact_l2 = exact_l2,
    .max_abs = max_abs,
    .quantize = quantize,
    .pack = pack,
    .unpack = unpack,
    .sum = sum,
    .restore = restore,
};
