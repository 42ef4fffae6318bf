/*
 * tree.c - reachability by construction.
 *
 * Each node of the base level but the root has a parent that was in the tree before it, and both links between them are protected
 * from every prune. So the base level is strongly connected at all times: no insertion, prune or deletion elsewhere can cut an
 * item off. A node carries at most child_limit children, which leaves the other half of its list to the diversity rule.
 *
 * Threading: adopting happens under the lock of the adopting node. Removing is the writer's, while no thread links.
 */
#include "hnsw/hnsw_int.h"

static bool in_tree(const vd_hnsw *h, uint32_t slot) {
    return parent_of(h, slot) != SLOT_NONE || __atomic_load_n(&h->root, __ATOMIC_ACQUIRE) == slot;
}

static float pair_distance(const vd_hnsw *h, scratch *s, uint32_t a, uint32_t b) {
    walk_query q;
    float d;
    pair_query(h, s, a, &q);
    walk_distances(h, s, &q, &b, 1, &d);
    return d;
}

static bool adopt(vd_hnsw *h, scratch *s, uint32_t parent, uint32_t child, float distance, bool dead_too) {
    if (parent == child || (!dead_too && slot_state(h, parent) == STATE_DEAD)) {
        return false;
    }
    node_lock(h, parent);
    _Atomic uint32_t *list = base_links(h, parent);
    uint32_t children = (atomic_load_explicit(list, memory_order_relaxed) & LINK_CHILD_MASK) / LINK_CHILD_ONE;
    bool room = in_tree(h, parent) && children < h->child_limit;
    if (room) {
        atomic_store_explicit(&h->parent[child], parent, memory_order_release);
        atomic_fetch_add_explicit(list, LINK_CHILD_ONE, memory_order_relaxed);
        link_add_locked(h, s, parent, child, distance, 0);
    }
    node_unlock(h, parent);
    if (room) {
        link_add(h, s, child, parent, distance, 0);
    }
    return room;
}

static uint32_t first_child(const vd_hnsw *h, uint32_t slot) {
    const _Atomic uint32_t *list = base_links(h, slot);
    uint32_t count = links_count(list, h->m0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbour = link_get(list, i);
        if (parent_of(h, neighbour) == slot) {
            return neighbour;
        }
    }
    return SLOT_NONE;
}

/* From a node of the tree downwards until one has room: a node without room has children, and a leaf has room. */
static uint32_t adopt_below(vd_hnsw *h, scratch *s, uint32_t from, uint32_t child) {
    uint32_t at = from;
    for (;;) {
        if (adopt(h, s, at, child, pair_distance(h, s, at, child), true)) {
            return at;
        }
        uint32_t below = first_child(h, at);
        at = below != SLOT_NONE && below != child ? below : __atomic_load_n(&h->root, __ATOMIC_ACQUIRE);
    }
}

uint32_t tree_adopt(vd_hnsw *h, scratch *s, uint32_t slot, const candidate *sorted, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (adopt(h, s, sorted[i].slot, slot, sorted[i].distance, false)) {
            return sorted[i].slot;
        }
    }
    return adopt_below(h, s, __atomic_load_n(&h->root, __ATOMIC_ACQUIRE), slot);
}

/* Whether the way up from `slot` ends at the root: false inside subtrees that are waiting for a new parent. */
static bool attached(const vd_hnsw *h, uint32_t slot) {
    while (parent_of(h, slot) != SLOT_NONE) {
        slot = parent_of(h, slot);
    }
    return slot == h->root;
}

static void find_parent(vd_hnsw *h, scratch *s, uint32_t child, uint32_t hint) {
    candidate near[2 * VD_M_MAX];
    const _Atomic uint32_t *list = base_links(h, child);
    uint32_t count = links_count(list, h->m0);
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbour = link_get(list, i);
        if (slot_state(h, neighbour) != STATE_DEAD && attached(h, neighbour)) {
            near[n++] = (candidate){pair_distance(h, s, child, neighbour), neighbour};
        }
    }
    candidates_sort(near, n);
    for (uint32_t i = 0; i < n; i++) {
        if (adopt(h, s, near[i].slot, child, near[i].distance, false)) {
            return;
        }
    }
    adopt_below(h, s, hint != SLOT_NONE && attached(h, hint) ? hint : h->root, child);
}

void tree_remove(vd_hnsw *h, scratch *s, uint32_t slot) {
    uint32_t children[2 * VD_M_MAX];
    uint32_t count = 0;
    _Atomic uint32_t *list = base_links(h, slot);
    uint32_t links = links_count(list, h->m0);
    for (uint32_t i = 0; i < links; i++) {
        uint32_t neighbour = link_get(list, i);
        if (parent_of(h, neighbour) == slot) {
            children[count++] = neighbour;
        }
    }
    uint32_t parent = parent_of(h, slot);
    if (parent != SLOT_NONE) {
        atomic_fetch_sub_explicit(base_links(h, parent), LINK_CHILD_ONE, memory_order_relaxed);
        atomic_store_explicit(&h->parent[slot], SLOT_NONE, memory_order_release);
    }
    atomic_fetch_and_explicit(list, ~LINK_CHILD_MASK, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        atomic_store_explicit(&h->parent[children[i]], SLOT_NONE, memory_order_release);
    }
    uint32_t first = 0;
    if (h->root == slot) {
        __atomic_store_n(&h->root, count ? children[first++] : SLOT_NONE, __ATOMIC_RELEASE);
    }
    for (uint32_t i = first; i < count; i++) {
        find_parent(h, s, children[i], parent);
    }
}
