/*
 * npy.c - the header of a .npy file.
 *
 * OFFSET SIZE  FIELD
 * 0      6     "\x93NUMPY"
 * 6      1     major version, 1 to 3
 * 7      1     minor version, 0
 * 8      2|4   length of the header text, little-endian (2 bytes in version 1)
 * ..     n     a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (5000, 384), } and blanks
 *
 * The text is a Python dict in general; what NumPy writes is this and nothing else, so this and nothing else is read: the three
 * keys once each in any order, with blanks between. Lengths are checked before anything is allocated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "cli/vectors.h"

typedef struct parser {
    const char *at;
    const char *end;
} parser;

static void skip_blanks(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r')) {
        p->at++;
    }
}

static bool take(parser *p, char c) {
    skip_blanks(p);
    if (p->at < p->end && *p->at == c) {
        p->at++;
        return true;
    }
    return false;
}

static bool take_word(parser *p, const char *word) {
    skip_blanks(p);
    size_t length = strlen(word);
    if ((size_t)(p->end - p->at) >= length && memcmp(p->at, word, length) == 0) {
        p->at += length;
        return true;
    }
    return false;
}

/* A quoted string without escapes. */
static bool take_string(parser *p, char *out, size_t size) {
    skip_blanks(p);
    if (p->at >= p->end || (*p->at != '\'' && *p->at != '"')) {
        return false;
    }
    char quote = *p->at++;
    const char *close = memchr(p->at, quote, (size_t)(p->end - p->at));
    if (!close || (size_t)(close - p->at) >= size || memchr(p->at, '\\', (size_t)(close - p->at))) {
        return false;
    }
    memcpy(out, p->at, (size_t)(close - p->at));
    out[close - p->at] = '\0';
    p->at = close + 1;
    return true;
}

static bool take_count(parser *p, uint64_t *out) {
    skip_blanks(p);
    const char *start = p->at;
    uint64_t value = 0;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p->at - '0'), &value)) {
            return false;
        }
        p->at++;
    }
    *out = value;
    return p->at > start;
}

enum { SHAPE_MAX = 8 };

static bool take_shape(parser *p, uint64_t shape[SHAPE_MAX], size_t *dimensions) {
    *dimensions = 0;
    if (!take(p, '(')) {
        return false;
    }
    while (!take(p, ')')) {
        if (*dimensions == SHAPE_MAX || !take_count(p, &shape[*dimensions])) {
            return false;
        }
        ++*dimensions;
        if (!take(p, ',')) {
            return take(p, ')');
        }
    }
    return true;
}

typedef struct literal {
    char descr[32];
    bool fortran_order;
    uint64_t shape[SHAPE_MAX];
    size_t dimensions;
    unsigned seen; /* bit per key */
} literal;

static bool take_member(parser *p, literal *out) {
    char key[32];
    if (!take_string(p, key, sizeof key) || !take(p, ':')) {
        return false;
    }
    unsigned bit;
    bool fine;
    if (strcmp(key, "descr") == 0) {
        bit = 1;
        fine = take_string(p, out->descr, sizeof out->descr);
    } else if (strcmp(key, "fortran_order") == 0) {
        bit = 2;
        out->fortran_order = take_word(p, "True");
        fine = out->fortran_order || take_word(p, "False");
    } else if (strcmp(key, "shape") == 0) {
        bit = 4;
        fine = take_shape(p, out->shape, &out->dimensions);
    } else {
        return false;
    }
    fine = fine && !(out->seen & bit);
    out->seen |= bit;
    return fine;
}

static bool parse_literal(const char *text, size_t size, literal *out) {
    parser p = {text, text + size};
    memset(out, 0, sizeof *out);
    if (!take(&p, '{')) {
        return false;
    }
    while (!take(&p, '}')) {
        if (!take_member(&p, out)) {
            return false;
        }
        if (!take(&p, ',')) {
            if (!take(&p, '}')) {
                return false;
            }
            break;
        }
    }
    skip_blanks(&p);
    return p.at == p.end && out->seen == 7;
}

static vd_status read_exactly(FILE *file, const char *path, void *out, size_t size, vd_error *err) {
    if (fread(out, 1, size, file) == size) {
        return VD_OK;
    }
    return ferror(file) ? vd_fail(err, VD_INTERNAL, NULL, "%s: %s", path, strerror(errno))
                        : vd_fail(err, VD_DATA_LOSS, NULL, "%s: cut short: it ends in the header", path);
}

static vd_status interpret(const literal *l, const char *path, npy_header *out, vd_error *err) {
    static const struct {
        const char *descr;
        npy_kind kind;
        size_t value_bytes;
    } kinds[] = {{"<f2", NPY_F2, 2}, {"<f4", NPY_F4, 4}, {"<f8", NPY_F8, 8}, {"<i4", NPY_I4, 4}};
    size_t i = 0;
    while (i < sizeof kinds / sizeof kinds[0] && strcmp(kinds[i].descr, l->descr) != 0) {
        i++;
    }
    if (i == sizeof kinds / sizeof kinds[0]) {
        return vd_fail(
            err, VD_INVALID_ARGUMENT, NULL,
            "%s: holds values of type '%s'; float16, float32 and float64 in little-endian order can be read: "
            "save array.astype('<f4')",
            path, l->descr);
    }
    out->kind = kinds[i].kind;
    out->value_bytes = kinds[i].value_bytes;
    if (l->dimensions != 1 && l->dimensions != 2) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: has %zu dimensions; rows of vectors have two", path,
                       l->dimensions);
    }
    out->rows = l->dimensions == 2 ? l->shape[0] : 1;
    out->columns = l->shape[l->dimensions - 1];
    if (l->fortran_order && out->rows > 1 && out->columns > 1) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: is in Fortran order; save numpy.ascontiguousarray(array)",
                       path);
    }
    return VD_OK;
}

vd_status npy_read_header(FILE *file, const char *path, npy_header *out, vd_error *err) {
    uint8_t head[12];
    vd_status status = read_exactly(file, path, head, 8, err);
    if (status != VD_OK) {
        return status == VD_DATA_LOSS ? vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: is not a .npy file", path)
                                      : status;
    }
    if (memcmp(head, "\x93NUMPY", 6) != 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: is not a .npy file", path);
    }
    if (head[6] < 1 || head[6] > 3 || head[7] != 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: .npy version %u.%u is not known", path, head[6], head[7]);
    }
    size_t length_bytes = head[6] == 1 ? 2 : 4;
    status = read_exactly(file, path, head + 8, length_bytes, err);
    if (status != VD_OK) {
        return status;
    }
    size_t size = length_bytes == 2 ? (size_t)head[8] | (size_t)head[9] << 8 : get_u32le(head + 8);
    if (size > NPY_HEADER_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: a header of %zu bytes is not believable", path, size);
    }
    char *text = malloc(size + 1);
    if (!text) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    status = read_exactly(file, path, text, size, err);
    literal l;
    if (status == VD_OK && !parse_literal(text, size, &l)) {
        status = vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: the header is not the one of a plain array", path);
    }
    free(text);
    if (status != VD_OK) {
        return status;
    }
    out->data_offset = 8 + length_bytes + size;
    return interpret(&l, path, out, err);
}

float npy_widen_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f;
    uint32_t fraction = half & 0x3ff;
    uint32_t bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | fraction << 13;
    } else if (exponent > 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        /* Subnormal: fraction * 2^-24, which float32 holds exactly. */
        float value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
