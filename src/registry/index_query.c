/*
 * index_query.c - a search: checked, run inside a reader's pass, and everything found copied into the request's arena before
 * the pass is given back. Takes no lock; never waits.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "registry/registry_int.h"

/* Above these a search may take longer than about a millisecond (one core, 768 dimensions) and belongs on a worker. */
#define LONG_SCAN_FLOATS 2000000u
#define LONG_EF          500u
#define LONG_EF_FLOATS   400000u
#define ADAPTIVE_EF      100u /* what a search that stops by distance expands on average, at most */

static double score_of(vd_metric by, double distance) {
    double score = by == VD_METRIC_COSINE ? 1 - distance / 2 : 1 / (1 + distance);
    return score < 0 ? 0 : score > 1 ? 1 : score;
}

static uint32_t effective_k(const index_search *search) {
    return search->k == 0 ? VD_K_DEFAULT : search->k > VD_K_MAX ? VD_K_MAX : search->k;
}

static vd_status check(const vd_index *index, const index_search *search, vd_error *err) {
    if (search->ef > VD_EF_SEARCH_MAX) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "ef", "ef: must be %d..%d (got %u)", VD_EF_SEARCH_MIN,
                       VD_EF_SEARCH_MAX, search->ef);
    }
    if (search->id.data) {
        if (search->vector_count) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "id", "give either a vector or an id, not both");
        }
        if (search->id.size < VD_ID_MIN_BYTES || search->id.size > VD_ID_MAX_BYTES) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "id", "id: must be %d..%d bytes (got %zu)", VD_ID_MIN_BYTES,
                           VD_ID_MAX_BYTES, search->id.size);
        }
        return VD_OK;
    }
    if (search->vector_count != index->params.dimension) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "vector", "dim mismatch (index=%u, got=%zu)", index->params.dimension,
                       search->vector_count);
    }
    vd_status status = vd_hnsw_validate(index->engine, search->vector, err);
    if (status == VD_INVALID_ARGUMENT && err) {
        memcpy(err->field, "vector", sizeof "vector");
    }
    return status;
}

/* One block for all ids and metadata: two passes over the hits, one allocation. */
static vd_status copy_hits(const vd_index *index, const vd_hit *found, size_t count, arena *a, index_hit *hits,
                           vd_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += found[i].id.size + index_payload_bytes(found[i].payload).size;
    }
    uint8_t *text = arena_alloc(a, total);
    if (!text) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for %zu results of %zu bytes", count, total);
    }
    for (size_t i = 0; i < count; i++) {
        bytes metadata = index_payload_bytes(found[i].payload);
        memcpy(text, found[i].id.data, found[i].id.size);
        hits[i].id = bytes_of(text, found[i].id.size);
        text += found[i].id.size;
        hits[i].metadata = (bytes){NULL, 0};
        if (metadata.data) {
            memcpy(text, metadata.data, metadata.size);
            hits[i].metadata = bytes_of(text, metadata.size);
            text += metadata.size;
        }
        hits[i].distance = found[i].distance;
        hits[i].score = score_of(index->params.metric, found[i].distance);
    }
    return VD_OK;
}

/* Takes the item itself out of its neighbours; where ties have pushed it out of the k + 1, the last goes. */
static size_t drop_self(vd_hit *found, size_t count, bytes id, size_t k) {
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(bytes_of(found[i].id.data, found[i].id.size), id)) {
            memmove(&found[i], &found[i + 1], (count - i - 1) * sizeof *found);
            return count - 1;
        }
    }
    return count < k ? count : k;
}

vd_status index_query(vd_index *index, const index_search *search, arena *a, index_hit **hits, size_t *count,
                      vd_search_info *info, vd_error *err) {
    vd_status status = index_check_ready(index, err);
    if (status == VD_OK) {
        status = check(index, search, err);
    }
    if (status != VD_OK) {
        return status;
    }
    uint32_t k = effective_k(search);
    bool by_id = search->id.data != NULL;
    const float *query = search->vector;
    float *stored = NULL;
    vd_hit *found = arena_calloc(a, (size_t)k + 1, sizeof *found);
    index_hit *out = arena_calloc(a, k, sizeof *out);
    if (by_id) {
        query = stored = arena_alloc(a, index->params.dimension * sizeof *stored);
    }
    if (!found || !out || (by_id && !stored)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a search of k=%u", k);
    }
    vd_hnsw_guard guard;
    vd_hnsw_enter(index->engine, &guard);
    if (by_id) {
        vd_id id = {(const char *)search->id.data, (uint32_t)search->id.size};
        if (vd_hnsw_get(index->engine, id, stored, NULL) != VD_OK) {
            status = vd_fail(err, VD_NOT_FOUND, "id", "id: no such item");
        }
    }
    size_t n = 0;
    if (status == VD_OK) {
        vd_hnsw_search_options options = {.k = by_id ? k + 1 : k, .ef = search->ef, .exact = search->exact};
        status = vd_hnsw_search(index->engine, query, &options, found, &n, info, err);
    }
    if (status == VD_OK && by_id) {
        n = drop_self(found, n, search->id, k);
    }
    if (status == VD_OK) {
        status = copy_hits(index, found, n, a, out, err);
    }
    vd_hnsw_leave(index->engine, &guard);
    if (status == VD_OK) {
        *hits = out;
        *count = n;
    }
    return status;
}

bool index_query_is_long(vd_index *index, const index_search *search) {
    if (index_check_ready(index, NULL) != VD_OK) {
        return false;
    }
    uint64_t dimension = index->params.dimension;
    if (search->exact) {
        return vd_hnsw_count(index->engine) * dimension > LONG_SCAN_FLOATS;
    }
    uint32_t k = effective_k(search);
    uint32_t ef = search->ef ? search->ef : ADAPTIVE_EF;
    ef = ef > k ? ef : k;
    return ef > LONG_EF || ef * dimension > LONG_EF_FLOATS;
}
