/*
 * bounded.c - bounded_run.
 *
 * Threading: the run is shared by the caller and the thread. `mutex` guards returned and left, of which one side sets its own
 * and reads the other's in one step: so exactly one of the two comes second, and the second frees the run. Nothing is called
 * while the mutex is held.
 */
#include "base/bounded.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"

typedef struct run {
    void (*work)(void *);
    void (*late)(void *);
    void *arg;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* monotonic clock */
    bool returned;          /* the work has */
    bool left;              /* the caller no longer waits */
} run;

static run *run_new(void (*work)(void *), void (*late)(void *), void *arg) {
    run *r = calloc(1, sizeof *r);
    if (!r) {
        return NULL;
    }
    r->work = work;
    r->late = late;
    r->arg = arg;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return r;
}

static void run_free(run *r) {
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static void *thread_main(void *arg) {
    run *r = arg;
    r->work(r->arg);
    pthread_mutex_lock(&r->mutex);
    r->returned = true;
    bool left = r->left;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->mutex);
    if (left) {
        if (r->late) {
            r->late(r->arg);
        }
        run_free(r);
    }
    return NULL;
}

static bool start(pthread_t *thread, run *r) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(thread, NULL, thread_main, r) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

bool bounded_run(void (*work)(void *arg), void (*late)(void *arg), void *arg, int64_t limit_ms) {
    pthread_t thread;
    run *r = run_new(work, late, arg);
    if (!r || !start(&thread, r)) {
        if (r) {
            run_free(r);
        }
        work(arg);
        return true;
    }
    struct timespec until = clock_timespec(clock_now_ms() + limit_ms);
    pthread_mutex_lock(&r->mutex);
    while (!r->returned && pthread_cond_timedwait(&r->changed, &r->mutex, &until) == 0) {
    }
    bool returned = r->returned;
    r->left = !returned;
    pthread_mutex_unlock(&r->mutex);
    if (!returned) {
        pthread_detach(thread);
        return false;
    }
    pthread_join(thread, NULL);
    run_free(r);
    return true;
}
