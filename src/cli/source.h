/*
 * source.h - what `vectorctl load` reads: rows of vectors, rows of ids and metadata beside them, or both in one file; and the
 * batches it makes of them.
 */
#ifndef VECTORD_CLI_SOURCE_H
#define VECTORD_CLI_SOURCE_H

#include "base/arena.h"
#include "cli/records.h"
#include "cli/vectors.h"
#include "vectord/client.h"

/* A batch of this size always fits one request, with the item that took it over the mark. */
#define BATCH_BYTES_MAX     (32u * 1024u * 1024u)
#define BATCH_ITEMS_DEFAULT 1000

typedef struct source_options {
    const char *npy; /* one of npy and fvecs, or none */
    const char *fvecs;
    const char *jsonl; /* ids and metadata; vectors too when there is no other file; may be NULL: ids are row numbers */
    uint64_t first;    /* row to begin with */
} source_options;

typedef struct source {
    bool has_vectors;
    bool has_records;
    vectors vectors;
    records records;
    bool pending; /* `first` was read to learn the dimension and is the next row */
    record first;
    uint32_t dimension;
    uint64_t position; /* of the next row */
} source;

/* Opens and looks at the first row. Errors as in vectors.h; INVALID_ARGUMENT for an empty file. */
vd_status source_open(const source_options *options, source *out, vd_error *err);
void source_close(source *s);
/* Part done, 0..1; negative when it cannot be known. */
double source_progress(const source *s);
/* Rows from the next one to the end; 0 when it cannot be known. */
uint64_t source_left(const source *s);

typedef struct batch {
    vd_client_item *items;
    size_t count;
    size_t capacity;
    uint64_t first; /* row of items[0] */
    uint32_t dimension;
    float *values;
    arena text; /* ids and metadata */
} batch;

/* Room for `capacity` items (fewer when they are large: see BATCH_BYTES_MAX). */
vd_status batch_init(batch *b, size_t capacity, uint32_t dimension, vd_error *err);
void batch_fini(batch *b);
/* Empties the batch and fills it from the source; b->count is 0 at the end of the file. On an error the rows before the bad one
 * are in the batch. */
vd_status batch_fill(batch *b, source *s, vd_error *err);

#endif
