/*
 * insert.c - links one node into the graph (algorithm 1 of arXiv 1603.09320).
 *
 * The node's own lists of all levels are written before anyone links back to it, so that a search that meets it can always go on.
 * It is in the graph from the first back link on, and in nobody's answer until its state is LIVE.
 *
 * Threading: called by several threads at a time for different slots, and beside searches.
 */
#include "hnsw/hnsw_int.h"

static uint32_t pool_candidates(const vd_hnsw *h, const scratch *s, uint32_t self, candidate *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->pool_size; i++) {
        uint32_t slot = pool_slot(s->pool[i]);
        if (slot != self && slot_state(h, slot) != STATE_DEAD) {
            out[count++] = (candidate){pool_distance(s->pool[i]), slot};
        }
    }
    return count;
}

static void link_back(vd_hnsw *h, scratch *s, uint32_t slot, uint32_t level) {
    const _Atomic uint32_t *list = level_links(h, slot, level);
    uint32_t count = links_count(list, level_capacity(h, level));
    uint32_t slots[2 * VD_M_MAX];
    float distances[2 * VD_M_MAX];
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = link_get(list, i);
    }
    walk_distances(h, s, &s->query, slots, count, distances);
    for (uint32_t i = 0; i < count; i++) {
        link_add(h, s, slots[i], slot, distances[i], level);
    }
}

static void raise_entry(vd_hnsw *h, uint32_t slot, uint32_t level) {
    pthread_mutex_lock(&h->entry_lock);
    uint64_t entry = atomic_load_explicit(&h->entry, memory_order_relaxed);
    if (entry == ENTRY_NONE || level > (uint32_t)(entry >> 32)) {
        atomic_store_explicit(&h->entry, entry_make(slot, level), memory_order_release);
    }
    pthread_mutex_unlock(&h->entry_lock);
}

void graph_insert(vd_hnsw *h, scratch *s, uint32_t slot) {
    uint32_t level = level_of(h, slot);
    if (__atomic_load_n(&h->root, __ATOMIC_ACQUIRE) == SLOT_NONE) { /* the first node; the caller is alone then */
        __atomic_store_n(&h->root, slot, __ATOMIC_RELEASE);
        atomic_store_explicit(&h->entry, entry_make(slot, level), memory_order_release);
        return;
    }
    query_from_slot(h, s, slot);
    uint64_t entry = atomic_load_explicit(&h->entry, memory_order_acquire);
    uint32_t top = (uint32_t)(entry >> 32) < level ? (uint32_t)(entry >> 32) : level;
    candidate nearest;
    walk_descend(h, s, top, &nearest);
    uint32_t count = 0;
    for (uint32_t l = top + 1; l-- > 0;) {
        walk_level(h, s, nearest, l, h->options.ef_construction, SLOT_NONE);
        nearest = (candidate){pool_distance(s->pool[0]), pool_slot(s->pool[0])};
        count = pool_candidates(h, s, slot, s->candidates);
        uint32_t kept[2 * VD_M_MAX];
        uint32_t n = prune_select(h, s, SLOT_NONE, s->candidates, count, level_capacity(h, l), kept);
        links_store(level_links(h, slot, l), kept, n);
    }
    tree_adopt(h, s, slot, s->candidates, count);
    for (uint32_t l = 0; l <= top; l++) {
        link_back(h, s, slot, l);
    }
    if (level > (uint32_t)(entry >> 32)) {
        raise_entry(h, slot, level);
    }
}
