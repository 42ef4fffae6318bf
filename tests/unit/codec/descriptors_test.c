/*
 * descriptors_test.c - the generated C code says on the wire what the published .proto says. The code is made from an annotated
 * copy (a one-member oneof for each `optional`, bytes for each string); here every message, field and method of it is
 * held against the descriptors that protoc makes of the published file (argument 1).
 *
 * Those are read with a few lines of our own: descriptor.proto has been stable for years, and only eight fields matter.
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

#include "codec/codec_int.h"
#include "unit/codec/messages.h"

static uint8_t file_data[256 * 1024];
static bytes file_proto; /* the FileDescriptorProto */

/* ---- reading protobuf ---- */

typedef struct wire {
    uint32_t id;
    uint64_t number;
    bytes data;
} wire;

static uint64_t read_varint(bytes *rest) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(rest->size > 0 && shift < 64);
        uint8_t c = *rest->data++;
        rest->size--;
        value |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80) {
            return value;
        }
    }
}

static bool read_wire(bytes *rest, wire *out) {
    if (rest->size == 0) {
        return false;
    }
    uint64_t tag = read_varint(rest);
    *out = (wire){.id = (uint32_t)(tag >> 3)};
    out->number = read_varint(rest);
    assert_true((tag & 7) == 0 || (tag & 7) == 2); /* descriptors have no others */
    if ((tag & 7) == 2) {
        assert_true(out->number <= rest->size);
        out->data = bytes_of(rest->data, (size_t)out->number);
        rest->data += out->number;
        rest->size -= (size_t)out->number;
    }
    return true;
}

/* The n-th field `id` of a message; false when there are fewer. */
static bool nth(bytes message, uint32_t id, size_t n, wire *out) {
    while (read_wire(&message, out)) {
        if (out->id == id && n-- == 0) {
            return true;
        }
    }
    return false;
}

static bool text_is(bytes text, const char *wanted) {
    return bytes_equal(text, bytes_str(wanted));
}

/* ---- comparing ---- */

enum {
    TYPE_DOUBLE = 1,
    TYPE_FLOAT,
    TYPE_INT64,
    TYPE_UINT64,
    TYPE_INT32,
    TYPE_BOOL = 8,
    TYPE_STRING,
    TYPE_MESSAGE = 11,
    TYPE_BYTES,
    TYPE_UINT32
};

static bool type_matches(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field,
                         uint64_t published) {
    switch (published) {
    case TYPE_DOUBLE:
        return field->type == PROTOBUF_C_TYPE_DOUBLE;
    case TYPE_FLOAT:
        return field->type == PROTOBUF_C_TYPE_FLOAT;
    case TYPE_INT64:
        return field->type == PROTOBUF_C_TYPE_INT64;
    case TYPE_UINT64:
        return field->type == PROTOBUF_C_TYPE_UINT64;
    case TYPE_INT32:
        return field->type == PROTOBUF_C_TYPE_INT32;
    case TYPE_UINT32:
        return field->type == PROTOBUF_C_TYPE_UINT32;
    case TYPE_BOOL:
        return field->type == PROTOBUF_C_TYPE_BOOL;
    case TYPE_MESSAGE:
        return field->type == PROTOBUF_C_TYPE_MESSAGE;
    case TYPE_STRING: /* the same wire form as bytes; the codec must know which it is */
        return field->type == PROTOBUF_C_TYPE_BYTES && !codec_is_bytes(owner, field);
    case TYPE_BYTES:
        return field->type == PROTOBUF_C_TYPE_BYTES && codec_is_bytes(owner, field) && !codec_is_raw_json(owner, field);
    default:
        return false; /* a type that the codec does not serve */
    }
}

static void check_field(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field,
                        bytes published) {
    wire w;
    print_message("  %s = %u\n", field->name, field->id);
    assert_true(nth(published, 1, 0, &w) && text_is(w.data, field->name));
    assert_true(nth(published, 5, 0, &w) && type_matches(owner, field, w.number));
    assert_true(nth(published, 4, 0, &w));
    assert_int_equal(w.number == 3, codec_is_repeated(field));
    assert_true(w.number == 3 || w.number == 1);
    bool optional = nth(published, 17, 0, &w) && w.number == 1; /* proto3_optional */
    assert_int_equal(optional, codec_is_optional(field));
    assert_int_equal(optional, nth(published, 9, 0, &w)); /* no real oneof: the codec would not know it */
    bool numbers = field->type != PROTOBUF_C_TYPE_BYTES && field->type != PROTOBUF_C_TYPE_MESSAGE;
    assert_int_equal((field->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0, codec_is_repeated(field) && numbers);
    assert_false(nth(published, 8, 0, &w)); /* options, e.g. [packed = false], would have to be looked at here */
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessageDescriptor *inner = field->descriptor;
        assert_true(nth(published, 6, 0, &w) && w.data.size > 1 && w.data.data[0] == '.');
        assert_true(bytes_equal(bytes_of(w.data.data + 1, w.data.size - 1), bytes_str(inner->name)));
    }
    assert_true(codec_value_size(field->type) > 0);
}

static const ProtobufCFieldDescriptor *field_by_id(const ProtobufCMessageDescriptor *message, uint64_t id) {
    for (unsigned i = 0; i < message->n_fields; i++) {
        if (message->fields[i].id == id) {
            return &message->fields[i];
        }
    }
    return NULL;
}

static void messages_are_the_published_ones(void **state) {
    (void)state;
    wire w, name, number;
    size_t published = 0;
    for (; nth(file_proto, 4, published, &w); published++) {
        assert_true(nth(w.data, 1, 0, &name));
        const ProtobufCMessageDescriptor *ours = NULL;
        for (size_t i = 0; i < messages_count; i++) {
            ours = text_is(name.data, messages_all[i]->short_name) ? messages_all[i] : ours;
        }
        print_message("%.*s\n", (int)name.data.size, (const char *)name.data.data);
        assert_non_null(ours);
        assert_string_equal(ours->package_name, "vectord.v1");
        bytes message = w.data;
        unsigned fields = 0;
        for (; nth(message, 2, fields, &w); fields++) {
            assert_true(nth(w.data, 3, 0, &number));
            const ProtobufCFieldDescriptor *field = field_by_id(ours, number.number);
            assert_non_null(field);
            check_field(ours, field, w.data);
        }
        assert_int_equal(fields, ours->n_fields);
        assert_false(nth(message, 3, 0, &w)); /* nested messages */
    }
    assert_int_equal(published, messages_count);
}

static void methods_are_the_published_ones(void **state) {
    (void)state;
    const ProtobufCServiceDescriptor *ours = &vectord__v1__vector_service__descriptor;
    wire service, w, part;
    assert_true(nth(file_proto, 6, 0, &service));
    assert_false(nth(file_proto, 6, 1, &w));
    assert_true(nth(service.data, 1, 0, &w) && text_is(w.data, ours->short_name));
    unsigned methods = 0;
    for (; nth(service.data, 2, methods, &w); methods++) {
        assert_true(methods < ours->n_methods);
        const ProtobufCMethodDescriptor *method = &ours->methods[methods];
        assert_true(nth(w.data, 1, 0, &part) && text_is(part.data, method->name));
        assert_true(nth(w.data, 2, 0, &part) && part.data.size > 1);
        assert_true(bytes_equal(bytes_of(part.data.data + 1, part.data.size - 1), bytes_str(method->input->name)));
        assert_true(nth(w.data, 3, 0, &part) && part.data.size > 1);
        assert_true(bytes_equal(bytes_of(part.data.data + 1, part.data.size - 1), bytes_str(method->output->name)));
    }
    assert_int_equal(methods, ours->n_methods);
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        fprintf(stderr, "usage: %s descriptor-set\n", argv[0]);
        return 2;
    }
    bytes set = bytes_of(file_data, fread(file_data, 1, sizeof file_data, file));
    fclose(file);
    if (set.size < 2 || set.data[0] != (1 << 3 | 2)) { /* FileDescriptorSet.file */
        fprintf(stderr, "%s: not a descriptor set\n", argv[1]);
        return 2;
    }
    set.data++;
    set.size--;
    file_proto.size = 0;
    for (int shift = 0; set.size; shift += 7) {
        uint8_t c = *set.data++;
        set.size--;
        file_proto.size |= (size_t)(c & 0x7F) << shift;
        if (c < 0x80) {
            break;
        }
    }
    file_proto.data = set.data;
    if (file_proto.size != set.size) { /* imports would come first */
        fprintf(stderr, "%s: more than one file\n", argv[1]);
        return 2;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_the_published_ones),
        cmocka_unit_test(methods_are_the_published_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
