/*
 * index.h - one named index: the engine, metadata, and the journal that makes its writes last.
 *
 * The path of a write: validated against applied and pending state, all memory reserved, journalled, durable, applied (cannot
 * fail), published, answered. Writers that arrive while another one is at work form a group: one of them takes all their
 * records to the journal with one sync and applies them together.
 */
#ifndef VECTORD_REGISTRY_INDEX_H
#define VECTORD_REGISTRY_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "vectord/hnsw.h"
#include "vectord/status.h"

typedef struct vd_index vd_index;

typedef struct index_params {
    bytes name;
    uint32_t dimension, m, ef_search, ef_construction;
    vd_metric metric;
} index_params;

typedef enum index_state { INDEX_LOADING, INDEX_READY, INDEX_QUARANTINED } index_state;

typedef struct index_info {
    index_params
        params; /* name points into the index: valid while it is acquired. Zeros when the files could not be read */
    index_state state;
    char reason[352];
    double load_progress;
    uint64_t length;
    vd_hnsw_stats stats;
    uint64_t journal_bytes;
    uint64_t sequence;
} index_info;

void index_release(vd_index *index);
void index_get_info(vd_index *index, index_info *out);
/* OK when READY; UNAVAILABLE + retry_after_s while LOADING; DATA_LOSS with the reason when QUARANTINED. Cheap. */
vd_status index_check_ready(vd_index *index, vd_error *err);
const index_params *index_get_params(const vd_index *index);

typedef struct index_item {
    bytes id;
    const float *vector;
    size_t vector_count;
    bytes metadata; /* data NULL: keep what is stored; "{}": clear; else raw JSON */
} index_item;
typedef struct index_add_result {
    uint64_t added, length;
} index_add_result;
/*
 * Adds or replaces a batch; blocks (disk). Errors name the item: "items[3]: dim mismatch (index=3, got=2)". A request id seen
 * before gets the first answer.
 */
vd_status index_add(vd_index *index, const index_item *items, size_t count, bytes request_id, index_add_result *result,
                    vd_error *err);
vd_status index_delete_items(vd_index *index, const bytes *ids, size_t count, bytes request_id, uint64_t *deleted,
                             vd_error *err);

typedef struct index_search {
    const float *vector; /* or NULL with `id` set */
    size_t vector_count;
    bytes id; /* search by this item's vector, without it in the answer; data NULL: by vector */
    uint32_t k, ef;
    bool exact;
} index_search;
typedef struct index_hit {
    bytes id, metadata; /* copied into the arena; metadata.data NULL when there is none */
    double distance, score;
} index_hit;
/* Does not block. Everything in *hits lives in the arena. */
vd_status index_query(vd_index *index, const index_search *search, arena *a, index_hit **hits, size_t *count,
                      vd_search_info *info, vd_error *err);
/* Whether this search may take longer than about a millisecond (then call it from a worker). */
bool index_query_is_long(vd_index *index, const index_search *search);

#endif
