/*
 * index_drop.c - the end of an index: its files go in an order that a crash between any two steps survives.
 *
 *   record      DROPPED in the catalog: from here on the index is gone for good
 *   frame       then
 *   segments    and then
 *
 * What a crash or a failing store leaves behind the record, the next start or the next create of the name removes. An index whose
 * frame does not name its epoch yet (somebody else's file, never written to) has its frame removed first, since no record
 * could tell it from another one.
 *
 * When the record cannot be written nobody knows whether it is there. The index lives on under a new epoch, of which a frame
 * goes before the next record: so whatever the old epoch's record may do, it cannot reach what is acknowledged from now on.
 *
 * Threading: the turn is held from before the first file to the end of the index, and background tasks are stopped before.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "registry/registry_int.h"

static bool remove_journal(vd_index *index) {
    objstore *store = index->owner->store;
    size_t left = 0;
    vd_error first = {0};
    for (size_t i = 0; i < index->segment_count; i++) {
        char key[JOURNAL_KEY_MAX];
        vd_error err;
        registry_segment_key(index->epoch, index->segments[i].first, key);
        if (store->v->remove(store, key, &err) != VD_OK && left++ == 0) {
            first = err;
        }
    }
    if (left) {
        log_event(LOG_WARN, "journal of a deleted index was not removed altogether: the next start tries again",
                  "index=%s error=%s", index->name, first.text);
    }
    return left == 0;
}

static vd_status remove_frame(vd_index *index, vd_error *err) {
    objstore *store = index->owner->store;
    char key[FRAME_KEY_MAX];
    registry_frame_key(index->params.name, key);
    return store->v->remove(store, key, err);
}

static vd_status write_record(vd_index *index, bytes request_id, vd_error *err) {
    return catalog_write(&index->owner->catalog, JOURNAL_DROPPED, index->params.name, index->epoch, request_id, err);
}

/* OK: the index is gone. Another status: it lives. */
static vd_status end_index(vd_index *index, bytes request_id, vd_error *err) {
    if (!index->owner->store) {
        return write_record(index, request_id, err);
    }
    vd_error later;
    if (index->needs_frame) {
        vd_status status = remove_frame(index, err);
        if (status == VD_OK && write_record(index, request_id, &later) != VD_OK) {
            log_event(LOG_WARN, "a delete was not recorded: asked again after a restart it answers \"not found\"",
                      "index=%s error=%s", index->name, later.text);
        }
        return status;
    }
    vd_status status = write_record(index, request_id, err);
    if (status != VD_OK) {
        index_renew_epoch(index);
        return status;
    }
    bool clean = remove_frame(index, &later) == VD_OK;
    if (!clean) {
        log_event(LOG_WARN, "frame of a deleted index was not removed: the next start tries again", "index=%s error=%s",
                  index->name, later.text);
    }
    if (remove_journal(index) && clean) {
        catalog_settle(&index->owner->catalog, index->epoch);
    }
    return VD_OK;
}

vd_status index_drop(vd_index *index, bytes request_id, vd_error *err) {
    pthread_mutex_lock(&index->lock);
    index->dropping = true;
    pthread_cond_broadcast(&index->turn_free);
    pthread_mutex_unlock(&index->lock);
    /* from here on nobody requests a run */
    if (index->save_task) {
        saver_cancel(index->save_task);
    }
    if (index->flush_task) {
        saver_cancel(index->flush_task);
    }
    saver_cancel(index->calibrate_task);
    index_turn_take(index, TURN_OWNER);
    index_saving_begin(index); /* a frame that arrived behind the removal would bring the index back */
    index_saving_end(index);   /* and with the turn held no other can begin */
    index_journal_close(index);
    vd_status status = end_index(index, request_id, err);
    if (status != VD_OK) {
        index->needs_frame = true; /* nobody knows whether the old one still stands */
        pthread_mutex_lock(&index->lock);
        index->dropping = false;
        index->save_wanted = true;
        pthread_mutex_unlock(&index->lock);
        index_turn_give(index);
        index_request_tasks(index);
        return status;
    }
    pthread_mutex_lock(&index->lock);
    index->dropped = true;
    pthread_mutex_unlock(&index->lock);
    index_turn_refuse(index, VD_NOT_FOUND, "not found");
    index_journal_forget(index, UINT64_MAX);
    if (index->owner->store) {
        index_journal_note_success(index); /* it misses the store no more */
    }
    index_turn_give(index);
    return VD_OK;
}

/* ---- found at the start ---- */

bool index_drop_leftover(vd_index *index) {
    pthread_mutex_lock(&index->lock);
    index->dropped = true;
    pthread_mutex_unlock(&index->lock);
    vd_error err;
    bool clean = remove_frame(index, &err) == VD_OK;
    if (!clean) {
        log_event(LOG_WARN, "what a delete had left could not be removed", "index=%s error=%s", index->name, err.text);
    }
    clean = remove_journal(index) && clean;
    log_event(LOG_INFO, "removed what a delete had left", "index=%s", index->name);
    return clean;
}

/* ---- quarantined ---- */

static void journal_aside(const vd_index *index, const uint8_t epoch[LHV1_EPOCH_BYTES], const index_segment *segments,
                          size_t count) {
    objstore *store = index->owner->store;
    for (size_t i = 0; i < count; i++) {
        char key[JOURNAL_KEY_MAX];
        vd_error err;
        registry_segment_key(epoch, segments[i].first, key);
        vd_status status = store->v->set_aside(store, key, &err);
        if (status != VD_OK && status != VD_NOT_FOUND) {
            log_event(LOG_WARN, "a journal segment was not set aside: the next start tries again", "index=%s error=%s",
                      index->name, err.text);
        }
    }
}

static void set_journal_aside(vd_index *index) {
    registry *r = index->owner;
    if (index->epoch_known) {
        journal_aside(index, index->epoch, index->segments, index->segment_count);
        return;
    }
    pthread_mutex_lock(&r->lock);
    bool settled = r->loaded; /* from then on the list is fixed; before, the settling itself will find no frame */
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; settled && i < r->journal_count; i++) {
        const journal_found *journal = &r->journals[i];
        if (!journal->claimed && strcmp(journal->name, index->name) == 0) {
            journal_aside(index, journal->epoch, journal->segments, journal->count);
        }
    }
}

vd_status index_drop_quarantined(vd_index *index, bytes request_id, vd_error *err) {
    registry *r = index->owner;
    char key[FRAME_KEY_MAX];
    registry_frame_key(index->params.name, key);
    /* the frame first: a journal without a frame is set aside by the next start in any case */
    vd_status status = r->store->v->set_aside(r->store, key, err);
    if (status != VD_OK && status != VD_NOT_FOUND) {
        return status;
    }
    set_journal_aside(index);
    static const uint8_t none[LHV1_EPOCH_BYTES] = {0}; /* nothing of it is to be removed, now or later */
    vd_error unrecorded;
    if (request_id.size &&
        catalog_write(&r->catalog, JOURNAL_DROPPED, index->params.name, none, request_id, &unrecorded) != VD_OK) {
        log_event(LOG_WARN, "a delete was not recorded: asked again after a restart it answers \"not found\"",
                  "index=%s error=%s", index->name, unrecorded.text);
    }
    return VD_OK;
}
