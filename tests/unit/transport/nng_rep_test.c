/*
 * nng_rep_test.c - the NNG door over real sockets, with raw envelopes. Behind it stands the table of fake_ops.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/nng_close.h"
#include "transport/admission.h"
#include "unit/transport/fake_ops.h"
#include "vectord/limits.h"
#include "vectord/v1/vectord.pb-c.h"

static fake_server server;
static char folder[] = "/tmp/vectord-nng-XXXXXX";
static char ipc_url[64];

static int start(void **state) {
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(ipc_url, sizeof ipc_url, "ipc://%s/door", folder);
    const char *const binds[] = {"tcp://127.0.0.1:0", ipc_url};
    nng_options options = {.binds = binds, .bind_count = 2, .contexts = 8};
    fake_reset();
    return fake_server_start(&server, 2, 64, NULL, &options) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    fake_server_stop(&server);
    rmdir(folder); /* fails, and the test with it, when the socket file was left behind */
    return access(folder, F_OK) != 0 && admission_bytes() == 0 && admission_jobs() == 0 ? 0 : -1;
}

static nng_socket dial(const char *url) {
    nng_socket s;
    assert_int_equal(nng_req0_open(&s), 0);
    nng_socket_set_ms(s, NNG_OPT_RECVTIMEO, 30000);
    nng_socket_set_ms(s, NNG_OPT_SENDTIMEO, 60000);
    assert_int_equal(nng_dial(s, url, NULL, 0), 0);
    return s;
}

/* Sends raw bytes; the reply, owned, or NULL when none came. No assertions: also called off the main thread. */
static Vectord__V1__RpcResponse *exchange(nng_socket s, const void *data, size_t size) {
    nng_msg *msg;
    if (nng_msg_alloc(&msg, size) != 0) {
        return NULL;
    }
    memcpy(nng_msg_body(msg), data, size);
    if (nng_sendmsg(s, msg, 0) != 0) {
        nng_msg_free(msg);
        return NULL;
    }
    if (nng_recvmsg(s, &msg, 0) != 0) {
        return NULL;
    }
    Vectord__V1__RpcResponse *r = vectord__v1__rpc_response__unpack(NULL, nng_msg_len(msg), nng_msg_body(msg));
    nng_msg_free(msg);
    return r;
}

static ProtobufCBinaryData pb(const char *text) {
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

typedef struct call_options {
    const char *request_id;
    const char *key;
    uint32_t timeout_ms;
    size_t padding; /* bytes of an unknown field behind the message */
} call_options;

static Vectord__V1__RpcResponse *call(nng_socket s, const char *method, const ProtobufCMessage *message,
                                      call_options options) {
    Vectord__V1__RpcRequest request = VECTORD__V1__RPC_REQUEST__INIT;
    Vectord__V1__Metadata pair = VECTORD__V1__METADATA__INIT;
    Vectord__V1__Metadata *metadata[] = {&pair};
    char name[100];
    snprintf(name, sizeof name, "/vectord.v1.VectorService/%s", method);
    request.method = pb(name);
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *payload = calloc(1, size + options.padding + 1);
    protobuf_c_message_pack(message, payload);
    if (options.padding) { /* field 1000, bytes: a two-byte tag and a four-byte length, padded */
        uint8_t *p = payload + size;
        size_t rest = options.padding - 6;
        p[0] = 0xC2;
        p[1] = 0x3E;
        for (int i = 0; i < 4; i++) {
            p[2 + i] = (uint8_t)((rest >> (7 * i) & 0x7F) | (i < 3 ? 0x80 : 0));
        }
        size += options.padding;
    }
    request.payload = (ProtobufCBinaryData){.len = size, .data = payload};
    request.timeout_ms = options.timeout_ms;
    if (options.request_id) {
        request.request_id = pb(options.request_id);
    }
    if (options.key) {
        pair.key = pb("idempotency-key");
        pair.value = pb(options.key);
        request.metadata = metadata;
        request.n_metadata = 1;
    }
    size_t packed_size = vectord__v1__rpc_request__get_packed_size(&request);
    uint8_t *packed = malloc(packed_size);
    vectord__v1__rpc_request__pack(&request, packed);
    free(payload);
    Vectord__V1__RpcResponse *r = exchange(s, packed, packed_size);
    free(packed);
    return r;
}

static Vectord__V1__RpcResponse *search(nng_socket s, const char *name, call_options options) {
    Vectord__V1__SearchRequest request = VECTORD__V1__SEARCH_REQUEST__INIT;
    float vector[3] = {1, 2, 3};
    request.name = pb(name);
    request.vector = vector;
    request.n_vector = 3;
    return call(s, "Search", &request.base, options);
}

static Vectord__V1__RpcResponse *add(nng_socket s, const char *name, call_options options) {
    Vectord__V1__AddItemsRequest request = VECTORD__V1__ADD_ITEMS_REQUEST__INIT;
    request.name = pb(name);
    return call(s, "AddItems", &request.base, options);
}

static void expect_code(Vectord__V1__RpcResponse *r, uint32_t code, const char *text, int line) {
    char message[400] = "";
    if (r) {
        snprintf(message, sizeof message, "%.*s", (int)r->message.len, (const char *)r->message.data);
    }
    if (!r || r->code != code || (text && !strstr(message, text))) {
        print_error("line %d: want %u \"%s\", got %d \"%s\"\n", line, code, text ? text : "", r ? (int)r->code : -1,
                    message);
        fail();
    }
    vectord__v1__rpc_response__free_unpacked(r, NULL);
}
#define EXPECT(reply, code, text) expect_code(reply, code, text, __LINE__)

static void test_calls(void **state) {
    (void)state;
    const char *const urls[] = {nng_rep_url(server.nng, 0), nng_rep_url(server.nng, 1)};
    assert_null(nng_rep_url(server.nng, 2));
    assert_string_equal(urls[1], ipc_url);
    for (size_t u = 0; u < 2; u++) {
        nng_socket s = dial(urls[u]);
        Vectord__V1__RpcResponse *r = search(s, "a", (call_options){.request_id = "r-1"});
        assert_non_null(r);
        assert_int_equal(r->code, 0);
        Vectord__V1__SearchResponse *found =
            vectord__v1__search_response__unpack(NULL, r->payload.len, r->payload.data);
        assert_non_null(found);
        assert_int_equal(found->n_results, 1);
        assert_memory_equal(found->results[0]->id.data, "r-1", 3);
        assert_true(found->results[0]->distance == 3.0);
        vectord__v1__search_response__free_unpacked(found, NULL);
        vectord__v1__rpc_response__free_unpacked(r, NULL);
        EXPECT(search(s, "long", (call_options){0}), 0, NULL);
        EXPECT(search(s, "many", (call_options){0}), 0, NULL);
        EXPECT(add(s, "a", (call_options){0}), 0, NULL);
        EXPECT(search(s, "a", (call_options){.padding = 100000}), 0, NULL); /* decoded by a worker */
        EXPECT(add(s, "violation", (call_options){0}), 3, "items[3]: dim mismatch (index=3, got=2)");
        EXPECT(add(s, "loading", (call_options){0}), 14, "index is loading (40%)");
        EXPECT(add(s, "full", (call_options){0}), 8, "disk full");
        EXPECT(search(s, "internal", (call_options){0}), 13, "internal");
        r = search(s, "internal", (call_options){0});
        assert_int_equal(r->message.len, strlen("internal")); /* and nothing more */
        vectord__v1__rpc_response__free_unpacked(r, NULL);
        nng_close_in_time(s);
    }
}

static void test_request_ids(void **state) {
    (void)state;
    nng_socket s = dial(nng_rep_url(server.nng, 0));
    char id[VD_REQUEST_ID_MAX_BYTES + 2];
    memset(id, 'i', sizeof id);
    id[VD_REQUEST_ID_MAX_BYTES + 1] = '\0';
    EXPECT(search(s, "a", (call_options){.request_id = id}), 3, "request id of 65 bytes");
    id[VD_REQUEST_ID_MAX_BYTES] = '\0';
    EXPECT(search(s, "a", (call_options){.request_id = id}), 0, NULL);
    Vectord__V1__RpcResponse *r = search(s, "a", (call_options){.key = "k-9"});
    Vectord__V1__SearchResponse *found = vectord__v1__search_response__unpack(NULL, r->payload.len, r->payload.data);
    assert_memory_equal(found->results[0]->id.data, "k-9", 3);
    vectord__v1__search_response__free_unpacked(found, NULL);
    vectord__v1__rpc_response__free_unpacked(r, NULL);
    nng_close_in_time(s);
}

static void test_bad_envelopes(void **state) {
    (void)state;
    nng_socket s = dial(nng_rep_url(server.nng, 0));
    EXPECT(exchange(s, "", 0), 3, "bad envelope: no method");
    EXPECT(exchange(s, "garbage", 7), 3, "bad envelope");
    EXPECT(exchange(s, "\x0A\x07/no/one", 9), 12, "unknown method \"/no/one\"");
    Vectord__V1__SearchRequest empty = VECTORD__V1__SEARCH_REQUEST__INIT;
    EXPECT(call(s, "search", &empty.base, (call_options){0}), 12, "unknown method");
    /* a good envelope around a payload that is none */
    static const char bad_payload[] = "\x0A\x20/vectord.v1.VectorService/Search\x12\x03\xFF\xFF\xFF";
    EXPECT(exchange(s, bad_payload, sizeof bad_payload - 1), 3, "decode body");
    EXPECT(search(s, "a", (call_options){0}), 0, NULL);
    nng_close_in_time(s);
}

static void test_size_limit(void **state) {
    (void)state;
    nng_socket s = dial(nng_rep_url(server.nng, 0));
    Vectord__V1__SearchRequest request = VECTORD__V1__SEARCH_REQUEST__INIT;
    request.name = pb("a");
    size_t size = vectord__v1__search_request__get_packed_size(&request);
    EXPECT(call(s, "Search", &request.base, (call_options){.padding = VD_BODY_MAX_BYTES - size}), 0, NULL);
    Vectord__V1__RpcResponse *r =
        call(s, "Search", &request.base, (call_options){.padding = VD_BODY_MAX_BYTES - size + 1});
    assert_non_null(r);
    assert_memory_equal(r->metadata[0]->value.data, "TOO_LARGE", 9);
    EXPECT(r, 8, "body too large");
    EXPECT(call(s, "Search", &request.base, (call_options){.padding = VD_BODY_MAX_BYTES + VD_NNG_RECEIVE_MARGIN}), 8,
           "body too large");
    nng_close_in_time(s);
    /* Beyond what the door receives the connection is dropped, and others do not notice. */
    s = dial(nng_rep_url(server.nng, 0));
    nng_socket_set_ms(s, NNG_OPT_RECVTIMEO, 300);
    r = call(s, "Search", &request.base,
             (call_options){.padding = VD_BODY_MAX_BYTES + VD_ENVELOPE_SLACK_BYTES + VD_NNG_RECEIVE_MARGIN + 1000});
    assert_null(r);
    nng_close_in_time(s);
    s = dial(nng_rep_url(server.nng, 0));
    EXPECT(search(s, "a", (call_options){0}), 0, NULL);
    nng_close_in_time(s);
}

typedef struct caller {
    pthread_t thread;
    const char *url;
    const char *name;
    int calls;
    int answered;
    uint32_t code;
    call_options options;
} caller;

static void *run_calls(void *arg) {
    caller *c = arg;
    nng_socket s;
    if (nng_req0_open(&s) != 0 || nng_dial(s, c->url, NULL, 0) != 0) {
        return NULL;
    }
    nng_socket_set_ms(s, NNG_OPT_RECVTIMEO, 30000);
    for (int i = 0; i < c->calls; i++) {
        Vectord__V1__RpcResponse *r = i % 3 || c->calls == 1 ? NULL : search(s, "a", c->options);
        r = r ? r : add(s, c->name, c->options);
        if (r) {
            c->code = r->code;
            c->answered += r->code == 0;
            vectord__v1__rpc_response__free_unpacked(r, NULL);
        }
    }
    nng_close_in_time(s);
    return NULL;
}

/* More pipes than contexts, all calling at once. */
static void test_many_pipes(void **state) {
    (void)state;
    enum { PIPES = 24 };
    caller callers[PIPES];
    for (int i = 0; i < PIPES; i++) {
        callers[i] = (caller){.url = nng_rep_url(server.nng, (size_t)i % 2), .name = "a", .calls = 60};
        pthread_create(&callers[i].thread, NULL, run_calls, &callers[i]);
    }
    for (int i = 0; i < PIPES; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].answered, 60);
    }
}

static void start_small(fake_server *small, unsigned workers, unsigned capacity) {
    static const char *const binds[] = {"tcp://127.0.0.1:0"};
    nng_options options = {.binds = binds, .bind_count = 1};
    fake_reset();
    fake_gate(false);
    assert_true(fake_server_start(small, workers, capacity, NULL, &options));
}

static void test_busy(void **state) {
    (void)state;
    fake_server small;
    start_small(&small, 1, 1);
    caller callers[2];
    for (int i = 0; i < 2; i++) {
        callers[i] = (caller){.url = nng_rep_url(small.nng, 0), .name = "gate", .calls = 1};
        pthread_create(&callers[i].thread, NULL, run_calls, &callers[i]);
        if (i == 0) {
            assert_true(fake_wait_at_gate(1));
        }
    }
    while (work_queue_depth(small.queue) < 1) {
        usleep(1000);
    }
    nng_socket s = dial(nng_rep_url(small.nng, 0));
    Vectord__V1__RpcResponse *r = add(s, "gate", (call_options){0});
    assert_non_null(r);
    assert_int_equal(r->n_metadata, 2);
    assert_memory_equal(r->metadata[1]->key.data, "retry-after", 11);
    EXPECT(r, 14, "busy");
    EXPECT(search(s, "a", (call_options){0}), 0, NULL);
    nng_close_in_time(s);
    fake_gate(true);
    for (int i = 0; i < 2; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].answered, 1);
    }
    fake_server_stop(&small);
}

/* A call whose time is over before a worker takes it is not run. */
static void test_deadline(void **state) {
    (void)state;
    fake_server small;
    start_small(&small, 1, 4);
    caller first = {.url = nng_rep_url(small.nng, 0), .name = "gate", .calls = 1};
    pthread_create(&first.thread, NULL, run_calls, &first);
    assert_true(fake_wait_at_gate(1));
    caller second = {.url = nng_rep_url(small.nng, 0), .name = "a", .calls = 1, .options = {.timeout_ms = 1}};
    pthread_create(&second.thread, NULL, run_calls, &second);
    while (work_queue_depth(small.queue) < 1) {
        usleep(1000);
    }
    struct timespec queued, now;
    clock_gettime(CLOCK_MONOTONIC, &queued);
    do { /* until its millisecond, which began before it was queued, is over */
        usleep(1000);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - queued.tv_sec) * 1000000000 + now.tv_nsec - queued.tv_nsec < 2000000);
    fake_gate(true);
    pthread_join(first.thread, NULL);
    pthread_join(second.thread, NULL);
    assert_int_equal(first.code, 0);
    assert_int_equal(second.code, 4);
    assert_int_equal(fake_adds(), 1);
    fake_server_stop(&small);
}

static void *stop_door(void *arg) {
    fake_server *s = arg;
    nng_rep_stop(s->nng, 20000);
    s->nng = NULL;
    return NULL;
}

/* Stopping answers what runs, and refuses what comes. */
static void test_drain(void **state) {
    (void)state;
    fake_server small;
    start_small(&small, 2, 16);
    char url[64];
    snprintf(url, sizeof url, "%s", nng_rep_url(small.nng, 0));
    nng_socket s = dial(url);
    caller c = {.url = url, .name = "gate", .calls = 1, .code = 99};
    pthread_create(&c.thread, NULL, run_calls, &c);
    assert_true(fake_wait_at_gate(1));
    pthread_t stopper;
    pthread_create(&stopper, NULL, stop_door, &small);
    for (;;) { /* until the door has noticed */
        Vectord__V1__RpcResponse *r = search(s, "a", (call_options){0});
        uint32_t code = r ? r->code : 99;
        vectord__v1__rpc_response__free_unpacked(r, NULL);
        if (code) {
            assert_int_equal(code, 14);
            break;
        }
    }
    fake_gate(true);
    pthread_join(c.thread, NULL);
    assert_int_equal(c.code, 0);
    assert_int_equal(c.answered, 1);
    pthread_join(stopper, NULL);
    nng_close_in_time(s);
    fake_server_stop(&small);
}

static void refuses_to_start(const char *url, const char *text) {
    nng_options options = {.binds = &url, .bind_count = 1};
    nng_rep *n = NULL;
    vd_error err;
    assert_int_not_equal(nng_rep_start(&server.shared, &options, &n, &err), VD_OK);
    assert_null(n);
    if (!strstr(err.text, text)) {
        print_error("%s: %s\n", url, err.text);
        fail();
    }
}

static void test_bad_binds(void **state) {
    (void)state;
    refuses_to_start("ws://127.0.0.1:0/", "WebSocket listeners are not offered");
    refuses_to_start("wss://127.0.0.1:0/", "WebSocket listeners are not offered");
    refuses_to_start("inproc://x", "want tcp://");
    refuses_to_start("tls+tcp://127.0.0.1:0", "want tcp://");
    refuses_to_start("", "want tcp://");
    refuses_to_start("127.0.0.1:3216", "want tcp://");
    refuses_to_start("ipc://", "want tcp://");
    refuses_to_start("tcp://127.0.0.1:99999", "cannot listen on tcp://127.0.0.1:99999: ");
    refuses_to_start("ipc:///nonexistent/folder/door", "cannot listen on");
    refuses_to_start(nng_rep_url(server.nng, 0), "cannot listen on"); /* taken */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),      cmocka_unit_test(test_request_ids), cmocka_unit_test(test_bad_envelopes),
        cmocka_unit_test(test_size_limit), cmocka_unit_test(test_many_pipes),  cmocka_unit_test(test_busy),
        cmocka_unit_test(test_deadline),   cmocka_unit_test(test_drain),       cmocka_unit_test(test_bad_binds),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
