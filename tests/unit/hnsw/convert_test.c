/*
 * convert_test.c - storing an index in another encoding (src/hnsw/convert.c): every pair of encodings, on an index with everything
 * in it (exact copies, the dead, slots to be used again, upper levels); values and exact answers stay bit for bit, links stay
 * as they are, memory comes back. What is refused says so. Each allocation failing in turn changes nothing.
 *
 * A search that is under way goes on with the old form while slots that were free are filled in the new one alone. Two tests bring
 * about just that: one on one thread, from a filter's call in the middle of a search; one with threads (also under TSan) that
 * search, write and convert at once. The vector of an item is a function of its id, so a distance can be checked whoever wrote it
 * when.
 */
#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

#include "base/executor.h"
#include "engine_help.h"

enum { D = 40, ITEMS = 1300, IDS = 2000, K = 10 };

static const vd_encoding encodings[] = {VD_ENCODING_F32, VD_ENCODING_SQ8, VD_ENCODING_SQ4, VD_ENCODING_F16,
                                        VD_ENCODING_BF16};
enum { ENCODINGS = sizeof encodings / sizeof encodings[0] };
/* Goes once along every pair of two different ones. */
static const uint8_t tour[] = {0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 1, 3, 1, 4, 2, 3, 2, 4, 3, 4, 0};
enum { TOUR = sizeof tour / sizeof tour[0] };

static uint32_t numbers[IDS];

static vd_id id_of(uint32_t number) {
    return (vd_id){(const char *)&numbers[number], sizeof numbers[number]};
}

static uint32_t number_of(vd_id id) {
    uint32_t number;
    memcpy(&number, id.data, sizeof number);
    return number;
}

/* By its number alone: embeddings, sparse ones with -0, some with one giant component; every ninth copies another. */
static void vector_of(uint32_t number, float *v) {
    rng r = {mix64(number % 9 == 8 ? number / 2 : number) | 1};
    const uint32_t sort = (number % 9 == 8 ? number / 2 : number) % 5;
    data_fill(&r, SHAPE_CLUSTERED, v, 1, D);
    for (uint32_t i = 0; i < D; i++) {
        v[i] = sort == 1 && rng_below(&r, 10) < 6 ? 0.0f : sort == 2 && v[i] < 0 ? -0.0f : v[i];
        v[i] *= sort == 3 ? 1e-3f : 1.0f;
    }
    if (sort == 3) {
        v[number % D] = 1.0f + (float)number * 0x1p-12f;
    }
}

static void add_numbers(vd_hnsw *index, uint32_t first, uint32_t count, const vd_executor *executor) {
    static _Thread_local float vectors[IDS * D];
    static _Thread_local vd_hnsw_item items[IDS];
    for (uint32_t i = 0; i < count; i++) {
        vector_of(first + i, vectors + (size_t)i * D);
        items[i] = (vd_hnsw_item){id_of(first + i), vectors + (size_t)i * D, &numbers[first + i]};
    }
    OK(vd_hnsw_add(index, items, count, executor, err));
}

static void delete_numbers(vd_hnsw *index, uint32_t first, uint32_t count) {
    static _Thread_local vd_id ids[IDS];
    size_t deleted = 0;
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = id_of(first + i);
    }
    OK(vd_hnsw_delete(index, ids, count, NULL, &deleted, err));
    assert_int_equal(deleted, count);
}

static vd_hnsw *new_index(vd_metric metric, vd_encoding encoding, const vd_allocator *allocator) {
    return help_new(&(vd_hnsw_options){.dimension = D,
                                       .metric = metric,
                                       .m = 6,
                                       .ef_construction = 40,
                                       .encoding = encoding,
                                       .seed = 5,
                                       .allocator = allocator});
}

static vd_encoding encoding_of(const vd_hnsw *index) {
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    return stats.encoding;
}

/* ---- what must not change ---- */

static void mix_in(uint64_t *sum, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) { /* FNV-1a */
        *sum = (*sum ^ bytes[i]) * 0x100000001B3ull;
    }
}

static int by_number(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Links, levels and payloads; neighbours in an order that does not depend on the encoding. Values are compared on the way. */
static uint64_t sum_of(vd_hnsw *index) {
    uint64_t sum = 0xCBF29CE484222325ull;
    vd_hnsw_snapshot *s = NULL;
    OK(vd_hnsw_snapshot_begin(index, &s, err));
    for (uint64_t i = 0; i < vd_hnsw_snapshot_count(s); i++) {
        vd_hnsw_node node;
        float wanted[D];
        vd_hnsw_snapshot_node(s, i, &node);
        vector_of(number_of(node.id), wanted);
        assert_memory_equal(node.vector, wanted, sizeof wanted);
        assert_ptr_equal(node.payload, &numbers[number_of(node.id)]);
        mix_in(&sum, node.id.data, node.id.size);
        mix_in(&sum, &node.level, sizeof node.level);
        for (uint32_t level = 0; level <= node.level; level++) {
            uint32_t links[2 * VD_M_MAX];
            size_t n = vd_hnsw_snapshot_links(s, i, level, links, 2 * VD_M_MAX);
            qsort(links, n, sizeof links[0], by_number);
            mix_in(&sum, links, n * sizeof links[0]);
        }
    }
    vd_hnsw_snapshot_end(s);
    return sum;
}

static void expect_items(const vd_hnsw *index, uint32_t first, uint32_t count) {
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t i = first; i < first + count; i++) {
        float got[D], wanted[D];
        void *payload = NULL;
        assert_int_equal(vd_hnsw_get(index, id_of(i), got, &payload), VD_OK);
        vector_of(i, wanted);
        assert_memory_equal(got, wanted, sizeof got);
        assert_ptr_equal(payload, &numbers[i]);
    }
    vd_hnsw_leave(index, &guard);
}

static uint64_t sum_of_answers(const vd_hnsw *index, const vd_hnsw_search_options *options) {
    uint64_t sum = 0xCBF29CE484222325ull;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t q = 0; q < 20; q++) {
        float query[D];
        vd_hit hits[K];
        size_t count = 0;
        rng r = {q};
        data_fill(&r, SHAPE_CLUSTERED, query, 1, D);
        OK(vd_hnsw_search(index, query, options, hits, &count, NULL, err));
        for (size_t i = 0; i < count; i++) {
            mix_in(&sum, &hits[i].distance, sizeof hits[i].distance);
            mix_in(&sum, hits[i].id.data, hits[i].id.size);
        }
    }
    vd_hnsw_leave(index, &guard);
    return sum;
}

static const vd_hnsw_search_options exactly = {.k = K, .exact = true};

static void every_pair_of_encodings(void **state) {
    const vd_executor *executor = executor_pool_get(*state);
    for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
        vd_hnsw *index = new_index((vd_metric)metric, encodings[tour[0]], NULL);
        add_numbers(index, 0, ITEMS, executor);
        delete_numbers(index, 0, 300);  /* swept: free slots, and copies that took a dead one's place */
        delete_numbers(index, 300, 30); /* not yet swept */
        const uint64_t sum = sum_of(index), answers = sum_of_answers(index, &exactly);
        for (size_t i = 1; i < TOUR; i++) {
            OK(vd_hnsw_convert(index, encodings[tour[i]], i % 2 ? executor : NULL, err));
            char when[64];
            snprintf(when, sizeof when, "%s to %s", vd_encoding_name(encodings[tour[i - 1]]),
                     vd_encoding_name(encodings[tour[i]]));
            help_check(index, when);
            assert_int_equal(encoding_of(index), encodings[tour[i]]);
            vd_hnsw_options options;
            vd_hnsw_get_options(index, &options);
            assert_int_equal(options.encoding, encodings[tour[i]]);
            expect_items(index, 330, ITEMS - 330);
            if (sum_of(index) != sum || sum_of_answers(index, &exactly) != answers) {
                fail_msg("%s: links or answers have changed", when);
            }
        }
        vd_hnsw_free(index);
    }
}

/* Between writes of all sorts: slots that were free at a conversion are used after it, and the other way round. */
static void converting_between_writes(void **state) {
    const vd_executor *executor = executor_pool_get(*state);
    const uint32_t rounds = help_amount(60, 20) * help_rounds();
    vd_hnsw *index = new_index(VD_METRIC_EUCLIDEAN, VD_ENCODING_AUTO, NULL);
    bool there[IDS] = {false};
    rng r = {2024};
    for (uint32_t round = 0; round < rounds; round++) {
        const uint32_t first = rng_below(&r, IDS - 200), count = 1 + rng_below(&r, 200);
        add_numbers(index, first, count, executor);
        memset(there + first, true, count);
        if (round % 3 == 2) {
            const uint32_t from = rng_below(&r, IDS - 400);
            for (uint32_t i = from; i < from + 400; i++) {
                if (there[i]) {
                    delete_numbers(index, i, 1);
                    there[i] = false;
                }
            }
        }
        const vd_encoding wish = round % 7 == 6 ? VD_ENCODING_AUTO : encodings[rng_below(&r, ENCODINGS)];
        OK(vd_hnsw_convert(index, wish, executor, err));
        help_check(index, vd_encoding_name(wish));
        if (round % 10 == 9) {
            OK(vd_hnsw_optimize(index, NULL, err));
            OK(vd_hnsw_calibrate(index, executor, err));
        }
        for (uint32_t i = 0; i < IDS; i++) {
            if (there[i]) {
                expect_items(index, i, 1);
            }
        }
    }
    vd_hnsw_free(index);
}

static void what_is_refused(void **state) {
    (void)state;
    const vd_encoding none[] = {(vd_encoding)6, (vd_encoding)99, (vd_encoding)-1};
    vd_error error = {0};
    vd_hnsw *index = new_index(VD_METRIC_COSINE, VD_ENCODING_SQ8, NULL);
    add_numbers(index, 0, 600, NULL);
    const uint64_t sum = sum_of(index);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_int_equal(vd_hnsw_convert(index, none[i], NULL, &error), VD_INVALID_ARGUMENT);
        assert_string_equal(error.field, "encoding");
        assert_null(vd_encoding_name(none[i]));
    }
    assert_int_equal(encoding_of(index), VD_ENCODING_SQ8);
    assert_int_equal(sum_of(index), sum);
    vd_hnsw_free(index);

    const vd_encoding lossy[] = {VD_ENCODING_AUTO, VD_ENCODING_SQ8, VD_ENCODING_SQ4, VD_ENCODING_F16, VD_ENCODING_BF16};
    for (size_t e = 0; e < sizeof lossy / sizeof lossy[0]; e++) {
        index = help_new(&(vd_hnsw_options){
            .dimension = D, .m = 6, .ef_construction = 40, .encoding = lossy[e], .discard_vectors = true});
        add_numbers(index, 0, 600, NULL);
        const vd_encoding before = encoding_of(index);
        const uint64_t answers = sum_of_answers(index, &exactly);
        for (size_t to = 0; to <= ENCODINGS; to++) {
            vd_encoding wish = to < ENCODINGS ? encodings[to] : VD_ENCODING_AUTO;
            assert_int_equal(vd_hnsw_convert(index, wish, NULL, &error), VD_FAILED_PRECONDITION);
            assert_string_equal(error.field, "encoding");
        }
        assert_int_equal(vd_hnsw_convert(index, (vd_encoding)99, NULL, &error), VD_INVALID_ARGUMENT);
        assert_int_equal(encoding_of(index), before);
        assert_int_equal(sum_of_answers(index, &exactly), answers);
        help_check(index, "after refusals");
        vd_hnsw_free(index);
    }
    vd_encoding parsed;
    for (int i = VD_ENCODING_AUTO; i <= VD_ENCODING_BF16; i++) {
        assert_true(vd_encoding_parse(vd_encoding_name((vd_encoding)i), &parsed) && (int)parsed == i);
    }
    assert_false(vd_encoding_parse("", &parsed) || vd_encoding_parse("SQ8", &parsed) ||
                 vd_encoding_parse("sq", &parsed));
}

static void auto_chooses(void **state) {
    const vd_executor *executor = executor_pool_get(*state);
    /* too few to tell: it stays as it is, and is looked at when there are enough */
    vd_hnsw *index = new_index(VD_METRIC_COSINE, VD_ENCODING_BF16, NULL);
    add_numbers(index, 0, 600, NULL);
    OK(vd_hnsw_convert(index, VD_ENCODING_AUTO, executor, err));
    vd_hnsw_options options;
    vd_hnsw_get_options(index, &options);
    assert_int_equal(options.encoding, VD_ENCODING_AUTO);
    assert_int_equal(encoding_of(index), VD_ENCODING_BF16);
    add_numbers(index, 600, ITEMS - 600, executor);
    assert_int_not_equal(encoding_of(index), VD_ENCODING_BF16);
    /* the choice depends on the vectors, not on what they were stored as */
    vd_encoding chosen = VD_ENCODING_AUTO;
    for (size_t e = 0; e < ENCODINGS; e++) {
        OK(vd_hnsw_convert(index, encodings[e], executor, err));
        assert_int_equal(encoding_of(index), encodings[e]);
        OK(vd_hnsw_convert(index, VD_ENCODING_AUTO, executor, err));
        const vd_encoding now = encoding_of(index);
        chosen = e == 0 ? now : chosen;
        if (encodings[e] == VD_ENCODING_F16 || encodings[e] == VD_ENCODING_BF16) {
            assert_int_equal(now, chosen);
        } else { /* a choice once made is given up later than it would be made */
            assert_true(now == VD_ENCODING_F32 || now == VD_ENCODING_SQ8 || now == VD_ENCODING_SQ4);
        }
        expect_items(index, 0, ITEMS);
        help_check(index, "auto");
    }
    vd_hnsw_free(index);
    /* numbers that codes of eight bits cannot tell apart */
    enum { ONE = 1100 };
    static float far[ONE * D];
    static vd_hnsw_item items[ONE];
    rng r = {8};
    for (uint32_t i = 0; i < ONE * D; i++) {
        far[i] = 1e5f + rng_normal(&r);
    }
    for (uint32_t i = 0; i < ONE; i++) {
        items[i] = (vd_hnsw_item){id_of(i), far + (size_t)i * D, NULL};
    }
    index = new_index(VD_METRIC_EUCLIDEAN, VD_ENCODING_SQ4, NULL);
    OK(vd_hnsw_add(index, items, ONE, executor, err));
    OK(vd_hnsw_convert(index, VD_ENCODING_AUTO, executor, err));
    assert_int_equal(encoding_of(index), VD_ENCODING_F32);
    vd_hnsw_free(index);
}

/* ---- memory ---- */

static uint64_t resident(size_t field) {
    unsigned long pages[2] = {0, 0};
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &pages[0], &pages[1]), 2);
    fclose(f);
    return (uint64_t)pages[field] * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void memory_comes_back(void **state) {
    (void)state;
    fault_allocator memory;
    fault_allocator_init(&memory);
    vd_hnsw *index = new_index(VD_METRIC_COSINE, VD_ENCODING_F32, &memory.face);
    add_numbers(index, 0, ITEMS, NULL);
    uint64_t first[ENCODINGS] = {0}, mapped = 0, held = 0;
    int64_t blocks = 0;
    for (uint32_t round = 0; round < 3 * TOUR; round++) {
        const uint8_t e = tour[round % TOUR];
        OK(vd_hnsw_convert(index, encodings[e], NULL, err));
        vd_hnsw_stats stats;
        vd_hnsw_get_stats(index, &stats);
        if (round < TOUR) {
            first[e] = first[e] ? first[e] : stats.memory_bytes;
        } else { /* the same encoding takes the same memory each time */
            assert_true(stats.memory_bytes <= first[e] + first[e] / 50);
        }
        if (round == TOUR - 1) { /* at f32 */
            mapped = resident(0);
            held = resident(1);
            blocks = atomic_load(&memory.blocks);
        }
    }
    assert_true(atomic_load(&memory.blocks) <= blocks + 2);
    if (!HELP_SANITIZED) { /* of which a form is a few hundred KiB, and the address space of one many GiB */
        assert_true(resident(0) <= mapped + (64u << 20));
        assert_true(resident(1) <= held + (2u << 20));
    }
    /* A reader keeps the form it may be looking at; with it gone, the next write lets the memory go. */
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (size_t i = 1; i < TOUR; i++) {
        OK(vd_hnsw_convert(index, encodings[tour[i]], NULL, err));
    }
    vd_hnsw_leave(index, &guard);
    add_numbers(index, 0, 1, NULL);
    if (!HELP_SANITIZED) {
        assert_true(resident(0) <= mapped + (64u << 20));
    }
    help_check(index, "at the end");
    vd_hnsw_free(index);
    assert_int_equal(atomic_load(&memory.blocks), 0);
    assert_int_equal(atomic_load(&memory.bytes), 0);
    assert_false(atomic_load(&memory.wrong_size));
}

static void no_memory_changes_nothing(void **state) {
    (void)state;
    for (size_t e = 0; e < ENCODINGS; e += help_amount(1, 3)) {
        fault_allocator memory;
        fault_allocator_init(&memory);
        vd_hnsw *index = new_index(VD_METRIC_EUCLIDEAN, encodings[e], &memory.face);
        add_numbers(index, 0, 1200, NULL);
        delete_numbers(index, 0, 100);
        const uint64_t sum = sum_of(index),
                       answers = sum_of_answers(index, &(vd_hnsw_search_options){.k = K, .ef = 30});
        vd_hnsw_options before, after;
        vd_hnsw_get_options(index, &before);
        for (size_t to = 0; to <= ENCODINGS; to++) {
            const vd_encoding wish = to < ENCODINGS ? encodings[to] : VD_ENCODING_AUTO;
            uint32_t failures = 0;
            for (;; failures++) {
                assert_true(failures < 1000);
                vd_error error = {0};
                const int64_t blocks = atomic_load(&memory.blocks);
                atomic_store(&memory.budget, failures);
                const vd_status status = vd_hnsw_convert(index, wish, NULL, &error);
                const bool failed = atomic_load(&memory.budget) == 0 && atomic_load(&memory.failed) > 0;
                atomic_store(&memory.budget, -1);
                if (status == VD_OK && (wish != VD_ENCODING_AUTO || !failed)) {
                    break;
                }
                atomic_store(&memory.failed, 0);
                if (status == VD_OK) { /* auto: whatever there was memory for; the values are there */
                    OK(vd_hnsw_convert(index, encodings[e], NULL, err));
                } else {
                    assert_int_equal(status, VD_OUT_OF_MEMORY);
                    assert_string_equal(error.text, "out of memory");
                    assert_true(atomic_load(&memory.blocks) <=
                                blocks + 1); /* the list of what is retired may have grown */
                }
                vd_hnsw_get_options(index, &after);
                assert_int_equal(after.encoding, before.encoding);
                assert_int_equal(encoding_of(index), encodings[e]);
                help_check(index, "after a failure");
                assert_int_equal(sum_of(index), sum);
                assert_int_equal(sum_of_answers(index, &(vd_hnsw_search_options){.k = K, .ef = 30}), answers);
            }
            assert_true(failures > 0 || to == e ||
                        (to < ENCODINGS && encodings[e] + wish == VD_ENCODING_SQ8 + VD_ENCODING_SQ4));
            expect_items(index, 100, 1100);
            atomic_store(&memory.failed, 0);
            OK(vd_hnsw_convert(index, encodings[e], NULL, err));
            assert_int_equal(sum_of(index), sum);
        }
        vd_hnsw_free(index);
        assert_int_equal(atomic_load(&memory.blocks), 0);
        assert_false(atomic_load(&memory.wrong_size));
    }
}

/* ---- while somebody looks ---- */

static void a_picture_stays_what_it_was(void **state) {
    (void)state;
    vd_hnsw *index = new_index(VD_METRIC_COSINE, VD_ENCODING_SQ8, NULL);
    add_numbers(index, 0, ITEMS, NULL);
    vd_hnsw_snapshot *s = NULL;
    OK(vd_hnsw_snapshot_begin(index, &s, err));
    for (size_t i = 0; i < 6; i++) {
        OK(vd_hnsw_convert(index, encodings[tour[i]], NULL, err));
        delete_numbers(index, (uint32_t)i * 100, 100);
        add_numbers(index, ITEMS + (uint32_t)i * 100, 100, NULL);
        assert_int_equal(vd_hnsw_snapshot_count(s), ITEMS);
        for (uint32_t at = 0; at < ITEMS; at++) {
            vd_hnsw_node node;
            float wanted[D];
            uint32_t links[2 * VD_M_MAX];
            vd_hnsw_snapshot_node(s, at, &node);
            vector_of(number_of(node.id), wanted);
            assert_memory_equal(node.vector, wanted, sizeof wanted);
            for (uint32_t level = 0; level <= node.level; level++) {
                size_t n = vd_hnsw_snapshot_links(s, at, level, links, 2 * VD_M_MAX);
                for (size_t j = 0; j < n; j++) {
                    assert_true(links[j] < ITEMS && links[j] != at);
                }
            }
        }
    }
    vd_hnsw_snapshot_end(s);
    help_check(index, "after the picture");
    vd_hnsw_free(index);
}

/* Every hit is at the oracle's distance to the vector of its id, in order, and no id comes twice. */
static const char *fault_in(vd_metric metric, const float *query, const vd_hit *hits, size_t count) {
    static _Thread_local char text[160];
    for (size_t i = 0; i < count; i++) {
        float v[D];
        const uint32_t number = number_of(hits[i].id);
        if (number >= IDS) {
            return "an id that never was";
        }
        vector_of(number, v);
        const double wanted = oracle_distance(metric, query, v, D);
        if (!same_bits(wanted, hits[i].distance)) {
            snprintf(text, sizeof text, "item %" PRIu32 " is at %.17g, by the oracle at %.17g", number,
                     hits[i].distance, wanted);
            return text;
        }
        if (i > 0 && (hits[i - 1].distance > hits[i].distance)) {
            return "not in order";
        }
        for (size_t j = 0; j < i; j++) {
            if (number_of(hits[j].id) == number) {
                return "an id twice";
            }
        }
        if (hits[i].payload != &numbers[number]) {
            return "the payload of another";
        }
    }
    return NULL;
}

/* A filter whose call does, in the middle of a search, what another thread could do just then. */
typedef struct meddler {
    vd_hnsw *index;
    uint32_t after; /* calls in one look before it happens */
    uint32_t calls, last;
    uint32_t times, most;
    uint32_t shift;
} meddler;

static bool meddle(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)id;
    (void)payload;
    meddler *m = context;
    m->calls = slot < m->last ? 0 : m->calls + 1; /* a scan begins anew at the first slot */
    m->last = slot;
    if (m->calls == m->after && m->times < m->most) {
        const vd_encoding to = encodings[(m->times + m->shift) % ENCODINGS];
        m->times++;
        OK(vd_hnsw_convert(m->index, to, NULL, err));
        /* into free slots, with values that other slots' leftovers do not have */
        add_numbers(m->index, ITEMS + 50 * (m->times - 1), 50, NULL);
    }
    return true;
}

static void a_search_under_way_never_reads_what_only_the_new_form_has(void **state) {
    (void)state;
    for (size_t e = 0; e < ENCODINGS; e++) {
        for (uint32_t most = 1; most <= 8; most += 7) {
            for (uint32_t q = 0; q < help_amount(8, 1); q++) {
                vd_hnsw *index = new_index(VD_METRIC_EUCLIDEAN, encodings[e], NULL);
                add_numbers(index, 0, ITEMS, NULL);
                delete_numbers(index, 500, 700); /* free slots in the middle, in the order of their numbers */
                delete_numbers(index, 1200, 100);
                float query[D];
                vector_of(q * 50, query);
                query[q] += 0.25f;
                meddler m = {.index = index, .after = 10 + q, .most = most, .shift = (uint32_t)e + 1};
                vd_filter filter = {.accept = meddle, .context = &m};
                vd_hit hits[K];
                size_t count = 0;
                vd_hnsw_guard guard;
                vd_hnsw_enter(index, &guard);
                OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .filter = &filter}, hits, &count,
                                  NULL, err));
                assert_int_equal(count, K);
                const char *fault = fault_in(VD_METRIC_EUCLIDEAN, query, hits, count);
                if (fault) {
                    fail_msg("%s, converted %u times while searching: %s", vd_encoding_name(encodings[e]), m.times,
                             fault);
                }
                assert_true(m.times > 0);
                vd_hnsw_leave(index, &guard);
                help_check(index, "after meddling");
                vd_hnsw_free(index);
            }
        }
    }
}

/* ---- with threads ---- */

enum { STABLE = 900, READERS = 2 };

typedef struct world {
    vd_hnsw *index;
    vd_metric metric;
    const vd_executor *executor;
    uint32_t rounds;
    _Atomic uint32_t writing; /* threads */
    _Atomic uint64_t searches;
    fault_note note;
} world;

static void *convert_thread(void *arg) {
    world *w = arg;
    rng r = {5};
    for (uint32_t i = 0; i < w->rounds && !fault_any(&w->note); i++) {
        vd_error error = {0};
        const vd_encoding to = i % 8 == 7 ? VD_ENCODING_AUTO : encodings[rng_below(&r, ENCODINGS)];
        if (vd_hnsw_convert(w->index, to, w->executor, &error) != VD_OK) {
            fault_put(&w->note, "convert: %s", error.text);
        }
        if (i % 16 == 15 && vd_hnsw_calibrate(w->index, w->executor, &error) != VD_OK) {
            fault_put(&w->note, "calibrate: %s", error.text);
        }
    }
    atomic_fetch_sub(&w->writing, 1);
    return NULL;
}

/* Ids from STABLE on come and go, some hundred at a time, so that slots are freed and used again. */
static void *write_thread(void *arg) {
    enum { STEP = 100 };
    world *w = arg;
    rng r = {6};
    bool there[IDS] = {false};
    while (atomic_load(&w->writing) > 1 && !fault_any(&w->note)) {
        static float vectors[STEP * D];
        vd_hnsw_item items[STEP];
        vd_id ids[STEP];
        const uint32_t first = STABLE + rng_below(&r, (IDS - STABLE) / STEP) * STEP;
        vd_error error = {0};
        for (uint32_t i = 0; i < STEP; i++) {
            ids[i] = id_of(first + i);
            vector_of(first + i, vectors + (size_t)i * D);
            items[i] = (vd_hnsw_item){ids[i], vectors + (size_t)i * D, &numbers[first + i]};
        }
        vd_status status = there[first] && rng_below(&r, 3) ? vd_hnsw_delete(w->index, ids, STEP, NULL, NULL, &error)
                                                            : vd_hnsw_add(w->index, items, STEP, NULL, &error);
        there[first] = !there[first];
        if (status != VD_OK) {
            fault_put(&w->note, "write: %s", error.text);
        }
    }
    atomic_fetch_sub(&w->writing, 1);
    return NULL;
}

static bool sometimes(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)context;
    (void)slot;
    (void)payload;
    return number_of(id) % 3 != 0;
}

static void *read_thread(void *arg) {
    world *w = arg;
    rng r = {mix64((uint64_t)(uintptr_t)pthread_self())};
    const vd_filter filter = {.accept = sometimes};
    const vd_hnsw_search_options ways[] = {
        {.k = K}, {.k = K, .ef = 40}, {.k = 3, .exact = true}, {.k = K, .filter = &filter}};
    while (atomic_load(&w->writing) && !fault_any(&w->note)) {
        const uint32_t own = rng_below(&r, STABLE), way = rng_below(&r, 8) % 4;
        float query[D], got[D];
        vector_of(own, query);
        vd_hit hits[2 * K];
        size_t count[2] = {0, 0};
        vd_error error = {0};
        vd_hnsw_guard guard;
        vd_hnsw_enter(w->index, &guard);
        vd_status status = VD_OK;
        const bool batch = rng_below(&r, 4) == 0;
        if (batch) {
            float queries[2 * D];
            memcpy(queries, query, sizeof query);
            vector_of(rng_below(&r, IDS), queries + D);
            status = vd_hnsw_search_batch(w->index, queries, 2, &ways[way], NULL, hits, count, NULL, &error);
        } else {
            status = vd_hnsw_search(w->index, query, &ways[way], hits, count, NULL, &error);
        }
        if (status != VD_OK) {
            fault_put(&w->note, "search: %s", error.text);
        }
        const char *fault = fault_in(w->metric, query, hits, count[0]);
        if (fault) {
            fault_put(&w->note, "way %u%s: %s", way, batch ? ", batch" : "", fault);
        } else if (count[0] != ways[way].k) {
            fault_put(&w->note, "way %u: %zu hits", way, count[0]);
        } else if (!ways[way].filter && hits[0].distance != 0.0) {
            fault_put(&w->note, "way %u: item %u is not found by its own vector", way, own);
        }
        if (vd_hnsw_get(w->index, id_of(own), got, NULL) != VD_OK || memcmp(got, query, sizeof got) != 0) {
            fault_put(&w->note, "get: item %u is not what it was", own);
        }
        vd_hnsw_leave(w->index, &guard);
        atomic_fetch_add(&w->searches, 1);
    }
    return NULL;
}

static void searches_and_writes_go_on(void **state) {
    for (int metric = VD_METRIC_COSINE; metric <= VD_METRIC_EUCLIDEAN; metric++) {
        world w = {.metric = (vd_metric)metric,
                   .executor = executor_pool_get(*state),
                   .rounds = help_amount(50, 20) * help_rounds()};
        w.index = new_index(w.metric, VD_ENCODING_SQ8, NULL);
        add_numbers(w.index, 0, STABLE, w.executor);
        atomic_store(&w.writing, 2);
        pthread_t converter, writer, readers[READERS];
        assert_int_equal(pthread_create(&converter, NULL, convert_thread, &w), 0);
        assert_int_equal(pthread_create(&writer, NULL, write_thread, &w), 0);
        for (int i = 0; i < READERS; i++) {
            assert_int_equal(pthread_create(&readers[i], NULL, read_thread, &w), 0);
        }
        pthread_join(converter, NULL);
        pthread_join(writer, NULL);
        for (int i = 0; i < READERS; i++) {
            pthread_join(readers[i], NULL);
        }
        fault_assert_none(&w.note);
        print_message("%u conversions beside %" PRIu64 " searches\n", w.rounds, atomic_load(&w.searches));
        help_check(w.index, "at the end");
        expect_items(w.index, 0, STABLE);
        vd_hnsw_free(w.index);
    }
}

static int pool_up(void **state) {
    executor_pool *pool = NULL;
    for (uint32_t i = 0; i < IDS; i++) {
        numbers[i] = i;
    }
    int code = executor_pool_new(2, &pool) == VD_OK ? 0 : -1;
    *state = pool;
    return code;
}

static int pool_down(void **state) {
    executor_pool_free(*state);
    return 0;
}

int main(void) {
    const char *wish = getenv("VECTORD_CPU");
    if (wish && strcmp(wish, vd_hnsw_cpu()) != 0) {
        printf("SKIPPED: this machine cannot run the %s kernels\n", wish);
        return 77;
    }
    printf("kernels: %s\n", vd_hnsw_cpu());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_encodings),
        cmocka_unit_test(converting_between_writes),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(auto_chooses),
        cmocka_unit_test(memory_comes_back),
        cmocka_unit_test(no_memory_changes_nothing),
        cmocka_unit_test(a_picture_stays_what_it_was),
        cmocka_unit_test(a_search_under_way_never_reads_what_only_the_new_form_has),
        cmocka_unit_test(searches_and_writes_go_on),
    };
    return cmocka_run_group_tests(tests, pool_up, pool_down);
}
