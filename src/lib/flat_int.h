/*
 * flat_int.h - what the files of the flat facade share: the handle, ids in either form, errors as text, threads on
 * loan.
 */
#ifndef VECTORD_LIB_FLAT_INT_H
#define VECTORD_LIB_FLAT_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "vectord/flat.h"
#include "vectord/hnsw.h"

/*
 * Threading: `writer` is held by adds and deletes from the first look at `next` or at stored metadata to the end of
 * the engine's call, so that numbers are given out without gaps and metadata follows its id. Engine locks are taken
 * under it, never the other way round. The rest is constant, or atomic.
 */
struct vd_flat {
    vd_hnsw *engine;
    uint32_t dimension;
    bool metadata;      /* some item came with metadata */
    _Atomic bool texts; /* some id was given as a text */
    pthread_mutex_t writer;
    uint64_t next; /* above every number that is or was an id, at most 2^63; guarded by writer */
};

/* ---- errors (flat.c) ---- */

/* Copies the text of a failure to `error` (may be NULL) and returns `status`. */
vd_status flat_finish(vd_status status, vd_error *err, char *error);

/* ---- ids (flat_ids.c) ---- */

#define FLAT_DIGITS_MAX 19 /* of 2^63-1 */

/* Ids in the order of the rows. One of three: texts (when `ends` is there), numbers, or the numbers upwards from
 * `first`. */
typedef struct flat_ids {
    const char *text;
    const uint64_t *ends;
    const int64_t *numbers;
    uint64_t first;
    uint64_t count;
} flat_ids;

/* The id of row i; digits of a number are put into `digits`. Size 0 for what cannot be an id: an empty or over-long
 * text, a number below 0. */
vd_id flat_id(const flat_ids *ids, uint64_t i, char digits[FLAT_DIGITS_MAX]);
/* Everything that must hold before an id is stored: sizes, UTF-8, numbers from 0 on. */
vd_status flat_ids_check(const flat_ids *ids, vd_error *err);
/* Only that ends do not decrease: enough before ids are looked for. */
vd_status flat_ends_check(const flat_ids *ids, vd_error *err);
/* true, with the number, when the id is one as vd_flat_add would write it. */
bool flat_number(vd_id id, int64_t *number);

/* ---- threads (flat_threads.c) ---- */

typedef struct flat_loan {
    vd_executor executor;
    struct flat_pool *pool;
} flat_loan;

/* An executor of at most `threads` (0: one per CPU), NULL when that is the calling thread alone; until
 * flat_give_back. */
const vd_executor *flat_borrow(flat_loan *loan, uint32_t threads);
void flat_give_back(flat_loan *loan);
/* INVALID_ARGUMENT for more than VD_THREADS_MAX. */
vd_status flat_threads_check(uint32_t threads, vd_error *err);

#endif
