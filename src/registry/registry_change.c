/*
 * registry_change.c - making and deleting an index.
 *
 * A create is a record in the catalog, then the frame (put if absent), then the index appears in the map. A delete is a record in
 * the catalog, then the files go, then the index disappears. In between, everybody else who wants to create or delete that
 * name waits, and nobody else notices.
 *
 * A request id that comes again gets its first answer, after a restart too: NNG's REQ sends again when an answer is late, and
 * "already exists" or "not found" would then be the answer to a success. A create whose record is there was a success when an
 * index of its epoch is, or was until somebody dropped it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "registry/registry_int.h"

/* Readers of a deleted index are let go first; they hold it for one search. */
#define DELETE_WAIT_MS 10000

/* ---- create ---- */

static vd_status check_range(const char *field, uint32_t value, uint32_t min, uint32_t max, vd_error *err) {
    if (value < min || value > max) {
        return vd_fail(err, VD_INVALID_ARGUMENT, field, "%s: must be %u..%u (got %u)", field, min, max, value);
    }
    return VD_OK;
}

static vd_status check_params(const index_params *p, vd_error *err) {
    vd_status status = registry_name_check(p->name, err);
    if (status == VD_OK) {
        status = check_range("dimension", p->dimension, VD_DIMENSION_MIN, VD_DIMENSION_MAX, err);
    }
    if (status == VD_OK) {
        status = check_range("m", p->m, VD_M_MIN, VD_M_MAX, err);
    }
    if (status == VD_OK) {
        status = check_range("ef_search", p->ef_search, VD_EF_SEARCH_MIN, VD_EF_SEARCH_MAX, err);
    }
    if (status == VD_OK) {
        status =
            check_range("ef_construction", p->ef_construction, VD_EF_CONSTRUCTION_MIN, VD_EF_CONSTRUCTION_MAX, err);
    }
    if (status == VD_OK && p->metric != VD_METRIC_COSINE && p->metric != VD_METRIC_EUCLIDEAN) {
        status = vd_fail(err, VD_INVALID_ARGUMENT, "distance", "distance: must be \"cosine\" or \"euclidean\"");
    }
    return status;
}

static vd_status check_free(registry *r, bytes name, vd_error *err) {
    pthread_rwlock_rdlock(&r->map_lock);
    size_t at;
    vd_index *taken = registry_map_find(r, name, &at) ? r->map[at] : NULL;
    bool full = r->count >= VD_INDEXES_MAX;
    int state = taken ? atomic_load_explicit(&taken->state, memory_order_acquire) : 0;
    vd_status status = VD_OK;
    if (taken && state == INDEX_QUARANTINED) {
        status = vd_fail(err, VD_ALREADY_EXISTS, "name", "index already exists (quarantined: %.200s)", taken->reason);
    } else if (taken) {
        status = vd_fail(err, VD_ALREADY_EXISTS, "name", "index already exists%s",
                         state == INDEX_LOADING ? " (it is loading)" : "");
    } else if (full) {
        status = vd_fail(err, VD_RESOURCE_EXHAUSTED, NULL, "at most %d indexes", VD_INDEXES_MAX);
    }
    pthread_rwlock_unlock(&r->map_lock);
    return status;
}

/* The epoch of the frame that stands in the store under this name; false when there is none that can be read. */
static bool stored_epoch(registry *r, bytes name, uint8_t epoch[LHV1_EPOCH_BYTES]) {
    char key[FRAME_KEY_MAX];
    registry_frame_key(name, key);
    objstore_blob blob = {0};
    if (r->store->v->get(r->store, key, &blob, NULL) != VD_OK) {
        return false;
    }
    lhv1_frame *frame = NULL;
    bool found = false;
    if (lhv1_open(bytes_of(blob.data, blob.size), &frame, NULL) == VD_OK && lhv1_get_params(frame)->has_epoch) {
        memcpy(epoch, lhv1_get_params(frame)->epoch, LHV1_EPOCH_BYTES);
        found = true;
    }
    lhv1_close(frame);
    objstore_blob_release(&blob);
    return found;
}

/* A put that failed may have reached the store all the same (the rename is done, the sync of the folder was refused): such a frame is
 * void, by a record if the store takes one, and goes with the next create of the name or the next start. */
static void withdraw_create(registry *r, const vd_index *index) {
    bytes name = index->params.name;
    if (catalog_write(&r->catalog, JOURNAL_WITHDRAWN, name, index->epoch, (bytes){NULL, 0}, NULL) != VD_OK) {
        catalog_note_void(&r->catalog, name, index->epoch);
    }
    char key[FRAME_KEY_MAX];
    registry_frame_key(name, key);
    uint8_t epoch[LHV1_EPOCH_BYTES];
    if (stored_epoch(r, name, epoch) && memcmp(epoch, index->epoch, sizeof epoch) == 0 &&
        r->store->v->remove(r->store, key, NULL) == VD_OK) {
        catalog_settle(&r->catalog, index->epoch);
    }
}

/* A leftover of an index that was dropped, or never made, stands in the way. */
static bool is_leftover(registry *r, bytes name) {
    uint8_t epoch[LHV1_EPOCH_BYTES];
    return stored_epoch(r, name, epoch) && catalog_is_gone(&r->catalog, epoch);
}

static vd_status store_failed(vd_status status, vd_error *err) {
    if (status == VD_INVALID_ARGUMENT && err && strcmp(err->field, "key") == 0) { /* a rule of the store for its keys */
        char rule[sizeof err->text];
        memcpy(rule, err->text, sizeof rule);
        return vd_fail(err, status, "name", "name: the store refuses it: %s", rule);
    }
    if (status == VD_INVALID_ARGUMENT) { /* the store's words are about keys, which no client knows */
        return vd_fail(err, status, "name", "name: too long for a file name once it is encoded");
    }
    return registry_store_trouble(status, err);
}

static vd_status put_new_frame(registry *r, vd_index *index, vd_error *err) {
    vd_status status = index_put_first(index, err);
    if (status == VD_ALREADY_EXISTS && is_leftover(r, index->params.name)) {
        char key[FRAME_KEY_MAX];
        registry_frame_key(index->params.name, key);
        status = r->store->v->remove(r->store, key, err);
        if (status == VD_OK) {
            status = index_put_first(index, err);
        }
    }
    if (status == VD_OK) {
        return VD_OK;
    }
    if (status == VD_ALREADY_EXISTS) {
        return vd_fail(err, status, "name",
                       "index already exists in the store, where something else has put it since the start");
    }
    withdraw_create(r, index);
    return store_failed(status, err);
}

static vd_status put_new_index(registry *r, vd_index *index, bytes request_id, vd_error *err) {
    vd_status status = catalog_write(&r->catalog, JOURNAL_CREATED, index->params.name, index->epoch, request_id, err);
    if (status != VD_OK) {
        return store_failed(status, err);
    }
    return r->store ? put_new_frame(r, index, err) : VD_OK;
}

static vd_status create_index(registry *r, const index_params *params, bytes request_id, index_receipt *receipt,
                              vd_error *err) {
    vd_index *index = index_new(r, params->name);
    if (!index) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for an index");
    }
    bytes name = index->params.name; /* its own copy */
    index->params = *params;
    index->params.name = name;
    registry_new_epoch(index->epoch);
    index->epoch_known = true;
    vd_status status = index_make_engine(index, err);
    if (status == VD_OK) {
        status = index_make_tasks(index, err);
    }
    if (status == VD_OK) {
        status = put_new_index(r, index, request_id, err);
    }
    if (status != VD_OK) {
        index_release(index);
        return status;
    }
    receipt->durability = registry_strongest(r);
    memcpy(receipt->epoch, index->epoch, sizeof receipt->epoch);
    index_set_ready(index);
    pthread_rwlock_wrlock(&r->map_lock);
    bool room = r->count < VD_INDEXES_MAX; /* others may have been faster */
    if (room) {
        registry_map_insert_locked(r, index);
    }
    pthread_rwlock_unlock(&r->map_lock);
    if (!room) {
        status = vd_fail(err, VD_RESOURCE_EXHAUSTED, NULL, "at most %d indexes", VD_INDEXES_MAX);
        if (r->store) {
            withdraw_create(r, index);
        }
        index_release(index);
        return status;
    }
    log_event(LOG_INFO, "index created", "index=%s dimension=%u", index->name, params->dimension);
    return VD_OK;
}

static vd_status check_open(registry *r, vd_error *err) {
    if (atomic_load(&r->closing)) {
        vd_fail(err, VD_UNAVAILABLE, NULL, "the server is stopping");
        if (err) {
            err->retry_after_s = 1;
        }
        return VD_UNAVAILABLE;
    }
    return registry_check_listed(r, err);
}

/* OK with *made: this create has been answered with success before. UNAVAILABLE: not known before the index is loaded. */
static vd_status made_before(registry *r, bytes name, bytes request_id, index_receipt *receipt, bool *made,
                             vd_error *err) {
    catalog_entry entry;
    *made = false;
    if (!catalog_find(&r->catalog, JOURNAL_CREATED, name, request_id, &entry)) {
        return VD_OK;
    }
    receipt->durability = registry_strongest(r);
    memcpy(receipt->epoch, entry.epoch, sizeof receipt->epoch);
    vd_index *index;
    if (registry_acquire(r, name, &index, NULL) != VD_OK) {
        *made = catalog_was_dropped(&r->catalog, entry.epoch);
        return VD_OK;
    }
    vd_status status = index_check_ready(index, err);
    if (status == VD_OK) {
        uint8_t epoch[LHV1_EPOCH_BYTES];
        index_copy_epoch(index, epoch);
        *made = memcmp(epoch, entry.epoch, sizeof epoch) == 0 || catalog_was_dropped(&r->catalog, entry.epoch);
    }
    index_release(index);
    return status == VD_UNAVAILABLE ? status : VD_OK;
}

vd_status registry_create(registry *r, const index_params *params, bytes request_id, index_receipt *receipt,
                          vd_error *err) {
    index_receipt unused;
    receipt = receipt ? receipt : &unused;
    *receipt = (index_receipt){0};
    vd_status status = check_open(r, err);
    if (status == VD_OK) {
        status = dedupe_check_id(request_id, err);
    }
    if (status == VD_OK) {
        status = check_params(params, err);
    }
    if (status == VD_OK) {
        status = registry_busy(r, &params->name, err);
    }
    if (status != VD_OK) {
        return status;
    }
    bool made;
    status = made_before(r, params->name, request_id, receipt, &made, err);
    if (status == VD_OK && !made) {
        status = check_free(r, params->name, err);
        if (status == VD_OK) {
            status = create_index(r, params, request_id, receipt, err);
        }
    }
    registry_unbusy(r, &params->name);
    return status;
}

/* ---- delete ---- */

static vd_status delete_index(registry *r, vd_index *index, bytes request_id, vd_error *err) {
    vd_status status = index_check_ready(index, err); /* one look: it may become ready meanwhile */
    switch (status) {
    case VD_OK:
        status = index_drop(index, request_id, err);
        break;
    case VD_DATA_LOSS:
        status = index_drop_quarantined(index, request_id, err);
        break;
    default:
        return status;
    }
    if (status != VD_OK) {
        return store_failed(status, err);
    }
    pthread_rwlock_wrlock(&r->map_lock);
    registry_map_remove_locked(r, index);
    pthread_rwlock_unlock(&r->map_lock);
    index_release(index); /* the map's reference */
    log_event(LOG_INFO, "index deleted", "index=%s", index->name);
    index_wait_unused(index, DELETE_WAIT_MS);
    return VD_OK;
}

vd_status registry_delete(registry *r, bytes name, bytes request_id, vd_error *err) {
    vd_status status = check_open(r, err);
    if (status == VD_OK) {
        status = dedupe_check_id(request_id, err);
    }
    if (status == VD_OK) {
        status = registry_busy(r, &name, err);
    }
    if (status != VD_OK) {
        return status;
    }
    catalog_entry entry;
    if (!catalog_find(&r->catalog, JOURNAL_DROPPED, name, request_id, &entry)) {
        vd_index *index;
        status = registry_acquire(r, name, &index, err);
        if (status == VD_OK) {
            status = delete_index(r, index, request_id, err);
            index_release(index);
        }
    }
    registry_unbusy(r, &name);
    return status;
}
