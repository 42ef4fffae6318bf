/*
 * fuzz_json.c - any bytes as a JSON body. The first byte chooses the message, the rest is the body. What is skipped is skipped the
 * same way again; a body that is taken as a message is JSON, and the message survives encoding and decoding.
 */
#include <string.h>

#include "../unit/codec/messages.h"
#include "base/json.h"
#include "codec/codec.h"
#include "fuzz.h"

static bool same(const buffer *a, const buffer *b) {
    return bytes_equal(bytes_of(a->data, a->size), bytes_of(b->data, b->size));
}

static bool skip_all(bytes body, arena *a) {
    json_reader r;
    bytes raw;
    vd_error err;
    json_reader_init(&r, body.data, body.size, a);
    if (!json_skip(&r, &raw) || !json_at_end(&r)) {
        FUZZ_CHECK(r.fault && r.fault_at <= body.size);
        FUZZ_CHECK(json_fail(&r, "decode body", &err) == VD_INVALID_ARGUMENT);
        return strcmp(r.fault, "nested too deeply") == 0; /* counted from elsewhere than a decoder counts */
    }
    FUZZ_CHECK(r.depth == 0);
    json_reader_init(&r, raw.data, raw.size, a);
    bytes again;
    FUZZ_CHECK(json_skip(&r, &again) && bytes_equal(raw, again) && json_at_end(&r));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const ProtobufCMessageDescriptor *descriptor = messages_all[data[0] % messages_count];
    bytes body = bytes_of(data + 1, size - 1);
    arena a;
    arena_init(&a, NULL, 1u << 20);
    bool good = skip_all(body, &a);
    ProtobufCMessage *message, *read;
    vd_error err;
    vd_status status = codec_json_decode(descriptor, body, &a, &message, &err);
    if (status) {
        FUZZ_CHECK(status == VD_INVALID_ARGUMENT || status == VD_OUT_OF_MEMORY);
        FUZZ_CHECK(strncmp(err.text, "decode body: ", 13) == 0);
        arena_fini(&a);
        return 0;
    }
    FUZZ_CHECK(good || body.size == 0);
    buffer first, second, wire_first, wire_second;
    buffer_init(&first, 0);
    buffer_init(&second, 0);
    buffer_init(&wire_first, 0);
    buffer_init(&wire_second, 0);
    codec_json_encode(message, &first);
    status = codec_json_decode(descriptor, bytes_of(first.data, first.size), &a, &read, &err);
    FUZZ_CHECK(status == VD_OK || status == VD_OUT_OF_MEMORY);
    if (!status) {
        codec_json_encode(read, &second);
        FUZZ_CHECK(same(&first, &second));
        codec_proto_encode(message, &wire_first);
        codec_proto_encode(read, &wire_second);
        FUZZ_CHECK(same(&wire_first, &wire_second));
    }
    buffer_fini(&first);
    buffer_fini(&second);
    buffer_fini(&wire_first);
    buffer_fini(&wire_second);
    arena_fini(&a);
    return 0;
}
