/*
 * determinism_test.c - on one thread the same operations make the same index: links, levels, and the work done for them. Codes
 * are whole numbers and final distances have one order of summing, so a graph on codes and every distance are the same on every
 * set of kernels too; the test runs once per set (VECTORD_CPU in the environment). Each must come to the sums of distances below,
 * which are for ever, and to the graphs of the plain kernels, which another process builds (the choice is made once in each).
 */
#include <inttypes.h>

#include "engine_help.h"

enum { COUNT = 2500, DIMENSION = 40, QUERIES = 60, K = 12 };

/* Of the distances: changes with the data or the documented order of summing, so never. */
#define DISTANCE_SUM_COSINE    0xf629cf53f19b86a7ull
#define DISTANCE_SUM_EUCLIDEAN 0xaa38f4c96f031170ull
static void mix_in(uint64_t *sum, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) { /* FNV-1a */
        *sum = (*sum ^ bytes[i]) * 0x100000001B3ull;
    }
}

typedef struct outcome {
    uint64_t graph, distances; /* sums */
    uint64_t build_work, search_work;
} outcome;

static void sum_graph(vd_hnsw *index, uint64_t *sum) {
    vd_hnsw_snapshot *s = NULL;
    OK(vd_hnsw_snapshot_begin(index, &s, err));
    uint64_t count = vd_hnsw_snapshot_count(s);
    for (uint64_t i = 0; i < count; i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s, i, &node);
        mix_in(sum, node.id.data, node.id.size);
        mix_in(sum, &node.level, sizeof node.level);
        for (uint32_t level = 0; level <= node.level; level++) {
            uint32_t links[2 * VD_M_MAX];
            size_t n = vd_hnsw_snapshot_links(s, i, level, links, 2 * VD_M_MAX);
            mix_in(sum, links, n * sizeof links[0]);
        }
    }
    vd_hnsw_snapshot_end(s);
}

static outcome build_and_search(vd_metric metric, vd_encoding encoding) {
    static float vectors[COUNT * DIMENSION];
    rng r = {4711};
    data_fill(&r, SHAPE_CLUSTERED, vectors, COUNT, DIMENSION);
    vd_hnsw *index = help_new(&(vd_hnsw_options){
        .dimension = DIMENSION, .metric = metric, .m = 8, .ef_construction = 60, .encoding = encoding, .seed = 9});
    for (uint32_t i = 0; i < COUNT; i += 10) {
        char ids[10][16];
        vd_hnsw_item items[10];
        for (uint32_t j = 0; j < 10; j++) {
            int size = snprintf(ids[j], sizeof ids[j], "%u", i + j);
            uint32_t from = (i + j) % 9 == 8 ? (i + j) / 3 : i + j; /* some exact copies */
            items[j] = (vd_hnsw_item){{ids[j], (uint32_t)size}, vectors + (size_t)from * DIMENSION, NULL};
        }
        OK(vd_hnsw_add(index, items, 10, NULL, err));
        if (i % 50 == 40) {
            vd_id id = {ids[0], (uint32_t)strlen(ids[0])};
            OK(vd_hnsw_delete(index, &id, 1, NULL, NULL, err));
            id = (vd_id){"7", 1};
            OK(vd_hnsw_delete(index, &id, i == 240 ? 1 : 0, NULL, NULL, err));
        }
    }
    outcome out = {0xCBF29CE484222325ull, 0xCBF29CE484222325ull, 0, 0};
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    out.build_work = stats.distances;
    sum_graph(index, &out.graph);
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t q = 0; q < QUERIES; q++) {
        float query[DIMENSION];
        vd_hit hits[K];
        size_t count = 0;
        vd_search_info info;
        data_fill(&r, SHAPE_CLUSTERED, query, 1, DIMENSION);
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .exact = true}, hits, &count, NULL, err));
        for (size_t i = 0; i < count; i++) {
            mix_in(&out.distances, &hits[i].distance, sizeof hits[i].distance);
            mix_in(&out.distances, hits[i].id.data, hits[i].id.size);
        }
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .ef = 50}, hits, &count, &info, err));
        mix_in(&out.graph, &info.visited, sizeof info.visited);
        out.search_work += info.distances;
    }
    vd_hnsw_leave(index, &guard);
    help_check(index, "at the end");
    vd_hnsw_free(index);
    return out;
}

static void twice_the_same(void **state) {
    (void)state;
    const vd_encoding encodings[] = {VD_ENCODING_SQ8, VD_ENCODING_F32, VD_ENCODING_AUTO};
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++) {
        for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
            outcome a = build_and_search((vd_metric)metric, encodings[i]);
            outcome b = build_and_search((vd_metric)metric, encodings[i]);
            assert_int_equal(a.graph, b.graph);
            assert_int_equal(a.distances, b.distances);
            assert_int_equal(a.build_work, b.build_work);
            assert_int_equal(a.search_work, b.search_work);
        }
    }
}

static void expect_sum(const char *what, uint64_t got, uint64_t expected) {
    if (got != expected) {
        fail_msg("%s on %s: 0x%016" PRIx64 ", expected 0x%016" PRIx64, what, vd_hnsw_cpu(), got, expected);
    }
}

static void distances_are_the_same_on_every_processor(void **state) {
    (void)state;
    outcome cosine = build_and_search(VD_METRIC_COSINE, VD_ENCODING_SQ8);
    outcome euclidean = build_and_search(VD_METRIC_EUCLIDEAN, VD_ENCODING_SQ8);
    print_message("distances 0x%016" PRIx64 " 0x%016" PRIx64 "\n", cosine.distances, euclidean.distances);
    expect_sum("cosine distances", cosine.distances, DISTANCE_SUM_COSINE);
    expect_sum("euclidean distances", euclidean.distances, DISTANCE_SUM_EUCLIDEAN);
}

static void print_graphs(void) {
    printf("%" PRIx64 " %" PRIx64 "\n", build_and_search(VD_METRIC_COSINE, VD_ENCODING_SQ8).graph,
           build_and_search(VD_METRIC_EUCLIDEAN, VD_ENCODING_SQ8).graph);
}

static void a_graph_on_codes_is_the_same_on_every_processor(void **state) {
    const char *program = *state;
    char command[4200];
    uint64_t cosine = 0, euclidean = 0;
    snprintf(command, sizeof command, "VECTORD_CPU=scalar '%s' graphs", program);
    FILE *plain = popen(command, "r");
    assert_non_null(plain);
    assert_int_equal(fscanf(plain, "%" SCNx64 " %" SCNx64, &cosine, &euclidean), 2);
    assert_int_equal(pclose(plain), 0);
    expect_sum("cosine graph", build_and_search(VD_METRIC_COSINE, VD_ENCODING_SQ8).graph, cosine);
    expect_sum("euclidean graph", build_and_search(VD_METRIC_EUCLIDEAN, VD_ENCODING_SQ8).graph, euclidean);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        print_graphs();
        return 0;
    }
    const char *wish = getenv("VECTORD_CPU");
    if (wish && strcmp(wish, vd_hnsw_cpu()) != 0) {
        printf("SKIPPED: this machine cannot run the %s kernels\n", wish);
        return 77;
    }
    printf("kernels: %s\n", vd_hnsw_cpu());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twice_the_same),
        cmocka_unit_test(distances_are_the_same_on_every_processor),
        cmocka_unit_test_prestate(a_graph_on_codes_is_the_same_on_every_processor, argv[0]),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
