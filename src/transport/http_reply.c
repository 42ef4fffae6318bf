/*
 * http_reply.c - rendering answers. They are written straight into the scratch's buffer, which libmicrohttpd then sends from
 * in place; the scratch stays with the request until the last byte has gone.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "codec/codec.h"
#include "transport/http_int.h"
#include "vectord/v1/vectord.pb-c.h"

static void set(http_request *r, int http_status, const char *content_type) {
    r->http_status = http_status;
    r->content_type = content_type;
}

static void count(http_request *r) {
    http_gateway *g = r->gateway;
    if (r->reject >= 0) {
        call_stats_reject(g->stats, (call_reject)r->reject);
    }
    if (r->match.op) {
        call_stats_count(g->stats, r->match.op, r->status, clock_now_ns() - r->began_ns);
    }
}

void http_reply_message(http_request *r, const ProtobufCMessage *message) {
    buffer *out = &r->scratch->out;
    buffer_clear(out);
    if (r->match.op->http_status == 204) {
        set(r, 204, NULL);
    } else if (r->reply_form == HTTP_MEDIA_PROTO) {
        codec_proto_encode(message, out);
        set(r, r->match.op->http_status, "application/x-protobuf");
    } else {
        codec_json_encode(message, out);
        buffer_put_u8(out, '\n');
        set(r, r->match.op->http_status, "application/json");
    }
    if (out->failed) {
        r->status = vd_fail(&r->err, VD_OUT_OF_MEMORY, NULL, "out of memory for the reply");
        http_reply_error(r);
        return;
    }
    count(r);
}

static void put_text(buffer *out, const char *text) {
    json_put_string(out, text, strlen(text));
}

static void put_problem(http_request *r, const char *text) {
    buffer *out = &r->scratch->out;
    buffer_put_str(out, "{\"type\":\"about:blank\",\"title\":");
    put_text(out, MHD_get_reason_phrase_for((unsigned)r->http_status));
    buffer_printf(out, ",\"status\":%d,\"detail\":", r->http_status);
    put_text(out, text);
    buffer_printf(out, ",\"code\":\"%s\"", vd_status_name(r->status));
    if (r->err.field[0]) {
        buffer_put_str(out, ",\"errors\":[{\"field\":");
        put_text(out, r->err.field);
        buffer_put_str(out, ",\"message\":");
        put_text(out, text);
        buffer_put_str(out, "}]");
    }
    buffer_put_str(out, "}\n");
}

/* Line breaks inside would end the text early for a client that reads one line. */
static void put_line(buffer *out, const char *text) {
    for (const char *p = text; *p; p++) {
        buffer_put_u8(out, (uint8_t)*p < 0x20 ? ' ' : (uint8_t)*p);
    }
    buffer_put_u8(out, '\n');
}

void http_reply_error(http_request *r) {
    const char *text = r->err.text[0] ? r->err.text : vd_status_text(r->status);
    if (r->status == VD_INTERNAL || r->status == VD_UNKNOWN) {
        log_event(LOG_ERROR, "request failed", "door=http op=%s error=%s", r->match.op ? r->match.op->name : "-", text);
        text = "internal";
    }
    utf8_clean(r->err.text);
    buffer *out = &r->scratch->out;
    buffer_clear(out);
    if (r->head.accepts_problem) {
        set(r, vd_status_http(r->status), "application/problem+json");
        put_problem(r, text);
    } else {
        set(r, vd_status_http(r->status), "text/plain; charset=utf-8");
        put_line(out, text);
    }
    if (out->failed) { /* the status says enough */
        buffer_clear(out);
        r->content_type = NULL;
    }
    count(r);
}

void http_reply_preflight(http_request *r) {
    buffer_clear(&r->scratch->out);
    set(r, 204, NULL);
}

/* Ready when the health operation says so; the reasons are its counts. */
static void put_ready(http_request *r) {
    buffer *out = &r->scratch->out;
    static const char method[] = "/vectord.v1.VectorService/Health";
    const op_row *op = ops_find(method, sizeof method - 1);
    op_call call = {.arena = &r->scratch->arena};
    ProtobufCMessage *request = NULL;
    ProtobufCMessage *reply = NULL;
    if (!op || codec_json_decode(op->request, (bytes){0}, call.arena, &request, &r->err) ||
        ops_dispatch(r->gateway->shared.ops, op, &call, request, &reply, &r->err)) {
        set(r, 503, "application/json");
        buffer_put_str(out, "{\"ready\":false,\"reasons\":[\"the health check failed\"]}\n");
        return;
    }
    const Vectord__V1__HealthResponse *health = (const Vectord__V1__HealthResponse *)reply;
    bool ready = health->ready && !atomic_load(&r->gateway->draining);
    set(r, ready ? 200 : 503, "application/json");
    buffer_printf(out, "{\"ready\":%s,\"reasons\":[", ready ? "true" : "false");
    const char *comma = "";
    if (atomic_load(&r->gateway->draining)) {
        buffer_put_str(out, "\"shutting down\"");
        comma = ",";
    }
    if (!health->ready && health->loading == 0) {
        buffer_printf(out, "%s\"the store has not been listed yet\"", comma);
        comma = ",";
    } else if (!health->ready) {
        buffer_printf(out, "%s\"%u of %u indexes are loading\"", comma, health->loading, health->indexes);
        comma = ",";
    }
    if (health->quarantined) {
        buffer_printf(out, "%s\"%u quarantined: see GET /vectors/index/{name}\"", comma, health->quarantined);
        comma = ",";
    }
    if (health->backlog_bytes) { /* ready all the same: searches are unharmed */
        buffer_printf(out, "%s\"%llu bytes of acknowledged writes wait for the store\"", comma,
                      (unsigned long long)health->backlog_bytes);
    }
    buffer_put_str(out, "]}\n");
}

void http_reply_builtin(http_request *r) {
    buffer *out = &r->scratch->out;
    buffer_clear(out);
    switch (r->match.builtin) {
    case HTTP_BUILTIN_METRICS:
        set(r, 200, "text/plain; version=0.0.4; charset=utf-8");
        if (r->gateway->shared.metrics) {
            metrics_print(r->gateway->shared.metrics, out);
        }
        break;
    case HTTP_BUILTIN_READY:
        put_ready(r);
        break;
    case HTTP_BUILTIN_LIVE:
    case HTTP_BUILTIN_NONE:
        set(r, 200, "text/plain; charset=utf-8");
        buffer_put_str(out, "ok\n");
        break;
    }
    if (out->failed) {
        r->status = vd_fail(&r->err, VD_OUT_OF_MEMORY, NULL, "out of memory for the reply");
        http_reply_error(r);
    }
}

static void add_cors(http_request *r, struct MHD_Response *response) {
    MHD_add_response_header(response, "Access-Control-Allow-Origin", r->head.origin);
    MHD_add_response_header(response, "Vary", "Origin");
    if (r->is_preflight) {
        MHD_add_response_header(response, "Access-Control-Allow-Methods", r->match.allow);
        MHD_add_response_header(response, "Access-Control-Allow-Headers", "Content-Type, Accept, Idempotency-Key");
        MHD_add_response_header(response, "Access-Control-Max-Age", "600");
    } else {
        MHD_add_response_header(response, "Access-Control-Expose-Headers", "Retry-After");
    }
}

static void add_headers(http_request *r, struct MHD_Response *response) {
    if (r->content_type) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type);
    }
    if (r->status) {
        MHD_add_response_header(response, "X-Content-Type-Options", "nosniff"); /* a text may quote the request */
    }
    if (r->err.retry_after_s || r->http_status == 503) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", r->err.retry_after_s ? r->err.retry_after_s : 1);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
    if (r->match.allow[0] && (r->status == VD_METHOD_NOT_ALLOWED || r->is_preflight)) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, r->match.allow);
    }
    if (r->origin_listed) {
        add_cors(r, response);
    }
    if (r->close || atomic_load(&r->gateway->draining)) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
}

enum MHD_Result http_reply_queue(http_request *r) {
    buffer *out = &r->scratch->out;
    if (!http_conn_enter(r->conn, CONN_REPLY, out->size)) {
        return MHD_NO;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(out->size, out->data, MHD_RESPMEM_PERSISTENT);
    if (!response) {
        return MHD_NO;
    }
    add_headers(r, response);
    enum MHD_Result queued = MHD_queue_response(r->connection, (unsigned)r->http_status, response);
    MHD_destroy_response(response); /* the connection holds its own reference */
    return queued;
}
