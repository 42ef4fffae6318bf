/*
 * tree.c - reachability by construction.
 *
 * Each node of the base level but the root has a parent that was in the tree before it, and both links between them are protected
 * from every prune. So the base level is strongly connected at all times: no insertion, prune or deletion elsewhere can cut an
 * item off. A node carries at most child_limit children, which leaves the other half of its list to the diversity rule; but two
 * always (m = 2, lists of three), or the tree would be a path, with its end as far away as there are nodes.
 *
 * Threading: the writer's, on one thread; the lists it changes are in nobody else's hands at that time (link.c, delete.c).
 */
#include "hnsw/hnsw_int.h"

static bool in_tree(const vd_hnsw *h, uint32_t slot) {
    return parent_of(h, slot) != SLOT_NONE || h->root == slot;
}

float pair_distance(const vd_hnsw *h, scratch *s, uint32_t a, uint32_t b) {
    walk_query q;
    float d[KERNEL_OUT_PAD];
    pair_query(h, s, a, &q);
    walk_distances(s, &q, &b, 1, d);
    return d[0];
}

static bool has_room(const vd_hnsw *h, uint32_t slot) {
    uint32_t word = atomic_load_explicit(base_links(h, slot), memory_order_relaxed);
    return (word & LINK_CHILD_MASK) / LINK_CHILD_ONE < (h->child_limit > 2 ? h->child_limit : 2u);
}

/* Takes the child if there is room; the lists are the caller's. */
static bool adopt(vd_hnsw *h, uint32_t parent, uint32_t child, bool dead_too) {
    if (parent == child || (!dead_too && slot_state(h, parent) == STATE_DEAD) || !in_tree(h, parent) ||
        !has_room(h, parent)) {
        return false;
    }
    atomic_store_explicit(&h->parent[child], parent, memory_order_release);
    atomic_fetch_add_explicit(base_links(h, parent), LINK_CHILD_ONE, memory_order_relaxed);
    return true;
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

/* From a node of the tree downwards until one has room: a node without room has children, and a leaf has room. While a batch joins,
 * children may not stand in their parent's list yet; where the way down ends like that, any node with room will do. Those that came
 * last have most: from `child` backwards. */
static uint32_t adopt_below(vd_hnsw *h, uint32_t from, uint32_t child, bool joining) {
    for (uint32_t at = from;;) {
        h->write_steps++;
        if (adopt(h, at, child, true)) {
            return at;
        }
        uint32_t below = first_child(h, at);
        if (below == SLOT_NONE && joining) {
            break;
        }
        at = below != SLOT_NONE && below != child ? below : h->root;
    }
    uint32_t slots = atomic_load_explicit(&h->slots, memory_order_relaxed);
    for (uint32_t at = child;;) { /* there is one: children are fewer than nodes */
        h->write_steps++;
        at = at ? at - 1 : slots - 1;
        if (slot_state(h, at) != STATE_FREE && !twin_of_another(h, at) && adopt(h, at, child, true)) {
            return at;
        }
    }
}

/* The own list must show the parent: at its end, or in place of the last. A full list is in order of distance (link.c fills up short
 * ones only), so that is the furthest. */
static void show_parent(vd_hnsw *h, uint32_t slot, uint32_t parent) {
    _Atomic uint32_t *list = base_links(h, slot);
    uint32_t count = links_count(list, h->m0);
    for (uint32_t i = 0; i < count; i++) {
        if (link_get(list, i) == parent) {
            return;
        }
    }
    if (count < h->m0) {
        atomic_store_explicit(&list[1 + count], parent, memory_order_release);
        atomic_fetch_add_explicit(list, 1, memory_order_release);
    } else {
        atomic_store_explicit(&list[count], parent, memory_order_release);
    }
}

uint32_t tree_adopt(vd_hnsw *h, uint32_t slot) {
    const _Atomic uint32_t *list = base_links(h, slot);
    uint32_t count = links_count(list, h->m0);
    for (uint32_t i = 0; i < count; i++) { /* nearest first, but for those that filled it up */
        if (adopt(h, link_get(list, i), slot, false)) {
            return link_get(list, i);
        }
    }
    uint32_t parent = adopt_below(h, count ? link_get(list, 0) : h->root, slot, true);
    show_parent(h, slot, parent);
    return parent;
}

static void link_both(vd_hnsw *h, scratch *s, uint32_t parent, uint32_t child) {
    float distance = pair_distance(h, s, parent, child);
    candidate down = {distance, child}, up = {distance, parent};
    links_add(h, s, parent, 0, &down, 1, 1.0f);
    links_add(h, s, child, 0, &up, 1, 1.0f);
}

/* Whether the way up from `slot` ends at the root: false inside subtrees that are waiting for a new parent. */
static bool attached(vd_hnsw *h, uint32_t slot) {
    while (parent_of(h, slot) != SLOT_NONE) {
        h->write_steps++;
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
        if (adopt(h, near[i].slot, child, false)) {
            link_both(h, s, near[i].slot, child);
            return;
        }
    }
    link_both(h, s, adopt_below(h, hint != SLOT_NONE && attached(h, hint) ? hint : h->root, child, false), child);
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
        h->root = count ? children[first++] : SLOT_NONE;
    }
    for (uint32_t i = first; i < count; i++) {
        find_parent(h, s, children[i], parent);
    }
}
