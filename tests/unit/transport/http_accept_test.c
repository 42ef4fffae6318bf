/*
 * http_accept_test.c - who serves which connection, and what becomes of those that cannot be accepted. GetIndex on "thread"
 * (fake_ops.c) tells which event loop it ran in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/transport/fake_ops.h"
#include "unit/transport/raw_http.h"

#define MOST_CONNECTIONS 64
#define MOST_LOOPS       4

static const char which_thread[] = "GET /vectors/index/thread HTTP/1.1\r\nHost: localhost\r\n\r\n";

static void start(fake_server *s, unsigned loops) {
    static const char *const binds[] = {"127.0.0.1:0", "127.0.0.1:0"};
    http_options options = {.binds = binds, .bind_count = 2, .threads = loops};
    fake_reset();
    assert_true(fake_server_start(s, 1, 16, &options, NULL));
}

static long ask_thread(int fd) {
    assert_true(raw_send_text(fd, which_thread));
    raw_reply r = raw_read(fd, false);
    assert_int_equal(r.status, 200);
    long thread = 0;
    const char *at = strstr(r.body, "thread ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "thread %ld", &thread), 1);
    raw_free(&r);
    return thread;
}

/* `count` connections in a burst, over both addresses in turns, are shared out evenly between `loops` loops. */
static void check_spread(unsigned loops, unsigned count) {
    fake_server s;
    start(&s, loops);
    int fds[MOST_CONNECTIONS];
    for (unsigned i = 0; i < count; i++) {
        fds[i] = raw_connect(http_gateway_port(s.http, i % 2));
        assert_true(fds[i] >= 0);
    }
    long threads[MOST_LOOPS] = {0};
    unsigned served[MOST_LOOPS] = {0};
    for (unsigned i = 0; i < count; i++) {
        long thread = ask_thread(fds[i]);
        unsigned at = 0;
        while (at < loops && threads[at] && threads[at] != thread) {
            at++;
        }
        assert_true(at < loops);
        threads[at] = thread;
        served[at]++;
        assert_int_equal(ask_thread(fds[i]), thread); /* a connection stays where it is */
    }
    for (unsigned i = 0; i < loops; i++) {
        assert_in_range(served[i], count / loops, (count + loops - 1) / loops);
    }
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
    fake_server_stop(&s);
}

static void test_spread(void **state) {
    (void)state;
    check_spread(2, 2);
    check_spread(2, 10);
    check_spread(2, 50);
    check_spread(3, 10);
    check_spread(4, 4);
    check_spread(1, 5);
}

/* Waits until `text` comes out of the pipe. */
static bool wait_for_text(int from, const char *text) {
    char seen[4096];
    size_t used = 0;
    while (used + 1 < sizeof seen) {
        struct pollfd ready = {.fd = from, .events = POLLIN};
        if (poll(&ready, 1, RAW_WAIT_MS) <= 0) {
            return false;
        }
        ssize_t got = read(from, seen + used, sizeof seen - 1 - used);
        if (got <= 0) {
            return false;
        }
        used += (size_t)got;
        seen[used] = '\0';
        if (strstr(seen, text)) {
            return true;
        }
    }
    return false;
}

/* Without a file descriptor for it, a connection waits; it is served when there is one again. */
static void test_no_descriptors(void **state) {
    (void)state;
    fake_server s;
    start(&s, 2);
    int to_us[2];
    assert_int_equal(pipe2(to_us, O_CLOEXEC), 0);
    int saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    int free_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    assert_true(saved_stderr >= 0 && free_fd >= 0);
    close(free_fd);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit tight = before;
    tight.rlim_cur = (rlim_t)free_fd + 1; /* one more: the client's end */
    dup2(to_us[1], STDERR_FILENO);        /* where the log goes */
    setrlimit(RLIMIT_NOFILE, &tight);
    int fd = raw_connect(s.port);
    bool sent = fd >= 0 && raw_send_text(fd, which_thread);
    bool told = wait_for_text(to_us[0], strerror(EMFILE));
    struct pollfd reply = {.fd = fd, .events = POLLIN};
    bool early = poll(&reply, 1, 0) != 0;
    setrlimit(RLIMIT_NOFILE, &before);
    dup2(saved_stderr, STDERR_FILENO);
    assert_true(sent);
    assert_true(told);
    assert_false(early);
    raw_reply r = raw_read(fd, false);
    assert_int_equal(r.status, 200);
    raw_free(&r);
    close(fd);
    close(saved_stderr);
    close(to_us[0]);
    close(to_us[1]);
    fake_server_stop(&s);
}

/* At the limit new connections wait in the backlog, and come in when others go. A stop does not wait for them. */
static void test_limit(void **state) {
    (void)state;
    enum { LIMIT = 16 }; /* the least; a gateway allows itself half of the file descriptors */
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit low = before;
    low.rlim_cur = 2 * LIMIT;
    fake_server s;
    setrlimit(RLIMIT_NOFILE, &low);
    static const char *const binds[] = {"127.0.0.1:0"};
    http_options options = {.binds = binds, .bind_count = 1, .threads = 2};
    fake_reset();
    bool started = fake_server_start(&s, 1, 16, &options, NULL);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(started);
    int fds[LIMIT];
    for (int i = 0; i < LIMIT; i++) {
        fds[i] = raw_connect(s.port);
        assert_true(ask_thread(fds[i]) != 0);
    }
    int late[2];
    for (int i = 0; i < 2; i++) {
        late[i] = raw_connect(s.port);
        assert_true(late[i] >= 0);
        assert_true(raw_send_text(late[i], which_thread));
    }
    for (int i = 0; i < LIMIT; i++) { /* the others are served meanwhile */
        assert_true(ask_thread(fds[i]) != 0);
    }
    struct pollfd replies[2] = {{.fd = late[0], .events = POLLIN}, {.fd = late[1], .events = POLLIN}};
    assert_int_equal(poll(replies, 2, 0), 0);
    close(fds[0]);
    raw_reply r = raw_read(late[0], false);
    assert_int_equal(r.status, 200);
    raw_free(&r);
    assert_int_equal(poll(&replies[1], 1, 0), 0);
    fake_server_stop(&s);
    assert_true(raw_wait_closed(late[1]));
    for (int i = 1; i < LIMIT; i++) {
        close(fds[i]);
    }
    close(late[0]);
    close(late[1]);
}

/* A stopped door refuses connections, at all its addresses. */
static void test_stop(void **state) {
    (void)state;
    fake_server s;
    start(&s, 2);
    uint16_t ports[] = {http_gateway_port(s.http, 0), http_gateway_port(s.http, 1)};
    int idle = raw_connect(ports[0]);
    assert_true(ask_thread(idle) != 0);
    fake_server_stop(&s);
    assert_true(raw_wait_closed(idle));
    close(idle);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(raw_connect(ports[i]), -1);
        assert_int_equal(errno, ECONNREFUSED);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
