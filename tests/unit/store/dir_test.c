/*
 * dir_test.c - the directory store: names, puts, logs, listing, locks; and every I/O call failing in turn: whatever happens,
 * the key has the old object or the new one, and the store opens again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "store/objstore.h"
#include "unit/store/check.h"
#include "unit/store/fault_io.h"

#define KEY       "_vectors/fruit.lhv1"
#define EPOCH     "00112233445566778899aabbccddeeff"
#define LOG_KEY   "_vectors/.journal/" EPOCH "/0000000000000001"
#define LOG_KEY_2 "_vectors/.journal/" EPOCH "/0000000000000002"

typedef struct fixture {
    char path[256];
    objstore *store;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    check_make_folder(f->path);
    OK(objstore_open_dir(f->path, NULL, &f->store, NULL));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    objstore_close(f->store);
    check_remove_folder(f->path);
    free(f);
    return 0;
}

/* ---- helpers ---- */

/* The table of a test lives on its stack: teardown must not meet it. */
static void reopen_with_system(fixture *f) {
    objstore_close(f->store);
    OK(objstore_open_dir(f->path, NULL, &f->store, NULL));
}

static vd_status put(objstore *s, const char *key, const char *text, bool if_absent, vd_error *err) {
    objstore_put *p;
    vd_status status = s->v->put_begin(s, key, if_absent, &p, err);
    if (status != VD_OK) {
        return status;
    }
    size_t half = strlen(text) / 2;
    status = s->v->put_write(p, text, half, err);
    if (status == VD_OK) {
        status = s->v->put_write(p, text + half, strlen(text) - half, err);
    }
    if (status != VD_OK) {
        s->v->put_abort(p);
        return status;
    }
    return s->v->put_commit(p, err);
}

static bool holds(objstore *s, const char *key, const char *text) {
    objstore_blob blob;
    vd_status status = s->v->get(s, key, &blob, NULL);
    if (status == VD_NOT_FOUND) {
        return text == NULL;
    }
    OK(status);
    bool same = text && bytes_equal(bytes_of(blob.data, blob.size), bytes_str(text));
    objstore_blob_release(&blob);
    return same;
}

typedef struct keys {
    char text[2048];
    size_t count;
} keys;

static vd_status add_key(void *arg, const char *key, uint64_t size) {
    keys *k = arg;
    size_t used = strlen(k->text);
    snprintf(k->text + used, sizeof k->text - used, "%s=%llu\n", key, (unsigned long long)size);
    k->count++;
    return VD_OK;
}

static keys list(objstore *s, const char *prefix) {
    keys k = {0};
    OK(s->v->list(s, prefix, add_key, &k, NULL));
    return k;
}

static bool exists(const char *folder, const char *name) {
    char path[600];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &info) == 0;
}

static void make_file(const char *folder, const char *name, const char *text) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* ---- objects ---- */

static void what_is_put_can_be_got(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    objstore_blob blob;
    FAILS(s->v->get(s, KEY, &blob, NULL), VD_NOT_FOUND);
    OK(put(s, KEY, "old", false, NULL));
    assert_true(holds(s, KEY, "old"));
    OK(put(s, KEY, "new and longer", false, NULL));
    assert_true(holds(s, KEY, "new and longer"));
    OK(put(s, KEY, "", false, NULL));
    assert_true(holds(s, KEY, ""));
    OK(s->v->remove(s, KEY, NULL));
    assert_true(holds(s, KEY, NULL));
    OK(s->v->remove(s, KEY, NULL));
}

static void a_put_is_invisible_until_commit(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    objstore_put *p;
    OK(put(s, KEY, "old", false, NULL));
    OK(s->v->put_begin(s, KEY, false, &p, NULL));
    OK(s->v->put_write(p, "new", 3, NULL));
    assert_true(holds(s, KEY, "old"));
    assert_int_equal(list(s, "").count, 1);
    s->v->put_abort(p);
    assert_true(holds(s, KEY, "old"));
    char vectors[300];
    snprintf(vectors, sizeof vectors, "%s/_vectors", f->path);
    DIR *d = opendir(vectors);
    assert_non_null(d);
    int files = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        files += e->d_name[0] != '.';
        assert_null(strstr(e->d_name, ".put-"));
    }
    closedir(d);
    assert_int_equal(files, 1);
}

static void put_if_absent_finds_what_is_there(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    vd_error err;
    OK(put(s, KEY, "first", true, NULL));
    FAILS(put(s, KEY, "second", true, &err), VD_ALREADY_EXISTS);
    assert_true(holds(s, KEY, "first"));
    OK(s->v->remove(s, KEY, NULL));
    OK(put(s, KEY, "third", true, NULL));
    assert_true(holds(s, KEY, "third"));
}

typedef struct racer {
    objstore *store;
    int number;
    int wins;
} racer;

#define RACERS 4
#define ROUNDS 40

static void *race(void *arg) {
    racer *r = arg;
    for (int round = 0; round < ROUNDS; round++) {
        char key[64], text[32];
        snprintf(key, sizeof key, "_vectors/race-%d.lhv1", round);
        snprintf(text, sizeof text, "racer %d", r->number);
        objstore_put *p;
        if (r->store->v->put_begin(r->store, key, true, &p, NULL) == VD_OK) {
            (void)r->store->v->put_write(p, text, strlen(text), NULL);
            r->wins += r->store->v->put_commit(p, NULL) == VD_OK;
        }
    }
    return NULL;
}

static void run_race(objstore *s) {
    pthread_t threads[RACERS];
    racer racers[RACERS];
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (racer){s, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    int wins = 0;
    for (int i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        wins += racers[i].wins;
    }
    assert_int_equal(wins, ROUNDS);
    assert_int_equal(list(s, "_vectors/race-").count, ROUNDS);
}

static void one_of_many_puts_if_absent_wins(void **state) {
    const fixture *f = *state;
    run_race(f->store);
}

static void one_wins_without_hard_links_too(void **state) {
    fixture *f = *state;
    fault_io io;
    fault_io_init(&io);
    io.no_hard_links = true;
    objstore_close(f->store);
    OK(objstore_open_dir(f->path, &io.table, &f->store, NULL));
    run_race(f->store);
    reopen_with_system(f);
}

/* ---- names ---- */

static void hostile_names_stay_inside(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    static const char *const names[] = {"../../etc/passwd", "a/b",       ".",    "..",       "...",
                                        ".hidden",          "%2F",       "100%", "a%2fb",    "a b",
                                        "caf\xC3\xA9",      "-rf",       "LOCK", ".journal", ".put-x",
                                        "\xF0\x9F\x8D\x8E", "tab\there", "*?"};
    size_t count = sizeof names / sizeof names[0];
    for (size_t i = 0; i < count; i++) {
        char key[128];
        snprintf(key, sizeof key, "_vectors/%s.lhv1", names[i]);
        OK(put(s, key, names[i], true, NULL));
    }
    assert_int_equal(list(s, "").count, count);
    for (size_t i = 0; i < count; i++) {
        char key[128], line[160];
        snprintf(key, sizeof key, "_vectors/%s.lhv1", names[i]);
        assert_true(holds(s, key, names[i]));
        snprintf(line, sizeof line, "%s=%zu\n", key, strlen(names[i]));
        keys k = list(s, key);
        assert_string_equal(k.text, line);
        OK(s->v->remove(s, key, NULL));
        assert_true(holds(s, key, NULL));
    }
}

static void keys_that_are_none_are_refused(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    char slashes[300] = "_vectors/";
    memset(slashes + 9, '/', 100);
    static const char *const bad[] = {"",
                                      "fruit.lhv1",
                                      "_vectors/",
                                      "/etc/passwd",
                                      "_vectors/.journal/",
                                      "_vectors/.journal/" EPOCH,
                                      "_vectors/.journal/" EPOCH "/",
                                      "_vectors/.journal/../../x",
                                      "_vectors/.journal/" EPOCH "/..",
                                      "_vectors/.journal/" EPOCH "/1/2",
                                      "_vectors/.journal/ABCDEF/1"};
    for (size_t i = 0; i <= sizeof bad / sizeof bad[0]; i++) {
        const char *key = i < sizeof bad / sizeof bad[0] ? bad[i] : slashes;
        objstore_blob blob;
        objstore_log *log;
        vd_error err;
        FAILS(put(s, key, "x", false, &err), VD_INVALID_ARGUMENT);
        FAILS(s->v->get(s, key, &blob, &err), VD_INVALID_ARGUMENT);
        FAILS(s->v->remove(s, key, &err), VD_INVALID_ARGUMENT);
        FAILS(s->v->log_create(s, key, &log, &err), VD_INVALID_ARGUMENT);
    }
}

static void names_of_the_longest_kind_fit(void **state) {
    const fixture *f = *state;
    char key[300];
    snprintf(key, sizeof key, "_vectors/%0200d.lhv1", 7);
    OK(put(f->store, key, "x", true, NULL));
    OK(f->store->v->set_aside(f->store, key, NULL));
}

static void strangers_are_not_shown_nor_touched(void **state) {
    fixture *f = *state;
    char vectors[300], journal[360];
    snprintf(vectors, sizeof vectors, "%s/_vectors", f->path);
    snprintf(journal, sizeof journal, "%s/.journal/" EPOCH, vectors);
    assert_int_equal(mkdir(journal, 0700), 0);
    static const char *const strangers[] = {"notes.txt",
                                            "a%2fb.lhv1",
                                            "a%zz.lhv1",
                                            "%41.lhv1",
                                            ".x.lhv1",
                                            "b.lhv1.tmp",
                                            ".put-0123",
                                            ".lhv1",
                                            ".put-0123456789ABCDEF",
                                            "c.lhv1.aside-1",
                                            ".put-0123456789abcdef.old"};
    size_t count = sizeof strangers / sizeof strangers[0];
    for (size_t i = 0; i < count; i++) {
        make_file(vectors, strangers[i], "?");
    }
    make_file(vectors, ".put-0123456789abcdef", "ours, from a crash");
    make_file(journal, ".put-0123456789abcdef", "ours, from a crash");
    make_file(journal, "readme", "?");
    make_file(journal, "00000001", "12");
    assert_int_equal(mkdir(strcat(vectors, "/folder.lhv1"), 0700), 0);
    vectors[strlen(vectors) - strlen("/folder.lhv1")] = '\0';
    objstore_close(f->store);
    OK(objstore_open_dir(f->path, NULL, &f->store, NULL));
    keys k = list(f->store, "");
    assert_string_equal(k.text, "_vectors/.journal/" EPOCH "/00000001=2\n");
    for (size_t i = 0; i < count; i++) {
        assert_true(exists(vectors, strangers[i]));
    }
    assert_true(exists(journal, "readme"));
    assert_false(exists(vectors, ".put-0123456789abcdef"));
    assert_false(exists(journal, ".put-0123456789abcdef"));
}

static void lists_by_prefix(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    objstore_log *log;
    OK(put(s, "_vectors/a.lhv1", "1", false, NULL));
    OK(put(s, "_vectors/ab.lhv1", "22", false, NULL));
    OK(s->v->log_create(s, LOG_KEY, &log, NULL));
    OK(s->v->log_append(log, "333", 3, NULL));
    OK(s->v->log_sync(log, NULL));
    s->v->log_close(log);
    assert_int_equal(list(s, "").count, 3);
    assert_int_equal(list(s, "_vec").count, 3);
    assert_int_equal(list(s, "_vectors/").count, 3);
    assert_string_equal(list(s, "_vectors/ab").text, "_vectors/ab.lhv1=2\n");
    assert_string_equal(list(s, "_vectors/.journal/").text, LOG_KEY "=3\n");
    assert_int_equal(list(s, "_vectors/.journal/" EPOCH "/").count, 1);
    assert_int_equal(list(s, "_vectors/.journal/ff").count, 0);
    assert_int_equal(list(s, "x").count, 0);
}

static vd_status stop(void *arg, const char *key, uint64_t size) {
    (void)key;
    (void)size;
    ++*(int *)arg;
    return VD_CANCELLED;
}

static void a_visitor_can_stop(void **state) {
    const fixture *f = *state;
    int calls = 0;
    OK(put(f->store, "_vectors/a.lhv1", "1", false, NULL));
    OK(put(f->store, "_vectors/b.lhv1", "1", false, NULL));
    FAILS(f->store->v->list(f->store, "", stop, &calls, NULL), VD_CANCELLED);
    assert_int_equal(calls, 1);
}

static void set_aside_keeps_every_copy(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    char vectors[300];
    snprintf(vectors, sizeof vectors, "%s/_vectors", f->path);
    FAILS(s->v->set_aside(s, KEY, NULL), VD_NOT_FOUND);
    OK(put(s, KEY, "one", false, NULL));
    OK(s->v->set_aside(s, KEY, NULL));
    OK(put(s, KEY, "two", true, NULL));
    OK(s->v->set_aside(s, KEY, NULL));
    assert_true(holds(s, KEY, NULL));
    assert_int_equal(list(s, "").count, 0);
    assert_true(exists(vectors, "fruit.lhv1.aside-1"));
    assert_true(exists(vectors, "fruit.lhv1.aside-2"));
}

/* ---- logs ---- */

static void a_log_grows(void **state) {
    const fixture *f = *state;
    objstore *s = f->store;
    objstore_log *log, *second;
    char journal[360];
    snprintf(journal, sizeof journal, "%s/_vectors/.journal", f->path);
    OK(s->v->log_create(s, LOG_KEY, &log, NULL));
    FAILS(s->v->log_create(s, LOG_KEY, &second, NULL), VD_ALREADY_EXISTS);
    assert_true(holds(s, LOG_KEY, ""));
    OK(s->v->log_append(log, "one ", 4, NULL));
    OK(s->v->log_append(log, "two", 3, NULL));
    OK(s->v->log_sync(log, NULL));
    assert_true(holds(s, LOG_KEY, "one two"));
    OK(s->v->log_create(s, LOG_KEY_2, &second, NULL));
    s->v->log_close(second);
    s->v->log_close(log);
    OK(s->v->remove(s, LOG_KEY, NULL));
    assert_true(exists(journal, EPOCH));
    OK(s->v->remove(s, LOG_KEY_2, NULL));
    assert_false(exists(journal, EPOCH)); /* went with its last segment */
    OK(s->v->remove(s, LOG_KEY_2, NULL));
}

/* ---- the lock ---- */

static void a_second_opener_is_told(void **state) {
    const fixture *f = *state;
    objstore *second;
    vd_error err;
    FAILS(objstore_open_dir(f->path, NULL, &second, &err), VD_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "in use by another vectord"));
}

static void folders_are_made(void **state) {
    const fixture *f = *state;
    char path[400];
    objstore *s;
    snprintf(path, sizeof path, "%s/not/yet/there//", f->path);
    OK(objstore_open_dir(path, NULL, &s, NULL));
    OK(put(s, KEY, "x", false, NULL));
    objstore_close(s);
    snprintf(path, sizeof path, "%s/_vectors/file/below", f->path);
    make_file(f->path, "_vectors/file", "");
    FAILS(objstore_open_dir(path, NULL, &s, NULL), VD_INTERNAL);
    FAILS(objstore_open_dir("", NULL, &s, NULL), VD_INVALID_ARGUMENT);
}

/* ---- failing I/O ---- */

static void short_writes_and_reads_are_gone_on_with(void **state) {
    fixture *f = *state;
    fault_io io;
    fault_io_init(&io);
    io.write_at_most = 3;
    objstore_close(f->store);
    OK(objstore_open_dir(f->path, &io.table, &f->store, NULL));
    OK(put(f->store, KEY, "written three bytes at a time", false, NULL));
    assert_true(holds(f->store, KEY, "written three bytes at a time"));
    objstore_close(f->store);
    OK(objstore_open_dir(f->path, NULL, &f->store, NULL));
    assert_true(holds(f->store, KEY, "written three bytes at a time"));
}

static void a_full_disk_is_named(void **state) {
    fixture *f = *state;
    fault_io io;
    vd_error err;
    fault_io_init(&io);
    objstore_close(f->store);
    OK(objstore_open_dir(f->path, &io.table, &f->store, NULL));
    static const struct {
        int error;
        vd_status status;
    } rows[] = {{ENOSPC, VD_DISK_FULL}, {EDQUOT, VD_DISK_FULL},   {EIO, VD_INTERNAL},
                {EROFS, VD_INTERNAL},   {EMFILE, VD_UNAVAILABLE}, {ENOMEM, VD_OUT_OF_MEMORY}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fault_io_arm(&io, 1, rows[i].error, true);
        FAILS(put(f->store, KEY, "x", false, &err), rows[i].status);
        assert_non_null(strstr(err.text, KEY));
    }
    fault_io_arm(&io, 0, 0, false);
    reopen_with_system(f);
}

/* What one scenario does on a store whose i-th call fails; returns its own status. */
typedef vd_status (*scenario)(objstore *s);
typedef void (*verdict)(objstore *s, vd_status status);

/* Fails call 1, 2, 3, ... of opening the store and of the scenario, until a run needs no more calls than that. */
static void fail_each(const char *base, scenario prepare, scenario run, verdict check, bool sticky, int error) {
    for (int i = 1;; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/run-%d-%d-%d", base, sticky, error, i);
        objstore *s = NULL;
        OK(objstore_open_dir(path, NULL, &s, NULL));
        OK(prepare(s));
        objstore_close(s);
        fault_io io;
        fault_io_init(&io);
        fault_io_arm(&io, i, error, sticky);
        vd_status status = objstore_open_dir(path, &io.table, &s, NULL);
        if (status == VD_OK) {
            status = run(s);
            objstore_close(s);
        }
        OK(objstore_open_dir(path, NULL, &s, NULL)); /* whatever has happened */
        check(s, status);
        objstore_close(s);
        check_remove_folder(path);
        if (io.failed == 0) {
            OK(status);
            return;
        }
        assert_true(i < 200);
    }
}

static void fail_each_way(const char *base, scenario prepare, scenario run, verdict check) {
    fail_each(base, prepare, run, check, false, EIO);
    fail_each(base, prepare, run, check, true, EIO);
    fail_each(base, prepare, run, check, false, ENOSPC);
    fail_each(base, prepare, run, check, true, ENOSPC);
}

static vd_status put_old(objstore *s) {
    return put(s, KEY, "old object", false, NULL);
}

static vd_status put_new(objstore *s) {
    return put(s, KEY, "the new object", false, NULL);
}

static vd_status nothing(objstore *s) {
    (void)s;
    return VD_OK;
}

static void old_or_new(objstore *s, vd_status status) {
    bool now_new = holds(s, KEY, "the new object");
    assert_true(now_new || (status != VD_OK && holds(s, KEY, "old object")));
    assert_int_equal(list(s, "").count, 1);
}

static void a_put_is_old_or_new(void **state) {
    const fixture *f = *state;
    fail_each_way(f->path, put_old, put_new, old_or_new);
}

static vd_status put_new_if_absent(objstore *s) {
    return put(s, KEY, "the new object", true, NULL);
}

static void none_or_new(objstore *s, vd_status status) {
    assert_true(holds(s, KEY, "the new object") || (status != VD_OK && holds(s, KEY, NULL)));
}

static void a_put_if_absent_is_none_or_new(void **state) {
    const fixture *f = *state;
    fail_each_way(f->path, nothing, put_new_if_absent, none_or_new);
}

static vd_status remove_key(objstore *s) {
    return s->v->remove(s, KEY, NULL);
}

static void old_or_none(objstore *s, vd_status status) {
    assert_true(holds(s, KEY, NULL) || (status != VD_OK && holds(s, KEY, "old object")));
}

static void a_remove_is_done_or_not(void **state) {
    const fixture *f = *state;
    fail_each_way(f->path, put_old, remove_key, old_or_none);
}

static vd_status set_key_aside(objstore *s) {
    return s->v->set_aside(s, KEY, NULL);
}

static void setting_aside_is_done_or_not(void **state) {
    const fixture *f = *state;
    fail_each_way(f->path, put_old, set_key_aside, old_or_none);
}

static bool first_synced, second_synced;

/* Two records, a sync after each. After a failure the log must stay closed to writes. */
static vd_status write_log(objstore *s) {
    objstore_log *log;
    vd_status status = s->v->log_create(s, LOG_KEY, &log, NULL);
    if (status != VD_OK) {
        return status;
    }
    status = s->v->log_append(log, "first.", 6, NULL);
    if (status == VD_OK) {
        status = s->v->log_sync(log, NULL);
    }
    first_synced = status == VD_OK;
    if (status == VD_OK) {
        status = s->v->log_append(log, "second.", 7, NULL);
    }
    if (status == VD_OK) {
        status = s->v->log_sync(log, NULL);
    }
    second_synced = status == VD_OK;
    if (status != VD_OK) {
        FAILS(s->v->log_append(log, "third.", 6, NULL), status);
        FAILS(s->v->log_sync(log, NULL), status);
    }
    s->v->log_close(log);
    return status;
}

static vd_status forget_log(objstore *s) {
    (void)s;
    first_synced = second_synced = false;
    return VD_OK;
}

static void synced_records_are_there(objstore *s, vd_status status) {
    (void)status;
    objstore_blob blob = {0};
    vd_status got = s->v->get(s, LOG_KEY, &blob, NULL);
    if (got == VD_NOT_FOUND) {
        assert_false(first_synced);
        return;
    }
    OK(got);
    size_t least = second_synced ? 13 : first_synced ? 6 : 0;
    assert_true(blob.size >= least && blob.size <= 13);
    assert_memory_equal(blob.data, "first.second.", blob.size);
    objstore_blob_release(&blob);
}

static void a_log_keeps_what_it_synced(void **state) {
    const fixture *f = *state;
    fail_each_way(f->path, forget_log, write_log, synced_records_are_there);
}

static vd_status create_empty_log(objstore *s) {
    objstore_log *log;
    vd_status status = s->v->log_create(s, LOG_KEY, &log, NULL);
    if (status == VD_OK) {
        s->v->log_close(log);
    }
    return status;
}

static vd_status remove_log(objstore *s) {
    return s->v->remove(s, LOG_KEY, NULL);
}

static void log_is_gone_when_told(objstore *s, vd_status status) {
    assert_true(status != VD_OK || holds(s, LOG_KEY, NULL));
}

static void removing_a_log_is_done_or_not(void **state) {
    const fixture *f = *state;
    fail_each_way(f->path, create_empty_log, remove_log, log_is_gone_when_told);
}

/* A failed append is cut away again, so that the file ends at a record's end. */
static void a_torn_append_is_cut_back(void **state) {
    fixture *f = *state;
    fault_io io;
    fault_io_init(&io);
    objstore_close(f->store);
    OK(objstore_open_dir(f->path, &io.table, &f->store, NULL));
    objstore *s = f->store;
    objstore_log *log;
    vd_error err;
    OK(s->v->log_create(s, LOG_KEY, &log, NULL));
    OK(s->v->log_append(log, "whole.", 6, NULL));
    OK(s->v->log_sync(log, NULL));
    fault_io_arm(&io, 1, ENOSPC, false);
    FAILS(s->v->log_append(log, "torn record", 11, &err), VD_DISK_FULL);
    assert_true(holds(s, LOG_KEY, "whole."));
    FAILS(s->v->log_sync(log, &err), VD_DISK_FULL);
    s->v->log_close(log);
    reopen_with_system(f);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(what_is_put_can_be_got),
        WITH(a_put_is_invisible_until_commit),
        WITH(put_if_absent_finds_what_is_there),
        WITH(one_of_many_puts_if_absent_wins),
        WITH(one_wins_without_hard_links_too),
        WITH(hostile_names_stay_inside),
        WITH(keys_that_are_none_are_refused),
        WITH(names_of_the_longest_kind_fit),
        WITH(strangers_are_not_shown_nor_touched),
        WITH(lists_by_prefix),
        WITH(a_visitor_can_stop),
        WITH(set_aside_keeps_every_copy),
        WITH(a_log_grows),
        WITH(a_second_opener_is_told),
        WITH(folders_are_made),
        WITH(short_writes_and_reads_are_gone_on_with),
        WITH(a_full_disk_is_named),
        WITH(a_put_is_old_or_new),
        WITH(a_put_if_absent_is_none_or_new),
        WITH(a_remove_is_done_or_not),
        WITH(setting_aside_is_done_or_not),
        WITH(a_log_keeps_what_it_synced),
        WITH(removing_a_log_is_done_or_not),
        WITH(a_torn_append_is_cut_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
