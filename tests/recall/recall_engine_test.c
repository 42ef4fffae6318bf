/*
 * recall_engine_test.c - recall@10 of the engine's defaults on real embeddings: as built, after half of it went, rebuilt from a
 * snapshot. The packaged sample always; with VECTORD_BENCH_DATA=DIR the larger sets in that folder too (NAME-base.f16.npy,
 * NAME-queries.f16.npy, NAME-truth100.npy). Prints what a build and a query cost.
 */
#include <inttypes.h>
#include <time.h>

#include "base/executor.h"
#include "support/npy.h"
#include "unit/hnsw/engine_help.h"

enum { BATCH = 1000, K = 10, EXACT_QUERIES = 300 };
static const double TARGET = 0.95;

typedef struct data_set {
    const char *name;
    bool packaged;
    const char *base, *queries, *truth;
} data_set;

static const data_set sets[] = {
    {"packages-5k", true, "data/packages-5k/base.npy", "data/packages-5k/queries.npy", "data/packages-5k/truth10.npy"},
    {"packages-100k-384", false, "base.f16.npy", "queries.f16.npy", "truth100.npy"},
    {"packages-30k-768", false, "base.f16.npy", "queries.f16.npy", "truth100.npy"},
};
#define SETS (sizeof sets / sizeof sets[0])

static executor_pool *pool;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static npy_matrix load(const data_set *set, const char *file) {
    char path[4096];
    if (set->packaged) {
        snprintf(path, sizeof path, "%s/%s", VD_SOURCE_DIR, file);
    } else {
        snprintf(path, sizeof path, "%s/%s-%s", getenv("VECTORD_BENCH_DATA"), set->name, file);
    }
    npy_matrix m;
    OK(npy_load(path, &m, err));
    return m;
}

/* What an index is built from. Ids are row numbers as text. */
typedef struct source {
    const npy_matrix *base;
    vd_hnsw_snapshot *snapshot; /* instead of the base, when not NULL */
    size_t count;
} source;

static vd_hnsw *build(const source *from, uint32_t dimension) {
    static char ids[BATCH][VD_ID_MAX_BYTES];
    static vd_hnsw_item items[BATCH];
    float *vectors = malloc(sizeof *vectors * dimension * BATCH);
    assert_non_null(vectors);
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = dimension});
    OK(vd_hnsw_reserve(index, from->count, from->count * 8, err));
    for (size_t at = 0; at < from->count; at += BATCH) {
        size_t n = from->count - at < BATCH ? from->count - at : BATCH;
        for (size_t i = 0; i < n; i++) {
            float *v = vectors + i * dimension;
            int size;
            if (from->snapshot) {
                vd_hnsw_node node;
                vd_hnsw_snapshot_node(from->snapshot, at + i, &node);
                memcpy(ids[i], node.id.data, node.id.size);
                memcpy(v, node.vector, sizeof *v * dimension);
                size = (int)node.id.size;
            } else {
                size = snprintf(ids[i], sizeof ids[i], "%zu", at + i);
                memcpy(v, from->base->values + (at + i) * dimension, sizeof *v * dimension);
            }
            items[i] = (vd_hnsw_item){{ids[i], (uint32_t)size}, v, NULL};
        }
        OK(vd_hnsw_add(index, items, n, executor_pool_get(pool), err));
    }
    free(vectors);
    return index;
}

/* Against the stored truth: hits no further than its tenth row. */
static double recall_by_truth(const vd_hnsw *index, const npy_matrix *base, const npy_matrix *queries,
                              const npy_matrix *truth, double *per_second, double *distances) {
    uint32_t dimension = (uint32_t)base->columns;
    uint64_t good = 0, work = 0;
    double spent = 0;
    for (size_t q = 0; q < queries->rows; q++) {
        const float *query = queries->values + q * dimension;
        int32_t tenth = truth->whole[q * truth->columns + K - 1];
        double limit = oracle_distance(VD_METRIC_COSINE, query, base->values + (size_t)tenth * dimension, dimension);
        vd_hit hits[K];
        size_t count = 0;
        vd_search_info info;
        vd_hnsw_guard guard;
        double start = seconds();
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K}, hits, &count, &info, err));
        vd_hnsw_leave(index, &guard);
        spent += seconds() - start;
        work += info.distances;
        for (size_t i = 0; i < count; i++) {
            good += hits[i].distance <= limit;
        }
    }
    *per_second = (double)queries->rows / spent;
    *distances = (double)work / (double)queries->rows;
    return (double)good / (double)(queries->rows * K);
}

static void expect_target(double recall, const char *when) {
    if (recall < TARGET) {
        fail_msg("%s: recall@10 %.4f, at least %.2f is due", when, recall, TARGET);
    }
}

static void calibrated(vd_hnsw *index, const char *when, vd_hnsw_stats *stats) {
    help_check(index, when);
    OK(vd_hnsw_calibrate(index, executor_pool_get(pool), err));
    vd_hnsw_get_stats(index, stats);
}

static void delete_every_other(vd_hnsw *index, size_t count) {
    static char ids[BATCH][16];
    static vd_id list[BATCH];
    size_t n = 0;
    for (size_t i = 0; i < count; i += 2) {
        int size = snprintf(ids[n], sizeof ids[n], "%zu", i);
        list[n] = (vd_id){ids[n], (uint32_t)size};
        if (++n == BATCH || i + 2 >= count) {
            size_t deleted = 0;
            OK(vd_hnsw_delete(index, list, n, executor_pool_get(pool), &deleted, err));
            assert_int_equal(deleted, n);
            n = 0;
        }
    }
    assert_int_equal(vd_hnsw_count(index), count / 2);
}

static void defaults_reach_the_target(void **state) {
    const data_set *set = *state;
    if (!set->packaged && (!getenv("VECTORD_BENCH_DATA") || HELP_SANITIZED)) {
        print_message("SKIPPED: %s\n", HELP_SANITIZED ? "too slow under a sanitizer" : "VECTORD_BENCH_DATA is not set");
        skip();
    }
    npy_matrix base = load(set, set->base), queries = load(set, set->queries), truth = load(set, set->truth);
    assert_true(base.values && queries.values && truth.whole);
    assert_int_equal(base.columns, queries.columns);
    assert_int_equal(queries.rows, truth.rows);
    assert_true(truth.columns >= K && base.rows > 0);
    for (size_t i = 0; i < truth.rows * truth.columns; i++) {
        assert_true(truth.whole[i] >= 0 && (size_t)truth.whole[i] < base.rows);
    }
    uint32_t dimension = (uint32_t)base.columns;
    uint32_t exact_queries = queries.rows < EXACT_QUERIES ? (uint32_t)queries.rows : EXACT_QUERIES;

    double start = seconds();
    vd_hnsw *index = build(&(source){.base = &base, .count = base.rows}, dimension);
    double built = seconds();
    vd_hnsw_stats stats;
    calibrated(index, "built", &stats);
    double done = seconds(), per_second, distances;
    assert_int_equal(stats.items, base.rows);
    double recall = recall_by_truth(index, &base, &queries, &truth, &per_second, &distances);
    print_message("%s: built in %.1f s on %u threads, calibrated in %.1f s: ef %u, %s, measured %.4f\n", set->name,
                  built - start, executor_pool_get(pool)->width, done - built, stats.ef_effective,
                  stats.encoding == VD_ENCODING_SQ8 ? "codes" : "float32", stats.calibrated_recall);
    print_message("%s: recall@10 %.4f, %.0f queries a second on one thread, %.0f distances each, memory %.2f of raw\n",
                  set->name, recall, per_second, distances,
                  (double)stats.memory_bytes / ((double)base.rows * dimension * sizeof(float)));
    expect_target(recall, "built");

    start = seconds();
    delete_every_other(index, base.rows);
    done = seconds();
    calibrated(index, "half deleted", &stats);
    recall = help_recall(index, queries.values, exact_queries, dimension, 0);
    print_message("%s: half deleted in %.1f s, recall@10 %.4f at ef %u\n", set->name, done - start, recall,
                  stats.ef_effective);
    expect_target(recall, "half deleted");

    vd_hnsw_snapshot *snapshot = NULL;
    OK(vd_hnsw_snapshot_begin(index, &snapshot, err));
    assert_int_equal(vd_hnsw_snapshot_count(snapshot), base.rows / 2);
    vd_hnsw *again = build(&(source){.snapshot = snapshot, .count = base.rows / 2}, dimension);
    vd_hnsw_snapshot_end(snapshot);
    calibrated(again, "rebuilt", &stats);
    recall = help_recall(again, queries.values, exact_queries, dimension, 0);
    print_message("%s: rebuilt, recall@10 %.4f at ef %u\n", set->name, recall, stats.ef_effective);
    expect_target(recall, "rebuilt");

    vd_hnsw_free(again);
    vd_hnsw_free(index);
    npy_free(&base);
    npy_free(&queries);
    npy_free(&truth);
}

static int pool_up(void **state) {
    (void)state;
    return executor_pool_new(0, &pool) == VD_OK ? 0 : -1;
}

static int pool_down(void **state) {
    (void)state;
    executor_pool_free(pool);
    return 0;
}

int main(void) {
    struct CMUnitTest tests[SETS];
    for (size_t i = 0; i < SETS; i++) {
        tests[i] = (struct CMUnitTest){sets[i].name, defaults_reach_the_target, NULL, NULL, (void *)&sets[i]};
    }
    return cmocka_run_group_tests(tests, pool_up, pool_down);
}
