/*
 * nng_envelope.h - RpcRequest and RpcResponse (vectord.proto) without copies: the payload of a request stays where it was
 * received, and a reply is packed once, straight into the message that goes out.
 *
 * The request is read by hand and not by protobuf-c, which would copy a 64 MiB payload to look at its envelope. Rules are
 * those of proto3: fields in any order, the last of a repeated scalar wins, unknown fields are skipped (groups refused).
 */
#ifndef VECTORD_TRANSPORT_NNG_ENVELOPE_H
#define VECTORD_TRANSPORT_NNG_ENVELOPE_H

#include <nng/nng.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "vectord/status.h"

typedef struct nng_envelope {
    bytes method, payload, request_id; /* spans of the input; data NULL: absent */
    bytes idempotency_key;             /* from the metadata; counts when there is no request_id */
    uint32_t timeout_ms;
} nng_envelope;

/* INVALID_ARGUMENT "bad envelope: ..." */
vd_status nng_envelope_decode(bytes message, nng_envelope *out, vd_error *err);

/* Each returns an owned message, or NULL when out of memory. */
nng_msg *nng_envelope_reply(const ProtobufCMessage *message);
nng_msg *nng_envelope_error(vd_status status, const vd_error *err);

#endif
