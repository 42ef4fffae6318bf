/*
 * saver_test.c - background jobs: requests coalesce, one run at a time per task, cancel waits, the earliest time counts.
 */
#include <pthread.h>

#include "base/clock.h"
#include "store/saver.h"
#include "unit/store/check.h"

#define LONG_MS     3600000 /* a time that never comes within a test */
#define DEADLINE_MS 20000

/* A job that counts its runs and can be held inside. */
typedef struct probe {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    saver_task *task;
    int started, ended, inside, most_inside;
    bool hold;
    bool ask_again; /* the next run requests one more */
} probe;

static void probe_init(probe *p) {
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
}

static void probe_fini(probe *p) {
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
}

static void job(void *arg) {
    probe *p = arg;
    pthread_mutex_lock(&p->mutex);
    p->started++;
    p->inside++;
    p->most_inside = p->inside > p->most_inside ? p->inside : p->most_inside;
    if (p->ask_again) {
        p->ask_again = false;
        saver_request(p->task, 0);
    }
    pthread_cond_broadcast(&p->changed);
    while (p->hold) {
        pthread_cond_wait(&p->changed, &p->mutex);
    }
    p->inside--;
    p->ended++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

static void hold(probe *p, bool on) {
    pthread_mutex_lock(&p->mutex);
    p->hold = on;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

/* Waits until *counter (of p) has reached the value; false when it takes too long. */
static bool reaches(probe *p, const int *counter, int value) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_MS / 1000;
    pthread_mutex_lock(&p->mutex);
    int error = 0;
    while (*counter < value && error == 0) {
        error = pthread_cond_timedwait(&p->changed, &p->mutex, &until);
    }
    bool reached = *counter >= value;
    pthread_mutex_unlock(&p->mutex);
    return reached;
}

static int ended(probe *p) {
    pthread_mutex_lock(&p->mutex);
    int count = p->ended;
    pthread_mutex_unlock(&p->mutex);
    return count;
}

static void requests_before_a_run_are_one_run(void **state) {
    (void)state;
    probe blocker, p;
    saver *s;
    probe_init(&blocker);
    probe_init(&p);
    OK(saver_new(1, &s));
    blocker.task = saver_task_new(s, job, &blocker);
    p.task = saver_task_new(s, job, &p);
    assert_true(blocker.task && p.task);
    hold(&blocker, true);
    saver_request(blocker.task, 0);
    assert_true(reaches(&blocker, &blocker.started, 1)); /* the only thread is taken: the rest must wait */
    for (int i = 0; i < 100; i++) {
        saver_request(p.task, i % 2 ? 0 : LONG_MS);
    }
    hold(&blocker, false);
    assert_true(reaches(&p, &p.ended, 1));
    saver_task_free(p.task);
    assert_int_equal(p.ended, 1);
    saver_task_free(blocker.task);
    saver_free(s);
    probe_fini(&blocker);
    probe_fini(&p);
}

static void requests_during_a_run_give_one_more(void **state) {
    (void)state;
    probe p;
    saver *s;
    probe_init(&p);
    OK(saver_new(4, &s));
    p.task = saver_task_new(s, job, &p);
    hold(&p, true);
    saver_request(p.task, 0);
    assert_true(reaches(&p, &p.started, 1));
    for (int i = 0; i < 50; i++) {
        saver_request(p.task, 0);
    }
    hold(&p, false);
    assert_true(reaches(&p, &p.ended, 2));
    saver_task_free(p.task);
    assert_int_equal(p.ended, 2);
    assert_int_equal(p.most_inside, 1); /* four threads, and never two in one task */
    saver_free(s);
    probe_fini(&p);
}

static void a_job_can_ask_for_itself(void **state) {
    (void)state;
    probe p;
    saver *s;
    probe_init(&p);
    OK(saver_new(2, &s));
    p.task = saver_task_new(s, job, &p);
    p.ask_again = true;
    saver_request(p.task, 0);
    assert_true(reaches(&p, &p.ended, 2));
    saver_task_free(p.task);
    assert_int_equal(p.ended, 2);
    saver_free(s);
    probe_fini(&p);
}

static void the_earliest_time_counts(void **state) {
    (void)state;
    probe p;
    saver *s;
    probe_init(&p);
    OK(saver_new(1, &s));
    p.task = saver_task_new(s, job, &p);
    saver_request(p.task, LONG_MS);
    saver_request(p.task, 1);
    saver_request(p.task, LONG_MS);
    assert_true(reaches(&p, &p.ended, 1));
    saver_task_free(p.task);
    assert_int_equal(p.ended, 1);
    saver_free(s);
    probe_fini(&p);
}

static void a_delay_is_kept(void **state) {
    (void)state;
    probe p;
    saver *s;
    probe_init(&p);
    OK(saver_new(1, &s));
    p.task = saver_task_new(s, job, &p);
    int64_t start = clock_now_ms();
    saver_request(p.task, 30);
    assert_true(reaches(&p, &p.started, 1));
    assert_true(clock_now_ms() - start >= 30); /* at least: that is the promise */
    saver_task_free(p.task);
    saver_free(s);
    probe_fini(&p);
}

static void what_waits_can_be_cancelled(void **state) {
    (void)state;
    probe p;
    saver *s;
    probe_init(&p);
    OK(saver_new(1, &s));
    p.task = saver_task_new(s, job, &p);
    saver_request(p.task, LONG_MS);
    saver_cancel(p.task);
    saver_cancel(p.task);
    assert_int_equal(ended(&p), 0);
    saver_request(p.task, 0); /* the task is still good */
    assert_true(reaches(&p, &p.ended, 1));
    saver_task_free(p.task);
    saver_task_free(NULL);
    saver_free(s);
    probe_fini(&p);
}

typedef struct canceller {
    saver_task *task;
    probe *p;
    int ended_when_back;
} canceller;

static void *cancel(void *arg) {
    canceller *c = arg;
    saver_cancel(c->task);
    c->ended_when_back = ended(c->p);
    return NULL;
}

static void cancel_waits_for_a_run_and_drops_the_next(void **state) {
    (void)state;
    probe p;
    saver *s;
    probe_init(&p);
    OK(saver_new(2, &s));
    p.task = saver_task_new(s, job, &p);
    hold(&p, true);
    saver_request(p.task, 0);
    assert_true(reaches(&p, &p.started, 1));
    saver_request(p.task, LONG_MS);
    canceller c = {p.task, &p, -1};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel, &c), 0);
    hold(&p, false);
    pthread_join(thread, NULL);
    assert_int_equal(c.ended_when_back, 1);
    saver_task_free(p.task);
    assert_int_equal(p.ended, 1);
    saver_free(s);
    probe_fini(&p);
}

/* A task that waits long must not keep a sleeping thread from one that is due, nor a busy thread from the other one. */
static void tasks_do_not_stand_in_each_others_way(void **state) {
    (void)state;
    enum { TASKS = 8 };
    probe p[TASKS], later, blocker;
    saver *s;
    OK(saver_new(2, &s));
    probe_init(&later);
    probe_init(&blocker);
    later.task = saver_task_new(s, job, &later);
    blocker.task = saver_task_new(s, job, &blocker);
    saver_request(later.task, LONG_MS);
    hold(&blocker, true);
    saver_request(blocker.task, 0);
    for (int i = 0; i < TASKS; i++) {
        probe_init(&p[i]);
        p[i].task = saver_task_new(s, job, &p[i]);
        saver_request(p[i].task, i % 3);
    }
    for (int i = 0; i < TASKS; i++) {
        assert_true(reaches(&p[i], &p[i].ended, 1));
        saver_task_free(p[i].task);
        probe_fini(&p[i]);
    }
    hold(&blocker, false);
    saver_task_free(blocker.task);
    saver_task_free(later.task);
    assert_int_equal(later.ended, 0);
    saver_free(s);
    probe_fini(&blocker);
    probe_fini(&later);
}

static void *request_often(void *arg) {
    saver_task *task = arg;
    for (int i = 0; i < 500; i++) {
        saver_request(task, i % 2);
    }
    return NULL;
}

static void many_threads_may_ask(void **state) {
    (void)state;
    enum { THREADS = 4 };
    probe p;
    saver *s;
    pthread_t threads[THREADS];
    probe_init(&p);
    OK(saver_new(2, &s));
    p.task = saver_task_new(s, job, &p);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, request_often, p.task), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(reaches(&p, &p.ended, 1));
    saver_task_free(p.task);
    assert_int_equal(p.most_inside, 1);
    saver_free(s);
    probe_fini(&p);
}

static void freeing_drops_what_waits(void **state) {
    (void)state;
    probe p;
    saver *s;
    probe_init(&p);
    OK(saver_new(3, &s));
    p.task = saver_task_new(s, job, &p);
    saver_request(p.task, LONG_MS);
    saver_task_free(p.task);
    saver_free(s);
    saver_free(NULL);
    assert_int_equal(p.ended, 0);
    probe_fini(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_before_a_run_are_one_run),
        cmocka_unit_test(requests_during_a_run_give_one_more),
        cmocka_unit_test(a_job_can_ask_for_itself),
        cmocka_unit_test(the_earliest_time_counts),
        cmocka_unit_test(a_delay_is_kept),
        cmocka_unit_test(what_waits_can_be_cancelled),
        cmocka_unit_test(cancel_waits_for_a_run_and_drops_the_next),
        cmocka_unit_test(tasks_do_not_stand_in_each_others_way),
        cmocka_unit_test(many_threads_may_ask),
        cmocka_unit_test(freeing_drops_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
