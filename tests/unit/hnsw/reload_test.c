/*
 * reload_test.c - saved and loaded, by every encoding, kept or discarded: every value is the same bit for bit, exact answers are,
 * and the index that is built from the file does not depend on the number of threads. Once more saved, it is the same file's worth
 * of values again: what is kept of a vector that was discarded does not wear off.
 */
#include <inttypes.h>
#include <unistd.h>

#include "base/executor.h"
#include "engine_help.h"
#include "vectord/file.h"

enum { D = 45, ITEMS = 1300, QUERIES = 25, K = 10 };

static char path[4096];

static void mix_in(uint64_t *sum, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) { /* FNV-1a */
        *sum = (*sum ^ bytes[i]) * 0x100000001B3ull;
    }
}

typedef struct sums {
    uint64_t values, graph, exact, walked;
} sums;

static uint64_t sum_answers(const vd_hnsw *index, bool exact) {
    uint64_t sum = 0xCBF29CE484222325ull;
    rng r = {99};
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t q = 0; q < QUERIES; q++) {
        float query[D];
        vd_hit hits[K];
        size_t count = 0;
        data_fill(&r, SHAPE_CLUSTERED, query, 1, D);
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .exact = exact, .ef = exact ? 0 : 40}, hits,
                          &count, NULL, err));
        assert_int_equal(count, K);
        for (size_t i = 0; i < count; i++) {
            mix_in(&sum, &hits[i].distance, sizeof hits[i].distance);
            mix_in(&sum, hits[i].id.data, hits[i].id.size);
        }
    }
    vd_hnsw_leave(index, &guard);
    return sum;
}

static sums sums_of(vd_hnsw *index) {
    sums out = {0xCBF29CE484222325ull, 0xCBF29CE484222325ull, sum_answers(index, true), sum_answers(index, false)};
    vd_hnsw_snapshot *s = NULL;
    OK(vd_hnsw_snapshot_begin(index, &s, err));
    for (uint64_t i = 0; i < vd_hnsw_snapshot_count(s); i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s, i, &node);
        mix_in(&out.values, node.id.data, node.id.size);
        mix_in(&out.values, node.vector, D * sizeof *node.vector);
        for (uint32_t level = 0; level <= node.level; level++) {
            uint32_t links[2 * VD_M_MAX];
            size_t n = vd_hnsw_snapshot_links(s, i, level, links, 2 * VD_M_MAX);
            mix_in(&out.graph, links, n * sizeof links[0]);
        }
    }
    vd_hnsw_snapshot_end(s);
    help_check(index, "when summed up");
    return out;
}

static vd_hnsw *build(const vd_hnsw_options *options) {
    static float vectors[ITEMS * D];
    static char ids[ITEMS][8];
    static vd_hnsw_item items[ITEMS];
    rng r = {12};
    data_fill(&r, SHAPE_CLUSTERED, vectors, ITEMS, D);
    for (uint32_t i = 0; i < ITEMS; i++) {
        float *v = vectors + (size_t)i * D;
        for (uint32_t j = 0; j < D && i % 4 == 1; j++) {
            v[j] = v[j] > 0 ? v[j] : i % 8 == 1 ? 0.0f : -0.0f;
        }
        v[0] = v[0] == 0.0f ? 1.0f : v[0];
        if (i % 9 == 8) {
            memcpy(v, vectors + (size_t)(i / 2) * D, D * sizeof *v);
        }
        int size = snprintf(ids[i], sizeof ids[i], "%u", i);
        items[i] = (vd_hnsw_item){{ids[i], (uint32_t)size}, v, NULL};
    }
    vd_hnsw *index = help_new(options);
    OK(vd_hnsw_add(index, items, ITEMS - 100, NULL, err));
    vd_id gone[150];
    for (uint32_t i = 0; i < 150; i++) {
        gone[i] = items[i * 7].id;
    }
    OK(vd_hnsw_delete(index, gone, 150, NULL, NULL, err));
    OK(vd_hnsw_add(index, items + ITEMS - 100, 100, NULL, err));
    return index;
}

static void expect(uint64_t got, uint64_t wanted, const vd_hnsw_options *o, const char *what) {
    if (got != wanted) {
        fail_msg("%s%s, %s: %s", vd_encoding_name(o->encoding), o->discard_vectors ? " (discarded)" : "",
                 o->metric == VD_METRIC_COSINE ? "cosine" : "euclidean", what);
    }
}

static void values_and_exact_answers_outlive_a_file(void **state) {
    const vd_executor *threads = executor_pool_get(*state);
    for (uint32_t i = 0; i < 2 * 2 * 6; i++) {
        const vd_hnsw_options options = {.dimension = D,
                                         .metric = i % 2 ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN,
                                         .m = 8,
                                         .ef_construction = 50,
                                         .encoding = (vd_encoding)(i / 4),
                                         .discard_vectors = i / 2 % 2 != 0,
                                         .seed = 6};
        if (options.discard_vectors && options.encoding == VD_ENCODING_F32) {
            continue;
        }
        vd_hnsw *index = build(&options);
        const sums before = sums_of(index);
        for (int round = 0; round < 2; round++) {
            vd_hnsw *alone = NULL, *together = NULL;
            OK(vd_hnsw_save(index, path, "reload", VD_FILE_PLAIN, err));
            OK(vd_hnsw_load(path, &options, VD_FILE_PLAIN, NULL, &alone, err));
            OK(vd_hnsw_load(path, &options, VD_FILE_PLAIN, threads, &together, err));
            const sums one = sums_of(alone), many = sums_of(together);
            expect(one.values, before.values, &options, "values have changed");
            expect(one.exact, before.exact, &options, "exact answers have changed");
            expect(many.values, one.values, &options, "values depend on threads");
            expect(many.graph, one.graph, &options, "links depend on threads");
            expect(many.walked, one.walked, &options, "answers depend on threads");
            vd_hnsw_free(together);
            vd_hnsw_free(index);
            index = alone;
        }
        vd_hnsw_free(index);
    }
}

static int up(void **state) {
    executor_pool *pool = NULL;
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/vectord-reload-%d.lhv1", folder && folder[0] ? folder : "/tmp", (int)getpid());
    int code = executor_pool_new(3, &pool) == VD_OK ? 0 : -1;
    *state = pool;
    return code;
}

static int down(void **state) {
    unlink(path);
    executor_pool_free(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_and_exact_answers_outlive_a_file)};
    return cmocka_run_group_tests(tests, up, down);
}
