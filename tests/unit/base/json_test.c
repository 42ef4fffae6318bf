/*
 * json_test.c - the reader: what is accepted, and for everything refused the exact text and byte; strings and raw spans; the
 * writer's strings; failing memory. Numbers are in json_number_test.c, the comparison with jansson in json_oracle_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "vectord/limits.h"

static json_reader reader_of(const void *text, size_t size, arena *a) {
    json_reader r;
    json_reader_init(&r, text, size, a);
    return r;
}

/* ---- refusals ---- */

typedef struct refusal {
    const char *text;
    size_t at;
    const char *fault;
    size_t size; /* 0: strlen */
} refusal;

static const refusal refusals[] = {
    /* structure */
    {"", 0, "unexpected end", 0},
    {"  ", 2, "unexpected end", 0},
    {"\xEF\xBB\xBF{}", 0, "not a JSON value", 0}, /* a byte order mark is not white space */
    {"[", 1, "unexpected end", 0},
    {"[1", 2, "unexpected end", 0},
    {"[1,", 3, "unexpected end", 0},
    {"[1,]", 3, "not a JSON value", 0},
    {"[,1]", 1, "not a JSON value", 0},
    {"[1 2]", 3, "expected ',' or ']'", 0},
    {"[1}", 2, "expected ',' or ']'", 0},
    {"]", 0, "not a JSON value", 0},
    {"{", 1, "unexpected end", 0},
    {"{\"a\"", 4, "unexpected end", 0},
    {"{\"a\":", 5, "unexpected end", 0},
    {"{\"a\":1", 6, "unexpected end", 0},
    {"{\"a\":1,", 7, "unexpected end", 0},
    {"{\"a\":1,}", 7, "expected a member name", 0},
    {"{,}", 1, "expected a member name", 0},
    {"{a:1}", 1, "expected a member name", 0},
    {"{'a':1}", 1, "expected a member name", 0},
    {"{1:1}", 1, "expected a member name", 0},
    {"{\"a\" 1}", 5, "expected ':'", 0},
    {"{\"a\":}", 5, "not a JSON value", 0},
    {"{\"a\":1 \"b\":2}", 7, "expected ',' or '}'", 0},
    {"{\"a\":1]", 6, "expected ',' or '}'", 0},
    {"// x\n1", 0, "not a JSON value", 0},
    {"[1, /* x */ 2]", 4, "not a JSON value", 0},
    {"\0", 0, "not a JSON value", 1},
    {"1\0", 1, "bytes after the value", 2},
    {"1 2", 2, "bytes after the value", 0},
    {"{}}", 2, "bytes after the value", 0},
    {"\f1", 0, "not a JSON value", 0},
    /* literals */
    {"tru", 3, "unexpected end", 0},
    {"trux", 0, "not a JSON value", 0},
    {"True", 0, "not a JSON value", 0},
    {"nul", 3, "unexpected end", 0},
    {"nulL", 0, "not a JSON value", 0},
    {"falsy", 0, "not a JSON value", 0},
    {"truee", 4, "bytes after the value", 0},
    /* numbers */
    {"NaN", 0, "not a JSON value", 0},
    {"Infinity", 0, "not a JSON value", 0},
    {"-Infinity", 1, "malformed number", 0},
    {"+1", 0, "not a JSON value", 0},
    {".5", 0, "not a JSON value", 0},
    {"-.5", 1, "malformed number", 0},
    {"-", 1, "unexpected end", 0},
    {"--1", 1, "malformed number", 0},
    {"01", 0, "number with a leading zero", 0},
    {"-01", 1, "number with a leading zero", 0},
    {"00", 0, "number with a leading zero", 0},
    {"1.", 2, "unexpected end", 0},
    {"1.]", 2, "malformed number", 0},
    {"1.e5", 2, "malformed number", 0},
    {"1e", 2, "unexpected end", 0},
    {"1e+", 3, "unexpected end", 0},
    {"1ex", 2, "malformed number", 0},
    {"1e5.5", 3, "bytes after the value", 0},
    {"0x10", 1, "bytes after the value", 0},
    {"1_000", 1, "bytes after the value", 0},
    {"1,5", 1, "bytes after the value", 0},
    /* strings */
    {"\"a", 2, "unexpected end", 0},
    {"\"a\\", 2 + 1, "unexpected end", 0},
    {"\"a\nb\"", 2, "control character in a string", 0},
    {"\"0123456789\tb\"", 11, "control character in a string", 0},
    {"\"a\0b\"", 2, "control character in a string", 5},
    {"\"\\x41\"", 1, "bad escape in a string", 0},
    {"\"\\'\"", 1, "bad escape in a string", 0},
    {"\"\\u12\"", 1, "bad escape in a string", 0},
    {"\"\\u12g4\"", 1, "bad escape in a string", 0},
    {"\"\\u+123\"", 1, "bad escape in a string", 0},
    {"\"ab\\ud800\"", 3, "lone surrogate in a string", 0},
    {"\"\\udc00\"", 1, "lone surrogate in a string", 0},
    {"\"\\ud800\\u0041\"", 1, "lone surrogate in a string", 0},
    {"\"\\ud800\\ud800\"", 1, "lone surrogate in a string", 0},
    {"\"\\ud800\\n\"", 1, "lone surrogate in a string", 0},
    {"\"\xC0\x80\"", 1, "not valid UTF-8", 0},         /* overlong NUL */
    {"\"\xC1\xBF\"", 1, "not valid UTF-8", 0},         /* overlong */
    {"\"\xE0\x9F\xBF\"", 1, "not valid UTF-8", 0},     /* overlong */
    {"\"\xF0\x8F\xBF\xBF\"", 1, "not valid UTF-8", 0}, /* overlong */
    {"\"\xED\xA0\x80\"", 1, "not valid UTF-8", 0},     /* a surrogate */
    {"\"\xF4\x90\x80\x80\"", 1, "not valid UTF-8", 0}, /* above U+10FFFF */
    {"\"\xF5\x80\x80\x80\"", 1, "not valid UTF-8", 0},
    {"\"a\x80\"", 2, "not valid UTF-8", 0},             /* a lone continuation */
    {"\"\xC3\xA9\xC3\"", 3, "not valid UTF-8", 0},      /* cut by the quote */
    {"\"0123456789\xE2\x82", 11, "not valid UTF-8", 0}, /* cut by the end */
    {"{\"\xFF\":1}", 2, "not valid UTF-8", 0},
};

static void every_refusal_names_its_reason_and_byte(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *x = &refusals[i];
        size_t size = x->size ? x->size : strlen(x->text);
        /* a copy of the exact size, so that a sanitizer sees reads beyond it */
        char *copy = malloc(size ? size : 1);
        memcpy(copy, x->text, size);
        arena a;
        arena_init(&a, NULL, 0);
        json_reader r = reader_of(copy, size, &a);
        bool good = json_skip(&r, NULL) && json_at_end(&r);
        if (good || strcmp(r.fault, x->fault) != 0 || r.fault_at != x->at) {
            print_message("refusal %zu: <%s>: %s at %zu\n", i, x->text, good ? "accepted" : r.fault, r.fault_at);
        }
        assert_false(good);
        assert_string_equal(r.fault, x->fault);
        assert_int_equal(r.fault_at, x->at);
        /* the first fault stays, whatever is called next */
        json_kind kind;
        double number;
        bytes text;
        bool more;
        assert_false(json_peek(&r, &kind));
        assert_false(json_read_double(&r, &number));
        assert_false(json_read_string(&r, &text));
        assert_false(json_next_element(&r, &more));
        assert_false(json_next_key(&r, &text, &more));
        assert_false(json_skip(&r, NULL));
        assert_false(json_at_end(&r));
        assert_string_equal(r.fault, x->fault);
        assert_int_equal(r.fault_at, x->at);
        vd_error err;
        char wanted[128];
        snprintf(wanted, sizeof wanted, "decode body: %s at byte %zu", x->fault, x->at);
        assert_int_equal(json_fail(&r, "decode body", &err), VD_INVALID_ARGUMENT);
        assert_string_equal(err.text, wanted);
        arena_fini(&a);
        free(copy);
    }
}

typedef bool (*read_fn)(json_reader *r);
static bool read_null(json_reader *r) {
    return json_read_null(r);
}
static bool read_bool(json_reader *r) {
    bool value;
    return json_read_bool(r, &value);
}
static bool read_string(json_reader *r) {
    bytes value;
    return json_read_string(r, &value);
}
static bool read_double(json_reader *r) {
    double value;
    return json_read_double(r, &value);
}
static bool read_float(json_reader *r) {
    float value;
    return json_read_float(r, &value);
}
static bool read_int(json_reader *r) {
    int64_t value;
    return json_read_int64(r, &value);
}

static void a_value_of_another_kind_is_named(void **state) {
    (void)state;
    static const struct {
        read_fn read;
        const char *text;
        const char *fault;
        size_t at;
    } rows[] = {
        {read_null, " 1", "not null", 1},
        {read_bool, " null", "not true or false", 1},
        {read_bool, " \"true\"", "not true or false", 1},
        {read_string, "  7", "not a string", 2},
        {read_string, "\"a\\u0000\"", "NUL in a string", 2},
        {read_double, "\"1\"", "not a number", 0},
        {read_double, " 1e309", "out of range", 1},
        {read_double, "-1e309", "out of range", 0},
        {read_float, " [1]", "not a number", 1},
        {read_float, " null", "not a number", 1},
        {read_int, " true", "not a number", 1},
        {read_int, " 1.5", "not a whole number", 1},
        {read_int, "1e-1", "not a whole number", 0},
        {read_int, "9223372036854775808", "out of range", 0},
        {read_int, "-9223372036854775809", "out of range", 0},
        {read_int, "1e19", "out of range", 0},
        {read_int, "1e999999999999999999999", "out of range", 0},
        {json_begin_array, " {}", "not an array", 1},
        {json_begin_object, " []", "not an object", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        arena a;
        arena_init(&a, NULL, 0);
        json_reader r = reader_of(rows[i].text, strlen(rows[i].text), &a);
        assert_false(rows[i].read(&r));
        assert_string_equal(r.fault, rows[i].fault);
        assert_int_equal(r.fault_at, rows[i].at);
        arena_fini(&a);
    }
}

/* ---- depth ---- */

static void depth_ends_at_the_limit(void **state) {
    (void)state;
    enum { DEEP = 200000 };
    char *text = malloc(2 * DEEP);
    arena a;
    arena_init(&a, NULL, 0);
    for (int objects = 0; objects < 2; objects++) {
        size_t unit = objects ? 5 : 1; /* {"":[ ... would mix: here one kind at a time */
        for (size_t depth = VD_JSON_DEPTH_MAX; depth <= VD_JSON_DEPTH_MAX + 1; depth++) {
            size_t size = 0;
            for (size_t i = 0; i < depth; i++) {
                memcpy(text + size, objects ? "{\"a\":" : "[", unit);
                size += unit;
            }
            text[size++] = '1';
            memset(text + size, objects ? '}' : ']', depth);
            size += depth;
            json_reader r = reader_of(text, size, &a);
            bytes raw;
            bool good = json_skip(&r, &raw) && json_at_end(&r);
            assert_int_equal(good, depth == VD_JSON_DEPTH_MAX);
            if (good) {
                assert_int_equal(raw.size, size);
            } else {
                assert_string_equal(r.fault, "nested too deeply");
                assert_int_equal(r.fault_at, VD_JSON_DEPTH_MAX * unit);
            }
        }
    }
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    json_reader r = reader_of(text, 2 * DEEP, &a);
    assert_false(json_skip(&r, NULL));
    assert_string_equal(r.fault, "nested too deeply");
    /* walking counts on its own: a skipped value has the whole depth, wherever it stands */
    r = reader_of(text, 2 * DEEP, &a);
    bool more = true;
    for (int i = 0; i < VD_JSON_DEPTH_MAX; i++) {
        assert_true(json_begin_array(&r));
        assert_true(json_next_element(&r, &more) && more);
    }
    assert_false(json_begin_array(&r));
    assert_string_equal(r.fault, "nested too deeply");
    arena_fini(&a);
    free(text);
}

/* ---- what is read ---- */

static void strings_are_unescaped(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *value;
        bool borrowed;
    } rows[] = {
        {"\"\"", "", true},
        {"\"plain, longer than one word\"", "plain, longer than one word", true},
        {"\"gr\xC3\xBC\xC3\x9F, \xE2\x82\xAC, \xF0\x9F\x98\x80!\"",
         "gr\xC3\xBC\xC3\x9F, \xE2\x82\xAC, \xF0\x9F\x98\x80!", true},
        {"\"\x7F\"", "\x7F", true},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", false},
        {"\"a\\u0041\\u00e9\\u20AC\\ud83d\\ude00z\"", "aA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z", false},
        {"\"\\u0001\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x01\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF", false},
        {"\"\\ud800\\udc00\\udbff\\udfff\"", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        arena a;
        arena_init(&a, NULL, 0);
        json_reader r = reader_of(rows[i].text, strlen(rows[i].text), &a);
        bytes value;
        assert_true(json_read_string(&r, &value));
        assert_true(json_at_end(&r));
        assert_true(bytes_equal(value, bytes_str(rows[i].value)));
        assert_int_equal(value.data >= r.start && value.data <= r.end, rows[i].borrowed);
        arena_fini(&a);
    }
}

static void integers_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } rows[] = {
        {"0", 0},
        {"-0", 0},
        {"7", 7},
        {"-7", -7},
        {"1.0", 1},
        {"1e2", 100},
        {"1.20e1", 12},
        {"1200e-2", 12},
        {"0e99999999999", 0},
        {"0.000", 0},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"9223372036854775807.000", INT64_MAX},
        {"922337203685477580700e-2", INT64_MAX},
        {"9.223372036854775807E+18", INT64_MAX},
    };
    arena a;
    arena_init(&a, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_reader r = reader_of(rows[i].text, strlen(rows[i].text), &a);
        int64_t value;
        assert_true(json_read_int64(&r, &value));
        assert_true(json_at_end(&r));
        assert_true(value == rows[i].value);
    }
    static const char *const unsigned_good[] = {"18446744073709551615", "18446744073709551615.0",
                                                "1844674407370955161.5e1"};
    for (size_t i = 0; i < 3; i++) {
        json_reader r = reader_of(unsigned_good[i], strlen(unsigned_good[i]), &a);
        uint64_t value;
        assert_true(json_read_uint64(&r, &value));
        assert_true(value == UINT64_MAX);
    }
    static const char *const unsigned_bad[] = {" 18446744073709551616", " -1", " 1e20"};
    for (size_t i = 0; i < 3; i++) {
        json_reader r = reader_of(unsigned_bad[i], strlen(unsigned_bad[i]), &a);
        uint64_t value;
        assert_false(json_read_uint64(&r, &value));
        assert_string_equal(r.fault, "out of range");
        assert_int_equal(r.fault_at, 1);
    }
    arena_fini(&a);
}

static void raw_spans_keep_every_byte(void **state) {
    (void)state;
    static const char *const values[] = {
        "null",
        "true",
        "-0.0e-0",
        "\"a \\u0000 b\"",                                           /* not interpreted, so NUL may stand in it */
        "{ \"b\" : [ 1 , 2.50 ] ,\r\n\t\"a\" : { } , \"b\" : [ ] }", /* equal names are the owner's business */
        "[[],[[]],{\"\":{\"\":[]}}]",
    };
    arena a;
    arena_init(&a, NULL, 0);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, " { \"x\" : \n%s\t, \"y\":%s} ", values[i], values[i]);
        json_reader r = reader_of(text, strlen(text), &a);
        bytes key, raw;
        bool more;
        assert_true(json_begin_object(&r));
        for (int member = 0; member < 2; member++) {
            assert_true(json_next_key(&r, &key, &more) && more);
            assert_true(bytes_equal(key, bytes_str(member ? "y" : "x")));
            assert_true(json_skip(&r, &raw));
            assert_true(bytes_equal(raw, bytes_str(values[i])));
        }
        assert_true(json_next_key(&r, &key, &more) && !more);
        assert_true(json_at_end(&r));
        assert_int_equal(r.depth, 0);
    }
    arena_fini(&a);
}

static void equal_names_are_all_shown(void **state) {
    (void)state;
    static const char text[] = "{\"a\":1,\"\\u0061\":2}";
    arena a;
    arena_init(&a, NULL, 0);
    json_reader r = reader_of(text, strlen(text), &a);
    bytes key;
    bool more;
    int64_t sum = 0;
    assert_true(json_begin_object(&r));
    while (json_next_key(&r, &key, &more) && more) {
        int64_t value;
        assert_true(bytes_equal(key, bytes_str("a")));
        assert_true(json_read_int64(&r, &value));
        sum = sum * 10 + value;
    }
    assert_int_equal(sum, 12);
    assert_true(json_at_end(&r));
    arena_fini(&a);
}

static void *no_alloc(void *context, size_t size) {
    (void)context;
    (void)size;
    return NULL;
}

static void out_of_memory_is_its_own_status(void **state) {
    (void)state;
    const vd_allocator *good = alloc_default();
    vd_allocator none = *good;
    none.alloc = no_alloc;
    arena a;
    arena_init(&a, &none, 0);
    json_reader r = reader_of("\"\\n\"", 4, &a);
    bytes text;
    vd_error err;
    assert_false(json_read_string(&r, &text));
    assert_int_equal(json_fail(&r, "decode body", &err), VD_OUT_OF_MEMORY);
    assert_string_equal(err.text, "decode body: out of memory");
    r = reader_of("\"n\"", 3, &a); /* borrows: needs none */
    assert_true(json_read_string(&r, &text));
    arena_fini(&a);
}

/* ---- writing ---- */

static void strings_are_escaped(void **state) {
    (void)state;
    static const struct {
        const char *value;
        size_t size;
        const char *text;
    } rows[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\""},
        {"\b\f\n\r\t\x01\x1F\x7F", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7F\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {"a\xFFz", 3, "\"a\xEF\xBF\xBDz\""},
        {"\xE2\x82", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"0123456\"01234567\n", 17, "\"0123456\\\"01234567\\n\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buffer b;
        buffer_init(&b, 0);
        json_put_string(&b, rows[i].value, rows[i].size);
        assert_false(b.failed);
        assert_true(bytes_equal(bytes_of(b.data, b.size), bytes_str(rows[i].text)));
        buffer_fini(&b);
    }
}

static void a_full_buffer_fails_whole(void **state) {
    (void)state;
    for (size_t limit = 1; limit < 64; limit++) {
        buffer b;
        buffer_init(&b, limit);
        json_put_string(&b, "a\nb\xFF", 4);
        json_put_double(&b, 0.1);
        json_put_uint64(&b, UINT64_MAX);
        json_put_int64(&b, INT64_MIN);
        json_put_float(&b, 1.5f);
        assert_true(b.size <= limit);
        buffer_fini(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_names_its_reason_and_byte),
        cmocka_unit_test(a_value_of_another_kind_is_named),
        cmocka_unit_test(depth_ends_at_the_limit),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(raw_spans_keep_every_byte),
        cmocka_unit_test(equal_names_are_all_shown),
        cmocka_unit_test(out_of_memory_is_its_own_status),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(a_full_buffer_fails_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
