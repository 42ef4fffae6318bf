/*
 * http_head.c - see http_head.h. The NUL, folding and bare-LF checks need no copy of the raw bytes: libmicrohttpd parses in
 * place and ends each line with two zero bytes where CR LF stood, so in a clean head every name begins exactly two bytes
 * behind the value before it, and the sum is the size of the head. Anything else moved or hid bytes.
 */
#include "http/http_head.h"

#include <string.h>
#include <strings.h>

#include "http/http_media.h"

typedef struct walk {
    http_head *head;
    const char *expected; /* where the next name must begin */
    unsigned hosts, lengths, encodings, origins, ranges, matches, none_matches;
} walk;

static bool is_token(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!plain && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c))) {
            return false;
        }
    }
    return size > 0;
}

static void fault(http_head *head, const char *text) {
    if (!head->fault) {
        head->fault = text;
    }
}

static bool is(const char *name, size_t size, const char *wanted) {
    return size == strlen(wanted) && strncasecmp(name, wanted, size) == 0;
}

static void read_length(walk *w, const char *value) {
    uint64_t length = 0;
    size_t digits = 0;
    for (; value[digits] >= '0' && value[digits] <= '9' && digits < 19; digits++) {
        length = length * 10 + (uint64_t)(value[digits] - '0');
    }
    if (digits == 0 || value[digits] || w->lengths++) {
        fault(w->head, "bad Content-Length");
    }
    w->head->content_length = length;
    w->head->has_length = true;
}

static void read_condition(walk *w, const char *name, size_t size, const char *value) {
    http_head *head = w->head;
    if (is(name, size, "range")) {
        head->range = value;
        w->ranges++;
    } else if (is(name, size, "if-match")) {
        head->if_match = value;
        w->matches++;
    } else if (is(name, size, "if-range")) {
        head->if_range = value;
    } else if (is(name, size, "if-none-match")) {
        head->if_none_match = value;
        w->none_matches++;
    }
}

static void read_known(walk *w, const char *name, size_t size, const char *value) {
    http_head *head = w->head;
    switch (size) {
    case 4:
        if (is(name, size, "host")) {
            head->host = value;
            w->hosts++;
        }
        break;
    case 5:
    case 8:
    case 13:
        read_condition(w, name, size, value);
        break;
    case 6:
        if (is(name, size, "accept")) {
            http_media_accept(value, head);
        } else if (is(name, size, "origin")) {
            head->origin = value;
            w->origins++;
        } else if (is(name, size, "expect")) {
            head->expects_continue = strcasecmp(value, "100-continue") == 0;
        }
        break;
    case 12:
        if (is(name, size, "content-type")) {
            head->content_type = value;
        }
        break;
    case 14:
        if (is(name, size, "content-length")) {
            read_length(w, value);
        }
        break;
    case 15:
        if (is(name, size, "idempotency-key")) {
            head->idempotency_key = value;
        }
        break;
    case 16:
        if (is(name, size, "content-encoding")) {
            head->content_encoding = value;
        }
        break;
    case 17:
        if (is(name, size, "transfer-encoding")) {
            head->chunked = strcasecmp(value, "chunked") == 0;
            if (!head->chunked || w->encodings++) {
                fault(head, "bad Transfer-Encoding");
            }
        }
        break;
    default:
        break;
    }
}

static enum MHD_Result visit(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_size, const char *value,
                             size_t value_size) {
    walk *w = cls;
    (void)kind;
    if (name != w->expected || !is_token(name, name_size)) {
        fault(w->head, "malformed header");
        return MHD_NO;
    }
    if (!value) {
        value = name + name_size;
        value_size = 0;
    }
    for (size_t i = 0; i < value_size; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            fault(w->head, "control character in a header");
            return MHD_NO;
        }
    }
    w->expected = value + value_size + 2;
    read_known(w, name, name_size, value);
    return MHD_YES;
}

static bool request_line_is_clean(const char *method, bytes target, const char *version) {
    return target.size && is_token(method, strlen(method)) &&
           (const char *)target.data == method + strlen(method) + 1 &&
           version == (const char *)target.data + target.size + 1;
}

void http_head_read(struct MHD_Connection *connection, const char *method, bytes target, const char *version,
                    http_head *out) {
    *out = (http_head){0};
    if (!request_line_is_clean(method, target, version)) {
        out->fault = "malformed request line";
        return;
    }
    walk w = {.head = out, .expected = version + strlen(version) + 2};
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, visit, &w);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!info || (size_t)(w.expected + 2 - method) != info->header_size) {
        fault(out, "malformed header");
    }
    out->http_1_0 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
    if (w.hosts > 1) {
        fault(out, "more than one Host header");
    } else if (w.hosts == 0 && !out->http_1_0) {
        fault(out, "missing Host header");
    }
    if (w.origins > 1) {
        fault(out, "more than one Origin header");
    }
    out->repeated_condition = w.ranges > 1 || w.matches > 1 || w.none_matches > 1;
    if (out->chunked && (out->has_length || out->http_1_0)) {
        fault(out, "bad Transfer-Encoding");
    }
}
