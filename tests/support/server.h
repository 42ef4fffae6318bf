/*
 * server.h - one real vectord process for a test or a benchmark: folder and ports of its own, start, stop, kill -9, start again.
 *
 *     test_server server;
 *     assert_true(test_server_init(&server));
 *     assert_true(test_server_start(&server, NULL));       // doors open; server.rpc_url, server.http_port
 *     ...
 *     test_server_kill(&server);                           // kill -9
 *     assert_true(test_server_start(&server, NULL));       // same folder, same RPC address
 *     test_server_fini(&server);                           // stops what runs, removes the folder
 *
 * Add tests/support/server.c to the SOURCES of a test. The binary is $VECTORD_BIN, else the one of the build tree; a test that
 * finds neither should skip (test_server_available, exit code 77).
 *
 * Failures are explained on stderr with the tail of the server's log, which is kept in server.dir/log.
 */
#ifndef VECTORD_TESTS_SUPPORT_SERVER_H
#define VECTORD_TESTS_SUPPORT_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct test_server {
    pid_t pid;         /* 0: not running */
    char dir[64];      /* a new folder under $TMPDIR or /tmp; removed by fini unless VECTORD_KEEP is set */
    char data_dir[96]; /* dir/data */
    char binary[512];
    char rpc_url[128]; /* "tcp://127.0.0.1:41234"; kept over a restart, so that clients can find it again */
    char http_host[64];
    uint16_t http_port; /* new at each start */
    bool ephemeral;     /* set before start: no data folder */
} test_server;

bool test_server_available(void);
/* Makes the folder. */
bool test_server_init(test_server *s);
/* Starts it with further flags (NULL, or an array that ends with NULL) and waits until its doors are open. */
bool test_server_start(test_server *s, const char *const *flags);
/* SIGTERM and wait; gives the exit code, -1 when it had to be killed after 30 s or died of a signal. */
int test_server_stop(test_server *s);
/* SIGKILL and wait. */
void test_server_kill(test_server *s);
/* SIGSTOP, SIGCONT: a server that is there and says nothing. */
void test_server_freeze(test_server *s, bool frozen);
/* Kills it when it runs, removes the folder. Calling it twice is fine. */
void test_server_fini(test_server *s);

/* Resident bytes, and user + system CPU in microseconds, of all its threads; 0 when it does not run. */
uint64_t test_server_rss_bytes(const test_server *s);
uint64_t test_server_cpu_us(const test_server *s);

#endif
