/*
 * index_commit.c - a group of writes, from queued to answered, on the leader's thread while it holds the turn.
 *
 *   stage    each op in order: request id seen before? memory for all that applying needs; state after it; its record
 *   journal  all records in one append and one sync
 *   apply    consecutive adds as one call of the engine (parallel insert pays off), deletes between them; cannot fail
 *   settle   sequence, request ids, results
 *
 * One record is one batch. Sequence numbers are used once: a group that the store refused keeps its numbers, and the
 * next segment's BEGIN record says how far the acknowledged ones reach, so whatever part of the refused group had
 * reached the disk is void when the journal is read again. A process that dies between the refusal and the next segment
 * (or save) is the one case in which a write that was answered with an error may be there after a restart, whole.
 *
 * Metadata "keep" is resolved here, against what the group itself has done before, and journalled as "keep": replay sees the
 * same order and comes to the same result.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

/* A store that has just failed is given a moment before a whole frame is sent to it. */
#define SAVE_AFTER_FAILURE_MS 1000

typedef struct commit {
    vd_index *index;
    vd_hnsw_item *items; /* room for every added item of the group */
    vd_id *ids;          /* ... and for every deleted one */
    size_t staged_items, staged_id_bytes;
    uint64_t length;
    uint64_t first_sequence;
    size_t logged;
} commit;

static void fail_all(index_op *group, vd_status status, const vd_error *err) {
    for (index_op *op = group; op; op = op->next) {
        op->status = status;
        op->err = *err;
        op->err.status = status;
    }
}

/* ---- stage ---- */

static bool answered_before(const vd_index *index, index_op *group, index_op *op) {
    if (op->request_id.size == 0) {
        return false;
    }
    const dedupe_entry *seen = dedupe_find(&index->dedupe, (uint8_t)op->kind, op->request_id);
    if (seen) {
        op->status = VD_OK;
        op->affected = seen->affected;
        op->length = seen->length;
        return true;
    }
    for (index_op *other = group; other != op; other = other->next) {
        if (other->logged && other->kind == op->kind && bytes_equal(other->request_id, op->request_id)) {
            op->twin = other;
            return true;
        }
    }
    return false;
}

static void stage_add(commit *c, index_op *op) {
    vd_index *index = c->index;
    for (size_t i = 0; i < op->count; i++) {
        pending_entry *entry = index_pending_get(&index->pending, index->engine, op->items[i].id);
        if (!op->items[i].metadata.data && entry->present && entry->payload) {
            index_payload_retain(entry->payload);
            op->payloads[i] = entry->payload;
        }
        c->length += entry->present ? 0 : 1;
        entry->present = true;
        entry->payload = op->payloads[i];
    }
    op->affected = op->count;
}

/* Only what is there is journalled: the count of a record is then the answer to a resend. */
static void stage_delete(commit *c, index_op *op) {
    vd_index *index = c->index;
    size_t kept = 0;
    for (size_t i = 0; i < op->count; i++) {
        pending_entry *entry = index_pending_get(&index->pending, index->engine, op->items[i].id);
        if (entry->present) {
            entry->present = false;
            entry->payload = NULL;
            op->items[kept++] = op->items[i];
        }
    }
    op->count = kept;
    op->affected = kept;
    c->length -= kept;
}

static vd_status reserve_op(commit *c, index_op *op) {
    vd_index *index = c->index;
    vd_status status =
        vd_hnsw_reserve(index->engine, c->staged_items + op->count, c->staged_id_bytes + op->id_bytes, &op->err);
    if (status == VD_OK && (!buffer_reserve(&index->records, op->record_bytes) ||
                            !dedupe_reserve(&index->dedupe, (uint32_t)c->logged + 1))) {
        index->records.failed = false; /* nothing was put: the records before this one are whole */
        status = vd_fail(&op->err, VD_OUT_OF_MEMORY, NULL, "no memory for a batch of %zu items", op->count);
    }
    return status;
}

/* OK also when the op alone has failed (op->status says so); another status fails the group. */
static vd_status stage(commit *c, index_op *group, index_op *op) {
    vd_index *index = c->index;
    if (answered_before(index, group, op)) {
        return VD_OK;
    }
    op->status = reserve_op(c, op);
    if (op->status != VD_OK) {
        return VD_OK;
    }
    c->staged_items += op->count;
    c->staged_id_bytes += op->id_bytes;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index->engine, &guard);
    if (op->kind == JOURNAL_ADD) {
        stage_add(c, op);
    } else {
        stage_delete(c, op);
    }
    vd_hnsw_leave(index->engine, &guard);
    op->length = c->length;
    if (op->count == 0 && op->request_id.size == 0 && !index->in_doubt) {
        return VD_OK; /* a delete of ids that are not there, and nobody can ask for its answer again */
    }
    op->logged = true;
    c->logged++;
    journal_record record = {
        .kind = op->kind,
        .sequence = index->next_sequence++,
        .request_id = op->request_id,
        .length_after = c->length,
        .synced = index->acked,
        .items = op->items,
        .item_count = op->count,
    };
    memcpy(record.epoch, index->epoch, sizeof record.epoch);
    return index->owner->store ? journal_encode(&record, &index->records, &op->err) : VD_OK;
}

/* ---- journal ---- */

static bool add_segment(vd_index *index, uint64_t first) {
    pthread_mutex_lock(&index->lock);
    bool ok = index->segment_count < index->segment_capacity;
    if (!ok) {
        size_t capacity = index->segment_capacity ? index->segment_capacity * 2 : 8;
        index_segment *segments = realloc(index->segments, capacity * sizeof *segments);
        if (segments) {
            index->segments = segments;
            index->segment_capacity = capacity;
            ok = true;
        }
    }
    if (ok) {
        index->segments[index->segment_count++] = (index_segment){.first = first};
        index->changed = true;
    }
    pthread_mutex_unlock(&index->lock);
    return ok;
}

static void grow_segment(vd_index *index, size_t size) {
    pthread_mutex_lock(&index->lock);
    index->segments[index->segment_count - 1].size_bytes += size;
    index->changed = true;
    index_count_journal_locked(index);
    pthread_mutex_unlock(&index->lock);
}

static vd_status open_segment(vd_index *index, uint64_t first, vd_error *err) {
    const objstore_vtable *v = index->owner->store->v;
    char key[JOURNAL_KEY_MAX];
    registry_segment_key(index->epoch, first, key);
    /* listed before it exists: a create that fails half way must leave nothing that nobody removes */
    if (!add_segment(index, first)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a journal segment");
    }
    buffer begin;
    buffer_init(&begin, 0);
    journal_record record = {
        .kind = JOURNAL_BEGIN, .sequence = index->acked, .synced = index->acked, .name = index->params.name};
    memcpy(record.epoch, index->epoch, sizeof record.epoch);
    vd_status status = journal_encode(&record, &begin, err);
    if (status == VD_OK) {
        status = v->log_create(index->owner->store, key, &index->log, err);
        if (status != VD_OK) {
            index->log = NULL;
        }
    }
    if (status == VD_OK) {
        status = v->log_append(index->log, begin.data, begin.size, err);
        grow_segment(index, begin.size);
    }
    buffer_fini(&begin);
    return status;
}

/* Nothing in the newest segment was ever durable: its file goes, or a disk that stays full would be filled with one per refused
 * group. One that cannot be removed stays listed and goes with the next save. */
static void withdraw_segment(vd_index *index, uint64_t first) {
    objstore *store = index->owner->store;
    char key[JOURNAL_KEY_MAX];
    registry_segment_key(index->epoch, first, key);
    if (store->v->remove(store, key, NULL) != VD_OK) {
        return;
    }
    pthread_mutex_lock(&index->lock);
    if (index->segment_count && index->segments[index->segment_count - 1].first == first) {
        index->segment_count--;
        index_count_journal_locked(index);
    }
    pthread_mutex_unlock(&index->lock);
}

/* All records of the group, durable. */
static vd_status journal_group(commit *c, vd_error *err) {
    vd_index *index = c->index;
    objstore *store = index->owner->store;
    if (!store) {
        return VD_OK;
    }
    if (index->needs_frame) {
        /* a journal is only ever replayed onto a frame that names its epoch. The frame's position must lie before this
         * group, whose numbers are already given out. */
        uint64_t next = index->next_sequence;
        index->next_sequence = c->first_sequence;
        vd_status status = index_save_in_turn(index, err);
        index->next_sequence = next;
        if (status != VD_OK) {
            return status;
        }
    }
    bool fresh = !index->log;
    vd_status status = fresh ? open_segment(index, c->first_sequence, err) : VD_OK;
    if (status == VD_OK) {
        grow_segment(index, index->records.size);
        status = store->v->log_append(index->log, index->records.data, index->records.size, err);
    }
    if (status == VD_OK) {
        status = store->v->log_sync(index->log, err);
        metric_add(index->owner->journal_syncs, 1);
    }
    /* a sealed log is whole: the next group begins another */
    if (index->log && (status != VD_OK || store->v->log_seals)) {
        store->v->log_close(index->log);
        index->log = NULL;
    }
    if (status != VD_OK && status != VD_ALREADY_EXISTS && fresh) {
        withdraw_segment(index, c->first_sequence);
    }
    return status;
}

static void journal_failed(vd_index *index, index_op *group, vd_status status, const vd_error *cause) {
    vd_error err;
    if (status == VD_DISK_FULL) {
        vd_fail(&err, status, NULL, "not stored, the disk is full: %s", cause->text);
    } else if (status == VD_OUT_OF_MEMORY) {
        vd_fail(&err, status, NULL, "not stored: %s", cause->text);
    } else {
        status = vd_fail(&err, VD_UNAVAILABLE, NULL, "not stored: %s", cause->text);
        err.retry_after_s = 1;
    }
    for (index_op *op = group; op; op = op->next) {
        if (op->logged) {
            op->status = status;
            op->err = err;
        }
    }
    index->in_doubt = true;
    metric_add(index->owner->journal_failures, 1);
    log_event(LOG_ERROR, "journal write failed: nothing of it was applied", "index=%s error=%s", index->name,
              cause->text);
    /* a frame voids what may have reached the disk, and tells when the store is well again */
    pthread_mutex_lock(&index->lock);
    index->save_wanted = true;
    int64_t not_before_ms = clock_now_ms() + SAVE_AFTER_FAILURE_MS;
    if (index->save_not_before_ms < not_before_ms) {
        index->save_not_before_ms = not_before_ms;
    }
    pthread_mutex_unlock(&index->lock);
}

/* ---- apply ---- */

static vd_status flush_adds(commit *c, size_t *count, vd_error *err) {
    vd_status status = VD_OK;
    if (*count) {
        status = vd_hnsw_add(c->index->engine, c->items, *count, c->index->owner->options.executor, err);
        *count = 0;
    }
    return status;
}

static vd_status apply(commit *c, index_op *group, vd_error *err) {
    vd_index *index = c->index;
    size_t adds = 0;
    vd_status status = VD_OK;
    index_op *unflushed = group; /* the first op whose payloads are still ours */
    for (index_op *op = group; op && status == VD_OK; op = op->next) {
        if (!op->logged) {
            continue;
        }
        if (op->kind == JOURNAL_ADD) {
            for (size_t i = 0; i < op->count; i++) {
                c->items[adds++] = (vd_hnsw_item){.id = op->items[i].id,
                                                  .vector = (const float *)(const void *)op->items[i].vector,
                                                  .payload = op->payloads[i]};
            }
            continue;
        }
        status = flush_adds(c, &adds, err);
        for (; status == VD_OK && unflushed != op; unflushed = unflushed->next) {
            unflushed->applied = unflushed->logged;
        }
        for (size_t i = 0; i < op->count; i++) {
            c->ids[i] = op->items[i].id;
        }
        if (status == VD_OK && op->count) {
            status = vd_hnsw_delete(index->engine, c->ids, op->count, index->owner->options.executor, NULL, err);
        }
    }
    if (status == VD_OK) {
        status = flush_adds(c, &adds, err);
        for (; status == VD_OK && unflushed; unflushed = unflushed->next) {
            unflushed->applied = unflushed->logged;
        }
    }
    return status;
}

/* The journal has what memory lacks: answering on would show a state that a restart undoes. */
static void stop_writing(vd_index *index, index_op *group, const vd_error *cause) {
    snprintf(index->write_fault, sizeof index->write_fault, "writes are stopped until a restart: %s", cause->text);
    log_event(LOG_ERROR, "a journalled write could not be applied", "index=%s error=%s", index->name, cause->text);
    vd_error err;
    vd_fail(&err, VD_INTERNAL, NULL, "%s", index->write_fault);
    for (index_op *op = group; op; op = op->next) {
        if (op->logged) {
            op->status = VD_INTERNAL;
            op->err = err;
        }
    }
}

static void settle(commit *c, index_op *group) {
    vd_index *index = c->index;
    for (index_op *op = group; op; op = op->next) {
        if (op->logged) {
            dedupe_put(&index->dedupe, (uint8_t)op->kind, op->request_id, op->affected, op->length);
        }
    }
    index->in_doubt = false;
    index->acked = index->next_sequence - 1;
    atomic_store(&index->sequence, index->acked);
    atomic_store(&index->last_write_ms, clock_now_ms());
    index_refresh_stats(index);
}

static void answer_twins(index_op *group) {
    for (index_op *op = group; op; op = op->next) {
        if (op->twin) {
            op->status = op->twin->status;
            op->err = op->twin->err;
            op->affected = op->twin->affected;
            op->length = op->twin->length;
        }
    }
}

/* ---- the whole ---- */

static vd_status prepare(commit *c, const index_op *group, vd_error *err) {
    size_t adds = 0, deletes = 0, largest_delete = 0;
    for (const index_op *op = group; op; op = op->next) {
        if (op->kind == JOURNAL_ADD) {
            adds += op->count;
        } else {
            deletes += op->count;
            largest_delete = op->count > largest_delete ? op->count : largest_delete;
        }
    }
    vd_index *index = c->index;
    c->items = calloc(adds ? adds : 1, sizeof *c->items);
    c->ids = calloc(largest_delete ? largest_delete : 1, sizeof *c->ids);
    if (!c->items || !c->ids || !index_pending_prepare(&index->pending, adds + deletes)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a batch of %zu items", adds + deletes);
    }
    buffer_clear(&index->records);
    c->length = vd_hnsw_count(index->engine);
    return VD_OK;
}

/* A group whose records were large must not pin its buffer for ever. */
#define KEPT_RECORD_BYTES (4u * 1024u * 1024u)

void index_commit(vd_index *index, index_op *group) {
    commit c = {.index = index};
    vd_error err = {0};
    vd_status status = VD_OK;
    if (index->write_fault[0]) {
        status = vd_fail(&err, VD_INTERNAL, NULL, "%s", index->write_fault);
    }
    c.first_sequence = index->next_sequence;
    if (status == VD_OK) {
        status = prepare(&c, group, &err);
    }
    for (index_op *op = group; op && status == VD_OK; op = op->next) {
        status = stage(&c, group, op);
        if (status != VD_OK) {
            err = op->err;
        }
    }
    if (status != VD_OK) {
        index->next_sequence = c.first_sequence; /* within a segment the numbers have no gaps */
        fail_all(group, status, &err);
        goto end;
    }
    if (c.logged) {
        status = journal_group(&c, &err);
        if (status != VD_OK) {
            journal_failed(index, group, status, &err);
        } else {
            status = apply(&c, group, &err);
            if (status == VD_OK) {
                settle(&c, group);
            } else {
                stop_writing(index, group, &err);
            }
        }
    }
    answer_twins(group);
end:
    if (c.staged_items) { /* whatever was not used of it: items that were not there, a journal that refused */
        (void)vd_hnsw_reserve(index->engine, 0, 0, NULL);
    }
    if (index->records.capacity > KEPT_RECORD_BYTES) {
        buffer_fini(&index->records);
        buffer_init(&index->records, 0);
    }
    free(c.items);
    free(c.ids);
}
