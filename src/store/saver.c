/*
 * saver.c - background jobs: a list of tasks that wait for their time, and threads that run the one that is due first.
 *
 * Relies on a handful of tasks per index: the list is searched from end to end. Leaves to others what a job does and
 * whether it has succeeded.
 *
 * Threading: one mutex guards the saver and all its tasks; no job runs while it is held. Two conditions: `work` (a task
 * began to wait, its time moved, or stop) and `done` (a run has ended). A worker that takes a task wakes another one when
 * tasks are left, because that one may sleep without a time limit since the list was empty.
 */
#include "store/saver.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

struct saver_task {
    saver *owner;
    void (*fn)(void *arg);
    void *arg;
    saver_task *next; /* in the list of waiting tasks */
    int64_t due_ms;   /* valid while `waiting` */
    bool waiting;
    bool running;
};

struct saver {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    pthread_cond_t done;
    saver_task *waiting;
    bool stopping;
    uint32_t thread_count;
    pthread_t threads[];
};

static void remove_locked(saver *s, saver_task *task) {
    for (saver_task **at = &s->waiting; *at; at = &(*at)->next) {
        if (*at == task) {
            *at = task->next;
            break;
        }
    }
    task->next = NULL;
    task->waiting = false;
}

/* The waiting task that is due first and does not run just now (its next run comes after this one). */
static saver_task *first_locked(const saver *s) {
    saver_task *first = NULL;
    for (saver_task *t = s->waiting; t; t = t->next) {
        if (!t->running && (!first || t->due_ms < first->due_ms)) {
            first = t;
        }
    }
    return first;
}

static void *saver_thread(void *arg) {
    saver *s = arg;
    pthread_mutex_lock(&s->mutex);
    while (!s->stopping) {
        saver_task *task = first_locked(s);
        if (!task) {
            pthread_cond_wait(&s->work, &s->mutex);
            continue;
        }
        if (task->due_ms > clock_now_ms()) {
            struct timespec until = clock_timespec(task->due_ms);
            pthread_cond_timedwait(&s->work, &s->mutex, &until);
            continue;
        }
        remove_locked(s, task);
        task->running = true;
        if (s->waiting) {
            pthread_cond_signal(&s->work);
        }
        pthread_mutex_unlock(&s->mutex);
        task->fn(task->arg);
        pthread_mutex_lock(&s->mutex);
        task->running = false;
        pthread_cond_broadcast(&s->done);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void monotonic_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

vd_status saver_new(uint32_t threads, saver **out) {
    if (threads == 0) {
        threads = 1;
    }
    saver *s = calloc(1, sizeof *s + threads * sizeof s->threads[0]);
    if (!s) {
        return VD_OUT_OF_MEMORY;
    }
    pthread_mutex_init(&s->mutex, NULL);
    monotonic_cond_init(&s->work);
    monotonic_cond_init(&s->done);
    while (s->thread_count < threads) {
        if (pthread_create(&s->threads[s->thread_count], NULL, saver_thread, s) != 0) {
            saver_free(s);
            return VD_OUT_OF_MEMORY;
        }
        s->thread_count++;
    }
    *out = s;
    return VD_OK;
}

void saver_free(saver *s) {
    if (!s) {
        return;
    }
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->mutex);
    for (uint32_t i = 0; i < s->thread_count; i++) {
        pthread_join(s->threads[i], NULL);
    }
    pthread_cond_destroy(&s->done);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

saver_task *saver_task_new(saver *s, void (*fn)(void *arg), void *arg) {
    saver_task *task = calloc(1, sizeof *task);
    if (task) {
        task->owner = s;
        task->fn = fn;
        task->arg = arg;
    }
    return task;
}

void saver_request(saver_task *task, int64_t delay_ms) {
    saver *s = task->owner;
    int64_t due_ms = clock_now_ms() + (delay_ms > 0 ? delay_ms : 0);
    pthread_mutex_lock(&s->mutex);
    if (!task->waiting) {
        task->waiting = true;
        task->due_ms = due_ms;
        task->next = s->waiting;
        s->waiting = task;
        pthread_cond_signal(&s->work);
    } else if (due_ms < task->due_ms) {
        task->due_ms = due_ms;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->mutex);
}

void saver_cancel(saver_task *task) {
    saver *s = task->owner;
    pthread_mutex_lock(&s->mutex);
    if (task->waiting) {
        remove_locked(s, task);
    }
    while (task->running) {
        pthread_cond_wait(&s->done, &s->mutex);
        if (task->waiting && !task->running) {
            remove_locked(s, task); /* the run that was waited for had asked for another */
        }
    }
    pthread_mutex_unlock(&s->mutex);
}

void saver_task_free(saver_task *task) {
    if (task) {
        saver_cancel(task);
        free(task);
    }
}
