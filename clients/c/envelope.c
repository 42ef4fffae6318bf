/*
 * envelope.c - RpcRequest and RpcResponse by hand, so that a payload is written once, straight into the message that is sent,
 * and read where it was received. The fields and their meaning stand in vectord.proto; the tests compare with protobuf-c.
 *
 * Trusts no length: everything is checked against the bytes that are there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "client_int.h"

/* ---- writing ---- */

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static size_t varint_bytes(uint64_t value) {
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

static uint8_t *put_varint(uint8_t *at, uint64_t value) {
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* Tag and length of a length-delimited field; all our field numbers take one byte. */
static size_t head_bytes(size_t size) {
    return 1 + varint_bytes(size);
}

static uint8_t *put_head(uint8_t *at, uint32_t field, size_t size) {
    *at++ = (uint8_t)(field << 3 | WIRE_BYTES);
    return put_varint(at, size);
}

static uint8_t *put_bytes(uint8_t *at, uint32_t field, bytes value) {
    at = put_head(at, field, value.size);
    if (value.size > 0) {
        memcpy(at, value.data, value.size);
    }
    return at + value.size;
}

vd_status client_envelope(const vd_client *client, const client_request *request, size_t payload_bytes, nng_msg **out,
                          uint8_t **payload, vd_error *err) {
    static const char authorization[] = "authorization";
    if (payload_bytes > VD_BODY_MAX_BYTES) {
        return vd_fail(err, VD_TOO_LARGE, NULL, "a request is at most %u bytes (this one: %zu)", VD_BODY_MAX_BYTES,
                       payload_bytes);
    }
    if (request->request_id.size > VD_REQUEST_ID_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "request_id", "a request id is at most %d bytes",
                       VD_REQUEST_ID_MAX_BYTES);
    }
    bytes method = bytes_str(request->method);
    uint32_t timeout_ms = request->timeout_ms ? request->timeout_ms : client->timeout_ms;
    bytes key = bytes_of(authorization, sizeof authorization - 1);
    bytes value = client_text(client->authorization);
    size_t pair_bytes = head_bytes(key.size) + key.size + head_bytes(value.size) + value.size;

    size_t total = head_bytes(method.size) + method.size + 1 + varint_bytes(timeout_ms);
    if (request->request_id.size > 0) {
        total += head_bytes(request->request_id.size) + request->request_id.size;
    }
    if (value.size > 0) {
        total += head_bytes(pair_bytes) + pair_bytes;
    }
    total += head_bytes(payload_bytes) + payload_bytes;

    nng_msg *msg = NULL;
    if (nng_msg_alloc(&msg, total) != 0) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    uint8_t *at = nng_msg_body(msg);
    at = put_bytes(at, 1, method);
    *at++ = 4u << 3 | WIRE_VARINT;
    at = put_varint(at, timeout_ms);
    if (request->request_id.size > 0) {
        at = put_bytes(at, 5, request->request_id);
    }
    if (value.size > 0) {
        at = put_head(at, 3, pair_bytes);
        at = put_bytes(at, 1, key);
        at = put_bytes(at, 2, value);
    }
    at = put_head(at, 2, payload_bytes);
    *payload = at;
    *out = msg;
    return VD_OK;
}

vd_status client_request_id(uint8_t out[CLIENT_REQUEST_ID_BYTES], vd_error *err) {
    size_t done = 0;
    while (done < CLIENT_REQUEST_ID_BYTES) {
        ssize_t n = getrandom(out + done, CLIENT_REQUEST_ID_BYTES - done, 0);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno != EINTR) {
            return vd_fail(err, VD_UNAVAILABLE, NULL, "no random bytes for a request id: %s", strerror(errno));
        }
    }
    return VD_OK;
}

/* ---- reading ---- */

typedef struct wire {
    const uint8_t *at;
    const uint8_t *end;
} wire;

typedef struct wire_field {
    uint32_t number;
    uint32_t type;
    uint64_t value; /* WIRE_VARINT */
    bytes data;     /* WIRE_BYTES */
} wire_field;

static bool get_varint(wire *w, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* The next field; false when the bytes are not a message. Call only while w->at < w->end. */
static bool get_field(wire *w, wire_field *field) {
    uint64_t tag = 0;
    if (!get_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        return false;
    }
    field->number = (uint32_t)(tag >> 3);
    field->type = (uint32_t)(tag & 7);
    uint64_t size = 0;
    switch (field->type) {
    case WIRE_VARINT:
        return get_varint(w, &field->value);
    case WIRE_FIXED64:
        size = 8;
        break;
    case WIRE_FIXED32:
        size = 4;
        break;
    case WIRE_BYTES:
        if (!get_varint(w, &size)) {
            return false;
        }
        break;
    default:
        return false;
    }
    if (size > (uint64_t)(w->end - w->at)) {
        return false;
    }
    field->data = bytes_of(w->at, (size_t)size);
    w->at += size;
    return true;
}

/* FieldViolation and Metadata are alike: two strings, 1 and 2. */
static bool get_pair(bytes body, bytes *first, bytes *second) {
    wire w = {body.data, body.data + body.size};
    *first = *second = bytes_of("", 0);
    while (w.at < w.end) {
        wire_field field;
        if (!get_field(&w, &field)) {
            return false;
        }
        if (field.type == WIRE_BYTES && field.number == 1) {
            *first = field.data;
        } else if (field.type == WIRE_BYTES && field.number == 2) {
            *second = field.data;
        }
    }
    return true;
}

static uint32_t parse_seconds(bytes text) {
    uint32_t seconds = 0;
    for (size_t i = 0; i < text.size && i < 6; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            break;
        }
        seconds = seconds * 10 + (uint32_t)(text.data[i] - '0');
    }
    return seconds;
}

static int span(bytes text) {
    return text.size > INT16_MAX ? INT16_MAX : (int)text.size;
}

/* A second and later violation is added to the sentence: there is one field in a vd_error. */
static void add_violation(vd_error *err, bytes field, bytes description, bool first) {
    if (first) {
        snprintf(err->field, sizeof err->field, "%.*s", span(field), (const char *)field.data);
        if (err->text[0] == '\0') {
            snprintf(err->text, sizeof err->text, "%.*s", span(description), (const char *)description.data);
        }
        return;
    }
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "; %.*s: %.*s", span(field), (const char *)field.data,
             span(description), (const char *)description.data);
}

static vd_status fail_reply(const wire_field *code, bytes message, bytes body, vd_error *err) {
    vd_status status = code->value <= VD_UNAUTHENTICATED ? (vd_status)code->value : VD_UNKNOWN;
    vd_error local;
    if (!err) {
        err = &local;
    }
    vd_fail(err, status, NULL, "%.*s", span(message), (const char *)message.data);
    wire w = {body.data, body.data + body.size};
    bool first = true;
    while (w.at < w.end) {
        wire_field field;
        bytes left;
        bytes right;
        if (!get_field(&w, &field)) {
            break; /* cannot be: the caller has walked it */
        }
        if (field.type != WIRE_BYTES || (field.number != 3 && field.number != 5) ||
            !get_pair(field.data, &left, &right)) {
            continue;
        }
        if (field.number == 3) {
            add_violation(err, left, right, first);
            first = false;
        } else if (bytes_equal(left, bytes_str("retry-after"))) {
            err->retry_after_s = parse_seconds(right);
        }
    }
    if (err->text[0] == '\0') {
        snprintf(err->text, sizeof err->text, "%s", vd_status_text(status));
    }
    return status;
}

vd_status client_decode_envelope(bytes body, bytes *payload, vd_error *err) {
    wire w = {body.data, body.data + body.size};
    wire_field code = {.value = 0};
    bytes message = bytes_of("", 0);
    *payload = bytes_of("", 0);
    while (w.at < w.end) {
        wire_field field;
        if (!get_field(&w, &field)) {
            return vd_fail(err, VD_INTERNAL, NULL, "the answer is not an RpcResponse (at byte %zu of %zu)",
                           (size_t)(w.at - body.data), body.size);
        }
        if (field.number == 1 && field.type == WIRE_VARINT) {
            code = field;
        } else if (field.number == 2 && field.type == WIRE_BYTES) {
            message = field.data;
        } else if (field.number == 4 && field.type == WIRE_BYTES) {
            *payload = field.data;
        }
    }
    return code.value == 0 ? VD_OK : fail_reply(&code, message, body, err);
}
