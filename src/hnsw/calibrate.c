/*
 * calibrate.c - what the index learns from its own vectors: whether codes rank them well enough to be walked on, and how far a search
 * must look for which recall.
 *
 * Both are leave-one-out on a sample: a stored vector is the query, the search neither counts it nor passes through it (its own
 * links would lead straight to the answer: measured 0.97 where real queries got 0.87), and an exact scan says what the answer
 * should have been. Real queries lie further out than stored vectors, so a search aims above the recall it is asked for
 * (VD_RECALL_AIM_SHARE).
 *
 * How far is a matter of distance, not of a pool's size (distance-adaptive search: hard queries look further, easy ones stop soon): a
 * search goes on to (1 + gamma)^2 of the k-th best walking distance. gamma is measured at CALIBRATION_POINTS steps and read from
 * the table between them.
 *
 * Threading: runs beside searches and writes under a guard; several at a time would only waste work. A change of encoding takes
 * the writer's place. Tables are immutable; a replaced one is retired.
 */
#include <math.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

#define BLOCK         256u
#define GROUP_QUERIES 8u                             /* samples per task */
#define HIGH_NEAR     (CALIBRATION_K + REFINE_LEAST) /* less than is refined: it gets harder as an index grows */
#define CHECK_SAMPLE  64u                            /* for a look between calibrations */
#define BOTH_NEAR     (CALIBRATION_K + 8)
#define RANK_SHARE    0.995 /* of the true ten nearest that must stand among those that are measured again... */
#define RANK_LEAVE    0.985 /* ...and below which a choice once made is given up */
#define EF_UNKNOWN    100u  /* before anything is known: what good recall needs on most data */
#define GAMMA_LEAST                                                                                                    \
    0.016 /* times log2(1 / (1 - recall)): 0.07 for 0.95. Queries from between the clusters that all samples lie in
                             * need what the samples do not (measured: 0.74 at gamma 0 where the samples got 0.985) */
#define GROWTH 0.25 /* gamma per doubling since the last calibration; measured: 0.16 to 0.3 */

static const double gammas[CALIBRATION_POINTS] = {0.0,  0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12,
                                                  0.14, 0.16, 0.18, 0.2,  0.25, 0.3,  0.4,  0.5,  0.7,  1.0,  1.5, 2.5};
static const uint32_t caps[] = {POOL_ADAPTIVE, 1000, VD_EF_SEARCH_MAX};

typedef struct sample {
    uint32_t slot;
    uint32_t truth_count;
    uint32_t truth_slots[CALIBRATION_K];
    double truth; /* exact distance of the tenth */
    uint32_t in_high, in_both;
    bool ranked; /* the two say something: the form stayed while they were found */
} sample;

typedef struct calibration {
    vd_hnsw *h;
    sample *samples;
    uint32_t count;
    bool ranks; /* measure code ranks too */
    double gamma;
    uint32_t cap;
    _Atomic uint32_t found, wanted;
    _Atomic bool failed;
} calibration;

/* Of a twin: its representative, which is what the graph has. */
static uint32_t node_of(const vd_hnsw *h, uint32_t slot) {
    uint32_t representative = twin_of_another(h, slot) ? parent_of(h, slot) : slot;
    return representative == SLOT_NONE ? slot : representative;
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
        samples[n++].slot = slot;
    }
    *count = n;
    return samples;
}

/* ---- code ranks ---- */

static void near_put(float *near, uint32_t capacity, uint32_t *count, float distance) {
    if (*count == capacity && distance >= near[capacity - 1]) {
        return;
    }
    uint32_t at = *count < capacity ? (*count)++ : capacity - 1;
    for (; at > 0 && near[at - 1] > distance; at--) {
        near[at] = near[at - 1];
    }
    near[at] = distance;
}

/* How many of the sample's true nearest stand among the first `capacity` by this lane. */
static uint32_t rank_by(calibration *c, scratch *s, const sample *at, const walk_query *q, uint32_t capacity) {
    const vd_hnsw *h = c->h;
    float near[HIGH_NEAR + 1];
    uint32_t near_count = 0, own = node_of(h, at->slot);
    for (uint32_t from = 0; from < s->slot_limit; from += BLOCK) {
        uint32_t count = 0;
        for (uint32_t slot = from; slot < s->slot_limit && slot < from + BLOCK; slot++) {
            s->ids_a[count] = slot;
            count += slot_state(h, slot) == STATE_LIVE && node_of(h, slot) != own;
        }
        if (form_of(h) != s->form) {
            return 0; /* replaced meanwhile: says nothing about the new one */
        }
        walk_distances(s, q, s->ids_a, count, s->distances_a);
        for (uint32_t i = 0; i < count; i++) {
            near_put(near, capacity + 1, &near_count, s->distances_a[i]);
        }
    }
    float distances[CALIBRATION_K + KERNEL_OUT_PAD];
    uint32_t inside = 0;
    walk_distances(s, q, at->truth_slots, at->truth_count, distances);
    for (uint32_t i = 0; i < at->truth_count; i++) {
        inside += near_count <= capacity || distances[i] < near[capacity]; /* however ties fall */
    }
    return inside;
}

static void rank_task(calibration *c, sample *at) {
    const vd_hnsw *h = c->h;
    scratch *s = scratch_take(h, 1);
    if (!s) {
        atomic_store(&c->failed, true);
        return;
    }
    form_read(h, form_of(h), at->slot, s->query_vector);
    query_from_vector(h, s, s->query_vector);
    if (s->form->codes) {
        walk_query high = s->refine;
        high.score = h->kernels->score_high;
        at->in_high = rank_by(c, s, at, &high, HIGH_NEAR);
        at->in_both = rank_by(c, s, at, &s->refine, BOTH_NEAR);
        at->ranked = form_of(h) == s->form;
    }
    scratch_give(h, s);
}

/* ---- truth, and recall ---- */

/* Hits but the sample itself and its copies, which the search leaves out. */
static bool search_sample(calibration *c, const sample *at, const vd_hnsw_search_options *options, double gamma,
                          vd_hit *hits, size_t *count) {
    scratch *s = scratch_take(c->h, 1); /* only to hold the query */
    bool done = s != NULL;
    if (done) {
        form_read(c->h, form_of(c->h), at->slot, s->query_vector);
        done = search_with(c->h, s->query_vector, options, node_of(c->h, at->slot), gamma, c->cap, hits, count, NULL,
                           NULL) == VD_OK;
        scratch_give(c->h, s);
    }
    if (!done) {
        atomic_store(&c->failed, true);
    }
    return done;
}

static void truth_task(void *arg, uint32_t index) {
    calibration *c = arg;
    uint32_t first = index * GROUP_QUERIES;
    uint32_t last = first + GROUP_QUERIES < c->count ? first + GROUP_QUERIES : c->count;
    for (uint32_t i = first; i < last; i++) {
        sample *s = &c->samples[i];
        vd_hit hits[CALIBRATION_K];
        size_t count = 0;
        vd_hnsw_search_options options = {.k = CALIBRATION_K, .exact = true};
        if (!search_sample(c, s, &options, -1.0, hits, &count)) {
            return;
        }
        s->truth_count = (uint32_t)count;
        s->truth = count ? hits[count - 1].distance : 0.0;
        s->truth += fabs(s->truth) * 1e-12; /* equal distances count as equal */
        for (size_t j = 0; j < count; j++) {
            s->truth_slots[j] = hits[j].slot;
        }
        if (c->ranks && count) {
            rank_task(c, s);
        }
    }
}

static bool measure_truth(calibration *c, const vd_executor *executor) {
    executor_run(executor, truth_task, c, (c->count + GROUP_QUERIES - 1) / GROUP_QUERIES);
    return !atomic_load(&c->failed);
}

static void recall_task(void *arg, uint32_t index) {
    calibration *c = arg;
    uint32_t first = index * GROUP_QUERIES;
    uint32_t last = first + GROUP_QUERIES < c->count ? first + GROUP_QUERIES : c->count;
    for (uint32_t i = first; i < last; i++) {
        const sample *s = &c->samples[i];
        vd_hit hits[CALIBRATION_K];
        size_t count = 0;
        vd_hnsw_search_options options = {.k = CALIBRATION_K};
        if (!search_sample(c, s, &options, c->gamma, hits, &count)) {
            return;
        }
        uint32_t good = 0;
        for (size_t j = 0; j < count; j++) {
            good += hits[j].distance <= s->truth;
        }
        atomic_fetch_add(&c->found, good < s->truth_count ? good : s->truth_count);
        atomic_fetch_add(&c->wanted, s->truth_count);
    }
}

static double measure_recall(calibration *c, double gamma, const vd_executor *executor) {
    c->gamma = gamma;
    atomic_store(&c->found, 0);
    atomic_store(&c->wanted, 0);
    executor_run(executor, recall_task, c, (c->count + GROUP_QUERIES - 1) / GROUP_QUERIES);
    uint32_t wanted = atomic_load(&c->wanted);
    return wanted ? (double)atomic_load(&c->found) / (double)wanted : 1.0;
}

/* ---- the encoding ---- */

typedef enum choice { CHOICE_F32, CHOICE_BOTH, CHOICE_HIGH } choice;

static choice choose(const calibration *c, bool high_now, bool codes_now) {
    uint64_t high = 0, both = 0, wanted = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const sample *s = &c->samples[i];
        high += s->ranked ? s->in_high : 0;
        both += s->ranked ? s->in_both : 0;
        wanted += s->ranked ? s->truth_count : 0;
    }
    double need_high = (high_now ? RANK_LEAVE : RANK_SHARE) * (double)wanted;
    double need_both = (codes_now ? RANK_LEAVE : RANK_SHARE) * (double)wanted;
    if (wanted == 0) { /* nothing was learnt */
        return high_now ? CHOICE_HIGH : codes_now ? CHOICE_BOTH : CHOICE_F32;
    }
    return (double)high >= need_high && (double)both >= need_both ? CHOICE_HIGH
           : (double)both >= need_both                            ? CHOICE_BOTH
                                                                  : CHOICE_F32;
}

static vd_status take_choice(vd_hnsw *h, choice what, const vd_executor *executor) {
    if (h->options.discard_vectors) {
        what = what == CHOICE_F32 ? CHOICE_BOTH : what; /* there is nothing else to go by */
    }
    vd_encoding wanted = what == CHOICE_F32 ? VD_ENCODING_F32 : VD_ENCODING_SQ8;
    vd_status status = h->options.discard_vectors ? VD_OK : convert_locked(h, wanted, executor, NULL);
    if (status == VD_OK) { /* without memory it stays as it is, until the next look */
        atomic_store_explicit(&h->walk_high, what == CHOICE_HIGH, memory_order_release);
    }
    atomic_store_explicit(&h->encoding_checked_at, vd_hnsw_count(h), memory_order_release);
    return status;
}

vd_status encoding_check(vd_hnsw *h, const vd_executor *executor) {
    /* Not again with every add, however it ends: when the index has grown. */
    atomic_store_explicit(&h->encoding_checked_at, vd_hnsw_count(h), memory_order_release);
    if (encoding_asked(h) != VD_ENCODING_AUTO) {
        return VD_OK;
    }
    form *before = form_of(h);
    bool had_high = atomic_load_explicit(&h->walk_high, memory_order_relaxed);
    if (!before->codes && convert_locked(h, VD_ENCODING_SQ8, executor, NULL) != VD_OK) {
        return VD_OUT_OF_MEMORY;
    }
    const uint32_t wanted = CHECK_SAMPLE;
    calibration c = {.h = h, .ranks = true, .cap = POOL_ADAPTIVE};
    c.samples = take_samples(h, wanted, &c.count);
    vd_status status = c.samples && measure_truth(&c, executor) ? VD_OK : VD_OUT_OF_MEMORY;
    if (status == VD_OK) {
        choice what = choose(&c, had_high, before->codes);
        if (what == CHOICE_F32 && before->encoding == VD_ENCODING_F32) {
            convert_undo(h, before);
        } else {
            status = take_choice(h, what, executor);
        }
    }
    if (status != VD_OK && form_of(h) != before) {
        convert_undo(h, before);
    }
    mem_release(&h->allocator, c.samples, wanted * sizeof *c.samples);
    if (form_of(h) != before || atomic_load_explicit(&h->walk_high, memory_order_relaxed) != had_high) {
        atomic_store_explicit(&h->recalibrate, true, memory_order_release); /* gamma is of what was walked on */
    }
    return status;
}

bool encoding_check_due(const vd_hnsw *index) {
    vd_hnsw *h = (vd_hnsw *)index;
    uint64_t count = vd_hnsw_count(h), at = atomic_load_explicit(&h->encoding_checked_at, memory_order_relaxed);
    /* Once found not to rank, codes are tried again when the index has grown fourfold: it takes converting all vectors. */
    return encoding_asked(h) == VD_ENCODING_AUTO && count >= ENCODING_CHECK_ITEMS &&
           (at == 0 || count >= (form_of(h)->codes ? 2 : 4) * at);
}

/* ---- the table ---- */

static double aim_for(double recall) {
    double aim = recall + VD_RECALL_AIM_SHARE * (1.0 - recall);
    return aim > 0.999 ? 0.999 : aim;
}

static bool fill_table(calibration *c, calibration_table *table, const vd_executor *executor) {
    double most = aim_for(c->h->options.recall_target);
    most = most > 0.999 ? most : 0.999;
    size_t cap = 0, still = 0;
    table->count = 0;
    c->cap = caps[0];
    for (size_t i = 0; i < CALIBRATION_POINTS;) {
        double recall = measure_recall(c, gammas[i], executor);
        if (atomic_load(&c->failed)) {
            return false;
        }
        double before = table->count ? table->points[table->count - 1].recall : 0.0;
        bool stuck = table->count && recall < most && recall - before < 0.0005 && gammas[i] > 0.1;
        bool wider = cap + 1 < sizeof caps / sizeof caps[0] && caps[cap + 1] <= vd_hnsw_count(c->h) / 4;
        if (stuck && recall < aim_for(c->h->options.recall_target) && wider) {
            c->cap = caps[++cap]; /* the pool is what ends the hard ones: once more with a larger one */
            continue;
        }
        table->points[table->count].recall = recall > before ? recall : before;
        table->points[table->count++].gamma = gammas[i++];
        still = stuck ? still + 1 : 0;
        if (recall >= most || still == 2) {
            break;
        }
    }
    table->cap = c->cap;
    return true;
}

static double gamma_for(const calibration_table *t, double recall) {
    double aim = aim_for(recall);
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->points[i].recall >= aim) {
            if (i == 0) {
                return t->points[0].gamma;
            }
            double low = t->points[i - 1].recall, high = t->points[i].recall;
            double part = high > low ? (aim - low) / (high - low) : 1.0;
            return t->points[i - 1].gamma + part * (t->points[i].gamma - t->points[i - 1].gamma);
        }
    }
    return t->points[t->count - 1].gamma;
}

/* What was measured at this gamma. */
static double recall_at(const calibration_table *t, double gamma) {
    for (uint32_t i = 1; i < t->count; i++) {
        if (t->points[i].gamma >= gamma) {
            double width = t->points[i].gamma - t->points[i - 1].gamma;
            double part = (gamma - t->points[i - 1].gamma) / width;
            return t->points[i - 1].recall + part * (t->points[i].recall - t->points[i - 1].recall);
        }
    }
    return t->points[t->count - 1].recall;
}

void search_reach(const vd_hnsw *index, double recall, uint32_t k, double *gamma, uint32_t *cap) {
    vd_hnsw *h = (vd_hnsw *)index;
    const calibration_table *t = atomic_load_explicit(&h->calibration, memory_order_acquire);
    *gamma = -1.0;
    *cap = EF_UNKNOWN;
    if (t) {
        uint64_t count = vd_hnsw_count(h);
        double least = GAMMA_LEAST * log2(1.0 / (1.0 - (recall < 0.999 ? recall : 0.999)));
        *gamma = gamma_for(t, recall);
        *gamma = *gamma > least ? *gamma : least;
        *gamma *= count > t->items ? 1.0 + GROWTH * log2((double)count / (double)t->items) : 1.0;
        *cap = t->cap;
    }
    if (k > CALIBRATION_K) { /* calibrated at k = 10: a longer answer needs a wider search */
        uint32_t wide = *cap + (k - CALIBRATION_K) + (k - CALIBRATION_K) / 2;
        *cap = wide;
    }
    *cap = *cap < h->options.ef_search ? h->options.ef_search : *cap;
}

bool vd_hnsw_calibration_due(const vd_hnsw *index) {
    vd_hnsw *h = (vd_hnsw *)index;
    vd_hnsw_guard guard;
    uint64_t count = vd_hnsw_count(index);
    vd_hnsw_enter(index, &guard);
    const calibration_table *t = atomic_load_explicit(&h->calibration, memory_order_acquire);
    uint64_t at = t ? t->items : 0;
    vd_hnsw_leave(index, &guard);
    return count > SCAN_ITEMS && (at == 0 || count >= 2 * at || count * 3 < at * 2 ||
                                  atomic_load_explicit(&h->recalibrate, memory_order_acquire));
}

bool vd_hnsw_calibration_stale(const vd_hnsw *index) {
    vd_hnsw_guard guard;
    uint64_t count = vd_hnsw_count(index);
    vd_hnsw_enter(index, &guard);
    const calibration_table *t = atomic_load_explicit(&((vd_hnsw *)index)->calibration, memory_order_acquire);
    uint64_t at = t ? t->items : 0;
    vd_hnsw_leave(index, &guard);
    uint64_t change = count > at ? count - at : at - count;
    return count > SCAN_ITEMS && (at == 0 || change * 20 >= at);
}

static bool publish(vd_hnsw *h, calibration_table *table) {
    pthread_mutex_lock(&h->writer);
    calibration_table *old = atomic_load_explicit(&h->calibration, memory_order_relaxed);
    bool room = !old || retire_reserve(h, 1) == VD_OK;
    if (room) {
        atomic_store_explicit(&h->calibration, table, memory_order_release);
    }
    if (room && old) {
        retire(h, RETIRED_BLOCK, (uintptr_t)old, sizeof *old);
    }
    reclaim(h, false);
    pthread_mutex_unlock(&h->writer);
    if (!room) {
        mem_release(&h->allocator, table, sizeof *table);
    }
    return room;
}

vd_status vd_hnsw_calibrate(vd_hnsw *h, const vd_executor *executor, vd_error *err) {
    vd_hnsw_guard guard;
    uint64_t items = vd_hnsw_count(h);
    calibration c = {.h = h, .cap = POOL_ADAPTIVE};
    bool look = encoding_asked(h) == VD_ENCODING_AUTO && items >= ENCODING_CHECK_ITEMS;
    vd_hnsw_enter(h, &guard); /* a form that is looked at must not go away */
    if (encoding_check_due(h) && !form_of(h)->codes) {
        pthread_mutex_lock(&h->writer);
        (void)encoding_check(h, executor);
        pthread_mutex_unlock(&h->writer);
    }
    c.ranks = look && form_of(h)->codes;
    c.samples = take_samples(h, CALIBRATION_SAMPLE, &c.count);
    calibration_table *table = mem_alloc(&h->allocator, sizeof *table);
    bool done = c.samples && table && measure_truth(&c, executor);
    if (done && c.ranks) {
        bool high = atomic_load_explicit(&h->walk_high, memory_order_relaxed);
        choice what = choose(&c, high, true);
        if (what != (high ? CHOICE_HIGH : CHOICE_BOTH)) {
            pthread_mutex_lock(&h->writer);
            (void)take_choice(h, what, executor);
            pthread_mutex_unlock(&h->writer);
        }
    }
    /* Before measuring: who changes something meanwhile asks for another one. */
    bool was_due = atomic_exchange(&h->recalibrate, false);
    done = done && fill_table(&c, table, executor);
    mem_release(&h->allocator, c.samples, CALIBRATION_SAMPLE * sizeof *c.samples);
    vd_hnsw_leave(h, &guard);
    if (done && items) {
        table->items = items;
        done = publish(h, table);
    } else {
        mem_release(&h->allocator, table, sizeof *table);
    }
    if (!done && was_due) {
        atomic_store_explicit(&h->recalibrate, true, memory_order_release);
    }
    return done ? VD_OK : vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
}

void calibration_figures(const vd_hnsw *index, vd_hnsw_stats *stats) {
    vd_hnsw *h = (vd_hnsw *)index;
    const calibration_table *t = atomic_load_explicit(&h->calibration, memory_order_acquire);
    double gamma;
    search_reach(h, h->options.recall_target, CALIBRATION_K, &gamma, &stats->ef_effective);
    if (t) {
        stats->calibrated_at = t->items;
        stats->calibrated_gamma = gamma_for(t, h->options.recall_target);
        stats->calibrated_recall = recall_at(t, stats->calibrated_gamma);
    }
}
