/*
 * registry_list.c - what the store holds: listed at the start, or as soon as a store that is away comes back.
 *
 * A folder is listed before registry_open returns. A network store that does not answer is asked again for ever, after 1, 2,
 * 4 ... 30 seconds, and until then nobody knows which names are taken: every call that depends on it is UNAVAILABLE with the
 * store's reason. A listing that breaks off is forgotten whole.
 *
 * Threading: the lister, which is registry_open itself or a thread of its own, has journals, load_queue and catalog to itself
 * until `listed` is published; the map it fills under map_lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS   30000

/* ---- a listing ---- */

typedef struct found_frame {
    vd_index *index;
    uint64_t size_bytes;
} found_frame;

typedef struct listing {
    registry *r;
    found_frame *frames;
    size_t frame_count, frame_capacity;
    size_t too_many;
} listing;

static vd_status found_frame_key(listing *l, bytes name, uint64_t size) {
    if (l->frame_count == VD_INDEXES_MAX) {
        l->too_many++; /* no reason not to start: their frames stand where they are, and keep their names taken */
        return VD_OK;
    }
    if (l->frame_count == l->frame_capacity) {
        size_t capacity = l->frame_capacity ? l->frame_capacity * 2 : 64;
        found_frame *frames = realloc(l->frames, capacity * sizeof *frames);
        if (!frames) {
            return VD_OUT_OF_MEMORY;
        }
        l->frames = frames;
        l->frame_capacity = capacity;
    }
    vd_index *index = index_new(l->r, name);
    if (!index) {
        return VD_OUT_OF_MEMORY;
    }
    l->frames[l->frame_count++] = (found_frame){index, size};
    return VD_OK;
}

static journal_found *journal_of(registry *r, const uint8_t epoch[LHV1_EPOCH_BYTES]) {
    for (size_t i = r->journal_count; i-- > 0;) { /* keys of a folder come together: the last one is the likely one */
        if (memcmp(r->journals[i].epoch, epoch, LHV1_EPOCH_BYTES) == 0) {
            return &r->journals[i];
        }
    }
    if (r->journal_count == r->journal_capacity) {
        size_t capacity = r->journal_capacity ? r->journal_capacity * 2 : 64;
        journal_found *journals = realloc(r->journals, capacity * sizeof *journals);
        if (!journals) {
            return NULL;
        }
        r->journals = journals;
        r->journal_capacity = capacity;
    }
    journal_found *journal = &r->journals[r->journal_count++];
    *journal = (journal_found){0};
    memcpy(journal->epoch, epoch, LHV1_EPOCH_BYTES);
    return journal;
}

static vd_status found_journal_key(registry *r, const uint8_t epoch[LHV1_EPOCH_BYTES], uint64_t first, uint64_t size) {
    journal_found *journal = journal_of(r, epoch);
    if (!journal) {
        return VD_OUT_OF_MEMORY;
    }
    if (journal->count == journal->capacity) {
        size_t capacity = journal->capacity ? journal->capacity * 2 : 4;
        index_segment *segments = realloc(journal->segments, capacity * sizeof *segments);
        if (!segments) {
            return VD_OUT_OF_MEMORY;
        }
        journal->segments = segments;
        journal->capacity = capacity;
    }
    journal->segments[journal->count++] = (index_segment){first, size};
    return VD_OK;
}

static vd_status visit_key(void *arg, const char *key, uint64_t size) {
    listing *l = arg;
    bytes name;
    uint8_t epoch[LHV1_EPOCH_BYTES];
    uint64_t first;
    if (registry_parse_journal_key(key, epoch, &first)) {
        return found_journal_key(l->r, epoch, first, size);
    }
    if (registry_parse_frame_key(key, &name)) {
        return found_frame_key(l, name, size);
    }
    log_event(LOG_WARN, "unknown object in the store: ignored", "key=%s", key);
    return VD_OK;
}

static int by_first(const void *a, const void *b) {
    const index_segment *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int largest_first(const void *a, const void *b) {
    const found_frame *x = a, *y = b;
    return x->size_bytes > y->size_bytes ? -1 : x->size_bytes < y->size_bytes;
}

static vd_status list_store(registry *r, vd_error *err) {
    listing l = {.r = r};
    vd_status status = r->store->v->list(r->store, "_vectors/", visit_key, &l, err);
    r->load_queue = status == VD_OK ? calloc(l.frame_count ? l.frame_count : 1, sizeof *r->load_queue) : NULL;
    if (status == VD_OK && !r->load_queue) {
        status = VD_OUT_OF_MEMORY;
    }
    if (status == VD_OUT_OF_MEMORY) {
        vd_fail(err, status, NULL, "no memory to list the store");
    }
    if (status == VD_OK && l.frame_count) {
        qsort(l.frames, l.frame_count, sizeof *l.frames, largest_first);
    }
    pthread_rwlock_wrlock(&r->map_lock);
    for (size_t i = 0; i < l.frame_count; i++) {
        if (status == VD_OK) {
            r->load_queue[i] = l.frames[i].index;
            registry_map_insert_locked(r, l.frames[i].index);
        } else {
            index_release(l.frames[i].index);
        }
    }
    pthread_rwlock_unlock(&r->map_lock);
    if (status == VD_OK) {
        r->load_count = l.frame_count;
    }
    free(l.frames);
    if (l.too_many) {
        r->frames_left_out = true;
        log_event(LOG_ERROR, "too many indexes in the store: not all are served", "limit=%d not_served=%zu",
                  VD_INDEXES_MAX, l.too_many);
    }
    for (size_t i = 0; i < r->journal_count; i++) {
        if (r->journals[i].count) {
            qsort(r->journals[i].segments, r->journals[i].count, sizeof *r->journals[i].segments, by_first);
        }
    }
    return status;
}

/* The journal under the epoch of zeros is the server's own. */
static vd_status open_catalog(registry *r, vd_error *err) {
    static const uint8_t zeros[LHV1_EPOCH_BYTES] = {0};
    index_segment *segments = NULL;
    size_t count = 0;
    for (size_t i = 0; i < r->journal_count; i++) {
        if (memcmp(r->journals[i].epoch, zeros, sizeof zeros) == 0) {
            segments = r->journals[i].segments;
            count = r->journals[i].count;
            r->journals[i] = r->journals[--r->journal_count];
            break;
        }
    }
    return catalog_open(&r->catalog, r->store, segments, count, err);
}

static void forget_listing(registry *r) {
    for (size_t i = 0; i < r->journal_count; i++) {
        free(r->journals[i].segments);
    }
    r->journal_count = 0;
    pthread_rwlock_wrlock(&r->map_lock);
    for (size_t i = 0; i < r->count; i++) {
        index_release(r->map[i]);
    }
    r->count = 0;
    pthread_rwlock_unlock(&r->map_lock);
    free(r->load_queue);
    r->load_queue = NULL;
    r->load_count = 0;
    catalog_fini(&r->catalog);
    catalog_init(&r->catalog);
}

static vd_status list_once(registry *r, vd_error *err) {
    vd_status status = list_store(r, err);
    if (status == VD_OK) {
        status = open_catalog(r, err);
    }
    if (status == VD_OK) {
        status = registry_start_loaders(r, err);
    }
    if (status == VD_OK) {
        atomic_store(&r->listed, true);
    }
    return status;
}

/* ---- a store that is away ---- */

static void note_reason(registry *r, const vd_error *err) {
    pthread_mutex_lock(&r->lock);
    snprintf(r->list_reason, sizeof r->list_reason, "%s", err->text);
    pthread_mutex_unlock(&r->lock);
}

/* false: the registry is closing. */
static bool pause_for(registry *r, int64_t pause_ms) {
    struct timespec until = clock_timespec(clock_now_ms() + pause_ms);
    pthread_mutex_lock(&r->lock);
    int error = 0;
    while (!atomic_load(&r->closing) && error == 0) {
        error = pthread_cond_timedwait(&r->changed, &r->lock, &until);
    }
    pthread_mutex_unlock(&r->lock);
    return !atomic_load(&r->closing);
}

static void *lister(void *arg) {
    registry *r = arg;
    vd_error err;
    vd_status status = VD_UNAVAILABLE;
    for (int64_t pause_ms = RETRY_FIRST_MS; status != VD_OK && pause_for(r, pause_ms);) {
        status = list_once(r, &err);
        if (status != VD_OK) {
            forget_listing(r);
            note_reason(r, &err);
            log_event(LOG_WARN, "the store cannot be listed: nothing is served until it can", "error=%s retry_ms=%lld",
                      err.text, (long long)pause_ms);
        }
        pause_ms = pause_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : pause_ms * 2;
    }
    return NULL;
}

vd_status registry_list_store(registry *r, vd_error *err) {
    vd_error local = {0};
    err = err ? err : &local;
    vd_status status = list_once(r, err);
    if (status != VD_UNAVAILABLE || !r->store->v->remote) {
        return status;
    }
    forget_listing(r);
    note_reason(r, err);
    log_event(LOG_WARN, "the store cannot be listed: nothing is served until it can", "error=%s", err->text);
    if (pthread_create(&r->lister, NULL, lister, r) != 0) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no thread to wait for the store with");
    }
    r->has_lister = true;
    return VD_OK;
}

vd_status registry_check_listed(registry *r, vd_error *err) {
    if (atomic_load(&r->listed)) {
        return VD_OK;
    }
    char reason[sizeof r->list_reason];
    pthread_mutex_lock(&r->lock);
    memcpy(reason, r->list_reason, sizeof reason);
    pthread_mutex_unlock(&r->lock);
    vd_fail(err, VD_UNAVAILABLE, NULL, "the store has not been listed yet: %s", reason);
    if (err) {
        err->retry_after_s = 1;
    }
    return VD_UNAVAILABLE;
}

/* ---- whose journal ---- */

vd_status registry_claim_journal(registry *r, vd_index *index, vd_error *err) {
    journal_found taken = {0};
    pthread_mutex_lock(&r->lock);
    journal_found *journal = journal_of(r, index->epoch); /* an empty one when the store listed none */
    bool second = journal && journal->claimed;
    if (journal && !second) {
        journal->claimed = true;
        taken = *journal;
        journal->segments = NULL;
        journal->count = 0;
    }
    pthread_mutex_unlock(&r->lock);
    if (!journal) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory to load the index");
    }
    if (second) {
        log_event(LOG_WARN, "two frames of one epoch: loaded without the journal", "index=%s", index->name);
        registry_new_epoch(index->epoch);
        index->needs_frame = true;
        return VD_OK;
    }
    pthread_mutex_lock(&index->lock);
    index->segments = taken.segments;
    index->segment_count = taken.count;
    index->segment_capacity = taken.capacity;
    index_count_journal_locked(index);
    pthread_mutex_unlock(&index->lock);
    return VD_OK;
}
