/*
 * index_commit.c - a group of writes, from queued to answered, on the leader's thread while it holds the turn.
 *
 *   stage    each op in order: request id seen before? memory for all that applying needs; state after it; its record
 *   journal  all records in one append and one sync (index_journal.c)
 *   apply    consecutive adds as one call of the engine (parallel insert pays off), deletes between them; cannot fail
 *   settle   sequence, request ids, results
 *
 * When the store is away (a network, not a disk that fails), who insists on min_durability is refused and the rest of the
 * group is staged anew without them, applied, and kept until the store is back. A disk that fails or is full refuses everybody.
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
    size_t added, deleted;   /* items of the whole group, at most */
    vd_status before_status; /* of what had to go before the group's records */
    vd_error before_err;
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
        op->affected = seen->answer.affected;
        op->length = seen->answer.length;
        op->sequence = seen->answer.sequence;
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

/* Only what is there is journalled: the count of a record is then the answer to a resend. What is not there goes to the end of
 * the list, in case the group has to be staged anew. */
static void stage_delete(commit *c, index_op *op) {
    vd_index *index = c->index;
    size_t kept = 0;
    for (size_t i = 0; i < op->count; i++) {
        pending_entry *entry = index_pending_get(&index->pending, index->engine, op->items[i].id);
        if (entry->present) {
            entry->present = false;
            entry->payload = NULL;
            journal_item item = op->items[i];
            op->items[i] = op->items[kept];
            op->items[kept++] = item;
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
        op->sequence = index->acked;
        return VD_OK; /* a delete of ids that are not there, and nobody can ask for its answer again */
    }
    op->logged = true;
    op->sequence = index->next_sequence++;
    c->logged++;
    journal_record record = {
        .kind = op->kind,
        .sequence = op->sequence,
        .request_id = op->request_id,
        .length_after = c->length,
        .synced = atomic_load(&index->durable),
        .items = op->items,
        .item_count = op->count,
    };
    memcpy(record.epoch, index->epoch, sizeof record.epoch);
    return index->owner->store ? journal_encode(&record, &index->records, &op->err) : VD_OK;
}

/* ---- journal ---- */

static void refuse(index_op *op, vd_status status, const vd_error *cause) {
    if (status == VD_DISK_FULL) {
        vd_fail(&op->err, status, NULL, "not stored, the disk is full: %s", cause->text);
    } else if (status == VD_OUT_OF_MEMORY) {
        vd_fail(&op->err, status, NULL, "not stored: %s", cause->text);
    } else {
        status = vd_fail(&op->err, VD_UNAVAILABLE, NULL, "not stored: %s", cause->text);
        op->err.retry_after_s = 1;
    }
    op->status = status;
}

static void journal_failed(vd_index *index, index_op *group, vd_status status, const vd_error *cause) {
    for (index_op *op = group; op; op = op->next) {
        if (op->logged) {
            refuse(op, status, cause);
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

static bool waits(const index_op *op) {
    return op->durability > DURABILITY_MEMORY || op->min_durability > DURABILITY_MEMORY;
}

static bool somebody_waits(const index_op *group) {
    while (group && !(group->logged && waits(group))) {
        group = group->next;
    }
    return group != NULL;
}

/* What must stand in the store before the group's records goes before the group is given its numbers: a frame that names the
 * journal's epoch, since it says how far it reaches; and the backlog, whose segments may need numbers of their own. */
static void put_what_is_before(commit *c, const index_op *group) {
    vd_index *index = c->index;
    int64_t retry_ms;
    while (group && !waits(group)) {
        group = group->next;
    }
    if (!group || !index->owner->store || (!index->needs_frame && !index->backlog) ||
        index_journal_pausing(index, &retry_ms)) {
        return;
    }
    c->before_status = index_journal_write(index, NULL, &c->before_err);
}

static void unstage(index_op *op) {
    for (size_t i = 0; op->kind == JOURNAL_ADD && i < op->count; i++) {
        if (!op->items[i].metadata.data) { /* a reference to what is stored: it may be another one this time */
            index_payload_release(NULL, op->payloads[i]);
            op->payloads[i] = NULL;
        }
    }
    op->count = op->given;
    op->logged = false;
}

static vd_status begin_staging(commit *c, vd_error *err) {
    vd_index *index = c->index;
    if (!index_pending_prepare(&index->pending, c->added + c->deleted)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a batch of %zu items", c->added + c->deleted);
    }
    buffer_clear(&index->records);
    c->length = vd_hnsw_count(index->engine);
    c->first_sequence = index->next_sequence;
    c->logged = 0;
    c->staged_items = 0;
    c->staged_id_bytes = 0;
    return VD_OK;
}

/* The group without those who insist: refused, or staged anew. `tried`: its records may have reached the store, so their
 * numbers are used up. */
static vd_status restage(commit *c, index_op *group, bool tried, const vd_error *cause, vd_error *err) {
    vd_index *index = c->index;
    if (tried) {
        index->in_doubt = true;
    } else {
        index->next_sequence = c->first_sequence;
    }
    vd_status status = begin_staging(c, err);
    for (index_op *op = group; op && status == VD_OK; op = op->next) {
        if (!op->logged) {
            continue;
        }
        unstage(op);
        if (op->min_durability > DURABILITY_MEMORY) {
            refuse(op, VD_UNAVAILABLE, cause);
        } else {
            status = stage(c, group, op);
            *err = op->err;
        }
    }
    return status;
}

static index_chunk chunk_of(const commit *c) {
    const vd_index *index = c->index;
    return (index_chunk){.first = c->first_sequence,
                         .last = index->next_sequence - 1,
                         .acked_before = index->acked,
                         .synced = atomic_load(&index->durable),
                         .records = bytes_of(index->records.data, index->records.size)};
}

static vd_status keep_group(commit *c, index_op *group, vd_error *err) {
    vd_index *index = c->index;
    index_chunk chunk = chunk_of(c);
    vd_status status = index_journal_keep(index, &chunk, err);
    if (status != VD_OK) {
        index->next_sequence = c->first_sequence; /* nobody has seen them */
        for (index_op *op = group; op; op = op->next) {
            if (op->logged) {
                refuse(op, status, err);
            }
        }
    }
    return status;
}

/* *tried: the group's records may have reached the store, whatever it says. */
static vd_status try_store(commit *c, bool *tried, vd_error *err) {
    vd_index *index = c->index;
    int64_t retry_ms;
    if (c->before_status != VD_OK) {
        *err = c->before_err;
        return c->before_status;
    }
    if (index_journal_pausing(index, &retry_ms)) {
        return vd_fail(err, VD_UNAVAILABLE, NULL, "the store is away, tried again in %lld ms", (long long)retry_ms);
    }
    *tried = true;
    index_chunk chunk = chunk_of(c);
    return index_journal_write(index, &chunk, err);
}

/* Another status than OK: nothing may be applied, and every op has its answer. */
static vd_status journal_group(commit *c, index_op *group, vd_error *err) {
    vd_index *index = c->index;
    if (!index->owner->store) {
        return VD_OK;
    }
    if (!somebody_waits(group)) {
        return keep_group(c, group, err);
    }
    bool tried = false;
    vd_status status = try_store(c, &tried, err);
    if (status == VD_OK) {
        return VD_OK;
    }
    if (!index->owner->store->v->remote || status != VD_UNAVAILABLE) {
        journal_failed(index, group, status, err);
        return status;
    }
    vd_error cause = *err;
    if (tried) {
        metric_add(index->owner->journal_failures, 1);
        log_event(LOG_WARN, "the store is away: writes are kept in memory until it is back", "index=%s error=%s",
                  index->name, cause.text);
    }
    status = restage(c, group, tried, &cause, err);
    if (status != VD_OK) {
        fail_all(group, status, err);
        return status;
    }
    return c->logged ? keep_group(c, group, err) : VD_UNAVAILABLE;
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
    uint64_t now_ms = clock_unix_ms();
    for (index_op *op = group; op; op = op->next) {
        if (op->logged) {
            index->acked = op->sequence;
            dedupe_answer answer = {
                .sequence = op->sequence, .affected = op->affected, .length = op->length, .time_ms = now_ms};
            dedupe_put(&index->dedupe, (uint8_t)op->kind, op->request_id, &answer);
        }
    }
    pthread_mutex_lock(&index->lock);
    index->changed = true;
    pthread_mutex_unlock(&index->lock);
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
            op->sequence = op->twin->sequence;
        }
    }
}

static void fill_receipts(const vd_index *index, index_op *group) {
    bool stored = index->owner->store != NULL;
    for (index_op *op = group; op; op = op->next) {
        op->reached = stored && op->sequence <= atomic_load(&index->durable) ? index->strongest : DURABILITY_MEMORY;
        if (op->status == VD_OK && op->reached < op->min_durability) { /* an answer from before, still on its way */
            vd_error cause = {.text = "it was applied, and waits for the store: try again"};
            refuse(op, VD_UNAVAILABLE, &cause);
        }
    }
}

/* ---- the whole ---- */

static vd_status prepare(commit *c, const index_op *group, vd_error *err) {
    size_t largest_delete = 0;
    for (const index_op *op = group; op; op = op->next) {
        if (op->kind == JOURNAL_ADD) {
            c->added += op->count;
        } else {
            c->deleted += op->count;
            largest_delete = op->count > largest_delete ? op->count : largest_delete;
        }
    }
    c->items = calloc(c->added ? c->added : 1, sizeof *c->items);
    c->ids = calloc(largest_delete ? largest_delete : 1, sizeof *c->ids);
    if (!c->items || !c->ids) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a batch of %zu items", c->added + c->deleted);
    }
    return begin_staging(c, err);
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
        put_what_is_before(&c, group);
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
    if (c.logged && journal_group(&c, group, &err) == VD_OK) {
        status = apply(&c, group, &err);
        if (status == VD_OK) {
            settle(&c, group);
        } else {
            stop_writing(index, group, &err);
        }
    }
    answer_twins(group);
    fill_receipts(index, group);
end:
    if (c.added) { /* whatever was not used of it: items that were not there, a journal that refused */
        (void)vd_hnsw_reserve(index->engine, 0, 0, NULL);
    }
    if (index->records.capacity > KEPT_RECORD_BYTES) {
        buffer_fini(&index->records);
        buffer_init(&index->records, 0);
    }
    free(c.items);
    free(c.ids);
}
