/* op_add.c - AddItems: a batch into one index, all or nothing. */
#include "ops/ops_int.h"

static index_item item_of(const Vectord__V1__Item *in) {
    index_item item = {.id = op_bytes(in->id), .vector = in->vector, .vector_count = in->n_vector};
    if (in->_metadata_case == VECTORD__V1__ITEM___METADATA_METADATA) {
        item.metadata = op_bytes(in->metadata);
    }
    return item;
}

OP_HANDLER(op_add) {
    const Vectord__V1__AddItemsRequest *in = (const void *)request;
    vd_index *index;
    vd_status status = op_acquire_ready(ctx, in->name, &index, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__AddItemsResponse *out = arena_alloc(call->arena, sizeof *out);
    index_item *items = arena_calloc(call->arena, in->n_items, sizeof *items);
    if (!out || !items) {
        index_release(index);
        return op_no_memory(err);
    }
    for (size_t i = 0; i < in->n_items; i++) {
        items[i] = item_of(in->items[i]);
    }
    index_add_result result;
    status = index_add(index, items, in->n_items, call->request_id, &result, err);
    index_release(index);
    if (status == VD_OK) {
        vectord__v1__add_items_response__init(out);
        out->added = op_count32(result.added);
        out->length = op_count32(result.length);
        *reply = &out->base;
    }
    return status;
}
