/*
 * epoch.c - readers' passes, and freeing what they may still see once they are gone (epoch-based reclamation: Fraser, "Practical
 * lock-freedom", 2004).
 *
 * A guard publishes the epoch it saw. The writer retires a thing under the current epoch, then advances it; the thing is freed
 * when no guard shows an epoch that old. Both sides order their two steps sequentially consistent: either the writer sees the
 * guard, or the reader came after the thing had been unlinked.
 */
#include <sched.h>

#include "hnsw/hnsw_int.h"

static _Thread_local uint32_t reader_hint;

void vd_hnsw_enter(const vd_hnsw *index, vd_hnsw_guard *guard) {
    vd_hnsw *h = (vd_hnsw *)index;
    for (uint32_t tries = 0;; tries++) {
        uint32_t i = (reader_hint + tries) % READER_SLOTS;
        uint64_t none = 0;
        uint64_t now = atomic_load(&h->epoch);
        if (atomic_load_explicit(&h->readers[i].epoch, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&h->readers[i].epoch, &none, now)) {
            /* Orders what this thread reads from now on behind the pass it has just shown, also where an acquire load may
             * overtake a store to another place (ARM with RCpc). */
            (void)atomic_load(&h->epoch);
            reader_hint = i;
            guard->slot = i;
            return;
        }
        if (tries % READER_SLOTS == READER_SLOTS - 1) {
            sched_yield(); /* more readers at once than slots: wait for one to leave */
        }
    }
}

void vd_hnsw_leave(const vd_hnsw *index, vd_hnsw_guard *guard) {
    atomic_store_explicit(&((vd_hnsw *)index)->readers[guard->slot].epoch, 0, memory_order_release);
}

vd_status retire_reserve(vd_hnsw *h, size_t more) {
    size_t need;
    if (!size_add(h->retired_count, more, &need)) {
        return VD_OUT_OF_MEMORY;
    }
    if (need <= h->retired_capacity) {
        return VD_OK;
    }
    size_t capacity = need + need / 2;
    size_t bytes;
    if (!size_mul(capacity, sizeof *h->retired, &bytes)) {
        return VD_OUT_OF_MEMORY;
    }
    retired *grown = mem_resize(&h->allocator, h->retired, h->retired_capacity * sizeof *grown, bytes);
    if (!grown) {
        return VD_OUT_OF_MEMORY;
    }
    h->retired = grown;
    h->retired_capacity = capacity;
    return VD_OK;
}

void retire(vd_hnsw *h, retired_kind kind, uintptr_t value, size_t size) {
    h->retired[h->retired_count++] = (retired){kind, atomic_load(&h->epoch), value, size};
}

static void free_one(vd_hnsw *h, const retired *r) {
    switch (r->kind) {
    case RETIRED_SLOT:
        slot_release(h, (uint32_t)r->value);
        break;
    case RETIRED_PAYLOAD:
        if (h->options.release_payload) {
            h->options.release_payload(h->options.release_context, (void *)r->value);
        }
        break;
    case RETIRED_FORM:
        form_free(h, (form *)r->value);
        break;
    case RETIRED_TABLE:
        table_free(h, (map_table *)r->value);
        break;
    case RETIRED_BLOCK:
        mem_release(&h->allocator, (void *)r->value, r->size);
        break;
    }
}

void reclaim(vd_hnsw *h, bool all) {
    if (h->retired_count == 0) {
        return;
    }
    atomic_fetch_add(&h->epoch, 1);
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < READER_SLOTS && !all; i++) {
        uint64_t seen = atomic_load(&h->readers[i].epoch);
        if (seen && seen < oldest) {
            oldest = seen;
        }
    }
    size_t done = 0;
    while (done < h->retired_count && h->retired[done].epoch < oldest) {
        free_one(h, &h->retired[done++]);
    }
    if (h->released_slots >= (vd_hnsw_count(h) ? RETURN_SLOTS : RETURN_EMPTY)) {
        planes_return(h);
        h->released_slots = 0;
    }
    h->retired_count -= done;
    for (size_t i = 0; done && i < h->retired_count; i++) {
        h->retired[i] = h->retired[done + i];
    }
}
