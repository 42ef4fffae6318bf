/*
 * flat_threads.c - the threads behind the flat facade: one pool for the process, lent to calls in any width.
 *
 * A call that may use n threads gets an executor of width n on the shared pool, so that its work is split for n and no
 * more than n take part. The pool is as wide as the widest loan so far, at least one thread per CPU; when it grows,
 * the old one goes with its last borrower.
 *
 * Threading: `lock` guards the pool in use and the counts of borrowers. It is held neither while a pool works nor
 * while threads start or end. A fork takes it, so that the child, which has none of the threads, finds it free and
 * starts a pool of its own.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/executor.h"
#include "lib/flat_int.h"

typedef struct flat_pool {
    executor_pool *threads;
    uint32_t width;
    uint32_t borrowers; /* guarded by lock, as is: */
    bool retired;       /* a wider one has taken its place: the last borrower frees it */
} flat_pool;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static flat_pool *in_use;
static uint32_t cpus;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) {
    pthread_mutex_lock(&lock);
}

static void after_fork_parent(void) {
    pthread_mutex_unlock(&lock);
}

static void after_fork_child(void) {
    in_use = NULL; /* its threads are not here; freeing it would wait for them */
    pthread_mutex_unlock(&lock);
}

static void start(void) {
    cpus = executor_cpus();
    (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static void pool_free(flat_pool *pool) {
    if (pool) {
        executor_pool_free(pool->threads);
        free(pool);
    }
}

static flat_pool *pool_new(uint32_t width) {
    flat_pool *pool = calloc(1, sizeof *pool);
    if (pool && executor_pool_new(width, &pool->threads) != VD_OK) {
        free(pool);
        return NULL;
    }
    if (pool) {
        pool->width = width;
    }
    return pool;
}

static flat_pool *take_if_wide(uint32_t width) {
    pthread_mutex_lock(&lock);
    flat_pool *pool = in_use && in_use->width >= width ? in_use : NULL;
    if (pool) {
        pool->borrowers++;
    }
    pthread_mutex_unlock(&lock);
    return pool;
}

/* Puts `fresh` into use, unless another thread has put one meanwhile that is as wide. */
static flat_pool *put_and_take(flat_pool *fresh) {
    flat_pool *idle = NULL;
    pthread_mutex_lock(&lock);
    if (in_use && in_use->width >= fresh->width) {
        idle = fresh;
    } else {
        if (in_use) {
            in_use->retired = true;
            idle = in_use->borrowers == 0 ? in_use : NULL;
        }
        in_use = fresh;
    }
    flat_pool *pool = in_use;
    pool->borrowers++;
    pthread_mutex_unlock(&lock);
    pool_free(idle);
    return pool;
}

/* One call's work: `count` tasks, which as many threads as the loan is wide take one after the other. */
typedef struct shared_work {
    void (*task)(void *arg, uint32_t index);
    void *arg;
    uint32_t count;
    _Atomic uint32_t taken;
} shared_work;

static void work(void *arg, uint32_t index) {
    shared_work *w = arg;
    (void)index;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&w->taken, 1, memory_order_relaxed);
        if (i >= w->count) {
            return;
        }
        w->task(w->arg, i);
    }
}

static void run(void *context, void (*task)(void *arg, uint32_t index), void *arg, uint32_t count) {
    const flat_loan *loan = context;
    const vd_executor *threads = executor_pool_get(loan->pool->threads);
    if (loan->executor.width == threads->width || count <= loan->executor.width) {
        threads->run(threads->context, task, arg, count);
        return;
    }
    shared_work w = {.task = task, .arg = arg, .count = count};
    threads->run(threads->context, work, &w, loan->executor.width);
}

const vd_executor *flat_borrow(flat_loan *loan, uint32_t threads) {
    loan->pool = NULL;
    if (threads == 1) {
        return NULL;
    }
    (void)pthread_once(&once, start);
    uint32_t width = threads ? threads : cpus;
    if (width <= 1) {
        return NULL;
    }
    loan->pool = take_if_wide(width);
    if (!loan->pool) {
        flat_pool *fresh = pool_new(width > cpus ? width : cpus);
        if (!fresh) {
            return NULL; /* no threads to be had: the calling one gives the same answer */
        }
        loan->pool = put_and_take(fresh);
    }
    loan->executor = (vd_executor){.context = loan, .width = width, .run = run};
    return &loan->executor;
}

void flat_give_back(flat_loan *loan) {
    if (!loan->pool) {
        return;
    }
    pthread_mutex_lock(&lock);
    bool last = --loan->pool->borrowers == 0 && loan->pool->retired;
    pthread_mutex_unlock(&lock);
    if (last) {
        pool_free(loan->pool);
    }
}

vd_status flat_threads_check(uint32_t threads, vd_error *err) {
    return threads <= VD_THREADS_MAX ? VD_OK
                                     : vd_fail(err, VD_INVALID_ARGUMENT, "threads", "threads must be 0..%u (got %u)",
                                               VD_THREADS_MAX, threads);
}
