/*
 * calibrate.c - what the index learns from its own vectors: whether codes rank them well enough to be walked on, and the ef that
 * finds what should be found.
 *
 * Both are leave-one-out on a sample: a stored vector is the query, the search neither counts it nor passes through it (its own
 * links would lead straight to the answer: measured 0.97 where real queries got 0.87), and an exact scan says what the answer
 * should have been. Real queries lie further out than stored vectors, so calibration aims above the target
 * (VD_RECALL_AIM_MARGIN).
 *
 * Threading: runs beside searches and writes under a guard; several at a time would only waste work.
 */
#include <math.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

#define SCAN_BLOCK       64u /* slots measured against all queries of a group while they are in cache */
#define GROUP_QUERIES    8u  /* samples per task */
#define NEAR             16u /* float32 candidates kept for the exact order of the best 10 */
#define CODE_NEAR        (CALIBRATION_K + RERANK_EXTRA)
#define CODES_RANK_SHARE 0.995 /* of the exact top 10 that must stand among the code-ranked top 18 */

typedef struct near_list {
    candidate best[CODE_NEAR];
    uint32_t count, capacity;
} near_list;

typedef struct sample {
    uint32_t slot;
    near_list by_value; /* float32 or better */
    near_list by_code;
    double truth; /* exact distance of the 10th nearest, and a little */
    uint32_t truth_count;
    uint32_t codes_found;
} sample;

typedef struct calibration {
    vd_hnsw *h;
    sample *samples;
    uint32_t count;
    uint32_t slots;
    bool codes; /* measure code ranks too */
    uint32_t ef;
    _Atomic uint32_t found, wanted;
    _Atomic bool failed;
} calibration;

static void near_put(near_list *list, float distance, uint32_t slot) {
    if (list->count == list->capacity && distance >= list->best[list->count - 1].distance) {
        return;
    }
    uint32_t at = list->count < list->capacity ? list->count++ : list->count - 1;
    for (; at > 0 && list->best[at - 1].distance > distance; at--) {
        list->best[at] = list->best[at - 1];
    }
    list->best[at] = (candidate){distance, slot};
}

static const float *slot_vector(const vd_hnsw *h, uint32_t slot) {
    return h->vectors + (size_t)slot * h->options.dimension;
}

/* The ten nearest of each sample by exact distance, from its float32 candidates. */
static void settle_truth(calibration *c, sample *s) {
    const vd_hnsw *h = c->h;
    double exact[NEAR];
    for (uint32_t i = 0; i < s->by_value.count; i++) {
        double d = exact_distance(h, slot_vector(h, s->slot), h->norms[s->slot], s->by_value.best[i].slot);
        uint32_t at = i;
        for (; at > 0 && exact[at - 1] > d; at--) {
            exact[at] = exact[at - 1];
        }
        exact[at] = d;
    }
    s->truth_count = s->by_value.count < CALIBRATION_K ? s->by_value.count : CALIBRATION_K;
    s->truth = s->truth_count ? exact[s->truth_count - 1] : 0.0;
    s->codes_found = 0;
    for (uint32_t i = 0; i < s->by_code.count; i++) {
        s->codes_found +=
            exact_distance(h, slot_vector(h, s->slot), h->norms[s->slot], s->by_code.best[i].slot) <= s->truth;
    }
    if (s->codes_found > s->truth_count) {
        s->codes_found = s->truth_count; /* ties beyond the tenth */
    }
}

/* The node of the graph that stands for a slot: itself, or the one it is an exact copy of. */
static uint32_t node_of(const vd_hnsw *h, uint32_t slot) {
    return twin_of_another(h, slot) ? parent_of(h, slot) : slot;
}

static void truth_task(void *arg, uint32_t index) {
    calibration *c = arg;
    vd_hnsw *h = c->h;
    uint32_t first = index * GROUP_QUERIES;
    uint32_t last = first + GROUP_QUERIES < c->count ? first + GROUP_QUERIES : c->count;
    scratch *work = scratch_take(h, 1);
    size_t code_bytes = h->code_stride * GROUP_QUERIES;
    uint8_t *raw = mem_alloc(&h->allocator, code_bytes + 64);
    if (!work || !raw) {
        atomic_store(&c->failed, true);
        if (work) {
            scratch_give(h, work);
        }
        mem_release(&h->allocator, raw, code_bytes + 64);
        return;
    }
    int8_t *codes = (int8_t *)(((uintptr_t)raw + 63) / 64 * 64);
    for (uint32_t from = 0; from < c->slots; from += SCAN_BLOCK) {
        uint32_t block[SCAN_BLOCK], nodes[SCAN_BLOCK];
        float distances[SCAN_BLOCK];
        uint32_t count = 0;
        for (uint32_t slot = from; slot < c->slots && slot < from + SCAN_BLOCK; slot++) {
            if (slot_state(h, slot) == STATE_LIVE) {
                nodes[count] = node_of(h, slot);
                block[count++] = slot;
            }
        }
        for (uint32_t i = first; i < last; i++) {
            sample *s = &c->samples[i];
            uint32_t own = node_of(h, s->slot); /* left out with all its copies: they hang on it in the graph */
            for (int by_code = 0; by_code <= (c->codes ? 1 : 0); by_code++) {
                walk_query q;
                stored_query(h, s->slot, by_code, codes + (size_t)(i - first) * h->code_stride, &q);
                walk_distances(h, work, &q, block, count, distances);
                near_list *list = by_code ? &s->by_code : &s->by_value;
                for (uint32_t j = 0; j < count; j++) {
                    if (nodes[j] != own) {
                        near_put(list, distances[j], block[j]);
                    }
                }
            }
        }
    }
    for (uint32_t i = first; i < last; i++) {
        settle_truth(c, &c->samples[i]);
    }
    scratch_give(h, work);
    mem_release(&h->allocator, raw, code_bytes + 64);
}

/* Evenly strided live slots. Returns NULL when out of memory; *count may be less than asked for. */
static sample *take_samples(vd_hnsw *h, uint32_t wanted, uint32_t *count) {
    sample *samples = mem_alloc_array(&h->allocator, wanted, sizeof *samples);
    uint32_t slots = atomic_load_explicit(&h->slots, memory_order_acquire);
    uint32_t n = 0;
    for (uint32_t i = 0; samples && i < wanted; i++) {
        uint32_t slot = (uint32_t)((uint64_t)slots * i / wanted);
        if (n && slot <= samples[n - 1].slot) {
            slot = samples[n - 1].slot + 1;
        }
        while (slot < slots && slot_state(h, slot) != STATE_LIVE) {
            slot++;
        }
        if (slot >= slots) {
            break;
        }
        memset(&samples[n], 0, sizeof samples[n]);
        samples[n].slot = slot;
        samples[n].by_value.capacity = NEAR;
        samples[n].by_code.capacity = CODE_NEAR;
        n++;
    }
    *count = n;
    return samples;
}

static bool measure_truth(calibration *c, const vd_executor *executor) {
    c->slots = atomic_load_explicit(&c->h->slots, memory_order_acquire);
    executor_run(executor, truth_task, c, (c->count + GROUP_QUERIES - 1) / GROUP_QUERIES);
    return !atomic_load(&c->failed);
}

static void choose_encoding(calibration *c) {
    vd_hnsw *h = c->h;
    uint64_t found = 0, wanted = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        found += c->samples[i].codes_found;
        wanted += c->samples[i].truth_count;
    }
    atomic_store_explicit(&h->walk_codes, wanted && (double)found >= CODES_RANK_SHARE * (double)wanted,
                          memory_order_release);
    atomic_store_explicit(&h->encoding_checked_at, vd_hnsw_count(h), memory_order_release);
}

void encoding_check(vd_hnsw *h, const vd_executor *executor) {
    if (h->options.encoding != VD_ENCODING_AUTO) {
        atomic_store_explicit(&h->encoding_checked_at, vd_hnsw_count(h), memory_order_release);
        return;
    }
    calibration c = {.h = h, .codes = true};
    c.samples = take_samples(h, CALIBRATION_SAMPLE / 2, &c.count);
    if (c.samples && measure_truth(&c, executor)) {
        choose_encoding(&c);
    } /* without memory the index stays on float32 and looks again at the next calibration */
    mem_release(&h->allocator, c.samples, (CALIBRATION_SAMPLE / 2) * sizeof *c.samples);
}

static void recall_task(void *arg, uint32_t index) {
    calibration *c = arg;
    vd_hnsw *h = c->h;
    uint32_t first = index * GROUP_QUERIES;
    uint32_t last = first + GROUP_QUERIES < c->count ? first + GROUP_QUERIES : c->count;
    for (uint32_t i = first; i < last; i++) {
        sample *s = &c->samples[i];
        vd_hit hits[CALIBRATION_K + 1];
        size_t count = 0;
        vd_hnsw_search_options options = {.k = CALIBRATION_K + 1, .ef = c->ef};
        if (search_without(h, slot_vector(h, s->slot), &options, node_of(h, s->slot), hits, &count, NULL, NULL) !=
            VD_OK) {
            atomic_store(&c->failed, true);
            return;
        }
        vd_id self = slot_id(h, s->slot);
        uint32_t good = 0, seen = 0;
        for (size_t j = 0; j < count && seen < CALIBRATION_K; j++) {
            if (hits[j].id.size == self.size && memcmp(hits[j].id.data, self.data, self.size) == 0) {
                continue;
            }
            seen++;
            good += hits[j].distance <= s->truth;
        }
        atomic_fetch_add(&c->found, good < s->truth_count ? good : s->truth_count);
        atomic_fetch_add(&c->wanted, s->truth_count);
    }
}

static double measure_recall(calibration *c, uint32_t ef, const vd_executor *executor) {
    c->ef = ef;
    atomic_store(&c->found, 0);
    atomic_store(&c->wanted, 0);
    executor_run(executor, recall_task, c, (c->count + GROUP_QUERIES - 1) / GROUP_QUERIES);
    uint32_t wanted = atomic_load(&c->wanted);
    return wanted ? (double)atomic_load(&c->found) / (double)wanted : 1.0;
}

bool vd_hnsw_calibration_due(const vd_hnsw *index) {
    uint64_t count = vd_hnsw_count(index);
    uint64_t at = atomic_load_explicit(&((vd_hnsw *)index)->calibrated_at, memory_order_relaxed);
    return count > SCAN_ITEMS && (at == 0 || count >= 2 * at || count * 3 < at * 2);
}

bool vd_hnsw_calibration_stale(const vd_hnsw *index) {
    uint64_t count = vd_hnsw_count(index);
    uint64_t at = atomic_load_explicit(&((vd_hnsw *)index)->calibrated_at, memory_order_relaxed);
    uint64_t change = count > at ? count - at : at - count;
    return count > SCAN_ITEMS && (at == 0 || change * 20 >= at);
}

vd_status vd_hnsw_calibrate(vd_hnsw *h, const vd_executor *executor, vd_error *err) {
    vd_hnsw_guard guard;
    vd_hnsw_enter(h, &guard);
    uint64_t items = vd_hnsw_count(h);
    calibration c = {.h = h};
    c.codes = h->options.encoding == VD_ENCODING_AUTO && items >= ENCODING_CHECK_ITEMS;
    c.samples = take_samples(h, CALIBRATION_SAMPLE, &c.count);
    bool done = c.samples && measure_truth(&c, executor);
    if (done && c.codes) {
        choose_encoding(&c);
    }
    double aim = h->options.recall_target + VD_RECALL_AIM_MARGIN;
    aim = aim > 0.999 ? 0.999 : aim;
    uint32_t ef = h->options.ef_search > CALIBRATION_K ? h->options.ef_search : CALIBRATION_K;
    double recall = 0.0;
    while (done) {
        recall = measure_recall(&c, ef, executor);
        done = !atomic_load(&c.failed);
        if (recall >= aim || ef >= VD_EF_SEARCH_MAX || ef >= items) {
            break;
        }
        uint32_t step = ef / 8 > 4 ? ef / 8 : 4; /* about an eighth at a time: no more than that is wasted */
        ef = ef + step > VD_EF_SEARCH_MAX ? VD_EF_SEARCH_MAX : ef + step;
    }
    mem_release(&h->allocator, c.samples, CALIBRATION_SAMPLE * sizeof *c.samples);
    if (done && items) {
        atomic_store_explicit(&h->ef_calibrated, ef, memory_order_relaxed);
        atomic_store_explicit(&h->calibrated_recall, recall, memory_order_relaxed);
        atomic_store_explicit(&h->calibrated_at, items, memory_order_release);
    }
    vd_hnsw_leave(h, &guard);
    return done ? VD_OK : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
}
