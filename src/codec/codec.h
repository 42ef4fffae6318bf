/*
 * codec.h - messages <-> JSON and protobuf bytes, driven by the protobuf-c descriptors: one code path for every operation.
 *
 * JSON form: field names as in the .proto (read in lowerCamelCase too, as generated JSON clients send them); optional
 * fields only when set, all others always; lists never null. Fields listed in codec.c as raw JSON (Item.metadata,
 * Hit.metadata) are spliced in and taken out byte for byte. A packed float field reads an array of numbers or a base64
 * string of little-endian float32. Unknown fields are skipped. null is "absent". A field that appears twice: the last one
 * wins.
 */
#ifndef VECTORD_CODEC_CODEC_H
#define VECTORD_CODEC_CODEC_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "vectord/status.h"

/* Message and everything in it live in the arena (strings may point into `body`: keep it alive as long). An empty body is an
 * empty message. INVALID_ARGUMENT "decode body: <reason> at byte N" (err->field names the path); OUT_OF_MEMORY. */
vd_status codec_json_decode(const ProtobufCMessageDescriptor *descriptor, bytes body, arena *a, ProtobufCMessage **out,
                            vd_error *err);
/* Appends one JSON value (no newline) to `out`; check out->failed. */
void codec_json_encode(const ProtobufCMessage *message, buffer *out);

/* Protobuf wire form. As above: strings and bytes point into `body`, which must live as long as the message; vectors and nested
 * messages are in the arena, whose limit bounds them. Strings are valid UTF-8. Unknown fields are dropped. An empty body is
 * an empty message. INVALID_ARGUMENT "decode body: items[3].id: not valid UTF-8 at byte N"; OUT_OF_MEMORY. */
vd_status codec_proto_decode(const ProtobufCMessageDescriptor *descriptor, bytes body, arena *a, ProtobufCMessage **out,
                             vd_error *err);
void codec_proto_encode(const ProtobufCMessage *message, buffer *out);

/* Sets a string field by name (the path's "{name}"); INTERNAL when there is no such field. */
vd_status codec_set_string(ProtobufCMessage *message, const char *field, bytes value, vd_error *err);

#endif
