/* op_add.c - AddItems: a batch into one index, all or nothing. */
#include "ops/ops_int.h"

static index_item item_of(const Vectord__V1__Item *in) {
    index_item item = {.id = op_bytes(in->id), .vector = in->vector, .vector_count = in->n_vector};
    if (in->_metadata_case == VECTORD__V1__ITEM___METADATA_METADATA) {
        item.metadata = op_bytes(in->metadata);
    }
    return item;
}

static vd_status how_of(const Vectord__V1__AddItemsRequest *in, bytes request_id, index_write *out, vd_error *err) {
    *out = (index_write){.request_id = request_id};
    vd_status status = VD_OK;
    if (in->_durability_case == VECTORD__V1__ADD_ITEMS_REQUEST___DURABILITY_DURABILITY) {
        status = op_durability("durability", op_bytes(in->durability), &out->durability, err);
    }
    if (status == VD_OK && in->_min_durability_case == VECTORD__V1__ADD_ITEMS_REQUEST___MIN_DURABILITY_MIN_DURABILITY) {
        status = op_durability("min_durability", op_bytes(in->min_durability), &out->min_durability, err);
    }
    return status;
}

OP_HANDLER(op_add) {
    const Vectord__V1__AddItemsRequest *in = (const void *)request;
    vd_index *index;
    vd_status status = op_acquire_ready(ctx, in->name, &index, err);
    if (status != VD_OK) {
        return status;
    }
    index_write how;
    status = how_of(in, call->request_id, &how, err);
    if (status != VD_OK) {
        index_release(index);
        return status;
    }
    /* the reply first: what was written must not be answered with "no memory" */
    Vectord__V1__AddItemsResponse *out = arena_alloc(call->arena, sizeof *out);
    Vectord__V1__Receipt *receipt = op_receipt(call->arena, &(index_receipt){0});
    index_item *items = arena_calloc(call->arena, in->n_items, sizeof *items);
    if (!out || !receipt || !items) {
        index_release(index);
        return op_no_memory(err);
    }
    for (size_t i = 0; i < in->n_items; i++) {
        items[i] = item_of(in->items[i]);
    }
    index_write_result result;
    status = index_add(index, items, in->n_items, &how, &result, err);
    index_release(index);
    if (status == VD_OK) {
        vectord__v1__add_items_response__init(out);
        out->added = op_count32(result.affected);
        out->length = op_count32(result.length);
        if (how.durability || how.min_durability || result.fell_short) {
            out->_durability_case = VECTORD__V1__ADD_ITEMS_RESPONSE___DURABILITY_DURABILITY;
            out->durability = op_text(index_durability_name(result.receipt.durability));
            op_set_receipt(receipt, &result.receipt);
            out->_receipt_case = VECTORD__V1__ADD_ITEMS_RESPONSE___RECEIPT_RECEIPT;
            out->receipt = receipt;
        }
        *reply = &out->base;
    }
    return status;
}
