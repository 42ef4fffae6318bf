/*
 * index.c - one index as others see it: its life from LOADING to READY or QUARANTINED, references, information.
 *
 * Threading: references are counted; whoever holds one may call everything in index.h. What a reader looks at without a lock
 * is either fixed before `state` (or params_known) is published, or atomic.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

static void monotonic_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

vd_index *index_new(registry *owner, bytes name) {
    vd_index *index = calloc(1, sizeof *index);
    if (!index) {
        return NULL;
    }
    atomic_init(&index->refs, 1);
    atomic_init(&index->state, INDEX_LOADING);
    index->owner = owner;
    index->strongest = registry_strongest(owner);
    memcpy(index->name, name.data, name.size);
    index->params.name = bytes_of(index->name, name.size);
    index->next_sequence = 1;
    index->backlog_end = &index->backlog;
    pthread_mutex_init(&index->lock, NULL);
    monotonic_cond_init(&index->turn_free);
    buffer_init(&index->records, 0);
    dedupe_init(&index->dedupe, VD_DEDUPE_WINDOW);
    return index;
}

static void index_free(vd_index *index) {
    index_journal_close(index);
    index_journal_forget(index, UINT64_MAX);
    saver_task_free(index->save_task);
    saver_task_free(index->flush_task);
    saver_task_free(index->calibrate_task);
    vd_hnsw_free(index->engine);
    dedupe_fini(&index->dedupe);
    index_pending_fini(&index->pending);
    buffer_fini(&index->records);
    free(index->segments);
    pthread_cond_destroy(&index->turn_free);
    pthread_mutex_destroy(&index->lock);
    free(index);
}

void index_acquire(vd_index *index) {
    atomic_fetch_add_explicit(&index->refs, 1, memory_order_relaxed);
}

void index_release(vd_index *index) {
    if (atomic_fetch_sub_explicit(&index->refs, 1, memory_order_acq_rel) == 1) {
        index_free(index);
    }
}

/* Only a delete waits here, and what it waits for is a search in progress: looking again every millisecond costs nothing, and
 * spares each of a million searches a look at a flag and a lock. */
void index_wait_unused(vd_index *index, int64_t timeout_ms) {
    int64_t deadline_ms = clock_now_ms() + timeout_ms;
    pthread_mutex_lock(&index->lock);
    while (atomic_load_explicit(&index->refs, memory_order_acquire) > 1 && clock_now_ms() < deadline_ms) {
        struct timespec until = clock_timespec(clock_now_ms() + 1);
        pthread_cond_timedwait(&index->turn_free, &index->lock, &until);
    }
    pthread_mutex_unlock(&index->lock);
}

vd_status index_make_engine(vd_index *index, vd_error *err) {
    vd_hnsw_options options = {
        .dimension = index->params.dimension,
        .metric = index->params.metric,
        .m = index->params.m,
        .ef_construction = index->params.ef_construction,
        .ef_search = index->params.ef_search,
        .release_payload = index_payload_release,
    };
    return vd_hnsw_new(&options, &index->engine, err);
}

vd_status index_make_tasks(vd_index *index, vd_error *err) {
    registry *r = index->owner;
    index->calibrate_task = saver_task_new(r->saver, index_calibrate_run, index);
    if (r->store) {
        index->save_task = saver_task_new(r->saver, index_save_run, index);
        index->flush_task = saver_task_new(r->saver, index_flush_run, index);
    }
    if (!index->calibrate_task || (r->store && (!index->save_task || !index->flush_task))) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the background tasks of an index");
    }
    return VD_OK;
}

void index_refresh_stats(vd_index *index) {
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index->engine, &stats);
    pthread_mutex_lock(&index->lock);
    index->stats = stats;
    pthread_mutex_unlock(&index->lock);
}

void index_set_ready(vd_index *index) {
    index_refresh_stats(index);
    atomic_store(&index->params_known, true);
    atomic_store_explicit(&index->state, INDEX_READY, memory_order_release);
}

void index_quarantine(vd_index *index, const char *reason) {
    snprintf(index->reason, sizeof index->reason, "%s", reason);
    vd_hnsw_free(index->engine);
    index->engine = NULL;
    atomic_store_explicit(&index->state, INDEX_QUARANTINED, memory_order_release);
    log_event(LOG_ERROR, "index quarantined: its files stay as they are", "index=%s reason=%s", index->name,
              index->reason);
}

vd_status index_check_ready(vd_index *index, vd_error *err) {
    switch (atomic_load_explicit(&index->state, memory_order_acquire)) {
    case INDEX_READY:
        return VD_OK;
    case INDEX_LOADING:
        vd_fail(err, VD_UNAVAILABLE, NULL, "index is loading (%u%%)", atomic_load(&index->progress) / 10000);
        if (err) {
            err->retry_after_s = 1;
        }
        return VD_UNAVAILABLE;
    default:
        return vd_fail(err, VD_DATA_LOSS, NULL, "index is quarantined: %s", index->reason);
    }
}

const index_params *index_get_params(const vd_index *index) {
    return &index->params;
}

const char *index_durability_name(index_durability durability) {
    static const char *const names[] = {"", "memory", "local", "store"};
    return names[durability];
}

void index_copy_epoch(vd_index *index, uint8_t out[LHV1_EPOCH_BYTES]) {
    pthread_mutex_lock(&index->lock);
    memcpy(out, index->epoch, LHV1_EPOCH_BYTES);
    pthread_mutex_unlock(&index->lock);
}

void index_renew_epoch(vd_index *index) {
    pthread_mutex_lock(&index->lock);
    registry_new_epoch(index->epoch);
    index->segment_count = 0;
    index_count_journal_locked(index);
    index->save_wanted = true;
    pthread_mutex_unlock(&index->lock);
    index->needs_frame = true;
}

vd_status index_check_at_least(vd_index *index, const index_receipt *receipt, vd_error *err) {
    uint8_t epoch[LHV1_EPOCH_BYTES];
    index_copy_epoch(index, epoch);
    if (memcmp(epoch, receipt->epoch, sizeof epoch) != 0) {
        return vd_fail(err, VD_FAILED_PRECONDITION, "at_least", "at_least: the receipt is of another index");
    }
    uint64_t reached = atomic_load(&index->sequence);
    if (reached >= receipt->sequence) {
        return VD_OK;
    }
    vd_fail(err, VD_UNAVAILABLE, "at_least", "at_least: write %llu is not there, the last one is %llu",
            (unsigned long long)receipt->sequence, (unsigned long long)reached);
    if (err) {
        err->retry_after_s = 1;
    }
    return VD_UNAVAILABLE;
}

void index_count_journal_locked(vd_index *index) {
    uint64_t total = 0;
    for (size_t i = 0; i < index->segment_count; i++) {
        total += index->segments[i].size_bytes;
    }
    atomic_store(&index->journal_bytes, total);
}

void index_get_info(vd_index *index, index_info *out) {
    *out = (index_info){.state = (index_state)atomic_load_explicit(&index->state, memory_order_acquire)};
    out->params.name = index->params.name;
    if (atomic_load(&index->params_known)) {
        out->params = index->params;
    }
    out->load_progress = out->state == INDEX_READY ? 1.0 : atomic_load(&index->progress) / 1e6;
    out->journal_bytes = atomic_load(&index->journal_bytes);
    out->sequence = atomic_load(&index->sequence);
    out->durable_sequence = atomic_load(&index->durable);
    out->backlog_bytes = atomic_load(&index->backlog_bytes);
    out->strongest = index->strongest;
    index_copy_epoch(index, out->epoch);
    if (out->state == INDEX_READY) {
        pthread_mutex_lock(&index->lock);
        out->stats = index->stats;
        pthread_mutex_unlock(&index->lock);
        out->length = vd_hnsw_count(index->engine);
    } else if (out->state == INDEX_QUARANTINED) {
        snprintf(out->reason, sizeof out->reason, "%s", index->reason);
    }
}
