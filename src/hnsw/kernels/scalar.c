/* scalar.c - the kernels in plain C: what runs where nothing better is known, and the oracle of the others. */
#include <math.h>

#include "hnsw/kernels/kernels.h"

#define LANES 16

static void dot_codes(const int8_t *query, const uint8_t *codes, size_t stride, const uint32_t *slots, size_t count,
                      size_t size, int32_t *out) {
    for (size_t j = 0; j < count; j++) {
        const uint8_t *code = codes + (size_t)slots[j] * stride;
        int32_t sum = 0;
        for (size_t i = 0; i < size; i++) {
            sum += (int32_t)query[i] * (int32_t)code[i];
        }
        out[j] = sum;
    }
}

static void dot_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                    size_t dimension, float *out) {
    for (size_t j = 0; j < count; j++) {
        const float *x = vectors + (size_t)slots[j] * stride;
        float lane[LANES] = {0};
        for (size_t i = 0; i < dimension; i++) {
            lane[i % LANES] += query[i] * x[i];
        }
        float sum = 0;
        for (size_t i = 0; i < LANES; i++) {
            sum += lane[i];
        }
        out[j] = sum;
    }
}

static void l2_f32(const float *query, const float *vectors, size_t stride, const uint32_t *slots, size_t count,
                   size_t dimension, float *out) {
    for (size_t j = 0; j < count; j++) {
        const float *x = vectors + (size_t)slots[j] * stride;
        float lane[LANES] = {0};
        for (size_t i = 0; i < dimension; i++) {
            float d = query[i] - x[i];
            lane[i % LANES] += d * d;
        }
        float sum = 0;
        for (size_t i = 0; i < LANES; i++) {
            sum += lane[i];
        }
        out[j] = sum;
    }
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
        double d = (double)a[i] - (double)b[i];
        lane[i % LANES] += d * d;
    }
    return reduce(lane);
}

static float max_abs(const float *a, size_t dimension) {
    float most = 0;
    for (size_t i = 0; i < dimension; i++) {
        float v = fabsf(a[i]);
        most = v > most ? v : most;
    }
    return most;
}

static int32_t encode(const float *a, size_t dimension, float inverse_scale, uint8_t *codes, size_t size) {
    int32_t sum = 0;
    for (size_t i = 0; i < dimension; i++) {
        int32_t c = (int32_t)lrintf(a[i] * inverse_scale);
        codes[i] = (uint8_t)(c + 128);
        sum += c;
    }
    for (size_t i = dimension; i < size; i++) {
        codes[i] = 128;
    }
    return sum;
}

const hnsw_kernels kernels_scalar = {
    .name = "scalar",
    .dot_codes = dot_codes,
    .dot_f32 = dot_f32,
    .l2_f32 = l2_f32,
    .exact_dot = exact_dot,
    .exact_l2 = exact_l2,
    .max_abs = max_abs,
    .encode = encode,
};
