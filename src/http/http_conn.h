/*
 * http_conn.h - open connections of a door and their absolute deadlines (http_conn.c says why and how).
 *
 * Threading: a connection belongs to the thread that serves it; the watchdog reads the atomic fields and writes `phase`.
 */
#ifndef VECTORD_HTTP_HTTP_CONN_H
#define VECTORD_HTTP_HTTP_CONN_H

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* Where a connection is, as far as deadlines go. CUT is set by the watchdog alone and is final: a loop that finds it gives
 * the connection up instead of answering twice. */
typedef enum conn_phase { CONN_HEAD, CONN_BODY, CONN_DROP, CONN_WORK, CONN_REPLY, CONN_CUT } conn_phase;

typedef struct http_conn {
    struct http_conn *previous, *next; /* the watch list; guarded by its mutex */
    int fd;
    unsigned lane; /* a number that spreads connections over a few locks */
    _Atomic int phase;
    _Atomic int64_t since_ms;  /* when the phase began */
    _Atomic uint64_t bytes;    /* BODY: received; REPLY: to be sent */
    _Atomic uint32_t requests; /* begun on this connection */
    uint32_t seen_requests;    /* this and the next four: the watchdog's */
    uint64_t seen_bytes;       /* tcpi_bytes_received */
    int64_t head_ms;           /* when the head's first byte was noticed; 0: not yet */
    int64_t gone_since_ms;
    unsigned gone_ticks;
    bytes target; /* the raw request target, by the loop only */
} http_conn;

typedef struct http_watch http_watch;
typedef struct http_watch_options {
    uint32_t rate_min;       /* bytes a second, averaged, that a body or a reply must make after VD_HTTP_GRACE_MS */
    void (*slow)(void *arg); /* a peer was cut off for being slow; called by the watchdog. NULL: nobody asks */
    void *arg;
} http_watch_options;
/* Starts its thread. Returns owned; NULL when out of resources. */
http_watch *http_watch_new(const http_watch_options *options);
/* Every connection has been closed before. NULL is fine. */
void http_watch_free(http_watch *w);

/* For the MHD_NotifyConnectionCallback of a door: a connection began, or ended. */
void http_conn_open(http_watch *w, struct MHD_Connection *connection, void **socket_context);
void http_conn_close(http_watch *w, void **socket_context);
/* The URI log callback: remembers the raw target. */
void *http_conn_target(void *cls, const char *target, struct MHD_Connection *connection);
/* NULL when there was no memory for it: give the connection up. */
http_conn *http_conn_of(struct MHD_Connection *connection);
/* false when the watchdog was first: give the connection up. */
bool http_conn_enter(http_conn *conn, conn_phase phase, uint64_t size);
/* Writes a 413 past libmicrohttpd, which takes no answer in the middle of a body; the caller closes the connection. */
void http_conn_refuse_body(http_conn *conn);

#endif
