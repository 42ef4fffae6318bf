/*
 * fault_test.c - a disk that fails: at each I/O call of a life in turn, once or for good, and a disk that comes back.
 *
 * The promises: what was acknowledged is there afterwards, whole; what was refused is not there in the running process, and
 * not after a clean stop or a later write either; every refusal has a status and a text that say what happened.
 */
#include <errno.h>

#include "unit/registry/fixture.h"

/* ---- a life in steps, each acknowledged or refused ---- */

typedef struct life {
    model *acked; /* what must be there */
    model *next;  /* acked, and the write in progress */
    model
        *refused;  /* acked, and the first write refused since the last acknowledged one: a crash may bring it back, for
                     * nothing that came later reached the disk */
    bool in_doubt; /* `refused` counts */
    bool created;
    bool created_unknown; /* refused, but may have reached the disk */
    uint32_t refusals;
} life;

static void check_refusal(vd_status status, const vd_error *err, int error) {
    bool right = error == ENOSPC ? status == VD_DISK_FULL || status == VD_UNAVAILABLE : status == VD_UNAVAILABLE;
    if (!right || err->text[0] == '\0') {
        fail_msg("refused with %s: \"%s\"", vd_status_name(status), err->text);
    }
}

static void settle_step(life *l, vd_status status, const vd_error *err, int error) {
    if (status == VD_OK) {
        *l->acked = *l->next;
        l->in_doubt = false;
        return;
    }
    check_refusal(status, err, error);
    l->refusals++;
    if (!l->in_doubt) {
        *l->refused = *l->next;
        l->in_doubt = true;
    }
}

static bool step_add(fixture *f, life *l, uint32_t step, int error) {
    vd_index *index;
    if (registry_acquire(f->r, bytes_str("t"), &index, NULL) != VD_OK) {
        return false;
    }
    /* two items in one batch: half of it must never be seen */
    float v[2][DIM];
    char ids[2][16];
    index_item items[2];
    *l->next = *l->acked;
    for (uint32_t i = 0; i < 2; i++) {
        test_vector(step * 10 + i, v[i]);
        snprintf(ids[i], sizeof ids[i], "s%u-%u", step, i);
        items[i] = (index_item){
            .id = bytes_str(ids[i]), .vector = v[i], .vector_count = DIM, .metadata = bytes_str("{\"k\":1}")};
        model_put(l->next, ids[i], step * 10 + i, "{\"k\":1}");
    }
    index_write_result result;
    vd_error err = {0};
    vd_status status = index_add(index, items, 2, NULL, &result, &err);
    settle_step(l, status, &err, error);
    check_model(index, l->acked); /* in the running process there is no doubt */
    index_release(index);
    return status == VD_OK;
}

static void step_delete(fixture *f, life *l, int error) {
    vd_index *index;
    if (l->acked->count == 0 || registry_acquire(f->r, bytes_str("t"), &index, NULL) != VD_OK) {
        return;
    }
    char id[64];
    snprintf(id, sizeof id, "%s", l->acked->items[0].id);
    *l->next = *l->acked;
    model_remove(l->next, id);
    bytes gone = bytes_str(id);
    uint64_t deleted;
    vd_error err = {0};
    vd_status status = delete_some(index, &gone, 1, NULL, &deleted, &err);
    settle_step(l, status, &err, error);
    check_model(index, l->acked);
    index_release(index);
}

static void step_save(fixture *f, life *l) {
    vd_index *index;
    if (registry_acquire(f->r, bytes_str("t"), &index, NULL) == VD_OK) {
        vd_error err = {0};
        if (index_save(index, &err) != VD_OK) {
            assert_true(err.text[0]);
        }
        check_model(index, l->acked);
        index_release(index);
    }
}

static void step_create(fixture *f, life *l, int error) {
    index_params p = {.name = bytes_str("t"),
                      .dimension = DIM,
                      .m = 16,
                      .ef_search = 20,
                      .ef_construction = 200,
                      .metric = VD_METRIC_COSINE};
    vd_error err = {0};
    vd_status status = registry_create(f->r, &p, (bytes){NULL, 0}, NULL, &err);
    if (status == VD_OK) {
        l->created = true;
        return;
    }
    check_refusal(status, &err, error);
    l->created_unknown = true;
    l->refusals++;
}

static void live(fixture *f, life *l, int error) {
    step_create(f, l, error);
    step_add(f, l, 1, error);
    step_add(f, l, 2, error);
    step_delete(f, l, error);
    step_save(f, l);
    step_add(f, l, 3, error);
    step_save(f, l);
    step_add(f, l, 4, error);
}

static bool same_model(vd_index *index, const model *m) {
    if (vd_hnsw_count(index->engine) != m->count) {
        return false;
    }
    bool same = true;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index->engine, &guard);
    for (size_t i = 0; i < m->count && same; i++) {
        vd_id id = {m->items[i].id, (uint32_t)strlen(m->items[i].id)};
        same = vd_hnsw_get(index->engine, id, NULL, NULL) == VD_OK;
    }
    vd_hnsw_leave(index->engine, &guard);
    return same;
}

static void check_life(fixture *f, const life *l, bool crashed, int call) {
    vd_index *index = NULL;
    vd_status status = registry_acquire(f->r, bytes_str("t"), &index, NULL);
    if (!l->created) {
        if (status == VD_OK) {
            if (!crashed) {
                fail_msg("call %d: a refused create is there after a clean stop", call);
            }
            index_release(index);
        }
        return;
    }
    if (status != VD_OK) {
        fail_msg("call %d: the index is gone", call);
    }
    vd_error err = {0};
    if (index_check_ready(index, &err) != VD_OK) {
        fail_msg("call %d: %s", call, err.text);
    }
    const model *m = crashed && l->in_doubt && same_model(index, l->refused) ? l->refused : l->acked;
    check_model(index, m);
    index_release(index);
}

static void life_init(life *l) {
    *l = (life){
        .acked = calloc(1, sizeof(model)), .next = calloc(1, sizeof(model)), .refused = calloc(1, sizeof(model))};
    assert_true(l->acked && l->next && l->refused);
}

static void life_fini(life *l) {
    free(l->acked);
    free(l->next);
    free(l->refused);
}

static void empty_store(fixture *f) {
    check_remove_folder(f->path);
    fixture_open(f);
}

/* Call after call fails, once: the next ones work again. */
static void fail_once(fixture *f, int error, bool crash) {
    bool reached = true;
    for (int call = 1; reached; call++) {
        life l;
        life_init(&l);
        fault_io_arm(&f->io, call, error, false);
        live(f, &l, error);
        reached = f->io.failed > 0;
        /* with the disk well again everything goes on */
        fault_io_arm(&f->io, 0, 0, false);
        if (!l.created) {
            step_create(f, &l, error);
            assert_true(l.created);
        }
        if (!crash || call % 2) {
            assert_true(step_add(f, &l, 9, error)); /* leaves no doubt about an earlier one */
        }
        if (crash) {
            fixture_crash(f);
        } else {
            fixture_close(f);
            fixture_open(f);
        }
        check_life(f, &l, crash, call);
        registry_summary summary;
        registry_get_summary(f->r, &summary);
        assert_int_equal(summary.quarantined, 0);
        life_fini(&l);
        fixture_close(f);
        empty_store(f);
    }
}

static void fail_once_then_stop(void **state) {
    fail_once(*state, EIO, false);
}

static void fail_once_then_crash(void **state) {
    fail_once(*state, EIO, true);
}

static void full_once_then_stop(void **state) {
    fail_once(*state, ENOSPC, false);
}

/* From some call on nothing works any more, until another process starts. */
static void dies_for_good(void **state) {
    fixture *f = *state;
    bool reached = true;
    for (int call = 1; reached; call++) {
        life l;
        life_init(&l);
        fault_io_arm(&f->io, call, EIO, true);
        live(f, &l, EIO);
        reached = f->io.failed > 0;
        fixture_close(f);
        fault_io_arm(&f->io, 0, 0, false);
        fixture_open(f);
        /* at most one write was on its way when the disk died; those after it did not reach it at all */
        check_life(f, &l, true, call);
        life_fini(&l);
        fixture_close(f);
        empty_store(f);
    }
}

/* Opening meets a failing call: either it says so, or the index is there whole, or it is set apart - never half. */
static void open_fails(void **state) {
    fixture *f = *state;
    life l;
    life_init(&l);
    live(f, &l, 0);
    assert_int_equal(l.refusals, 0);
    fixture_crash_closed(f);
    bool reached = true;
    for (int call = 1; reached; call++) {
        fault_io_arm(&f->io, call, EIO, false);
        vd_error err = {0};
        vd_status status = fixture_try_open(f, &err);
        if (status == VD_OK) {
            assert_true(registry_wait_loaded(f->r, 60000));
            reached = f->io.failed > 0;
            vd_index *index = get_index(f, "t");
            if (index_check_ready(index, &err) == VD_OK) {
                check_model(index, l.acked);
            } else {
                assert_non_null(strstr(err.text, "quarantined"));
            }
            index_release(index);
            fault_io_arm(&f->io, 1, EIO, true); /* leave the disk as it is */
            fixture_close(f);
        } else {
            assert_true(err.text[0]);
        }
        fault_io_arm(&f->io, 0, 0, false);
        fixture_open(f); /* nothing was made worse */
        check_life(f, &l, false, call);
        fixture_crash_closed(f);
    }
    fixture_open(f);
    life_fini(&l);
}

/* ---- particular failures ---- */

/* The refused record has reached the disk whole (only the sync failed, and cutting it off again failed too): the next
 * segment disowns it. */
static int refuse_sync(void *context, int fd) {
    (void)context;
    (void)fd;
    return EIO;
}
static int refuse_truncate(void *context, int fd, uint64_t size) {
    (void)context;
    (void)fd;
    (void)size;
    return EIO;
}

static void refused_records_are_void(void **state) {
    fixture *f = *state;
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    put_one(index, m, "a", 1, NULL);
    const io_table well = f->io.table;
    for (uint32_t round = 0; round < 3; round++) {
        f->io.table.data_sync = refuse_sync;
        f->io.table.truncate = refuse_truncate;
        vd_error err = {0};
        FAILS(add_one(index, "refused", 2, NULL, "r", NULL, &err), VD_UNAVAILABLE);
        assert_memory_equal(err.text, "not stored: ", 12);
        assert_true(err.retry_after_s > 0);
        FAILS(add_one(index, "a", 3, "{\"refused\":1}", NULL, NULL, NULL), VD_UNAVAILABLE);
        check_model(index, m);
        f->io.table = well;
        char id[16];
        snprintf(id, sizeof id, "after%u", round);
        put_one(index, m, id, 10 + round, NULL);
        index_release(index);
        fixture_crash(f);
        index = get_index(f, "t");
        check_model(index, m);
    }
    /* its request id was not remembered either */
    OK(add_one(index, "refused", 5, NULL, "r", NULL, NULL));
    model_put(m, "refused", 5, NULL);
    check_model(index, m);
    /* a save voids as well */
    f->io.table.data_sync = refuse_sync;
    f->io.table.truncate = refuse_truncate;
    FAILS(add_one(index, "again", 2, NULL, NULL, NULL, NULL), VD_UNAVAILABLE);
    f->io.table = well;
    OK(index_save(index, NULL));
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 1); /* of "r", which is remembered */
    put_one(index, m, "last", 77, NULL);
    index_release(index);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

/* A delete that finds nothing, because the add before it was refused, is an answer too: a crash must not bring back what the
 * client was told is not there. */
static void nothing_deleted_is_durable(void **state) {
    fixture *f = *state;
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    put_one(index, m, "a", 1, NULL);
    const io_table well = f->io.table;
    f->io.table.data_sync = refuse_sync;
    f->io.table.truncate = refuse_truncate;
    FAILS(add_one(index, "b", 2, NULL, NULL, NULL, NULL), VD_UNAVAILABLE);
    f->io.table = well;
    bytes b = bytes_str("b");
    uint64_t deleted = 1;
    OK(delete_some(index, &b, 1, NULL, &deleted, NULL));
    assert_int_equal(deleted, 0);
    index_release(index);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

static int refuse_unlink(void *context, const char *path) {
    (void)context;
    (void)path;
    return EIO;
}

/* The refused record is on the disk whole, in a segment that a frame has made superfluous and that could not be removed: nothing
 * says any more that it was refused, so its request id must not be taken for an answered one. */
static void refused_requests_are_not_remembered(void **state) {
    fixture *f = *state;
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    put_one(index, m, "a", 1, NULL);
    const io_table well = f->io.table;
    f->io.table.data_sync = refuse_sync;
    f->io.table.truncate = refuse_truncate;
    FAILS(add_one(index, "b", 2, NULL, "r", NULL, NULL), VD_UNAVAILABLE);
    f->io.table = well;
    f->io.table.unlink = refuse_unlink;
    OK(index_save(index, NULL));
    f->io.table = well;
    index_release(index);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 1);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    OK(add_one(index, "b", 2, NULL, "r", NULL, NULL)); /* sent again, and answered with success */
    model_put(m, "b", 2, NULL);
    check_model(index, m);
    index_release(index);
    free(m);
}

static int refuse_write(void *context, int fd, const void *data, size_t size, uint64_t offset, size_t *done) {
    (void)context;
    (void)fd;
    (void)data;
    (void)size;
    (void)offset;
    (void)done;
    return ENOSPC;
}

/* Files can still be made on a full disk: clients that try again and again must not fill it with empty ones. */
static void refused_writes_leave_no_files(void **state) {
    fixture *f = *state;
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    put_one(index, m, "a", 1, NULL);
    const io_table well = f->io.table;
    f->io.table.write = refuse_write;
    for (int i = 0; i < 20; i++) {
        FAILS(add_one(index, "b", 2, NULL, NULL, NULL, NULL), VD_DISK_FULL);
    }
    f->io.table = well;
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 1);
    assert_int_equal(index->segment_count, 1);
    put_one(index, m, "c", 3, NULL);
    index_release(index);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

static void full_disk_recovers(void **state) {
    fixture *f = *state;
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    put_one(index, m, "a", 1, "{\"x\":1}");
    fault_io_arm(&f->io, 1, ENOSPC, true);
    vd_error err = {0};
    FAILS(add_one(index, "b", 2, NULL, NULL, NULL, &err), VD_DISK_FULL);
    assert_non_null(strstr(err.text, "disk is full"));
    assert_int_equal(vd_status_http(VD_DISK_FULL), 507);
    FAILS(index_save(index, &err), VD_DISK_FULL);
    index_params p = {.name = bytes_str("u"),
                      .dimension = DIM,
                      .m = 16,
                      .ef_search = 20,
                      .ef_construction = 200,
                      .metric = VD_METRIC_COSINE};
    FAILS(registry_create(f->r, &p, (bytes){NULL, 0}, NULL, &err), VD_DISK_FULL);
    check_model(index, m); /* searches go on */
    fault_io_arm(&f->io, 0, 0, false);
    put_one(index, m, "b", 2, NULL); /* and writes by themselves */
    OK(registry_create(f->r, &p, (bytes){NULL, 0}, NULL, NULL));
    index_release(index);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

/* A delete that the disk refuses leaves an index that lives, keeps its writes and can be deleted later. */
static void refused_delete(void **state) {
    fixture *f = *state;
    bool refused = true;
    for (int call = 1; refused; call++) {
        model *m = calloc(1, sizeof *m);
        assert_non_null(m);
        make_index(f, "t", VD_METRIC_COSINE);
        vd_index *index = get_index(f, "t");
        put_one(index, m, "a", 1, NULL);
        index_release(index);
        fault_io_arm(&f->io, call, EIO, true);
        vd_error err = {0};
        vd_status status = registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, &err);
        refused = status != VD_OK;
        fault_io_arm(&f->io, 0, 0, false);
        if (refused) {
            assert_int_equal(status, VD_UNAVAILABLE);
            index = get_index(f, "t");
            check_model(index, m);
            put_one(index, m, "b", 2, NULL);
            index_release(index);
            fixture_crash(f);
            index = get_index(f, "t");
            check_model(index, m);
            index_release(index);
            OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL));
            assert_int_equal(count_files(f, "_vectors/*.lhv1"), 0);
        } else {
            vd_index *none;
            FAILS(registry_acquire(f->r, bytes_str("t"), &none, NULL), VD_NOT_FOUND);
            fixture_crash(f);
            FAILS(registry_acquire(f->r, bytes_str("t"), &none, NULL), VD_NOT_FOUND);
        }
        free(m);
    }
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(fail_once_then_stop),
        T(fail_once_then_crash),
        T(full_once_then_stop),
        T(dies_for_good),
        T(open_fails),
        T(refused_records_are_void),
        T(refused_requests_are_not_remembered),
        T(nothing_deleted_is_durable),
        T(refused_writes_leave_no_files),
        T(full_disk_recovers),
        T(refused_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
