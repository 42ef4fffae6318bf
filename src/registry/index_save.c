/*
 * index_save.c - the frame of an index: when one is due, taking a consistent picture, streaming it to the store.
 *
 * Under the turn a save does three quick things: it closes the journal segment, so that the next write begins a new one, it puts the
 * request ids that are still remembered into that new one, since their own records are about to go, and it takes the position P (the last sequence number given out) together with the engine's snapshot. The frame says "sequence
 * P" and holds exactly what the records up to P have made; it is encoded node by node into the put while writes go on. Once
 * the put is committed, the segments that existed at P are superfluous and are removed. If anything fails the old frame and
 * all segments stand, nothing is lost, and the save is tried again later, each time after a longer pause.
 *
 * One frame is on its way at a time (`saving`): were there two, the older could arrive last, and the journal between their
 * positions would be gone already. Whoever streams needs neither turn nor lock to come to an end.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

#define RETRY_FIRST_MS       1000
#define RETRY_MAX_MS         (5 * 60 * 1000)
#define CALIBRATION_DELAY_MS 50
#define CALIBRATION_IDLE_MS  500 /* nothing written for so long: a load has probably ended */
#define OPTIMIZE_IDLE_MS     2000
#define OPTIMIZE_SLICE_MS    250 /* of the second pass at a time: saves take their turns in between */

/* ---- streaming a frame ---- */

static void source_node(void *context, uint64_t position, vd_id *id, const float **vector, bytes *metadata,
                        uint32_t *level) {
    vd_hnsw_node node;
    vd_hnsw_snapshot_node(context, position, &node);
    *id = node.id;
    *vector = node.vector;
    *metadata = index_payload_bytes(node.payload);
    *level = node.level;
}

static size_t source_links(void *context, uint64_t position, uint32_t level, uint32_t *out, size_t capacity) {
    return vd_hnsw_snapshot_links(context, position, level, out, capacity);
}

typedef struct frame_sink {
    vd_index *index;
    objstore_put *put;
    uint64_t size;
} frame_sink;

static vd_status sink_write(void *context, const void *data, size_t size, vd_error *err) {
    frame_sink *sink = context;
    pthread_mutex_lock(&sink->index->lock);
    bool dropping = sink->index->dropping;
    pthread_mutex_unlock(&sink->index->lock);
    if (dropping) {
        return vd_fail(err, VD_CANCELLED, NULL, "the index is being deleted");
    }
    sink->size += size;
    return sink->index->owner->store->v->put_write(sink->put, data, size, err);
}

static vd_status put_frame(vd_index *index, vd_hnsw_snapshot *snapshot, uint64_t sequence, bool if_absent,
                           vd_error *err) {
    objstore *store = index->owner->store;
    char key[FRAME_KEY_MAX];
    registry_frame_key(index->params.name, key);
    frame_sink sink = {.index = index};
    vd_status status = store->v->put_begin(store, key, if_absent, &sink.put, err);
    if (status != VD_OK) {
        return status;
    }
    lhv1_params params = {
        .dimension = index->params.dimension,
        .m = index->params.m,
        .ef_search = index->params.ef_search,
        .ef_construction = index->params.ef_construction,
        .metric = index->params.metric,
        .has_epoch = true,
        .sequence = sequence,
    };
    memcpy(params.name, index->name, sizeof params.name);
    memcpy(params.epoch, index->epoch, sizeof params.epoch);
    lhv1_source source = {.context = snapshot, .node = source_node, .links = source_links};
    if (snapshot) {
        source.count = vd_hnsw_snapshot_count(snapshot);
        source.levels = vd_hnsw_snapshot_levels(snapshot);
    }
    lhv1_sink target = {.context = &sink, .write = sink_write};
    status = lhv1_encode(&params, &source, &target, err);
    if (status != VD_OK) {
        store->v->put_abort(sink.put);
        return status;
    }
    status = store->v->put_commit(sink.put, err);
    if (status == VD_OK) {
        atomic_store(&index->snapshot_bytes, sink.size);
    }
    return status;
}

vd_status index_put_first(vd_index *index, vd_error *err) {
    return put_frame(index, NULL, 0, true, err);
}

/* ---- a save ---- */

/* The journal up to and including `position` is in the frame. A segment that cannot be removed stays listed and goes with the
 * next save. Needs `saving`: nobody else removes, so the list's head does not move under it. */
static void prune(vd_index *index, uint64_t position) {
    objstore *store = index->owner->store;
    for (size_t kept = 0;;) {
        pthread_mutex_lock(&index->lock);
        bool found = kept < index->segment_count && index->segments[kept].first <= position;
        uint64_t first = found ? index->segments[kept].first : 0;
        pthread_mutex_unlock(&index->lock);
        if (!found) {
            return;
        }
        char key[JOURNAL_KEY_MAX];
        registry_segment_key(index->epoch, first, key);
        vd_error err;
        if (store->v->remove(store, key, &err) != VD_OK) {
            log_event(LOG_WARN, "an old journal segment could not be removed", "index=%s error=%s", index->name,
                      err.text);
            kept++;
            continue;
        }
        pthread_mutex_lock(&index->lock);
        index->segment_count--;
        memmove(&index->segments[kept], &index->segments[kept + 1],
                (index->segment_count - kept) * sizeof *index->segments);
        index_count_journal_locked(index);
        pthread_mutex_unlock(&index->lock);
    }
}

/* Needs the turn. */
static vd_status take_picture(vd_index *index, vd_hnsw_snapshot **snapshot, uint64_t *position, vd_error *err) {
    if (index->write_fault[0]) { /* the frame would claim what memory does not hold */
        return vd_fail(err, VD_FAILED_PRECONDITION, NULL, "%s", index->write_fault);
    }
    int64_t retry_ms;
    if (index_journal_pausing(index, &retry_ms)) { /* writers wait for the turn while a store that is away is tried */
        return vd_fail(err, VD_UNAVAILABLE, NULL, "the store is away, tried again in %lld ms", (long long)retry_ms);
    }
    index_journal_close(index);
    *position = index->next_sequence - 1;
    vd_status status = VD_OK;
    if (index->backlog && !index->needs_frame) { /* a segment that claims them must not be there before they are */
        status = index_journal_write(index, NULL, err);
        index_journal_close(index);
        *position = index->next_sequence - 1;
    }
    if (status == VD_OK) {
        status = index_journal_carry_requests(index, err);
    }
    if (status == VD_OK) {
        status = vd_hnsw_snapshot_begin(index->engine, snapshot, err);
    }
    if (status == VD_OK) {
        pthread_mutex_lock(&index->lock);
        index->changed = false;
        index->save_wanted = false;
        pthread_mutex_unlock(&index->lock);
    }
    return status;
}

static vd_status save_picture(vd_index *index, vd_hnsw_snapshot *snapshot, uint64_t position, vd_error *err) {
    int64_t begin_ms = clock_now_ms();
    uint64_t items = vd_hnsw_snapshot_count(snapshot);
    vd_status status = put_frame(index, snapshot, position, false, err);
    vd_hnsw_snapshot_end(snapshot);
    if (status != VD_OK) {
        pthread_mutex_lock(&index->lock);
        index->changed = true;
        index->save_wanted = true;
        pthread_mutex_unlock(&index->lock);
        return status;
    }
    log_event(LOG_INFO, "index saved", "index=%s items=%llu bytes=%llu sequence=%llu ms=%lld", index->name,
              (unsigned long long)items, (unsigned long long)atomic_load(&index->snapshot_bytes),
              (unsigned long long)position, (long long)(clock_now_ms() - begin_ms));
    metric_add(index->owner->saves, 1);
    prune(index, position);
    return VD_OK;
}

/* A frame that is on its way does not need the turn any more, so waiting for it here ends. */
void index_saving_begin(vd_index *index) {
    pthread_mutex_lock(&index->lock);
    while (index->saving) {
        pthread_cond_wait(&index->turn_free, &index->lock);
    }
    index->saving = true;
    pthread_mutex_unlock(&index->lock);
}

void index_saving_end(vd_index *index) {
    pthread_mutex_lock(&index->lock);
    index->saving = false;
    pthread_cond_broadcast(&index->turn_free);
    pthread_mutex_unlock(&index->lock);
}

vd_status index_save_in_turn(vd_index *index, vd_error *err) {
    index_saving_begin(index);
    vd_hnsw_snapshot *snapshot;
    uint64_t position = 0;
    vd_status status = take_picture(index, &snapshot, &position, err);
    if (status == VD_OK) {
        status = save_picture(index, snapshot, position, err);
    }
    if (status == VD_OK) {
        index->needs_frame = false;
        index_journal_forget(index, position);
        if (atomic_load(&index->durable) < index->acked && index->acked <= position) {
            atomic_store(&index->durable, index->acked);
        }
    }
    index_saving_end(index);
    return status;
}

/* The turn, at a moment when no frame is on its way: writers need not stand still until one has arrived. */
static bool take_turn_to_save(vd_index *index) {
    for (;;) {
        if (!index_turn_take(index, TURN_SAVE)) {
            return false;
        }
        pthread_mutex_lock(&index->lock);
        bool free = !index->saving;
        pthread_mutex_unlock(&index->lock);
        if (free) {
            return true;
        }
        index_turn_give(index);
        pthread_mutex_lock(&index->lock);
        while (index->saving) {
            pthread_cond_wait(&index->turn_free, &index->lock);
        }
        pthread_mutex_unlock(&index->lock);
    }
}

vd_status index_save(vd_index *index, vd_error *err) {
    if (!take_turn_to_save(index)) {
        return vd_fail(err, VD_CANCELLED, NULL, "the index is being deleted");
    }
    if (index->needs_frame) { /* the first frame of this epoch must be there before the next record: no gap */
        vd_status status = index_save_in_turn(index, err);
        index_turn_give(index);
        return status;
    }
    index_saving_begin(index);
    vd_hnsw_snapshot *snapshot;
    uint64_t position = 0;
    vd_status status = take_picture(index, &snapshot, &position, err);
    index_turn_give(index);
    if (status == VD_OK) {
        status = save_picture(index, snapshot, position, err);
    }
    index_saving_end(index);
    return status;
}

/* ---- when ---- */

/* How long until a save is due: 0 now, -1 not at all. */
static int64_t save_delay_locked(const vd_index *index) {
    const registry_options *options = &index->owner->options;
    if (!index->changed && !index->save_wanted) {
        return -1;
    }
    int64_t now_ms = clock_now_ms();
    uint64_t journal = atomic_load(&index->journal_bytes);
    double factor = options->snapshot_factor * (double)atomic_load(&index->snapshot_bytes);
    bool due = index->save_wanted || (journal >= options->snapshot_min_bytes && (double)journal >= factor);
    int64_t at_ms = due ? now_ms : atomic_load(&index->last_write_ms) + options->snapshot_idle_ms;
    if (at_ms < index->save_not_before_ms) {
        at_ms = index->save_not_before_ms;
    }
    return at_ms > now_ms ? at_ms - now_ms : 0;
}

/* At once when the index has doubled; after a smaller change when nothing is written any more. */
static void request_calibration_locked(vd_index *index) {
    if (!index->calibrate_task) { /* still being loaded */
        return;
    }
    if (vd_hnsw_calibration_due(index->engine)) {
        saver_request(index->calibrate_task, CALIBRATION_DELAY_MS);
    } else if (vd_hnsw_calibration_stale(index->engine)) {
        int64_t idle_at_ms = atomic_load(&index->last_write_ms) + CALIBRATION_IDLE_MS;
        int64_t delay_ms = idle_at_ms - clock_now_ms();
        saver_request(index->calibrate_task, delay_ms > 0 ? delay_ms : 0);
    } else if (vd_hnsw_optimization_due(index->engine)) {
        int64_t delay_ms = atomic_load(&index->last_write_ms) + OPTIMIZE_IDLE_MS - clock_now_ms();
        saver_request(index->calibrate_task, delay_ms > 0 ? delay_ms : 0);
    }
}

void index_request_tasks(vd_index *index) {
    pthread_mutex_lock(&index->lock);
    if (!index->dropping && !index->closing) {
        if (index->save_task) {
            int64_t delay_ms = save_delay_locked(index);
            if (delay_ms >= 0) {
                saver_request(index->save_task, delay_ms);
            }
        }
        int64_t flush_ms = index->flush_task ? index_flush_delay(index) : -1;
        if (flush_ms >= 0) {
            saver_request(index->flush_task, flush_ms);
        }
        request_calibration_locked(index);
    }
    pthread_mutex_unlock(&index->lock);
}

/* One try; returns how long to wait before the next one, 0 when none is needed. */
static int64_t try_save(vd_index *index) {
    vd_error err;
    vd_status status = index_save(index, &err);
    if (status == VD_OK || status == VD_CANCELLED) {
        index->save_failures = 0;
        return 0;
    }
    int64_t pause_ms = RETRY_FIRST_MS;
    for (uint32_t i = 0; i < index->save_failures && pause_ms < RETRY_MAX_MS; i++) {
        pause_ms *= 2;
    }
    index->save_failures++;
    metric_add(index->owner->save_failures, 1);
    log_event(LOG_ERROR, "index could not be saved: its journal stays and loses nothing",
              "index=%s error=%s retry_ms=%lld", index->name, err.text, (long long)pause_ms);
    return pause_ms;
}

void index_save_run(void *arg) {
    vd_index *index = arg;
    pthread_mutex_lock(&index->lock);
    int64_t delay_ms = index->dropping || index->closing ? -1 : save_delay_locked(index);
    pthread_mutex_unlock(&index->lock);
    if (delay_ms == 0) {
        int64_t pause_ms = try_save(index);
        pthread_mutex_lock(&index->lock);
        index->save_not_before_ms = clock_now_ms() + pause_ms;
        pthread_mutex_unlock(&index->lock);
    }
    if (delay_ms >= 0) {
        index_request_tasks(index); /* for what was written since, or failed, or is not due yet */
    }
}

typedef struct slice {
    vd_index *index;
    int64_t until_ms;
} slice;

static bool slice_goes_on(void *context, uint64_t done, uint64_t total) {
    slice *s = context;
    (void)done;
    (void)total;
    int64_t now_ms = clock_now_ms();
    pthread_mutex_lock(&s->index->lock);
    bool leaving = s->index->dropping || s->index->closing;
    pthread_mutex_unlock(&s->index->lock);
    return !leaving && now_ms < s->until_ms && now_ms - atomic_load(&s->index->last_write_ms) >= OPTIMIZE_IDLE_MS;
}

/* A piece of the second pass over the graph, while nothing is written. true: calibrate now. */
static bool optimize_slice(vd_index *index) {
    slice s = {index, clock_now_ms() + OPTIMIZE_SLICE_MS};
    vd_optimize_options options = {index->owner->options.executor, slice_goes_on, &s};
    vd_error err;
    vd_status status = vd_hnsw_optimize(index->engine, &options, &err);
    if (status == VD_OK) {
        index_refresh_stats(index);
        log_event(LOG_INFO, "index optimized", "index=%s items=%llu", index->name,
                  (unsigned long long)vd_hnsw_count(index->engine));
    } else if (status != VD_CANCELLED) {
        log_event(LOG_WARN, "optimizing failed: searches go on as before", "index=%s error=%s", index->name, err.text);
    }
    return status == VD_OK;
}

/* false when it failed: not tried again before the next write. */
static bool calibrate(vd_index *index) {
    vd_error err;
    vd_status status = vd_hnsw_calibrate(index->engine, index->owner->options.executor, &err);
    if (status != VD_OK) {
        log_event(LOG_WARN, "calibration failed: searches look as far as before", "index=%s error=%s", index->name,
                  err.text);
        return false;
    }
    index_refresh_stats(index);
    pthread_mutex_lock(&index->lock);
    vd_hnsw_stats stats = index->stats;
    pthread_mutex_unlock(&index->lock);
    log_event(LOG_INFO, "index calibrated", "index=%s items=%llu gamma=%.4f recall=%.4f encoding=%s", index->name,
              (unsigned long long)stats.calibrated_at, stats.calibrated_gamma, stats.calibrated_recall,
              vd_encoding_name(stats.encoding));
    return true;
}

void index_calibrate_run(void *arg) {
    vd_index *index = arg;
    int64_t quiet_ms = clock_now_ms() - atomic_load(&index->last_write_ms);
    bool due = vd_hnsw_calibration_due(index->engine);
    bool good = true;
    if (due || (quiet_ms >= CALIBRATION_IDLE_MS && vd_hnsw_calibration_stale(index->engine))) {
        good = calibrate(index);
    } else if (quiet_ms >= OPTIMIZE_IDLE_MS && vd_hnsw_optimization_due(index->engine) && optimize_slice(index)) {
        good = calibrate(index);
    }
    pthread_mutex_lock(&index->lock);
    if (good && !index->dropping && !index->closing) {
        request_calibration_locked(index); /* for what is left of the pass, or was written meanwhile */
    }
    pthread_mutex_unlock(&index->lock);
}
