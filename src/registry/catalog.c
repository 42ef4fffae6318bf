/*
 * catalog.c - the server's own journal: which indexes are being made and which are gone, with the request ids of who asked.
 *
 *   CREATED    before the first frame is put. The index exists once a frame of its epoch does
 *   WITHDRAWN  that frame could not be put, or nobody knows: should one be found, it is void
 *   DROPPED    before the first file of an index is removed. From here on it is gone, whatever still stands
 *
 * Files remain the truth about what there is: a frame that somebody copies into the store is served although no record speaks of
 * it. The catalog says which of them are leftovers, and answers who asks a second time.
 *
 * It is a journal like any other (journal.h, segments under the epoch of zeros), with its own rule for what is refused: the next
 * segment's BEGIN says how far the good records reach. Entries are forgotten when they are old and nothing of their epoch
 * is left; from time to time those that are not are written into a fresh segment and the old ones removed.
 *
 * Threading: `lock` guards everything and is held over the store: creating and deleting indexes is rare, and has an order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

#define ENTRIES_MAX  4096u
#define SEGMENTS_MAX 64u
#define BYTES_MAX    (256u * 1024u)

static const uint8_t catalog_epoch[LHV1_EPOCH_BYTES] = {0};

void catalog_init(catalog *c) {
    *c = (catalog){.next_sequence = 1};
    pthread_mutex_init(&c->lock, NULL);
}

static void close_log(catalog *c) {
    if (c->log) {
        c->store->v->log_close(c->log);
        c->log = NULL;
    }
}

void catalog_fini(catalog *c) {
    close_log(c);
    free(c->entries);
    free(c->segments);
    pthread_mutex_destroy(&c->lock);
}

/* ---- entries ---- */

static bool ends_an_index(journal_kind kind) {
    return kind == JOURNAL_DROPPED || kind == JOURNAL_WITHDRAWN;
}

static bool is_needed(const catalog_entry *entry, uint64_t now_ms) {
    return entry->time_ms + VD_DEDUPE_AGE_MS >= now_ms || (ends_an_index(entry->kind) && !entry->settled);
}

static void forget_old(catalog *c) {
    uint64_t now_ms = clock_unix_ms();
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (is_needed(&c->entries[i], now_ms)) {
            c->entries[kept++] = c->entries[i];
        }
    }
    if (kept > ENTRIES_MAX / 2) { /* too many in ten minutes: the oldest ids go, never what is still lying about */
        size_t excess = kept - ENTRIES_MAX / 2, left = 0;
        for (size_t i = 0; i < kept; i++) {
            const catalog_entry *entry = &c->entries[i];
            if (excess && (!ends_an_index(entry->kind) || entry->settled)) {
                excess--;
                continue;
            }
            c->entries[left++] = *entry;
        }
        kept = left;
    }
    c->count = kept;
}

/* Room for one more entry; false: no memory. */
static bool reserve(catalog *c) {
    if (c->count >= ENTRIES_MAX) {
        forget_old(c);
    }
    if (c->count < c->capacity) {
        return true;
    }
    size_t capacity = c->capacity ? c->capacity * 2 : 16;
    catalog_entry *entries = realloc(c->entries, capacity * sizeof *entries);
    if (!entries) {
        return false;
    }
    c->entries = entries;
    c->capacity = capacity;
    return true;
}

/* Needs a reserve. */
static void push(catalog *c, const journal_record *record) {
    catalog_entry *entry = &c->entries[c->count++];
    *entry = (catalog_entry){.kind = record->kind,
                             .request_size = (uint8_t)record->request_id.size,
                             .sequence = record->sequence,
                             .time_ms = record->time_ms};
    memcpy(entry->epoch, record->subject, sizeof entry->epoch);
    if (record->request_id.size) {
        memcpy(entry->request, record->request_id.data, record->request_id.size);
    }
    memcpy(entry->name, record->name.data, record->name.size);
}

static bool ended_with(const catalog *c, const uint8_t epoch[LHV1_EPOCH_BYTES], journal_kind kind) {
    for (size_t i = c->count; i-- > 0;) {
        if (c->entries[i].kind == kind && memcmp(c->entries[i].epoch, epoch, LHV1_EPOCH_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

bool catalog_find(catalog *c, journal_kind kind, bytes name, bytes request_id, catalog_entry *out) {
    bool found = false;
    pthread_mutex_lock(&c->lock);
    for (size_t i = c->count; request_id.size && i-- > 0 && !found;) {
        const catalog_entry *entry = &c->entries[i];
        found = entry->kind == kind && bytes_equal(bytes_of(entry->request, entry->request_size), request_id) &&
                bytes_equal(bytes_str(entry->name), name) &&
                !(kind == JOURNAL_CREATED && ended_with(c, entry->epoch, JOURNAL_WITHDRAWN));
        if (found) {
            *out = *entry;
        }
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

bool catalog_was_dropped(catalog *c, const uint8_t epoch[LHV1_EPOCH_BYTES]) {
    pthread_mutex_lock(&c->lock);
    bool dropped = ended_with(c, epoch, JOURNAL_DROPPED);
    pthread_mutex_unlock(&c->lock);
    return dropped;
}

bool catalog_is_gone(catalog *c, const uint8_t epoch[LHV1_EPOCH_BYTES]) {
    pthread_mutex_lock(&c->lock);
    bool gone = ended_with(c, epoch, JOURNAL_DROPPED) || ended_with(c, epoch, JOURNAL_WITHDRAWN);
    pthread_mutex_unlock(&c->lock);
    return gone;
}

static void settle(catalog *c, const uint8_t *epoch) {
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count; i++) {
        if (!epoch || memcmp(c->entries[i].epoch, epoch, LHV1_EPOCH_BYTES) == 0) {
            c->entries[i].settled = true;
        }
    }
    pthread_mutex_unlock(&c->lock);
}

void catalog_settle(catalog *c, const uint8_t epoch[LHV1_EPOCH_BYTES]) {
    settle(c, epoch);
}

void catalog_settle_all(catalog *c) {
    settle(c, NULL);
}

void catalog_note_void(catalog *c, bytes name, const uint8_t epoch[LHV1_EPOCH_BYTES]) {
    journal_record record = {.kind = JOURNAL_WITHDRAWN, .name = name, .sequence = 0, .time_ms = clock_unix_ms()};
    memcpy(record.subject, epoch, sizeof record.subject);
    pthread_mutex_lock(&c->lock);
    if (reserve(c)) {
        push(c, &record);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- reading ---- */

/* What stands in earlier segments behind `acked` was refused. */
static void void_behind(catalog *c, uint64_t acked) {
    while (c->count && c->entries[c->count - 1].sequence > acked) {
        c->count--;
    }
}

static vd_status read_record(catalog *c, const journal_record *record, bool first, vd_error *err) {
    if (memcmp(record->epoch, catalog_epoch, sizeof catalog_epoch) != 0 || first != (record->kind == JOURNAL_BEGIN)) {
        return vd_fail(err, VD_DATA_LOSS, NULL, "a record that does not belong into a catalog");
    }
    if (record->kind == JOURNAL_BEGIN) {
        void_behind(c, record->sequence);
        return VD_OK;
    }
    if (record->kind != JOURNAL_CREATED && !ends_an_index(record->kind)) {
        return vd_fail(err, VD_DATA_LOSS, NULL, "a record that does not belong into a catalog");
    }
    if (registry_name_check(record->name, err) != VD_OK) {
        return VD_DATA_LOSS;
    }
    if (record->sequence >= c->next_sequence) {
        c->next_sequence = record->sequence + 1;
    }
    if (record->sequence > c->acked) {
        c->acked = record->sequence;
    }
    if (!reserve(c)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the catalog");
    }
    push(c, record);
    return VD_OK;
}

static vd_status read_segment(catalog *c, bytes data, bool last, vd_error *err) {
    arena scratch;
    arena_init(&scratch, NULL, 0);
    size_t offset = 0;
    vd_status status = VD_OK;
    while (status == VD_OK) {
        size_t before = offset;
        journal_record record;
        arena_reset(&scratch);
        status = journal_decode(data, &offset, &scratch, &record, err);
        if (status == VD_OK) {
            status = read_record(c, &record, before == 0, err);
        } else if (status == VD_ABORTED) {
            /* behind the last good record of the last segment: torn. Elsewhere the next BEGIN tells */
            bool torn = !last || journal_tail_is_torn(data, offset, catalog_epoch, c->acked);
            status = torn ? VD_OUT_OF_RANGE : VD_DATA_LOSS;
        }
    }
    arena_fini(&scratch);
    return status == VD_OUT_OF_RANGE ? VD_OK : status;
}

/* A damaged segment costs remembered request ids, and perhaps brings back an index whose delete was cut short: no reason not to start.
 * One that a newer version wrote is. */
static vd_status read_one(catalog *c, size_t i, vd_error *err) {
    char key[JOURNAL_KEY_MAX];
    registry_segment_key(catalog_epoch, c->segments[i].first, key);
    objstore_blob blob = {0};
    vd_status status = c->store->v->get(c->store, key, &blob, err);
    if (status == VD_OK) {
        c->bytes += blob.size;
        status = read_segment(c, bytes_of(blob.data, blob.size), i + 1 == c->segment_count, err);
        objstore_blob_release(&blob);
    }
    if (status == VD_DATA_LOSS) {
        log_event(LOG_ERROR, "a segment of the catalog is damaged: what it says is used as far as it goes",
                  "key=%s error=%s", key, err ? err->text : "");
        status = VD_OK;
    }
    return status;
}

vd_status catalog_open(catalog *c, objstore *store, index_segment *segments, size_t count, vd_error *err) {
    vd_error local;
    err = err ? err : &local;
    c->store = store;
    c->segments = segments;
    c->segment_count = count;
    c->segment_capacity = count;
    vd_status status = VD_OK;
    for (size_t i = 0; i < count && status == VD_OK; i++) {
        if (segments[i].first >= c->next_sequence) {
            c->next_sequence = segments[i].first + 1;
        }
        status = read_one(c, i, err);
    }
    return status;
}

/* ---- writing ---- */

static bool add_segment(catalog *c, uint64_t first) {
    if (c->segment_count == c->segment_capacity) {
        size_t capacity = c->segment_capacity ? c->segment_capacity * 2 : 4;
        index_segment *segments = realloc(c->segments, capacity * sizeof *segments);
        if (!segments) {
            return false;
        }
        c->segments = segments;
        c->segment_capacity = capacity;
    }
    c->segments[c->segment_count++] = (index_segment){.first = first};
    return true;
}

static vd_status encode(const catalog *c, const catalog_entry *entry, buffer *out, vd_error *err) {
    journal_record record = {.kind = entry->kind,
                             .sequence = entry->sequence,
                             .request_id = bytes_of(entry->request, entry->request_size),
                             .synced = c->acked,
                             .name = bytes_str(entry->name),
                             .time_ms = entry->time_ms};
    memcpy(record.subject, entry->epoch, sizeof record.subject);
    return journal_encode(&record, out, err);
}

/* Opens the log when there is none and appends what stands in `data`, with a BEGIN before it where one is due. */
static vd_status send(catalog *c, bytes data, vd_error *err) {
    const objstore_vtable *v = c->store->v;
    vd_status status = VD_OK;
    if (!c->log) {
        char key[JOURNAL_KEY_MAX];
        uint64_t first = c->next_sequence++; /* used up whatever comes of it */
        registry_segment_key(catalog_epoch, first, key);
        if (!add_segment(c, first)) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the catalog");
        }
        buffer begin;
        buffer_init(&begin, 0);
        journal_record record = {.kind = JOURNAL_BEGIN, .sequence = c->acked, .synced = c->acked};
        status = journal_encode(&record, &begin, err);
        if (status == VD_OK) {
            status = v->log_create(c->store, key, &c->log, err);
            c->log = status == VD_OK ? c->log : NULL;
        }
        if (status == VD_OK) {
            status = v->log_append(c->log, begin.data, begin.size, err);
            c->bytes += begin.size;
        }
        buffer_fini(&begin);
    }
    if (status == VD_OK) {
        status = v->log_append(c->log, data.data, data.size, err);
        c->bytes += data.size;
    }
    if (status == VD_OK) {
        status = v->log_sync(c->log, err);
    }
    if (status != VD_OK || v->remote) {
        close_log(c);
    }
    return status;
}

/* What is still needed into a segment of its own, then the others go. A failure leaves more than is needed, never less. */
static void compact(catalog *c) {
    forget_old(c);
    buffer all;
    buffer_init(&all, 0);
    vd_error err;
    vd_status status = VD_OK;
    for (size_t i = 0; i < c->count && status == VD_OK; i++) {
        status = encode(c, &c->entries[i], &all, &err);
    }
    size_t old = c->segment_count;
    if (status == VD_OK) {
        close_log(c);
        c->bytes = 0;
        status = send(c, bytes_of(all.data, all.size), &err);
    }
    buffer_fini(&all);
    size_t kept = 0;
    for (size_t i = 0; i < c->segment_count; i++) {
        char key[JOURNAL_KEY_MAX];
        registry_segment_key(catalog_epoch, c->segments[i].first, key);
        bool remove = status == VD_OK && i < old;
        if (!remove || c->store->v->remove(c->store, key, &err) != VD_OK) {
            c->segments[kept++] = c->segments[i];
        }
    }
    c->segment_count = kept;
}

vd_status catalog_write(catalog *c, journal_kind kind, bytes name, const uint8_t epoch[LHV1_EPOCH_BYTES],
                        bytes request_id, vd_error *err) {
    journal_record record = {.kind = kind, .name = name, .request_id = request_id, .time_ms = clock_unix_ms()};
    memcpy(record.subject, epoch, sizeof record.subject);
    pthread_mutex_lock(&c->lock);
    vd_status status = reserve(c) ? VD_OK : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the catalog");
    if (status == VD_OK && c->store) {
        if (c->bytes > BYTES_MAX || c->segment_count > SEGMENTS_MAX) {
            compact(c);
        }
        buffer data;
        buffer_init(&data, 0);
        record.sequence = c->next_sequence++;
        record.synced = c->acked;
        status = journal_encode(&record, &data, err);
        if (status == VD_OK) {
            status = send(c, bytes_of(data.data, data.size), err);
        }
        buffer_fini(&data);
    }
    if (status == VD_OK) {
        c->acked = record.sequence;
        push(c, &record);
    }
    pthread_mutex_unlock(&c->lock);
    return status;
}
