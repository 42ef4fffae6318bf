/*
 * records.h - items as JSON lines: {"id": "a", "vector": [0.1, ...], "metadata": {...}}, one object a line, read one at a time.
 *
 * Strict, because a misspelt member would otherwise lose data without a word: other members than these three are an error. The
 * id may be a whole number, which stands for its digits. Metadata is any JSON, kept as it stands; null is none. Blank lines are
 * skipped. A line is at most RECORD_MAX_BYTES long, and memory does not grow beyond that.
 *
 * Errors as in vectors.h; each text starts with "path:line: ".
 */
#ifndef VECTORD_CLI_RECORDS_H
#define VECTORD_CLI_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "vectord/limits.h"
#include "vectord/status.h"

/* The largest metadata, and the largest vector written with 24 characters a value. */
#define RECORD_MAX_BYTES ((size_t)VD_METADATA_MAX_BYTES + (size_t)VD_DIMENSION_MAX * 26 + 8192)

typedef struct record {
    bytes id;       /* size 0: the line has none */
    bytes metadata; /* data NULL: none */
    bool has_vector;
    uint32_t dimension; /* of `vector` */
} record;

typedef struct records {
    FILE *file;
    char *path;
    uint64_t line;     /* of the line read last, from 1 */
    uint64_t size;     /* of the file; 0: not known (a pipe) */
    uint64_t consumed; /* bytes read */
    buffer text;       /* the line */
    arena arena;       /* strings of the line */
    float *vector;     /* VD_DIMENSION_MAX values */
} records;

/* "-" is standard input. */
vd_status records_open(const char *path, records *out, vd_error *err);
void records_close(records *r);
/* Reads the next object; false in *more at the end. What *out points to lives until the next call. */
vd_status records_next(records *r, record *out, bool *more, vd_error *err);
/* Passes over `count` objects without reading them. */
vd_status records_skip(records *r, uint64_t count, vd_error *err);
/* The next line that is not blank, in r->text. */
vd_status records_next_line(records *r, bool *more, vd_error *err);

/* An array of finite numbers from `text` (JSON), at most VD_DIMENSION_MAX, into `vector`. `what` begins the error text. */
vd_status records_parse_vector(bytes text, const char *what, float *vector, uint32_t *dimension, vd_error *err);

#endif
