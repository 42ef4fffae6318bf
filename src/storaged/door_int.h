/*
 * door_int.h - what the files of the door share.
 *
 *   door.c      start, stop, figures
 *   request.c   the states of a request: head, body, answer
 *   route.c     from method and path to what is meant
 *   answer.c    what is answered, and queueing it
 */
#ifndef VECTORD_STORAGED_DOOR_INT_H
#define VECTORD_STORAGED_DOOR_INT_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "http/http_conn.h"
#include "http/http_guard.h"
#include "http/http_head.h"
#include "storaged/door.h"
#include "vectord/limits.h"

typedef enum verb { VERB_GET, VERB_PUT, VERB_DELETE, VERB_LIST, VERB_HEALTH, VERB_METRICS, VERBS } verb;

/* X(name, label) */
#define REJECT_MAP(X)                                                                                                  \
    X(HOST, "host")                                                                                                    \
    X(ORIGIN, "origin")                                                                                                \
    X(MALFORMED, "malformed")                                                                                          \
    X(NO_ROUTE, "no_route")                                                                                            \
    X(BAD_KEY, "bad_key")                                                                                              \
    X(TOO_LARGE, "too_large")                                                                                          \
    X(BUSY, "busy")                                                                                                    \
    X(SLOW, "slow")
typedef enum reject {
#define REJECT_ENUM(name, label) REJECT_##name,
    REJECT_MAP(REJECT_ENUM)
#undef REJECT_ENUM
        REJECTS
} reject;

struct door {
    objects *store;
    metrics *metrics;
    http_guard *guard;
    http_watch *watch;
    struct MHD_Daemon **daemons; /* one per address */
    int *listeners;              /* their sockets, once the door is being stopped */
    uint16_t *ports;
    size_t count; /* of each */
    _Atomic bool draining;
    _Atomic uint32_t puts; /* in flight */
    pthread_mutex_t mutex; /* guards: */
    pthread_cond_t idle;   /* requests went to zero */
    uint64_t requests;     /* begun and not completed */
    metric *durations[VERBS], *rejected[REJECTS], *received, *sent;
};
/* Counts the answer of a request: storaged_requests_total{op,code} and its duration. */
void door_count(door *d, verb v, int http_status, int64_t nanoseconds);

/* What method and path mean. */
typedef struct route_match {
    verb verb;
    bool found;
    bytes raw_key;     /* GET, PUT, DELETE: percent-encoded */
    const char *allow; /* the methods of this path; NULL: no such path */
} route_match;
void route_find(bytes path, const char *method, route_match *out);
/* The largest body that may be put under a key. */
uint64_t route_body_max(bytes key);

typedef enum request_phase { REQUEST_RECEIVING, REQUEST_DROPPING, REQUEST_DONE } request_phase;

typedef struct request {
    door *door;
    http_conn *conn;
    struct MHD_Connection *connection;
    request_phase phase;
    http_head head;
    route_match match;
    object_condition condition;
    bool has_body;
    bool close; /* the connection ends with this answer */
    bool has_slot;
    objects_put *put;
    uint64_t received, received_max, dropped;
    int64_t began_ns;
    /* the answer */
    int http_status; /* 0: by `status` */
    vd_status status;
    vd_error err;
    object_info info; /* etag "": none to show */
    objects_reader *reader;
    uint64_t offset, length; /* of the object, when there is a reader */
    const char *content_type;
    buffer out;
    size_t key_size;
    uint8_t key[VD_OBJECT_KEY_MAX_BYTES + 1]; /* with a NUL */
} request;

static inline bytes request_key(const request *r) {
    return bytes_of(r->key, r->key_size);
}
/* The number that goes out. */
int request_http_status(const request *r);

/* MHD's handler (cls is the door) and completion callback. */
enum MHD_Result request_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *data, size_t *data_size, void **request);
void request_completed(void *cls, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode code);

/* Does what the request asks for (its body, if any, is in the put) and renders the answer. */
void answer_run(request *r);
/* Renders r->status and r->err. */
void answer_error(request *r);
/* Queues what was rendered. */
enum MHD_Result answer_queue(request *r);

#endif
