/*
 * raw_http.h - an HTTP client for tests that sends exactly the bytes it is told to, right or wrong. Every wait has a
 * deadline of RAW_WAIT_MS; nothing here asserts, so it may be used off the main thread.
 */
#ifndef TESTS_RAW_HTTP_H
#define TESTS_RAW_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_WAIT_MS 30000

typedef struct raw_reply {
    int status; /* 0: the connection ended, or broke, before a whole reply */
    char *head; /* owned, NUL-terminated */
    char *body; /* owned, NUL-terminated too */
    size_t body_size;
    bool closed; /* the peer closed behind it, or says it will */
} raw_reply;

int raw_connect(uint16_t port); /* -1 on failure */
/* false when the peer stopped taking bytes. */
bool raw_send(int fd, const void *data, size_t size);
bool raw_send_text(int fd, const char *text);
/* Reads one reply. `head_only`: it answers a HEAD. 1xx replies are returned like others. */
raw_reply raw_read(int fd, bool head_only);
void raw_free(raw_reply *r);
/* The value of a header, trimmed, in a static buffer; NULL when absent. Main thread only. */
const char *raw_header(const raw_reply *r, const char *name);
/* true when the peer has closed: waits for it. */
bool raw_wait_closed(int fd);

/* One request on its own connection: method, target, extra header lines ("A: b\r\n") or NULL, body or NULL. */
raw_reply raw_call(uint16_t port, const char *method, const char *target, const char *headers, const char *body);
/* Any bytes, one connection, one reply. */
raw_reply raw_exchange(uint16_t port, const char *bytes, size_t size);

#endif
