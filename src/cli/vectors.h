/*
 * vectors.h - files of vectors, read one row at a time: NumPy arrays (npy.c) and fvecs (fvecs.c). Memory does not grow with the
 * file; every row is checked for values that are not finite; what a header claims is checked against the file's size.
 *
 * Errors: NOT_FOUND (no such file), PERMISSION_DENIED, DATA_LOSS (the file is cut short), INVALID_ARGUMENT (not such a file, or
 * one we do not take, or a value that is not finite), UNAVAILABLE is never used; INTERNAL (reading failed), OUT_OF_MEMORY.
 * Each text starts with the path.
 */
#ifndef VECTORD_CLI_VECTORS_H
#define VECTORD_CLI_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vectord/limits.h"
#include "vectord/status.h"

/* ---- NumPy headers: https://numpy.org/neps/nep-0001-npy-format.html ---- */

typedef enum npy_kind { NPY_F2, NPY_F4, NPY_F8, NPY_I4 } npy_kind;
enum { NPY_HEADER_MAX_BYTES = 65536 };

typedef struct npy_header {
    npy_kind kind;
    size_t value_bytes;
    uint64_t rows; /* 1 for a one-dimensional array */
    uint64_t columns;
    size_t data_offset;
} npy_header;

/* Reads the header at the start of `file` and leaves the position at the first value. Versions 1 to 3, little-endian, C order (or
 * where the order makes no difference), one or two dimensions. */
vd_status npy_read_header(FILE *file, const char *path, npy_header *out, vd_error *err);
/* IEEE 754 half precision, exact. */
float npy_widen_half(uint16_t half);

/* ---- vectors ---- */

typedef struct vectors {
    uint32_t dimension;
    uint64_t count;    /* rows in the file */
    uint64_t position; /* of the next row */
    FILE *file;
    char *path;
    npy_kind kind;
    size_t row_bytes; /* in the file */
    uint8_t *row;
    bool fvecs;
} vectors;

vd_status vectors_open_npy(const char *path, vectors *out, vd_error *err);
/* fvecs: each row is a little-endian int32 with the dimension and that many float32. */
vd_status vectors_open_fvecs(const char *path, vectors *out, vd_error *err);
void vectors_close(vectors *v);
/* Moves to row `position` (at most count). */
vd_status vectors_seek(vectors *v, uint64_t position, vd_error *err);
/* Reads the next row into `out` (dimension values); false in *more at the end. */
vd_status vectors_next(vectors *v, float *out, bool *more, vd_error *err);

/* ---- shared ---- */

/* Opens for reading; NOT_FOUND, PERMISSION_DENIED or INTERNAL with the path and the reason. */
vd_status vectors_open_file(const char *path, FILE **out, vd_error *err);
/* Bytes in a regular file; INVALID_ARGUMENT for anything else (a size is needed to check the header). */
vd_status vectors_file_size(FILE *file, const char *path, uint64_t *out, vd_error *err);

#endif
