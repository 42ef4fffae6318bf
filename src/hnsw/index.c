/*
 * index.c - birth and death of an index, its options and figures, and setting memory aside for a write.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

static vd_status check_range(vd_error *err, const char *field, uint32_t value, uint32_t least, uint32_t most) {
    if (value < least || value > most) {
        return vd_fail(err, VD_INVALID_ARGUMENT, field, "%s must be %u..%u (got %u)", field, least, most, value);
    }
    return VD_OK;
}

static vd_status complete_options(vd_hnsw_options *o, vd_error *err) {
    o->metric = o->metric ? o->metric : VD_METRIC_COSINE;
    o->m = o->m ? o->m : VD_M_DEFAULT;
    o->ef_construction = o->ef_construction ? o->ef_construction : VD_EF_CONSTRUCTION_DEFAULT;
    o->ef_search = o->ef_search ? o->ef_search : VD_EF_SEARCH_DEFAULT;
    o->recall_target = o->recall_target != 0.0 ? o->recall_target : VD_RECALL_TARGET_DEFAULT;
    vd_status status = check_range(err, "dimension", o->dimension, VD_DIMENSION_MIN, VD_DIMENSION_MAX);
    status = status ? status : check_range(err, "m", o->m, VD_M_MIN, VD_M_MAX);
    status = status ? status
                    : check_range(err, "ef_construction", o->ef_construction, VD_EF_CONSTRUCTION_MIN,
                                  VD_EF_CONSTRUCTION_MAX);
    status = status ? status : check_range(err, "ef_search", o->ef_search, VD_EF_SEARCH_MIN, VD_EF_SEARCH_MAX);
    if (status) {
        return status;
    }
    if (o->metric != VD_METRIC_COSINE && o->metric != VD_METRIC_EUCLIDEAN) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "distance", "distance must be cosine or euclidean");
    }
    if (!(o->recall_target > 0.0 && o->recall_target <= 1.0)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "recall_target", "recall_target must be above 0 and at most 1");
    }
    if (!vd_encoding_name(o->encoding)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "encoding", "encoding must be one of auto, f32, sq8, sq4, f16, bf16");
    }
    if (o->discard_vectors && o->encoding == VD_ENCODING_F32) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "encoding",
                       "f32 keeps the vectors themselves: use sq8, sq4, f16 or bf16 to discard them");
    }
    return VD_OK;
}

vd_status vd_hnsw_new(const vd_hnsw_options *options, vd_hnsw **out, vd_error *err) {
    vd_hnsw_options o = *options;
    vd_status status = complete_options(&o, err);
    if (status) {
        return status;
    }
    const vd_allocator *a = o.allocator ? o.allocator : alloc_default();
    vd_hnsw *h = mem_alloc(a, sizeof *h);
    if (!h) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    memset(h, 0, sizeof *h);
    h->options = o;
    h->allocator = *a;
    atomic_store_explicit(&h->encoding, (int)o.encoding, memory_order_relaxed);
    h->options.allocator = NULL; /* the copy in `allocator` is what counts */
    h->kernels = kernels_select();
    h->m = o.m;
    h->m0 = 2 * o.m - 1; /* with the count word a list of m = 16 fills two cache lines exactly */
    h->child_limit = h->m0 / 2;
    h->code_size = (o.dimension + KERNEL_LINE_CODES - 1) / KERNEL_LINE_CODES * (size_t)KERNEL_LINE_CODES;
    h->pool_take = pool_take_any;
#if defined(__x86_64__)
    if (strcmp(h->kernels->name, "avx512") == 0) {
        h->pool_take = pool_take_avx512;
    }
#endif
    h->link_stride = ((size_t)h->m0 + 1 + 15) / 16 * 16;
    h->upper_stride = (size_t)h->m + 1;
    h->free_slots = SLOT_NONE;
    h->free_returned = SLOT_NONE;
    for (size_t i = 0; i < VD_LEVELS_MAX; i++) {
        h->free_uppers[i] = BLOCK_NONE;
    }
    h->root = SLOT_NONE;
    atomic_init(&h->entry, ENTRY_NONE);
    atomic_init(&h->epoch, 1);
    atomic_init(&h->walk_high, o.encoding == VD_ENCODING_SQ4);
    pthread_mutex_init(&h->writer, NULL);
    uint8_t *readers = mem_alloc(a, sizeof(reader_slot) * (READER_SLOTS + 1));
    if (!readers) {
        vd_hnsw_free(h);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    memset(readers, 0, sizeof(reader_slot) * (READER_SLOTS + 1));
    h->readers_block = readers;
    h->readers = (reader_slot *)(((uintptr_t)readers + 63) / 64 * 64);
    status = planes_open(h, err);
    if (status) {
        vd_hnsw_free(h);
        return status;
    }
    *out = h;
    return VD_OK;
}

static void free_work(vd_hnsw *h) {
    batch_work *w = &h->work;
    mem_release(&h->allocator, w->slots, w->capacity * sizeof *w->slots);
    mem_release(&h->allocator, w->nodes, w->capacity * sizeof *w->nodes);
    mem_release(&h->allocator, w->dead, w->capacity * sizeof *w->dead);
    mem_release(&h->allocator, w->dedupe, w->dedupe_size * sizeof *w->dedupe);
    w->slots = w->nodes = w->dead = w->dedupe = NULL;
    w->capacity = w->dedupe_size = 0;
}

static void release_payloads(vd_hnsw *h) {
    uint32_t slots = atomic_load_explicit(&h->slots, memory_order_relaxed);
    for (uint32_t slot = 0; slot < slots && h->options.release_payload; slot++) {
        if (slot_state(h, slot) == STATE_LIVE) {
            h->options.release_payload(h->options.release_context,
                                       atomic_load_explicit(&h->payloads[slot], memory_order_relaxed));
        }
    }
}

void vd_hnsw_free(vd_hnsw *h) {
    if (!h) {
        return;
    }
    vd_allocator a = h->allocator;
    reclaim(h, true);
    if (h->state) {
        release_payloads(h);
    }
    for (size_t i = 0; i < SCRATCH_SLOTS; i++) {
        scratch_free(h, atomic_load_explicit(&h->scratches[i], memory_order_relaxed));
    }
    scratch_free(h, h->writer_scratch);
    map_close(h, &h->id_map);
    map_close(h, &h->vector_map);
    ids_close(h);
    planes_close(h);
    link_close(h);
    calibration_table *table = atomic_load_explicit(&h->calibration, memory_order_relaxed);
    mem_release(&a, table, sizeof *table);
    mem_release(&a, h->retired, h->retired_capacity * sizeof *h->retired);
    mem_release(&a, h->dead_list, h->dead_capacity * sizeof *h->dead_list);
    free_work(h);
    mem_release(&a, h->readers_block, sizeof(reader_slot) * (READER_SLOTS + 1));
    pthread_mutex_destroy(&h->writer);
    mem_release(&a, h, sizeof *h);
}

vd_status vd_hnsw_validate(const vd_hnsw *h, const float *vector, vd_error *err) {
    uint32_t dimension = h->options.dimension;
    double norm2 = h->kernels->exact_dot(vector, vector, dimension); /* not finite when any element is not */
    if (!isfinite(norm2)) {
        for (uint32_t i = 0; i < dimension; i++) {
            if (!isfinite(vector[i])) {
                return vd_fail(err, VD_INVALID_ARGUMENT, "vector", "vector[%u] is not finite", i);
            }
        }
    }
    if (norm2 > (double)3.4e38f / 16.0) { /* squared distances are walked in float32 */
        return vd_fail(err, VD_INVALID_ARGUMENT, "vector", "norm overflows (the vector's length must be below 4.6e18)");
    }
    if (h->options.metric == VD_METRIC_COSINE &&
        norm2 < 1.2e-38) { /* as good as zero in float32: it has no direction */
        return vd_fail(err, VD_INVALID_ARGUMENT, "vector", "zero-norm vector");
    }
    return VD_OK;
}

/* ---- reserving ---- */

static bool grow_array(vd_hnsw *h, uint32_t **array, size_t old_count, size_t count) {
    size_t bytes;
    uint32_t *grown = size_mul(count, sizeof **array, &bytes)
                          ? mem_resize(&h->allocator, *array, old_count * sizeof **array, bytes)
                          : NULL;
    if (grown) {
        *array = grown;
    }
    return grown != NULL;
}

static bool reserve_work(vd_hnsw *h, size_t items) {
    batch_work *w = &h->work;
    if (items > w->capacity) {
        /* Three fresh arrays or none: their common capacity must stay true when one of them cannot grow. */
        uint32_t *slots = mem_alloc_array(&h->allocator, items, sizeof *slots);
        uint32_t *nodes = mem_alloc_array(&h->allocator, items, sizeof *nodes);
        uint32_t *dead = mem_alloc_array(&h->allocator, items, sizeof *dead);
        if (!slots || !nodes || !dead) {
            mem_release(&h->allocator, slots, items * sizeof *slots);
            mem_release(&h->allocator, nodes, items * sizeof *nodes);
            mem_release(&h->allocator, dead, items * sizeof *dead);
            return false;
        }
        mem_release(&h->allocator, w->slots, w->capacity * sizeof *slots);
        mem_release(&h->allocator, w->nodes, w->capacity * sizeof *nodes);
        mem_release(&h->allocator, w->dead, w->capacity * sizeof *dead);
        w->slots = slots;
        w->nodes = nodes;
        w->dead = dead;
        w->capacity = items;
    }
    size_t table = 64;
    while (table < items * 2) {
        table *= 2;
    }
    if (table > w->dedupe_size) {
        if (!grow_array(h, &w->dedupe, w->dedupe_size, table)) {
            return false;
        }
        w->dedupe_size = table;
    }
    return true;
}

vd_status reserve_changes(vd_hnsw *h, size_t items, vd_error *err) {
    /* Each item's old payload and slot, and by a sweep all that have died since the last one. */
    size_t to_retire, dead;
    if (items > VD_ITEMS_MAX || !size_mul(items, 2, &to_retire) || !size_add(to_retire, 8, &to_retire) ||
        !size_add(h->dead_count, items, &dead) || !size_add(to_retire, h->dead_count, &to_retire)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    bool done = retire_reserve(h, to_retire) == VD_OK && reserve_work(h, items) && link_reserve(h) == VD_OK &&
                scratch_reserve_writer(h, h->options.ef_construction) == VD_OK;
    if (done && dead > h->dead_capacity) {
        done = grow_array(h, &h->dead_list, h->dead_capacity, dead + dead / 2);
        h->dead_capacity = done ? dead + dead / 2 : h->dead_capacity;
    }
    return done ? VD_OK : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
}

vd_status reserve_items(vd_hnsw *h, size_t items, size_t id_bytes, vd_error *err) {
    if (items > VD_ITEMS_MAX) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    uint64_t slots = atomic_load_explicit(&h->slots, memory_order_relaxed);
    uint64_t fresh = items > h->free_count ? items - h->free_count : 0; /* free slots are taken first */
    vd_status status = planes_commit(h, slots + fresh, (uint64_t)h->upper_used + items + VD_LEVELS_MAX, items, err);
    if (status) {
        return status;
    }
    /* the maps first: the tables they leave behind are retired here and now */
    bool done = retire_reserve(h, 2) == VD_OK && map_reserve(h, &h->id_map, items) == VD_OK &&
                map_reserve(h, &h->vector_map, items) == VD_OK && ids_reserve(h, id_bytes) == VD_OK;
    return done ? reserve_changes(h, items, err) : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
}

vd_status vd_hnsw_reserve(vd_hnsw *h, size_t items, size_t id_bytes, vd_error *err) {
    /* No id is shorter than a byte; and only those that do not stand in their slot need bytes, rounded up. */
    size_t added = items < id_bytes ? items : id_bytes, more = id_bytes / (ID_INLINE + 1), bytes;
    more = more < added ? more : added;
    if (!size_add(id_bytes, 7 * more, &bytes)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    pthread_mutex_lock(&h->writer);
    vd_status status = VD_OK;
    if (items == 0) { /* only ends what was promised: every group of writes does this */
        reserve_used(h, h->promised);
        goto end;
    }
    status = reserve_items(h, added, bytes, err);
    status = status ? status : reserve_changes(h, items, err);
    /* With room to spare: what else retires something before the promise is used must not use it up. */
    if (status == VD_OK && retire_reserve(h, 4 * items + 64 + h->dead_count) != VD_OK) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    if (status == VD_OK && items > h->promised) {
        h->promised = items;
    }
end:
    pthread_mutex_unlock(&h->writer);
    return status;
}

/* What a batch of usual size needs stays; more, only as long as it is promised to later ones. */
#define WORK_KEPT 4096u

void reserve_used(vd_hnsw *h, size_t items) {
    batch_work *w = &h->work;
    h->promised -= h->promised < items ? h->promised : items;
    if (h->promised > 0) {
        return;
    }
    if (w->capacity > WORK_KEPT) {
        free_work(h);
    }
    if (h->dead_capacity > WORK_KEPT && h->dead_count == 0) {
        mem_release(&h->allocator, h->dead_list, h->dead_capacity * sizeof *h->dead_list);
        h->dead_list = NULL;
        h->dead_capacity = 0;
    }
    if (h->retired_capacity > 4 * WORK_KEPT &&
        h->retired_count < WORK_KEPT) { /* readers hold back some nearly always */
        retired *less =
            mem_resize(&h->allocator, h->retired, h->retired_capacity * sizeof *less, WORK_KEPT * sizeof *less);
        h->retired = less ? less : h->retired;
        h->retired_capacity = less ? WORK_KEPT : h->retired_capacity;
    }
}

/* ---- figures ---- */

uint64_t vd_hnsw_count(const vd_hnsw *index) {
    return atomic_load_explicit(&((vd_hnsw *)index)->count, memory_order_acquire);
}

void vd_hnsw_get_options(const vd_hnsw *h, vd_hnsw_options *options) {
    *options = h->options;
    options->encoding = encoding_asked(h);
}

static vd_encoding shown_encoding(const vd_hnsw *h) {
    const form *f = form_of(h);
    return !f->codes                                                                ? f->encoding
           : atomic_load_explicit(&((vd_hnsw *)h)->walk_high, memory_order_relaxed) ? VD_ENCODING_SQ4
                                                                                    : f->encoding;
}

/* What writes and searches keep between them. */
static size_t work_bytes(const vd_hnsw *h) {
    const batch_work *w = &h->work;
    return w->capacity * (sizeof *w->slots + sizeof *w->nodes + sizeof *w->dead) + w->dedupe_size * sizeof *w->dedupe +
           w->back_capacity * (sizeof *w->back + sizeof *w->groups) + w->group_map_size * sizeof *w->group_map +
           h->retired_capacity * sizeof *h->retired + h->dead_capacity * sizeof *h->dead_list +
           atomic_load_explicit(&((vd_hnsw *)h)->scratch_bytes, memory_order_relaxed);
}

void vd_hnsw_get_stats(const vd_hnsw *index, vd_hnsw_stats *stats) {
    vd_hnsw *h = (vd_hnsw *)index;
    pthread_mutex_lock(&h->writer);
    uint64_t entry = atomic_load_explicit(&h->entry, memory_order_relaxed);
    *stats = (vd_hnsw_stats){
        .items = vd_hnsw_count(h),
        .deleted_unswept = h->dead_count,
        .memory_bytes = sizeof *h + planes_bytes(h) + map_bytes(&h->id_map) + map_bytes(&h->vector_map) + ids_bytes(h) +
                        work_bytes(h),
        .levels = entry == ENTRY_NONE ? 0 : (uint32_t)(entry >> 32) + 1,
        .optimized = atomic_load_explicit(&h->optimized, memory_order_relaxed),
        .encoding = shown_encoding(h),
        .distances = atomic_load_explicit(&h->distances, memory_order_relaxed) +
                     (h->writer_scratch ? h->writer_scratch->distances : 0),
    };
    for (size_t i = 0; i < h->retired_count; i++) { /* what has been replaced and a reader may still see */
        const retired *r = &h->retired[i];
        stats->memory_bytes += r->kind == RETIRED_FORM    ? form_bytes((const form *)r->value, atomic_load(&h->slots))
                               : r->kind == RETIRED_TABLE ? table_bytes((const map_table *)r->value)
                                                          : 0;
    }
    calibration_figures(h, stats);
    pthread_mutex_unlock(&h->writer);
}

const char *vd_hnsw_cpu(void) {
    return kernels_select()->name;
}

const char *vd_version(void) {
    return VECTORD_VERSION;
}

void executor_run(const vd_executor *executor, void (*task)(void *arg, uint32_t index), void *arg, uint32_t count) {
    if (executor && count > 1) {
        executor->run(executor->context, task, arg, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        task(arg, i);
    }
}
