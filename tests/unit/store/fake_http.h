/*
 * fake_http.h - an HTTP server that follows a script, for tests of clients: each request that arrives gets the next step, right or
 * wrong. One connection at a time, kept alive until a step closes it or another one comes.
 */
#ifndef VECTORD_TESTS_STORE_FAKE_HTTP_H
#define VECTORD_TESTS_STORE_FAKE_HTTP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fake_step {
    const char *answer; /* raw bytes; NULL: none */
    bool close;         /* behind the answer */
    bool early;         /* answers the head and does not read the body */
    bool hang;          /* answers nothing until the client goes away */
} fake_step;

enum { FAKE_REQUESTS_MAX = 64, FAKE_HEAD_MAX = 2048, FAKE_BODY_MAX = 65536 };

typedef struct fake_request {
    char head[FAKE_HEAD_MAX]; /* request line and headers */
    char body[FAKE_BODY_MAX];
    size_t body_size;
} fake_request;

typedef struct fake_http {
    uint16_t port;
    int listener, wake[2];
    pthread_t thread;
    const fake_step *steps; /* the last one goes on for ever */
    size_t step_count;
    _Atomic size_t seen; /* requests so far; those below are complete */
    fake_request requests[FAKE_REQUESTS_MAX];
} fake_http;

/* Borrows the steps. NULL when it cannot start. */
fake_http *fake_http_start(const fake_step *steps, size_t count);
void fake_http_stop(fake_http *f);

#endif
