/*
 * registry_change.c - making and deleting an index.
 *
 * Both are answered only when the store has done its part: the frame of a new index is put (if absent) before it appears in
 * the map; the files of a deleted one are gone before it disappears from it. In between, everybody else who wants to create or
 * delete that name waits, and nobody else notices.
 *
 * A request id that comes again gets its first answer: NNG's REQ sends again when an answer is late, and "already exists" or
 * "not found" would then be the answer to a success. The window is in memory: after a restart a resent create is refused
 * with ALREADY_EXISTS and a resent delete with NOT_FOUND.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "registry/registry_int.h"

enum { REQUEST_CREATE = 0x40, REQUEST_DELETE = 0x41 };

/* Readers of a deleted index are let go first; they hold it for one search. */
#define DELETE_WAIT_MS 10000

/* ---- request ids ---- */

/* The name is a part of the key: an id that is used for another index is another request. */
static uint64_t name_hash(bytes name) {
    return (uint64_t)crc32c(0, name.data, name.size) << 32 | (uint32_t)name.size;
}

static bool answered_before(registry *r, uint8_t kind, bytes name, bytes request_id) {
    pthread_mutex_lock(&r->lock);
    const dedupe_entry *seen = dedupe_find(&r->requests, kind, request_id);
    bool found = seen && seen->affected == name_hash(name);
    pthread_mutex_unlock(&r->lock);
    return found;
}

static void remember(registry *r, uint8_t kind, bytes name, bytes request_id) {
    pthread_mutex_lock(&r->lock);
    dedupe_put(&r->requests, kind, request_id, name_hash(name), 0);
    pthread_mutex_unlock(&r->lock);
}

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

/* A put that failed may have reached the store all the same (the rename is done, the sync of the folder was refused). Take the
 * frame away; when that fails too, remember its epoch, so that the next create of the name knows it for its own. */
static void forget_failed_frame(registry *r, const vd_index *index) {
    char key[FRAME_KEY_MAX];
    registry_frame_key(index->params.name, key);
    uint8_t epoch[LHV1_EPOCH_BYTES];
    if (stored_epoch(r, index->params.name, epoch) && memcmp(epoch, index->epoch, sizeof epoch) == 0 &&
        r->store->v->remove(r->store, key, NULL) == VD_OK) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    uint8_t(*epochs)[LHV1_EPOCH_BYTES] =
        realloc(r->failed_creates, (r->failed_create_count + 1) * sizeof *r->failed_creates);
    if (epochs) {
        r->failed_creates = epochs;
        memcpy(epochs[r->failed_create_count++], index->epoch, LHV1_EPOCH_BYTES);
    }
    pthread_mutex_unlock(&r->lock);
}

static bool is_failed_create(registry *r, bytes name) {
    uint8_t epoch[LHV1_EPOCH_BYTES];
    if (!stored_epoch(r, name, epoch)) {
        return false;
    }
    bool found = false;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->failed_create_count && !found; i++) {
        found = memcmp(r->failed_creates[i], epoch, LHV1_EPOCH_BYTES) == 0;
    }
    pthread_mutex_unlock(&r->lock);
    return found;
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
    if (status != VD_DISK_FULL && status != VD_OUT_OF_MEMORY) {
        status = VD_UNAVAILABLE; /* the store's own trouble: trying again makes sense */
        if (err) {
            err->status = status;
            err->retry_after_s = 1;
        }
    }
    return status;
}

static vd_status put_new_frame(registry *r, vd_index *index, vd_error *err) {
    vd_status status = index_put_first(index, err);
    if (status == VD_ALREADY_EXISTS && is_failed_create(r, index->params.name)) {
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
    forget_failed_frame(r, index);
    return store_failed(status, err);
}

static vd_status create_index(registry *r, const index_params *params, vd_error *err) {
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
    if (status == VD_OK && r->store) {
        status = put_new_frame(r, index, err);
    }
    if (status != VD_OK) {
        index_release(index);
        return status;
    }
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
            forget_failed_frame(r, index);
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
    return VD_OK;
}

vd_status registry_create(registry *r, const index_params *params, bytes request_id, vd_error *err) {
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
    if (!answered_before(r, REQUEST_CREATE, params->name, request_id)) {
        status = check_free(r, params->name, err);
        if (status == VD_OK) {
            status = create_index(r, params, err);
        }
        if (status == VD_OK) {
            remember(r, REQUEST_CREATE, params->name, request_id);
        }
    }
    registry_unbusy(r, &params->name);
    return status;
}

/* ---- delete ---- */

static vd_status delete_index(registry *r, vd_index *index, vd_error *err) {
    vd_status status = index_check_ready(index, err); /* one look: it may become ready meanwhile */
    switch (status) {
    case VD_OK:
        status = index_drop(index, err);
        break;
    case VD_DATA_LOSS:
        status = index_drop_quarantined(index, err);
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
    if (!answered_before(r, REQUEST_DELETE, name, request_id)) {
        vd_index *index;
        status = registry_acquire(r, name, &index, err);
        if (status == VD_OK) {
            status = delete_index(r, index, err);
            index_release(index);
        }
        if (status == VD_OK) {
            remember(r, REQUEST_DELETE, name, request_id);
        }
    }
    registry_unbusy(r, &name);
    return status;
}
