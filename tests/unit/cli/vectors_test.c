/*
 * vectors_test.c - .npy and .fvecs: good files give their exact values, bad ones are refused with a reason, and neither reads past
 * its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "cli/vectors.h"
#include "files.h"

static unsigned char space[256 * 1024];

#define HEADER(descr, shape) "{'descr': '" descr "', 'fortran_order': False, 'shape': " shape ", }"

static vd_status open_npy(unsigned version, const char *header, const void *data, size_t size, vectors *v,
                          vd_error *err) {
    size_t total = npy_build(version, header, data, size, space);
    return vectors_open_npy(files_write("a.npy", space, total), v, err);
}

static void refuse_npy(const char *header, const void *data, size_t size, vd_status want, const char *text) {
    vectors v = {0};
    vd_error err;
    assert_int_equal(open_npy(1, header, data, size, &v, &err), want);
    if (!strstr(err.text, text)) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    }
    assert_null(v.file);
}

static void read_all(vectors *v, const float *want, size_t rows) {
    float row[16];
    bool more;
    vd_error err;
    for (size_t i = 0; i < rows; i++) {
        assert_int_equal(vectors_next(v, row, &more, &err), VD_OK);
        assert_true(more);
        assert_memory_equal(row, want + i * v->dimension, v->dimension * sizeof(float));
    }
    assert_int_equal(vectors_next(v, row, &more, &err), VD_OK);
    assert_false(more);
}

static const float values[6] = {1, -2.5f, 3, 0.1f, 1e-45f, 3.4e38f};

static void versions_and_types(void **state) {
    (void)state;
    vectors v;
    vd_error err;
    for (unsigned version = 1; version <= 3; version++) {
        assert_int_equal(open_npy(version, HEADER("<f4", "(2, 3)"), values, sizeof values, &v, &err), VD_OK);
        assert_int_equal(v.dimension, 3);
        assert_int_equal(v.count, 2);
        read_all(&v, values, 2);
        vectors_close(&v);
    }
    static const double wide[6] = {1, -2.5, 3, (double)0.1f, 1e-45, 3.4e38};
    assert_int_equal(open_npy(1, HEADER("<f8", "(2, 3)"), wide, sizeof wide, &v, &err), VD_OK);
    read_all(&v, values, 2);
    vectors_close(&v);
    static const uint8_t half[8] = {0x00, 0x3c, 0x00, 0xc1, 0x01, 0x00, 0xff, 0x7b};
    static const float widened[4] = {1, -2.5f, 0x1p-24f, 65504};
    assert_int_equal(open_npy(1, HEADER("<f2", "(2, 2)"), half, sizeof half, &v, &err), VD_OK);
    read_all(&v, widened, 2);
    vectors_close(&v);
}

/* Against the definition, for every half. */
static void halves_are_exact(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        int exponent = (int)(half >> 10 & 0x1f);
        double fraction = half & 0x3ff;
        double want = exponent == 0      ? ldexp(fraction, -24)
                      : exponent == 0x1f ? (fraction > 0 ? (double)NAN : (double)INFINITY)
                                         : ldexp(1024 + fraction, exponent - 25);
        double got = npy_widen_half((uint16_t)half);
        if (isnan(want)) {
            assert_true(isnan(got));
        } else {
            assert_true(got == (half & 0x8000 ? -want : want));
            assert_int_equal(!signbit(got), !(half & 0x8000));
        }
    }
}

static void shapes_and_spellings(void **state) {
    (void)state;
    vectors v;
    vd_error err;
    assert_int_equal(open_npy(1, HEADER("<f4", "(6,)"), values, sizeof values, &v, &err), VD_OK);
    assert_int_equal(v.count, 1);
    assert_int_equal(v.dimension, 6);
    read_all(&v, values, 1);
    vectors_close(&v);
    static const char *const fine[] = {
        "{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":False}",
        "{ 'fortran_order' : False , 'shape' : ( 2 , 3 , ) , 'descr' : '<f4' , }",
    };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(open_npy(1, fine[i], values, sizeof values, &v, &err), VD_OK);
        assert_int_equal(v.dimension, 3);
        vectors_close(&v);
    }
    assert_int_equal(
        open_npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 6), }", values, sizeof values, &v, &err),
        VD_OK); /* one row: the order makes no difference */
    vectors_close(&v);
}

static void seeking(void **state) {
    (void)state;
    vectors v;
    vd_error err;
    float row[2];
    bool more;
    assert_int_equal(open_npy(1, HEADER("<f4", "(3, 2)"), values, sizeof values, &v, &err), VD_OK);
    assert_int_equal(vectors_seek(&v, 2, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_OK);
    assert_true(row[0] == values[4]);
    assert_int_equal(vectors_seek(&v, 1, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_OK);
    assert_true(row[0] == values[2]);
    assert_int_equal(vectors_seek(&v, 3, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_OK);
    assert_false(more);
    assert_int_equal(vectors_seek(&v, 4, &err), VD_OUT_OF_RANGE);
    vectors_close(&v);
}

static void headers_that_lie(void **state) {
    (void)state;
    refuse_npy(HEADER("<f4", "(3, 3)"), values, sizeof values, VD_DATA_LOSS, "cut short");
    refuse_npy(HEADER("<f4", "(1, 3)"), values, sizeof values, VD_DATA_LOSS, "damaged");
    refuse_npy(HEADER("<f4", "(18446744073709551615, 3)"), values, sizeof values, VD_DATA_LOSS, "cut short");
    refuse_npy(HEADER("<f4", "(4611686018427387904, 4)"), values, sizeof values, VD_DATA_LOSS, ""); /* 2^62 * 16 */
    refuse_npy(HEADER("<f4", "(99999999999999999999, 3)"), values, sizeof values, VD_INVALID_ARGUMENT, "header");
    refuse_npy(HEADER("<f4", "(2, 0)"), values, sizeof values, VD_INVALID_ARGUMENT, "rows of 0 values");
    refuse_npy(HEADER("<f4", "(1, 16385)"), values, sizeof values, VD_INVALID_ARGUMENT, "16384");
    refuse_npy(HEADER("<f4", "(2, -3)"), values, sizeof values, VD_INVALID_ARGUMENT, "header");
    refuse_npy(HEADER("<f4", "()"), values, 4, VD_INVALID_ARGUMENT, "0 dimensions");
    refuse_npy(HEADER("<f4", "(1, 2, 3)"), values, sizeof values, VD_INVALID_ARGUMENT, "3 dimensions");
    refuse_npy(HEADER("<f4", "(1,1,1,1,1,1,1,1,1)"), values, 4, VD_INVALID_ARGUMENT, "header");
}

static void headers_we_do_not_take(void **state) {
    (void)state;
    refuse_npy(HEADER(">f4", "(2, 3)"), values, sizeof values, VD_INVALID_ARGUMENT, "'>f4'");
    refuse_npy(HEADER("|O", "(2, 3)"), values, sizeof values, VD_INVALID_ARGUMENT, "'|O'");
    refuse_npy(HEADER("<i4", "(2, 3)"), values, sizeof values, VD_INVALID_ARGUMENT, "whole numbers");
    refuse_npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", values, sizeof values, VD_INVALID_ARGUMENT,
               "ascontiguousarray");
    static const char *const broken[] = {
        "",
        "{",
        "{}",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4\\'', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4",
        "{'a-key-that-is-longer-than-any-key-we-know-of': 1}",
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        refuse_npy(broken[i], values, sizeof values, VD_INVALID_ARGUMENT, "header");
    }
}

static void heads_that_are_cut(void **state) {
    (void)state;
    vectors v;
    vd_error err;
    size_t total = npy_build(1, HEADER("<f4", "(2, 3)"), values, sizeof values, space);
    for (size_t cut = 0; cut < total; cut++) {
        vd_status status = vectors_open_npy(files_write("cut.npy", space, cut), &v, &err);
        assert_true(status == VD_DATA_LOSS || status == VD_INVALID_ARGUMENT);
    }
    space[6] = 4;
    assert_int_equal(vectors_open_npy(files_write("v4.npy", space, total), &v, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "version 4.0"));
    /* A header of 4 GiB in a file of 300 bytes. */
    memcpy(space + 6, "\x02\x00\xff\xff\xff\xff", 6);
    assert_int_equal(vectors_open_npy(files_write("huge.npy", space, 300), &v, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "not believable"));
}

static void values_that_are_not_finite(void **state) {
    (void)state;
    vectors v;
    vd_error err;
    float row[2];
    bool more;
    static const double beyond[4] = {1, 2, 3, 1e39};
    static const float bad[2][4] = {{1, 2, NAN, 4}, {1, 2, 3, -INFINITY}};
    assert_int_equal(open_npy(1, HEADER("<f8", "(2, 2)"), beyond, sizeof beyond, &v, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "row 1: value 1 is not finite (or beyond float32)"));
    vectors_close(&v);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(open_npy(1, HEADER("<f4", "(2, 2)"), bad[i], sizeof bad[i], &v, &err), VD_OK);
        assert_int_equal(vectors_next(&v, row, &more, &err), VD_OK);
        assert_int_equal(vectors_next(&v, row, &more, &err), VD_INVALID_ARGUMENT);
        vectors_close(&v);
    }
    static const uint8_t infinite[2] = {0x00, 0x7c};
    assert_int_equal(open_npy(1, HEADER("<f2", "(1, 1)"), infinite, 2, &v, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_INVALID_ARGUMENT);
    vectors_close(&v);
}

static void files_that_are_none(void **state) {
    (void)state;
    vectors v;
    vd_error err;
    assert_int_equal(vectors_open_npy(files_path("missing.npy"), &v, &err), VD_NOT_FOUND);
    assert_int_equal(vectors_open_npy("/dev/null", &v, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(vectors_open_npy("/tmp", &v, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(vectors_open_npy(files_write("text.npy", "hello, world", 12), &v, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "is not a .npy file"));
    assert_int_equal(vectors_open_fvecs(files_path("missing.fvecs"), &v, &err), VD_NOT_FOUND);
}

static size_t put_row(uint8_t *out, uint32_t dimension, const float *row) {
    for (size_t i = 0; i < 4; i++) {
        out[i] = (uint8_t)(dimension >> (8 * i));
    }
    memcpy(out + 4, row, dimension * sizeof(float));
    return 4 + dimension * sizeof(float);
}

static void fvecs(void **state) {
    (void)state;
    vectors v;
    vd_error err;
    float row[4];
    bool more;
    uint8_t file[64];
    size_t size = put_row(file, 3, values);
    size += put_row(file + size, 3, values + 3);
    assert_int_equal(vectors_open_fvecs(files_write("a.fvecs", file, size), &v, &err), VD_OK);
    assert_int_equal(v.count, 2);
    read_all(&v, values, 2);
    assert_int_equal(vectors_seek(&v, 1, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_OK);
    assert_true(row[0] == values[3]);
    vectors_close(&v);

    assert_int_equal(vectors_open_fvecs(files_write("cut.fvecs", file, size - 1), &v, &err), VD_DATA_LOSS);
    assert_int_equal(vectors_open_fvecs(files_write("empty.fvecs", file, 0), &v, &err), VD_INVALID_ARGUMENT);
    static const uint32_t dimensions[] = {0, 16385, 0x80000000u, 0xffffffffu};
    for (size_t i = 0; i < 4; i++) {
        put_row(file, 3, values);
        for (size_t b = 0; b < 4; b++) {
            file[b] = (uint8_t)(dimensions[i] >> (8 * b));
        }
        assert_int_equal(vectors_open_fvecs(files_write("dim.fvecs", file, size), &v, &err), VD_INVALID_ARGUMENT);
    }
    /* The second row says another dimension. */
    put_row(file, 3, values);
    file[16] = 2;
    assert_int_equal(vectors_open_fvecs(files_write("mixed.fvecs", file, size), &v, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_OK);
    assert_int_equal(vectors_next(&v, row, &more, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "row 1 has 2 values, the first has 3"));
    vectors_close(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_and_types),   cmocka_unit_test(halves_are_exact),
        cmocka_unit_test(shapes_and_spellings), cmocka_unit_test(seeking),
        cmocka_unit_test(headers_that_lie),     cmocka_unit_test(headers_we_do_not_take),
        cmocka_unit_test(heads_that_are_cut),   cmocka_unit_test(values_that_are_not_finite),
        cmocka_unit_test(files_that_are_none),  cmocka_unit_test(fvecs),
    };
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
