/*
 * http_doors_test.c - the HTTP door over the real registry: the bytes of the original's answers, names that need escaping,
 * writes sent twice, and pages that try to write.
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

#include "integration/real_doors.h"
#include "unit/transport/raw_http.h"

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

static void expect(const char *method, const char *target, const char *headers, const char *body, int status,
                   const char *whole) {
    raw_reply r = raw_call(doors.port, method, target, headers, body);
    if (r.status != status || (whole && strcmp(r.body, whole) != 0)) {
        print_error("%s %s: want %d %s, got %d %s\n", method, target, status, whole ? whole : "", r.status,
                    r.body ? r.body : "");
        fail();
    }
    raw_free(&r);
}

static void expect_part(const char *method, const char *target, const char *body, int status, const char *part) {
    raw_reply r = raw_call(doors.port, method, target, NULL, body);
    if (r.status != status || !strstr(r.body, part)) {
        print_error("%s %s: want %d %s, got %d %s\n", method, target, status, part, r.status, r.body ? r.body : "");
        fail();
    }
    raw_free(&r);
}

static void test_original_routes(void **state) {
    (void)state;
    expect("GET", "/vectors/index", NULL, NULL, 200, "{\"names\":[],\"count\":0}\n");
    expect_part("POST", "/vectors/index", "{\"name\":\"t\",\"dimension\":3}", 201,
                "\"name\":\"t\",\"dimension\":3,\"m\":16,\"ef_search\":20,\"distance\":\"cosine\"");
    expect_part("POST", "/vectors/index", "{\"name\":\"t\",\"dimension\":3}", 409, "");
    expect("GET", "/v1/vectors/index", NULL, NULL, 200, "{\"names\":[\"t\"],\"count\":1}\n");
    expect("POST", "/vectors/index/t/add", NULL,
           "{\"items\":[{\"id\":\"a\",\"vector\":[1,0,0],\"metadata\":{\"x\": 1}},{\"id\":\"b\",\"vector\":[0,1,0]}]}",
           200, "{\"added\":2,\"length\":2}\n");
    expect_part("POST", "/vectors/index/t/search", "{\"vector\":[1,0,0],\"k\":1}", 200,
                "{\"results\":[{\"id\":\"a\",\"distance\":0,");
    expect_part("POST", "/vectors/index/t/search", "{\"vector\":[1,0,0],\"k\":1}", 200, "\"metadata\":{\"x\": 1}");
    expect("POST", "/vectors/index/t/add", NULL, "{\"items\":[{\"id\":\"c\",\"vector\":[1,0]}]}", 400,
           "items[0]: dim mismatch (index=3, got=2)\n");
    expect_part("GET", "/vectors/index/t", NULL, 200, "\"length\":2");
    expect("POST", "/vectors/index/nope/search", NULL, "{]", 404, "not found\n");
    expect("DELETE", "/vectors/index/nope", NULL, NULL, 404, "not found\n");
    expect("DELETE", "/vectors/index/t", NULL, NULL, 204, "");
    expect("GET", "/vectors/index/t", NULL, NULL, 404, "not found\n");
    expect("GET", "/readyz", NULL, NULL, 200, "{\"ready\":true,\"reasons\":[]}\n");
}

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *json;
        const char *path;
    } names[] = {
        {"a/b", "a%2Fb"},    {"a%2Fb", "a%252Fb"}, {"a b", "a%20b"}, {"%", "%25"},   {"\xE2\x82\xAC", "%E2%82%AC"},
        {"...", "..."},      {"a?b", "a%3Fb"},     {"a#b", "a%23b"}, {"a+b", "a+b"}, {"a/add", "a%2Fadd"},
        {"x\\\"y", "x%22y"}, {"/", "%2F"},         {"add", "%61dd"}, {".a", "%2ea"}, {"a;b", "a;b"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char body[200];
        char path[200];
        snprintf(body, sizeof body, "{\"name\":\"%s\",\"dimension\":1}", names[i].json);
        expect("POST", "/vectors/index", NULL, body, 201, NULL);
        snprintf(path, sizeof path, "/vectors/index/%s/add", names[i].path);
        expect("POST", path, NULL, "{\"items\":[{\"id\":\"x\",\"vector\":[1]}]}", 200, "{\"added\":1,\"length\":1}\n");
        snprintf(path, sizeof path, "/vectors/index/%s", names[i].path);
        snprintf(body, sizeof body, "\"name\":\"%s\"", names[i].json);
        expect_part("GET", path, NULL, 200, body);
    }
    assert_true(real_doors_restart(&doors)); /* and on disk */
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[200];
        snprintf(path, sizeof path, "/vectors/index/%s", names[i].path);
        expect_part("GET", path, NULL, 200, "\"length\":1");
        expect("DELETE", path, NULL, NULL, 204, "");
        expect("GET", path, NULL, NULL, 404, "not found\n");
    }
    expect("GET", "/vectors/index", NULL, NULL, 200, "{\"names\":[],\"count\":0}\n");
    expect_part("POST", "/vectors/index", "{\"name\":\"..\",\"dimension\":1}", 400, "");
    expect_part("POST", "/vectors/index", "{\"name\":\"\",\"dimension\":1}", 400, "");
}

static void test_sent_twice(void **state) {
    (void)state;
    expect("POST", "/vectors/index", NULL, "{\"name\":\"twice\",\"dimension\":1,\"distance\":\"euclidean\"}", 201,
           NULL);
    const char *first = "{\"items\":[{\"id\":\"a\",\"vector\":[1]}]}";
    expect("POST", "/vectors/index/twice/add", "Idempotency-Key: one\r\n", first, 200, "{\"added\":1,\"length\":1}\n");
    expect("POST", "/vectors/index/twice/add", "Idempotency-Key: two\r\n",
           "{\"items\":[{\"id\":\"a\",\"vector\":[2]},{\"id\":\"b\",\"vector\":[3]}]}", 200,
           "{\"added\":2,\"length\":2}\n");
    /* sent again: the first answer, and the newer value of "a" stays */
    expect("POST", "/vectors/index/twice/add", "Idempotency-Key: one\r\n", first, 200, "{\"added\":1,\"length\":1}\n");
    expect_part("POST", "/vectors/index/twice/search", "{\"vector\":[2],\"k\":1}", 200,
                "{\"id\":\"a\",\"distance\":0,");
    expect_part("GET", "/vectors/index/twice", NULL, 200, "\"length\":2");
    expect("DELETE", "/vectors/index/twice", NULL, NULL, 204, "");
}

/* What a page, or a name that points at 127.0.0.1, can make a browser send. */
static void test_pages_cannot_write(void **state) {
    (void)state;
    expect("POST", "/vectors/index", NULL, "{\"name\":\"safe\",\"dimension\":1}", 201, NULL);
    expect("POST", "/vectors/index/safe/add", NULL, "{\"items\":[{\"id\":\"a\",\"vector\":[1]}]}", 200, NULL);
    static const char *const attacks[] = {"Origin: https://evil.example\r\nContent-Type: text/plain\r\n",
                                          "Origin: null\r\nContent-Type: application/x-www-form-urlencoded\r\n",
                                          "Host: evil.example:3215\r\nOrigin: http://evil.example:3215\r\n",
                                          "Host: evil.example\r\n"};
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        int status = i < 2 ? 403 : 421;
        expect("POST", "/vectors/index/safe/add", attacks[i], "{\"items\":[{\"id\":\"evil\",\"vector\":[1]}]}", status,
               NULL);
        expect("POST", "/vectors/index", attacks[i], "{\"name\":\"evil\",\"dimension\":1}", status, NULL);
        expect("DELETE", "/vectors/index/safe", attacks[i], NULL, status, NULL);
        expect("GET", "/vectors/index/safe", attacks[i], NULL, status, NULL);
    }
    expect("GET", "/vectors/index", NULL, NULL, 200, "{\"names\":[\"safe\"],\"count\":1}\n");
    expect_part("GET", "/vectors/index/safe", NULL, 200, "\"length\":1");
    expect("DELETE", "/vectors/index/safe", NULL, NULL, 204, "");
}

/* Searches and adds from several connections at a time. */
typedef struct client {
    pthread_t thread;
    unsigned number;
    unsigned good;
} client;

static void *run_client(void *arg) {
    client *c = arg;
    int fd = raw_connect(doors.port);
    for (unsigned i = 0; i < 60; i++) {
        char body[128];
        char request[400];
        if (i % 3 == 0) {
            snprintf(body, sizeof body, "{\"items\":[{\"id\":\"%u-%u\",\"vector\":[%u,%u,1]}]}", c->number, i,
                     c->number, i);
        } else {
            snprintf(body, sizeof body, "{\"vector\":[%u,%u,1],\"k\":3}", c->number, i);
        }
        snprintf(request, sizeof request,
                 "POST /vectors/index/busy/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                 i % 3 == 0 ? "add" : "search", strlen(body), body);
        raw_send_text(fd, request);
        raw_reply r = raw_read(fd, false);
        c->good += r.status == 200;
        raw_free(&r);
    }
    close(fd);
    return NULL;
}

static void test_mixed_load(void **state) {
    (void)state;
    enum { CLIENTS = 8 };
    client clients[CLIENTS];
    expect("POST", "/vectors/index", NULL, "{\"name\":\"busy\",\"dimension\":3}", 201, NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.number = i};
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        assert_int_equal(clients[i].good, 60);
    }
    expect_part("GET", "/vectors/index/busy", NULL, 200, "\"length\":160");
    expect("DELETE", "/vectors/index/busy", NULL, NULL, 204, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_original_routes),    cmocka_unit_test(test_names),      cmocka_unit_test(test_sent_twice),
        cmocka_unit_test(test_pages_cannot_write), cmocka_unit_test(test_mixed_load),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
