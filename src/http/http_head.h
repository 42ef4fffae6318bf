/*
 * http_head.h - one strict pass over the head of a request that libmicrohttpd has parsed leniently.
 *
 * libmicrohttpd 0.9.75 takes two different Content-Length headers (the first counts), a NUL inside a value (the value ends
 * there), a space before the colon (the name then has it), folded and bare-LF lines, and any bytes as a method. Each of
 * those is a way to make two parsers disagree about one request, so each is refused here with 400 and a closed connection.
 */
#ifndef VECTORD_HTTP_HTTP_HEAD_H
#define VECTORD_HTTP_HTTP_HEAD_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

typedef struct http_head {
    const char *fault; /* constant text; NULL: well formed */
    /* Values point into the connection's memory: valid until the request has been answered. NULL: no such header. */
    const char *host, *origin, *content_type, *content_encoding, *idempotency_key;
    const char *if_match, *if_none_match, *if_range, *range;
    uint64_t content_length;
    bool has_length, chunked;
    bool repeated_condition; /* more than one Range, If-Match or If-None-Match: the last one is what stands here */
    bool expects_continue;
    bool http_1_0;
    bool accepts_proto;   /* rather than JSON */
    bool accepts_json;    /* named, so that the request's own type does not decide */
    bool accepts_problem; /* application/problem+json for errors */
} http_head;

/* `target` is where the request target stood, and how long it was, before anything was cut off. */
void http_head_read(struct MHD_Connection *connection, const char *method, bytes target, const char *version,
                    http_head *out);

#endif
