/*
 * nng_hostile_test.c - clients of the NNG door that stop at any byte, reset, lie about lengths or speak something else. After all
 * of them the door must still take connections and answer: libnng 1.5.2 stops taking any when a local client leaves during
 * the greeting (nng_greet.h), so this test fails without the watch over the listeners.
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
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/nng_close.h"
#include "transport/admission.h"
#include "unit/transport/fake_ops.h"
#include "unit/transport/raw_http.h"

/* libnng 1.5.2 does not free a listener that it has let go, nor a reply whose connection closes while it is handed over
 * (759a2e9d of its repository). The other tests of this door run without suppressions. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libnng.so\n";
}

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
    rmdir(folder);
    return access(folder, F_OK) != 0 && admission_bytes() == 0 && admission_jobs() == 0 ? 0 : -1;
}

/* One call by NNG's own client. */
static bool answers(const char *url) {
    static const char health[] = "\x0A\x20/vectord.v1.VectorService/Health";
    nng_socket s;
    nng_msg *msg = NULL;
    bool ok = nng_req0_open(&s) == 0;
    nng_socket_set_ms(s, NNG_OPT_RECVTIMEO, 30000);
    nng_socket_set_ms(s, NNG_OPT_SENDTIMEO, 30000);
    nng_socket_set_ms(s, NNG_OPT_REQ_RESENDTIME, 1000); /* a listener that opens again ends this connection */
    ok = ok && nng_dial(s, url, NULL, 0) == 0 && nng_msg_alloc(&msg, 0) == 0 &&
         nng_msg_append(msg, health, sizeof health - 1) == 0 && nng_sendmsg(s, msg, 0) == 0 &&
         nng_recvmsg(s, &msg, 0) == 0 && nng_msg_len(msg) > 0 && ((char *)nng_msg_body(msg))[0] == 0x22; /* a payload */
    nng_msg_free(msg);
    nng_close_in_time(s);
    return ok;
}

/* Clients that go away in the middle of everything. They speak the protocol by hand (an 8-byte greeting that says REQ, then
 * 8 bytes of length, 4 of request number and the envelope), to stop at any byte; NNG's own sockets cannot. */
static void test_early_close(void **state) {
    (void)state;
    static const char whole[] = "\0SP\0\0\x30\0\0"
                                "\0\0\0\0\0\0\0\x28\x80\0\0\x01"
                                "\x0A\x22/vectord.v1.VectorService/AddItems";
    uint16_t port = (uint16_t)atoi(strrchr(nng_rep_url(server.nng, 0), ':') + 1);
    for (size_t size = 0; size < sizeof whole; size++) {
        int fd = raw_connect(port);
        assert_true(fd >= 0);
        raw_send(fd, whole, size);
        close(fd);
    }
    /* resets before and behind the greeting, and a local client that is gone at once: none may end the listening */
    for (int i = 0; i < 200; i++) {
        int fd = raw_connect(port);
        struct linger reset = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        raw_send(fd, whole, (size_t)i % 9);
        close(fd);
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        snprintf(to.sun_path, sizeof to.sun_path, "%s", ipc_url + strlen("ipc://"));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
        raw_send(fd, whole, (size_t)i % 9);
        close(fd);
    }
    /* a length of 2^63 - 1, and of 0 (no room for the request number); another protocol; no protocol */
    static const char *const lies[] = {"\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "\0\0\0\0\0\0\0\0"};
    static const char *const greetings[] = {"\0SP\0\0\x10\0\0", "GET / HTTP/1.1\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        int fd = raw_connect(port);
        raw_send(fd, whole, 8);
        raw_send(fd, lies[i], 8);
        assert_true(raw_wait_closed(fd));
        close(fd);
        fd = raw_connect(port);
        raw_send(fd, greetings[i], 8);
        assert_true(raw_wait_closed(fd));
        close(fd);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(answers(nng_rep_url(server.nng, i)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_early_close)};
    return cmocka_run_group_tests(tests, start, stop);
}
