/*
 * index_turn.c - who may change an index: writers in groups, and before them whoever needs the index still for a moment.
 *
 * Writers queue up. The one at the head, when nobody has the turn, becomes leader: it takes everything that is queued (up to a
 * bound), carries the group through journal and engine, wakes the others with their results and passes the turn on. While a
 * leader waits for the disk the next group gathers, so the number of syncs follows the disk and not the clients.
 *
 * Threading: `lock` guards the queue and the flags and is never held over work. A condition of its own per writer wakes
 * exactly the one whose answer is there or whose turn it is.
 */
#include <string.h>

#include "registry/registry_int.h"

/* What one group takes at most; the first op always fits. A group is one append, one sync and one call of the engine. */
#define GROUP_OPS_MAX   1024u
#define GROUP_ITEMS_MAX 65536u
#define GROUP_BYTES_MAX (64u * 1024u * 1024u)

static void wake_next_locked(vd_index *index) {
    if (index->turn_waiting) {
        pthread_cond_broadcast(&index->turn_free);
    } else if (index->queue_head) {
        pthread_cond_signal(&index->queue_head->wake);
    }
}

bool index_turn_take(vd_index *index, turn_user user) {
    pthread_mutex_lock(&index->lock);
    index->turn_waiting++;
    while (index->turn_taken && !(user == TURN_SAVE && index->dropping)) {
        pthread_cond_wait(&index->turn_free, &index->lock);
    }
    index->turn_waiting--;
    bool taken = !(user == TURN_SAVE && index->dropping);
    if (taken) {
        index->turn_taken = true;
    } else if (!index->turn_taken) {
        wake_next_locked(index); /* somebody may have stood back for this waiter */
    }
    pthread_mutex_unlock(&index->lock);
    return taken;
}

void index_turn_give(vd_index *index) {
    pthread_mutex_lock(&index->lock);
    index->turn_taken = false;
    wake_next_locked(index);
    pthread_mutex_unlock(&index->lock);
}

static void finish_locked(index_op *op) {
    op->done = true;
    pthread_cond_signal(&op->wake);
}

void index_turn_refuse(vd_index *index, vd_status status, const char *text) {
    pthread_mutex_lock(&index->lock);
    for (index_op *op = index->queue_head, *next; op; op = next) {
        next = op->next;
        op->status = vd_fail(&op->err, status, NULL, "%s", text);
        finish_locked(op);
    }
    index->queue_head = NULL;
    index->queue_tail = NULL;
    pthread_mutex_unlock(&index->lock);
}

static index_op *take_group_locked(vd_index *index) {
    index_op *group = index->queue_head;
    index_op *last = group;
    size_t ops = 1, items = group->count, record_bytes = group->record_bytes;
    while (last->next && ops < GROUP_OPS_MAX && items + last->next->count <= GROUP_ITEMS_MAX &&
           record_bytes + last->next->record_bytes <= GROUP_BYTES_MAX) {
        last = last->next;
        ops++;
        items += last->count;
        record_bytes += last->record_bytes;
    }
    index->queue_head = last->next;
    if (!index->queue_head) {
        index->queue_tail = NULL;
    }
    last->next = NULL;
    return group;
}

static void enqueue_locked(vd_index *index, index_op *op) {
    op->next = NULL;
    if (index->queue_tail) {
        index->queue_tail->next = op;
    } else {
        index->queue_head = op;
    }
    index->queue_tail = op;
}

void index_turn_write(vd_index *index, index_op *op) {
    pthread_mutex_lock(&index->lock);
    if (index->dropped) {
        op->status = vd_fail(&op->err, VD_NOT_FOUND, NULL, "not found");
        pthread_mutex_unlock(&index->lock);
        return;
    }
    if (index->closing) {
        op->status = vd_fail(&op->err, VD_UNAVAILABLE, NULL, "the server is stopping");
        op->err.retry_after_s = 1;
        pthread_mutex_unlock(&index->lock);
        return;
    }
    enqueue_locked(index, op);
    while (!op->done && (index->turn_taken || index->turn_waiting || index->queue_head != op)) {
        pthread_cond_wait(&op->wake, &index->lock);
    }
    if (op->done) {
        pthread_mutex_unlock(&index->lock);
        return;
    }
    index->turn_taken = true;
    index_op *group = take_group_locked(index);
    pthread_mutex_unlock(&index->lock);

    index_commit(index, group);

    pthread_mutex_lock(&index->lock);
    for (index_op *done = group, *next; done; done = next) {
        next = done->next; /* it may be gone once it has been woken */
        finish_locked(done);
    }
    index->turn_taken = false;
    wake_next_locked(index);
    pthread_mutex_unlock(&index->lock);
}
