/* op_get.c - GetIndex: parameters, size and health of one index, in every state. */
#include "ops/ops_int.h"

static const char *state_text(index_state state) {
    switch (state) {
    case INDEX_READY:
        return "ready";
    case INDEX_LOADING:
        return "loading";
    default:
        return "quarantined";
    }
}

static vd_status fill(arena *a, const index_info *info, ProtobufCMessage **reply, vd_error *err) {
    Vectord__V1__GetIndexResponse *out = arena_alloc(a, sizeof *out);
    Vectord__V1__IndexParams *params = op_params(a, &info->params);
    const char *reason = arena_strndup(a, info->reason, strlen(info->reason));
    index_receipt receipt = {.sequence = info->sequence};
    memcpy(receipt.epoch, info->epoch, sizeof receipt.epoch);
    Vectord__V1__Receipt *shown = op_receipt(a, &receipt);
    if (!out || !params || !reason || !shown) {
        return op_no_memory(err);
    }
    vectord__v1__get_index_response__init(out);
    out->params = params;
    out->length = op_count32(info->length);
    out->state = op_text(state_text(info->state));
    out->reason = op_text(reason);
    out->load_progress = info->load_progress;
    out->ef_effective = info->stats.ef_effective;
    out->calibrated_at = op_count32(info->stats.calibrated_at);
    out->calibrated_recall = info->stats.calibrated_recall;
    out->encoding = op_text(info->state != INDEX_READY ? "" : vd_encoding_name(info->stats.encoding));
    out->optimized = op_count32(info->stats.optimized);
    out->memory_bytes = info->stats.memory_bytes;
    out->journal_bytes = info->journal_bytes;
    out->sequence = info->sequence;
    out->receipt = shown;
    out->durability = op_text(index_durability_name(info->strongest));
    out->durable_sequence = info->durable_sequence;
    out->backlog_bytes = info->backlog_bytes;
    *reply = &out->base;
    return VD_OK;
}

OP_HANDLER(op_get) {
    const Vectord__V1__GetIndexRequest *in = (const void *)request;
    vd_index *index;
    vd_status status = registry_acquire(ctx->registry, op_bytes(in->name), &index, err);
    if (status != VD_OK) {
        return status;
    }
    status = op_at_least(index, in->at_least, err);
    if (status == VD_OK) {
        index_info info;
        index_get_info(index, &info);
        status = fill(call->arena, &info, reply, err);
    }
    index_release(index);
    return status;
}
