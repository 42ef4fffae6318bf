/*
 * search.c - the k nearest: walk the graph (or scan a small index), then order the best by their exact distances.
 *
 * Three precisions, each on fewer: the walk ranks by half the bits of a code where that is good enough, the best k + REFINE_LEAST of
 * it, and whoever their error leaves in doubt, are ranked anew by all bits, and the first k of those, with whoever the error of the
 * codes leaves in doubt, are measured in double from the exact vectors. Exact copies of a node come out of its chain. A stored vector that equals the query bit for bit is
 * looked up by its hash as well, so an item is always found by its own vector, however little is looked at.
 *
 * A scan measures by codes too, and exactly only what the error of the codes, at its very worst, could make an answer.
 */
#include <math.h>
#include <sched.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

#define WINDOW_MOST 8192u /* a pool larger than this costs more than measuring everything */
#define RETRIES     8     /* searches that a publication overtook look again, at most so often */
/* Turns given up until a publication that is under way has ended; it is short unless its thread is stopped. */
#define WAITS             20000
#define SCAN_BLOCK        256u
#define BUDGET_SLACK      768u /* distances that ordering may take beyond a budget */
#define COPIES_A_DISTANCE 32u  /* looking at so many exact copies costs what a distance does */

/* ---- the best so far ---- */

static bool before(const vd_hnsw *h, const result *a, const result *b) {
    if (a->distance != b->distance) {
        return a->distance < b->distance;
    }
    return id_compare(slot_id(h, a->slot), slot_id(h, b->slot)) < 0;
}

bool run_put(search_run *run, double distance, uint32_t slot) {
    result r = {distance, slot, false};
    result *best = run->top.best;
    size_t count = run->top.count;
    if (count == run->top.capacity && !before(run->h, &r, &best[count - 1])) {
        return true;
    }
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (before(run->h, &best[middle], &r)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < count && best[low].slot == slot) {
        return false; /* met twice: by its hash, or behind a dead copy whose place it has taken */
    }
    run->top.count += count < run->top.capacity;
    memmove(best + low + 1, best + low, (run->top.count - 1 - low) * sizeof *best);
    best[low] = r;
    return true;
}

/* Puts in a node of the graph and its exact copies; returns whether any of them may be an answer and was not yet seen. */
static bool emit(search_run *r, uint32_t slot) {
    const vd_hnsw *h = r->h;
    const vd_filter *filter = r->options->filter;
    bool any = false;
    double distance = -1.0;
    uint32_t copies = 0;
    for (uint32_t at = slot; at != SLOT_NONE && slot != r->hidden; at = twin_next(h, at)) {
        if (++copies % COPIES_A_DISTANCE == 0) { /* a long chain is work too */
            r->s->distances++;
            if (interrupted(r->s)) {
                r->s->truncated = true;
                break;
            }
        }
        uint8_t state = slot_state(h, at);
        if (state == STATE_LIVE && (!filter || filter_allows(h, filter, at))) {
            if (distance < 0.0) {
                distance = exact_distance(h, r->s->form, r->query, r->s->query_norm2, slot, r->s->pair_vector);
                r->s->reranked++;
                r->s->distances++;
            }
            any |= run_put(r, distance, at);
        }
        r->dead |= state == STATE_DEAD;
    }
    return any;
}

/* ---- scanning ---- */

/* What is further than this by codes cannot be among the first k, whatever the error. */
static float scan_bound(const search_run *r) {
    if (r->top.count < r->k) {
        return INFINITY;
    }
    double distance = r->top.best[r->k - 1].distance;
    return (float)(r->h->options.metric == VD_METRIC_EUCLIDEAN ? distance * distance : distance);
}

/* The node that is left out, and its copies. */
static bool is_hidden(const search_run *r, uint32_t slot) {
    return r->hidden != SLOT_NONE &&
           (slot == r->hidden || (twin_of_another(r->h, slot) && parent_of(r->h, slot) == r->hidden));
}

void run_scan(search_run *r) {
    const vd_hnsw *h = r->h;
    scratch *s = r->s;
    const vd_filter *filter = r->options->filter;
    float *distances = s->distances_a;
    for (uint32_t from = 0; from < s->slot_limit && !s->truncated; from += SCAN_BLOCK) {
        uint32_t count = 0;
        for (uint32_t slot = from; slot < from + SCAN_BLOCK && slot < s->slot_limit; slot++) {
            s->ids_a[count] = slot;
            count +=
                slot_state(h, slot) == STATE_LIVE && (!filter || filter_allows(h, filter, slot)) && !is_hidden(r, slot);
        }
        if (form_of(h) != s->form) { /* after the states: see walk_turn */
            s->stale = true;
            return;
        }
        walk_distances(s, &s->refine, s->ids_a, count, distances);
        for (uint32_t i = 0; i < count; i++) {
            float bound = scan_bound(r);
            if (distances[i] > bound && distances[i] - lane_error(h, s, s->ids_a[i], ERROR_BOUND) > bound) {
                continue;
            }
            run_put(r, exact_distance(h, s->form, r->query, s->query_norm2, s->ids_a[i], s->pair_vector), s->ids_a[i]);
            s->reranked++;
            s->distances++;
        }
        s->truncated = interrupted(s);
    }
}

/* ---- walking ---- */

/* How many are in no answer (the new ones of a batch that is being linked, and the dead) where they could be in others' way: in all
 * of a full pool, which has turned others away; else among its first `rank`, which the bound is drawn by. */
static uint32_t count_hidden(const vd_hnsw *h, const scratch *s, uint32_t rank) {
    uint32_t count = 0;
    const uint32_t look = s->pool.size == s->pool.limit || rank > s->pool.size ? s->pool.size : rank;
    for (uint32_t i = 0; i < look; i++) {
        count += slot_state(h, key_slot(s->pool.keys[i])) != STATE_LIVE;
    }
    return count;
}

static bool in_flux(const vd_hnsw *index, uint64_t seq) {
    vd_hnsw *h = (vd_hnsw *)index;
    return atomic_load_explicit(&h->in_flux, memory_order_acquire) || atomic_load(&h->publish_seq) != seq;
}

/* Prepares the query with a scratch that has room for `window` and knows the entry point. */
static vd_status prepare(search_run *r, uint32_t window, uint64_t *entry) {
    vd_hnsw *h = (vd_hnsw *)r->h;
    for (;;) {
        *entry = atomic_load_explicit(&h->entry, memory_order_acquire);
        query_from_vector(h, r->s, r->query);
        bool known = *entry == ENTRY_NONE || (uint32_t)*entry < r->s->slot_limit;
        if (known && scratch_fits(h, r->s, window)) {
            return VD_OK;
        }
        scratch *fresh = scratch_take(h, window);
        if (fresh) {
            fresh->hops = r->s->hops;
            fresh->distances = r->s->distances;
            fresh->refined = r->s->refined;
            fresh->reranked = r->s->reranked;
            fresh->budget = r->s->budget;
            fresh->cancel = r->s->cancel;
            r->s->distances = 0; /* counted by the new one */
        }
        scratch_give(h, r->s);
        r->s = fresh;
        if (!fresh) {
            return VD_OUT_OF_MEMORY;
        }
        r->top.best = fresh->results;
    }
}

static void settle(search_run *r);
static void scan_all(search_run *r);

/* Starts a walk with room for the items wanted beside what is in the way of them; or scans. */
static vd_status start_walk(search_run *r) {
    const vd_hnsw *h = r->h;
    const vd_filter *filter = r->options->filter;
    double widen = r->plan == VD_PLAN_FILTER_WALK ? 1.0 / r->share : 1.0;
    double wanted = (double)r->ef * widen + r->in_the_way;
    uint32_t window = wanted < WINDOW_MOST ? (uint32_t)wanted : WINDOW_MOST;
    uint32_t rank = (r->k > CALIBRATION_K ? r->k : CALIBRATION_K) + r->in_the_way;
    rank = (uint32_t)((double)rank * widen);
    uint64_t entry;
    candidate nearest;
    r->walking = false;
    r->flux = in_flux(h, r->seq);
    if (prepare(r, window, &entry) != VD_OK) {
        return VD_OUT_OF_MEMORY;
    }
    scratch *s = r->s;
    if (!walk_descend(h, s, entry, 0, r->hidden, &nearest)) {
        s->pool.size = 0;
        settle(r);
        return VD_OK;
    }
    float stretch = r->gamma < 0 ? 0.0f : (float)((1.0 + r->gamma) * (1.0 + r->gamma));
    if (s->stale) {
        return VD_OK;
    }
    if (r->plan == VD_PLAN_FILTER_HOP && filter_apart(r, nearest.slot)) {
        if (filter_scan_apart(r)) {
            scan_all(r);
            return VD_OK;
        }
        rank *= 4;
        window = window * 4 < s->pool_capacity ? window * 4 : (uint32_t)s->pool_capacity;
    }
    r->rank = rank;
    walk_begin(h, s, nearest, 0, window, stretch, rank, r->hidden);
    if (r->plan == VD_PLAN_FILTER_HOP) {
        uint32_t seeds[16];
        s->walk.filter = filter;
        walk_seed(h, s, seeds, filter_seeds(h, s, filter, seeds, 16));
    }
    r->walking = true;
    return VD_OK;
}

/* Measures pool entries from..to by all bits and sorts them in behind those that have been. */
static void refine_some(scratch *s, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) {
        s->candidates[i].slot = key_slot(s->pool.keys[i]);
    }
    s->refined += to - from;
    candidates_refine(s, from, to);
}

/* The pool ranked by all bits into s->candidates, as far as it matters: where half of them were walked on, the first of it and
 * whoever the error of those leaves in doubt. Returns how many. */
static uint32_t refine(search_run *r) {
    scratch *s = r->s;
    candidate *c = s->candidates;
    uint32_t size = s->pool.size;
    if (!s->two_lanes) {
        for (uint32_t i = 0; i < size; i++) {
            c[i] = (candidate){key_distance(s->pool.keys[i]), key_slot(s->pool.keys[i])};
        }
        return size;
    }
    uint32_t rank = r->k + r->in_the_way;
    uint32_t done = r->options->filter ? size : rank + REFINE_LEAST;
    done = done < size ? done : size;
    if ((s->budget != UINT64_MAX || cancelled(s)) && done > BUDGET_SLACK / 2) {
        done = BUDGET_SLACK / 2;
        s->truncated |= done < size;
    }
    refine_some(s, 0, done);
    float error = done > rank ? lane_error(r->h, s, c[rank - 1].slot, ERROR_HIGH) : 0.0f;
    while (done < size && !s->truncated && key_distance(s->pool.keys[done]) - error <= c[rank - 1].distance) {
        uint32_t more = size - done < REFINE_CHUNK ? size - done : REFINE_CHUNK;
        refine_some(s, done, done + more);
        done += more;
    }
    return done;
}

/* What is first in order is measured first, so that a budget, or the caller's leaving, cuts off what is furthest. */
static bool beyond_budget(const scratch *s, uint64_t begun) {
    return (s->budget != UINT64_MAX && s->distances >= s->budget + BUDGET_SLACK) ||
           (s->distances >= begun + BUDGET_SLACK && cancelled(s));
}

/* Orders what the walk has found by exact distance. */
static void harvest(search_run *r) {
    const vd_hnsw *h = r->h;
    scratch *s = r->s;
    const candidate *c = s->candidates;
    const uint64_t begun = s->distances;
    uint32_t found = 0, extra = 0, count = refine(r);
    float limit = INFINITY;
    r->exact = false;
    for (uint32_t i = 0; i < count && i < 2; i++) {
        form_prefetch(s->form, c[i].slot);
    }
    for (uint32_t i = 0; i < count && c[i].distance <= limit && extra < RERANK_MOST; i++) {
        if (beyond_budget(s, begun)) {
            s->truncated = true;
            break;
        }
        if (i + 2 < count) {
            form_prefetch(s->form, c[i + 2].slot);
        }
        bool answer = emit(r, c[i].slot);
        found += answer;
        extra += answer && found > r->k;
        if (answer && found == r->k && !in_flux(h, r->seq)) { /* what can still be nearer, as far as codes can tell */
            limit = c[i].distance + lane_error(h, s, c[i].slot, ERROR_BOTH);
        }
        if (i + 1 == count && found < r->k && count < s->pool.size &&
            !s->truncated) { /* so many of them were no answers */
            refine_some(s, count, s->pool.size);
            count = s->pool.size;
            i = UINT32_MAX; /* sorted anew: from the first, repeats are dropped */
        }
    }
}

/* While a batch became visible, an id may have been met in its old and its new slot: keeps the nearer, and returns whether there was
 * such a one. Only one that is not in the slot that the map shows can be; while ids go over to other slots, any. */
static bool drop_repeated_ids(search_run *r) {
    const vd_hnsw *h = r->h;
    result *best = r->top.best;
    const uint64_t swing = atomic_load(&((vd_hnsw *)h)->swing_seq);
    bool any = false;
    for (size_t i = 0; i < r->top.count; i++) {
        best[i].moved = id_map_find(h, slot_id(h, best[i].slot)) != best[i].slot;
        any |= best[i].moved;
    }
    const bool all = (swing & 1) != 0 || atomic_load(&((vd_hnsw *)h)->swing_seq) != swing;
    size_t kept = 0;
    for (size_t i = 0; i < r->top.count; i++) {
        bool repeated = false;
        for (size_t j = 0; j < kept && !repeated && (any || all); j++) {
            repeated = (all || best[i].moved || best[j].moved) &&
                       id_compare(slot_id(h, best[j].slot), slot_id(h, best[i].slot)) == 0;
        }
        if (!repeated) {
            best[kept++] = best[i];
        }
    }
    const bool dropped = kept < r->top.count;
    r->top.count = kept;
    return dropped;
}

static void scan_all(search_run *r) {
    r->top.count = 0;
    run_scan(r);
    r->exact = !r->s->truncated;
    r->plan = r->options->filter ? VD_PLAN_FILTER_SCAN : VD_PLAN_SCAN;
}

/* The walk is over: its answer, and the item that equals the query. */
static void settle(search_run *r) {
    const vd_hnsw *h = r->h;
    if (r->s->stale) {
        return;
    }
    harvest(r);
    uint32_t same = vector_map_find(h, form_canonical(h, r->s->form, r->query, r->s->query_vector), r->s->pair_vector);
    if (same != SLOT_NONE && same != r->hidden && same < r->s->slot_limit && form_of(h) == r->s->form) {
        emit(r, same);
    }
    if (r->options->filter && r->top.count < r->k && r->top.count < r->matches && !r->s->truncated) {
        scan_all(r); /* the walk starved: what matches lies apart */
    }
}

/* One look at the index, from the query to an answer that is final unless something was published meanwhile. */
static vd_status look(search_run *r) {
    r->seq = atomic_load(&((vd_hnsw *)r->h)->publish_seq);
    r->swing = atomic_load(&((vd_hnsw *)r->h)->swing_seq);
    r->sweep = atomic_load(&((vd_hnsw *)r->h)->sweep_seq);
    r->dead = false;
    r->top.count = 0;
    r->walking = false;
    if (r->plan == VD_PLAN_SCAN || r->plan == VD_PLAN_FILTER_SCAN) {
        uint64_t entry;
        if (prepare(r, r->k, &entry) != VD_OK) {
            return VD_OUT_OF_MEMORY;
        }
        scan_all(r);
        return VD_OK;
    }
    return start_walk(r);
}

/* While items change places no look can be conclusive: one may be missed in both. */
static void wait_published(vd_hnsw *h) {
    for (uint32_t i = 0; (atomic_load(&h->publish_seq) & 1) != 0 && i < WAITS; i++) {
        sched_yield();
    }
}

/* After a look: whether it must be done again. */
static vd_status conclude(search_run *r) {
    vd_hnsw *h = (vd_hnsw *)r->h;
    while (!r->walking) {
        bool undisturbed = (r->seq & 1) == 0 && atomic_load(&h->publish_seq) == r->seq && form_of(h) == r->s->form;
        if (undisturbed) {
            break;
        }
        bool dropped = drop_repeated_ids(r);
        if (r->s->truncated) {
            break;
        }
        if (r->exact && !dropped && (r->swing & 1) == 0 && atomic_load(&h->swing_seq) == r->swing &&
            form_of(h) == r->s->form) {
            break; /* adds and deletes hide nothing from a scan that was there all along */
        }
        /* Nothing that died meanwhile was in the way, or was taken out of the lists before it was met (and where its id went
         * over to another slot, that one may have come too late), and repeated ids did not leave the answer short. */
        if (form_of(h) == r->s->form && !r->dead && !r->s->passed_by && atomic_load(&h->sweep_seq) == r->sweep &&
            !r->exact && r->top.count >= r->k) {
            break;
        }
        bool stale =
            r->s->stale || form_of(h) != r->s->form; /* an answer of an old form is no answer; forms change rarely */
        r->tries += !stale;
        if (r->tries >= RETRIES) {
            r->exact = false; /* replaced faster than it can be scanned */
            break;
        }
        r->s->stale = false;
        wait_published(h);
        vd_status status = look(r);
        if (status) {
            return status;
        }
    }
    return VD_OK;
}

vd_status run_step(search_run *r) {
    const vd_hnsw *h = r->h;
    scratch *s = r->s;
    r->walking = false;
    if (!s->stale &&
        (r->flux || in_flux(h, r->seq) || atomic_load_explicit(&((vd_hnsw *)h)->dead_pending, memory_order_acquire)) &&
        !s->truncated) {
        /* A batch that is being written just where the query looks, or the dead there, can take all the room or draw the bound in:
         * then the walk is done again with more of both. */
        uint32_t hidden = count_hidden(h, s, r->rank);
        if (hidden > r->in_the_way) {
            if (r->in_the_way >= WINDOW_MOST / 2) {
                scan_all(r);
                return conclude(r);
            }
            r->in_the_way = 2 * hidden;
            vd_status status = start_walk(r);
            return status ? status : r->walking ? VD_OK : conclude(r);
        }
    }
    settle(r);
    return conclude(r);
}

vd_status run_begin(search_run *r, const vd_hnsw *h, const float *query, const vd_hnsw_search_options *options,
                    uint32_t hidden, double gamma, uint32_t cap) {
    *r = (search_run){.h = h, .query = query, .options = options, .hidden = hidden, .gamma = gamma, .share = 1.0};
    uint64_t items = vd_hnsw_count(h);
    /* More than there is cannot be found: neither costs memory. */
    const uint32_t most = items < 1 ? 1 : items < UINT32_MAX ? (uint32_t)items : UINT32_MAX;
    r->k = options->k ? options->k : VD_K_DEFAULT;
    r->k = r->k < most ? r->k : most;
    r->ef = options->ef ? options->ef : cap;
    if (gamma < 0 && options->ef == 0) {
        search_reach(h, options->recall_target > 0 ? options->recall_target : h->options.recall_target, r->k, &r->gamma,
                     &r->ef);
    }
    r->ef = r->ef < most ? r->ef : most;
    r->ef = r->ef < r->k ? r->k : r->ef;
    r->s = scratch_take(h, r->ef);
    if (!r->s) {
        return VD_OUT_OF_MEMORY;
    }
    r->s->budget = options->max_distances ? options->max_distances : UINT64_MAX;
    r->s->cancel = options->cancel;
    r->top.best = r->s->results;
    r->top.capacity = (size_t)r->k + RERANK_MOST;
    r->plan = options->filter ? filter_plan(r) : VD_PLAN_WALK;
    /* What would look at half of them might as well look at all, exactly. */
    if (options->exact || items <= SCAN_ITEMS || items / 2 <= r->ef || r->k > WINDOW_MOST / 2) {
        r->plan = options->filter ? VD_PLAN_FILTER_SCAN : VD_PLAN_SCAN;
    }
    vd_status status = look(r);
    status = status || r->walking ? status : conclude(r);
    if (status && r->s) {
        scratch_give(h, r->s);
        r->s = NULL;
    }
    return status;
}

size_t run_end(search_run *r, vd_hit *hits, vd_search_info *info) {
    const vd_hnsw *h = r->h;
    size_t count = r->top.count < r->k ? r->top.count : r->k;
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = r->top.best[i].slot;
        hits[i] = (vd_hit){r->top.best[i].distance, slot_id(h, slot),
                           atomic_load_explicit(&((vd_hnsw *)h)->payloads[slot], memory_order_relaxed), slot};
    }
    if (info) {
        bool scan = r->plan == VD_PLAN_SCAN || r->plan == VD_PLAN_FILTER_SCAN;
        *info = (vd_search_info){.ef = scan ? 0 : r->s->pool.limit,
                                 .visited = r->s->hops,
                                 .distances = r->s->distances,
                                 .refined = r->s->refined,
                                 .reranked = r->s->reranked,
                                 .plan = r->plan,
                                 .exact = r->exact && !r->s->truncated,
                                 .truncated = r->s->truncated};
    }
    scratch_give(h, r->s);
    r->s = NULL;
    return count;
}

vd_status search_check(const vd_hnsw *h, const vd_hnsw_search_options *options, vd_error *err) {
    (void)h;
    if (!(options->recall_target >= 0.0 && options->recall_target <= 1.0)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "recall_target", "recall_target must be above 0 and at most 1");
    }
    if (options->recall_target > 0.0 && options->ef) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "ef", "give ef or recall_target, not both");
    }
    return VD_OK;
}

vd_status search_with(const vd_hnsw *h, const float *query, const vd_hnsw_search_options *options, uint32_t hidden,
                      double gamma, uint32_t cap, vd_hit *hits, size_t *count, vd_search_info *info, vd_error *err) {
    search_run r;
    vd_status status = run_begin(&r, h, query, options, hidden, gamma, cap);
    while (status == VD_OK && r.walking) {
        while (!r.s->walk.done) {
            walk_turn(h, r.s);
        }
        status = run_step(&r);
    }
    if (status != VD_OK) {
        if (r.s) {
            scratch_give(h, r.s);
        }
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    *count = run_end(&r, hits, info);
    return VD_OK;
}

vd_status vd_hnsw_search(const vd_hnsw *index, const float *query, const vd_hnsw_search_options *options, vd_hit *hits,
                         size_t *count, vd_search_info *info, vd_error *err) {
    vd_status status = search_check(index, options, err);
    status = status ? status : vd_hnsw_validate(index, query, err);
    return status ? status : search_with(index, query, options, SLOT_NONE, -1.0, 0, hits, count, info, err);
}

vd_status vd_hnsw_get(const vd_hnsw *h, vd_id id, float *vector, void **payload) {
    for (;;) {
        uint32_t slot = id.size ? id_map_find(h, id) : SLOT_NONE;
        if (slot == SLOT_NONE) {
            return VD_NOT_FOUND;
        }
        const form *f = form_of(h);
        if (slot_state(h, slot) != STATE_LIVE) {
            continue; /* replaced or deleted between the two looks; the map shows that already */
        }
        if (vector) {
            form_read(h, f, slot, vector);
        }
        if (payload) {
            *payload = atomic_load_explicit(&((vd_hnsw *)h)->payloads[slot], memory_order_relaxed);
        }
        return VD_OK;
    }
}

vd_status vd_hnsw_slot(const vd_hnsw *h, vd_id id, uint32_t *slot) {
    uint32_t found = id.size ? id_map_find(h, id) : SLOT_NONE;
    if (found == SLOT_NONE) {
        return VD_NOT_FOUND;
    }
    *slot = found;
    return VD_OK;
}

uint32_t vd_hnsw_slots(const vd_hnsw *h) {
    return atomic_load_explicit(&((vd_hnsw *)h)->slots, memory_order_acquire);
}
