/*
 * failmalloc_test.c - memory runs out at the first allocation of a call, at the second, and so on until it succeeds. Each failure
 * must say so, change nothing and lose nothing; and what was set aside by vd_hnsw_reserve must be enough. (The planes are mapped,
 * not allocated; everything else asks the allocator.)
 */
#include <inttypes.h>

#include "engine_help.h"

enum { DIMENSION = 10, BASE = 1015, ADDED = 40 }; /* an add of 40 steps over the size at which the encoding is chosen */

typedef struct stage {
    fault_allocator memory;
    vd_hnsw *index;
    float vectors[(BASE + ADDED) * DIMENSION];
    uint32_t numbers[BASE + ADDED];
    uint32_t released;
    uint32_t items;
} stage;

static void count_release(void *context, void *payload) {
    (void)payload;
    ((stage *)context)->released++;
}

static vd_id id_of(stage *s, uint32_t i) {
    return (vd_id){(const char *)&s->numbers[i], sizeof s->numbers[i]};
}

static vd_hnsw_item item_of(stage *s, uint32_t i) {
    return (vd_hnsw_item){id_of(s, i), s->vectors + (size_t)i * DIMENSION, &s->numbers[i]};
}

static vd_hnsw_options options_of(stage *s) {
    return (vd_hnsw_options){.dimension = DIMENSION,
                             .metric = VD_METRIC_EUCLIDEAN,
                             .m = 6,
                             .ef_construction = 30,
                             .allocator = &s->memory.face,
                             .release_payload = count_release,
                             .release_context = s};
}

static stage *stage_new(uint32_t items) {
    stage *s = calloc(1, sizeof *s);
    assert_non_null(s);
    fault_allocator_init(&s->memory);
    rng r = {17};
    data_fill(&r, SHAPE_CLUSTERED, s->vectors, BASE + ADDED, DIMENSION);
    for (uint32_t i = 0; i < BASE + ADDED; i++) {
        s->numbers[i] = i;
        if (i % 7 == 6) { /* some exact copies */
            memcpy(s->vectors + (size_t)i * DIMENSION, s->vectors + (size_t)(i / 2) * DIMENSION,
                   sizeof(float) * DIMENSION);
        }
    }
    vd_hnsw_options options = options_of(s);
    s->index = help_new(&options);
    for (uint32_t i = 0; i < items; i++) {
        vd_hnsw_item item = item_of(s, i);
        OK(vd_hnsw_add(s->index, &item, 1, NULL, err));
    }
    s->items = items;
    return s;
}

static void stage_free(stage *s, uint32_t released) {
    vd_hnsw_free(s->index);
    assert_int_equal(s->released, released);
    assert_int_equal(atomic_load(&s->memory.blocks), 0);
    assert_int_equal(atomic_load(&s->memory.bytes), 0);
    assert_false(atomic_load(&s->memory.wrong_size));
    free(s);
}

static void let_fail_after(stage *s, int64_t budget) {
    atomic_store(&s->memory.budget, budget);
}

/* Items 0..items-1 and no other, each as it was added. */
static void expect_contents(stage *s, uint32_t items) {
    let_fail_after(s, -1);
    help_check(s->index, "after a failure");
    assert_int_equal(vd_hnsw_count(s->index), items);
    vd_hnsw_guard guard;
    vd_hnsw_enter(s->index, &guard);
    for (uint32_t i = 0; i < BASE + ADDED; i++) {
        float got[DIMENSION];
        void *payload = NULL;
        vd_status status = vd_hnsw_get(s->index, id_of(s, i), got, &payload);
        assert_int_equal(status, i < items ? VD_OK : VD_NOT_FOUND);
        if (i < items) {
            assert_memory_equal(got, s->vectors + (size_t)i * DIMENSION, sizeof got);
            assert_ptr_equal(payload, &s->numbers[i]);
        }
    }
    vd_hnsw_leave(s->index, &guard);
}

/* Runs `call` with 0, 1, 2, ... allocations granted until it succeeds; returns how often it failed. */
static uint32_t fail_each(stage *s, vd_status (*call)(stage *s, vd_error *err), uint32_t items) {
    for (uint32_t granted = 0;; granted++) {
        assert_true(granted < 10000);
        vd_error error = {0};
        uint32_t released = s->released;
        let_fail_after(s, granted);
        vd_status status = call(s, &error);
        let_fail_after(s, -1);
        if (status == VD_OK) {
            return granted;
        }
        assert_int_equal(status, VD_OUT_OF_MEMORY);
        assert_string_equal(error.text, "out of memory");
        assert_int_equal(s->released, released);
        expect_contents(s, items);
    }
}

/* ---- the calls ---- */

static void making_an_index(void **state) {
    (void)state;
    stage *s = stage_new(0);
    int64_t blocks = atomic_load(&s->memory.blocks), bytes = atomic_load(&s->memory.bytes);
    uint32_t failures = 0;
    for (;; failures++) {
        vd_hnsw_options options = options_of(s);
        vd_hnsw *index = NULL;
        vd_error error = {0};
        let_fail_after(s, failures);
        vd_status status = vd_hnsw_new(&options, &index, &error);
        if (status == VD_OK) {
            vd_hnsw_free(index);
            break;
        }
        assert_int_equal(status, VD_OUT_OF_MEMORY);
        assert_null(index);
        assert_int_equal(atomic_load(&s->memory.blocks), blocks);
    }
    assert_true(failures > 0);
    assert_int_equal(atomic_load(&s->memory.bytes), bytes);
    let_fail_after(s, -1);
    stage_free(s, 0);
}

static vd_status call_reserve(stage *s, vd_error *err) {
    return vd_hnsw_reserve(s->index, 5000, 5000 * 30, err);
}

static void reserving(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_reserve, BASE) > 0);
    expect_contents(s, BASE);
    vd_error error = {0};
    assert_int_equal(vd_hnsw_reserve(s->index, SIZE_MAX, 1, &error), VD_OUT_OF_MEMORY);
    assert_int_equal(vd_hnsw_reserve(s->index, SIZE_MAX / 8, SIZE_MAX, &error), VD_OUT_OF_MEMORY);
    assert_int_equal(vd_hnsw_reserve(s->index, 1, SIZE_MAX, &error), VD_OUT_OF_MEMORY);
    expect_contents(s, BASE);
    stage_free(s, BASE);
}

static vd_status call_add(stage *s, vd_error *err) {
    vd_hnsw_item items[ADDED];
    for (uint32_t i = 0; i < ADDED; i++) {
        items[i] = item_of(s, BASE + i);
    }
    return vd_hnsw_add(s->index, items, ADDED, NULL, err);
}

static void adding(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    fail_each(s, call_add, BASE);
    expect_contents(s, BASE + ADDED);
    stage_free(s, BASE + ADDED);
}

/* The very first add of an index makes everything there is. */
static void adding_to_an_empty_index(void **state) {
    (void)state;
    stage *s = stage_new(0);
    vd_error error = {0};
    uint32_t failures = 0;
    for (;; failures++) {
        vd_hnsw_item item = item_of(s, 0);
        let_fail_after(s, failures);
        vd_status status = vd_hnsw_add(s->index, &item, 1, NULL, &error);
        if (status == VD_OK) {
            break;
        }
        assert_int_equal(status, VD_OUT_OF_MEMORY);
        expect_contents(s, 0);
    }
    assert_true(failures > 2); /* what one try got, the next one has */
    expect_contents(s, 1);
    stage_free(s, 1);
}

static vd_status call_upsert(stage *s, vd_error *err) {
    /* the same vectors again: whichever way it ends, the contents are those of before */
    vd_hnsw_item items[ADDED];
    for (uint32_t i = 0; i < ADDED; i++) {
        items[i] = item_of(s, 3 * i);
    }
    return vd_hnsw_add(s->index, items, ADDED, NULL, err);
}

static void replacing(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    for (uint32_t i = 0; i < 20; i++) { /* until every table has grown at least once */
        fail_each(s, call_upsert, BASE);
        expect_contents(s, BASE);
    }
    assert_int_equal(s->released, 20 * ADDED);
    stage_free(s, BASE + 20 * ADDED);
}

static vd_status call_delete(stage *s, vd_error *err) {
    vd_id ids[400];
    size_t deleted = 99, count = sizeof ids / sizeof ids[0];
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = id_of(s, s->items - 1 - i);
    }
    vd_status status = vd_hnsw_delete(s->index, ids, count, NULL, &deleted, err);
    assert_int_equal(deleted, status == VD_OK ? count : 0);
    return status;
}

static void deleting(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_delete, BASE) > 0);
    expect_contents(s, BASE - 400);
    stage_free(s, BASE);
}

static vd_status call_search(stage *s, vd_error *err) {
    vd_hit hits[900];
    size_t count = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(s->index, &guard);
    vd_status status =
        vd_hnsw_search(s->index, s->vectors, &(vd_hnsw_search_options){.k = 900}, hits, &count, NULL, err);
    vd_hnsw_leave(s->index, &guard);
    assert_int_equal(count, status == VD_OK ? 900 : 0);
    return status;
}

static void searching(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_search, BASE) > 0);
    stage_free(s, BASE);
}

enum { ASKED = 9, WIDE_K = 700 };

static vd_status call_search_batch(stage *s, vd_error *err) {
    static vd_hit hits[ASKED * WIDE_K];
    size_t counts[ASKED] = {0};
    vd_hnsw_guard guard;
    vd_hnsw_enter(s->index, &guard);
    vd_status status = vd_hnsw_search_batch(s->index, s->vectors, ASKED, &(vd_hnsw_search_options){.k = WIDE_K}, NULL,
                                            hits, counts, NULL, err);
    vd_hnsw_leave(s->index, &guard);
    for (size_t i = 0; i < ASKED && status == VD_OK; i++) {
        assert_int_equal(counts[i], WIDE_K);
    }
    return status;
}

static void searching_for_many(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_search_batch, BASE) > 0);
    int64_t blocks = atomic_load(&s->memory.blocks);
    OK(call_search_batch(s, err)); /* warm: it needs nothing new */
    let_fail_after(s, 0);
    OK(call_search_batch(s, err));
    let_fail_after(s, -1);
    assert_int_equal(atomic_load(&s->memory.blocks), blocks);
    stage_free(s, BASE);
}

static bool accept_most(void *context, uint32_t slot, vd_id id, void *payload) {
    (void)context;
    (void)slot;
    (void)payload;
    uint32_t number;
    memcpy(&number, id.data, sizeof number);
    return number % 20 != 0;
}

static vd_status call_filtered_search(stage *s, vd_error *err) {
    static vd_hit hits[WIDE_K];
    size_t count = 0;
    vd_filter filter = {.accept = accept_most};
    vd_hnsw_guard guard;
    vd_hnsw_enter(s->index, &guard);
    vd_status status = vd_hnsw_search(s->index, s->vectors, &(vd_hnsw_search_options){.k = WIDE_K, .filter = &filter},
                                      hits, &count, NULL, err);
    vd_hnsw_leave(s->index, &guard);
    assert_int_equal(count, status == VD_OK ? WIDE_K : 0);
    return status;
}

static void searching_with_a_filter(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_filtered_search, BASE) > 0);
    stage_free(s, BASE);
}

static vd_status call_optimize(stage *s, vd_error *err) {
    return vd_hnsw_optimize(s->index, NULL, err);
}

static void optimizing(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_optimize, BASE) > 0);
    assert_false(vd_hnsw_optimization_due(s->index));
    expect_contents(s, BASE);
    stage_free(s, BASE);
}

/* Every answer of some searches, to be compared. */
typedef struct answers {
    uint32_t slots[ASKED][20];
    double distances[ASKED][20];
    size_t counts[ASKED];
} answers;

static void take_answers(stage *s, answers *a) {
    memset(a, 0, sizeof *a);
    let_fail_after(s, -1);
    vd_hnsw_guard guard;
    vd_hnsw_enter(s->index, &guard);
    for (uint32_t i = 0; i < ASKED; i++) {
        vd_hit hits[20];
        const float *query = s->vectors + (size_t)(i * 31) * DIMENSION;
        OK(vd_hnsw_search(s->index, query, &(vd_hnsw_search_options){.k = 20, .ef = 60}, hits, &a->counts[i], NULL,
                          err));
        for (size_t j = 0; j < a->counts[i]; j++) {
            a->slots[i][j] = hits[j].slot;
            a->distances[i][j] = hits[j].distance;
        }
    }
    vd_hnsw_leave(s->index, &guard);
}

/* Fails each allocation of a call; nothing that a search can see may have changed. */
static uint32_t fail_each_unseen(stage *s, vd_status (*call)(stage *s, vd_error *err), uint32_t items) {
    answers before, after;
    for (uint32_t granted = 0;; granted++) {
        assert_true(granted < 10000);
        vd_error error = {0};
        take_answers(s, &before);
        let_fail_after(s, granted);
        vd_status status = call(s, &error);
        let_fail_after(s, -1);
        if (status == VD_OK) {
            return granted;
        }
        assert_int_equal(status, VD_OUT_OF_MEMORY);
        take_answers(s, &after);
        assert_memory_equal(&before, &after, sizeof before);
        expect_contents(s, items);
    }
}

static vd_status call_convert(stage *s, vd_error *err) {
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(s->index, &stats);
    return vd_hnsw_convert(s->index, stats.encoding == VD_ENCODING_F32 ? VD_ENCODING_SQ8 : VD_ENCODING_F32, NULL, err);
}

static void answers_stay_when_a_call_fails(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    OK(vd_hnsw_convert(s->index, VD_ENCODING_F32, NULL, err));
    for (int i = 0; i < 3; i++) { /* there and back */
        assert_true(fail_each_unseen(s, call_convert, BASE) > 0);
        expect_contents(s, BASE);
    }
    (void)fail_each_unseen(s, call_reserve, BASE);
    (void)fail_each_unseen(s, call_upsert, BASE);
    (void)fail_each_unseen(s, call_add, BASE);
    expect_contents(s, BASE + ADDED);
    s->items = BASE + ADDED;
    (void)fail_each_unseen(s, call_delete, BASE + ADDED);
    expect_contents(s, BASE + ADDED - 400);
    stage_free(s, BASE + 2 * ADDED);
}

static vd_status call_snapshot(stage *s, vd_error *err) {
    vd_hnsw_snapshot *snapshot = NULL;
    vd_status status = vd_hnsw_snapshot_begin(s->index, &snapshot, err);
    if (status == VD_OK) {
        assert_int_equal(vd_hnsw_snapshot_count(snapshot), BASE);
        vd_hnsw_snapshot_end(snapshot);
    } else {
        assert_null(snapshot);
    }
    return status;
}

static void taking_a_snapshot(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_snapshot, BASE) > 0);
    /* a failed one has not kept its reader's pass: what is deleted now is released at once */
    OK(call_delete(s, err));
    assert_int_equal(s->released, 400);
    stage_free(s, BASE);
}

static vd_status call_calibrate(stage *s, vd_error *err) {
    vd_status status = vd_hnsw_calibrate(s->index, NULL, err);
    if (status != VD_OK) {
        vd_hnsw_stats stats;
        vd_hnsw_get_stats(s->index, &stats);
        assert_int_equal(stats.calibrated_at, 0);
    }
    return status;
}

static void calibrating(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_calibrate, BASE) > 0);
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(s->index, &stats);
    assert_int_equal(stats.calibrated_at, BASE);
    stage_free(s, BASE);
}

/* Once more when there is a table already and a pass has made it due: a failure leaves the old one, and it due. */
static void calibrating_again(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    OK(vd_hnsw_calibrate(s->index, NULL, err));
    for (uint32_t round = 0; round < 12; round++) { /* until the list of what is retired has grown */
        OK(vd_hnsw_optimize(s->index, NULL, err));
        for (uint32_t granted = 0;; granted++) {
            assert_true(granted < 1000);
            vd_hnsw_stats stats;
            vd_error error = {0};
            assert_true(vd_hnsw_calibration_due(s->index));
            let_fail_after(s, granted);
            vd_status status = vd_hnsw_calibrate(s->index, NULL, &error);
            let_fail_after(s, -1);
            vd_hnsw_get_stats(s->index, &stats);
            assert_int_equal(stats.calibrated_at, BASE);
            if (status == VD_OK) {
                break;
            }
            assert_int_equal(status, VD_OUT_OF_MEMORY);
        }
        assert_false(vd_hnsw_calibration_due(s->index));
    }
    expect_contents(s, BASE);
    stage_free(s, BASE);
}

static vd_status call_check(stage *s, vd_error *err) {
    vd_hnsw_report report;
    return vd_hnsw_check(s->index, &report, err);
}

static void checking(void **state) {
    (void)state;
    stage *s = stage_new(BASE);
    assert_true(fail_each(s, call_check, BASE) > 0);
    stage_free(s, BASE);
}

/* ---- the promise of reserve ---- */

static void what_was_reserved_cannot_fail(void **state) {
    (void)state;
    const uint32_t batches[] = {1, 7, 64, 200};
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        enum { START = 300 };
        stage *s = stage_new(START);
        uint32_t count = BASE + ADDED - START, step = batches[b];
        OK(vd_hnsw_reserve(s->index, count, count * sizeof(uint32_t), err));
        let_fail_after(s, 0);
        for (uint32_t at = START; at < BASE + ADDED; at += step) {
            vd_hnsw_item items[200];
            uint32_t n = 0;
            for (; n < step && at + n < BASE + ADDED; n++) {
                items[n] = item_of(s, at + n);
            }
            OK(vd_hnsw_add(s->index, items, n, NULL, err));
        }
        expect_contents(s, BASE + ADDED);
        /* deletes and replacements within a reserve: while a reader keeps everything from being used again */
        vd_hnsw_guard guard;
        vd_hnsw_enter(s->index, &guard);
        enum { ROUNDS = 300 };
        OK(vd_hnsw_reserve(s->index, 2 * ROUNDS, 2 * ROUNDS * sizeof(uint32_t), err));
        let_fail_after(s, 0);
        for (uint32_t i = 0; i < ROUNDS; i++) {
            vd_hnsw_item item = item_of(s, i);
            size_t deleted = 0;
            OK(vd_hnsw_delete(s->index, &item.id, 1, NULL, &deleted, err));
            assert_int_equal(deleted, 1);
            OK(vd_hnsw_add(s->index, &item, 1, NULL, err));
        }
        let_fail_after(s, -1);
        assert_int_equal(s->released, 0);
        vd_hnsw_leave(s->index, &guard);
        expect_contents(s, BASE + ADDED);
        stage_free(s, BASE + ADDED + ROUNDS);
    }
}

/* One reserve after another, each with tables that grow and leave the old ones to be freed later: that takes room as well. */
static void reserved_again_and_again_cannot_fail(void **state) {
    (void)state;
    for (uint32_t first = 20; first < 45; first++) {
        for (uint32_t count = first + 1; count < 80; count++) {
            stage *s = stage_new(0);
            vd_hnsw_item items[80];
            OK(vd_hnsw_reserve(s->index, first, first * sizeof(uint32_t), err));
            OK(vd_hnsw_reserve(s->index, count, count * sizeof(uint32_t), err));
            let_fail_after(s, 0);
            for (uint32_t i = 0; i < count; i++) {
                items[i] = item_of(s, i);
            }
            OK(vd_hnsw_add(s->index, items, count, NULL, err));
            expect_contents(s, count);
            stage_free(s, count);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(making_an_index),
        cmocka_unit_test(reserving),
        cmocka_unit_test(adding),
        cmocka_unit_test(adding_to_an_empty_index),
        cmocka_unit_test(replacing),
        cmocka_unit_test(deleting),
        cmocka_unit_test(searching),
        cmocka_unit_test(searching_for_many),
        cmocka_unit_test(searching_with_a_filter),
        cmocka_unit_test(optimizing),
        cmocka_unit_test(answers_stay_when_a_call_fails),
        cmocka_unit_test(taking_a_snapshot),
        cmocka_unit_test(calibrating),
        cmocka_unit_test(calibrating_again),
        cmocka_unit_test(checking),
        cmocka_unit_test(what_was_reserved_cannot_fail),
        cmocka_unit_test(reserved_again_and_again_cannot_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
