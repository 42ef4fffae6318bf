/*
 * codec_int.h - what the files of this folder share: what the descriptors do not say, and where in a message one is.
 */
#ifndef VECTORD_CODEC_CODEC_INT_H
#define VECTORD_CODEC_CODEC_INT_H

#include <stdbool.h>

#include "codec/codec.h"

/* A field whose text is any JSON value, spliced in and taken out byte for byte. */
bool codec_is_raw_json(const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field);
/* A field that the published .proto calls `bytes`: all others of that C type are strings and hold UTF-8. */
bool codec_is_bytes(const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field);

/* The place in the message that is being decoded, innermost first; lives on the decoder's stack. */
typedef struct codec_path {
    const struct codec_path *up; /* NULL: top level */
    const char *name;
    int64_t index;  /* of the element of a repeated field; -1: none */
    bool of_scalar; /* the index counts numbers in a vector: named in the text, not in err->field */
} codec_path;

#define CODEC_PATH_BYTES 96 /* as vd_error.field */

/* "items[3].vector[7]"; "" for NULL. `for_field`: without the index of a number. */
void codec_path_text(const codec_path *path, bool for_field, char out[CODEC_PATH_BYTES]);

/* Bytes of one value of a field inside the C struct (or of one element of a repeated one); 0 for a type no message has. */
size_t codec_value_size(ProtobufCType type);

static inline void *codec_at(const void *message, unsigned offset) {
    return (char *)(uintptr_t)message + offset;
}
static inline bool codec_is_optional(const ProtobufCFieldDescriptor *field) {
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}
static inline bool codec_is_repeated(const ProtobufCFieldDescriptor *field) {
    return field->label == PROTOBUF_C_LABEL_REPEATED;
}
/* A one-member oneof names its member as set. */
static inline void codec_mark_set(void *message, const ProtobufCFieldDescriptor *field, bool set) {
    if (codec_is_optional(field)) {
        *(uint32_t *)codec_at(message, field->quantifier_offset) = set ? field->id : 0;
    }
}
/* The number of elements of a repeated field. */
static inline size_t *codec_count(void *message, const ProtobufCFieldDescriptor *field) {
    return codec_at(message, field->quantifier_offset);
}

#endif
