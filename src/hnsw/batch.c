/*
 * batch.c - many queries in one call, shared out to the threads of an executor.
 *
 * Each thread answers its queries one after the other. Having it work on several in turns, so that one computes while memory answers
 * another, was built and measured: two at a time 4 % slower, three 6 % (100,000 x 384, recall 0.96), since a search already asks
 * for its next vectors while it computes (walk.c), and several share the nearest cache.
 *
 * Threading: tasks take queries from one counter. The caller's guard covers them all.
 */
#include <stdio.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

typedef struct batch_search {
    const vd_hnsw *h;
    const float *queries;
    size_t count, k;
    const vd_hnsw_search_options *options;
    vd_hit *hits;
    size_t *counts;
    vd_search_info *infos;
    _Atomic size_t next;
    _Atomic bool failed;
} batch_search;

static void search_task(void *arg, uint32_t index) {
    (void)index;
    batch_search *b = arg;
    while (!atomic_load_explicit(&b->failed, memory_order_relaxed)) {
        size_t i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
        if (i >= b->count) {
            return;
        }
        if (search_with(b->h, b->queries + i * b->h->options.dimension, b->options, SLOT_NONE, -1.0, 0,
                        b->hits + i * b->k, &b->counts[i], b->infos ? &b->infos[i] : NULL, NULL) != VD_OK) {
            atomic_store(&b->failed, true);
        }
    }
}

static vd_status check_queries(const batch_search *b, vd_error *err) {
    for (size_t i = 0; i < b->count; i++) {
        vd_error inner;
        if (vd_hnsw_validate(b->h, b->queries + i * b->h->options.dimension, &inner) != VD_OK) {
            char field[48];
            snprintf(field, sizeof field, "queries[%zu]", i);
            return vd_fail(err, VD_INVALID_ARGUMENT, field, "queries[%zu]: %s", i, inner.text);
        }
    }
    return VD_OK;
}

vd_status vd_hnsw_search_batch(const vd_hnsw *index, const float *queries, size_t query_count,
                               const vd_hnsw_search_options *options, const vd_executor *executor, vd_hit *hits,
                               size_t *counts, vd_search_info *infos, vd_error *err) {
    batch_search b = {.h = index,
                      .queries = queries,
                      .count = query_count,
                      .k = options->k ? options->k : VD_K_DEFAULT,
                      .options = options,
                      .hits = hits,
                      .counts = counts,
                      .infos = infos};
    vd_status status = search_check(index, options, err);
    status = status ? status : check_queries(&b, err);
    if (status || query_count == 0) {
        return status;
    }
    uint32_t width = executor_width(executor);
    width = query_count < width ? (uint32_t)query_count : width;
    executor_run(executor, search_task, &b, width);
    return atomic_load(&b.failed) ? vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory") : VD_OK;
}
