/*
 * nng_envelope.c - see nng_envelope.h.
 *
 * RpcRequest:  1 method (string)  2 payload (bytes)  3 metadata (Metadata: 1 key, 2 value)  4 timeout_ms (varint)
 *              5 request_id (bytes)
 * RpcResponse: 1 code (varint)  2 message (string)  3 violations (1 field, 2 description)  4 payload (bytes)
 *              5 metadata (Metadata)
 */
#include "transport/nng_envelope.h"

#include <stdio.h>
#include <string.h>

#include "vectord/v1/vectord.pb-c.h"

/* ---- reading ---- */

typedef struct reader {
    const uint8_t *at, *end;
} reader;

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static bool read_varint(reader *r, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        if (shift == 63 && byte > 1) {
            return false; /* more than 64 bits */
        }
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

typedef struct field {
    uint64_t number;
    unsigned wire;
    uint64_t value; /* VARINT */
    bytes span;     /* BYTES */
} field;

static bool skip(reader *r, size_t size) {
    if ((size_t)(r->end - r->at) < size) {
        return false;
    }
    r->at += size;
    return true;
}

static bool read_field(reader *r, field *f) {
    uint64_t tag;
    uint64_t size;
    *f = (field){0};
    if (!read_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911) {
        return false;
    }
    f->number = tag >> 3;
    f->wire = (unsigned)(tag & 7);
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(r, &f->value);
    case WIRE_FIXED64:
        return skip(r, 8);
    case WIRE_FIXED32:
        return skip(r, 4);
    case WIRE_BYTES:
        if (!read_varint(r, &size) || size > (uint64_t)(r->end - r->at)) {
            return false;
        }
        f->span = bytes_of(r->at, (size_t)size);
        r->at += size;
        return true;
    default:
        return false;
    }
}

static bool read_metadata(bytes span, nng_envelope *out) {
    reader r = {span.data, span.data + span.size};
    bytes key = {0};
    bytes value = {0};
    field f;
    while (r.at < r.end) {
        if (!read_field(&r, &f)) {
            return false;
        }
        if (f.wire == WIRE_BYTES && f.number == 1) {
            key = f.span;
        } else if (f.wire == WIRE_BYTES && f.number == 2) {
            value = f.span;
        }
    }
    if (bytes_equal(key, bytes_str("idempotency-key"))) {
        out->idempotency_key = value;
    }
    return true;
}

vd_status nng_envelope_decode(bytes message, nng_envelope *out, vd_error *err) {
    reader r = {message.data, message.data + message.size};
    *out = (nng_envelope){0};
    field f;
    while (r.at < r.end) {
        size_t at = (size_t)(r.at - message.data);
        if (!read_field(&r, &f)) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "bad envelope: no valid field at byte %zu", at);
        }
        if (f.number > 5) {
            continue;
        }
        if (f.wire != (f.number == 4 ? (unsigned)WIRE_VARINT : (unsigned)WIRE_BYTES)) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "bad envelope: field %u has wire type %u",
                           (unsigned)f.number, f.wire);
        }
        switch (f.number) {
        case 1:
            out->method = f.span;
            break;
        case 2:
            out->payload = f.span;
            break;
        case 3:
            if (!read_metadata(f.span, out)) {
                return vd_fail(err, VD_INVALID_ARGUMENT, "metadata", "bad envelope: metadata at byte %zu", at);
            }
            break;
        case 4:
            out->timeout_ms = (uint32_t)f.value; /* proto3: a uint32 keeps the low bits */
            break;
        default:
            out->request_id = f.span;
            break;
        }
    }
    if (!out->method.size) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "method", "bad envelope: no method");
    }
    return VD_OK;
}

/* ---- writing ---- */

static size_t put_varint(uint8_t *to, uint64_t value) {
    size_t size = 0;
    while (value >= 0x80) {
        to[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    to[size++] = (uint8_t)value;
    return size;
}

nng_msg *nng_envelope_reply(const ProtobufCMessage *message) {
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t head[16] = {4 << 3 | WIRE_BYTES};
    /* Also for an empty payload: protobuf would allow a reply of no bytes, but bindings stumble over messages without a body
     * (pynng fails to receive them). */
    size_t head_size = 1 + put_varint(head + 1, size);
    nng_msg *msg = NULL;
    if (nng_msg_alloc(&msg, head_size + size) != 0) {
        return NULL;
    }
    uint8_t *body = nng_msg_body(msg);
    memcpy(body, head, head_size);
    if (size) {
        protobuf_c_message_pack(message, body + head_size);
    }
    return msg;
}

static ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

nng_msg *nng_envelope_error(vd_status status, const vd_error *err) {
    vd_error clean = *err; /* a text may quote what was sent; other languages refuse a string that is not UTF-8 */
    utf8_clean(clean.text);
    utf8_clean(clean.field);
    const char *text = clean.text[0] ? clean.text : vd_status_text(status);
    Vectord__V1__RpcResponse response = VECTORD__V1__RPC_RESPONSE__INIT;
    Vectord__V1__FieldViolation violation = VECTORD__V1__FIELD_VIOLATION__INIT;
    Vectord__V1__FieldViolation *violations[] = {&violation};
    Vectord__V1__Metadata pairs[2] = {VECTORD__V1__METADATA__INIT, VECTORD__V1__METADATA__INIT};
    Vectord__V1__Metadata *metadata[] = {&pairs[0], &pairs[1]};
    char seconds[16];
    response.code = (uint32_t)vd_status_rpc(status);
    response.message = text_of(text);
    if (clean.field[0]) {
        violation.field = text_of(clean.field);
        violation.description = text_of(text);
        response.violations = violations;
        response.n_violations = 1;
    }
    response.metadata = metadata;
    /* Which of the refinements of a code it was: RESOURCE_EXHAUSTED alone does not tell a full disk from a large body. */
    pairs[response.n_metadata].key = text_of("status");
    pairs[response.n_metadata++].value = text_of(vd_status_name(status));
    if (err->retry_after_s || status == VD_UNAVAILABLE) {
        snprintf(seconds, sizeof seconds, "%u", err->retry_after_s ? err->retry_after_s : 1);
        pairs[response.n_metadata].key = text_of("retry-after");
        pairs[response.n_metadata++].value = text_of(seconds);
    }
    size_t size = vectord__v1__rpc_response__get_packed_size(&response);
    nng_msg *msg = NULL;
    if (nng_msg_alloc(&msg, size) != 0) {
        return NULL;
    }
    vectord__v1__rpc_response__pack(&response, nng_msg_body(msg));
    return msg;
}
