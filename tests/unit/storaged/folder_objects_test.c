/*
 * folder_objects_test.c - objects in a folder: what is put is there with its ETag, also after a reopen; conditions are exact under a
 * race; pages are sorted and whole; and every I/O call failing in turn leaves the old object or the new one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "storaged/folder_objects.h"
#include "storaged/object_file.h"
#include "unit/store/check.h"
#include "unit/store/fault_io.h"

static const object_condition always = {NULL, NULL};
static const object_condition if_absent = {NULL, "*"};

typedef struct fixture {
    char path[256];
    objects *store;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    check_make_folder(f->path);
    OK(folder_objects_open(f->path, NULL, &f->store, NULL));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    objects_close(f->store);
    check_remove_folder(f->path);
    free(f);
    return 0;
}

static void reopen(fixture *f, const io_table *io) {
    objects_close(f->store);
    OK(folder_objects_open(f->path, io, &f->store, NULL));
}

static vd_status put(objects *o, const char *key, const char *text, const object_condition *condition,
                     object_info *info) {
    objects_put *p;
    vd_status status = o->v->put_begin(o, bytes_str(key), &p, NULL);
    if (status != VD_OK) {
        return status;
    }
    size_t half = strlen(text) / 2;
    status = o->v->put_write(p, text, half, NULL);
    if (status == VD_OK) {
        status = o->v->put_write(p, text + half, strlen(text) - half, NULL);
    }
    if (status != VD_OK) {
        o->v->put_abort(p);
        return status;
    }
    object_info ignored;
    return o->v->put_commit(p, condition, info ? info : &ignored, NULL);
}

/* NULL: not there. */
static bool holds(objects *o, const char *key, const char *text) {
    object_info info;
    objects_reader *reader;
    vd_status status = o->v->open(o, bytes_str(key), &info, &reader, NULL);
    if (status == VD_NOT_FOUND) {
        return text == NULL;
    }
    OK(status);
    char *data = malloc(info.size + 1);
    assert_non_null(data);
    OK(o->v->read(reader, 0, data, info.size, NULL));
    uint8_t sum[CHECKSUM_BYTES];
    char hex[CHECKSUM_HEX_BYTES];
    assert_true(checksum_of(data, info.size, sum));
    hex_encode(sum, sizeof sum, hex);
    assert_string_equal(info.etag, hex);
    bool same = text && bytes_equal(bytes_of(data, info.size), bytes_str(text));
    o->v->close_reader(reader);
    free(data);
    return same;
}

typedef struct keys {
    char text[4096];
    size_t count, damaged;
} keys;

static vd_status add_key(void *arg, const char *key, const object_info *info) {
    keys *k = arg;
    size_t used = strlen(k->text);
    snprintf(k->text + used, sizeof k->text - used, "%.100s=%llu\n", key, (unsigned long long)info->size);
    k->count++;
    k->damaged += info->etag[0] == '\0';
    return VD_OK;
}

static keys list(objects *o, const char *prefix, const char *after, size_t limit, bool *more) {
    keys k = {0};
    bool ignored;
    OK(o->v->list(o, bytes_str(prefix), bytes_str(after), limit, add_key, &k, more ? more : &ignored, NULL));
    return k;
}

/* Files in <dir>/objects whose names begin with `front`. */
static int files(const fixture *f, const char *front) {
    char folder[300];
    snprintf(folder, sizeof folder, "%s/objects", f->path);
    DIR *d = opendir(folder);
    assert_non_null(d);
    int count = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
                 strncmp(e->d_name, front, strlen(front)) == 0;
    }
    closedir(d);
    return count;
}

/* ---- objects ---- */

static void what_is_put_is_there_also_after_a_reopen(void **state) {
    fixture *f = *state;
    object_info first, second, seen;
    OK(put(f->store, "a", "old", &always, &first));
    OK(put(f->store, "a", "new and longer", &always, &second));
    OK(put(f->store, "a/b", "a key below a key", &always, NULL));
    OK(put(f->store, "empty", "", &always, NULL));
    assert_string_not_equal(first.etag, second.etag);
    assert_int_equal(second.size, strlen("new and longer"));
    reopen(f, NULL);
    assert_true(holds(f->store, "a", "new and longer"));
    assert_true(holds(f->store, "a/b", "a key below a key"));
    assert_true(holds(f->store, "empty", ""));
    OK(f->store->v->open(f->store, bytes_str("a"), &seen, NULL, NULL));
    assert_string_equal(seen.etag, second.etag);
    OK(f->store->v->remove(f->store, bytes_str("a"), &always, NULL));
    FAILS(f->store->v->remove(f->store, bytes_str("a"), &always, NULL), VD_NOT_FOUND);
    assert_true(holds(f->store, "a", NULL));
    assert_true(holds(f->store, "a/b", "a key below a key"));
    assert_int_equal(files(f, ".put-"), 0);
}

static void an_open_object_stays_what_it_was(void **state) {
    const fixture *f = *state;
    object_info info;
    objects_reader *reader;
    char data[4] = "";
    OK(put(f->store, "k", "old", &always, NULL));
    OK(f->store->v->open(f->store, bytes_str("k"), &info, &reader, NULL));
    OK(put(f->store, "k", "new", &always, NULL));
    OK(f->store->v->remove(f->store, bytes_str("k"), &always, NULL));
    OK(f->store->v->read(reader, 0, data, 3, NULL));
    assert_string_equal(data, "old");
    f->store->v->close_reader(reader);
}

static void conditions_decide_at_the_end(void **state) {
    const fixture *f = *state;
    objects *o = f->store;
    object_info first, second;
    char tag[CHECKSUM_HEX_BYTES + 2];
    OK(put(o, "k", "one", &if_absent, &first));
    FAILS(put(o, "k", "two", &if_absent, NULL), VD_FAILED_PRECONDITION);
    assert_true(holds(o, "k", "one"));
    snprintf(tag, sizeof tag, "\"%s\"", first.etag);
    const object_condition if_first = {tag, NULL}, if_any = {"*", NULL};
    FAILS(put(o, "none", "x", &if_any, NULL), VD_FAILED_PRECONDITION);
    OK(put(o, "k", "two", &if_first, &second));
    FAILS(put(o, "k", "three", &if_first, NULL), VD_FAILED_PRECONDITION);
    FAILS(o->v->remove(o, bytes_str("k"), &if_first, NULL), VD_FAILED_PRECONDITION);
    FAILS(o->v->remove(o, bytes_str("none"), &if_first, NULL), VD_FAILED_PRECONDITION);
    assert_true(holds(o, "k", "two"));
    /* begun while it was there, ended when it is gone */
    objects_put *p;
    object_info info;
    OK(o->v->put_begin(o, bytes_str("k"), &p, NULL));
    OK(o->v->remove(o, bytes_str("k"), &if_any, NULL));
    OK(o->v->put_commit(p, &if_absent, &info, NULL));
    assert_true(holds(o, "k", ""));
    assert_int_equal(files(f, ".put-"), 0);
}

#define RACERS 4
#define ROUNDS 40

typedef struct racer {
    objects *store;
    int number;
    int wins;
} racer;

static void *race(void *arg) {
    racer *r = arg;
    for (int round = 0; round < ROUNDS; round++) {
        char key[64], text[32];
        snprintf(key, sizeof key, "race-%d", round);
        snprintf(text, sizeof text, "racer %d", r->number);
        objects_put *p;
        object_info info;
        if (r->store->v->put_begin(r->store, bytes_str(key), &p, NULL) == VD_OK) {
            (void)r->store->v->put_write(p, text, strlen(text), NULL);
            r->wins += r->store->v->put_commit(p, &if_absent, &info, NULL) == VD_OK;
        }
    }
    return NULL;
}

static void one_of_many_puts_if_absent_wins(void **state) {
    const fixture *f = *state;
    pthread_t threads[RACERS];
    racer racers[RACERS];
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (racer){f->store, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    int wins = 0;
    for (int i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        wins += racers[i].wins;
    }
    assert_int_equal(wins, ROUNDS);
    assert_int_equal(list(f->store, "race-", "", 1000, NULL).count, ROUNDS);
    print_message("%d keys, %d racers, %d wins\n", ROUNDS, RACERS, wins);
}

/* ---- keys ---- */

static void long_keys_work(void **state) {
    fixture *f = *state;
    char longest[VD_OBJECT_KEY_MAX_BYTES + 1], other[VD_OBJECT_KEY_MAX_BYTES + 1], slashes[300];
    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(other, longest, sizeof longest);
    other[VD_OBJECT_KEY_MAX_BYTES - 1] = 'l'; /* differs in the last byte only */
    memset(slashes, '/', sizeof slashes - 1); /* short, but not once it is encoded */
    slashes[0] = 'a';
    slashes[sizeof slashes - 1] = '\0';
    OK(put(f->store, longest, "longest", &if_absent, NULL));
    OK(put(f->store, other, "other", &if_absent, NULL));
    OK(put(f->store, slashes, "slashes", &if_absent, NULL));
    FAILS(put(f->store, longest, "again", &if_absent, NULL), VD_FAILED_PRECONDITION);
    reopen(f, NULL);
    assert_true(holds(f->store, longest, "longest"));
    assert_true(holds(f->store, other, "other"));
    assert_true(holds(f->store, slashes, "slashes"));
    assert_int_equal(list(f->store, "", "", 10, NULL).count, 3);
    assert_int_equal(list(f->store, "kkkk", "", 10, NULL).count, 2);
    assert_int_equal(list(f->store, "kkkk", longest, 10, NULL).count, 1);
    OK(f->store->v->remove(f->store, bytes_str(longest), &always, NULL));
    assert_int_equal(list(f->store, "", "", 10, NULL).count, 2);
}

static void pages_are_sorted_and_whole(void **state) {
    const fixture *f = *state;
    objects *o = f->store;
    static const char *const keys_in_order[] = {"!",  "A", "_vectors/a",  "_vectors/b",      "a", "a!", "a/b",
                                                "aa", "b", "caf\xC3\xA9", "\xF0\x9F\x8D\x8E"};
    size_t count = sizeof keys_in_order / sizeof keys_in_order[0];
    for (size_t i = 0; i < count; i++) {
        OK(put(o, keys_in_order[(i * 7) % count], "x", &always, NULL));
    }
    char wanted[1024] = "";
    for (size_t i = 0; i < count; i++) {
        strcat(strcat(wanted, keys_in_order[i]), "=1\n");
    }
    bool more;
    assert_string_equal(list(o, "", "", 100, &more).text, wanted);
    assert_false(more);
    for (size_t limit = 1; limit <= count + 1; limit++) { /* pages of every size come to the same */
        char all[1024] = "", after[64] = "";
        size_t pages = 0;
        for (more = true; more; pages++) {
            keys k = list(o, "", after, limit, &more);
            assert_true(k.count == limit || !more);
            strcat(all, k.text);
            char *last = strrchr(k.text, '=');
            assert_non_null(last);
            *last = '\0';
            char *line = strrchr(k.text, '\n');
            snprintf(after, sizeof after, "%.60s", line ? line + 1 : k.text);
        }
        assert_string_equal(all, wanted);
        assert_int_equal(pages, (count + limit - 1) / limit);
    }
    assert_string_equal(list(o, "a", "", 100, NULL).text, "a=1\na!=1\na/b=1\naa=1\n");
    assert_string_equal(list(o, "a", "a!", 100, NULL).text, "a/b=1\naa=1\n");
    assert_string_equal(list(o, "zz", "", 100, &more).text, "");
    assert_false(more);
}

/* ---- strangers, damage, locks ---- */

static void make_file(const fixture *f, const char *name, const char *text) {
    char path[700];
    snprintf(path, sizeof path, "%s/objects/%s", f->path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void temporaries_are_swept_and_strangers_left(void **state) {
    fixture *f = *state;
    OK(put(f->store, "k", "x", &always, NULL));
    static const char *const strangers[] = {
        ".put-0123", ".put-0123456789ABCDEF", ".put-0123456789abcdef.old", "a%2fb", "notes%zz.x", "~not-a-hash"};
    size_t count = sizeof strangers / sizeof strangers[0];
    for (size_t i = 0; i < count; i++) {
        make_file(f, strangers[i], "?");
    }
    make_file(f, ".put-0123456789abcdef", "ours, from a crash");
    make_file(f, ".put-0000000000000000", "ours, from a crash");
    reopen(f, NULL);
    assert_int_equal(files(f, ""), (int)count + 1);
    assert_int_equal(list(f->store, "", "", 100, NULL).count, 1);
    assert_true(holds(f->store, "k", "x"));
}

static void damage_is_told_apart_from_absence(void **state) {
    fixture *f = *state;
    objects *o = f->store;
    object_info info;
    char path[700];
    OK(put(o, "k", "some content", &always, NULL));
    snprintf(path, sizeof path, "%s/objects/k", f->path);
    assert_int_equal(truncate(path, 40), 0);
    vd_error err;
    FAILS(o->v->open(o, bytes_str("k"), &info, NULL, &err), VD_DATA_LOSS);
    assert_non_null(strstr(err.text, "damaged"));
    keys k = list(o, "", "", 10, NULL);
    assert_string_equal(k.text, "k=40\n"); /* listed, or its name would look free */
    assert_int_equal(k.damaged, 1);
    FAILS(put(o, "k", "x", &if_absent, NULL), VD_FAILED_PRECONDITION);
    OK(put(o, "k", "new", &always, NULL));
    assert_true(holds(o, "k", "new"));
    /* a copy under another name says itself that it is none */
    char command[1500];
    snprintf(command, sizeof command, "cp '%s' '%s/objects/copy'", path, f->path);
    assert_int_equal(system(command), 0);
    FAILS(o->v->open(o, bytes_str("copy"), &info, NULL, &err), VD_DATA_LOSS);
    OK(o->v->remove(o, bytes_str("copy"), &always, NULL));
    make_file(f, "foreign", "put here by hand");
    FAILS(o->v->open(o, bytes_str("foreign"), &info, NULL, &err), VD_DATA_LOSS);
}

static void one_process_at_a_time(void **state) {
    const fixture *f = *state;
    objects *second;
    vd_error err;
    FAILS(folder_objects_open(f->path, NULL, &second, &err), VD_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "in use by another storaged"));
    FAILS(folder_objects_open("", NULL, &second, &err), VD_INVALID_ARGUMENT);
    FAILS(folder_objects_open("/proc/nothing/here", NULL, &second, &err), VD_NOT_FOUND);
}

static void a_folder_that_is_gone_is_not_empty(void **state) {
    const fixture *f = *state;
    objects *o = f->store;
    OK(put(o, "k", "x", &always, NULL));
    char objects_folder[300], moved[320];
    snprintf(objects_folder, sizeof objects_folder, "%s/objects", f->path);
    snprintf(moved, sizeof moved, "%s/moved", f->path);
    assert_int_equal(rename(objects_folder, moved), 0);
    keys k = {0};
    bool more;
    FAILS(o->v->list(o, bytes_str(""), bytes_str(""), 10, add_key, &k, &more, NULL), VD_INTERNAL);
    FAILS(put(o, "k", "y", &always, NULL), VD_INTERNAL);
    FAILS(o->v->remove(o, bytes_str("k"), &always, NULL), VD_INTERNAL);
    assert_int_equal(rename(moved, objects_folder), 0);
    assert_true(holds(o, "k", "x"));
}

/* ---- every I/O call fails in turn ---- */

typedef vd_status (*change)(objects *o);

static vd_status replace(objects *o) {
    return put(o, "k", "the new content", &always, NULL);
}
static vd_status replace_if_old(objects *o) {
    uint8_t sum[CHECKSUM_BYTES];
    char tag[CHECKSUM_HEX_BYTES + 2] = "\"";
    assert_true(checksum_of("old", 3, sum));
    hex_encode(sum, sizeof sum, tag + 1);
    strcat(tag, "\"");
    const object_condition c = {tag, NULL};
    return put(o, "k", "the new content", &c, NULL);
}
static vd_status take_away(objects *o) {
    return o->v->remove(o, bytes_str("k"), &always, NULL);
}
static vd_status look(objects *o) {
    object_info info;
    objects_reader *reader;
    char data[3];
    vd_status status = o->v->open(o, bytes_str("k"), &info, &reader, NULL);
    if (status == VD_OK) {
        status = o->v->read(reader, 0, data, 3, NULL);
        o->v->close_reader(reader);
    }
    return status;
}
static vd_status list_all(objects *o) {
    keys k = {0};
    bool more;
    return o->v->list(o, bytes_str(""), bytes_str(""), 10, add_key, &k, &more, NULL);
}

/* After each failure: old or new, never anything else, and what was answered with OK is there. */
static void fail_each(fixture *f, change run, const char *after, int error, bool sticky) {
    fault_io io;
    fault_io_init(&io);
    int failures = 0;
    for (int i = 1;; i++) {
        reopen(f, NULL);
        OK(put(f->store, "k", "old", &always, NULL));
        reopen(f, &io.table);
        fault_io_arm(&io, i, error, sticky);
        vd_status status = run(f->store);
        bool failed = io.failed > 0;
        fault_io_arm(&io, 0, 0, false);
        reopen(f, NULL);
        bool old = holds(f->store, "k", "old");
        assert_true(old || holds(f->store, "k", after));
        assert_true(status != VD_NOT_FOUND);
        if (status == VD_OK) {
            assert_true(holds(f->store, "k", after));
        }
        if (error == ENOSPC && status != VD_OK) {
            assert_true(status == VD_DISK_FULL);
        }
        assert_int_equal(files(f, ".put-"), 0); /* swept by the reopen at the latest */
        assert_int_equal(list(f->store, "", "", 10, NULL).count, holds(f->store, "k", NULL) ? 0 : 1);
        if (!failed) {
            break;
        }
        failures++;
    }
    print_message("%d calls failed in turn\n", failures);
    assert_true(failures >= 2);
}

static void every_call_fails_in_turn(void **state) {
    fixture *f = *state;
    static const struct {
        change run;
        const char *after;
    } changes[] = {{replace, "the new content"},
                   {replace_if_old, "the new content"},
                   {take_away, NULL},
                   {look, "old"},
                   {list_all, "old"}};
    static const int errors[] = {EIO, ENOSPC, EMFILE};
    for (size_t c = 0; c < sizeof changes / sizeof changes[0]; c++) {
        for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
            fail_each(f, changes[c].run, changes[c].after, errors[e], false);
            fail_each(f, changes[c].run, changes[c].after, errors[e], true);
        }
    }
}

static void opening_fails_cleanly_at_every_call(void **state) {
    fixture *f = *state;
    OK(put(f->store, "k", "old", &always, NULL));
    objects_close(f->store);
    f->store = NULL;
    fault_io io;
    fault_io_init(&io);
    int failures = 0;
    for (int i = 1;; i++) {
        fault_io_arm(&io, i, EIO, false);
        objects *o = NULL;
        vd_status status = folder_objects_open(f->path, &io.table, &o, NULL);
        bool failed = io.failed > 0;
        fault_io_arm(&io, 0, 0, false);
        if (status == VD_OK) {
            assert_true(holds(o, "k", "old"));
            objects_close(o);
        }
        if (!failed) {
            break;
        }
        failures++;
    }
    assert_true(failures >= 3);
    OK(folder_objects_open(f->path, NULL, &f->store, NULL));
    print_message("%d calls failed in turn\n", failures);
}

static void short_reads_and_writes_are_gone_on_with(void **state) {
    fixture *f = *state;
    fault_io io;
    fault_io_init(&io);
    io.write_at_most = 3;
    reopen(f, &io.table);
    OK(put(f->store, "k", "more than three bytes", &always, NULL));
    assert_true(holds(f->store, "k", "more than three bytes"));
    reopen(f, NULL);
    assert_true(holds(f->store, "k", "more than three bytes"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_is_there_also_after_a_reopen),
        TEST(an_open_object_stays_what_it_was),
        TEST(conditions_decide_at_the_end),
        TEST(one_of_many_puts_if_absent_wins),
        TEST(long_keys_work),
        TEST(pages_are_sorted_and_whole),
        TEST(temporaries_are_swept_and_strangers_left),
        TEST(damage_is_told_apart_from_absence),
        TEST(one_process_at_a_time),
        TEST(a_folder_that_is_gone_is_not_empty),
        TEST(every_call_fails_in_turn),
        TEST(opening_fails_cleanly_at_every_call),
        TEST(short_reads_and_writes_are_gone_on_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
