/*
 * walk.c - distances for walking, and best-first search of one level.
 *
 * A level is searched in turns, each a pipeline of three stages over different nodes, so that no memory is waited for: (1) the list
 * of the node popped one turn ago has arrived: collect its unvisited neighbours; (2) pop the next node and prefetch its list; (3)
 * compute the distances of the neighbours collected one turn ago, prefetching those of (1) a few at a time in between - a burst of
 * prefetches stalls on the processor's fill buffers, spread ones run beside the arithmetic. What is popped in (2) does not know the
 * distances of (3) yet; that costs about 1 % more distances. Since a turn keeps all its state in the scratch, several searches can
 * take turns on one thread (batch.c).
 *
 * Where the search ends: when the nearest node left to expand is further than the bound, `stretch` times the distance of the k-th so
 * far (stretch = (1 + gamma)^2, as walking distances are squared ones; calibrate.c measures gamma), or when the pool is done.
 */
#include <math.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

/* ---- queries ---- */

static void aim(const vd_hnsw *h, const form *f, bool all_bits, walk_query *q) {
    const hnsw_kernels *k = h->kernels;
    bool euclidean = h->options.metric == VD_METRIC_EUCLIDEAN;
    q->plane = (kernel_plane){
        .high = f->planes[FORM_HIGH].base,
        .low = f->planes[FORM_LOW].base,
        .stride = f->planes[FORM_HIGH].stride,
        .dimension = h->options.dimension,
        .factor = (const float *)(const void *)f->planes[FORM_FACTOR].base,
        .norm2 = f->codes ? (const float *)(const void *)f->planes[FORM_NORM2].base : NULL,
    };
    switch (f->encoding) {
    case VD_ENCODING_SQ8:
    case VD_ENCODING_SQ4:
        q->score = all_bits && f->planes[FORM_LOW].stride ? k->score_both : k->score_high;
        break;
    case VD_ENCODING_F16:
        q->score = euclidean ? k->l2_f16 : k->dot_f16;
        break;
    case VD_ENCODING_BF16:
        q->score = euclidean ? k->l2_bf16 : k->dot_bf16;
        break;
    default:
        q->score = euclidean ? k->l2_f32 : k->dot_f32;
        break;
    }
}

/* `factor`: what a vector's own products are scaled by, as in the factor plane. */
static void set_query(const vd_hnsw *h, walk_query *q, float factor, float norm2) {
    bool euclidean = h->options.metric == VD_METRIC_EUCLIDEAN;
    q->query.base = euclidean ? norm2 : 1.0f;
    q->query.scale = euclidean ? 2.0f * factor : factor;
}

static void aim_both(const vd_hnsw *h, scratch *s, const form *f) {
    s->form = f;
    bool high = f->codes &&
                (!f->planes[FORM_LOW].stride || atomic_load_explicit(&((vd_hnsw *)h)->walk_high, memory_order_relaxed));
    s->two_lanes = high && f->planes[FORM_LOW].stride != 0;
    aim(h, f, !high, &s->query);
    aim(h, f, true, &s->refine);
    s->refine.query = s->query.query;
}

/* Before the form is looked at: a form has all slots that had been handed out before it was seen. */
static void limit_slots(const vd_hnsw *h, scratch *s) {
    size_t room = s->visited_words * 64;
    uint32_t slots = atomic_load_explicit(&((vd_hnsw *)h)->slots, memory_order_acquire);
    s->slot_limit = slots < room ? slots : (uint32_t)room;
}

void query_from_vector(const vd_hnsw *h, scratch *s, const float *vector) {
    const hnsw_kernels *k = h->kernels;
    limit_slots(h, s);
    const form *f = form_of(h);
    uint32_t dimension = h->options.dimension;
    kernel_query *q = &s->query.query;
    s->query_norm2 = k->exact_dot(vector, vector, dimension);
    double length = s->query_norm2 > 0 ? sqrt(s->query_norm2) : 1.0;
    float factor = (float)(1.0 / length);
    q->vector = vector;
    s->query_step = 0.0f;
    if (f->codes) {
        float largest = k->max_abs(vector, dimension);
        bool usable = largest > 1e-35f;
        float scale = usable ? largest / 127.0f : 0.0f;
        q->code = s->query_code;
        q->code_sum = k->quantize(vector, dimension, usable ? 127.0f / largest : 0.0f, s->query_code, h->code_size);
        s->query_step = scale / (float)length;
        factor = h->options.metric == VD_METRIC_COSINE ? s->query_step : scale;
    }
    set_query(h, &s->query, factor, (float)s->query_norm2);
    aim_both(h, s, f);
}

/* The values or the code of a stored node, where the kernels can read them as a query. */
static void stored_query(const vd_hnsw *h, const form *f, uint32_t slot, int8_t *code, float *values, walk_query *q) {
    float factor;
    memcpy(&factor, form_at(f, FORM_FACTOR, slot), sizeof factor);
    float norm2 = 0.0f;
    if (f->codes) {
        h->kernels->unpack(form_at(f, FORM_HIGH, slot), f->planes[FORM_LOW].stride ? form_at(f, FORM_LOW, slot) : NULL,
                           h->code_size, code);
        if (h->code_size > h->options.dimension) { /* without lower halves the padding is not 0 */
            memset(code + h->options.dimension, 0, h->code_size - h->options.dimension);
        }
        q->query.code = code;
        q->query.code_sum = h->kernels->sum(code, h->code_size);
        if (f->planes[FORM_NORM2].stride) {
            memcpy(&norm2, form_at(f, FORM_NORM2, slot), sizeof norm2);
        }
    } else if (f->encoding == VD_ENCODING_F32) {
        q->query.vector = (const float *)(const void *)form_at(f, FORM_HIGH, slot);
    } else {
        form_read(h, f, slot, values);
        q->query.vector = values;
        if (h->options.metric == VD_METRIC_COSINE && f->encoding == VD_ENCODING_F16) {
            factor *= f->keep ? ((const vector_head *)(const void *)form_at(f, FORM_HEAD, slot))->scale
                              : *(const float *)(const void *)form_at(f, FORM_HEAD, slot);
        }
    }
    set_query(h, q, factor, norm2);
}

void query_from_slot(const vd_hnsw *h, scratch *s, uint32_t slot) {
    limit_slots(h, s);
    const form *f = form_of(h);
    stored_query(h, f, slot, s->query_code, s->query_vector, &s->query);
    aim_both(h, s, f);
}

void pair_query(const vd_hnsw *h, scratch *s, uint32_t slot, walk_query *q) {
    const form *f = form_of(h);
    stored_query(h, f, slot, s->pair_code, s->pair_vector, q);
    aim(h, f, true, q);
}

void walk_distances(scratch *s, const walk_query *q, const uint32_t *slots, uint32_t count, float *out) {
    s->distances += count;
    q->score(&q->query, &q->plane, slots, count, NULL, 0, out);
}

float lane_error(const vd_hnsw *h, const scratch *s, uint32_t slot, error_of what) {
    const form *f = s->form;
    bool euclidean = h->options.metric == VD_METRIC_EUCLIDEAN;
    double dimension = h->options.dimension;
    double length = euclidean ? sqrt(s->query_norm2) : 1.0;
    double x_length = euclidean ? sqrt(form_norm2(h, f, slot)) : 1.0;
    double relative; /* to the product of the lengths */
    if (f->codes) {
        float factor;
        memcpy(&factor, form_at(f, FORM_FACTOR, slot), sizeof factor);
        double step = euclidean ? (x_length > 0 ? factor / x_length : 0.0) : factor;
        double query_step = s->query_step;
        /* Each component is off by up to half a step, evenly: variance step^2 / 12. By half the bits the stored one is off by up to
         * half of sixteen steps. */
        relative = what == ERROR_HIGH   ? 2.5 * 16.0 * step / sqrt(12.0)
                   : what == ERROR_BOTH ? 4.0 * sqrt(2.0 * (step * step + query_step * query_step) / 12.0)
                                        : 0.5 * sqrt(dimension) * (step + query_step) * 1.02;
    } else {
        double unit = f->encoding == VD_ENCODING_BF16 ? 0x1p-8 : f->encoding == VD_ENCODING_F16 ? 0x1p-11 : 0x1p-23;
        relative = what != ERROR_BOUND ? 4.0 * unit : unit + dimension * 0x1p-23;
    }
    relative += what != ERROR_BOUND ? 0x1p-21 : 0x1p-19;
    if (!euclidean) {
        return (float)relative;
    }
    /* Squares of tiny vectors are subnormal in float32: off by 2^-150 each, which integer dots of codes multiply. */
    double tiny = (f->codes ? 0x1p-134 : 0x1p-147) * dimension;
    return (float)(2.0 * length * x_length * relative + 0x1p-21 * (length * length + x_length * x_length) + tiny);
}

/* ---- one level ---- */

static void prefetch_list(const vd_hnsw *h, uint32_t slot, uint32_t level) {
    const char *list = (const char *)level_links(h, slot, level);
    size_t bytes = (level == 0 ? h->link_stride : h->upper_stride) * sizeof(uint32_t);
    for (size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(list + i);
    }
}

bool first_met(scratch *s, uint32_t slot) {
    uint32_t word = slot / 64;
    uint64_t bit = 1ull << (slot % 64);
    uint64_t seen = s->visited_tag[word] == s->visited_epoch ? s->visited[word] : 0;
    s->visited_tag[word] = s->visited_epoch;
    s->visited[word] = seen | bit;
    return !(seen & bit);
}

/* Unvisited neighbours into `out`, marked visited, without a branch on whether one is. */
__attribute__((noinline)) static uint32_t collect(const vd_hnsw *h, scratch *s, uint32_t slot, uint32_t level,
                                                  uint32_t *out) {
    const _Atomic uint32_t *list = level_links(h, slot, level);
    uint32_t count = links_count(list, level_capacity(h, level));
    uint64_t *visited = s->visited;
    uint16_t *tags = s->visited_tag;
    const uint16_t epoch = s->visited_epoch;
    const uint32_t limit = s->slot_limit;
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbour = link_get(list, i);
        if (__builtin_expect(neighbour >= limit, 0)) {
            continue; /* came into being after this search began */
        }
        size_t word = neighbour / 64;
        uint64_t bit = 1ull << (neighbour % 64);
        uint64_t seen = visited[word] & -(uint64_t)(tags[word] == epoch);
        visited[word] = seen | bit;
        tags[word] = epoch;
        out[found] = neighbour;
        found += !(seen & bit);
    }
    return found;
}

/* How far a neighbour may be to be of use. */
static float bound_of(const scratch *s) {
    const walk *w = &s->walk;
    const pool *p = &s->pool;
    if (w->rank == 0 || p->size < w->rank || p->size < w->floor) {
        return INFINITY;
    }
    float bound = key_distance(p->keys[w->rank - 1]) * w->stretch, least = key_distance(p->keys[w->floor - 1]);
    return bound > least ? bound : least;
}

static uint32_t pop(scratch *s, float bound) {
    pool *p = &s->pool;
    while (p->next < p->size) {
        uint64_t key = p->keys[p->next];
        if (!(key & KEY_EXPANDED)) {
            if (key_distance(key) > bound) {
                break;
            }
            p->keys[p->next++] = key | KEY_EXPANDED;
            return key_slot(key);
        }
        p->next++;
    }
    return SLOT_NONE;
}

static bool out_of_budget(scratch *s) {
    if (interrupted(s)) {
        s->truncated = true;
        return true;
    }
    return false;
}

void walk_begin(const vd_hnsw *h, scratch *s, candidate start, uint32_t level, uint32_t ef, float stretch,
                uint32_t rank, uint32_t hidden) {
    scratch_begin(s);
    s->walk = (walk){.level = level,
                     .batch = s->ids_a,
                     .next_batch = s->ids_b,
                     .rank = stretch > 0.0f ? rank : 0,
                     .stretch = stretch,
                     .floor = h->options.ef_search < ef ? h->options.ef_search : ef};
    s->passed_by = false;
    s->pool.limit = ef;
    s->pool.size = 1;
    s->pool.next = 0;
    s->pool.keys[0] = key_make(start.distance, start.slot);
    if (hidden != SLOT_NONE) {
        (void)first_met(s, hidden);
    }
    (void)first_met(s, start.slot);
    s->walk.popped = pop(s, INFINITY);
    prefetch_list(h, start.slot, level);
}

void walk_seed(const vd_hnsw *h, scratch *s, const uint32_t *slots, uint32_t count) {
    walk_distances(s, &s->query, slots, count, s->distances_a);
    h->pool_take(&s->pool, INFINITY, s->distances_a, slots, count);
}

void walk_turn(const vd_hnsw *h, scratch *s) {
    walk *w = &s->walk;
    uint32_t collected = 0;
    if (w->popped != SLOT_NONE) {
        collected = w->filter ? filter_collect(h, s, w->popped, w->level, w->next_batch)
                              : collect(h, s, w->popped, w->level, w->next_batch);
        s->hops++;
        /* A slot that was free when the form was replaced is written in the new one alone; the link to it was stored after that. */
        if (form_of(h) != s->form) {
            s->stale = true;
            w->done = true;
            return;
        }
    }
    w->popped = pop(s, bound_of(s));
    if (w->popped != SLOT_NONE) {
        prefetch_list(h, w->popped, w->level);
    }
    s->query.score(&s->query.query, &s->query.plane, w->batch, w->batch_count, w->next_batch, collected,
                   s->distances_a);
    if (w->batch_count) {
        s->distances += w->batch_count;
        uint32_t before = s->pool.next;
        h->pool_take(&s->pool, bound_of(s), s->distances_a, w->batch, w->batch_count);
        if (w->popped == SLOT_NONE) {
            w->popped = pop(s, bound_of(s));
            if (w->popped != SLOT_NONE) {
                prefetch_list(h, w->popped, w->level);
            }
        } else if (s->pool.next < before) {
            prefetch_list(h, key_slot(s->pool.keys[s->pool.next]), w->level); /* the new best: popped next */
        }
    }
    if ((!collected && w->popped == SLOT_NONE) || out_of_budget(s)) {
        w->done = true;
        return;
    }
    uint32_t *swap = w->batch;
    w->batch = w->next_batch;
    w->next_batch = swap;
    w->batch_count = collected;
}

void candidates_refine(scratch *s, uint32_t from, uint32_t to) {
    candidate *c = s->candidates;
    for (; from < to; from += BATCH_SLOTS_MAX) {
        uint32_t n = to - from < BATCH_SLOTS_MAX ? to - from : BATCH_SLOTS_MAX;
        for (uint32_t i = 0; i < n; i++) {
            s->ids_a[i] = c[from + i].slot;
        }
        walk_distances(s, &s->refine, s->ids_a, n, s->distances_a);
        for (uint32_t i = 0; i < n; i++) {
            c[from + i].distance = s->distances_a[i];
        }
    }
    candidates_sort(c, to);
}

void walk_level(const vd_hnsw *h, scratch *s, candidate start, uint32_t level, uint32_t ef) {
    walk_begin(h, s, start, level, ef, 0.0f, 0, SLOT_NONE);
    while (!s->walk.done) {
        walk_turn(h, s);
    }
}

bool walk_descend(const vd_hnsw *h, scratch *s, uint64_t entry, uint32_t target, uint32_t hidden, candidate *nearest) {
    if (entry == ENTRY_NONE) {
        return false;
    }
    float distance[KERNEL_OUT_PAD];
    nearest->slot = (uint32_t)entry;
    walk_distances(s, &s->query, &nearest->slot, 1, distance);
    nearest->distance = nearest->slot == hidden ? INFINITY : distance[0];
    for (uint32_t level = (uint32_t)(entry >> 32); level > target; level--) {
        for (bool moved = true; moved;) {
            moved = false;
            const _Atomic uint32_t *list = level_links(h, nearest->slot, level);
            uint32_t count = links_count(list, level_capacity(h, level));
            uint32_t found = 0;
            for (uint32_t i = 0; i < count; i++) {
                uint32_t neighbour = link_get(list, i);
                s->ids_a[found] = neighbour;
                found += neighbour < s->slot_limit && neighbour != hidden;
            }
            if (interrupted(s)) {
                s->truncated = true;
                return true;
            }
            if (form_of(h) != s->form) {
                s->stale = true;
                return true;
            }
            s->query.score(&s->query.query, &s->query.plane, s->ids_a, 0, s->ids_a, found, s->distances_a);
            walk_distances(s, &s->query, s->ids_a, found, s->distances_a);
            for (uint32_t i = 0; i < found; i++) {
                if (s->distances_a[i] < nearest->distance) {
                    *nearest = (candidate){s->distances_a[i], s->ids_a[i]};
                    moved = true;
                }
            }
        }
    }
    return true;
}
