/*
 * client_test.c - the C client against the real server: what is stored is found, errors are the server's own, large adds arrive
 * whole, a server that is killed, frozen or started again is noticed in time and found again, and closing keeps its promises with
 * replies on their way and with a socket that does not close.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <nng/nng.h>
#include <pthread.h>

#include "base/clock.h"
#include "support/server.h"
#include "vectord/client.h"

#define OK(expression) ok((expression), #expression, &err)

static void ok(vd_status status, const char *what, const vd_error *err) {
    if (status != VD_OK) {
        fail_msg("%s: %s", what, err->text);
    }
}

static test_server server;

static int start_server(void **state) {
    (void)state;
    return test_server_init(&server) && test_server_start(&server, NULL) ? 0 : -1;
}

static int end_server(void **state) {
    (void)state;
    test_server_fini(&server);
    return 0;
}

static vd_client *open_client(uint32_t timeout_ms) {
    vd_error err = {0};
    vd_client *client = NULL;
    vd_client_options options = {.timeout_ms = timeout_ms, .connect_timeout_ms = 5000, .wait_for_server = true};
    OK(vd_client_open(server.rpc_url, &options, &client, &err));
    return client;
}

static void create(vd_client *client, const char *name, uint32_t dimension) {
    vd_error err = {0};
    vd_client_index_options options = {.name = name, .dimension = dimension};
    OK(vd_client_create_index(client, &options, &err));
}

static void life_of_an_index(void **state) {
    (void)state;
    vd_error err = {0};
    vd_client *client = open_client(0);
    vd_client_index_options options = {.name = "fr\xc3\xbc/it",
                                       .dimension = 3,
                                       .m = 8,
                                       .ef_construction = 64,
                                       .ef_search = 33,
                                       .distance = "euclidean"};
    OK(vd_client_create_index(client, &options, &err));
    assert_int_equal(vd_client_create_index(client, &options, &err), VD_ALREADY_EXISTS);
    vd_client_index index;
    OK(vd_client_get_index(client, options.name, &index, &err));
    assert_string_equal(index.name, options.name);
    assert_string_equal(index.distance, "euclidean");
    assert_string_equal(index.state, "ready");
    assert_int_equal(index.m, 8);
    assert_int_equal(index.ef_construction, 64);
    assert_int_equal(index.ef_search, 33);
    assert_int_equal(index.length, 0);

    static const float values[3][3] = {{0, 0, 1}, {0, 0, 2}, {0, 3, 4}};
    vd_client_item items[3] = {{.id = "a", .vector = values[0], .metadata = "{\"n\": 1.0}"},
                               {.id = "b\xe2\x82\xac", .vector = values[1]},
                               {.id = "c", .vector = values[2], .metadata = "[1, 2]"}};
    vd_client_added added;
    OK(vd_client_add_items(client, options.name, items, 3, 3, &added, &err));
    assert_int_equal(added.added, 3);
    assert_int_equal(added.length, 3);
    vd_client_search_request request = {.index = options.name, .vector = values[1], .dimension = 3, .k = 2};
    vd_client_results *results = NULL;
    OK(vd_client_search(client, &request, &results, &err));
    assert_int_equal(results->count, 2);
    assert_string_equal(results->hits[0].id, "b\xe2\x82\xac");
    assert_true(results->hits[0].distance == 0 && results->hits[0].score == 1);
    assert_null(results->hits[0].metadata);
    assert_string_equal(results->hits[1].id, "a");
    assert_true(results->hits[1].distance == 1 && results->hits[1].score == 0.5);
    assert_string_equal(results->hits[1].metadata, "{\"n\": 1.0}");
    vd_client_results_free(results);
    request = (vd_client_search_request){.index = options.name, .id = "a", .k = 10, .exact = true};
    OK(vd_client_search(client, &request, &results, &err));
    assert_int_equal(results->count, 2); /* itself is left out */
    vd_client_results_free(results);

    vd_client_names *names = NULL;
    OK(vd_client_list_indexes(client, &names, &err));
    assert_int_equal(names->count, 1);
    assert_string_equal(names->names[0], options.name);
    vd_client_names_free(names);
    vd_client_server health;
    OK(vd_client_health(client, &health, &err));
    assert_string_equal(health.status, "ok");
    assert_true(health.ready && health.durable);
    assert_int_equal(health.indexes, 1);
    OK(vd_client_delete_index(client, options.name, &err));
    assert_int_equal(vd_client_delete_index(client, options.name, &err), VD_NOT_FOUND);
    vd_client_close(client);
}

static void errors_are_the_servers_own(void **state) {
    (void)state;
    vd_error err = {0};
    vd_client *client = open_client(0);
    static const float values[4] = {1, 2, 3, 4};
    static const float zero[3] = {0, 0, 0};
    create(client, "errors", 3);
    vd_client_item items[2] = {{.id = "a", .vector = values}, {.id = "b", .vector = zero}};
    assert_int_equal(vd_client_add_items(client, "errors", items, 2, 3, NULL, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(strncmp(err.text, "items[1]", 8), 0);
    assert_int_equal(vd_client_add_items(client, "errors", items, 1, 4, NULL, &err), VD_INVALID_ARGUMENT);
    assert_string_equal(err.text, "items[0]: dim mismatch (index=3, got=4)");
    assert_int_equal(strncmp(err.field, "items[0]", 8), 0);
    vd_client_results *results = NULL;
    vd_client_search_request request = {.index = "errors", .vector = values, .dimension = 4};
    assert_int_equal(vd_client_search(client, &request, &results, &err), VD_INVALID_ARGUMENT);
    request = (vd_client_search_request){.index = "nope", .vector = values, .dimension = 3};
    assert_int_equal(vd_client_search(client, &request, &results, &err), VD_NOT_FOUND);
    vd_client_raw_request raw = {.method = "/vectord.v1.VectorService/Nope"};
    vd_client_reply reply = {0};
    assert_int_equal(vd_client_call_raw(client, &raw, &reply, &err), VD_UNIMPLEMENTED);
    OK(vd_client_delete_index(client, "errors", &err));
    vd_client_close(client);
}

/* The same request id twice is one write, with one answer: that is what makes sending again safe. */
static void a_write_sent_twice_is_applied_once(void **state) {
    (void)state;
    vd_error err = {0};
    vd_client *client = open_client(0);
    create(client, "twice", 2);
    /* AddItemsRequest{name: "twice", items: [{id: "a", vector: [1, 0]}]} */
    static const uint8_t payload[] = "\x0a\x05twice\x12\x0d\x0a\x01"
                                     "a\x12\x08\0\0\x80\x3f\0\0\0\0";
    vd_client_raw_request raw = {.method = "/vectord.v1.VectorService/AddItems",
                                 .payload = payload,
                                 .payload_bytes = sizeof payload - 1,
                                 .request_id = "one and the same",
                                 .request_id_bytes = 16};
    vd_client_reply first = {0};
    vd_client_reply second = {0};
    OK(vd_client_call_raw(client, &raw, &first, &err));
    OK(vd_client_call_raw(client, &raw, &second, &err));
    assert_int_equal(first.payload_bytes, second.payload_bytes);
    assert_memory_equal(first.payload, second.payload, first.payload_bytes);
    vd_client_reply_free(&first);
    vd_client_reply_free(&second);
    vd_client_index index;
    OK(vd_client_get_index(client, "twice", &index, &err));
    assert_int_equal(index.length, 1);
    assert_int_equal(index.sequence, 1);
    raw.request_id = NULL;
    raw.write = true;
    OK(vd_client_call_raw(client, &raw, &first, &err));
    vd_client_reply_free(&first);
    OK(vd_client_get_index(client, "twice", &index, &err));
    assert_int_equal(index.sequence, 2);
    OK(vd_client_delete_index(client, "twice", &err));
    vd_client_close(client);
}

enum { WIDE = 4096, WIDE_ITEMS = 4200 }; /* 16 KiB a vector: over one request of 64 MiB */

static void a_large_add_arrives_whole(void **state) {
    (void)state;
    vd_error err = {0};
    vd_client *client = open_client(300000);
    create(client, "wide", WIDE);
    float *values = calloc((size_t)WIDE_ITEMS * WIDE, sizeof *values);
    vd_client_item *items = calloc(WIDE_ITEMS, sizeof *items);
    char(*ids)[8] = calloc(WIDE_ITEMS, sizeof *ids);
    assert_true(values && items && ids);
    for (size_t i = 0; i < WIDE_ITEMS; i++) {
        snprintf(ids[i], sizeof ids[i], "%zu", i);
        values[i * WIDE + i % 2] = (float)(1 + i % 8); /* few different vectors: building the graph is not the point */
        items[i] = (vd_client_item){.id = ids[i], .vector = values + i * WIDE};
    }
    vd_client_added added;
    OK(vd_client_add_items(client, "wide", items, WIDE_ITEMS, WIDE, &added, &err));
    assert_int_equal(added.added, WIDE_ITEMS);
    assert_int_equal(added.length, WIDE_ITEMS);
    assert_int_equal(added.requests, 2);
    OK(vd_client_delete_index(client, "wide", &err));
    free(ids);
    free(items);
    free(values);
    vd_client_close(client);
}

typedef struct counter {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t good, bad;
} counter;

static void count(counter *c, bool good) {
    pthread_mutex_lock(&c->mutex);
    c->good += good;
    c->bad += !good;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void on_added(void *arg, vd_status status, const vd_client_added *added, const vd_error *err) {
    count(arg, status == VD_OK && added->added == 1 && !err);
}

static void on_found(void *arg, vd_status status, const vd_client_results *results, const vd_error *err) {
    count(arg, status == VD_OK && results->count == 1 && results->hits[0].distance < 1e-6 && !err);
}

static void wait_for(counter *c, size_t n) {
    pthread_mutex_lock(&c->mutex);
    while (c->good + c->bad < n) {
        pthread_cond_wait(&c->changed, &c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
}

static void many_at_a_time(void **state) {
    (void)state;
    enum { MANY = 200 };
    vd_error err = {0};
    vd_client *client = open_client(0);
    counter c = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    create(client, "async", 2);
    for (int i = 0; i < MANY; i++) {
        char id[16];
        float vector[2] = {(float)(i + 1), 100};
        snprintf(id, sizeof id, "%d", i);
        vd_client_item item = {.id = id, .vector = vector};
        OK(vd_client_add_items_async(client, "async", &item, 1, 2, on_added, &c, &err)); /* all is copied */
    }
    wait_for(&c, MANY);
    assert_int_equal(c.bad, 0);
    for (int i = 0; i < MANY; i++) {
        float vector[2] = {(float)(i + 1), 100};
        vd_client_search_request request = {.index = "async", .vector = vector, .dimension = 2, .k = 1};
        OK(vd_client_search_async(client, &request, on_found, &c, &err));
    }
    wait_for(&c, 2 * MANY);
    assert_int_equal(c.bad, 0);
    OK(vd_client_delete_index(client, "async", &err));
    vd_client_close(client);
}

/* ---- time limits and closing ---- */

enum { SLACK_MS = 5000 }; /* a busy machine, a sanitizer */

/* Closes in time, which means that the library's close has ended: else it would have been waited for. */
static void close_in_time(vd_client *client) {
    int64_t began_ms = clock_now_ms();
    vd_client_close(client);
    assert_true(clock_now_ms() - began_ms < VD_CLIENT_CLOSE_MS);
}

static void times_out(vd_client *client, uint32_t timeout_ms) {
    vd_error err = {0};
    vd_client_raw_request raw = {.method = "/vectord.v1.VectorService/Health", .timeout_ms = timeout_ms};
    vd_client_reply reply = {0};
    char within[32];
    snprintf(within, sizeof within, "within %u ms", timeout_ms);
    int64_t began_ms = clock_now_ms();
    assert_int_equal(vd_client_call_raw(client, &raw, &reply, &err), VD_DEADLINE_EXCEEDED);
    assert_true(clock_now_ms() - began_ms >= timeout_ms - 1);
    assert_non_null(strstr(err.text, within));
}

static void a_frozen_server_is_a_timeout(void **state) {
    (void)state;
    vd_error err = {0};
    vd_client *client = open_client(10000);
    create(client, "late", 7);
    test_server_freeze(&server, true);
    times_out(client, 300);
    test_server_freeze(&server, false);
    /* The late reply is nobody's: each call gets its own. */
    for (int i = 0; i < 50; i++) {
        vd_client_index index;
        OK(vd_client_get_index(client, "late", &index, &err));
        assert_string_equal(index.name, "late");
        assert_int_equal(index.dimension, 7);
    }
    OK(vd_client_delete_index(client, "late", &err));
    close_in_time(client);
}

static void late_replies_and_close(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        vd_client *client = open_client(10000);
        test_server_freeze(&server, true);
        for (int j = 0; j < 4; j++) {
            times_out(client, 5);
        }
        test_server_freeze(&server, false); /* the replies come while it closes */
        close_in_time(client);
    }
}

/* Calls of which each that is answered starts another, for as long as it is let. */
typedef struct chain {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    vd_client *client;
    size_t payload_bytes;
    size_t under_way, good, cancelled, other;
    bool closed; /* no callback may come any more */
    size_t after_close;
} chain;

static void start_link(chain *c);

static void link_answered(void *arg, vd_status status, const void *payload, size_t payload_bytes, const vd_error *err) {
    chain *c = arg;
    (void)payload;
    (void)payload_bytes;
    (void)err;
    if (status == VD_OK) {
        start_link(c);
    }
    pthread_mutex_lock(&c->mutex);
    c->under_way--;
    c->good += status == VD_OK;
    c->cancelled += status == VD_CANCELLED;
    c->other += status != VD_OK && status != VD_CANCELLED;
    c->after_close += c->closed;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

/* A HealthRequest of several writes: field 15, which nobody knows, with 4 MiB less 5 bytes. */
static const uint8_t large[4 << 20] = {0x7a, 0xfb, 0xff, 0xff, 0x01};

static void start_link(chain *c) {
    vd_client_raw_request raw = {
        .method = "/vectord.v1.VectorService/Health", .payload = large, .payload_bytes = c->payload_bytes};
    pthread_mutex_lock(&c->mutex);
    c->under_way++;
    pthread_mutex_unlock(&c->mutex);
    vd_status status = vd_client_call_raw_async(c->client, &raw, link_answered, c, NULL);
    pthread_mutex_lock(&c->mutex);
    c->under_way -= status != VD_OK;
    c->other += status != VD_OK && status != VD_CANCELLED;
    pthread_mutex_unlock(&c->mutex);
}

static void start_chain(chain *c, size_t links, size_t payload_bytes) {
    *c = (chain){.mutex = PTHREAD_MUTEX_INITIALIZER,
                 .changed = PTHREAD_COND_INITIALIZER,
                 .client = open_client(10000),
                 .payload_bytes = payload_bytes};
    for (size_t i = 0; i < links; i++) {
        start_link(c);
    }
}

/* To be called when the client has been closed. */
static void check_chain(chain *c) {
    pthread_mutex_lock(&c->mutex);
    c->closed = true;
    assert_int_equal(c->under_way, 0);
    assert_int_equal(c->other, 0);
    pthread_mutex_unlock(&c->mutex);
}

static void replies_that_come_while_it_closes(void **state) {
    (void)state;
    enum { ROUNDS = 150, LINKS = 32 };
    chain *chains = calloc(ROUNDS, sizeof *chains); /* all kept: a callback after close would find its own */
    assert_non_null(chains);
    size_t cancelled = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        chain *c = &chains[i];
        bool few_and_large = i % 10 == 9;
        start_chain(c, few_and_large ? 4 : 1 + i % LINKS, few_and_large ? sizeof large : 0);
        pthread_mutex_lock(&c->mutex);
        while (c->good < (few_and_large ? i / 10 % 5 : i % 50)) {
            pthread_cond_wait(&c->changed, &c->mutex);
        }
        pthread_mutex_unlock(&c->mutex);
        close_in_time(c->client);
        check_chain(c);
        cancelled += c->cancelled;
    }
    assert_true(cancelled > 0);
    for (size_t i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&chains[i].mutex);
        assert_int_equal(chains[i].after_close, 0);
        pthread_mutex_unlock(&chains[i].mutex);
    }
    free(chains);
}

/* Stands before the library's: holds it back while `shut`. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool shut;
    int waiting, ended;
} door = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int nng_close(nng_socket socket) {
    int (*real)(nng_socket);
    *(void **)&real = dlsym(RTLD_NEXT, "nng_close");
    pthread_mutex_lock(&door.mutex);
    door.waiting++;
    while (door.shut) {
        pthread_cond_wait(&door.changed, &door.mutex);
    }
    door.waiting--;
    pthread_mutex_unlock(&door.mutex);
    int rv = real(socket);
    pthread_mutex_lock(&door.mutex);
    door.ended++;
    pthread_cond_broadcast(&door.changed);
    pthread_mutex_unlock(&door.mutex);
    return rv;
}

static void a_socket_that_does_not_close_is_left(void **state) {
    (void)state;
    enum { LINKS = 8 };
    chain c;
    start_chain(&c, 0, 0);
    test_server_freeze(&server, true);
    for (int i = 0; i < LINKS; i++) {
        start_link(&c);
    }
    pthread_mutex_lock(&door.mutex);
    door.shut = true;
    int ended = door.ended;
    pthread_mutex_unlock(&door.mutex);
    int64_t began_ms = clock_now_ms();
    vd_client_close(c.client);
    int64_t took_ms = clock_now_ms() - began_ms;
    test_server_freeze(&server, false);
    check_chain(&c);
    assert_int_equal(c.cancelled, LINKS);
    assert_true(took_ms >= VD_CLIENT_CLOSE_MS - 1);
    assert_true(took_ms < VD_CLIENT_CLOSE_MS + SLACK_MS);

    /* The replies come to a client that is closed, then the connection ends, then the close does. */
    vd_error err = {0};
    vd_client *client = open_client(10000);
    vd_client_server health;
    OK(vd_client_health(client, &health, &err));
    pthread_mutex_lock(&door.mutex);
    assert_int_equal(door.waiting, 1);
    door.shut = false;
    pthread_cond_broadcast(&door.changed);
    while (door.ended == ended) {
        pthread_cond_wait(&door.changed, &door.mutex);
    }
    pthread_mutex_unlock(&door.mutex);
    close_in_time(client);
    pthread_mutex_lock(&c.mutex);
    assert_int_equal(c.after_close, 0);
    pthread_mutex_unlock(&c.mutex);
}

static void a_killed_server_is_noticed_and_found_again(void **state) {
    (void)state;
    vd_error err = {0};
    vd_client *client = open_client(1000);
    vd_client_server health;
    create(client, "kept", 2);
    static const float vector[2] = {1, 2};
    vd_client_item item = {.id = "a", .vector = vector};
    OK(vd_client_add_items(client, "kept", &item, 1, 2, NULL, &err));
    test_server_kill(&server);
    vd_status status = vd_client_health(client, &health, &err);
    assert_int_equal(status, VD_UNAVAILABLE);
    assert_non_null(strstr(err.text, server.rpc_url));
    assert_true(test_server_start(&server, NULL)); /* on the same address */
    vd_client_index index;
    int64_t give_up_ms = clock_now_ms() + 20000;
    do {
        status = vd_client_get_index(client, "kept", &index, &err);
    } while ((status != VD_OK || strcmp(index.state, "ready") != 0) && clock_now_ms() < give_up_ms);
    OK(status);
    assert_int_equal(index.length, 1);
    OK(vd_client_delete_index(client, "kept", &err));
    vd_client_close(client);
}

/* A call that is under way when the server dies is answered by the next one. */
static void a_call_under_way_survives_a_restart(void **state) {
    (void)state;
    vd_error err = {0};
    vd_client *client = open_client(60000);
    counter c = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    create(client, "again", 2);
    test_server_freeze(&server, true);
    static const float vector[2] = {1, 2};
    vd_client_item item = {.id = "a", .vector = vector};
    OK(vd_client_add_items_async(client, "again", &item, 1, 2, on_added, &c, &err));
    test_server_kill(&server);
    assert_true(test_server_start(&server, NULL));
    wait_for(&c, 1);
    vd_client_index index;
    OK(vd_client_get_index(client, "again", &index, &err));
    /* The index may still have been loading when the write came again: then it was refused, and says so. */
    assert_int_equal(index.length, c.good);
    OK(vd_client_delete_index(client, "again", &err));
    vd_client_close(client);
}

int main(void) {
    if (!test_server_available()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_of_an_index),
        cmocka_unit_test(errors_are_the_servers_own),
        cmocka_unit_test(a_write_sent_twice_is_applied_once),
        cmocka_unit_test(a_large_add_arrives_whole),
        cmocka_unit_test(many_at_a_time),
        cmocka_unit_test(a_frozen_server_is_a_timeout),
        cmocka_unit_test(late_replies_and_close),
        cmocka_unit_test(replies_that_come_while_it_closes),
        cmocka_unit_test(a_socket_that_does_not_close_is_left),
        cmocka_unit_test(a_killed_server_is_noticed_and_found_again),
        cmocka_unit_test(a_call_under_way_survives_a_restart),
    };
    return cmocka_run_group_tests(tests, start_server, end_server);
}
