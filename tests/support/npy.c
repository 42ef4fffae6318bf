/*
 * npy.c - see npy.h.
 */
#include "support/npy.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "cli/vectors.h"

static vd_status load_whole(const char *path, npy_matrix *m, vd_error *err) {
    FILE *file = NULL;
    npy_header header;
    uint8_t *row = NULL;
    vd_status status = vectors_open_file(path, &file, err);
    if (status != VD_OK) {
        return status;
    }
    status = npy_read_header(file, path, &header, err);
    if (status != VD_OK || header.kind != NPY_I4) {
        goto done;
    }
    m->rows = header.rows;
    m->columns = header.columns;
    size_t count, size;
    if (!size_mul(m->rows, m->columns, &count) || !size_mul(count, sizeof *m->whole, &size)) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "%s: too large", path);
        goto done;
    }
    m->whole = malloc(size + 1);
    row = malloc(size + 1);
    if (!m->whole || !row) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        goto done;
    }
    if (fread(row, 1, size, file) != size) {
        status = vd_fail(err, VD_DATA_LOSS, NULL, "%s: cut short", path);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        m->whole[i] = (int32_t)get_u32le(row + 4 * i);
    }
done:
    free(row);
    fclose(file);
    return status;
}

static vd_status load_floats(const char *path, npy_matrix *m, vd_error *err) {
    vectors v;
    vd_status status = vectors_open_npy(path, &v, err);
    if (status != VD_OK) {
        return status;
    }
    size_t count, size;
    m->rows = v.count;
    m->columns = v.dimension;
    if (size_mul(m->rows, m->columns, &count) && size_mul(count, sizeof *m->values, &size)) {
        m->values = malloc(size + 1);
    }
    if (!m->values) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    bool more = true;
    for (size_t i = 0; status == VD_OK && i < m->rows; i++) {
        status = vectors_next(&v, m->values + i * m->columns, &more, err);
        if (status == VD_OK && !more) {
            status = vd_fail(err, VD_DATA_LOSS, NULL, "%s: cut short", path);
        }
    }
    vectors_close(&v);
    return status;
}

vd_status npy_load(const char *path, npy_matrix *out, vd_error *err) {
    npy_matrix m = {0};
    vd_status status = load_whole(path, &m, err);
    if (status == VD_OK && !m.whole) {
        status = load_floats(path, &m, err);
    }
    if (status != VD_OK) {
        npy_free(&m);
        return status;
    }
    *out = m;
    return VD_OK;
}

void npy_free(npy_matrix *m) {
    free(m->values);
    free(m->whole);
    memset(m, 0, sizeof *m);
}
