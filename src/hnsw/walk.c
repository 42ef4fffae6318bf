/*
 * walk.c - distances for walking, and best-first search of one level.
 *
 * The loop is a pipeline of three stages over different nodes, so that no memory is waited for: (1) the list of the node popped
 * one turn ago has arrived: collect its unvisited neighbours and prefetch their records; (2) pop the next node and prefetch its
 * list; (3) compute the distances of the batch prefetched one turn ago. What is popped in (2) does not know the distances of (3)
 * yet; that costs about 1 % more distances and was measured 1.2 times faster than computing first.
 *
 * The pool is one sorted array of 64-bit keys {distance bits, slot}: distances are never negative, so their bits order as integers.
 */
#include <math.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

/* ---- queries ---- */

static void flip_codes(const uint8_t *from, int8_t *to, size_t size) {
    for (size_t i = 0; i < size; i++) {
        to[i] = (int8_t)(from[i] ^ 0x80u);
    }
}

static bool walks_codes(const vd_hnsw *h) {
    return atomic_load_explicit(&((vd_hnsw *)h)->walk_codes, memory_order_relaxed);
}

void query_from_vector(const vd_hnsw *h, scratch *s, const float *vector) {
    const hnsw_kernels *k = h->kernels;
    walk_query *q = &s->query;
    double norm2 = k->exact_dot(vector, vector, h->options.dimension);
    q->codes = walks_codes(h);
    q->vector = vector;
    q->norm2 = (float)norm2;
    q->inv_norm = norm2 > 0 ? (float)(1.0 / sqrt(norm2)) : 0.0f;
    if (q->codes) {
        float most = k->max_abs(vector, h->options.dimension);
        float inverse = most > 1e-35f ? 127.0f / most : 0.0f;
        float scale = most > 1e-35f ? most / 127.0f : 0.0f;
        uint8_t *biased = (uint8_t *)q->code;
        q->code_bias = 128 * k->encode(vector, h->options.dimension, inverse, biased, h->code_stride);
        flip_codes(biased, q->code, h->code_stride);
        q->factor =
            h->options.metric == VD_METRIC_COSINE ? (float)((double)scale / (norm2 > 0 ? sqrt(norm2) : 1.0)) : scale;
    }
}

void stored_query(const vd_hnsw *h, uint32_t slot, bool codes, int8_t *code, walk_query *q) {
    const node_header *header = &h->headers[slot];
    q->codes = codes;
    q->vector = h->vectors + (size_t)slot * h->options.dimension;
    q->norm2 = header->norm2;
    q->inv_norm = header->inv_norm;
    q->factor = header->factor;
    q->code_bias = 128 * header->code_sum;
    q->code = code;
    if (codes) {
        flip_codes(h->codes + (size_t)slot * h->code_stride, code, h->code_stride);
    }
}

void query_from_slot(const vd_hnsw *h, scratch *s, uint32_t slot) {
    stored_query(h, slot, walks_codes(h), s->query.code, &s->query);
}

void pair_query(const vd_hnsw *h, scratch *s, uint32_t slot, walk_query *q) {
    stored_query(h, slot, walks_codes(h), s->pair_code, q);
}

/* ---- distances ---- */

static float at_least_zero(float d) {
    return d > 0.0f ? d : 0.0f;
}

void walk_distances(const vd_hnsw *h, scratch *s, const walk_query *q, const uint32_t *slots, uint32_t count,
                    float *out) {
    bool cosine = h->options.metric == VD_METRIC_COSINE;
    uint32_t dimension = h->options.dimension;
    const node_header *headers = h->headers;
    s->distances += count;
    if (q->codes) {
        const int32_t *raw = s->raw;
        const float factor = q->factor, norm2 = q->norm2;
        const int32_t bias = q->code_bias;
        h->kernels->dot_codes(q->code, h->codes, h->code_stride, slots, count, h->code_stride, s->raw);
        if (cosine) {
            for (uint32_t i = 0; i < count; i++) {
                out[i] = at_least_zero(1.0f - (float)(raw[i] - bias) * (factor * headers[slots[i]].factor));
            }
        } else {
            for (uint32_t i = 0; i < count; i++) {
                const node_header *header = &headers[slots[i]];
                float dot = (float)(raw[i] - bias) * (factor * header->factor);
                out[i] = at_least_zero((norm2 + header->norm2) - 2.0f * dot);
            }
        }
    } else if (cosine) {
        const float inv_norm = q->inv_norm;
        h->kernels->dot_f32(q->vector, h->vectors, dimension, slots, count, dimension, out);
        for (uint32_t i = 0; i < count; i++) {
            out[i] = at_least_zero(1.0f - out[i] * (inv_norm * headers[slots[i]].inv_norm));
        }
    } else {
        h->kernels->l2_f32(q->vector, h->vectors, dimension, slots, count, dimension, out);
    }
}

double exact_distance(const vd_hnsw *h, const float *query, double query_norm2, uint32_t slot) {
    const float *x = h->vectors + (size_t)slot * h->options.dimension;
    if (h->options.metric == VD_METRIC_EUCLIDEAN) {
        return sqrt(h->kernels->exact_l2(query, x, h->options.dimension));
    }
    double cosine = h->kernels->exact_dot(query, x, h->options.dimension) / sqrt(query_norm2 * h->norms[slot]);
    double distance = 1.0 - cosine;
    return distance < 0.0 ? 0.0 : distance;
}

/* ---- the pool ---- */

static uint64_t key_make(float distance, uint32_t slot) {
    uint32_t bits;
    memcpy(&bits, &distance, sizeof bits);
    return (uint64_t)bits << 32 | slot;
}

/* Fills what is not used yet: further than any distance, so the pool is always full and no code asks for its size. */
#define KEY_FURTHEST 0x7F800000FFFFFFFFull

static void pool_begin(scratch *s, uint32_t limit) {
    s->pool_limit = limit;
    s->pool_next = 0;
    for (uint32_t i = 0; i < limit; i++) {
        s->pool[i] = KEY_FURTHEST;
    }
}

/* `key` is below the last of the pool. */
static void pool_insert(scratch *s, uint64_t key) {
    uint64_t *pool = s->pool;
    const uint32_t last = s->pool_limit - 1;
    /* Branch-free: the outcome of each comparison is unpredictable, and a mispredicted branch costs more than the search. */
    const uint64_t *base = pool;
    for (uint32_t length = last + 1; length > 0;) {
        uint32_t half = (length + 1) / 2;
        base += (size_t)half & -(size_t)(base[half - 1] < key);
        length -= half;
    }
    uint32_t at = (uint32_t)(base - pool);
    memmove(pool + at + 1, pool + at, (last - at) * sizeof *pool);
    pool[at] = key;
    s->pool_next = at < s->pool_next ? at : s->pool_next;
}

static uint32_t pool_pop(scratch *s) {
    while (s->pool_next < s->pool_limit) {
        uint64_t key = s->pool[s->pool_next];
        if (key == KEY_FURTHEST) {
            break;
        }
        s->pool_next++;
        if (!((uint32_t)key & SLOT_CHECKED)) {
            s->pool[s->pool_next - 1] = key | SLOT_CHECKED;
            return (uint32_t)key;
        }
    }
    return SLOT_NONE;
}

/* How many are real. */
static uint32_t pool_count(const scratch *s) {
    uint32_t low = 0, high = s->pool_limit;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (s->pool[middle] < KEY_FURTHEST) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* ---- one level ---- */

static void prefetch_list(const vd_hnsw *h, uint32_t slot, uint32_t level) {
    const char *list = (const char *)level_links(h, slot, level);
    size_t bytes = (level == 0 ? h->link_stride : h->upper_stride) * sizeof(uint32_t);
    for (size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(list + i);
    }
}

static void prefetch_record(const vd_hnsw *h, bool codes, uint32_t slot) {
    const char *record = codes ? (const char *)(h->codes + (size_t)slot * h->code_stride)
                               : (const char *)(h->vectors + (size_t)slot * h->options.dimension);
    size_t bytes = codes ? h->code_stride : h->options.dimension * sizeof(float);
    __builtin_prefetch(&h->headers[slot]);
    for (size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(record + i);
    }
}

/* Unvisited neighbours into `out`, marked visited. */
static uint32_t collect(const vd_hnsw *h, scratch *s, uint32_t slot, uint32_t level, uint32_t *out) {
    const _Atomic uint32_t *list = level_links(h, slot, level);
    uint32_t count = links_count(list, level_capacity(h, level));
    uint64_t *visited = s->visited;
    uint16_t *tags = s->visited_tag;
    const uint16_t epoch = s->visited_epoch;
    const size_t limit = s->visited_words;
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbour = link_get(list, i);
        size_t word = neighbour / 64;
        if (__builtin_expect(word >= limit, 0)) {
            continue; /* came into being after this search began */
        }
        uint64_t bit = 1ull << (neighbour % 64);
        uint64_t seen = visited[word] & -(uint64_t)(tags[word] == epoch);
        visited[word] = seen | bit;
        tags[word] = epoch;
        out[found] = neighbour;
        found += !(seen & bit);
    }
    return found;
}

static void mark_visited(scratch *s, uint32_t slot) {
    uint32_t word = slot / 64;
    if (s->visited_tag[word] != s->visited_epoch) {
        s->visited_tag[word] = s->visited_epoch;
        s->visited[word] = 0;
    }
    s->visited[word] |= 1ull << (slot % 64);
}

static void take_in(const vd_hnsw *h, scratch *s, const uint32_t *slots, uint32_t count, uint32_t level) {
    float *distances = s->distances_a;
    uint32_t *survivors = s->survivors;
    walk_distances(h, s, &s->query, slots, count, distances);
    /* First those that can enter at all, without a branch: late in a search few do, and nobody can predict which. */
    const float worst = pool_distance(s->pool[s->pool_limit - 1]);
    uint32_t entering = 0;
    for (uint32_t i = 0; i < count; i++) {
        survivors[entering] = i;
        entering += distances[i] < worst;
    }
    for (uint32_t j = 0; j < entering; j++) {
        uint32_t before = s->pool_next;
        uint32_t i = survivors[j];
        uint64_t key = key_make(distances[i], slots[i]);
        if (key >= s->pool[s->pool_limit - 1]) {
            continue; /* pushed out by its fellows */
        }
        pool_insert(s, key);
        if (s->pool_next < before) {
            prefetch_list(h, slots[i], level); /* the new best: popped next */
        }
    }
}

void walk_level(const vd_hnsw *h, scratch *s, candidate start, uint32_t level, uint32_t ef, uint32_t hidden) {
    uint32_t *batch = s->ids_a, *next_batch = s->ids_b;
    uint32_t batch_count = 0;
    scratch_begin(s);
    pool_begin(s, ef);
    if (hidden != SLOT_NONE) {
        mark_visited(s, hidden);
    }
    mark_visited(s, start.slot);
    pool_insert(s, key_make(start.distance, start.slot));
    uint32_t popped = pool_pop(s);
    for (;;) {
        uint32_t collected = 0;
        if (popped != SLOT_NONE) {
            collected = collect(h, s, popped, level, next_batch);
            s->hops++;
            for (uint32_t i = 0; i < collected; i++) {
                prefetch_record(h, s->query.codes, next_batch[i]);
            }
        }
        popped = pool_pop(s);
        if (popped != SLOT_NONE) {
            prefetch_list(h, popped, level);
        }
        if (batch_count) {
            take_in(h, s, batch, batch_count, level);
            if (popped == SLOT_NONE) {
                popped = pool_pop(s);
            }
        }
        if (!collected && popped == SLOT_NONE) {
            s->pool_size = pool_count(s);
            return;
        }
        uint32_t *swap = batch;
        batch = next_batch;
        next_batch = swap;
        batch_count = collected;
    }
}

bool walk_descend(const vd_hnsw *h, scratch *s, uint32_t target, candidate *nearest) {
    uint64_t entry = atomic_load_explicit(&((vd_hnsw *)h)->entry, memory_order_acquire);
    if (entry == ENTRY_NONE) {
        return false;
    }
    nearest->slot = (uint32_t)entry;
    walk_distances(h, s, &s->query, &nearest->slot, 1, &nearest->distance);
    for (uint32_t level = (uint32_t)(entry >> 32); level > target; level--) {
        for (bool moved = true; moved;) {
            moved = false;
            const _Atomic uint32_t *list = level_links(h, nearest->slot, level);
            uint32_t count = links_count(list, level_capacity(h, level));
            for (uint32_t i = 0; i < count; i++) {
                s->ids_a[i] = link_get(list, i);
                prefetch_record(h, s->query.codes, s->ids_a[i]);
            }
            walk_distances(h, s, &s->query, s->ids_a, count, s->distances_a);
            for (uint32_t i = 0; i < count; i++) {
                if (s->distances_a[i] < nearest->distance) {
                    *nearest = (candidate){s->distances_a[i], s->ids_a[i]};
                    moved = true;
                }
            }
        }
    }
    return true;
}
