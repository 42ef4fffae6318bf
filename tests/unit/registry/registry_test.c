/* registry_test.c - the life of indexes: create, find, list, delete, stop; names, ranges, request ids, many threads at once. */
#include <pthread.h>

#include "unit/registry/fixture.h"

static index_params params_of(const char *name) {
    return (index_params){.name = bytes_str(name),
                          .dimension = DIM,
                          .m = VD_M_DEFAULT,
                          .ef_search = VD_EF_SEARCH_DEFAULT,
                          .ef_construction = VD_EF_CONSTRUCTION_DEFAULT,
                          .metric = VD_METRIC_COSINE};
}

static void life(void **state) {
    fixture *f = *state;
    vd_index *index = NULL;
    vd_error err = {0};
    FAILS(registry_acquire(f->r, bytes_str("t"), &index, &err), VD_NOT_FOUND);
    assert_string_equal(err.text, "not found");
    make_index(f, "t", VD_METRIC_EUCLIDEAN);
    assert_int_equal(count_files(f, "_vectors/t.lhv1"), 1);
    index_params again = params_of("t");
    FAILS(registry_create(f->r, &again, (bytes){NULL, 0}, NULL, &err), VD_ALREADY_EXISTS);
    assert_string_equal(err.text, "index already exists");

    index = get_index(f, "t");
    index_info info;
    index_get_info(index, &info);
    assert_int_equal(info.state, INDEX_READY);
    assert_int_equal(info.length, 0);
    assert_int_equal(info.params.dimension, DIM);
    assert_int_equal(info.params.metric, VD_METRIC_EUCLIDEAN);
    assert_true(bytes_equal(info.params.name, bytes_str("t")));
    OK(add_one(index, "a", 1, NULL, NULL, NULL, NULL));
    index_get_info(index, &info);
    assert_int_equal(info.length, 1);
    assert_int_equal(info.sequence, 1);
    assert_true(info.journal_bytes > 0);
    index_release(index);

    OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, &err));
    FAILS(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, &err), VD_NOT_FOUND);
    assert_string_equal(err.text, "not found");
    assert_int_equal(count_files(f, "_vectors/*"), 0);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 0);
    make_index(f, "t", VD_METRIC_COSINE); /* free again */
    index = get_index(f, "t");
    assert_int_equal(vd_hnsw_count(index->engine), 0);
    index_release(index);
}

static void listing(void **state) {
    fixture *f = *state;
    static const char *const names[] = {"b", "a", "a/b c?d#e", ".hidden", "\xC3\xA9", "%2F", "a//b", "../up", "Z"};
    enum { COUNT = sizeof names / sizeof names[0] };
    for (size_t i = 0; i < COUNT; i++) {
        make_index(f, names[i], VD_METRIC_COSINE);
    }
    for (int round = 0; round < 2; round++) {
        arena a;
        arena_init(&a, NULL, 0);
        bytes *list;
        size_t count;
        OK(registry_list(f->r, &a, &list, &count, NULL));
        assert_int_equal(count, COUNT);
        for (size_t i = 1; i < count; i++) {
            assert_true(bytes_compare(list[i - 1], list[i]) < 0);
        }
        arena_fini(&a);
        for (size_t i = 0; i < COUNT; i++) {
            vd_index *index = get_index(f, names[i]);
            OK(index_check_ready(index, NULL));
            index_release(index);
        }
        registry_summary summary;
        registry_get_summary(f->r, &summary);
        assert_int_equal(summary.indexes, COUNT);
        assert_true(summary.ready && summary.durable && summary.quarantined == 0);
        fixture_close(f);
        fixture_open(f);
    }
}

static void ranges(void **state) {
    fixture *f = *state;
    static const struct {
        uint32_t dimension, m, ef_search, ef_construction, metric;
        const char *field, *text;
    } rows[] = {
        {0, 16, 20, 200, 1, "dimension", "dimension: must be 1..16384 (got 0)"},
        {16385, 16, 20, 200, 1, "dimension", "dimension: must be 1..16384 (got 16385)"},
        {4, 1, 20, 200, 1, "m", "m: must be 2..128 (got 1)"},
        {4, 129, 20, 200, 1, "m", "m: must be 2..128 (got 129)"},
        {4, 16, 4097, 200, 1, "ef_search", "ef_search: must be 1..4096 (got 4097)"},
        {4, 16, 20, 7, 1, "ef_construction", "ef_construction: must be 8..2000 (got 7)"},
        {4, 16, 20, 2001, 1, "ef_construction", "ef_construction: must be 8..2000 (got 2001)"},
        {4, 16, 20, 200, 0, "distance", "distance: must be \"cosine\" or \"euclidean\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        index_params p = {.name = bytes_str("t"),
                          .dimension = rows[i].dimension,
                          .m = rows[i].m,
                          .ef_search = rows[i].ef_search,
                          .ef_construction = rows[i].ef_construction,
                          .metric = (vd_metric)rows[i].metric};
        vd_error err = {0};
        FAILS(registry_create(f->r, &p, (bytes){NULL, 0}, NULL, &err), VD_INVALID_ARGUMENT);
        assert_string_equal(err.field, rows[i].field);
        assert_string_equal(err.text, rows[i].text);
    }
    index_params p = {
        .name = bytes_str("least"), .dimension = 1, .m = 2, .ef_search = 1, .ef_construction = 8, .metric = 1};
    OK(registry_create(f->r, &p, (bytes){NULL, 0}, NULL, NULL));
    index_params most = {.name = bytes_str("most"),
                         .dimension = 16384,
                         .m = 128,
                         .ef_search = 4096,
                         .ef_construction = 2000,
                         .metric = 2};
    OK(registry_create(f->r, &most, (bytes){NULL, 0}, NULL, NULL));
    assert_int_equal(count_files(f, "_vectors/t.lhv1"), 0);
    fixture_close(f);
    fixture_open(f);
    vd_index *index = get_index(f, "most");
    OK(index_check_ready(index, NULL));
    assert_int_equal(index_get_params(index)->m, 128);
    assert_int_equal(index_get_params(index)->ef_construction, 2000);
    index_release(index);
}

static void resent_requests(void **state) {
    fixture *f = *state;
    index_params p = params_of("t"), other = params_of("u");
    bytes first = bytes_str("req-1"), second = bytes_str("req-2");
    OK(registry_create(f->r, &p, first, NULL, NULL));
    OK(registry_create(f->r, &p, first, NULL, NULL));
    FAILS(registry_create(f->r, &p, second, NULL, NULL), VD_ALREADY_EXISTS);
    OK(registry_create(f->r, &other, first, NULL, NULL)); /* another name is another request */
    OK(registry_delete(f->r, p.name, second, NULL));
    OK(registry_delete(f->r, p.name, second, NULL));
    FAILS(registry_delete(f->r, p.name, bytes_str("req-3"), NULL), VD_NOT_FOUND);
    OK(registry_create(f->r, &p, first, NULL, NULL)); /* its first answer; nothing is made */
    vd_index *index;
    FAILS(registry_acquire(f->r, p.name, &index, NULL), VD_NOT_FOUND);
    char longest[VD_REQUEST_ID_MAX_BYTES + 1] = {0};
    FAILS(registry_create(f->r, &p, bytes_of(longest, sizeof longest), NULL, NULL), VD_INVALID_ARGUMENT);
}

static void ephemeral(void **state) {
    fixture *f = *state;
    registry *r;
    registry_options options = {.executor = executor_pool_get(f->pool)};
    OK(registry_open(&options, &r, NULL));
    assert_true(registry_wait_loaded(r, 0));
    index_params p = params_of("t");
    OK(registry_create(r, &p, (bytes){NULL, 0}, NULL, NULL));
    vd_index *index;
    OK(registry_acquire(r, p.name, &index, NULL));
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    put_one(index, m, "a", 1, "{\"x\":1}");
    put_one(index, m, "a", 2, NULL);
    put_one(index, m, "b", 3, NULL);
    check_model(index, m);
    index_write_result result;
    OK(add_one(index, "c", 4, NULL, "r", &result, NULL));
    OK(add_one(index, "c", 5, NULL, "r", &result, NULL));
    assert_int_equal(result.length, 3);
    model_put(m, "c", 4, NULL);
    check_model(index, m);
    registry_summary summary;
    registry_get_summary(r, &summary);
    assert_false(summary.durable);
    assert_int_equal(summary.items, 3);
    index_release(index);
    OK(registry_delete(r, p.name, (bytes){NULL, 0}, NULL));
    registry_close(r);
    free(m);
}

/* ---- threads ---- */

typedef struct changer {
    pthread_t thread;
    fixture *f;
    uint32_t created, deleted, other;
} changer;

static void *change(void *arg) {
    changer *c = arg;
    index_params p = params_of("contended");
    for (uint32_t i = 0; i < 12; i++) {
        vd_status status = registry_create(c->f->r, &p, (bytes){NULL, 0}, NULL, NULL);
        c->created += status == VD_OK;
        c->other += status != VD_OK && status != VD_ALREADY_EXISTS;
        vd_index *index;
        if (registry_acquire(c->f->r, p.name, &index, NULL) == VD_OK) {
            status = add_one(index, "x", i, NULL, NULL, NULL, NULL);
            c->other += status != VD_OK && status != VD_NOT_FOUND;
            float query[DIM];
            test_vector(i, query);
            index_search search = {.vector = query, .vector_count = DIM, .k = 3};
            arena a;
            arena_init(&a, NULL, 0);
            index_hit *hits;
            size_t count;
            c->other += index_query(index, &search, &a, &hits, &count, NULL, NULL) != VD_OK;
            arena_fini(&a);
            index_release(index);
        }
        status = registry_delete(c->f->r, p.name, (bytes){NULL, 0}, NULL);
        c->deleted += status == VD_OK;
        c->other += status != VD_OK && status != VD_NOT_FOUND;
    }
    return NULL;
}

static void one_name_many_threads(void **state) {
    fixture *f = *state;
    changer changers[6] = {0};
    for (size_t i = 0; i < 6; i++) {
        changers[i].f = f;
        assert_int_equal(pthread_create(&changers[i].thread, NULL, change, &changers[i]), 0);
    }
    uint32_t created = 0, deleted = 0, other = 0;
    for (size_t i = 0; i < 6; i++) {
        pthread_join(changers[i].thread, NULL);
        created += changers[i].created;
        deleted += changers[i].deleted;
        other += changers[i].other;
    }
    assert_int_equal(other, 0);
    assert_true(created >= 12);
    assert_int_equal(created, deleted);
    assert_int_equal(count_files(f, "_vectors/*.lhv1"), 0);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 0);
}

/* Writes, searches, saves and a delete at once: nothing but the two expected answers, and no file is left. */
typedef struct user {
    pthread_t thread;
    vd_index *index;
    uint32_t first, other;
} user;

static void *use(void *arg) {
    user *u = arg;
    for (uint32_t i = 0; i < 200; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%u", u->first + i % 50);
        vd_status status = add_one(u->index, id, i, "{\"n\":1}", NULL, NULL, NULL);
        u->other += status != VD_OK && status != VD_NOT_FOUND;
    }
    index_release(u->index); /* the delete waits for it */
    return NULL;
}

static void delete_under_load(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    user users[4] = {0};
    for (uint32_t i = 0; i < 4; i++) {
        users[i].index = get_index(f, "t");
        users[i].first = i * 100;
    }
    vd_index *index = get_index(f, "t");
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        OK(index_save(index, NULL));
    }
    while (atomic_load(&index->sequence) < 20) {
        OK(add_one(index, "main", 1, NULL, NULL, NULL, NULL));
    }
    index_release(index);
    OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL));
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(users[i].thread, NULL);
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(users[i].other, 0);
    }
    assert_int_equal(count_files(f, "_vectors/*.lhv1"), 0);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 0);
}

/* The linker sends the calls of index_check_ready here, so that an index can become ready at the worst moment. */
vd_status __real_index_check_ready(vd_index *index, vd_error *err);
vd_status __wrap_index_check_ready(vd_index *index, vd_error *err);
static vd_index *ready_at_next_look;
vd_status __wrap_index_check_ready(vd_index *index, vd_error *err) {
    if (index == ready_at_next_look) {
        ready_at_next_look = NULL;
        index_set_ready(index);
    }
    return __real_index_check_ready(index, err);
}

static void delete_while_loading(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    atomic_store(&index->state, INDEX_LOADING);
    FAILS(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL), VD_UNAVAILABLE);
    ready_at_next_look = index;
    index_release(index);
    OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL));
    FAILS(registry_acquire(f->r, bytes_str("t"), &index, NULL), VD_NOT_FOUND);
    assert_int_equal(count_files(f, "_vectors/*.lhv1"), 0);
}

static void stop_refuses_and_saves(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    OK(add_one(index, "a", 1, NULL, NULL, NULL, NULL));
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 1);
    fixture_close(f);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 0); /* in the frame now */
    vd_error err = {0};
    FAILS(add_one(index, "b", 1, NULL, NULL, NULL, &err), VD_UNAVAILABLE);
    assert_string_equal(err.text, "the server is stopping");
    index_release(index); /* the last one */
    fixture_open(f);
}

static void metrics_follow_indexes(void **state) {
    fixture *f = *state;
    metrics *m = metrics_new();
    assert_non_null(m);
    registry_register_metrics(f->r, m);
    make_index(f, "t\"x", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t\"x");
    OK(add_one(index, "a", 1, NULL, NULL, NULL, NULL));
    index_release(index);
    buffer out;
    buffer_init(&out, 0);
    metrics_print(m, &out);
    buffer_put_u8(&out, 0);
    assert_non_null(strstr((char *)out.data, "vectord_index_items{index=\"t\\\"x\"} 1"));
    assert_non_null(strstr((char *)out.data, "vectord_journal_syncs_total 1"));
    OK(registry_delete(f->r, bytes_str("t\"x"), (bytes){NULL, 0}, NULL));
    buffer_clear(&out);
    metrics_print(m, &out);
    buffer_put_u8(&out, 0);
    assert_null(strstr((char *)out.data, "index=\"t"));
    buffer_fini(&out);
    fixture_close(f);
    metrics_free(m);
    fixture_open(f);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(life),
        T(listing),
        T(ranges),
        T(resent_requests),
        T(ephemeral),
        T(one_name_many_threads),
        T(delete_under_load),
        T(delete_while_loading),
        T(stop_refuses_and_saves),
        T(metrics_follow_indexes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
