/*
 * codec_json_encode.c - a message as one JSON object, members in the order of the .proto: optional fields only when set, all
 * others always, lists never null. Numbers are the shortest that read back equal; raw JSON fields are spliced in as they are.
 */
#include <string.h>

#include "base/json.h"
#include "codec/codec_int.h"

static void put_message(const ProtobufCMessage *message, buffer *out);

static void put_base64(buffer *out, const uint8_t *p, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buffer_put_u8(out, '"');
    for (; size >= 3; p += 3, size -= 3) {
        char four[4] = {digits[p[0] >> 2], digits[(p[0] & 3) << 4 | p[1] >> 4], digits[(p[1] & 15) << 2 | p[2] >> 6],
                        digits[p[2] & 63]};
        buffer_put(out, four, sizeof four);
    }
    if (size) {
        uint8_t second = size > 1 ? p[1] : 0;
        char four[4] = {digits[p[0] >> 2], digits[(p[0] & 3) << 4 | second >> 4],
                        size > 1 ? digits[(second & 15) << 2] : '=', '='};
        buffer_put(out, four, sizeof four);
    }
    buffer_put_u8(out, '"');
}

static void put_value(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field, const void *at,
                      buffer *out) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        json_put_int64(out, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        json_put_int64(out, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        json_put_uint64(out, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        json_put_uint64(out, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_put_double(out, *(const double *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        json_put_float(out, *(const float *)at);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buffer_put_str(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *text = at;
        if (codec_is_raw_json(owner, field)) {
            buffer_put(out, text->len ? (const char *)text->data : "null", text->len ? text->len : 4);
        } else if (codec_is_bytes(owner, field)) {
            put_base64(out, text->data, text->len);
        } else {
            json_put_string(out, text->data, text->len);
        }
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *inner = *(ProtobufCMessage *const *)at;
        if (inner) {
            put_message(inner, out);
        } else {
            buffer_put_str(out, "null");
        }
        break;
    }
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_STRING:
        buffer_put_str(out, "null"); /* no message has one: codec_value_size */
        break;
    }
}

static void put_repeated(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field,
                         const void *elements, size_t count, buffer *out) {
    size_t element_bytes = codec_value_size(field->type);
    buffer_put_u8(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i) {
            buffer_put_u8(out, ',');
        }
        put_value(owner, field, (const char *)elements + i * element_bytes, out);
    }
    buffer_put_u8(out, ']');
}

static void put_message(const ProtobufCMessage *message, buffer *out) {
    const ProtobufCMessageDescriptor *owner = message->descriptor;
    uint8_t before = '{';
    for (unsigned i = 0; i < owner->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &owner->fields[i];
        const void *at = codec_at(message, field->offset);
        const void *quantifier = codec_at(message, field->quantifier_offset);
        if (codec_is_optional(field) && *(const uint32_t *)quantifier != field->id) {
            continue;
        }
        size_t size = strlen(field->name);
        if (buffer_reserve(out, size + 4)) { /* names need no escapes */
            uint8_t *p = out->data + out->size;
            *p++ = before;
            *p++ = '"';
            memcpy(p, field->name, size);
            memcpy(p + size, "\":", 2);
            out->size += size + 4;
        }
        before = ',';
        if (codec_is_repeated(field)) {
            put_repeated(owner, field, *(void *const *)at, *(const size_t *)quantifier, out);
        } else {
            put_value(owner, field, at, out);
        }
    }
    if (before == '{') {
        buffer_put_u8(out, '{');
    }
    buffer_put_u8(out, '}');
}

void codec_json_encode(const ProtobufCMessage *message, buffer *out) {
    put_message(message, out);
}
