/*
 * registry_open.c - the start: what the store holds is listed at once, indexes are loaded in the background, smallest first, and
 * journals that belong to no frame are settled at the end.
 *
 * A journal without a frame of its epoch is never replayed. Which of these it is, its own files tell:
 *   the catalog says its index is gone   the rest of a delete that was cut short: removed
 *   its name is quarantined              that index's own journal, as far as anybody can tell: left alone
 *   its beginning cannot be read         left alone while anything is quarantined, else set aside
 *   not every frame could be served      left alone: it may be the journal of one of those
 *   otherwise                            the frame was overwritten (by the original, or another vectord) or lost: set
 *                                        aside, with a warning
 * What is set aside is never listed again and never touched again, so every start has this to do once.
 *
 * Threading: `lock` guards the queue and the journals' `claimed` flags while the loaders run; the last loader to end settles.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "registry/registry_int.h"

#define SNAPSHOT_MIN_BYTES_DEFAULT (16u * 1024u * 1024u)
#define SNAPSHOT_FACTOR_DEFAULT    2.0
#define SNAPSHOT_IDLE_MS_DEFAULT   30000
#define SAVER_THREADS              2u
#define BACKLOG_MAX_BYTES_DEFAULT  (256u * 1024u * 1024u)

void registry_new_epoch(uint8_t epoch[LHV1_EPOCH_BYTES]) {
    size_t done = 0;
    while (done < LHV1_EPOCH_BYTES) {
        ssize_t got = getrandom(epoch + done, LHV1_EPOCH_BYTES - done, 0);
        if (got > 0) {
            done += (size_t)got; /* EINTR only before the pool is initialised */
        }
    }
}

/* ---- what the store holds ---- */

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
    for (size_t i = 0; i < l.frame_count; i++) {
        if (status == VD_OK) {
            r->load_queue[i] = l.frames[i].index;
            registry_map_insert_locked(r, l.frames[i].index); /* nobody else has the registry yet */
        } else {
            index_release(l.frames[i].index);
        }
    }
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

/* ---- journals that nobody claimed ---- */

static void read_journal_name(registry *r, journal_found *journal) {
    arena scratch;
    arena_init(&scratch, NULL, 0);
    for (size_t i = 0; i < journal->count && !journal->name[0]; i++) {
        char key[JOURNAL_KEY_MAX];
        objstore_blob blob = {0};
        registry_segment_key(journal->epoch, journal->segments[i].first, key);
        if (r->store->v->get(r->store, key, &blob, NULL) != VD_OK) {
            continue;
        }
        size_t offset = 0;
        journal_record record;
        if (journal_decode(bytes_of(blob.data, blob.size), &offset, &scratch, &record, NULL) == VD_OK &&
            record.kind == JOURNAL_BEGIN && registry_name_check(record.name, NULL) == VD_OK) {
            memcpy(journal->name, record.name.data, record.name.size);
        }
        objstore_blob_release(&blob);
        arena_reset(&scratch);
    }
    arena_fini(&scratch);
}

static void settle_one(registry *r, journal_found *journal, bool remove) {
    size_t done = 0;
    vd_error err = {0};
    for (size_t i = 0; i < journal->count; i++) {
        char key[JOURNAL_KEY_MAX];
        registry_segment_key(journal->epoch, journal->segments[i].first, key);
        vd_status status =
            remove ? r->store->v->remove(r->store, key, &err) : r->store->v->set_aside(r->store, key, &err);
        done += status == VD_OK;
    }
    if (remove && done != journal->count) {
        atomic_store(&r->leftovers_remain, true);
    }
    char hex[2 * LHV1_EPOCH_BYTES + 1];
    hex_encode(journal->epoch, LHV1_EPOCH_BYTES, hex);
    log_event(remove ? LOG_INFO : LOG_WARN,
              remove ? "removed what a delete had left of a journal"
                     : "journal without a frame: set aside, not replayed",
              "index=%s epoch=%s segments=%zu done=%zu", journal->name, hex, journal->count, done);
    journal->count = 0;
}

static bool is_quarantined(registry *r, const char *name, bool *any) {
    *any = false;
    bool this_one = false;
    pthread_rwlock_rdlock(&r->map_lock);
    for (size_t i = 0; i < r->count; i++) {
        if (atomic_load_explicit(&r->map[i]->state, memory_order_acquire) == INDEX_QUARANTINED) {
            *any = true;
            this_one = this_one || strcmp(r->map[i]->name, name) == 0;
        }
    }
    pthread_rwlock_unlock(&r->map_lock);
    return this_one;
}

void registry_settle_journals(registry *r) {
    for (size_t i = 0; i < r->journal_count; i++) {
        journal_found *journal = &r->journals[i];
        if (journal->claimed) {
            continue;
        }
        if (catalog_is_gone(&r->catalog, journal->epoch)) {
            settle_one(r, journal, true);
            continue;
        }
        if (r->frames_left_out) {
            continue;
        }
        read_journal_name(r, journal);
        bool any;
        bool own = is_quarantined(r, journal->name, &any);
        if (!own && (journal->name[0] || !any)) {
            settle_one(r, journal, false);
        }
    }
    if (!r->frames_left_out && !atomic_load(&r->leftovers_remain)) {
        catalog_settle_all(&r->catalog);
    }
}

/* ---- loading ---- */

void registry_discard(registry *r, vd_index *index) {
    if (!index_drop_leftover(index)) {
        atomic_store(&r->leftovers_remain, true);
    }
    pthread_rwlock_wrlock(&r->map_lock);
    registry_map_remove_locked(r, index);
    pthread_rwlock_unlock(&r->map_lock);
    index_release(index);
}

static vd_index *next_to_load(registry *r) {
    pthread_mutex_lock(&r->lock);
    vd_index *index = r->load_count ? r->load_queue[--r->load_count] : NULL;
    pthread_mutex_unlock(&r->lock);
    return index;
}

static void *loader(void *arg) {
    registry *r = arg;
    for (vd_index *index; !atomic_load(&r->closing) && (index = next_to_load(r));) {
        index_load(index);
    }
    pthread_mutex_lock(&r->lock);
    bool last = --r->loaders_running == 0;
    pthread_mutex_unlock(&r->lock);
    if (last) {
        if (!atomic_load(&r->closing)) { /* else not every frame has had its say */
            registry_settle_journals(r);
        }
        pthread_mutex_lock(&r->lock);
        r->loaded = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

static vd_status start_loaders(registry *r, vd_error *err) {
    uint32_t width = r->options.executor ? r->options.executor->width : 1;
    uint32_t wanted = r->options.load_threads ? r->options.load_threads : width;
    if (wanted > r->load_count) {
        wanted = (uint32_t)r->load_count;
    }
    if (wanted == 0) {
        wanted = 1; /* journals without frames have to be settled too */
    }
    r->loaders = calloc(wanted, sizeof *r->loaders);
    if (!r->loaders) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the loaders");
    }
    /* held until all are counted, so that the last one to end knows that it is the last */
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < wanted; i++) {
        if (pthread_create(&r->loaders[r->loader_count], NULL, loader, r) == 0) {
            r->loader_count++;
        }
    }
    r->loaders_running = r->loader_count;
    pthread_mutex_unlock(&r->lock);
    return r->loader_count ? VD_OK : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no thread to load indexes with");
}

bool registry_wait_loaded(registry *r, int64_t timeout_ms) {
    struct timespec until = clock_timespec(clock_now_ms() + (timeout_ms < 0 ? 0 : timeout_ms));
    pthread_mutex_lock(&r->lock);
    int error = 0;
    while (!r->loaded && error == 0) {
        error = timeout_ms < 0 ? pthread_cond_wait(&r->changed, &r->lock)
                               : pthread_cond_timedwait(&r->changed, &r->lock, &until);
    }
    bool loaded = r->loaded;
    pthread_mutex_unlock(&r->lock);
    return loaded;
}

static registry *new_registry(const registry_options *options) {
    registry *r = calloc(1, sizeof *r);
    if (!r) {
        return NULL;
    }
    r->options = *options;
    if (r->options.snapshot_min_bytes == 0) {
        r->options.snapshot_min_bytes = SNAPSHOT_MIN_BYTES_DEFAULT;
    }
    if (r->options.snapshot_factor <= 0) {
        r->options.snapshot_factor = SNAPSHOT_FACTOR_DEFAULT;
    }
    if (r->options.snapshot_idle_ms <= 0) {
        r->options.snapshot_idle_ms = SNAPSHOT_IDLE_MS_DEFAULT;
    }
    if (r->options.backlog_max_bytes == 0) {
        r->options.backlog_max_bytes = BACKLOG_MAX_BYTES_DEFAULT;
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->print_lock, NULL);
    pthread_rwlock_init(&r->map_lock, NULL);
    catalog_init(&r->catalog);
    return r;
}

vd_status registry_open(const registry_options *options, registry **out, vd_error *err) {
    registry *r = new_registry(options);
    if (!r) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    vd_status status = VD_OK;
    r->map = calloc(VD_INDEXES_MAX, sizeof(vd_index *));
    if (!r->map || saver_new(SAVER_THREADS, &r->saver) != VD_OK) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the registry");
    }
    if (status == VD_OK && options->store) {
        r->store = options->store;
        status = list_store(r, err);
        if (status == VD_OK) {
            status = open_catalog(r, err);
        }
        if (status == VD_OK) {
            status = start_loaders(r, err);
        }
    } else {
        r->loaded = true;
    }
    if (status != VD_OK) {
        r->store = NULL; /* the caller keeps it */
        registry_close(r);
        return status;
    }
    *out = r;
    return VD_OK;
}
