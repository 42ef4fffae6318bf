/*
 * ops.h - the operations as data: one row per operation, one handler per row. Every transport walks this table and knows no
 * operation by name.
 *
 * A new operation is one message in the .proto, one row in ops_table.c, one handler, one conformance case.
 */
#ifndef VECTORD_OPS_OPS_H
#define VECTORD_OPS_OPS_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "registry/registry.h"
#include "vectord/status.h"

/* What handlers work on. */
typedef struct ops_context {
    registry *registry;
    const char *version;
    int64_t started_ms;
} ops_context;

/* One call: everything a handler allocates for its reply comes from the arena. */
typedef struct op_call {
    arena *arena;
    bytes request_id;    /* data NULL: none */
    int64_t deadline_ms; /* monotonic; 0: none */
} op_call;

enum {
    OP_MUTATES = 1u << 0,   /* changes state: needs the Origin check, honours request ids */
    OP_BLOCKS = 1u << 1,    /* always waits for something (a disk): never run it in an event loop */
    OP_IDEMPOTENT = 1u << 2 /* may be sent twice without a request id */
};

typedef struct op_row {
    const char *name;        /* "Search" */
    const char *method;      /* "/vectord.v1.VectorService/Search" */
    const char *http_method; /* "POST" */
    /* Path under both "/vectors" and "/v1/vectors" (or, with a leading "=", absolute: "=/health"). At most one "{field}"
     * segment: its percent-decoded text is put into that request field and overrides the body's. */
    const char *http_path;
    uint16_t http_status; /* on success; 204 sends no body */
    uint32_t flags;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
    /* Runs the operation. *reply is allocated in call->arena. */
    vd_status (*handler)(const ops_context *ctx, op_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage **reply, vd_error *err);
    /* NULL, or: would this request take long (see OP_BLOCKS)? */
    bool (*is_long)(const ops_context *ctx, const ProtobufCMessage *request);
    /* NULL, or: called with the path's field before the body is decoded, so that 404 wins over 400. */
    vd_status (*precheck)(const ops_context *ctx, bytes path_field, vd_error *err);
} op_row;

/* The table; *count rows, order stable. */
const op_row *ops_table(size_t *count);
/* By full method name; NULL when there is none. */
const op_row *ops_find(const char *method, size_t method_size);
/* True when the call must not run in an event loop. */
bool ops_blocks(const ops_context *ctx, const op_row *op, const ProtobufCMessage *request);
/* Validates nothing itself; calls the handler, fills err->text when a handler left it empty. */
vd_status ops_dispatch(const ops_context *ctx, const op_row *op, op_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage **reply, vd_error *err);

#endif
