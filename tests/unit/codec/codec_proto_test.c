/*
 * codec_proto_test.c - our unpacker against protobuf-c's on random, mutated and hand-made bodies; what it refuses, with text and
 * byte; what it costs; failing memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vectord/v1/vectord.pb-c.h>

#include "codec/codec.h"
#include "unit/codec/messages.h"

#define ADD    (&vectord__v1__add_items_request__descriptor)
#define SEARCH (&vectord__v1__search_request__descriptor)
#define INDEX  (&vectord__v1__get_index_response__descriptor)
#define RPC    (&vectord__v1__rpc_request__descriptor)

static void assert_json(const ProtobufCMessage *message, const char *wanted) {
    buffer b;
    buffer_init(&b, 0);
    codec_json_encode(message, &b);
    buffer_put_u8(&b, 0);
    assert_string_equal(b.data, wanted);
    buffer_fini(&b);
}

/* ---- hand-made ---- */

static void wire_forms_are_understood(void **state) {
    (void)state;
    static const struct {
        const ProtobufCMessageDescriptor *message;
        const char *body;
        size_t size;
        const char *as;
    } rows[] = {
        {ADD, "", 0, "{\"name\":\"\",\"items\":[]}"},
        {ADD, "\x0A\x01x", 3, "{\"name\":\"x\",\"items\":[]}"},
        {ADD, "\x0A\x01x\x0A\x01y", 6, "{\"name\":\"y\",\"items\":[]}"}, /* the last one wins */
        {ADD, "\x12\x00\x12\x03\x0A\x01i", 7,
         "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[]},{\"id\":\"i\",\"vector\":[]}]}"},
        {ADD, "\x12\x02\x1A\x00", 4,
         "{\"name\":\"\",\"items\":[{\"id\":\"\",\"vector\":[],\"metadata\":null}]}"}, /* set, empty */
        /* packed, unpacked, packed again: one list */
        {SEARCH, "\x12\x04\0\0\x80\x3F\x15\0\0\0\x40\x12\x08\0\0\0\x3F\0\0\x80\x3E", 21,
         "{\"name\":\"\",\"vector\":[1,2,0.5,0.25]}"},
        {SEARCH, "\x12\x00", 2, "{\"name\":\"\",\"vector\":[]}"},
        /* integers are cut to their width, negative ones take ten bytes */
        {SEARCH, "\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11, "{\"name\":\"\",\"vector\":[],\"k\":-1}"},
        {SEARCH, "\x18\xFF\xFF\xFF\xFF\x0F", 6, "{\"name\":\"\",\"vector\":[],\"k\":-1}"},
        {SEARCH, "\x20\x85\x80\x80\x80\x10", 6, "{\"name\":\"\",\"vector\":[],\"ef\":5}"},
        {SEARCH, "\x28\x80\x01", 3, "{\"name\":\"\",\"vector\":[],\"exact\":true}"},
        {SEARCH, "\x20\x80\x00", 3, "{\"name\":\"\",\"vector\":[],\"ef\":0}"}, /* longer than it has to be */
        /* unknown fields of every kind */
        {ADD, "\x58\x01\x61........\x6A\x02zz\x75....\x0A\x01x", 23, "{\"name\":\"x\",\"items\":[]}"},
        {ADD, "\xFA\xFF\xFF\xFF\x0F\x01z", 7, "{\"name\":\"\",\"items\":[]}"},
        /* the parts of a message that comes twice are merged */
        {INDEX, "\x0A\x02\x18\x07\x0A\x03\x0A\x01n", 9,
         "{\"params\":{\"name\":\"n\",\"dimension\":0,\"m\":7,\"ef_search\":0,\"distance\":\"\",\"ef_construction\":0},"
         "\"length\":0,"
         "\"state\":\"\",\"reason\":\"\",\"load_progress\":0,\"ef_effective\":0,\"calibrated_at\":0,\"calibrated_"
         "recall\":0,"
         "\"encoding\":\"\",\"memory_bytes\":0,\"journal_bytes\":0,\"sequence\":0,\"optimized\":0,\"receipt\":null,"
         "\"durability\":\"\",\"durable_sequence\":0,\"backlog_bytes\":0}"},
        {RPC, "\x12\x02\xFF\x00\x2A\x01\x80", 7,
         "{\"method\":\"\",\"payload\":\"/wA=\",\"metadata\":[],\"timeout_ms\":0,\"request_id\":\"gA==\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        arena a;
        arena_init(&a, NULL, 0);
        ProtobufCMessage *message;
        vd_error err = {0};
        vd_status status =
            codec_proto_decode(rows[i].message, bytes_of(rows[i].body, rows[i].size), &a, &message, &err);
        if (status) {
            print_message("row %zu: %s\n", i, err.text);
        }
        assert_int_equal(status, VD_OK);
        assert_json(message, rows[i].as);
        arena_fini(&a);
    }
}

static void refusals_name_field_reason_and_byte(void **state) {
    (void)state;
    static const struct {
        const ProtobufCMessageDescriptor *message;
        const char *body;
        size_t size;
        const char *field;
        const char *text;
    } rows[] = {
        {ADD, "\x0A", 1, "", "unexpected end at byte 0"},
        {ADD, "\x0A\x02x", 3, "", "unexpected end at byte 0"},
        {ADD, "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11, "", "unexpected end at byte 0"},
        {ADD, "\x80", 1, "", "bad tag at byte 0"},
        {ADD, "\x00\x00", 2, "", "bad tag at byte 0"},
        {ADD, "\x0A\x00\x80\x80\x80\x80\x80\x01", 8, "", "bad tag at byte 2"},
        {ADD, "\x0B\x0C", 2, "", "bad wire type at byte 0"}, /* a group */
        {ADD, "\x0E", 1, "", "bad wire type at byte 0"},
        {ADD, "\x58\x80", 2, "", "bad varint at byte 0"},
        {ADD, "\x58\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, "", "bad varint at byte 0"},
        {ADD, "\x61zzz", 4, "", "unexpected end at byte 0"},
        {ADD, "\x75zzz", 4, "", "unexpected end at byte 0"},
        {ADD, "\x08\x01", 2, "name", "name: wrong wire type at byte 0"},
        {ADD, "\x12\x00\x10\x01", 4, "items[1]", "items[1]: wrong wire type at byte 2"},
        {ADD, "\x12\x00\x12\x03\x0A\x01\xFF", 7, "items[1].id", "items[1].id: not valid UTF-8 at byte 6"},
        {ADD, "\x12\x00\x12\x03\x1A\x01\xFF", 7, "items[1].metadata", "items[1].metadata: not valid UTF-8 at byte 6"},
        {ADD, "\x12\x02\x0A\x05", 4, "items[0]", "items[0]: unexpected end at byte 2"},
        {ADD, "\x12\x05\x12\x03zzz", 7, "items[0].vector",
         "items[0].vector: a list that ends inside a number at byte 4"},
        {SEARCH, "\x10\x01", 2, "vector[0]", "vector[0]: wrong wire type at byte 0"},
        {SEARCH, "\x1A\x00", 2, "k", "k: wrong wire type at byte 0"},
        {RPC, "\x0A\x02\xC0\x80", 4, "method", "method: not valid UTF-8 at byte 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char wanted[256];
        snprintf(wanted, sizeof wanted, "decode body: %s", rows[i].text);
        uint8_t *copy = malloc(rows[i].size);
        memcpy(copy, rows[i].body, rows[i].size);
        arena a;
        arena_init(&a, NULL, 0);
        ProtobufCMessage *message = NULL;
        vd_error err;
        vd_status status = codec_proto_decode(rows[i].message, bytes_of(copy, rows[i].size), &a, &message, &err);
        assert_int_equal(status, VD_INVALID_ARGUMENT);
        assert_string_equal(err.text, wanted);
        assert_string_equal(err.field, rows[i].field);
        assert_null(message);
        arena_fini(&a);
        free(copy);
    }
}

/* ---- against protobuf-c ---- */

static void random_messages_survive(void **state) {
    (void)state;
    buffer body, again;
    buffer_init(&body, 0);
    buffer_init(&again, 0);
    arena a;
    arena_init(&a, NULL, 0);
    for (int i = 0; i < 30000; i++) {
        ProtobufCMessage *message = messages_make(messages_all[messages_random() % messages_count], &a), *read;
        buffer_clear(&body);
        codec_proto_encode(message, &body);
        assert_int_equal(codec_proto_decode(message->descriptor, bytes_of(body.data, body.size), &a, &read, NULL),
                         VD_OK);
        buffer_clear(&again);
        codec_proto_encode(read, &again);
        assert_true(bytes_equal(bytes_of(body.data, body.size), bytes_of(again.data, again.size)));
        ProtobufCMessage *theirs = protobuf_c_message_unpack(message->descriptor, NULL, body.size, body.data);
        assert_non_null(theirs);
        protobuf_c_message_free_unpacked(theirs, NULL);
        arena_reset(&a);
    }
    arena_fini(&a);
    buffer_fini(&body);
    buffer_fini(&again);
}

static void mutate(buffer *b) {
    uint8_t copy[4096];
    size_t size = b->size < sizeof copy ? b->size : sizeof copy;
    memcpy(copy, b->data, size);
    uint64_t r = messages_random();
    size_t at = (size_t)(r >> 8) % (size + 1), cut = (size_t)(r >> 40) % 4;
    cut = cut > size - at ? size - at : cut;
    buffer_clear(b);
    buffer_put(b, copy, at);
    switch (r % 5) {
    case 0: /* a bit */
        if (at < size) {
            copy[at] ^= (uint8_t)(1u << (r >> 48) % 8);
        }
        break;
    case 1: /* a byte more */
        buffer_put_u8(b, (uint8_t)(r >> 48));
        break;
    case 2: /* some twice */
        buffer_put(b, copy + at, cut);
        break;
    case 3: /* some missing */
        at += cut;
        break;
    default: /* the end missing */
        return;
    }
    buffer_put(b, copy + at, size - at);
}

/* Whatever protobuf-c makes of a body, we make the same of it or refuse it; and we refuse less than a tenth that it takes, all
 * for a reason that is listed here. */
static void mutants_mean_what_protobuf_c_says(void **state) {
    (void)state;
    static const char *const stricter[] = {"not valid UTF-8", "wrong wire type", "bad tag"};
    buffer body, ours_again, theirs_again;
    buffer_init(&body, 0);
    buffer_init(&ours_again, 0);
    buffer_init(&theirs_again, 0);
    arena a;
    arena_init(&a, NULL, 0);
    size_t both = 0, neither = 0, only_theirs = 0, only_ours = 0;
    for (int i = 0; i < 100000; i++) {
        ProtobufCMessage *message = messages_make(messages_all[messages_random() % messages_count], &a), *ours = NULL;
        buffer_clear(&body);
        codec_proto_encode(message, &body);
        for (uint64_t n = messages_random() % 3 + 1; n; n--) {
            mutate(&body);
        }
        uint8_t *copy = malloc(body.size + 1);
        memcpy(copy, body.data, body.size);
        vd_error err;
        vd_status status = codec_proto_decode(message->descriptor, bytes_of(copy, body.size), &a, &ours, &err);
        ProtobufCMessage *theirs = protobuf_c_message_unpack(message->descriptor, NULL, body.size, copy);
        if (!status && theirs) {
            messages_drop_unknown(theirs);
            buffer_clear(&ours_again);
            buffer_clear(&theirs_again);
            codec_proto_encode(ours, &ours_again);
            codec_proto_encode(theirs, &theirs_again);
            assert_true(messages_may_merge(message->descriptor) ||
                        bytes_equal(bytes_of(ours_again.data, ours_again.size),
                                    bytes_of(theirs_again.data, theirs_again.size)));
            both++;
        } else if (theirs) {
            bool listed = false;
            for (size_t k = 0; k < sizeof stricter / sizeof stricter[0]; k++) {
                listed |= strstr(err.text, stricter[k]) != NULL;
            }
            if (!listed) {
                print_message("only protobuf-c accepts %s: %s\n", message->descriptor->short_name, err.text);
                for (size_t k = 0; k < body.size; k++) {
                    print_message("%02x ", copy[k]);
                }
            }
            assert_true(listed);
            only_theirs++;
        } else if (!status) {
            only_ours++;
        } else {
            neither++;
        }
        if (theirs) {
            protobuf_c_message_free_unpacked(theirs, NULL);
        }
        free(copy);
        arena_reset(&a);
    }
    print_message("both %zu, neither %zu, only protobuf-c %zu, only ours %zu\n", both, neither, only_theirs, only_ours);
    assert_true(both > 10000 && neither > 10000 && only_theirs < 10000);
    arena_fini(&a);
    buffer_fini(&body);
    buffer_fini(&ours_again);
    buffer_fini(&theirs_again);
}

/* ---- cost ---- */

static void a_large_vector_is_copied_once_and_strings_not_at_all(void **state) {
    (void)state;
    enum { FLOATS = 1 << 20 };
    buffer body;
    buffer_init(&body, 0);
    buffer_put(&body, "\x12\x80\x80\x80\x02", 5); /* 4 MiB */
    for (int i = 0; i < FLOATS; i++) {
        buffer_put_u32le(&body, 0x3F800000u);
    }
    buffer_put(&body, "\x32\x03xyz", 5);
    arena a;
    arena_init(&a, NULL, 0);
    ProtobufCMessage *message;
    assert_int_equal(codec_proto_decode(SEARCH, bytes_of(body.data, body.size), &a, &message, NULL), VD_OK);
    const Vectord__V1__SearchRequest *request = (const Vectord__V1__SearchRequest *)message;
    assert_int_equal(request->n_vector, FLOATS);
    assert_true(request->vector[FLOATS - 1] == 1);
    assert_ptr_equal(request->id.data, body.data + body.size - 3);
    assert_true(a.total_bytes < 4u * FLOATS + 8192);
    arena_fini(&a);
    buffer_fini(&body);
}

static void unknown_fields_take_no_memory(void **state) {
    (void)state;
    enum { FIELDS = 1 << 20 };
    uint8_t *body = malloc(2 * FIELDS);
    for (size_t i = 0; i < FIELDS; i++) {
        memcpy(body + 2 * i, "\x78\x01", 2); /* number 15 */
    }
    arena a;
    arena_init(&a, NULL, 0);
    ProtobufCMessage *message;
    assert_int_equal(codec_proto_decode(ADD, bytes_of(body, 2 * FIELDS), &a, &message, NULL), VD_OK);
    assert_true(a.total_bytes <= 4096);
    arena_fini(&a);
    /* a million empty items: bounded by the arena, and told as what it is */
    for (size_t i = 0; i < FIELDS; i++) {
        memcpy(body + 2 * i, "\x12\x00", 2);
    }
    arena_init(&a, NULL, 16u << 20);
    vd_error err;
    assert_int_equal(codec_proto_decode(ADD, bytes_of(body, 2 * FIELDS), &a, &message, &err), VD_OUT_OF_MEMORY);
    assert_true(a.total_bytes <= 16u << 20);
    arena_fini(&a);
    free(body);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    buffer body;
    buffer_init(&body, 0);
    for (int i = 0; i < 4; i++) { /* vectors of 5000 bytes: each takes a block of its own */
        buffer_put(&body, "\x12\x8B\x27\x12\x88\x27", 6);
        for (int k = 0; k < 1250; k++) {
            buffer_put_u32le(&body, 0x3F800000u);
        }
    }
    for (size_t left = 0;; left++) {
        failing_allocator f;
        failing_allocator_init(&f, left);
        arena a;
        arena_init(&a, &f.face, 0);
        ProtobufCMessage *message = NULL;
        vd_error err;
        vd_status status = codec_proto_decode(ADD, bytes_of(body.data, body.size), &a, &message, &err);
        arena_fini(&a);
        if (!status) {
            assert_true(left >= 3);
            break;
        }
        assert_int_equal(status, VD_OUT_OF_MEMORY);
        assert_string_equal(err.text, "decode body: out of memory");
        assert_null(message);
    }
    arena a;
    bool done = false;
    for (size_t limit = 16; !done; limit += 512) {
        arena_init(&a, NULL, limit);
        ProtobufCMessage *message;
        vd_status status = codec_proto_decode(ADD, bytes_of(body.data, body.size), &a, &message, NULL);
        assert_true(a.total_bytes <= limit);
        assert_true(status == VD_OK || status == VD_OUT_OF_MEMORY);
        done = status == VD_OK;
        arena_fini(&a);
    }
    buffer_fini(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_forms_are_understood),
        cmocka_unit_test(refusals_name_field_reason_and_byte),
        cmocka_unit_test(random_messages_survive),
        cmocka_unit_test(mutants_mean_what_protobuf_c_says),
        cmocka_unit_test(a_large_vector_is_copied_once_and_strings_not_at_all),
        cmocka_unit_test(unknown_fields_take_no_memory),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
