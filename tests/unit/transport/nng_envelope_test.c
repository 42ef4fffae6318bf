/*
 * nng_envelope_test.c - the hand-written envelope against protobuf-c: what one packs the other reads; and every truncation
 * and tampering of a good envelope is refused or read without stepping outside.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "transport/nng_envelope.h"
#include "vectord/v1/vectord.pb-c.h"

static ProtobufCBinaryData pb(const char *text) {
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static size_t pack_sample(uint8_t **out) {
    Vectord__V1__RpcRequest request = VECTORD__V1__RPC_REQUEST__INIT;
    Vectord__V1__Metadata pairs[2] = {VECTORD__V1__METADATA__INIT, VECTORD__V1__METADATA__INIT};
    Vectord__V1__Metadata *metadata[] = {&pairs[0], &pairs[1]};
    request.method = pb("/vectord.v1.VectorService/Search");
    request.payload = pb("payload \x01\x02");
    pairs[0].key = pb("traceparent");
    pairs[0].value = pb("00-1-2-3");
    pairs[1].key = pb("idempotency-key");
    pairs[1].value = pb("again");
    request.metadata = metadata;
    request.n_metadata = 2;
    request.timeout_ms = 1234567;
    request.request_id = pb("id-7");
    size_t size = vectord__v1__rpc_request__get_packed_size(&request);
    *out = malloc(size); /* exactly, so that a byte too far is an error of the sanitizer */
    vectord__v1__rpc_request__pack(&request, *out);
    return size;
}

static void test_decode(void **state) {
    (void)state;
    uint8_t *packed;
    size_t size = pack_sample(&packed);
    nng_envelope e;
    vd_error err;
    assert_int_equal(nng_envelope_decode(bytes_of(packed, size), &e, &err), VD_OK);
    assert_true(bytes_equal(e.method, bytes_str("/vectord.v1.VectorService/Search")));
    assert_true(bytes_equal(e.payload, bytes_str("payload \x01\x02")));
    assert_true(bytes_equal(e.request_id, bytes_str("id-7")));
    assert_true(bytes_equal(e.idempotency_key, bytes_str("again")));
    assert_int_equal(e.timeout_ms, 1234567);
    assert_true(e.payload.data > packed && e.payload.data < packed + size); /* in place */
    free(packed);
}

#define DECODE(text, e, err) nng_envelope_decode(bytes_of(text, sizeof(text) - 1), e, err)

static void test_rules(void **state) {
    (void)state;
    nng_envelope e;
    vd_error err;
    assert_int_equal(DECODE("\x0A\x01m\x12\x01"
                            "a\x12\x01"
                            "b",
                            &e, &err),
                     VD_OK);
    assert_true(bytes_equal(e.payload, bytes_str("b"))); /* the last one wins */
    /* unknown fields of every wire type are skipped: 6 varint, 7 fixed64, 8 bytes, 9 fixed32, 536870911 varint */
    assert_int_equal(DECODE("\x30\xFF\x01\x39"
                            "12345678\x42\x03xyz\x4D"
                            "1234\xF8\xFF\xFF\xFF\x0F\x01\x0A\x01m",
                            &e, &err),
                     VD_OK);
    assert_true(bytes_equal(e.method, bytes_str("m")));
    assert_int_equal(DECODE("\x0A\x01m\x20\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", &e, &err), VD_OK);
    assert_int_equal(e.timeout_ms, UINT32_MAX);
    static const struct {
        const char *text;
        size_t size;
    } bad[] = {
#define BAD(t) {t, sizeof(t) - 1}
        BAD(""),                                                 /* no method */
        BAD("\x0A\x00"),                                         /* an empty one */
        BAD("\x00\x01"),                                         /* field 0 */
        BAD("\x0A"),                                             /* no length */
        BAD("\x0A\x02m"),                                        /* length past the end */
        BAD("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01m"),    /* far past it */
        BAD("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02m"),    /* over 64 bits */
        BAD("\x0A\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), /* eleven bytes */
        BAD("\x08\x01"),                                         /* method as a varint */
        BAD("\x0A\x01m\x22\x01x"),                               /* timeout as bytes */
        BAD("\x0A\x01m\x28\x01"),                                /* request id as a varint */
        BAD("\x0A\x01m\x1A\x01\x0A"),                            /* broken metadata */
        BAD("\x0A\x01m\x33\x34"),                                /* a group */
        BAD("\x0A\x01m\x39"
            "1234567"), /* short fixed64 */
        BAD("\x0A\x01m\x4D"
            "123"),           /* short fixed32 */
        BAD("\x0A\x01m\x37"), /* wire type 7 */
        BAD("{\"method\":\"x\"}"),
        BAD("GET / HTTP/1.1\r\n\r\n"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t *exact = malloc(bad[i].size + 1);
        memcpy(exact + 1, bad[i].text, bad[i].size);
        if (nng_envelope_decode(bytes_of(exact + 1, bad[i].size), &e, &err) != VD_INVALID_ARGUMENT) {
            print_error("case %zu is taken\n", i);
            fail();
        }
        assert_memory_equal(err.text, "bad envelope: ", 14);
        free(exact);
    }
}

static void test_tampering(void **state) {
    (void)state;
    uint8_t *packed;
    size_t size = pack_sample(&packed);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1);
        memcpy(copy, packed, cut);
        nng_envelope e;
        vd_error err;
        nng_envelope_decode(bytes_of(copy, cut), &e, &err);
        free(copy);
    }
    for (size_t at = 0; at < size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            packed[at] ^= (uint8_t)(1u << bit);
            nng_envelope e;
            vd_error err;
            if (nng_envelope_decode(bytes_of(packed, size), &e, &err) == VD_OK) {
                assert_true(e.payload.size <= size && e.method.size <= size);
            }
            packed[at] ^= (uint8_t)(1u << bit);
        }
    }
    free(packed);
}

static Vectord__V1__RpcResponse *unpack(nng_msg *msg) {
    assert_non_null(msg);
    Vectord__V1__RpcResponse *r = vectord__v1__rpc_response__unpack(NULL, nng_msg_len(msg), nng_msg_body(msg));
    assert_non_null(r);
    nng_msg_free(msg);
    return r;
}

static void assert_text(ProtobufCBinaryData d, const char *text) {
    assert_int_equal(d.len, strlen(text));
    assert_memory_equal(d.data, text, d.len);
}

static void test_reply(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 127, 128, 20000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        Vectord__V1__GetIndexResponse message = VECTORD__V1__GET_INDEX_RESPONSE__INIT;
        char *text = calloc(1, sizes[i] + 1);
        memset(text, 'r', sizes[i]);
        message.reason = pb(text);
        Vectord__V1__RpcResponse *r = unpack(nng_envelope_reply(&message.base));
        assert_int_equal(r->code, 0);
        assert_int_equal(r->message.len, 0);
        Vectord__V1__GetIndexResponse *back =
            vectord__v1__get_index_response__unpack(NULL, r->payload.len, r->payload.data);
        assert_non_null(back);
        assert_text(back->reason, text);
        vectord__v1__get_index_response__free_unpacked(back, NULL);
        vectord__v1__rpc_response__free_unpacked(r, NULL);
        free(text);
    }
}

static void test_error(void **state) {
    (void)state;
    vd_error err;
    vd_fail(&err, VD_TOO_LARGE, "payload", "body too large");
    Vectord__V1__RpcResponse *r = unpack(nng_envelope_error(VD_TOO_LARGE, &err));
    assert_int_equal(r->code, 8);
    assert_text(r->message, "body too large");
    assert_int_equal(r->n_violations, 1);
    assert_text(r->violations[0]->field, "payload");
    assert_text(r->violations[0]->description, "body too large");
    assert_int_equal(r->n_metadata, 1);
    assert_text(r->metadata[0]->key, "status");
    assert_text(r->metadata[0]->value, "TOO_LARGE");
    vectord__v1__rpc_response__free_unpacked(r, NULL);
    vd_fail(&err, VD_UNAVAILABLE, NULL, "loading");
    err.retry_after_s = 9;
    r = unpack(nng_envelope_error(VD_UNAVAILABLE, &err));
    assert_int_equal(r->code, 14);
    assert_int_equal(r->n_violations, 0);
    assert_int_equal(r->n_metadata, 2);
    assert_text(r->metadata[1]->key, "retry-after");
    assert_text(r->metadata[1]->value, "9");
    vectord__v1__rpc_response__free_unpacked(r, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode), cmocka_unit_test(test_rules), cmocka_unit_test(test_tampering),
        cmocka_unit_test(test_reply),  cmocka_unit_test(test_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
