/*
 * model_test.c - random operations on an index and on a plain table beside it; after each the two must agree, and after each
 * phase every invariant of the index must hold. A failure names the seed and the number of the operation:
 * VECTORD_TEST_SEED=that runs it again alone, VECTORD_TEST_ROUNDS=n tries n seeds.
 *
 * The ids are few, so that most adds replace something; the vectors repeat, so that chains of exact copies come and go.
 */
#include <inttypes.h>
#include <math.h>

#include "base/executor.h"
#include "engine_help.h"

enum { ID_ROOM = 40, BATCH_MAX = 60, HITS_MAX = 64 };

typedef struct config {
    const char *name;
    uint32_t dimension;
    vd_metric metric;
    uint32_t m, ef_construction;
    vd_encoding encoding;
    shape kind;
    uint32_t universe; /* ids */
    bool threads;
} config;

static const config configs[] = {
    {"1-d euclidean", 1, VD_METRIC_EUCLIDEAN, 4, 40, VD_ENCODING_AUTO, SHAPE_GRID, 900, false},
    {"1-d cosine", 1, VD_METRIC_COSINE, 4, 40, VD_ENCODING_AUTO, SHAPE_UNIFORM, 900, false},
    {"2-d euclidean", 2, VD_METRIC_EUCLIDEAN, 16, 100, VD_ENCODING_AUTO, SHAPE_UNIFORM, 1500, true},
    {"2-d grid, the smallest graph", 2, VD_METRIC_EUCLIDEAN, 2, 8, VD_ENCODING_F32, SHAPE_GRID, 1200, false},
    {"3-d cosine", 3, VD_METRIC_COSINE, 8, 60, VD_ENCODING_SQ8, SHAPE_CLUSTERED, 1500, false},
    {"8-d euclidean, the smallest graph", 8, VD_METRIC_EUCLIDEAN, 2, 8, VD_ENCODING_SQ8, SHAPE_CLUSTERED, 1500, true},
    {"33-d cosine", 33, VD_METRIC_COSINE, 16, 100, VD_ENCODING_AUTO, SHAPE_CLUSTERED, 1800, true},
    {"33-d euclidean, offset", 33, VD_METRIC_EUCLIDEAN, 5, 50, VD_ENCODING_AUTO, SHAPE_OFFSET, 1200, false},
    {"384-d cosine", 384, VD_METRIC_COSINE, 16, 60, VD_ENCODING_AUTO, SHAPE_CLUSTERED, 900, true},
    {"384-d euclidean", 384, VD_METRIC_EUCLIDEAN, 128, 60, VD_ENCODING_SQ8, SHAPE_CLUSTERED, 700, false},
};
#define CONFIGS (sizeof configs / sizeof configs[0])

typedef struct entry {
    bool present;
    float *vector;
    uintptr_t payload; /* number + 1 of the version, as a pointer; into `released` */
} entry;

typedef struct model {
    const config *c;
    uint64_t seed;
    uint64_t step;
    rng r;
    vd_hnsw *index;
    const vd_executor *executor;
    entry *entries; /* [universe] */
    char (*ids)[ID_ROOM];
    uint32_t *id_sizes;
    float *pool; /* vectors that repeat */
    uint32_t pool_count;
    uint32_t items;
    uint8_t *released; /* by version */
    size_t versions, version_room;
    uint32_t *order; /* scratch: present ids by id bytes */
} model;

#define DEMAND(m, condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            char demand_text[512];                                                                                     \
            snprintf(demand_text, sizeof demand_text, __VA_ARGS__);                                                    \
            fail_msg("%s, seed %" PRIu64 ", operation %" PRIu64 ": %s", (m)->c->name, (m)->seed, (m)->step,            \
                     demand_text);                                                                                     \
        }                                                                                                              \
    } while (0)

static void release_payload(void *context, void *payload) {
    model *m = context;
    if (payload) {
        m->released[(uintptr_t)payload - 1]++;
    }
}

static void *version_new(model *m) {
    if (m->versions == m->version_room) {
        m->version_room = m->version_room ? m->version_room * 2 : 4096;
        m->released = realloc(m->released, m->version_room);
        assert_non_null(m->released);
    }
    m->released[m->versions++] = 0;
    return (void *)(uintptr_t)m->versions;
}

static vd_id model_id(const model *m, uint32_t number) {
    return (vd_id){m->ids[number], m->id_sizes[number]};
}

/* The number of an id that the index showed; the universe when it is none of ours. */
static uint32_t number_of(const model *m, vd_id id) {
    uint32_t number = 0, at = 0;
    while (at < id.size && id.data[at] >= '0' && id.data[at] <= '9') {
        number = number * 10 + (uint32_t)(id.data[at++] - '0');
        if (number >= m->c->universe) {
            return m->c->universe;
        }
    }
    bool same = at > 0 && id.size == m->id_sizes[number] && memcmp(id.data, m->ids[number], id.size) == 0;
    return same ? number : m->c->universe;
}

static const float *any_vector(model *m, float *fresh) {
    if (rng_below(&m->r, 3) == 0) {
        return m->pool + (size_t)rng_below(&m->r, m->pool_count) * m->c->dimension;
    }
    if (rng_below(&m->r, 8) == 0) { /* one that is there */
        const entry *e = &m->entries[rng_below(&m->r, m->c->universe)];
        if (e->present) {
            memcpy(fresh, e->vector, m->c->dimension * sizeof *fresh);
            return fresh;
        }
    }
    data_fill(&m->r, m->c->kind, fresh, 1, m->c->dimension);
    return fresh;
}

/* ---- the operations ---- */

static void do_add(model *m, uint32_t most) {
    vd_hnsw_item items[BATCH_MAX];
    uint32_t numbers[BATCH_MAX];
    uint32_t count = 1 + rng_below(&m->r, most), dimension = m->c->dimension;
    float *fresh = malloc(sizeof *fresh * dimension * count);
    assert_non_null(fresh);
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = rng_below(&m->r, m->c->universe);
        items[i].id = model_id(m, numbers[i]);
        items[i].vector = any_vector(m, fresh + (size_t)i * dimension);
        items[i].payload = rng_below(&m->r, 10) ? version_new(m) : NULL;
    }
    vd_error error = {0};
    vd_status status = vd_hnsw_add(m->index, items, count, m->executor, &error);
    DEMAND(m, status == VD_OK, "add: %s", error.text);
    for (uint32_t i = 0; i < count; i++) {
        entry *e = &m->entries[numbers[i]];
        m->items += !e->present;
        e->present = true;
        memcpy(e->vector, items[i].vector, dimension * sizeof *e->vector);
        e->payload = (uintptr_t)items[i].payload;
    }
    free(fresh);
}

static void do_delete(model *m, uint32_t most) {
    vd_id ids[BATCH_MAX];
    uint32_t count = 1 + rng_below(&m->r, most), gone = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = rng_below(&m->r, m->c->universe);
        if (rng_below(&m->r, 20) == 0) {
            ids[i] = (vd_id){"not there", 9};
            continue;
        }
        ids[i] = model_id(m, number);
        gone += m->entries[number].present;
        m->entries[number].present = false;
    }
    size_t deleted = 999;
    vd_error error = {0};
    vd_status status = vd_hnsw_delete(m->index, ids, count, m->executor, &deleted, &error);
    DEMAND(m, status == VD_OK, "delete: %s", error.text);
    DEMAND(m, deleted == gone, "%zu deleted, %u were there", deleted, gone);
    m->items -= gone;
}

static void check_hits(model *m, const float *query, const vd_hit *hits, size_t count, size_t wanted) {
    DEMAND(m, count == wanted, "%zu hits, not %zu", count, wanted);
    for (size_t i = 0; i < count; i++) {
        uint32_t number = number_of(m, hits[i].id);
        DEMAND(m, number < m->c->universe, "hit %zu has a foreign id", i);
        const entry *e = &m->entries[number];
        DEMAND(m, e->present, "hit %zu: id %u is not in the index", i, number);
        double distance = oracle_distance(m->c->metric, query, e->vector, m->c->dimension);
        DEMAND(m, same_bits(hits[i].distance, distance), "hit %zu: distance %.17g, not %.17g", i, hits[i].distance,
               distance);
        DEMAND(m, (uintptr_t)hits[i].payload == e->payload, "hit %zu: payload %" PRIuPTR ", not %" PRIuPTR, i,
               (uintptr_t)hits[i].payload, e->payload);
        bool ordered = i == 0 || hits[i - 1].distance < hits[i].distance ||
                       (hits[i - 1].distance == hits[i].distance && oracle_id_order(hits[i - 1].id, hits[i].id) < 0);
        DEMAND(m, ordered, "hit %zu is out of order or given twice", i);
    }
}

typedef struct ranked {
    double distance;
    uint32_t number;
} ranked;

static const model *ranking; /* for qsort */
static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return oracle_id_order(model_id(ranking, x->number), model_id(ranking, y->number));
}

static void do_search(model *m) {
    float *fresh = malloc(sizeof *fresh * m->c->dimension);
    ranked *all = malloc(sizeof *all * (m->items + 1));
    assert_true(fresh && all);
    const float *query = any_vector(m, fresh);
    uint32_t k = rng_below(&m->r, 6) == 0 ? HITS_MAX : 1 + rng_below(&m->r, 20);
    size_t n = 0, wanted = m->items < k ? m->items : k;
    for (uint32_t i = 0; i < m->c->universe; i++) {
        if (m->entries[i].present) {
            all[n++] = (ranked){oracle_distance(m->c->metric, query, m->entries[i].vector, m->c->dimension), i};
        }
    }
    ranking = m;
    qsort(all, n, sizeof *all, by_rank);
    vd_hit hits[HITS_MAX];
    size_t count = 999;
    vd_search_info info;
    vd_error error = {0};
    vd_hnsw_guard guard;
    vd_hnsw_enter(m->index, &guard);
    vd_status status =
        vd_hnsw_search(m->index, query, &(vd_hnsw_search_options){.k = k, .exact = true}, hits, &count, &info, &error);
    DEMAND(m, status == VD_OK && info.exact, "exact search: %s", error.text);
    check_hits(m, query, hits, count, wanted);
    for (size_t i = 0; i < count; i++) {
        DEMAND(m, number_of(m, hits[i].id) == all[i].number, "exact hit %zu is not the oracle's", i);
    }
    uint32_t ef = rng_below(&m->r, 3) ? 0 : 1 + rng_below(&m->r, 300);
    status = vd_hnsw_search(m->index, query, &(vd_hnsw_search_options){.k = k, .ef = ef}, hits, &count, &info, &error);
    DEMAND(m, status == VD_OK, "search: %s", error.text);
    check_hits(m, query, hits, count, wanted);
    vd_hnsw_leave(m->index, &guard);
    /* an item is found by its own vector, whatever ef is; among exact copies the first by id */
    uint32_t number = rng_below(&m->r, m->c->universe);
    if (m->entries[number].present) {
        const float *own = m->entries[number].vector;
        size_t bytes = sizeof *own * m->c->dimension;
        vd_hnsw_enter(m->index, &guard);
        status = vd_hnsw_search(m->index, own, &(vd_hnsw_search_options){.k = HITS_MAX}, hits, &count, NULL, &error);
        DEMAND(m, status == VD_OK, "search: %s", error.text);
        check_hits(m, own, hits, count, m->items < HITS_MAX ? m->items : HITS_MAX);
        DEMAND(m, hits[0].distance == 0.0, "id %u is %.17g from its own vector", number, hits[0].distance);
        bool found = hits[count - 1].distance == 0.0; /* more copies than hits */
        for (size_t i = 0; i < count && !found; i++) {
            found = memcmp(m->entries[number_of(m, hits[i].id)].vector, own, bytes) == 0 &&
                    number_of(m, hits[i].id) == number;
        }
        DEMAND(m, found, "id %u is not found by its own vector", number);
        vd_hnsw_leave(m->index, &guard);
    }
    free(all);
    free(fresh);
}

/* ---- searches with every option there is ---- */

typedef struct chosen { /* what a filter of the moment allows: by number */
    const model *m;
    uint64_t salt;
    uint32_t percent;
} chosen;

static bool is_chosen(const chosen *c, uint32_t number) {
    return mix64(c->salt + number) % 100 < c->percent;
}

static bool accept_chosen(void *context, uint32_t slot, vd_id id, void *payload) {
    const chosen *c = context;
    uint32_t number = number_of(c->m, id);
    (void)slot;
    return number < c->m->c->universe && (uintptr_t)payload == c->m->entries[number].payload && is_chosen(c, number);
}

/* A bitmap of what is chosen, or (some: of that and more, what is more then being for the call to refuse). NULL: no memory. */
static uint64_t *bits_of(model *m, const chosen *c, bool and_more, uint64_t *count) {
    uint32_t slots = vd_hnsw_slots(m->index);
    uint64_t *bits = calloc(slots / 64 + 1, sizeof *bits);
    assert_non_null(bits);
    for (uint32_t i = 0; i < m->c->universe; i++) {
        uint32_t slot;
        vd_status status = vd_hnsw_slot(m->index, model_id(m, i), &slot);
        DEMAND(m, status == (m->entries[i].present ? VD_OK : VD_NOT_FOUND), "slot of id %u: %s", i,
               vd_status_name(status));
        if (m->entries[i].present && (is_chosen(c, i) || (and_more && i % 3))) {
            DEMAND(m, slot < slots, "id %u is in slot %u of %u", i, slot, slots);
            bits[slot / 64] |= 1ull << (slot % 64);
        }
    }
    *count = slots;
    return bits;
}

static void do_filtered(model *m) {
    static const uint32_t percents[] = {0, 1, 5, 20, 50, 90, 100};
    float *fresh = malloc(sizeof *fresh * m->c->dimension);
    ranked *all = malloc(sizeof *all * (m->items + 1));
    assert_true(fresh && all);
    const float *query = any_vector(m, fresh);
    chosen c = {m, rng_next(&m->r), percents[rng_below(&m->r, 7)]};
    uint32_t k = 1 + rng_below(&m->r, 30), way = rng_below(&m->r, 3);
    bool exact = rng_below(&m->r, 3) == 0;
    size_t n = 0, count = 999;
    for (uint32_t i = 0; i < m->c->universe; i++) {
        if (m->entries[i].present && is_chosen(&c, i)) {
            all[n++] = (ranked){oracle_distance(m->c->metric, query, m->entries[i].vector, m->c->dimension), i};
        }
    }
    ranking = m;
    qsort(all, n, sizeof *all, by_rank);
    vd_hit hits[HITS_MAX];
    vd_search_info info;
    vd_error error = {0};
    vd_filter filter = {0};
    uint64_t *bits = way < 2 ? bits_of(m, &c, way == 1, &filter.slot_count) : NULL;
    filter.slots = bits;
    if (way > 0) {
        filter.accept = accept_chosen;
        filter.context = &c;
    }
    vd_hnsw_search_options o = {.k = k, .exact = exact, .filter = &filter};
    if (!exact && rng_below(&m->r, 2)) {
        o.ef = 1 + rng_below(&m->r, 200);
    }
    vd_hnsw_guard guard;
    vd_hnsw_enter(m->index, &guard);
    vd_status status = vd_hnsw_search(m->index, query, &o, hits, &count, &info, &error);
    DEMAND(m, status == VD_OK, "filtered search: %s", error.text);
    check_hits(m, query, hits, count, n < k ? n : k);
    DEMAND(m, info.plan != VD_PLAN_SCAN && info.plan != VD_PLAN_WALK, "plan %d with a filter", (int)info.plan);
    DEMAND(m, !exact || info.exact, "an exact search with a filter was not");
    for (size_t i = 0; i < count; i++) {
        uint32_t number = number_of(m, hits[i].id);
        DEMAND(m, is_chosen(&c, number), "filtered hit %zu: id %u was not to be found", i, number);
        DEMAND(m, !info.exact || number == all[i].number, "filtered hit %zu is not the oracle's", i);
    }
    vd_hnsw_leave(m->index, &guard);
    free(bits);
    free(all);
    free(fresh);
}

static void do_options(model *m) {
    const int stop = 1, go = 0;
    float *fresh = malloc(sizeof *fresh * m->c->dimension);
    assert_non_null(fresh);
    const float *query = any_vector(m, fresh);
    vd_hnsw_search_options o = {.k = 1 + rng_below(&m->r, 40), .exact = rng_below(&m->r, 5) == 0};
    switch (rng_below(&m->r, 4)) {
    case 0:
        o.recall_target = 0.3 + 0.7 * rng_unit(&m->r);
        break;
    case 1:
        o.ef = 1 + rng_below(&m->r, 500);
        break;
    default:
        break;
    }
    o.max_distances = rng_below(&m->r, 2) ? 1 + rng_below(&m->r, 1500) : 0;
    o.cancel = rng_below(&m->r, 3) ? NULL : rng_below(&m->r, 2) ? &stop : &go;
    vd_hit hits[HITS_MAX];
    size_t count = 999, wanted = m->items < o.k ? m->items : o.k;
    vd_search_info info;
    vd_error error = {0};
    vd_hnsw_guard guard;
    vd_hnsw_enter(m->index, &guard);
    vd_status status = vd_hnsw_search(m->index, query, &o, hits, &count, &info, &error);
    DEMAND(m, status == VD_OK, "search with options: %s", error.text);
    DEMAND(m, info.truncated ? count <= wanted : count == wanted, "%zu hits of %zu", count, wanted);
    DEMAND(m, !info.truncated || o.max_distances || o.cancel == &stop, "ended early for no reason");
    DEMAND(m, !info.truncated || !info.exact, "exact, though it ended early");
    DEMAND(m, !o.max_distances || info.distances <= o.max_distances + 1024, "%" PRIu64 " distances of %" PRIu64,
           info.distances, o.max_distances);
    DEMAND(m, o.cancel != &stop || info.distances <= 1024, "%" PRIu64 " distances, cancelled before", info.distances);
    check_hits(m, query, hits, count, count);
    vd_hnsw_leave(m->index, &guard);
    free(fresh);
}

/* As many single calls give the same, bit by bit. */
static void do_batch(model *m) {
    enum { QUERIES_MAX = 12, ROOM = 16 };
    uint32_t dimension = m->c->dimension, n = 1 + rng_below(&m->r, QUERIES_MAX);
    float *queries = malloc(sizeof *queries * dimension * QUERIES_MAX), *fresh = malloc(sizeof *fresh * dimension);
    assert_true(queries && fresh);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(queries + (size_t)i * dimension, any_vector(m, fresh), sizeof *queries * dimension);
    }
    vd_hnsw_search_options o = {.k = 1 + rng_below(&m->r, ROOM),
                                .ef = rng_below(&m->r, 2) ? 0 : 1 + rng_below(&m->r, 90)};
    vd_hit together[QUERIES_MAX * ROOM], alone[ROOM];
    size_t counts[QUERIES_MAX], count;
    vd_search_info infos[QUERIES_MAX], info;
    vd_error error = {0};
    vd_hnsw_guard guard;
    vd_hnsw_enter(m->index, &guard);
    vd_status status = vd_hnsw_search_batch(m->index, queries, n, &o, m->executor, together, counts, infos, &error);
    DEMAND(m, status == VD_OK, "batch: %s", error.text);
    for (uint32_t i = 0; i < n; i++) {
        const float *query = queries + (size_t)i * dimension;
        status = vd_hnsw_search(m->index, query, &o, alone, &count, &info, &error);
        DEMAND(m, status == VD_OK, "search: %s", error.text);
        DEMAND(m, counts[i] == count && infos[i].distances == info.distances && infos[i].plan == info.plan,
               "query %u of a batch: %zu hits for %" PRIu64 " distances, alone %zu for %" PRIu64, i, counts[i],
               infos[i].distances, count, info.distances);
        check_hits(m, query, together + (size_t)i * o.k, counts[i], m->items < o.k ? m->items : o.k);
        for (size_t j = 0; j < count; j++) {
            DEMAND(m, together[i * o.k + j].slot == alone[j].slot, "query %u of a batch: hit %zu differs", i, j);
        }
    }
    vd_hnsw_leave(m->index, &guard);
    free(queries);
    free(fresh);
}

static bool go_on(void *context, uint64_t done, uint64_t total) {
    uint32_t *left = context;
    return done <= total && (*left)-- > 0;
}

static void do_optimize(model *m) {
    uint32_t left = rng_below(&m->r, 2) ? 1000000 : rng_below(&m->r, 4);
    vd_error error = {0};
    vd_status status = vd_hnsw_optimize(m->index, &(vd_optimize_options){m->executor, go_on, &left}, &error);
    DEMAND(m, status == VD_OK || status == VD_CANCELLED, "optimize: %s", error.text);
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(m->index, &stats);
    DEMAND(m, stats.optimized <= stats.items, "%" PRIu64 " optimized of %" PRIu64, stats.optimized, stats.items);
    if (status == VD_OK &&
        left > 100) { /* it may have ended a pass that was begun long ago; after another nothing is due */
        status = vd_hnsw_optimize(m->index, NULL, &error);
        DEMAND(m, status == VD_OK && !vd_hnsw_optimization_due(m->index), "still due: %s", error.text);
    }
}

static void do_convert(model *m) {
    vd_encoding to = (vd_encoding)rng_below(&m->r, 6);
    vd_error error = {0};
    vd_status status = vd_hnsw_convert(m->index, to, m->executor, &error);
    DEMAND(m, status == VD_OK, "convert to %s: %s", vd_encoding_name(to), error.text);
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(m->index, &stats);
    DEMAND(m, to == VD_ENCODING_AUTO || stats.encoding == to, "converted to %s, it shows %s", vd_encoding_name(to),
           vd_encoding_name(stats.encoding));
}

static void do_get(model *m) {
    float *got = malloc(sizeof *got * m->c->dimension);
    assert_non_null(got);
    uint32_t number = rng_below(&m->r, m->c->universe);
    const entry *e = &m->entries[number];
    void *payload = m;
    vd_hnsw_guard guard;
    vd_hnsw_enter(m->index, &guard);
    vd_status status = vd_hnsw_get(m->index, model_id(m, number), got, &payload);
    DEMAND(m, status == (e->present ? VD_OK : VD_NOT_FOUND), "get of id %u: %s", number, vd_status_name(status));
    if (e->present) {
        DEMAND(m, memcmp(got, e->vector, sizeof *got * m->c->dimension) == 0, "get of id %u: another vector", number);
        DEMAND(m, (uintptr_t)payload == e->payload, "get of id %u: another payload", number);
    }
    vd_hnsw_leave(m->index, &guard);
    free(got);
}

static void check_snapshot_links(model *m, vd_hnsw_snapshot *s, uint64_t position, const vd_hnsw_node *node) {
    uint32_t links[2 * VD_M_MAX], levels = vd_hnsw_snapshot_levels(s);
    DEMAND(m, node->level < levels, "node %" PRIu64 " on level %u of %u", position, node->level, levels);
    for (uint32_t level = 0; level <= node->level; level++) {
        size_t n = vd_hnsw_snapshot_links(s, position, level, links, 2 * VD_M_MAX);
        size_t most = level == 0 ? 2 * (size_t)m->c->m - 1 : m->c->m;
        DEMAND(m, n <= most, "node %" PRIu64 ": %zu links on level %u", position, n, level);
        for (size_t i = 0; i < n; i++) {
            DEMAND(m, links[i] < m->items && links[i] != position, "node %" PRIu64 ": link to %u", position, links[i]);
            for (size_t j = 0; j < i; j++) {
                DEMAND(m, links[i] != links[j], "node %" PRIu64 ": linked twice to %u", position, links[i]);
            }
            vd_hnsw_node other;
            vd_hnsw_snapshot_node(s, links[i], &other);
            DEMAND(m, other.level >= level, "node %" PRIu64 ": link to %u, which is not on level %u", position,
                   links[i], level);
        }
        if (n > 3) { /* a shorter room gets the nearest */
            uint32_t first[3];
            DEMAND(m, vd_hnsw_snapshot_links(s, position, level, first, 3) == 3, "three links asked for");
            DEMAND(m, memcmp(first, links, sizeof first) == 0, "node %" PRIu64 ": not the first three", position);
        }
    }
}

static void do_snapshot(model *m) {
    vd_hnsw_snapshot *s = NULL;
    vd_error error = {0};
    vd_status status = vd_hnsw_snapshot_begin(m->index, &s, &error);
    DEMAND(m, status == VD_OK, "snapshot: %s", error.text);
    DEMAND(m, vd_hnsw_snapshot_count(s) == m->items, "%" PRIu64 " items in the snapshot", vd_hnsw_snapshot_count(s));
    vd_id before = {"", 0};
    for (uint64_t i = 0; i < m->items; i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s, i, &node);
        uint32_t number = number_of(m, node.id);
        DEMAND(m, number < m->c->universe && m->entries[number].present, "snapshot %" PRIu64 ": no such item", i);
        DEMAND(m, oracle_id_order(before, node.id) < 0, "snapshot %" PRIu64 ": out of order", i);
        DEMAND(m, memcmp(node.vector, m->entries[number].vector, sizeof(float) * m->c->dimension) == 0,
               "snapshot %" PRIu64 ": another vector", i);
        DEMAND(m, (uintptr_t)node.payload == m->entries[number].payload, "snapshot %" PRIu64 ": another payload", i);
        check_snapshot_links(m, s, i, &node);
        before = (vd_id){m->ids[number], m->id_sizes[number]};
    }
    vd_hnsw_snapshot_end(s);
}

/* A snapshot goes on showing its moment while the index is written to. */
static void do_long_snapshot(model *m) {
    typedef struct shown {
        uint32_t number;
        uintptr_t payload;
    } shown;
    size_t row = sizeof(float) * m->c->dimension;
    shown *then = malloc(sizeof *then * (m->items + 1));
    uint8_t *vectors = malloc(row * (m->items + 1));
    assert_true(then && vectors);
    vd_hnsw_snapshot *s = NULL;
    vd_error error = {0};
    vd_status status = vd_hnsw_snapshot_begin(m->index, &s, &error);
    DEMAND(m, status == VD_OK, "snapshot: %s", error.text);
    uint64_t count = vd_hnsw_snapshot_count(s);
    for (uint64_t i = 0; i < count; i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s, i, &node);
        then[i] = (shown){number_of(m, node.id), (uintptr_t)node.payload};
        memcpy(vectors + i * row, node.vector, row);
    }
    for (int i = 0; i < 12; i++) {
        if (i % 3) {
            do_add(m, BATCH_MAX);
        } else {
            do_delete(m, BATCH_MAX);
        }
    }
    DEMAND(m, vd_hnsw_snapshot_count(s) == count, "a snapshot of %" PRIu64 " items changed", count);
    for (uint64_t i = 0; i < count; i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s, i, &node);
        DEMAND(m, number_of(m, node.id) == then[i].number && (uintptr_t)node.payload == then[i].payload,
               "snapshot: item %" PRIu64 " changed", i);
        DEMAND(m, memcmp(node.vector, vectors + i * row, row) == 0, "snapshot: vector %" PRIu64 " changed", i);
        DEMAND(m, !node.payload || !m->released[(uintptr_t)node.payload - 1], "snapshot: payload released");
        for (uint32_t level = 0; level <= node.level; level++) {
            uint32_t links[2 * VD_M_MAX];
            size_t n = vd_hnsw_snapshot_links(s, i, level, links, 2 * VD_M_MAX);
            for (size_t j = 0; j < n; j++) {
                DEMAND(m, links[j] < count && links[j] != i, "snapshot: item %" PRIu64 " links to %u", i, links[j]);
            }
        }
    }
    vd_hnsw_snapshot_end(s);
    free(vectors);
    free(then);
}

static void do_empty(model *m) {
    vd_id *ids = malloc(sizeof *ids * m->c->universe);
    assert_non_null(ids);
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->c->universe; i++) {
        if (m->entries[i].present) {
            ids[n++] = model_id(m, i);
            m->entries[i].present = false;
        }
    }
    size_t deleted = 0;
    vd_error error = {0};
    vd_status status = vd_hnsw_delete(m->index, ids, n, m->executor, &deleted, &error);
    DEMAND(m, status == VD_OK && deleted == n, "delete of all: %zu of %u, %s", deleted, n, error.text);
    m->items = 0;
    free(ids);
}

static void check_all(model *m) {
    vd_hnsw_report report;
    vd_error error = {0};
    vd_status status = vd_hnsw_check(m->index, &report, &error);
    DEMAND(m, status == VD_OK, "check: %s (%" PRIu64 " unreachable)", error.text, report.unreachable);
    DEMAND(m, report.items == m->items && vd_hnsw_count(m->index) == m->items, "%" PRIu64 " items, not %u",
           report.items, m->items);
}

/* ---- a run ---- */

static void model_init(model *m, const config *c, uint64_t seed) {
    *m = (model){.c = c, .seed = seed, .r = {seed}, .pool_count = 40};
    m->entries = calloc(c->universe, sizeof *m->entries);
    m->ids = calloc(c->universe, sizeof *m->ids);
    m->id_sizes = calloc(c->universe, sizeof *m->id_sizes);
    m->pool = malloc(sizeof *m->pool * m->pool_count * c->dimension);
    assert_true(m->entries && m->ids && m->id_sizes && m->pool);
    for (uint32_t i = 0; i < c->universe; i++) {
        /* of every length, none a prefix of a number */
        int size = snprintf(m->ids[i], ID_ROOM, "%u-%.*s", i, (int)(i % 29), "abcdefghijklmnopqrstuvwxyzabcdefghi");
        m->id_sizes[i] = (uint32_t)size;
        m->entries[i].vector = malloc(sizeof(float) * c->dimension);
        assert_non_null(m->entries[i].vector);
    }
    data_fill(&m->r, c->kind, m->pool, m->pool_count, c->dimension);
}

static void model_fini(model *m) {
    for (uint32_t i = 0; i < m->c->universe; i++) {
        free(m->entries[i].vector);
    }
    free(m->entries);
    free(m->ids);
    free(m->id_sizes);
    free(m->pool);
    free(m->released);
}

static void run(const config *c, uint64_t seed, const vd_executor *executor) {
    model model_, *m = &model_;
    model_init(m, c, seed);
    m->executor = c->threads ? executor : NULL;
    fault_allocator memory;
    fault_allocator_init(&memory);
    m->index = help_new(&(vd_hnsw_options){.dimension = c->dimension,
                                           .metric = c->metric,
                                           .m = c->m,
                                           .ef_construction = c->ef_construction,
                                           .encoding = c->encoding,
                                           .seed = seed,
                                           .allocator = &memory.face,
                                           .release_payload = release_payload,
                                           .release_context = m});
    enum { PHASES = 10 };
    uint32_t steps = help_amount(50, 16);
    for (uint32_t phase = 0; phase < PHASES; phase++) {
        /* growing, level, shrinking, in turn */
        uint32_t most_added = phase % 4 == 3 ? 5 : BATCH_MAX, most_deleted = phase % 4 == 3 ? BATCH_MAX : 12;
        for (uint32_t i = 0; i < steps; i++) {
            m->step++;
            uint32_t dice = rng_below(&m->r, 100);
            if (dice < 36) {
                do_add(m, most_added);
            } else if (dice < 58) {
                do_delete(m, most_deleted);
            } else if (dice < 72) {
                do_search(m);
            } else if (dice < 79) {
                do_get(m);
            } else if (dice < 80) {
                do_snapshot(m);
            } else if (dice < 88) {
                do_filtered(m);
            } else if (dice < 93) {
                do_options(m);
            } else if (dice < 96) {
                do_batch(m);
            } else if (dice < 98) {
                do_optimize(m);
            } else if (dice < 99) {
                do_convert(m);
            } else {
                vd_error error = {0};
                DEMAND(m, vd_hnsw_calibrate(m->index, m->executor, &error) == VD_OK, "calibrate: %s", error.text);
            }
        }
        check_all(m);
        do_snapshot(m);
        do_long_snapshot(m);
        check_all(m);
        if (phase == PHASES / 2) {
            do_empty(m);
            check_all(m);
            do_search(m);
        }
    }
    uint8_t *live = calloc(m->versions + 1, 1);
    assert_non_null(live);
    for (uint32_t i = 0; i < c->universe; i++) {
        if (m->entries[i].present && m->entries[i].payload) {
            live[m->entries[i].payload - 1] = 1;
        }
    }
    for (size_t i = 0; i < m->versions; i++) {
        DEMAND(m, m->released[i] <= !live[i], "payload %zu released %u times while %s", i, m->released[i],
               live[i] ? "in the index" : "gone");
    }
    vd_hnsw_free(m->index);
    for (size_t i = 0; i < m->versions; i++) {
        DEMAND(m, m->released[i] == 1, "payload %zu released %u times by the end", i, m->released[i]);
    }
    DEMAND(m, atomic_load(&memory.blocks) == 0 && atomic_load(&memory.bytes) == 0, "%lld blocks never released",
           (long long)atomic_load(&memory.blocks));
    DEMAND(m, !atomic_load(&memory.wrong_size), "a block was given back with another size");
    free(live);
    model_fini(m);
}

static executor_pool *pool;

static int pool_up(void **state) {
    (void)state;
    return executor_pool_new(3, &pool) == VD_OK ? 0 : -1;
}

static int pool_down(void **state) {
    (void)state;
    executor_pool_free(pool);
    return 0;
}

static void agrees_with_a_table(void **state) {
    const config *c = *state;
    const char *wish = getenv("VECTORD_TEST_SEED");
    if (wish) {
        run(c, strtoull(wish, NULL, 10), executor_pool_get(pool));
        return;
    }
    uint64_t first = 1000 * (uint64_t)(c - configs) + 1;
    uint32_t rounds = help_rounds();
    print_message("%s: seeds %" PRIu64 "..%" PRIu64 "\n", c->name, first, first + rounds - 1);
    for (uint32_t i = 0; i < rounds; i++) {
        run(c, first + i, executor_pool_get(pool));
    }
}

int main(void) {
    struct CMUnitTest tests[CONFIGS];
    for (size_t i = 0; i < CONFIGS; i++) {
        tests[i] = (struct CMUnitTest){configs[i].name, agrees_with_a_table, NULL, NULL, (void *)&configs[i]};
    }
    return cmocka_run_group_tests(tests, pool_up, pool_down);
}
