/*
 * basics_test.c - what the public header of the engine promises, one promise per test.
 */
#include <inttypes.h>
#include <math.h>

#include "engine_help.h"

#define ID(text)                                                                                                       \
    (vd_id) {                                                                                                          \
        text, sizeof(text) - 1                                                                                         \
    }

static vd_hnsw *index_of(uint32_t dimension, vd_metric metric) {
    return help_new(&(vd_hnsw_options){.dimension = dimension, .metric = metric});
}

static void add_one(vd_hnsw *index, vd_id id, const float *vector, void *payload) {
    vd_hnsw_item item = {id, vector, payload};
    OK(vd_hnsw_add(index, &item, 1, NULL, err));
}

static bool id_is(vd_id id, const char *text) {
    return id.size == strlen(text) && memcmp(id.data, text, id.size) == 0;
}

/* The ids of the answer in order, with blanks between; at most 256 bytes. */
static void expect_ids(const vd_hnsw *index, const float *query, uint32_t k, const char *expected) {
    vd_hit hits[32];
    for (int exact = 0; exact <= 1; exact++) {
        size_t count = 0;
        char got[256] = "";
        size_t used = 0;
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = k, .exact = exact}, hits, &count, NULL, err));
        for (size_t i = 0; i < count; i++) {
            used += (size_t)snprintf(got + used, sizeof got - used, "%s%.*s", i ? " " : "", (int)hits[i].id.size,
                                     hits[i].id.data);
        }
        vd_hnsw_leave(index, &guard);
        assert_string_equal(got, expected);
    }
}

/* ---- options ---- */

static void expect_option(const vd_hnsw_options *options, const char *field, const char *text) {
    vd_hnsw *index = NULL;
    vd_error error = {0};
    vd_status status = vd_hnsw_new(options, &index, &error);
    if (!field) {
        assert_int_equal(status, VD_OK);
        vd_hnsw_free(index);
        return;
    }
    assert_int_equal(status, VD_INVALID_ARGUMENT);
    assert_null(index);
    assert_string_equal(error.field, field);
    assert_string_equal(error.text, text);
    assert_int_equal(vd_hnsw_new(options, &index, NULL), VD_INVALID_ARGUMENT); /* err may be NULL */
}

static void options_are_checked(void **state) {
    (void)state;
    expect_option(&(vd_hnsw_options){0}, "dimension", "dimension must be 1..16384 (got 0)");
    expect_option(&(vd_hnsw_options){.dimension = 16385}, "dimension", "dimension must be 1..16384 (got 16385)");
    expect_option(&(vd_hnsw_options){.dimension = 1}, NULL, NULL);
    expect_option(&(vd_hnsw_options){.dimension = 16384}, NULL, NULL);
    expect_option(&(vd_hnsw_options){.dimension = 3, .m = 1}, "m", "m must be 2..128 (got 1)");
    expect_option(&(vd_hnsw_options){.dimension = 3, .m = 129}, "m", "m must be 2..128 (got 129)");
    expect_option(&(vd_hnsw_options){.dimension = 3, .m = 2}, NULL, NULL);
    expect_option(&(vd_hnsw_options){.dimension = 3, .m = 128}, NULL, NULL);
    expect_option(&(vd_hnsw_options){.dimension = 3, .ef_construction = 7}, "ef_construction",
                  "ef_construction must be 8..2000 (got 7)");
    expect_option(&(vd_hnsw_options){.dimension = 3, .ef_construction = 2001}, "ef_construction",
                  "ef_construction must be 8..2000 (got 2001)");
    expect_option(&(vd_hnsw_options){.dimension = 3, .ef_search = 4097}, "ef_search",
                  "ef_search must be 1..4096 (got 4097)");
    expect_option(&(vd_hnsw_options){.dimension = 3, .ef_search = 4096, .ef_construction = 2000}, NULL, NULL);
    expect_option(&(vd_hnsw_options){.dimension = 3, .metric = (vd_metric)3}, "distance",
                  "distance must be cosine or euclidean");
    expect_option(&(vd_hnsw_options){.dimension = 3, .encoding = (vd_encoding)9}, "encoding",
                  "encoding must be one of auto, f32, sq8, sq4, f16, bf16");
    const double bad_targets[] = {-0.1, 1.0001, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < sizeof bad_targets / sizeof bad_targets[0]; i++) {
        expect_option(&(vd_hnsw_options){.dimension = 3, .recall_target = bad_targets[i]}, "recall_target",
                      "recall_target must be above 0 and at most 1");
    }
    expect_option(&(vd_hnsw_options){.dimension = 3, .recall_target = 1.0}, NULL, NULL);
}

static void defaults_are_filled_in(void **state) {
    (void)state;
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = 7});
    vd_hnsw_options o;
    vd_hnsw_get_options(index, &o);
    assert_int_equal(o.dimension, 7);
    assert_int_equal(o.metric, VD_METRIC_COSINE);
    assert_int_equal(o.m, VD_M_DEFAULT);
    assert_int_equal(o.ef_construction, VD_EF_CONSTRUCTION_DEFAULT);
    assert_int_equal(o.ef_search, VD_EF_SEARCH_DEFAULT);
    assert_true(o.recall_target == VD_RECALL_TARGET_DEFAULT);
    assert_int_equal(o.encoding, VD_ENCODING_AUTO);
    vd_hnsw_free(index);
    vd_hnsw_free(NULL);
    assert_non_null(vd_hnsw_cpu());
    assert_string_equal(vd_version(), VECTORD_VERSION);
}

/* ---- vectors and ids ---- */

static void expect_bad(const vd_hnsw *index, const float *vector, const char *text) {
    vd_error error = {0};
    assert_int_equal(vd_hnsw_validate(index, vector, &error), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, text));
    vd_hit hit[1];
    size_t count = 77;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    assert_int_equal(vd_hnsw_search(index, vector, &(vd_hnsw_search_options){.k = 1}, hit, &count, NULL, &error),
                     VD_INVALID_ARGUMENT);
    vd_hnsw_leave(index, &guard);
    assert_non_null(strstr(error.text, text));
    vd_hnsw_item item = {ID("x"), vector, NULL};
    assert_int_equal(vd_hnsw_add((vd_hnsw *)index, &item, 1, NULL, &error), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "items[0]: "));
    assert_non_null(strstr(error.text, text));
    assert_int_equal(vd_hnsw_count(index), 0);
}

static void vectors_are_checked(void **state) {
    (void)state;
    vd_hnsw *cosine = index_of(3, VD_METRIC_COSINE), *euclidean = index_of(3, VD_METRIC_EUCLIDEAN);
    const float nan_at_1[] = {1.0f, NAN, 1.0f}, inf_at_2[] = {0.0f, 0.0f, -INFINITY};
    const float both[] = {INFINITY, NAN, 1.0f};
    const float zero[] = {0.0f, -0.0f, 0.0f}, huge[] = {3e38f, 3e38f, 0.0f};
    expect_bad(cosine, nan_at_1, "vector[1] is not finite");
    expect_bad(euclidean, inf_at_2, "vector[2] is not finite");
    expect_bad(cosine, both, "vector[0] is not finite");
    expect_bad(cosine, zero, "zero-norm vector");
    expect_bad(cosine, huge, "norm overflows");
    expect_bad(euclidean, huge, "norm overflows");
    assert_int_equal(vd_hnsw_validate(euclidean, zero, NULL), VD_OK);
    const float small[] = {1e-18f, 0.0f, 0.0f}, large[] = {4e18f, 0.0f, 0.0f};
    assert_int_equal(vd_hnsw_validate(cosine, small, NULL), VD_OK);
    assert_int_equal(vd_hnsw_validate(cosine, large, NULL), VD_OK);
    assert_int_equal(vd_hnsw_validate(euclidean, large, NULL), VD_OK);
    vd_hnsw_free(cosine);
    vd_hnsw_free(euclidean);
}

static void a_batch_is_all_or_nothing(void **state) {
    (void)state;
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = 2, .metric = VD_METRIC_EUCLIDEAN});
    const float fine[] = {1, 2}, bad[] = {1, NAN};
    static const char long_id[VD_ID_MAX_BYTES + 1];
    const struct {
        vd_hnsw_item third;
        const char *field, *text;
    } cases[] = {
        {{ID("c"), bad, NULL}, "items[2].vector", "items[2]: vector[1] is not finite"},
        {{{"", 0}, fine, NULL}, "items[2].id", "items[2]: empty id"},
        {{{long_id, VD_ID_MAX_BYTES + 1}, fine, NULL},
         "items[2].id",
         "items[2]: id too long (1025 bytes, at most 1024)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vd_hnsw_item items[] = {{ID("a"), fine, NULL}, {ID("b"), fine, NULL}, cases[i].third, {ID("d"), fine, NULL}};
        vd_error error = {0};
        assert_int_equal(vd_hnsw_add(index, items, 4, NULL, &error), VD_INVALID_ARGUMENT);
        assert_string_equal(error.field, cases[i].field);
        assert_string_equal(error.text, cases[i].text);
        assert_int_equal(vd_hnsw_count(index), 0);
    }
    expect_ids(index, fine, 5, "");
    OK(vd_hnsw_add(index, NULL, 0, NULL, err)); /* nothing to add is fine */
    help_check(index, "after refused batches");
    vd_hnsw_free(index);
}

static void ids_of_any_bytes_and_lengths(void **state) {
    (void)state;
    enum { IDS = 300 };
    vd_hnsw *index = index_of(2, VD_METRIC_EUCLIDEAN);
    static char bytes[IDS][VD_ID_MAX_BYTES];
    uint32_t sizes[IDS];
    rng r = {5};
    for (uint32_t i = 0; i < IDS; i++) {
        /* lengths 1..256 (one-byte ids of every tenth value), then at and near the longest */
        sizes[i] = i < 256 ? i + 1 : VD_ID_MAX_BYTES - (i - 256);
        for (uint32_t j = 0; j < sizes[i]; j++) {
            bytes[i][j] = i % 3 == 0 ? '\0' : (char)rng_below(&r, 256); /* zeros alone: only lengths differ */
        }
        const float v[] = {(float)i, 1};
        add_one(index, (vd_id){bytes[i], sizes[i]}, v, &bytes[i]);
    }
    assert_int_equal(vd_hnsw_count(index), IDS);
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t i = 0; i < IDS; i++) {
        float got[2];
        void *payload = NULL;
        assert_int_equal(vd_hnsw_get(index, (vd_id){bytes[i], sizes[i]}, got, &payload), VD_OK);
        assert_true(got[0] == (float)i);
        assert_ptr_equal(payload, &bytes[i]);
        const float v[] = {(float)i, 1};
        vd_hit hit[1];
        size_t count = 0;
        OK(vd_hnsw_search(index, v, &(vd_hnsw_search_options){.k = 1}, hit, &count, NULL, err));
        assert_int_equal(hit[0].id.size, sizes[i]);
        assert_memory_equal(hit[0].id.data, bytes[i], sizes[i]);
    }
    assert_int_equal(vd_hnsw_get(index, (vd_id){"", 0}, NULL, NULL), VD_NOT_FOUND);
    vd_hnsw_leave(index, &guard);
    help_check(index, "ids");
    for (uint32_t i = 0; i < IDS; i += 2) {
        size_t deleted = 0;
        vd_id id = {bytes[i], sizes[i]};
        OK(vd_hnsw_delete(index, &id, 1, NULL, &deleted, err));
        assert_int_equal(deleted, 1);
        const float v[] = {(float)i, 2};
        add_one(index, id, v, NULL);
    }
    assert_int_equal(vd_hnsw_count(index), IDS);
    help_check(index, "ids put back");
    vd_hnsw_free(index);
}

static void ids_are_copied(void **state) {
    (void)state;
    vd_hnsw *index = index_of(1, VD_METRIC_EUCLIDEAN);
    char id[] = "kept";
    float v[] = {1};
    add_one(index, (vd_id){id, 4}, v, NULL);
    memset(id, 'x', 4);
    v[0] = 99;
    float got = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    assert_int_equal(vd_hnsw_get(index, ID("kept"), &got, NULL), VD_OK);
    vd_hnsw_leave(index, &guard);
    assert_true(got == 1.0f);
    vd_hnsw_free(index);
}

/* ---- answers ---- */

static void an_empty_index_answers(void **state) {
    (void)state;
    vd_hnsw *index = index_of(2, VD_METRIC_COSINE);
    const float v[] = {1, 0};
    expect_ids(index, v, 10, "");
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    assert_int_equal(stats.items, 0);
    assert_int_equal(stats.levels, 0);
    assert_int_equal(stats.calibrated_at, 0);
    help_check(index, "empty");
    assert_false(vd_hnsw_calibration_due(index));
    OK(vd_hnsw_calibrate(index, NULL, err));
    size_t deleted = 9;
    vd_id id = ID("none");
    OK(vd_hnsw_delete(index, &id, 1, NULL, &deleted, err));
    assert_int_equal(deleted, 0);
    OK(vd_hnsw_delete(index, &id, 1, NULL, NULL, err));
    OK(vd_hnsw_delete(index, NULL, 0, NULL, &deleted, err));
    vd_hnsw_snapshot *s = NULL;
    OK(vd_hnsw_snapshot_begin(index, &s, err));
    assert_int_equal(vd_hnsw_snapshot_count(s), 0);
    assert_int_equal(vd_hnsw_snapshot_levels(s), 0);
    vd_hnsw_snapshot_end(s);
    vd_hnsw_snapshot_end(NULL);
    vd_hnsw_free(index);
}

static void k_larger_than_the_index_and_k_0(void **state) {
    (void)state;
    vd_hnsw *index = index_of(1, VD_METRIC_EUCLIDEAN);
    const float at_3[] = {3};
    add_one(index, ID("only"), at_3, NULL);
    expect_ids(index, at_3, 1, "only");
    expect_ids(index, at_3, 32, "only");
    help_check(index, "one item");
    for (int i = 0; i < 12; i++) {
        char id[3] = {'i', (char)('a' + i), 0};
        const float v[] = {(float)(10 + i)};
        add_one(index, (vd_id){id, 2}, v, NULL);
    }
    expect_ids(index, at_3, 0, "only ia ib ic id ie if ig ih ii"); /* 0 means VD_K_DEFAULT */
    expect_ids(index, at_3, 32, "only ia ib ic id ie if ig ih ii ij ik il");
    vd_hnsw_free(index);
}

/* All that there is, asked for with the largest numbers: costs no more memory than what there is. */
static void k_and_ef_beyond_everything(void **state) {
    (void)state;
    fault_allocator memory;
    fault_allocator_init(&memory);
    vd_hnsw *index =
        help_new(&(vd_hnsw_options){.dimension = 1, .metric = VD_METRIC_EUCLIDEAN, .allocator = &memory.face});
    const float at[] = {1, 2, 3};
    add_one(index, ID("a"), &at[0], NULL);
    add_one(index, ID("b"), &at[1], NULL);
    add_one(index, ID("c"), &at[2], NULL);
    const vd_hnsw_search_options all[] = {
        {.k = UINT32_MAX}, {.k = UINT32_MAX, .exact = true}, {.k = 3, .ef = UINT32_MAX}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        vd_hit hits[3];
        size_t count = 0;
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, &at[0], &all[i], hits, &count, NULL, err));
        vd_hnsw_leave(index, &guard);
        assert_int_equal(count, 3);
    }
    assert_true(atomic_load(&memory.bytes) < 4 << 20);
    vd_hnsw_free(index);
    assert_int_equal(atomic_load(&memory.bytes), 0);
}

static void euclidean_is_pythagoras(void **state) {
    (void)state;
    vd_hnsw *index = index_of(2, VD_METRIC_EUCLIDEAN);
    const float origin[] = {0, 0}, point[] = {3, 4};
    add_one(index, ID("p"), point, NULL);
    vd_hit hit[1];
    size_t count = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    OK(vd_hnsw_search(index, origin, &(vd_hnsw_search_options){.k = 1}, hit, &count, NULL, err));
    vd_hnsw_leave(index, &guard);
    assert_int_equal(count, 1);
    assert_true(hit[0].distance == 5.0);
    vd_hnsw_free(index);
}

static void cosine_of_known_angles(void **state) {
    (void)state;
    vd_hnsw *index = index_of(2, VD_METRIC_COSINE);
    const float east[] = {2, 0}, north[] = {0, 5}, west[] = {-0.5f, 0}, far_east[] = {1e6f, 0};
    add_one(index, ID("east"), east, NULL);
    add_one(index, ID("north"), north, NULL);
    add_one(index, ID("west"), west, NULL);
    add_one(index, ID("far east"), far_east, NULL);
    vd_hit hits[4];
    size_t count = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    OK(vd_hnsw_search(index, east, &(vd_hnsw_search_options){.k = 4}, hits, &count, NULL, err));
    assert_true(count == 4 && hits[0].distance == 0.0 && hits[1].distance == 0.0);
    assert_true(hits[2].distance == 1.0 && hits[3].distance == 2.0);
    assert_true(id_is(hits[0].id, "east") && id_is(hits[1].id, "far east")); /* length does not count */
    assert_true(id_is(hits[2].id, "north") && id_is(hits[3].id, "west"));
    vd_hnsw_leave(index, &guard);
    vd_hnsw_free(index);
}

static void a_vector_is_0_from_itself(void **state) {
    (void)state;
    const uint32_t dimensions[] = {1, 2, 3, 15, 16, 17, 31, 64, 100, 384, 1000};
    rng r = {8};
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
            vd_hnsw *index = index_of(dimensions[d], (vd_metric)metric);
            float v[1000];
            for (uint32_t i = 0; i < 30; i++) {
                data_fill(&r, i % 2 ? SHAPE_CLUSTERED : SHAPE_UNIFORM, v, 1, dimensions[d]);
                float scale = i % 3 == 0 ? 1e-15f : i % 3 == 1 ? 1.0f : 1e15f;
                for (uint32_t j = 0; j < dimensions[d]; j++) {
                    v[j] *= scale;
                }
                add_one(index, (vd_id){(const char *)&i, sizeof i}, v, NULL);
                vd_hit hit[1];
                size_t count = 0;
                vd_hnsw_guard guard;
                vd_hnsw_enter(index, &guard);
                OK(vd_hnsw_search(index, v, &(vd_hnsw_search_options){.k = 1}, hit, &count, NULL, err));
                vd_hnsw_leave(index, &guard);
                assert_int_equal(count, 1);
                assert_true(hit[0].distance == 0.0);
                assert_false(signbit(hit[0].distance));
            }
            vd_hnsw_free(index);
        }
    }
}

static void ties_are_ordered_by_id_bytes(void **state) {
    (void)state;
    vd_hnsw *index = index_of(2, VD_METRIC_EUCLIDEAN);
    const float around[][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}, {1, 0}, {1, 0}};
    const char *ids[] = {"b", "ab", "\xC3\xA4", "a", "B", "abc"};
    for (size_t i = 0; i < 6; i++) {
        add_one(index, (vd_id){ids[i], (uint32_t)strlen(ids[i])}, around[i], NULL);
    }
    const float origin[] = {0, 0};
    expect_ids(index, origin, 6, "B a ab abc b \xC3\xA4"); /* bytes, unsigned; a prefix comes first */
    expect_ids(index, origin, 3, "B a ab");
    vd_hnsw_free(index);
}

/* A larger index: the answers of the graph carry exact distances too, and exact search is the oracle's, bit by bit. */
static void exact_search_is_the_oracle(void **state) {
    (void)state;
    enum { COUNT = 1500, QUERIES = 20, K = 25, WIDEST = 50 };
    const uint32_t dimensions[] = {1, 2, 17, WIDEST};
    static float vectors[COUNT * WIDEST];
    static double distances[COUNT];
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
            uint32_t dimension = dimensions[d];
            rng r = {31 + dimension};
            vd_hnsw *index = index_of(dimension, (vd_metric)metric);
            data_fill(&r, SHAPE_CLUSTERED, vectors, COUNT, dimension);
            for (uint32_t i = 0; i < COUNT; i++) {
                add_one(index, (vd_id){(const char *)&i, sizeof i}, vectors + (size_t)i * dimension, NULL);
            }
            for (uint32_t q = 0; q < QUERIES; q++) {
                float query[WIDEST];
                data_fill(&r, SHAPE_CLUSTERED, query, 1, dimension);
                for (uint32_t i = 0; i < COUNT; i++) {
                    distances[i] =
                        oracle_distance((vd_metric)metric, query, vectors + (size_t)i * dimension, dimension);
                }
                vd_hit hits[K];
                vd_search_info info;
                vd_hnsw_guard guard;
                vd_hnsw_enter(index, &guard);
                for (int exact = 0; exact <= 1; exact++) {
                    size_t count = 0;
                    OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .exact = exact}, hits, &count,
                                      &info, err));
                    assert_int_equal(count, K);
                    assert_int_equal(info.exact, exact);
                    assert_true(info.distances >= (exact ? COUNT : K));
                    for (size_t i = 0; i < count; i++) {
                        uint32_t number;
                        memcpy(&number, hits[i].id.data, sizeof number);
                        assert_true(same_bits(hits[i].distance, distances[number]));
                        assert_true(i == 0 || hits[i].distance > hits[i - 1].distance ||
                                    (hits[i].distance == hits[i - 1].distance &&
                                     oracle_id_order(hits[i - 1].id, hits[i].id) < 0));
                    }
                }
                uint32_t nearer = 0; /* than the last exact hit: all of them must be in the answer */
                for (uint32_t i = 0; i < COUNT; i++) {
                    nearer += distances[i] < hits[K - 1].distance;
                }
                assert_true(nearer < K);
                vd_hnsw_leave(index, &guard);
            }
            vd_hnsw_free(index);
        }
    }
}

static void ef_is_taken_as_given(void **state) {
    (void)state;
    enum { COUNT = 2000, DIMENSION = 16 };
    static float vectors[COUNT * DIMENSION];
    rng r = {61};
    vd_hnsw *index = index_of(DIMENSION, VD_METRIC_EUCLIDEAN);
    data_fill(&r, SHAPE_UNIFORM, vectors, COUNT, DIMENSION);
    for (uint32_t i = 0; i < COUNT; i++) {
        add_one(index, (vd_id){(const char *)&i, sizeof i}, vectors + (size_t)i * DIMENSION, NULL);
    }
    vd_hit hits[32];
    size_t count = 0;
    vd_search_info narrow, wide, floor;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    float query[DIMENSION];
    data_fill(&r, SHAPE_UNIFORM, query, 1, DIMENSION);
    OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = 10, .ef = 10}, hits, &count, &narrow, err));
    OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = 10, .ef = 400}, hits, &count, &wide, err));
    OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = 32, .ef = 5}, hits, &count, &floor, err));
    vd_hnsw_leave(index, &guard);
    assert_int_equal(narrow.ef, 10);
    assert_int_equal(wide.ef, 400);
    assert_int_equal(floor.ef, 32); /* at least k */
    assert_true(narrow.visited < wide.visited && narrow.distances < wide.distances);
    vd_hnsw_free(index);
}

/* ---- replacing and deleting ---- */

typedef struct counters {
    uint32_t released[64]; /* by payload number */
} counters;

static void count_release(void *context, void *payload) {
    counters *c = context;
    if (payload) {
        c->released[(uintptr_t)payload]++;
    }
}

static vd_hnsw *counted_index(counters *c) {
    memset(c, 0, sizeof *c);
    return help_new(&(vd_hnsw_options){
        .dimension = 2, .metric = VD_METRIC_EUCLIDEAN, .release_payload = count_release, .release_context = c});
}

#define PAYLOAD(number) ((void *)(uintptr_t)(number))

static void an_upsert_replaces_vector_and_payload(void **state) {
    (void)state;
    counters c;
    vd_hnsw *index = counted_index(&c);
    const float old[] = {1, 1}, fresh[] = {9, 9};
    add_one(index, ID("x"), old, PAYLOAD(1));
    add_one(index, ID("y"), old, PAYLOAD(2));
    add_one(index, ID("x"), fresh, PAYLOAD(3));
    assert_int_equal(vd_hnsw_count(index), 2);
    float got[2];
    void *payload = NULL;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    assert_int_equal(vd_hnsw_get(index, ID("x"), got, &payload), VD_OK);
    assert_true(got[0] == 9.0f && payload == PAYLOAD(3));
    vd_hnsw_leave(index, &guard);
    expect_ids(index, fresh, 5, "x y");
    expect_ids(index, old, 5, "y x");
    add_one(index, ID("x"), fresh, PAYLOAD(4)); /* the same vector, another payload */
    vd_hnsw_enter(index, &guard);
    assert_int_equal(vd_hnsw_get(index, ID("x"), NULL, &payload), VD_OK);
    assert_true(payload == PAYLOAD(4));
    vd_hnsw_leave(index, &guard);
    help_check(index, "after upserts");
    vd_hnsw_free(index);
    for (uint32_t i = 1; i <= 4; i++) {
        assert_int_equal(c.released[i], 1);
    }
}

static void the_last_of_equal_ids_wins(void **state) {
    (void)state;
    counters c;
    vd_hnsw *index = counted_index(&c);
    const float first[] = {1, 0}, second[] = {2, 0}, third[] = {3, 0}, other[] = {7, 7};
    vd_hnsw_item items[] = {{ID("x"), first, PAYLOAD(1)},
                            {ID("o"), other, PAYLOAD(2)},
                            {ID("x"), second, PAYLOAD(3)},
                            {ID("x"), third, PAYLOAD(4)}};
    OK(vd_hnsw_add(index, items, 4, NULL, err));
    assert_int_equal(vd_hnsw_count(index), 2);
    assert_int_equal(c.released[1] + c.released[3], 2);
    assert_int_equal(c.released[2] + c.released[4], 0);
    expect_ids(index, third, 5, "x o");
    float got[2];
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    assert_int_equal(vd_hnsw_get(index, ID("x"), got, NULL), VD_OK);
    assert_true(got[0] == 3.0f);
    vd_hnsw_leave(index, &guard);
    vd_hnsw_free(index);
    for (uint32_t i = 1; i <= 4; i++) {
        assert_int_equal(c.released[i], 1);
    }
}

static void a_refused_batch_leaves_payloads_to_the_caller(void **state) {
    (void)state;
    counters c;
    vd_hnsw *index = counted_index(&c);
    const float fine[] = {1, 0}, bad[] = {INFINITY, 0};
    add_one(index, ID("x"), fine, PAYLOAD(1));
    vd_hnsw_item items[] = {{ID("x"), fine, PAYLOAD(2)}, {ID("x"), fine, PAYLOAD(3)}, {ID("y"), bad, PAYLOAD(4)}};
    assert_int_equal(vd_hnsw_add(index, items, 3, NULL, NULL), VD_INVALID_ARGUMENT);
    vd_hnsw_free(index);
    assert_int_equal(c.released[1], 1);
    assert_int_equal(c.released[2] + c.released[3] + c.released[4], 0);
}

static void no_payload_goes_while_a_guard_may_see_it(void **state) {
    (void)state;
    counters c;
    vd_hnsw *index = counted_index(&c);
    const float v[] = {1, 0}, w[] = {2, 0};
    add_one(index, ID("x"), v, PAYLOAD(1));
    add_one(index, ID("y"), w, PAYLOAD(2));
    vd_hit hits[2];
    size_t count = 0;
    vd_hnsw_guard guard, later;
    vd_hnsw_enter(index, &guard);
    OK(vd_hnsw_search(index, v, &(vd_hnsw_search_options){.k = 2}, hits, &count, NULL, err));
    add_one(index, ID("x"), w, PAYLOAD(3));
    vd_id y = ID("y");
    OK(vd_hnsw_delete(index, &y, 1, NULL, NULL, err));
    vd_hnsw_enter(index, &later); /* one that never saw them does not keep them for ever */
    for (int i = 0; i < 20; i++) {
        add_one(index, ID("z"), v, PAYLOAD(10 + i));
    }
    assert_int_equal(c.released[1], 0);
    assert_int_equal(c.released[2], 0);
    assert_true(id_is(hits[0].id, "x") && id_is(hits[1].id, "y"));
    vd_hnsw_leave(index, &guard);
    add_one(index, ID("z"), v, PAYLOAD(40)); /* a write after it has left: they go */
    assert_int_equal(c.released[1], 1);
    assert_int_equal(c.released[2], 1);
    vd_hnsw_leave(index, &later);
    vd_hnsw_free(index);
    for (uint32_t i = 1; i <= 40; i++) {
        assert_int_equal(c.released[i], i <= 3 || (i >= 10 && i < 30) || i == 40 ? 1 : 0);
    }
}

static void deleting_what_is_there_and_what_is_not(void **state) {
    (void)state;
    vd_hnsw *index = index_of(1, VD_METRIC_EUCLIDEAN);
    const float v[] = {1};
    add_one(index, ID("a"), v, NULL);
    add_one(index, ID("b"), v, NULL);
    const vd_id ids[] = {ID("nobody"), ID("a"), ID("a"), {"", 0}, ID("A")};
    size_t deleted = 0;
    OK(vd_hnsw_delete(index, ids, 5, NULL, &deleted, err));
    assert_int_equal(deleted, 1);
    assert_int_equal(vd_hnsw_count(index), 1);
    expect_ids(index, v, 9, "b");
    help_check(index, "after a delete");
    vd_hnsw_free(index);
}

static void emptied_and_refilled(void **state) {
    (void)state;
    enum { COUNT = 1200, DIMENSION = 12, ROUNDS = 6 };
    counters c = {0};
    vd_hnsw *index = help_new(
        &(vd_hnsw_options){.dimension = DIMENSION, .m = 6, .release_payload = count_release, .release_context = &c});
    static float vectors[COUNT * DIMENSION];
    static uint32_t numbers[COUNT];
    static vd_id ids[COUNT];
    rng r = {71};
    vd_hnsw_stats first = {0}, last = {0};
    for (uint32_t round = 0; round < ROUNDS; round++) {
        data_fill(&r, SHAPE_CLUSTERED, vectors, COUNT, DIMENSION);
        for (uint32_t i = 0; i < COUNT; i++) {
            numbers[i] = i;
            ids[i] = (vd_id){(const char *)&numbers[i], sizeof numbers[i]};
            add_one(index, ids[i], vectors + (size_t)i * DIMENSION, PAYLOAD(round + 1));
        }
        help_check(index, "filled");
        vd_hnsw_get_stats(index, round <= 2 ? &first : &last); /* each way of emptying has been used by then */
        size_t deleted = 0;
        if (round % 2) { /* all at once, or one by one */
            OK(vd_hnsw_delete(index, ids, COUNT, NULL, &deleted, err));
            assert_int_equal(deleted, COUNT);
        } else {
            for (uint32_t i = 0; i < COUNT; i++) {
                OK(vd_hnsw_delete(index, &ids[i], 1, NULL, &deleted, err));
                assert_int_equal(deleted, 1);
                if (i % 100 == 0 || i > COUNT - 20) {
                    help_check(index, "while emptied");
                }
            }
        }
        assert_int_equal(vd_hnsw_count(index), 0);
        help_check(index, "emptied");
        expect_ids(index, vectors, 5, "");
        assert_int_equal(c.released[round + 1], COUNT);
    }
    if (last.memory_bytes > first.memory_bytes + first.memory_bytes / 20) {
        fail_msg("%" PRIu64 " bytes after the third fill, %" PRIu64 " after the last", first.memory_bytes,
                 last.memory_bytes);
    }
    vd_hnsw_free(index);
}

/* ---- calibration ---- */

static void calibration_comes_due_and_reports(void **state) {
    (void)state;
    enum { COUNT = 3000, DIMENSION = 24 };
    static float vectors[COUNT * DIMENSION];
    rng r = {81};
    data_fill(&r, SHAPE_CLUSTERED, vectors, COUNT, DIMENSION);
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = DIMENSION});
    for (uint32_t i = 0; i < COUNT; i++) {
        if (i == 100) {
            assert_false(vd_hnsw_calibration_due(index)); /* small indexes are scanned */
        }
        if (i == COUNT / 3) {
            assert_true(vd_hnsw_calibration_due(index));
            OK(vd_hnsw_calibrate(index, NULL, err));
            assert_false(vd_hnsw_calibration_due(index));
        }
        add_one(index, (vd_id){(const char *)&i, sizeof i}, vectors + (size_t)i * DIMENSION, NULL);
    }
    assert_true(vd_hnsw_calibration_due(index)); /* it has more than doubled */
    OK(vd_hnsw_calibrate(index, NULL, err));
    assert_false(vd_hnsw_calibration_due(index));
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    assert_int_equal(stats.calibrated_at, COUNT);
    assert_true(stats.calibrated_recall >= 0.97);
    assert_true(stats.ef_effective >= VD_EF_SEARCH_DEFAULT && stats.ef_effective <= VD_EF_SEARCH_MAX);
    assert_true(stats.encoding == VD_ENCODING_F32 || stats.encoding == VD_ENCODING_SQ8);
    vd_search_info info;
    vd_hit hits[10];
    size_t count = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    OK(vd_hnsw_search(index, vectors, &(vd_hnsw_search_options){.k = 10}, hits, &count, &info, err));
    vd_hnsw_leave(index, &guard);
    assert_int_equal(info.ef, stats.ef_effective);
    vd_hnsw_free(index);
}

/* ---- a batch that comes while a search is on its way ---- */

enum { EARLY = 600, LATE = 12000, OVERTAKEN_DIMENSION = 4 };

typedef struct overtaker {
    vd_allocator face;
    vd_hnsw *index;
    float vectors[(EARLY + LATE) * OVERTAKEN_DIMENSION];
    uint32_t numbers[EARLY + LATE];
    bool armed;
} overtaker;

static void overtaker_add(overtaker *o, uint32_t from, uint32_t count) {
    vd_hnsw_item *items = calloc(count, sizeof *items);
    assert_non_null(items);
    for (uint32_t i = 0; i < count; i++) {
        items[i] = (vd_hnsw_item){.id = {(const char *)&o->numbers[from + i], sizeof o->numbers[0]},
                                  .vector = o->vectors + (size_t)(from + i) * OVERTAKEN_DIMENSION};
    }
    OK(vd_hnsw_add(o->index, items, count, NULL, err));
    free(items);
}

static void *overtaker_alloc(void *context, size_t size) {
    overtaker *o = context;
    if (o->armed) {
        o->armed = false;
        overtaker_add(o, EARLY, LATE);
    }
    return malloc(size);
}

static void *overtaker_resize(void *context, void *block, size_t old_size, size_t new_size) {
    (void)context;
    (void)old_size;
    return realloc(block, new_size);
}

static void overtaker_release(void *context, void *block, size_t size) {
    (void)context;
    (void)size;
    free(block);
}

/* The search has its working memory already when the index grows to twenty times its size: the nodes it then meets have numbers
 * that the memory was not made for. */
static void a_batch_may_overtake_a_search(void **state) {
    (void)state;
    overtaker *o = calloc(1, sizeof *o);
    assert_non_null(o);
    o->face = (vd_allocator){o, overtaker_alloc, overtaker_resize, overtaker_release};
    rng r = {41};
    data_fill(&r, SHAPE_UNIFORM, o->vectors, EARLY + LATE, OVERTAKEN_DIMENSION);
    for (uint32_t i = 0; i < EARLY + LATE; i++) {
        o->numbers[i] = i;
    }
    vd_hnsw_options options = {.dimension = OVERTAKEN_DIMENSION,
                               .metric = VD_METRIC_EUCLIDEAN,
                               .m = 6,
                               .ef_construction = 40,
                               .allocator = &o->face};
    o->index = help_new(&options);
    overtaker_add(o, 0, EARLY);
    const float query[OVERTAKEN_DIMENSION] = {0.1f, 0.2f, -0.1f, 0.05f};
    vd_hit hits[10], exact[10];
    size_t count = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(o->index, &guard);
    OK(vd_hnsw_search(o->index, query, &(vd_hnsw_search_options){.k = 10}, hits, &count, NULL,
                      err)); /* its memory stays */
    o->armed = true;
    /* a pool so wide that it needs new memory */
    OK(vd_hnsw_search(o->index, query, &(vd_hnsw_search_options){.k = 10, .ef = 600}, hits, &count, NULL, err));
    assert_false(o->armed);
    assert_int_equal(count, 10);
    OK(vd_hnsw_search(o->index, query, &(vd_hnsw_search_options){.k = 10, .exact = true}, exact, &count, NULL, err));
    for (size_t i = 0; i < 10; i++) {
        assert_true(same_bits(hits[i].distance, exact[i].distance));
    }
    vd_hnsw_leave(o->index, &guard);
    vd_hnsw_free(o->index);
    free(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(vectors_are_checked),
        cmocka_unit_test(a_batch_is_all_or_nothing),
        cmocka_unit_test(ids_of_any_bytes_and_lengths),
        cmocka_unit_test(ids_are_copied),
        cmocka_unit_test(an_empty_index_answers),
        cmocka_unit_test(k_larger_than_the_index_and_k_0),
        cmocka_unit_test(k_and_ef_beyond_everything),
        cmocka_unit_test(euclidean_is_pythagoras),
        cmocka_unit_test(cosine_of_known_angles),
        cmocka_unit_test(a_vector_is_0_from_itself),
        cmocka_unit_test(ties_are_ordered_by_id_bytes),
        cmocka_unit_test(exact_search_is_the_oracle),
        cmocka_unit_test(ef_is_taken_as_given),
        cmocka_unit_test(an_upsert_replaces_vector_and_payload),
        cmocka_unit_test(the_last_of_equal_ids_wins),
        cmocka_unit_test(a_refused_batch_leaves_payloads_to_the_caller),
        cmocka_unit_test(no_payload_goes_while_a_guard_may_see_it),
        cmocka_unit_test(deleting_what_is_there_and_what_is_not),
        cmocka_unit_test(emptied_and_refilled),
        cmocka_unit_test(calibration_comes_due_and_reports),
        cmocka_unit_test(a_batch_may_overtake_a_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
