/*
 * answer.c - what is answered. Texts and listings are rendered into the request's buffer; an object is read piece by piece while
 * it is sent, by the connection's own thread, from a file that stays the same whatever happens to the key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "http/http_target.h"
#include "storaged/door_int.h"

#define BLOCK_BYTES (256u * 1024u) /* of an object, read and sent at a time */

int request_http_status(const request *r) {
    if (r->http_status) {
        return r->http_status;
    }
    switch (r->status) {
    case VD_FAILED_PRECONDITION:
        return 412;
    case VD_OUT_OF_MEMORY:
        return 503;
    default:
        return vd_status_http(r->status);
    }
}

/* Line breaks inside would end the text early for a client that reads one line. */
static void put_line(buffer *out, const char *text) {
    for (const char *p = text; *p; p++) {
        buffer_put_u8(out, (uint8_t)*p < 0x20 ? ' ' : (uint8_t)*p);
    }
    buffer_put_u8(out, '\n');
}

static void count(request *r) {
    if (r->match.found) {
        door_count(r->door, r->match.verb, request_http_status(r), clock_now_ns() - r->began_ns);
    }
}

void answer_error(request *r) {
    const char *text = r->err.text[0] ? r->err.text : vd_status_text(r->status);
    if (r->status == VD_INTERNAL || r->status == VD_DATA_LOSS || r->status == VD_DISK_FULL) {
        log_event(LOG_ERROR, "request failed", "key=%s error=%s", (const char *)r->key, text);
    }
    if (r->status == VD_INTERNAL) { /* the reason names paths of this machine */
        text = "internal";
    }
    utf8_clean(r->err.text);
    buffer_clear(&r->out);
    r->content_type = "text/plain; charset=utf-8";
    put_line(&r->out, text);
    if (r->out.failed) { /* the status says enough */
        buffer_clear(&r->out);
        r->content_type = NULL;
    }
    count(r);
}

/* ---- one object ---- */

static void run_get(request *r) {
    objects *store = r->door->store;
    r->status = store->v->open(store, request_key(r), &r->info, &r->reader, &r->err);
    if (r->status) {
        return;
    }
    r->length = r->info.size;
    if (r->condition.if_match &&
        !condition_holds(&(object_condition){.if_match = r->condition.if_match}, r->info.etag)) {
        r->status =
            vd_fail(&r->err, VD_FAILED_PRECONDITION, NULL, "precondition failed: the object is another one by now");
    } else if (r->condition.if_none_match && condition_lists(r->condition.if_none_match, r->info.etag)) {
        r->http_status = 304;
    } else if (r->head.range && (!r->head.if_range || condition_lists(r->head.if_range, r->info.etag))) {
        byte_range range = condition_range(r->head.range, r->info.size, &r->offset, &r->length);
        if (range == RANGE_UNSATISFIABLE) {
            r->http_status = 416;
            r->status = vd_fail(&r->err, VD_OUT_OF_RANGE, "Range", "the object has %llu bytes",
                                (unsigned long long)r->info.size);
        } else if (range == RANGE_PART) {
            r->http_status = 206;
        }
    }
    if (r->status || r->http_status == 304) {
        store->v->close_reader(r->reader);
        r->reader = NULL;
    } else {
        r->content_type = "application/octet-stream";
    }
}

static void run_put(request *r) {
    objects_put *put = r->put;
    r->put = NULL; /* commit frees it, whatever happens */
    object_info info = {0};
    r->status = r->door->store->v->put_commit(put, &r->condition, &info, &r->err);
    if (!r->status) {
        r->info = info;
        r->http_status = 204;
    }
}

static void run_delete(request *r) {
    objects *store = r->door->store;
    r->status = store->v->remove(store, request_key(r), &r->condition, &r->err);
    r->http_status = r->status ? 0 : 204;
}

/* ---- a page of keys ---- */

typedef struct page {
    buffer *out;
    size_t count;
    char last[VD_OBJECT_KEY_MAX_BYTES + 1];
} page;

static vd_status put_object(void *arg, const char *key, const object_info *info) {
    page *p = arg;
    buffer_put_str(p->out, p->count++ ? ",{\"key\":" : "{\"key\":");
    json_put_string(p->out, key, strlen(key));
    buffer_printf(p->out, ",\"size\":%llu,\"etag\":\"%s\"%s}", (unsigned long long)info->size, info->etag,
                  info->etag[0] ? "" : ",\"damaged\":true");
    snprintf(p->last, sizeof p->last, "%s", key);
    return p->out->failed ? VD_OUT_OF_MEMORY : VD_OK;
}

/* A query parameter, decoded, into `space`; false (with the answer set) when it is no text. Absent: empty. */
static bool parameter(request *r, const char *name, uint8_t space[VD_OBJECT_KEY_MAX_BYTES], bytes *out) {
    const char *raw = NULL;
    size_t size = 0;
    *out = bytes_of(space, 0);
    MHD_lookup_connection_value_n(r->connection, MHD_GET_ARGUMENT_KIND, name, strlen(name), &raw, &size);
    if (!raw) {
        return true;
    }
    uint8_t *decoded = malloc(size ? size : 1);
    bool fine = decoded && http_percent_decode(bytes_of(raw, size), decoded, &out->size) &&
                out->size <= VD_OBJECT_KEY_MAX_BYTES && (out->size == 0 || !memchr(decoded, 0, out->size)) &&
                utf8_valid(decoded, out->size);
    if (fine) {
        memcpy(space, decoded, out->size);
    } else {
        r->status = vd_fail(&r->err, VD_INVALID_ARGUMENT, name, "%s must be percent-encoded UTF-8 of at most %d bytes",
                            name, VD_OBJECT_KEY_MAX_BYTES);
    }
    free(decoded);
    return fine;
}

static bool page_size(request *r, size_t *out) {
    uint8_t space[VD_OBJECT_KEY_MAX_BYTES];
    bytes text;
    *out = VD_OBJECT_LIST_MAX;
    if (!parameter(r, "limit", space, &text) || text.size == 0) {
        return r->status == VD_OK;
    }
    size_t limit = 0;
    bool digits = text.size <= 5;
    for (size_t i = 0; digits && i < text.size; i++) {
        digits = text.data[i] >= '0' && text.data[i] <= '9';
        limit = limit * 10 + (size_t)(text.data[i] - '0');
    }
    if (!digits || limit < 1 || limit > VD_OBJECT_LIST_MAX) {
        r->status = vd_fail(&r->err, VD_INVALID_ARGUMENT, "limit", "limit must be from 1 to %d", VD_OBJECT_LIST_MAX);
        return false;
    }
    *out = limit;
    return true;
}

static void run_list(request *r) {
    objects *store = r->door->store;
    uint8_t prefix_space[VD_OBJECT_KEY_MAX_BYTES], cursor_space[VD_OBJECT_KEY_MAX_BYTES];
    bytes prefix, cursor;
    size_t limit;
    if (!parameter(r, "prefix", prefix_space, &prefix) || !parameter(r, "cursor", cursor_space, &cursor) ||
        !page_size(r, &limit)) {
        return;
    }
    page p = {.out = &r->out};
    bool more = false;
    buffer_put_str(&r->out, "{\"prefix\":");
    json_put_string(&r->out, prefix.data, prefix.size);
    buffer_put_str(&r->out, ",\"objects\":[");
    r->status = store->v->list(store, prefix, cursor, limit, put_object, &p, &more, &r->err);
    if (r->status) {
        return;
    }
    buffer_printf(&r->out, "],\"count\":%zu", p.count);
    if (more) {
        buffer_put_str(&r->out, ",\"cursor\":");
        json_put_string(&r->out, p.last, strlen(p.last));
    }
    buffer_put_str(&r->out, "}\n");
    r->content_type = "application/json";
}

void answer_run(request *r) {
    switch (r->match.verb) {
    case VERB_GET:
        run_get(r);
        break;
    case VERB_PUT:
        run_put(r);
        break;
    case VERB_DELETE:
        run_delete(r);
        break;
    case VERB_LIST:
        run_list(r);
        break;
    case VERB_HEALTH:
        r->content_type = "text/plain; charset=utf-8";
        buffer_put_str(&r->out, "ok\n");
        break;
    case VERB_METRICS:
    case VERBS:
        r->content_type = "text/plain; version=0.0.4; charset=utf-8";
        metrics_print(r->door->metrics, &r->out);
        break;
    }
    if (!r->status && r->out.failed) {
        r->status = vd_fail(&r->err, VD_OUT_OF_MEMORY, NULL, "out of memory for the answer");
    }
    if (r->status) {
        answer_error(r);
    } else {
        count(r);
    }
}

/* ---- queueing ---- */

/* What libmicrohttpd reads an object through; it outlives the request. */
typedef struct sender {
    door *door;
    objects_reader *reader;
    uint64_t offset, length;
} sender;

static ssize_t send_piece(void *cls, uint64_t position, char *data, size_t size) {
    sender *s = cls;
    if (position >= s->length) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    size_t part = s->length - position < size ? (size_t)(s->length - position) : size;
    vd_error err = {0};
    if (s->door->store->v->read(s->reader, s->offset + position, data, part, &err) != VD_OK) {
        log_event(LOG_ERROR, "an object could not be read to its end: its connection is cut", "error=%s", err.text);
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    metric_add(s->door->sent, part);
    return (ssize_t)part;
}

static void send_free(void *cls) {
    sender *s = cls;
    s->door->store->v->close_reader(s->reader);
    free(s);
}

static struct MHD_Response *make_response(request *r) {
    if (!r->reader) {
        return MHD_create_response_from_buffer(r->out.size, r->out.data, MHD_RESPMEM_PERSISTENT);
    }
    sender *s = malloc(sizeof *s);
    struct MHD_Response *response = NULL;
    if (s) {
        *s = (sender){r->door, r->reader, r->offset, r->length};
        response = MHD_create_response_from_callback(r->length, BLOCK_BYTES, send_piece, s, send_free);
    }
    if (!response) {
        r->door->store->v->close_reader(r->reader);
        free(s);
    }
    r->reader = NULL; /* the response's now, or closed */
    return response;
}

static void add_headers(request *r, struct MHD_Response *response) {
    char text[128];
    int status = request_http_status(r);
    if (r->content_type) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type);
    }
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (r->info.etag[0] && (!r->status || status == 412)) {
        snprintf(text, sizeof text, "\"%s\"", r->info.etag);
        MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, text);
    }
    if (r->match.found && r->match.verb == VERB_GET && !r->status) {
        MHD_add_response_header(response, "Accept-Ranges", "bytes");
    }
    if (status == 206 || status == 416) {
        if (status == 206) {
            snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)r->offset,
                     (unsigned long long)(r->offset + r->length - 1), (unsigned long long)r->info.size);
        } else {
            snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)r->info.size);
        }
        MHD_add_response_header(response, "Content-Range", text);
    }
    if (status == 503) {
        snprintf(text, sizeof text, "%u", r->err.retry_after_s ? r->err.retry_after_s : 1);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    if (r->status == VD_METHOD_NOT_ALLOWED && r->match.allow) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, r->match.allow);
    }
    if (r->close || atomic_load(&r->door->draining)) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
}

enum MHD_Result answer_queue(request *r) {
    uint64_t size = r->reader ? r->length : r->out.size;
    struct MHD_Response *response = make_response(r);
    if (!response) {
        return MHD_NO;
    }
    enum MHD_Result queued = MHD_NO;
    if (http_conn_enter(r->conn, CONN_REPLY, size)) {
        add_headers(r, response);
        queued = MHD_queue_response(r->connection, (unsigned)request_http_status(r), response);
    }
    MHD_destroy_response(response); /* the connection holds its own reference */
    return queued;
}
