/*
 * json_oracle_test.c - the reader against jansson on generated and mutated documents: the same ones are accepted, with the same
 * values. Two differences are known: we refuse more than VD_JSON_DEPTH_MAX levels, jansson more than 2048; and jansson takes a
 * NUL byte outside a string for the end of the document, we refuse it.
 * VECTORD_TEST_COUNT=n sets the documents (default 60,000).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jansson's enumerators have the names of ours */
#define JSON_NULL   OUR_NULL
#define JSON_FALSE  OUR_FALSE
#define JSON_TRUE   OUR_TRUE
#define JSON_STRING OUR_STRING
#define JSON_ARRAY  OUR_ARRAY
#define JSON_OBJECT OUR_OBJECT
#include "base/json.h"
#undef JSON_NULL
#undef JSON_FALSE
#undef JSON_TRUE
#undef JSON_STRING
#undef JSON_ARRAY
#undef JSON_OBJECT
#include <jansson.h>

static uint64_t seed = 0xD1B54A32D192ED03u;
static uint32_t next_random(uint32_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % below;
}

/* ---- ours, as a jansson tree ---- */

static json_t *read_tree(json_reader *r);

static json_t *read_number(json_reader *r) {
    const uint8_t *p = r->at; /* peeked: no white space is left before it */
    bool real = false;
    for (; p < r->end && *p && strchr("+-.0123456789eE", *p); p++) {
        real |= *p == '.' || *p == 'e' || *p == 'E';
    }
    if (real) {
        double value;
        return json_read_double(r, &value) ? json_real(value) : NULL;
    }
    int64_t value;
    return json_read_int64(r, &value) ? json_integer(value) : NULL;
}

static json_t *read_object(json_reader *r) {
    json_t *object = json_object();
    bytes key;
    bool more;
    if (json_begin_object(r)) {
        while (json_next_key(r, &key, &more) && more) {
            json_t *value = read_tree(r);
            if (!value || json_object_setn_new_nocheck(object, (const char *)key.data, key.size, value) != 0) {
                break;
            }
        }
    }
    if (r->fault) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *read_array(json_reader *r) {
    json_t *array = json_array();
    bool more;
    if (json_begin_array(r)) {
        while (json_next_element(r, &more) && more) {
            json_t *value = read_tree(r);
            if (!value || json_array_append_new(array, value) != 0) {
                break;
            }
        }
    }
    if (r->fault) {
        json_decref(array);
        return NULL;
    }
    return array;
}

static json_t *read_tree(json_reader *r) {
    json_kind kind;
    bool flag;
    bytes text;
    if (!json_peek(r, &kind)) {
        return NULL;
    }
    switch (kind) {
    case OUR_NULL:
        return json_read_null(r) ? json_null() : NULL;
    case OUR_FALSE:
    case OUR_TRUE:
        return json_read_bool(r, &flag) ? json_boolean(flag) : NULL;
    case JSON_NUMBER:
        return read_number(r);
    case OUR_STRING:
        return json_read_string(r, &text) ? json_stringn_nocheck((const char *)text.data, text.size) : NULL;
    case OUR_ARRAY:
        return read_array(r);
    default:
        return read_object(r);
    }
}

/* ---- documents ---- */

static const char *const scalars[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-17",
    "12345678901",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1.5",
    "-0.25",
    "1e5",
    "1E-7",
    "2.5e+10",
    "1e400",
    "123456789.123456789e-300",
    "\"\"",
    "\"a\"",
    "\"\\n\\\"\\\\\\/\\u00e9\"",
    "\"\\ud83d\\ude00\"",
    "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
    "\"longer than eight bytes\"",
    "0.1",
    "16777217.0",
    "5e-324",
    "\"\\u0000\"",
    "\"\\ud800\"",
};
static const char *const fragments[] = {
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\udc00",
    "0",
    "00",
    "-",
    "+",
    ".",
    "e",
    "E5",
    "1",
    "null",
    "nul",
    "NaN",
    "true",
    " ",
    "\n",
    "\t",
    "\v",
    "\x80",
    "\xC3",
    "\xED\xA0\x80",
    "\xF4\x90\x80\x80",
    "\xC0\x80",
    "\xEF\xBB\xBF",
    "\x01",
    "/",
    "//",
    "'",
    "#",
    "[[[[[[[[",
    "]]]]]]]]",
    "{\"a\":",
    "1e",
    "1.",
    ".5",
    "-e",
    "\\x",
    "\x7F",
};

static void put_space(buffer *b) {
    static const char *const spaces[] = {"", "", "", "", " ", "\n", "\r\n", "\t  "};
    buffer_put_str(b, spaces[next_random(8)]);
}

static void put_document(buffer *b, uint32_t depth) {
    put_space(b);
    uint32_t shape = depth > 5 ? 9 : next_random(10);
    if (shape < 3) {
        buffer_put_u8(b, '[');
        for (uint32_t i = 0, n = next_random(5); i < n; i++) {
            buffer_put_str(b, i ? "," : "");
            put_document(b, depth + 1);
        }
        put_space(b);
        buffer_put_u8(b, ']');
    } else if (shape < 6) {
        buffer_put_u8(b, '{');
        for (uint32_t i = 0, n = next_random(5); i < n; i++) {
            buffer_put_str(b, i ? "," : "");
            put_space(b);
            buffer_printf(b, "\"%s%u\"", next_random(8) ? "k" : "\\u006b", next_random(4)); /* equal names happen */
            put_space(b);
            buffer_put_u8(b, ':');
            put_document(b, depth + 1);
        }
        buffer_put_u8(b, '}');
    } else {
        /* the refused scalars stand at the end of the list and come less often */
        uint32_t count = sizeof scalars / sizeof scalars[0];
        buffer_put_str(b, scalars[next_random(next_random(20) ? count - 2 : count)]);
    }
    put_space(b);
}

static void mutate(buffer *b) {
    uint8_t copy[8192];
    size_t size = b->size < sizeof copy ? b->size : sizeof copy;
    memcpy(copy, b->data, size);
    size_t at = next_random((uint32_t)size + 1), cut = next_random(4);
    if (cut > size - at) {
        cut = size - at;
    }
    uint32_t way = next_random(6);
    if (way == 0 && size) {
        copy[at ? at - 1 : 0] ^= (uint8_t)(1u << next_random(8));
    }
    buffer_clear(b);
    buffer_put(b, copy, at);
    if (way == 1) {
        return; /* truncated */
    }
    if (way == 2) { /* something inserted */
        buffer_put_str(b, fragments[next_random(sizeof fragments / sizeof fragments[0])]);
    }
    if (way == 3) { /* something replaced */
        buffer_put_str(b, fragments[next_random(sizeof fragments / sizeof fragments[0])]);
        at += cut;
    }
    if (way == 4) { /* something missing */
        at += cut;
    }
    if (way == 5) { /* something twice */
        buffer_put(b, copy + at, cut);
    }
    buffer_put(b, copy + at, size - at);
}

static void accepts_what_jansson_accepts(void **state) {
    (void)state;
    const char *count = getenv("VECTORD_TEST_COUNT");
    uint64_t documents = count ? strtoull(count, NULL, 10) : 60000, accepted = 0, refused = 0, deep = 0, nul = 0;
    buffer b;
    buffer_init(&b, 0);
    arena a;
    arena_init(&a, NULL, 0);
    for (uint64_t i = 0; i < documents; i++) {
        buffer_clear(&b);
        put_document(&b, 0);
        for (uint32_t m = next_random(4); m; m--) {
            mutate(&b);
        }
        buffer_put_u8(&b, '!'); /* must not be read */
        size_t size = b.size - 1;
        json_reader r;
        json_reader_init(&r, b.data, size, &a);
        json_t *ours = read_tree(&r);
        if (ours && !json_at_end(&r)) {
            json_decref(ours);
            ours = NULL;
        }
        json_error_t error;
        json_t *theirs = json_loadb((const char *)b.data, size, JSON_DECODE_ANY, &error);
        if (!ours && theirs && strcmp(r.fault, "nested too deeply") == 0) {
            deep++;
        } else if (!ours && theirs && r.fault_at < size && b.data[r.fault_at] == '\0') {
            nul++;
        } else if (!ours != !theirs || (ours && !json_equal(ours, theirs))) {
            print_message("<%.*s>: ours %s, jansson %s\n", (int)size, (const char *)b.data, ours ? "accepts" : r.fault,
                          theirs ? "accepts" : error.text);
            fail();
        }
        /* skipping agrees with reading, but for what only matters to who reads: \u0000 and numbers that do not fit */
        json_reader s;
        json_reader_init(&s, b.data, size, &a);
        bool skipped = json_skip(&s, NULL) && json_at_end(&s);
        bool lenient = r.fault && (strcmp(r.fault, "NUL in a string") == 0 || strcmp(r.fault, "out of range") == 0);
        if (!lenient) {
            assert_int_equal(skipped, ours != NULL);
            if (!skipped) {
                assert_string_equal(s.fault, r.fault);
                assert_int_equal(s.fault_at, r.fault_at);
            }
        }
        accepted += ours != NULL;
        refused += ours == NULL;
        json_decref(ours);
        json_decref(theirs);
        arena_reset(&a);
    }
    print_message("%llu accepted, %llu refused, %llu too deep for us, %llu with NUL\n", (unsigned long long)accepted,
                  (unsigned long long)refused, (unsigned long long)deep, (unsigned long long)nul);
    assert_true(accepted > documents / 20 && refused > documents / 20);
    arena_fini(&a);
    buffer_fini(&b);
}

/* What the writer escapes, jansson reads back. */
static void strings_survive_jansson(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    for (int i = 0; i < 20000; i++) {
        char text[64];
        size_t size = 0;
        for (uint32_t n = next_random(12); n; n--) {
            static const char *const parts[] = {"a",
                                                "\"",
                                                "\\",
                                                "/",
                                                "\n",
                                                "\x01",
                                                "\x1F",
                                                "\x7F",
                                                "\xC3\xA9",
                                                "\xE2\x82\xAC",
                                                "\xF0\x9F\x98\x80",
                                                "eight by",
                                                "\xEF\xBF\xBF"};
            const char *part = parts[next_random(sizeof parts / sizeof parts[0])];
            memcpy(text + size, part, strlen(part));
            size += strlen(part);
            if (size > 50) {
                break;
            }
        }
        buffer_clear(&b);
        json_put_string(&b, text, size);
        json_t *read = json_loadb((const char *)b.data, b.size, JSON_DECODE_ANY, NULL);
        assert_non_null(read);
        assert_int_equal(json_string_length(read), size);
        assert_memory_equal(json_string_value(read), text, size);
        json_decref(read);
    }
    buffer_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_jansson_accepts),
        cmocka_unit_test(strings_survive_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
