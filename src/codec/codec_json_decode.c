/*
 * codec_json_decode.c - one JSON object into a message, field by field as the descriptor lists them.
 *
 * Names are the .proto's; lowerCamelCase is understood too, because generated JSON clients send it. Unknown members are
 * checked and skipped, null means absent, the last of two equal members wins. Strings point into the body unless they
 * hold escapes; numbers of a vector go straight into a float array in the arena.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "codec/codec_int.h"

typedef struct decoder {
    json_reader json;
    arena *arena;
    size_t floats_hint; /* the length of the last vector: those of one body mostly have the same */
    bool out_of_memory;
    bool blamed; /* `field` and `path` are set */
    char field[CODEC_PATH_BYTES];
    char path[CODEC_PATH_BYTES];
} decoder;

static bool read_message(decoder *d, ProtobufCMessage *message, const codec_path *up);

/* Remembers where it went wrong: the innermost place that reports does so first. Returns false. */
static bool blame(decoder *d, const codec_path *path) {
    if (!d->blamed) {
        d->blamed = true;
        codec_path_text(path, true, d->field);
        codec_path_text(path, false, d->path);
    }
    return false;
}

static bool no_memory(decoder *d) {
    d->out_of_memory = true;
    return false;
}

/* A fault about the value that starts at `at`. */
static bool fault(decoder *d, const uint8_t *at, const char *text) {
    if (!d->json.fault) {
        json_fault(&d->json, text);
        d->json.fault_at = (size_t)(at - d->json.start);
    }
    return false;
}

/* A bigger array for twice the elements; the old one stays in the arena. */
static bool grow(decoder *d, void **data, size_t count, size_t *capacity, size_t element_bytes, size_t first) {
    size_t wanted = *capacity ? 0 : first;
    size_t total;
    if ((*capacity && !size_mul(*capacity, 2, &wanted)) || !size_mul(wanted, element_bytes, &total)) {
        return no_memory(d);
    }
    void *bigger = arena_alloc(d->arena, total);
    if (!bigger) {
        return no_memory(d);
    }
    if (count) {
        memcpy(bigger, *data, count * element_bytes);
    }
    *data = bigger;
    *capacity = wanted;
    return true;
}

/* ---- vectors ---- */

static bool read_float_array(decoder *d, float **out, size_t *out_count, codec_path *here) {
    json_reader *json = &d->json;
    if (!json_begin_array(json)) {
        return blame(d, here);
    }
    size_t first = d->floats_hint ? d->floats_hint : 64;
    size_t most = (size_t)(json->end - json->at) / 2 + 1; /* "0," is the shortest element */
    void *data = NULL;
    size_t count = 0, capacity = 0;
    bool more;
    for (;;) {
        if (count < capacity) {
            count += json_read_floats(json, (float *)data + count, capacity - count);
        }
        if (!json_next_element(json, &more) || !more) {
            break;
        }
        if (count == capacity && !grow(d, &data, count, &capacity, sizeof(float), first < most ? first : most)) {
            return false;
        }
        float value;
        if (!json_read_float(json, &value) || !isfinite(value)) {
            here->index = (int64_t)count;
            here->of_scalar = true;
            if (!json->fault) {
                const uint8_t *start = json->at;
                while (start > json->start && start[-1] != ',' && start[-1] != '[' && start[-1] > ' ') {
                    start--;
                }
                fault(d, start, "out of range");
            }
            return blame(d, here);
        }
        ((float *)data)[count++] = value;
    }
    if (json->fault) {
        return blame(d, here);
    }
    d->floats_hint = count;
    *out = data;
    *out_count = count;
    return true;
}

/* base64 of little-endian float32. */
static bool read_float_text(decoder *d, float **out, size_t *out_count, codec_path *here) {
    const uint8_t *at = d->json.at;
    bytes text;
    if (!json_read_string(&d->json, &text)) {
        return blame(d, here);
    }
    uint8_t *data = arena_alloc(d->arena, text.size / 4 * 3);
    if (!data) {
        return no_memory(d);
    }
    ptrdiff_t size = base64_decode((const char *)text.data, text.size, data);
    if (size < 0) {
        fault(d, at, "neither numbers nor base64");
        return blame(d, here);
    }
    if ((size_t)size % sizeof(float) != 0) {
        fault(d, at, "base64 that is not whole float32 values");
        return blame(d, here);
    }
    *out_count = (size_t)size / sizeof(float);
    *out = (float *)(void *)data;
    for (size_t i = 0; i < *out_count; i++) { /* nothing on a little-endian machine */
        uint32_t bits = get_u32le(data + 4 * i);
        memcpy(*out + i, &bits, sizeof bits);
    }
    return true;
}

static bool read_floats(decoder *d, float **out, size_t *out_count, codec_path *here) {
    json_kind kind;
    if (!json_peek(&d->json, &kind)) {
        return blame(d, here);
    }
    if (kind == JSON_STRING) {
        return read_float_text(d, out, out_count, here);
    }
    if (kind != JSON_ARRAY) {
        fault(d, d->json.at, "neither an array of numbers nor a base64 string");
        return blame(d, here);
    }
    return read_float_array(d, out, out_count, here);
}

/* ---- single values ---- */

static bool read_signed(decoder *d, void *at, int64_t low, int64_t high, size_t size) {
    json_kind kind;
    int64_t value;
    if (!json_peek(&d->json, &kind)) {
        return false;
    }
    const uint8_t *start = d->json.at;
    if (!json_read_int64(&d->json, &value)) {
        return false;
    }
    if (value < low || value > high) {
        return fault(d, start, "out of range");
    }
    if (size == sizeof(int32_t)) {
        int32_t narrow = (int32_t)value;
        memcpy(at, &narrow, sizeof narrow);
    } else {
        memcpy(at, &value, sizeof value);
    }
    return true;
}

static bool read_unsigned(decoder *d, void *at, uint64_t high, size_t size) {
    json_kind kind;
    uint64_t value;
    if (!json_peek(&d->json, &kind)) {
        return false;
    }
    const uint8_t *start = d->json.at;
    if (!json_read_uint64(&d->json, &value)) {
        return false;
    }
    if (value > high) {
        return fault(d, start, "out of range");
    }
    if (size == sizeof(uint32_t)) {
        uint32_t narrow = (uint32_t)value;
        memcpy(at, &narrow, sizeof narrow);
    } else {
        memcpy(at, &value, sizeof value);
    }
    return true;
}

static bool read_text(decoder *d, const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field,
                      ProtobufCBinaryData *out) {
    bytes text;
    if (codec_is_raw_json(owner, field)) {
        if (!json_skip(&d->json, &text)) {
            return false;
        }
    } else {
        json_kind kind;
        if (!json_peek(&d->json, &kind)) {
            return false;
        }
        const uint8_t *at = d->json.at;
        if (!json_read_string(&d->json, &text)) {
            return false;
        }
        if (codec_is_bytes(owner, field)) {
            uint8_t *data = arena_alloc(d->arena, text.size / 4 * 3);
            if (!data) {
                return no_memory(d);
            }
            ptrdiff_t size = base64_decode((const char *)text.data, text.size, data);
            if (size < 0) {
                return fault(d, at, "not base64");
            }
            text = bytes_of(data, (size_t)size);
        }
    }
    out->data = (uint8_t *)(uintptr_t)text.data; /* messages are not changed through it */
    out->len = text.size;
    return true;
}

/* One value of the field's type to `at`. */
static bool read_value(decoder *d, const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field,
                       void *at, const codec_path *here) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return read_signed(d, at, INT32_MIN, INT32_MAX, sizeof(int32_t));
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_signed(d, at, INT64_MIN, INT64_MAX, sizeof(int64_t));
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return read_unsigned(d, at, UINT32_MAX, sizeof(uint32_t));
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_unsigned(d, at, UINT64_MAX, sizeof(uint64_t));
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_read_double(&d->json, at);
    case PROTOBUF_C_TYPE_FLOAT:
        return json_read_float(&d->json, at);
    case PROTOBUF_C_TYPE_BOOL: {
        bool value;
        if (!json_read_bool(&d->json, &value)) {
            return false;
        }
        *(protobuf_c_boolean *)at = value;
        return true;
    }
    case PROTOBUF_C_TYPE_BYTES:
        return read_text(d, owner, field, at);
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessageDescriptor *inner = field->descriptor;
        ProtobufCMessage *message = arena_alloc(d->arena, inner->sizeof_message);
        if (!message) {
            return no_memory(d);
        }
        inner->message_init(message);
        *(ProtobufCMessage **)at = message;
        return read_message(d, message, here);
    }
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_STRING:
        break;
    }
    return json_fault(&d->json, "a field of a type that is not served");
}

/* ---- messages ---- */

static bool read_repeated(decoder *d, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          codec_path *here) {
    size_t element_bytes = codec_value_size(field->type);
    if (!json_begin_array(&d->json)) {
        return blame(d, here);
    }
    void *data = NULL;
    size_t count = 0, capacity = 0;
    bool more;
    while (json_next_element(&d->json, &more) && more) {
        if (count == capacity && !grow(d, &data, count, &capacity, element_bytes, 8)) {
            return false;
        }
        here->index = (int64_t)count;
        if (!read_value(d, message->descriptor, field, (char *)data + count * element_bytes, here)) {
            return blame(d, here);
        }
        count++;
    }
    here->index = -1;
    if (d->json.fault) {
        return blame(d, here);
    }
    *codec_count(message, field) = count;
    *(void **)codec_at(message, field->offset) = data;
    return true;
}

static bool read_field(decoder *d, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       const codec_path *up) {
    codec_path here = {.up = up, .name = field->name, .index = -1};
    void *at = codec_at(message, field->offset);
    json_kind kind;
    if (!json_peek(&d->json, &kind)) {
        return blame(d, &here);
    }
    if (kind == JSON_NULL) { /* absent, also when the field came before */
        if (codec_is_repeated(field)) {
            *codec_count(message, field) = 0;
        } else {
            memset(at, 0, codec_value_size(field->type));
            codec_mark_set(message, field, false);
        }
        return json_read_null(&d->json) || blame(d, &here);
    }
    if (codec_is_repeated(field)) {
        return field->type == PROTOBUF_C_TYPE_FLOAT ? read_floats(d, at, codec_count(message, field), &here)
                                                    : read_repeated(d, message, field, &here);
    }
    if (!read_value(d, message->descriptor, field, at, &here)) {
        return blame(d, &here);
    }
    codec_mark_set(message, field, true);
    return true;
}

/* "ef_search" equals "ef_search" and "efSearch". */
static bool names(const char *name, bytes key) {
    size_t i = 0;
    while (*name) {
        if (i == key.size) {
            return false;
        }
        if (*name == '_' && key.data[i] != '_') {
            name++;
            if (!(*name >= 'a' && *name <= 'z') || key.data[i] != *name - 'a' + 'A') {
                return false;
            }
        } else if ((uint8_t)*name != key.data[i]) {
            return false;
        }
        name++;
        i++;
    }
    return i == key.size;
}

/* Members mostly come in the order of the .proto: *next is where to look first. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *descriptor, bytes key,
                                                  unsigned *next) {
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        unsigned position = *next + i < descriptor->n_fields ? *next + i : *next + i - descriptor->n_fields;
        if (names(descriptor->fields[position].name, key)) {
            *next = position + 1 < descriptor->n_fields ? position + 1 : 0;
            return &descriptor->fields[position];
        }
    }
    return NULL;
}

static bool read_message(decoder *d, ProtobufCMessage *message, const codec_path *up) {
    if (!json_begin_object(&d->json)) {
        return false;
    }
    bytes key;
    bool more;
    unsigned next = 0;
    while (json_next_key(&d->json, &key, &more) && more) {
        const ProtobufCFieldDescriptor *field = find_field(message->descriptor, key, &next);
        if (!(field ? read_field(d, message, field, up) : json_skip(&d->json, NULL))) {
            return false;
        }
    }
    return !d->json.fault;
}

vd_status codec_json_decode(const ProtobufCMessageDescriptor *descriptor, bytes body, arena *a, ProtobufCMessage **out,
                            vd_error *err) {
    ProtobufCMessage *message = arena_alloc(a, descriptor->sizeof_message);
    if (!message) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "decode body: out of memory");
    }
    descriptor->message_init(message);
    decoder d = {.arena = a};
    json_reader_init(&d.json, body.data, body.size, a);
    if (body.size == 0 || (read_message(&d, message, NULL) && json_at_end(&d.json))) {
        *out = message;
        return VD_OK;
    }
    if (d.out_of_memory) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "decode body: out of memory");
    }
    char what[CODEC_PATH_BYTES + 32];
    snprintf(what, sizeof what, "decode body%s%s", d.path[0] ? ": " : "", d.path);
    vd_status status = json_fail(&d.json, what, err);
    if (err) {
        snprintf(err->field, sizeof err->field, "%s", d.field);
    }
    return status;
}
