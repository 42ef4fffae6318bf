/*
 * optimize_test.c - the second pass (src/hnsw/optimize.c): a search gets cheaper and no worse, every invariant stays, progress can be
 * watched and stopped and goes on where it was, what is due and what has been done is told rightly, and writes and searches may come
 * in between.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>

#include "data_help.h"

static const vd_executor *threads(void) {
    return executor_pool_get(help_pool);
}

static vd_hnsw *index_of(const data *d, vd_encoding encoding) {
    return help_new(&(vd_hnsw_options){.dimension = d->dimension, .metric = d->metric, .encoding = encoding});
}

static uint64_t optimized(const vd_hnsw *index) {
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    return stats.optimized;
}

static void delete_range(vd_hnsw *index, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) {
        vd_id id = data_id(&i);
        size_t deleted = 0;
        OK(vd_hnsw_delete(index, &id, 1, NULL, &deleted, err));
        assert_int_equal(deleted, 1);
    }
}

static void optimize(vd_hnsw *index) {
    OK(vd_hnsw_optimize(index, &(vd_optimize_options){.executor = threads()}, err));
}

/* Every live row is there with its vector, and found by it. */
static void check_contents(const data *d, vd_hnsw *index, uint32_t from, uint32_t to) {
    float *got = malloc(sizeof *got * d->dimension);
    assert_non_null(got);
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t i = from; i < to; i++) {
        const float *own = d->base + (size_t)i * d->dimension;
        assert_int_equal(vd_hnsw_get(index, data_id(&i), got, NULL), VD_OK);
        assert_memory_equal(got, own, sizeof *got * d->dimension);
    }
    vd_hnsw_leave(index, &guard);
    free(got);
}

/* ---- what it is for ---- */

/* Distances that a search spends to reach at least this recall, over pools of many sizes; between two of them in proportion. */
static double cost_of(const data *d, const vd_hnsw *index, double recall) {
    measured before = {0};
    for (uint32_t ef = 10; ef <= 600; ef += ef < 60 ? 2 : ef / 12) {
        measured now = data_recall(d, index, &(vd_hnsw_search_options){.ef = ef});
        if (now.recall >= recall) {
            double part = now.recall > before.recall ? (recall - before.recall) / (now.recall - before.recall) : 1.0;
            return before.distances + part * (now.distances - before.distances);
        }
        before = now;
    }
    return 1e9;
}

static void searches_get_cheaper_and_no_worse(void **state) {
    (void)state;
    static const struct {
        data_kind kind;
        vd_metric metric;
        double recall; /* at which costs are compared... */
        double gain;   /* ...and the least that is saved */
    } sets[] = {
        {DATA_REAL, VD_METRIC_COSINE, 0.99, 0.1},        /* measured: 0.22 */
        {DATA_UNIFORM, VD_METRIC_EUCLIDEAN, 0.97, 0.0},  /* 0.03 */
        {DATA_SPARSE, VD_METRIC_COSINE, 0.98, 0.02},     /* 0.07 */
        {DATA_CLUSTERED, VD_METRIC_COSINE, 0.99, -0.04}, /* 0.04: the first pass leaves nothing to gain */
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        data d;
        data_make(&d, sets[i].kind, sets[i].metric, help_amount(5000, 1200), help_amount(250, 60));
        vd_hnsw *index = index_of(&d, VD_ENCODING_F32);
        data_add(&d, index, 0, d.count, threads());
        const uint32_t efs[] = {16, 32, 64, 128};
        measured before[4];
        for (int e = 0; e < 4; e++) {
            before[e] = data_recall(&d, index, &(vd_hnsw_search_options){.ef = efs[e]});
        }
        double cost = cost_of(&d, index, sets[i].recall);
        vd_hnsw_report was, is;
        OK(vd_hnsw_check(index, &was, err));
        optimize(index);
        OK(vd_hnsw_check(index, &is, err));
        for (int e = 0; e < 4; e++) { /* at an equal pool */
            measured after = data_recall(&d, index, &(vd_hnsw_search_options){.ef = efs[e]});
            if (after.recall < before[e].recall - 0.006) {
                fail_msg("%s: recall at ef %u: %.4f before, %.4f after", d.name, efs[e], before[e].recall,
                         after.recall);
            }
        }
        double cheaper = cost_of(&d, index, sets[i].recall);
        print_message("%s: recall %.2f for %.0f distances, before %.0f (%+.1f %%); degree %.1f, before %.1f\n", d.name,
                      sets[i].recall, cheaper, cost, 100.0 * (cheaper / cost - 1.0), is.mean_degree, was.mean_degree);
        if (!HELP_SANITIZED && cheaper > cost * (1.0 - sets[i].gain)) {
            fail_msg("%s: %.0f distances for recall %.2f, before %.0f", d.name, cheaper, sets[i].recall, cost);
        }
        check_contents(&d, index, 0, d.count);
        help_check(index, "optimized");
        vd_hnsw_free(index);
        data_free(&d);
    }
}

/* Queries unlike anything stored need long ways: those must not be lost. */
static void foreign_queries_lose_nothing(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_FOREIGN, VD_METRIC_COSINE, help_amount(6000, 1500), 150);
    vd_hnsw *index = index_of(&d, VD_ENCODING_F32);
    data_add(&d, index, 0, d.count, threads());
    double before = cost_of(&d, index, 0.9);
    optimize(index);
    double after = cost_of(&d, index, 0.9);
    print_message("foreign queries: recall 0.90 for %.0f distances, before %.0f\n", after, before);
    if (!HELP_SANITIZED && after > before * 1.2) { /* measured: 1.09 */
        fail_msg("foreign queries: recall 0.90 takes %.0f distances, before %.0f", after, before);
    }
    vd_hnsw_free(index);
    data_free(&d);
}

/* The same on any number of threads. */
static void threads_make_no_difference(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_CLUSTERED, VD_METRIC_EUCLIDEAN, help_amount(2500, 900), 50);
    double distances[2];
    for (int i = 0; i < 2; i++) {
        vd_hnsw *index = index_of(&d, VD_ENCODING_AUTO);
        data_add(&d, index, 0, d.count, i ? threads() : NULL);
        OK(vd_hnsw_optimize(index, i ? &(vd_optimize_options){.executor = threads()} : NULL, err));
        distances[i] = data_recall(&d, index, &(vd_hnsw_search_options){.ef = 50}).distances;
        vd_hnsw_free(index);
    }
    assert_true(distances[0] == distances[1]);
    data_free(&d);
}

/* ---- progress ---- */

typedef struct watch {
    uint64_t done, total, calls;
    uint64_t stop_after; /* calls; 0: never */
    bool backwards, beyond;
    vd_hnsw *index; /* searched, written to and asked from inside: no lock is held there */
    const data *d;
} watch;

static bool watched(void *context, uint64_t done, uint64_t total) {
    watch *w = context;
    w->backwards |= done < w->done || total < w->total;
    w->beyond |= done > total;
    w->done = done;
    w->total = total;
    w->calls++;
    if (w->index) {
        vd_hnsw_stats stats;
        vd_hit hits[DATA_K];
        size_t count = 0;
        vd_hnsw_guard guard;
        vd_hnsw_get_stats(w->index, &stats);
        vd_hnsw_enter(w->index, &guard);
        OK(vd_hnsw_search(w->index, w->d->query, &(vd_hnsw_search_options){.k = DATA_K}, hits, &count, NULL, err));
        vd_hnsw_leave(w->index, &guard);
        assert_int_equal(count, DATA_K);
        uint32_t number = 7;
        vd_id id = data_id(&number);
        OK(vd_hnsw_delete(w->index, &id, 1, NULL, NULL, err));
        data_add(w->d, w->index, number, number + 1, NULL);
    }
    return w->stop_after == 0 || w->calls < w->stop_after;
}

static void progress_rises_to_the_total(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_CLUSTERED, VD_METRIC_EUCLIDEAN, help_amount(4000, 1500), 5);
    for (int inside = 0; inside <= 1; inside++) {
        vd_hnsw *index = index_of(&d, VD_ENCODING_AUTO);
        data_add(&d, index, 0, d.count, threads());
        watch w = {.index = inside ? index : NULL, .d = &d};
        vd_optimize_options o = {threads(), watched, &w};
        OK(vd_hnsw_optimize(index, &o, err));
        assert_false(w.backwards || w.beyond);
        assert_true(w.calls > 3);
        assert_int_equal(w.done, w.total);
        assert_true(inside || w.total == d.count);
        assert_true(optimized(index) >= d.count - 1); /* one was replaced each time: at the end it may be new */
        help_check(index, "optimized under watch");
        check_contents(&d, index, 0, d.count);
        vd_hnsw_free(index);
    }
    data_free(&d);
}

static void stopped_it_goes_on_where_it_was(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_UNIFORM, VD_METRIC_EUCLIDEAN, help_amount(3000, 1500), 100);
    vd_hnsw *whole = index_of(&d, VD_ENCODING_F32), *parts = index_of(&d, VD_ENCODING_F32);
    data_add(&d, whole, 0, d.count, threads());
    data_add(&d, parts, 0, d.count, threads());
    OK(vd_hnsw_optimize(whole, NULL, err));
    uint64_t before = 0;
    uint32_t calls = 0;
    for (vd_status status = VD_CANCELLED; status == VD_CANCELLED; calls++) {
        assert_true(calls < 10000);
        watch w = {.stop_after = 1};
        vd_error error = {0};
        status = vd_hnsw_optimize(parts, &(vd_optimize_options){threads(), watched, &w}, &error);
        assert_int_equal(w.calls, 1);
        if (status == VD_CANCELLED) {
            assert_true(error.text[0] != 0);
            assert_true(w.done < w.total && w.done > before); /* it goes on, not again */
            assert_true(optimized(parts) > 0 && optimized(parts) < d.count);
        } else {
            assert_int_equal(status, VD_OK); /* the end is no longer stopped */
            assert_int_equal(w.done, w.total);
        }
        before = w.done;
        help_check(parts, "stopped");
    }
    assert_true(calls > 5);
    assert_int_equal(optimized(parts), d.count);
    assert_false(vd_hnsw_optimization_due(parts));
    /* in pieces or in one: the same graph */
    measured a = data_recall(&d, whole, &(vd_hnsw_search_options){.ef = 40});
    measured b = data_recall(&d, parts, &(vd_hnsw_search_options){.ef = 40});
    assert_true(a.distances == b.distances && a.recall == b.recall && a.visited == b.visited);
    vd_hnsw_free(whole);
    vd_hnsw_free(parts);
    data_free(&d);
}

/* ---- what is due ---- */

static void due_and_counted(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_CLUSTERED, VD_METRIC_COSINE, 4000, 10);
    vd_hnsw *index = index_of(&d, VD_ENCODING_AUTO);
    assert_false(vd_hnsw_optimization_due(index)); /* nothing there */
    OK(vd_hnsw_optimize(index, NULL, err));
    assert_int_equal(optimized(index), 0);
    data_add(&d, index, 0, 500, NULL);
    assert_false(vd_hnsw_optimization_due(index)); /* so few are scanned */
    data_add(&d, index, 500, 1000, NULL);
    assert_true(vd_hnsw_optimization_due(index));
    assert_int_equal(optimized(index), 0);
    optimize(index);
    assert_false(vd_hnsw_optimization_due(index));
    assert_int_equal(optimized(index), 1000);
    assert_true(vd_hnsw_calibration_due(index)); /* a pass changes what was measured */
    OK(vd_hnsw_calibrate(index, threads(), err));
    assert_false(vd_hnsw_calibration_due(index));

    data_add(&d, index, 1000, 1090, NULL); /* less than a tenth */
    assert_false(vd_hnsw_optimization_due(index));
    data_add(&d, index, 1090, 1150, NULL); /* more */
    assert_true(vd_hnsw_optimization_due(index));
    assert_int_equal(optimized(index), 1000);
    optimize(index); /* those that were added */
    assert_int_equal(optimized(index), 1150);
    assert_false(vd_hnsw_optimization_due(index));

    delete_range(index, 0, 300); /* deleting what was optimized takes it out of the count, and nothing else */
    assert_int_equal(optimized(index), 850);
    assert_false(vd_hnsw_optimization_due(index));
    data_add(&d, index, 300, 500, NULL); /* replaced: new nodes */
    assert_int_equal(optimized(index), 650);
    assert_true(vd_hnsw_optimization_due(index));
    optimize(index);
    assert_int_equal(optimized(index), 850);
    optimize(index); /* once more does no harm */
    assert_int_equal(optimized(index), 850);
    data_add(&d, index, 1150, 4000, threads());
    assert_true(vd_hnsw_optimization_due(index));
    optimize(index);
    assert_int_equal(optimized(index), 3700);
    help_check(index, "at the end");
    check_contents(&d, index, 300, 4000);
    delete_range(index, 300, 4000);
    assert_int_equal(optimized(index), 0);
    assert_false(vd_hnsw_optimization_due(index));
    help_check(index, "emptied");
    data_add(&d, index, 0, 1000, NULL); /* slots of before: nobody has been through it */
    assert_int_equal(optimized(index), 0);
    assert_true(vd_hnsw_optimization_due(index));
    vd_hnsw_free(index);
    data_free(&d);
}

/* Exact copies are not in the graph: they need no pass, and never make one due. A promoted one is new. */
static void copies_need_no_pass(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_COPIES, VD_METRIC_COSINE, 3000, 10);
    vd_hnsw *index = index_of(&d, VD_ENCODING_AUTO);
    data_add(&d, index, 0, d.count, threads());
    assert_true(vd_hnsw_optimization_due(index));
    optimize(index);
    uint64_t nodes = optimized(index);
    assert_true(nodes < d.count / 2);
    assert_false(vd_hnsw_optimization_due(index));
    delete_range(index, 0, 1); /* the first of the large group: a copy takes its place */
    assert_true(optimized(index) <= nodes);
    for (uint32_t i = 1; i < d.count; i++) {
        vd_id id = data_id(&i);
        OK(vd_hnsw_delete(index, &id, 1, NULL, NULL, err));
        if (i % 300 == 0) {
            help_check(index, "while copies go");
            assert_true(optimized(index) <= vd_hnsw_count(index));
        }
    }
    assert_int_equal(optimized(index), 0);
    vd_hnsw_free(index);
    data_free(&d);
}

/* An open pass is overtaken: everything in it goes and other items come into its slots. */
static void a_pass_that_is_overtaken(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_CLUSTERED, VD_METRIC_EUCLIDEAN, 4000, 50);
    vd_hnsw *index = index_of(&d, VD_ENCODING_AUTO);
    data_add(&d, index, 0, 2000, threads());
    watch w = {.stop_after = 3};
    assert_int_equal(vd_hnsw_optimize(index, &(vd_optimize_options){threads(), watched, &w}, NULL), VD_CANCELLED);
    delete_range(index, 0, 2000);
    assert_int_equal(optimized(index), 0);
    data_add(&d, index, 0, 4000, threads());
    assert_true(vd_hnsw_optimization_due(index));
    for (int i = 0; i < 3 && vd_hnsw_optimization_due(index); i++) { /* as whoever asks what is due would */
        optimize(index);
    }
    assert_false(vd_hnsw_optimization_due(index));
    help_check(index, "after a pass that was overtaken");
    double recall = data_recall(&d, index, &(vd_hnsw_search_options){.ef = 64}).recall;
    assert_true(recall >= 0.98);
    vd_hnsw_free(index);
    data_free(&d);
}

/* ---- beside other calls ---- */

enum { STEADY = 1500, RANGE = 600, HANDS = 5 };

typedef struct traffic {
    vd_hnsw *index;
    const data *d;
    fault_note note;
    _Atomic bool stop;
    _Atomic uint32_t passes, searches, writes;
    uint32_t rounds;
} traffic;

static void *write_on(void *arg) {
    traffic *t = arg;
    rng r = {99};
    for (uint32_t round = 0; round < t->rounds && !fault_any(&t->note); round++) {
        vd_hnsw_item items[20];
        vd_id ids[20];
        uint32_t numbers[20], n = 1 + rng_below(&r, 20);
        for (uint32_t i = 0; i < n; i++) {
            numbers[i] = STEADY + rng_below(&r, RANGE);
            ids[i] = data_id(&numbers[i]);
            items[i] = (vd_hnsw_item){ids[i], t->d->base + (size_t)numbers[i] * t->d->dimension, NULL};
        }
        vd_status status = rng_below(&r, 2) ? vd_hnsw_add(t->index, items, n, threads(), NULL)
                                            : vd_hnsw_delete(t->index, ids, n, threads(), NULL, NULL);
        if (status != VD_OK) {
            fault_put(&t->note, "a write beside the pass: %s", vd_status_name(status));
        }
        atomic_fetch_add(&t->writes, 1);
        sched_yield();
    }
    atomic_store(&t->stop, true);
    return NULL;
}

static void *search_on(void *arg) {
    traffic *t = arg;
    rng r = {(uint64_t)(uintptr_t)&r};
    while (!atomic_load(&t->stop) && !fault_any(&t->note)) {
        uint32_t number = rng_below(&r, STEADY);
        vd_hit hits[DATA_K];
        size_t count = 0;
        vd_hnsw_guard guard;
        vd_hnsw_enter(t->index, &guard);
        vd_status status = vd_hnsw_search(t->index, t->d->base + (size_t)number * t->d->dimension,
                                          &(vd_hnsw_search_options){.k = DATA_K, .ef = 20}, hits, &count, NULL, NULL);
        bool found = status == VD_OK && count == DATA_K && hits[0].distance == 0.0;
        bool own = false;
        for (size_t i = 0; i < count; i++) {
            own |= data_number(hits[i].id) == number;
        }
        vd_hnsw_leave(t->index, &guard);
        if (!found || !own) {
            fault_put(&t->note, "id %u, never touched, is not found beside the pass", number);
        }
        (void)vd_hnsw_optimization_due(t->index);
        atomic_fetch_add(&t->searches, 1);
    }
    return NULL;
}

static bool until_stopped(void *context, uint64_t done, uint64_t total) {
    traffic *t = context;
    if (done > total) {
        fault_put(&t->note, "progress: %" PRIu64 " of %" PRIu64, done, total);
    }
    return !atomic_load(&t->stop);
}

static void *optimize_on(void *arg) {
    traffic *t = arg;
    while (!atomic_load(&t->stop) && !fault_any(&t->note)) {
        vd_status status = vd_hnsw_optimize(t->index, &(vd_optimize_options){threads(), until_stopped, t}, NULL);
        if (status != VD_OK && status != VD_CANCELLED) {
            fault_put(&t->note, "a pass: %s", vd_status_name(status));
        }
        if (vd_hnsw_calibration_due(t->index) && atomic_load(&t->passes) % 4 == 0 &&
            vd_hnsw_calibrate(t->index, threads(), NULL) != VD_OK) {
            fault_put(&t->note, "calibrating beside the pass");
        }
        atomic_fetch_add(&t->passes, 1);
    }
    return NULL;
}

static void beside_writes_and_searches(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_CLUSTERED, VD_METRIC_COSINE, STEADY + RANGE, 20);
    traffic *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->d = &d;
    t->rounds = help_amount(400, 120) * help_rounds();
    t->index = index_of(&d, VD_ENCODING_AUTO);
    data_add(&d, t->index, 0, STEADY, threads());
    void *(*const jobs[HANDS])(void *) = {write_on, optimize_on, optimize_on, search_on,
                                          search_on}; /* two passes at a time */
    pthread_t hands[HANDS];
    for (int i = 0; i < HANDS; i++) {
        assert_int_equal(pthread_create(&hands[i], NULL, jobs[i], t), 0);
    }
    for (int i = 0; i < HANDS; i++) {
        pthread_join(hands[i], NULL);
    }
    fault_assert_none(&t->note);
    print_message("%u passes, %u writes, %u searches\n", atomic_load(&t->passes), atomic_load(&t->writes),
                  atomic_load(&t->searches));
    help_check(t->index, "after everything at once");
    assert_true(optimized(t->index) <= vd_hnsw_count(t->index));
    optimize(t->index);
    optimize(t->index);
    assert_int_equal(optimized(t->index), vd_hnsw_count(t->index)); /* no exact copies here */
    help_check(t->index, "after a last pass");
    vd_hnsw_free(t->index);
    free(t);
    data_free(&d);
}

int main(void) {
    const struct CMUnitTest beside[] = {
        cmocka_unit_test(beside_writes_and_searches),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_get_cheaper_and_no_worse),
        cmocka_unit_test(foreign_queries_lose_nothing),
        cmocka_unit_test(threads_make_no_difference),
        cmocka_unit_test(progress_rises_to_the_total),
        cmocka_unit_test(stopped_it_goes_on_where_it_was),
        cmocka_unit_test(due_and_counted),
        cmocka_unit_test(copies_need_no_pass),
        cmocka_unit_test(a_pass_that_is_overtaken),
    };
#if defined(__SANITIZE_THREAD__) /* one thread has no races: that takes minutes and finds nothing */
    (void)tests;
    int failed = 0;
#else
    int failed = cmocka_run_group_tests(tests, help_pool_up, help_pool_down);
#endif
    return failed + cmocka_run_group_tests(beside, help_pool_up, help_pool_down);
}
