/*
 * requests.h - the bytes that bench_service sends, made before any clock runs: searches and batches for each door; and the
 * reading of ids out of answers, for recall.
 */
#ifndef VECTORD_BENCH_REQUESTS_H
#define VECTORD_BENCH_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "load.h"

typedef struct matrix {
    float *values;
    size_t rows;
    uint32_t columns;
} matrix;

typedef struct request_set {
    load_request *requests;
    size_t count;
} request_set;

/* Reads a .npy file whole; false after saying why. */
bool matrix_read(const char *path, size_t rows_max, matrix *out);
void matrix_free(matrix *m);
/* int32 rows; *columns per row. Returned owned (free), NULL after saying why. */
int32_t *truth_read(const char *path, size_t *rows, size_t *columns);

/* One k = 10 search per query. */
bool requests_search(load_kind kind, const char *host_port, const char *index, const matrix *queries, request_set *out);
/* All rows in batches of `batch`; ids are "v" and the row number. */
bool requests_add(load_kind kind, const char *host_port, const char *index, const matrix *base, size_t batch,
                  request_set *out);
void requests_free(request_set *set);

/* Calls visit(arg, id, size) for each hit of an answer, in order; false when the answer cannot be read. */
bool answer_ids(load_kind kind, const uint8_t *body, size_t size,
                void (*visit)(void *arg, const char *id, size_t id_size), void *arg);

#endif
