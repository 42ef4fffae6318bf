/*
 * index_load_test.c - what comes back after a stop, a crash, damage, and from files that others wrote.
 *
 * A crash is the moment from which no I/O call does anything any more (fixture.h).
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "unit/registry/fixture.h"

static model *new_model(void) {
    model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    return m;
}

/* Adds, replaces and deletes from `from` on. */
static void churn(vd_index *index, model *m, uint32_t from, uint32_t count) {
    for (uint32_t i = from; i < from + count; i++) {
        char id[16], metadata[32];
        snprintf(id, sizeof id, "i%u", i % 37);
        snprintf(metadata, sizeof metadata, "{\"v\": %u}", i);
        put_one(index, m, id, i, i % 5 == 0 ? metadata : i % 5 == 1 ? "{}" : NULL);
        if (i % 7 == 3) {
            snprintf(id, sizeof id, "i%u", (i + 20) % 37);
            bytes gone = bytes_str(id);
            OK(delete_some(index, &gone, 1, NULL, NULL, NULL));
            model_remove(m, id);
        }
    }
}

static void check_index(fixture *f, const char *name, const model *m) {
    vd_index *index = get_index(f, name);
    check_model(index, m);
    index_release(index);
}

/* ---- it comes back ---- */

static void stop_and_crash(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    fixture_crash(f); /* created and nothing else */
    vd_index *index = get_index(f, "t");
    check_model(index, m);
    churn(index, m, 0, 30);
    index_release(index);
    fixture_crash(f); /* journal only */
    check_index(f, "t", m);
    index = get_index(f, "t");
    churn(index, m, 30, 30); /* into a second segment */
    index_release(index);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 2);
    fixture_crash(f); /* two segments */
    index = get_index(f, "t");
    check_model(index, m);
    OK(index_save(index, NULL));
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 0);
    churn(index, m, 60, 30);
    index_release(index);
    fixture_crash(f); /* frame and journal */
    check_index(f, "t", m);
    fixture_close(f);
    fixture_open(f); /* frame only */
    index = get_index(f, "t");
    check_model(index, m);
    index_info info;
    index_get_info(index, &info);
    assert_int_equal(info.journal_bytes, 0);
    assert_true(info.sequence >= 90);
    assert_true(info.load_progress == 1.0);
    churn(index, m, 90, 10);
    index_release(index);
    fixture_crash(f);
    check_index(f, "t", m);
    free(m);
}

/* A save while writes go on: whatever moment the crash picks, everything acknowledged is there. */
static void crash_between_saves(void **state) {
    fixture *f = *state;
    f->options.snapshot_min_bytes = 1;
    f->options.snapshot_factor = 1e-9; /* a save after every write, in the background */
    fixture_close(f);
    fixture_open(f);
    model *m = new_model();
    make_index(f, "t", VD_METRIC_EUCLIDEAN);
    for (uint32_t i = 0; i < 8; i++) {
        vd_index *index = get_index(f, "t");
        check_model(index, m);
        churn(index, m, i * 20, 20);
        index_release(index);
        fixture_crash(f);
    }
    check_index(f, "t", m);
    free(m);
}

/* Saves from several threads at once, with writers beside them: a frame that began earlier never lands on a later one. */
typedef struct saving {
    pthread_t thread;
    vd_index *index;
    uint32_t failed;
} saving;

static void *save_often(void *arg) {
    saving *s = arg;
    for (int i = 0; i < 10; i++) {
        s->failed += index_save(s->index, NULL) != VD_OK;
    }
    return NULL;
}

static void saves_at_once(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    saving savers[3] = {0};
    for (int i = 0; i < 3; i++) {
        savers[i].index = index;
        assert_int_equal(pthread_create(&savers[i].thread, NULL, save_often, &savers[i]), 0);
    }
    churn(index, m, 0, 100);
    for (int i = 0; i < 3; i++) {
        pthread_join(savers[i].thread, NULL);
        assert_int_equal(savers[i].failed, 0);
    }
    index_release(index);
    fixture_crash(f);
    check_index(f, "t", m);
    free(m);
}

/* The last segment ends at any byte: a whole number of writes is there, in order, and writing goes on. */
static void torn_tail(void **state) {
    fixture *f = *state;
    enum { WRITES = 4 };
    make_index(f, "t", VD_METRIC_COSINE);
    char path[600];
    size_t ends[WRITES + 1] = {0};
    vd_index *index = get_index(f, "t");
    for (uint32_t i = 0; i < WRITES; i++) {
        OK(add_one(index, (const char *[]){"a", "b", "c", "d"}[i], i, "{\"x\":1}", NULL, NULL, NULL));
        only_file(f, "_vectors/.journal/*/*", path);
        bytes now = check_read_file(path);
        ends[i + 1] = now.size;
        free((void *)(uintptr_t)now.data);
    }
    index_release(index);
    fixture_crash_closed(f);
    only_file(f, "_vectors/.journal/*/*", path);
    bytes whole = check_read_file(path);
    char spare[256];
    check_make_folder(spare);
    char command[900];
    snprintf(command, sizeof command, "cp -a -- '%s/.' '%s/'", f->path, spare);
    assert_int_equal(system(command), 0);
    for (size_t size = 0; size <= whole.size; size++) {
        bool edge =
            size > ends[WRITES - 1]; /* every byte of the last record, the ends of all, every seventh elsewhere */
        for (size_t i = 0; i <= WRITES; i++) {
            edge = edge || (size + 1 >= ends[i] && size <= ends[i] + 1);
        }
        if (!edge && size % 7 != 0) {
            continue;
        }
        snprintf(command, sizeof command, "rm -rf -- '%s' && cp -a -- '%s' '%s'", f->path, spare, f->path);
        assert_int_equal(system(command), 0);
        only_file(f, "_vectors/.journal/*/*", path);
        write_file(path, bytes_of(whole.data, size));
        fixture_open(f);
        model *m = new_model();
        for (uint32_t i = 0; i < WRITES && ends[i + 1] <= size; i++) {
            model_put(m, (const char *[]){"a", "b", "c", "d"}[i], i, "{\"x\":1}");
        }
        index = get_index(f, "t");
        check_model(index, m);
        put_one(index, m, "later", 50, NULL);
        index_release(index);
        if (size % 14 == 0) { /* the next segment stands behind the torn one */
            fixture_crash(f);
            check_index(f, "t", m);
        }
        fixture_close(f);
        free(m);
    }
    check_remove_folder(spare);
    free((void *)(uintptr_t)whole.data);
    fixture_open(f);
}

/* ---- damage ---- */

static void flip(const char *path, size_t at) {
    bytes whole = check_read_file(path);
    assert_true(at < whole.size);
    uint8_t *data = (uint8_t *)(uintptr_t)whole.data;
    data[at] ^= 0x40;
    write_file(path, whole);
    free(data);
}

static void check_quarantined(fixture *f, const char *name, const char *part) {
    vd_index *index = get_index(f, name);
    index_info info;
    index_get_info(index, &info);
    assert_int_equal(info.state, INDEX_QUARANTINED);
    if (!strstr(info.reason, part)) {
        fail_msg("reason is \"%s\"", info.reason);
    }
    vd_error err = {0};
    FAILS(add_one(index, "a", 1, NULL, NULL, NULL, &err), VD_DATA_LOSS);
    assert_non_null(strstr(err.text, "quarantined"));
    index_release(index);
    registry_summary summary;
    registry_get_summary(f->r, &summary);
    assert_int_equal(summary.quarantined, 1);
    assert_true(summary.ready);
    index_params p = {.name = bytes_str(name),
                      .dimension = DIM,
                      .m = 16,
                      .ef_search = 20,
                      .ef_construction = 200,
                      .metric = VD_METRIC_COSINE};
    FAILS(registry_create(f->r, &p, (bytes){NULL, 0}, NULL, &err), VD_ALREADY_EXISTS);
    assert_non_null(strstr(err.text, "quarantined"));
}

static void damaged_frame(void **state) {
    fixture *f = *state;
    model *m = new_model(), *other = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    make_index(f, "fine", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    churn(index, m, 0, 10);
    index_release(index);
    index = get_index(f, "fine");
    churn(index, other, 0, 10);
    index_release(index);
    fixture_crash_closed(f);
    char path[600];
    only_file(f, "_vectors/t.lhv1", path);
    flip(path, 0);
    fixture_open(f);
    check_quarantined(f, "t", "");
    check_index(f, "fine", other);
    /* its journal is left alone: with the frame mended everything is back */
    assert_int_equal(count_files(f, "_vectors/.journal/*/*.aside-*"), 0);
    fixture_close(f);
    flip(path, 0);
    fixture_open(f);
    check_index(f, "t", m);
    fixture_crash_closed(f);
    /* again, and now it is deleted: frame and journal go aside, the name is free */
    only_file(f, "_vectors/t.lhv1", path);
    index = NULL;
    flip(path, 0);
    fixture_open(f);
    OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL));
    assert_int_equal(count_files(f, "_vectors/t.lhv1.aside-1"), 1);
    make_index(f, "t", VD_METRIC_COSINE);
    fixture_close(f);
    fixture_open(f);
    check_index(f, "fine", other);
    index = get_index(f, "t");
    assert_int_equal(vd_hnsw_count(index->engine), 0);
    index_release(index);
    free(m);
    free(other);
}

/* Every byte of the journal but the last record: damaged there, acknowledged records stand behind it. */
static void damaged_journal(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    put_one(index, m, "a", 1, NULL);
    put_one(index, m, "b", 2, NULL);
    char path[600];
    only_file(f, "_vectors/.journal/*/*", path);
    bytes two = check_read_file(path);
    put_one(index, m, "c", 3, NULL);
    index_release(index);
    fixture_crash_closed(f);
    only_file(f, "_vectors/.journal/*/*", path);
    for (size_t at = 0; at < two.size; at += 5) {
        flip(path, at);
        fixture_open(f);
        /* the third record says that the second was durable: only the first two can be missed, and are */
        check_quarantined(f, "t", "_vectors/.journal/");
        fixture_close(f);
        flip(path, at);
    }
    free((void *)(uintptr_t)two.data);
    fixture_open(f);
    check_index(f, "t", m);
    fixture_crash_closed(f);
    only_file(f, "_vectors/.journal/*/*", path);
    flip(path, 40);
    fixture_open(f);
    OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL));
    assert_int_equal(count_files(f, "_vectors/t.lhv1"), 0);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*.aside-1"), 1);
    free(m);
}

static void missing_segment(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    churn(index, m, 0, 5);
    index_release(index);
    char first[600];
    fixture_crash(f);
    only_file(f, "_vectors/.journal/*/*", first);
    index = get_index(f, "t");
    churn(index, m, 5, 5);
    index_release(index);
    const char *name = strstr(first, "/_vectors/");
    char relative[600];
    snprintf(relative, sizeof relative, "%s", name);
    fixture_crash_closed(f);
    char gone[900];
    snprintf(gone, sizeof gone, "%s%s", f->path, relative);
    assert_int_equal(unlink(gone), 0);
    fixture_open(f);
    check_quarantined(f, "t", "missing");
    free(m);
}

/* ---- journals and frames that do not belong together ---- */

static void stale_journal(void **state) {
    fixture *f = *state;
    model *m = new_model(), *older = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    churn(index, older, 0, 10);
    OK(index_save(index, NULL));
    churn(index, m, 10, 10); /* these only in the journal */
    index_release(index);
    fixture_crash_closed(f);
    /* the original has loaded our frame and saved it again: our fields are gone. Its bytes come from a golden frame. */
    bytes foreign = check_read_data("lhv1", "single.lhv1");
    char path[600];
    snprintf(path, sizeof path, "%s/_vectors/t.lhv1", f->path);
    write_file(path, foreign);
    free((void *)(uintptr_t)foreign.data);
    fixture_open(f);
    index = get_index(f, "t");
    OK(index_check_ready(index, NULL));
    assert_int_equal(vd_hnsw_count(index->engine), 1); /* the frame's one item, nothing of the journal */
    index_release(index);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*.aside-1"), 1);
    fixture_close(f);
    fixture_open(f); /* and not looked at again */
    assert_int_equal(count_files(f, "_vectors/.journal/*/*"), 1);
    assert_int_equal(f->r->journal_count, 0);
    free(m);
    free(older);
}

static void frame_without_journal_and_journal_without_frame(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    make_index(f, "u", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    churn(index, m, 0, 10);
    index_release(index);
    fixture_crash_closed(f);
    char path[600];
    only_file(f, "_vectors/t.lhv1", path);
    assert_int_equal(unlink(path), 0);
    fixture_open(f); /* lost, not deleted: kept for a person */
    vd_index *none;
    FAILS(registry_acquire(f->r, bytes_str("t"), &none, NULL), VD_NOT_FOUND);
    assert_int_equal(count_files(f, "_vectors/.journal/*/*.aside-1"), 1);
    make_index(f, "t", VD_METRIC_COSINE);
    free(m);
}

static int refuse_unlink(void *context, const char *path) {
    (void)context;
    (void)path;
    return EIO;
}

/* The process dies behind the record of a delete: the index is gone, and the next start removes what is left of it, whichever of
 * its files had gone already. */
static void cut_short_delete(void **state) {
    fixture *f = *state;
    static const struct {
        const char *removed; /* by hand: the delete had come so far */
    } rows[] = {{NULL}, {"_vectors/t.lhv1"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        model *m = new_model();
        make_index(f, "t", VD_METRIC_COSINE);
        vd_index *index = get_index(f, "t");
        churn(index, m, 0, 10);
        OK(catalog_write(&f->r->catalog, JOURNAL_DROPPED, bytes_str("t"), index->epoch, bytes_str("r"), NULL));
        index_release(index);
        fixture_crash_closed(f);
        if (rows[i].removed) {
            char path[600];
            only_file(f, rows[i].removed, path);
            assert_int_equal(unlink(path), 0);
        }
        fixture_open(f);
        vd_index *none;
        FAILS(registry_acquire(f->r, bytes_str("t"), &none, NULL), VD_NOT_FOUND);
        assert_int_equal(count_files(f, "_vectors/*.lhv1"), 0);
        assert_int_equal(count_files(f, "_vectors/.journal/*"), 0);
        OK(registry_delete(f->r, bytes_str("t"), bytes_str("r"), NULL)); /* its answer, given late */
        free(m);
    }
}

/* Its files could not be removed when it was deleted: the name is free all the same. */
static void leftover_in_the_way(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    churn(index, m, 0, 10);
    index_release(index);
    const io_table well = f->io.table;
    f->io.table.unlink = refuse_unlink;
    OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL));
    f->io.table = well;
    assert_int_equal(count_files(f, "_vectors/t.lhv1"), 1);
    make_index(f, "t", VD_METRIC_EUCLIDEAN);
    m->count = 0;
    index = get_index(f, "t");
    check_model(index, m);
    put_one(index, m, "new", 3, NULL);
    index_release(index);
    fixture_crash(f);
    check_index(f, "t", m);
    assert_int_equal(count_files(f, "_vectors/.journal/*"), 1);
    free(m);
}

/* Request ids outlive their records: saves, orderly stops and kills, of writes, creates and deletes. */
static void requests_outlive_restarts(void **state) {
    fixture *f = *state;
    index_params p = {
        .name = bytes_str("t"), .dimension = DIM, .m = 16, .ef_search = 20, .ef_construction = 200, .metric = 1};
    index_receipt made = {0}, again = {0};
    OK(registry_create(f->r, &p, bytes_str("create"), &made, NULL));
    make_index(f, "gone", VD_METRIC_COSINE);
    OK(registry_delete(f->r, bytes_str("gone"), bytes_str("delete"), NULL));
    vd_index *index = get_index(f, "t");
    index_write_result first, second;
    OK(add_one(index, "a", 1, NULL, "r1", &first, NULL));
    bytes none = bytes_str("nobody");
    uint64_t deleted;
    OK(delete_some(index, &none, 1, "r2", &deleted, NULL));
    for (int round = 0; round < 6; round++) {
        char id[16];
        snprintf(id, sizeof id, "more%d", round);
        OK(add_one(index, id, 10 + (uint32_t)round, NULL, id, NULL, NULL));
        if (round % 3 == 0) {
            OK(index_save(index, NULL)); /* the records go */
        }
        index_release(index);
        if (round % 2) {
            fixture_crash(f);
        } else {
            fixture_close(f);
            fixture_open(f);
        }
        index = get_index(f, "t");
        OK(add_one(index, "a", 9, "{}", "r1", &second, NULL));
        assert_int_equal(second.affected, 1);
        assert_int_equal(second.length, 1);
        assert_memory_equal(&second.receipt, &first.receipt, sizeof first.receipt);
        OK(delete_some(index, &none, 1, "r2", &deleted, NULL));
        assert_int_equal(deleted, 0);
        for (int earlier = 0; earlier <= round; earlier++) {
            snprintf(id, sizeof id, "more%d", earlier);
            OK(add_one(index, "never", 1, NULL, id, &second, NULL));
            assert_int_equal(second.length, 2 + earlier);
        }
        OK(index_check_at_least(index, &first.receipt, NULL));
        OK(registry_create(f->r, &p, bytes_str("create"), &again, NULL));
        assert_memory_equal(&again, &made, sizeof made);
        FAILS(registry_create(f->r, &p, bytes_str("another"), NULL, NULL), VD_ALREADY_EXISTS);
        OK(registry_delete(f->r, bytes_str("gone"), bytes_str("delete"), NULL));
    }
    index_release(index);
    OK(registry_delete(f->r, bytes_str("t"), (bytes){NULL, 0}, NULL));
    fixture_crash(f);
    OK(registry_create(f->r, &p, bytes_str("create"), NULL, NULL)); /* made, and deleted since: its first answer */
    FAILS(registry_acquire(f->r, p.name, &index, NULL), VD_NOT_FOUND);
}

/* Somebody copied a frame under a second name: both are served, the journal stays with the first, and they part. */
static void copied_frame(void **state) {
    fixture *f = *state;
    model *m = new_model(), *copy = new_model();
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    churn(index, m, 0, 10);
    OK(index_save(index, NULL));
    *copy = *m;
    churn(index, m, 10, 10);
    index_release(index);
    fixture_crash_closed(f);
    char command[900];
    snprintf(command, sizeof command, "cp '%s/_vectors/t.lhv1' '%s/_vectors/a copy.lhv1'", f->path, f->path);
    assert_int_equal(system(command), 0);
    fixture_open(f);
    check_index(f, "t", m);
    index = get_index(f, "a copy");
    check_model(index, copy);
    churn(index, copy, 50, 5);
    index_release(index);
    fixture_crash(f);
    check_index(f, "t", m);
    check_index(f, "a copy", copy);
    free(m);
    free(copy);
}

/* ---- frames of the original ---- */

static void import(fixture *f, const char *name) {
    char file[64], path[600];
    snprintf(file, sizeof file, "%s.lhv1", name);
    bytes data = check_read_data("lhv1", file);
    snprintf(path, sizeof path, "%s/_vectors/%s", f->path, file);
    write_file(path, data);
    free((void *)(uintptr_t)data.data);
}

static void foreign_frames(void **state) {
    fixture *f = *state;
    static const struct {
        const char *name;
        uint32_t items, dimension;
        vd_metric metric;
    } rows[] = {{"cosine200x8", 200, 8, VD_METRIC_COSINE},
                {"empty", 0, 384, VD_METRIC_COSINE},
                {"euclid3", 3, 2, VD_METRIC_EUCLIDEAN},
                {"single", 1, 3, VD_METRIC_COSINE},
                {"tolerated", 200, 8, VD_METRIC_COSINE}};
    fixture_close(f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        import(f, rows[i].name);
    }
    fixture_open(f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vd_index *index = get_index(f, rows[i].name);
        vd_error err = {0};
        if (index_check_ready(index, &err) != VD_OK) {
            fail_msg("%s: %s", rows[i].name, err.text);
        }
        index_info info;
        index_get_info(index, &info);
        assert_int_equal(info.length, rows[i].items);
        assert_int_equal(info.params.dimension, rows[i].dimension);
        assert_int_equal(info.params.metric, rows[i].metric);
        index_release(index);
    }
    vd_index *single = get_index(f, "single");
    static const float wanted[3] = {0.6f, 0.8f, 0};
    arena a;
    arena_init(&a, NULL, 0);
    index_search search = {.vector = wanted, .vector_count = 3};
    index_hit *hits;
    size_t count;
    OK(index_query(single, &search, &a, &hits, &count, NULL, NULL));
    assert_int_equal(count, 1);
    assert_true(hits[0].distance == 0);
    assert_true(bytes_equal(hits[0].id, bytes_str("only")));
    assert_true(bytes_equal(hits[0].metadata, bytes_str("{\"x\":1}")));
    arena_fini(&a);

    /* nothing was written: opening is not owning */
    char path[600];
    only_file(f, "_vectors/single.lhv1", path);
    bytes before = check_read_data("lhv1", "single.lhv1"), after = check_read_file(path);
    assert_true(bytes_equal(before, after));
    free((void *)(uintptr_t)after.data);
    /* the first write puts a frame of ours first, then its record */
    index_item item = {.id = bytes_str("new"), .vector = wanted, .vector_count = 3, .metadata = bytes_str("{\"y\":2}")};
    index_write_result result;
    OK(index_add(single, &item, 1, REQUEST("r"), &result, NULL));
    assert_int_equal(result.length, 2);
    after = check_read_file(path);
    assert_false(bytes_equal(before, after));
    free((void *)(uintptr_t)after.data);
    free((void *)(uintptr_t)before.data);
    index_release(single);
    fixture_crash(f);
    single = get_index(f, "single");
    OK(index_check_ready(single, NULL));
    assert_int_equal(vd_hnsw_count(single->engine), 2);
    item.id = bytes_str("other");
    OK(index_add(single, &item, 1, REQUEST("r"), &result, NULL));
    assert_int_equal(result.length, 2); /* the same request */
    index_release(single);
    fixture_close(f);
    fixture_open(f);
    single = get_index(f, "single");
    assert_int_equal(vd_hnsw_count(single->engine), 2);
    index_release(single);
}

static void foreign_damage(void **state) {
    fixture *f = *state;
    static const char *const names[] = {"bad-magic",
                                        "bad-nan",
                                        "bad-wrong-dim",
                                        "bad-trunc-last-byte",
                                        "bad-dup-key",
                                        "bad-envelope-len-huge",
                                        "bad-distance-differs",
                                        "bad-layer-count-huge"};
    fixture_close(f);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        import(f, names[i]);
    }
    import(f, "single");
    fixture_open(f);
    registry_summary summary;
    registry_get_summary(f->r, &summary);
    assert_int_equal(summary.quarantined, sizeof names / sizeof names[0]);
    assert_int_equal(summary.items, 1);
    assert_true(summary.ready);
    OK(registry_delete(f->r, bytes_str(names[0]), (bytes){NULL, 0}, NULL));
    assert_int_equal(count_files(f, "_vectors/bad-magic.lhv1.aside-1"), 1);
}

/* Thousands of items in both: chunks, batches, keeps across batches. */
/* ---- more frames than may be served ---- */

typedef struct listing_order {
    int (*visit)(void *arg, const char *name, int is_directory);
    void *arg;
    bool last; /* t.lhv1 was left for the end */
} listing_order;

static int visit_but_t(void *arg, const char *name, int is_directory) {
    listing_order *order = arg;
    if (strcmp(name, "t.lhv1") == 0) {
        order->last = true;
        return 0;
    }
    return order->visit(order->arg, name, is_directory);
}

static int list_t_last(void *context, const char *path, int (*visit)(void *arg, const char *name, int is_directory),
                       void *arg) {
    listing_order order = {.visit = visit, .arg = arg};
    int error = io_system()->list(context, path, visit_but_t, &order);
    return !error && order.last && visit(arg, "t.lhv1", 0) ? 0 : error;
}

/* An index that one start could not serve has its journal when another one can. */
static void too_many_frames(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "x", VD_METRIC_COSINE);
    make_index(f, "t", VD_METRIC_COSINE);
    vd_index *index = get_index(f, "t");
    put_one(index, m, "a", 1, NULL);
    index_release(index);
    fixture_crash_closed(f);
    char from[320], to[320];
    snprintf(from, sizeof from, "%s/_vectors/x.lhv1", f->path);
    for (int i = 1; i < VD_INDEXES_MAX; i++) {
        snprintf(to, sizeof to, "%s/_vectors/x%d.lhv1", f->path, i);
        assert_int_equal(link(from, to), 0);
    }
    f->io.table.list = list_t_last;
    fixture_open(f);
    FAILS(registry_acquire(f->r, bytes_str("t"), &index, NULL), VD_NOT_FOUND);
    fixture_crash_closed(f);
    for (int i = 1; i < VD_INDEXES_MAX; i++) {
        snprintf(to, sizeof to, "%s/_vectors/x%d.lhv1", f->path, i);
        assert_int_equal(unlink(to), 0);
    }
    fixture_open(f);
    check_index(f, "t", m);
    free(m);
}

static void larger(void **state) {
    fixture *f = *state;
    model *m = new_model();
    make_index(f, "t", VD_METRIC_EUCLIDEAN);
    vd_index *index = get_index(f, "t");
    enum { BATCH = 500, BATCHES = 14, IDS = 3000 };
    float(*v)[DIM] = calloc(BATCH, sizeof *v);
    char(*ids)[16] = calloc(BATCH, sizeof *ids);
    char(*metadata)[32] = calloc(BATCH, sizeof *metadata);
    index_item *items = calloc(BATCH, sizeof *items);
    assert_true(v && ids && metadata && items);
    for (uint32_t b = 0; b < BATCHES; b++) {
        for (uint32_t i = 0; i < BATCH; i++) {
            uint32_t n = b * BATCH + i;
            test_vector(n, v[i]);
            snprintf(ids[i], sizeof ids[i], "i%u", (n * 7) % IDS);
            snprintf(metadata[i], sizeof metadata[i], "{\"n\":%u}", n);
            items[i] = (index_item){.id = bytes_str(ids[i]), .vector = v[i], .vector_count = DIM};
            if (n % 3 == 0) {
                items[i].metadata = bytes_str(metadata[i]);
            }
            model_put(m, ids[i], n, n % 3 == 0 ? metadata[i] : NULL);
        }
        index_write_result result;
        OK(index_add(index, items, BATCH, NULL, &result, NULL));
        if (b == BATCHES / 2) {
            OK(index_save(index, NULL));
        }
    }
    check_model(index, m);
    index_release(index);
    fixture_crash(f);
    check_index(f, "t", m);
    fixture_close(f);
    fixture_open(f);
    check_index(f, "t", m);
    free(v);
    free(ids);
    free(metadata);
    free(items);
    free(m);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(stop_and_crash),
        T(crash_between_saves),
        T(saves_at_once),
        T(torn_tail),
        T(damaged_frame),
        T(damaged_journal),
        T(missing_segment),
        T(stale_journal),
        T(frame_without_journal_and_journal_without_frame),
        T(cut_short_delete),
        T(leftover_in_the_way),
        T(requests_outlive_restarts),
        T(copied_frame),
        T(foreign_frames),
        T(foreign_damage),
        T(too_many_frames),
        T(larger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
