/*
 * codec_json_test.c - JSON bodies to messages and back: what is accepted and as what, for everything refused the exact text
 * and field, round trips of random messages, and failing memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vectord/v1/vectord.pb-c.h>

#include "codec/codec.h"
#include "unit/codec/messages.h"

#define CREATE (&vectord__v1__create_index_request__descriptor)
#define ADD    (&vectord__v1__add_items_request__descriptor)
#define SEARCH (&vectord__v1__search_request__descriptor)
#define INDEX  (&vectord__v1__get_index_response__descriptor)
#define RPC    (&vectord__v1__rpc_request__descriptor)

static bool encoded_is(const ProtobufCMessage *message, const char *wanted) {
    buffer b;
    buffer_init(&b, 0);
    codec_json_encode(message, &b);
    bool same = !b.failed && bytes_equal(bytes_of(b.data, b.size), bytes_str(wanted));
    if (!same) {
        print_message("encoded <%.*s>\n wanted <%s>\n", (int)b.size, (const char *)b.data, wanted);
    }
    buffer_fini(&b);
    return same;
}

/* ---- accepted ---- */

typedef struct acceptance {
    const ProtobufCMessageDescriptor *message;
    const char *body;
    const char *as; /* what it is when encoded again */
} acceptance;

#define NO_ITEMS "{\"name\":\"\",\"items\":[]}"

static const acceptance acceptances[] = {
    {ADD, "", NO_ITEMS},
    {ADD, " {\n} ", NO_ITEMS},
    {ADD, "{\"name\":null,\"items\":null}", NO_ITEMS},
    {ADD, "{\"items\":[]}", NO_ITEMS},
    {ADD, "{\"name\":\"a\\u00e9\\n\"}", "{\"name\":\"a\xC3\xA9\\n\",\"items\":[]}"},
    /* unknown members are skipped, whatever they hold */
    {ADD, "{\"x\":{\"name\":[1,{}]},\"\":null,\"name\":\"n\",\"names\":7,\"nam\":8}", "{\"name\":\"n\",\"items\":[]}"},
    /* the last one wins, null included */
    {ADD, "{\"name\":\"a\",\"name\":\"b\"}", "{\"name\":\"b\",\"items\":[]}"},
    {ADD, "{\"name\":\"a\",\"name\":null}", NO_ITEMS},
    {ADD, "{\"items\":[{},{}],\"items\":[{\"id\":\"x\"}]}", "{\"name\":\"\",\"items\":[{\"id\":\"x\",\"vector\":[]}]}"},
    {ADD, "{\"items\":[{\"vector\":[1,2],\"vector\":[3]}]}",
     "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[3]}]}"},
    {ADD, "{\"items\":[{\"vector\":[1,2],\"vector\":null}]}",
     "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[]}]}"},
    /* vectors */
    {ADD, "{\"items\":[{\"id\":\"v\",\"vector\":[ 1 , -2.5,0.1,1e-3 , 16777217]}]}",
     "{\"name\":\"\",\"items\":[{\"id\":\"v\",\"vector\":[1,-2.5,0.1,0.001,16777216]}]}"},
    {ADD, "{\"items\":[{\"vector\":\"AACAPwAAIMDNzMw9\"}]}",
     "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[1,-2.5,0.1]}]}"},
    {ADD, "{\"items\":[{\"vector\":\"AACA\\u0050w==\"}]}", "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[1]}]}"},
    {ADD, "{\"items\":[{\"vector\":\"\"}]}", "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[]}]}"},
    /* raw JSON keeps its bytes; null is absent */
    {ADD, "{\"items\":[{\"metadata\": {\"b\" : 1.50, \"a\":[\"\\u0000\", {}]} \n}]}",
     "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[],\"metadata\":{\"b\" : 1.50, \"a\":[\"\\u0000\", {}]}}]}"},
    {ADD, "{\"items\":[{\"metadata\":\"text\"}]}",
     "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[],\"metadata\":\"text\"}]}"},
    {ADD, "{\"items\":[{\"metadata\":{},\"metadata\":null}]}",
     "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[]}]}"},
    /* optional fields are there only when set; both spellings of a name */
    {SEARCH, "{}", "{\"name\":\"\",\"vector\":[]}"},
    {SEARCH, "{\"k\":0,\"ef\":0,\"exact\":false,\"id\":\"\"}",
     "{\"name\":\"\",\"vector\":[],\"k\":0,\"ef\":0,\"exact\":false,\"id\":\"\"}"},
    {SEARCH, "{\"k\":3,\"k\":null,\"exact\":true}", "{\"name\":\"\",\"vector\":[],\"exact\":true}"},
    {SEARCH, "{\"k\":-2147483648,\"ef\":4294967295}",
     "{\"name\":\"\",\"vector\":[],\"k\":-2147483648,\"ef\":4294967295}"},
    {SEARCH, "{\"k\":1e1,\"ef\":2.0}", "{\"name\":\"\",\"vector\":[],\"k\":10,\"ef\":2}"},
    {CREATE, "{\"ef_search\":1,\"efConstruction\":2,\"efSearch\":3,\"ef_Search\":4,\"efsearch\":5,\"EfSearch\":6}",
     "{\"name\":\"\",\"dimension\":0,\"ef_search\":3,\"ef_construction\":2}"},
    {INDEX, "{\"memory_bytes\":18446744073709551615,\"load_progress\":0.1,\"params\":{\"m\":1}}",
     "{\"params\":{\"name\":\"\",\"dimension\":0,\"m\":1,\"ef_search\":0,\"distance\":\"\",\"ef_construction\":0},"
     "\"length\":0,"
     "\"state\":\"\",\"reason\":\"\",\"load_progress\":0.1,\"ef_effective\":0,\"calibrated_at\":0,\"calibrated_"
     "recall\":0,"
     "\"encoding\":\"\",\"memory_bytes\":18446744073709551615,\"journal_bytes\":0,\"sequence\":0,\"optimized\":0,"
     "\"receipt\":null,\"durability\":\"\",\"durable_sequence\":0,\"backlog_bytes\":0}"},
    {INDEX, "{\"params\":null}",
     "{\"params\":null,\"length\":0,\"state\":\"\",\"reason\":\"\",\"load_progress\":0,\"ef_effective\":0,\"calibrated_"
     "at\":0,"
     "\"calibrated_recall\":0,\"encoding\":\"\",\"memory_bytes\":0,\"journal_bytes\":0,\"sequence\":0,\"optimized\":"
     "0,\"receipt\":null,\"durability\":\"\",\"durable_sequence\":0,\"backlog_bytes\":0}"},
    /* real bytes are base64 */
    {RPC, "{\"payload\":\"/wA=\",\"request_id\":\"\\/\\/\\/\\/\"}",
     "{\"method\":\"\",\"payload\":\"/wA=\",\"metadata\":[],\"timeout_ms\":0,\"request_id\":\"////\"}"},
    {&vectord__v1__list_indexes_response__descriptor, "{\"names\":[\"\",\"b\\\"\"],\"count\":2}",
     "{\"names\":[\"\",\"b\\\"\"],\"count\":2}"},
    {&vectord__v1__health_request__descriptor, "{\"a\":1}", "{}"},
};

static void bodies_are_understood(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof acceptances / sizeof acceptances[0]; i++) {
        const acceptance *x = &acceptances[i];
        arena a;
        arena_init(&a, NULL, 0);
        ProtobufCMessage *message = NULL;
        vd_error err = {0};
        vd_status status = codec_json_decode(x->message, bytes_str(x->body), &a, &message, &err);
        if (status) {
            print_message("<%s>: %s\n", x->body, err.text);
        }
        assert_int_equal(status, VD_OK);
        assert_true(encoded_is(message, x->as));
        arena_fini(&a);
    }
}

/* ---- refused ---- */

typedef struct refusal {
    const ProtobufCMessageDescriptor *message;
    const char *body;
    const char *field;
    const char *text; /* behind "decode body: " */
} refusal;

static const refusal refusals[] = {
    {ADD, " ", "", "unexpected end at byte 1"},
    {ADD, "null", "", "not an object at byte 0"},
    {ADD, " []", "", "not an object at byte 1"},
    {ADD, "{}{", "", "bytes after the value at byte 2"},
    {ADD, "{\"x\":01}", "", "number with a leading zero at byte 5"},
    {ADD, "{\"name\":7}", "name", "name: not a string at byte 8"},
    {ADD, "{\"name\":\"a\\u0000\"}", "name", "name: NUL in a string at byte 10"},
    {ADD, "{\"name\":\"\xC0\xAF\"}", "name", "name: not valid UTF-8 at byte 9"},
    {ADD, "{\"name\":\"x\"", "", "unexpected end at byte 11"},
    {ADD, "{\"items\":{}}", "items", "items: not an array at byte 9"},
    {ADD, "{\"items\":[{}", "items", "items: unexpected end at byte 12"},
    {ADD, "{\"items\":[{},null]}", "items[1]", "items[1]: not an object at byte 13"},
    {ADD, "{\"items\":[{},{\"id\":[]}]}", "items[1].id", "items[1].id: not a string at byte 19"},
    {ADD, "{\"items\":[{\"vector\":7}]}", "items[0].vector",
     "items[0].vector: neither an array of numbers nor a base64 string at byte 20"},
    {ADD, "{\"items\":[{\"vector\":[1,\"2\"]}]}", "items[0].vector", "items[0].vector[1]: not a number at byte 23"},
    {ADD, "{\"items\":[{\"vector\":[1, null]}]}", "items[0].vector", "items[0].vector[1]: not a number at byte 24"},
    {ADD, "{\"items\":[{\"vector\":[1,NaN]}]}", "items[0].vector", "items[0].vector[1]: not a JSON value at byte 23"},
    {ADD, "{\"items\":[{\"vector\":[ 1e39 ]}]}", "items[0].vector", "items[0].vector[0]: out of range at byte 22"},
    {ADD, "{\"items\":[{\"vector\":[1,2,-3.4028236e38]}]}", "items[0].vector",
     "items[0].vector[2]: out of range at byte 25"},
    {ADD, "{\"items\":[{\"vector\":[1 2]}]}", "items[0].vector", "items[0].vector: expected ',' or ']' at byte 23"},
    {ADD, "{\"items\":[{\"vector\":[1,]}]}", "items[0].vector", "items[0].vector[1]: not a JSON value at byte 23"},
    {ADD, "{\"items\":[{\"vector\":\"AACAPw=\"}]}", "items[0].vector",
     "items[0].vector: neither numbers nor base64 at byte 20"},
    {ADD, "{\"items\":[{\"vector\":\"AACA\"}]}", "items[0].vector",
     "items[0].vector: base64 that is not whole float32 values at byte 20"},
    {ADD, "{\"items\":[{\"metadata\":{\"a\":tru}}]}", "items[0].metadata",
     "items[0].metadata: not a JSON value at byte 27"},
    {ADD, "{\"items\":[{\"metadata\":}]}", "items[0].metadata", "items[0].metadata: not a JSON value at byte 22"},
    {SEARCH, "{\"vector\":[1,2", "vector", "vector: unexpected end at byte 14"},
    {SEARCH, "{\"k\":\"3\"}", "k", "k: not a number at byte 5"},
    {SEARCH, "{\"k\": 1.5}", "k", "k: not a whole number at byte 6"},
    {SEARCH, "{\"k\": 2147483648}", "k", "k: out of range at byte 6"},
    {SEARCH, "{\"k\": -2147483649}", "k", "k: out of range at byte 6"},
    {SEARCH, "{\"ef\":-1}", "ef", "ef: out of range at byte 6"},
    {SEARCH, "{\"ef\":4294967296}", "ef", "ef: out of range at byte 6"},
    {SEARCH, "{\"exact\":1}", "exact", "exact: not true or false at byte 9"},
    {INDEX, "{\"sequence\":18446744073709551616}", "sequence", "sequence: out of range at byte 12"},
    {INDEX, "{\"load_progress\":1e309}", "load_progress", "load_progress: out of range at byte 17"},
    {INDEX, "{\"params\":{\"m\":-1}}", "params.m", "params.m: out of range at byte 15"},
    {INDEX, "{\"params\":[]}", "params", "params: not an object at byte 10"},
    {RPC, "{\"payload\":\"a\"}", "payload", "payload: not base64 at byte 11"},
    {RPC, "{\"metadata\":[{\"key\":1}]}", "metadata[0].key", "metadata[0].key: not a string at byte 20"},
};

static void refusals_name_field_reason_and_byte(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *x = &refusals[i];
        char wanted[256];
        snprintf(wanted, sizeof wanted, "decode body: %s", x->text);
        arena a;
        arena_init(&a, NULL, 0);
        ProtobufCMessage *message = NULL;
        vd_error err;
        vd_status status = codec_json_decode(x->message, bytes_str(x->body), &a, &message, &err);
        assert_int_equal(status, VD_INVALID_ARGUMENT);
        assert_int_equal(err.status, status);
        assert_string_equal(err.text, wanted);
        assert_string_equal(err.field, x->field);
        assert_null(message);
        assert_int_equal(codec_json_decode(x->message, bytes_str(x->body), &a, &message, NULL), status);
        arena_fini(&a);
    }
}

/* Every proper prefix of a good body is refused, and nothing behind it is read (a sanitizer would see). */
static void prefixes_are_refused(void **state) {
    (void)state;
    static const char body[] =
        "{\"name\":\"n\\u00e9\",\"items\":[{\"id\":\"\xE2\x82\xAC\",\"vector\":[1,-2.5e-1],\"metadata\":{\"a\":[null,"
        "\"\\ud83d\\ude00\"]}},{\"vector\":\"AACAPw==\"}],\"more\":false}";
    for (size_t size = 1; size < strlen(body); size++) {
        uint8_t *copy = malloc(size);
        memcpy(copy, body, size);
        arena a;
        arena_init(&a, NULL, 0);
        ProtobufCMessage *message;
        assert_int_equal(codec_json_decode(ADD, bytes_of(copy, size), &a, &message, NULL), VD_INVALID_ARGUMENT);
        arena_fini(&a);
        free(copy);
    }
}

/* ---- round trips ---- */

static void random_messages_survive(void **state) {
    (void)state;
    buffer first, second, wire;
    buffer_init(&first, 0);
    buffer_init(&wire, 0);
    buffer_init(&second, 0);
    arena a;
    arena_init(&a, NULL, 0);
    for (int i = 0; i < 20000; i++) {
        ProtobufCMessage *message = messages_make(messages_all[messages_random() % messages_count], &a), *read;
        buffer_clear(&first);
        codec_json_encode(message, &first);
        vd_error err;
        vd_status status = codec_json_decode(message->descriptor, bytes_of(first.data, first.size), &a, &read, &err);
        if (status) {
            print_message("%.*s\n%s\n", (int)first.size, (const char *)first.data, err.text);
        }
        assert_int_equal(status, VD_OK);
        buffer_clear(&second);
        codec_json_encode(read, &second);
        assert_true(bytes_equal(bytes_of(first.data, first.size), bytes_of(second.data, second.size)));
        /* the wire form tells more than JSON would: -0, absent from empty, every bit of a float */
        buffer_clear(&wire); /* not `first`: the strings of `read` stand in it */
        buffer_clear(&second);
        codec_proto_encode(message, &wire);
        codec_proto_encode(read, &second);
        assert_true(bytes_equal(bytes_of(wire.data, wire.size), bytes_of(second.data, second.size)));
        arena_reset(&a);
    }
    arena_fini(&a);
    buffer_fini(&first);
    buffer_fini(&second);
    buffer_fini(&wire);
}

static void numbers_that_json_lacks_become_null(void **state) {
    (void)state;
    Vectord__V1__Hit hit = VECTORD__V1__HIT__INIT;
    hit.distance = NAN;
    hit.score = -INFINITY;
    assert_true(encoded_is(&hit.base, "{\"id\":\"\",\"distance\":null,\"score\":null}"));
}

/* ---- memory ---- */

static const char large[] =
    "{\"name\":\"\\n\",\"items\":[{\"id\":\"\\t\",\"vector\":[1,2,3],\"metadata\":{}},{\"vector\":\"AACAPw==\"},"
    "{},{},{},{},{},{},{},{},{\"id\":\"\\r\"}]}";

static void every_allocation_may_fail(void **state) {
    (void)state;
    for (size_t left = 0;; left++) {
        failing_allocator f;
        failing_allocator_init(&f, left);
        arena a;
        arena_init(&a, &f.face, 0);
        /* a first block too small for anything: each further allocation takes one of its own */
        ProtobufCMessage *message = NULL;
        vd_error err;
        size_t vector = 3000;
        buffer body;
        buffer_init(&body, 0);
        buffer_put_str(&body, "{\"items\":[");
        for (int i = 0; i < 12; i++) {
            buffer_put_str(&body, i ? ",{\"id\":\"\\n\",\"vector\":[0" : "{\"vector\":[0");
            for (size_t k = 1; k < vector; k++) {
                buffer_put_str(&body, ",0");
            }
            buffer_put_str(&body, "]}");
        }
        buffer_put_str(&body, "]}");
        vd_status status = codec_json_decode(ADD, bytes_of(body.data, body.size), &a, &message, &err);
        arena_fini(&a);
        buffer_fini(&body);
        if (!status) {
            assert_true(left > 4);
            return;
        }
        assert_int_equal(status, VD_OUT_OF_MEMORY);
        assert_string_equal(err.text, "decode body: out of memory");
        assert_null(message);
    }
}

static void the_arena_limit_holds(void **state) {
    (void)state;
    bool done = false;
    for (size_t limit = 64; !done; limit += 16) {
        arena a;
        arena_init(&a, NULL, limit);
        ProtobufCMessage *message;
        vd_error err;
        vd_status status = codec_json_decode(ADD, bytes_str(large), &a, &message, &err);
        assert_true(a.total_bytes <= limit);
        assert_true(status == VD_OK || status == VD_OUT_OF_MEMORY);
        done = status == VD_OK;
        arena_fini(&a);
        assert_true(limit < 100000);
    }
}

static void a_full_output_buffer_is_told(void **state) {
    (void)state;
    arena a;
    arena_init(&a, NULL, 0);
    ProtobufCMessage *message;
    assert_int_equal(codec_json_decode(ADD, bytes_str(large), &a, &message, NULL), VD_OK);
    for (size_t limit = 1;; limit++) {
        buffer b;
        buffer_init(&b, limit);
        codec_json_encode(message, &b);
        assert_true(b.size <= limit);
        bool done = !b.failed;
        buffer_fini(&b);
        if (done) {
            break;
        }
    }
    arena_fini(&a);
}

/* ---- set by name ---- */

static void the_path_sets_a_field(void **state) {
    (void)state;
    Vectord__V1__SearchRequest request = VECTORD__V1__SEARCH_REQUEST__INIT;
    vd_error err;
    assert_int_equal(codec_set_string(&request.base, "name", bytes_str("index"), &err), VD_OK);
    assert_int_equal(codec_set_string(&request.base, "id", bytes_str("x"), &err), VD_OK);
    assert_true(encoded_is(&request.base, "{\"name\":\"index\",\"vector\":[],\"id\":\"x\"}"));
    static const char *const wrong[] = {"nam", "names", "vector", "k", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(codec_set_string(&request.base, wrong[i], bytes_str("x"), &err), VD_INTERNAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_understood),
        cmocka_unit_test(refusals_name_field_reason_and_byte),
        cmocka_unit_test(prefixes_are_refused),
        cmocka_unit_test(random_messages_survive),
        cmocka_unit_test(numbers_that_json_lacks_become_null),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_arena_limit_holds),
        cmocka_unit_test(a_full_output_buffer_is_told),
        cmocka_unit_test(the_path_sets_a_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
