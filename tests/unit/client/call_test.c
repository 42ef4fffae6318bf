/*
 * call_test.c - the client against a peer that behaves in every way: answers, errors, garbage, silence, dropped connections,
 * nobody there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer.h"
#include "vectord/client.h"

#define OK(expression) assert_int_equal((expression), VD_OK)

static ProtobufCBinaryData text(const char *value) {
    return (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
}

static vd_client *open_client(const peer *p, uint32_t timeout_ms) {
    vd_client_options options = {.timeout_ms = timeout_ms, .connect_timeout_ms = 2000, .token = "t0ken"};
    vd_client *client = NULL;
    vd_error err;
    vd_status status = vd_client_open(p->url, &options, &client, &err);
    if (status != VD_OK) {
        fail_msg("%s", err.text);
    }
    return client;
}

/* ---- answers ---- */

static peer_action answer_search(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                                 Vectord__V1__RpcResponse *reply) {
    (void)count;
    (void)request;
    Vectord__V1__Hit first = VECTORD__V1__HIT__INIT;
    Vectord__V1__Hit second = VECTORD__V1__HIT__INIT;
    Vectord__V1__Hit *hits[] = {&first, &second};
    first.id = text("a");
    first.distance = 0.25;
    first.score = 0.875;
    first._metadata_case = VECTORD__V1__HIT___METADATA_METADATA;
    first.metadata = text("{\"x\": 1}");
    second.id = text("");
    Vectord__V1__SearchResponse message = VECTORD__V1__SEARCH_RESPONSE__INIT;
    message.n_results = 2;
    message.results = hits;
    peer_pack(p, &message.base, reply);
    return PEER_ANSWER;
}

static void check_hits(const vd_client_results *results) {
    assert_int_equal(results->count, 2);
    assert_string_equal(results->hits[0].id, "a");
    assert_true(results->hits[0].distance == 0.25);
    assert_true(results->hits[0].score == 0.875);
    assert_string_equal(results->hits[0].metadata, "{\"x\": 1}");
    assert_string_equal(results->hits[1].id, "");
    assert_null(results->hits[1].metadata);
}

static const float query[3] = {1, 2, 3};

static void search_decodes_hits(void **state) {
    (void)state;
    peer p;
    assert_true(peer_start(&p, answer_search, NULL));
    vd_client *client = open_client(&p, 5000);
    vd_client_search_request request = {.index = "i", .vector = query, .dimension = 3, .k = 2, .ef = 7, .exact = true};
    vd_client_results *results = NULL;
    OK(vd_client_search(client, &request, &results, NULL));
    check_hits(results);
    vd_client_results_free(results);
    peer_seen seen = peer_get(&p, 0);
    assert_string_equal(seen.method, "/vectord.v1.VectorService/Search");
    assert_string_equal(seen.authorization, "Bearer t0ken");
    assert_int_equal(seen.timeout_ms, 5000);
    assert_int_equal(seen.request_id_size, 0);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

typedef struct outcome {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t done;
    vd_status status;
    bool fine; /* what the callback could check */
} outcome;

static void outcome_init(outcome *o) {
    memset(o, 0, sizeof *o);
    pthread_mutex_init(&o->mutex, NULL);
    pthread_cond_init(&o->changed, NULL);
}

static void outcome_set(outcome *o, vd_status status, bool fine) {
    pthread_mutex_lock(&o->mutex);
    o->status = status;
    o->fine = fine;
    o->done++;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->mutex);
}

static void outcome_wait(outcome *o, size_t done) {
    pthread_mutex_lock(&o->mutex);
    while (o->done < done) {
        pthread_cond_wait(&o->changed, &o->mutex); /* ctest ends a test that hangs */
    }
    pthread_mutex_unlock(&o->mutex);
}

static void on_search(void *arg, vd_status status, const vd_client_results *results, const vd_error *err) {
    outcome_set(arg, status, status == VD_OK ? results && !err && results->count == 2 : !results && err);
}

static void many_async_searches_all_end(void **state) {
    (void)state;
    peer p;
    outcome o;
    assert_true(peer_start(&p, answer_search, NULL));
    outcome_init(&o);
    vd_client *client = open_client(&p, 5000);
    vd_client_search_request request = {.index = "i", .vector = query, .dimension = 3};
    for (int i = 0; i < 50; i++) {
        OK(vd_client_search_async(client, &request, on_search, &o, NULL));
    }
    outcome_wait(&o, 50);
    assert_int_equal(o.status, VD_OK);
    assert_true(o.fine);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

/* ---- errors ---- */

static peer_action answer_error(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                                Vectord__V1__RpcResponse *reply) {
    (void)p;
    (void)count;
    (void)request;
    reply->code = VD_NOT_FOUND;
    reply->message = text("not found");
    return PEER_ANSWER;
}

static void errors_of_the_server_come_through(void **state) {
    (void)state;
    peer p;
    vd_error err;
    vd_client_index index;
    assert_true(peer_start(&p, answer_error, NULL));
    vd_client *client = open_client(&p, 5000);
    assert_int_equal(vd_client_get_index(client, "x", &index, &err), VD_NOT_FOUND);
    assert_int_equal(err.status, VD_NOT_FOUND);
    assert_string_equal(err.text, "not found");
    assert_int_equal(vd_client_get_index(client, "x", &index, NULL), VD_NOT_FOUND);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

static peer_action answer_garbage(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                                  Vectord__V1__RpcResponse *reply) {
    (void)request;
    if (count % 2 == 0) {
        memcpy(p->packed, "\xff\xff\xff", 3);
        p->packed_size = 3;
        return PEER_BYTES;
    }
    reply->payload = text("\xff\xff");
    return PEER_ANSWER;
}

static void garbage_is_internal(void **state) {
    (void)state;
    peer p;
    vd_error err;
    assert_true(peer_start(&p, answer_garbage, NULL));
    vd_client *client = open_client(&p, 5000);
    vd_client_search_request request = {.index = "i", .vector = query, .dimension = 3};
    vd_client_results *results = NULL;
    vd_client_names *names = NULL;
    vd_client_server server;
    vd_client_index index;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vd_client_search(client, &request, &results, &err), VD_INTERNAL);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vd_client_list_indexes(client, &names, &err), VD_INTERNAL);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vd_client_health(client, &server, &err), VD_INTERNAL);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vd_client_get_index(client, "i", &index, &err), VD_INTERNAL);
    }
    assert_null(results);
    assert_null(names);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

static peer_action never_answer(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                                Vectord__V1__RpcResponse *reply) {
    (void)p;
    (void)count;
    (void)request;
    (void)reply;
    return PEER_IGNORE;
}

static void silence_is_deadline_exceeded(void **state) {
    (void)state;
    peer p;
    vd_error err;
    vd_client_server server;
    assert_true(peer_start(&p, never_answer, NULL));
    vd_client *client = open_client(&p, 200);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vd_client_health(client, &server, &err), VD_DEADLINE_EXCEEDED);
        assert_non_null(strstr(err.text, "within 200 ms"));
    }
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

static void close_ends_calls_under_way(void **state) {
    (void)state;
    peer p;
    outcome o;
    outcome_init(&o);
    assert_true(peer_start(&p, never_answer, NULL));
    vd_client *client = open_client(&p, 60000);
    vd_client_search_request request = {.index = "i", .vector = query, .dimension = 3};
    for (int i = 0; i < 5; i++) {
        OK(vd_client_search_async(client, &request, on_search, &o, NULL));
    }
    assert_true(peer_wait(&p, 1));
    vd_client_close(client);
    assert_int_equal(o.done, 5); /* all callbacks have returned */
    assert_int_equal(o.status, VD_CANCELLED);
    assert_true(o.fine);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

/* ---- connections ---- */

static peer_action drop_first(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                              Vectord__V1__RpcResponse *reply) {
    (void)request;
    if (count == 0) {
        return PEER_DROP;
    }
    Vectord__V1__AddItemsResponse message = VECTORD__V1__ADD_ITEMS_RESPONSE__INIT;
    message.added = 1;
    message.length = 1;
    peer_pack(p, &message.base, reply);
    return PEER_ANSWER;
}

/* The connection breaks while a write is under way: it is sent again with the same id, by which the server knows it. */
static void a_write_is_sent_again_with_its_id(void **state) {
    (void)state;
    peer p;
    assert_true(peer_start(&p, drop_first, NULL));
    vd_client *client = open_client(&p, 10000);
    vd_client_item item = {.id = "a", .vector = query};
    vd_client_added added;
    OK(vd_client_add_items(client, "i", &item, 1, 3, &added, NULL));
    assert_int_equal(added.added, 1);
    assert_int_equal(added.requests, 1);
    assert_true(peer_wait(&p, 2));
    peer_seen first = peer_get(&p, 0);
    peer_seen second = peer_get(&p, 1);
    assert_int_equal(first.request_id_size, 16);
    assert_int_equal(second.request_id_size, 16);
    assert_memory_equal(first.request_id, second.request_id, 16);
    OK(vd_client_add_items(client, "i", &item, 1, 3, &added, NULL));
    peer_seen third = peer_get(&p, 2);
    assert_memory_not_equal(third.request_id, second.request_id, 16);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

static void a_peer_that_is_gone_is_unavailable(void **state) {
    (void)state;
    peer p;
    vd_error err;
    vd_client_server server;
    assert_true(peer_start(&p, never_answer, NULL));
    vd_client_options options = {.timeout_ms = 30000, .connect_timeout_ms = 200};
    vd_client *client = NULL;
    OK(vd_client_open(p.url, &options, &client, &err));
    peer_stop(&p);
    int64_t began_ms = clock_now_ms();
    vd_status status;
    do {
        /* The first call may begin before the loss is noticed; then it gets its whole time, so keep that short by hand. */
        vd_client_raw_request request = {.method = "/vectord.v1.VectorService/Health", .timeout_ms = 500};
        vd_client_reply reply = {0};
        status = vd_client_call_raw(client, &request, &reply, &err);
    } while (status == VD_DEADLINE_EXCEEDED);
    assert_int_equal(status, VD_UNAVAILABLE);
    assert_int_equal(vd_client_health(client, &server, &err), VD_UNAVAILABLE);
    assert_non_null(strstr(err.text, "no connection"));
    assert_true(clock_now_ms() - began_ms < 20000); /* not the 30 s of the call */
    vd_client_close(client);
}

static void nobody_there_is_unavailable(void **state) {
    (void)state;
    peer p;
    vd_error err;
    vd_client *client = NULL;
    assert_true(peer_start(&p, never_answer, NULL));
    peer_stop(&p); /* its port is free now */
    assert_int_equal(vd_client_open(p.url, NULL, &client, &err), VD_UNAVAILABLE);
    assert_non_null(strstr(err.text, "cannot reach tcp://127.0.0.1:"));
    assert_non_null(strstr(err.text, "refused"));
    vd_client_options options = {.connect_timeout_ms = 200, .wait_for_server = true};
    assert_int_equal(vd_client_open(p.url, &options, &client, &err), VD_UNAVAILABLE);
    assert_int_equal(vd_client_open("ipc:///nonexistent/socket", NULL, &client, &err), VD_UNAVAILABLE);
    assert_null(client);
}

static void addresses_are_checked(void **state) {
    (void)state;
    static const char *const bad[] = {"", "localhost:3216", "http://127.0.0.1:3215", "ws://127.0.0.1:1", "inproc://x"};
    vd_error err;
    vd_client *client = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(vd_client_open(bad[i], NULL, &client, &err), VD_INVALID_ARGUMENT);
        assert_string_equal(err.field, "url");
    }
    assert_int_equal(vd_client_open(bad[2], NULL, &client, &err), VD_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "HTTP"));
    vd_client_options options = {.timeout_ms = VD_TIMEOUT_MAX_MS + 1};
    assert_int_equal(vd_client_open(NULL, &options, &client, &err), VD_INVALID_ARGUMENT);
}

/* ---- arguments and batches ---- */

static void arguments_are_checked(void **state) {
    (void)state;
    peer p;
    vd_error err;
    vd_client_results *results = NULL;
    vd_client_added added;
    assert_true(peer_start(&p, never_answer, NULL));
    vd_client *client = open_client(&p, 5000);
    vd_client_item item = {.id = "a", .vector = query};
    vd_client_item bad[2] = {{.id = "a", .vector = query}, {.id = "b"}};
    vd_client_search_request none = {.index = "i"};
    vd_client_search_request both = {.index = "i", .vector = query, .dimension = 3, .id = "a"};
    assert_int_equal(vd_client_search(client, &none, &results, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(vd_client_search(client, &both, &results, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(vd_client_add_items(client, "", &item, 1, 3, &added, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(vd_client_add_items(client, "i", &item, 0, 3, &added, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(vd_client_add_items(client, "i", &item, 1, 0, &added, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(vd_client_add_items(client, "i", &item, 1, VD_DIMENSION_MAX + 1, &added, &err),
                     VD_INVALID_ARGUMENT);
    assert_int_equal(vd_client_add_items(client, "i", bad, 2, 3, &added, &err), VD_INVALID_ARGUMENT);
    assert_string_equal(err.field, "items[1].vector");
    assert_int_equal(vd_client_delete_index(client, NULL, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(p.count, 0); /* none of this went out */
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

static peer_action count_items(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                               Vectord__V1__RpcResponse *reply) {
    const size_t *fail_at = p->arg;
    (void)request;
    if (fail_at && count == *fail_at) {
        reply->code = VD_INVALID_ARGUMENT;
        reply->message = text("items[3]: zero-norm vector");
        return PEER_ANSWER;
    }
    Vectord__V1__AddItemsResponse message = VECTORD__V1__ADD_ITEMS_RESPONSE__INIT;
    pthread_mutex_lock(&p->mutex);
    message.added = (uint32_t)p->seen[p->count - 1].items;
    for (size_t i = 0; i < p->count; i++) {
        message.length += (uint32_t)p->seen[i].items;
    }
    pthread_mutex_unlock(&p->mutex);
    peer_pack(p, &message.base, reply);
    return PEER_ANSWER;
}

enum { WIDE = VD_DIMENSION_MAX, WIDE_ITEMS = 2100 }; /* 2,100 x 64 KiB: over two requests of 64 MiB */

typedef struct wide {
    float *values;
    vd_client_item items[WIDE_ITEMS];
    char ids[WIDE_ITEMS][8];
} wide;

static wide *wide_new(void) {
    wide *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->values = calloc(WIDE, sizeof(float)); /* all items share one vector */
    assert_non_null(w->values);
    for (size_t i = 0; i < WIDE_ITEMS; i++) {
        snprintf(w->ids[i], sizeof w->ids[i], "%zu", i);
        w->items[i] = (vd_client_item){.id = w->ids[i], .vector = w->values};
    }
    return w;
}

static void wide_free(wide *w) {
    free(w->values);
    free(w);
}

static void a_large_add_is_split(void **state) {
    (void)state;
    peer p;
    assert_true(peer_start(&p, count_items, NULL));
    vd_client *client = open_client(&p, 60000);
    wide *w = wide_new();
    vd_client_added added;
    OK(vd_client_add_items(client, "i", w->items, WIDE_ITEMS, WIDE, &added, NULL));
    assert_int_equal(added.added, WIDE_ITEMS);
    assert_int_equal(added.length, WIDE_ITEMS);
    assert_int_equal(added.requests, 3);
    size_t total = 0;
    for (size_t i = 0; i < 3; i++) {
        peer_seen seen = peer_get(&p, i);
        char first[16];
        snprintf(first, sizeof first, "%zu", total);
        assert_string_equal(seen.first_item, first);
        assert_true(seen.payload_size <= VD_BODY_MAX_BYTES);
        if (i < 2) {
            assert_true(seen.payload_size > VD_BODY_MAX_BYTES - 128 * 1024); /* as few requests as can be */
        }
        if (i > 0) {
            peer_seen before = peer_get(&p, i - 1);
            assert_memory_not_equal(seen.request_id, before.request_id, 16);
        }
        total += seen.items;
    }
    assert_int_equal(total, WIDE_ITEMS);
    wide_free(w);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

static void errors_of_a_later_request_name_the_callers_item(void **state) {
    (void)state;
    peer p;
    size_t fail_at = 1;
    assert_true(peer_start(&p, count_items, &fail_at));
    vd_client *client = open_client(&p, 60000);
    wide *w = wide_new();
    vd_client_added added;
    vd_error err;
    assert_int_equal(vd_client_add_items(client, "i", w->items, WIDE_ITEMS, WIDE, &added, &err), VD_INVALID_ARGUMENT);
    size_t in_first = vd_client_fit("i", w->items, WIDE_ITEMS, WIDE);
    char want[64];
    snprintf(want, sizeof want, "items[%zu]: zero-norm vector", in_first + 3);
    assert_string_equal(err.text, want);
    assert_int_equal(added.added, in_first);
    assert_int_equal(added.requests, 1);
    wide_free(w);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

static void one_item_past_the_limit_is_too_large(void **state) {
    (void)state;
    peer p;
    vd_error err;
    vd_client_added added;
    assert_true(peer_start(&p, count_items, NULL));
    vd_client *client = open_client(&p, 60000);
    char *metadata = malloc((size_t)VD_BODY_MAX_BYTES + 1);
    assert_non_null(metadata);
    memset(metadata, ' ', VD_BODY_MAX_BYTES);
    metadata[VD_BODY_MAX_BYTES] = '\0';
    vd_client_item items[2] = {{.id = "a", .vector = query}, {.id = "b", .vector = query, .metadata = metadata}};
    assert_int_equal(vd_client_add_items(client, "i", items, 2, 3, &added, &err), VD_TOO_LARGE);
    assert_string_equal(err.field, "items[1]");
    assert_int_equal(added.added, 1);
    assert_int_equal(vd_client_add_items_async(client, "i", items + 1, 1, 3, NULL, NULL, &err), VD_TOO_LARGE);
    assert_int_equal(vd_client_add_items_async(client, "i", items, 2, 3, NULL, NULL, &err), VD_TOO_LARGE);
    assert_string_equal(err.field, "items");
    free(metadata);
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

/* Threads share one client; each gets its own answers. */
typedef struct worker {
    vd_client *client;
    size_t good;
} worker;

static peer_action echo_name(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                             Vectord__V1__RpcResponse *reply) {
    (void)count;
    Vectord__V1__GetIndexRequest *get =
        vectord__v1__get_index_request__unpack(NULL, request->payload.len, request->payload.data);
    Vectord__V1__IndexParams params = VECTORD__V1__INDEX_PARAMS__INIT;
    Vectord__V1__GetIndexResponse message = VECTORD__V1__GET_INDEX_RESPONSE__INIT;
    if (get) {
        params.name = get->name;
        message.params = &params;
        peer_pack(p, &message.base, reply);
        vectord__v1__get_index_request__free_unpacked(get, NULL);
    }
    return PEER_ANSWER;
}

static void *ask_often(void *arg) {
    worker *w = arg;
    for (int i = 0; i < 100; i++) {
        char name[32];
        vd_client_index index;
        snprintf(name, sizeof name, "%p-%d", (void *)w, i);
        w->good += vd_client_get_index(w->client, name, &index, NULL) == VD_OK && strcmp(index.name, name) == 0;
    }
    return NULL;
}

static void threads_share_a_client(void **state) {
    (void)state;
    peer p;
    assert_true(peer_start(&p, echo_name, NULL));
    vd_client *client = open_client(&p, 30000);
    worker workers[8];
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) {
        workers[i] = (worker){.client = client};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &workers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].good, 100);
    }
    vd_client_close(client);
    assert_true(peer_wait_alone(&p));
    peer_stop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_decodes_hits),
        cmocka_unit_test(many_async_searches_all_end),
        cmocka_unit_test(errors_of_the_server_come_through),
        cmocka_unit_test(garbage_is_internal),
        cmocka_unit_test(silence_is_deadline_exceeded),
        cmocka_unit_test(close_ends_calls_under_way),
        cmocka_unit_test(a_write_is_sent_again_with_its_id),
        cmocka_unit_test(a_peer_that_is_gone_is_unavailable),
        cmocka_unit_test(nobody_there_is_unavailable),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(a_large_add_is_split),
        cmocka_unit_test(errors_of_a_later_request_name_the_callers_item),
        cmocka_unit_test(one_item_past_the_limit_is_too_large),
        cmocka_unit_test(threads_share_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
