/*
 * contract_test.c - what objstore.h promises, over every kind of store alike: one table of cases, run over the directory and over the
 * object daemon (a real door on a port of its own). Each case says what it proves; what a kind may do differently is only what
 * the vtable says itself (remote).
 */
#include <pthread.h>

#include "storaged/door.h"
#include "storaged/folder_objects.h"
#include "store/storaged.h"
#include "unit/store/check.h"
#include "vectord/limits.h"

#define EPOCH     "00112233445566778899aabbccddeeff"
#define KEY       "_vectors/fruit.lhv1"
#define LOG_KEY   "_vectors/.journal/" EPOCH "/0000000000000001"
#define LOG_KEY_2 "_vectors/.journal/" EPOCH "/0000000000000002"

typedef struct fixture {
    char path[256];
    objects *objects; /* behind the door */
    metrics *metrics;
    door *door;
    objstore *store;
    size_t most; /* bytes of the largest object that is worth its time */
} fixture;

static int setup_dir(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    check_make_folder(f->path);
    OK(objstore_open_dir(f->path, NULL, &f->store, NULL));
    f->most = SIZE_MAX;
    *state = f;
    return 0;
}

static int setup_with(void **state, const char *prefix, size_t put_buffer_bytes) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    check_make_folder(f->path);
    OK(folder_objects_open(f->path, NULL, &f->objects, NULL));
    f->metrics = metrics_new();
    const char *binds[] = {"127.0.0.1:0"};
    OK(door_start(f->objects, f->metrics, &(door_options){.binds = binds, .bind_count = 1}, &f->door, NULL));
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", door_port(f->door, 0));
    const objstore_http_options options = {.url = url, .prefix = prefix, .put_buffer_bytes = put_buffer_bytes};
    vd_error err = {0};
    if (objstore_open_storaged(&options, &f->store, &err) != VD_OK) {
        fail_msg("%s", err.text);
    }
    f->most = put_buffer_bytes ? 20000 : SIZE_MAX; /* four bytes at a time */
    *state = f;
    return 0;
}

static int setup_storaged(void **state) {
    return setup_with(state, NULL, 0);
}

/* Another vectord's prefix, and a buffer so small that every put streams. */
static int setup_streaming(void **state) {
    return setup_with(state, "team-\xC3\xA9", 4);
}

static int teardown(void **state) {
    fixture *f = *state;
    objstore_close(f->store);
    door_stop(f->door, 5000);
    objects_close(f->objects);
    metrics_free(f->metrics);
    check_remove_folder(f->path);
    free(f);
    return 0;
}

/* ---- helpers ---- */

static vd_status put_bytes(objstore *s, const char *key, const void *data, size_t size, bool if_absent, vd_error *err) {
    objstore_put *p;
    vd_status status = s->v->put_begin(s, key, if_absent, &p, err);
    if (status != VD_OK) {
        return status;
    }
    size_t half = size / 2;
    status = s->v->put_write(p, data, half, err);
    if (status == VD_OK) {
        status = s->v->put_write(p, (const uint8_t *)data + half, size - half, err);
    }
    if (status != VD_OK) {
        s->v->put_abort(p);
        return status;
    }
    return s->v->put_commit(p, err);
}

static vd_status put(objstore *s, const char *key, const char *text, bool if_absent) {
    return put_bytes(s, key, text, strlen(text), if_absent, NULL);
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
    char text[8192];
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

/* ---- the cases ---- */

static void what_is_put_can_be_got(void **state) {
    objstore *s = ((fixture *)*state)->store;
    objstore_blob blob;
    FAILS(s->v->get(s, KEY, &blob, NULL), VD_NOT_FOUND);
    OK(put(s, KEY, "old", false));
    assert_true(holds(s, KEY, "old"));
    OK(put(s, KEY, "new and longer", false));
    assert_true(holds(s, KEY, "new and longer"));
    OK(put(s, KEY, "", false));
    assert_true(holds(s, KEY, ""));
    OK(s->v->remove(s, KEY, NULL));
    assert_true(holds(s, KEY, NULL));
    OK(s->v->remove(s, KEY, NULL)); /* missing is no error */
}

static void large_objects_of_any_cut(void **state) {
    objstore *s = ((fixture *)*state)->store;
    static const size_t sizes[] = {1,
                                   3,
                                   4,
                                   5,
                                   4096,
                                   VD_STORE_PUT_BUFFER_BYTES - 1,
                                   VD_STORE_PUT_BUFFER_BYTES,
                                   VD_STORE_PUT_BUFFER_BYTES + 1,
                                   5 * 1024 * 1024 + 3};
    uint8_t *data = malloc(sizes[8]);
    assert_non_null(data);
    for (size_t i = 0; i < sizes[8]; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 11);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && sizes[i] <= ((fixture *)*state)->most; i++) {
        objstore_put *p;
        OK(s->v->put_begin(s, KEY, false, &p, NULL));
        for (size_t at = 0, piece = 1; at < sizes[i]; piece = piece * 3 % 100003 + 1) { /* uneven pieces */
            size_t part = piece < sizes[i] - at ? piece : sizes[i] - at;
            OK(s->v->put_write(p, data + at, part, NULL));
            at += part;
        }
        OK(s->v->put_commit(p, NULL));
        objstore_blob blob;
        OK(s->v->get(s, KEY, &blob, NULL));
        assert_int_equal(blob.size, sizes[i]);
        assert_memory_equal(blob.data, data, sizes[i]);
        objstore_blob_release(&blob);
    }
    free(data);
}

static void a_put_is_invisible_until_commit(void **state) {
    objstore *s = ((fixture *)*state)->store;
    objstore_put *p;
    OK(put(s, KEY, "old", false));
    OK(s->v->put_begin(s, KEY, false, &p, NULL));
    OK(s->v->put_write(p, "new, and more than a buffer", 27, NULL));
    assert_true(holds(s, KEY, "old"));
    assert_int_equal(list(s, "").count, 1);
    s->v->put_abort(p);
    assert_true(holds(s, KEY, "old"));
    assert_int_equal(list(s, "").count, 1);
}

static void put_if_absent_finds_what_is_there(void **state) {
    objstore *s = ((fixture *)*state)->store;
    OK(put(s, KEY, "first text", true));
    FAILS(put(s, KEY, "second text", true), VD_ALREADY_EXISTS);
    FAILS(put(s, KEY, "first text", true), VD_ALREADY_EXISTS); /* also with the same bytes */
    assert_true(holds(s, KEY, "first text"));
    OK(s->v->remove(s, KEY, NULL));
    OK(put(s, KEY, "third text", true));
    assert_true(holds(s, KEY, "third text"));
}

#define RACERS 3
#define ROUNDS 20

typedef struct racer {
    objstore *store;
    int number;
    int wins;
} racer;

static void *race(void *arg) {
    racer *r = arg;
    for (int round = 0; round < ROUNDS; round++) {
        char key[64], text[32];
        snprintf(key, sizeof key, "_vectors/race-%d.lhv1", round);
        snprintf(text, sizeof text, "racer number %d", r->number);
        objstore_put *p;
        if (r->store->v->put_begin(r->store, key, true, &p, NULL) == VD_OK) {
            (void)r->store->v->put_write(p, text, strlen(text), NULL);
            r->wins += r->store->v->put_commit(p, NULL) == VD_OK;
        }
    }
    return NULL;
}

static void one_of_many_puts_if_absent_wins(void **state) {
    objstore *s = ((fixture *)*state)->store;
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
    print_message("%d keys, %d racers, %d wins\n", ROUNDS, RACERS, wins);
}

static void names_of_every_kind(void **state) {
    objstore *s = ((fixture *)*state)->store;
    static const char *const names[] = {
        ".",   "...",  ".hidden", "%2F",     "100%", "a%2fb", "a b",   "caf\xC3\xA9",
        "-rf", "LOCK", ".put-x",  "a+b&c=d", "*?#",  "\"'\\", "~home", "\xF0\x9F\x8D\x8E"};
    size_t count = sizeof names / sizeof names[0];
    for (size_t i = 0; i < count; i++) {
        char key[128];
        snprintf(key, sizeof key, "_vectors/%s.lhv1", names[i]);
        OK(put(s, key, names[i], true));
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

static void the_longest_name_fits(void **state) {
    objstore *s = ((fixture *)*state)->store;
    char key[300];
    snprintf(key, sizeof key, "_vectors/%0200d.lhv1", 7);
    OK(put(s, key, "x", true));
    OK(s->v->set_aside(s, key, NULL));
    assert_true(holds(s, key, NULL));
}

static void keys_that_are_none_are_refused(void **state) {
    objstore *s = ((fixture *)*state)->store;
    static const char *const bad[] = {"", "/etc/passwd"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        objstore_blob blob;
        objstore_log *log;
        FAILS(put(s, bad[i], "x", false), VD_INVALID_ARGUMENT);
        FAILS(s->v->get(s, bad[i], &blob, NULL), VD_INVALID_ARGUMENT);
        FAILS(s->v->remove(s, bad[i], NULL), VD_INVALID_ARGUMENT);
        FAILS(s->v->log_create(s, bad[i], &log, NULL), VD_INVALID_ARGUMENT);
    }
}

static void lists_by_prefix_and_hides_what_is_aside(void **state) {
    objstore *s = ((fixture *)*state)->store;
    OK(put(s, "_vectors/a.lhv1", "1", false));
    OK(put(s, "_vectors/ab.lhv1", "22", false));
    OK(put(s, "_vectors/b.lhv1", "333", false));
    OK(put(s, LOG_KEY, "4444", false));
    assert_int_equal(list(s, "").count, 4);
    assert_int_equal(list(s, "_vectors/").count, 4);
    assert_int_equal(list(s, "_vectors/a").count, 2);
    assert_string_equal(list(s, "_vectors/b").text, "_vectors/b.lhv1=3\n");
    assert_string_equal(list(s, "_vectors/.journal/").text, LOG_KEY "=4\n");
    assert_int_equal(list(s, "other").count, 0);
    OK(s->v->set_aside(s, "_vectors/b.lhv1", NULL));
    assert_true(holds(s, "_vectors/b.lhv1", NULL));
    assert_int_equal(list(s, "").count, 3);
    OK(put(s, "_vectors/b.lhv1", "again", true)); /* the name is free */
    OK(s->v->set_aside(s, "_vectors/b.lhv1", NULL));
    assert_int_equal(list(s, "").count, 3);
    FAILS(s->v->set_aside(s, "_vectors/b.lhv1", NULL), VD_NOT_FOUND);
}

static vd_status stop_at_once(void *arg, const char *key, uint64_t size) {
    (void)key;
    (void)size;
    ++*(int *)arg;
    return VD_CANCELLED;
}

static void a_visitor_can_stop(void **state) {
    objstore *s = ((fixture *)*state)->store;
    OK(put(s, "_vectors/a.lhv1", "1", false));
    OK(put(s, "_vectors/b.lhv1", "1", false));
    int seen = 0;
    FAILS(s->v->list(s, "", stop_at_once, &seen, NULL), VD_CANCELLED);
    assert_int_equal(seen, 1);
}

static void a_synced_log_is_an_object(void **state) {
    objstore *s = ((fixture *)*state)->store;
    objstore_log *log;
    OK(s->v->log_create(s, LOG_KEY, &log, NULL));
    OK(s->v->log_append(log, "one,", 4, NULL));
    OK(s->v->log_append(log, "two,", 4, NULL));
    OK(s->v->log_sync(log, NULL));
    assert_true(holds(s, LOG_KEY, "one,two,"));
    if (s->v->remote) {
        FAILS(s->v->log_append(log, "three", 5, NULL), VD_FAILED_PRECONDITION);
        OK(s->v->log_sync(log, NULL)); /* nothing is left to do */
    } else {
        OK(s->v->log_append(log, "three", 5, NULL));
        OK(s->v->log_sync(log, NULL));
        assert_true(holds(s, LOG_KEY, "one,two,three"));
    }
    s->v->log_close(log);
    /* an existing key is refused: at once, or by the sync of a store that seals */
    vd_status status = s->v->log_create(s, LOG_KEY, &log, NULL);
    if (s->v->remote) {
        OK(status);
        OK(s->v->log_append(log, "x", 1, NULL));
        FAILS(s->v->log_sync(log, NULL), VD_ALREADY_EXISTS);
        FAILS(s->v->log_append(log, "y", 1, NULL), VD_ALREADY_EXISTS); /* broken from then on */
        FAILS(s->v->log_sync(log, NULL), VD_ALREADY_EXISTS);
        s->v->log_close(log);
        /* the same log again, because its answer was lost: a success */
        OK(s->v->log_create(s, LOG_KEY, &log, NULL));
        OK(s->v->log_append(log, "one,two,", 8, NULL));
        OK(s->v->log_sync(log, NULL));
        s->v->log_close(log);
    } else {
        FAILS(status, VD_ALREADY_EXISTS);
    }
    objstore_blob blob;
    OK(s->v->get(s, LOG_KEY, &blob, NULL));
    assert_memory_equal(blob.data, "one,two,", 8);
    objstore_blob_release(&blob);
    OK(s->v->log_create(s, LOG_KEY_2, &log, NULL));
    s->v->log_close(log);
    OK(s->v->remove(s, LOG_KEY, NULL));
    OK(s->v->remove(s, LOG_KEY_2, NULL));
    assert_int_equal(list(s, "").count, 0);
}

int main(void) {
#define TABLE(name, setup)                                                                                             \
    static const struct CMUnitTest name[] = {                                                                          \
        cmocka_unit_test_setup_teardown(what_is_put_can_be_got, setup, teardown),                                      \
        cmocka_unit_test_setup_teardown(large_objects_of_any_cut, setup, teardown),                                    \
        cmocka_unit_test_setup_teardown(a_put_is_invisible_until_commit, setup, teardown),                             \
        cmocka_unit_test_setup_teardown(put_if_absent_finds_what_is_there, setup, teardown),                           \
        cmocka_unit_test_setup_teardown(one_of_many_puts_if_absent_wins, setup, teardown),                             \
        cmocka_unit_test_setup_teardown(names_of_every_kind, setup, teardown),                                         \
        cmocka_unit_test_setup_teardown(the_longest_name_fits, setup, teardown),                                       \
        cmocka_unit_test_setup_teardown(keys_that_are_none_are_refused, setup, teardown),                              \
        cmocka_unit_test_setup_teardown(lists_by_prefix_and_hides_what_is_aside, setup, teardown),                     \
        cmocka_unit_test_setup_teardown(a_visitor_can_stop, setup, teardown),                                          \
        cmocka_unit_test_setup_teardown(a_synced_log_is_an_object, setup, teardown),                                   \
    }
    TABLE(over_dir, setup_dir);
    TABLE(over_storaged, setup_storaged);
    TABLE(over_storaged_streaming, setup_streaming);
    return cmocka_run_group_tests(over_dir, NULL, NULL) + cmocka_run_group_tests(over_storaged, NULL, NULL) +
           cmocka_run_group_tests(over_storaged_streaming, NULL, NULL);
}
