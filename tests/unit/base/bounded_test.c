/* bounded_test.c - work that ends is waited for, work that does not is left, and then what comes late comes once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>

#include "base/bounded.h"
#include "base/clock.h"

typedef struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open;
    int worked, late;
    bool takes_signals;
} gate;

static void work(void *arg) {
    gate *g = arg;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    pthread_mutex_lock(&g->mutex);
    g->takes_signals = !sigismember(&mask, SIGTERM);
    while (!g->open) {
        pthread_cond_wait(&g->changed, &g->mutex);
    }
    g->worked++;
    pthread_mutex_unlock(&g->mutex);
}

static void late(void *arg) {
    gate *g = arg;
    pthread_mutex_lock(&g->mutex);
    g->late++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

static void work_that_ends_is_waited_for(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        gate g = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .open = true};
        assert_true(bounded_run(work, late, &g, 60000));
        assert_int_equal(g.worked, 1);
        assert_int_equal(g.late, 0);
        assert_false(g.takes_signals);
    }
}

static void work_that_does_not_end_is_left(void **state) {
    (void)state;
    gate g = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    int64_t began_ms = clock_now_ms();
    assert_false(bounded_run(work, late, &g, 30));
    assert_true(clock_now_ms() - began_ms >= 29);
    pthread_mutex_lock(&g.mutex);
    assert_int_equal(g.worked, 0);
    g.open = true;
    pthread_cond_broadcast(&g.changed);
    while (g.late == 0) {
        pthread_cond_wait(&g.changed, &g.mutex);
    }
    assert_int_equal(g.worked, 1);
    pthread_mutex_unlock(&g.mutex);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_that_ends_is_waited_for),
        cmocka_unit_test(work_that_does_not_end_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
