/*
 * nng_rep.c - the NNG door: one REP socket, a fixed number of contexts, each a small state machine driven by the callback of
 * its one aio:   RECEIVE -> (the call, here or in a worker) -> SEND -> RECEIVE ...
 *
 * Only tcp:// and ipc://: the ws:// and wss:// listeners of NNG run on its own HTTP server, which has faults in 1.5.2 that a
 * peer can use. A message longer than RECEIVE_MAX costs its sender the connection and no answer can be given, so that bound
 * lies well above the one that is answered (VD_BODY_MAX_BYTES).
 *
 * Threading: NNG runs the callbacks on its own task threads, about two per CPU; a blocked callback would stall all sockets,
 * so whatever may wait goes to the work queue. A context belongs to its callback, or to the worker that has its call. The
 * mutex guards busy, stopping, hurry, last_send_ms, added and listeners; nothing is called while it is held.
 */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bounded.h"
#include "base/clock.h"
#include "base/log.h"
#include "codec/codec.h"
#include "transport/admission.h"
#include "transport/call_stats.h"
#include "transport/nng_envelope.h"
#include "transport/nng_greet.h"
#include "transport/scratch.h"
#include "transport/transport.h"
#include "vectord/limits.h"

#define RECEIVE_MAX          ((size_t)VD_BODY_MAX_BYTES + VD_ENVELOPE_SLACK_BYTES + VD_NNG_RECEIVE_MARGIN)
#define CONTEXTS_PER_CPU     64u
#define CONTEXTS_MIN         256u /* a call that waits for a disk holds one: searches must still find one free */
#define CONTEXTS_MAX         4096u
#define INLINE_PAYLOAD_BYTES (64u * 1024u)
#define FLUSH_MS             200 /* a reply that was sent may still sit in NNG: it gets so long to leave before the end */

#define CLOSE_MS 5000
#define WATCH_MS 1000

typedef enum rep_state { REP_RECEIVE, REP_SEND } rep_state;

typedef struct rep_context {
    nng_rep *door;
    unsigned lane;
    rep_state state;
    bool open;
    nng_ctx ctx;
    nng_aio *aio;
    /* the call in progress */
    nng_msg *request;
    scratch *scratch;
    const op_row *op;
    op_call call;
    nng_envelope envelope;
    ProtobufCMessage *message;
    size_t charged;
    int64_t began_ns;
} rep_context;

struct nng_rep {
    transport_shared shared;
    call_stats *stats;
    scratch_pool *scratches;
    nng_socket socket;
    bool socket_open;
    size_t url_count;
    char (*urls)[160];
    nng_listener *listeners;
    uint64_t *added; /* connections taken, by listener */
    pthread_t watch; /* opens listeners again: nng_greet.h */
    bool watching;
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    size_t busy;   /* contexts between a received request and its sent reply */
    bool stopping; /* new calls are refused */
    bool hurry;    /* and so are those that wait for a worker */
    int64_t last_send_ms;
    size_t context_count;
    rep_context *contexts;
};

/* ---- one call ---- */

static void note_busy(nng_rep *n, bool begins) {
    pthread_mutex_lock(&n->mutex);
    if (begins) {
        n->busy++;
    } else {
        n->last_send_ms = clock_now_ms();
        if (--n->busy == 0 && n->stopping) {
            pthread_cond_broadcast(&n->idle);
        }
    }
    pthread_mutex_unlock(&n->mutex);
}

static void receive(rep_context *c) {
    c->state = REP_RECEIVE;
    nng_ctx_recv(c->ctx, c->aio);
}

/* Ends the call: its memory goes back, the reply goes out. */
static void answer(rep_context *c, nng_msg *reply) {
    nng_rep *n = c->door;
    nng_msg_free(c->request); /* the payload's strings were copied or already packed */
    c->request = NULL;
    scratch_put(n->scratches, c->lane, c->scratch);
    c->scratch = NULL;
    c->message = NULL;
    admission_give_bytes(c->charged);
    c->charged = 0;
    call_stats_end(n->stats);
    if (!reply) { /* not even memory for an error: code 8, nothing else; a reply of no bytes would mean success */
        static const uint8_t exhausted[] = {1 << 3, 8};
        if (nng_msg_alloc(&reply, sizeof exhausted) != 0) {
            note_busy(n, false);
            receive(c); /* REP forgets the request: the client asks again */
            return;
        }
        memcpy(nng_msg_body(reply), exhausted, sizeof exhausted);
    }
    c->state = REP_SEND;
    nng_aio_set_msg(c->aio, reply);
    nng_ctx_send(c->ctx, c->aio);
}

static void fail(rep_context *c, vd_status status, vd_error *err) {
    if (status == VD_INTERNAL || status == VD_UNKNOWN) {
        log_event(LOG_ERROR, "request failed", "door=nng op=%s error=%s", c->op ? c->op->name : "-", err->text);
        vd_fail(err, status, NULL, "internal");
    }
    if (c->op) {
        call_stats_count(c->door->stats, c->op, status, clock_now_ns() - c->began_ns);
    }
    answer(c, nng_envelope_error(status, err));
}

static void reject(rep_context *c, call_reject reason, vd_status status, vd_error *err) {
    call_stats_reject(c->door->stats, reason);
    fail(c, status, err);
}

static void execute(rep_context *c) {
    vd_error err = {0};
    ProtobufCMessage *reply = NULL;
    vd_status status = VD_OK;
    if (c->call.deadline_ms && clock_now_ms() >= c->call.deadline_ms) {
        status = vd_fail(&err, VD_DEADLINE_EXCEEDED, NULL, "deadline exceeded before the call began");
    }
    if (!status) {
        status = ops_dispatch(c->door->shared.ops, c->op, &c->call, c->message, &reply, &err);
    }
    if (status) {
        fail(c, status, &err);
        return;
    }
    nng_msg *msg = nng_envelope_reply(reply);
    if (!msg) {
        fail(c, vd_fail(&err, VD_OUT_OF_MEMORY, NULL, "out of memory for the reply"), &err);
        return;
    }
    call_stats_count(c->door->stats, c->op, VD_OK, clock_now_ns() - c->began_ns);
    answer(c, msg);
}

static bool decode(rep_context *c) {
    vd_error err = {0};
    vd_status status = codec_proto_decode(c->op->request, c->envelope.payload, c->call.arena, &c->message, &err);
    if (status) {
        fail(c, status, &err);
    }
    return status == VD_OK;
}

static void job(void *arg) {
    rep_context *c = arg;
    nng_rep *n = c->door;
    vd_error err = {0};
    pthread_mutex_lock(&n->mutex);
    bool hurry = n->hurry;
    pthread_mutex_unlock(&n->mutex);
    admission_give_job();
    if (hurry) {
        fail(c, vd_fail(&err, VD_UNAVAILABLE, NULL, "shutting down"), &err);
    } else if (c->message || decode(c)) {
        execute(c);
    }
}

static void defer(rep_context *c) {
    vd_error err = {0};
    if (!admission_take_job()) {
        reject(c, CALL_REJECT_BUSY,
               vd_fail(&err, VD_UNAVAILABLE, NULL, "busy: too many requests are waiting, try again"), &err);
        return;
    }
    if (!work_queue_push(c->door->shared.queue, job, c)) {
        admission_give_job();
        reject(c, CALL_REJECT_BUSY,
               vd_fail(&err, VD_UNAVAILABLE, NULL, "busy: too many requests are waiting, try again"), &err);
    }
}

/* The envelope, or the reason why it is refused. */
static vd_status open_envelope(rep_context *c, call_reject *reason, vd_error *err) {
    *reason = CALL_REJECT_MALFORMED;
    bytes body = bytes_of(nng_msg_body(c->request), nng_msg_len(c->request));
    if (!admission_take_bytes(body.size)) {
        *reason = CALL_REJECT_BUSY;
        return vd_fail(err, VD_UNAVAILABLE, NULL, "busy: too many large requests at a time, try again");
    }
    c->charged = body.size;
    vd_status status = nng_envelope_decode(body, &c->envelope, err);
    if (status) {
        return status;
    }
    const nng_envelope *e = &c->envelope;
    c->op = ops_find((const char *)e->method.data, e->method.size);
    if (!c->op) {
        *reason = CALL_REJECT_NO_ROUTE;
        return vd_fail(err, VD_UNIMPLEMENTED, "method", "unknown method \"%.*s\"",
                       (int)(e->method.size < 100 ? e->method.size : 100), (const char *)e->method.data);
    }
    if (e->payload.size > VD_BODY_MAX_BYTES) {
        *reason = CALL_REJECT_TOO_LARGE;
        return vd_fail(err, VD_TOO_LARGE, "payload", "body too large");
    }
    c->call.request_id = e->request_id.size ? e->request_id : e->idempotency_key;
    if (!c->call.request_id.size) {
        c->call.request_id = (bytes){0};
    }
    if (c->call.request_id.size > VD_REQUEST_ID_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "request_id", "request id of %zu bytes: at most %d",
                       c->call.request_id.size, VD_REQUEST_ID_MAX_BYTES);
    }
    return VD_OK;
}

static bool is_stopping(nng_rep *n) {
    pthread_mutex_lock(&n->mutex);
    bool stopping = n->stopping;
    pthread_mutex_unlock(&n->mutex);
    return stopping;
}

static void begin(rep_context *c) {
    nng_rep *n = c->door;
    vd_error err = {0};
    call_reject reason;
    note_busy(n, true);
    call_stats_begin(n->stats);
    c->began_ns = clock_now_ns();
    c->op = NULL;
    c->request = nng_aio_get_msg(c->aio);
    c->call = (op_call){0};
    c->scratch = scratch_get(n->scratches, c->lane);
    if (!c->scratch) {
        fail(c, vd_fail(&err, VD_OUT_OF_MEMORY, NULL, "out of memory"), &err);
        return;
    }
    c->call.arena = &c->scratch->arena;
    if (is_stopping(n)) {
        fail(c, vd_fail(&err, VD_UNAVAILABLE, NULL, "shutting down"), &err);
        return;
    }
    vd_status status = open_envelope(c, &reason, &err);
    if (status) {
        reject(c, reason, status, &err);
        return;
    }
    if (c->envelope.timeout_ms) {
        uint32_t timeout = c->envelope.timeout_ms < VD_TIMEOUT_MAX_MS ? c->envelope.timeout_ms : VD_TIMEOUT_MAX_MS;
        c->call.deadline_ms = c->began_ns / 1000000 + timeout;
    }
    if ((c->op->flags & OP_BLOCKS) || c->envelope.payload.size > INLINE_PAYLOAD_BYTES) {
        defer(c);
    } else if (decode(c)) {
        if (ops_blocks(n->shared.ops, c->op, c->message)) {
            defer(c);
        } else {
            execute(c);
        }
    }
}

/* The aio's callback: something was received, or sent, or the door closes. */
static void step(void *arg) {
    rep_context *c = arg;
    int result = nng_aio_result(c->aio);
    if (c->state == REP_SEND) {
        if (result != 0) { /* the peer has gone; NNG leaves the message with us */
            nng_msg_free(nng_aio_get_msg(c->aio));
            nng_aio_set_msg(c->aio, NULL);
        }
        note_busy(c->door, false);
        if (result != NNG_ECLOSED && result != NNG_ECANCELED && !is_stopping(c->door)) {
            receive(c);
        }
        return;
    }
    if (result == NNG_ECLOSED || result == NNG_ECANCELED) {
        return;
    }
    if (result != 0) {
        receive(c); /* out of memory for one message, or the like: the next one may fit */
        return;
    }
    begin(c);
}

/* ---- start and stop ---- */

static vd_status nng_fail(vd_error *err, const char *what, int code) {
    vd_status status = code == NNG_ENOMEM ? VD_OUT_OF_MEMORY : VD_UNAVAILABLE;
    return vd_fail(err, status, "rpc.bind", "%s: %s%s", what, nng_strerror(code),
                   code == NNG_EADDRINUSE ? ": choose another address (tcp port 0: any free one)" : "");
}

static vd_status check_scheme(const char *url, vd_error *err) {
    if (strncmp(url, "tcp://", 6) == 0 || (strncmp(url, "ipc://", 6) == 0 && url[6])) {
        return VD_OK;
    }
    if (strncmp(url, "ws://", 5) == 0 || strncmp(url, "wss://", 6) == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "rpc.bind",
                       "%s: WebSocket listeners are not offered: use tcp:// or ipc://, or HTTP from a browser", url);
    }
    return vd_fail(err, VD_INVALID_ARGUMENT, "rpc.bind", "%s: want tcp://host:port or ipc:///path", url);
}

/* "tcp://127.0.0.1:0" -> with the port that was bound. */
static void resolve_url(nng_rep *n, size_t i, const char *url) {
    int port = 0;
    const char *colon = strrchr(url, ':');
    if (strncmp(url, "tcp://", 6) == 0 && nng_listener_get_int(n->listeners[i], NNG_OPT_TCP_BOUND_PORT, &port) == 0 &&
        colon > url + 5) {
        snprintf(n->urls[i], sizeof n->urls[i], "%.*s:%d", (int)(colon - url), url, port);
    } else {
        snprintf(n->urls[i], sizeof n->urls[i], "%s", url);
    }
}

static vd_status start_listeners(nng_rep *n, const nng_options *options, vd_error *err) {
    for (size_t i = 0; i < options->bind_count; i++) {
        const char *url = options->binds[i];
        vd_status status = check_scheme(url, err);
        if (status) {
            return status;
        }
        if (strlen(url) >= sizeof n->urls[0] - 8) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "rpc.bind", "address too long: %.60s...", url);
        }
        char what[200];
        snprintf(what, sizeof what, "cannot listen on %s", url);
        nng_listener listener = NNG_LISTENER_INITIALIZER;
        int code = nng_listener_create(&listener, n->socket, url);
        n->listeners[i] = listener;
        if (code == 0) {
            code = nng_listener_start(listener, 0);
        }
        if (code != 0) {
            return nng_fail(err, what, code);
        }
        resolve_url(n, i, url);
        pthread_mutex_lock(&n->mutex); /* connections may come already */
        n->url_count++;
        pthread_mutex_unlock(&n->mutex);
        log_event(LOG_INFO, "nng listening", "url=%s", n->urls[i]);
    }
    return VD_OK;
}

/* A new connection; while stopping, none. */
static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg) {
    (void)event;
    nng_rep *n = arg;
    int id = nng_listener_id(nng_pipe_listener(pipe));
    pthread_mutex_lock(&n->mutex);
    bool stopping = n->stopping;
    for (size_t i = 0; i < n->url_count; i++) {
        n->added[i] += nng_listener_id(n->listeners[i]) == id;
    }
    if (n->watching) {
        pthread_cond_broadcast(&n->idle);
    }
    pthread_mutex_unlock(&n->mutex);
    if (stopping) {
        nng_pipe_close(pipe);
    }
}

/* ---- the watch over the listeners ---- */

/* Does this listener take connections? Only a greeting that is answered and then not taken says no. The mutex is held, and
 * dropped meanwhile. */
static bool takes_connections_locked(nng_rep *n, size_t i) {
    uint64_t before = n->added[i];
    pthread_mutex_unlock(&n->mutex);
    int fd = nng_greet(n->urls[i], WATCH_MS);
    struct timespec until = clock_timespec(clock_now_ms() + WATCH_MS);
    pthread_mutex_lock(&n->mutex);
    while (fd >= 0 && !n->stopping && n->added[i] == before &&
           pthread_cond_timedwait(&n->idle, &n->mutex, &until) == 0) {
    }
    bool takes = fd < 0 || n->stopping || n->added[i] != before;
    if (fd >= 0) {
        close(fd);
    }
    return takes;
}

/* Its connections end with the listener, and their clients dial and send again. The mutex is held, and dropped meanwhile. */
static void reopen_locked(nng_rep *n, size_t i) {
    nng_listener old = n->listeners[i];
    pthread_mutex_unlock(&n->mutex);
    nng_listener_close(old);
    nng_listener fresh = NNG_LISTENER_INITIALIZER;
    int code = nng_listener_create(&fresh, n->socket, n->urls[i]);
    pthread_mutex_lock(&n->mutex);
    n->listeners[i] = fresh;
    pthread_mutex_unlock(&n->mutex);
    if (code == 0) {
        code = nng_listener_start(fresh, 0);
    }
    log_event(LOG_WARN, "nng listener had stopped", "url=%s reopened=%s", n->urls[i],
              code ? nng_strerror(code) : "yes");
    pthread_mutex_lock(&n->mutex);
}

static void *watch(void *arg) {
    nng_rep *n = arg;
    pthread_mutex_lock(&n->mutex);
    while (!n->stopping) {
        struct timespec until = clock_timespec(clock_now_ms() + WATCH_MS);
        while (!n->stopping && pthread_cond_timedwait(&n->idle, &n->mutex, &until) == 0) {
        }
        for (size_t i = 0; i < n->url_count && !n->stopping; i++) {
            if (!takes_connections_locked(n, i) && !takes_connections_locked(n, i)) {
                reopen_locked(n, i);
            }
        }
    }
    pthread_mutex_unlock(&n->mutex);
    return NULL;
}

static uint32_t context_count(const nng_options *options) {
    uint32_t count = options->contexts ? options->contexts : executor_cpus() * CONTEXTS_PER_CPU;
    if (!options->contexts && count < CONTEXTS_MIN) {
        count = CONTEXTS_MIN;
    }
    return count > CONTEXTS_MAX ? CONTEXTS_MAX : count;
}

static vd_status start_contexts(nng_rep *n, uint32_t count, vd_error *err) {
    n->contexts = calloc(count, sizeof *n->contexts);
    if (!n->contexts) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        rep_context *c = &n->contexts[i];
        n->context_count = i + 1;
        c->door = n;
        c->lane = i;
        int code = nng_aio_alloc(&c->aio, step, c);
        if (code == 0) {
            code = nng_ctx_open(&c->ctx, n->socket);
            c->open = code == 0;
        }
        if (code != 0) {
            return nng_fail(err, "cannot make contexts", code);
        }
    }
    return VD_OK;
}

vd_status nng_rep_start(const transport_shared *shared, const nng_options *options, nng_rep **out, vd_error *err) {
    nng_rep *n = calloc(1, sizeof *n);
    if (!n) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    n->shared = *shared;
    pthread_mutex_init(&n->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->idle, &attr);
    pthread_condattr_destroy(&attr);
    size_t binds = options->bind_count ? options->bind_count : 1;
    n->urls = calloc(binds, sizeof *n->urls);
    n->listeners = calloc(binds, sizeof *n->listeners);
    n->added = calloc(binds, sizeof *n->added);
    n->stats = call_stats_new(shared->metrics, CALL_DOOR_NNG);
    n->scratches = scratch_pool_new();
    vd_status status = VD_OK;
    if (!n->urls || !n->listeners || !n->added || !n->stats || !n->scratches) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        goto fail;
    }
    int code = nng_rep0_open(&n->socket);
    n->socket_open = code == 0;
    if (code == 0) {
        code = nng_socket_set_size(n->socket, NNG_OPT_RECVMAXSZ, RECEIVE_MAX);
    }
    if (code == 0) {
        code = nng_pipe_notify(n->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, n);
    }
    if (code != 0) {
        status = nng_fail(err, "cannot open the socket", code);
        goto fail;
    }
    status = start_contexts(n, context_count(options), err);
    if (!status) {
        status = start_listeners(n, options, err);
    }
    if (status) {
        goto fail;
    }
    for (size_t i = 0; i < n->context_count; i++) {
        receive(&n->contexts[i]);
    }
    pthread_mutex_lock(&n->mutex);
    n->watching = pthread_create(&n->watch, NULL, watch, n) == 0;
    pthread_mutex_unlock(&n->mutex);
    if (!n->watching) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "cannot start a thread");
        goto fail;
    }
    *out = n;
    return VD_OK;
fail:
    nng_rep_stop(n, 0);
    return status;
}

const char *nng_rep_url(const nng_rep *n, size_t i) {
    return i < n->url_count ? n->urls[i] : NULL;
}

/* Waits for the calls in progress, then for the last replies to leave. */
static void drain(nng_rep *n, int64_t drain_ms) {
    pthread_mutex_lock(&n->mutex);
    n->stopping = true;
    struct timespec until = clock_timespec(clock_now_ms() + drain_ms);
    while (n->busy && pthread_cond_timedwait(&n->idle, &n->mutex, &until) == 0) {
    }
    n->hurry = true;
    while (n->busy) { /* a worker has them: they end, and those that wait for one answer "shutting down" */
        pthread_cond_wait(&n->idle, &n->mutex);
    }
    if (n->last_send_ms && drain_ms > 0) {
        until = clock_timespec(n->last_send_ms + (drain_ms < FLUSH_MS ? drain_ms : FLUSH_MS));
        while (pthread_cond_timedwait(&n->idle, &n->mutex, &until) == 0) {
        }
    }
    pthread_mutex_unlock(&n->mutex);
}

static void close_socket(void *arg) {
    nng_rep *n = arg;
    nng_close(n->socket);
}

/*
 * nng_close of 1.5.2 can wait for ever for a connection that was closed at the wrong moment (clients/c/open.c says how). The
 * indexes are still to be saved after this, so it gets a thread and a deadline; false when it did not return, and then the
 * door's memory is NNG's for the rest of the process.
 */
static bool close_in_time(nng_rep *n) {
    if (bounded_run(close_socket, NULL, n, CLOSE_MS)) {
        return true;
    }
    log_event(LOG_WARN, "nng socket does not close", "waited_ms=%d", CLOSE_MS);
    return false;
}

void nng_rep_stop(nng_rep *n, int64_t drain_ms) {
    if (!n) {
        return;
    }
    if (n->watching) {
        pthread_mutex_lock(&n->mutex);
        n->stopping = true;
        pthread_cond_broadcast(&n->idle);
        pthread_mutex_unlock(&n->mutex);
        pthread_join(n->watch, NULL);
    }
    drain(n, drain_ms); /* with the listeners open: closing one closes its connections too */
    for (size_t i = 0; i < n->context_count; i++) {
        if (n->contexts[i].open) {
            nng_ctx_close(n->contexts[i].ctx);
        }
    }
    for (size_t i = 0; i < n->context_count; i++) {
        if (n->contexts[i].aio) {
            nng_aio_stop(n->contexts[i].aio);
            nng_aio_free(n->contexts[i].aio);
        }
    }
    if (n->socket_open && !close_in_time(n)) {
        return;
    }
    free(n->contexts);
    free(n->added);
    free(n->listeners);
    free(n->urls);
    scratch_pool_free(n->scratches);
    call_stats_free(n->stats);
    pthread_cond_destroy(&n->idle);
    pthread_mutex_destroy(&n->mutex);
    free(n);
}
