/* messages.c - see messages.h */
#include "messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vectord/v1/vectord.pb-c.h>

#include "codec/codec_int.h"

const ProtobufCMessageDescriptor *const messages_all[] = {
    &vectord__v1__index_params__descriptor,          &vectord__v1__create_index_request__descriptor,
    &vectord__v1__create_index_response__descriptor, &vectord__v1__list_indexes_request__descriptor,
    &vectord__v1__list_indexes_response__descriptor, &vectord__v1__get_index_request__descriptor,
    &vectord__v1__get_index_response__descriptor,    &vectord__v1__delete_index_request__descriptor,
    &vectord__v1__delete_index_response__descriptor, &vectord__v1__item__descriptor,
    &vectord__v1__add_items_request__descriptor,     &vectord__v1__add_items_response__descriptor,
    &vectord__v1__search_request__descriptor,        &vectord__v1__hit__descriptor,
    &vectord__v1__search_response__descriptor,       &vectord__v1__health_request__descriptor,
    &vectord__v1__health_response__descriptor,       &vectord__v1__metadata__descriptor,
    &vectord__v1__rpc_request__descriptor,           &vectord__v1__field_violation__descriptor,
    &vectord__v1__rpc_response__descriptor,          &vectord__v1__receipt__descriptor,
    &vectord__v1__flush_request__descriptor,         &vectord__v1__flush_response__descriptor,
};
const size_t messages_count = sizeof messages_all / sizeof messages_all[0];

static uint64_t seed = 0xA0761D6478BD642Fu;

uint64_t messages_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void make_text(ProtobufCBinaryData *out, const char *const *parts, size_t count, uint64_t pieces, arena *a) {
    char text[256];
    size_t size = 0;
    for (; pieces; pieces--) {
        const char *part = parts[messages_random() % count];
        memcpy(text + size, part, strlen(part));
        size += strlen(part);
    }
    out->data = (uint8_t *)arena_strndup(a, text, size);
    out->len = size;
}

static void make_value(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field, void *at,
                       arena *a) {
    static const char *const texts[] = {
        "a", "Z9", "\"", "\\", "\n", "\x01", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", " ", "/"};
    static const char *const jsons[] = {"{}",   "[1, 2.50]", "\"x\\u0000\"", "{ \"a\" : {\"b\":[null,true]}}",
                                        "-0.0", "false"};
    static const char *const raws[] = {"a", "\xFF", "\x80\x81", "\xED\xA0\x80", "\n", "zz"};
    uint64_t r = messages_random();
    int64_t wide = (int64_t)messages_random() >> (r % 64);
    switch (field->type) {
    case PROTOBUF_C_TYPE_FLOAT: {
        float value;
        do {
            uint32_t bits = (uint32_t)messages_random();
            memcpy(&value, &bits, sizeof value);
        } while (!isfinite(value));
        *(float *)at = r % 8 ? (float)((double)wide / 9.3e18) : value;
        break;
    }
    case PROTOBUF_C_TYPE_DOUBLE: {
        double value;
        do {
            uint64_t bits = messages_random();
            memcpy(&value, &bits, sizeof value);
        } while (!isfinite(value));
        *(double *)at = r % 8 ? (double)wide / 9.3e18 : value;
        break;
    }
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = (int)(r & 1);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        if (codec_is_raw_json(owner, field)) {
            make_text(at, jsons, sizeof jsons / sizeof jsons[0], 1, a);
        } else if (codec_is_bytes(owner, field)) {
            make_text(at, raws, sizeof raws / sizeof raws[0], r % 10, a);
        } else {
            make_text(at, texts, sizeof texts / sizeof texts[0], r % 20, a);
        }
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)at = messages_make(field->descriptor, a);
        break;
    default:
        memcpy(at, &wide, codec_value_size(field->type));
        break;
    }
}

ProtobufCMessage *messages_make(const ProtobufCMessageDescriptor *descriptor, arena *a) {
    ProtobufCMessage *message = arena_alloc(a, descriptor->sizeof_message);
    descriptor->message_init(message);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        uint64_t r = messages_random();
        if (codec_is_repeated(field)) {
            size_t count = r % 4 ? r / 4 % (field->type == PROTOBUF_C_TYPE_FLOAT ? 40 : 5) : 0;
            size_t width = codec_value_size(field->type);
            char *elements = arena_calloc(a, count, width);
            for (size_t k = 0; k < count; k++) {
                make_value(descriptor, field, elements + k * width, a);
            }
            *codec_count(message, field) = count;
            *(void **)codec_at(message, field->offset) = elements;
        } else if (r % 3) { /* else at its default, or not set */
            make_value(descriptor, field, codec_at(message, field->offset), a);
            codec_mark_set(message, field, true);
        }
    }
    return message;
}

void messages_drop_unknown(ProtobufCMessage *message) {
    ProtobufCMessageUnknownField *fields = message->unknown_fields;
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        free(fields[i].data);
    }
    free(fields);
    message->unknown_fields = NULL;
    message->n_unknown_fields = 0;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        void *at = codec_at(message, field->offset);
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        if (!codec_is_repeated(field)) {
            if (*(ProtobufCMessage **)at) {
                messages_drop_unknown(*(ProtobufCMessage **)at);
            }
            continue;
        }
        for (size_t k = 0; k < *codec_count(message, field); k++) {
            messages_drop_unknown((*(ProtobufCMessage ***)at)[k]);
        }
    }
}

bool messages_may_merge(const ProtobufCMessageDescriptor *descriptor) {
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && !codec_is_repeated(field)) {
            return true;
        }
    }
    return false;
}

static void *fail_alloc(void *context, size_t size) {
    failing_allocator *f = context;
    if (f->left == 0) {
        return NULL;
    }
    f->left -= f->left != SIZE_MAX;
    return mem_alloc(alloc_default(), size);
}
static void *fail_resize(void *context, void *block, size_t old_size, size_t new_size) {
    failing_allocator *f = context;
    if (f->left == 0) {
        return NULL;
    }
    f->left -= f->left != SIZE_MAX;
    return mem_resize(alloc_default(), block, old_size, new_size);
}
static void fail_release(void *context, void *block, size_t size) {
    (void)context;
    mem_release(alloc_default(), block, size);
}

void failing_allocator_init(failing_allocator *f, size_t left) {
    *f = (failing_allocator){
        .face = {.alloc = fail_alloc, .resize = fail_resize, .release = fail_release, .context = f}, .left = left};
}
