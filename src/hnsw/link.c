/*
 * link.c - puts nodes into the graph (algorithm 1 of arXiv 1603.09320), many at a time and always to the same effect.
 *
 * Nodes go in by batches of at most LINK_BATCH_MAX, and no more than a fiftieth of what is there. A batch takes three steps:
 *   1. side by side, on a graph that stands still: each node searches it, compares itself with those before it in the batch, and
 *      writes its own lists, which nobody can see yet;
 *   2. one after the other: each gets a parent in the tree (tree.c), its links back are noted, the entry point rises;
 *   3. side by side by list: every list that is to get links back gets all of them at once, from one thread.
 * What a step reads, no thread of the same step writes, so the graph does not depend on how many threads there are or how they
 * run; and no list needs a lock. Compared with one node after the other, a list that gets several links is pruned once.
 *
 * The own lists of all levels are there before anyone links back, so that a search that meets a new node can always go on. It is in
 * the graph from the first link back on, and in nobody's answer until its state is LIVE.
 *
 * Walking goes by whatever searches walk by; before links are chosen, distances are measured by all bits.
 *
 * Threading: the writer's; step 1 and 3 on the executor.
 */
#include <string.h>

#include "hnsw/hnsw_int.h"

#define ALPHA_ONLINE 1.0f
/* Links are chosen from the nearer half of what was found: looking at the rest too costs a fifth more time to build, and searches 2 %
 * fewer distances. */
#define CHOICE_SHARE   2
#define PARALLEL_LEAST 8 /* nodes in a batch from which waking other threads pays */

/* Links back that one node can have to be noted for: its own links of all levels, and its parent. */
static size_t back_most(const vd_hnsw *h, uint32_t level) {
    return (size_t)h->m0 + 1 + (size_t)level * h->m;
}

vd_status link_reserve(vd_hnsw *h) {
    batch_work *w = &h->work;
    if (w->back) {
        return VD_OK;
    }
    /* Room for a full batch of base lists, and for the upper lists of a usual one; a batch ends where they would not fit. */
    size_t capacity = LINK_BATCH_MAX * back_most(h, 0) / 4 * 5 + back_most(h, VD_LEVELS_MAX);
    size_t map = 1024;
    while (map < 2 * capacity) {
        map *= 2;
    }
    back_link *back = mem_alloc_array(&h->allocator, capacity, sizeof *back);
    back_group *groups = mem_alloc_array(&h->allocator, capacity, sizeof *groups);
    uint32_t *group_map = mem_alloc_array(&h->allocator, map, sizeof *group_map);
    if (!back || !groups || !group_map) {
        mem_release(&h->allocator, back, capacity * sizeof *back);
        mem_release(&h->allocator, groups, capacity * sizeof *groups);
        mem_release(&h->allocator, group_map, map * sizeof *group_map);
        return VD_OUT_OF_MEMORY;
    }
    w->back = back;
    w->groups = groups;
    w->group_map = group_map;
    w->back_capacity = capacity;
    w->group_map_size = map;
    return VD_OK;
}

void link_close(vd_hnsw *h) {
    batch_work *w = &h->work;
    mem_release(&h->allocator, w->back, w->back_capacity * sizeof *w->back);
    mem_release(&h->allocator, w->groups, w->back_capacity * sizeof *w->groups);
    mem_release(&h->allocator, w->group_map, w->group_map_size * sizeof *w->group_map);
}

/* ---- links back ---- */

typedef struct apply {
    vd_hnsw *h;
    float alpha;
    uint32_t groups;
    _Atomic uint32_t next;
} apply;

static void apply_task(void *arg, uint32_t index) {
    apply *a = arg;
    vd_hnsw *h = a->h;
    batch_work *w = &h->work;
    scratch *s = index == 0 ? h->writer_scratch : scratch_take(h, 1);
    if (!s) {
        return; /* task 0 does it all */
    }
    for (;;) {
        uint32_t g = atomic_fetch_add_explicit(&a->next, 1, memory_order_relaxed);
        if (g >= a->groups) {
            break;
        }
        candidate fresh[LINK_BATCH_MAX];
        uint32_t count = 0;
        const back_link *first = &w->back[w->groups[g].first];
        for (const back_link *b = first;; b = &w->back[b->next]) {
            fresh[count++] = (candidate){b->distance, b->from};
            if (b->next == BACK_NONE || count == LINK_BATCH_MAX) {
                break;
            }
        }
        links_add(h, s, first->target, first->level, fresh, count, a->alpha);
    }
    if (index != 0) {
        scratch_give(h, s);
    }
}

void back_links_apply(vd_hnsw *h, size_t count, float alpha, const vd_executor *executor) {
    batch_work *w = &h->work;
    apply a = {.h = h, .alpha = alpha};
    const size_t mask = w->group_map_size - 1;
    memset(w->group_map, 0, w->group_map_size * sizeof *w->group_map);
    for (size_t i = 0; i < count; i++) {
        back_link *b = &w->back[i];
        b->next = BACK_NONE;
        size_t at = (b->target * 0x9E3779B1u ^ b->level * 0x85EBCA77u) & mask;
        uint32_t group = 0;
        for (; (group = w->group_map[at]) != 0; at = (at + 1) & mask) {
            const back_link *first = &w->back[w->groups[group - 1].first];
            if (first->target == b->target && first->level == b->level) {
                break;
            }
        }
        if (group) {
            w->back[w->groups[group - 1].last].next = (uint32_t)i;
            w->groups[group - 1].last = (uint32_t)i;
        } else {
            w->groups[a.groups] = (back_group){(uint32_t)i, (uint32_t)i};
            w->group_map[at] = ++a.groups;
        }
    }
    executor_run(executor, apply_task, &a, a.groups >= 4 * PARALLEL_LEAST ? executor_width(executor) : 1);
}

/* ---- a batch ---- */

typedef struct link_batch {
    vd_hnsw *h;
    const uint32_t *nodes;
    uint32_t count;
    uint64_t entry;                        /* as the batch finds it */
    size_t first_back[LINK_BATCH_MAX + 1]; /* where each node's links back are noted */
    uint32_t back_count[LINK_BATCH_MAX];
    _Atomic uint32_t next;
} link_batch;

/* What the walk found and what stands before node `i` in the batch, nearest first. */
static uint32_t gather(const vd_hnsw *h, scratch *s, const link_batch *b, uint32_t i, uint32_t level, bool walked) {
    candidate *c = s->candidates;
    uint32_t count = 0;
    for (uint32_t j = 0; walked && j < s->pool.size; j++) {
        uint32_t slot = key_slot(s->pool.keys[j]);
        if (slot != b->nodes[i] && slot_state(h, slot) != STATE_DEAD) {
            c[count++] = (candidate){key_distance(s->pool.keys[j]), slot};
        }
    }
    uint32_t from_graph = s->two_lanes ? 0 : count; /* those measured by all bits already */
    for (uint32_t j = 0; j < i; j++) {
        if (level_of(h, b->nodes[j]) >= level) {
            c[count++].slot = b->nodes[j];
        }
    }
    candidates_refine(s, from_graph, count);
    uint32_t most = h->options.ef_construction / CHOICE_SHARE;
    most = most > h->m0 ? most : h->m0;
    return count < most ? count : most;
}

static void choose_links(link_batch *b, scratch *s, uint32_t i) {
    vd_hnsw *h = b->h;
    uint32_t slot = b->nodes[i], level = level_of(h, slot);
    back_link *back = h->work.back + b->first_back[i];
    uint32_t top = b->entry == ENTRY_NONE ? 0 : (uint32_t)(b->entry >> 32);
    candidate nearest = {0, SLOT_NONE};
    b->back_count[i] = 0;
    query_from_slot(h, s, slot);
    bool any = walk_descend(h, s, b->entry, top < level ? top : level, SLOT_NONE, &nearest);
    for (uint32_t l = level + 1; l-- > 0;) {
        bool walked = any && l <= top;
        if (walked) {
            walk_level(h, s, nearest, l, h->options.ef_construction);
            nearest = (candidate){key_distance(s->pool.keys[0]), key_slot(s->pool.keys[0])};
        }
        uint32_t count = gather(h, s, b, i, l, walked);
        uint32_t kept[2 * VD_M_MAX];
        uint32_t n = prune_select(h, s, SLOT_NONE, s->candidates, count, level_capacity(h, l), ALPHA_ONLINE, kept);
        /* Where every near node covers the rest (lengths that vary tenfold: 4.7 links of 31) the graph would be too thin: recall at
         * equal distances was 7 points less. Other data keeps more than that anyway. */
        n = l == 0 ? prune_fill(s->candidates, count, h->m / 2, kept, n) : n;
        links_store(level_links(h, slot, l), kept, n);
        for (uint32_t j = 0; j < n; j++) {
            uint32_t at = 0;
            while (s->candidates[at].slot != kept[j]) {
                at++;
            }
            back[b->back_count[i]++] = (back_link){kept[j], slot, s->candidates[at].distance, l, BACK_NONE};
        }
    }
}

static void choose_task(void *arg, uint32_t index) {
    link_batch *b = arg;
    scratch *s = index == 0 ? b->h->writer_scratch : scratch_take(b->h, b->h->options.ef_construction);
    if (!s) {
        return; /* task 0 has the writer's scratch, which is always there; the others help when they find memory */
    }
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
        if (i >= b->count) {
            break;
        }
        choose_links(b, s, i);
    }
    if (index != 0) {
        scratch_give(b->h, s);
    }
}

/* Step 2: parents, the notes moved together, the entry point. Returns the number of notes. */
static size_t join(link_batch *b) {
    vd_hnsw *h = b->h;
    size_t count = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        uint32_t slot = b->nodes[i], level = level_of(h, slot);
        memmove(h->work.back + count, h->work.back + b->first_back[i], b->back_count[i] * sizeof *h->work.back);
        if (h->root == SLOT_NONE) { /* the first, or the first since all others died */
            h->root = slot;
            atomic_store_explicit(&h->entry, entry_make(slot, level), memory_order_release);
        } else {
            uint32_t parent = tree_adopt(h, slot);
            bool noted = false;
            for (uint32_t j = 0; j < b->back_count[i] && !noted; j++) {
                noted = h->work.back[count + j].target == parent && h->work.back[count + j].level == 0;
            }
            if (!noted) {
                h->work.back[count + b->back_count[i]++] =
                    (back_link){parent, slot, pair_distance(h, h->writer_scratch, parent, slot), 0, BACK_NONE};
            }
        }
        count += b->back_count[i];
        uint64_t entry = atomic_load_explicit(&h->entry, memory_order_relaxed);
        if (entry == ENTRY_NONE || level > (uint32_t)(entry >> 32)) {
            /* its lists are there; those that link to it come with step 3, and it can do without */
            atomic_store_explicit(&h->entry, entry_make(slot, level), memory_order_release);
        }
    }
    return count;
}

static uint32_t batch_size(const vd_hnsw *h, const uint32_t *nodes, size_t left, link_batch *b) {
    uint64_t share = atomic_load_explicit(&h->linked, memory_order_relaxed) / LINK_BATCH_SHARE;
    size_t most = share > LINK_BATCH_MAX ? LINK_BATCH_MAX : share < 1 ? 1 : (size_t)share;
    uint32_t count = 0;
    b->first_back[0] = 0;
    while (count < most && count < left) {
        size_t end = b->first_back[count] + back_most(h, level_of(h, nodes[count]));
        if (end > h->work.back_capacity) {
            break;
        }
        b->first_back[++count] = end;
    }
    return count;
}

void link_nodes(vd_hnsw *h, const uint32_t *nodes, size_t count, const vd_executor *executor) {
    for (size_t from = 0; from < count;) {
        link_batch b = {.h = h, .nodes = nodes + from};
        b.entry = atomic_load_explicit(&h->entry, memory_order_relaxed);
        b.count = batch_size(h, nodes + from, count - from, &b);
        bool alone = b.count < PARALLEL_LEAST;
        executor_run(executor, choose_task, &b, alone ? 1 : executor_width(executor));
        back_links_apply(h, join(&b), ALPHA_ONLINE, alone ? NULL : executor);
        atomic_fetch_add_explicit(&h->linked, b.count, memory_order_relaxed);
        from += b.count;
    }
}

/* ---- once more ---- */

bool link_found_few(const vd_hnsw *h, uint32_t slot) {
    uint64_t others = atomic_load_explicit(&((vd_hnsw *)h)->linked, memory_order_relaxed) - 1;
    uint32_t least = h->m / 2, found = h->options.ef_construction / CHOICE_SHARE;
    least = least < found ? least : found;
    least = least < others ? least : (uint32_t)others;
    return links_count(base_links(h, slot), h->m0) < least;
}

static void add_found(vd_hnsw *h, scratch *s, uint32_t slot, uint32_t level, uint32_t count) {
    _Atomic uint32_t *list = level_links(h, slot, level);
    uint32_t capacity = level_capacity(h, level), have = links_count(list, capacity), fresh = 0;
    candidate *c = s->candidates;
    uint32_t kept[2 * VD_M_MAX];
    scratch_begin(s);
    (void)first_met(s, slot);
    for (uint32_t i = 0; i < have; i++) {
        kept[i] = link_get(list, i);
        (void)first_met(s, kept[i]);
    }
    for (uint32_t i = 0; i < count; i++) { /* a fellow can stand in the pool too */
        if (first_met(s, c[i].slot)) {
            c[fresh++] = c[i];
        }
    }
    uint32_t n = prune_extend(h, s, c, fresh, capacity, kept, have);
    n = level == 0 ? prune_fill(c, fresh, h->m / 2, kept, n) : n;
    links_store(list, kept, n);
    for (uint32_t i = 0; i < fresh; i++) {
        bool taken = false;
        for (uint32_t j = have; j < n && !taken; j++) {
            taken = kept[j] == c[i].slot;
        }
        if (taken) {
            candidate back = {c[i].distance, slot};
            links_add(h, s, c[i].slot, level, &back, 1, ALPHA_ONLINE);
        }
    }
}

void link_more(vd_hnsw *h, const uint32_t *nodes, size_t count) {
    scratch *s = h->writer_scratch;
    for (size_t at = 0; at < count; at++) {
        uint32_t fellows = at < LINK_BATCH_MAX - 1 ? (uint32_t)at : LINK_BATCH_MAX - 1;
        link_batch b = {.h = h, .nodes = nodes + at - fellows, .count = fellows + 1};
        uint32_t slot = nodes[at], level = level_of(h, slot);
        uint64_t entry = atomic_load_explicit(&h->entry, memory_order_relaxed);
        candidate nearest = {0, SLOT_NONE};
        if (entry == ENTRY_NONE) {
            return;
        }
        uint32_t top = (uint32_t)(entry >> 32);
        query_from_slot(h, s, slot);
        (void)walk_descend(h, s, entry, top < level ? top : level, SLOT_NONE, &nearest);
        for (uint32_t l = (top < level ? top : level) + 1; l-- > 0;) {
            walk_level(h, s, nearest, l, h->options.ef_construction);
            nearest = (candidate){key_distance(s->pool.keys[0]), key_slot(s->pool.keys[0])};
            add_found(h, s, slot, l, gather(h, s, &b, fellows, l, true));
        }
    }
}
