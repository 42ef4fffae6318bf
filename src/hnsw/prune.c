/*
 * prune.c - which links a node keeps (the neighbour selection heuristic of HNSW, algorithm 4 of arXiv 1603.09320): going outwards,
 * a candidate stays unless one that was kept already is nearer to it than the centre is. Used for own links and for back links
 * that overflow alike. Links of the tree always stay.
 */
#include <stdlib.h>

#include "hnsw/hnsw_int.h"

#define PAIR_CHUNK 8 /* kept neighbours looked at before asking whether one of them covers the candidate already */

static int by_distance(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return (x->slot > y->slot) - (x->slot < y->slot);
}

void candidates_sort(candidate *c, uint32_t count) {
    if (count > 64) {
        qsort(c, count, sizeof *c, by_distance);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        candidate moving = c[i];
        uint32_t at = i;
        for (; at > 0 && by_distance(&c[at - 1], &moving) > 0; at--) {
            c[at] = c[at - 1];
        }
        c[at] = moving;
    }
}

static bool covered(const vd_hnsw *h, scratch *s, const candidate *c, const uint32_t *kept, uint32_t count) {
    if (count == 0) {
        return false;
    }
    walk_query q;
    pair_query(h, s, c->slot, &q);
    float near[PAIR_CHUNK];
    for (uint32_t i = 0; i < count; i += PAIR_CHUNK) {
        uint32_t n = count - i < PAIR_CHUNK ? count - i : PAIR_CHUNK;
        walk_distances(h, s, &q, kept + i, n, near);
        for (uint32_t j = 0; j < n; j++) {
            if (near[j] < c->distance) {
                return true;
            }
        }
    }
    return false;
}

uint32_t prune_select(const vd_hnsw *h, scratch *s, uint32_t centre, const candidate *sorted, uint32_t count,
                      uint32_t capacity, uint32_t *kept) {
    uint32_t reserved = 0; /* tree links still to come */
    for (uint32_t i = 0; centre != SLOT_NONE && i < count; i++) {
        reserved += tree_link(h, centre, sorted[i].slot);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && n < capacity; i++) {
        bool protected_link = reserved > 0 && tree_link(h, centre, sorted[i].slot);
        if (protected_link) {
            kept[n++] = sorted[i].slot;
            reserved--;
        } else if (n + reserved < capacity && !covered(h, s, &sorted[i], kept, n)) {
            kept[n++] = sorted[i].slot;
        }
    }
    return n;
}

uint32_t prune_extend(const vd_hnsw *h, scratch *s, const candidate *sorted, uint32_t count, uint32_t capacity,
                      uint32_t *kept, uint32_t n) {
    for (uint32_t i = 0; i < count && n < capacity; i++) {
        if (!covered(h, s, &sorted[i], kept, n)) {
            kept[n++] = sorted[i].slot;
        }
    }
    return n;
}

uint32_t prune_fill(const candidate *sorted, uint32_t count, uint32_t least, uint32_t *kept, uint32_t n) {
    for (uint32_t i = 0; i < count && n < least; i++) {
        bool there = false;
        for (uint32_t j = 0; j < n && !there; j++) {
            there = kept[j] == sorted[i].slot;
        }
        if (!there) {
            kept[n++] = sorted[i].slot;
        }
    }
    return n;
}

void links_store(_Atomic uint32_t *list, const uint32_t *slots, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        atomic_store_explicit(&list[1 + i], slots[i], memory_order_release);
    }
    uint32_t word = atomic_load_explicit(list, memory_order_relaxed) & ~LINK_COUNT_MASK;
    atomic_store_explicit(list, word | count, memory_order_release);
}

void node_lock(const vd_hnsw *h, uint32_t slot) {
    _Atomic uint32_t *word = base_links(h, slot);
    for (;;) {
        if (!(atomic_fetch_or_explicit(word, LINK_LOCK, memory_order_acquire) & LINK_LOCK)) {
            return;
        }
        while (atomic_load_explicit(word, memory_order_relaxed) & LINK_LOCK) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    }
}

void node_unlock(const vd_hnsw *h, uint32_t slot) {
    atomic_fetch_and_explicit(base_links(h, slot), ~LINK_LOCK, memory_order_release);
}

void link_add_locked(const vd_hnsw *h, scratch *s, uint32_t from, uint32_t to, float distance, uint32_t level) {
    _Atomic uint32_t *list = level_links(h, from, level);
    uint32_t capacity = level_capacity(h, level);
    uint32_t count = links_count(list, capacity);
    uint32_t slots[2 * VD_M_MAX];
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = link_get(list, i);
        if (slots[i] == to) {
            return;
        }
    }
    if (count < capacity) {
        atomic_store_explicit(&list[1 + count], to, memory_order_release);
        atomic_fetch_add_explicit(list, 1, memory_order_release);
        return;
    }
    walk_query q;
    float distances[2 * VD_M_MAX];
    candidate all[2 * VD_M_MAX];
    pair_query(h, s, from, &q);
    walk_distances(h, s, &q, slots, count, distances);
    for (uint32_t i = 0; i < count; i++) {
        all[i] = (candidate){distances[i], slots[i]};
    }
    all[count] = (candidate){distance, to};
    candidates_sort(all, count + 1);
    uint32_t kept = prune_select(h, s, level == 0 ? from : SLOT_NONE, all, count + 1, capacity, slots);
    links_store(list, slots, kept);
}

void link_add(const vd_hnsw *h, scratch *s, uint32_t from, uint32_t to, float distance, uint32_t level) {
    node_lock(h, from);
    link_add_locked(h, s, from, to, distance, level);
    node_unlock(h, from);
}
