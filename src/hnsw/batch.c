/*
 * batch.c - many queries in one call. Each thread works on several searches in turns: while one waits for its neighbours' vectors,
 * the others compute. (The pipeline inside one search does the same for most of its memory; what turns add is the wait for the
 * lists and for the first steps. Measured gain: docs/engine.md.)
 *
 * Threading: tasks take queries from one counter; a search belongs to one task. The caller's guard covers them all.
 */
#include <stdio.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

#define TURNS 2 /* searches at a time on a thread */

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

typedef struct lane {
    search_run run;
    size_t query;
    bool busy;
} lane;

static void finish(batch_search *b, lane *l) {
    b->counts[l->query] = run_end(&l->run, b->hits + l->query * b->k, b->infos ? &b->infos[l->query] : NULL);
    l->busy = false;
}

/* Gives the lane its next query; answers those at once that need no walk. */
static void refill(batch_search *b, lane *l) {
    while (!l->busy && !atomic_load_explicit(&b->failed, memory_order_relaxed)) {
        l->query = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
        if (l->query >= b->count) {
            return;
        }
        const float *query = b->queries + l->query * b->h->options.dimension;
        if (run_begin(&l->run, b->h, query, b->options, SLOT_NONE, -1.0, 0) != VD_OK) {
            atomic_store(&b->failed, true);
            return;
        }
        l->busy = true;
        if (!l->run.walking) {
            finish(b, l);
        }
    }
}

static void advance(batch_search *b, lane *l) {
    walk_turn(b->h, l->run.s);
    if (!l->run.s->walk.done) {
        return;
    }
    if (run_step(&l->run) != VD_OK) {
        if (l->run.s) {
            scratch_give(b->h, l->run.s);
        }
        l->busy = false;
        atomic_store(&b->failed, true);
    } else if (!l->run.walking) {
        finish(b, l);
        refill(b, l);
    }
}

static void search_task(void *arg, uint32_t index) {
    (void)index;
    batch_search *b = arg;
    lane lanes[TURNS];
    for (size_t i = 0; i < TURNS; i++) {
        lanes[i].busy = false;
        refill(b, &lanes[i]);
    }
    for (bool busy = true; busy;) {
        busy = false;
        for (size_t i = 0; i < TURNS; i++) {
            if (lanes[i].busy) {
                advance(b, &lanes[i]);
                busy |= lanes[i].busy;
            }
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
