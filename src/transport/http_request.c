/*
 * http_request.c - the states of one request.
 *
 * libmicrohttpd calls the handler when the head is complete, for each piece of the body, and once more at the end. Everything
 * that can be decided from the head is decided at the first call; the answer waits for the last one, because an answer
 * queued while the client still sends is lost (it sees a broken pipe before it reads). So a refused body is read and
 * dropped, unless the client asked first (Expect: 100-continue) or the head is malformed, in which case nothing behind it
 * can be trusted and the connection ends.
 *
 * Threading: a request belongs to its connection's loop, except between suspend and resume, when a worker has it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/http_target.h"
#include "transport/admission.h"
#include "transport/http_int.h"

static void refuse(http_request *r, call_reject reason, vd_status status, const char *field, const char *text) {
    r->reject = (int)reason;
    r->status = vd_fail(&r->err, status, field, "%s", text);
}

static bool is_plain_key(const char *key) {
    for (const char *p = key; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7F) {
            return false;
        }
    }
    return *key && strlen(key) <= VD_REQUEST_ID_MAX_BYTES;
}

/* A GET or DELETE may carry a body, and what it says means nothing (RFC 9110, 9.3.1): it is read and dropped. */
static bool takes_body(const op_row *op) {
    return strcmp(op->http_method, "GET") != 0 && strcmp(op->http_method, "DELETE") != 0;
}

/* What the head says about the operation: its path field, its state, its body's type. */
static void decide_call(http_request *r) {
    const op_row *op = r->match.op;
    if (r->match.field) {
        r->status = http_segment_decode(r->match.raw, &r->scratch->arena, &r->path_field, &r->err);
        if (r->status) {
            return;
        }
    }
    if (op->precheck) {
        r->status = op->precheck(r->gateway->shared.ops, r->path_field, &r->err);
        if (r->status) {
            return;
        }
    }
    if (r->head.idempotency_key && !is_plain_key(r->head.idempotency_key)) {
        r->status = vd_fail(&r->err, VD_INVALID_ARGUMENT, "Idempotency-Key",
                            "Idempotency-Key must be 1..%d visible ASCII characters", VD_REQUEST_ID_MAX_BYTES);
        return;
    }
    if (!r->has_body || !takes_body(op)) {
        return;
    }
    r->status = http_media_of_body(&r->head, &r->body_form, &r->err);
    if (r->status) {
        r->reject = CALL_REJECT_MEDIA_TYPE;
    } else if (r->head.content_length > VD_BODY_MAX_BYTES) {
        refuse(r, CALL_REJECT_TOO_LARGE, VD_TOO_LARGE, NULL, "body too large");
    }
}

static void decide(http_request *r, const char *url, const char *method, const char *version) {
    http_gateway *g = r->gateway;
    bytes path;
    http_head_read(r->connection, method, r->conn->target, version, &r->head);
    r->has_body = r->head.chunked || r->head.content_length > 0;
    bytes host =
        r->head.host ? bytes_str(r->head.host) : bytes_str("localhost"); /* HTTP/1.0 has none to be fooled by */
    if (!r->head.fault && !http_target_split(url, &host, &path)) {
        r->head.fault = "malformed request target";
    }
    if (r->head.fault) {
        r->close = true;
        refuse(r, CALL_REJECT_MALFORMED, VD_INVALID_ARGUMENT, NULL, r->head.fault);
        return;
    }
    if (!http_guard_host(g->guard, host)) {
        refuse(r, CALL_REJECT_HOST, VD_MISDIRECTED, "Host",
               "this server does not answer for that Host: use localhost or the address it listens on");
        return;
    }
    if (r->head.origin) {
        http_origin origin = http_guard_origin(g->guard, host, r->head.origin);
        r->origin_listed = origin == HTTP_ORIGIN_LISTED;
        if (origin == HTTP_ORIGIN_REFUSED) {
            refuse(r, CALL_REJECT_ORIGIN, VD_PERMISSION_DENIED, "Origin",
                   "pages of this Origin may not call this server: add it to [gateway] cors_origins");
            return;
        }
    }
    http_routes_find(g->routes, path, method, &r->match);
    r->reply_form = http_media_of_reply(&r->head);
    if (r->match.op) {
        decide_call(r);
    } else if (r->match.builtin == HTTP_BUILTIN_NONE) {
        if (strcmp(method, "OPTIONS") == 0 && (r->match.allow[0] || strcmp(url, "*") == 0)) {
            r->is_preflight = true;
        } else if (r->match.allow[0]) {
            refuse(r, CALL_REJECT_NO_ROUTE, VD_METHOD_NOT_ALLOWED, NULL, "method not allowed");
        } else {
            refuse(r, CALL_REJECT_NO_ROUTE, VD_NOT_FOUND, NULL, "not found");
        }
    }
}

static void drop_body(http_request *r) {
    r->phase = REQUEST_DROPPING;
    buffer_fini(&r->scratch->in);
    buffer_init(&r->scratch->in, 0);
    admission_give_bytes(r->charged);
    r->charged = 0;
}

static http_request *make(http_gateway *g, struct MHD_Connection *connection) {
    http_conn *conn = http_conn_of(connection);
    if (!conn) {
        return NULL;
    }
    scratch *s = scratch_get(g->scratches, conn->lane);
    http_request *r = s ? arena_calloc(&s->arena, 1, sizeof *r) : NULL;
    if (!r) {
        scratch_put(g->scratches, conn->lane, s);
        return NULL;
    }
    r->gateway = g;
    r->conn = conn;
    r->connection = connection;
    r->scratch = s;
    r->reject = -1;
    atomic_fetch_add(&conn->requests, 1);
    atomic_fetch_add(&g->requests, 1);
    call_stats_begin(g->stats);
    return r;
}

static enum MHD_Result begin(http_gateway *g, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, void **request) {
    http_request *r = make(g, connection);
    if (!r) {
        return MHD_NO;
    }
    *request = r; /* from here on `completed` frees it */
    decide(r, url, method, version);
    if (r->status && (r->close || (r->has_body && r->head.expects_continue))) {
        r->close = true;
        r->began_ns = clock_now_ns();
        http_reply_error(r);
        return http_reply_queue(r);
    }
    if (!r->has_body) {
        return http_conn_enter(r->conn, CONN_WORK, 0) ? MHD_YES : MHD_NO;
    }
    if (r->status || !r->match.op || !takes_body(r->match.op)) {
        r->phase = REQUEST_DROPPING;
    }
    return http_conn_enter(r->conn, r->phase == REQUEST_DROPPING ? CONN_DROP : CONN_BODY, 0) ? MHD_YES : MHD_NO;
}

static enum MHD_Result receive(http_request *r, const char *data, size_t *data_size) {
    size_t size = *data_size;
    *data_size = 0;
    if (r->phase == REQUEST_DROPPING) {
        r->dropped += size;
        if (r->dropped > VD_HTTP_DROP_MAX_BYTES) {
            http_conn_refuse_body(r->conn);
            return MHD_NO;
        }
        return MHD_YES;
    }
    buffer *in = &r->scratch->in;
    if (size > VD_BODY_MAX_BYTES - in->size) {
        refuse(r, CALL_REJECT_TOO_LARGE, VD_TOO_LARGE, NULL, "body too large");
    } else if (!admission_take_bytes(size)) {
        refuse(r, CALL_REJECT_BUSY, VD_UNAVAILABLE, NULL, "busy: too many large requests at a time, try again");
        r->err.retry_after_s = 1;
    } else {
        r->charged += size;
        buffer_put(in, data, size);
        if (in->failed) {
            r->status = vd_fail(&r->err, VD_OUT_OF_MEMORY, NULL, "out of memory for the body");
        }
    }
    if (r->status) {
        drop_body(r);
        return http_conn_enter(r->conn, CONN_DROP, 0) ? MHD_YES : MHD_NO;
    }
    atomic_store(&r->conn->bytes, in->size);
    return MHD_YES;
}

static enum MHD_Result finish(http_request *r) {
    if (r->phase == REQUEST_WORKING) {
        return MHD_YES; /* suspended; resume comes with DONE */
    }
    if (r->phase != REQUEST_DONE) {
        if (r->has_body && !http_conn_enter(r->conn, CONN_WORK, 0)) {
            return MHD_NO;
        }
        r->phase = REQUEST_DONE; /* unless the call goes to a worker */
        r->began_ns = clock_now_ns();
        if (r->status) {
            http_reply_error(r);
        } else if (r->is_preflight) {
            http_reply_preflight(r);
        } else if (!r->match.op) {
            http_reply_builtin(r);
        } else if (!http_call_run(r)) {
            return MHD_YES; /* a worker has it */
        }
    }
    return http_reply_queue(r);
}

enum MHD_Result http_request_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *data, size_t *data_size, void **request) {
    http_request *r = *request;
    if (!r) {
        return begin(cls, connection, url, method, version, request);
    }
    return *data_size ? receive(r, data, data_size) : finish(r);
}

void http_request_completed(void *cls, struct MHD_Connection *connection, void **request,
                            enum MHD_RequestTerminationCode code) {
    (void)connection;
    (void)code;
    http_gateway *g = cls;
    http_request *r = *request;
    *request = NULL;
    if (!r) {
        return;
    }
    http_conn *conn = r->conn;
    conn->target = (bytes){0};
    http_conn_enter(conn, CONN_HEAD, 0);
    admission_give_bytes(r->charged);
    call_stats_end(g->stats);
    scratch_put(g->scratches, conn->lane, r->scratch); /* the request goes with it */
    http_gateway_request_done(g);
}
