/*
 * request.c - the states of one request.
 *
 * libmicrohttpd calls the handler when the head is complete, for each piece of the body, and once more at the end. Everything
 * that can be decided from the head is decided at the first call, so a body that is too large or one put too many is refused
 * before a byte of it is kept. The answer waits for the last call, because an answer queued while the client still sends is
 * lost (it sees a broken pipe before it reads): a refused body is read and dropped, unless the client asked first
 * (Expect: 100-continue) or the head is malformed, in which case nothing behind it can be trusted and the connection ends.
 *
 * A put holds one of VD_OBJECT_PUTS_MAX places from its head to its answer. A body that breaks off never reaches the last call:
 * request_completed aborts the put, and nothing of it is left.
 *
 * Threading: a request belongs to its connection's thread, which may wait for the disk.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/http_target.h"
#include "storaged/door_int.h"
#include "store/object_key.h"

static void refuse(request *r, reject reason, vd_status status, const char *field, const char *text) {
    metric_add(r->door->rejected[reason], 1);
    r->status = vd_fail(&r->err, status, field, "%s", text);
}

/* ---- the head ---- */

static void decide_key(request *r, bool has_query) {
    bytes raw = r->match.raw_key;
    if (has_query) { /* most likely a key that was not encoded, and without what follows it means another object */
        refuse(r, REJECT_BAD_KEY, VD_INVALID_ARGUMENT, "key", "a key ends at \"?\": write that as %3F");
        return;
    }
    uint8_t *decoded = malloc(raw.size ? raw.size : 1);
    size_t size = 0;
    if (!decoded) {
        r->status = vd_fail(&r->err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    } else if (!http_percent_decode(raw, decoded, &size)) {
        refuse(r, REJECT_BAD_KEY, VD_INVALID_ARGUMENT, "key", "the key has a % that is no escape: write it as %25");
    } else if (object_key_check(bytes_of(decoded, size), &r->err) != VD_OK) {
        metric_add(r->door->rejected[REJECT_BAD_KEY], 1);
        r->status = VD_INVALID_ARGUMENT;
    } else {
        memcpy(r->key, decoded, size);
        r->key_size = size;
    }
    free(decoded);
}

static bool take_place(door *d) {
    if (atomic_fetch_add(&d->puts, 1) >= VD_OBJECT_PUTS_MAX) {
        atomic_fetch_sub(&d->puts, 1);
        return false;
    }
    return true;
}

static void decide_put(request *r) {
    r->received_max = route_body_max(request_key(r));
    if (!r->head.chunked && !r->head.has_length) {
        r->http_status = 411;
        refuse(r, REJECT_MALFORMED, VD_INVALID_ARGUMENT, NULL, "a put needs a Content-Length, or a chunked body");
    } else if (r->head.content_encoding && strcmp(r->head.content_encoding, "identity") != 0) {
        refuse(r, REJECT_MALFORMED, VD_UNSUPPORTED_MEDIA, NULL,
               "a Content-Encoding is not supported: send the plain bytes");
    } else if (r->head.content_length > r->received_max) {
        refuse(r, REJECT_TOO_LARGE, VD_TOO_LARGE, NULL, "body too large");
    } else if (!take_place(r->door)) {
        refuse(r, REJECT_BUSY, VD_UNAVAILABLE, NULL, "busy: too many puts at a time, try again");
        r->err.retry_after_s = VD_OBJECT_BUSY_RETRY_S;
    } else {
        r->has_slot = true;
        r->status = r->door->store->v->put_begin(r->door->store, request_key(r), &r->put, &r->err);
    }
}

static void decide_route(request *r, bytes path, const char *method, bool has_query) {
    route_find(path, method, &r->match);
    if (!r->match.allow) {
        refuse(r, REJECT_NO_ROUTE, VD_NOT_FOUND, NULL, "no such route: see /storage/get, put, delete, list");
        return;
    }
    if (!r->match.found) {
        refuse(r, REJECT_NO_ROUTE, VD_METHOD_NOT_ALLOWED, NULL, "method not allowed");
        return;
    }
    verb v = r->match.verb;
    if (v != VERB_GET && v != VERB_PUT && v != VERB_DELETE) {
        return;
    }
    decide_key(r, has_query);
    r->condition = (object_condition){r->head.if_match, r->head.if_none_match};
    if (!r->status && condition_check(&r->condition, &r->err) != VD_OK) {
        r->status = r->err.status;
    }
    if (!r->status && v == VERB_PUT) {
        decide_put(r);
    }
}

static void decide(request *r, const char *url, const char *method, const char *version) {
    bytes path = {0};
    http_head_read(r->connection, method, r->conn->target, version, &r->head);
    r->has_body = r->head.chunked || r->head.content_length > 0;
    bytes host =
        r->head.host ? bytes_str(r->head.host) : bytes_str("localhost"); /* HTTP/1.0 has none to be fooled by */
    if (!r->head.fault && r->head.repeated_condition) {
        r->head.fault = "more than one Range, If-Match or If-None-Match header";
    }
    if (!r->head.fault && !http_target_split(url, &host, &path)) {
        r->head.fault = "malformed request target";
    }
    if (r->head.fault) {
        r->close = true;
        refuse(r, REJECT_MALFORMED, VD_INVALID_ARGUMENT, NULL, r->head.fault);
    } else if (!http_guard_host(r->door->guard, host)) {
        refuse(r, REJECT_HOST, VD_MISDIRECTED, "Host",
               "this server does not answer for that Host: use localhost or the address it listens on");
    } else if (r->head.origin) {
        refuse(r, REJECT_ORIGIN, VD_PERMISSION_DENIED, "Origin", "pages in a browser may not call this server");
    } else {
        decide_route(r, path, method, strlen(url) != r->conn->target.size);
    }
}

/* ---- the body ---- */

static void give_place(request *r) {
    if (r->put) {
        r->door->store->v->put_abort(r->put);
        r->put = NULL;
    }
    if (r->has_slot) {
        r->has_slot = false;
        atomic_fetch_sub(&r->door->puts, 1);
    }
}

static enum MHD_Result drop_rest(request *r) {
    give_place(r); /* others may have it while the rest of this body trickles in */
    r->phase = REQUEST_DROPPING;
    return http_conn_enter(r->conn, CONN_DROP, 0) ? MHD_YES : MHD_NO;
}

static enum MHD_Result receive(request *r, const char *data, size_t *data_size) {
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
    if (size > r->received_max - r->received) {
        refuse(r, REJECT_TOO_LARGE, VD_TOO_LARGE, NULL, "body too large");
        return drop_rest(r);
    }
    r->status = r->door->store->v->put_write(r->put, data, size, &r->err);
    if (r->status) {
        return drop_rest(r);
    }
    r->received += size;
    metric_add(r->door->received, size);
    atomic_store(&r->conn->bytes, r->received);
    return MHD_YES;
}

/* ---- the whole ---- */

static request *make(door *d, struct MHD_Connection *connection) {
    http_conn *conn = http_conn_of(connection);
    request *r = conn ? calloc(1, sizeof *r) : NULL;
    if (!r) {
        return NULL;
    }
    r->door = d;
    r->conn = conn;
    r->connection = connection;
    r->began_ns = clock_now_ns();
    buffer_init(&r->out, 0);
    atomic_fetch_add(&conn->requests, 1);
    pthread_mutex_lock(&d->mutex);
    d->requests++;
    pthread_mutex_unlock(&d->mutex);
    return r;
}

static enum MHD_Result begin(door *d, struct MHD_Connection *connection, const char *url, const char *method,
                             const char *version, void **made) {
    request *r = make(d, connection);
    if (!r) {
        return MHD_NO;
    }
    *made = r; /* from here on `completed` frees it */
    decide(r, url, method, version);
    if (r->status && (r->close || (r->has_body && r->head.expects_continue))) {
        r->close = true;
        answer_error(r);
        return answer_queue(r);
    }
    if (!r->has_body) {
        return http_conn_enter(r->conn, CONN_WORK, 0) ? MHD_YES : MHD_NO;
    }
    if (r->status || !r->put) { /* refused, or the body of a GET or DELETE, which means nothing */
        return drop_rest(r);
    }
    return http_conn_enter(r->conn, CONN_BODY, 0) ? MHD_YES : MHD_NO;
}

static enum MHD_Result finish(request *r) {
    if (r->phase != REQUEST_DONE) {
        if (r->has_body && !http_conn_enter(r->conn, CONN_WORK, 0)) {
            return MHD_NO;
        }
        r->phase = REQUEST_DONE;
        if (r->status) {
            answer_error(r);
        } else {
            answer_run(r);
        }
        give_place(r);
    }
    return answer_queue(r);
}

enum MHD_Result request_handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *data, size_t *data_size, void **made) {
    if (!*made) {
        return begin(cls, connection, url, method, version, made);
    }
    return *data_size ? receive(*made, data, data_size) : finish(*made);
}

void request_completed(void *cls, struct MHD_Connection *connection, void **made,
                       enum MHD_RequestTerminationCode code) {
    (void)connection;
    (void)code;
    door *d = cls;
    request *r = *made;
    *made = NULL;
    if (!r) {
        return;
    }
    r->conn->target = (bytes){0};
    http_conn_enter(r->conn, CONN_HEAD, 0);
    give_place(r);
    buffer_fini(&r->out);
    free(r);
    pthread_mutex_lock(&d->mutex);
    if (--d->requests == 0) {
        pthread_cond_broadcast(&d->idle);
    }
    pthread_mutex_unlock(&d->mutex);
}
