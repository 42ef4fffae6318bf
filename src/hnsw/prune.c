/*
 * prune.c - which links a node keeps (the neighbour selection heuristic of HNSW, algorithm 4 of arXiv 1603.09320): going outwards,
 * a candidate stays unless one that was kept already is nearer to it than the centre is. With alpha > 1 what was left over is
 * looked at again, and stays unless a kept one is nearer by that factor (DiskANN, NeurIPS 2019). Used for own links and for back
 * links that overflow alike. Links of the tree always stay. Distances here are by all bits of the codes.
 *
 * Threading: links_add changes one list; no two threads are ever given the same one.
 */
#include <stdlib.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

#define PAIR_CHUNK 4 /* kept neighbours looked at before asking whether one of them covers the candidate already */

static int by_distance(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return (x->slot > y->slot) - (x->slot < y->slot);
}

/* Insertion while it pays: what comes here is nearly in order, being ranked by half the bits already. */
void candidates_sort(candidate *c, uint32_t count) {
    uint32_t moves = 0;
    for (uint32_t i = 1; i < count; i++) {
        candidate moving = c[i];
        uint32_t at = i;
        for (; at > 0 && by_distance(&c[at - 1], &moving) > 0; at--) {
            c[at] = c[at - 1];
        }
        c[at] = moving;
        moves += i - at;
        if (moves > 16 * count) {
            qsort(c, count, sizeof *c, by_distance);
            return;
        }
    }
}

/* What has been found out about a candidate while choosing: the largest ratio of its distance to that of a kept one (more than 1:
 * covered), and how many of the kept it was compared with. */
typedef struct choice {
    const vd_hnsw *h;
    scratch *s;
    const candidate *sorted;
    uint32_t *kept;
    uint32_t n;
} choice;

static bool covered(choice *c, uint32_t i, float alpha) {
    scratch *s = c->s;
    float worst = s->occlusion[i];
    uint32_t checked = s->occlusion_checked[i];
    if (worst > alpha) {
        return true;
    }
    if (checked == c->n) {
        return false;
    }
    walk_query q;
    pair_query(c->h, s, c->sorted[i].slot, &q);
    float near[KERNEL_OUT_PAD];
    while (checked < c->n && worst <= alpha) {
        uint32_t n = c->n - checked < PAIR_CHUNK ? c->n - checked : PAIR_CHUNK;
        walk_distances(s, &q, c->kept + checked, n, near);
        for (uint32_t j = 0; j < n; j++) {
            float ratio = c->sorted[i].distance / (near[j] > 1e-30f ? near[j] : 1e-30f);
            worst = ratio > worst ? ratio : worst;
        }
        checked += n;
    }
    s->occlusion[i] = worst;
    s->occlusion_checked[i] = (uint16_t)checked;
    return worst > alpha;
}

#define CHOSEN UINT16_MAX

uint32_t prune_select(const vd_hnsw *h, scratch *s, uint32_t centre, const candidate *sorted, uint32_t count,
                      uint32_t capacity, float alpha, uint32_t *kept) {
    uint32_t reserved = 0; /* tree links still to come */
    for (uint32_t i = 0; i < count; i++) {
        reserved += centre != SLOT_NONE && tree_link(h, centre, sorted[i].slot);
        s->occlusion[i] = 0.0f;
        s->occlusion_checked[i] = 0;
    }
    choice c = {h, s, sorted, kept, 0};
    for (float a = 1.0f;; a = alpha) {
        for (uint32_t i = 0; i < count && c.n < capacity; i++) {
            if (s->occlusion_checked[i] == CHOSEN) {
                continue;
            }
            bool protected_link = reserved > 0 && tree_link(h, centre, sorted[i].slot);
            if (protected_link || (c.n + reserved < capacity && !covered(&c, i, a))) {
                kept[c.n++] = sorted[i].slot;
                s->occlusion_checked[i] = CHOSEN;
                reserved -= protected_link;
            }
        }
        if (a >= alpha || c.n == capacity) {
            return c.n;
        }
    }
}

uint32_t prune_extend(const vd_hnsw *h, scratch *s, const candidate *sorted, uint32_t count, uint32_t capacity,
                      uint32_t *kept, uint32_t n) {
    choice c = {h, s, sorted, kept, n};
    for (uint32_t i = 0; i < count && c.n < capacity; i++) {
        s->occlusion[i] = 0.0f;
        s->occlusion_checked[i] = 0;
        if (!covered(&c, i, 1.0f)) {
            kept[c.n++] = sorted[i].slot;
        }
    }
    return c.n;
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

void links_add(const vd_hnsw *h, scratch *s, uint32_t from, uint32_t level, candidate *new_links, uint32_t count,
               float alpha) {
    _Atomic uint32_t *list = level_links(h, from, level);
    uint32_t capacity = level_capacity(h, level);
    uint32_t have = links_count(list, capacity);
    uint32_t slots[2 * VD_M_MAX + LINK_BATCH_MAX];
    uint32_t fresh = 0;
    for (uint32_t i = 0; i < have; i++) {
        slots[i] = link_get(list, i);
    }
    for (uint32_t i = 0; i < count; i++) {
        bool there = new_links[i].slot == from;
        for (uint32_t j = 0; j < have && !there; j++) {
            there = slots[j] == new_links[i].slot;
        }
        if (!there) {
            new_links[fresh++] = new_links[i];
        }
    }
    if (have + fresh <= capacity) {
        for (uint32_t i = 0; i < fresh; i++) {
            atomic_store_explicit(&list[1 + have + i], new_links[i].slot, memory_order_release);
        }
        atomic_fetch_add_explicit(list, fresh, memory_order_release);
        return;
    }
    walk_query q;
    float distances[2 * VD_M_MAX + KERNEL_OUT_PAD];
    candidate all[2 * VD_M_MAX + LINK_BATCH_MAX];
    pair_query(h, s, from, &q);
    walk_distances(s, &q, slots, have, distances);
    for (uint32_t i = 0; i < have; i++) {
        all[i] = (candidate){distances[i], slots[i]};
    }
    memcpy(all + have, new_links, fresh * sizeof *all);
    qsort(all, have + fresh, sizeof *all, by_distance);
    uint32_t kept = prune_select(h, s, level == 0 ? from : SLOT_NONE, all, have + fresh, capacity, alpha, slots);
    links_store(list, slots, kept);
}
