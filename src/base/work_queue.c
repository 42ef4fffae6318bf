/*
 * work_queue.c - a bounded ring of jobs and the threads that run them.
 *
 * Threading: one mutex guards everything in the struct; no job runs while it is held.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/executor.h"

typedef struct job {
    void (*fn)(void *arg);
    void *arg;
} job;

struct work_queue {
    pthread_mutex_t mutex;
    pthread_cond_t ready;
    job *ring;
    uint32_t capacity, first, count;
    bool closed;
    uint32_t thread_count;
    pthread_t threads[];
};

static void *worker(void *arg) {
    work_queue *q = arg;
    pthread_mutex_lock(&q->mutex);
    for (;;) {
        while (q->count == 0 && !q->closed) {
            pthread_cond_wait(&q->ready, &q->mutex);
        }
        if (q->count == 0) {
            break;
        }
        job next = q->ring[q->first];
        q->first = (q->first + 1) % q->capacity;
        q->count--;
        pthread_mutex_unlock(&q->mutex);
        next.fn(next.arg);
        pthread_mutex_lock(&q->mutex);
    }
    pthread_mutex_unlock(&q->mutex);
    return NULL;
}

vd_status work_queue_new(uint32_t threads, uint32_t capacity, work_queue **out) {
    work_queue *q = calloc(1, sizeof *q + threads * sizeof q->threads[0]);
    job *ring = calloc(capacity, sizeof *ring);
    if (!q || !ring) {
        free(q);
        free(ring);
        return VD_OUT_OF_MEMORY;
    }
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->ready, NULL);
    q->ring = ring;
    q->capacity = capacity;
    while (q->thread_count < threads) {
        if (pthread_create(&q->threads[q->thread_count], NULL, worker, q) != 0) {
            work_queue_free(q);
            return VD_OUT_OF_MEMORY;
        }
        q->thread_count++;
    }
    *out = q;
    return VD_OK;
}

bool work_queue_push(work_queue *q, void (*fn)(void *arg), void *arg) {
    pthread_mutex_lock(&q->mutex);
    bool accepted = !q->closed && q->count < q->capacity;
    if (accepted) {
        q->ring[(q->first + q->count) % q->capacity] = (job){fn, arg};
        q->count++;
        pthread_cond_signal(&q->ready);
    }
    pthread_mutex_unlock(&q->mutex);
    return accepted;
}

uint32_t work_queue_depth(work_queue *q) {
    pthread_mutex_lock(&q->mutex);
    uint32_t depth = q->count;
    pthread_mutex_unlock(&q->mutex);
    return depth;
}

void work_queue_free(work_queue *q) {
    if (!q) {
        return;
    }
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_broadcast(&q->ready);
    pthread_mutex_unlock(&q->mutex);
    for (uint32_t i = 0; i < q->thread_count; i++) {
        pthread_join(q->threads[i], NULL);
    }
    pthread_cond_destroy(&q->ready);
    pthread_mutex_destroy(&q->mutex);
    free(q->ring);
    free(q);
}
