/*
 * messages.h - every message of the .proto, random ones, and an allocator that fails when told to.
 */
#ifndef TESTS_UNIT_CODEC_MESSAGES_H
#define TESTS_UNIT_CODEC_MESSAGES_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

extern const ProtobufCMessageDescriptor *const messages_all[];
extern const size_t messages_count;

/* xorshift64: the same numbers in every run. */
uint64_t messages_random(void);

/* A message with random contents in the arena: valid UTF-8, valid raw JSON, finite numbers, any subset of the optional fields. */
ProtobufCMessage *messages_make(const ProtobufCMessageDescriptor *descriptor, arena *a);

/* Frees the unknown fields that protobuf-c's unpacker (with its own allocator) has kept, nested ones too: packing the message
 * then gives the known ones alone. */
void messages_drop_unknown(ProtobufCMessage *message);

/* Whether the message has a field that is one message. protobuf-c 1.4.1 loses numbers of the first when such a field comes twice (the
 * specification merges them), so it is no oracle for these. */
bool messages_may_merge(const ProtobufCMessageDescriptor *descriptor);

/* malloc that succeeds `left` times and then never again (SIZE_MAX: always). */
typedef struct failing_allocator {
    vd_allocator face;
    size_t left;
} failing_allocator;
void failing_allocator_init(failing_allocator *f, size_t left);

#endif
