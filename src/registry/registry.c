/*
 * registry.c - the map from names to indexes: finding, listing, summing up, and the order of stopping.
 *
 * Threading: `map_lock` guards the sorted array and is held for a binary search or a copy of pointers, never over the store or
 * the engine. `lock` guards who is busy with which name and the loading queue. No thread holds both,
 * nor either of them while it waits for an index.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

bool registry_map_find(registry *r, bytes name, size_t *position) {
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(r->map[middle]->params.name, name);
        if (order == 0) {
            *position = middle;
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *position = low;
    return false;
}

void registry_map_insert_locked(registry *r, vd_index *index) {
    size_t at;
    registry_map_find(r, index->params.name, &at);
    memmove(&r->map[at + 1], &r->map[at], (r->count - at) * sizeof *r->map);
    r->map[at] = index;
    r->count++;
}

void registry_map_remove_locked(registry *r, vd_index *index) {
    size_t at;
    if (registry_map_find(r, index->params.name, &at) && r->map[at] == index) {
        r->count--;
        memmove(&r->map[at], &r->map[at + 1], (r->count - at) * sizeof *r->map);
    }
}

/* ---- one change per name at a time ---- */

static bool is_busy_locked(const registry *r, const bytes *name) {
    for (size_t i = 0; i < r->busy_count; i++) {
        if (bytes_equal(*r->busy[i], *name)) {
            return true;
        }
    }
    return false;
}

vd_status registry_busy(registry *r, const bytes *name, vd_error *err) {
    pthread_mutex_lock(&r->lock);
    while (is_busy_locked(r, name)) {
        pthread_cond_wait(&r->changed, &r->lock);
    }
    vd_status status = VD_OK;
    if (r->busy_count == r->busy_capacity) {
        size_t capacity = r->busy_capacity ? r->busy_capacity * 2 : 16;
        const bytes **busy = realloc(r->busy, capacity * sizeof *busy);
        if (busy) {
            r->busy = busy;
            r->busy_capacity = capacity;
        } else {
            status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        }
    }
    if (status == VD_OK) {
        r->busy[r->busy_count++] = name;
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

void registry_unbusy(registry *r, const bytes *name) {
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->busy_count; i++) {
        if (r->busy[i] == name) {
            r->busy[i] = r->busy[--r->busy_count];
            break;
        }
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* ---- finding ---- */

vd_status registry_acquire(registry *r, bytes name, vd_index **out, vd_error *err) {
    pthread_rwlock_rdlock(&r->map_lock);
    size_t at;
    vd_index *index = registry_map_find(r, name, &at) ? r->map[at] : NULL;
    if (index) {
        index_acquire(index);
    }
    pthread_rwlock_unlock(&r->map_lock);
    if (!index) {
        vd_status status = registry_check_listed(r, err);
        return status == VD_OK ? vd_fail(err, VD_NOT_FOUND, NULL, "not found") : status;
    }
    *out = index;
    return VD_OK;
}

vd_status registry_list(registry *r, arena *a, bytes **names, size_t *count, vd_error *err) {
    vd_status status = registry_check_listed(r, err);
    if (status != VD_OK) {
        return status;
    }
    pthread_rwlock_rdlock(&r->map_lock);
    size_t n = r->count;
    bytes *list = arena_calloc(a, n ? n : 1, sizeof *list);
    for (size_t i = 0; list && i < n; i++) {
        bytes name = r->map[i]->params.name;
        const char *copy = arena_strndup(a, name.data, name.size);
        if (!copy) {
            list = NULL;
            break;
        }
        list[i] = bytes_of(copy, name.size);
    }
    pthread_rwlock_unlock(&r->map_lock);
    if (!list) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for %zu names", n);
    }
    *names = list;
    *count = n;
    return VD_OK;
}

index_durability registry_strongest(const registry *r) {
    return !r->store ? DURABILITY_MEMORY : r->store->v->remote ? DURABILITY_STORE : DURABILITY_LOCAL;
}

vd_status registry_store_trouble(vd_status status, vd_error *err) {
    if (status != VD_DISK_FULL && status != VD_OUT_OF_MEMORY) {
        status = VD_UNAVAILABLE;
        if (err) {
            err->status = status;
            err->retry_after_s = 1;
        }
    }
    return status;
}

vd_index **registry_acquire_all(registry *r, size_t *count) {
    pthread_rwlock_rdlock(&r->map_lock);
    vd_index **all = calloc(r->count ? r->count : 1, sizeof(vd_index *));
    *count = all ? r->count : 0;
    for (size_t i = 0; i < *count; i++) {
        all[i] = r->map[i];
        index_acquire(all[i]);
    }
    pthread_rwlock_unlock(&r->map_lock);
    return all;
}

vd_status registry_flush(registry *r, uint32_t *flushed, vd_error *err) {
    size_t count;
    vd_index **all = registry_acquire_all(r, &count);
    if (!all) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a list of the indexes");
    }
    *flushed = 0;
    vd_status first = VD_OK;
    for (size_t i = 0; i < count; i++) {
        vd_error one;
        vd_status status = VD_OK;
        if (index_check_ready(all[i], NULL) == VD_OK) { /* else nothing of it is only in memory */
            status = index_flush(all[i], &one);
            *flushed += status == VD_OK;
        }
        if (status != VD_OK && first == VD_OK) {
            first = vd_fail(err, status, NULL, "%s: %s", all[i]->name, one.text);
            if (err) {
                err->retry_after_s = one.retry_after_s;
            }
        }
        index_release(all[i]);
    }
    free(all);
    return first;
}

void registry_get_summary(registry *r, registry_summary *out) {
    *out = (registry_summary){.durable = r->store != NULL,
                              .store_away = atomic_load(&r->indexes_without_store) > 0,
                              .backlog_bytes = atomic_load(&r->backlog_bytes),
                              .strongest = registry_strongest(r)};
    pthread_rwlock_rdlock(&r->map_lock);
    out->indexes = (uint32_t)r->count;
    for (size_t i = 0; i < r->count; i++) {
        switch (atomic_load_explicit(&r->map[i]->state, memory_order_acquire)) {
        case INDEX_READY:
            out->items += vd_hnsw_count(r->map[i]->engine);
            break;
        case INDEX_LOADING:
            out->loading++;
            break;
        default:
            out->quarantined++;
            break;
        }
    }
    pthread_rwlock_unlock(&r->map_lock);
    out->listed = atomic_load(&r->listed);
    out->ready = out->listed && out->loading == 0;
}

/* ---- stopping ---- */

static void stop_index(vd_index *index) {
    pthread_mutex_lock(&index->lock);
    index->closing = true;
    pthread_mutex_unlock(&index->lock);
    if (atomic_load_explicit(&index->state, memory_order_acquire) != INDEX_READY) {
        return;
    }
    if (index->save_task) {
        saver_cancel(index->save_task);
    }
    if (index->flush_task) {
        saver_cancel(index->flush_task);
    }
    saver_cancel(index->calibrate_task);
    index_turn_take(index, TURN_OWNER);
    index_turn_refuse(index, VD_UNAVAILABLE, "the server is stopping");
    pthread_mutex_lock(&index->lock);
    bool save = index->owner->store && (index->changed || index->save_wanted);
    pthread_mutex_unlock(&index->lock);
    vd_error err;
    if (index->backlog && index_journal_write(index, NULL, &err) != VD_OK) {
        log_event(LOG_ERROR,
                  "writes that were acknowledged at \"memory\" are lost with the stop, unless the frame holds them",
                  "index=%s bytes=%llu error=%s", index->name, (unsigned long long)atomic_load(&index->backlog_bytes),
                  err.text);
    }
    if (save && index_save_in_turn(index, &err) != VD_OK) {
        log_event(LOG_ERROR, "index could not be saved at the stop: its journal holds what was acknowledged",
                  "index=%s error=%s", index->name, err.text);
    }
    index_journal_close(index);
    index_journal_forget(index, UINT64_MAX);
    index_turn_give(index);
    /* an index that somebody still holds outlives the saver */
    saver_task_free(index->save_task);
    saver_task_free(index->flush_task);
    saver_task_free(index->calibrate_task);
    index->save_task = NULL;
    index->flush_task = NULL;
    index->calibrate_task = NULL;
}

void registry_close(registry *r) {
    if (!r) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    atomic_store(&r->closing, true);
    pthread_cond_broadcast(&r->changed); /* the lister */
    pthread_mutex_unlock(&r->lock);
    if (r->has_lister) {
        pthread_join(r->lister, NULL);
    }
    for (uint32_t i = 0; i < r->loader_count; i++) {
        pthread_join(r->loaders[i], NULL);
    }
    for (size_t i = 0; i < r->count; i++) {
        stop_index(r->map[i]);
    }
    for (size_t i = 0; i < r->count; i++) {
        index_release(r->map[i]);
    }
    saver_free(r->saver);
    catalog_fini(&r->catalog);
    objstore_close(r->store);
    for (size_t i = 0; i < r->journal_count; i++) {
        free(r->journals[i].segments);
    }
    free(r->journals);
    free(r->load_queue);
    free(r->loaders);
    free(r->printed);
    free(r->busy);
    free(r->map);
    pthread_mutex_destroy(&r->print_lock);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    pthread_rwlock_destroy(&r->map_lock);
    free(r);
}
