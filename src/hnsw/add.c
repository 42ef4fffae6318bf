/*
 * add.c - a batch: checked, given slots, written, linked in parallel, then made visible at once.
 *
 * Replacing an item is a new slot, the id swung over, and the old slot buried: nothing that a reader looks at is ever rewritten.
 * Exact copies of a vector that is there already (bit for bit) stay out of the graph: they hang in a chain on their
 * representative and appear in answers with it. Otherwise a few thousand copies would fill each other's lists.
 */
#include <stdio.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

static vd_status check_items(const vd_hnsw *h, const vd_hnsw_item *items, size_t count, size_t *id_bytes,
                             vd_error *err) {
    *id_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        char field[48];
        if (items[i].id.size < VD_ID_MIN_BYTES || items[i].id.size > VD_ID_MAX_BYTES) {
            snprintf(field, sizeof field, "items[%zu].id", i);
            return items[i].id.size == 0
                       ? vd_fail(err, VD_INVALID_ARGUMENT, field, "items[%zu]: empty id", i)
                       : vd_fail(err, VD_INVALID_ARGUMENT, field, "items[%zu]: id too long (%u bytes, at most %d)", i,
                                 items[i].id.size, VD_ID_MAX_BYTES);
        }
        vd_error inner;
        if (vd_hnsw_validate(h, items[i].vector, &inner) != VD_OK) {
            snprintf(field, sizeof field, "items[%zu].vector", i);
            return vd_fail(err, VD_INVALID_ARGUMENT, field, "items[%zu]: %s", i, inner.text);
        }
        *id_bytes += ids_need(items[i].id);
    }
    return VD_OK;
}

/* Marks all but the last of equal ids; their payloads are never seen and go at once. */
static void drop_overridden(vd_hnsw *h, const vd_hnsw_item *items, size_t count) {
    batch_work *w = &h->work;
    size_t table = 64;
    while (table < count * 2) {
        table *= 2;
    }
    memset(w->dedupe, 0xFF, table * sizeof *w->dedupe);
    for (size_t i = count; i-- > 0;) {
        size_t at = hash_id(h, items[i].id) & (table - 1);
        bool overridden = false;
        for (; w->dedupe[at] != SLOT_NONE && !overridden; at = (at + 1) & (table - 1)) {
            const vd_id *later = &items[w->dedupe[at]].id;
            overridden = later->size == items[i].id.size && memcmp(later->data, items[i].id.data, later->size) == 0;
        }
        w->slots[i] = overridden ? SLOT_NONE : 0;
        if (!overridden) {
            w->dedupe[at] = (uint32_t)i;
        } else if (h->options.release_payload) {
            h->options.release_payload(h->options.release_context, items[i].payload);
        }
    }
}

typedef struct batch {
    vd_hnsw *h;
    const vd_hnsw_item *items;
    size_t count;
    _Atomic size_t next;
} batch;

#define WRITE_CHUNK 64

static void write_task(void *arg, uint32_t index) {
    (void)index;
    batch *b = arg;
    for (;;) {
        size_t from = atomic_fetch_add_explicit(&b->next, WRITE_CHUNK, memory_order_relaxed);
        if (from >= b->count) {
            return;
        }
        size_t to = from + WRITE_CHUNK < b->count ? from + WRITE_CHUNK : b->count;
        for (size_t i = from; i < to; i++) {
            if (b->h->work.slots[i] != SLOT_NONE) {
                form_write(b->h, form_of(b->h), b->h->work.slots[i], b->items[i].vector);
            }
        }
    }
}

static void take_slots(vd_hnsw *h, const vd_hnsw_item *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (h->work.slots[i] == SLOT_NONE) {
            continue;
        }
        uint32_t slot = slot_take(h);
        ids_set(h, slot, items[i].id);
        if (items[i].payload) { /* NULL already; an index without payloads never touches their plane */
            h->has_payloads = true;
            atomic_store_explicit(&h->payloads[slot], items[i].payload, memory_order_relaxed);
        }
        h->work.slots[i] = slot;
    }
}

/* Into the graph, or onto the chain of the representative of the same bits. */
static size_t separate_twins(vd_hnsw *h, const vd_hnsw_item *items, size_t count) {
    const form *f = form_of(h);
    size_t nodes = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = h->work.slots[i];
        if (slot == SLOT_NONE) {
            continue;
        }
        const float *vector = form_canonical(h, f, items[i].vector, h->writer_scratch->query_vector);
        uint32_t representative = vector_map_find(h, vector, h->writer_scratch->pair_vector);
        if (representative == SLOT_NONE) {
            map_put(&h->vector_map, hash_vector(h, vector), slot);
            slot_set_level(h, slot, slot_level(h, slot_id(h, slot)));
            h->work.nodes[nodes++] = slot;
        } else {
            twin_attach(h, slot, representative);
        }
    }
    return nodes;
}

/* An id that moves to another slot could be missed by a scan in both: swing_seq says so, and is odd while that goes on. */
static size_t publish(vd_hnsw *h, size_t count) {
    size_t dead = 0, fresh = 0;
    atomic_fetch_add(&h->publish_seq, 1);
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = h->work.slots[i];
        if (slot == SLOT_NONE) {
            continue;
        }
        vd_id id = slot_id(h, slot);
        uint64_t hash = hash_id(h, id);
        uint32_t old = id_map_find(h, id);
        if (old != SLOT_NONE && dead == 0) {
            atomic_fetch_add(&h->swing_seq, 1);
        }
        atomic_store_explicit(&h->state[slot], STATE_LIVE, memory_order_release);
        if (old == SLOT_NONE) {
            map_put(&h->id_map, hash, slot);
            fresh++;
        } else {
            map_swing(&h->id_map, hash, old, slot);
            atomic_store_explicit(&h->state[old], STATE_DEAD, memory_order_release);
            h->work.dead[dead++] = old;
        }
    }
    if (dead > 0) {
        atomic_fetch_add(&h->swing_seq, 1);
    }
    atomic_fetch_add_explicit(&h->count, fresh, memory_order_release);
    atomic_fetch_add(&h->publish_seq, 1);
    return dead;
}

static void add_batch(vd_hnsw *h, const vd_hnsw_item *items, size_t count, const vd_executor *executor) {
    batch b = {.h = h, .items = items, .count = count};
    uint32_t width = executor_width(executor);
    drop_overridden(h, items, count);
    take_slots(h, items, count);
    executor_run(executor, write_task, &b, count >= 2 * WRITE_CHUNK ? width : 1);
    size_t nodes = separate_twins(h, items, count);
    atomic_store_explicit(&h->in_flux, true, memory_order_release);
    link_nodes(h, h->work.nodes, nodes, executor);
    size_t dead = publish(h, count);
    bury(h, dead, executor);
    atomic_store_explicit(&h->in_flux, false, memory_order_release);
    reclaim(h, false);
}

vd_status vd_hnsw_add(vd_hnsw *h, const vd_hnsw_item *items, size_t count, const vd_executor *executor, vd_error *err) {
    size_t id_bytes;
    vd_status status = check_items(h, items, count, &id_bytes, err);
    if (status || count == 0) {
        return status;
    }
    pthread_mutex_lock(&h->writer);
    status = reserve_items(h, count, id_bytes, err);
    if (status == VD_OK) {
        /* A large first batch stops once to look which encoding its own vectors suit, and goes on with that. */
        uint64_t before = vd_hnsw_count(h);
        size_t first = count;
        if (before < ENCODING_CHECK_ITEMS && before + count > ENCODING_CHECK_ITEMS) {
            first = (size_t)(ENCODING_CHECK_ITEMS - before);
        }
        for (size_t from = 0, to = first; from < count; from = to, to = count) {
            add_batch(h, items + from, to - from, executor);
            if (encoding_check_due(h)) {
                (void)encoding_check(h, executor); /* without memory it stays as it is */
            }
        }
        reclaim(h, false); /* a form that was replaced just now */
        reserve_used(h, count);
    }
    pthread_mutex_unlock(&h->writer);
    return status;
}
