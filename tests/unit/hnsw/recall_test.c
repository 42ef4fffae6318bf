/*
 * recall_test.c - recall@10 of the defaults, on data of several shapes: fresh, after half of it went, after rounds of churn, and
 * under deletes that are meant to hurt. Recall counts hits no further than the exact tenth, so ties cannot hide or fake a loss.
 * Nothing may become unreachable, ever, and memory must not creep.
 */
#include <inttypes.h>

#include "engine_help.h"

enum { DIMENSION = 32, QUERIES = 150, BATCH = 500 };

static uint32_t items_of(void) {
    return help_amount(4000, 1500);
}

typedef struct data_set {
    const char *name;
    vd_metric metric;
    shape kind;
    uint32_t equal_percent; /* copies of vectors before them */
    uint32_t equal_group;   /* so many copies of one vector */
    bool sorted;            /* by the first coordinate */
    bool churn;
} data_set;

static const data_set sets[] = {
    {"clustered, cosine", VD_METRIC_COSINE, SHAPE_CLUSTERED, 0, 0, false, true},
    {"clustered, euclidean", VD_METRIC_EUCLIDEAN, SHAPE_CLUSTERED, 0, 0, false, false},
    {"uniform, cosine", VD_METRIC_COSINE, SHAPE_UNIFORM, 0, 0, false, false},
    {"uniform, euclidean", VD_METRIC_EUCLIDEAN, SHAPE_UNIFORM, 0, 0, false, true},
    {"grid, euclidean", VD_METRIC_EUCLIDEAN, SHAPE_GRID, 0, 0, false, false},
    {"30 % copies, cosine", VD_METRIC_COSINE, SHAPE_CLUSTERED, 30, 0, false, true},
    {"2,000 equal vectors, euclidean", VD_METRIC_EUCLIDEAN, SHAPE_CLUSTERED, 0, 2000, false, false},
    {"sorted, euclidean", VD_METRIC_EUCLIDEAN, SHAPE_CLUSTERED, 0, 0, true, false},
    {"far beyond its spread, euclidean", VD_METRIC_EUCLIDEAN, SHAPE_OFFSET, 0, 0, false, false},
    {"far beyond its spread, cosine", VD_METRIC_COSINE, SHAPE_OFFSET, 0, 0, false, false},
};
#define SETS (sizeof sets / sizeof sets[0])
enum { UNIFORM = 3 }; /* place in `sets` */

static int by_first(const void *a, const void *b) {
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static float *make_items(const data_set *set, rng *r, uint32_t count) {
    float *vectors = malloc(sizeof *vectors * DIMENSION * count);
    assert_non_null(vectors);
    data_fill(r, set->kind, vectors, count, DIMENSION);
    for (uint32_t i = 1; i < count; i++) {
        uint32_t group = set->equal_group < count / 2 ? set->equal_group : count / 2;
        bool copy = set->equal_percent && rng_below(r, 100) < set->equal_percent;
        if (copy || (group && i % 2 && i / 2 < group)) {
            const float *from = copy ? vectors + (size_t)rng_below(r, i) * DIMENSION : vectors;
            memcpy(vectors + (size_t)i * DIMENSION, from, sizeof *vectors * DIMENSION);
        }
    }
    if (set->sorted) {
        qsort(vectors, count, sizeof *vectors * DIMENSION, by_first);
    }
    return vectors;
}

static vd_id number_id(const uint32_t *number) {
    return (vd_id){(const char *)number, sizeof *number};
}

/* Adds the vectors under the given numbers, in batches. */
static void add_all(vd_hnsw *index, const uint32_t *numbers, const float *vectors, uint32_t count) {
    static vd_hnsw_item items[BATCH];
    for (uint32_t from = 0; from < count; from += BATCH) {
        uint32_t n = count - from < BATCH ? count - from : BATCH;
        for (uint32_t i = 0; i < n; i++) {
            items[i] = (vd_hnsw_item){number_id(&numbers[from + i]), vectors + (size_t)(from + i) * DIMENSION, NULL};
        }
        OK(vd_hnsw_add(index, items, n, executor_pool_get(help_pool), err));
    }
}

static void delete_numbers(vd_hnsw *index, const uint32_t *numbers, uint32_t count) {
    static vd_id ids[BATCH];
    for (uint32_t from = 0; from < count; from += BATCH) {
        uint32_t n = count - from < BATCH ? count - from : BATCH;
        size_t deleted = 0;
        for (uint32_t i = 0; i < n; i++) {
            ids[i] = number_id(&numbers[from + i]);
        }
        OK(vd_hnsw_delete(index, ids, n, executor_pool_get(help_pool), &deleted, err));
        assert_int_equal(deleted, n);
    }
}

static uint32_t *count_up(uint32_t count) {
    uint32_t *numbers = malloc(sizeof *numbers * count);
    assert_non_null(numbers);
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = i;
    }
    return numbers;
}

static double measured(const data_set *set, vd_hnsw *index, const float *queries, const char *when) {
    help_check(index, when);
    OK(vd_hnsw_calibrate(index, executor_pool_get(help_pool), err));
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    double recall = help_recall(index, queries, QUERIES, DIMENSION, 0);
    print_message("%s, %s: recall %.4f at ef %u over %" PRIu64 " items (%s)\n", set->name, when, recall,
                  stats.ef_effective, stats.items, stats.encoding == VD_ENCODING_SQ8 ? "codes" : "float32");
    return recall;
}

static void expect_recall(double recall, double floor, const char *when) {
    if (recall < floor) {
        fail_msg("%s: recall %.4f, at least %.4f is due", when, recall, floor);
    }
}

static vd_hnsw *index_for(const data_set *set) {
    return help_new(&(vd_hnsw_options){.dimension = DIMENSION, .metric = set->metric});
}

/* ---- churn ---- */

/* What a fresh index of the same items reaches at the same ef. */
static double rebuilt_recall(const data_set *set, vd_hnsw *index, const float *queries, uint32_t ef) {
    vd_hnsw *fresh = index_for(set);
    vd_hnsw_snapshot *s = NULL;
    OK(vd_hnsw_snapshot_begin(index, &s, err));
    uint64_t count = vd_hnsw_snapshot_count(s);
    uint32_t *numbers = malloc(sizeof *numbers * count);
    float *vectors = malloc(sizeof *vectors * DIMENSION * count);
    assert_true(numbers && vectors);
    for (uint64_t i = 0; i < count; i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s, i, &node);
        memcpy(&numbers[i], node.id.data, sizeof numbers[i]);
        memcpy(vectors + i * DIMENSION, node.vector, sizeof *vectors * DIMENSION);
    }
    vd_hnsw_snapshot_end(s);
    add_all(fresh, numbers, vectors, (uint32_t)count);
    double recall = help_recall(fresh, queries, QUERIES, DIMENSION, ef);
    vd_hnsw_free(fresh);
    free(numbers);
    free(vectors);
    return recall;
}

static void churn(const data_set *set, vd_hnsw *index, uint32_t *numbers, uint32_t count, rng *r,
                  const float *queries) {
    enum { ROUNDS = 10 };
    uint32_t part = count / 10, next = 1000000;
    uint64_t settled = 0;
    for (uint32_t round = 1; round <= ROUNDS * help_rounds(); round++) {
        for (uint32_t i = 0; i < 2 * part; i++) { /* victims and the replaced to the front, at random */
            uint32_t j = i + rng_below(r, count - i), number = numbers[i];
            numbers[i] = numbers[j];
            numbers[j] = number;
        }
        delete_numbers(index, numbers, part);
        for (uint32_t i = 0; i < part; i++) {
            numbers[i] = next++;
        }
        float *fresh = make_items(set, r, 2 * part);
        add_all(index, numbers, fresh, 2 * part); /* the second half of it replaces */
        free(fresh);
        assert_int_equal(vd_hnsw_count(index), count);
        help_check(index, "after a round of churn");
        vd_hnsw_stats stats;
        vd_hnsw_get_stats(index, &stats);
        if (round == 3) {
            settled = stats.memory_bytes;
        } else if (round > 3 &&
                   (stats.memory_bytes > settled + settled / 10 || stats.memory_bytes < settled * 9 / 10)) {
            fail_msg("round %u: %" PRIu64 " bytes, %" PRIu64 " after round 3", round, stats.memory_bytes, settled);
        }
    }
    const uint32_t ef = 40;
    double churned = help_recall(index, queries, QUERIES, DIMENSION, ef);
    double rebuilt = rebuilt_recall(set, index, queries, ef);
    print_message("%s: at ef %u recall %.4f after churn, %.4f rebuilt\n", set->name, ef, churned, rebuilt);
    expect_recall(churned, rebuilt - 0.01, "after churn, against a fresh index");
    expect_recall(measured(set, index, queries, "after churn"), 0.95, "after churn");
}

static void defaults_reach_the_target(void **state) {
    const data_set *set = *state;
    rng r = {20260 + (uint64_t)(set - sets)};
    uint32_t count = items_of();
    float *vectors = make_items(set, &r, count);
    float *queries = malloc(sizeof *queries * DIMENSION * QUERIES);
    uint32_t *numbers = count_up(count);
    assert_non_null(queries);
    data_fill(&r, set->kind, queries, QUERIES, DIMENSION);
    vd_hnsw *index = index_for(set);
    add_all(index, numbers, vectors, count);
    expect_recall(measured(set, index, queries, "fresh"), 0.95, "fresh");
    if (set->churn) {
        churn(set, index, numbers, count, &r, queries);
    }
    for (uint32_t i = 0; i < count / 2; i++) { /* every other one, so that no region empties */
        uint32_t number = numbers[i];
        numbers[i] = numbers[2 * i];
        numbers[2 * i] = number;
    }
    delete_numbers(index, numbers, count / 2);
    assert_int_equal(vd_hnsw_count(index), count - count / 2);
    expect_recall(measured(set, index, queries, "half deleted"), 0.95, "half deleted");
    vd_hnsw_free(index);
    free(numbers);
    free(vectors);
    free(queries);
}

/* ---- deletes that are meant to hurt ---- */

static vd_hnsw *index_with(const data_set *set, rng *r, uint32_t count, float **queries) {
    float *vectors = make_items(set, r, count);
    uint32_t *numbers = count_up(count);
    *queries = malloc(sizeof **queries * DIMENSION * QUERIES);
    assert_non_null(*queries);
    data_fill(r, set->kind, *queries, QUERIES, DIMENSION);
    vd_hnsw *index = index_for(set);
    add_all(index, numbers, vectors, count);
    free(vectors);
    free(numbers);
    return index;
}

static void the_nearest_is_deleted_each_time(void **state) {
    (void)state;
    rng r = {31};
    uint32_t count = items_of();
    float *queries;
    vd_hnsw *index = index_with(&sets[UNIFORM], &r, count, &queries);
    uint32_t overlooked = 0, rounds = count / 2;
    for (uint32_t i = 0; i < rounds; i++) {
        /* a hole grows around the first query: what is nearest is further and further away */
        vd_hit hit[1], truth[1];
        size_t found = 0;
        uint32_t number;
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, queries, &(vd_hnsw_search_options){.k = 1}, hit, &found, NULL, err));
        assert_int_equal(found, 1);
        OK(vd_hnsw_search(index, queries, &(vd_hnsw_search_options){.k = 1, .exact = true}, truth, &found, NULL, err));
        overlooked += hit[0].distance > truth[0].distance;
        memcpy(&number, truth[0].id.data, sizeof number);
        vd_hnsw_leave(index, &guard);
        delete_numbers(index, &number, 1);
        if (i % 500 == 0) {
            help_check(index, "while the nearest is deleted");
        }
    }
    print_message("the nearest was overlooked %u times of %u\n", overlooked, rounds);
    /* From inside the hole all that is left is about equally far; a fresh index has it no easier. */
    float *inside = malloc(sizeof *inside * DIMENSION * QUERIES);
    assert_non_null(inside);
    for (uint32_t i = 0; i < QUERIES * DIMENSION; i++) {
        inside[i] = queries[i % DIMENSION] + 0.05f * rng_normal(&r);
    }
    const uint32_t ef = 60;
    double holed = help_recall(index, inside, QUERIES, DIMENSION, ef);
    double rebuilt = rebuilt_recall(&sets[UNIFORM], index, inside, ef);
    print_message("inside the hole: at ef %u recall %.4f, %.4f rebuilt\n", ef, holed, rebuilt);
    expect_recall(holed, rebuilt - 0.02, "inside the hole, against a fresh index");
    free(inside);
    expect_recall(measured(&sets[UNIFORM], index, queries, "a hole around a query"), 0.95, "a hole around a query");
    vd_hnsw_free(index);
    free(queries);
}

static void a_node_of_the_top_level_is_deleted_each_time(void **state) {
    (void)state;
    rng r = {32};
    uint32_t count = items_of(), rounds = help_amount(200, 60);
    float *queries;
    vd_hnsw *index = index_with(&sets[0], &r, count, &queries);
    for (uint32_t i = 0; i < rounds; i++) {
        vd_hnsw_snapshot *s = NULL;
        uint32_t number = 0;
        bool found = false;
        OK(vd_hnsw_snapshot_begin(index, &s, err));
        uint64_t items = vd_hnsw_snapshot_count(s);
        uint32_t top = vd_hnsw_snapshot_levels(s) - 1;
        for (uint64_t at = 0; at < items && !found; at++) {
            vd_hnsw_node node;
            vd_hnsw_snapshot_node(s, at, &node);
            found = node.level == top;
            memcpy(&number, node.id.data, sizeof number);
        }
        vd_hnsw_snapshot_end(s);
        assert_true(found);
        delete_numbers(index, &number, 1);
        help_check(index, "after a top node was deleted");
    }
    assert_int_equal(vd_hnsw_count(index), count - rounds);
    expect_recall(measured(&sets[0], index, queries, "top nodes deleted"), 0.95, "top nodes deleted");
    vd_hnsw_free(index);
    free(queries);
}

/* All of a region at once: what lay behind it must still be found. */
static void a_whole_cluster_is_deleted(void **state) {
    (void)state;
    rng r = {33};
    uint32_t count = items_of();
    float *queries;
    vd_hnsw *index = index_with(&sets[0], &r, count, &queries);
    for (uint32_t i = 0; i < 15; i++) {
        static vd_hit hits[BATCH];
        static uint32_t numbers[BATCH];
        size_t found = 0;
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, queries + (size_t)i * DIMENSION,
                          &(vd_hnsw_search_options){.k = count / 25, .exact = true}, hits, &found, NULL, err));
        for (size_t j = 0; j < found; j++) {
            memcpy(&numbers[j], hits[j].id.data, sizeof numbers[j]);
        }
        vd_hnsw_leave(index, &guard);
        delete_numbers(index, numbers, (uint32_t)found);
        help_check(index, "after a cluster was deleted");
    }
    /* Queries into the holes are unlike anything that is left, so no ef is right for all; a fresh index has it no easier. */
    const uint32_t ef = 40;
    double holed = help_recall(index, queries, QUERIES, DIMENSION, ef);
    double rebuilt = rebuilt_recall(&sets[0], index, queries, ef);
    print_message("clusters deleted: at ef %u recall %.4f, %.4f rebuilt\n", ef, holed, rebuilt);
    expect_recall(holed, rebuilt - 0.02, "clusters deleted, against a fresh index");
    vd_hnsw_free(index);
    free(queries);
}

int main(void) {
    struct CMUnitTest tests[SETS + 3] = {
        [SETS] = cmocka_unit_test(the_nearest_is_deleted_each_time),
        [SETS + 1] = cmocka_unit_test(a_node_of_the_top_level_is_deleted_each_time),
        [SETS + 2] = cmocka_unit_test(a_whole_cluster_is_deleted),
    };
    for (size_t i = 0; i < SETS; i++) {
        tests[i] = (struct CMUnitTest){sets[i].name, defaults_reach_the_target, NULL, NULL, (void *)&sets[i]};
    }
    return cmocka_run_group_tests(tests, help_pool_up, help_pool_down);
}
