/*
 * envelope_test.c - the hand-written envelope says what protobuf-c reads, reads what protobuf-c writes, and survives any bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client_int.h"
#include "vectord/v1/vectord.pb-c.h"

static ProtobufCBinaryData text(const char *value) {
    return (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
}

static void assert_text(ProtobufCBinaryData got, const char *want) {
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.data, want, got.len);
}

static Vectord__V1__RpcRequest *round_trip(vd_client *client, const client_request *request, size_t payload_bytes) {
    nng_msg *msg = NULL;
    uint8_t *payload = NULL;
    vd_error err;
    assert_int_equal(client_envelope(client, request, payload_bytes, &msg, &payload, &err), VD_OK);
    assert_ptr_equal(payload + payload_bytes, (uint8_t *)nng_msg_body(msg) + nng_msg_len(msg));
    memset(payload, 0x5a, payload_bytes);
    Vectord__V1__RpcRequest *got = vectord__v1__rpc_request__unpack(NULL, nng_msg_len(msg), nng_msg_body(msg));
    nng_msg_free(msg);
    assert_non_null(got);
    return got;
}

static void requests_read_back(void **state) {
    (void)state;
    char token[] = "Bearer secret";
    vd_client client = {.timeout_ms = 60000};
    static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, 2097151, 2097152};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        client_request request = {.method = CLIENT_METHOD("Search")};
        Vectord__V1__RpcRequest *got = round_trip(&client, &request, sizes[i]);
        assert_text(got->method, "/vectord.v1.VectorService/Search");
        assert_int_equal(got->payload.len, sizes[i]);
        assert_int_equal(got->timeout_ms, 60000);
        assert_int_equal(got->request_id.len, 0);
        assert_int_equal(got->n_metadata, 0);
        vectord__v1__rpc_request__free_unpacked(got, NULL);
    }
    client.authorization = token;
    client_request request = {
        .method = CLIENT_METHOD("AddItems"), .timeout_ms = 5, .request_id = bytes_of("0123456789abcdef", 16)};
    Vectord__V1__RpcRequest *got = round_trip(&client, &request, 10);
    assert_int_equal(got->timeout_ms, 5);
    assert_text(got->request_id, "0123456789abcdef");
    assert_int_equal(got->n_metadata, 1);
    assert_text(got->metadata[0]->key, "authorization");
    assert_text(got->metadata[0]->value, "Bearer secret");
    vectord__v1__rpc_request__free_unpacked(got, NULL);
}

static void limits_are_kept(void **state) {
    (void)state;
    vd_client client = {.timeout_ms = 1};
    client_request request = {.method = CLIENT_METHOD("Search")};
    nng_msg *msg = NULL;
    uint8_t *payload = NULL;
    vd_error err;
    assert_int_equal(client_envelope(&client, &request, VD_BODY_MAX_BYTES, &msg, &payload, &err), VD_OK);
    nng_msg_free(msg);
    assert_int_equal(client_envelope(&client, &request, (size_t)VD_BODY_MAX_BYTES + 1, &msg, &payload, &err),
                     VD_TOO_LARGE);
    char id[VD_REQUEST_ID_MAX_BYTES + 1] = {0};
    request.request_id = bytes_of(id, VD_REQUEST_ID_MAX_BYTES);
    assert_int_equal(client_envelope(&client, &request, 1, &msg, &payload, &err), VD_OK);
    nng_msg_free(msg);
    request.request_id = bytes_of(id, sizeof id);
    assert_int_equal(client_envelope(&client, &request, 1, &msg, &payload, &err), VD_INVALID_ARGUMENT);
    assert_string_equal(err.field, "request_id");
}

static size_t pack(const Vectord__V1__RpcResponse *reply, uint8_t *out, size_t size) {
    assert_true(vectord__v1__rpc_response__get_packed_size(reply) <= size);
    return vectord__v1__rpc_response__pack(reply, out);
}

static void successes_are_read(void **state) {
    (void)state;
    uint8_t wire[256];
    Vectord__V1__RpcResponse reply = VECTORD__V1__RPC_RESPONSE__INIT;
    reply.payload = text("payload bytes");
    bytes payload;
    assert_int_equal(client_decode_envelope(bytes_of(wire, pack(&reply, wire, sizeof wire)), &payload, NULL), VD_OK);
    assert_true(bytes_equal(payload, bytes_str("payload bytes")));
    assert_int_equal(client_decode_envelope(bytes_of(wire, 0), &payload, NULL), VD_OK);
    assert_int_equal(payload.size, 0);
}

static size_t pack_failure(uint8_t *wire, size_t size) {
    Vectord__V1__FieldViolation first = VECTORD__V1__FIELD_VIOLATION__INIT;
    Vectord__V1__FieldViolation second = VECTORD__V1__FIELD_VIOLATION__INIT;
    Vectord__V1__FieldViolation *violations[] = {&first, &second};
    Vectord__V1__Metadata retry = VECTORD__V1__METADATA__INIT;
    Vectord__V1__Metadata *metadata[] = {&retry};
    Vectord__V1__RpcResponse reply = VECTORD__V1__RPC_RESPONSE__INIT;
    first.field = text("items[3].vector");
    first.description = text("dim mismatch");
    second.field = text("items[9].id");
    second.description = text("empty id");
    retry.key = text("retry-after");
    retry.value = text("7");
    reply.code = VD_INVALID_ARGUMENT;
    reply.message = text("items[3]: dim mismatch (index=3, got=2)");
    reply.n_violations = 2;
    reply.violations = violations;
    reply.n_metadata = 1;
    reply.metadata = metadata;
    return pack(&reply, wire, size);
}

static void failures_keep_text_and_fields(void **state) {
    (void)state;
    uint8_t wire[512];
    vd_error err;
    bytes payload;
    size_t size = pack_failure(wire, sizeof wire);
    assert_int_equal(client_decode_envelope(bytes_of(wire, size), &payload, &err), VD_INVALID_ARGUMENT);
    assert_int_equal(err.status, VD_INVALID_ARGUMENT);
    assert_string_equal(err.text, "items[3]: dim mismatch (index=3, got=2); items[9].id: empty id");
    assert_string_equal(err.field, "items[3].vector");
    assert_int_equal(err.retry_after_s, 7);
    assert_int_equal(client_decode_envelope(bytes_of(wire, size), &payload, NULL), VD_INVALID_ARGUMENT);
}

static void codes_we_do_not_know_are_unknown(void **state) {
    (void)state;
    uint8_t wire[64];
    vd_error err;
    bytes payload;
    static const uint32_t codes[] = {17, 32, 4000000000u};
    for (size_t i = 0; i < 3; i++) {
        Vectord__V1__RpcResponse reply = VECTORD__V1__RPC_RESPONSE__INIT;
        reply.code = codes[i];
        assert_int_equal(client_decode_envelope(bytes_of(wire, pack(&reply, wire, sizeof wire)), &payload, &err),
                         VD_UNKNOWN);
        assert_string_equal(err.text, "unknown");
    }
}

/* Cut short anywhere and with any one byte changed: a status, never a read past the end (copies are exactly sized, so that the
 * address sanitizer sees one). */
static void any_bytes_are_survived(void **state) {
    (void)state;
    uint8_t wire[512];
    bytes payload;
    size_t size = pack_failure(wire, sizeof wire);
    for (size_t cut = 0; cut <= size; cut++) {
        uint8_t *exact = malloc(cut + 1);
        assert_non_null(exact);
        memcpy(exact + 1, wire, cut);
        vd_error err;
        (void)client_decode_envelope(bytes_of(exact + 1, cut), &payload, &err);
        free(exact);
    }
    for (size_t at = 0; at < size; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t *exact = malloc(size);
            assert_non_null(exact);
            memcpy(exact, wire, size);
            exact[at] = (uint8_t)value;
            vd_error err;
            (void)client_decode_envelope(bytes_of(exact, size), &payload, &err);
            free(exact);
        }
    }
}

static void damaged_answers_are_internal(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
        {"\x22\x05"
         "abc",
         5},                                                      /* a length past the end */
        {"\x08", 1},                                              /* no value */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, /* a varint that does not end in 64 bits */
        {"\x00\x01", 2},                                          /* field 0 */
        {"\x0b", 1},                                              /* a group */
        {"\x22\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10},         /* a length near 2^63 */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        vd_error err;
        bytes payload;
        assert_int_equal(client_decode_envelope(bytes_of(bad[i].bytes, bad[i].size), &payload, &err), VD_INTERNAL);
        assert_non_null(strstr(err.text, "not an RpcResponse"));
    }
}

static void request_ids_differ(void **state) {
    (void)state;
    uint8_t a[CLIENT_REQUEST_ID_BYTES];
    uint8_t b[CLIENT_REQUEST_ID_BYTES];
    assert_int_equal(client_request_id(a, NULL), VD_OK);
    assert_int_equal(client_request_id(b, NULL), VD_OK);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_read_back),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(successes_are_read),
        cmocka_unit_test(failures_keep_text_and_fields),
        cmocka_unit_test(codes_we_do_not_know_are_unknown),
        cmocka_unit_test(any_bytes_are_survived),
        cmocka_unit_test(damaged_answers_are_internal),
        cmocka_unit_test(request_ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
