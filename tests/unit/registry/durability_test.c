/*
 * durability_test.c - what a write is told about how long it will live is true: levels, receipts, a store that goes away and comes
 * back, answers that are lost, a backlog that is full, and writers that insist among writers that do not.
 */
#include <errno.h>
#include <pthread.h>

#include "unit/registry/fixture.h"
#include "unit/registry/remote_store.h"

/* ---- a registry on a network store ---- */

typedef struct net {
    fixture *f;
    remote_control control;
} net;

static void net_open(net *n) {
    registry_options options = n->f->options;
    options.executor = executor_pool_get(n->f->pool);
    objstore *inner;
    OK(objstore_open_dir(n->f->path, &n->f->io.table, &inner, NULL));
    options.store = remote_store_new(inner, &n->control);
    OK(registry_open(&options, &n->f->r, NULL));
    assert_true(registry_wait_loaded(n->f->r, 60000));
}

static void net_start(net *n, fixture *f) {
    *n = (net){.f = f};
    fixture_close(f);
    net_open(n);
}

/* The process dies: nothing reaches the store any more. */
static void net_crash(net *n) {
    atomic_store(&n->control.away, true);
    fixture_close(n->f);
    atomic_store(&n->control.away, false);
    net_open(n);
}

/* The test is over: the store's control is on its stack. */
static void net_end(net *n) {
    fixture_close(n->f);
}

static vd_status add_at(vd_index *index, const char *id, uint32_t vector, index_durability wanted,
                        index_durability least, index_receipt *receipt, vd_error *err) {
    float values[DIM];
    test_vector(vector, values);
    index_item item = {.id = bytes_str(id), .vector = values, .vector_count = DIM};
    index_write how = {.durability = wanted, .min_durability = least};
    index_write_result result = {0};
    vd_status status = index_add(index, &item, 1, &how, &result, err);
    if (receipt) {
        *receipt = result.receipt;
    }
    return status;
}

static model *new_model(void) {
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    return m;
}

/* ---- a folder ---- */

static void levels_in_a_folder(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    index_receipt receipt, second;
    vd_error err = {0};
    OK(add_at(index, "a", 1, DURABILITY_DEFAULT, DURABILITY_DEFAULT, &receipt, NULL));
    assert_int_equal(receipt.durability, DURABILITY_LOCAL);
    assert_int_equal(receipt.sequence, 1);
    OK(add_at(index, "b", 2, DURABILITY_STORE, DURABILITY_LOCAL, &receipt,
              NULL)); /* more than there is: all there is */
    assert_int_equal(receipt.durability, DURABILITY_LOCAL);
    FAILS(add_at(index, "c", 3, DURABILITY_DEFAULT, DURABILITY_STORE, &second, &err), VD_FAILED_PRECONDITION);
    assert_string_equal(err.field, "min_durability");
    assert_string_equal(err.text, "min_durability: \"store\" is more than this server has (\"local\")");
    OK(add_at(index, "kept", 4, DURABILITY_MEMORY, DURABILITY_DEFAULT, &second, NULL));
    assert_int_equal(second.durability, DURABILITY_MEMORY);
    index_info info;
    index_get_info(index, &info);
    assert_int_equal(info.sequence, 3);
    assert_int_equal(info.durable_sequence, 2);
    assert_true(info.backlog_bytes > 0);
    OK(index_check_at_least(index, &second, NULL)); /* seen at once */
    second.sequence++;
    FAILS(index_check_at_least(index, &second, &err), VD_UNAVAILABLE);
    second.epoch[0] ^= 1;
    FAILS(index_check_at_least(index, &second, &err), VD_FAILED_PRECONDITION);
    OK(index_flush(index, NULL));
    index_get_info(index, &info);
    assert_int_equal(info.durable_sequence, 3);
    assert_int_equal(info.backlog_bytes, 0);
    OK(add_at(index, "lost", 5, DURABILITY_MEMORY, DURABILITY_DEFAULT, NULL, NULL));
    index_release(index);
    model_put(m, "a", 1, NULL);
    model_put(m, "b", 2, NULL);
    model_put(m, "kept", 4, NULL);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    OK(index_check_at_least(index, &receipt, NULL));
    receipt.sequence = 4; /* what "lost" was given */
    FAILS(index_check_at_least(index, &receipt, NULL), VD_UNAVAILABLE);
    /* what waits goes with the next write that is to last, and with an orderly stop */
    OK(add_at(index, "c", 6, DURABILITY_MEMORY, DURABILITY_DEFAULT, NULL, NULL));
    OK(add_at(index, "d", 7, DURABILITY_LOCAL, DURABILITY_DEFAULT, NULL, NULL));
    model_put(m, "c", 6, NULL);
    model_put(m, "d", 7, NULL);
    index_release(index);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    OK(add_at(index, "e", 8, DURABILITY_MEMORY, DURABILITY_DEFAULT, NULL, NULL));
    model_put(m, "e", 8, NULL);
    index_release(index);
    fixture_close(f);
    fixture_open(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

static int refuse_sync(void *context, int fd) {
    (void)context;
    (void)fd;
    return EIO;
}

static int refuse_unlink(void *context, const char *path) {
    (void)context;
    (void)path;
    return EIO;
}

static int refuse_truncate(void *context, int fd, uint64_t size) {
    (void)context;
    (void)fd;
    (void)size;
    return EIO;
}

/* What waits could not be synced, and its file neither cut nor removed: it goes into another one, and what is written next stands behind
 * it all the same. */
static void backlog_behind_a_stuck_file(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    OK(add_at(index, "first", 1, DURABILITY_LOCAL, DURABILITY_DEFAULT, NULL, NULL));
    OK(index_save(index, NULL)); /* no segment is open */
    OK(add_at(index, "waits", 2, DURABILITY_MEMORY, DURABILITY_DEFAULT, NULL, NULL));
    const io_table well = f->io.table;
    f->io.table.data_sync = refuse_sync;
    f->io.table.truncate = refuse_truncate;
    f->io.table.unlink = refuse_unlink;
    FAILS(index_flush(index, NULL), VD_UNAVAILABLE);
    f->io.table = well;
    OK(add_at(index, "next", 3, DURABILITY_LOCAL, DURABILITY_LOCAL, NULL, NULL));
    OK(add_at(index, "last", 4, DURABILITY_LOCAL, DURABILITY_LOCAL, NULL, NULL));
    model_put(m, "first", 1, NULL);
    model_put(m, "waits", 2, NULL);
    model_put(m, "next", 3, NULL);
    model_put(m, "last", 4, NULL);
    check_model(index, m);
    index_release(index);
    fixture_crash(f);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    free(m);
}

/* ---- a store that goes away ---- */

static void outage(void **state) {
    net n;
    net_start(&n, *state);
    model *m = new_model();
    make_index(n.f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(n.f, "t");
    index_receipt receipt;
    vd_error err = {0};
    OK(add_at(index, "before", 1, DURABILITY_DEFAULT, DURABILITY_STORE, &receipt, NULL));
    assert_int_equal(receipt.durability, DURABILITY_STORE);
    model_put(m, "before", 1, NULL);
    atomic_store(&n.control.away, true);
    for (uint32_t i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "away%u", i);
        if (i % 4 == 1) {
            FAILS(add_at(index, id, i, DURABILITY_DEFAULT, DURABILITY_STORE, NULL, &err), VD_UNAVAILABLE);
            assert_memory_equal(err.text, "not stored: ", 12);
            assert_true(err.retry_after_s > 0);
        } else {
            OK(add_at(index, id, i, DURABILITY_DEFAULT, DURABILITY_DEFAULT, &receipt, NULL));
            assert_int_equal(receipt.durability, DURABILITY_MEMORY);
            model_put(m, id, i, NULL);
        }
        check_model(index, m);
    }
    registry_summary summary;
    registry_get_summary(n.f->r, &summary);
    assert_true(summary.store_away);
    assert_true(summary.backlog_bytes > 0);
    FAILS(index_flush(index, &err), VD_UNAVAILABLE);
    atomic_store(&n.control.away, false);
    uint32_t flushed;
    OK(registry_flush(n.f->r, &flushed, NULL));
    assert_int_equal(flushed, 1);
    registry_get_summary(n.f->r, &summary);
    assert_false(summary.store_away);
    assert_int_equal(summary.backlog_bytes, 0);
    OK(add_at(index, "after", 77, DURABILITY_DEFAULT, DURABILITY_STORE, &receipt, NULL));
    model_put(m, "after", 77, NULL);
    index_release(index);
    net_crash(&n);
    index = get_index(n.f, "t");
    check_model(index, m);
    OK(index_check_at_least(index, &receipt, NULL));
    index_release(index);
    net_end(&n);
    free(m);
}

/* Puts that were done and whose answer was lost: tried again they are a success, and nothing is there twice or too much. */
static void lost_answers(void **state) {
    net n;
    net_start(&n, *state);
    model *m = new_model();
    make_index(n.f, "t", VD_METRIC_COSINE);
    for (int round = 0; round < 4; round++) {
        vd_index *index = get_index(n.f, "t");
        char id[16];
        vd_error err = {0};
        atomic_store(&n.control.lost_answers, 1 + round);
        snprintf(id, sizeof id, "insists%d", round);
        FAILS(add_at(index, id, 5, DURABILITY_DEFAULT, DURABILITY_STORE, NULL, &err), VD_UNAVAILABLE);
        check_model(index, m); /* although the store has it */
        snprintf(id, sizeof id, "kept%d", round);
        index_receipt receipt;
        OK(add_at(index, id, 10 + (uint32_t)round, DURABILITY_DEFAULT, DURABILITY_DEFAULT, &receipt, NULL));
        assert_int_equal(receipt.durability, DURABILITY_MEMORY);
        model_put(m, id, 10 + (uint32_t)round, NULL);
        for (int i = 0; i < round; i++) {
            FAILS(index_flush(index, NULL), VD_UNAVAILABLE);
        }
        OK(index_flush(index, NULL));
        check_model(index, m);
        index_release(index);
        net_crash(&n);
        index = get_index(n.f, "t");
        check_model(index, m);
        index_release(index);
    }
    net_end(&n);
    free(m);
}

static void backlog_is_bounded(void **state) {
    fixture *f = *state;
    f->options.backlog_max_bytes = 2000;
    net n;
    net_start(&n, f);
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    atomic_store(&n.control.away, true);
    vd_error err = {0};
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%u", i);
        vd_status status = add_at(index, id, i, DURABILITY_DEFAULT, DURABILITY_DEFAULT, NULL, &err);
        if (status == VD_OK) {
            model_put(m, id, i, NULL);
            accepted++;
        } else {
            assert_int_equal(status, VD_UNAVAILABLE);
            assert_non_null(strstr(err.text, "wait for the store already"));
        }
        assert_true(atomic_load(&f->r->backlog_bytes) <= 2000);
    }
    printf("%u of 100 writes accepted within 2,000 bytes\n", accepted);
    assert_true(accepted > 2 && accepted < 100);
    check_model(index, m);
    atomic_store(&n.control.away, false);
    OK(index_flush(index, NULL));
    OK(add_at(index, "again", 200, DURABILITY_DEFAULT, DURABILITY_STORE, NULL, NULL));
    model_put(m, "again", 200, NULL);
    index_release(index);
    net_crash(&n);
    index = get_index(f, "t");
    check_model(index, m);
    index_release(index);
    net_end(&n);
    free(m);
}

/* ---- a store that is away at the start ---- */

static void away_at_the_start(void **state) {
    net n;
    net_start(&n, *state);
    model *m = new_model();
    make_index(n.f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(n.f, "t");
    put_one(index, m, "a", 1, NULL);
    index_release(index);
    fixture_close(n.f);
    atomic_store(&n.control.away, true);
    registry_options options = n.f->options;
    options.executor = executor_pool_get(n.f->pool);
    objstore *inner;
    OK(objstore_open_dir(n.f->path, &n.f->io.table, &inner, NULL));
    options.store = remote_store_new(inner, &n.control);
    OK(registry_open(&options, &n.f->r, NULL)); /* starts all the same */
    vd_error err = {0};
    FAILS(registry_acquire(n.f->r, bytes_str("t"), &index, &err), VD_UNAVAILABLE);
    assert_string_equal(err.text, "the store has not been listed yet: connection refused");
    assert_true(err.retry_after_s > 0);
    index_params p = {
        .name = bytes_str("t"), .dimension = DIM, .m = 16, .ef_search = 20, .ef_construction = 200, .metric = 1};
    FAILS(registry_create(n.f->r, &p, (bytes){NULL, 0}, NULL, &err), VD_UNAVAILABLE); /* it may be taken */
    FAILS(registry_delete(n.f->r, p.name, (bytes){NULL, 0}, &err), VD_UNAVAILABLE);
    arena a;
    arena_init(&a, NULL, 0);
    bytes *names;
    size_t count;
    FAILS(registry_list(n.f->r, &a, &names, &count, &err), VD_UNAVAILABLE);
    registry_summary summary;
    registry_get_summary(n.f->r, &summary);
    assert_false(summary.ready);
    atomic_store(&n.control.away, false);
    assert_true(registry_wait_loaded(n.f->r, 60000)); /* by itself */
    OK(registry_list(n.f->r, &a, &names, &count, &err));
    assert_int_equal(count, 1);
    arena_fini(&a);
    FAILS(registry_create(n.f->r, &p, (bytes){NULL, 0}, NULL, &err), VD_ALREADY_EXISTS);
    index = get_index(n.f, "t");
    check_model(index, m);
    index_release(index);
    /* stopping does not wait for a store that stays away */
    fixture_close(n.f);
    atomic_store(&n.control.away, true);
    OK(objstore_open_dir(n.f->path, &n.f->io.table, &inner, NULL));
    options.store = remote_store_new(inner, &n.control);
    OK(registry_open(&options, &n.f->r, NULL));
    fixture_close(n.f);
    atomic_store(&n.control.away, false);
    net_open(&n);
    net_end(&n);
    free(m);
}

/* ---- many writers, some of whom insist ---- */

enum { WRITERS = 8, ROUNDS = 120 };

typedef struct writer {
    pthread_t thread;
    vd_index *index;
    uint32_t number;
    bool there[ROUNDS];
    uint32_t stored, kept, refused, wrong;
} writer;

static void *write_rounds(void *arg) {
    writer *w = arg;
    bool insists = w->number % 2;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        char id[32];
        snprintf(id, sizeof id, "w%u-%u", w->number, i);
        index_receipt receipt = {0};
        vd_status status = add_at(w->index, id, w->number * 1000 + i, DURABILITY_DEFAULT,
                                  insists ? DURABILITY_STORE : DURABILITY_DEFAULT, &receipt, NULL);
        w->there[i] = status == VD_OK;
        w->stored += status == VD_OK && receipt.durability == DURABILITY_STORE;
        w->kept += status == VD_OK && receipt.durability == DURABILITY_MEMORY;
        w->refused += status == VD_UNAVAILABLE;
        w->wrong += (status != VD_OK && status != VD_UNAVAILABLE) || (status != VD_OK && !insists) ||
                    (status == VD_OK && insists && receipt.durability != DURABILITY_STORE);
    }
    return NULL;
}

static _Atomic bool stop_flapping;
static void *flap(void *arg) {
    net *n = arg;
    vd_index *index = get_index(n->f, "t");
    for (uint32_t i = 0; !atomic_load(&stop_flapping); i++) {
        atomic_store(&n->control.away, i % 2 == 1);
        atomic_store(&n->control.lost_answers, i % 8 == 2);
        uint64_t seen = atomic_load(&index->sequence);
        (void)index_flush(index, NULL); /* ends the pause after a failure */
        (void)index_flush(index, NULL);
        while (!atomic_load(&stop_flapping) && atomic_load(&index->sequence) < seen + 8) {
            sched_yield(); /* some writes in each state */
        }
    }
    index_release(index);
    return NULL;
}

static void who_insists_and_who_does_not(void **state) {
    net n;
    net_start(&n, *state);
    make_index(n.f, "t", VD_METRIC_COSINE);
    writer *writers = calloc(WRITERS, sizeof *writers);
    assert_non_null(writers);
    pthread_t flapper;
    atomic_store(&stop_flapping, false);
    assert_int_equal(pthread_create(&flapper, NULL, flap, &n), 0);
    vd_index *index = get_index(n.f, "t");
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i].index = index;
        writers[i].number = i;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_rounds, &writers[i]), 0);
    }
    model *m = new_model();
    uint32_t stored = 0, kept = 0, refused = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_int_equal(writers[i].wrong, 0);
        stored += writers[i].stored;
        kept += writers[i].kept;
        refused += writers[i].refused;
        for (uint32_t j = 0; j < ROUNDS; j++) {
            char id[32];
            snprintf(id, sizeof id, "w%u-%u", i, j);
            if (writers[i].there[j]) {
                model_put(m, id, i * 1000 + j, NULL);
            }
        }
    }
    atomic_store(&stop_flapping, true);
    pthread_join(flapper, NULL);
    printf("%u writes stored, %u kept until the store was back, %u refused\n", stored, kept, refused);
    assert_true(stored > 0 && kept > 0 && refused > 0);
    check_model(index, m);
    atomic_store(&n.control.away, false);
    atomic_store(&n.control.lost_answers, 0);
    OK(index_flush(index, NULL));
    index_release(index);
    net_crash(&n);
    index = get_index(n.f, "t");
    check_model(index, m);
    index_release(index);
    net_end(&n);
    free(m);
    free(writers);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(levels_in_a_folder), T(backlog_behind_a_stuck_file),  T(outage), T(lost_answers), T(backlog_is_bounded),
        T(away_at_the_start),  T(who_insists_and_who_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
