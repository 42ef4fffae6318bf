/*
 * filter.c - searching among the items that a filter allows.
 *
 * How is chosen by the share p of items that match, counted where the filter is a bitmap and estimated from a sample where it is
 * a call. Few matches are scanned: exact, and cheaper than any walk. Where many match, the graph is walked as always with a pool that
 * is 1 / p as large, and what matches is collected from it. In between the walk goes over matches only, and looks behind each
 * neighbour that does not match for some that do (ACORN-1, arXiv 2403.04871, with two-hop expansion): never skipping a node without
 * looking behind it, else the graph falls apart. A walk that ends with less than there is scans after all (search.c).
 */
#include "hnsw/hnsw_int.h"

#define SCAN_MATCHES                                                                                                   \
    5000u /* so few are scanned whatever the graph could do: 40 to 50 ns each, where a hop's cost 100 to 150 */
#define SCAN_APART     50000u /* so few where hardly anything near the query matches */
#define APART_SHARE    4.0    /* "hardly anything": this much less than among all */
#define APART_LEAST    48u    /* neighbours that are looked at to tell */
#define SCAN_EF_FACTOR 20u    /* a walk costs some 20 distances for each place in its pool */
#define WALK_SHARE     0.4    /* from here on walking as always costs least */
#define SAMPLE_SLOTS   256u
#define HOP_TAKEN      62u /* neighbours of one expansion, at most */

static uint64_t count_bits(const vd_filter *f, uint32_t slots) {
    uint64_t count = 0;
    uint64_t limit = f->slot_count < slots ? f->slot_count : slots;
    for (uint64_t word = 0; word < limit / 64; word++) {
        count += (uint64_t)__builtin_popcountll(f->slots[word]);
    }
    if (limit % 64) {
        count += (uint64_t)__builtin_popcountll(f->slots[limit / 64] & ((1ull << (limit % 64)) - 1));
    }
    return count;
}

/* Of what the bitmap lets through, the share that the call does too. */
static double sample_share(const vd_hnsw *h, const vd_filter *f, uint32_t slots) {
    uint32_t seen = 0, allowed = 0;
    uint32_t step = slots / SAMPLE_SLOTS + 1;
    for (uint32_t slot = step / 2; slot < slots; slot += step) {
        if (slot_state(h, slot) == STATE_LIVE) {
            seen++;
            allowed += filter_allows(h, f, slot);
        }
    }
    return seen ? (double)allowed / seen : 0.0;
}

vd_plan filter_plan(search_run *r) {
    const vd_hnsw *h = r->h;
    const vd_filter *f = r->options->filter;
    uint32_t slots = vd_hnsw_slots(h);
    double items = (double)vd_hnsw_count(h);
    double matches = f->slots ? (double)count_bits(f, slots) : items;
    if (f->accept) {
        matches = items * sample_share(h, f, slots);
    }
    matches = matches < items ? matches : items;
    r->matches = f->accept ? UINT64_MAX : (uint64_t)matches; /* an estimate is no promise that there are so few */
    r->share = items > 0 ? matches / items : 0.0;
    double scan = (double)SCAN_EF_FACTOR * (r->k + 20.0);
    if (matches <= (scan > SCAN_MATCHES ? scan : SCAN_MATCHES)) {
        return VD_PLAN_FILTER_SCAN;
    }
    return r->share >= WALK_SHARE ? VD_PLAN_FILTER_WALK : VD_PLAN_FILTER_HOP;
}

/* Whether the node or any of its exact copies matches. The payload of one that died is not there to be looked at any more. */
static bool node_allows(const vd_hnsw *h, const vd_filter *f, uint32_t slot) {
    for (uint32_t at = slot; at != SLOT_NONE; at = twin_next(h, at)) {
        if (slot_state(h, at) == STATE_LIVE && filter_allows(h, f, at)) {
            return true;
        }
    }
    return false;
}

bool filter_apart(const search_run *r, uint32_t near) {
    const vd_hnsw *h = r->h;
    uint32_t seen = 0, allowed = 0;
    const _Atomic uint32_t *list = base_links(h, near);
    uint32_t count = links_count(list, h->m0);
    for (uint32_t i = 0; i < count && seen < APART_LEAST; i++) {
        const _Atomic uint32_t *next = base_links(h, link_get(list, i));
        uint32_t n = links_count(next, h->m0);
        for (uint32_t j = 0; j < n && j < 8; j++) { /* some of each: they overlap */
            uint32_t slot = link_get(next, j);
            if (slot < r->s->slot_limit) {
                seen++;
                allowed += node_allows(h, r->options->filter, slot);
            }
        }
    }
    return seen >= APART_LEAST && (double)allowed * APART_SHARE < r->share * seen;
}

bool filter_scan_apart(const search_run *r) {
    return r->share * (double)vd_hnsw_count(r->h) <= SCAN_APART;
}

uint32_t filter_collect(const vd_hnsw *h, scratch *s, uint32_t slot, uint32_t level, uint32_t *out) {
    const vd_filter *f = s->walk.filter;
    const _Atomic uint32_t *list = level_links(h, slot, level);
    uint32_t capacity = level_capacity(h, level), count = links_count(list, capacity);
    uint32_t most = HOP_TAKEN > 2 * capacity ? 2 * capacity : HOP_TAKEN;
    most = most > BATCH_SLOTS_MAX ? BATCH_SLOTS_MAX : most;
    uint32_t behind[2 * VD_M_MAX];
    uint32_t found = 0, others = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbour = link_get(list, i);
        if (neighbour >= s->slot_limit || !first_met(s, neighbour)) {
            continue;
        }
        s->passed_by |= slot_state(h, neighbour) != STATE_LIVE;
        if (node_allows(h, f, neighbour)) {
            out[found++] = neighbour;
        } else {
            behind[others++] = neighbour;
        }
    }
    for (uint32_t i = 0; i < others && found < most; i++) {
        const _Atomic uint32_t *next = level_links(h, behind[i], level);
        uint32_t n = links_count(next, capacity);
        for (uint32_t j = 0; j < n && found < most; j++) {
            uint32_t neighbour = link_get(next, j);
            s->passed_by |= neighbour < s->slot_limit && slot_state(h, neighbour) != STATE_LIVE;
            if (neighbour < s->slot_limit && node_allows(h, f, neighbour) && first_met(s, neighbour)) {
                out[found++] = neighbour;
            }
        }
    }
    return found;
}

uint32_t filter_seeds(const vd_hnsw *h, scratch *s, const vd_filter *filter, uint32_t *out, uint32_t most) {
    uint32_t found = 0;
    uint32_t step = s->slot_limit / most + 1;
    for (uint32_t from = 0; from < s->slot_limit && found < most; from += step) {
        uint32_t to = s->slot_limit - from < step ? s->slot_limit : from + step;
        for (uint32_t slot = from; slot < to; slot++) {
            if (slot_state(h, slot) == STATE_LIVE && !twin_of_another(h, slot) && node_allows(h, filter, slot)) {
                if (first_met(s, slot)) {
                    out[found++] = slot;
                }
                break;
            }
        }
    }
    return found;
}
