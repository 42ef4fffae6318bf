/*
 * index_drop.c - the end of an index: its files go in an order that a crash between any two steps survives.
 *
 *   frame       removed first and durably: from here on the index does not exist
 *   tombstone   a mark in the journal's folder that what is left there was deleted on purpose
 *   segments    then the tombstone itself
 *
 * A crash behind the tombstone leaves leftovers that the next start removes; one between frame and tombstone leaves a journal
 * without a frame, which the next start sets aside with a warning: it cannot know that nobody wants it. When the frame
 * cannot be removed the index lives on; whether the frame still stands is then unknown, so a fresh one goes before the next
 * record.
 *
 * Threading: the turn is held from before the first file to the end of the index, and background tasks are stopped before.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "registry/registry_int.h"

static void remove_journal(vd_index *index) {
    objstore *store = index->owner->store;
    if (index->segment_count == 0) {
        return;
    }
    char key[JOURNAL_KEY_MAX];
    vd_error err;
    objstore_put *put;
    registry_tombstone_key(index->epoch, key);
    vd_status status = store->v->put_begin(store, key, false, &put, &err);
    if (status == VD_OK) {
        status = store->v->put_write(put, index->name, strlen(index->name), &err);
        if (status == VD_OK) {
            status = store->v->put_commit(put, &err);
        } else {
            store->v->put_abort(put);
        }
    }
    /* A tombstone that failed is no reason to stop: it only matters when the next lines are cut short as well. */
    size_t left = 0;
    vd_error first = err;
    for (size_t i = 0; i < index->segment_count; i++) {
        registry_segment_key(index->epoch, index->segments[i].first, key);
        if (store->v->remove(store, key, &err) != VD_OK && left++ == 0) {
            first = err;
        }
    }
    if (left == 0) {
        registry_tombstone_key(index->epoch, key);
        if (store->v->remove(store, key, &err) != VD_OK) {
            left++;
            first = err;
        }
    }
    if (left) {
        log_event(LOG_WARN, "journal of a deleted index was not removed altogether: the next start tries again",
                  "index=%s error=%s", index->name, first.text);
    }
}

vd_status index_drop(vd_index *index, vd_error *err) {
    registry *r = index->owner;
    pthread_mutex_lock(&index->lock);
    index->dropping = true;
    pthread_cond_broadcast(&index->turn_free);
    pthread_mutex_unlock(&index->lock);
    /* from here on nobody requests a run */
    if (index->save_task) {
        saver_cancel(index->save_task);
    }
    saver_cancel(index->calibrate_task);
    index_turn_take(index, TURN_OWNER);
    index_saving_begin(index); /* a frame that arrived behind the removal would bring the index back */
    index_saving_end(index);   /* and with the turn held no other can begin */
    vd_status status = VD_OK;
    if (r->store) {
        if (index->log) {
            r->store->v->log_close(index->log);
            index->log = NULL;
        }
        char key[FRAME_KEY_MAX];
        registry_frame_key(index->params.name, key);
        status = r->store->v->remove(r->store, key, err);
    }
    if (status != VD_OK) {
        index->needs_frame = true;
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
    if (r->store) {
        remove_journal(index);
    }
    index_turn_give(index);
    return VD_OK;
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

vd_status index_drop_quarantined(vd_index *index, vd_error *err) {
    registry *r = index->owner;
    char key[FRAME_KEY_MAX];
    registry_frame_key(index->params.name, key);
    /* the frame first: a journal without a frame is set aside by the next start in any case */
    vd_status status = r->store->v->set_aside(r->store, key, err);
    if (status != VD_OK && status != VD_NOT_FOUND) {
        return status;
    }
    if (index->epoch_known) {
        journal_aside(index, index->epoch, index->segments, index->segment_count);
        return VD_OK;
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
    return VD_OK;
}
