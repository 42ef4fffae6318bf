/*
 * fuzz_proto.c - any bytes as a protobuf body. The first byte chooses the message, the rest is the body. What is taken means what
 * protobuf-c's own unpacker makes of it, survives encoding and decoding, and can be written as JSON.
 */
#include <string.h>

#include "../unit/codec/messages.h"
#include "codec/codec.h"
#include "fuzz.h"

static bool same(const buffer *a, const buffer *b) {
    return bytes_equal(bytes_of(a->data, a->size), bytes_of(b->data, b->size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const ProtobufCMessageDescriptor *descriptor = messages_all[data[0] % messages_count];
    bytes body = bytes_of(data + 1, size - 1);
    arena a;
    arena_init(&a, NULL, 1u << 20);
    ProtobufCMessage *message, *read;
    vd_error err;
    vd_status status = codec_proto_decode(descriptor, body, &a, &message, &err);
    if (status) {
        FUZZ_CHECK(status == VD_INVALID_ARGUMENT || status == VD_OUT_OF_MEMORY);
        FUZZ_CHECK(strncmp(err.text, "decode body: ", 13) == 0);
        arena_fini(&a);
        return 0;
    }
    buffer first, second, json;
    buffer_init(&first, 0);
    buffer_init(&second, 0);
    buffer_init(&json, 0);
    codec_proto_encode(message, &first);
    status = codec_proto_decode(descriptor, bytes_of(first.data, first.size), &a, &read, &err);
    FUZZ_CHECK(status == VD_OK || status == VD_OUT_OF_MEMORY);
    if (!status) {
        codec_proto_encode(read, &second);
        FUZZ_CHECK(same(&first, &second));
    }
    codec_json_encode(message, &json);
    FUZZ_CHECK(json.size >= 2 && json.data[0] == '{' && json.data[json.size - 1] == '}');
    ProtobufCMessage *theirs =
        messages_may_merge(descriptor) ? NULL : protobuf_c_message_unpack(descriptor, NULL, body.size, body.data);
    if (theirs) {
        messages_drop_unknown(theirs);
        buffer_clear(&second);
        codec_proto_encode(theirs, &second);
        FUZZ_CHECK(same(&first, &second));
        protobuf_c_message_free_unpacked(theirs, NULL);
    }
    buffer_fini(&first);
    buffer_fini(&second);
    buffer_fini(&json);
    arena_fini(&a);
    return 0;
}
