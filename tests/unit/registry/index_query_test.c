/* index_query_test.c - what a search answers: order, distances and scores, by stored id, and what it refuses. */
#include <math.h>

#include "unit/registry/fixture.h"

static vd_status query(vd_index *index, const index_search *search, arena *a, index_hit **hits, size_t *count,
                       vd_error *err) {
    return index_query(index, search, a, hits, count, NULL, err);
}

static void add_point(vd_index *index, const char *id, float x, float y, const char *metadata) {
    const float v[DIM] = {x, y, 0, 0};
    index_item item = {.id = bytes_str(id), .vector = v, .vector_count = DIM};
    if (metadata) {
        item.metadata = bytes_str(metadata);
    }
    index_write_result result;
    OK(index_add(index, &item, 1, NULL, &result, NULL));
}

static void answers(void **state) {
    fixture *f = *state;
    make_index(f, "e", VD_METRIC_EUCLIDEAN);
    make_index(f, "c", VD_METRIC_COSINE);
    static const float at[DIM] = {3, 0, 0, 0};
    for (int round = 0; round < 2; round++) {
        bool cosine = round == 1;
        vd_index *index = get_index(f, cosine ? "c" : "e");
        add_point(index, "far", 3, 4, NULL);
        add_point(index, "near", 3, 0, "{\"n\" : 1}");
        add_point(index, "also near", 3, 0, NULL);
        add_point(index, "against", -3, 0, NULL);
        for (int exact = 0; exact < 2; exact++) {
            arena a;
            arena_init(&a, NULL, 0);
            index_search search = {.vector = at, .vector_count = DIM, .exact = exact == 1};
            index_hit *hits;
            size_t count;
            OK(query(index, &search, &a, &hits, &count, NULL));
            assert_int_equal(count, 4);
            static const char *const order[] = {"also near", "near", "far", "against"};
            const double distances[] = {0, 0, cosine ? 0.4 : 4, cosine ? 2 : 6};
            for (size_t i = 0; i < 4; i++) {
                assert_true(bytes_equal(hits[i].id, bytes_str(order[i])));
                assert_true(fabs(hits[i].distance - distances[i]) < 1e-7);
                double score = cosine ? 1 - distances[i] / 2 : 1 / (1 + distances[i]);
                assert_true(fabs(hits[i].score - score) < 1e-7);
                assert_true(hits[i].score >= 0 && hits[i].score <= 1);
            }
            assert_true(hits[0].distance == 0); /* a vector is at distance 0 from itself */
            assert_null(hits[0].metadata.data);
            assert_true(bytes_equal(hits[1].metadata, bytes_str("{\"n\" : 1}")));
            search.k = 1;
            OK(query(index, &search, &a, &hits, &count, NULL));
            assert_int_equal(count, 1);
            /* by a stored item, which is not in its own answer, its duplicate is */
            index_search by_id = {.id = bytes_str("near"), .k = 2, .exact = exact == 1};
            OK(query(index, &by_id, &a, &hits, &count, NULL));
            assert_int_equal(count, 2);
            assert_true(bytes_equal(hits[0].id, bytes_str("also near")));
            assert_true(bytes_equal(hits[1].id, bytes_str("far")));
            by_id.k = 1000;
            OK(query(index, &by_id, &a, &hits, &count, NULL));
            assert_int_equal(count, 3);
            arena_fini(&a);
        }
        index_release(index);
    }
}

/* More exact duplicates than k: the item itself is not among the k + 1 nearest, and still k come back. */
static void by_id_among_duplicates(void **state) {
    fixture *f = *state;
    make_index(f, "e", VD_METRIC_EUCLIDEAN);
    vd_index *index = get_index(f, "e");
    for (int i = 0; i < 20; i++) {
        char id[8];
        snprintf(id, sizeof id, "d%02d", i);
        add_point(index, id, 1, 1, NULL);
    }
    arena a;
    arena_init(&a, NULL, 0);
    index_search search = {.id = bytes_str("d19"), .k = 5};
    index_hit *hits;
    size_t count;
    OK(query(index, &search, &a, &hits, &count, NULL));
    assert_int_equal(count, 5);
    assert_true(bytes_equal(hits[4].id, bytes_str("d04")));
    search.id = bytes_str("d02");
    OK(query(index, &search, &a, &hits, &count, NULL));
    assert_int_equal(count, 5);
    assert_true(bytes_equal(hits[4].id, bytes_str("d05")));
    arena_fini(&a);
    index_release(index);
}

static void refused(void **state) {
    fixture *f = *state;
    make_index(f, "c", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "c");
    add_point(index, "a", 1, 0, NULL);
    static const float zero[DIM] = {0}, good[DIM] = {1}, bad[DIM] = {1, NAN};
    char long_id[VD_ID_MAX_BYTES + 1];
    memset(long_id, 'x', sizeof long_id);
    const struct {
        index_search search;
        vd_status status;
        const char *field, *text;
    } rows[] = {
        {{.vector = good, .vector_count = 2}, VD_INVALID_ARGUMENT, "vector", "dim mismatch (index=4, got=2)"},
        {{.vector = NULL, .vector_count = 0}, VD_INVALID_ARGUMENT, "vector", "dim mismatch (index=4, got=0)"},
        {{.vector = zero, .vector_count = DIM}, VD_INVALID_ARGUMENT, "vector", "zero-norm vector"},
        {{.vector = bad, .vector_count = DIM}, VD_INVALID_ARGUMENT, "vector", "vector[1] is not finite"},
        {{.vector = good, .vector_count = DIM, .ef = 4097},
         VD_INVALID_ARGUMENT,
         "ef",
         "ef: must be 1..4096 (got 4097)"},
        {{.vector = good, .vector_count = DIM, .id = bytes_str("a")},
         VD_INVALID_ARGUMENT,
         "id",
         "give either a vector or an id, not both"},
        {{.id = bytes_str("b")}, VD_NOT_FOUND, "id", "id: no such item"},
        {{.id = bytes_str("")}, VD_INVALID_ARGUMENT, "id", "id: must be 1..1024 bytes (got 0)"},
        {{.id = bytes_of(long_id, sizeof long_id)}, VD_INVALID_ARGUMENT, "id", "id: must be 1..1024 bytes (got 1025)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        arena a;
        arena_init(&a, NULL, 0);
        index_hit *hits;
        size_t count;
        vd_error err = {0};
        FAILS(query(index, &rows[i].search, &a, &hits, &count, &err), rows[i].status);
        assert_string_equal(err.field, rows[i].field);
        assert_string_equal(err.text, rows[i].text);
        arena_fini(&a);
    }
    index_release(index);
}

static void long_ones(void **state) {
    fixture *f = *state;
    make_index(f, "c", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "c");
    index_search search = {.k = 10};
    assert_false(index_query_is_long(index, &search));
    search.exact = true;
    assert_false(index_query_is_long(index, &search)); /* nothing to scan */
    search.exact = false;
    search.ef = 501;
    assert_true(index_query_is_long(index, &search));
    search.ef = 0;
    search.k = 1000;
    assert_true(index_query_is_long(index, &search));
    index_release(index);
}

/* An arena that is full is an error, never a short answer. */
static void no_memory(void **state) {
    fixture *f = *state;
    make_index(f, "c", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "c");
    for (int i = 0; i < 20; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        add_point(index, id, 1, (float)i, "{\"some\":\"metadata of a certain length\"}");
    }
    static const float at[DIM] = {1};
    index_search search = {.vector = at, .vector_count = DIM, .k = 20};
    bool done = false;
    for (size_t limit = 64; !done; limit += 256) {
        arena a;
        arena_init(&a, NULL, limit);
        index_hit *hits;
        size_t count = 0;
        vd_status status = query(index, &search, &a, &hits, &count, NULL);
        if (status == VD_OK) {
            assert_int_equal(count, 20);
            done = true;
        } else {
            assert_int_equal(status, VD_OUT_OF_MEMORY);
        }
        arena_fini(&a);
    }
    index_release(index);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(answers), T(by_id_among_duplicates), T(refused), T(long_ones), T(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
