/*
 * http_int.h - what the files of the HTTP door share. One event loop per CPU, each a daemon of libmicrohttpd, and one thread
 * that accepts for all of them; a request lives in a scratch, from its first callback to "completed".
 *
 *   http_gateway.c  start, stop, listening sockets
 *   http_accept.c   accepts connections and spreads them over the loops
 *   http_request.c  the states of a request: head, body, work, answer
 *   http_call.c     running an operation, here or in a worker
 *   http_reply.c    answers: success, errors in two forms, preflight, /metrics and the probes
 *   http_route.c    from the path to a row of the table
 *
 * What no operation is needed for (sockets, deadlines, strict heads, Host and Origin) is in src/http.
 */
#ifndef VECTORD_TRANSPORT_HTTP_INT_H
#define VECTORD_TRANSPORT_HTTP_INT_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "http/http_conn.h"
#include "http/http_guard.h"
#include "http/http_head.h"
#include "http/http_media.h"
#include "transport/call_stats.h"
#include "transport/http_route.h"
#include "transport/scratch.h"
#include "transport/transport.h"
#include "vectord/limits.h"

typedef struct http_loop {
    _Alignas(64) http_gateway *gateway;
    struct MHD_Daemon *daemon; /* with one thread, and no listening socket */
    _Atomic uint32_t open;     /* connections handed to it and not closed yet */
} http_loop;
/* The MHD_NotifyConnectionCallback; cls is the loop. */
void http_loop_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode code);

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
