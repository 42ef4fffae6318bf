/*
 * slots.c - taking and giving back slots, their ids and their upper lists. Everything here has been reserved before
 * (vd_hnsw_reserve), so that taking cannot fail in the middle of a write.
 *
 * Threading: the writer's.
 */
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "hnsw/hnsw_int.h"

/* ---- slots ---- */

/* A plane that most indexes never use stays untouched, and so costs nothing: zeros are written only over something else. */
#define STORE_CHANGED(at, value)                                                                                       \
    do {                                                                                                               \
        if (atomic_load_explicit(at, memory_order_relaxed) != (value)) {                                               \
            atomic_store_explicit(at, value, memory_order_relaxed);                                                    \
        }                                                                                                              \
    } while (0)

uint32_t slot_take(vd_hnsw *h) {
    uint32_t *list = h->free_slots != SLOT_NONE ? &h->free_slots : &h->free_returned;
    uint32_t slot = *list;
    if (slot != SLOT_NONE) {
        h->free_count--;
        *list = atomic_load_explicit(&h->parent[slot], memory_order_relaxed);
        if (h->returned[slot / RETURN_SLOTS]) {
            h->returned[slot / RETURN_SLOTS] = 0;
            h->returned_slots -= RETURN_SLOTS;
        }
    } else {
        slot = atomic_load_explicit(&h->slots, memory_order_relaxed);
    }
    atomic_store_explicit(&h->levels[slot], 0, memory_order_relaxed);
    atomic_store_explicit(&h->upper[slot], 0, memory_order_relaxed);
    STORE_CHANGED(&h->is_twin[slot], 0);
    atomic_store_explicit(base_links(h, slot), 0, memory_order_relaxed);
    atomic_store_explicit(&h->parent[slot], SLOT_NONE, memory_order_relaxed);
    STORE_CHANGED(&h->twin[slot], 0);
    STORE_CHANGED(&h->payloads[slot], NULL);
    atomic_store_explicit(&h->state[slot], STATE_PENDING, memory_order_release);
    if (slot == atomic_load_explicit(&h->slots, memory_order_relaxed)) {
        atomic_store_explicit(&h->slots, slot + 1, memory_order_release);
    }
    return slot;
}

void slot_release(vd_hnsw *h, uint32_t slot) {
    if (upper_of(h, slot) != BLOCK_NONE) {
        uint32_t blocks = level_of(h, slot);
        _Atomic uint32_t *first = h->upper_links + (size_t)upper_of(h, slot) * h->upper_stride;
        atomic_store_explicit(first, h->free_uppers[blocks], memory_order_relaxed);
        h->free_uppers[blocks] = upper_of(h, slot);
        atomic_store_explicit(&h->upper[slot], 0, memory_order_relaxed);
    }
    form_release(form_of(h), slot);
    ids_clear(h, slot);
    atomic_store_explicit(&h->state[slot], STATE_FREE, memory_order_release);
    atomic_store_explicit(&h->parent[slot], h->free_slots, memory_order_relaxed);
    h->free_slots = slot;
    h->free_count++;
    h->released_slots++;
}

uint32_t slot_level(const vd_hnsw *h, vd_id id) {
    /* Geometric with ratio 1/m from a hash of the id: the same data gets the same levels on any thread count. */
    uint64_t bits = hash_bytes(h->options.seed ^ 0x6C6576656C73ull, id.data, id.size);
    double u = ((double)(bits >> 11) + 1.0) * 0x1p-53; /* (0, 1] */
    double level = -log(u) / log((double)h->m);
    return level >= VD_LEVELS_MAX - 1 ? VD_LEVELS_MAX - 1 : (uint32_t)level;
}

void slot_set_level(vd_hnsw *h, uint32_t slot, uint32_t level) {
    for (; level > 0; level--) {
        uint32_t block = h->free_uppers[level];
        if (block != BLOCK_NONE) {
            h->free_uppers[level] =
                atomic_load_explicit(h->upper_links + (size_t)block * h->upper_stride, memory_order_relaxed);
        } else if (h->upper_ready - h->upper_used >= level) {
            block = h->upper_used;
            h->upper_used += level;
        } else {
            continue;
        }
        for (uint32_t i = 0; i < level; i++) {
            atomic_store_explicit(h->upper_links + (size_t)(block + i) * h->upper_stride, 0, memory_order_relaxed);
        }
        /* A snapshot may be looking at a copy that rises: its lists are empty before they can be found. */
        atomic_store_explicit(&h->upper[slot], block + 1, memory_order_release);
        break;
    }
    atomic_store_explicit(&h->levels[slot], (uint8_t)level, memory_order_relaxed);
}

/* ---- chains of copies ---- */

/* What a copy stands behind is kept in its base list, which nobody reads (its count is 0): without it each death of a copy would have
 * to look for it from the front, and it takes no memory, as the count is written anyway. */
static _Atomic uint32_t *twin_previous(const vd_hnsw *h, uint32_t slot) {
    return base_links(h, slot) + 1;
}

static void twin_join(vd_hnsw *h, uint32_t previous, uint32_t next) {
    if (next != SLOT_NONE) {
        atomic_store_explicit(twin_previous(h, next), previous, memory_order_relaxed);
    }
    if (twin_next(h, previous) != next) { /* an index without copies never touches their plane */
        twin_set_next(h, previous, next);
    }
}

void twin_attach(vd_hnsw *h, uint32_t slot, uint32_t representative) {
    h->has_twins = true;
    atomic_store_explicit(&h->is_twin[slot], 1, memory_order_relaxed);
    atomic_store_explicit(&h->parent[slot], representative, memory_order_release);
    twin_join(h, slot, twin_next(h, representative));
    twin_join(h, representative, slot);
}

void twin_detach(vd_hnsw *h, uint32_t slot) {
    atomic_fetch_add(&h->sweep_seq, 1); /* a search may pass by where it was, and have passed where its id is now */
    h->write_steps++;
    twin_join(h, atomic_load_explicit(twin_previous(h, slot), memory_order_relaxed), twin_next(h, slot));
}

void twin_to_front(vd_hnsw *h, uint32_t slot, uint32_t representative) {
    uint32_t first = twin_next(h, representative);
    if (slot != first) {
        twin_detach(h, slot);
        twin_join(h, slot, first);
        twin_join(h, representative, slot);
    }
}

/* ---- ids: bump allocation in chunks, freed blocks kept by size class ---- */

#define CHUNK_BYTES 65536u

typedef struct id_chunk {
    struct id_chunk *older;
    size_t size;
} id_chunk;

int id_compare(vd_id a, vd_id b) {
    return bytes_compare(bytes_of(a.data, a.size), bytes_of(b.data, b.size));
}

static size_t id_class(size_t size) {
    return (size + 7) / 8;
}

size_t ids_need(vd_id id) {
    return id.size > ID_INLINE ? id_class(id.size) * 8 : 0;
}

vd_status ids_reserve(vd_hnsw *h, size_t need) {
    id_store *s = &h->id_store;
    if (need == 0 || (s->chunks && s->chunks->size - s->chunk_used >= need)) {
        return VD_OK;
    }
    size_t size;
    if (!size_add(need < CHUNK_BYTES ? CHUNK_BYTES : need, sizeof(id_chunk), &size)) {
        return VD_OUT_OF_MEMORY;
    }
    /* What is left of the old chunk goes to the free blocks, so that frequent reserves cannot waste more than they use. */
    id_chunk *chunk = mem_alloc(&h->allocator, size);
    if (!chunk) {
        return VD_OUT_OF_MEMORY;
    }
    if (s->chunks) {
        size_t left = s->chunks->size - s->chunk_used;
        char *at = (char *)s->chunks + s->chunk_used;
        while (left >= 8) {
            size_t piece = left / 8 > id_class(VD_ID_MAX_BYTES) ? id_class(VD_ID_MAX_BYTES) : left / 8;
            memcpy(at, &s->free_blocks[piece], sizeof(void *));
            s->free_blocks[piece] = at;
            at += piece * 8;
            left -= piece * 8;
        }
    }
    chunk->older = s->chunks;
    chunk->size = size;
    s->chunks = chunk;
    s->chunk_used = sizeof *chunk;
    s->bytes += size;
    return VD_OK;
}

void ids_set(vd_hnsw *h, uint32_t slot, vd_id id) {
    id_store *s = &h->id_store;
    char *at = (char *)&h->ids[slot];
    if (id.size > ID_INLINE) {
        size_t class = id_class(id.size);
        at = s->free_blocks[class];
        if (at) {
            memcpy(&s->free_blocks[class], at, sizeof(void *));
        } else {
            at = (char *)s->chunks + s->chunk_used;
            s->chunk_used += class * 8;
        }
        h->ids[slot] = at;
    }
    memcpy(at, id.data, id.size);
    h->id_sizes[slot] = (uint16_t)id.size;
}

void ids_clear(vd_hnsw *h, uint32_t slot) {
    size_t size = h->id_sizes[slot];
    if (size > ID_INLINE) {
        size_t class = id_class(size);
        memcpy(h->ids[slot], &h->id_store.free_blocks[class], sizeof(void *));
        h->id_store.free_blocks[class] = h->ids[slot];
    }
    h->ids[slot] = NULL;
    h->id_sizes[slot] = 0;
}

size_t ids_bytes(const vd_hnsw *h) {
    const id_store *s = &h->id_store;
    return s->chunks ? s->bytes - (s->chunks->size - s->chunk_used) : 0; /* what is not used yet has not been touched */
}

void ids_close(vd_hnsw *h) {
    while (h->id_store.chunks) {
        id_chunk *chunk = h->id_store.chunks;
        h->id_store.chunks = chunk->older;
        mem_release(&h->allocator, chunk, chunk->size);
    }
}
