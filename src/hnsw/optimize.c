/*
 * optimize.c - the second pass: every node chooses its links once more, now that the whole graph is there to search.
 *
 * A node of the first pass knew only those that came before it. Searching for it again finds better neighbours; choosing among
 * them and its present links with some slack (alpha: 1.1 for own links, 1.05 for links back) leaves fewer, longer and fuller hops.
 * Measured on 100,000 x 384: docs/engine.md. What helps is the second search, not alpha: 1.0 to 1.1 changes distances by 1 %.
 *
 * It goes in the same three steps as linking (link.c) and is as deterministic: a pass takes nodes in the order of their slots, by
 * batches of LINK_BATCH_MAX; links of the tree stay. Between batches the writer's place is free, so writes wait for one batch.
 *
 * Threading: each batch holds the writer's mutex; progress is called without it.
 */
#include <string.h>

#include "hnsw/hnsw_int.h"

#define ALPHA_OWN  1.1f
#define ALPHA_BACK 1.05f
/* A pool of three quarters of ef_construction: a third less time than with all of it, for 3 % more distances at recall 0.99. */
static uint32_t pass_ef(const vd_hnsw *h) {
    uint32_t ef = h->options.ef_construction / 4 * 3;
    return ef > h->m0 ? ef : h->m0;
}

typedef struct pass {
    vd_hnsw *h;
    uint32_t nodes[LINK_BATCH_MAX];
    uint32_t count;
    uint64_t entry;
    uint32_t back_count[LINK_BATCH_MAX];
    _Atomic uint32_t next;
} pass;

static bool passed(const vd_hnsw *h, uint32_t slot) {
    return (atomic_load_explicit(base_links(h, slot), memory_order_relaxed) & LINK_OPTIMIZED) != 0;
}

/* The pool by all bits, and the present links that are not in it. */
static uint32_t gather(const vd_hnsw *h, scratch *s, uint32_t slot) {
    candidate *c = s->candidates;
    const _Atomic uint32_t *list = base_links(h, slot);
    uint32_t links = links_count(list, h->m0), count = 0;
    for (uint32_t j = 0; j < s->pool.size; j++) {
        uint32_t other = key_slot(s->pool.keys[j]);
        if (other != slot && slot_state(h, other) == STATE_LIVE) {
            c[count++] = (candidate){key_distance(s->pool.keys[j]), other};
        }
    }
    uint32_t measured = s->two_lanes ? 0 : count;
    uint32_t from_pool = count;
    for (uint32_t i = 0; i < links; i++) {
        uint32_t other = link_get(list, i);
        bool there = slot_state(h, other) != STATE_LIVE;
        for (uint32_t j = 0; j < from_pool && !there; j++) {
            there = c[j].slot == other;
        }
        if (!there) {
            c[count++].slot = other;
        }
    }
    candidates_refine(s, measured, count);
    return count;
}

static void choose_task(void *arg, uint32_t index) {
    pass *p = arg;
    vd_hnsw *h = p->h;
    scratch *s = index == 0 ? h->writer_scratch : scratch_take(h, pass_ef(h));
    if (!s) {
        return;
    }
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->count) {
            break;
        }
        candidate nearest;
        uint32_t slot = p->nodes[i];
        back_link *back = h->work.back + (size_t)i * h->m0;
        query_from_slot(h, s, slot);
        (void)walk_descend(h, s, p->entry, 0, SLOT_NONE, &nearest);
        walk_level(h, s, nearest, 0, pass_ef(h));
        uint32_t count = gather(h, s, slot);
        uint32_t kept[2 * VD_M_MAX];
        uint32_t n = prune_select(h, s, slot, s->candidates, count, h->m0, ALPHA_OWN, kept);
        for (uint32_t j = 0; j < n; j++) { /* two rounds of choosing: not in the order of the candidates */
            uint32_t at = 0;
            while (s->candidates[at].slot != kept[j]) {
                at++;
            }
            back[j] = (back_link){kept[j], slot, s->candidates[at].distance, 0, BACK_NONE};
        }
        p->back_count[i] = n;
    }
    if (index != 0) {
        scratch_give(h, s);
    }
}

static void do_batch(pass *p, const vd_executor *executor) {
    vd_hnsw *h = p->h;
    p->entry = atomic_load_explicit(&h->entry, memory_order_relaxed);
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    executor_run(executor, choose_task, p, executor_width(executor));
    size_t count = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t slots[2 * VD_M_MAX];
        const back_link *back = h->work.back + (size_t)i * h->m0;
        _Atomic uint32_t *list = base_links(h, p->nodes[i]);
        for (uint32_t j = 0; j < p->back_count[i]; j++) {
            slots[j] = back[j].target;
        }
        links_store(list, slots, p->back_count[i]);
        if (!passed(h, p->nodes[i])) {
            atomic_fetch_or_explicit(list, LINK_OPTIMIZED, memory_order_relaxed);
            atomic_fetch_add_explicit(&h->optimized, 1, memory_order_relaxed);
        }
        memmove(h->work.back + count, back, p->back_count[i] * sizeof *back);
        count += p->back_count[i];
    }
    back_links_apply(h, count, ALPHA_BACK, executor);
}

/* The next nodes of the open pass, from optimize_next on. */
static void take_nodes(pass *p, uint32_t slots) {
    vd_hnsw *h = p->h;
    p->count = 0;
    while (h->optimize_next < slots && p->count < LINK_BATCH_MAX) {
        uint32_t slot = h->optimize_next++;
        if (slot_state(h, slot) == STATE_LIVE && !twin_of_another(h, slot) && (h->optimize_all || !passed(h, slot))) {
            p->nodes[p->count++] = slot;
        }
    }
}

bool vd_hnsw_optimization_due(const vd_hnsw *index) {
    vd_hnsw *h = (vd_hnsw *)index;
    uint64_t items = atomic_load_explicit(&h->linked, memory_order_relaxed);
    uint64_t done = atomic_load_explicit(&h->optimized, memory_order_relaxed);
    return items > SCAN_ITEMS && (items - (done < items ? done : items)) * 10 > items;
}

vd_status vd_hnsw_optimize(vd_hnsw *h, const vd_optimize_options *options, vd_error *err) {
    static const vd_optimize_options none;
    options = options ? options : &none;
    pass *p = mem_alloc(&h->allocator, sizeof *p);
    if (!p) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    memset(p, 0, sizeof *p);
    p->h = h;
    vd_status status = VD_OK;
    for (bool more = true; more && status == VD_OK;) {
        pthread_mutex_lock(&h->writer);
        uint32_t slots = atomic_load_explicit(&h->slots, memory_order_relaxed);
        if (!h->optimize_open) {
            uint64_t nodes = atomic_load_explicit(&h->linked, memory_order_relaxed);
            h->optimize_open = true;
            h->optimize_next = 0;
            h->optimize_all = nodes * 2 > h->optimized_items * 3 || nodes * 3 < h->optimized_items * 2;
        }
        status = reserve_changes(h, 0, err);
        if (status == VD_OK) {
            take_nodes(p, slots);
            if (p->count) {
                do_batch(p, options->executor);
            }
            if (h->optimize_next >= slots) {
                more = false;
                h->optimize_open = false;
                if (h->optimize_all) {
                    h->optimized_items = atomic_load_explicit(&h->linked, memory_order_relaxed);
                }
                atomic_store_explicit(&h->recalibrate, true, memory_order_release);
            }
        }
        uint64_t done = h->optimize_open ? h->optimize_next : slots;
        pthread_mutex_unlock(&h->writer);
        if (status == VD_OK && options->progress && !options->progress(options->progress_context, done, slots) &&
            more) {
            status = VD_CANCELLED;
        }
    }
    mem_release(&h->allocator, p, sizeof *p);
    return status == VD_CANCELLED ? vd_fail(err, VD_CANCELLED, NULL, "optimizing was stopped; it can go on later")
                                  : status;
}
