/*
 * codec.c - what the generated descriptors cannot say (which texts are raw JSON, which bytes are not text), paths, and setting
 * a field by name.
 *
 * Every string of the .proto carries string_as_bytes (cmake/proto.cmake), so protobuf-c shows strings and bytes as one type.
 * The few real `bytes` fields are listed here; a unit test compares the list with the published file.
 */
#include <stdio.h>
#include <string.h>
#include <vectord/v1/vectord.pb-c.h>

#include "codec/codec_int.h"

typedef struct special_field {
    const ProtobufCMessageDescriptor *message;
    uint32_t id;
} special_field;

static const special_field raw_json[] = {
    {&vectord__v1__item__descriptor, 3}, /* metadata */
    {&vectord__v1__hit__descriptor, 4},  /* metadata */
};

static const special_field true_bytes[] = {
    {&vectord__v1__rpc_request__descriptor, 2},  /* payload */
    {&vectord__v1__rpc_request__descriptor, 5},  /* request_id */
    {&vectord__v1__rpc_response__descriptor, 4}, /* payload */
};

static bool listed(const special_field *list, size_t count, const ProtobufCMessageDescriptor *message, uint32_t id) {
    for (size_t i = 0; i < count; i++) {
        if (list[i].message == message && list[i].id == id) {
            return true;
        }
    }
    return false;
}

bool codec_is_raw_json(const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field) {
    return listed(raw_json, sizeof raw_json / sizeof raw_json[0], message, field->id);
}

bool codec_is_bytes(const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field) {
    return listed(true_bytes, sizeof true_bytes / sizeof true_bytes[0], message, field->id);
}

void codec_path_text(const codec_path *path, bool for_field, char out[CODEC_PATH_BYTES]) {
    const codec_path *steps[8]; /* messages nest three deep; a deeper one would lose its outermost names */
    size_t count = 0;
    for (; path && count < sizeof steps / sizeof steps[0]; path = path->up) {
        steps[count++] = path;
    }
    size_t used = 0;
    out[0] = '\0';
    while (count && used + 1 < CODEC_PATH_BYTES) {
        const codec_path *step = steps[--count];
        bool indexed = step->index >= 0 && !(for_field && step->of_scalar);
        int size = indexed ? snprintf(out + used, CODEC_PATH_BYTES - used, "%s%s[%lld]", used ? "." : "", step->name,
                                      (long long)step->index)
                           : snprintf(out + used, CODEC_PATH_BYTES - used, "%s%s", used ? "." : "", step->name);
        used += (size_t)size;
    }
}

size_t codec_value_size(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(ProtobufCMessage *);
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_STRING:
        break; /* the .proto has no enum, and no string without its length */
    }
    return 0;
}

vd_status codec_set_string(ProtobufCMessage *message, const char *field, bytes value, vd_error *err) {
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, field);
    if (!f || f->type != PROTOBUF_C_TYPE_BYTES || codec_is_repeated(f)) {
        return vd_fail(err, VD_INTERNAL, field, "%s has no string field %s", message->descriptor->name, field);
    }
    ProtobufCBinaryData *text = codec_at(message, f->offset);
    text->data = (uint8_t *)(uintptr_t)value.data; /* messages are not changed through it */
    text->len = value.size;
    codec_mark_set(message, f, true);
    return VD_OK;
}
