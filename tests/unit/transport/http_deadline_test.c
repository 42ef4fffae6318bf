/*
 * http_deadline_test.c - absolute deadlines of the HTTP door. These tests take as long as the deadlines (limits.h): a client
 * that keeps sending a byte now and then must be cut although it is never idle. Nothing here asserts how fast; only that
 * the end comes, with the right answer, and that a client that keeps to the rules is left alone meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/admission.h"
#include "unit/transport/fake_ops.h"
#include "unit/transport/raw_http.h"
#include "vectord/limits.h"

static fake_server server;

static int start(void **state) {
    (void)state;
    static const char *const binds[] = {"127.0.0.1:0"};
    http_options options = {.binds = binds, .bind_count = 1, .threads = 2};
    fake_reset();
    return fake_server_start(&server, 2, 64, &options, NULL) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    fake_server_stop(&server);
    return admission_bytes() == 0 ? 0 : -1;
}

/* Sends `first`, then `drip` again and again, until the server answers or closes; what it said. */
typedef struct slow_client {
    pthread_t thread;
    const char *name;
    const char *first;
    const char *drip;
    bool keep_alive; /* one whole request before, on the same connection */
    int status;      /* wanted */
    raw_reply reply;
    bool closed;
} slow_client;

static void *run_slow(void *arg) {
    slow_client *c = arg;
    int fd = raw_connect(server.port);
    if (c->keep_alive) {
        raw_send_text(fd, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        raw_reply r = raw_read(fd, false);
        bool ok = r.status == 200;
        raw_free(&r);
        if (!ok) {
            close(fd);
            return NULL;
        }
    }
    raw_send_text(fd, c->first);
    int64_t give_up = clock_now_ms() + 60000;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (poll(&ready, 1, 100) == 0 && clock_now_ms() < give_up) {
        if (send(fd, c->drip, strlen(c->drip), MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    c->reply = raw_read(fd, false);
    c->closed = raw_wait_closed(fd);
    close(fd);
    return NULL;
}

static void test_slow_clients(void **state) {
    (void)state;
    static const char body_head[] =
        "POST /vectors/index/a/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{";
    static const char chunked_head[] =
        "POST /vectors/index/a/add HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char refused_head[] = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n";
    slow_client clients[] = {
        {.name = "silent", .first = "", .drip = "", .status = 408},
        {.name = "request line", .first = "GET /", .drip = "a", .status = 408},
        {.name = "header", .first = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", .drip = "a", .status = 408},
        {.name = "headers", .first = "GET / HTTP/1.1\r\nHost: localhost\r\n", .drip = "a:b\r\n", .status = 408},
        {.name = "second head", .first = "GET /", .drip = "a", .keep_alive = true, .status = 408},
        {.name = "body", .first = body_head, .drip = " ", .status = 408},
        {.name = "chunks", .first = chunked_head, .drip = "1\r\n \r\n", .status = 408},
        {.name = "refused body", .first = refused_head, .drip = "a", .status = 413},
    };
    enum { CLIENTS = sizeof clients / sizeof clients[0] };
    /* A well-behaved one, idle for longer than any of the deadlines above between its two requests. */
    int patient = raw_connect(server.port);
    raw_send_text(patient, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    raw_reply r = raw_read(patient, false);
    assert_int_equal(r.status, 200);
    raw_free(&r);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_create(&clients[i].thread, NULL, run_slow, &clients[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        if (clients[i].reply.status != clients[i].status || !clients[i].closed) {
            print_error("%s: %d\n", clients[i].name, clients[i].reply.status);
            fail();
        }
        raw_free(&clients[i].reply);
    }
    raw_send_text(patient, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    r = raw_read(patient, false);
    assert_int_equal(r.status, 200);
    raw_free(&r);
    close(patient);
    assert_int_equal(fake_adds(), 0);
    r = raw_call(server.port, "GET", "/metrics", NULL, NULL);
    assert_non_null(strstr(r.body, "vectord_rejected_total{transport=\"http\",reason=\"slow\"} 8"));
    raw_free(&r);
}

/* A client that asks and then does not read what it asked for. */
static void test_slow_reader(void **state) {
    (void)state;
    int fd = raw_connect(server.port);
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    raw_send_text(fd, "POST /vectors/index/many/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
    raw_reply r = raw_call(server.port, "GET", "/health", NULL, NULL); /* no one else is held up */
    assert_int_equal(r.status, 200);
    raw_free(&r);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_clients),
        cmocka_unit_test(test_slow_reader),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
