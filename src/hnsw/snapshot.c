/*
 * snapshot.c - the live items of one moment, sorted by id, while writing goes on.
 *
 * Taking it costs the writers one pass over the state plane. After that it is a reader like any other: its guard keeps every slot
 * it names in place, vectors and ids of a slot never change, and links to slots outside the picture are left out.
 */
#include <stdlib.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

struct vd_hnsw_snapshot {
    vd_hnsw *h;
    vd_hnsw_guard guard;
    scratch *scratch;
    const form *form;    /* kept in place by the guard */
    uint32_t *slots;     /* [count], by id */
    uint32_t *positions; /* [slot_count]: position of a slot, or SLOT_NONE */
    uint32_t count, slot_count, levels;
};

static _Thread_local const vd_hnsw *sorting; /* qsort has no context argument */

static int by_id(const void *a, const void *b) {
    return id_compare(slot_id(sorting, *(const uint32_t *)a), slot_id(sorting, *(const uint32_t *)b));
}

vd_status vd_hnsw_snapshot_begin(vd_hnsw *h, vd_hnsw_snapshot **out, vd_error *err) {
    vd_hnsw_snapshot *s = mem_alloc(&h->allocator, sizeof *s);
    scratch *work = scratch_take(h, 1);
    if (!s || !work) {
        goto no_memory;
    }
    memset(s, 0, sizeof *s);
    pthread_mutex_lock(&h->writer);
    vd_hnsw_enter(h, &s->guard);
    s->h = h;
    s->form = form_of(h);
    s->slot_count = atomic_load_explicit(&h->slots, memory_order_relaxed);
    uint64_t count = vd_hnsw_count(h);
    s->slots = mem_alloc_array(&h->allocator, count + 1, sizeof *s->slots);
    s->positions = mem_alloc_array(&h->allocator, (size_t)s->slot_count + 1, sizeof *s->positions);
    if (!s->slots || !s->positions) {
        mem_release(&h->allocator, s->slots, (count + 1) * sizeof *s->slots);
        mem_release(&h->allocator, s->positions, ((size_t)s->slot_count + 1) * sizeof *s->positions);
        vd_hnsw_leave(h, &s->guard);
        pthread_mutex_unlock(&h->writer);
        goto no_memory;
    }
    for (uint32_t slot = 0; slot < s->slot_count; slot++) {
        if (slot_state(h, slot) == STATE_LIVE) {
            s->slots[s->count++] = slot;
        }
    }
    pthread_mutex_unlock(&h->writer);
    sorting = h;
    qsort(s->slots, s->count, sizeof *s->slots, by_id);
    memset(s->positions, 0xFF, (size_t)s->slot_count * sizeof *s->positions);
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t slot = s->slots[i];
        s->positions[slot] = i;
        uint32_t levels = (upper_of(h, slot) == BLOCK_NONE ? 0u : level_of(h, slot)) + 1u;
        s->levels = levels > s->levels ? levels : s->levels;
    }
    s->scratch = work;
    *out = s;
    return VD_OK;

no_memory:
    if (work) {
        scratch_give(h, work);
    }
    mem_release(&h->allocator, s, sizeof *s);
    return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
}

void vd_hnsw_snapshot_end(vd_hnsw_snapshot *s) {
    if (!s) {
        return;
    }
    vd_hnsw *h = s->h;
    scratch_give(h, s->scratch);
    vd_hnsw_leave(h, &s->guard);
    mem_release(&h->allocator, s->slots, ((size_t)s->count + 1) * sizeof *s->slots);
    mem_release(&h->allocator, s->positions, ((size_t)s->slot_count + 1) * sizeof *s->positions);
    mem_release(&h->allocator, s, sizeof *s);
}

uint64_t vd_hnsw_snapshot_count(const vd_hnsw_snapshot *s) {
    return s->count;
}

uint32_t vd_hnsw_snapshot_levels(const vd_hnsw_snapshot *s) {
    return s->levels;
}

static uint32_t node_level(const vd_hnsw_snapshot *s, uint32_t slot) {
    uint32_t level = upper_of(s->h, slot) == BLOCK_NONE ? 0 : level_of(s->h, slot);
    return level < s->levels ? level : s->levels - 1; /* a copy promoted since then has risen */
}

void vd_hnsw_snapshot_node(vd_hnsw_snapshot *s, uint64_t position, vd_hnsw_node *out) {
    uint32_t slot = s->slots[position];
    form_read(s->h, s->form, slot, s->scratch->query_vector);
    *out = (vd_hnsw_node){
        .id = slot_id(s->h, slot),
        .vector = s->scratch->query_vector,
        .payload = atomic_load_explicit(&s->h->payloads[slot], memory_order_acquire),
        .level = node_level(s, slot),
    };
}

size_t vd_hnsw_snapshot_links(vd_hnsw_snapshot *s, uint64_t position, uint32_t level, uint32_t *out, size_t capacity) {
    const vd_hnsw *h = s->h;
    uint32_t slot = s->slots[position];
    if (twin_of_another(h, slot)) {
        /* An exact copy is not in the graph: it shows its representative, and is reached through nobody. */
        uint32_t representative = parent_of(h, slot);
        uint32_t at = representative < s->slot_count ? s->positions[representative] : SLOT_NONE;
        if (level > 0 || capacity == 0 || at == SLOT_NONE || at == position) {
            return 0;
        }
        out[0] = at;
        return 1;
    }
    if (level > node_level(s, slot)) {
        return 0;
    }
    const _Atomic uint32_t *list = level_links(h, slot, level);
    uint32_t count = links_count(list, level_capacity(h, level));
    candidate near[2 * VD_M_MAX];
    uint32_t slots[2 * VD_M_MAX];
    float distances[2 * VD_M_MAX + KERNEL_OUT_PAD];
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbour = link_get(list, i);
        bool shown = neighbour < s->slot_count && s->positions[neighbour] != SLOT_NONE && neighbour != slot &&
                     node_level(s, neighbour) >= level;
        for (uint32_t j = 0; shown && j < n; j++) {
            shown = slots[j] != neighbour; /* a list caught in the middle of a change may name one twice */
        }
        if (shown) {
            slots[n++] = neighbour;
        }
    }
    walk_query q;
    pair_query(h, s->scratch, slot, &q);
    walk_distances(s->scratch, &q, slots, n, distances);
    for (uint32_t i = 0; i < n; i++) {
        near[i] = (candidate){distances[i], slots[i]};
    }
    candidates_sort(near, n);
    size_t given = n < capacity ? n : capacity;
    for (size_t i = 0; i < given; i++) {
        out[i] = s->positions[near[i].slot];
    }
    return given;
}
