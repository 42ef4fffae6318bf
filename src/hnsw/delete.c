/*
 * delete.c - real deletes. A dead slot leaves every answer at once, its children in the tree find new parents at once, and within
 * a bounded number of deaths a sweep takes it out of every list: what lives of the list stays, and in place of the dead come the
 * best of the live nodes behind them. Then the slot is retired and used again.
 *
 * Until the sweep the dead still route searches and take room in their pools: a search that finds too many of them there walks once
 * more with more room (search.c). That is why their number is bounded. (Finding all in-links without a sweep would need reverse
 * lists: twice the memory of the lists.)
 */
#include <string.h>

#include "hnsw/hnsw_int.h"

#define SWEEP_LEAST       64u
#define SWEEP_MOST        256u
#define SWEEP_CHUNK       1024u
#define REPAIR_CANDIDATES 512u

static bool is_dead(const vd_hnsw *h, uint32_t slot) {
    return slot_state(h, slot) == STATE_DEAD;
}

/* Rewrites the list of `slot` without dead nodes, filled from behind them (two dead nodes deep). */
static void repair_list(const vd_hnsw *h, scratch *s, uint32_t slot, uint32_t level) {
    _Atomic uint32_t *list = level_links(h, slot, level);
    uint32_t capacity = level_capacity(h, level);
    uint32_t count = links_count(list, capacity);
    uint32_t dead[2 * VD_M_MAX];
    uint32_t dead_count = 0, found = 0;
    uint32_t *near = s->ids_a; /* BATCH_SLOTS_MAX entries */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbour = link_get(list, i);
        if (is_dead(h, neighbour)) {
            dead[dead_count++] = neighbour;
        } else {
            near[found++] = neighbour;
        }
    }
    if (dead_count == 0) {
        return;
    }
    const uint32_t alive = found;
    scratch_begin(s);
    (void)first_met(s, slot);
    for (uint32_t i = 0; i < count; i++) {
        (void)first_met(s, i < found ? near[i] : dead[i - found]);
    }
    for (uint32_t i = 0; i < dead_count; i++) { /* grows while it is walked: the dead behind the dead */
        const _Atomic uint32_t *behind = level_links(h, dead[i], level);
        uint32_t n = links_count(behind, capacity);
        for (uint32_t j = 0; j < n && found < REPAIR_CANDIDATES - 1; j++) {
            uint32_t other = link_get(behind, j);
            if (!first_met(s, other)) {
                continue;
            }
            if (!is_dead(h, other)) {
                near[found++] = other;
            } else if (dead_count < capacity) {
                dead[dead_count++] = other;
            }
        }
    }
    /* What lives of the list stays: it is diverse already, and its long links are what carries searches across the graph. Pruning it
     * anew with so many near candidates lost them (measured on 100,000 vectors after deleting half: recall 0.949 and 12 s). */
    walk_query q;
    candidate fresh[REPAIR_CANDIDATES];
    uint32_t kept[2 * VD_M_MAX];
    uint32_t fresh_count = found - alive;
    memcpy(kept, near, alive * sizeof *kept);
    pair_query(h, s, slot, &q);
    walk_distances(s, &q, near + alive, fresh_count, s->distances_a);
    for (uint32_t i = 0; i < fresh_count; i++) {
        fresh[i] = (candidate){s->distances_a[i], near[alive + i]};
    }
    candidates_sort(fresh, fresh_count);
    uint32_t n = prune_extend(h, s, fresh, fresh_count, count, kept, alive);
    /* A list keeps the length it had: else the graph gets thinner with every round of deletes (measured: degree 23 to 16 after half of
     * it went, and recall with it). */
    n = prune_fill(fresh, fresh_count, count, kept, n);
    links_store(list, kept, n);
}

typedef struct sweep {
    vd_hnsw *h;
    uint32_t slots;
    _Atomic uint32_t next;
} sweep;

static void sweep_task(void *arg, uint32_t index) {
    sweep *w = arg;
    vd_hnsw *h = w->h;
    scratch *s = index == 0 ? h->writer_scratch : scratch_take(h, 1);
    if (!s) {
        return; /* task 0 does it all */
    }
    for (;;) {
        uint32_t from = atomic_fetch_add_explicit(&w->next, SWEEP_CHUNK, memory_order_relaxed);
        if (from >= w->slots) {
            break;
        }
        uint32_t to = w->slots - from < SWEEP_CHUNK ? w->slots : from + SWEEP_CHUNK;
        for (uint32_t slot = from; slot < to; slot++) {
            if (slot_state(h, slot) != STATE_LIVE || twin_of_another(h, slot)) {
                continue;
            }
            for (uint32_t level = 0; level <= level_of(h, slot); level++) {
                repair_list(h, s, slot, level);
            }
        }
    }
    if (index != 0) {
        scratch_give(h, s);
    }
}

/* The highest live node of the graph becomes the entry point. */
static void replace_entry(vd_hnsw *h, uint32_t slots) {
    uint64_t best = ENTRY_NONE;
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (slot_state(h, slot) == STATE_LIVE && !twin_of_another(h, slot) &&
            (best == ENTRY_NONE || level_of(h, slot) > (uint32_t)(best >> 32))) {
            best = entry_make(slot, level_of(h, slot));
        }
    }
    atomic_store_explicit(&h->entry, best, memory_order_release);
}

static void sweep_dead(vd_hnsw *h, const vd_executor *executor) {
    atomic_fetch_add(&h->sweep_seq, 1);
    sweep w = {.h = h, .slots = atomic_load_explicit(&h->slots, memory_order_relaxed)};
    executor_run(executor, sweep_task, &w, w.slots > 4 * SWEEP_CHUNK ? executor_width(executor) : 1);
    uint64_t entry = atomic_load_explicit(&h->entry, memory_order_relaxed);
    if (entry != ENTRY_NONE && is_dead(h, (uint32_t)entry)) {
        replace_entry(h, w.slots);
    }
    for (size_t i = 0; i < h->dead_count; i++) {
        retire(h, RETIRED_SLOT, h->dead_list[i], 0);
    }
    h->dead_count = 0;
    atomic_store_explicit(&h->dead_pending, 0, memory_order_release);
}

static uint64_t stored_hash(vd_hnsw *h, uint32_t slot) {
    form_read(h, form_of(h), slot, h->writer_scratch->pair_vector);
    return hash_vector(h, h->writer_scratch->pair_vector);
}

/* The lot that `slot` draws when `dead` leaves a place. */
static uint64_t lot_of(uint32_t slot, uint32_t dead) {
    uint64_t x = ((uint64_t)dead << 32 | slot) * 0x9E3779B97F4A7C15ull;
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93ull;
    return x ^ x >> 32;
}

/* The copy that takes the place of its dead representative comes to the front of the chain. Every copy must then be told, so whose
 * turn it is falls by lot: whatever the order of deaths, the next one rarely meets the one chosen, and n deaths cost some n steps. (By
 * age it would be n^2 / 2: in order of insertion each death would be the representative's.) A search that is in the middle of the chain
 * can miss the heir; as this counts both as a publication and (twin_detach) as a sweep, it looks again. */
static uint32_t choose_heir(vd_hnsw *h, uint32_t dead) {
    uint32_t first = twin_next(h, dead), heir = first;
    for (uint32_t t = twin_next(h, first); t != SLOT_NONE; t = twin_next(h, t)) {
        heir = lot_of(t, dead) < lot_of(heir, dead) ? t : heir;
        h->write_steps++;
    }
    twin_to_front(h, heir, dead);
    return heir;
}

/* Gives a copy its dead representative's place in the graph, and the chain. */
static uint32_t promote(vd_hnsw *h, uint32_t dead) {
    atomic_fetch_add(&h->publish_seq, 1);
    uint32_t heir = choose_heir(h, dead);
    atomic_fetch_add(&h->publish_seq, 1);
    map_swing(&h->vector_map, stored_hash(h, heir), dead, heir);
    for (uint32_t t = twin_next(h, heir); t != SLOT_NONE; t = twin_next(h, t)) {
        atomic_store_explicit(&h->parent[t], heir, memory_order_release);
        h->write_steps++;
    }
    atomic_store_explicit(&h->is_twin[heir], 0, memory_order_relaxed);
    atomic_store_explicit(&h->parent[heir], SLOT_NONE, memory_order_release);
    slot_set_level(h, heir, slot_level(h, slot_id(h, heir)));
    link_nodes(h, &heir, 1, NULL);
    return heir;
}

void bury(vd_hnsw *h, size_t count, const vd_executor *executor) {
    const uint32_t *victims = h->work.dead;
    for (size_t i = 0; i < count; i++) {
        retire(h, RETIRED_PAYLOAD, (uintptr_t)atomic_load_explicit(&h->payloads[victims[i]], memory_order_relaxed), 0);
        if (twin_of_another(h, victims[i])) { /* all dead twins go before a chain looks for an heir */
            twin_detach(h, victims[i]);
            retire(h, RETIRED_SLOT, victims[i], 0);
        }
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = victims[i];
        if (!twin_of_another(h, slot)) {
            if (atomic_load_explicit(base_links(h, slot), memory_order_relaxed) & LINK_OPTIMIZED) {
                atomic_fetch_sub_explicit(&h->optimized, 1, memory_order_relaxed);
            }
            tree_remove(h, h->writer_scratch, slot);
            h->dead_list[h->dead_count++] = slot;
            atomic_fetch_sub_explicit(&h->linked, 1, memory_order_relaxed);
        }
    }
    size_t thin = 0; /* heirs among so many dead that their pools held little else: work.nodes, free since linking */
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = victims[i];
        if (twin_of_another(h, slot)) {
            continue;
        }
        if (twin_next(h, slot) != SLOT_NONE) {
            uint32_t heir = promote(h, slot);
            h->work.nodes[thin] = heir;
            thin += link_found_few(h, heir);
        } else {
            map_remove(&h->vector_map, stored_hash(h, slot), slot);
        }
    }
    atomic_store_explicit(&h->dead_pending, (uint32_t)h->dead_count, memory_order_release);
    uint64_t limit = vd_hnsw_count(h) / 4096;
    limit = limit < SWEEP_LEAST ? SWEEP_LEAST : limit > SWEEP_MOST ? SWEEP_MOST : limit;
    if (h->dead_count > limit || thin || (h->dead_count && h->root == SLOT_NONE)) {
        sweep_dead(h, executor);
    }
    link_more(h, h->work.nodes, thin);
}

vd_status vd_hnsw_delete(vd_hnsw *h, const vd_id *ids, size_t count, const vd_executor *executor, size_t *deleted,
                         vd_error *err) {
    pthread_mutex_lock(&h->writer);
    vd_status status = reserve_changes(h, count, err);
    size_t dead = 0;
    if (status == VD_OK) {
        atomic_store_explicit(&h->in_flux, true, memory_order_release);
        atomic_fetch_add(&h->publish_seq, 1);
        for (size_t i = 0; i < count; i++) {
            uint32_t slot = ids[i].size ? id_map_find(h, ids[i]) : SLOT_NONE;
            if (slot != SLOT_NONE) {
                map_remove(&h->id_map, hash_id(h, ids[i]), slot);
                atomic_store_explicit(&h->state[slot], STATE_DEAD, memory_order_release);
                h->work.dead[dead++] = slot;
            }
        }
        atomic_fetch_sub_explicit(&h->count, dead, memory_order_release);
        atomic_fetch_add(&h->publish_seq, 1);
        bury(h, dead, executor);
        atomic_store_explicit(&h->in_flux, false, memory_order_release);
        reclaim(h, false);
        reserve_used(h, dead);
    }
    pthread_mutex_unlock(&h->writer);
    if (deleted) {
        *deleted = dead;
    }
    return status;
}
