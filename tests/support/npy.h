/*
 * npy.h - whole NumPy files in memory, for tests of recall. The header is read by the code that vectorctl reads it with.
 */
#ifndef VECTORD_TESTS_NPY_H
#define VECTORD_TESTS_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "vectord/status.h"

typedef struct npy_matrix {
    size_t rows, columns;
    float *values;  /* of a float file, widened; NULL for whole numbers */
    int32_t *whole; /* of an int32 file; NULL for floats */
} npy_matrix;

/* Errors as in cli/vectors.h. Free with npy_free, which takes one that was never loaded too ({0}). */
vd_status npy_load(const char *path, npy_matrix *out, vd_error *err);
void npy_free(npy_matrix *m);

#endif
