/*
 * http_gateway_test.c - the HTTP door over real sockets, mostly with bad input. Behind it stands the table of fake_ops.c,
 * which counts what got through: a refused request must not have run anything.
 *
 * Longer than most files: one door, one fixture, and a table of bad requests that reads best in one place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/admission.h"
#include "unit/transport/fake_ops.h"
#include "unit/transport/raw_http.h"
#include "vectord/limits.h"

static fake_server server;

static int start(void **state) {
    (void)state;
    static const char *const binds[] = {"127.0.0.1:0", "[::1]:0"};
    static const char *const origins[] = {"https://app.example"};
    http_options options = {
        .binds = binds, .bind_count = 2, .cors_origins = origins, .cors_origin_count = 1, .threads = 2};
    fake_reset();
    return fake_server_start(&server, 2, 64, &options, NULL) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    fake_server_stop(&server);
    /* Whatever the tests did, nothing may stay charged. */
    return admission_bytes() == 0 && admission_jobs() == 0 ? 0 : -1;
}

/* The status, and (unless NULL) a text that the body must contain. */
static void expect_reply(const raw_reply *r, int status, const char *text, int line) {
    if (r->status != status || (text && !strstr(r->body, text))) {
        print_error("line %d: want %d \"%s\", got %d \"%s\"\n", line, status, text ? text : "", r->status,
                    r->body ? r->body : "");
        fail();
    }
}
#define EXPECT(reply, status, text) expect_reply(&(reply), status, text, __LINE__)

static void check(const char *method, const char *target, const char *headers, const char *body, int status,
                  const char *text) {
    raw_reply r = raw_call(server.port, method, target, headers, body);
    if (r.status != status) {
        print_error("%s %s\n", method, target);
    }
    EXPECT(r, status, text);
    raw_free(&r);
}

static void test_routes(void **state) {
    (void)state;
    check("GET", "/vectors/index/plain", NULL, NULL, 200, "\"state\":\"plain\"");
    check("GET", "/v1/vectors/index/plain?x=1&y=%zz", NULL, NULL, 200, "\"state\":\"plain\"");
    check("GET", "/vectors/index/a%2Fb%20c%25", NULL, NULL, 200, "\"state\":\"a/b c%\"");
    check("GET", "/vectors/index/%252F", NULL, NULL, 200, "\"state\":\"%2F\""); /* decoded once */
    check("GET", "/vectors/index/a+b", NULL, NULL, 200, "\"state\":\"a+b\"");
    check("GET", "/vectors/index/%E2%82%AC", NULL, NULL, 200, "\"state\":\"\xE2\x82\xAC\"");
    check("GET", "/vectors/index/%2e%2e", NULL, NULL, 200, "\"state\":\"..\"");
    check("POST", "/vectors/index/%61dd/add", NULL, "{\"items\":[]}", 200, "\"added\":0");
    check("GET", "http://localhost/vectors/index/absolute", NULL, NULL, 200, "\"state\":\"absolute\"");
    check("GET", "/health", NULL, NULL, 200, "\"indexes\":3");
    check("POST", "/vectors/index", NULL, "{\"name\":\"n\",\"dimension\":7}", 201, "\"length\":7}\n");
    check("POST", "/vectors/index", NULL, "{\"name\":\"taken\"}", 409, "already exists\n");
    check("POST", "/vectors/index/n/search", NULL, "{\"name\":\"violation\"}", 200, NULL); /* the path's name wins */
    static const char *const unknown[] = {"/",
                                          "/vectors",
                                          "/vectors/",
                                          "/vectors/index/",
                                          "/vectors/index//add",
                                          "/vectors/index/a/",
                                          "/vectors/index/a/b",
                                          "/vectors/index/a/b/add",
                                          "/v2/vectors/index/a",
                                          "/VECTORS/index/a",
                                          "//vectors/index/a",
                                          "/vectors/../vectors/index/a",
                                          "/v1/health",
                                          "/vector%73/index/a",
                                          "/metrics/",
                                          "http://localhost"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        check("GET", unknown[i], NULL, NULL, 404, "not found\n");
    }
    static const char *const escapes[] = {"/vectors/index/%",  "/vectors/index/%2",  "/vectors/index/%zz",
                                          "/vectors/index/a%", "/vectors/index/%00", "/vectors/index/a%0",
                                          "/vectors/index/%-1"};
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        check("GET", escapes[i], NULL, NULL, 400, "path\n");
    }
}

static void test_methods(void **state) {
    (void)state;
    raw_reply r = raw_call(server.port, "PUT", "/vectors/index/a", NULL, "{}");
    EXPECT(r, 405, "method not allowed\n");
    assert_string_equal(raw_header(&r, "Allow"), "GET, HEAD, DELETE, OPTIONS");
    assert_false(r.closed);
    raw_free(&r);
    check("GET", "/vectors/index/a/add", NULL, NULL, 405, NULL);
    check("POST", "/metrics", NULL, "", 405, NULL);
    check("get", "/vectors/index/a", NULL, NULL, 405, NULL); /* methods are case-sensitive */
    check("PURGE", "/nowhere", NULL, NULL, 404, NULL);
    check("G@T", "/vectors/index/a", NULL, NULL, 400, "malformed request line\n");
    check("CONNECT", "localhost:80", NULL, NULL, 400, NULL);

    r = raw_call(server.port, "HEAD", "/vectors/index/abc", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_true(atoi(raw_header(&r, "Content-Length")) > 100);
    raw_free(&r);
    r = raw_call(server.port, "OPTIONS", "/vectors/index", NULL, NULL);
    EXPECT(r, 204, NULL);
    assert_string_equal(raw_header(&r, "Allow"), "POST, OPTIONS");
    assert_null(raw_header(&r, "Access-Control-Allow-Origin"));
    raw_free(&r);
    check("OPTIONS", "*", NULL, NULL, 204, NULL);
    check("OPTIONS", "/nowhere", NULL, NULL, 404, NULL);
    r = raw_call(server.port, "DELETE", "/vectors/index/a", NULL, NULL);
    EXPECT(r, 204, NULL);
    assert_null(raw_header(&r, "Content-Type"));
    raw_free(&r);
    check("DELETE", "/vectors/index/a", NULL, "not json, and not looked at", 204, NULL);
}

/* A head that is malformed is answered (by the library or by us) and ends the connection: a request hidden behind it, here
 * a delete, must never run. */
static void test_bad_heads(void **state) {
    (void)state;
#define HIDDEN "DELETE /vectors/index/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define CASE(status, text)                                                                                             \
    { status, text HIDDEN, sizeof(text HIDDEN) - 1 }
    static const struct {
        int status;
        const char *bytes;
        size_t size;
    } cases[] = {
        CASE(400, "GET /health HTTP/1.1\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nHost : evil\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\0.evil.example\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0\0b\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0\0\0\0b\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: \x01\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\nX: a\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\n: no name\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length : 5\r\n\r\n"),
        CASE(400,
             "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 63\r\n\r\n{}"),
        CASE(400,
             "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2, 2\r\n\r\n{}"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x2\r\n\r\n{}"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length:\r\n\r\n{}"),
        CASE(413, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n"),
        CASE(400,
             "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                  "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
        CASE(400, "POST /vectors/index HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"),
        CASE(400, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n"),
        CASE(400,
             "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n"),
        CASE(413, "POST /vectors/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "fffffffffffffffff\r\n{}\r\n"),
        CASE(505, "GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1 \r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /health HTTQ/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /hea lth HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /hea\tlth HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, " /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /health\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /vectors/index/\xE2\x82\xAC HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET ftp://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /health\r\nHost: localhost\r\n\r\n"),
        CASE(400, "GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil\r\n\r\n"),
    };
    fake_reset();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = raw_connect(server.port);
        assert_true(fd >= 0);
        raw_send(fd, cases[i].bytes, cases[i].size);
        raw_reply r = raw_read(fd, false);
        /* Some of these the library answers without a body, or only by closing (no valid request line at all). */
        if (r.status != cases[i].status && !(r.status == 0 && r.closed)) {
            print_error("case %zu: want %d, got %d %s\n%s\n", i, cases[i].status, r.status, r.body ? r.body : "",
                        cases[i].bytes);
            fail();
        }
        if (!raw_wait_closed(fd)) {
            print_error("case %zu: the connection stays open\n%s\n", i, cases[i].bytes);
            fail();
        }
        close(fd);
        raw_free(&r);
    }
    assert_int_equal(fake_deletes(), 0);
}

static void send_head_in_pieces(size_t value_size, size_t piece, int status) {
    char *request = malloc(value_size + 200);
    size_t size = (size_t)sprintf(request, "GET /health HTTP/1.1\r\nHost: localhost\r\nA: 1\r\nX-Long: ");
    memset(request + size, 'v', value_size);
    size += value_size;
    size += (size_t)sprintf(request + size, "\r\nB: 2\r\n\r\n");
    int fd = raw_connect(server.port);
    for (size_t at = 0; at < size; at += piece) {
        if (!raw_send(fd, request + at, at + piece < size ? piece : size - at)) {
            break;
        }
    }
    raw_reply r = raw_read(fd, false);
    assert_int_equal(r.status, status);
    raw_free(&r);
    close(fd);
    free(request);
}

static void test_long_heads(void **state) {
    (void)state;
    send_head_in_pieces(10, 1, 200);
    send_head_in_pieces(8000, 97, 200);
    send_head_in_pieces(20000, 1000, 200);
    send_head_in_pieces(20000, 100000, 200);
    send_head_in_pieces(60000, 100000, 431);
    char *request = malloc(50000);
    size_t size = (size_t)sprintf(request, "GET /vectors/index/");
    memset(request + size, 'n', 40000);
    size += 40000;
    size += (size_t)sprintf(request + size, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    raw_reply r = raw_exchange(server.port, request, size);
    assert_int_equal(r.status, 414);
    raw_free(&r);
    /* many small headers: they cost more memory than bytes */
    size = (size_t)sprintf(request, "GET /health HTTP/1.1\r\nHost: localhost\r\n");
    for (int i = 0; i < 4000; i++) {
        size += (size_t)sprintf(request + size, "a: b\r\n");
    }
    size += (size_t)sprintf(request + size, "\r\n");
    r = raw_exchange(server.port, request, size);
    assert_true(r.status == 431 || r.status == 200);
    raw_free(&r);
    free(request);
}

static void test_host(void **state) {
    (void)state;
    static const struct {
        const char *line;
        int status;
    } cases[] = {
        {"Host: localhost\r\n", 200},
        {"Host: LocalHost:1\r\n", 200},
        {"Host: localhost.:80\r\n", 200},
        {"Host: 127.0.0.1\r\n", 200},
        {"Host: 127.8.9.10:3215\r\n", 200},
        {"Host: [::1]\r\n", 200},
        {"Host: [::1]:3215\r\n", 200},
        {"Host: [::ffff:127.0.0.1]\r\n", 200},
        {"Host: localhost:\r\n", 200},
        {"Host: evil.example\r\n", 421},
        {"Host: evil.example:3215\r\n", 421},
        {"Host: localhost.evil.example\r\n", 421},
        {"Host: 127.0.0.1.evil.example\r\n", 421},
        {"Host: 192.168.0.1\r\n", 421},
        {"Host: [::2]\r\n", 421},
        {"Host: \r\n", 421},
        {"Host: :80\r\n", 421},
        {"Host: localhost:99999\r\n", 421},
        {"Host: localhost:80a\r\n", 421},
        {"Host: user@localhost\r\n", 421},
        {"Host: localhost/\r\n", 421},
        {"Host: 0x7f.1\r\n", 421},
        {"Host: 2130706433\r\n", 421},
        {"Host: [localhost]\r\n", 421},
        {"Host: ::1\r\n", 421},
        {"Host: localhost, evil\r\n", 421},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        raw_reply r = raw_call(server.port, "GET", "/health", cases[i].line, NULL);
        if (r.status != cases[i].status) {
            print_error("%s: %d\n", cases[i].line, r.status);
            fail();
        }
        raw_free(&r);
    }
    /* the host of an absolute target counts, whatever Host says */
    check("GET", "http://evil.example/health", "Host: localhost\r\n", NULL, 421, NULL);
    check("GET", "/metrics", "Host: evil.example\r\n", NULL, 421, NULL);
    raw_reply r = raw_exchange(server.port, "GET /health HTTP/1.0\r\n\r\n", strlen("GET /health HTTP/1.0\r\n\r\n"));
    EXPECT(r, 200, NULL);
    raw_free(&r);
}

static void test_origin(void **state) {
    (void)state;
    fake_reset();
    static const char *const refused[] = {
        "https://evil.example",  "null",    "http://localhost:1",       "http://127.0.0.1",
        "http://localhost.evil", "file://", "https://app.example.evil", "https://app.example:444",
        "http://app.example",    ""};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char header[200];
        /* what a page can send without asking first: a simple POST, and with fetch a DELETE */
        snprintf(header, sizeof header, "Origin: %s\r\nContent-Type: text/plain\r\n", refused[i]);
        check("POST", "/vectors/index/a/add", header, "{\"items\":[{\"id\":\"x\",\"vector\":[1]}]}", 403, "Origin");
        check("DELETE", "/vectors/index/a", header, NULL, 403, "Origin");
        check("GET", "/vectors/index/a", header, NULL, 403, NULL);
        check("GET", "/metrics", header, NULL, 403, NULL);
        raw_reply r = raw_call(server.port, "OPTIONS", "/vectors/index/a/add", header, NULL);
        EXPECT(r, 403, NULL);
        assert_null(raw_header(&r, "Access-Control-Allow-Origin"));
        raw_free(&r);
    }
    assert_int_equal(fake_adds(), 0);
    assert_int_equal(fake_deletes(), 0);
    check("POST", "/vectors/index/a/add", "Host: localhost:77\r\nOrigin: http://LOCALHOST:77\r\n", "{}", 200, NULL);
    check("POST", "/vectors/index/a/add", "Host: localhost\r\nOrigin: http://localhost:80\r\n", "{}", 200, NULL);
    raw_reply r = raw_call(server.port, "DELETE", "/vectors/index/a", "Origin: https://app.example\r\n", NULL);
    EXPECT(r, 204, NULL);
    assert_string_equal(raw_header(&r, "Access-Control-Allow-Origin"), "https://app.example");
    assert_string_equal(raw_header(&r, "Vary"), "Origin");
    raw_free(&r);
    r = raw_call(server.port, "OPTIONS", "/vectors/index/a/add",
                 "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n", NULL);
    EXPECT(r, 204, NULL);
    assert_string_equal(raw_header(&r, "Access-Control-Allow-Methods"), "POST, OPTIONS");
    assert_non_null(strstr(raw_header(&r, "Access-Control-Allow-Headers"), "Content-Type"));
    raw_free(&r);
    /* an error still lets the allowed page read it */
    r = raw_call(server.port, "GET", "/vectors/index/missing", "Origin: https://app.example\r\n", NULL);
    EXPECT(r, 404, NULL);
    assert_non_null(raw_header(&r, "Access-Control-Allow-Origin"));
    raw_free(&r);
}

static void test_bodies(void **state) {
    (void)state;
    check("POST", "/vectors/index/missing/search", NULL, "{not json", 404, "not found\n"); /* before the body is read */
    check("POST", "/vectors/index/a/search", NULL, "{not json", 400, "decode body: ");
    check("POST", "/vectors/index/a/search", NULL, "", 200, NULL);
    check("POST", "/vectors/index/a/search", NULL, NULL, 200, NULL);
    check("POST", "/vectors/index/long/search", NULL, "{\"vector\":[1,2]}", 200, "\"distance\":2"); /* by a worker */
    check("POST", "/vectors/index/long/search", NULL, "{]", 400, "decode body: ");
    check("POST", "/vectors/index/a/add", NULL, "{\"items\":[{\"id\":\"x\",\"vector\":[1e999]}]}", 400, NULL);
    static const char *const taken[] = {"Content-Type: application/json\r\n",
                                        "Content-Type: application/json; charset=UTF-8\r\n",
                                        "Content-Type: application/x-www-form-urlencoded\r\n",
                                        "Content-Type: text/plain\r\n",
                                        "Content-Type: anything/else\r\n",
                                        "Content-Encoding: identity\r\n"};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        check("POST", "/vectors/index/a/search", taken[i], "{\"vector\":[1,2,3]}", 200, "\"distance\":3");
    }
    static const char *const refused[] = {"Content-Type: multipart/form-data; boundary=x\r\n",
                                          "Content-Type: application/msgpack\r\n",
                                          "Content-Type: application/grpc\r\n",
                                          "Content-Type: text/xml\r\n",
                                          "Content-Type: application/json; charset=utf-16\r\n",
                                          "Content-Encoding: gzip\r\n"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        check("POST", "/vectors/index/a/search", refused[i], "{\"vector\":[1,2,3]}", 415, "unsupported content");
    }
    check("POST", "/vectors/index/a/search", "Idempotency-Key: k-1\r\n", "{}", 200, "\"id\":\"k-1\"");
    check("POST", "/vectors/index/a/search", "Idempotency-Key: with space\r\n", "{}", 400, "Idempotency-Key");
    check("POST", "/vectors/index/a/search",
          "Idempotency-Key: 0123456789012345678901234567890123456789012345678901234567890123\r\n", "{}", 200, "0123");
    check("POST", "/vectors/index/a/search",
          "Idempotency-Key: 01234567890123456789012345678901234567890123456789012345678901234\r\n", "{}", 400, NULL);
}

static void test_protobuf(void **state) {
    (void)state;
    static const char body[] = "\x12\x08\x00\x00\x80\x3F\x00\x00\x80\x3F"; /* vector: [1, 1] */
    static const struct {
        const char *headers;
        bool proto;
    } cases[] = {
        {"Content-Type: application/x-protobuf\r\n", true},
        {"Content-Type: application/x-protobuf\r\nAccept: */*\r\n", true},
        {"Content-Type: application/x-protobuf\r\nAccept: application/json\r\n", false},
        {"Content-Type: application/x-protobuf\r\nAccept: application/x-protobuf;q=0.5, application/json\r\n", false},
        {"Content-Type: application/protobuf\r\nAccept: application/json;q=0.9, application/x-protobuf\r\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char request[400];
        size_t size =
            (size_t)snprintf(request, sizeof request,
                             "POST /vectors/index/a/search HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: 10\r\n\r\n",
                             cases[i].headers);
        memcpy(request + size, body, 10);
        raw_reply r = raw_exchange(server.port, request, size + 10);
        assert_int_equal(r.status, 200);
        assert_string_equal(raw_header(&r, "Content-Type"),
                            cases[i].proto ? "application/x-protobuf" : "application/json");
        assert_true(cases[i].proto ? r.body[0] == 0x0A : r.body[0] == '{');
        raw_free(&r);
    }
    check("POST", "/vectors/index/a/search", "Content-Type: application/x-protobuf\r\n", "\x12\x08garbage", 400, NULL);
    check("POST", "/vectors/index/a/search", "Accept: application/x-protobuf\r\n", "{]", 400, "decode body: ");
}

static void test_errors(void **state) {
    (void)state;
    raw_reply r = raw_call(server.port, "POST", "/vectors/index/violation/add", NULL, "{}");
    EXPECT(r, 400, "items[3]: dim mismatch (index=3, got=2)\n");
    assert_string_equal(raw_header(&r, "Content-Type"), "text/plain; charset=utf-8");
    raw_free(&r);
    r = raw_call(server.port, "POST", "/vectors/index/violation/add",
                 "Accept: application/json, application/problem+json\r\n", "{}");
    EXPECT(
        r, 400,
        "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"items[3]: dim mismatch "
        "(index=3, "
        "got=2)\",\"code\":\"INVALID_ARGUMENT\",\"errors\":[{\"field\":\"items[3].vector\",\"message\":\"items[3]: dim "
        "mismatch (index=3, got=2)\"}]}\n");
    assert_string_equal(raw_header(&r, "Content-Type"), "application/problem+json");
    raw_free(&r);
    r = raw_call(server.port, "GET", "/vectors/index/internal", NULL, NULL);
    EXPECT(r, 500, "internal\n");
    assert_null(strstr(r.body, "secret"));
    raw_free(&r);
    r = raw_call(server.port, "GET", "/vectors/index/internal", "Accept: application/problem+json\r\n", NULL);
    EXPECT(r, 500, "\"detail\":\"internal\"");
    raw_free(&r);
    r = raw_call(server.port, "GET", "/vectors/index/loading", NULL, NULL);
    EXPECT(r, 503, "index is loading (40%)\n");
    assert_string_equal(raw_header(&r, "Retry-After"), "7");
    raw_free(&r);
    check("POST", "/vectors/index/full/add", NULL, "{}", 507, "disk full\n");
    check("GET", "/vectors/index/missing", "Accept: application/problem+json\r\n", NULL, 404,
          "\"code\":\"NOT_FOUND\"}");
}

static void test_builtins(void **state) {
    (void)state;
    check("GET", "/livez", NULL, NULL, 200, "ok\n");
    check("GET", "/readyz", NULL, NULL, 200, "{\"ready\":true,\"reasons\":[]}\n");
    fake_ready(false);
    raw_reply r = raw_call(server.port, "GET", "/readyz", NULL, NULL);
    EXPECT(r, 503, "{\"ready\":false,\"reasons\":[\"2 of 3 indexes are loading\"]}\n");
    assert_string_equal(raw_header(&r, "Retry-After"), "1");
    raw_free(&r);
    fake_ready(true);
    check("GET", "/metrics", NULL, NULL, 200,
          "vectord_requests_total{op=\"GetIndex\",transport=\"http\",code=\"NOT_FOUND\"}");
    check("GET", "/metrics", NULL, NULL, 200, "vectord_rejected_total{transport=\"http\",reason=\"origin\"}");
}

/* ---- large bodies ---- */

typedef enum framing { BY_LENGTH, CHUNKED, ON_REQUEST } framing;

/* A JSON body padded with white space to `size` bytes. */
static raw_reply send_large(size_t size, framing how, bool *sent_all) {
    static const char json[] = "{\"items\":[{\"id\":\"x\",\"vector\":[1]}]}";
    enum { PIECE = 1024 * 1024 };
    char *piece = malloc(PIECE);
    char head[300];
    int fd = raw_connect(server.port);
    snprintf(head, sizeof head, "POST /vectors/index/a/add HTTP/1.1\r\nHost: localhost\r\n%s",
             how == ON_REQUEST ? "Expect: 100-continue\r\n" : "");
    size_t used = strlen(head);
    if (how == CHUNKED) {
        snprintf(head + used, sizeof head - used, "Transfer-Encoding: chunked\r\n\r\n");
    } else {
        snprintf(head + used, sizeof head - used, "Content-Length: %zu\r\n\r\n", size);
    }
    raw_reply r = {0};
    *sent_all = false;
    if (!raw_send_text(fd, head)) {
        goto out;
    }
    if (how == ON_REQUEST) {
        r = raw_read(fd, false);
        if (r.status != 100) {
            goto out;
        }
        raw_free(&r);
    }
    for (size_t at = 0; at < size;) {
        size_t n = size - at < PIECE ? size - at : PIECE;
        memset(piece, ' ', n);
        if (at == 0) {
            memcpy(piece, json, sizeof json - 1);
        }
        snprintf(head, sizeof head, "%zx\r\n", n);
        if ((how == CHUNKED && !raw_send_text(fd, head)) || !raw_send(fd, piece, n) ||
            (how == CHUNKED && !raw_send_text(fd, "\r\n"))) {
            break;
        }
        at += n;
        *sent_all = at == size;
    }
    if (how == CHUNKED) {
        raw_send_text(fd, "0\r\n\r\n");
    }
    r = raw_read(fd, false);
out:
    free(piece);
    close(fd);
    return r;
}

static void test_body_limit(void **state) {
    (void)state;
    bool all;
    for (int how = BY_LENGTH; how <= ON_REQUEST; how++) {
        raw_reply r = send_large(VD_BODY_MAX_BYTES, (framing)how, &all);
        EXPECT(r, 200, "\"added\":1");
        raw_free(&r);
        r = send_large((size_t)VD_BODY_MAX_BYTES + 1, (framing)how, &all);
        EXPECT(r, 413, "body too large\n");
        assert_int_equal(all, how != ON_REQUEST); /* who asks first sends nothing; the others are read to the end */
        raw_free(&r);
    }
    raw_reply r = send_large(4u * VD_BODY_MAX_BYTES, BY_LENGTH, &all);
    EXPECT(r, 413, "body too large\n");
    raw_free(&r);
    r = send_large(4u * VD_BODY_MAX_BYTES + 4096, CHUNKED, &all); /* more than is read for courtesy */
    assert_true(r.status == 413 || r.closed);
    raw_free(&r);
    check("GET", "/health", NULL, NULL, 200, NULL);
}

static void test_expect(void **state) {
    (void)state;
    /* refused before a byte of the body was sent */
    static const char head[] = "POST /vectors/index/missing/add HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                               "Content-Length: 10\r\n\r\n";
    raw_reply r = raw_exchange(server.port, head, sizeof head - 1);
    EXPECT(r, 404, "not found\n");
    assert_true(r.closed);
    raw_free(&r);
}

/* ---- connections ---- */

static void test_pipelining(void **state) {
    (void)state;
    int fd = raw_connect(server.port);
    assert_true(
        raw_send_text(fd, "GET /vectors/index/one HTTP/1.1\r\nHost: localhost\r\n\r\n"
                          "POST /vectors/index/two/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
                          "POST /vectors/index/a/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                          "Idempotency-Key: three\r\n\r\n1;ext=1\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n"
                          "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
                          "GET /vectors/index/five HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    static const struct {
        int status;
        const char *text;
    } wanted[] = {{200, "\"one\""}, {200, "\"added\":0"}, {200, "\"three\""}, {404, "not found"}, {200, "\"five\""}};
    for (size_t i = 0; i < 5; i++) {
        raw_reply r = raw_read(fd, false);
        EXPECT(r, wanted[i].status, wanted[i].text);
        assert_false(r.closed);
        raw_free(&r);
    }
    close(fd);
}

static void test_early_close(void **state) {
    (void)state;
    static const char *const starts[] = {
        "",
        "G",
        "GET /health HTTP/1.1\r\n",
        "POST /vectors/index/a/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
        "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
        "POST /vectors/index/a/add HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc",
        "POST /vectors/index/a/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        "POST /vectors/index/many/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"};
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
            int fd = raw_connect(server.port);
            raw_send_text(fd, starts[i]);
            close(fd);
        }
    }
    check("GET", "/health", NULL, NULL, 200, NULL);
}

static void test_large_reply(void **state) {
    (void)state;
    raw_reply r = raw_call(server.port, "POST", "/vectors/index/many/search", NULL, "{}");
    assert_int_equal(r.status, 200);
    assert_true(r.body_size > 4096 * 1024);
    assert_memory_equal(r.body + r.body_size - 3, "]}\n", 3);
    raw_free(&r);
}

static void test_ipv6(void **state) {
    (void)state;
    assert_int_not_equal(http_gateway_port(server.http, 1), 0);
    assert_int_equal(http_gateway_port(server.http, 2), 0);
}

typedef struct caller {
    pthread_t thread;
    uint16_t port;
    const char *target;
    raw_reply reply;
} caller;

static void *call(void *arg) {
    caller *c = arg;
    c->reply = raw_call(c->port, "POST", c->target, NULL, "{}");
    return NULL;
}

/* A full queue answers 503 at once; what needs no worker still works; nothing that was accepted is lost. */
static void test_busy(void **state) {
    (void)state;
    fake_server small;
    static const char *const binds[] = {"127.0.0.1:0"};
    http_options options = {.binds = binds, .bind_count = 1, .threads = 2};
    fake_reset();
    fake_gate(false);
    assert_true(fake_server_start(&small, 1, 1, &options, NULL));
    caller callers[2] = {{.port = small.port, .target = "/vectors/index/gate/add"},
                         {.port = small.port, .target = "/vectors/index/gate/add"}};
    pthread_create(&callers[0].thread, NULL, call, &callers[0]);
    assert_true(fake_wait_at_gate(1));
    pthread_create(&callers[1].thread, NULL, call, &callers[1]);
    while (work_queue_depth(small.queue) < 1) {
        usleep(1000);
    }
    raw_reply r = raw_call(small.port, "POST", "/vectors/index/gate/add", NULL, "{}");
    EXPECT(r, 503, "busy");
    assert_string_equal(raw_header(&r, "Retry-After"), "1");
    raw_free(&r);
    r = raw_call(small.port, "POST", "/vectors/index/a/search", NULL, "{}");
    EXPECT(r, 200, NULL);
    raw_free(&r);
    fake_gate(true);
    for (int i = 0; i < 2; i++) {
        pthread_join(callers[i].thread, NULL);
        EXPECT(callers[i].reply, 200, NULL);
        raw_free(&callers[i].reply);
    }
    fake_server_stop(&small);
}

static void *stop_door(void *arg) {
    fake_server *s = arg;
    http_gateway_stop(s->http, 20000);
    s->http = NULL;
    return NULL;
}

/* Stopping waits for the call that is running, answers it, and takes no new connection meanwhile. */
static void test_drain(void **state) {
    (void)state;
    fake_server other;
    static const char *const binds[] = {"127.0.0.1:0"};
    http_options options = {.binds = binds, .bind_count = 1, .threads = 2};
    fake_reset();
    fake_gate(false);
    assert_true(fake_server_start(&other, 2, 16, &options, NULL));
    caller c = {.port = other.port, .target = "/vectors/index/gate/add"};
    pthread_create(&c.thread, NULL, call, &c);
    assert_true(fake_wait_at_gate(1));
    pthread_t stopper;
    pthread_create(&stopper, NULL, stop_door, &other);
    for (;;) { /* until the door has noticed */
        raw_reply r = raw_call(other.port, "GET", "/health", NULL, NULL);
        int status = r.status;
        raw_free(&r);
        if (status == 0) {
            break;
        }
    }
    fake_gate(true);
    pthread_join(c.thread, NULL);
    EXPECT(c.reply, 200, NULL);
    assert_true(c.reply.closed);
    raw_free(&c.reply);
    pthread_join(stopper, NULL);
    fake_server_stop(&other);
}

/* When the drain is over, what has not begun is refused and what runs is waited for. */
static void test_stop_without_drain(void **state) {
    (void)state;
    fake_server other;
    static const char *const binds[] = {"127.0.0.1:0"};
    http_options options = {.binds = binds, .bind_count = 1, .threads = 1};
    fake_reset();
    fake_gate(false);
    assert_true(fake_server_start(&other, 1, 16, &options, NULL));
    caller callers[3];
    for (int i = 0; i < 3; i++) {
        callers[i] = (caller){.port = other.port, .target = "/vectors/index/gate/add"};
        pthread_create(&callers[i].thread, NULL, call, &callers[i]);
    }
    assert_true(fake_wait_at_gate(1));
    while (work_queue_depth(other.queue) < 2) {
        usleep(1000);
    }
    fake_gate(true); /* in the meantime the others may run or be refused: both are answers */
    http_gateway_stop(other.http, 0);
    other.http = NULL;
    for (int i = 0; i < 3; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_true(callers[i].reply.status == 200 || callers[i].reply.status == 503);
        raw_free(&callers[i].reply);
    }
    fake_server_stop(&other);
}

static void refuses_to_start(const char *bind, const char *text) {
    http_options options = {.binds = &bind, .bind_count = 1};
    http_gateway *g = NULL;
    vd_error err;
    assert_int_not_equal(http_gateway_start(&server.shared, &options, &g, &err), VD_OK);
    assert_null(g);
    if (!strstr(err.text, text)) {
        print_error("%s: %s\n", bind, err.text);
        fail();
    }
}

static void test_bad_binds(void **state) {
    (void)state;
    refuses_to_start("", "bad address");
    refuses_to_start("3215", "bad address");
    refuses_to_start(":3215", "bad address");
    refuses_to_start("localhost:", "bad address");
    refuses_to_start("example.com:80", "bad address");
    refuses_to_start("127.0.0.1:http", "bad address");
    refuses_to_start("127.0.0.1:99999", "bad address");
    refuses_to_start("203.0.113.1:0", "cannot listen on 203.0.113.1:0: ");
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%u", server.port);
    refuses_to_start(taken, "Address already in use");
}

/* Many clients at once, on kept connections, mixed quick and blocking calls. */
static void *hammer(void *arg) {
    caller *c = arg;
    int fd = raw_connect(c->port);
    for (int i = 0; i < 100; i++) {
        const char *request =
            i % 3 ? "POST /vectors/index/a/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                    "16\r\n\r\n{\"vector\":[1,2]}"
                  : "POST /vectors/index/a/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
        if (!raw_send_text(fd, request)) {
            break;
        }
        raw_reply r = raw_read(fd, false);
        c->reply.status += r.status == 200;
        raw_free(&r);
    }
    close(fd);
    return NULL;
}

static void test_many_clients(void **state) {
    (void)state;
    enum { CLIENTS = 16 };
    caller callers[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        callers[i] = (caller){.port = server.port};
        pthread_create(&callers[i].thread, NULL, hammer, &callers[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].reply.status, 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),       cmocka_unit_test(test_methods),
        cmocka_unit_test(test_bad_heads),    cmocka_unit_test(test_long_heads),
        cmocka_unit_test(test_host),         cmocka_unit_test(test_origin),
        cmocka_unit_test(test_bodies),       cmocka_unit_test(test_protobuf),
        cmocka_unit_test(test_errors),       cmocka_unit_test(test_builtins),
        cmocka_unit_test(test_body_limit),   cmocka_unit_test(test_expect),
        cmocka_unit_test(test_pipelining),   cmocka_unit_test(test_early_close),
        cmocka_unit_test(test_large_reply),  cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_many_clients), cmocka_unit_test(test_busy),
        cmocka_unit_test(test_drain),        cmocka_unit_test(test_stop_without_drain),
        cmocka_unit_test(test_bad_binds),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
