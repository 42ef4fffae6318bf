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

/* How much a write outlives. */
typedef enum index_durability {
    DURABILITY_DEFAULT = 0, /* the strongest that the server has */
    DURABILITY_MEMORY = 1,  /* the process, in part: its journal follows within a second or when the store is back */
    DURABILITY_LOCAL = 2,   /* a kill and a power cut: synced to the server's own disk */
    DURABILITY_STORE = 3    /* the loss of the machine: in the object store */
} index_durability;

/* "memory", "local", "store"; "" for DEFAULT. */
const char *index_durability_name(index_durability durability);

/* What a write was given: with it a reader can ask for a state that has the write. */
typedef struct index_receipt {
    uint8_t epoch[16]; /* of the index: a new one at each create */
    uint64_t sequence; /* of the write in its journal */
    index_durability durability;
} index_receipt;

typedef struct index_write {
    bytes request_id;                /* data NULL: none */
    index_durability durability;     /* what to wait for */
    index_durability min_durability; /* less is an error and nothing is applied; DEFAULT: any will do */
} index_write;

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
    uint64_t durable_sequence; /* writes up to it are at the strongest level */
    index_durability strongest;
    uint64_t backlog_bytes; /* of writes that are not */
    uint8_t epoch[16];
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
typedef struct index_write_result {
    uint64_t affected, length; /* items added or deleted; items afterwards */
    index_receipt receipt;
    bool fell_short; /* of the strongest level that the server has */
} index_write_result;
/*
 * Adds or replaces a batch; blocks (disk, network). Errors name the item: "items[3]: dim mismatch (index=3, got=2)". A request id
 * seen before gets the first answer. `how` NULL: no request id, the strongest durability. When the store is away the
 * write is applied, kept and sent later, and the receipt says MEMORY; with min_durability it is UNAVAILABLE instead.
 */
vd_status index_add(vd_index *index, const index_item *items, size_t count, const index_write *how,
                    index_write_result *result, vd_error *err);
vd_status index_delete_items(vd_index *index, const bytes *ids, size_t count, const index_write *how,
                             index_write_result *result, vd_error *err);
/* Returns when every write that was answered before is at the strongest level. UNAVAILABLE with the store's reason. */
vd_status index_flush(vd_index *index, vd_error *err);
/* OK when the index has the write of that receipt. FAILED_PRECONDITION: it is of another index of the name (or one that was
 * made anew); UNAVAILABLE: not yet, or lost at a crash because it had reached memory only. */
vd_status index_check_at_least(vd_index *index, const index_receipt *receipt, vd_error *err);

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
