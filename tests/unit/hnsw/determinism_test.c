/*
 * determinism_test.c - the same calls make the same index, on any number of threads and on any processor: links, levels and the
 * work done, after adds in one call and in many, deletes, upserts, a second pass that is stopped and goes on, a calibration, and a
 * conversion; by every encoding, kept or discarded; and so the same answers.
 *
 * The test runs once per set of kernels (VECTORD_CPU in the environment; determinism_neon.sh under an emulator). Each must come to
 * the sums below. Those of distances are for ever. Those of whole lives change whenever the graph is built or searched in another
 * way: then `test_unit_hnsw_determinism record` prints the new ones, and they must still be one and the same for all.
 */
#include <inttypes.h>

#include "base/executor.h"
#include "engine_help.h"

/* Of the distances: changes with the data or the documented order of summing, so never. */
#define DISTANCE_SUM_COSINE    0xf629cf53f19b86a7ull
#define DISTANCE_SUM_EUCLIDEAN 0xaa38f4c96f031170ull

#define SUM_EMPTY 0xCBF29CE484222325ull

static void mix_in(uint64_t *sum, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) { /* FNV-1a */
        *sum = (*sum ^ bytes[i]) * 0x100000001B3ull;
    }
}

/* ---- lives ---- */

typedef struct life {
    vd_encoding encoding;
    bool discard;
    uint64_t cosine, euclidean; /* sums, as recorded */
} life;

/* clang-format off */
static const life lives[] = {
    {VD_ENCODING_F32, false, 0x0ac9768b1efc6c5dull, 0x1df1c3d621ea3550ull},
    {VD_ENCODING_SQ8, false, 0xfdb534154e55bbcbull, 0x46402639a71ebc6dull},
    {VD_ENCODING_SQ4, false, 0x07e2603a6c6945ffull, 0x024198cedd6f2ce8ull},
    {VD_ENCODING_F16, false, 0xb66559504383a8adull, 0x57ac6ef51525f92full},
    {VD_ENCODING_BF16, false, 0xcaf248a68690ca1aull, 0x031ad08037698a8full},
    {VD_ENCODING_AUTO, false, 0x4259ad025d148e54ull, 0xbb39ef928ee32d63ull},
    {VD_ENCODING_SQ8, true, 0x75563803e88e90f9ull, 0x8d4fcb46e50e3840ull},
    {VD_ENCODING_SQ4, true, 0xa22ff864dfce17f5ull, 0x0a58079abe64ce8cull},
    {VD_ENCODING_F16, true, 0xe83f722be1a94376ull, 0x6f23637de27d03ebull},
    {VD_ENCODING_BF16, true, 0x6da5b46008273990ull, 0x2a135ad986df4ef1ull},
};
/* clang-format on */
#define LIVES (sizeof lives / sizeof lives[0])

/* A dimension that no width of registers divides. Enough nodes that batches are linked by several threads. */
enum { D = 37, ITEMS = 1400, QUERIES = 12, K = 12 };

typedef struct world {
    vd_hnsw *index;
    const vd_executor *executor;
    rng r;
    uint64_t sum;
} world;

static void add_items(world *w, uint32_t first, uint32_t count) {
    static float vectors[ITEMS * D];
    static char ids[ITEMS][8];
    static vd_hnsw_item items[ITEMS];
    data_fill(&w->r, SHAPE_CLUSTERED, vectors, count, D);
    data_fill(&w->r, SHAPE_GRID, vectors + (size_t)(count / 2) * D, count - count / 2,
              D); /* ties, also at a pool's edge */
    for (uint32_t i = 0; i < count; i++) {
        int size = snprintf(ids[i], sizeof ids[i], "%u", first + i);
        const uint32_t from = i % 9 == 8 ? i / 3 : i; /* some exact copies */
        items[i] = (vd_hnsw_item){{ids[i], (uint32_t)size}, vectors + (size_t)from * D, NULL};
    }
    OK(vd_hnsw_add(w->index, items, count, w->executor, err));
}

static void delete_items(world *w, uint32_t first, uint32_t count, uint32_t step) {
    static char names[ITEMS][8];
    static vd_id ids[ITEMS];
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (vd_id){names[i], (uint32_t)snprintf(names[i], sizeof names[i], "%u", first + i * step)};
    }
    OK(vd_hnsw_delete(w->index, ids, count, w->executor, NULL, err));
}

static void sum_graph(world *w) {
    vd_hnsw_snapshot *s = NULL;
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(w->index, &stats);
    mix_in(&w->sum, &stats.levels, sizeof stats.levels);
    mix_in(&w->sum, &stats.encoding, sizeof stats.encoding);
    mix_in(&w->sum, &stats.distances, sizeof stats.distances);
    mix_in(&w->sum, &stats.optimized, sizeof stats.optimized);
    mix_in(&w->sum, &stats.calibrated_gamma, sizeof stats.calibrated_gamma);
    mix_in(&w->sum, &stats.calibrated_recall, sizeof stats.calibrated_recall);
    OK(vd_hnsw_snapshot_begin(w->index, &s, err));
    for (uint64_t i = 0; i < vd_hnsw_snapshot_count(s); i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s, i, &node);
        mix_in(&w->sum, node.id.data, node.id.size);
        mix_in(&w->sum, node.vector, D * sizeof *node.vector);
        mix_in(&w->sum, &node.level, sizeof node.level);
        for (uint32_t level = 0; level <= node.level; level++) {
            uint32_t links[2 * VD_M_MAX];
            size_t n = vd_hnsw_snapshot_links(s, i, level, links, 2 * VD_M_MAX);
            mix_in(&w->sum, links, n * sizeof links[0]);
        }
    }
    vd_hnsw_snapshot_end(s);
}

static void mix_answer(world *w, const vd_hit *hits, size_t count, const vd_search_info *info) {
    mix_in(&w->sum, &info->visited, sizeof info->visited);
    mix_in(&w->sum, &info->distances, sizeof info->distances);
    mix_in(&w->sum, &info->refined, sizeof info->refined);
    mix_in(&w->sum, &info->reranked, sizeof info->reranked);
    mix_in(&w->sum, &info->plan, sizeof info->plan);
    for (size_t i = 0; i < count; i++) {
        mix_in(&w->sum, &hits[i].distance, sizeof hits[i].distance);
        mix_in(&w->sum, hits[i].id.data, hits[i].id.size);
    }
}

static void sum_answers(world *w) {
    static uint64_t bits[ITEMS];
    for (uint32_t i = 0; i < ITEMS; i++) {
        bits[i] = 0x7777777777777777ull;
    }
    const vd_filter filter = {.slots = bits, .slot_count = vd_hnsw_slots(w->index)};
    const vd_hnsw_search_options ways[] = {{.k = K},
                                           {.k = K, .ef = 50},
                                           {.k = K, .recall_target = 0.99},
                                           {.k = K, .exact = true},
                                           {.k = K, .filter = &filter}};
    float queries[QUERIES * D];
    data_fill(&w->r, SHAPE_CLUSTERED, queries, QUERIES, D);
    vd_hnsw_guard guard;
    vd_hnsw_enter(w->index, &guard);
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        vd_hit hits[QUERIES][K];
        size_t counts[QUERIES];
        vd_search_info infos[QUERIES];
        for (uint32_t q = 0; q < QUERIES / 2; q++) {
            OK(vd_hnsw_search(w->index, queries + (size_t)q * D, &ways[way], hits[q], &counts[q], &infos[q], err));
            mix_answer(w, hits[q], counts[q], &infos[q]);
        }
        OK(vd_hnsw_search_batch(w->index, queries, QUERIES, &ways[way], w->executor, hits[0], counts, infos, err));
        for (uint32_t q = 0; q < QUERIES; q++) {
            mix_answer(w, hits[q], counts[q], &infos[q]);
        }
    }
    vd_hnsw_leave(w->index, &guard);
}

static bool stop_soon(void *context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return ++*(uint32_t *)context < 2;
}

/* The second pass in pieces, with writes in between. */
static void optimize(world *w) {
    for (uint32_t pieces = 0;; pieces++) {
        uint32_t calls = 0;
        vd_error error = {0};
        const vd_optimize_options options = {
            .executor = w->executor, .progress = pieces < 3 ? stop_soon : NULL, .progress_context = &calls};
        const vd_status status = vd_hnsw_optimize(w->index, &options, &error);
        if (status == VD_OK) {
            return;
        }
        assert_int_equal(status, VD_CANCELLED);
        if (pieces == 1) {
            add_items(w, 1700, 30);
            delete_items(w, 600, 20, 1);
        }
    }
}

static uint64_t live(const life *l, vd_metric metric, uint32_t threads) {
    executor_pool *pool = NULL;
    assert_int_equal(executor_pool_new(threads, &pool), VD_OK);
    world w = {.executor = threads == 1 ? NULL : executor_pool_get(pool), .r = {4711}, .sum = SUM_EMPTY};
    w.index = help_new(&(vd_hnsw_options){.dimension = D,
                                          .metric = metric,
                                          .m = 16,
                                          .ef_construction = 60,
                                          .encoding = l->encoding,
                                          .discard_vectors = l->discard,
                                          .seed = 9});
    add_items(&w, 0, 900); /* in one call, then in some */
    for (uint32_t first = 900; first < ITEMS; first += 100) {
        add_items(&w, first, 100);
    }
    for (uint32_t i = 0; i < 10; i++) {
        add_items(&w, ITEMS + i, 1);
    }
    sum_graph(&w);
    delete_items(&w, 3, 150, 5); /* enough for a sweep */
    delete_items(&w, 0, 2, 1);
    add_items(&w, 700, 120); /* replaced */
    sum_graph(&w);
    optimize(&w);
    sum_graph(&w);
    OK(vd_hnsw_calibrate(w.index, w.executor, err));
    sum_answers(&w);
    if (!l->discard) {
        OK(vd_hnsw_convert(w.index, l->encoding == VD_ENCODING_F32 ? VD_ENCODING_SQ4 : VD_ENCODING_F32, w.executor,
                           err));
        add_items(&w, 100, 60);
        OK(vd_hnsw_convert(w.index, VD_ENCODING_AUTO, w.executor, err));
        sum_answers(&w);
    }
    add_items(&w, 1900, 60);
    sum_graph(&w);
    help_check(w.index, "at the end of a life");
    vd_hnsw_free(w.index);
    executor_pool_free(pool);
    return w.sum;
}

static const char *life_name(const life *l, vd_metric metric) {
    static char text[64];
    snprintf(text, sizeof text, "%s%s, %s", vd_encoding_name(l->encoding), l->discard ? " (discarded)" : "",
             metric == VD_METRIC_COSINE ? "cosine" : "euclidean");
    return text;
}

/* 1 and one more of 2, 3, 5 for each; for two of them all. */
static void any_number_of_threads(void **state) {
    (void)state;
    const uint32_t counts[] = {2, 3, 5};
    for (size_t i = 0; i < LIVES; i++) {
        for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
            const uint64_t alone = live(&lives[i], (vd_metric)metric, 1);
            const bool all = metric == VD_METRIC_COSINE && (lives[i].encoding == VD_ENCODING_SQ4 || i == 0);
            for (size_t t = 0; t < 3; t++) {
                if ((all || t == i % 3) && live(&lives[i], (vd_metric)metric, counts[t]) != alone) {
                    fail_msg("%s: %u threads make another index than one", life_name(&lives[i], (vd_metric)metric),
                             counts[t]);
                }
            }
        }
    }
}

static void any_processor(void **state) {
    (void)state;
    uint32_t wrong = 0;
    for (size_t i = 0; i < LIVES; i++) {
        for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
            const uint64_t sum = live(&lives[i], (vd_metric)metric, 2);
            const uint64_t wanted = metric == VD_METRIC_COSINE ? lives[i].cosine : lives[i].euclidean;
            if (sum != wanted) {
                wrong++;
                print_message("%s on %s: 0x%016" PRIx64 ", recorded is 0x%016" PRIx64 "\n",
                              life_name(&lives[i], (vd_metric)metric), vd_hnsw_cpu(), sum, wanted);
            }
        }
    }
    if (wrong) {
        fail_msg("%u of %zu lives end differently. On one processor only: a kernel is wrong. On all: building or "
                 "searching has changed; if that is meant, put what `%s record` prints into this test",
                 wrong, 2 * LIVES, "test_unit_hnsw_determinism");
    }
}

/* The table above, anew. `few`: whether every second is as it was, by one metric (where an emulator makes it slow). */
static void print_lives(bool few) {
    static const char *const names[] = {"AUTO", "F32", "SQ8", "SQ4", "F16", "BF16"};
    for (size_t i = 0; i < LIVES; i++) {
        const life *l = &lives[i];
        if (!few) {
            printf("    {VD_ENCODING_%s, %s, 0x%016" PRIx64 "ull, 0x%016" PRIx64 "ull},\n", names[l->encoding],
                   l->discard ? "true" : "false", live(l, VD_METRIC_COSINE, 2), live(l, VD_METRIC_EUCLIDEAN, 2));
        } else if (i % 2 == 0) {
            const vd_metric metric = i % 4 ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN;
            const uint64_t wanted = i % 4 ? l->cosine : l->euclidean, sum = live(l, metric, 1);
            printf("%s %s: %s\n", vd_hnsw_cpu(), life_name(l, metric), sum == wanted ? "as recorded" : "DIFFERENT");
        }
        fflush(stdout);
    }
}

/* ---- distances ---- */

static uint64_t sum_distances(vd_metric metric, vd_encoding encoding) {
    enum { COUNT = 2500, WIDE = 40, ASKED = 60 };
    static float vectors[COUNT * WIDE];
    rng r = {4711};
    data_fill(&r, SHAPE_CLUSTERED, vectors, COUNT, WIDE);
    vd_hnsw *index = help_new(&(vd_hnsw_options){
        .dimension = WIDE, .metric = metric, .m = 8, .ef_construction = 20, .encoding = encoding, .seed = 9});
    for (uint32_t i = 0; i < COUNT; i += 10) {
        char ids[10][16];
        vd_hnsw_item items[10];
        for (uint32_t j = 0; j < 10; j++) {
            int size = snprintf(ids[j], sizeof ids[j], "%u", i + j);
            uint32_t from = (i + j) % 9 == 8 ? (i + j) / 3 : i + j; /* some exact copies */
            items[j] = (vd_hnsw_item){{ids[j], (uint32_t)size}, vectors + (size_t)from * WIDE, NULL};
        }
        OK(vd_hnsw_add(index, items, 10, NULL, err));
        if (i % 50 == 40) {
            vd_id id = {ids[0], (uint32_t)strlen(ids[0])};
            OK(vd_hnsw_delete(index, &id, 1, NULL, NULL, err));
            id = (vd_id){"7", 1};
            OK(vd_hnsw_delete(index, &id, i == 240 ? 1 : 0, NULL, NULL, err));
        }
    }
    uint64_t sum = SUM_EMPTY;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t q = 0; q < ASKED; q++) {
        float query[WIDE];
        vd_hit hits[K];
        size_t count = 0;
        data_fill(&r, SHAPE_CLUSTERED, query, 1, WIDE);
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .exact = true}, hits, &count, NULL, err));
        for (size_t i = 0; i < count; i++) {
            mix_in(&sum, &hits[i].distance, sizeof hits[i].distance);
            mix_in(&sum, hits[i].id.data, hits[i].id.size);
        }
    }
    vd_hnsw_leave(index, &guard);
    vd_hnsw_free(index);
    return sum;
}

static void distances_are_for_ever(void **state) {
    (void)state;
    for (int e = VD_ENCODING_F32; e <= VD_ENCODING_BF16; e++) {
        const uint64_t sums[2] = {sum_distances(VD_METRIC_COSINE, (vd_encoding)e),
                                  sum_distances(VD_METRIC_EUCLIDEAN, (vd_encoding)e)};
        if (sums[0] != DISTANCE_SUM_COSINE || sums[1] != DISTANCE_SUM_EUCLIDEAN) {
            fail_msg("%s on %s: cosine 0x%016" PRIx64 ", euclidean 0x%016" PRIx64, vd_encoding_name((vd_encoding)e),
                     vd_hnsw_cpu(), sums[0], sums[1]);
        }
    }
}

int main(int argc, char **argv) {
    const char *wish = getenv("VECTORD_CPU");
    if (wish && strcmp(wish, vd_hnsw_cpu()) != 0) {
        printf("SKIPPED: this machine cannot run the %s kernels\n", wish);
        return 77;
    }
    if (argc > 1) {
        print_lives(strcmp(argv[1], "few") == 0);
        return 0;
    }
    printf("kernels: %s\n", vd_hnsw_cpu());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(any_processor),
        cmocka_unit_test(distances_are_for_ever),
    };
    /* Threads make no difference to the kernels: with a wish for those, that is not asked again. */
    return wish ? _cmocka_run_group_tests("kernels", tests + 1, 2, NULL, NULL)
                : cmocka_run_group_tests(tests, NULL, NULL);
}
