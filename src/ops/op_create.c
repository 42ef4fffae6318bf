/* op_create.c - CreateIndex: defaults filled in, the distance's name understood; the ranges are the registry's to check. */
#include "ops/ops_int.h"

static vd_status distance_of(bytes name, vd_metric *out, vd_error *err) {
    if (name.size == 0 || bytes_equal(name, bytes_str("cosine"))) {
        *out = VD_METRIC_COSINE;
        return VD_OK;
    }
    if (bytes_equal(name, bytes_str("euclidean"))) {
        *out = VD_METRIC_EUCLIDEAN;
        return VD_OK;
    }
    int shown = name.size > 40 ? 40 : (int)name.size;
    return vd_fail(err, VD_INVALID_ARGUMENT, "distance", "distance: must be \"cosine\" or \"euclidean\" (got \"%.*s\")",
                   shown, (const char *)name.data);
}

static uint32_t or_default(uint32_t value, uint32_t fallback) {
    return value ? value : fallback;
}

OP_HANDLER(op_create) {
    const Vectord__V1__CreateIndexRequest *in = (const void *)request;
    bool has_m = in->_m_case == VECTORD__V1__CREATE_INDEX_REQUEST___M_M;
    bool has_ef_search = in->_ef_search_case == VECTORD__V1__CREATE_INDEX_REQUEST___EF_SEARCH_EF_SEARCH;
    bool has_distance = in->_distance_case == VECTORD__V1__CREATE_INDEX_REQUEST___DISTANCE_DISTANCE;
    bool has_ef_construction =
        in->_ef_construction_case == VECTORD__V1__CREATE_INDEX_REQUEST___EF_CONSTRUCTION_EF_CONSTRUCTION;
    index_params params = {
        .name = op_bytes(in->name),
        .dimension = in->dimension,
        .m = or_default(has_m ? in->m : 0, VD_M_DEFAULT),
        .ef_search = or_default(has_ef_search ? in->ef_search : 0, VD_EF_SEARCH_DEFAULT),
        .ef_construction = or_default(has_ef_construction ? in->ef_construction : 0, VD_EF_CONSTRUCTION_DEFAULT),
    };
    vd_status status = distance_of(has_distance ? op_bytes(in->distance) : bytes_str(""), &params.metric, err);
    if (status != VD_OK) {
        return status;
    }
    /* the reply first: an index that was made must not be answered with "no memory" */
    Vectord__V1__CreateIndexResponse *out = arena_alloc(call->arena, sizeof *out);
    Vectord__V1__IndexParams *shown = op_params(call->arena, &params);
    if (!out || !shown) {
        return op_no_memory(err);
    }
    vectord__v1__create_index_response__init(out);
    out->params = shown;
    *reply = &out->base;
    return registry_create(ctx->registry, &params, call->request_id, NULL, err);
}
