/*
 * ops_dispatch.c - running a row of the table, and the few things that handlers have in common.
 */
#include "base/clock.h"
#include "ops/ops_int.h"

bool ops_blocks(const ops_context *ctx, const op_row *op, const ProtobufCMessage *request) {
    return (op->flags & OP_BLOCKS) != 0 || (op->is_long && op->is_long(ctx, request));
}

vd_status ops_dispatch(const ops_context *ctx, const op_row *op, op_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage **reply, vd_error *err) {
    vd_error local;
    if (!err) {
        err = &local;
    }
    *err = (vd_error){.status = VD_OK};
    if (call->deadline_ms && clock_now_ms() >= call->deadline_ms) {
        return vd_fail(err, VD_DEADLINE_EXCEEDED, NULL, "the deadline passed before the call began");
    }
    vd_status status = op->handler(ctx, call, request, reply, err);
    if (status != VD_OK) {
        err->status = status;
        if (err->text[0] == '\0') {
            vd_fail(err, status, NULL, "%s", vd_status_text(status));
        }
    }
    return status;
}

vd_status op_no_memory(vd_error *err) {
    return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "the reply does not fit the memory of a request");
}

vd_status op_acquire_ready(const ops_context *ctx, ProtobufCBinaryData name, vd_index **out, vd_error *err) {
    vd_index *index;
    vd_status status = registry_acquire(ctx->registry, op_bytes(name), &index, err);
    if (status != VD_OK) {
        return status;
    }
    status = index_check_ready(index, err);
    if (status != VD_OK) {
        index_release(index);
        return status;
    }
    *out = index;
    return VD_OK;
}

vd_status op_precheck_exists(const ops_context *ctx, bytes path_field, vd_error *err) {
    vd_index *index;
    vd_status status = registry_acquire(ctx->registry, path_field, &index, err);
    if (status == VD_OK) {
        index_release(index);
    }
    return status;
}

Vectord__V1__IndexParams *op_params(arena *a, const index_params *params) {
    Vectord__V1__IndexParams *out = arena_alloc(a, sizeof *out);
    const char *name = arena_strndup(a, params->name.data, params->name.size);
    if (!out || !name) {
        return NULL;
    }
    vectord__v1__index_params__init(out);
    out->name = op_string(bytes_of(name, params->name.size));
    out->dimension = params->dimension;
    out->m = params->m;
    out->ef_search = params->ef_search;
    out->ef_construction = params->ef_construction;
    /* a quarantined index whose frame could not be read has no distance to show */
    out->distance = op_text(params->metric == VD_METRIC_COSINE      ? "cosine"
                            : params->metric == VD_METRIC_EUCLIDEAN ? "euclidean"
                                                                    : "");
    return out;
}

uint32_t op_count32(uint64_t count) {
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}
