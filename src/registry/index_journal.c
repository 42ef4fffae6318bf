/*
 * index_journal.c - the journal of one index: its segments in the store, and what waits to go there.
 *
 * A group of writes is one chunk: its records, one behind the other. Chunks go to the store in the order of their sequence
 * numbers and never out of it, so what is in the store is always a prefix of what was acknowledged. A chunk that has been
 * acknowledged at "memory" only, because its writers asked for no more or the store is away, waits in the backlog: bounded
 * in bytes over all indexes, sent by the next group that wants to be durable, by Flush, or by a task of its own.
 *
 * A chunk that has been tried never changes and keeps its key: when the answer of a store was lost, trying again is harmless.
 * Where a key is taken all the same (a folder that could not remove a half-written segment), another number is used
 * up for it, and the segment is closed behind that one chunk: within a segment sequence numbers have no gaps.
 *
 * Threading: everything here needs the turn, but for the atomic figures.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

#define PAUSE_FIRST_MS 1000
#define PAUSE_MAX_MS   30000
/* Chunks that nobody waits for are sent so much later: together, and not one by one. */
#define FLUSH_DELAY_MS 200

/* ---- the list of segments ---- */

static bool add_segment(vd_index *index, uint64_t first) {
    pthread_mutex_lock(&index->lock);
    /* a try that failed may have left it in the list */
    bool listed = index->segment_count && index->segments[index->segment_count - 1].first == first;
    bool ok = listed || index->segment_count < index->segment_capacity;
    if (!ok) {
        size_t capacity = index->segment_capacity ? index->segment_capacity * 2 : 8;
        index_segment *segments = realloc(index->segments, capacity * sizeof *segments);
        if (segments) {
            index->segments = segments;
            index->segment_capacity = capacity;
            ok = true;
        }
    }
    if (ok && !listed) {
        index->segments[index->segment_count++] = (index_segment){.first = first};
    }
    pthread_mutex_unlock(&index->lock);
    return ok;
}

static void grow_segment(vd_index *index, size_t size) {
    pthread_mutex_lock(&index->lock);
    index->segments[index->segment_count - 1].size_bytes += size;
    index_count_journal_locked(index);
    pthread_mutex_unlock(&index->lock);
}

/* Nothing in the newest segment was ever durable: its file goes, or a disk that stays full would be filled with one per refused
 * group. One that cannot be removed stays listed and goes with the next save. Not over a network: a removal that arrives late
 * would take away what a second try has put. */
static void withdraw_segment(vd_index *index, uint64_t first) {
    objstore *store = index->owner->store;
    if (store->v->remote) {
        return;
    }
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

void index_journal_close(vd_index *index) {
    if (index->log) {
        index->owner->store->v->log_close(index->log);
        index->log = NULL;
    }
}

static vd_status append(vd_index *index, bytes data, vd_error *err) {
    grow_segment(index, data.size); /* before: what is there by half counts as well */
    return index->owner->store->v->log_append(index->log, data.data, data.size, err);
}

/* Makes what was appended durable. A store whose logs cannot be added to has its segment closed. */
static vd_status sync_segment(vd_index *index, vd_error *err) {
    objstore *store = index->owner->store;
    vd_status status = store->v->log_sync(index->log, err);
    metric_add(index->owner->journal_syncs, 1);
    if (status == VD_OK && store->v->remote) {
        index_journal_close(index);
    }
    return status;
}

/* `acked`, `synced`: how far the acknowledged and the durable records reached before the first one that will stand here. */
static vd_status open_segment(vd_index *index, uint64_t first, uint64_t acked, uint64_t synced, vd_error *err) {
    const objstore_vtable *v = index->owner->store->v;
    char key[JOURNAL_KEY_MAX];
    registry_segment_key(index->epoch, first, key);
    /* listed before it exists: a create that fails half way must leave nothing that nobody removes */
    if (!add_segment(index, first)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a journal segment");
    }
    buffer begin;
    buffer_init(&begin, 0);
    journal_record record = {.kind = JOURNAL_BEGIN, .sequence = acked, .synced = synced, .name = index->params.name};
    memcpy(record.epoch, index->epoch, sizeof record.epoch);
    vd_status status = journal_encode(&record, &begin, err);
    if (status == VD_OK) {
        status = v->log_create(index->owner->store, key, &index->log, err);
        if (status != VD_OK) {
            index->log = NULL;
        }
    }
    if (status == VD_OK) {
        status = append(index, bytes_of(begin.data, begin.size), err);
    }
    buffer_fini(&begin);
    return status;
}

/* ---- chunks ---- */

typedef struct writing {
    vd_index *index;
    uint64_t opened; /* key of the segment that this call has begun; 0: none */
    bool close;      /* its key is not its first record's number: nothing may follow */
} writing;

static vd_status begin_for(writing *w, index_chunk *chunk, vd_error *err) {
    vd_index *index = w->index;
    if (chunk->key == 0) {
        chunk->key = chunk->first;
    }
    vd_status status = open_segment(index, chunk->key, chunk->acked_before, chunk->synced, err);
    if (status == VD_ALREADY_EXISTS && !index->owner->store->v->remote) {
        /* an earlier try could not take its file away */
        chunk->key = index->next_sequence++;
        status = open_segment(index, chunk->key, chunk->acked_before, chunk->synced, err);
        w->close = true;
    }
    w->opened = chunk->key;
    return status;
}

static vd_status put_chunk(writing *w, index_chunk *chunk, vd_error *err) {
    vd_index *index = w->index;
    vd_status status = VD_OK;
    if (!index->log || w->close) {
        index_journal_close(index);
        w->close = false;
        status = begin_for(w, chunk, err);
    }
    if (status == VD_OK) {
        status = append(index, chunk->records, err);
    }
    if (status == VD_OK && (index->owner->store->v->remote || w->close)) {
        status = sync_segment(index, err);
    }
    return status;
}

static void pop(vd_index *index) {
    index_chunk *chunk = index->backlog;
    index->backlog = chunk->next;
    if (!index->backlog) {
        index->backlog_end = &index->backlog;
    }
    atomic_fetch_sub(&index->backlog_bytes, chunk->records.size);
    atomic_fetch_sub(&index->owner->backlog_bytes, chunk->records.size);
    buffer_fini(&chunk->owned);
    free(chunk);
}

void index_journal_forget(vd_index *index, uint64_t position) {
    while (index->backlog && index->backlog->last <= position) {
        pop(index);
    }
}

static vd_status write_chunks(writing *w, index_chunk *group, vd_error *err) {
    vd_index *index = w->index;
    bool remote = index->owner->store->v->remote;
    vd_status status = VD_OK;
    uint64_t last = 0;
    for (index_chunk *chunk = index->backlog; chunk && status == VD_OK;) {
        index_chunk *next = chunk->next;
        status = put_chunk(w, chunk, err);
        last = chunk->last;
        if (status == VD_OK && remote) { /* durable by itself: it need not be sent again when a later one fails */
            atomic_store(&index->durable, last);
            w->opened = 0;
            pop(index);
        }
        chunk = next;
    }
    if (status == VD_OK && group) {
        status = put_chunk(w, group, err);
        last = group->last;
    }
    if (status == VD_OK && !remote && index->log && !w->close) {
        status = sync_segment(index, err);
    }
    if (status == VD_OK && last) {
        atomic_store(&index->durable, last);
        index_journal_forget(index, last);
    }
    return status;
}

void index_journal_note_failure(vd_index *index) {
    int64_t pause_ms = PAUSE_FIRST_MS;
    for (uint32_t i = 0; i < index->flush_failures && pause_ms < PAUSE_MAX_MS; i++) {
        pause_ms *= 2;
    }
    if (index->flush_failures++ == 0 && index->owner->store->v->remote) {
        atomic_fetch_add(&index->owner->indexes_without_store, 1);
    }
    index->flush_not_before_ms = clock_now_ms() + pause_ms;
}

void index_journal_note_success(vd_index *index) {
    if (index->flush_failures && index->owner->store->v->remote) {
        atomic_fetch_sub(&index->owner->indexes_without_store, 1);
    }
    index->flush_failures = 0;
    index->flush_not_before_ms = 0;
}

vd_status index_journal_write(vd_index *index, index_chunk *group, vd_error *err) {
    /* a journal is only ever replayed onto a frame that names its epoch, and that frame holds the backlog too */
    vd_status status = index->needs_frame ? index_save_in_turn(index, err) : VD_OK;
    bool some = group || index->backlog;
    if (status == VD_OK && some) {
        writing w = {.index = index};
        status = write_chunks(&w, group, err);
        if (status != VD_OK || w.close) {
            index_journal_close(index);
        }
        if (status != VD_OK && status != VD_ALREADY_EXISTS && w.opened) {
            withdraw_segment(index, w.opened);
        }
    }
    if (status == VD_OK) {
        index->in_doubt = index->in_doubt && !some; /* the new segment's BEGIN voids what was refused */
        index_journal_note_success(index);
    } else {
        index_journal_note_failure(index);
    }
    return status;
}

bool index_journal_pausing(const vd_index *index, int64_t *retry_ms) {
    int64_t left_ms = index->flush_not_before_ms - clock_now_ms();
    *retry_ms = left_ms > 0 ? left_ms : 0;
    return index->owner->store->v->remote && left_ms > 0;
}

vd_status index_journal_keep(vd_index *index, index_chunk *group, vd_error *err) {
    registry *r = index->owner;
    uint64_t limit = r->options.backlog_max_bytes;
    uint64_t held = atomic_load(&r->backlog_bytes);
    if (held > limit || group->records.size > limit - held) {
        return vd_fail(err, VD_UNAVAILABLE, NULL,
                       "%llu bytes of earlier writes wait for the store already, and no more than %llu may",
                       (unsigned long long)held, (unsigned long long)limit);
    }
    index_chunk *chunk = malloc(sizeof *chunk);
    if (!chunk) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to keep a write until the store has it");
    }
    *chunk = *group;
    chunk->owned = index->records; /* its bytes need not be copied */
    chunk->records = bytes_of(chunk->owned.data, chunk->owned.size);
    buffer_init(&index->records, 0);
    chunk->next = NULL;
    *index->backlog_end = chunk;
    index->backlog_end = &chunk->next;
    atomic_fetch_add(&index->backlog_bytes, chunk->records.size);
    atomic_fetch_add(&r->backlog_bytes, chunk->records.size);
    return VD_OK;
}

/* ---- sending what waits ---- */

vd_status index_flush(vd_index *index, vd_error *err) {
    if (!index_turn_take(index, TURN_SAVE)) {
        return VD_OK; /* it is being deleted: nothing of it is owed to anybody */
    }
    vd_status status = VD_OK;
    if (index->backlog) {
        status = index_journal_write(index, NULL, err);
    }
    index_turn_give(index);
    if (status != VD_OK) {
        metric_add(index->owner->journal_failures, 1);
        status = registry_store_trouble(status, err);
    }
    return status;
}

void index_flush_run(void *arg) {
    vd_index *index = arg;
    pthread_mutex_lock(&index->lock);
    bool leaving = index->dropping || index->closing;
    pthread_mutex_unlock(&index->lock);
    if (leaving || atomic_load(&index->backlog_bytes) == 0) {
        return;
    }
    vd_error err;
    uint64_t waiting = atomic_load(&index->backlog_bytes);
    vd_status status = index_flush(index, &err);
    if (status != VD_OK) {
        log_event(LOG_WARN, "acknowledged writes still wait for the store", "index=%s bytes=%llu error=%s", index->name,
                  (unsigned long long)waiting, err.text);
    } else if (index->owner->store->v->remote) {
        log_event(LOG_INFO, "writes that waited are in the store", "index=%s bytes=%llu", index->name,
                  (unsigned long long)waiting);
    }
    index_request_tasks(index);
}

/* How long until the flush task should look: -1 when nothing waits. */
int64_t index_flush_delay(const vd_index *index) {
    if (atomic_load(&index->backlog_bytes) == 0) {
        return -1;
    }
    int64_t left_ms = index->flush_not_before_ms - clock_now_ms();
    return left_ms > FLUSH_DELAY_MS ? left_ms : FLUSH_DELAY_MS;
}

/* ---- request ids that outlive their records ---- */

static vd_status encode_requests(vd_index *index, uint32_t from, buffer *out, vd_error *err) {
    const dedupe_window *w = &index->dedupe;
    size_t count = w->count - from;
    journal_request *requests = calloc(count, sizeof *requests);
    if (!requests) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to keep %zu request ids", count);
    }
    for (size_t i = 0; i < count; i++) {
        const dedupe_entry *entry = dedupe_at(w, from + (uint32_t)i);
        requests[i] = (journal_request){.id = bytes_of(entry->id, entry->id_size),
                                        .kind = (journal_kind)entry->kind,
                                        .sequence = entry->answer.sequence,
                                        .affected = entry->answer.affected,
                                        .length = entry->answer.length,
                                        .time_ms = entry->answer.time_ms};
    }
    journal_record record = {.kind = JOURNAL_REQUESTS,
                             .sequence = index->acked,
                             .synced = atomic_load(&index->durable),
                             .requests = requests,
                             .request_count = count};
    memcpy(record.epoch, index->epoch, sizeof record.epoch);
    vd_status status = journal_encode(&record, out, err);
    free(requests);
    return status;
}

vd_status index_journal_carry_requests(vd_index *index, vd_error *err) {
    uint64_t now_ms = clock_unix_ms();
    uint32_t from = 0;
    while (from < index->dedupe.count && dedupe_at(&index->dedupe, from)->answer.time_ms + VD_DEDUPE_AGE_MS < now_ms) {
        from++;
    }
    if (from == index->dedupe.count) {
        return VD_OK;
    }
    buffer data;
    buffer_init(&data, 0);
    vd_status status = encode_requests(index, from, &data, err);
    uint64_t key = index->next_sequence;
    if (status == VD_OK) {
        index->next_sequence++; /* whatever comes of it: no key is used twice */
        status = open_segment(index, key, index->acked, atomic_load(&index->durable), err);
        if (status == VD_OK) {
            status = append(index, bytes_of(data.data, data.size), err);
        }
        if (status == VD_OK) {
            status = sync_segment(index, err);
        }
        if (status != VD_OK) {
            index_journal_close(index);
            withdraw_segment(index, key);
        }
    }
    buffer_fini(&data);
    return status;
}
