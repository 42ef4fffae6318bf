/* ops_int.h - what the handlers share; nobody outside this folder includes it. */
#ifndef VECTORD_OPS_OPS_INT_H
#define VECTORD_OPS_OPS_INT_H

#include "ops/ops.h"
#include "vectord/v1/vectord.pb-c.h"

/* Strings of the messages carry their length (string_as_bytes). */
static inline bytes op_bytes(ProtobufCBinaryData b) {
    return bytes_of(b.data ? b.data : (const uint8_t *)"", b.len);
}
/* The other way; what it points to must live as long as the reply. */
static inline ProtobufCBinaryData op_string(bytes b) {
    ProtobufCBinaryData out = {.len = b.size, .data = (uint8_t *)(uintptr_t)b.data};
    return out;
}
static inline ProtobufCBinaryData op_text(const char *text) {
    return op_string(bytes_str(text));
}
/* OUT_OF_MEMORY for a reply that does not fit the arena. */
vd_status op_no_memory(vd_error *err);
/* The index of a request's name, READY; release it. NOT_FOUND, UNAVAILABLE, DATA_LOSS. */
vd_status op_acquire_ready(const ops_context *ctx, ProtobufCBinaryData name, vd_index **out, vd_error *err);
/* NOT_FOUND before the body is decoded. */
vd_status op_precheck_exists(const ops_context *ctx, bytes path_field, vd_error *err);
/* IndexParams in the arena; NULL when there is no memory. The name is copied. */
Vectord__V1__IndexParams *op_params(arena *a, const index_params *params);
uint32_t op_count32(uint64_t count); /* saturates */
/* "memory", "local", "store"; empty is DEFAULT. INVALID_ARGUMENT names the field. */
vd_status op_durability(const char *field, bytes name, index_durability *out, vd_error *err);
/* The message in the arena; NULL when there is no memory. */
Vectord__V1__Receipt *op_receipt(arena *a, const index_receipt *receipt);
/* Fills one that op_receipt has made. */
void op_set_receipt(Vectord__V1__Receipt *out, const index_receipt *receipt);
/* What a request's `at_least` asks for: OK when it is NULL, or the index has it. INVALID_ARGUMENT, FAILED_PRECONDITION, UNAVAILABLE. */
vd_status op_at_least(vd_index *index, const Vectord__V1__Receipt *receipt, vd_error *err);

#define OP_HANDLER(name)                                                                                               \
    vd_status name(const ops_context *ctx, op_call *call, const ProtobufCMessage *request, ProtobufCMessage **reply,   \
                   vd_error *err)
OP_HANDLER(op_create);
OP_HANDLER(op_list);
OP_HANDLER(op_get);
OP_HANDLER(op_delete);
OP_HANDLER(op_add);
OP_HANDLER(op_search);
OP_HANDLER(op_flush);
OP_HANDLER(op_health);
bool op_search_is_long(const ops_context *ctx, const ProtobufCMessage *request);

#endif
