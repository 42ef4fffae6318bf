/*
 * nng_doors_test.c - the NNG door over the real registry: a write that is sent again (which REQ sockets do by design) gets the
 * first answer again; and both doors answer with the same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "integration/real_doors.h"
#include "support/nng_close.h"
#include "unit/transport/raw_http.h"
#include "vectord/v1/vectord.pb-c.h"

static real_doors doors;

static int start(void **state) {
    (void)state;
    return real_doors_start(&doors, true) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    real_doors_stop(&doors);
    return 0;
}

static ProtobufCBinaryData pb(const char *text) {
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

/* One call on a socket of its own. The reply is owned. */
static Vectord__V1__RpcResponse *call(const char *method, const ProtobufCMessage *message, const char *request_id) {
    char name[100];
    snprintf(name, sizeof name, "/vectord.v1.VectorService/%s", method);
    Vectord__V1__RpcRequest request = VECTORD__V1__RPC_REQUEST__INIT;
    request.method = pb(name);
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *payload = malloc(size + 1);
    request.payload = (ProtobufCBinaryData){.len = protobuf_c_message_pack(message, payload), .data = payload};
    request.request_id = pb(request_id);
    nng_msg *msg;
    assert_int_equal(nng_msg_alloc(&msg, vectord__v1__rpc_request__get_packed_size(&request)), 0);
    vectord__v1__rpc_request__pack(&request, nng_msg_body(msg));
    nng_socket s;
    assert_int_equal(nng_req0_open(&s), 0);
    nng_socket_set_ms(s, NNG_OPT_RECVTIMEO, 60000);
    assert_int_equal(nng_dial(s, nng_rep_url(doors.nng, 0), NULL, 0), 0);
    assert_int_equal(nng_sendmsg(s, msg, 0), 0);
    assert_int_equal(nng_recvmsg(s, &msg, 0), 0);
    Vectord__V1__RpcResponse *r = vectord__v1__rpc_response__unpack(NULL, nng_msg_len(msg), nng_msg_body(msg));
    assert_non_null(r);
    nng_msg_free(msg);
    nng_close_in_time(s);
    free(payload);
    return r;
}

static void create(const char *name, uint32_t dimension, const char *request_id, uint32_t code) {
    Vectord__V1__CreateIndexRequest request = VECTORD__V1__CREATE_INDEX_REQUEST__INIT;
    request.name = pb(name);
    request.dimension = dimension;
    Vectord__V1__RpcResponse *r = call("CreateIndex", &request.base, request_id);
    assert_int_equal(r->code, code);
    vectord__v1__rpc_response__free_unpacked(r, NULL);
}

/* Adds `count` items 0..count-1; checks what the answer says. */
static void add(const char *name, size_t count, const char *request_id, uint32_t added, uint32_t length) {
    Vectord__V1__Item items[8];
    Vectord__V1__Item *list[8];
    char ids[8][8];
    float vectors[8][2];
    for (size_t i = 0; i < count; i++) {
        vectord__v1__item__init(&items[i]);
        snprintf(ids[i], sizeof ids[i], "id%zu", i);
        items[i].id = pb(ids[i]);
        vectors[i][0] = 1.0f;
        vectors[i][1] = (float)i;
        items[i].vector = vectors[i];
        items[i].n_vector = 2;
        list[i] = &items[i];
    }
    Vectord__V1__AddItemsRequest request = VECTORD__V1__ADD_ITEMS_REQUEST__INIT;
    request.name = pb(name);
    request.items = list;
    request.n_items = count;
    Vectord__V1__RpcResponse *r = call("AddItems", &request.base, request_id);
    if (r->code) {
        print_error("%.*s\n", (int)r->message.len, (const char *)r->message.data);
    }
    assert_int_equal(r->code, 0);
    Vectord__V1__AddItemsResponse *got = vectord__v1__add_items_response__unpack(NULL, r->payload.len, r->payload.data);
    assert_non_null(got);
    assert_int_equal(got->added, added);
    assert_int_equal(got->length, length);
    vectord__v1__add_items_response__free_unpacked(got, NULL);
    vectord__v1__rpc_response__free_unpacked(r, NULL);
}

static void test_sent_twice(void **state) {
    (void)state;
    create("n", 2, "c-1", 0);
    add("n", 1, "a-1", 1, 1);
    add("n", 3, "a-2", 3, 3);
    add("n", 1, "a-1", 1, 1); /* the first answer, not today's length */
    add("n", 3, "a-2", 3, 3);
    add("n", 1, "a-3", 1, 3);
    create("n", 2, "c-2", 6); /* another request: the name is taken */
}

/* The payload that NNG carries and the body that HTTP carries for the same request are the same bytes. */
static void test_doors_agree(void **state) {
    (void)state;
    create("same", 2, "s-1", 0);
    add("same", 8, "s-2", 8, 8);
    Vectord__V1__SearchRequest request = VECTORD__V1__SEARCH_REQUEST__INIT;
    float vector[2] = {1.0f, 0.3f};
    request.name = pb("same");
    request.vector = vector;
    request.n_vector = 2;
    uint8_t packed[100];
    size_t size = vectord__v1__search_request__pack(&request, packed);
    Vectord__V1__RpcResponse *over_nng = call("Search", &request.base, "");
    char head[300];
    int head_size = snprintf(
        head, sizeof head,
        "POST /vectors/index/same/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
        "Content-Length: %zu\r\n\r\n",
        size);
    memcpy(head + head_size, packed, size);
    raw_reply over_http = raw_exchange(doors.port, head, (size_t)head_size + size);
    assert_int_equal(over_nng->code, 0);
    assert_int_equal(over_http.status, 200);
    assert_int_equal(over_nng->payload.len, over_http.body_size);
    assert_memory_equal(over_nng->payload.data, over_http.body, over_http.body_size);
    raw_free(&over_http);
    vectord__v1__rpc_response__free_unpacked(over_nng, NULL);

    /* and so are the errors' texts and fields */
    request.n_vector = 1;
    over_nng = call("Search", &request.base, "");
    over_http = raw_call(doors.port, "POST", "/vectors/index/same/search", NULL, "{\"vector\":[1]}");
    assert_int_equal(over_nng->code, 3);
    assert_int_equal(over_http.status, 400);
    assert_int_equal(over_nng->message.len + 1, over_http.body_size); /* HTTP's has a line end */
    assert_memory_equal(over_nng->message.data, over_http.body, over_nng->message.len);
    raw_free(&over_http);
    vectord__v1__rpc_response__free_unpacked(over_nng, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sent_twice), cmocka_unit_test(test_doors_agree)};
    return cmocka_run_group_tests(tests, start, stop);
}
