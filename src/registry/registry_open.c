/*
 * registry_open.c - the start: indexes are loaded in the background, smallest first, and journals that belong to no frame are
 * settled at the end. registry_list.c says what there is to load.
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

vd_status registry_start_loaders(registry *r, vd_error *err) {
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
        status = registry_list_store(r, err);
    } else {
        r->loaded = true;
        atomic_store(&r->listed, true);
    }
    if (status != VD_OK) {
        r->store = NULL; /* the caller keeps it */
        registry_close(r);
        return status;
    }
    *out = r;
    return VD_OK;
}
