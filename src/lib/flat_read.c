/*
 * flat_read.c - the flat facade's reads by id: vectors and metadata.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/flat_int.h"

static vd_status missing(const flat_ids *ids, uint64_t i, vd_id id, vd_error *err) {
    char place[32] = "id";
    if (ids->count > 1) {
        snprintf(place, sizeof place, "ids[%llu]", (unsigned long long)i);
    }
    return ids->ends
               ? vd_fail(err, VD_NOT_FOUND, "ids", "%s: there is no item \"%.*s\"", place,
                         (int)(id.size < 200 ? id.size : 200), id.data ? id.data : "")
               : vd_fail(err, VD_NOT_FOUND, "ids", "%s: there is no item %lld", place, (long long)ids->numbers[i]);
}

static vd_status get(const vd_flat *index, const flat_ids *ids, float *vectors, uint8_t *found, char *error) {
    vd_error err = {.text = ""};
    vd_hnsw_guard guard;
    vd_status status = flat_ends_check(ids, &err);
    vd_hnsw_enter(index->engine, &guard);
    for (uint64_t i = 0; status == VD_OK && i < ids->count; i++) {
        char digits[FLAT_DIGITS_MAX];
        vd_id id = flat_id(ids, i, digits);
        float *vector = vectors ? vectors + (size_t)i * index->dimension : NULL;
        bool there = id.size && vd_hnsw_get(index->engine, id, vector, NULL) == VD_OK;
        if (found) {
            found[i] = there;
        } else if (!there) {
            status = missing(ids, i, id, &err);
        }
        for (uint32_t j = 0; !there && vector && j < index->dimension; j++) {
            vector[j] = NAN;
        }
    }
    vd_hnsw_leave(index->engine, &guard);
    return flat_finish(status, &err, error);
}

vd_status vd_flat_get(const vd_flat *index, const int64_t *numbers, uint64_t count, float *vectors, uint8_t *found,
                      char *error) {
    flat_ids ids = {.numbers = numbers, .count = numbers ? count : 0};
    return get(index, &ids, vectors, found, error);
}

vd_status vd_flat_get_text(const vd_flat *index, const char *text, const uint64_t *ends, uint64_t count, float *vectors,
                           uint8_t *found, char *error) {
    flat_ids ids = {.text = text, .ends = ends, .count = ends ? count : 0};
    return get(index, &ids, vectors, found, error);
}

vd_status vd_flat_metadata(const vd_flat *index, const char *id, uint64_t size, char **block, char *error) {
    vd_error err = {.text = ""};
    flat_ids ids = {.text = id, .ends = &size, .count = 1};
    vd_id wanted = flat_id(&ids, 0, NULL);
    vd_status status = VD_OK;
    void *payload = NULL;
    char *copy = NULL;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index->engine, &guard);
    if (!wanted.size || vd_hnsw_get(index->engine, wanted, NULL, &payload) != VD_OK) {
        status = missing(&ids, 0, wanted, &err);
    } else if (payload && !(copy = strdup(payload))) {
        status = vd_fail(&err, VD_OUT_OF_MEMORY, NULL, "no memory for the metadata");
    }
    vd_hnsw_leave(index->engine, &guard);
    if (status == VD_OK) {
        *block = copy;
    }
    return flat_finish(status, &err, error);
}
