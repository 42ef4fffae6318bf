/*
 * flat_test.c - the flat facade as an FFI sees it: ids as numbers and as texts, short answers, prepared searches, many
 * queries on any number of threads, allowed ids, lists of ids, files of the service with their metadata, and every
 * refusal.
 *
 * Linked against the shared library alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vectord/flat.h"
#include "vectord/hnsw.h"

#define DIMENSION 8
#define ITEMS     1200
#define K         10

#define OK(expr) STATUS(expr, VD_OK)
#define STATUS(expr, wanted)                                                                                           \
    do {                                                                                                               \
        vd_status status_ = (expr);                                                                                    \
        if (status_ != (wanted)) {                                                                                     \
            fail_msg("%s is %s (%s), not %s", #expr, vd_status_name(status_), error, vd_status_name(wanted));          \
        }                                                                                                              \
    } while (0)
/* Fails with that status and a text that has `part` in it. */
#define FAILS(expr, wanted, part)                                                                                      \
    do {                                                                                                               \
        STATUS(expr, wanted);                                                                                          \
        if (!strstr(error, part)) {                                                                                    \
            fail_msg("%s says \"%s\", nothing of \"%s\"", #expr, error, part);                                         \
        }                                                                                                              \
    } while (0)

static char error[VD_FLAT_ERROR_BYTES];
static char folder[256];
static float vectors[ITEMS * DIMENSION];

/* Deterministic values in [-1, 1). */
static float value(uint32_t i, uint32_t j) {
    uint32_t x = i * 2654435761u ^ (j + 1) * 2246822519u;
    x ^= x >> 15;
    x *= 3266489917u;
    x ^= x >> 13;
    return (float)(x >> 8) / 8388608.0F - 1.0F;
}

static int make_folder(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    for (uint32_t i = 0; i < ITEMS * DIMENSION; i++) {
        vectors[i] = value(i / DIMENSION, i % DIMENSION);
    }
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

static vd_flat *new_index(void) {
    vd_flat *index = NULL;
    OK(vd_flat_new(DIMENSION, "euclidean", 0, 0, 0, 0.0, NULL, 1, 0, &index, error));
    return index;
}

static vd_flat *full_index(void) {
    vd_flat *index = new_index();
    OK(vd_flat_add(index, vectors, ITEMS, NULL, 2, NULL, error));
    return index;
}

/* Adds `count` rows from `first` on as the ids of a list. */
static vd_status add_texts(vd_flat *index, uint32_t first, uint32_t count, const char *const *ids) {
    char text[4096];
    uint64_t ends[16], size = 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(text + size, ids[i], strlen(ids[i]));
        ends[i] = size += strlen(ids[i]);
    }
    return vd_flat_add_text(index, vectors + first * DIMENSION, count, text, ends, 1, error);
}

static void what_an_index_cannot_be(void **state) {
    (void)state;
    vd_flat *index = NULL;
    FAILS(vd_flat_new(0, NULL, 0, 0, 0, 0, NULL, 1, 0, &index, error), VD_INVALID_ARGUMENT, "dimension");
    FAILS(vd_flat_new(8, "dot", 0, 0, 0, 0, NULL, 1, 0, &index, error), VD_INVALID_ARGUMENT, "distance");
    FAILS(vd_flat_new(8, NULL, 1, 0, 0, 0, NULL, 1, 0, &index, error), VD_INVALID_ARGUMENT, "m must be");
    FAILS(vd_flat_new(8, NULL, 0, 0, 0, 0, "sq9", 1, 0, &index, error), VD_INVALID_ARGUMENT, "encoding");
    STATUS(vd_flat_new(0, NULL, 0, 0, 0, 0, NULL, 1, 0, &index, NULL), VD_INVALID_ARGUMENT); /* no text wanted */
    assert_null(index);
    vd_flat_free(NULL);
    vd_flat_release(NULL);
    vd_flat_prepared_free(NULL);
}

static void rows_are_numbered_above_all_ids(void **state) {
    (void)state;
    vd_flat *index = new_index();
    int64_t first = -7;
    OK(vd_flat_add(index, NULL, 0, NULL, 1, &first, error));
    assert_int_equal(first, -7);
    OK(vd_flat_add(index, vectors, 5, NULL, 1, &first, error));
    assert_int_equal(first, 0);
    OK(vd_flat_add(index, vectors, 5, NULL, 1, NULL, error));
    const int64_t own[] = {100, 3};
    OK(vd_flat_add(index, vectors, 2, own, 1, NULL, error));
    OK(vd_flat_delete(index, own, 1, 1, NULL, error));
    OK(vd_flat_add(index, vectors, 1, NULL, 1, &first, error));
    assert_int_equal(first, 101); /* never the number of an item that has been */
    float bad[DIMENSION] = {NAN};
    FAILS(vd_flat_add(index, bad, 1, NULL, 1, &first, error), VD_INVALID_ARGUMENT, "not finite");
    OK(vd_flat_add(index, vectors, 1, NULL, 1, &first, error));
    assert_int_equal(first, 102); /* a failed add leaves no gap */
    assert_int_equal(vd_flat_ids_are_numbers(index), 1);
    OK(add_texts(index, 0, 2, (const char *const[]){"200", "x"}));
    OK(vd_flat_add(index, vectors, 1, NULL, 1, &first, error));
    assert_int_equal(first, 201); /* a text that is a number is that number */
    assert_int_equal(vd_flat_ids_are_numbers(index), 0);
    assert_int_equal(vd_flat_count(index), 15);
    const int64_t last = INT64_MAX - 1;
    OK(vd_flat_add(index, vectors, 1, &last, 1, NULL, error));
    FAILS(vd_flat_add(index, vectors, 2, NULL, 1, &first, error), VD_OUT_OF_RANGE, "give ids");
    OK(vd_flat_add(index, vectors, 1, NULL, 1, &first, error));
    assert_true(first == INT64_MAX);
    FAILS(vd_flat_add(index, vectors, 1, NULL, 1, &first, error), VD_OUT_OF_RANGE, "give ids");
    vd_flat_free(index);
}

static void what_cannot_be_added(void **state) {
    (void)state;
    vd_flat *index = new_index();
    float bad[2 * DIMENSION] = {0};
    bad[DIMENSION + 7] = INFINITY;
    char longest[VD_ID_MAX_BYTES + 2];
    memset(longest, 'x', sizeof longest);
    const int64_t negative[] = {1, -2};
    const uint64_t over = VD_ID_MAX_BYTES + 1, most = VD_ID_MAX_BYTES, empty[] = {1, 1}, falling[] = {3, 2};
    FAILS(vd_flat_add(index, bad, 2, NULL, 1, NULL, error), VD_INVALID_ARGUMENT, "items[1]: vector[7]");
    FAILS(vd_flat_add(index, vectors, 2, negative, 1, NULL, error), VD_INVALID_ARGUMENT, "ids[1] is -2");
    FAILS(vd_flat_add(index, vectors, 1, NULL, VD_THREADS_MAX + 1, NULL, error), VD_INVALID_ARGUMENT, "threads");
    FAILS(vd_flat_add(index, vectors, UINT64_MAX / 64, NULL, 1, NULL, error), VD_INVALID_ARGUMENT, "at most");
    FAILS(vd_flat_add_text(index, vectors, 1, longest, &over, 1, error), VD_INVALID_ARGUMENT, "ids[0] must have");
    FAILS(vd_flat_add_text(index, vectors, 2, longest, empty, 1, error), VD_INVALID_ARGUMENT, "ids[1] must have");
    FAILS(vd_flat_add_text(index, vectors, 2, longest, falling, 1, error), VD_INVALID_ARGUMENT, "ends[1]");
    FAILS(add_texts(index, 0, 1, (const char *const[]){"\xC3"}), VD_INVALID_ARGUMENT, "not UTF-8");
    assert_int_equal(vd_flat_count(index), 0);
    assert_int_equal(vd_flat_ids_are_numbers(index), 1); /* nothing was added */
    OK(vd_flat_add_text(index, vectors, 1, longest, &most, 1, error));
    OK(vd_flat_add_text(index, NULL, 0, NULL, NULL, 1, error));
    assert_int_equal(vd_flat_count(index), 1);
    vd_flat_free(index);
    OK(vd_flat_new(DIMENSION, NULL, 0, 0, 0, 0, NULL, 1, 0, &index, error));
    memset(bad, 0, sizeof bad);
    FAILS(vd_flat_add(index, bad, 1, NULL, 1, NULL, error), VD_INVALID_ARGUMENT, "zero");
    vd_flat_free(index);
}

static void short_answers_are_filled_up(void **state) {
    (void)state;
    vd_flat *index = new_index();
    int64_t numbers[2 * K];
    double distances[2 * K];
    uint32_t counts[2] = {9, 9};
    OK(vd_flat_search(index, vectors, 1, K, 0, 0, 0, 1, numbers, distances, counts, error));
    assert_int_equal(counts[0], 0);
    assert_int_equal(numbers[0], -1);
    assert_true(isinf(distances[K - 1]));
    OK(vd_flat_add(index, vectors, 3, NULL, 1, NULL, error));
    OK(vd_flat_search(index, vectors, 2, K, 0, 0, 0, 1, numbers, distances, counts, error));
    for (uint32_t q = 0; q < 2; q++) {
        assert_int_equal(counts[q], 3);
        assert_int_equal(numbers[q * K], q);
        assert_true(distances[q * K] == 0.0);
        for (uint32_t i = 0; i < K; i++) {
            assert_true((numbers[q * K + i] == -1) == (i >= 3));
            assert_true((isinf(distances[q * K + i]) && distances[q * K + i] > 0) == (i >= 3));
        }
    }
    OK(vd_flat_search(index, vectors, 0, K, 0, 0, 0, 1, NULL, NULL, NULL, error));
    char room[256], *block = room;
    uint64_t ends[2 * K];
    OK(vd_flat_search_text(index, vectors, 2, K, 0, 0, 0, 1, room, sizeof room, ends, &block, distances, counts,
                           error));
    assert_null(block);
    assert_string_equal(room, "0");
    assert_int_equal(ends[0], 2);
    assert_int_equal(ends[2], 6);
    assert_int_equal(ends[K - 1], 6 + K - 3); /* the empty ones have a NUL each */
    assert_string_equal(room + ends[K - 1], "1");
    assert_int_equal(counts[1], 3);
    vd_flat_free(index);
}

static void texts_come_back(void **state) {
    (void)state;
    const char *const ids[] = {"plain", "\xC3\xA9t\xC3\xA9", "12",
                               "a much longer id, of more bytes than there is room for"};
    vd_flat *index = new_index();
    int64_t numbers[4];
    double distances[4];
    uint32_t count;
    uint64_t ends[4];
    OK(add_texts(index, 0, 4, ids));
    for (uint64_t capacity = 0; capacity < 100; capacity += 9) {
        char room[100], *block = NULL;
        OK(vd_flat_search_text(index, vectors, 1, 4, 0, 0, 1, 1, capacity ? room : NULL, capacity, ends, &block,
                               distances, &count, error));
        assert_int_equal(count, 4);
        assert_true((block == NULL) == (ends[3] <= capacity));
        const char *data = block ? block : room;
        for (uint32_t i = 0; i < 4; i++) {
            const char *id = data + (i ? ends[i - 1] : 0);
            assert_int_equal(strlen(id) + 1, ends[i] - (i ? ends[i - 1] : 0));
            float vector[DIMENSION];
            const uint64_t end = strlen(id);
            OK(vd_flat_get_text(index, id, &end, 1, vector, NULL, error));
            double sum = 0;
            for (uint32_t j = 0; j < DIMENSION; j++) {
                sum += ((double)vector[j] - (double)vectors[j]) * ((double)vector[j] - (double)vectors[j]);
            }
            assert_true(fabs(sqrt(sum) - distances[i]) < 1e-6);
        }
        assert_string_equal(data, "plain");
        vd_flat_release(block);
    }
    FAILS(vd_flat_search(index, vectors, 1, 4, 0, 0, 0, 1, numbers, distances, NULL, error), VD_FAILED_PRECONDITION,
          "not a number");
    const int64_t twelve = 12; /* has both names */
    float vector[DIMENSION];
    OK(vd_flat_get(index, &twelve, 1, vector, NULL, error));
    assert_memory_equal(vector, vectors + 2 * DIMENSION, sizeof vector);
    vd_flat_free(index);
}

static void a_number_is_written_in_one_way(void **state) {
    (void)state;
    const char *const none[] = {"007", "00", "-1", "+1", "1 ", "1a", "9223372036854775808", "18446744073709551616",
                                "0x1"};
    const char *const some[] = {"0", "7", "9223372036854775807"};
    int64_t number;
    double distance;
    for (size_t i = 0; i < sizeof none / sizeof none[0] + sizeof some / sizeof some[0]; i++) {
        bool is_number = i >= sizeof none / sizeof none[0];
        vd_flat *index = new_index();
        OK(add_texts(index, 0, 1, is_number ? &some[i - sizeof none / sizeof none[0]] : &none[i]));
        STATUS(vd_flat_search(index, vectors, 1, 1, 0, 0, 0, 1, &number, &distance, NULL, error),
               is_number ? VD_OK : VD_FAILED_PRECONDITION);
        vd_flat_free(index);
    }
    assert_true(number == INT64_MAX);
}

static void many_queries_are_as_many_single_ones(void **state) {
    (void)state;
    enum { QUERIES = 900 };
    static int64_t numbers[3][QUERIES * 25];
    static double distances[3][QUERIES * 25];
    static float queries[QUERIES * DIMENSION];
    vd_flat *index = full_index();
    for (uint32_t i = 0; i < QUERIES * DIMENSION; i++) {
        queries[i] = value(100000 + i / DIMENSION, i % DIMENSION);
    }
    for (uint32_t i = 0; i < QUERIES; i++) {
        OK(vd_flat_search(index, queries + i * DIMENSION, 1, 25, 50, 0, 0, 1, numbers[0] + i * 25,
                          distances[0] + i * 25, NULL, error));
    }
    const uint32_t threads[] = {1, 2, 0, 7, 3}; /* more than there are, and fewer than the pool has */
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        memset(numbers[1], 0x55, sizeof numbers[1]);
        OK(vd_flat_search(index, queries, QUERIES, 25, 50, 0, 0, threads[i], numbers[1], distances[1], NULL, error));
        assert_memory_equal(numbers[0], numbers[1], sizeof numbers[0]);
        assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
    }
    char *block;
    uint64_t *ends = malloc(QUERIES * 25 * sizeof *ends);
    OK(vd_flat_search_text(index, queries, QUERIES, 25, 50, 0, 0, 2, NULL, 0, ends, &block, distances[2], NULL, error));
    for (uint32_t i = 0; i < QUERIES * 25; i++) {
        assert_true(atoll(block + (i ? ends[i - 1] : 0)) == numbers[0][i]);
    }
    vd_flat_release(block);
    free(ends);
    queries[(QUERIES - 1) * DIMENSION + 3] = NAN; /* beyond the first piece */
    FAILS(vd_flat_search(index, queries, QUERIES, 25, 0, 0, 0, 1, numbers[1], distances[1], NULL, error),
          VD_INVALID_ARGUMENT, "queries[899]: vector[3]");
    vd_flat_free(index);
}

static void what_cannot_be_searched(void **state) {
    (void)state;
    vd_flat *index = full_index();
    vd_flat_prepared *prepared = NULL;
    int64_t numbers[K];
    double distances[K];
    char *block = (char *)numbers;
    uint64_t ends[K];
    float bad[DIMENSION] = {0, NAN};
    FAILS(vd_flat_search(index, bad, 1, K, 0, 0, 0, 1, numbers, distances, NULL, error), VD_INVALID_ARGUMENT,
          "vector[1]");
    FAILS(vd_flat_search_text(index, bad, 1, K, 0, 0, 0, 1, NULL, 0, ends, &block, distances, NULL, error),
          VD_INVALID_ARGUMENT, "vector[1]");
    assert_null(block);
    FAILS(vd_flat_search(index, vectors, 1, 0, 0, 0, 0, 1, numbers, distances, NULL, error), VD_INVALID_ARGUMENT,
          "k must be");
    FAILS(vd_flat_search(index, vectors, UINT64_MAX, 1000, 0, 0, 0, 1, numbers, distances, NULL, error),
          VD_INVALID_ARGUMENT, "more than memory");
    FAILS(vd_flat_search(index, vectors, 1, K, 0, 1.5, 0, 1, numbers, distances, NULL, error), VD_INVALID_ARGUMENT,
          "recall");
    FAILS(vd_flat_search(index, vectors, 1, K, 20, 0.5, 0, 1, numbers, distances, NULL, error), VD_INVALID_ARGUMENT,
          "ef");
    OK(vd_flat_search(index, vectors, 1, K, VD_EF_SEARCH_MAX, 0, 0, 1, numbers, distances, NULL, error));
    FAILS(vd_flat_search(index, vectors, 1, K, VD_EF_SEARCH_MAX + 1, 0, 0, 1, numbers, distances, NULL, error),
          VD_INVALID_ARGUMENT, "ef must be 1..4096 (got 4097)");
    FAILS(vd_flat_search(index, vectors, 1, K, 0, 0, 0, 5000, numbers, distances, NULL, error), VD_INVALID_ARGUMENT,
          "threads");
    FAILS(vd_flat_prepare(index, vectors, 0, 0, 0, 0, numbers, distances, NULL, error, &prepared), VD_INVALID_ARGUMENT,
          "k must be");
    assert_null(prepared);
    vd_flat_free(index);
}

/* ---- among allowed ids ---- */

/* Every result is one of the allowed numbers, those are as many as there can be, and they are the nearest of them. */
static void assert_among(const int64_t *allowed, size_t allowed_count, size_t there, const int64_t *numbers,
                         const double *distances, const uint32_t *counts, uint32_t queries) {
    for (uint32_t q = 0; q < queries; q++) {
        const int64_t *row = numbers + q * K;
        assert_int_equal(counts[q], there < K ? there : K);
        for (uint32_t i = 0; i < K; i++) {
            bool found = i >= counts[q];
            for (size_t j = 0; !found && j < allowed_count; j++) {
                found = allowed[j] == row[i];
            }
            assert_true(found);
            assert_true(i < counts[q] || (row[i] == -1 && isinf(distances[q * K + i])));
        }
    }
}

static void only_allowed_ids_are_found(void **state) {
    (void)state;
    enum { QUERIES = 130 };
    vd_flat *index = full_index();
    static int64_t allowed[ITEMS + 3], numbers[QUERIES * K], exact[QUERIES * K];
    static double distances[QUERIES * K], true_distances[QUERIES * K];
    uint32_t counts[QUERIES];
    const uint32_t shares[] = {1, 2, 7, 50, 400, ITEMS};
    for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
        size_t there = 0;
        for (uint32_t i = 0; i < ITEMS; i += shares[s]) {
            allowed[there++] = i;
        }
        allowed[there] = 10 * ITEMS; /* unknown, impossible, and one twice */
        allowed[there + 1] = -5;
        allowed[there + 2] = 0;
        OK(vd_flat_search_filtered(index, allowed, NULL, NULL, there + 3, vectors, QUERIES, K, 0, 0, 0, 2, numbers,
                                   distances, counts, error));
        assert_among(allowed, there, there, numbers, distances, counts, QUERIES);
        OK(vd_flat_search_filtered(index, allowed, NULL, NULL, there + 3, vectors, QUERIES, K, 0, 0, 1, 1, exact,
                                   true_distances, counts, error));
        assert_among(allowed, there, there, exact, true_distances, counts, QUERIES);
        uint32_t same = 0;
        for (uint32_t i = 0; i < QUERIES * K; i++) {
            same += numbers[i] == exact[i];
        }
        assert_true(same >= QUERIES * K * 95 / 100);
        /* one query gives the row that many give */
        int64_t one[K];
        double one_distances[K];
        OK(vd_flat_search_filtered(index, allowed, NULL, NULL, there + 3, vectors + 3 * DIMENSION, 1, K, 0, 0, 0, 1,
                                   one, one_distances, NULL, error));
        assert_memory_equal(one, numbers + 3 * K, sizeof one);
    }
    vd_flat_free(index);
}

static void allowed_ids_may_be_texts_and_none(void **state) {
    (void)state;
    vd_flat *index = full_index();
    const uint64_t ends[] = {2, 4, 8, 8, 8}; /* "17", "42", "none", twice nothing */
    const char *text = "1742none";
    int64_t numbers[K], seventeen = 17;
    double distances[K];
    uint32_t count;
    OK(vd_flat_search_filtered(index, NULL, text, ends, 5, vectors, 1, K, 0, 0, 0, 1, numbers, distances, &count,
                               error));
    assert_int_equal(count, 2);
    assert_true((numbers[0] == 17 && numbers[1] == 42) || (numbers[0] == 42 && numbers[1] == 17));
    assert_int_equal(numbers[2], -1);
    OK(vd_flat_search_filtered(index, NULL, NULL, NULL, 0, vectors, 1, K, 0, 0, 0, 1, numbers, distances, &count,
                               error));
    assert_int_equal(count, 0); /* nothing is allowed, not everything */
    OK(vd_flat_search_filtered(index, &seventeen, NULL, NULL, 1, vectors, 1, K, 20, 0, 0, 1, numbers, distances, &count,
                               error));
    assert_true(count == 1 && numbers[0] == 17);
    char ids[64], *block;
    uint64_t id_ends[K];
    OK(vd_flat_search_filtered_text(index, &seventeen, NULL, NULL, 1, vectors, 1, K, 0, 0, 0, 1, ids, sizeof ids,
                                    id_ends, &block, distances, &count, error));
    assert_true(count == 1 && !block);
    assert_string_equal(ids, "17");
    uint64_t deleted;
    OK(vd_flat_delete(index, &seventeen, 1, 1, &deleted, error));
    OK(vd_flat_search_filtered(index, &seventeen, NULL, NULL, 1, vectors, 1, K, 0, 0, 0, 1, numbers, distances, &count,
                               error));
    assert_int_equal(count, 0);
    const uint64_t wrong[] = {2, 1};
    FAILS(vd_flat_search_filtered(index, NULL, text, wrong, 2, vectors, 1, K, 0, 0, 0, 1, numbers, distances, NULL,
                                  error),
          VD_INVALID_ARGUMENT, "ends[1]");
    vd_flat_free(index);
}

/* ---- lists ---- */

static void every_id_is_listed(void **state) {
    (void)state;
    vd_flat *index = new_index();
    int64_t *numbers = NULL;
    char *block = NULL;
    uint64_t *ends = NULL, count = 7;
    OK(vd_flat_list(index, &numbers, &count, error));
    assert_true(count == 0 && !numbers);
    OK(vd_flat_list_text(index, &block, &ends, &count, error));
    assert_true(count == 0 && !block && !ends);
    OK(vd_flat_add(index, vectors, ITEMS, NULL, 1, NULL, error));
    const int64_t gone[] = {5, 700};
    OK(vd_flat_delete(index, gone, 2, 1, NULL, error));
    OK(vd_flat_list(index, &numbers, &count, error));
    assert_int_equal(count, ITEMS - 2);
    bool seen[ITEMS] = {false};
    for (uint64_t i = 0; i < count; i++) {
        assert_true(numbers[i] >= 0 && numbers[i] < ITEMS && !seen[numbers[i]]);
        seen[numbers[i]] = true;
    }
    assert_true(!seen[5] && !seen[700]);
    vd_flat_release(numbers);
    OK(add_texts(index, 0, 2, (const char *const[]){"zeta", "\xC3\xA9"}));
    FAILS(vd_flat_list(index, &numbers, &count, error), VD_FAILED_PRECONDITION, "list texts");
    OK(vd_flat_list_text(index, &block, &ends, &count, error));
    assert_int_equal(count, ITEMS);
    assert_string_equal(block, "0");
    assert_string_equal(block + ends[count - 3], "zeta");
    assert_string_equal(block + ends[count - 2], "\xC3\xA9");
    assert_int_equal(ends[count - 1], ends[count - 2] + 3);
    vd_flat_release(block);
    vd_flat_release(ends);
    vd_flat_free(index);
}

static void a_prepared_search_runs_again_and_again(void **state) {
    (void)state;
    vd_flat *index = full_index();
    vd_flat_prepared *numbered, *texts;
    float query[DIMENSION];
    int64_t numbers[K], plain[K];
    double distances[K], plain_distances[K];
    uint32_t count, text_count;
    char room[K * 6], *block;
    uint64_t ends[K];
    OK(vd_flat_prepare(index, query, K, 0, 0.9, 0, numbers, distances, &count, error, &numbered));
    OK(vd_flat_prepare_text(index, query, K, 0, 0.9, 0, room, sizeof room, ends, &block, distances, &text_count, error,
                            &texts));
    for (uint32_t i = 0; i < 100; i++) {
        memcpy(query, vectors + i * DIMENSION, sizeof query);
        OK(vd_flat_run(numbered));
        assert_int_equal(numbers[0], i);
        assert_int_equal(count, K);
        OK(vd_flat_search(index, query, 1, K, 0, 0.9, 0, 1, plain, plain_distances, NULL, error));
        assert_memory_equal(numbers, plain, sizeof plain);
        assert_memory_equal(distances, plain_distances, sizeof distances);
        OK(vd_flat_run(texts));
        assert_int_equal(text_count, K);
        assert_null(block);
        assert_int_equal(atoll(room), i);
    }
    query[0] = INFINITY;
    FAILS(vd_flat_run(numbered), VD_INVALID_ARGUMENT, "vector[0]");
    memcpy(query, vectors, sizeof query);
    OK(add_texts(index, 0, 1, (const char *const[]){"zero"}));
    FAILS(vd_flat_run(numbered), VD_FAILED_PRECONDITION, "\"zero\"");
    OK(vd_flat_run(texts));
    vd_flat_prepared_free(numbered);
    vd_flat_prepared_free(texts);
    vd_flat_free(index);
}

static void items_are_found_and_deleted_by_id(void **state) {
    (void)state;
    vd_flat *index = full_index();
    const int64_t ids[] = {5, -1, 5000, 6};
    float out[4 * DIMENSION];
    uint8_t found[4];
    uint64_t deleted = 99;
    OK(vd_flat_get(index, ids, 4, out, found, error));
    assert_memory_equal(found, ((uint8_t[]){1, 0, 0, 1}), 4);
    assert_memory_equal(out, vectors + 5 * DIMENSION, DIMENSION * sizeof *out);
    assert_true(isnan(out[DIMENSION]) && isnan(out[3 * DIMENSION - 1]));
    assert_memory_equal(out + 3 * DIMENSION, vectors + 6 * DIMENSION, DIMENSION * sizeof *out);
    FAILS(vd_flat_get(index, ids, 4, out, NULL, error), VD_NOT_FOUND, "ids[1]: there is no item -1");
    FAILS(vd_flat_get(index, ids + 2, 1, out, NULL, error), VD_NOT_FOUND, "id: there is no item 5000");
    OK(vd_flat_get(index, ids, 1, NULL, NULL, error));
    OK(vd_flat_get(index, NULL, 0, NULL, NULL, error));
    const uint64_t ends[] = {1, 1, 5}, falling[] = {3, 2};
    OK(vd_flat_get_text(index, "6none", ends, 3, out, found, error));
    assert_memory_equal(found, ((uint8_t[]){1, 0, 0}), 3);
    FAILS(vd_flat_get_text(index, "6none", ends, 3, out, NULL, error), VD_NOT_FOUND, "ids[1]: there is no item \"\"");
    FAILS(vd_flat_get_text(index, "6none", falling, 2, out, found, error), VD_INVALID_ARGUMENT, "ends[1]");
    FAILS(vd_flat_delete_text(index, "6none", falling, 2, 1, NULL, error), VD_INVALID_ARGUMENT, "ends[1]");
    FAILS(vd_flat_delete(index, ids, 4, 5000, NULL, error), VD_INVALID_ARGUMENT, "threads");
    OK(vd_flat_delete(index, ids, 4, 2, &deleted, error));
    assert_int_equal(deleted, 2);
    OK(vd_flat_delete_text(index, "7none", ends, 3, 1, &deleted, error));
    assert_int_equal(deleted, 1);
    OK(vd_flat_delete(index, NULL, 0, 1, &deleted, error));
    assert_int_equal(deleted, 0);
    assert_int_equal(vd_flat_count(index), ITEMS - 3);
    FAILS(vd_flat_get(index, ids, 1, NULL, NULL, error), VD_NOT_FOUND, "no item 5");
    vd_flat_free(index);
}

typedef struct watch {
    uint32_t calls, stop_after;
    uint64_t done, total;
} watch;

static int look(void *context, uint64_t done, uint64_t total) {
    watch *w = context;
    w->calls++;
    assert_true(done >= w->done && done <= total);
    w->done = done;
    w->total = total;
    return w->calls != w->stop_after;
}

static void optimizing_tells_how_far_it_is(void **state) {
    (void)state;
    vd_flat *index = full_index();
    double values[VD_FLAT_STATS + 1] = {0};
    watch w = {.stop_after = 1};
    FAILS(vd_flat_optimize(index, 1, look, &w, error), VD_CANCELLED, "");
    assert_int_equal(w.calls, 1);
    w = (watch){.stop_after = 0};
    OK(vd_flat_optimize(index, 2, look, &w, error));
    assert_true(w.calls > 0 && w.done == w.total);
    OK(vd_flat_optimize(index, 0, NULL, NULL, error));
    FAILS(vd_flat_optimize(index, 5000, NULL, NULL, error), VD_INVALID_ARGUMENT, "threads");
    FAILS(vd_flat_calibrate(index, 5000, error), VD_INVALID_ARGUMENT, "threads");
    OK(vd_flat_calibrate(index, 2, error));
    assert_int_equal(vd_flat_calibration_due(index), 0);
    values[2] = -1;
    assert_int_equal(vd_flat_stats(index, values, 2), VD_FLAT_STATS);
    assert_true(values[VD_FLAT_ITEMS] == ITEMS && values[2] == -1);
    assert_int_equal(vd_flat_stats(index, values, VD_FLAT_STATS + 1), VD_FLAT_STATS);
    assert_true(values[VD_FLAT_OPTIMIZED] == ITEMS && values[VD_FLAT_CALIBRATED_AT] == ITEMS);
    assert_true(values[VD_FLAT_MEMORY_BYTES] > ITEMS * DIMENSION * sizeof(float));
    assert_true(values[VD_FLAT_OPTION_METRIC] == VD_METRIC_EUCLIDEAN && values[VD_FLAT_OPTION_M] == VD_M_DEFAULT);
    assert_true(values[VD_FLAT_OPTION_ENCODING] == VD_ENCODING_AUTO && values[VD_FLAT_OPTION_KEEP_VECTORS] == 1);
    assert_true(values[VD_FLAT_ENCODING] > VD_ENCODING_AUTO && values[VD_FLAT_STATS] == 0);
    vd_flat_free(index);
}

static void a_file_comes_back(void **state) {
    (void)state;
    vd_flat *index = full_index(), *loaded = NULL;
    int64_t numbers[2][K], first;
    double distances[2][K];
    OK(vd_flat_save(index, path_of("a.lhv1"), "a", error));
    OK(vd_flat_load(path_of("a.lhv1"), 0.9, "f32", 1, 0, 1, 2, &loaded, error));
    assert_int_equal(vd_flat_count(loaded), ITEMS);
    assert_int_equal(vd_flat_dimension(loaded), DIMENSION);
    assert_int_equal(vd_flat_ids_are_numbers(loaded), 1);
    for (uint32_t i = 0; i < 20; i++) {
        OK(vd_flat_search(index, vectors + i * DIMENSION, 1, K, 0, 0, 1, 1, numbers[0], distances[0], NULL, error));
        OK(vd_flat_search(loaded, vectors + i * DIMENSION, 1, K, 0, 0, 1, 1, numbers[1], distances[1], NULL, error));
        assert_memory_equal(numbers[0], numbers[1], sizeof numbers[0]);
        assert_memory_equal(distances[0], distances[1], sizeof distances[0]);
    }
    OK(vd_flat_add(loaded, vectors, 1, NULL, 1, &first, error));
    assert_int_equal(first, ITEMS);
    vd_flat_free(loaded);
    OK(vd_flat_load(path_of("a.lhv1"), 0, NULL, 1, 0, 0, 1, &loaded, error));
    assert_int_equal(vd_flat_ids_are_numbers(loaded), 0); /* texts were asked for */
    vd_flat_free(loaded);
    FAILS(vd_flat_save(index, path_of("a.lhv1"), "", error), VD_INVALID_ARGUMENT, "name");
    FAILS(vd_flat_save(index, path_of("no/a.lhv1"), "a", error), VD_NOT_FOUND, "no/a.lhv1");
    loaded = NULL;
    FAILS(vd_flat_load(path_of("none"), 0, NULL, 1, 0, 1, 1, &loaded, error), VD_NOT_FOUND, "none");
    FAILS(vd_flat_load(path_of("a.lhv1"), 0, "sq9", 1, 0, 1, 1, &loaded, error), VD_INVALID_ARGUMENT, "encoding");
    FAILS(vd_flat_load(path_of("a.lhv1"), 7, NULL, 1, 0, 1, 1, &loaded, error), VD_INVALID_ARGUMENT, "recall");
    FAILS(vd_flat_load(path_of("a.lhv1"), 0, NULL, 1, 0, 1, 5000, &loaded, error), VD_INVALID_ARGUMENT, "threads");
    FAILS(vd_flat_load(VD_TEST_DATA "/lhv1/bad-nan.lhv1", 0, NULL, 1, 0, 1, 1, &loaded, error), VD_DATA_LOSS, "finite");
    assert_null(loaded);
    vd_flat_free(index);
}

static void assert_metadata(vd_flat *index, const char *id, const char *wanted) {
    char *block = NULL;
    OK(vd_flat_metadata(index, id, strlen(id), &block, error));
    if (wanted) {
        assert_non_null(block);
        assert_string_equal(block, wanted);
    } else {
        assert_null(block);
    }
    vd_flat_release(block);
}

static void metadata_stays_with_its_item(void **state) {
    (void)state;
    vd_flat *index, *loaded;
    char *block = NULL;
    OK(vd_flat_load(VD_TEST_DATA "/lhv1/cosine200x8.lhv1", 0, NULL, 1, 0, 1, 1, &index, error));
    assert_int_equal(vd_flat_count(index), 200);
    assert_int_equal(vd_flat_ids_are_numbers(index), 0);
    assert_metadata(index, "<tag>&amp;", "\"just a string\"");
    OK(add_texts(index, 0, 3, (const char *const[]){"<tag>&amp;", "new", "<tag>&amp;"})); /* twice in one call */
    assert_metadata(index, "<tag>&amp;", "\"just a string\"");
    assert_metadata(index, "new", NULL);
    float bad[DIMENSION] = {NAN};
    const uint64_t end = 10;
    FAILS(vd_flat_add_text(index, bad, 1, "<tag>&amp;", &end, 1, error), VD_INVALID_ARGUMENT, "not finite");
    OK(vd_flat_save(index, path_of("m.lhv1"), "m", error));
    vd_flat_free(index);
    OK(vd_flat_load(path_of("m.lhv1"), 0, NULL, 1, 0, 1, 1, &loaded, error));
    assert_int_equal(vd_flat_count(loaded), 201);
    assert_metadata(loaded, "<tag>&amp;", "\"just a string\"");
    assert_metadata(loaded, "new", NULL);
    FAILS(vd_flat_metadata(loaded, "none", 4, &block, error), VD_NOT_FOUND, "\"none\"");
    FAILS(vd_flat_metadata(loaded, "", 0, &block, error), VD_NOT_FOUND, "\"\"");
    assert_null(block);
    vd_flat_free(loaded);
}

/* ---- at the same time ---- */

typedef struct shared {
    vd_flat *index;
    int64_t staying[64];
    atomic_bool stop;
    atomic_uint failures;
} shared;

/* Each call asks for other widths, so that the pool grows and shrinks under the others; every third is among the rows
 * that stay, every twentieth lists all ids. */
static void *search_for_long(void *arg) {
    shared *s = arg;
    int64_t numbers[64 * K];
    double distances[64 * K];
    for (uint32_t i = 0; !atomic_load(&s->stop); i++) {
        vd_status status =
            i % 3 == 0 ? vd_flat_search_filtered(s->index, s->staying, NULL, NULL, 64, vectors, 64, K, 0, 0, 0, i % 5,
                                                 numbers, distances, NULL, NULL)
                       : vd_flat_search(s->index, vectors, 64, K, 0, 0, 0, i % 5, numbers, distances, NULL, NULL);
        for (uint32_t q = 0; q < 64 && status == VD_OK; q++) { /* rows 0..63 stay */
            status = numbers[q * K] == q && distances[q * K] == 0.0 ? VD_OK : VD_INTERNAL;
            status = i % 3 == 0 && (numbers[q * K + K - 1] < 0 || numbers[q * K + K - 1] > 63) ? VD_INTERNAL : status;
        }
        if (i % 20 == 0 && status == VD_OK) {
            int64_t *listed = NULL;
            uint64_t count = 0;
            status = vd_flat_list(s->index, &listed, &count, NULL);
            status = status == VD_OK && count < 64 ? VD_INTERNAL : status;
            vd_flat_release(listed);
        }
        atomic_fetch_add(&s->failures, status != VD_OK);
    }
    return NULL;
}

static void searches_and_writes_at_the_same_time(void **state) {
    (void)state;
    shared s = {.index = new_index()};
    pthread_t threads[3];
    for (int64_t i = 0; i < 64; i++) {
        s.staying[i] = i;
    }
    OK(vd_flat_add(s.index, vectors, 64, NULL, 1, NULL, error));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, search_for_long, &s), 0);
    }
    for (uint32_t round = 0; round < 3; round++) {
        int64_t first, ids[400];
        OK(vd_flat_add(s.index, vectors + 64 * DIMENSION, 400, NULL, round, &first, error));
        for (int64_t i = 0; i < 400; i++) {
            ids[i] = first + i;
        }
        uint64_t deleted;
        OK(vd_flat_delete(s.index, ids, 400, 2, &deleted, error));
        assert_int_equal(deleted, 400);
    }
    atomic_store(&s.stop, true);
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&s.failures), 0);
    vd_flat_free(s.index);
}

static void a_forked_child_searches_too(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it ends a child of a program with threads that starts one */
#endif
    vd_flat *index = full_index();
    static int64_t numbers[2][256 * K];
    static double distances[256 * K];
    OK(vd_flat_search(index, vectors, 256, K, 0, 0, 0, 3, numbers[0], distances, NULL, error));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60); /* a search that waits for threads that are not there must not keep the test */
        vd_status status = vd_flat_search(index, vectors, 256, K, 0, 0, 0, 3, numbers[1], distances, NULL, NULL);
        _exit(status == VD_OK && memcmp(numbers[0], numbers[1], sizeof numbers[0]) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    vd_flat_free(index);
}

int main(void) {
    const struct CMUnitTest beside[] = {
        cmocka_unit_test(many_queries_are_as_many_single_ones),
        cmocka_unit_test(searches_and_writes_at_the_same_time),
        cmocka_unit_test(a_forked_child_searches_too),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_index_cannot_be),
        cmocka_unit_test(rows_are_numbered_above_all_ids),
        cmocka_unit_test(what_cannot_be_added),
        cmocka_unit_test(short_answers_are_filled_up),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(a_number_is_written_in_one_way),
        cmocka_unit_test(what_cannot_be_searched),
        cmocka_unit_test(only_allowed_ids_are_found),
        cmocka_unit_test(allowed_ids_may_be_texts_and_none),
        cmocka_unit_test(every_id_is_listed),
        cmocka_unit_test(a_prepared_search_runs_again_and_again),
        cmocka_unit_test(items_are_found_and_deleted_by_id),
        cmocka_unit_test(optimizing_tells_how_far_it_is),
        cmocka_unit_test(a_file_comes_back),
        cmocka_unit_test(metadata_stays_with_its_item),
    };
#if defined(__SANITIZE_THREAD__) /* what has no threads of its own takes a minute and finds nothing */
    (void)tests;
    int failed = 0;
#else
    int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
#endif
    return failed + cmocka_run_group_tests(beside, make_folder, remove_folder);
}
