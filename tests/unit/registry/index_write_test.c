/* index_write_test.c - what a write checks, what it leaves behind, and what happens when many writers come at once. */
#include <math.h>
#include <pthread.h>

#include "unit/registry/fixture.h"

static index_item good_item(float values[DIM]) {
    test_vector(1, values);
    return (index_item){.id = bytes_str("a"), .vector = values, .vector_count = DIM};
}

static void validation(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    vd_error err = {0};
    index_write_result result;
    FAILS(index_add(index, NULL, 0, NULL, &result, &err), VD_INVALID_ARGUMENT);
    assert_string_equal(err.text, "items must be non-empty");

    char long_id[VD_ID_MAX_BYTES + 1];
    memset(long_id, 'x', sizeof long_id);
    static const float zero[DIM] = {0};
    const float nan_vector[DIM] = {1, 2, NAN, 4}, inf_vector[DIM] = {1, INFINITY, 3, 4};
    const struct {
        bytes id;
        const float *vector; /* NULL: a good one */
        size_t count;
        const char *metadata, *field, *text;
    } rows[] = {
        {bytes_str(""), NULL, DIM, NULL, "items[1].id", "items[1]: empty id"},
        {bytes_of(long_id, sizeof long_id), NULL, DIM, NULL, "items[1].id",
         "items[1]: id: at most 1024 bytes (got 1025)"},
        {bytes_of("a\0b", 3), NULL, DIM, NULL, "items[1].id", "items[1]: id contains a NUL byte"},
        {bytes_str("\xC0\xAF"), NULL, DIM, NULL, "items[1].id", "items[1]: id is not valid UTF-8"},
        {bytes_str("b"), NULL, 2, NULL, "items[1].vector", "items[1]: dim mismatch (index=4, got=2)"},
        {bytes_str("b"), NULL, 0, NULL, "items[1].vector", "items[1]: dim mismatch (index=4, got=0)"},
        {bytes_str("b"), nan_vector, DIM, NULL, "items[1].vector", "items[1]: vector[2] is not finite"},
        {bytes_str("b"), inf_vector, DIM, NULL, "items[1].vector", "items[1]: vector[1] is not finite"},
        {bytes_str("b"), zero, DIM, NULL, "items[1].vector", "items[1]: zero-norm vector"},
        {bytes_str("b"), NULL, DIM, "{", "items[1].metadata", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float values[DIM];
        index_item items[2] = {good_item(values), good_item(values)};
        items[1].id = rows[i].id;
        items[1].vector_count = rows[i].count;
        if (rows[i].vector) {
            items[1].vector = rows[i].vector;
        }
        if (rows[i].metadata) {
            items[1].metadata = bytes_str(rows[i].metadata);
        }
        err = (vd_error){0};
        FAILS(index_add(index, items, 2, NULL, &result, &err), VD_INVALID_ARGUMENT);
        assert_string_equal(err.field, rows[i].field);
        if (rows[i].text) {
            assert_string_equal(err.text, rows[i].text);
        }
        assert_int_equal(vd_hnsw_count(index->engine), 0); /* nothing of the batch, not even the good item */
    }
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 0);
    float values[DIM];
    index_item longest = good_item(values);
    longest.id = bytes_of(long_id, VD_ID_MAX_BYTES);
    OK(index_add(index, &longest, 1, NULL, &result, NULL));
    index_release(index);

    make_index(f, "e", VD_METRIC_EUCLIDEAN);
    index = get_index(f, "e");
    index_item item = {.id = bytes_str("origin"), .vector = zero, .vector_count = DIM};
    OK(index_add(index, &item, 1, NULL, &result, NULL)); /* a point like any other */
    index_release(index);
}

static void last_wins_and_metadata(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    /* within one batch: the same id four times, kept, replaced, kept again */
    float v[6][DIM];
    index_item items[6];
    static const char *const ids[] = {"a", "a", "b", "a", "c", "b"};
    static const char *const metadata[] = {"{\"n\":1}", NULL, "{\"b\":2}", NULL, NULL, "{}"};
    for (uint32_t i = 0; i < 6; i++) {
        test_vector(i, v[i]);
        items[i] = (index_item){.id = bytes_str(ids[i]), .vector = v[i], .vector_count = DIM};
        if (metadata[i]) {
            items[i].metadata = bytes_str(metadata[i]);
        }
        model_put(m, ids[i], i, metadata[i]);
    }
    index_write_result result;
    OK(index_add(index, items, 6, NULL, &result, NULL));
    assert_int_equal(result.affected, 6);
    assert_int_equal(result.length, 3);
    check_model(index, m);
    put_one(index, m, "a", 10, NULL); /* keeps over batches */
    check_model(index, m);
    put_one(index, m, "a", 11, "null");
    model_put(m, "a", 11, "{\"n\":1}");
    check_model(index, m);
    put_one(index, m, "a", 12, " [1, 2] ");
    model_put(m, "a", 12, "[1, 2]");
    check_model(index, m);
    put_one(index, m, "a", 13, "{}");
    check_model(index, m);
    put_one(index, m, "a", 14, NULL); /* what was cleared stays so */
    check_model(index, m);
    bytes gone[] = {bytes_str("a"), bytes_str("nobody"), bytes_str("a")};
    uint64_t deleted;
    OK(delete_some(index, gone, 3, NULL, &deleted, NULL));
    assert_int_equal(deleted, 1);
    model_remove(m, "a");
    check_model(index, m);
    put_one(index, m, "a", 15, NULL); /* a new item has nothing to keep */
    check_model(index, m);
    fixture_close(f);
    index_release(index);
    fixture_open(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

static void resends(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    index_write_result result;
    OK(add_one(index, "a", 1, "{\"n\":1}", "r1", NULL, NULL));
    OK(add_one(index, "b", 2, NULL, "r2", NULL, NULL));
    OK(add_one(index, "a", 9, "{}", "r1", &result, NULL)); /* again: answered, not done */
    assert_int_equal(result.affected, 1);
    assert_int_equal(result.length, 1);
    model_put(m, "a", 1, "{\"n\":1}");
    model_put(m, "b", 2, NULL);
    check_model(index, m);
    bytes ids[] = {bytes_str("b"), bytes_str("zzz")};
    uint64_t deleted = 0;
    OK(delete_some(index, ids, 2, "r1", &deleted, NULL)); /* another kind is another request */
    assert_int_equal(deleted, 1);
    OK(delete_some(index, ids, 2, "r1", &deleted, NULL));
    assert_int_equal(deleted, 1);
    model_remove(m, "b");
    OK(delete_some(index, ids + 1, 1, "r3", &deleted, NULL)); /* nothing to delete is an answer too */
    assert_int_equal(deleted, 0);
    OK(add_one(index, "zzz", 3, NULL, NULL, NULL, NULL));
    model_put(m, "zzz", 3, NULL);
    OK(delete_some(index, ids + 1, 1, "r3", &deleted, NULL));
    assert_int_equal(deleted, 0);
    check_model(index, m);
    index_release(index);

    fixture_crash(f); /* the window comes back from the journal */
    index = get_index(f, "t");
    check_model(index, m);
    OK(add_one(index, "a", 9, "{}", "r1", &result, NULL));
    assert_int_equal(result.length, 1);
    OK(delete_some(index, ids, 2, "r1", &deleted, NULL));
    assert_int_equal(deleted, 1);
    OK(delete_some(index, ids + 1, 1, "r3", &deleted, NULL));
    assert_int_equal(deleted, 0);
    check_model(index, m);
    char longest[VD_REQUEST_ID_MAX_BYTES + 2] = {0};
    memset(longest, 'x', VD_REQUEST_ID_MAX_BYTES + 1);
    FAILS(add_one(index, "a", 1, NULL, longest, NULL, NULL), VD_INVALID_ARGUMENT);
    index_release(index);
    free(m);
}

/* ---- many writers ---- */

enum { WRITERS = 16, ROUNDS = 40 };

typedef struct writer {
    pthread_t thread;
    vd_index *index;
    uint32_t number, failed;
} writer;

/* Each writer has ids of its own, and all fight over one; every third round it deletes what it wrote two rounds ago. */
static void *write_rounds(void *arg) {
    writer *w = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        float own[DIM], shared[DIM];
        char id[32], metadata[48], request[32];
        test_vector(w->number * 1000 + i, own);
        test_vector(w->number * 1000 + i, shared);
        snprintf(id, sizeof id, "w%u-%u", w->number, i);
        snprintf(metadata, sizeof metadata, "{\"w\":%u,\"i\":%u}", w->number, i);
        snprintf(request, sizeof request, "r%u-%u", w->number, i);
        index_item items[2] = {
            {.id = bytes_str(id), .vector = own, .vector_count = DIM, .metadata = bytes_str(metadata)},
            {.id = bytes_str("shared"), .vector = shared, .vector_count = DIM},
        };
        index_write_result result = {0};
        w->failed += index_add(w->index, items, 2, REQUEST(request), &result, NULL) != VD_OK || result.affected != 2;
        if (i % 3 == 2) {
            snprintf(id, sizeof id, "w%u-%u", w->number, i - 2);
            bytes gone = bytes_str(id);
            uint64_t deleted = 0;
            w->failed += delete_some(w->index, &gone, 1, NULL, &deleted, NULL) != VD_OK || deleted != 1;
        }
    }
    return NULL;
}

static void expect_rounds(model *m) {
    for (uint32_t w = 0; w < WRITERS; w++) {
        for (uint32_t i = 0; i < ROUNDS; i++) {
            char id[32], metadata[48];
            snprintf(id, sizeof id, "w%u-%u", w, i);
            snprintf(metadata, sizeof metadata, "{\"w\":%u,\"i\":%u}", w, i);
            if (i % 3 != 0 || i + 2 >= ROUNDS) {
                model_put(m, id, w * 1000 + i, metadata);
            }
        }
    }
}

static _Atomic int syncs;
static int count_sync(void *context, int fd) {
    (void)context;
    syncs++;
    return io_system()->data_sync(NULL, fd);
}

static void group_commit(void **state) {
    fixture *f = *state;
    f->io.table.data_sync = count_sync;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    syncs = 0;
    writer writers[WRITERS] = {0};
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (writer){.index = index, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_rounds, &writers[i]), 0);
    }
    uint32_t failed = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        failed += writers[i].failed;
    }
    assert_int_equal(failed, 0);
    printf("%d writes in %d syncs\n", WRITERS * (ROUNDS + ROUNDS / 3), syncs);
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    expect_rounds(m);
    /* which write of "shared" was the last one is open, that there is one and no metadata is not */
    for (int round = 0; round < 2; round++) {
        float got[DIM];
        void *payload;
        vd_hnsw_guard guard;
        vd_hnsw_enter(index->engine, &guard);
        vd_status status = vd_hnsw_get(index->engine, (vd_id){"shared", 6}, got, &payload);
        vd_hnsw_leave(index->engine, &guard);
        OK(status);
        assert_null(payload);
        uint32_t last = UINT32_MAX;
        for (uint32_t w = 0; w < WRITERS && last == UINT32_MAX; w++) {
            for (uint32_t i = ROUNDS - 1; i < ROUNDS; i++) {
                float wanted[DIM];
                test_vector(w * 1000 + i, wanted);
                if (memcmp(wanted, got, sizeof got) == 0) {
                    last = w * 1000 + i;
                }
            }
        }
        assert_int_not_equal(last, UINT32_MAX); /* the last write of some writer */
        model_put(m, "shared", last, NULL);
        check_model(index, m);
        vd_hnsw_report report;
        vd_error err = {0};
        if (vd_hnsw_check(index->engine, &report, &err) != VD_OK) {
            fail_msg("%s", report.first);
        }
        index_release(index);
        if (round == 0) {
            fixture_crash(f);
        }
        index = get_index(f, "t");
    }
    index_release(index);
    free(m);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(validation), T(last_wins_and_metadata), T(resends), T(group_commit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
