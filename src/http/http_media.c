/* http_media.c - see http_media.h. */
#include "http/http_media.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool equal(bytes text, const char *wanted) {
    return text.size == strlen(wanted) && strncasecmp((const char *)text.data, wanted, text.size) == 0;
}

static bool has_prefix(bytes text, const char *front) {
    return text.size >= strlen(front) && strncasecmp((const char *)text.data, front, strlen(front)) == 0;
}

static bytes trim(const char *start, size_t size) {
    while (size && (*start == ' ' || *start == '\t')) {
        start++;
        size--;
    }
    while (size && (start[size - 1] == ' ' || start[size - 1] == '\t')) {
        size--;
    }
    return bytes_of(start, size);
}

static bool is_proto(bytes type) {
    return equal(type, "application/x-protobuf") || equal(type, "application/protobuf") ||
           equal(type, "application/proto") || equal(type, "application/vnd.google.protobuf");
}

static bool is_refused(bytes type) {
    static const char *const fronts[] = {"multipart/", "image/",           "audio/",   "video/",
                                         "font/",      "application/grpc", "text/html"};
    static const char *const whole[] = {"application/msgpack",     "application/x-msgpack",
                                        "application/vnd.msgpack", "application/cbor",
                                        "application/xml",         "text/xml",
                                        "application/zip",         "application/gzip",
                                        "application/x-ndjson",    "text/csv",
                                        "application/yaml",        "text/yaml"};
    for (size_t i = 0; i < sizeof fronts / sizeof fronts[0]; i++) {
        if (has_prefix(type, fronts[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        if (equal(type, whole[i])) {
            return true;
        }
    }
    return false;
}

/* The "q" among the parameters behind `at`, in thousandths; 1000 when there is none. */
static unsigned quality(const char *at, size_t size) {
    for (size_t i = 0; i + 2 < size; i++) {
        bool begins = i == 0 || at[i - 1] == ';' || at[i - 1] == ' ';
        if (begins && (at[i] == 'q' || at[i] == 'Q') && at[i + 1] == '=') {
            unsigned q = at[i + 2] == '1' ? 1000 : 0;
            unsigned unit = 100;
            for (size_t d = i + 4; i + 3 < size && at[i + 3] == '.' && d < size && unit; d++, unit /= 10) {
                if (at[d] < '0' || at[d] > '9') {
                    break;
                }
                q += (unsigned)(at[d] - '0') * unit;
            }
            return q > 1000 ? 1000 : q;
        }
    }
    return 1000;
}

void http_media_accept(const char *value, http_head *head) {
    unsigned json = 0;
    unsigned proto = 0;
    bool proto_first = false;
    while (*value) {
        size_t size = strcspn(value, ",");
        const char *semicolon = memchr(value, ';', size);
        size_t type_size = semicolon ? (size_t)(semicolon - value) : size;
        bytes type = trim(value, type_size);
        unsigned q = semicolon ? quality(semicolon + 1, size - type_size - 1) : 1000;
        if (q == 0) {
            /* named to be refused */
        } else if (is_proto(type)) {
            proto = q > proto ? q : proto;
            proto_first = json == 0;
        } else if (equal(type, "application/json")) {
            json = q > json ? q : json;
        } else if (equal(type, "application/problem+json")) {
            head->accepts_problem = true;
        }
        value += size;
        value += *value == ',';
    }
    head->accepts_proto = proto > json || (proto && proto == json && proto_first);
    head->accepts_json = head->accepts_json || (json && !head->accepts_proto);
}

static bool charset_is_utf8(const char *parameters) {
    const char *at = strcasestr(parameters, "charset=");
    if (!at) {
        return true;
    }
    at += strlen("charset=");
    at += *at == '"';
    return strncasecmp(at, "utf-8", 5) == 0 || strncasecmp(at, "utf8", 4) == 0 || strncasecmp(at, "us-ascii", 8) == 0;
}

vd_status http_media_of_body(const http_head *head, http_media *out, vd_error *err) {
    *out = HTTP_MEDIA_JSON;
    if (head->content_encoding && strcasecmp(head->content_encoding, "identity") != 0) {
        return vd_fail(err, VD_UNSUPPORTED_MEDIA, "Content-Encoding",
                       "unsupported content encoding: send the body as it is");
    }
    if (!head->content_type) {
        return VD_OK;
    }
    size_t size = strcspn(head->content_type, ";");
    bytes type = trim(head->content_type, size);
    if (is_proto(type)) {
        *out = HTTP_MEDIA_PROTO;
        return VD_OK;
    }
    if (is_refused(type) || !charset_is_utf8(head->content_type + size)) {
        return vd_fail(err, VD_UNSUPPORTED_MEDIA, "Content-Type",
                       "unsupported content type: send application/json in UTF-8, or application/x-protobuf");
    }
    return VD_OK;
}

http_media http_media_of_reply(const http_head *head) {
    if (head->accepts_proto) {
        return HTTP_MEDIA_PROTO;
    }
    if (head->accepts_json || !head->content_type) {
        return HTTP_MEDIA_JSON;
    }
    return is_proto(trim(head->content_type, strcspn(head->content_type, ";"))) ? HTTP_MEDIA_PROTO : HTTP_MEDIA_JSON;
}
