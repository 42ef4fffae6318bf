/* op_list.c - ListIndexes: the names of all indexes in every state, sorted by bytes. */
#include "ops/ops_int.h"

OP_HANDLER(op_list) {
    (void)request;
    bytes *names;
    size_t count;
    vd_status status = registry_list(ctx->registry, call->arena, &names, &count, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__ListIndexesResponse *out = arena_alloc(call->arena, sizeof *out);
    ProtobufCBinaryData *list = arena_calloc(call->arena, count, sizeof *list);
    if (!out || !list) {
        return op_no_memory(err);
    }
    vectord__v1__list_indexes_response__init(out);
    for (size_t i = 0; i < count; i++) {
        list[i] = op_string(names[i]);
    }
    out->n_names = count;
    out->names = list;
    out->count = op_count32(count);
    *reply = &out->base;
    return VD_OK;
}
