/*
 * filter_test.c - searching among what a filter allows (src/hnsw/filter.c).
 *
 * Whatever the filter is (a bitmap, a call, both) and however its matches lie to the query (at random, nearest, furthest, whole
 * clusters, a pattern that a sample can miss), an answer has min(k, matches) items that match, none twice, in order, at the
 * oracle's distances; it is exact where every match was scanned, and has recall 0.95 where the graph was walked. Truth comes from
 * a plain table beside the index.
 */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>

#include "engine_help.h"

enum {
    D = 16,
    K = 10,
    ITEMS_MOST = 15000,
    QUERIES_MOST = 40,
    CLUSTERS = 60,
    HITS_MOST = 64,
    HOPPING = 14000, /* so many items that 0.39 of them are too many to scan */
    SLOTS_MOST = 2 * ITEMS_MOST
};

typedef struct world {
    vd_hnsw *index;
    vd_metric metric;
    uint32_t count; /* numbers; not all need live */
    float vectors[ITEMS_MOST * D];
    uint32_t numbers[ITEMS_MOST];
    uint32_t cluster[ITEMS_MOST];
    bool live[ITEMS_MOST];
    uint32_t slot[ITEMS_MOST]; /* of the live ones, when `slots_known` */
    bool slots_known;
    float queries[QUERIES_MOST * D];
    uint32_t query_count;
    bool match[ITEMS_MOST]; /* what the filter of the moment allows */
    const float *measured;  /* the query that `distance` is of */
    double distance[ITEMS_MOST];
    /* the filter */
    uint64_t bits[SLOTS_MOST / 64 + 1];
    bool accepts[ITEMS_MOST];
    uint64_t calls;
    bool wrong_call;
} world;

static vd_id id_of(const world *w, uint32_t number) {
    return (vd_id){(const char *)&w->numbers[number], sizeof w->numbers[number]};
}
static uint32_t number_of(vd_id id) {
    uint32_t number = UINT32_MAX;
    assert_int_equal(id.size, sizeof number);
    memcpy(&number, id.data, sizeof number);
    return number;
}
static const float *vector_of(const world *w, uint32_t number) {
    return w->vectors + (size_t)number * D;
}

/* ---- worlds ---- */

typedef enum layout { LAYOUT_CLUSTERS, LAYOUT_UNIFORM, LAYOUT_ISLANDS } layout;

static void place(rng *r, layout kind, uint32_t cluster, float *v) {
    rng centre = {mix64(0xF117E2ull + cluster)};
    for (uint32_t j = 0; j < D; j++) {
        v[j] = kind == LAYOUT_UNIFORM    ? (float)(2.0 * rng_unit(r) - 1.0)
               : kind == LAYOUT_CLUSTERS ? rng_normal(&centre) + 0.5f * rng_normal(r)
                                         : 10.0f * rng_normal(&centre) + 0.3f * rng_normal(r);
    }
}

static void add_numbers(world *w, uint32_t from, uint32_t to) {
    enum { BATCH = 500 };
    static vd_hnsw_item items[BATCH];
    while (from < to) {
        uint32_t n = to - from < BATCH ? to - from : BATCH;
        for (uint32_t i = 0; i < n; i++) {
            items[i] = (vd_hnsw_item){id_of(w, from + i), vector_of(w, from + i), &w->numbers[from + i]};
            w->live[from + i] = true;
        }
        OK(vd_hnsw_add(w->index, items, n, executor_pool_get(help_pool), err));
        from += n;
    }
    w->slots_known = false;
}

static void delete_number(world *w, uint32_t number) {
    vd_id id = id_of(w, number);
    size_t deleted = 0;
    OK(vd_hnsw_delete(w->index, &id, 1, NULL, &deleted, err));
    assert_int_equal(deleted, w->live[number]);
    w->live[number] = false;
}

static world *world_new(layout kind, vd_metric metric, vd_encoding encoding, uint32_t count, uint32_t queries) {
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    rng r = {0xF117 + (uint64_t)kind};
    w->metric = metric;
    w->count = count;
    w->query_count = queries;
    for (uint32_t i = 0; i < count; i++) {
        w->numbers[i] = i;
        w->cluster[i] = rng_below(&r, CLUSTERS);
        place(&r, kind, w->cluster[i], w->vectors + (size_t)i * D);
    }
    for (uint32_t i = 0; i < queries; i++) {
        place(&r, kind, rng_below(&r, CLUSTERS), w->queries + (size_t)i * D);
    }
    w->index = help_new(&(vd_hnsw_options){.dimension = D, .metric = metric, .encoding = encoding});
    return w;
}

static void world_free(world *w) {
    vd_hnsw_free(w->index);
    free(w);
}

/* ---- filters ---- */

typedef enum way { BY_BITMAP, BY_CALL, BY_BOTH, WAYS } way;
static const char *const way_names[WAYS] = {"bitmap", "call", "both"};

static bool accept(void *context, uint32_t slot, vd_id id, void *payload) {
    world *w = context;
    uint32_t number = UINT32_MAX;
    memcpy(&number, id.data, sizeof number < id.size ? sizeof number : id.size);
    if (number >= w->count || payload != &w->numbers[number] || slot >= vd_hnsw_slots(w->index)) {
        w->wrong_call = true;
        return false;
    }
    w->calls++;
    return w->accepts[number];
}

/* The filter that allows what `match` says. Of both together each allows some more, and not the same. */
static vd_filter filter_make(world *w, way how) {
    uint32_t slots = vd_hnsw_slots(w->index);
    assert_true(slots <= SLOTS_MOST);
    memset(w->bits, 0, sizeof w->bits);
    for (uint32_t i = 0; i < w->count && !w->slots_known; i++) {
        assert_int_equal(vd_hnsw_slot(w->index, id_of(w, i), &w->slot[i]), w->live[i] ? VD_OK : VD_NOT_FOUND);
        assert_true(!w->live[i] || w->slot[i] < slots);
    }
    w->slots_known = true;
    for (uint32_t i = 0; i < w->count; i++) {
        bool bit = w->match[i] || (how == BY_BOTH && mix64(i) % 3 == 0);
        w->accepts[i] = w->match[i] || (how == BY_BOTH && mix64(i) % 3 == 1);
        if (w->live[i]) {
            w->bits[w->slot[i] / 64] |= (uint64_t)bit << (w->slot[i] % 64);
        }
    }
    vd_filter f = {0};
    if (how != BY_CALL) {
        f.slots = w->bits;
        f.slot_count = slots;
    }
    if (how != BY_BITMAP) {
        f.accept = accept;
        f.context = w;
    }
    return f;
}

/* ---- answers ---- */

typedef struct outcome {
    vd_search_info info;
    size_t count;
    uint32_t good, wanted; /* recall */
} outcome;

/* Distances of all live items to the query, and how many match. */
static uint32_t measure_all(world *w, const float *query) {
    uint32_t matches = 0;
    for (uint32_t i = 0; i < w->count && w->measured != query; i++) {
        w->distance[i] = oracle_distance(w->metric, query, vector_of(w, i), D);
    }
    w->measured = query;
    for (uint32_t i = 0; i < w->count; i++) {
        matches += w->live[i] && w->match[i];
    }
    return matches;
}

static void check_order(const world *w, const vd_hit *hits, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t number = number_of(hits[i].id), slot = UINT32_MAX;
        assert_true(number < w->count);
        assert_true(w->live[number]);
        assert_true(w->match[number]);
        assert_ptr_equal(hits[i].payload, &w->numbers[number]);
        assert_true(same_bits(hits[i].distance, w->distance[number]));
        assert_int_equal(vd_hnsw_slot(w->index, hits[i].id, &slot), VD_OK);
        assert_int_equal(slot, hits[i].slot);
        if (i && hits[i - 1].distance == hits[i].distance) { /* so none twice */
            assert_true(oracle_id_order(hits[i - 1].id, hits[i].id) < 0);
        } else if (i) {
            assert_true(hits[i - 1].distance < hits[i].distance);
        }
    }
}

/* Searches, proves what every answer owes, and counts what recall is made of. */
static outcome ask(world *w, const float *query, const vd_filter *filter, vd_hnsw_search_options options) {
    double near[HITS_MOST + 1]; /* the exact distances of the k nearest that match */
    vd_hit hits[HITS_MOST];
    outcome o = {0};
    uint32_t k = options.k ? options.k : VD_K_DEFAULT, matches = measure_all(w, query), n = 0;
    assert_true(k <= HITS_MOST);
    vd_hnsw_guard guard;
    options.filter = filter;
    vd_hnsw_enter(w->index, &guard);
    OK(vd_hnsw_search(w->index, query, &options, hits, &o.count, &o.info, err));
    assert_int_equal(o.count, matches < k ? matches : k);
    check_order(w, hits, o.count);
    vd_hnsw_leave(w->index, &guard);
    assert_false(w->wrong_call);
    assert_false(o.info.truncated);
    assert_true(o.info.plan >= VD_PLAN_FILTER_SCAN && o.info.plan <= VD_PLAN_FILTER_HOP);
    assert_int_equal(o.info.exact, o.info.plan == VD_PLAN_FILTER_SCAN);
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->live[i] && w->match[i] && (n < k || w->distance[i] < near[n - 1])) {
            uint32_t at = n < k ? n++ : n - 1;
            for (; at > 0 && near[at - 1] > w->distance[i]; at--) {
                near[at] = near[at - 1];
            }
            near[at] = w->distance[i];
        }
    }
    o.wanted = (uint32_t)o.count;
    for (size_t i = 0; i < o.count; i++) {
        o.good += hits[i].distance <= near[o.count - 1];
        if (o.info.exact) { /* the exact answer, bit by bit */
            assert_true(same_bits(hits[i].distance, near[i]));
        }
    }
    return o;
}

/* ---- which items match ---- */

typedef enum lie { AT_RANDOM, NEAREST, FURTHEST, WHOLE_CLUSTERS, IN_A_PATTERN, LIES } lie;
static const char *const lie_names[LIES] = {"random", "nearest", "furthest", "clusters", "pattern"};

static const double *sorting_by; /* for qsort */
static int by_distance(const void *a, const void *b) {
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    double x = sorting_by[i], y = sorting_by[j];
    return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

static void choose_matches(world *w, lie how, double share, const float *query) {
    static uint32_t order[ITEMS_MOST];
    static const world *ordered;
    static const float *ordered_by;
    uint32_t wanted = (uint32_t)ceil(share * w->count), n = 0;
    uint32_t period = share > 0 ? (uint32_t)(1.0 / share) : w->count + 1;
    memset(w->match, 0, sizeof w->match);
    if (how == NEAREST || how == FURTHEST) {
        (void)measure_all(w, query);
        for (uint32_t i = 0; i < w->count; i++) {
            order[i] = ordered == w && ordered_by == query ? order[i] : i;
        }
        if (ordered != w || ordered_by != query) {
            sorting_by = w->distance;
            qsort(order, w->count, sizeof *order, by_distance);
            ordered = w;
            ordered_by = query;
        }
        for (uint32_t i = 0; i < wanted; i++) {
            w->match[order[how == NEAREST ? i : w->count - 1 - i]] = true;
        }
        return;
    }
    for (uint32_t turn = 0; how == WHOLE_CLUSTERS && turn < CLUSTERS && n < wanted; turn++) {
        for (uint32_t i = 0; i < w->count && n < wanted; i++) { /* the last one not whole */
            if (w->cluster[i] == (turn * 7 + 3) % CLUSTERS) {
                w->match[i] = true;
                n++;
            }
        }
    }
    for (uint32_t i = 0; i < w->count && how != WHOLE_CLUSTERS; i++) {
        w->match[i] = how == IN_A_PATTERN ? i % period == 0 : (double)(mix64(i + 99) >> 11) * 0x1p-53 < share;
    }
}

static const double shares[] = {0.0, 0.0001, 0.001, 0.01, 0.1, 0.3, 0.36, 0.39, 0.5, 0.9, 1.0};
enum { SHARES = sizeof shares / sizeof shares[0] };

typedef struct row {
    uint64_t good, wanted, distances;
    uint32_t plans[5];
} row;

/* Every share, every way of lying, every way of saying it. Prints a line per row under VECTORD_TEST_PRINT. */
static void every_filter(const char *name, world *w, uint32_t queries) {
    static row rows[LIES][SHARES][WAYS];
    memset(rows, 0, sizeof rows);
    for (uint32_t q = 0; q < queries * LIES; q++) {
        const float *query = w->queries + (size_t)(q % w->query_count) * D;
        const lie how = (lie)(q % LIES);
        for (size_t s = 0; s < SHARES; s++) {
            choose_matches(w, how, shares[s], query);
            for (int say = 0; say < WAYS; say++) {
                vd_filter filter = filter_make(w, (way)say);
                outcome o = ask(w, query, &filter, (vd_hnsw_search_options){.k = K});
                row *r = &rows[how][s][say];
                r->plans[o.info.plan]++;
                r->good += o.good;
                r->wanted += o.wanted;
                r->distances += o.info.distances;
                if (say == BY_BITMAP && shares[s] * w->count < 1000) { /* as filter.c documents */
                    assert_int_equal(o.info.plan, VD_PLAN_FILTER_SCAN);
                } else if (say == BY_BITMAP && how == AT_RANDOM && shares[s] * w->count > 5000 && shares[s] >= 0.5) {
                    assert_int_equal(o.info.plan, VD_PLAN_FILTER_WALK);
                }
            }
        }
    }
    uint32_t faults = 0;
    char first[160] = "";
    for (int how = 0; how < LIES; how++) {
        uint64_t good = 0, wanted = 0; /* of what was walked */
        for (size_t s = 0; s < SHARES; s++) {
            for (int say = 0; say < WAYS; say++) {
                const row *r = &rows[how][s][say];
                double recall = r->wanted ? (double)r->good / (double)r->wanted : 1.0;
                bool low = recall < 0.9; /* few queries a row */
                good += r->plans[VD_PLAN_FILTER_SCAN] < queries ? r->good : 0;
                wanted += r->plans[VD_PLAN_FILTER_SCAN] < queries ? r->wanted : 0;
                if (low || getenv("VECTORD_TEST_PRINT")) {
                    print_message("%s, %s, share %.4f, by %s: recall %.4f, %.0f distances, plans %u/%u/%u\n", name,
                                  lie_names[how], shares[s], way_names[say], recall, (double)r->distances / queries,
                                  r->plans[VD_PLAN_FILTER_SCAN], r->plans[VD_PLAN_FILTER_WALK],
                                  r->plans[VD_PLAN_FILTER_HOP]);
                }
                if (low && faults++ == 0) {
                    snprintf(first, sizeof first, "%s, %s, share %.4f, by %s: recall %.4f", name, lie_names[how],
                             shares[s], way_names[say], recall);
                }
            }
        }
        double recall = wanted ? (double)good / (double)wanted : 1.0;
        print_message("%s, %s: recall %.4f where the graph was walked\n", name, lie_names[how], recall);
        if (recall < 0.95 && faults++ == 0) {
            snprintf(first, sizeof first, "%s, %s, all walks: recall %.4f", name, lie_names[how], recall);
        }
    }
    if (faults) {
        fail_msg("%u rows too low, the first: %s", faults, first);
    }
}

static void filters_in(const char *name, layout kind, vd_metric metric, vd_encoding encoding, bool calibrated,
                       uint32_t slow_count) {
    world *w = world_new(kind, metric, encoding, help_amount(ITEMS_MOST, slow_count), QUERIES_MOST);
    add_numbers(w, 0, w->count);
    if (calibrated) {
        OK(vd_hnsw_calibrate(w->index, executor_pool_get(help_pool), err));
    }
    every_filter(name, w, help_amount(5, 1) * help_rounds());
    help_check(w->index, "after filters");
    world_free(w);
}

static void filters_on_clusters(void **state) {
    (void)state;
    filters_in("clusters", LAYOUT_CLUSTERS, VD_METRIC_COSINE, VD_ENCODING_AUTO, true, HOPPING);
}
static void filters_on_uniform_data_by_half_the_bits(void **state) {
    (void)state;
    filters_in("uniform", LAYOUT_UNIFORM, VD_METRIC_EUCLIDEAN, VD_ENCODING_SQ4, false, 5000);
}
static void filters_on_clusters_far_apart(void **state) {
    (void)state;
    filters_in("islands", LAYOUT_ISLANDS, VD_METRIC_EUCLIDEAN, VD_ENCODING_AUTO, true, 5000);
}

/* ---- few matches ---- */

static world *small_world(vd_encoding encoding, uint32_t count) {
    world *w = world_new(LAYOUT_CLUSTERS, VD_METRIC_EUCLIDEAN, encoding, count, QUERIES_MOST);
    add_numbers(w, 0, count);
    return w;
}

static void the_only_match_is_found(void **state) {
    (void)state;
    world *w = small_world(VD_ENCODING_AUTO, 3000);
    rng r = {5};
    for (uint32_t i = 0; i < help_amount(200, 30) * help_rounds(); i++) {
        uint32_t number = rng_below(&r, w->count);
        memset(w->match, 0, sizeof w->match);
        w->match[number] = true;
        for (int say = 0; say < WAYS; say++) {
            vd_filter filter = filter_make(w, (way)say);
            const float *query = w->queries + (size_t)rng_below(&r, w->query_count) * D;
            for (uint32_t k = 1; k <= K; k += K - 1) {
                outcome o = ask(w, query, &filter, (vd_hnsw_search_options){.k = k});
                assert_int_equal(o.count, 1);
                o = ask(w, query, &filter, (vd_hnsw_search_options){.k = k, .ef = 10});
                assert_int_equal(o.count, 1);
                o = ask(w, query, &filter, (vd_hnsw_search_options){.k = k, .recall_target = 0.5});
                assert_int_equal(o.count, 1);
            }
        }
    }
    world_free(w);
}

static void nothing_and_everything_match(void **state) {
    (void)state;
    world *w =
        small_world(VD_ENCODING_F32, 3000); /* one lane: filtered searches refine more of what half the bits found */
    vd_filter all = {0}, none_fit = {.slots = w->bits, .slot_count = 0};
    memset(w->bits, 0xFF, sizeof w->bits);
    memset(w->match, 0, sizeof w->match);
    assert_int_equal(ask(w, w->queries, &none_fit, (vd_hnsw_search_options){.k = K}).count, 0);
    vd_filter no_bits = filter_make(w, BY_BITMAP), no_call = filter_make(w, BY_CALL);
    assert_int_equal(ask(w, w->queries, &no_bits, (vd_hnsw_search_options){.k = K}).count, 0);
    assert_int_equal(ask(w, w->queries, &no_call, (vd_hnsw_search_options){.k = K}).count, 0);
    assert_int_equal(ask(w, w->queries, &no_call, (vd_hnsw_search_options){.k = K, .exact = true}).count, 0);
    memset(w->match, 1, sizeof w->match);
    for (uint32_t q = 0; q < 10; q++) { /* a filter that allows everything gives what no filter gives */
        const float *query = w->queries + (size_t)q * D;
        vd_hit hits[3][K];
        size_t counts[3] = {0};
        vd_filter by_call = filter_make(w, BY_CALL);
        const vd_filter *filters[3] = {NULL, &all, &by_call};
        vd_hnsw_guard guard;
        vd_hnsw_enter(w->index, &guard);
        for (int i = 0; i < 3; i++) {
            vd_hnsw_search_options options = {.k = K, .ef = 100, .filter = filters[i]};
            OK(vd_hnsw_search(w->index, query, &options, hits[i], &counts[i], NULL, err));
            assert_int_equal(counts[i], K);
        }
        for (int i = 0; i < K; i++) {
            assert_int_equal(hits[0][i].slot, hits[1][i].slot);
            assert_int_equal(hits[0][i].slot, hits[2][i].slot);
        }
        vd_hnsw_leave(w->index, &guard);
    }
    world_free(w);
}

/* Below SCAN_ITEMS everything is scanned, filter or not; an empty index has no answer. */
static void small_and_empty_indexes(void **state) {
    (void)state;
    world *w = world_new(LAYOUT_CLUSTERS, VD_METRIC_COSINE, VD_ENCODING_AUTO, 400, 5);
    memset(w->match, 1, sizeof w->match);
    vd_filter none_yet = {.slots = w->bits, .slot_count = 64};
    assert_int_equal(vd_hnsw_slots(w->index), 0);
    assert_int_equal(ask(w, w->queries, &none_yet, (vd_hnsw_search_options){.k = K}).count, 0);
    add_numbers(w, 0, 400);
    for (int say = 0; say < WAYS; say++) {
        choose_matches(w, AT_RANDOM, 0.7, w->queries);
        vd_filter filter = filter_make(w, (way)say);
        outcome o = ask(w, w->queries, &filter, (vd_hnsw_search_options){.k = K});
        assert_int_equal(o.info.plan, VD_PLAN_FILTER_SCAN);
        assert_int_equal(o.info.ef, 0);
    }
    world_free(w);
}

/* ---- bitmaps ---- */

/* Bits from slot_count on mean no, whatever they are; a bitmap longer than the index is fine. */
static void the_end_of_a_bitmap(void **state) {
    (void)state;
    world *w = small_world(VD_ENCODING_AUTO, 3000);
    const uint64_t ends[] = {1, 63, 64, 65, 127, 1000, 2999, 3000, 3001, SLOTS_MOST};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        memset(w->bits, 0xFF, sizeof w->bits);
        for (uint32_t number = 0; number < w->count; number++) {
            uint32_t slot;
            assert_int_equal(vd_hnsw_slot(w->index, id_of(w, number), &slot), VD_OK);
            w->match[number] = slot < ends[i];
        }
        vd_filter filter = {.slots = w->bits, .slot_count = ends[i]};
        for (uint32_t q = 0; q < 5; q++) {
            outcome o = ask(w, w->queries + (size_t)q * D, &filter, (vd_hnsw_search_options){.k = K});
            assert_int_equal(o.count, ends[i] < K ? ends[i] : K);
        }
    }
    world_free(w);
}

static void slots_of_ids(void **state) {
    (void)state;
    world *w = small_world(VD_ENCODING_AUTO, 2000);
    uint32_t slot = 12345, before, after;
    vd_hnsw_guard guard;
    vd_hnsw_enter(w->index, &guard);
    assert_int_equal(vd_hnsw_slot(w->index, (vd_id){"nobody", 6}, &slot), VD_NOT_FOUND);
    assert_int_equal(vd_hnsw_slot(w->index, (vd_id){"", 0}, &slot), VD_NOT_FOUND);
    assert_int_equal(slot, 12345);
    /* every item has one of its own, below vd_hnsw_slots */
    static bool taken[SLOTS_MOST];
    memset(taken, 0, sizeof taken);
    for (uint32_t i = 0; i < w->count; i++) {
        assert_int_equal(vd_hnsw_slot(w->index, id_of(w, i), &slot), VD_OK);
        assert_true(slot < vd_hnsw_slots(w->index));
        assert_false(taken[slot]);
        taken[slot] = true;
    }
    /* while a guard is held, a slot is nobody else's: neither after a replacement nor after a delete */
    assert_int_equal(vd_hnsw_slot(w->index, id_of(w, 7), &before), VD_OK);
    add_numbers(w, 7, 8);
    assert_int_equal(vd_hnsw_slot(w->index, id_of(w, 7), &after), VD_OK);
    assert_int_not_equal(before, after);
    delete_number(w, 7);
    assert_int_equal(vd_hnsw_slot(w->index, id_of(w, 7), &slot), VD_NOT_FOUND);
    uint32_t slots = vd_hnsw_slots(w->index);
    for (uint32_t i = 0; i < 300; i++) {
        delete_number(w, 100 + i);
        add_numbers(w, 100 + i, 101 + i);
        assert_int_equal(vd_hnsw_slot(w->index, id_of(w, 100 + i), &slot), VD_OK);
        assert_true(slot >= slots); /* all older ones may still be seen */
    }
    assert_true(vd_hnsw_slots(w->index) >= slots + 300);
    vd_hnsw_leave(w->index, &guard);
    world_free(w);
}

/* ---- exact copies of which some match ---- */

static void copies_of_which_some_match(void **state) {
    (void)state;
    /* Numbers beyond half are copies of those before. Of the copies all match, of the originals few: what represents a copy in
     * the graph is mostly an item that does not match. */
    world *w =
        world_new(LAYOUT_UNIFORM, VD_METRIC_EUCLIDEAN, VD_ENCODING_AUTO, help_amount(ITEMS_MOST, 8000), QUERIES_MOST);
    uint32_t half = w->count / 2, low = 0;
    for (uint32_t i = half; i < w->count; i++) {
        memcpy(w->vectors + (size_t)i * D, vector_of(w, i - half), sizeof(float) * D);
    }
    add_numbers(w, 0, w->count);
    const double of_copies[] = {0.0004, 0.02, 0.7, 0.75, 1.0}, of_originals[] = {0.0, 0.05, 0.2, 1.0};
    for (size_t c = 0; c < sizeof of_copies / sizeof of_copies[0]; c++) {
        for (size_t o = 0; o < sizeof of_originals / sizeof of_originals[0]; o++) {
            for (uint32_t i = 0; i < w->count; i++) {
                double dice = (double)(mix64(i + 7) >> 11) * 0x1p-53;
                w->match[i] = dice < (i < half ? of_originals[o] : of_copies[c]);
            }
            for (int say = 0; say < WAYS; say++) {
                uint64_t good = 0, wanted = 0, distances = 0;
                uint32_t plans[5] = {0}, queries = help_amount(20, 4);
                vd_filter filter = filter_make(w, (way)say);
                for (uint32_t q = 0; q < queries; q++) {
                    outcome got = ask(w, w->queries + (size_t)q * D, &filter, (vd_hnsw_search_options){.k = K});
                    good += got.good;
                    wanted += got.wanted;
                    distances += got.info.distances;
                    plans[got.info.plan]++;
                }
                double recall = wanted ? (double)good / (double)wanted : 1.0;
                if (getenv("VECTORD_TEST_PRINT") || recall < 0.95) {
                    print_message("%.4f of copies, %.4f of originals, by %s: recall %.4f, %.0f distances, plans "
                                  "%u/%u/%u\n",
                                  of_copies[c], of_originals[o], way_names[say], recall, (double)distances / queries,
                                  plans[VD_PLAN_FILTER_SCAN], plans[VD_PLAN_FILTER_WALK], plans[VD_PLAN_FILTER_HOP]);
                }
                low += recall < 0.95;
            }
        }
    }
    assert_int_equal(low, 0);
    /* and many copies of one vector, one of which matches */
    for (uint32_t i = 0; i < 300; i++) {
        memcpy(w->vectors + (size_t)i * D, vector_of(w, 0), sizeof(float) * D);
    }
    add_numbers(w, 0, 300);
    for (uint32_t i = 0; i < 300; i += 37) {
        memset(w->match, 0, sizeof w->match);
        for (uint32_t j = 0; j < w->count; j++) {
            w->match[j] = j == i || (j >= 300 && mix64(j) % 100 < 50);
        }
        for (int say = 0; say < WAYS; say++) {
            vd_filter filter = filter_make(w, (way)say);
            outcome got = ask(w, vector_of(w, 0), &filter, (vd_hnsw_search_options){.k = K});
            assert_int_equal(got.good, got.wanted); /* copies are looked up as well */
        }
    }
    world_free(w);
}

/* ---- the dead ---- */

static void the_dead_match_nothing(void **state) {
    (void)state;
    world *w = small_world(VD_ENCODING_AUTO, help_amount(9000, 6000));
    rng r = {77};
    /* a bitmap from before, of everything: what dies later keeps its bit */
    memset(w->match, 1, sizeof w->match);
    (void)filter_make(w, BY_BITMAP);
    static uint64_t old_bits[SLOTS_MOST / 64 + 1];
    memcpy(old_bits, w->bits, sizeof old_bits);
    vd_filter stale = {.slots = old_bits, .slot_count = vd_hnsw_slots(w->index)};
    for (uint32_t round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < w->count / 10; i++) {
            uint32_t number = rng_below(&r, w->count);
            if (w->live[number]) {
                delete_number(w, number);
            }
        }
        uint64_t good = 0, wanted = 0;
        uint32_t queries = help_amount(20, 5);
        for (uint32_t q = 0; q < queries; q++) {
            const float *query = w->queries + (size_t)q * D;
            memset(w->match, 1, sizeof w->match);
            outcome o = ask(w, query, &stale, (vd_hnsw_search_options){.k = K});
            good += o.good;
            wanted += o.wanted;
            choose_matches(w, AT_RANDOM, 0.3, query);
            vd_filter filter = filter_make(w, (way)(q % WAYS));
            o = ask(w, query, &filter, (vd_hnsw_search_options){.k = K});
            good += o.good;
            wanted += o.wanted;
            /* nearest to the query all have just died */
            choose_matches(w, NEAREST, 0.5, query);
            filter = filter_make(w, (way)(q % WAYS));
            o = ask(w, query, &filter, (vd_hnsw_search_options){.k = K});
            good += o.good;
            wanted += o.wanted;
        }
        double recall = (double)good / (double)wanted;
        if (recall < 0.95) {
            fail_msg("round %u: recall %.4f", round, recall);
        }
    }
    /* Bits of free slots: nearly everything is gone, the bitmap says that all of it and a few of the rest match. */
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->live[i] && i % 20) {
            delete_number(w, i);
        }
    }
    assert_true(vd_hnsw_count(w->index) > 100);
    for (uint32_t q = 0; q < 10; q++) {
        for (uint32_t i = 0; i < w->count; i++) {
            uint32_t slot;
            w->match[i] = !w->live[i] || mix64(i + q) % 16 == 0;
            if (w->live[i]) {
                assert_int_equal(vd_hnsw_slot(w->index, id_of(w, i), &slot), VD_OK);
                old_bits[slot / 64] &= ~(1ull << (slot % 64));
                old_bits[slot / 64] |= (uint64_t)w->match[i] << (slot % 64);
            }
        }
        outcome o = ask(w, w->queries + (size_t)q * D, &stale, (vd_hnsw_search_options){.k = K});
        assert_true(o.good * 10 >= o.wanted * 9);
    }
    world_free(w);
}

/* ---- with the other options ---- */

static void filters_with_other_options(void **state) {
    (void)state;
    world *w = small_world(VD_ENCODING_AUTO, help_amount(9000, 6000));
    for (size_t s = 0; s < SHARES; s++) {
        for (int say = 0; say < WAYS; say++) {
            const float *query = w->queries + (s * WAYS + (size_t)say) % w->query_count * D;
            choose_matches(w, AT_RANDOM, shares[s], query);
            vd_filter filter = filter_make(w, (way)say);
            outcome o = ask(w, query, &filter, (vd_hnsw_search_options){.k = K, .exact = true});
            assert_int_equal(o.info.plan, VD_PLAN_FILTER_SCAN);
            (void)ask(w, query, &filter, (vd_hnsw_search_options){.k = 1});
            (void)ask(w, query, &filter, (vd_hnsw_search_options){.k = HITS_MOST});
            (void)ask(w, query, &filter, (vd_hnsw_search_options){.k = K, .ef = 10});
            (void)ask(w, query, &filter, (vd_hnsw_search_options){.k = K, .ef = 400});
            (void)ask(w, query, &filter, (vd_hnsw_search_options){.k = K, .recall_target = 0.99});
        }
    }
    world_free(w);
}

/* The same for every query of a batch as for so many single calls; the call comes from several threads. */
static bool accept_by_number(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)slot;
    (void)payload;
    uint32_t number;
    memcpy(&number, id.data, sizeof number);
    return mix64(number) % 1000 < *(const uint32_t *)context;
}

static void a_batch_with_a_filter(void **state) {
    (void)state;
    world *w = small_world(VD_ENCODING_AUTO, help_amount(9000, 6000));
    const uint32_t thousandths[] = {1, 100, 300, 600, 1000};
    for (size_t t = 0; t < sizeof thousandths / sizeof thousandths[0]; t++) {
        uint32_t part = thousandths[t];
        vd_filter filter = {.accept = accept_by_number, .context = &part};
        vd_hnsw_search_options options = {.k = K, .filter = &filter};
        static vd_hit together[QUERIES_MOST * K];
        size_t counts[QUERIES_MOST];
        vd_search_info infos[QUERIES_MOST];
        vd_hnsw_guard guard;
        vd_hnsw_enter(w->index, &guard);
        OK(vd_hnsw_search_batch(w->index, w->queries, w->query_count, &options, executor_pool_get(help_pool), together,
                                counts, infos, err));
        for (uint32_t q = 0; q < w->query_count; q++) {
            vd_hit alone[K];
            size_t count = 0;
            vd_search_info info;
            OK(vd_hnsw_search(w->index, w->queries + (size_t)q * D, &options, alone, &count, &info, err));
            assert_int_equal(count, counts[q]);
            assert_int_equal(info.plan, infos[q].plan);
            assert_int_equal(info.distances, infos[q].distances);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(alone[i].slot, together[q * K + i].slot);
                assert_true(same_bits(alone[i].distance, together[q * K + i].distance));
            }
        }
        vd_hnsw_leave(w->index, &guard);
    }
    world_free(w);
}

/* ---- payloads that go ---- */

enum { FREED = 17000, FREED_D = 6 }; /* a third of it is more than would be scanned */

static void free_payload(void *context, void *payload) {
    (void)context;
    *(uint32_t *)payload = UINT32_MAX; /* for builds in which nobody else would notice */
    free(payload);
}

static bool accept_payload(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)slot;
    uint32_t number, *wrong = context;
    memcpy(&number, id.data, sizeof number);
    *wrong += *(const uint32_t *)payload != number;
    return number % 3 == 0;
}

/* A filter looks into payloads, those of items that died a moment ago beside it are freed: none of them is shown to it. */
static void payloads_of_the_dead_are_not_shown(void **state) {
    (void)state;
    static float vectors[FREED * FREED_D];
    static uint32_t numbers[FREED];
    static vd_hnsw_item items[FREED];
    rng r = {17};
    data_fill(&r, SHAPE_UNIFORM, vectors, FREED, FREED_D);
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = FREED_D,
                                                 .metric = VD_METRIC_EUCLIDEAN,
                                                 .m = 8,
                                                 .ef_construction = 40,
                                                 .release_payload = free_payload});
    for (uint32_t i = 0; i < FREED; i++) {
        uint32_t *payload = malloc(sizeof *payload);
        assert_non_null(payload);
        numbers[i] = *payload = i;
        items[i] =
            (vd_hnsw_item){{(const char *)&numbers[i], sizeof numbers[i]}, vectors + (size_t)i * FREED_D, payload};
    }
    OK(vd_hnsw_add(index, items, FREED, executor_pool_get(help_pool), err));
    uint32_t wrong = 0, hops = 0;
    vd_filter filter = {.accept = accept_payload, .context = &wrong};
    for (uint32_t i = 0; i < 60; i++) {
        const uint32_t victim = i * 100;
        vd_hit hits[K];
        size_t found = 0;
        vd_search_info info;
        vd_hnsw_guard guard;
        OK(vd_hnsw_delete(index, &items[victim].id, 1, NULL, NULL, err));
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, items[victim].vector, &(vd_hnsw_search_options){.k = K, .filter = &filter}, hits,
                          &found, &info, err));
        vd_hnsw_leave(index, &guard);
        hops += info.plan == VD_PLAN_FILTER_HOP;
        assert_int_equal(found, K);
        assert_int_equal(wrong, 0);
    }
    assert_true(hops > 30);
    vd_hnsw_free(index);
}

/* ---- writes in the middle of a scan ---- */

enum { SCANNED = 600 };

typedef struct meddler {
    vd_hnsw *index;
    uint32_t numbers[SCANNED + 64];
    uint32_t first, calls, writes, most;
    bool replace;
} meddler;

static vd_hnsw_item meddler_item(meddler *m, uint32_t number, const float *vector) {
    m->numbers[number] = number;
    return (vd_hnsw_item){{(const char *)&m->numbers[number], sizeof m->numbers[number]}, vector, NULL};
}

/* At the first item of each look at the index: replaces the last, which has not been looked at, or adds another. */
static bool meddle(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)id;
    (void)payload;
    meddler *m = context;
    m->calls++;
    if (slot == m->first && m->writes < m->most) {
        const float vector[] = {0.5f + 0.001f * (float)m->writes};
        const uint32_t number = m->replace ? SCANNED - 1 : SCANNED + m->writes;
        vd_hnsw_item item = meddler_item(m, number, vector);
        m->writes++;
        OK(vd_hnsw_add(m->index, &item, 1, NULL, err));
    }
    return true;
}

/* An item that goes over to another slot while everything is scanned is found all the same; where that goes on and on, the answer does not
 * say that it is exact. Items that are merely added cost no second scan. */
static void writes_in_the_middle_of_a_scan(void **state) {
    (void)state;
    const struct {
        uint32_t writes;
        bool replace, exact;
        uint32_t scans;
    } cases[] = {
        {0, true, true, 1}, {1, true, true, 2}, {2, true, true, 3}, {100, true, false, 8}, {5, false, true, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        meddler m = {.replace = cases[i].replace, .most = cases[i].writes};
        m.index = help_new(&(vd_hnsw_options){.dimension = 1, .metric = VD_METRIC_EUCLIDEAN});
        for (uint32_t n = 0; n < SCANNED; n++) {
            const float vector[] = {n == SCANNED - 1 ? 0.5f : 10.0f + (float)n};
            vd_hnsw_item item = meddler_item(&m, n, vector);
            OK(vd_hnsw_add(m.index, &item, 1, NULL, err));
        }
        vd_filter filter = {.accept = meddle, .context = &m};
        const float query[] = {0.0f};
        vd_hit hits[3];
        size_t count = 0;
        vd_search_info info;
        vd_hnsw_guard guard;
        vd_hnsw_enter(m.index, &guard);
        OK(vd_hnsw_search(m.index, query, &(vd_hnsw_search_options){.k = 3, .exact = true, .filter = &filter}, hits,
                          &count, &info, err));
        assert_int_equal(info.exact, cases[i].exact);
        assert_int_equal(count, 3);
        if (cases[i].exact) {
            uint32_t nearest;
            memcpy(&nearest, hits[0].id.data, sizeof nearest);
            assert_int_equal(nearest, SCANNED - 1);
        }
        assert_true(m.calls >= cases[i].scans * (SCANNED - 1) && m.calls <= cases[i].scans * (SCANNED + 300));
        for (size_t a = 0; a < count; a++) { /* no id twice */
            for (size_t b = 0; b < a; b++) {
                assert_true(memcmp(hits[a].id.data, hits[b].id.data, sizeof(uint32_t)) != 0);
            }
        }
        vd_hnsw_leave(m.index, &guard);
        vd_hnsw_free(m.index);
    }
}

/* ---- beside writers ---- */

enum { STEADY = 5000, COMING = 1500 };

typedef struct traffic {
    world *w;
    fault_note note;
    _Atomic uint32_t writers_left;
    uint32_t rounds;
    float coming[2][COMING * D];
    uint32_t numbers[2][COMING];
    uint64_t bits[STEADY / 64 + 64];
    uint64_t bit_count;
} traffic;

typedef struct hand {
    traffic *t;
    uint32_t which;
} hand;

/* By the id alone: of what stays all that can be divided by three, and all that comes and goes and is even. */
static bool allowed(uint32_t number) {
    return number < STEADY ? number % 3 == 0 : number % 2 == 0;
}
static bool accept_allowed(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)slot;
    traffic *t = context;
    uint32_t number;
    memcpy(&number, id.data, sizeof number);
    if (payload != (void *)((uintptr_t)number + 1)) {
        fault_put(&t->note, "a filter's call for id %u shows another payload", number);
    }
    return allowed(number);
}

static void *come_and_go(void *arg) {
    const hand *h = arg;
    traffic *t = h->t;
    rng r = {h->which + 11};
    for (uint32_t round = 0; round < t->rounds && !fault_any(&t->note); round++) {
        vd_hnsw_item items[40];
        vd_id ids[40];
        uint32_t n = 1 + rng_below(&r, 40);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t at = rng_below(&r, COMING);
            ids[i] = (vd_id){(const char *)&t->numbers[h->which][at], sizeof(uint32_t)};
            items[i] = (vd_hnsw_item){ids[i], t->coming[h->which] + (size_t)at * D,
                                      (void *)((uintptr_t)t->numbers[h->which][at] + 1)};
        }
        vd_status status = rng_below(&r, 3) ? vd_hnsw_add(t->w->index, items, n, NULL, NULL)
                                            : vd_hnsw_delete(t->w->index, ids, n, NULL, NULL, NULL);
        if (status != VD_OK) {
            fault_put(&t->note, "a write failed");
        }
    }
    atomic_fetch_sub(&t->writers_left, 1);
    return NULL;
}

static void *ask_beside(void *arg) {
    const hand *h = arg;
    traffic *t = h->t;
    rng r = {h->which + 21};
    for (uint32_t round = 0; atomic_load(&t->writers_left) && !fault_any(&t->note); round++) {
        bool by_bits = round % 3 == 0, by_both = round % 3 == 1;
        vd_filter filter = {0};
        if (by_bits || by_both) { /* the slots of all that stays */
            filter.slots = t->bits;
            filter.slot_count = t->bit_count;
        }
        if (!by_bits) {
            filter.accept = accept_allowed;
            filter.context = t;
        }
        vd_hit hits[K];
        size_t count = 0;
        const float *query = t->w->queries + (size_t)rng_below(&r, t->w->query_count) * D;
        vd_hnsw_guard guard;
        vd_hnsw_enter(t->w->index, &guard);
        vd_status status = vd_hnsw_search(t->w->index, query, &(vd_hnsw_search_options){.k = K, .filter = &filter},
                                          hits, &count, NULL, NULL);
        if (status != VD_OK || count != K) { /* of what stays alone there are more than enough */
            fault_put(&t->note, "%zu hits (%s)", count, by_bits ? "bitmap" : by_both ? "both" : "call");
        }
        for (size_t i = 0; i < count; i++) {
            uint32_t number;
            memcpy(&number, hits[i].id.data, sizeof number);
            if ((by_bits || by_both) && number >= STEADY) {
                fault_put(&t->note, "id %u is in no slot of the bitmap", number);
            }
            if (!by_bits && !allowed(number)) {
                fault_put(&t->note, "id %u is not allowed", number);
            }
            if (i && (hits[i].distance < hits[i - 1].distance || oracle_id_order(hits[i].id, hits[i - 1].id) == 0)) {
                fault_put(&t->note, "hit %zu is out of order", i);
            }
            if (hits[i].payload != (void *)((uintptr_t)number + 1)) {
                fault_put(&t->note, "id %u has another payload", number);
            }
        }
        vd_hnsw_leave(t->w->index, &guard);
    }
    return NULL;
}

static void filters_beside_writers(void **state) {
    (void)state;
    world *w = world_new(LAYOUT_CLUSTERS, VD_METRIC_EUCLIDEAN, VD_ENCODING_AUTO, STEADY, QUERIES_MOST);
    traffic *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->w = w;
    t->rounds = help_amount(600, 200) * help_rounds();
    for (uint32_t i = 0; i < STEADY; i++) {
        vd_hnsw_item item = {id_of(w, i), vector_of(w, i), (void *)((uintptr_t)i + 1)};
        OK(vd_hnsw_add(w->index, &item, 1, NULL, err));
    }
    t->bit_count = vd_hnsw_slots(w->index);
    assert_int_equal(t->bit_count, STEADY);
    memset(t->bits, 0xFF, sizeof t->bits);
    rng r = {31};
    for (uint32_t which = 0; which < 2; which++) {
        for (uint32_t i = 0; i < COMING; i++) {
            t->numbers[which][i] = STEADY + which * COMING + i;
            place(&r, LAYOUT_CLUSTERS, rng_below(&r, CLUSTERS), t->coming[which] + (size_t)i * D);
        }
    }
    atomic_store(&t->writers_left, 2);
    hand hands[2] = {{t, 0}, {t, 1}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? come_and_go : ask_beside, &hands[i % 2]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    fault_assert_none(&t->note);
    help_check(w->index, "after the traffic");
    free(t);
    world_free(w);
}

int main(void) {
    const struct CMUnitTest beside[] = {
        cmocka_unit_test(a_batch_with_a_filter),
        cmocka_unit_test(filters_beside_writers),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_on_clusters),
        cmocka_unit_test(filters_on_uniform_data_by_half_the_bits),
        cmocka_unit_test(filters_on_clusters_far_apart),
        cmocka_unit_test(the_only_match_is_found),
        cmocka_unit_test(nothing_and_everything_match),
        cmocka_unit_test(small_and_empty_indexes),
        cmocka_unit_test(the_end_of_a_bitmap),
        cmocka_unit_test(slots_of_ids),
        cmocka_unit_test(copies_of_which_some_match),
        cmocka_unit_test(the_dead_match_nothing),
        cmocka_unit_test(filters_with_other_options),
        cmocka_unit_test(payloads_of_the_dead_are_not_shown),
        cmocka_unit_test(writes_in_the_middle_of_a_scan),
    };
#if defined(__SANITIZE_THREAD__) /* one thread has no races: that takes minutes and finds nothing */
    (void)tests;
    int failed = 0;
#else
    int failed = cmocka_run_group_tests(tests, help_pool_up, help_pool_down);
#endif
    return failed + cmocka_run_group_tests(beside, help_pool_up, help_pool_down);
}
