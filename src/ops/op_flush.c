/* op_flush.c - Flush: returns when what was answered before is as durable as it can be. */
#include "ops/ops_int.h"

static vd_status flush_one(const ops_context *ctx, ProtobufCBinaryData name, uint32_t *flushed, vd_error *err) {
    vd_index *index;
    vd_status status = op_acquire_ready(ctx, name, &index, err);
    if (status == VD_OK) {
        status = index_flush(index, err);
        index_release(index);
    }
    *flushed = 1;
    return status;
}

OP_HANDLER(op_flush) {
    const Vectord__V1__FlushRequest *in = (const void *)request;
    Vectord__V1__FlushResponse *out = arena_alloc(call->arena, sizeof *out);
    if (!out) {
        return op_no_memory(err);
    }
    vectord__v1__flush_response__init(out);
    vd_status status =
        in->name.len ? flush_one(ctx, in->name, &out->indexes, err) : registry_flush(ctx->registry, &out->indexes, err);
    registry_summary summary;
    registry_get_summary(ctx->registry, &summary);
    out->durability = op_text(index_durability_name(summary.strongest));
    *reply = &out->base;
    return status;
}
