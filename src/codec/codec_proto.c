/*
 * codec_proto.c - protobuf bytes <-> messages. Packing is protobuf-c's; unpacking is our own walk over the same descriptors.
 *
 * protobuf-c's unpacker notes every field it has seen, unknown ones included, in tables several times the size of a hostile body,
 * copies every string, and says only "failed". Here each message is walked twice: once to count the elements of its
 * repeated fields, once to fill exactly sized arrays. Strings point into the body, packed vectors are one memcpy, unknown
 * fields cost nothing, and an error names the field and the byte. The unit tests hold it against protobuf-c's unpacker.
 *
 * As the protobuf specification has it: the last of two equal fields wins, two messages merge, repeated fields add up in packed
 * and unpacked form, integers are cut to their width. Stricter: text must be UTF-8, a known field with another wire type
 * is an error, and so are groups.
 */
#include <string.h>

#include "codec/codec_int.h"

#define FIELDS_MAX 32 /* of one message; the .proto's largest has 12 */

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct decoder {
    const uint8_t *start;
    arena *arena;
    const char *fault; /* constant; NULL while all is well */
    const uint8_t *fault_at;
    bool out_of_memory;
    char field[CODEC_PATH_BYTES];
} decoder;

/* One field as it stands on the wire. */
typedef struct wire_field {
    const uint8_t *at; /* its tag */
    uint32_t id;
    uint32_t wire;
    uint64_t number; /* WIRE_VARINT, WIRE_64, WIRE_32 */
    bytes data;      /* WIRE_BYTES */
} wire_field;

static bool read_message(decoder *d, ProtobufCMessage *message, bytes body, const codec_path *up);

static bool fault(decoder *d, const uint8_t *at, const char *text, const codec_path *path) {
    d->fault = text;
    d->fault_at = at;
    codec_path_text(path, true, d->field);
    return false;
}

static bool no_memory(decoder *d) {
    d->out_of_memory = true;
    return false;
}

/* ---- the wire ---- */

/* Moves *p past a varint; false when it does not end in time. */
static inline bool read_varint(const uint8_t **p, const uint8_t *end, uint64_t *out) {
    const uint8_t *at = *p;
    if (at < end && *at < 0x80) {
        *out = *at;
        *p = at + 1;
        return true;
    }
    uint64_t value = 0;
    for (int shift = 0; shift < 70 && at < end; shift += 7) {
        uint8_t c = *at++;
        value |= (uint64_t)(c & 0x7F) << (shift < 64 ? shift : 63);
        if (c < 0x80) {
            *p = at;
            *out = value;
            return true;
        }
    }
    return false;
}

static bool next_field(decoder *d, const uint8_t **p, const uint8_t *end, wire_field *f, const codec_path *up) {
    uint64_t tag, size;
    f->at = *p;
    if (!read_varint(p, end, &tag)) {
        return fault(d, f->at, "bad tag", up);
    }
    if (tag >> 32 || tag >> 3 == 0) {
        return fault(d, f->at, "bad tag", up);
    }
    f->id = (uint32_t)(tag >> 3);
    f->wire = (uint32_t)(tag & 7);
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(p, end, &f->number) || fault(d, f->at, "bad varint", up);
    case WIRE_64:
        if (end - *p < 8) {
            return fault(d, f->at, "unexpected end", up);
        }
        f->number = get_u64le(*p);
        *p += 8;
        return true;
    case WIRE_32:
        if (end - *p < 4) {
            return fault(d, f->at, "unexpected end", up);
        }
        f->number = get_u32le(*p);
        *p += 4;
        return true;
    case WIRE_BYTES:
        if (!read_varint(p, end, &size) || size > (uint64_t)(end - *p)) {
            return fault(d, f->at, "unexpected end", up);
        }
        f->data = bytes_of(*p, (size_t)size);
        *p += size;
        return true;
    default:
        return fault(d, f->at, "bad wire type", up);
    }
}

static uint32_t wire_of(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return WIRE_32;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return WIRE_64;
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

/* The position of field `id`; n_fields when the message has none. Numbers mostly run from 1 without gaps. */
static unsigned find_field(const ProtobufCMessageDescriptor *descriptor, uint32_t id) {
    if (id - 1 < descriptor->n_fields && descriptor->fields[id - 1].id == id) {
        return id - 1;
    }
    unsigned i = 0;
    while (i < descriptor->n_fields && descriptor->fields[i].id != id) {
        i++;
    }
    return i;
}

/* ---- values ---- */

/* Stores a number of the field's type at `at`; integers are cut to their width. */
static void put_number(ProtobufCType type, uint64_t number, void *at) {
    uint32_t low = (uint32_t)number;
    switch (type) {
    case PROTOBUF_C_TYPE_SINT32:
        low = (low >> 1) ^ (0u - (low & 1u));
        memcpy(at, &low, sizeof low);
        break;
    case PROTOBUF_C_TYPE_SINT64:
        number = (number >> 1) ^ (0 - (number & 1));
        memcpy(at, &number, sizeof number);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = number != 0;
        break;
    default:
        if (codec_value_size(type) == sizeof low) {
            memcpy(at, &low, sizeof low);
        } else {
            memcpy(at, &number, sizeof number);
        }
        break;
    }
}

static bool put_text(decoder *d, const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field,
                     const wire_field *f, ProtobufCBinaryData *out, const codec_path *here) {
    if (!codec_is_bytes(owner, field) && !utf8_valid(f->data.data, f->data.size)) {
        return fault(d, f->data.data, "not valid UTF-8", here);
    }
    out->data = (uint8_t *)(uintptr_t)f->data.data; /* messages are not changed through it */
    out->len = f->data.size;
    return true;
}

/* Appends packed numbers behind *count elements. */
static bool put_packed(decoder *d, const ProtobufCFieldDescriptor *field, bytes data, void *elements, size_t *count,
                       const codec_path *here) {
    size_t width = codec_value_size(field->type);
    uint32_t wire = wire_of(field->type);
    char *out = elements ? (char *)elements + *count * width : NULL; /* NULL: nothing whole in any occurrence */
    if (wire != WIRE_VARINT) {
        if (data.size % width != 0) {
            return fault(d, data.data, "a list that ends inside a number", here);
        }
        size_t added = data.size / width;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (added) {
            memcpy(out, data.data, data.size);
        }
#else
        for (size_t i = 0; i < added; i++) {
            const uint8_t *p = data.data + i * width;
            put_number(field->type, wire == WIRE_32 ? get_u32le(p) : get_u64le(p), out + i * width);
        }
#endif
        *count += added;
        return true;
    }
    const uint8_t *p = data.data, *end = p + data.size;
    while (p < end) {
        uint64_t number;
        const uint8_t *at = p;
        if (!read_varint(&p, end, &number)) {
            return fault(d, at, "bad varint", here);
        }
        put_number(field->type, number, out);
        out += width;
        ++*count;
    }
    return true;
}

static bool put_single(decoder *d, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       const wire_field *f, const codec_path *here) {
    void *at = codec_at(message, field->offset);
    if (f->wire != wire_of(field->type)) {
        return fault(d, f->at, "wrong wire type", here);
    }
    codec_mark_set(message, field, true);
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return put_text(d, message->descriptor, field, f, at, here);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage **inner = at;
        if (!*inner) {
            const ProtobufCMessageDescriptor *type = field->descriptor;
            ProtobufCMessage *made = arena_alloc(d->arena, type->sizeof_message);
            if (!made) {
                return no_memory(d);
            }
            type->message_init(made);
            *inner = made;
        }
        return read_message(d, *inner, f->data, here); /* a second one is merged into the first */
    }
    put_number(field->type, f->number, at);
    return true;
}

static bool put_repeated(decoder *d, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                         const wire_field *f, codec_path *here) {
    size_t *count = codec_count(message, field);
    char *elements = *(char **)codec_at(message, field->offset);
    uint32_t wire = wire_of(field->type);
    if (f->wire == WIRE_BYTES && wire != WIRE_BYTES) {
        return put_packed(d, field, f->data, elements, count, here);
    }
    here->index = (int64_t)*count;
    if (f->wire != wire) {
        return fault(d, f->at, "wrong wire type", here);
    }
    char *at = elements + *count * codec_value_size(field->type);
    ++*count;
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return put_text(d, message->descriptor, field, f, (ProtobufCBinaryData *)(void *)at, here);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) { /* made beforehand */
        return read_message(d, *(ProtobufCMessage **)(void *)at, f->data, here);
    }
    put_number(field->type, f->number, at);
    return true;
}

/* ---- messages ---- */

/* How many elements this occurrence adds to its repeated field. */
static size_t elements_in(const ProtobufCFieldDescriptor *field, const wire_field *f) {
    uint32_t wire = wire_of(field->type);
    if (f->wire != WIRE_BYTES || wire == WIRE_BYTES) {
        return 1;
    }
    if (wire != WIRE_VARINT) {
        return f->data.size / codec_value_size(field->type);
    }
    size_t count = 0;
    for (size_t i = 0; i < f->data.size; i++) {
        count += f->data.data[i] < 0x80;
    }
    return count;
}

/* Room for `added` more elements of a repeated field, messages included. */
static bool make_room(decoder *d, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t added) {
    size_t width = codec_value_size(field->type);
    size_t had = *codec_count(message, field), total, size;
    void **at = codec_at(message, field->offset);
    if (width == 0 || !size_add(had, added, &total) || !size_mul(total, width, &size)) {
        return no_memory(d);
    }
    char *elements = arena_alloc(d->arena, size);
    if (!elements) {
        return no_memory(d);
    }
    if (had) {
        memcpy(elements, *at, had * width);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessageDescriptor *type = field->descriptor;
        size_t block_size;
        char *block = size_mul(added, type->sizeof_message, &block_size) ? arena_alloc(d->arena, block_size) : NULL;
        if (!block) {
            return no_memory(d);
        }
        for (size_t i = 0; i < added; i++) {
            ProtobufCMessage *made = (ProtobufCMessage *)(void *)(block + i * type->sizeof_message);
            type->message_init(made);
            ((ProtobufCMessage **)(void *)elements)[had + i] = made;
        }
    }
    *at = elements;
    return true;
}

static bool read_message(decoder *d, ProtobufCMessage *message, bytes body, const codec_path *up) {
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    const uint8_t *end = body.data + body.size;
    size_t added[FIELDS_MAX] = {0};
    wire_field f;
    if (descriptor->n_fields > FIELDS_MAX) {
        return fault(d, body.data, "a message with too many fields", up);
    }
    for (const uint8_t *p = body.data; p < end;) {
        if (!next_field(d, &p, end, &f, up)) {
            return false;
        }
        unsigned i = find_field(descriptor, f.id);
        if (i < descriptor->n_fields && codec_is_repeated(&descriptor->fields[i])) {
            added[i] += elements_in(&descriptor->fields[i], &f);
        }
    }
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        if (added[i] && !make_room(d, message, &descriptor->fields[i], added[i])) {
            return false;
        }
    }
    for (const uint8_t *p = body.data; p < end;) {
        if (!next_field(d, &p, end, &f, up)) {
            return false;
        }
        unsigned i = find_field(descriptor, f.id);
        if (i == descriptor->n_fields) {
            continue;
        }
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        codec_path here = {.up = up, .name = field->name, .index = -1};
        if (!(codec_is_repeated(field) ? put_repeated(d, message, field, &f, &here)
                                       : put_single(d, message, field, &f, &here))) {
            return false;
        }
    }
    return true;
}

vd_status codec_proto_decode(const ProtobufCMessageDescriptor *descriptor, bytes body, arena *a, ProtobufCMessage **out,
                             vd_error *err) {
    ProtobufCMessage *message = arena_alloc(a, descriptor->sizeof_message);
    if (!message) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "decode body: out of memory");
    }
    descriptor->message_init(message);
    if (body.size == 0) {
        body = bytes_str("");
    }
    decoder d = {.start = body.data, .arena = a};
    if (read_message(&d, message, body, NULL)) {
        *out = message;
        return VD_OK;
    }
    if (d.out_of_memory) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "decode body: out of memory");
    }
    return vd_fail(err, VD_INVALID_ARGUMENT, d.field, "decode body: %s%s%s at byte %zu", d.field,
                   d.field[0] ? ": " : "", d.fault, (size_t)(d.fault_at - d.start));
}

void codec_proto_encode(const ProtobufCMessage *message, buffer *out) {
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size && buffer_reserve(out, size)) {
        out->size += protobuf_c_message_pack(message, out->data + out->size);
    }
}
