/*
 * restore.h - one value out of its code and what was kept beside it, in plain C: the body of the scalar kernel, and the
 * last few values of a vector in kernels that take many at a time but cannot load fewer.
 */
#ifndef VECTORD_HNSW_KERNELS_RESTORE_H
#define VECTORD_HNSW_KERNELS_RESTORE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Takes its upper byte from *exceptions, and moves that on, when the code is zero and the contract puts one there. */
static inline float restore_one(int8_t code, uint32_t rest24, float scale, const uint8_t **exceptions, bool sparse) {
    uint32_t bits;
    if (code != 0) {
        const float near_by = (float)(code < 0 ? -code : code) * scale;
        uint32_t r;
        memcpy(&r, &near_by, sizeof r);
        r -= 0x100000u;
        /* The shift up and down again extends the sign of 24 bits. */
        const uint32_t d = (uint32_t)((int32_t)((rest24 - r) << 8) >> 8);
        bits = ((r + d) & 0x7fffffffu) | (code < 0 ? 0x80000000u : 0u);
    } else if (sparse && rest24 == 0) {
        bits = 0;
    } else {
        bits = rest24 | (uint32_t) * (*exceptions)++ << 24;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
