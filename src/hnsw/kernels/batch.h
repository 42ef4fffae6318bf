/*
 * batch.h - how the kernels with vector instructions take their vectors: four per turn, the last repeated when fewer are
 * left. So every register of the query serves four vectors, a remainder needs no code of its own, the value of a vector
 * does not depend on its place in the batch, and nothing behind slots[count - 1] is read.
 */
#ifndef VECTORD_HNSW_KERNELS_BATCH_H
#define VECTORD_HNSW_KERNELS_BATCH_H

#include <stddef.h>

#define BATCH 4 /* vectors per turn */

/* x[0..BATCH) = the vectors of slots[0..left), left >= 1. A macro, as it serves pointers to bytes and to floats. */
#define BATCH_PICK(x, vectors, stride, slots, left)                                                                    \
    do {                                                                                                               \
        (x)[0] = (vectors) + (size_t)(slots)[0] * (stride);                                                            \
        (x)[1] = (left) > 1 ? (vectors) + (size_t)(slots)[1] * (stride) : (x)[0];                                      \
        (x)[2] = (left) > 2 ? (vectors) + (size_t)(slots)[2] * (stride) : (x)[1];                                      \
        (x)[3] = (left) > 3 ? (vectors) + (size_t)(slots)[3] * (stride) : (x)[2];                                      \
    } while (0)

#endif
