/*
 * inside_test.c - what the public header of the engine cannot show: how many steps a write takes along chains of copies and in the
 * tree (counted, not timed), which levels nodes get, how far memory is set aside, how ids hash; and what only a larger machine than
 * this would come to.
 */
#include <inttypes.h>
#include <math.h>

#include "engine_help.h"
#include "hnsw/hnsw_int.h"

/* ---- items by number ---- */

typedef struct numbered {
    uint32_t *numbers;
    vd_hnsw_item *items;
    vd_id *ids;
} numbered;

/* `vectors` may be one vector for all: step 0. */
static numbered number_items(const float *vectors, uint32_t count, size_t step) {
    numbered n = {calloc(count, sizeof *n.numbers), calloc(count, sizeof *n.items), calloc(count, sizeof *n.ids)};
    assert_true(n.numbers && n.items && n.ids);
    for (uint32_t i = 0; i < count; i++) {
        n.numbers[i] = i;
        n.ids[i] = (vd_id){(const char *)&n.numbers[i], sizeof n.numbers[i]};
        n.items[i] = (vd_hnsw_item){.id = n.ids[i], .vector = vectors + i * step};
    }
    return n;
}

static void numbered_free(numbered *n) {
    free(n->numbers);
    free(n->items);
    free(n->ids);
}

/* ---- exact copies ---- */

enum { COPIES = 3000 };
typedef enum order { IN_ORDER, BACKWARDS, SHUFFLED, AT_ONCE, HOT, REPLACED, ORDERS } order;
static const char *const order_names[] = {
    "in order", "backwards", "shuffled", "in one call", "one item replaced again and again", "all replaced in order"};

static void delete_one(vd_hnsw *index, vd_id id) {
    size_t deleted = 0;
    OK(vd_hnsw_delete(index, &id, 1, NULL, &deleted, err));
    assert_int_equal(deleted, 1);
}

static void deleting_a_copy_takes_a_step(void **state) {
    (void)state;
    const float vector[4] = {1.0f, 2.0f, -1.0f, 0.5f};
    for (order o = 0; o < ORDERS; o++) {
        vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = 4, .m = 4, .ef_construction = 16});
        numbered n = number_items(vector, COPIES, 0);
        for (uint32_t i = 0; i < COPIES; i += 100) {
            OK(vd_hnsw_add(index, n.items + i, 100, NULL, err));
        }
        rng r = {o};
        for (uint32_t i = COPIES; o == SHUFFLED && i > 1; i--) {
            uint32_t j = rng_below(&r, i);
            vd_id id = n.ids[i - 1];
            n.ids[i - 1] = n.ids[j];
            n.ids[j] = id;
        }
        index->write_steps = 0;
        if (o == AT_ONCE) {
            OK(vd_hnsw_delete(index, n.ids, COPIES, NULL, NULL, err));
        }
        for (uint32_t i = 0; i < COPIES && o != AT_ONCE; i++) {
            if (o == HOT || o == REPLACED) {
                OK(vd_hnsw_add(index, &n.items[o == HOT ? 7 : i], 1, NULL, err));
            } else {
                delete_one(index, n.ids[o == BACKWARDS ? COPIES - 1 - i : i]);
            }
            if (i % 500 == 499) {
                help_check(index, order_names[o]);
            }
        }
        if (index->write_steps > 20 * COPIES) {
            fail_msg("%s: %" PRIu64 " steps along chains for %d deletes", order_names[o], index->write_steps, COPIES);
        }
        help_check(index, order_names[o]);
        assert_int_equal(vd_hnsw_count(index), o == HOT || o == REPLACED ? COPIES : 0);
        numbered_free(&n);
        vd_hnsw_free(index);
    }
}

/* Every vector twice, walked with the least pool there is; then the representatives die in one call, all of them or those of a region
 * that lies apart. A copy that takes its place while all around is dead must not stay without links. */
static void heirs_get_links(void **state) {
    (void)state;
    enum { GROUPS = 900, D = 16, M = 16, LEAST = VD_EF_CONSTRUCTION_MIN / 2 };
    const uint32_t deaths[] = {GROUPS, 40};
    float *vectors = calloc(GROUPS * D, sizeof *vectors);
    assert_non_null(vectors);
    rng r = {3};
    data_fill(&r, SHAPE_CLUSTERED, vectors, GROUPS, D);
    for (uint32_t i = 0; i < deaths[1] * D; i++) {
        vectors[i] += i % 2 ? -40.0f : 40.0f;
    }
    for (size_t way = 0; way < 2; way++) {
        vd_hnsw *index =
            help_new(&(vd_hnsw_options){.dimension = D, .m = M, .ef_construction = VD_EF_CONSTRUCTION_MIN});
        numbered n = number_items(vectors, 2 * GROUPS, 0);
        for (uint32_t i = 0; i < 2 * GROUPS; i++) {
            n.items[i].vector = vectors + (size_t)(i % GROUPS) * D;
        }
        OK(vd_hnsw_add(index, n.items, 2 * GROUPS, NULL, err));
        OK(vd_hnsw_delete(index, n.ids, deaths[way], NULL, NULL, err));
        help_check(index, "after the representatives have died");
        uint32_t thin = 0;
        for (uint32_t slot = 0; slot < atomic_load(&index->slots); slot++) {
            thin += slot_state(index, slot) == STATE_LIVE && !twin_of_another(index, slot) &&
                    links_count(base_links(index, slot), index->m0) < LEAST;
        }
        if (thin) {
            fail_msg("%u deaths: %u of %u nodes have fewer than %u links", deaths[way], thin, GROUPS, LEAST);
        }
        numbered_free(&n);
        vd_hnsw_free(index);
    }
    free(vectors);
}

/* ---- the tree ---- */

typedef enum layout { SPREAD, IN_A_LINE, TENFOLD, LAYOUTS } layout;

static void the_tree_takes_few_steps(void **state) {
    (void)state;
    enum { D = 8 };
    const uint32_t count = help_amount(8000, 4000);
    const char *const names[] = {"spread", "in a line", "lengths that vary tenfold"};
    float *vectors = calloc((size_t)count * D, sizeof *vectors);
    assert_non_null(vectors);
    for (layout l = 0; l < LAYOUTS; l++) {
        rng r = {5};
        data_fill(&r, SHAPE_UNIFORM, vectors, count, D);
        for (uint32_t i = 0; i < count; i++) {
            double length = l == TENFOLD ? pow(10.0, 2.0 * rng_unit(&r)) : 1.0;
            for (uint32_t j = 0; j < D; j++) {
                float *x = &vectors[(size_t)i * D + j];
                *x = l == IN_A_LINE ? (float)(i + 1) * (j == 0) : (float)(*x * length);
            }
        }
        for (uint32_t m = 2; m <= 4; m++) {
            vd_hnsw *index = help_new(
                &(vd_hnsw_options){.dimension = D, .metric = VD_METRIC_EUCLIDEAN, .m = m, .ef_construction = 20});
            numbered n = number_items(vectors, count, D);
            OK(vd_hnsw_add(index, n.items, count / 2, NULL, err));
            for (uint32_t i = count / 2; i < count; i++) {
                OK(vd_hnsw_add(index, n.items + i, 1, NULL, err));
            }
            help_check(index, names[l]);
            uint64_t added = index->write_steps;
            index->write_steps = 0;
            for (uint32_t i = 0; i < count; i += 4) {
                delete_one(index, n.ids[i]);
            }
            help_check(index, names[l]);
            if (added > 8ull * count) {
                fail_msg("%s, m = %u: %" PRIu64 " steps for %u adds", names[l], m, added, count);
            }
            /* Along a line the tree is a line too, and how far up it goes is no matter of m. */
            if (l != IN_A_LINE && index->write_steps > 64ull * count) {
                fail_msg("%s, m = %u: %" PRIu64 " steps for %u deletes", names[l], m, index->write_steps, count / 4);
            }
            numbered_free(&n);
            vd_hnsw_free(index);
        }
    }
    free(vectors);
}

/* ---- levels ---- */

static void levels_are_what_ids_say(void **state) {
    (void)state;
    enum { COUNT = 6000, CALL = 50 };
    float *vectors = calloc(COUNT * 2, sizeof *vectors);
    assert_non_null(vectors);
    rng r = {17};
    data_fill(&r, SHAPE_UNIFORM, vectors, COUNT, 2);
    for (uint32_t m = 2; m <= 16; m *= 2) {
        vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = 2, .m = m, .ef_construction = 8, .seed = m});
        numbered n = number_items(vectors, COUNT, 2);
        if (index->upper_limit < index->slot_limit / (m - 1)) {
            fail_msg("m = %u: %u upper blocks for %u nodes", m, index->upper_limit, index->slot_limit);
        }
        OK(vd_hnsw_add(index, n.items, COUNT / 2, NULL, err));
        for (uint32_t i = COUNT / 2; i < COUNT; i += CALL) {
            OK(vd_hnsw_add(index, n.items + i, CALL, NULL, err));
        }
        for (uint32_t slot = 0; slot < COUNT; slot++) {
            uint32_t wanted = twin_of_another(index, slot) ? 0 : slot_level(index, slot_id(index, slot));
            if (level_of(index, slot) != wanted) {
                fail_msg("m = %u: slot %u on level %u instead of %u", m, slot, level_of(index, slot), wanted);
            }
        }
        numbered_free(&n);
        vd_hnsw_free(index);
    }
    free(vectors);
}

/* ---- hashes ---- */

/* Words chosen to make a factor of the known function 0: what stands beside them must count all the same. And nobody knows the function
 * of another index. */
static void hashes_cannot_be_chosen(void **state) {
    (void)state;
    enum { COUNT = 500, SIZE = 24 };
    const uint64_t constants[] = {0xE7037ED1A0B428DBull,
                                  0xA0761D6478BD642Full ^ 0x9E3779B97F4A7C15ull ^ SIZE * 0xE7037ED1A0B428DBull};
    const float vector[2] = {1.0f, 2.0f};
    vd_hnsw *two[2];
    for (size_t i = 0; i < 2; i++) {
        two[i] = help_new(&(vd_hnsw_options){.dimension = 2});
        OK(vd_hnsw_add(two[i], &(vd_hnsw_item){.id = {"a", 1}, .vector = vector}, 1, NULL, err));
    }
    for (size_t way = 0; way < 2; way++) {
        uint64_t hashes[COUNT];
        for (uint64_t i = 0; i < COUNT; i++) {
            uint64_t words[SIZE / 8] = {way == 0 ? i : constants[1], way == 0 ? constants[0] : i, 7};
            vd_id id = {(const char *)words, SIZE};
            hashes[i] = hash_id(two[0], id);
            assert_int_not_equal(hashes[i], hash_id(two[1], id));
            for (uint64_t j = 0; j < i; j++) {
                assert_int_not_equal(hashes[i], hashes[j]);
            }
        }
    }
    assert_int_not_equal(hash_vector(two[0], vector), hash_vector(two[1], vector));
    assert_int_equal(slot_level(two[0], (vd_id){"x", 1}), slot_level(two[1], (vd_id){"x", 1}));
    vd_hnsw_free(two[0]);
    vd_hnsw_free(two[1]);
}

/* ---- forms ---- */

/* What a machine with hundreds of gigabytes can hold; here it is address space alone. */
static void a_form_for_all_slots(void **state) {
    (void)state;
    const struct { uint32_t dimension, slots; } sizes[] = {{384, 40000000}, {1536, 12000000}, {16, 400000000}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = sizes[i].dimension});
        const uint32_t limit = index->slot_limit;
        for (vd_encoding e = VD_ENCODING_SQ8; e <= VD_ENCODING_F16; e++) {
            index->slot_limit = sizes[i].slots;
            form *f = form_new(index, e, sizes[i].slots);
            if (!f) {
                fail_msg("%u slots, dimension %u, %s: no form", sizes[i].slots, sizes[i].dimension,
                         vd_encoding_name(e));
            }
            form_free(index, f);
            index->slot_limit = limit;
        }
        vd_hnsw_free(index);
    }
}

/* The longest lists there are, where blocks are large; given back and taken again. */
static void exceptions_in_large_blocks(void **state) {
    (void)state;
    enum { D = 100, SLOTS = 600 };
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = D, .metric = VD_METRIC_EUCLIDEAN});
    const uint32_t limit = index->slot_limit;
    for (vd_encoding e = VD_ENCODING_SQ8; e <= VD_ENCODING_F16; e++) {
        index->slot_limit = 500000000;
        form *f = form_new(index, e, SLOTS);
        assert_non_null(f);
        assert_true(f->exceptions.stride > 4);
        for (uint32_t round = 0; round < 2; round++) {
            for (uint32_t slot = 0; slot < SLOTS; slot++) {
                float vector[D], back[D];
                for (uint32_t i = 0; i < D; i++) { /* all but one far below half a step */
                    vector[i] = i == slot % D ? 1000.0f : 1e-7f * (float)(i + slot + round);
                }
                form_write(index, f, slot, vector);
                form_read(index, f, slot, back);
                assert_memory_equal(vector, back, sizeof vector);
            }
            assert_true(f->exceptions_used <= 1 + SLOTS * f->exceptions_most);
            for (uint32_t slot = 0; slot < SLOTS; slot++) {
                form_release(f, slot);
            }
        }
        form_free(index, f);
        index->slot_limit = limit;
    }
    vd_hnsw_free(index);
}

/* Without memory for another form an index stays as it is, and is not looked at again with every add. */
static void a_failed_conversion_is_not_tried_at_once(void **state) {
    (void)state;
    enum { COUNT = ENCODING_CHECK_ITEMS + 40, D = 8 };
    fault_allocator a;
    fault_allocator_init(&a);
    float *vectors = calloc(COUNT * D, sizeof *vectors);
    assert_non_null(vectors);
    rng r = {23};
    data_fill(&r, SHAPE_CLUSTERED, vectors, COUNT, D);
    vd_hnsw *index = help_new(&(vd_hnsw_options){.dimension = D, .m = 4, .ef_construction = 16, .allocator = &a.face});
    numbered n = number_items(vectors, COUNT, D);
    OK(vd_hnsw_add(index, n.items, ENCODING_CHECK_ITEMS - 1, NULL, err));
    OK(vd_hnsw_reserve(index, COUNT, COUNT * sizeof(uint32_t), err));
    atomic_store(&a.budget, 0);
    for (uint32_t i = ENCODING_CHECK_ITEMS - 1; i < COUNT; i++) {
        OK(vd_hnsw_add(index, n.items + i, 1, NULL, err));
    }
    assert_int_equal(atomic_load(&a.failed), 1);
    atomic_store(&a.budget, -1);
    vd_hnsw_free(index);
    numbered_free(&n);
    free(vectors);
    assert_int_equal(atomic_load(&a.blocks), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deleting_a_copy_takes_a_step), cmocka_unit_test(heirs_get_links),
        cmocka_unit_test(the_tree_takes_few_steps),     cmocka_unit_test(levels_are_what_ids_say),
        cmocka_unit_test(hashes_cannot_be_chosen),      cmocka_unit_test(a_form_for_all_slots),
        cmocka_unit_test(exceptions_in_large_blocks),   cmocka_unit_test(a_failed_conversion_is_not_tried_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
