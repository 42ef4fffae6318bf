/* op_search.c - Search: the k nearest items to a vector, or to a stored item. */
#include "ops/ops_int.h"

static index_search search_of(const Vectord__V1__SearchRequest *in) {
    index_search search = {.vector = in->vector, .vector_count = in->n_vector, .k = VD_K_DEFAULT};
    if (in->_k_case == VECTORD__V1__SEARCH_REQUEST___K_K && in->k > 0) {
        search.k = in->k > VD_K_MAX ? VD_K_MAX : (uint32_t)in->k;
    }
    if (in->_ef_case == VECTORD__V1__SEARCH_REQUEST___EF_EF) {
        search.ef = in->ef;
    }
    search.exact = in->_exact_case == VECTORD__V1__SEARCH_REQUEST___EXACT_EXACT && in->exact;
    if (in->_id_case == VECTORD__V1__SEARCH_REQUEST___ID_ID) {
        search.id = op_bytes(in->id);
    }
    return search;
}

static vd_status fill(arena *a, const index_hit *hits, size_t count, ProtobufCMessage **reply, vd_error *err) {
    Vectord__V1__SearchResponse *out = arena_alloc(a, sizeof *out);
    Vectord__V1__Hit *list = arena_calloc(a, count, sizeof *list);
    Vectord__V1__Hit **results = arena_calloc(a, count, sizeof(Vectord__V1__Hit *));
    if (!out || !list || !results) {
        return op_no_memory(err);
    }
    vectord__v1__search_response__init(out);
    for (size_t i = 0; i < count; i++) {
        vectord__v1__hit__init(&list[i]);
        list[i].id = op_string(hits[i].id);
        list[i].distance = hits[i].distance;
        list[i].score = hits[i].score;
        if (hits[i].metadata.data) {
            list[i]._metadata_case = VECTORD__V1__HIT___METADATA_METADATA;
            list[i].metadata = op_string(hits[i].metadata);
        }
        results[i] = &list[i];
    }
    out->n_results = count;
    out->results = results;
    *reply = &out->base;
    return VD_OK;
}

OP_HANDLER(op_search) {
    const Vectord__V1__SearchRequest *in = (const void *)request;
    vd_index *index;
    vd_status status = op_acquire_ready(ctx, in->name, &index, err);
    if (status != VD_OK) {
        return status;
    }
    index_search search = search_of(in);
    index_hit *hits;
    size_t count;
    status = op_at_least(index, in->at_least, err);
    if (status == VD_OK) {
        status = index_query(index, &search, call->arena, &hits, &count, NULL, err);
    }
    index_release(index);
    return status == VD_OK ? fill(call->arena, hits, count, reply, err) : status;
}

bool op_search_is_long(const ops_context *ctx, const ProtobufCMessage *request) {
    const Vectord__V1__SearchRequest *in = (const void *)request;
    vd_index *index;
    if (registry_acquire(ctx->registry, op_bytes(in->name), &index, NULL) != VD_OK) {
        return false;
    }
    index_search search = search_of(in);
    bool is_long = index_query_is_long(index, &search);
    index_release(index);
    return is_long;
}
