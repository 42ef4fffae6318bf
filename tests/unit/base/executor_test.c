/* executor_test.c - the pool runs each index once and returns when all have returned, for several callers at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/executor.h"

#define COUNT 5000

static void mark(void *arg, uint32_t index) {
    unsigned *marks = arg;
    marks[index]++; /* not atomic on purpose: each index belongs to one task, and the sanitizer checks the hand-over */
}

static void check_run(const vd_executor *executor, uint32_t count) {
    static _Thread_local unsigned marks[COUNT];
    memset(marks, 0, sizeof marks);
    executor->run(executor->context, mark, marks, count);
    for (uint32_t i = 0; i < COUNT; i++) {
        if (marks[i] != (i < count)) {
            _Exit(3); /* also called off the main thread, where an assertion must not jump */
        }
    }
}

static void each_index_runs_once(void **state) {
    (void)state;
    for (uint32_t width = 1; width <= 5; width++) {
        executor_pool *pool;
        assert_int_equal(executor_pool_new(width, &pool), VD_OK);
        const vd_executor *executor = executor_pool_get(pool);
        assert_int_equal(executor->width, width);
        for (uint32_t count = 0; count < 40; count++) {
            check_run(executor, count);
        }
        check_run(executor, COUNT);
        executor_pool_free(pool);
    }
}

static void *caller(void *arg) {
    for (uint32_t i = 0; i < 100; i++) {
        check_run(arg, i % 2 ? 7 : 300);
    }
    return NULL;
}

static void callers_share_the_threads(void **state) {
    (void)state;
    enum { CALLERS = 4 };
    executor_pool *pool;
    assert_int_equal(executor_pool_new(3, &pool), VD_OK);
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, caller, (void *)(uintptr_t)executor_pool_get(pool)), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
    }
    executor_pool_free(pool);
}

typedef struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t present, wanted;
} meeting;

static void meet(void *arg, uint32_t index) {
    meeting *m = arg;
    (void)index;
    pthread_mutex_lock(&m->mutex);
    m->present++;
    pthread_cond_broadcast(&m->changed);
    while (m->present < m->wanted) {
        pthread_cond_wait(&m->changed, &m->mutex);
    }
    pthread_mutex_unlock(&m->mutex);
}

/* Tasks that wait for one another end only when `width` of them run at the same time (ctest's limit ends it otherwise). */
static void as_many_run_at_once_as_it_is_wide(void **state) {
    (void)state;
    executor_pool *pool;
    assert_int_equal(executor_pool_new(4, &pool), VD_OK);
    meeting m = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 4};
    const vd_executor *executor = executor_pool_get(pool);
    executor->run(executor->context, meet, &m, 4);
    assert_int_equal(m.present, 4);
    executor_pool_free(pool);
}

static void the_default_width_is_that_of_the_machine(void **state) {
    (void)state;
    executor_pool *pool;
    assert_true(executor_cpus() >= 1);
    assert_int_equal(executor_pool_new(0, &pool), VD_OK);
    assert_int_equal(executor_pool_get(pool)->width, executor_cpus());
    executor_pool_free(pool);
    executor_pool_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_index_runs_once),
        cmocka_unit_test(callers_share_the_threads),
        cmocka_unit_test(as_many_run_at_once_as_it_is_wide),
        cmocka_unit_test(the_default_width_is_that_of_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
