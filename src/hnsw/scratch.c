/*
 * scratch.c - working memory of one search or one insertion, pooled in the index so that a warm query allocates nothing.
 *
 * Visited set: a bit per slot in 64-bit words, each word valid only when its 16-bit tag shows the current epoch. Forgetting
 * everything is one increment.
 *
 * Threading: a scratch belongs to one thread between take and give; the pool is an array of atomic pointers.
 */
#include <string.h>

#include "hnsw/hnsw_int.h"

#define EF_FIRST 512u

static size_t round64(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* What a neighbourhood can hold beside the pool: a node's own list, and its fellows of a batch. */
#define CANDIDATES_MORE (2 * VD_M_MAX + LINK_BATCH_MAX)

static scratch *scratch_new(const vd_hnsw *h, uint32_t slots, uint32_t ef) {
    size_t words = ((size_t)slots + slots / 8 + 4096) / 64 + 1;
    size_t entries = ef < EF_FIRST ? EF_FIRST : ef;
    size_t values = h->code_size; /* the dimension and padding */
    size_t parts[] = {sizeof(scratch),
                      words * sizeof(uint64_t),
                      words * sizeof(uint16_t),
                      (entries + 32) * sizeof(uint64_t), /* pool.c looks and writes up to 16 keys further */
                      values,
                      values,
                      values * sizeof(float),
                      values * sizeof(float),
                      (entries + CANDIDATES_MORE) * sizeof(candidate),
                      (entries + CANDIDATES_MORE) * sizeof(float),
                      (entries + CANDIDATES_MORE) * sizeof(uint16_t),
                      (entries + RERANK_MOST + 16) * sizeof(result),
                      BATCH_SLOTS_MAX * sizeof(uint32_t),
                      BATCH_SLOTS_MAX * sizeof(uint32_t),
                      (BATCH_SLOTS_MAX + KERNEL_OUT_PAD) * sizeof(float)};
    enum { PARTS = sizeof parts / sizeof parts[0] };
    size_t bytes = 64; /* for aligning the block itself */
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = round64(parts[i]);
        bytes += parts[i];
    }
    uint8_t *block = mem_alloc(&h->allocator, bytes);
    if (!block) {
        return NULL;
    }
    /* The struct stands at the block's start (so that it can be freed); what must be aligned comes after. */
    scratch *s = (scratch *)block;
    memset(s, 0, sizeof *s);
    uint8_t *at = (uint8_t *)(((uintptr_t)block + sizeof *s + 63) / 64 * 64);
    void *part[PARTS];
    for (size_t i = 1; i < PARTS; i++) {
        part[i] = at;
        at += parts[i];
    }
    s->bytes = bytes;
    atomic_fetch_add_explicit(&((vd_hnsw *)h)->scratch_bytes, bytes, memory_order_relaxed);
    s->visited = part[1];
    s->visited_tag = part[2];
    s->visited_words = words;
    memset(s->visited_tag, 0, words * sizeof(uint16_t));
    s->pool.keys = part[3];
    memset(s->pool.keys, 0, (entries + 32) * sizeof(uint64_t));
    s->pool_capacity = entries;
    s->query_code = part[4];
    s->pair_code = part[5];
    s->query_vector = part[6];
    s->pair_vector = part[7];
    s->candidates = part[8];
    s->occlusion = part[9];
    s->occlusion_checked = part[10];
    s->results = part[11];
    s->ids_a = part[12];
    s->ids_b = part[13];
    s->distances_a = part[14];
    s->budget = UINT64_MAX;
    return s;
}

static void scratch_fresh(scratch *s) {
    s->distances = 0;
    s->refined = 0;
    s->reranked = 0;
    s->hops = 0;
    s->budget = UINT64_MAX;
    s->cancel = NULL;
    s->truncated = false;
    s->stale = false;
    s->passed_by = false;
}

void scratch_free(const vd_hnsw *h, scratch *s) {
    if (s) {
        atomic_fetch_sub_explicit(&((vd_hnsw *)h)->scratch_bytes, s->bytes, memory_order_relaxed);
        mem_release(&h->allocator, s, s->bytes);
    }
}

bool scratch_fits(const vd_hnsw *h, const scratch *s, uint32_t ef) {
    return s->visited_words * 64 >= atomic_load_explicit(&((vd_hnsw *)h)->slots, memory_order_acquire) &&
           s->pool_capacity >= ef;
}

scratch *scratch_take(const vd_hnsw *h, uint32_t ef) {
    vd_hnsw *index = (vd_hnsw *)h;
    for (size_t i = 0; i < SCRATCH_SLOTS; i++) {
        if (atomic_load_explicit(&index->scratches[i], memory_order_relaxed)) {
            scratch *s = atomic_exchange_explicit(&index->scratches[i], NULL, memory_order_acquire);
            if (s && scratch_fits(h, s, ef)) {
                scratch_fresh(s);
                return s;
            }
            scratch_free(h, s); /* outgrown */
        }
    }
    return scratch_new(h, atomic_load_explicit(&index->slots, memory_order_acquire), ef);
}

void scratch_give(const vd_hnsw *h, scratch *s) {
    vd_hnsw *index = (vd_hnsw *)h;
    atomic_fetch_add_explicit(&index->distances, s->distances, memory_order_relaxed);
    for (size_t i = 0; i < SCRATCH_SLOTS; i++) {
        scratch *none = NULL;
        if (!atomic_load_explicit(&index->scratches[i], memory_order_relaxed) &&
            atomic_compare_exchange_strong_explicit(&index->scratches[i], &none, s, memory_order_release,
                                                    memory_order_relaxed)) {
            return;
        }
    }
    scratch_free(h, s);
}

vd_status scratch_reserve_writer(vd_hnsw *h, uint32_t ef) {
    scratch *s = h->writer_scratch;
    /* Slots that the coming batch takes count too, and they have been made usable already. */
    if (s && s->visited_words * 64 >= h->slots_ready && s->pool_capacity >= ef) {
        return VD_OK;
    }
    scratch *fresh = scratch_new(h, h->slots_ready, ef);
    if (!fresh) {
        return VD_OUT_OF_MEMORY;
    }
    if (s) {
        atomic_fetch_add_explicit(&h->distances, s->distances, memory_order_relaxed);
    }
    scratch_free(h, s);
    h->writer_scratch = fresh;
    return VD_OK;
}

void scratch_begin(scratch *s) {
    if (++s->visited_epoch == 0) {
        memset(s->visited_tag, 0, s->visited_words * sizeof(uint16_t));
        s->visited_epoch = 1;
    }
}
