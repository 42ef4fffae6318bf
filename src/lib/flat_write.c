/*
 * flat_write.c - the flat facade's writes: add, delete, optimize, calibrate.
 *
 * Relies on the engine for all or nothing; what is made here first (ids, metadata) is made whole before it is called.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "lib/flat_int.h"

/* ---- add ---- */

/* Room for the digits of all numbers; NULL when there are none to write, or no memory. */
static char *digits_for(const flat_ids *ids, bool *failed) {
    size_t size = 0;
    char digits[FLAT_DIGITS_MAX];
    for (uint64_t i = 0; !ids->ends && i < ids->count; i++) {
        size += flat_id(ids, i, digits).size;
    }
    char *block = size ? malloc(size) : NULL;
    *failed = size && !block;
    return block;
}

/* The id of row i at a place that stays: texts are where the caller has them, digits go to *room, which moves on. */
static vd_id keep_id(const flat_ids *ids, uint64_t i, char **room) {
    char digits[FLAT_DIGITS_MAX];
    vd_id id = flat_id(ids, i, digits);
    if (!ids->ends && id.size) {
        memcpy(*room, id.data, id.size);
        id.data = *room;
        *room += id.size;
    }
    return id;
}

/* Adding an item sets its payload too, so what is stored is handed in again. False: no memory. */
static bool carry_metadata(const vd_flat *index, vd_hnsw_item *items, uint64_t count) {
    bool done = true;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index->engine, &guard);
    for (uint64_t i = 0; done && i < count; i++) {
        void *payload = NULL;
        if (vd_hnsw_get(index->engine, items[i].id, NULL, &payload) == VD_OK && payload) {
            items[i].payload = strdup(payload);
            done = items[i].payload != NULL;
        }
    }
    vd_hnsw_leave(index->engine, &guard);
    return done;
}

static void raise_next(vd_flat *index, const flat_ids *ids) {
    char digits[FLAT_DIGITS_MAX];
    for (uint64_t i = 0; i < ids->count; i++) {
        int64_t number;
        if (flat_number(flat_id(ids, i, digits), &number) && (uint64_t)number >= index->next) {
            index->next = (uint64_t)number + 1;
        }
    }
}

static vd_status add_locked(vd_flat *index, const float *vectors, const flat_ids *ids, uint32_t threads,
                            vd_error *err) {
    bool failed;
    char *digits = digits_for(ids, &failed);
    vd_hnsw_item *items = mem_alloc_array(alloc_default(), (size_t)ids->count, sizeof *items);
    vd_status status = VD_OK;
    if (failed || !items) {
        status =
            vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a list of %llu items", (unsigned long long)ids->count);
        goto done;
    }
    char *room = digits;
    for (uint64_t i = 0; i < ids->count; i++) {
        items[i] = (vd_hnsw_item){.id = keep_id(ids, i, &room), .vector = vectors + (size_t)i * index->dimension};
    }
    if (index->metadata && !carry_metadata(index, items, ids->count)) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the metadata");
    } else {
        flat_loan loan;
        const vd_executor *executor = flat_borrow(&loan, threads);
        status = vd_hnsw_add(index->engine, items, (size_t)ids->count, executor, err);
        flat_give_back(&loan);
    }
    for (uint64_t i = 0; status != VD_OK && i < ids->count; i++) {
        free(items[i].payload); /* not taken */
    }
done:
    free(items);
    free(digits);
    return status;
}

static vd_status add(vd_flat *index, const float *vectors, flat_ids *ids, uint32_t threads, vd_error *err) {
    vd_status status = flat_threads_check(threads, err);
    status = status ? status : flat_ids_check(ids, err);
    if (status == VD_OK && ids->count > VD_ITEMS_MAX) {
        status = vd_fail(err, VD_INVALID_ARGUMENT, "items", "%llu items: an index holds at most %u",
                         (unsigned long long)ids->count, VD_ITEMS_MAX);
    }
    if (status != VD_OK || ids->count == 0) {
        return status;
    }
    pthread_mutex_lock(&index->writer);
    ids->first = index->next;
    if (!ids->ends && !ids->numbers && ids->first > (uint64_t)INT64_MAX - (ids->count - 1)) {
        status = vd_fail(err, VD_OUT_OF_RANGE, "ids", "no %llu numbers are left above the greatest id: give ids",
                         (unsigned long long)ids->count);
    } else {
        status = add_locked(index, vectors, ids, threads, err);
    }
    if (status == VD_OK) {
        raise_next(index, ids);
        if (ids->ends) {
            atomic_store(&index->texts, true);
        }
    }
    pthread_mutex_unlock(&index->writer);
    return status;
}

vd_status vd_flat_add(vd_flat *index, const float *vectors, uint64_t count, const int64_t *numbers, uint32_t threads,
                      int64_t *first, char *error) {
    vd_error err = {.text = ""};
    flat_ids ids = {.numbers = numbers, .count = count};
    vd_status status = add(index, vectors, &ids, threads, &err);
    if (status == VD_OK && count && !numbers && first) {
        *first = (int64_t)ids.first;
    }
    return flat_finish(status, &err, error);
}

vd_status vd_flat_add_text(vd_flat *index, const float *vectors, uint64_t count, const char *text, const uint64_t *ends,
                           uint32_t threads, char *error) {
    vd_error err = {.text = ""};
    flat_ids ids = {.text = text, .ends = ends, .count = count};
    return flat_finish(count ? add(index, vectors, &ids, threads, &err) : VD_OK, &err, error);
}

/* ---- delete ---- */

static vd_status remove_ids(vd_flat *index, const flat_ids *ids, uint32_t threads, uint64_t *deleted, vd_error *err) {
    size_t found = 0, listed = 0;
    vd_status status = flat_threads_check(threads, err);
    status = status ? status : flat_ends_check(ids, err);
    if (status == VD_OK && ids->count) {
        bool failed;
        char *digits = digits_for(ids, &failed);
        vd_id *list =
            ids->count <= SIZE_MAX ? mem_alloc_array(alloc_default(), (size_t)ids->count, sizeof *list) : NULL;
        if (failed || !list) {
            status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a list of %llu ids",
                             (unsigned long long)ids->count);
        } else {
            char *room = digits;
            for (uint64_t i = 0; i < ids->count; i++) {
                vd_id id = keep_id(ids, i, &room);
                if (id.size) {
                    list[listed++] = id;
                }
            }
            flat_loan loan;
            pthread_mutex_lock(&index->writer);
            const vd_executor *executor = flat_borrow(&loan, threads);
            status = vd_hnsw_delete(index->engine, list, listed, executor, &found, err);
            flat_give_back(&loan);
            pthread_mutex_unlock(&index->writer);
        }
        free(list);
        free(digits);
    }
    if (status == VD_OK && deleted) {
        *deleted = found;
    }
    return status;
}

vd_status vd_flat_delete(vd_flat *index, const int64_t *numbers, uint64_t count, uint32_t threads, uint64_t *deleted,
                         char *error) {
    vd_error err = {.text = ""};
    flat_ids ids = {.numbers = numbers, .count = numbers ? count : 0};
    return flat_finish(remove_ids(index, &ids, threads, deleted, &err), &err, error);
}

vd_status vd_flat_delete_text(vd_flat *index, const char *text, const uint64_t *ends, uint64_t count, uint32_t threads,
                              uint64_t *deleted, char *error) {
    vd_error err = {.text = ""};
    flat_ids ids = {.text = text, .ends = ends, .count = ends ? count : 0};
    return flat_finish(remove_ids(index, &ids, threads, deleted, &err), &err, error);
}

/* ---- making searches better ---- */

typedef struct progress {
    int (*call)(void *context, uint64_t done, uint64_t total);
    void *context;
} progress;

static bool report(void *context, uint64_t done, uint64_t total) {
    const progress *p = context;
    return p->call(p->context, done, total) != 0;
}

vd_status vd_flat_optimize(vd_flat *index, uint32_t threads, int (*call)(void *context, uint64_t done, uint64_t total),
                           void *context, char *error) {
    vd_error err = {.text = ""};
    vd_status status = flat_threads_check(threads, &err);
    if (status == VD_OK) {
        flat_loan loan;
        progress p = {call, context};
        vd_optimize_options options = {
            .executor = flat_borrow(&loan, threads), .progress = call ? report : NULL, .progress_context = &p};
        status = vd_hnsw_optimize(index->engine, &options, &err);
        flat_give_back(&loan);
    }
    return flat_finish(status, &err, error);
}

uint32_t vd_flat_calibration_due(const vd_flat *index) {
    return vd_hnsw_calibration_due(index->engine);
}

vd_status vd_flat_calibrate(vd_flat *index, uint32_t threads, char *error) {
    vd_error err = {.text = ""};
    vd_status status = flat_threads_check(threads, &err);
    if (status == VD_OK) {
        flat_loan loan;
        status = vd_hnsw_calibrate(index->engine, flat_borrow(&loan, threads), &err);
        flat_give_back(&loan);
    }
    return flat_finish(status, &err, error);
}
