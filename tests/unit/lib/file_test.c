/*
 * file_test.c - libvectord.so as a program sees it: an index goes to a file and comes back with its vectors, metadata and
 * answers; files of the original load; bad files, names and metadata are refused; the old file survives a failed save.
 *
 * Linked against the shared library alone, so it also shows that what it needs is exported.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vectord/file.h"

#define DIMENSION 8
#define ITEMS     300

#define STATUS(expr, wanted)                                                                                           \
    do {                                                                                                               \
        vd_status status_ = (expr);                                                                                    \
        if (status_ != (wanted)) {                                                                                     \
            fail_msg("%s is %s, not %s", #expr, vd_status_name(status_), vd_status_name(wanted));                      \
        }                                                                                                              \
    } while (0)

static char folder[256];

static int make_folder(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vectord-test-XXXXXX", base && base[0] ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -rf -- '%s'", folder);
    return system(command);
}

static const char *path_of(const char *name) {
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void release(void *context, void *payload) {
    (void)context;
    free(payload);
}

/* Deterministic values in [-1, 1). */
static float value(uint32_t i, uint32_t j) {
    uint32_t x = i * 2654435761u ^ (j + 1) * 2246822519u;
    x ^= x >> 15;
    x *= 3266489917u;
    x ^= x >> 13;
    return (float)(x >> 8) / 8388608.0F - 1.0F;
}

static vd_hnsw *make_index(uint32_t items, bool metadata) {
    vd_hnsw_options options = {
        .dimension = DIMENSION, .metric = VD_METRIC_EUCLIDEAN, .m = 12, .release_payload = release};
    vd_hnsw *index;
    vd_error err;
    STATUS(vd_hnsw_new(&options, &index, &err), VD_OK);
    for (uint32_t i = 0; i < items; i++) {
        char id[32], text[64];
        float vector[DIMENSION];
        for (uint32_t j = 0; j < DIMENSION; j++) {
            vector[j] = value(i, j);
        }
        snprintf(id, sizeof id, "item-%04u", i);
        snprintf(text, sizeof text, "{\"number\":%u}", i);
        vd_hnsw_item item = {{id, (uint32_t)strlen(id)}, vector, metadata && i % 2 ? strdup(text) : NULL};
        STATUS(vd_hnsw_add(index, &item, 1, NULL, &err), VD_OK);
    }
    return index;
}

static void assert_same_answers(vd_hnsw *a, vd_hnsw *b, bool metadata) {
    vd_hnsw *both[2] = {a, b};
    for (uint32_t q = 0; q < 20; q++) {
        float query[DIMENSION];
        for (uint32_t j = 0; j < DIMENSION; j++) {
            query[j] = value(q + 100000, j);
        }
        vd_hit hits[2][10];
        size_t counts[2];
        vd_hnsw_guard guards[2];
        for (int i = 0; i < 2; i++) {
            vd_hnsw_search_options options = {.k = 10, .exact = true};
            vd_hnsw_enter(both[i], &guards[i]);
            STATUS(vd_hnsw_search(both[i], query, &options, hits[i], &counts[i], NULL, NULL), VD_OK);
        }
        assert_int_equal(counts[0], counts[1]);
        for (size_t i = 0; i < counts[0]; i++) {
            assert_int_equal(hits[0][i].id.size, hits[1][i].id.size);
            assert_memory_equal(hits[0][i].id.data, hits[1][i].id.data, hits[0][i].id.size);
            assert_memory_equal(&hits[0][i].distance, &hits[1][i].distance, sizeof(double));
            const char *x = hits[0][i].payload, *y = hits[1][i].payload;
            if (metadata && x) {
                assert_non_null(y);
                assert_string_equal(x, y);
            } else {
                assert_null(y);
            }
        }
        vd_hnsw_leave(b, &guards[1]);
        vd_hnsw_leave(a, &guards[0]);
    }
}

static void an_index_comes_back(void **state) {
    (void)state;
    vd_hnsw *index = make_index(ITEMS, true), *loaded;
    vd_error err;
    vd_hnsw_options options;
    vd_hnsw_report report;
    STATUS(vd_hnsw_save(index, path_of("a.lhv1"), "a", VD_FILE_METADATA, &err), VD_OK);
    STATUS(vd_hnsw_load(path_of("a.lhv1"), NULL, VD_FILE_METADATA, NULL, &loaded, &err), VD_OK);
    assert_int_equal(vd_hnsw_count(loaded), ITEMS);
    vd_hnsw_get_options(loaded, &options);
    assert_int_equal(options.dimension, DIMENSION);
    assert_int_equal(options.metric, VD_METRIC_EUCLIDEAN);
    assert_int_equal(options.m, 12);
    STATUS(vd_hnsw_check(loaded, &report, &err), VD_OK);
    assert_same_answers(index, loaded, true);
    vd_hnsw_free(loaded);
    STATUS(vd_hnsw_load(path_of("a.lhv1"), NULL, VD_FILE_PLAIN, NULL, &loaded, &err), VD_OK);
    assert_same_answers(index, loaded, false);
    vd_hnsw_free(loaded);
    vd_hnsw_free(index);
}

static void an_empty_index_comes_back(void **state) {
    (void)state;
    vd_hnsw *index = make_index(0, false), *loaded;
    STATUS(vd_hnsw_save(index, path_of("e.lhv1"), "e", VD_FILE_PLAIN, NULL), VD_OK);
    STATUS(vd_hnsw_load(path_of("e.lhv1"), NULL, VD_FILE_PLAIN, NULL, &loaded, NULL), VD_OK);
    assert_int_equal(vd_hnsw_count(loaded), 0);
    vd_hnsw_free(loaded);
    vd_hnsw_free(index);
}

static void a_file_of_the_original_loads(void **state) {
    (void)state;
    vd_hnsw *index;
    vd_error err;
    vd_hnsw_options options = {.ef_search = 64};
    STATUS(vd_hnsw_load(VD_TEST_DATA "/lhv1/cosine200x8.lhv1", &options, VD_FILE_METADATA, NULL, &index, &err), VD_OK);
    assert_int_equal(vd_hnsw_count(index), 200);
    vd_hnsw_get_options(index, &options);
    assert_int_equal(options.ef_search, 64);
    vd_hnsw_guard guard;
    void *payload;
    vd_hnsw_enter(index, &guard);
    STATUS(vd_hnsw_get(index, (vd_id){"<tag>&amp;", 10}, NULL, &payload), VD_OK);
    assert_string_equal(payload, "\"just a string\"");
    vd_hnsw_leave(index, &guard);
    vd_hnsw_free(index);
}

static void what_cannot_be_loaded_is_refused(void **state) {
    (void)state;
    vd_hnsw *index = NULL;
    vd_error err;
    vd_hnsw_options other = {.dimension = 9};
    STATUS(vd_hnsw_load(path_of("missing"), NULL, VD_FILE_PLAIN, NULL, &index, &err), VD_NOT_FOUND);
    STATUS(vd_hnsw_load(folder, NULL, VD_FILE_PLAIN, NULL, &index, &err), VD_INTERNAL);
    STATUS(vd_hnsw_load(VD_TEST_DATA "/lhv1/bad-nan.lhv1", NULL, VD_FILE_PLAIN, NULL, &index, &err), VD_DATA_LOSS);
    STATUS(vd_hnsw_load(VD_TEST_DATA "/lhv1/cosine200x8.lhv1", &other, VD_FILE_PLAIN, NULL, &index, &err),
           VD_FAILED_PRECONDITION);
    assert_null(index);
}

static void a_failed_save_leaves_the_old_file(void **state) {
    (void)state;
    vd_hnsw *index = make_index(10, false), *loaded;
    vd_error err;
    char longest[VD_INDEX_NAME_MAX_BYTES + 2];
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    STATUS(vd_hnsw_save(index, path_of("k.lhv1"), "k", VD_FILE_PLAIN, &err), VD_OK);
    STATUS(vd_hnsw_save(index, path_of("k.lhv1"), "", VD_FILE_PLAIN, &err), VD_INVALID_ARGUMENT);
    STATUS(vd_hnsw_save(index, path_of("k.lhv1"), longest, VD_FILE_PLAIN, &err), VD_INVALID_ARGUMENT);
    STATUS(vd_hnsw_save(index, path_of("k.lhv1"), "\xFF", VD_FILE_PLAIN, &err), VD_INVALID_ARGUMENT);
    STATUS(vd_hnsw_save(index, path_of("no/such/folder.lhv1"), "k", VD_FILE_PLAIN, &err), VD_NOT_FOUND);
    float vector[DIMENSION] = {1};
    vd_hnsw_item item = {{"bad", 3}, vector, strdup("{\"not json\"")};
    STATUS(vd_hnsw_add(index, &item, 1, NULL, &err), VD_OK);
    STATUS(vd_hnsw_save(index, path_of("k.lhv1"), "k", VD_FILE_METADATA, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "metadata of id bad"));
    STATUS(vd_hnsw_load(path_of("k.lhv1"), NULL, VD_FILE_PLAIN, NULL, &loaded, &err), VD_OK);
    assert_int_equal(vd_hnsw_count(loaded), 10);
    vd_hnsw_free(loaded);
    vd_hnsw_free(index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_comes_back),
        cmocka_unit_test(an_empty_index_comes_back),
        cmocka_unit_test(a_file_of_the_original_loads),
        cmocka_unit_test(what_cannot_be_loaded_is_refused),
        cmocka_unit_test(a_failed_save_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
