/*
 * memory_test.c - memory runs out at each allocation in turn (linked with --wrap=malloc and the like): nothing leaks or
 * crashes, what is refused has not happened, and what was acknowledged is there.
 */
#include "unit/registry/fixture.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

static _Atomic long countdown; /* 0: all is well; n: the n-th allocation from now on fails, once */
static _Atomic bool failed;

static bool fails_now(void) {
    if (atomic_load(&countdown) == 0 || atomic_fetch_sub(&countdown, 1) != 1) {
        return false;
    }
    atomic_store(&failed, true);
    return true;
}

void *__wrap_malloc(size_t size) {
    return fails_now() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    return fails_now() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *block, size_t size) {
    return fails_now() ? NULL : __real_realloc(block, size);
}

static void arm(long n) {
    atomic_store(&failed, false);
    atomic_store(&countdown, n);
}

/* true when the armed failure was met. */
static bool disarm(void) {
    atomic_store(&countdown, 0);
    return atomic_load(&failed);
}

static vd_status batch(vd_index *index, uint32_t from, uint32_t count, const char *request) {
    float v[64][DIM];
    char ids[64][16];
    index_item items[64];
    for (uint32_t i = 0; i < count; i++) {
        test_vector(from + i, v[i]);
        snprintf(ids[i], sizeof ids[i], "i%u", from + i);
        items[i] = (index_item){
            .id = bytes_str(ids[i]), .vector = v[i], .vector_count = DIM, .metadata = bytes_str("{\"k\":1}")};
    }
    index_write_result result;
    vd_error err = {0};
    vd_status status = index_add(index, items, count, REQUEST(request), &result, &err);
    if (status != VD_OK && (status != VD_OUT_OF_MEMORY || !err.text[0])) {
        fail_msg("refused with %s: %s", vd_status_name(status), err.text);
    }
    return status;
}

static void expect(model *m, uint32_t from, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%u", from + i);
        model_put(m, id, from + i, "{\"k\":1}");
    }
}

static void writes(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    uint32_t next = 0;
    bool met = true;
    for (long n = 1; met; n++) {
        char request[32];
        snprintf(request, sizeof request, "r%ld", n);
        arm(n);
        vd_status status = batch(index, next, 20, request);
        met = disarm();
        if (status != VD_OK) {
            check_model(index, m);               /* nothing has moved */
            OK(batch(index, next, 20, request)); /* the same request again, now for real */
        }
        expect(m, next, 20);
        check_model(index, m);
        next += 20;
    }
    met = true;
    for (long n = 1; met; n++) {
        char id[32];
        snprintf(id, sizeof id, "i%ld", n);
        bytes gone = bytes_str(id);
        arm(n);
        uint64_t deleted = 0;
        vd_status status = delete_some(index, &gone, 1, NULL, &deleted, NULL);
        met = disarm();
        if (status == VD_OK) {
            assert_int_equal(deleted, 1);
            model_remove(m, id);
        } else {
            assert_int_equal(status, VD_OUT_OF_MEMORY);
        }
        check_model(index, m);
    }
    met = true;
    for (long n = 1; met; n++) {
        arm(n);
        vd_status status = index_save(index, NULL);
        met = disarm();
        assert_true(met || status == VD_OK);
        check_model(index, m);
    }
    index_release(index);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

static void creates_and_searches(void **state) {
    fixture *f = *state;
    index_params p = {.name = bytes_str("u"),
                      .dimension = DIM,
                      .m = 16,
                      .ef_search = 20,
                      .ef_construction = 200,
                      .metric = VD_METRIC_EUCLIDEAN};
    bool met = true;
    for (long n = 1; met; n++) {
        arm(n);
        vd_status status = registry_create(f->r, &p, (bytes){NULL, 0}, NULL, NULL);
        met = disarm();
        if (status != VD_OK) {
            assert_int_equal(status, VD_OUT_OF_MEMORY);
            OK(registry_create(f->r, &p, (bytes){NULL, 0}, NULL, NULL));
        }
        OK(registry_delete(f->r, p.name, (bytes){NULL, 0}, NULL));
    }
    OK(registry_create(f->r, &p, (bytes){NULL, 0}, NULL, NULL));
    vd_index *index = get_index(f, "u");
    OK(batch(index, 0, 50, "r"));
    met = true;
    for (long n = 1; met; n++) {
        float query[DIM];
        test_vector(3, query);
        index_search search = {.vector = query, .vector_count = DIM, .k = 10};
        arena a;
        arena_init(&a, NULL, 0);
        index_hit *hits;
        size_t count = 0;
        arm(n);
        vd_status status = index_query(index, &search, &a, &hits, &count, NULL, NULL);
        met = disarm();
        assert_true(status == VD_OK || status == VD_OUT_OF_MEMORY);
        assert_true(status != VD_OK || count == 10);
        arena_fini(&a);
    }
    index_release(index);
}

/* Loading: whole, or set apart with the reason; the files are as they were. */
static void loads(void **state) {
    fixture *f = *state;
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    OK(batch(index, 0, 50, "a"));
    OK(index_save(index, NULL));
    OK(batch(index, 50, 50, "b"));
    expect(m, 0, 100);
    index_release(index);
    fixture_crash_closed(f);
    bool met = true;
    for (long n = 1; met; n++) {
        arm(n);
        vd_error err = {0};
        vd_status status = fixture_try_open(f, &err);
        if (status == VD_OK) {
            registry_wait_loaded(f->r, 60000);
        }
        met = disarm();
        if (status == VD_OK) {
            assert_true(registry_wait_loaded(f->r, 60000));
            index = get_index(f, "t");
            if (index_check_ready(index, NULL) == VD_OK) {
                check_model(index, m);
            }
            index_release(index);
            fixture_crash_closed(f);
        } else {
            assert_int_equal(status, VD_OUT_OF_MEMORY);
        }
    }
    fixture_open(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(writes), T(creates_and_searches), T(loads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
