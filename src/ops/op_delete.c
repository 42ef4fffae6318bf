/* op_delete.c - DeleteIndex: an index and its files are gone when it answers. */
#include "ops/ops_int.h"

OP_HANDLER(op_delete) {
    const Vectord__V1__DeleteIndexRequest *in = (const void *)request;
    Vectord__V1__DeleteIndexResponse *out = arena_alloc(call->arena, sizeof *out);
    if (!out) {
        return op_no_memory(err);
    }
    vectord__v1__delete_index_response__init(out);
    *reply = &out->base;
    return registry_delete(ctx->registry, op_bytes(in->name), call->request_id, err);
}
