/*
 * concurrency_test.c - two writers, three searching readers and one that takes snapshots, all at once on one index; a reader that
 * stays inside for long while everything around it is replaced.
 *
 * Every version of an item (a vector and a payload under an id) is a record that is never freed, with the moments at which its
 * add began and at which the write that ended it had returned. A clock that only counts orders the moments. So a reader can tell
 * whether what it was shown existed at some time during its call, and what should have been found. Vectors are a function of the
 * version, so distances can be compared with the oracle's, bit by bit.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>

#include "base/executor.h"
#include "engine_help.h"

enum {
    DIMENSION = 24,
    STABLE = 700, /* ids that are added first and never touched */
    RANGE = 500,  /* ids of each writer */
    STEADY = 30,  /* the first of them: added again and again with the vector they have, never deleted */
    WRITERS = 2,
    READERS = 3,
    IDS = STABLE + WRITERS * RANGE,
    BATCH = 16,
    K = 24
};

typedef struct version {
    uint32_t number; /* of the id */
    float vector[DIMENSION];
    _Atomic uint64_t born; /* before its add began */
    _Atomic uint64_t dead; /* after the write that ended it returned; 0: not yet */
    _Atomic uint32_t released;
} version;

typedef struct world {
    vd_metric metric;
    vd_hnsw *index;
    const vd_executor *executor;
    _Atomic uint64_t clock;
    _Atomic uint32_t writers_left;
    fault_note note;
    char ids[IDS][12];
    version *current[IDS]; /* the owner's; NULL: not there */
    version *stable[STABLE];
    version *steady[WRITERS][STEADY]; /* the first version of each */
    uint32_t rounds;
} world;

typedef struct actor {
    world *w;
    pthread_t thread;
    uint32_t number;
    version **made; /* freed by the main thread at the end */
    size_t made_count, made_room;
    uint64_t done;
} actor;

static uint64_t tick(world *w) {
    return atomic_fetch_add(&w->clock, 1) + 1;
}

static vd_id id_of(world *w, uint32_t number) {
    return (vd_id){w->ids[number], (uint32_t)strlen(w->ids[number])};
}

static void release_payload(void *context, void *payload) {
    (void)context;
    atomic_fetch_add(&((version *)payload)->released, 1);
}

static bool is_steady(uint32_t number) {
    return number >= STABLE && (number - STABLE) % RANGE < STEADY;
}

static version *version_new(actor *a, rng *r, uint32_t number) {
    if (a->made_count == a->made_room) {
        a->made_room = a->made_room ? 2 * a->made_room : 1024;
        a->made = realloc(a->made, a->made_room * sizeof *a->made);
    }
    version *v = calloc(1, sizeof *v);
    if (!a->made || !v) {
        abort();
    }
    a->made[a->made_count++] = v;
    v->number = number;
    if (is_steady(number) && a->w->current[number]) {
        memcpy(v->vector, a->w->current[number]->vector, sizeof v->vector);
    } else if (number >= STABLE && rng_below(r, 5) == 0) { /* an exact copy of one that stays */
        memcpy(v->vector, a->w->stable[rng_below(r, STABLE)]->vector, sizeof v->vector);
    } else {
        data_fill(r, SHAPE_CLUSTERED, v->vector, 1, DIMENSION);
    }
    return v;
}

static bool add_some(actor *a, const uint32_t *numbers, size_t count, rng *r) {
    world *w = a->w;
    vd_hnsw_item items[BATCH] = {0};
    version *fresh[BATCH];
    for (size_t i = 0; i < count; i++) {
        fresh[i] = version_new(a, r, numbers[i]);
        items[i] = (vd_hnsw_item){id_of(w, numbers[i]), fresh[i]->vector, fresh[i]};
        atomic_store(&fresh[i]->born, tick(w));
    }
    vd_error error = {0};
    if (vd_hnsw_add(w->index, items, count, w->executor, &error) != VD_OK) {
        fault_put(&w->note, "add: %s", error.text);
        return false;
    }
    uint64_t now = tick(w);
    for (size_t i = 0; i < count; i++) {
        version *old = w->current[numbers[i]]; /* of the same batch too: the last wins */
        if (old) {
            atomic_store(&old->dead, now);
        }
        w->current[numbers[i]] = fresh[i];
    }
    return true;
}

static bool delete_some(actor *a, const uint32_t *numbers, size_t count) {
    world *w = a->w;
    vd_id ids[BATCH];
    size_t there = 0, deleted = 0;
    for (size_t i = 0; i < count; i++) {
        ids[i] = id_of(w, numbers[i]);
    }
    vd_error error = {0};
    if (vd_hnsw_delete(w->index, ids, count, w->executor, &deleted, &error) != VD_OK) {
        fault_put(&w->note, "delete: %s", error.text);
        return false;
    }
    uint64_t now = tick(w);
    for (size_t i = 0; i < count; i++) {
        version *old = w->current[numbers[i]];
        if (old) {
            there++;
            atomic_store(&old->dead, now);
            w->current[numbers[i]] = NULL;
        }
    }
    if (there != deleted) {
        fault_put(&w->note, "%zu deleted, %zu were there", deleted, there);
    }
    return there == deleted;
}

static void *write_thread(void *arg) {
    actor *a = arg;
    world *w = a->w;
    rng r = {77 + a->number};
    bool fine = true;
    for (uint32_t round = 0; round < w->rounds && fine && !fault_any(&w->note); round++) {
        uint32_t numbers[BATCH];
        size_t count = 1 + rng_below(&r, BATCH);
        bool adds = rng_below(&r, 3) > 0;
        for (size_t i = 0; i < count; i++) {
            uint32_t first = STABLE + a->number * RANGE;
            numbers[i] = adds && rng_below(&r, 3) == 0 ? first + rng_below(&r, STEADY)
                                                       : first + STEADY + rng_below(&r, RANGE - STEADY);
        }
        fine = adds ? add_some(a, numbers, count, &r) : delete_some(a, numbers, count);
        if (fine && a->number == 0 && round % 64 == 63) {
            fine = vd_hnsw_calibrate(w->index, w->executor, NULL) == VD_OK;
        }
    }
    if (!fine) {
        fault_put(&w->note, "writer %u: a call failed", a->number);
    }
    atomic_fetch_sub(&w->writers_left, 1);
    return NULL;
}

static bool version_fits(world *w, const version *v, vd_id id, uint64_t begun, const char *where) {
    vd_id own = v->number < IDS ? id_of(w, v->number) : (vd_id){"", 0};
    if (oracle_id_order(own, id) != 0) {
        fault_put(&w->note, "%s: id %.*s carries the payload of number %u", where, (int)id.size, id.data, v->number);
        return false;
    }
    uint64_t born = atomic_load(&v->born), dead = atomic_load(&v->dead), now = tick(w);
    if (born == 0 || born > now || (dead && dead < begun)) {
        fault_put(&w->note, "%s: id %.*s: a version born %" PRIu64 ", dead %" PRIu64 ", shown in %" PRIu64 "..%" PRIu64,
                  where, (int)id.size, id.data, born, dead, begun, now);
        return false;
    }
    if (atomic_load(&v->released)) {
        fault_put(&w->note, "%s: id %.*s: its payload was released while it could be seen", where, (int)id.size,
                  id.data);
        return false;
    }
    return true;
}

static bool look(actor *a, rng *r) {
    world *w = a->w;
    uint32_t wanted = rng_below(r, STABLE);
    float query[DIMENSION];
    bool own = rng_below(r, 2) == 0, exact = rng_below(r, 8) == 0;
    if (own) {
        memcpy(query, w->stable[wanted]->vector, sizeof query);
    } else {
        data_fill(r, SHAPE_CLUSTERED, query, 1, DIMENSION);
    }
    vd_hit hits[K];
    size_t count = 0;
    vd_hnsw_guard guard;
    vd_error error = {0};
    vd_hnsw_enter(w->index, &guard);
    uint64_t begun = tick(w);
    bool fine = vd_hnsw_search(w->index, query, &(vd_hnsw_search_options){.k = K, .exact = exact}, hits, &count, NULL,
                               &error) == VD_OK;
    bool found = !own;
    if (!fine || count != K) {
        fault_put(&w->note, "search: %zu hits, %s", count, error.text);
        fine = false;
    }
    for (size_t i = 0; fine && i < count; i++) {
        const version *v = hits[i].payload;
        fine = version_fits(w, v, hits[i].id, begun, exact ? "exact search" : "search");
        if (fine && !same_bits(hits[i].distance, oracle_distance(w->metric, query, v->vector, DIMENSION))) {
            fault_put(&w->note, "id %.*s: distance %.17g is not the oracle's", (int)hits[i].id.size, hits[i].id.data,
                      hits[i].distance);
            fine = false;
        }
        for (size_t j = 0; fine && j < i; j++) {
            if (oracle_id_order(hits[i].id, hits[j].id) == 0) {
                fault_put(&w->note, "id %.*s twice in one answer", (int)hits[i].id.size, hits[i].id.data);
                fine = false;
            }
        }
        if (fine && i && hits[i].distance < hits[i - 1].distance) {
            fault_put(&w->note, "hit %zu is nearer than the one before", i);
            fine = false;
        }
        found |= v == w->stable[wanted];
    }
    if (fine && !found) {
        fault_put(&w->note, "id %s, never touched, is not found by its own vector (%s)", w->ids[wanted],
                  exact ? "exact" : "graph");
        fine = false;
    }
    if (fine) { /* and by its id */
        void *payload = NULL;
        float vector[DIMENSION];
        fine = vd_hnsw_get(w->index, id_of(w, wanted), vector, &payload) == VD_OK && payload == w->stable[wanted] &&
               memcmp(vector, w->stable[wanted]->vector, sizeof vector) == 0;
        if (!fine) {
            fault_put(&w->note, "get of id %s, never touched", w->ids[wanted]);
        }
        uint32_t other = STABLE + rng_below(r, IDS - STABLE);
        begun = tick(w);
        if (fine && vd_hnsw_get(w->index, id_of(w, other), vector, &payload) == VD_OK) {
            fine = version_fits(w, payload, id_of(w, other), begun, "get");
            if (fine && memcmp(vector, ((version *)payload)->vector, sizeof vector) != 0) {
                fault_put(&w->note, "get of id %s: vector and payload of different versions", w->ids[other]);
                fine = false;
            }
        }
    }
    vd_hnsw_leave(w->index, &guard);
    a->done++;
    return fine;
}

/* An id that is replaced all the time by an item with the same vector is there at every moment. */
static bool look_for_steady(actor *a, rng *r) {
    world *w = a->w;
    const version *first = w->steady[rng_below(r, WRITERS)][rng_below(r, STEADY)];
    bool exact = rng_below(r, 8) == 0, found = false;
    vd_hit hits[K];
    size_t count = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(w->index, &guard);
    uint64_t begun = tick(w);
    bool fine = vd_hnsw_search(w->index, first->vector, &(vd_hnsw_search_options){.k = K, .exact = exact}, hits, &count,
                               NULL, NULL) == VD_OK;
    for (size_t i = 0; fine && i < count; i++) {
        fine = version_fits(w, hits[i].payload, hits[i].id, begun, "search");
        found |= ((version *)hits[i].payload)->number == first->number;
    }
    void *payload = NULL;
    if (fine && !found) {
        fault_put(&w->note, "id %s, replaced by its like, is not found (%s)", w->ids[first->number],
                  exact ? "exact" : "graph");
        fine = false;
    }
    if (fine && vd_hnsw_get(w->index, id_of(w, first->number), NULL, &payload) != VD_OK) {
        fault_put(&w->note, "get of id %s, replaced by its like", w->ids[first->number]);
        fine = false;
    }
    vd_hnsw_leave(w->index, &guard);
    return fine;
}

static void *read_thread(void *arg) {
    actor *a = arg;
    rng r = {500 + a->number};
    while (atomic_load(&a->w->writers_left) && !fault_any(&a->w->note) && look(a, &r) && look_for_steady(a, &r)) {
    }
    return NULL;
}

static bool take_picture(actor *a) {
    world *w = a->w;
    vd_hnsw_snapshot *s = NULL;
    vd_error error = {0};
    uint64_t begun = tick(w);
    if (vd_hnsw_snapshot_begin(w->index, &s, &error) != VD_OK) {
        fault_put(&w->note, "snapshot: %s", error.text);
        return false;
    }
    uint64_t count = vd_hnsw_snapshot_count(s);
    uint32_t stable = 0, levels = vd_hnsw_snapshot_levels(s);
    bool fine = true;
    vd_hnsw_node node, before;
    for (uint64_t i = 0; fine && i < count; i++) {
        vd_hnsw_snapshot_node(s, i, &node);
        const version *v = node.payload;
        fine = version_fits(w, v, node.id, begun, "snapshot") && node.level < levels;
        if (fine && memcmp(v->vector, node.vector, sizeof v->vector) != 0) {
            fault_put(&w->note, "snapshot: id %.*s has another vector", (int)node.id.size, node.id.data);
            fine = false;
        }
        if (fine && i && oracle_id_order(before.id, node.id) >= 0) {
            fault_put(&w->note, "snapshot: ids out of order at %" PRIu64, i);
            fine = false;
        }
        stable += v->number < STABLE;
        before = node;
        for (uint32_t level = 0; fine && level <= node.level; level++) {
            uint32_t links[2 * VD_M_MAX];
            size_t n = vd_hnsw_snapshot_links(s, i, level, links, 2 * VD_M_MAX);
            for (size_t j = 0; fine && j < n; j++) {
                bool repeated = false;
                for (size_t l = 0; l < j; l++) {
                    repeated |= links[l] == links[j];
                }
                if (links[j] >= count || links[j] == i || repeated) {
                    fault_put(&w->note, "snapshot: item %" PRIu64 " level %u: bad link to %u", i, level, links[j]);
                    fine = false;
                }
            }
        }
    }
    vd_hnsw_snapshot_end(s);
    if (fine && stable != STABLE) {
        fault_put(&w->note, "snapshot: %u of %d items that were never touched", stable, STABLE);
        fine = false;
    }
    a->done++;
    return fine;
}

static void *picture_thread(void *arg) {
    actor *a = arg;
    while (atomic_load(&a->w->writers_left) && !fault_any(&a->w->note) && take_picture(a)) {
        vd_hnsw_stats stats;
        vd_hnsw_get_stats(a->w->index, &stats);
        if (stats.items < STABLE || stats.items > IDS) {
            fault_put(&a->w->note, "%" PRIu64 " items", stats.items);
        }
    }
    return NULL;
}

/* ---- the tests ---- */

static world *world_new(vd_metric metric, vd_encoding encoding, executor_pool *pool, actor *first) {
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->metric = metric;
    w->executor = executor_pool_get(pool);
    for (uint32_t i = 0; i < IDS; i++) {
        snprintf(w->ids[i], sizeof w->ids[i], "n%u", i);
    }
    w->index = help_new(&(vd_hnsw_options){.dimension = DIMENSION,
                                           .metric = metric,
                                           .encoding = encoding,
                                           .m = 8,
                                           .ef_construction = 40,
                                           .release_payload = release_payload});
    *first = (actor){.w = w};
    rng r = {4};
    for (uint32_t i = 0; i < STABLE; i++) {
        assert_true(add_some(first, &i, 1, &r));
        w->stable[i] = w->current[i];
    }
    for (uint32_t i = 0; i < WRITERS * STEADY; i++) {
        uint32_t number = STABLE + i / STEADY * RANGE + i % STEADY;
        assert_true(add_some(first, &number, 1, &r));
        w->steady[i / STEADY][i % STEADY] = w->current[number];
    }
    return w;
}

static uint64_t versions_free(actor *a) {
    uint64_t not_once = 0;
    for (size_t i = 0; i < a->made_count; i++) {
        not_once += atomic_load(&a->made[i]->released) != 1;
        free(a->made[i]);
    }
    free(a->made);
    return not_once;
}

static void check_at_rest(world *w) {
    help_check(w->index, "at rest");
    uint64_t items = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(w->index, &guard);
    for (uint32_t i = 0; i < IDS; i++) {
        void *payload = NULL;
        vd_status status = vd_hnsw_get(w->index, id_of(w, i), NULL, &payload);
        assert_int_equal(status, w->current[i] ? VD_OK : VD_NOT_FOUND);
        if (w->current[i]) {
            assert_ptr_equal(payload, w->current[i]);
            assert_int_equal(atomic_load(&w->current[i]->released), 0);
            items++;
        }
    }
    vd_hnsw_leave(w->index, &guard);
    assert_int_equal(vd_hnsw_count(w->index), items);
}

static void mixed_load(vd_metric metric, vd_encoding encoding) {
    executor_pool *pool = NULL;
    assert_int_equal(executor_pool_new(3, &pool), VD_OK);
    enum { ACTORS = WRITERS + READERS + 1 };
    actor first, actors[ACTORS];
    world *w = world_new(metric, encoding, pool, &first);
    w->rounds = help_amount(500, 200) * help_rounds();
    atomic_store(&w->writers_left, WRITERS);
    for (uint32_t i = 0; i < ACTORS; i++) {
        actors[i] = (actor){.w = w, .number = i};
        void *(*body)(void *) = i < WRITERS ? write_thread : i < WRITERS + READERS ? read_thread : picture_thread;
        assert_int_equal(pthread_create(&actors[i].thread, NULL, body, &actors[i]), 0);
    }
    uint64_t searches = 0;
    for (uint32_t i = 0; i < ACTORS; i++) {
        pthread_join(actors[i].thread, NULL);
        searches += i >= WRITERS && i < WRITERS + READERS ? actors[i].done : 0;
    }
    fault_assert_none(&w->note);
    check_at_rest(w);
    print_message("%" PRIu64 " searches and %" PRIu64 " snapshots beside %u writes\n", searches,
                  actors[ACTORS - 1].done, w->rounds * WRITERS);
    vd_hnsw_free(w->index);
    uint64_t not_once = versions_free(&first);
    for (uint32_t i = 0; i < ACTORS; i++) {
        not_once += versions_free(&actors[i]);
    }
    assert_int_equal(not_once, 0);
    executor_pool_free(pool);
    free(w);
}

static void mixed_load_cosine_codes(void **state) {
    (void)state;
    mixed_load(VD_METRIC_COSINE, VD_ENCODING_SQ8);
}

static void mixed_load_euclidean_auto(void **state) {
    (void)state;
    mixed_load(VD_METRIC_EUCLIDEAN, VD_ENCODING_AUTO);
}

/* What a reader was shown stays as it was for as long as it stays inside, whatever is deleted and recycled meanwhile. */
static void a_parked_reader_keeps_what_it_saw(void **state) {
    (void)state;
    executor_pool *pool = NULL;
    assert_int_equal(executor_pool_new(2, &pool), VD_OK);
    actor first;
    world *w = world_new(VD_METRIC_COSINE, VD_ENCODING_AUTO, pool, &first);
    rng r = {91};
    uint32_t numbers[BATCH];
    for (uint32_t i = STABLE; i < IDS; i += BATCH / 2) {
        for (uint32_t j = 0; j < BATCH / 2; j++) {
            numbers[j] = i + j < IDS ? i + j : IDS - 1;
        }
        assert_true(add_some(&first, numbers, BATCH / 2, &r));
    }
    enum { SEEN = 40 };
    static vd_hit hits[SEEN][K];
    size_t counts[SEEN];
    char ids[SEEN][K][16];
    vd_hnsw_guard guard;
    vd_hnsw_enter(w->index, &guard);
    for (uint32_t i = 0; i < SEEN; i++) {
        float query[DIMENSION];
        data_fill(&r, SHAPE_CLUSTERED, query, 1, DIMENSION);
        OK(vd_hnsw_search(w->index, query, &(vd_hnsw_search_options){.k = K}, hits[i], &counts[i], NULL, err));
        for (size_t j = 0; j < counts[i]; j++) {
            memset(ids[i][j], 0, sizeof ids[i][j]);
            memcpy(ids[i][j], hits[i][j].id.data, hits[i][j].id.size);
        }
    }
    uint64_t replaced = 0, goal = help_amount(10000, 2500);
    while (replaced < goal) {
        for (uint32_t j = 0; j < BATCH; j++) {
            numbers[j] = STABLE + rng_below(&r, IDS - STABLE);
        }
        assert_true(rng_below(&r, 2) ? add_some(&first, numbers, BATCH, &r) : delete_some(&first, numbers, BATCH));
        replaced += BATCH;
    }
    for (uint32_t i = 0; i < SEEN; i++) {
        for (size_t j = 0; j < counts[i]; j++) {
            version *v = hits[i][j].payload;
            assert_int_equal(atomic_load(&v->released), 0);
            assert_int_equal(hits[i][j].id.size, strlen(ids[i][j]));
            assert_memory_equal(hits[i][j].id.data, ids[i][j], hits[i][j].id.size);
            assert_string_equal(w->ids[v->number], ids[i][j]);
        }
    }
    vd_hnsw_leave(w->index, &guard);
    help_check(w->index, "after the reader left");
    /* what had to wait for the reader is used again: the index stops growing */
    vd_hnsw_stats before, after;
    numbers[0] = STABLE;
    assert_true(add_some(&first, numbers, 1, &r));
    vd_hnsw_get_stats(w->index, &before);
    for (uint32_t i = 0; i < goal / BATCH; i++) {
        for (uint32_t j = 0; j < BATCH; j++) {
            numbers[j] = STABLE + rng_below(&r, IDS - STABLE);
        }
        assert_true(add_some(&first, numbers, BATCH, &r));
    }
    vd_hnsw_get_stats(w->index, &after);
    if (after.memory_bytes > before.memory_bytes + before.memory_bytes / 10) {
        fail_msg("%" PRIu64 " bytes grew to %" PRIu64, before.memory_bytes, after.memory_bytes);
    }
    check_at_rest(w);
    vd_hnsw_free(w->index);
    assert_int_equal(versions_free(&first), 0);
    executor_pool_free(pool);
    free(w);
}

/* A batch that is being linked right beside what a reader looks for is in nobody's answer, and in nobody's way. */
enum { CLOSE = 1200, CLOSE_BATCH = 3000 };

typedef struct flood {
    vd_hnsw *index;
    const vd_executor *executor;
    fault_note note;
    _Atomic bool done;
    float *vectors; /* CLOSE that are there, then CLOSE_BATCH that come */
    uint32_t numbers[CLOSE + CLOSE_BATCH];
} flood;

static void *flood_thread(void *arg) {
    flood *f = arg;
    static vd_hnsw_item items[CLOSE_BATCH];
    static vd_id ids[CLOSE_BATCH];
    for (int round = 0; round < 3 && !fault_any(&f->note); round++) {
        for (uint32_t i = 0; i < CLOSE_BATCH; i++) {
            uint32_t at = CLOSE + i;
            ids[i] = (vd_id){(const char *)&f->numbers[at], sizeof f->numbers[at]};
            items[i] = (vd_hnsw_item){ids[i], f->vectors + (size_t)at * DIMENSION, NULL};
        }
        size_t deleted = 0;
        if (vd_hnsw_add(f->index, items, CLOSE_BATCH, NULL, NULL) != VD_OK ||
            vd_hnsw_delete(f->index, ids, CLOSE_BATCH, f->executor, &deleted, NULL) != VD_OK ||
            deleted != CLOSE_BATCH) {
            fault_put(&f->note, "round %d of adding and deleting failed", round);
        }
    }
    atomic_store(&f->done, true);
    return NULL;
}

static void a_batch_in_the_making_hides_nothing(void **state) {
    (void)state;
    executor_pool *pool = NULL;
    assert_int_equal(executor_pool_new(2, &pool), VD_OK);
    flood *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->executor = executor_pool_get(pool);
    f->vectors = malloc(sizeof *f->vectors * DIMENSION * (CLOSE + CLOSE_BATCH));
    assert_non_null(f->vectors);
    rng r = {23};
    data_fill(&r, SHAPE_UNIFORM, f->vectors, CLOSE + CLOSE_BATCH, DIMENSION);
    f->index = help_new(&(vd_hnsw_options){.dimension = DIMENSION, .metric = VD_METRIC_EUCLIDEAN});
    for (uint32_t i = 0; i < CLOSE + CLOSE_BATCH; i++) {
        f->numbers[i] = i;
        if (i >= CLOSE) { /* nearer to the origin than anything that is there */
            for (uint32_t j = 0; j < DIMENSION; j++) {
                f->vectors[(size_t)i * DIMENSION + j] *= 0.01f;
            }
            continue;
        }
        vd_hnsw_item item = {{(const char *)&f->numbers[i], sizeof i}, f->vectors + (size_t)i * DIMENSION, NULL};
        OK(vd_hnsw_add(f->index, &item, 1, NULL, err));
    }
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flood_thread, f), 0);
    uint32_t searches = 0, alone = 0;
    while (!atomic_load(&f->done) && !fault_any(&f->note)) {
        const float origin[DIMENSION] = {0.001f};
        vd_hit hits[K];
        size_t count = 0;
        uint32_t old = 0;
        vd_hnsw_guard guard;
        vd_hnsw_enter(f->index, &guard);
        vd_status status =
            vd_hnsw_search(f->index, origin, &(vd_hnsw_search_options){.k = K, .ef = 100}, hits, &count, NULL, NULL);
        for (size_t i = 0; i < count; i++) {
            uint32_t number;
            memcpy(&number, hits[i].id.data, sizeof number);
            old += number < CLOSE;
        }
        vd_hnsw_leave(f->index, &guard);
        if (status != VD_OK || count != K) {
            fault_put(&f->note, "search %u beside a batch: %zu hits, not %d", searches, count, K);
        }
        searches++;
        alone += old == count;
    }
    pthread_join(thread, NULL);
    fault_assert_none(&f->note);
    print_message("%u searches, %u of them answered with old items alone\n", searches, alone);
    help_check(f->index, "after the batches");
    vd_hnsw_free(f->index);
    executor_pool_free(pool);
    free(f->vectors);
    free(f);
}

/* More readers inside at a time than the index has places for: they take turns, and nobody is lost. */
enum { CROWD = 150 };

static void *crowd_thread(void *arg) {
    world *w = arg;
    rng r = {(uint64_t)(uintptr_t)&r};
    for (int i = 0; i < 20; i++) {
        vd_hnsw_guard guard;
        vd_hit hit[1];
        size_t count = 0;
        const version *v = w->stable[rng_below(&r, STABLE)];
        vd_hnsw_enter(w->index, &guard);
        if (vd_hnsw_search(w->index, v->vector, &(vd_hnsw_search_options){.k = 1}, hit, &count, NULL, NULL) != VD_OK ||
            count != 1 || hit[0].distance != 0.0) {
            fault_put(&w->note, "a reader in a crowd found nothing");
        }
        sched_yield(); /* so that many are inside together */
        vd_hnsw_leave(w->index, &guard);
    }
    return NULL;
}

static void a_crowd_of_readers(void **state) {
    (void)state;
    executor_pool *pool = NULL;
    assert_int_equal(executor_pool_new(1, &pool), VD_OK);
    actor first;
    world *w = world_new(VD_METRIC_EUCLIDEAN, VD_ENCODING_F32, pool, &first);
    pthread_t threads[CROWD];
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_thread, w), 0);
    }
    for (size_t i = 0; i < CROWD; i++) {
        pthread_join(threads[i], NULL);
    }
    fault_assert_none(&w->note);
    /* guards nest: each is a place of its own */
    vd_hnsw_guard outer, inner;
    vd_hnsw_enter(w->index, &outer);
    vd_hnsw_enter(w->index, &inner);
    assert_int_not_equal(outer.slot, inner.slot);
    vd_hnsw_leave(w->index, &inner);
    vd_hnsw_leave(w->index, &outer);
    vd_hnsw_free(w->index);
    assert_int_equal(versions_free(&first), 0);
    executor_pool_free(pool);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_load_cosine_codes),
        cmocka_unit_test(mixed_load_euclidean_auto),
        cmocka_unit_test(a_parked_reader_keeps_what_it_saw),
        cmocka_unit_test(a_batch_in_the_making_hides_nothing),
        cmocka_unit_test(a_crowd_of_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
