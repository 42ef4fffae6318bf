/* work_queue_test.c - every accepted job runs once, a full or closed queue says so, free runs what was accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "base/executor.h"

static void count_up(void *arg) {
    atomic_fetch_add((_Atomic uint32_t *)arg, 1);
}

static void accepted_jobs_run_once(void **state) {
    (void)state;
    work_queue *queue;
    _Atomic uint32_t runs = 0;
    uint32_t accepted = 0;
    assert_int_equal(work_queue_new(3, 16, &queue), VD_OK);
    for (int i = 0; i < 5000; i++) {
        accepted += work_queue_push(queue, count_up, &runs);
    }
    work_queue_free(queue);
    assert_true(accepted >= 16);
    assert_int_equal(runs, accepted);
    work_queue_free(NULL);
}

typedef struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool entered, open;
} gate;

static void wait_at(void *arg) {
    gate *g = arg;
    pthread_mutex_lock(&g->mutex);
    g->entered = true;
    pthread_cond_broadcast(&g->changed);
    while (!g->open) {
        pthread_cond_wait(&g->changed, &g->mutex);
    }
    pthread_mutex_unlock(&g->mutex);
}

static void a_full_queue_says_so(void **state) {
    (void)state;
    work_queue *queue;
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
    _Atomic uint32_t runs = 0;
    assert_int_equal(work_queue_new(1, 2, &queue), VD_OK);
    assert_true(work_queue_push(queue, wait_at, &g));
    pthread_mutex_lock(&g.mutex);
    while (!g.entered) {
        pthread_cond_wait(&g.changed, &g.mutex);
    }
    pthread_mutex_unlock(&g.mutex);
    assert_int_equal(work_queue_depth(queue), 0);
    assert_true(work_queue_push(queue, count_up, &runs));
    assert_true(work_queue_push(queue, count_up, &runs));
    assert_false(work_queue_push(queue, count_up, &runs));
    assert_int_equal(work_queue_depth(queue), 2);
    pthread_mutex_lock(&g.mutex);
    g.open = true;
    pthread_cond_broadcast(&g.changed);
    pthread_mutex_unlock(&g.mutex);
    work_queue_free(queue);
    assert_int_equal(runs, 2);
}

static void *pusher(void *arg) {
    void **args = arg;
    uintptr_t accepted = 0;
    for (int i = 0; i < 1000; i++) {
        accepted += work_queue_push(args[0], count_up, args[1]);
    }
    return (void *)accepted;
}

static void many_threads_may_push(void **state) {
    (void)state;
    enum { THREADS = 4 };
    work_queue *queue;
    _Atomic uint32_t runs = 0;
    assert_int_equal(work_queue_new(2, 8, &queue), VD_OK);
    void *args[2] = {queue, &runs};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, pusher, args), 0);
    }
    uintptr_t accepted = 0;
    for (int i = 0; i < THREADS; i++) {
        void *count;
        pthread_join(threads[i], &count);
        accepted += (uintptr_t)count;
    }
    work_queue_free(queue);
    assert_int_equal(runs, accepted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_jobs_run_once),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(many_threads_may_push),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
