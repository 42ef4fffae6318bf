/*
 * index_load.c - an index from its files: the frame's vectors into a new engine, the journal behind them, calibration, READY.
 *
 * The graph is rebuilt from the vectors, in chunks on the executor; edges of the frame are not used. A frame that cannot be
 * read, or a journal that is damaged anywhere but in its torn tail, makes the index QUARANTINED with the reason: its files are
 * not touched, its name stays taken.
 *
 * Frame and journal belong together by their epoch. A frame without one (the original wrote it, or saved it again, and so
 * dropped our fields) gets a new epoch in memory and `needs_frame`: the first write puts a fresh frame before its record,
 * so that every journal has a frame that names it. A frame that stands under another key than its own name (somebody copied
 * the file) is treated alike: the journal of that epoch is the original's. A journal whose epoch no frame names is settled at the end of loading by
 * registry_settle_journals (registry_open.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

/* Progress and stopping are looked at between chunks; large enough that every thread has its share. */
#define CHUNK_ITEMS 2048u
/* Up to this many items calibration is quick (an exact scan of a sample), and the first searches should have it. */
#define CALIBRATE_FIRST_ITEMS 20000u

/* ---- the frame ---- */

typedef struct chunk {
    vd_hnsw_item *items;
    float *vectors;
    size_t count;
} chunk;

static void drop_payloads(chunk *c) {
    for (size_t i = 0; i < c->count; i++) {
        index_payload_release(NULL, c->items[i].payload);
    }
    c->count = 0;
}

static vd_status add_chunk(vd_index *index, chunk *c, vd_error *err) {
    vd_status status = vd_hnsw_add(index->engine, c->items, c->count, index->owner->options.executor, err);
    if (status != VD_OK) {
        drop_payloads(c);
    }
    c->count = 0;
    return status;
}

static vd_status put_node(vd_index *index, chunk *c, const lhv1_node *node, vd_error *err) {
    uint32_t dimension = index->params.dimension;
    float *vector = c->vectors + c->count * dimension;
    lhv1_vector(node, dimension, vector);
    vd_hnsw_item item = {.id = node->id, .vector = vector};
    bytes metadata;
    if (index_metadata_rule(node->metadata, &metadata) == METADATA_SET) {
        item.payload = index_payload_new(metadata);
        if (!item.payload) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for metadata");
        }
    }
    c->items[c->count++] = item;
    return VD_OK;
}

static vd_status add_nodes(vd_index *index, const lhv1_frame *frame, double share, vd_error *err) {
    uint64_t total = lhv1_count(frame);
    chunk c = {0};
    c.items = calloc(CHUNK_ITEMS, sizeof *c.items);
    c.vectors = mem_alloc_array(alloc_default(), (size_t)CHUNK_ITEMS * index->params.dimension, sizeof *c.vectors);
    vd_status status = VD_OK;
    if (!c.items || !c.vectors) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to load the index");
    }
    for (uint64_t i = 0; status == VD_OK && i < total; i++) {
        lhv1_node node;
        lhv1_get_node(frame, i, &node);
        status = put_node(index, &c, &node, err);
        if (status == VD_OK && (c.count == CHUNK_ITEMS || i + 1 == total)) {
            status = add_chunk(index, &c, err);
            atomic_store(&index->progress, (uint32_t)(1e6 * share * (double)(i + 1) / (double)total));
            if (status == VD_OK && atomic_load(&index->owner->closing)) {
                status = vd_fail(err, VD_CANCELLED, NULL, "the server is stopping");
            }
        }
    }
    drop_payloads(&c);
    free(c.vectors);
    free(c.items);
    return status;
}

static void log_warnings(const vd_index *index, const lhv1_frame *frame) {
    const lhv1_warnings *w = lhv1_get_warnings(frame);
    if (w->dangling_links || w->self_links || w->repeated_links || w->empty_layers || w->orphan_metadata ||
        w->trailing_bytes) {
        log_event(LOG_WARN, "frame has faults that do no harm",
                  "index=%s dangling_links=%llu self_links=%llu repeated_links=%llu empty_layers=%llu "
                  "orphan_metadata=%llu trailing_bytes=%llu",
                  index->name, (unsigned long long)w->dangling_links, (unsigned long long)w->self_links,
                  (unsigned long long)w->repeated_links, (unsigned long long)w->empty_layers,
                  (unsigned long long)w->orphan_metadata, (unsigned long long)w->trailing_bytes);
    }
}

static vd_status take_params(vd_index *index, const lhv1_params *params, uint64_t *reached, vd_error *err) {
    bool own_name = strcmp(params->name, index->name) == 0;
    if (!own_name) {
        log_event(LOG_WARN, "frame names another index: the key wins", "index=%s frame=%s", index->name, params->name);
    }
    index->params.dimension = params->dimension;
    index->params.m = params->m;
    index->params.ef_search = params->ef_search;
    index->params.ef_construction = params->ef_construction ? params->ef_construction : VD_EF_CONSTRUCTION_DEFAULT;
    index->params.metric = params->metric;
    atomic_store(&index->params_known, true);
    vd_status status = VD_OK;
    static const uint8_t zeros[LHV1_EPOCH_BYTES] = {0}; /* the catalog's, no index's */
    if (params->has_epoch && own_name && memcmp(params->epoch, zeros, sizeof zeros) != 0) {
        memcpy(index->epoch, params->epoch, sizeof index->epoch);
        index->epoch_known = true;
        status = registry_claim_journal(index->owner, index, err);
        if (status == VD_OK && catalog_is_gone(&index->owner->catalog, params->epoch)) {
            index->leftover = true;
            return vd_fail(err, VD_NOT_FOUND, NULL, "deleted");
        }
    } else {
        registry_new_epoch(index->epoch);
        index->needs_frame = true;
        log_event(LOG_INFO, "frame is not ours: taken over at the first write", "index=%s", index->name);
    }
    if (!index->needs_frame) {
        *reached = params->sequence;
    }
    return status == VD_OK ? index_make_engine(index, err) : status;
}

/* The frame's bytes are given back before the journal is read. */
static vd_status load_frame(vd_index *index, uint64_t *reached, uint64_t *frame_bytes, vd_error *err) {
    objstore *store = index->owner->store;
    char key[FRAME_KEY_MAX];
    registry_frame_key(index->params.name, key);
    objstore_blob blob = {0};
    vd_status status = store->v->get(store, key, &blob, err);
    if (status != VD_OK) {
        return status;
    }
    lhv1_frame *frame = NULL;
    status = lhv1_open(bytes_of(blob.data, blob.size), &frame, err);
    if (status == VD_OK) {
        const lhv1_params *params = lhv1_get_params(frame);
        *frame_bytes = blob.size;
        log_warnings(index, frame);
        status = take_params(index, params, reached, err);
    }
    if (status == VD_OK) {
        atomic_store(&index->snapshot_bytes, blob.size);
        uint64_t journal = atomic_load(&index->journal_bytes);
        status = add_nodes(index, frame, (double)blob.size / (double)(blob.size + journal), err);
    }
    lhv1_close(frame);
    objstore_blob_release(&blob);
    return status;
}

static void calibrate_first(vd_index *index) {
    if (vd_hnsw_count(index->engine) <= CALIBRATE_FIRST_ITEMS) {
        index_calibrate_run(index);
    }
}

void index_load(vd_index *index) {
    int64_t begin_ms = clock_now_ms();
    vd_error err = {0};
    uint64_t reached = 0, frame_bytes = 0;
    vd_status status = load_frame(index, &reached, &frame_bytes, &err);
    if (status == VD_OK) {
        status = index_replay(index, reached, frame_bytes, &err);
    }
    if (status == VD_OK) {
        calibrate_first(index);
        status = index_make_tasks(index, &err);
    }
    if (index->leftover) {
        registry_discard(index->owner, index);
        return;
    }
    if (status == VD_CANCELLED && atomic_load(&index->owner->closing)) {
        return; /* stays LOADING: nothing may be saved from half an index */
    }
    if (status != VD_OK) {
        index_quarantine(index, err.text);
        return;
    }
    atomic_store(&index->last_write_ms, clock_now_ms());
    index_set_ready(index);
    log_event(LOG_INFO, "index loaded", "index=%s items=%llu dimension=%u sequence=%llu ms=%lld", index->name,
              (unsigned long long)vd_hnsw_count(index->engine), index->params.dimension,
              (unsigned long long)index->acked, (long long)(clock_now_ms() - begin_ms));
    index_request_tasks(index);
}
