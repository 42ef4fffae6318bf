/*
 * http_int.h - what the files of the HTTP door share. One event loop per CPU, each a daemon of libmicrohttpd, and one thread
 * that accepts for all of them; a request lives in a scratch, from its first callback to "completed".
 *
 *   http_gateway.c  start, stop, listening sockets
 *   http_accept.c   accepts connections and spreads them over the loops
 *   http_conn.c     open connections and their absolute deadlines
 *   http_request.c  the states of a request: head, body, work, answer
 *   http_call.c     running an operation, here or in a worker
 *   http_reply.c    answers: success, errors in two forms, preflight, /metrics and the probes
 *   http_head.c http_media.c http_guard.c http_route.c   pure functions over the head
 */
#ifndef VECTORD_TRANSPORT_HTTP_INT_H
#define VECTORD_TRANSPORT_HTTP_INT_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "transport/call_stats.h"
#include "transport/http_guard.h"
#include "transport/http_head.h"
#include "transport/http_media.h"
#include "transport/http_route.h"
#include "transport/scratch.h"
#include "transport/transport.h"
#include "vectord/limits.h"

/* Where a connection is, as far as deadlines go. CUT is set by the watchdog alone and is final: a loop that finds it gives
 * the connection up instead of answering twice. */
typedef enum conn_phase { CONN_HEAD, CONN_BODY, CONN_DROP, CONN_WORK, CONN_REPLY, CONN_CUT } conn_phase;

typedef struct http_conn {
    struct http_conn *previous, *next; /* the watch list; guarded by its mutex */
    int fd;
    unsigned lane; /* of the scratch pool */
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
http_watch *http_watch_new(call_stats *stats); /* starts its thread */
void http_watch_free(http_watch *w);
/* The MHD_NotifyConnectionCallback; cls is the http_loop. */
void http_conn_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode code);
/* The URI log callback: remembers the raw target. */
void *http_conn_target(void *cls, const char *target, struct MHD_Connection *connection);
http_conn *http_conn_of(struct MHD_Connection *connection);
/* false when the watchdog was first: give the connection up. */
bool http_conn_enter(http_conn *conn, conn_phase phase, uint64_t bytes);
/* Writes a 413 past libmicrohttpd, which takes no answer in the middle of a body; the caller closes the connection. */
void http_conn_refuse_body(http_conn *conn);

typedef struct http_loop {
    _Alignas(64) http_gateway *gateway;
    struct MHD_Daemon *daemon; /* with one thread, and no listening socket */
    _Atomic uint32_t open;     /* connections handed to it and not closed yet */
} http_loop;

typedef struct http_acceptor http_acceptor;
/* Starts the thread that hands the connections of all listening sockets to the loops, at most `limit` open at a time. Takes
 * the sockets (not the array) and borrows the loops; NULL when out of resources, and then the sockets are still the caller's. */
http_acceptor *http_acceptor_new(const int *listeners, size_t listener_count, http_loop *loops, size_t loop_count,
                                 uint32_t limit);
/* Ends the thread and closes the listening sockets: from here on connections are refused. NULL is fine. */
void http_acceptor_free(http_acceptor *a);

struct http_gateway {
    transport_shared shared;
    call_stats *stats;
    http_routes *routes;
    http_guard *guard;
    scratch_pool *scratches;
    http_watch *watch;
    _Atomic bool draining;     /* replies say close */
    _Atomic uint64_t requests; /* begun and not completed */
    pthread_mutex_t mutex;     /* guards the fields below */
    pthread_cond_t idle;       /* requests or jobs went to zero */
    uint64_t jobs;             /* requests that are in the work queue or a worker */
    bool hurry;                /* the drain is over: no more jobs, those that have not begun answer UNAVAILABLE */
    http_acceptor *acceptor;
    http_loop *loops;
    size_t loop_count; /* that have a daemon */
    uint16_t *ports;   /* of the addresses */
    size_t port_count;
};
/* Counts one job; false when the server stops. */
bool http_gateway_take_job(struct http_gateway *g);
void http_gateway_give_job(struct http_gateway *g);
void http_gateway_request_done(struct http_gateway *g);

typedef enum request_phase { REQUEST_RECEIVING, REQUEST_DROPPING, REQUEST_WORKING, REQUEST_DONE } request_phase;

typedef struct http_request {
    http_gateway *gateway;
    http_conn *conn;
    struct MHD_Connection *connection;
    scratch *scratch; /* the request itself lives in its arena */
    request_phase phase;
    http_head head;
    http_match match;
    http_media body_form, reply_form;
    bytes path_field;
    bool has_body;
    bool is_preflight;
    bool origin_listed;
    bool close;     /* the connection ends with this answer */
    int reject;     /* a call_reject, or -1 */
    size_t charged; /* bytes of body accounted in admission */
    uint64_t dropped;
    int64_t began_ns; /* when the request was complete */
    ProtobufCMessage *message;
    vd_status status;
    int http_status;
    const char *content_type;
    vd_error err;
} http_request;

/* MHD's handler (cls is the gateway) and completion callback. */
enum MHD_Result http_request_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *data, size_t *data_size, void **request);
void http_request_completed(void *cls, struct MHD_Connection *connection, void **request,
                            enum MHD_RequestTerminationCode code);

/* Runs the operation and renders its reply (true), or suspends the connection and hands it to a worker (false; the request
 * must not be touched then). */
bool http_call_run(http_request *r);

/* Renders r->status and r->err, or a message, into the scratch's `out`. */
void http_reply_message(http_request *r, const ProtobufCMessage *message);
void http_reply_error(http_request *r);
void http_reply_builtin(http_request *r);
void http_reply_preflight(http_request *r);
/* Queues what was rendered. */
enum MHD_Result http_reply_queue(http_request *r);

#endif
