/*
 * check.c - every invariant of the index, looked at one by one. What the tests trust, and what a damaged index shows.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

static void note(vd_hnsw_report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(vd_hnsw_report *r, const char *format, ...) {
    if (r->first[0]) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(r->first, sizeof r->first, format, args);
    va_end(args);
}

static bool in_graph(const vd_hnsw *h, uint32_t slot) {
    uint8_t state = slot_state(h, slot);
    return (state == STATE_LIVE || state == STATE_DEAD) && !twin_of_another(h, slot);
}

static void check_lists(const vd_hnsw *h, uint32_t slot, uint32_t slots, vd_hnsw_report *r, uint64_t *degrees) {
    for (uint32_t level = 0; level <= level_of(h, slot); level++) {
        const _Atomic uint32_t *list = level_links(h, slot, level);
        uint32_t raw = atomic_load_explicit(list, memory_order_acquire) & LINK_COUNT_MASK;
        uint32_t count = links_count(list, level_capacity(h, level));
        if (raw != count) {
            r->bad_links++;
            note(r, "slot %u level %u: %u links where %u fit", slot, level, raw, level_capacity(h, level));
        }
        *degrees += level == 0 ? count : 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t to = link_get(list, i);
            bool good = to < slots && to != slot && in_graph(h, to) && level_of(h, to) >= level;
            for (uint32_t j = 0; good && j < i; j++) {
                good = link_get(list, j) != to;
            }
            if (!good) {
                r->bad_links++;
                note(r, "slot %u level %u: bad link to %u", slot, level, to);
            }
        }
    }
}

static bool has_link(const vd_hnsw *h, uint32_t from, uint32_t to) {
    const _Atomic uint32_t *list = base_links(h, from);
    uint32_t count = links_count(list, h->m0);
    for (uint32_t i = 0; i < count; i++) {
        if (link_get(list, i) == to) {
            return true;
        }
    }
    return false;
}

static void check_tree(const vd_hnsw *h, uint32_t slot, uint32_t slots, vd_hnsw_report *r) {
    uint32_t parent = parent_of(h, slot);
    if (slot_state(h, slot) != STATE_LIVE) {
        return;
    }
    if (parent == SLOT_NONE) {
        if (h->root != slot) {
            r->bad_links++;
            note(r, "slot %u has no parent and is not the root", slot);
        }
        return;
    }
    if (parent >= slots || !has_link(h, slot, parent) || !has_link(h, parent, slot)) {
        r->bad_links++;
        note(r, "slot %u: a link of the tree to its parent %u is missing", slot, parent);
    }
}

static void check_twin(const vd_hnsw *h, uint32_t slot, vd_hnsw_report *r) {
    uint32_t representative = parent_of(h, slot);
    bool found = false;
    if (representative != SLOT_NONE && in_graph(h, representative)) {
        for (uint32_t t = twin_next(h, representative); t != SLOT_NONE && !found; t = twin_next(h, t)) {
            found = t == slot;
        }
    }
    if (!found) {
        r->bad_links++;
        note(r, "slot %u: not in the chain of its representative %u", slot, representative);
    }
}

/* Breadth first over the base level from the entry point; `queue` and `seen` have room for all slots. */
static void check_reachable(const vd_hnsw *h, uint32_t slots, uint32_t *queue, uint8_t *seen, vd_hnsw_report *r) {
    uint64_t entry = atomic_load(&((vd_hnsw *)h)->entry);
    uint32_t head = 0, tail = 0;
    memset(seen, 0, slots);
    if (entry != ENTRY_NONE) {
        queue[tail++] = (uint32_t)entry;
        seen[(uint32_t)entry] = 1;
    }
    while (head < tail) {
        const _Atomic uint32_t *list = base_links(h, queue[head++]);
        uint32_t count = links_count(list, h->m0);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t to = link_get(list, i);
            if (to < slots && !seen[to]) {
                seen[to] = 1;
                queue[tail++] = to;
            }
        }
    }
    for (uint32_t slot = 0; slot < slots; slot++) {
        uint32_t node = twin_of_another(h, slot) ? parent_of(h, slot) : slot;
        if (slot_state(h, slot) == STATE_LIVE && (node >= slots || !seen[node])) {
            r->unreachable++;
            note(r, "slot %u cannot be reached from the entry point", slot);
        }
    }
}

vd_status vd_hnsw_check(vd_hnsw *h, vd_hnsw_report *report, vd_error *err) {
    vd_hnsw_report r = {0};
    pthread_mutex_lock(&h->writer);
    uint32_t slots = atomic_load_explicit(&h->slots, memory_order_relaxed);
    uint32_t *queue = mem_alloc_array(&h->allocator, (size_t)slots + 1, sizeof *queue);
    uint8_t *seen = mem_alloc(&h->allocator, (size_t)slots + 1);
    float *vector = mem_alloc_array(&h->allocator, 2 * (size_t)h->options.dimension, sizeof *vector);
    if (!queue || !seen || !vector) {
        mem_release(&h->allocator, vector, 2 * (size_t)h->options.dimension * sizeof *vector);
        mem_release(&h->allocator, queue, ((size_t)slots + 1) * sizeof *queue);
        mem_release(&h->allocator, seen, (size_t)slots + 1);
        pthread_mutex_unlock(&h->writer);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    uint64_t degrees = 0, nodes = 0;
    for (uint32_t slot = 0; slot < slots; slot++) {
        uint8_t state = slot_state(h, slot);
        if (state == STATE_LIVE) {
            r.items++;
            if (id_map_find(h, slot_id(h, slot)) != slot) {
                r.bad_map++;
                note(&r, "slot %u: its id leads elsewhere", slot);
            }
        }
        if (state == STATE_PENDING) {
            r.bad_map++;
            note(&r, "slot %u is pending while nobody writes", slot);
        }
        if (level_of(h, slot) >= VD_LEVELS_MAX ||
            (level_of(h, slot) > 0 && in_graph(h, slot) && upper_of(h, slot) == BLOCK_NONE)) {
            r.bad_levels++;
            note(&r, "slot %u: bad level %u", slot, level_of(h, slot));
            continue;
        }
        if (state == STATE_LIVE && twin_of_another(h, slot)) {
            check_twin(h, slot, &r);
        } else if (state == STATE_LIVE) {
            nodes++;
            check_lists(h, slot, slots, &r, &degrees);
            check_tree(h, slot, slots, &r);
            form_read(h, form_of(h), slot, vector);
            if (vector_map_find(h, vector, vector + h->options.dimension) != slot) {
                r.bad_map++;
                note(&r, "slot %u: its vector leads elsewhere", slot);
            }
        }
    }
    if (r.items != vd_hnsw_count(h) || h->id_map.entries != r.items) {
        r.bad_map++;
        note(&r, "%llu live slots, %llu counted, %llu ids", (unsigned long long)r.items,
             (unsigned long long)vd_hnsw_count(h), (unsigned long long)h->id_map.entries);
    }
    check_reachable(h, slots, queue, seen, &r);
    r.mean_degree = nodes ? (double)degrees / (double)nodes : 0.0;
    mem_release(&h->allocator, queue, ((size_t)slots + 1) * sizeof *queue);
    mem_release(&h->allocator, seen, (size_t)slots + 1);
    mem_release(&h->allocator, vector, 2 * (size_t)h->options.dimension * sizeof *vector);
    pthread_mutex_unlock(&h->writer);
    if (report) {
        *report = r;
    }
    if (r.unreachable || r.bad_links || r.bad_levels || r.bad_map) {
        return vd_fail(err, VD_INTERNAL, NULL, "%s", r.first);
    }
    return VD_OK;
}
