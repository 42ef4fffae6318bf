/*
 * search.c - the k nearest: walk the graph (or scan a small index), then order the best by their exact distances.
 *
 * The walk ranks by codes or float32; the best k + RERANK_EXTRA of it are measured again in double from the exact vectors, and
 * exact copies of a node come out of its chain. A stored vector that equals the query bit for bit is looked up by its hash as
 * well, so an item is always found by its own vector, whatever ef is.
 */
#include <math.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

#define WINDOW_MOST 8192u /* a pool larger than this costs more than measuring everything */
#define RETRIES     4     /* searches that a publication overtook look again, at most so often */

typedef struct result {
    double distance;
    uint32_t slot;
} result;

/* The best `capacity` so far, ascending by (distance, id bytes). */
typedef struct top {
    const vd_hnsw *h;
    result *best;
    size_t count, capacity;
} top;

static bool before(const vd_hnsw *h, const result *a, const result *b) {
    if (a->distance != b->distance) {
        return a->distance < b->distance;
    }
    return id_compare(slot_id(h, a->slot), slot_id(h, b->slot)) < 0;
}

static void top_put(top *t, double distance, uint32_t slot) {
    result r = {distance, slot};
    if (t->count == t->capacity && (t->capacity == 0 || !before(t->h, &r, &t->best[t->count - 1]))) {
        return;
    }
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (before(t->h, &t->best[middle], &r)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < t->count && t->best[low].slot == slot) {
        return; /* met twice: by the walk and by its hash */
    }
    if (t->count < t->capacity) {
        t->count++;
    }
    memmove(t->best + low + 1, t->best + low, (t->count - 1 - low) * sizeof *t->best);
    t->best[low] = r;
}

/* Emits a node of the graph and its exact copies; returns whether any of them is live. */
static bool emit(top *t, const float *query, double norm2, uint32_t slot, bool *dead) {
    const vd_hnsw *h = t->h;
    double distance = exact_distance(h, query, norm2, slot);
    bool any = false;
    for (uint32_t at = slot; at != SLOT_NONE; at = atomic_load_explicit(&h->twin[at], memory_order_acquire)) {
        uint8_t state = slot_state(h, at);
        if (state == STATE_LIVE) {
            top_put(t, distance, at);
            any = true;
        }
        *dead |= state == STATE_DEAD;
    }
    return any;
}

static void scan(top *t, const float *query, double norm2, scratch *s) {
    const vd_hnsw *h = t->h;
    uint32_t slots = atomic_load_explicit(&((vd_hnsw *)h)->slots, memory_order_acquire);
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (slot_state(h, slot) == STATE_LIVE) {
            top_put(t, exact_distance(h, query, norm2, slot), slot);
            s->distances++;
        }
    }
}

/* Descends to the base level with a scratch that knows every slot it can meet there: while this search was on its way, a batch
 * may have been added. *s is then another one, or NULL when there is no memory. false: nothing to walk on. */
static bool descend(const vd_hnsw *h, scratch **s, const float *query, uint32_t ef, candidate *nearest) {
    for (;;) {
        query_from_vector(h, *s, query);
        if (!walk_descend(h, *s, 0, nearest)) {
            return false;
        }
        if (scratch_fits(h, *s, ef)) { /* looked at after the entry point: whatever was met was handed out before */
            return true;
        }
        scratch *fresh = scratch_take(h, ef);
        if (fresh) {
            fresh->hops = (*s)->hops;
        }
        scratch_give(h, *s);
        *s = fresh;
        if (!fresh) {
            return false;
        }
    }
}

/* How many of the pool are in no answer: the new ones of a batch that is being linked, and the dead. */
static uint32_t count_hidden(const vd_hnsw *h, const scratch *s) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->pool_size; i++) {
        count += slot_state(h, pool_slot(s->pool[i])) != STATE_LIVE;
    }
    return count;
}

static bool in_flux(const vd_hnsw *index, uint64_t seq) {
    vd_hnsw *h = (vd_hnsw *)index;
    return atomic_load_explicit(&h->in_flux, memory_order_acquire) || atomic_load(&h->publish_seq) != seq;
}

/* Walks with room for `ef` items in the pool beside what is not (or no longer) one. A batch that is being written just where the
 * query looks can take all the room: then the walk is done again with more. false: so much is in the way that a scan is quicker. */
static bool walk_around(const vd_hnsw *h, scratch **work, const float *query, uint32_t ef, uint32_t window,
                        uint32_t hidden, uint64_t seq) {
    bool flux = in_flux(h, seq);
    for (;;) {
        candidate nearest;
        if (!descend(h, work, query, window, &nearest)) {
            if (*work) {
                (*work)->pool_size = 0;
            }
            return true;
        }
        walk_level(h, *work, nearest, 0, window, hidden);
        if ((!flux && !in_flux(h, seq)) || (*work)->pool_size < window) {
            return true;
        }
        uint32_t in_the_way = count_hidden(h, *work);
        if (window - in_the_way >= ef) {
            return true;
        }
        if (window >= WINDOW_MOST) {
            return false;
        }
        window = ef + 2 * in_the_way;
        window = window > WINDOW_MOST ? WINDOW_MOST : window;
    }
}

static bool walk(top *t, const float *query, double norm2, scratch **work, uint32_t k, uint32_t ef, uint32_t window,
                 uint32_t hidden, uint64_t seq, bool *dead) {
    const vd_hnsw *h = t->h;
    if (!walk_around(h, work, query, ef, window, hidden, seq)) {
        return false;
    }
    scratch *s = *work;
    if (!s) {
        return true;
    }
    uint32_t extra = k / 2 > RERANK_EXTRA ? k / 2 : RERANK_EXTRA;
    uint32_t wanted = k + extra, counted = 0;
    for (uint32_t i = 0; i < s->pool_size && i < wanted;
         i++) { /* all of them at once: each is several cache lines away */
        const char *x = (const char *)(h->vectors + (size_t)pool_slot(s->pool[i]) * h->options.dimension);
        for (size_t line = 0; line < h->options.dimension * sizeof(float); line += 64) {
            __builtin_prefetch(x + line);
        }
    }
    for (uint32_t i = 0; i < s->pool_size && counted < wanted; i++) {
        counted += emit(t, query, norm2, pool_slot(s->pool[i]), dead);
        s->distances++;
    }
    return true;
}

/* While a batch became visible, an id may have been met in its old and its new slot: keep the nearer. */
static void drop_repeated_ids(top *t) {
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        bool repeated = false;
        for (size_t j = 0; j < kept && !repeated; j++) {
            repeated = id_compare(slot_id(t->h, t->best[j].slot), slot_id(t->h, t->best[i].slot)) == 0;
        }
        if (!repeated) {
            t->best[kept++] = t->best[i];
        }
    }
    t->count = kept;
}

vd_status vd_hnsw_search(const vd_hnsw *index, const float *query, const vd_hnsw_search_options *options, vd_hit *hits,
                         size_t *count, vd_search_info *info, vd_error *err) {
    return search_without(index, query, options, SLOT_NONE, hits, count, info, err);
}

vd_status search_without(const vd_hnsw *index, const float *query, const vd_hnsw_search_options *options,
                         uint32_t hidden, vd_hit *hits, size_t *count, vd_search_info *info, vd_error *err) {
    vd_hnsw *h = (vd_hnsw *)index;
    vd_status status = vd_hnsw_validate(h, query, err);
    if (status) {
        return status;
    }
    uint32_t k = options->k ? options->k : VD_K_DEFAULT;
    uint32_t ef = options->ef;
    if (ef == 0) {
        ef = ef_effective(h);
        /* calibrated at k = 10: a longer answer needs a wider search */
        ef = k > CALIBRATION_K ? ef + (k - CALIBRATION_K) + (k - CALIBRATION_K) / 4 : ef;
    }
    ef = ef < k ? k : ef;
    /* the dead that wait for a sweep take room in the pool and are nobody's answer */
    uint32_t window = ef + atomic_load_explicit(&h->dead_pending, memory_order_acquire);
    uint64_t items = vd_hnsw_count(h);
    bool exact = options->exact || items <= SCAN_ITEMS || items <= k;
    scratch *s = scratch_take(h, window);
    result *best = mem_alloc_array(&h->allocator, (size_t)k + RERANK_EXTRA + 1, sizeof *best);
    if (!s || !best) {
        if (s) {
            scratch_give(h, s);
        }
        mem_release(&h->allocator, best, ((size_t)k + RERANK_EXTRA + 1) * sizeof *best);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    double norm2 = h->kernels->exact_dot(query, query, h->options.dimension);
    top t = {.h = h, .best = best, .capacity = (size_t)k + RERANK_EXTRA};
    for (int tries = 0; tries < RETRIES; tries++) {
        uint64_t seq = atomic_load(&h->publish_seq);
        bool dead = false;
        t.count = 0;
        if (exact) {
            scan(&t, query, norm2, s);
        } else {
            bool walked = walk(&t, query, norm2, &s, k, ef, window, hidden, seq, &dead);
            if (!s) {
                mem_release(&h->allocator, best, ((size_t)k + RERANK_EXTRA + 1) * sizeof *best);
                return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
            }
            if (!walked) {
                scan(&t, query, norm2, s);
            }
            uint32_t same = vector_map_find(h, query);
            if (same != SLOT_NONE && same != hidden) {
                emit(&t, query, norm2, same, &dead);
            }
        }
        bool undisturbed = (seq & 1) == 0 && atomic_load(&h->publish_seq) == seq;
        if (undisturbed) {
            break;
        }
        drop_repeated_ids(&t);
        if (!dead && !exact && t.count >= k) {
            break; /* nothing that died meanwhile was in the way, and repeated ids did not leave the answer short */
        }
    }
    *count = t.count < k ? t.count : k;
    for (size_t i = 0; i < *count; i++) {
        hits[i] = (vd_hit){best[i].distance, slot_id(h, best[i].slot),
                           atomic_load_explicit(&h->payloads[best[i].slot], memory_order_relaxed)};
    }
    if (info) {
        *info = (vd_search_info){exact ? 0 : ef, s->hops, s->distances, exact};
    }
    scratch_give(h, s);
    mem_release(&h->allocator, best, ((size_t)k + RERANK_EXTRA + 1) * sizeof *best);
    return VD_OK;
}

vd_status vd_hnsw_get(const vd_hnsw *h, vd_id id, float *vector, void **payload) {
    for (;;) {
        uint32_t slot = id.size ? id_map_find(h, id) : SLOT_NONE;
        if (slot == SLOT_NONE) {
            return VD_NOT_FOUND;
        }
        if (slot_state(h, slot) != STATE_LIVE) {
            if (id_map_find(h, id) == slot) {
                return VD_NOT_FOUND; /* deleted between the two looks */
            }
            continue; /* replaced meanwhile: the map shows the new slot */
        }
        if (vector) {
            memcpy(vector, h->vectors + (size_t)slot * h->options.dimension, h->options.dimension * sizeof *vector);
        }
        if (payload) {
            *payload = atomic_load_explicit(&h->payloads[slot], memory_order_relaxed);
        }
        return VD_OK;
    }
}
