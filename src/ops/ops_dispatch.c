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

vd_status op_durability(const char *field, bytes name, index_durability *out, vd_error *err) {
    for (int level = DURABILITY_DEFAULT; level <= DURABILITY_STORE; level++) {
        if (bytes_equal(name, bytes_str(index_durability_name((index_durability)level)))) {
            *out = (index_durability)level;
            return VD_OK;
        }
    }
    int shown = name.size > 40 ? 40 : (int)name.size;
    return vd_fail(err, VD_INVALID_ARGUMENT, field, "%s: must be \"memory\", \"local\" or \"store\" (got \"%.*s\")",
                   field, shown, (const char *)name.data);
}

Vectord__V1__Receipt *op_receipt(arena *a, const index_receipt *receipt) {
    Vectord__V1__Receipt *out = arena_alloc(a, sizeof *out);
    char *hex = arena_alloc(a, 2 * sizeof receipt->epoch + 1);
    if (!out || !hex) {
        return NULL;
    }
    vectord__v1__receipt__init(out);
    hex[2 * sizeof receipt->epoch] = '\0';
    out->epoch = op_string(bytes_of(hex, 2 * sizeof receipt->epoch));
    op_set_receipt(out, receipt);
    return out;
}

void op_set_receipt(Vectord__V1__Receipt *out, const index_receipt *receipt) {
    hex_encode(receipt->epoch, sizeof receipt->epoch, (char *)out->epoch.data);
    out->sequence = receipt->sequence;
}

vd_status op_at_least(vd_index *index, const Vectord__V1__Receipt *receipt, vd_error *err) {
    if (!receipt) {
        return VD_OK;
    }
    index_receipt wanted = {.sequence = receipt->sequence};
    if (!hex_decode((const char *)receipt->epoch.data, receipt->epoch.len, wanted.epoch, sizeof wanted.epoch)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "at_least.epoch", "at_least.epoch: must be 32 hexadecimal digits");
    }
    return index_check_at_least(index, &wanted, err);
}

uint32_t op_count32(uint64_t count) {
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}
