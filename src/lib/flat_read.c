/*
 * flat_read.c - the flat facade's reads by id, vectors and metadata, and the ids themselves.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
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

/* ---- all ids ---- */

static vd_status no_memory(uint64_t count, vd_error *err) {
    return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a list of %llu ids", (unsigned long long)count);
}

static vd_id id_at(vd_hnsw_snapshot *snapshot, uint64_t position) {
    vd_hnsw_node node;
    vd_hnsw_snapshot_node(snapshot, position, &node);
    return node.id;
}

static vd_status list_numbers(vd_hnsw_snapshot *snapshot, uint64_t count, int64_t **out, vd_error *err) {
    int64_t *numbers = mem_alloc_array(alloc_default(), (size_t)count, sizeof *numbers);
    if (!numbers) {
        return no_memory(count, err);
    }
    for (uint64_t i = 0; i < count; i++) {
        vd_id id = id_at(snapshot, i);
        if (!flat_number(id, &numbers[i])) {
            free(numbers);
            return vd_fail(err, VD_FAILED_PRECONDITION, NULL, "the id \"%.*s\" is not a number: list texts",
                           (int)(id.size < 100 ? id.size : 100), id.data);
        }
    }
    *out = numbers;
    return VD_OK;
}

static vd_status list_texts(vd_hnsw_snapshot *snapshot, uint64_t count, char **block, uint64_t **out, vd_error *err) {
    uint64_t *ends = mem_alloc_array(alloc_default(), (size_t)count, sizeof *ends);
    char *data = NULL;
    size_t size = 0, capacity = 0;
    for (uint64_t i = 0; ends && i < count; i++) {
        vd_id id = id_at(snapshot, i);
        if (capacity - size < (size_t)id.size + 1) {
            capacity = capacity + capacity / 2 + VD_ID_MAX_BYTES + 1; /* of all ids together less than memory holds */
            char *grown = realloc(data, capacity);
            if (!grown) {
                break;
            }
            data = grown;
        }
        memcpy(data + size, id.data, id.size);
        size += id.size;
        data[size++] = '\0';
        ends[i] = size;
        if (i == count - 1) {
            *block = data; /* the caller owns both from here */
            *out = ends;
            return VD_OK;
        }
    }
    free(data);
    free(ends);
    return no_memory(count, err);
}

vd_status vd_flat_list(vd_flat *index, int64_t **numbers, uint64_t *count, char *error) {
    vd_error err = {.text = ""};
    vd_hnsw_snapshot *snapshot;
    int64_t *list = NULL;
    vd_status status = vd_hnsw_snapshot_begin(index->engine, &snapshot, &err);
    if (status != VD_OK) {
        return flat_finish(status, &err, error);
    }
    uint64_t items = vd_hnsw_snapshot_count(snapshot);
    status = items ? list_numbers(snapshot, items, &list, &err) : VD_OK;
    vd_hnsw_snapshot_end(snapshot);
    if (status == VD_OK) {
        *numbers = list;
        *count = items;
    }
    return flat_finish(status, &err, error);
}

vd_status vd_flat_list_text(vd_flat *index, char **block, uint64_t **ends, uint64_t *count, char *error) {
    vd_error err = {.text = ""};
    vd_hnsw_snapshot *snapshot;
    char *data = NULL;
    uint64_t *places = NULL;
    vd_status status = vd_hnsw_snapshot_begin(index->engine, &snapshot, &err);
    if (status != VD_OK) {
        return flat_finish(status, &err, error);
    }
    uint64_t items = vd_hnsw_snapshot_count(snapshot);
    status = items ? list_texts(snapshot, items, &data, &places, &err) : VD_OK;
    vd_hnsw_snapshot_end(snapshot);
    if (status == VD_OK) {
        *block = data;
        *ends = places;
        *count = items;
    }
    return flat_finish(status, &err, error);
}

/* ---- metadata ---- */

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
