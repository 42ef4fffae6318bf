/*
 * search_options_test.c - what a search can be told (vd_hnsw_search_options) and what it tells (vd_search_info): a target of recall or
 * a pool's size, exactness, k of any size, budgets and cancelling, and the same for many queries in one call.
 *
 * Distances are counted, so all of this is deterministic and nothing here depends on time.
 */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>

#include "data_help.h"

enum { SLACK = 1024, WIDTHS = 3 };

static executor_pool *pools[WIDTHS]; /* of 1, 2, 5 threads */
static data clustered, uniform;

static const vd_executor *executor_of(int which) {
    return executor_pool_get(pools[which]);
}

static vd_hnsw *index_of(const data *d, vd_encoding encoding) {
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = d->dimension, .metric = d->metric, .encoding = encoding});
    data_add(d, index, 0, d->count, executor_of(1));
    return index;
}

static const float *row_of(const data *d, uint32_t number) {
    return d->base + (size_t)number * d->dimension;
}
static const float *query_of(const data *d, uint32_t number) {
    return d->query + (size_t)number * d->dimension;
}

/* Valid, in order, at the oracle's distances: what every answer owes, however early it ended. */
static void check_hits(const data *d, const float *query, const vd_hit *hits, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t number = data_number(hits[i].id);
        assert_true(number < d->count);
        assert_true(same_bits(hits[i].distance, oracle_distance(d->metric, query, row_of(d, number), d->dimension)));
        if (i) {
            bool ordered = hits[i - 1].distance < hits[i].distance || (hits[i - 1].distance == hits[i].distance &&
                                                                       oracle_id_order(hits[i - 1].id, hits[i].id) < 0);
            assert_true(ordered);
        }
    }
}

/* The figures of a search agree with one another. */
static void check_info(const data *d, const vd_search_info *info) {
    bool scan = info->plan == VD_PLAN_SCAN || info->plan == VD_PLAN_FILTER_SCAN;
    assert_true(info->refined + info->reranked <= info->distances);
    assert_int_equal(info->exact, scan && !info->truncated);
    assert_int_equal(info->ef == 0, scan);
    if (info->plan == VD_PLAN_SCAN && !info->truncated) {
        assert_int_equal(info->visited, 0);
        assert_true(info->distances >= d->count);
    }
    if (info->plan == VD_PLAN_WALK) {
        assert_true(info->visited > 0);
    }
}

static size_t search(const data *d, const vd_hnsw *index, const float *query, const vd_hnsw_search_options *options,
                     vd_hit *hits, vd_search_info *info) {
    size_t count = 999;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    OK(vd_hnsw_search(index, query, options, hits, &count, info, err));
    check_hits(d, query, hits, count);
    vd_hnsw_leave(index, &guard);
    check_info(d, info);
    return count;
}

static void expect_refused(const vd_hnsw *index, const data *d, const vd_hnsw_search_options *options,
                           const char *field, const char *text) {
    vd_hit hits[DATA_K];
    size_t count = 77;
    vd_error error = {0};
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    assert_int_equal(vd_hnsw_search(index, d->query, options, hits, &count, NULL, &error), VD_INVALID_ARGUMENT);
    assert_string_equal(error.field, field);
    assert_string_equal(error.text, text);
    assert_int_equal(vd_hnsw_search(index, d->query, options, hits, &count, NULL, NULL), VD_INVALID_ARGUMENT);
    error = (vd_error){0};
    assert_int_equal(vd_hnsw_search_batch(index, d->query, 2, options, NULL, hits, &count, NULL, &error),
                     VD_INVALID_ARGUMENT);
    assert_string_equal(error.field, field);
    assert_int_equal(count, 77);
    vd_hnsw_leave(index, &guard);
}

/* ---- how far to look ---- */

static void a_target_is_checked(void **state) {
    (void)state;
    const char *range = "recall_target must be above 0 and at most 1", *both = "give ef or recall_target, not both";
    vd_hnsw *index = index_of(&clustered, VD_ENCODING_AUTO);
    const double bad[] = {-0.1, -1e-300, 1.0000001, 2.0, (double)INFINITY, (double)-INFINITY, (double)NAN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        expect_refused(index, &clustered, &(vd_hnsw_search_options){.k = DATA_K, .recall_target = bad[i]},
                       "recall_target", range);
        expect_refused(index, &clustered, &(vd_hnsw_search_options){.k = DATA_K, .recall_target = bad[i], .ef = 10},
                       "recall_target", range);
    }
    expect_refused(index, &clustered, &(vd_hnsw_search_options){.k = DATA_K, .recall_target = 0.9, .ef = 10}, "ef",
                   both);
    expect_refused(index, &clustered, &(vd_hnsw_search_options){.k = DATA_K, .recall_target = 1e-300, .ef = 1}, "ef",
                   both);
    const double good[] = {1e-300, 0.5, 1.0};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        vd_hit hits[DATA_K];
        vd_search_info info;
        assert_int_equal(search(&clustered, index, clustered.query,
                                &(vd_hnsw_search_options){.k = DATA_K, .recall_target = good[i]}, hits, &info),
                         DATA_K);
    }
    vd_hnsw_free(index);
}

static void a_higher_target_looks_no_less_far(void **state) {
    (void)state;
    const double targets[] = {0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0};
    const data *const sets[] = {&clustered, &uniform};
    for (size_t s = 0; s < 2; s++) {
        const data *d = sets[s];
        vd_hnsw *index = index_of(d, VD_ENCODING_AUTO);
        for (int calibrated = 0; calibrated <= 1; calibrated++) {
            measured before = {0}, now = {0};
            for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
                now = data_recall(d, index, &(vd_hnsw_search_options){.recall_target = targets[i]});
                if (getenv("VECTORD_TEST_PRINT")) {
                    print_message("%s, %s: target %.3f: recall %.4f, %.0f distances\n", d->name,
                                  calibrated ? "calibrated" : "fresh", targets[i], now.recall, now.distances);
                }
                assert_true(now.distances >= before.distances);
                assert_true(!calibrated || now.recall + 0.001 >= before.recall);
                if (calibrated && targets[i] <= 0.995) { /* what it promises, on queries like the data */
                    assert_true(now.recall >= targets[i] - 0.01);
                }
                before = now;
            }
            OK(vd_hnsw_calibrate(index, executor_of(1), err));
        }
        /* the index's own target is what a search without one aims at */
        measured own = data_recall(d, index, &(vd_hnsw_search_options){.ef = 0});
        measured said = data_recall(d, index, &(vd_hnsw_search_options){.recall_target = VD_RECALL_TARGET_DEFAULT});
        assert_true(own.distances == said.distances && own.recall == said.recall);
        vd_hnsw_free(index);
    }
}

static void ef_is_the_pool(void **state) {
    (void)state;
    const data *const sets[] = {&clustered, &uniform};
    const vd_encoding encodings[] = {VD_ENCODING_AUTO, VD_ENCODING_F32, VD_ENCODING_SQ4};
    for (size_t s = 0; s < 6; s++) {
        const data *d = sets[s % 2];
        vd_hnsw *index = index_of(d, encodings[s / 2]);
        double before = 0;
        for (uint32_t ef = 10; ef <= 400; ef += ef < 50 ? 10 : 70) {
            vd_hit hits[DATA_K];
            vd_search_info info;
            vd_hnsw_search_options options = {.k = DATA_K, .ef = ef};
            search(d, index, d->query, &options, hits, &info);
            assert_int_equal(info.ef, ef);
            assert_int_equal(info.plan, VD_PLAN_WALK);
            measured now = data_recall(d, index, &options);
            assert_true(now.distances > before);
            before = now.distances;
        }
        if (encodings[s / 2] != VD_ENCODING_AUTO) { /* given, it does not depend on what was calibrated */
            double fresh = data_recall(d, index, &(vd_hnsw_search_options){.ef = 100}).distances;
            OK(vd_hnsw_calibrate(index, executor_of(1), err));
            assert_true(data_recall(d, index, &(vd_hnsw_search_options){.ef = 100}).distances == fresh);
        }
        vd_hnsw_free(index);
    }
}

/* ---- exact ---- */

typedef struct ranked {
    double distance;
    uint32_t number;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return oracle_id_order(data_id(&x->number), data_id(&y->number));
}

static void rank_all(const data *d, const float *query, ranked *all) {
    for (uint32_t i = 0; i < d->count; i++) {
        all[i] = (ranked){oracle_distance(d->metric, query, row_of(d, i), d->dimension), i};
    }
    qsort(all, d->count, sizeof *all, by_rank);
}

/* By codes first, and exactly only what could be an answer: on data that codes rank badly too, nothing is lost. */
static void exact_is_brute_force(void **state) {
    (void)state;
    const data_kind kinds[] = {DATA_CLUSTERED, DATA_UNIFORM, DATA_GRID,   DATA_OFFSET, DATA_DOMINANT,    DATA_NEAR,
                               DATA_NORMS,     DATA_D2,      DATA_SPARSE, DATA_COPIES, DATA_FAR_CLUSTERS};
    const vd_encoding encodings[] = {VD_ENCODING_AUTO, VD_ENCODING_F32, VD_ENCODING_SQ8,
                                     VD_ENCODING_SQ4,  VD_ENCODING_F16, VD_ENCODING_BF16};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
            data d;
            data_make(&d, kinds[i], (vd_metric)metric, help_amount(1500, 700), 12);
            ranked *all = malloc(sizeof *all * d.count);
            assert_non_null(all);
            vd_encoding encoding = encodings[(i + (size_t)metric) % 6];
            vd_hnsw *index = index_of(&d, encoding);
            for (uint32_t q = 0; q < d.queries + 4; q++) { /* and stored vectors as queries */
                const float *query = q < d.queries ? query_of(&d, q) : row_of(&d, q * 7);
                uint32_t k = q % 3 == 0 ? 1 : q % 3 == 1 ? DATA_K : 300;
                vd_hit hits[300];
                vd_search_info info;
                rank_all(&d, query, all);
                assert_int_equal(
                    search(&d, index, query, &(vd_hnsw_search_options){.k = k, .exact = true}, hits, &info), k);
                assert_int_equal(info.plan, VD_PLAN_SCAN);
                for (uint32_t j = 0; j < k; j++) {
                    if (data_number(hits[j].id) != all[j].number) {
                        fail_msg("%s, metric %d, %s: hit %u of query %u is %u at %.17g, not %u at %.17g", d.name,
                                 metric, vd_encoding_name(encoding), j, q, data_number(hits[j].id), hits[j].distance,
                                 all[j].number, all[j].distance);
                    }
                }
            }
            vd_hnsw_free(index);
            free(all);
            data_free(&d);
        }
    }
}

/* ---- k ---- */

static void any_k(void **state) {
    (void)state;
    const data *d = &clustered;
    static vd_hit hits[20000];
    vd_search_info info;
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = d->dimension, .metric = d->metric});
    const uint32_t ks[] = {0, 1, 2, 9, 10, 11, 100, 500, 1000, 5000};
    const uint32_t sizes[] = {0, 1, 2, 10, 500, 520, 2000};
    uint32_t there = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        data_add(d, index, there, sizes[s], NULL);
        there = sizes[s];
        for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
            uint32_t k = ks[i] ? ks[i] : VD_K_DEFAULT;
            for (int exact = 0; exact <= 1; exact++) {
                size_t count = 999;
                vd_hnsw_guard guard;
                vd_hnsw_search_options options = {.k = ks[i], .exact = exact};
                vd_hnsw_enter(index, &guard);
                OK(vd_hnsw_search(index, d->query, &options, hits, &count, &info, err));
                assert_int_equal(count, there < k ? there : k);
                check_hits(d, d->query, hits, count);
                OK(vd_hnsw_search_batch(index, d->query, 2, &options, executor_of(1), hits, (size_t[2]){0}, NULL, err));
                vd_hnsw_leave(index, &guard);
                assert_int_equal(info.exact, info.plan == VD_PLAN_SCAN);
                assert_true(info.plan == VD_PLAN_SCAN || (there > 512 && k < there && !exact));
            }
        }
    }
    vd_hnsw_free(index);
}

/* More than any pool holds: min(k, items) all the same. */
static void k_beyond_any_pool(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_D8, VD_METRIC_EUCLIDEAN, help_amount(10000, 9000), 2);
    static vd_hit hits[10000];
    vd_search_info info;
    vd_hnsw *index =
        help_new(&(vd_hnsw_options){.dimension = d.dimension, .metric = d.metric, .m = 6, .ef_construction = 30});
    data_add(&d, index, 0, d.count, executor_of(1));
    const uint32_t ks[] = {4000, 8000, 8192, 8193, 8500, 9000, 10000};
    for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
        size_t wanted = ks[i] < d.count ? ks[i] : d.count;
        size_t count = search(&d, index, d.query, &(vd_hnsw_search_options){.k = ks[i]}, hits, &info);
        if (count != wanted) {
            fail_msg("k %u of %u items: %zu hits", ks[i], d.count, count);
        }
    }
    vd_hnsw_free(index);
    data_free(&d);
}

/* ---- budgets and cancelling ---- */

/* An answer that was ended early: what it found is right, and it says so. */
static void check_ended(const data *d, const vd_hnsw *index, const float *query, const vd_hnsw_search_options *options,
                        const char *what) {
    static vd_hit hits[2000];
    vd_search_info info;
    size_t count = search(d, index, query, options, hits, &info);
    uint32_t k = options->k;
    uint64_t most = (options->max_distances ? options->max_distances : 0) + SLACK;
    if (info.truncated) {
        assert_false(info.exact);
        assert_true(count <= k);
    } else {
        assert_int_equal(count, d->count < k ? d->count : k);
    }
    if (info.distances > most) {
        fail_msg("%s: %" PRIu64 " distances, at most %" PRIu64 " are allowed (k %u, ef %u, plan %d, %" PRIu64
                 " refined, %" PRIu64 " reranked)",
                 what, info.distances, most, k, options->ef, (int)info.plan, info.refined, info.reranked);
    }
}

static bool accept_half(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)context;
    (void)slot;
    (void)payload;
    return mix64(data_number(id)) % 2 == 0;
}

static void budgets_are_kept(void **state) {
    (void)state;
    const vd_encoding encodings[] = {VD_ENCODING_F32, VD_ENCODING_SQ8, VD_ENCODING_SQ4};
    const uint64_t budgets[] = {1, 2, 10, 100, 300, 1000, 2000, 4000, 10000};
    vd_filter half = {.accept = accept_half};
    for (size_t e = 0; e < 3; e++) {
        const data *d = e == 1 ? &clustered : &uniform;
        vd_hnsw *index = index_of(d, encodings[e]);
        for (size_t b = 0; b < sizeof budgets / sizeof budgets[0]; b++) {
            for (uint32_t q = 0; q < 6; q++) {
                vd_hnsw_search_options o = {.k = DATA_K, .max_distances = budgets[b]};
                const float *query = q < 5 ? query_of(d, q) : row_of(d, 77);
                check_ended(d, index, query, &o, "by the default target");
                o.exact = true;
                check_ended(d, index, query, &o, "exact");
                o.exact = false;
                o.ef = 400;
                check_ended(d, index, query, &o, "ef 400");
                o.k = 100;
                check_ended(d, index, query, &o, "ef 400, k 100");
                o.filter = &half;
                o.k = DATA_K;
                vd_hit hits[DATA_K];
                vd_search_info info;
                search(d, index, query, &o, hits, &info);
                assert_true(info.distances <= budgets[b] + SLACK);
            }
        }
        /* enough of a budget is as good as none */
        vd_hit free_hits[DATA_K], hits[DATA_K];
        vd_search_info free_info, info;
        search(d, index, d->query, &(vd_hnsw_search_options){.k = DATA_K}, free_hits, &free_info);
        search(d, index, d->query, &(vd_hnsw_search_options){.k = DATA_K, .max_distances = free_info.distances + 1},
               hits, &info);
        assert_false(info.truncated);
        assert_int_equal(info.distances, free_info.distances);
        assert_int_equal(info.visited, free_info.visited);
        for (int i = 0; i < DATA_K; i++) {
            assert_int_equal(hits[i].slot, free_hits[i].slot);
        }
        vd_hnsw_free(index);
    }
}

/* Ordering a long answer is work too. */
static void budgets_with_long_answers(void **state) {
    (void)state;
    const vd_encoding encodings[] = {VD_ENCODING_F32, VD_ENCODING_SQ4};
    vd_filter half = {.accept = accept_half};
    data d;
    data_make(&d, DATA_D8, VD_METRIC_EUCLIDEAN, 12000, 2);
    for (size_t e = 0; e < 2; e++) {
        vd_hnsw *index = help_new(&(vd_hnsw_options){
            .dimension = d.dimension, .metric = d.metric, .m = 6, .ef_construction = 30, .encoding = encodings[e]});
        data_add(&d, index, 0, d.count, executor_of(1));
        for (uint64_t budget = 500; budget <= 4000; budget += 500) {
            vd_hnsw_search_options o = {.k = 1000, .max_distances = budget};
            check_ended(&d, index, d.query, &o, "k 1,000");
            o.k = 2000;
            check_ended(&d, index, d.query, &o, "k 2,000");
            o = (vd_hnsw_search_options){.k = 10, .ef = 4000, .max_distances = budget};
            check_ended(&d, index, d.query, &o, "ef 4,000");
            vd_hit hits[DATA_K];
            vd_search_info info;
            o.filter = &half;
            search(&d, index, d.query, &o, hits, &info);
            if (info.distances > budget + SLACK) {
                fail_msg("a filter, ef 4,000, budget %" PRIu64 ": %" PRIu64 " distances", budget, info.distances);
            }
        }
        vd_hnsw_free(index);
    }
    data_free(&d);
}

static void cancelled_before_it_begins(void **state) {
    (void)state;
    const int stop = 1, go = 0;
    const vd_encoding encodings[] = {VD_ENCODING_F32, VD_ENCODING_SQ8, VD_ENCODING_SQ4};
    for (size_t e = 0; e < 3; e++) {
        const data *d = &uniform;
        vd_hnsw *index = index_of(d, encodings[e]);
        vd_hit hits[DATA_K];
        vd_search_info info;
        for (int exact = 0; exact <= 1; exact++) {
            check_ended(d, index, d->query, &(vd_hnsw_search_options){.k = DATA_K, .exact = exact, .cancel = &stop},
                        "cancelled");
            search(d, index, d->query, &(vd_hnsw_search_options){.k = DATA_K, .exact = exact, .cancel = &stop}, hits,
                   &info);
            assert_true(info.truncated && info.distances <= SLACK);
            search(d, index, d->query, &(vd_hnsw_search_options){.k = DATA_K, .exact = exact, .cancel = &go}, hits,
                   &info);
            assert_false(info.truncated);
            /* an item is found by its own vector even so: that takes no walk */
            const float *own = row_of(d, 321);
            size_t n = search(d, index, own, &(vd_hnsw_search_options){.k = 1, .ef = 1, .cancel = &stop}, hits, &info);
            assert_true(n == 1 && hits[0].distance == 0.0);
        }
        /* every query of a batch */
        size_t counts[20];
        vd_search_info infos[20];
        vd_hit many[20 * DATA_K];
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search_batch(index, d->query, 20, &(vd_hnsw_search_options){.k = DATA_K, .cancel = &stop},
                                executor_of(1), many, counts, infos, err));
        for (int i = 0; i < 20; i++) {
            assert_true(infos[i].truncated && infos[i].distances <= SLACK && counts[i] <= DATA_K);
        }
        vd_hnsw_leave(index, &guard);
        vd_hnsw_free(index);
    }
}

typedef struct stopper {
    int cancel;
    uint32_t calls, stop_at;
    uint32_t percent; /* that match */
} stopper;

static bool accept_and_stop(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)slot;
    (void)payload;
    stopper *s = context;
    if (++s->calls == s->stop_at) {
        __atomic_store_n(&s->cancel, 1, __ATOMIC_RELAXED);
    }
    return mix64(data_number(id)) % 100 < s->percent;
}

/* From the filter's own call, so at an exact place: a search ends within 1,024 distances of it. */
static void cancelled_from_a_filter(void **state) {
    (void)state;
    data d;
    data_make(&d, DATA_UNIFORM, VD_METRIC_EUCLIDEAN, 6000, 4);
    vd_hnsw *index = index_of(&d, VD_ENCODING_AUTO);
    for (int way = 0; way < 3; way++) { /* scanned, walked, walked by hops */
        bool exact = way == 0;
        stopper count_only = {.stop_at = UINT32_MAX, .percent = way == 2 ? 37 : 90};
        vd_filter filter = {.accept = accept_and_stop, .context = &count_only};
        vd_hit hits[DATA_K];
        vd_search_info whole, info;
        vd_hnsw_search_options o = {.k = DATA_K, .ef = exact ? 0 : 800, .exact = exact, .filter = &filter};
        search(&d, index, d.query, &o, hits, &whole);
        assert_true(count_only.calls > 100 && !whole.truncated);
        for (uint32_t part = 1; part <= 8; part++) {
            stopper s = {.stop_at = count_only.calls * part / 9, .percent = count_only.percent};
            filter.context = &s;
            o.cancel = &s.cancel;
            search(&d, index, d.query, &o, hits, &info);
            assert_true(s.calls >= s.stop_at);
            assert_true(info.distances <= whole.distances + SLACK);
            if (exact) { /* a call for every item, a distance for nine of ten */
                assert_true(info.truncated);
                assert_true(s.calls <= s.stop_at + SLACK);
            }
        }
        o.cancel = NULL;
    }
    vd_hnsw_free(index);
    data_free(&d);
}

static void *set_flag(void *arg) {
    __atomic_store_n((int *)arg, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* By another thread, sooner or later: all that may happen is an early or a whole answer. */
static void cancelled_by_another_thread(void **state) {
    (void)state;
    vd_hnsw *index = index_of(&uniform, VD_ENCODING_AUTO);
    uint32_t early = 0, rounds = help_amount(200, 60) * help_rounds();
    for (uint32_t i = 0; i < rounds; i++) {
        int cancel = 0;
        pthread_t thread;
        vd_hit hits[DATA_K];
        vd_search_info info;
        assert_int_equal(pthread_create(&thread, NULL, set_flag, &cancel), 0);
        uint32_t q = i % uniform.queries;
        size_t count = search(
            &uniform, index, query_of(&uniform, q),
            &(vd_hnsw_search_options){.k = DATA_K, .ef = i % 2 ? 1000 : 0, .exact = i % 2 == 0, .cancel = &cancel},
            hits, &info);
        assert_true(info.truncated || count == DATA_K);
        early += info.truncated;
        pthread_join(thread, NULL);
    }
    print_message("%u of %u searches were ended early\n", early, rounds);
    vd_hnsw_free(index);
}

/* ---- many queries in one call ---- */

static void batches_equal_single_calls(void **state) {
    (void)state;
    const vd_encoding encodings[] = {VD_ENCODING_F32, VD_ENCODING_SQ4, VD_ENCODING_AUTO};
    const vd_hnsw_search_options asked[] = {{.k = DATA_K},
                                            {.k = 0, .ef = 50},
                                            {.k = 3, .recall_target = 0.99},
                                            {.k = 20, .exact = true},
                                            {.k = DATA_K, .max_distances = 300},
                                            {.k = 200, .ef = 17}};
    enum { MOST = 200, MOST_K = 200 };
    static vd_hit together[MOST * MOST_K], alone[MOST * MOST_K];
    static size_t counts[MOST], single[MOST];
    static vd_search_info infos[MOST], single_infos[MOST];
    for (size_t e = 0; e < 3; e++) {
        const data *d = &clustered;
        vd_hnsw *index = index_of(d, encodings[e]);
        if (e > 0) {
            OK(vd_hnsw_calibrate(index, executor_of(1), err));
        }
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        for (size_t o = 0; o < sizeof asked / sizeof asked[0]; o++) {
            uint32_t k = asked[o].k ? asked[o].k : VD_K_DEFAULT;
            for (uint32_t q = 0; q < MOST; q++) {
                OK(vd_hnsw_search(index, query_of(d, q), &asked[o], alone + (size_t)q * k, &single[q], &single_infos[q],
                                  err));
            }
            for (uint32_t count = 1; count <= MOST; count += count < 8 ? 1 : 64) {
                count = count > 136 ? MOST : count;
                for (int width = -1; width < WIDTHS; width++) {
                    const vd_executor *executor = width < 0 ? NULL : executor_of(width);
                    memset(infos, 0x55, sizeof infos);
                    memset(counts, 0x55, sizeof counts);
                    OK(vd_hnsw_search_batch(index, d->query, count, &asked[o], executor, together, counts,
                                            width == 1 ? NULL : infos, err));
                    for (uint32_t q = 0; q < count; q++) {
                        assert_int_equal(counts[q], single[q]);
                        for (size_t i = 0; i < counts[q]; i++) {
                            const vd_hit *a = &alone[(size_t)q * k + i], *b = &together[(size_t)q * k + i];
                            assert_true(same_bits(a->distance, b->distance) && a->slot == b->slot);
                            assert_true(a->id.data == b->id.data && a->id.size == b->id.size);
                            assert_ptr_equal(a->payload, b->payload);
                        }
                        if (width != 1) {
                            assert_int_equal(infos[q].ef, single_infos[q].ef);
                            assert_int_equal(infos[q].visited, single_infos[q].visited);
                            assert_int_equal(infos[q].distances, single_infos[q].distances);
                            assert_int_equal(infos[q].refined, single_infos[q].refined);
                            assert_int_equal(infos[q].reranked, single_infos[q].reranked);
                            assert_int_equal(infos[q].plan, single_infos[q].plan);
                            assert_int_equal(infos[q].exact, single_infos[q].exact);
                            assert_int_equal(infos[q].truncated, single_infos[q].truncated);
                        }
                    }
                }
            }
        }
        vd_hnsw_leave(index, &guard);
        vd_hnsw_free(index);
    }
}

static void a_batch_names_the_bad_query(void **state) {
    (void)state;
    enum { COUNT = 50 };
    const data *d = &clustered;
    vd_hnsw *index = index_of(d, VD_ENCODING_AUTO);
    float *queries = malloc(sizeof *queries * d->dimension * COUNT);
    assert_non_null(queries);
    vd_hit hits[COUNT * DATA_K];
    size_t counts[COUNT];
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t bad = 0; bad < COUNT; bad += 7) {
        memcpy(queries, d->query, sizeof *queries * d->dimension * COUNT);
        memset(counts, 0x11, sizeof counts);
        queries[(size_t)bad * d->dimension + 5] = (float)NAN;
        memset(queries + (size_t)(bad + 1 < COUNT ? bad + 1 : bad) * d->dimension, 0,
               bad + 1 < COUNT ? sizeof *queries * d->dimension : 0); /* the first bad one is named */
        char field[32], text[64];
        snprintf(field, sizeof field, "queries[%u]", bad);
        snprintf(text, sizeof text, "queries[%u]: vector[5] is not finite", bad);
        for (int width = -1; width < WIDTHS; width++) {
            vd_error error = {0};
            const vd_executor *executor = width < 0 ? NULL : executor_of(width);
            vd_hnsw_search_options o = {.k = DATA_K};
            assert_int_equal(vd_hnsw_search_batch(index, queries, COUNT, &o, executor, hits, counts, NULL, &error),
                             VD_INVALID_ARGUMENT);
            assert_string_equal(error.field, field);
            assert_string_equal(error.text, text);
            assert_int_equal(vd_hnsw_search_batch(index, queries, COUNT, &o, executor, hits, counts, NULL, NULL),
                             VD_INVALID_ARGUMENT);
            assert_true(counts[0] == (size_t)0x1111111111111111ull); /* not even begun */
        }
    }
    OK(vd_hnsw_search_batch(index, queries, 0, &(vd_hnsw_search_options){.k = DATA_K}, executor_of(1), hits, counts,
                            NULL, err));
    OK(vd_hnsw_search_batch(index, NULL, 0, &(vd_hnsw_search_options){.k = DATA_K}, NULL, NULL, NULL, NULL, err));
    vd_hnsw_leave(index, &guard);
    free(queries);
    vd_hnsw_free(index);
}

static void batches_of_an_empty_index(void **state) {
    (void)state;
    const data *d = &clustered;
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = d->dimension, .metric = d->metric});
    vd_hit hits[20 * DATA_K];
    size_t counts[20];
    vd_search_info infos[20];
    for (uint32_t items = 0; items < 3; items++) {
        data_add(d, index, items ? items - 1 : 0, items, NULL);
        memset(counts, 0x55, sizeof counts);
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search_batch(index, d->query, 20, &(vd_hnsw_search_options){.k = DATA_K}, executor_of(2), hits,
                                counts, infos, err));
        for (int i = 0; i < 20; i++) {
            assert_int_equal(counts[i], items);
            assert_int_equal(infos[i].plan, VD_PLAN_SCAN);
            assert_true(infos[i].exact);
        }
        vd_hnsw_leave(index, &guard);
    }
    vd_hnsw_free(index);
}

/* ---- the process ---- */

static int set_up(void **state) {
    (void)state;
    static const uint32_t widths[WIDTHS] = {1, 2, 5};
    for (int i = 0; i < WIDTHS; i++) {
        if (executor_pool_new(widths[i], &pools[i]) != VD_OK) {
            return -1;
        }
    }
    data_make(&clustered, DATA_CLUSTERED, VD_METRIC_COSINE, 3000, 200);
    data_make(&uniform, DATA_UNIFORM, VD_METRIC_EUCLIDEAN, 3000, help_amount(100, 30));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    data_free(&clustered);
    data_free(&uniform);
    for (int i = 0; i < WIDTHS; i++) {
        executor_pool_free(pools[i]);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest beside[] = {
        cmocka_unit_test(cancelled_by_another_thread),
        cmocka_unit_test(a_batch_names_the_bad_query),
        cmocka_unit_test(batches_of_an_empty_index),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_is_checked),
        cmocka_unit_test(a_higher_target_looks_no_less_far),
        cmocka_unit_test(ef_is_the_pool),
        cmocka_unit_test(exact_is_brute_force),
        cmocka_unit_test(any_k),
        cmocka_unit_test(k_beyond_any_pool),
        cmocka_unit_test(budgets_are_kept),
        cmocka_unit_test(budgets_with_long_answers),
        cmocka_unit_test(cancelled_before_it_begins),
        cmocka_unit_test(cancelled_from_a_filter),
        cmocka_unit_test(batches_equal_single_calls),
    };
#if defined(__SANITIZE_THREAD__) /* one thread has no races: that takes minutes and finds nothing */
    (void)tests;
    int failed = 0;
#else
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
#endif
    return failed + cmocka_run_group_tests(beside, set_up, tear_down);
}
