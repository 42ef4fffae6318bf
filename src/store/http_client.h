/*
 * http_client.h - HTTP to an object store, on libcurl: kept-alive connections, bounded answers, deadlines, and tries again
 * where trying again is harmless. Knows nothing of objects; storaged.c does (and S3 will).
 *
 * Threading: a client may be used by any number of threads; one upload belongs to one thread at a time.
 */
#ifndef VECTORD_STORE_HTTP_CLIENT_H
#define VECTORD_STORE_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "vectord/status.h"

typedef struct http_client http_client;

typedef struct http_client_options {
    const char *url; /* "http://127.0.0.1:3211": scheme and host, nothing behind. Copied */
    /* 0: VD_STORE_* of limits.h */
    int64_t connect_ms;
    int64_t stall_s;  /* a transfer that stands still for so long has failed */
    int64_t retry_ms; /* no new try begins later than this after the first */
    int64_t total_ms; /* one try, whatever it transfers */
} http_client_options;

/* Returns owned. INVALID_ARGUMENT, OUT_OF_MEMORY. */
vd_status http_client_new(const http_client_options *options, http_client **out, vd_error *err);
/* Every call and upload has ended before. NULL is fine. */
void http_client_free(http_client *c);
/* Ends everything that is under way, soon, with CANCELLED; what comes later too. */
void http_client_cancel(http_client *c);
const char *http_client_url(const http_client *c);

#define HTTP_CLIENT_HEADERS_MAX 3

typedef struct http_call {
    const char *method;                               /* GET, HEAD, PUT, DELETE */
    const char *target;                               /* "/storage/get/x", percent-encoded */
    const char *headers[HTTP_CLIENT_HEADERS_MAX + 1]; /* "If-None-Match: *"; NULL at the end */
    bytes body;                                       /* PUT */
    size_t answer_max;                                /* bytes of the answer's body; beyond: DATA_LOSS */
} http_call;

typedef struct http_answer {
    int status;             /* 0: none came */
    uint32_t retry_after_s; /* 0: not said */
    char etag[80];          /* without quotes; "": none, or none that we could have made */
    buffer body;
} http_answer;
void http_answer_init(http_answer *a);
void http_answer_fini(http_answer *a);
/* The first line of its body, for a person. */
#define HTTP_ANSWER_LINE 160u
void http_answer_line(const http_answer *a, char out[HTTP_ANSWER_LINE]);

/*
 * One call, tried again while the store does not answer or says that it is busy (408, 429, 500 and 502 to 504), with growing and
 * uneven pauses that are never shorter than its Retry-After. Only for what may be done twice. OK: an answer came; its status is the
 * caller's to judge. UNAVAILABLE: none came that says anything, with what the last try met. CANCELLED, OUT_OF_MEMORY, DATA_LOSS
 * (the answer is too large). *uncertain (may be NULL) is set when a try without an answer may have had its effect.
 */
vd_status http_client_call(http_client *c, const http_call *call, http_answer *out, bool *uncertain, vd_error *err);

/* ---- a PUT whose body comes in pieces and is never whole in memory ---- */
typedef struct http_upload http_upload;
/* Opens the connection; call->body is not used. */
vd_status http_upload_begin(http_client *c, const http_call *call, http_upload **out, vd_error *err);
/* Returns once the piece is taken. UNAVAILABLE also when the store has answered before the end: http_upload_answer has it. */
vd_status http_upload_push(http_upload *u, const void *data, size_t size, vd_error *err);
/* The end of the body; waits for the answer. */
vd_status http_upload_end(http_upload *u, vd_error *err);
/* What has been answered; its status is 0 when nothing has. */
const http_answer *http_upload_answer(const http_upload *u);
/* The body may have arrived, and had its effect, before the answer that came. */
bool http_upload_uncertain(const http_upload *u);
/* Frees; breaks the transfer off when it has not ended. NULL is fine. */
void http_upload_free(http_upload *u);

/* Is this a status after which the same may work? */
bool http_status_may_pass(int status);
/* Waits as the call above does before try number `tries` + 1 (1 is the first). false: the time is over, or cancelled. */
bool http_client_pause(http_client *c, int64_t began_ms, unsigned tries, uint32_t retry_after_s);

#endif
