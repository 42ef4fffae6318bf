/*
 * records_test.c - items as JSON lines: what is read, what is refused and where, and how lines and arrays are put together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/source.h"
#include "files.h"

static void open_text(const char *text, records *r) {
    vd_error err;
    assert_int_equal(records_open(files_write("a.jsonl", text, strlen(text)), r, &err), VD_OK);
}

static void assert_bytes(bytes got, const char *want) {
    assert_int_equal(got.size, strlen(want));
    assert_memory_equal(got.data, want, got.size);
}

static void good_lines(void **state) {
    (void)state;
    records r;
    record item;
    bool more;
    vd_error err;
    open_text("\xef\xbb\xbf{\"id\": \"a\", \"vector\": [1, -2.5, 1e-3], \"metadata\": {\"x\": [1,  2]}}\r\n"
              "\n  \t\n"
              "{\"metadata\":null,\"id\":\"\\u00e9\\n\"}\n"
              "{\"id\": 42, \"metadata\": \"text\"}",
              &r);
    assert_int_equal(records_next(&r, &item, &more, &err), VD_OK);
    assert_true(more && item.has_vector);
    assert_bytes(item.id, "a");
    assert_bytes(item.metadata, "{\"x\": [1,  2]}"); /* byte for byte */
    assert_int_equal(item.dimension, 3);
    assert_true(r.vector[1] == -2.5f && r.vector[2] == 1e-3f);
    assert_int_equal(records_next(&r, &item, &more, &err), VD_OK);
    assert_bytes(item.id, "\xc3\xa9\n");
    assert_null(item.metadata.data);
    assert_false(item.has_vector);
    assert_int_equal(r.line, 4);
    assert_int_equal(records_next(&r, &item, &more, &err), VD_OK);
    assert_bytes(item.id, "42");
    assert_bytes(item.metadata, "\"text\"");
    assert_int_equal(records_next(&r, &item, &more, &err), VD_OK);
    assert_false(more);
    records_close(&r);
}

static void bad_lines(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *text;
    } bad[] = {
        {"[1]", ":1: "},
        {"{\"id\": \"a\"", ":1: "},
        {"{\"id\": \"a\"} {}", ":1: "},
        {"{\"id\": \"a\", \"metdata\": {}}", "a member that is none of"},
        {"{\"id\": \"a\", \"id\": \"b\"}", "there twice"},
        {"{\"id\": \"\"}", "1 to 1024 bytes"},
        {"{\"id\": 1.5}", "a string or a whole number"},
        {"{\"id\": -1}", "a string or a whole number"},
        {"{\"id\": null}", "a string or a whole number"},
        {"{\"id\": \"a\\u0000b\"}", ":1: "},
        {"{\"id\": \"\\ud800\"}", ":1: "},
        {"{\"id\": \"\xff\"}", ":1: "},
        {"{\"id\": \"a\", \"vector\": []}", "empty vector"},
        {"{\"id\": \"a\", \"vector\": [1, null]}", ":1: "},
        {"{\"id\": \"a\", \"vector\": [1, \"2\"]}", ":1: "},
        {"{\"id\": \"a\", \"vector\": [1, 1e39]}", "beyond float32"},
        {"{\"id\": \"a\", \"vector\": [1, NaN]}", ":1: "},
        {"{\"id\": \"a\", \"vector\": {}}", ":1: "},
        {"{\"id\": \"a\", \"metadata\": {\"x\": }}", ":1: "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        records r;
        record item;
        bool more;
        vd_error err;
        open_text(bad[i].line, &r);
        vd_status status = records_next(&r, &item, &more, &err);
        if (status != VD_INVALID_ARGUMENT || !strstr(err.text, bad[i].text)) {
            fail_msg("%s: status %d, \"%s\"", bad[i].line, (int)status, status ? err.text : "");
        }
        records_close(&r);
    }
}

static void long_lines_are_refused_early(void **state) {
    (void)state;
    size_t size = RECORD_MAX_BYTES + 10;
    char *line = malloc(size);
    assert_non_null(line);
    memset(line, ' ', size);
    line[0] = '{';
    records r;
    record item;
    bool more;
    vd_error err;
    assert_int_equal(records_open(files_write("long.jsonl", line, size), &r, &err), VD_OK);
    assert_int_equal(records_next(&r, &item, &more, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "a line of more than"));
    assert_true(r.text.capacity < 2 * RECORD_MAX_BYTES);
    records_close(&r);
    free(line);
}

static void vectors_have_a_greatest_dimension(void **state) {
    (void)state;
    static float vector[VD_DIMENSION_MAX];
    char *text = malloc(2 * VD_DIMENSION_MAX + 8);
    assert_non_null(text);
    uint32_t dimension;
    vd_error err;
    for (size_t n = VD_DIMENSION_MAX; n <= VD_DIMENSION_MAX + 1; n++) {
        text[0] = '[';
        for (size_t i = 0; i < n; i++) {
            memcpy(text + 1 + 2 * i, "1,", 2);
        }
        text[2 * n] = ']';
        vd_status status = records_parse_vector(bytes_of(text, 2 * n + 1), "query", vector, &dimension, &err);
        assert_int_equal(status, n == VD_DIMENSION_MAX ? VD_OK : VD_INVALID_ARGUMENT);
    }
    free(text);
}

static void skipping(void **state) {
    (void)state;
    records r;
    record item;
    bool more;
    vd_error err;
    open_text("{\"id\": \"a\"}\n\nnot even JSON\n{\"id\": \"c\"}\n", &r);
    assert_int_equal(records_skip(&r, 2, &err), VD_OK);
    assert_int_equal(records_next(&r, &item, &more, &err), VD_OK);
    assert_bytes(item.id, "c");
    assert_int_equal(records_skip(&r, 1, &err), VD_OUT_OF_RANGE);
    records_close(&r);
}

/* ---- sources and batches ---- */

static char npy_path[256];
static char jsonl_path[256];

static void write_pair(size_t rows, const char *lines) {
    static unsigned char space[4096];
    char header[128];
    float values[64];
    for (size_t i = 0; i < 64; i++) {
        values[i] = (float)i;
    }
    snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, 2), }", rows);
    size_t size = npy_build(1, header, values, rows * 8, space);
    snprintf(npy_path, sizeof npy_path, "%s", files_write("p.npy", space, size));
    snprintf(jsonl_path, sizeof jsonl_path, "%s", files_write("p.jsonl", lines, strlen(lines)));
}

/* Reads everything in batches of two; gives the rows read and the last status. */
static vd_status drain(const source_options *options, size_t *rows, char *ids, vd_error *err) {
    source s;
    batch b;
    *rows = 0;
    ids[0] = '\0';
    vd_status status = source_open(options, &s, err);
    if (status != VD_OK) {
        return status;
    }
    assert_int_equal(batch_init(&b, 2, s.dimension, err), VD_OK);
    do {
        status = batch_fill(&b, &s, err);
        for (size_t i = 0; i < b.count; i++) {
            strcat(ids, b.items[i].id);
            strcat(ids, b.items[i].metadata ? "+ " : " ");
            assert_true(b.items[i].vector[0] == (float)(2 * (b.first + i)));
        }
        *rows += b.count;
    } while (status == VD_OK && b.count > 0);
    batch_fini(&b);
    source_close(&s);
    return status;
}

static void arrays_and_lines_go_together(void **state) {
    (void)state;
    size_t rows;
    char ids[256];
    vd_error err;
    write_pair(3, "{\"id\": \"a\", \"metadata\": {}}\n{\"id\": \"b\"}\n{\"id\": \"c\"}\n");
    source_options options = {.npy = npy_path, .jsonl = jsonl_path};
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OK);
    assert_string_equal(ids, "a+ b c ");
    options.first = 2;
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OK);
    assert_string_equal(ids, "c ");
    options.first = 3; /* a load that had ended */
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OK);
    assert_int_equal(rows, 0);
    options.first = 4;
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OUT_OF_RANGE);
    options = (source_options){.npy = npy_path};
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OK);
    assert_string_equal(ids, "0 1 2 ");
    options = (source_options){.npy = npy_path, .first = 1};
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OK);
    assert_string_equal(ids, "1 2 "); /* the same ids as without the interruption */
}

static void uneven_files_are_refused(void **state) {
    (void)state;
    size_t rows;
    char ids[256];
    vd_error err;
    source_options options = {.npy = npy_path, .jsonl = jsonl_path};
    write_pair(3, "{\"id\": \"a\"}\n{\"id\": \"b\"}\n");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "p.jsonl ends after 2 rows"));
    assert_int_equal(rows, 2); /* those before it are there */
    write_pair(1, "{\"id\": \"a\"}\n{\"id\": \"b\"}\n");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "p.npy ends after 1 rows"));
    write_pair(1, "{\"id\": \"a\", \"vector\": [1, 2]}\n");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "has another one"));
    write_pair(1, "{\"metadata\": {}}\n");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "no \"id\""));
}

static void lines_alone(void **state) {
    (void)state;
    size_t rows;
    char ids[256];
    vd_error err;
    source_options options = {.jsonl = jsonl_path};
    write_pair(1, "{\"id\": \"a\", \"vector\": [0, 1]}\n{\"id\": \"b\", \"vector\": [2, 1]}\n{\"id\": \"c\", "
                  "\"vector\": [4, 1]}");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OK);
    assert_string_equal(ids, "a b c ");
    options.first = 1;
    assert_int_equal(drain(&options, &rows, ids, &err), VD_OK);
    assert_string_equal(ids, "b c ");
    options.first = 0;
    write_pair(1, "{\"id\": \"a\", \"vector\": [0, 1]}\n{\"id\": \"b\", \"vector\": [2, 1, 3]}\n");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "p.jsonl:2: the vector has another dimension"));
    write_pair(1, "{\"id\": \"a\"}\n");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "there is no \"vector\""));
    write_pair(1, "\n\n");
    assert_int_equal(drain(&options, &rows, ids, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "holds no items"));
}

static void batches_stay_small_enough_for_a_request(void **state) {
    (void)state;
    batch b;
    vd_error err;
    assert_int_equal(batch_init(&b, VD_BATCH_ITEMS_MAX, VD_DIMENSION_MAX, &err), VD_OK);
    assert_int_equal(b.capacity, BATCH_BYTES_MAX / (VD_DIMENSION_MAX * sizeof(float)));
    batch_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(long_lines_are_refused_early),
        cmocka_unit_test(vectors_have_a_greatest_dimension),
        cmocka_unit_test(skipping),
        cmocka_unit_test(arrays_and_lines_go_together),
        cmocka_unit_test(uneven_files_are_refused),
        cmocka_unit_test(lines_alone),
        cmocka_unit_test(batches_stay_small_enough_for_a_request),
    };
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
