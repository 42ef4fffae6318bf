/*
 * vectors.c - rows of vectors from .npy and .fvecs files; see vectors.h.
 */
#include "cli/vectors.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/bytes.h"

/* Reads in pieces of this size, whatever the row. */
enum { FILE_BUFFER_BYTES = 256 * 1024 };

vd_status vectors_open_file(const char *path, FILE **out, vd_error *err) {
    FILE *file = fopen(path, "rbe");
    if (!file) {
        vd_status status = errno == ENOENT || errno == ENOTDIR ? VD_NOT_FOUND
                           : errno == EACCES                   ? VD_PERMISSION_DENIED
                                                               : VD_INTERNAL;
        return vd_fail(err, status, NULL, "%s: %s", path, strerror(errno));
    }
    setvbuf(file, NULL, _IOFBF, FILE_BUFFER_BYTES);
    *out = file;
    return VD_OK;
}

vd_status vectors_file_size(FILE *file, const char *path, uint64_t *out, vd_error *err) {
    struct stat info;
    if (fstat(fileno(file), &info) != 0) {
        return vd_fail(err, VD_INTERNAL, NULL, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: is not a regular file", path);
    }
    *out = (uint64_t)info.st_size;
    return VD_OK;
}

static vd_status check_dimension(uint64_t dimension, const char *path, vd_error *err) {
    if (dimension < VD_DIMENSION_MIN || dimension > VD_DIMENSION_MAX) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: rows of %" PRIu64 " values; a vector has %d..%d", path,
                       dimension, VD_DIMENSION_MIN, VD_DIMENSION_MAX);
    }
    return VD_OK;
}

static vd_status finish_open(vectors *v, const char *path, vd_error *err) {
    v->path = strdup(path);
    v->row = malloc(v->row_bytes);
    if (!v->path || !v->row) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    return VD_OK;
}

vd_status vectors_open_npy(const char *path, vectors *out, vd_error *err) {
    vectors v = {0};
    npy_header header;
    uint64_t size = 0;
    vd_status status = vectors_open_file(path, &v.file, err);
    if (status != VD_OK) {
        return status;
    }
    if ((status = vectors_file_size(v.file, path, &size, err)) != VD_OK ||
        (status = npy_read_header(v.file, path, &header, err)) != VD_OK ||
        (status = check_dimension(header.columns, path, err)) != VD_OK) {
        goto fail;
    }
    if (header.kind == NPY_I4) {
        status =
            vd_fail(err, VD_INVALID_ARGUMENT, NULL,
                    "%s: holds whole numbers, not vectors; save the array as float32: array.astype('float32')", path);
        goto fail;
    }
    v.dimension = (uint32_t)header.columns;
    v.count = header.rows;
    v.kind = header.kind;
    v.row_bytes = (size_t)header.columns * header.value_bytes;
    uint64_t data_bytes;
    if (__builtin_mul_overflow(header.rows, (uint64_t)v.row_bytes, &data_bytes) ||
        data_bytes != size - header.data_offset) {
        status = vd_fail(err, VD_DATA_LOSS, NULL,
                         "%s: %s: the header says %" PRIu64 " x %u values, and %" PRIu64 " bytes follow", path,
                         data_bytes > size - header.data_offset ? "cut short" : "damaged", header.rows, v.dimension,
                         size - header.data_offset);
        goto fail;
    }
    status = finish_open(&v, path, err);
    if (status == VD_OK) {
        *out = v;
        return VD_OK;
    }
fail:
    vectors_close(&v);
    return status;
}

vd_status vectors_open_fvecs(const char *path, vectors *out, vd_error *err) {
    vectors v = {.fvecs = true, .kind = NPY_F4};
    uint64_t size = 0;
    vd_status status = vectors_open_file(path, &v.file, err);
    if (status != VD_OK) {
        return status;
    }
    status = vectors_file_size(v.file, path, &size, err);
    if (status != VD_OK) {
        goto fail;
    }
    uint8_t head[4];
    if (fread(head, 1, sizeof head, v.file) != sizeof head || fseeko(v.file, 0, SEEK_SET) != 0) {
        status = vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: is not an .fvecs file", path);
        goto fail;
    }
    v.dimension = get_u32le(head);
    status = check_dimension(v.dimension, path, err);
    if (status != VD_OK) {
        goto fail;
    }
    v.row_bytes = 4 + (size_t)v.dimension * 4;
    v.count = size / v.row_bytes;
    if (size % v.row_bytes != 0) {
        status = vd_fail(err, VD_DATA_LOSS, NULL,
                         "%s: cut short: %" PRIu64 " bytes are no whole number of rows of %u values", path, size,
                         v.dimension);
        goto fail;
    }
    status = finish_open(&v, path, err);
    if (status == VD_OK) {
        *out = v;
        return VD_OK;
    }
fail:
    vectors_close(&v);
    return status;
}

void vectors_close(vectors *v) {
    if (v->file) {
        fclose(v->file);
    }
    free(v->path);
    free(v->row);
    memset(v, 0, sizeof *v);
}

vd_status vectors_seek(vectors *v, uint64_t position, vd_error *err) {
    if (position > v->count) {
        return vd_fail(err, VD_OUT_OF_RANGE, NULL, "%s: there is no row %" PRIu64 ", it has %" PRIu64, v->path,
                       position, v->count);
    }
    /* Cannot overflow: the product is at most the file's size. */
    off_t offset = (off_t)(position - v->position) * (off_t)v->row_bytes;
    if (position < v->position) {
        offset = -(off_t)(v->position - position) * (off_t)v->row_bytes;
    }
    if (fseeko(v->file, offset, SEEK_CUR) != 0) {
        return vd_fail(err, VD_INTERNAL, NULL, "%s: %s", v->path, strerror(errno));
    }
    v->position = position;
    return VD_OK;
}

static float value_at(const vectors *v, const uint8_t *values, uint32_t i) {
    float value;
    if (v->kind == NPY_F2) {
        return npy_widen_half((uint16_t)(values[2 * i] | values[2 * i + 1] << 8));
    }
    if (v->kind == NPY_F8) {
        uint64_t bits = get_u64le(values + 8 * (size_t)i);
        double wide;
        memcpy(&wide, &bits, sizeof wide);
        return (float)wide; /* beyond float32 it becomes infinite, which the caller refuses */
    }
    uint32_t bits = get_u32le(values + 4 * (size_t)i);
    memcpy(&value, &bits, sizeof value);
    return value;
}

vd_status vectors_next(vectors *v, float *out, bool *more, vd_error *err) {
    *more = v->position < v->count;
    if (!*more) {
        return VD_OK;
    }
    if (fread(v->row, 1, v->row_bytes, v->file) != v->row_bytes) {
        return ferror(v->file)
                   ? vd_fail(err, VD_INTERNAL, NULL, "%s: %s", v->path, strerror(errno))
                   : vd_fail(err, VD_DATA_LOSS, NULL, "%s: cut short at row %" PRIu64, v->path, v->position);
    }
    const uint8_t *values = v->row;
    if (v->fvecs) {
        if (get_u32le(values) != v->dimension) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: row %" PRIu64 " has %u values, the first has %u",
                           v->path, v->position, get_u32le(values), v->dimension);
        }
        values += 4;
    }
    for (uint32_t i = 0; i < v->dimension; i++) {
        out[i] = value_at(v, values, i);
        if (!isfinite(out[i])) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: row %" PRIu64 ": value %u is not finite%s", v->path,
                           v->position, i, v->kind == NPY_F8 ? " (or beyond float32)" : "");
        }
    }
    v->position++;
    return VD_OK;
}
