/* The health client against a socket that answers what the case says: only a whole "200" in time counts as healthy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/health.h"

/* Answers one connection with `reply` (NULL: keeps silent until the peer closes) and notes the request. */
typedef struct peer {
    int listener;
    char host_port[64];
    const char *reply;
    char request[1024];
    pthread_t thread;
} peer;

static void *serve_one(void *arg) {
    peer *p = arg;
    int fd = accept(p->listener, NULL, NULL);
    size_t filled = 0;
    ssize_t got;
    while (fd >= 0 && (got = recv(fd, p->request + filled, sizeof p->request - 1 - filled, 0)) > 0) {
        filled += (size_t)got;
        if (p->reply && strstr(p->request, "\r\n\r\n")) {
            for (const char *c = p->reply; *c; c++) { /* byte by byte: the client must put the line together */
                if (send(fd, c, 1, MSG_NOSIGNAL) != 1) {
                    break;
                }
            }
            break;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return NULL;
}

static void peer_start(peer *p, const char *reply) {
    memset(p, 0, sizeof *p);
    p->reply = reply;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    assert_int_equal(bind(p->listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(p->listener, 4), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&at, &size), 0);
    snprintf(p->host_port, sizeof p->host_port, "127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&p->thread, NULL, serve_one, p), 0);
}

static void peer_stop(peer *p) {
    pthread_join(p->thread, NULL);
    close(p->listener);
}

static void test_only_200_is_healthy(void **state) {
    (void)state;
    static const struct {
        const char *reply;
        vd_status status;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", VD_OK},
        {"HTTP/1.0 200\r\n\r\n", VD_OK},
        {"HTTP/1.1 503 Service Unavailable\r\n\r\n", VD_UNAVAILABLE},
        {"HTTP/1.1 204 No Content\r\n\r\n", VD_UNAVAILABLE},
        {"HTTP/1.1 2000 Odd\r\n\r\n", VD_UNAVAILABLE},
        {"HTTP/2 200\r\n\r\n", VD_UNAVAILABLE},
        {"SSH-2.0-x\r\n", VD_UNAVAILABLE},
        {"HTTP/1.1 20", VD_UNAVAILABLE},
        {"", VD_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        peer p;
        vd_error err = {0};
        peer_start(&p, cases[i].reply);
        vd_status status = health_check(p.host_port, "/readyz", 20000, &err);
        peer_stop(&p);
        assert_int_equal(status, cases[i].status);
        assert_int_equal(strncmp(p.request, "GET /readyz HTTP/1.1\r\nHost: localhost:", 38), 0);
        assert_int_equal(err.text[0] != '\0', status != VD_OK);
    }
}

static void test_a_silent_server_is_not_waited_for(void **state) {
    (void)state;
    peer p;
    peer_start(&p, NULL);
    assert_int_equal(health_check(p.host_port, "/livez", 50, NULL), VD_DEADLINE_EXCEEDED);
    peer_stop(&p);
}

static void test_nobody_there(void **state) {
    (void)state;
    peer p;
    peer_start(&p, "");
    char gone[64];
    snprintf(gone, sizeof gone, "%s", p.host_port);
    health_check(gone, "/livez", 20000, NULL);
    peer_stop(&p);
    vd_error err = {0};
    assert_int_equal(health_check(gone, "/livez", 20000, &err), VD_UNAVAILABLE);
    assert_non_null(strstr(err.text, "Connection refused"));
    assert_int_equal(health_check("nowhere", "/livez", 20000, &err), VD_INVALID_ARGUMENT);
}

static void test_urls_are_split_strictly(void **state) {
    (void)state;
    char host_port[96], path[256];
    assert_true(health_split_url("http://127.0.0.1:1/readyz?x=1#frag", host_port, path));
    assert_string_equal(host_port, "127.0.0.1:1");
    assert_string_equal(path, "/readyz?x=1");
    assert_true(health_split_url("http://[::1]:1", host_port, path));
    assert_string_equal(host_port, "[::1]:1");
    assert_string_equal(path, "");
    static const char *const bad[] = {"https://127.0.0.1:1/", "127.0.0.1:1",  "http://",           "http:///x",
                                      "http://h?x",           "http://h/a b", "http://h/a\r\nX: y"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(health_split_url(bad[i], host_port, path));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_200_is_healthy),
        cmocka_unit_test(test_a_silent_server_is_not_waited_for),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_urls_are_split_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
