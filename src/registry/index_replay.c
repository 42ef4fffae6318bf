/*
 * index_replay.c - the journal of one index, read back onto its frame.
 *
 * What is replayed: every record after the frame's position, in order, each whole. What is not:
 *   void   records that a later segment's BEGIN disowns: it says how far the acknowledged ones reached when it was made, and
 *          what stands behind that in an earlier segment was refused (index_commit.c) or torn
 *   torn   the rest of the last segment from a record that is cut short, unless a later record in it proves that the bad
 *          one had been durable: that is damage, and the index is quarantined
 * A BEGIN that claims more than has been read up to there means that acknowledged records are missing: quarantined too.
 *
 * Request ids are remembered from the records that are replayed, and from those that each save leaves behind (REQUESTS): a record
 * that the frame's position covers may have been refused, and the segment whose BEGIN said so be gone.
 *
 * Consecutive adds go to the engine together. Sequence numbers go on above everything ever seen, void or not, so that no number
 * and no segment key is used twice.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

/* What is collected before it goes to the engine. */
#define BATCH_ITEMS_MAX  4096u
#define BATCH_FLOATS_MAX (16u * 1024u * 1024u)

typedef struct segment_data {
    objstore_blob blob;
    bool readable;      /* its BEGIN is whole */
    uint64_t acked;     /* from its BEGIN */
    uint64_t void_from; /* records from here on are void */
    bool last;          /* no readable segment follows */
} segment_data;

typedef struct replay {
    vd_index *index;
    segment_data *segments;
    size_t count;
    arena arena;
    uint64_t reached;  /* last record applied, or in the frame */
    uint64_t greatest; /* of all sequence numbers seen, keys included */
    uint64_t now_ms;   /* since 1970: taken for the time of records, which do not say theirs */
    uint64_t records;
    /* adds that wait for the engine; their ids point into the segment's bytes */
    vd_hnsw_item *items;
    float *vectors;
    size_t item_count, item_capacity;
    uint64_t bytes_done, bytes_total, bytes_before;
} replay;

static vd_status damaged(const replay *r, size_t s, vd_error *err, const char *what) {
    char key[JOURNAL_KEY_MAX];
    registry_segment_key(r->index->epoch, r->index->segments[s].first, key);
    return vd_fail(err, VD_DATA_LOSS, NULL, "%s: %s", key, what);
}

/* ---- adds ---- */

static vd_status flush(replay *r, vd_error *err) {
    if (r->item_count == 0) {
        return VD_OK;
    }
    vd_index *index = r->index;
    vd_status status = vd_hnsw_add(index->engine, r->items, r->item_count, index->owner->options.executor, err);
    if (status != VD_OK) {
        for (size_t i = 0; i < r->item_count; i++) {
            index_payload_release(NULL, r->items[i].payload);
        }
    }
    r->item_count = 0;
    if (!index_pending_prepare(&index->pending, r->item_capacity) && status == VD_OK) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to replay the journal");
    }
    return status;
}

static vd_status replay_item(replay *r, size_t s, const journal_item *item, vd_error *err) {
    vd_index *index = r->index;
    uint32_t dimension = index->params.dimension;
    if (item->dimension != dimension) {
        return damaged(r, s, err, "a vector of another dimension");
    }
    if (r->item_count == r->item_capacity) {
        vd_status status = flush(r, err);
        if (status != VD_OK) {
            return status;
        }
    }
    bytes metadata;
    metadata_rule rule = index_metadata_rule(item->metadata, &metadata);
    index_payload *payload = NULL;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index->engine, &guard);
    pending_entry *entry = index_pending_get(&index->pending, index->engine, item->id);
    if (rule == METADATA_KEEP && entry->present) {
        payload = entry->payload;
        index_payload_retain(payload);
    }
    vd_hnsw_leave(index->engine, &guard);
    if (rule == METADATA_SET) {
        payload = index_payload_new(metadata);
        if (!payload) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for metadata");
        }
    }
    entry->present = true;
    entry->payload = payload;
    float *vector = r->vectors + r->item_count * dimension;
    memcpy(vector, item->vector, dimension * sizeof *vector);
    r->items[r->item_count++] = (vd_hnsw_item){.id = item->id, .vector = vector, .payload = payload};
    return VD_OK;
}

static vd_status replay_delete(replay *r, const journal_record *record, vd_error *err) {
    vd_status status = flush(r, err);
    if (status != VD_OK || record->item_count == 0) {
        return status;
    }
    vd_id *ids = arena_calloc(&r->arena, record->item_count, sizeof *ids);
    if (!ids) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to replay the journal");
    }
    for (size_t i = 0; i < record->item_count; i++) {
        ids[i] = record->items[i].id;
    }
    return vd_hnsw_delete(r->index->engine, ids, record->item_count, r->index->owner->options.executor, NULL, err);
}

/* ---- records ---- */

static void replay_requests(replay *r, const journal_record *record) {
    for (size_t i = 0; i < record->request_count; i++) {
        const journal_request *request = &record->requests[i];
        dedupe_answer answer = {.sequence = request->sequence,
                                .affected = request->affected,
                                .length = request->length,
                                .time_ms = request->time_ms};
        dedupe_put(&r->index->dedupe, (uint8_t)request->kind, request->id, &answer);
    }
}

static vd_status replay_record(replay *r, size_t s, const journal_record *record, vd_error *err) {
    vd_status status = VD_OK;
    if (record->sequence <= r->reached) {
        return VD_OK; /* the frame has it */
    }
    dedupe_answer answer = {.sequence = record->sequence,
                            .affected = record->item_count,
                            .length = record->length_after,
                            .time_ms = r->now_ms};
    dedupe_put(&r->index->dedupe, (uint8_t)record->kind, record->request_id, &answer);
    if (record->kind == JOURNAL_ADD) {
        for (size_t i = 0; status == VD_OK && i < record->item_count; i++) {
            status = replay_item(r, s, &record->items[i], err);
        }
    } else {
        status = replay_delete(r, record, err);
    }
    r->reached = record->sequence;
    r->records++;
    return status;
}

/* The bad record at `offset`: harmless or damage? */
static vd_status bad_record(replay *r, size_t s, size_t offset, vd_error *err) {
    const segment_data *segment = &r->segments[s];
    bytes data = bytes_of(segment->blob.data, segment->blob.size);
    if (!segment->last) {
        return VD_OK; /* the next segment's BEGIN tells whether anything acknowledged was lost with it */
    }
    if (!journal_tail_is_torn(data, offset, r->index->epoch, r->reached)) {
        return damaged(r, s, err, "a record in the middle is damaged, acknowledged ones behind it are not");
    }
    log_event(LOG_WARN, "journal ends in an unfinished record: dropped", "index=%s sequence=%llu bytes=%llu",
              r->index->name, (unsigned long long)r->reached, (unsigned long long)(data.size - offset));
    return VD_OK;
}

static vd_status replay_segment(replay *r, size_t s, vd_error *err) {
    segment_data *segment = &r->segments[s];
    bytes data = bytes_of(segment->blob.data, segment->blob.size);
    if (segment->readable && segment->acked > r->reached) {
        return damaged(r, s, err, "acknowledged records before this segment are missing");
    }
    size_t offset = 0;
    uint64_t previous = 0;
    for (;;) {
        if (atomic_load(&r->index->owner->closing)) {
            return vd_fail(err, VD_CANCELLED, NULL, "the server is stopping");
        }
        arena_reset(&r->arena);
        journal_record record;
        size_t before = offset;
        vd_status status = journal_decode(data, &offset, &r->arena, &record, err);
        if (status == VD_OUT_OF_RANGE) {
            break;
        }
        if (status == VD_ABORTED) {
            status = bad_record(r, s, offset, err);
            if (status != VD_OK) {
                return status;
            }
            break;
        }
        if (status != VD_OK) {
            return status == VD_DATA_LOSS ? damaged(r, s, err, "a record has wrong contents") : status;
        }
        if (memcmp(record.epoch, r->index->epoch, sizeof record.epoch) != 0) {
            return damaged(r, s, err, "a record of another index");
        }
        if (record.kind == JOURNAL_BEGIN) {
            if (before != 0) {
                return damaged(r, s, err, "a second beginning");
            }
            continue;
        }
        if (before != 0 && record.kind == JOURNAL_REQUESTS) {
            replay_requests(r, &record);
            continue;
        }
        if (before == 0 || record.kind > JOURNAL_DELETE || (previous && record.sequence != previous + 1)) {
            return damaged(r, s, err, "records are missing");
        }
        previous = record.sequence;
        if (record.sequence > r->greatest) {
            r->greatest = record.sequence;
        }
        if (record.sequence >= segment->void_from) {
            continue; /* counted, not applied */
        }
        status = replay_record(r, s, &record, err);
        if (status != VD_OK) {
            return status;
        }
        atomic_store(&r->index->progress, (uint32_t)(1e6 * (double)(r->bytes_before + r->bytes_done + offset) /
                                                     (double)(r->bytes_before + r->bytes_total + 1)));
    }
    r->bytes_done += data.size;
    return flush(r, err); /* ids point into this segment's bytes */
}

/* ---- all segments ---- */

static vd_status read_begin(replay *r, size_t s, vd_error *err) {
    segment_data *segment = &r->segments[s];
    size_t offset = 0;
    journal_record record;
    vd_status status =
        journal_decode(bytes_of(segment->blob.data, segment->blob.size), &offset, &r->arena, &record, err);
    if (status == VD_ABORTED || status == VD_OUT_OF_RANGE) {
        return VD_OK; /* torn, or never written: says nothing */
    }
    if (status != VD_OK) {
        return status == VD_DATA_LOSS ? damaged(r, s, err, "its first record has wrong contents") : status;
    }
    if (record.kind != JOURNAL_BEGIN || memcmp(record.epoch, r->index->epoch, sizeof record.epoch) != 0) {
        return damaged(r, s, err, "does not begin as a segment of this index");
    }
    segment->readable = true;
    segment->acked = record.sequence;
    return VD_OK;
}

static vd_status read_segments(replay *r, vd_error *err) {
    vd_index *index = r->index;
    objstore *store = index->owner->store;
    for (size_t s = 0; s < r->count; s++) {
        char key[JOURNAL_KEY_MAX];
        registry_segment_key(index->epoch, index->segments[s].first, key);
        vd_status status = store->v->get(store, key, &r->segments[s].blob, err);
        if (status == VD_OK) {
            status = read_begin(r, s, err);
        }
        if (status != VD_OK) {
            return status;
        }
        index->segments[s].size_bytes = r->segments[s].blob.size;
        r->bytes_total += r->segments[s].blob.size;
        if (index->segments[s].first > r->greatest) {
            r->greatest = index->segments[s].first;
        }
    }
    uint64_t void_from = UINT64_MAX;
    bool last = true;
    for (size_t s = r->count; s-- > 0;) {
        r->segments[s].void_from = void_from;
        r->segments[s].last = last;
        if (r->segments[s].readable) {
            void_from = r->segments[s].acked + 1;
            last = false;
        }
    }
    return VD_OK;
}

static vd_status make_batch(replay *r, vd_error *err) {
    size_t capacity = BATCH_FLOATS_MAX / r->index->params.dimension;
    r->item_capacity = capacity < BATCH_ITEMS_MAX ? capacity : BATCH_ITEMS_MAX;
    r->items = calloc(r->item_capacity, sizeof *r->items);
    r->vectors = mem_alloc_array(alloc_default(), r->item_capacity * r->index->params.dimension, sizeof(float));
    if (!r->items || !r->vectors || !index_pending_prepare(&r->index->pending, r->item_capacity)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to replay the journal");
    }
    return VD_OK;
}

vd_status index_replay(vd_index *index, uint64_t reached, uint64_t frame_bytes, vd_error *err) {
    replay r = {.index = index,
                .count = index->segment_count,
                .reached = reached,
                .greatest = reached,
                .now_ms = clock_unix_ms(),
                .bytes_before = frame_bytes};
    arena_init(&r.arena, NULL, 0);
    vd_status status = VD_OK;
    if (r.count) {
        r.segments = calloc(r.count, sizeof *r.segments);
        status = r.segments ? make_batch(&r, err) : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to replay");
    }
    if (status == VD_OK && r.count) {
        status = read_segments(&r, err);
    }
    for (size_t s = 0; status == VD_OK && s < r.count; s++) {
        status = replay_segment(&r, s, err);
        objstore_blob_release(&r.segments[s].blob);
    }
    for (size_t i = 0; i < r.item_count; i++) {
        index_payload_release(NULL, r.items[i].payload);
    }
    for (size_t s = 0; r.segments && s < r.count; s++) {
        objstore_blob_release(&r.segments[s].blob);
    }
    free(r.segments);
    free(r.items);
    free(r.vectors);
    arena_fini(&r.arena);
    index_pending_fini(&index->pending);
    if (status == VD_OK) {
        index->acked = r.reached;
        index->next_sequence = r.greatest + 1;
        atomic_store(&index->sequence, r.reached);
        atomic_store(&index->durable, r.reached);
        pthread_mutex_lock(&index->lock);
        index->changed = r.records > 0;
        index_count_journal_locked(index);
        pthread_mutex_unlock(&index->lock);
    }
    return status;
}
