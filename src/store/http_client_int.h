/* http_client_int.h - one exchange on one connection; http_client.c and http_upload.c share it. */
#ifndef VECTORD_STORE_HTTP_CLIENT_INT_H
#define VECTORD_STORE_HTTP_CLIENT_INT_H

#include <curl/curl.h>

#include "store/http_client.h"

typedef struct exchange {
    http_client *client;
    struct exchange *next; /* of the idle ones, or of those in use */
    CURL *easy;
    CURLM *multi; /* keeps the connection from one exchange to the next */
    struct curl_slist *headers;
    http_answer *answer;
    size_t answer_max;
    bool too_large, no_memory;
    /* the body: `piece` is the part from `base` on */
    bytes piece;
    size_t taken; /* of the piece */
    uint64_t base;
    bool in_pieces, last_piece; /* more may come; no more comes */
    bool paused;
    bool rewound; /* libcurl has sent the body a second time by itself: the first may have had its effect */
    bool added;   /* to the multi handle */
    bool done;
    CURLcode result;
    int64_t deadline_ms;
    char error[CURL_ERROR_SIZE];
} exchange;

/* NULL with err filled: out of memory, or cancelled. */
exchange *exchange_begin(http_client *c, const http_call *call, bool in_pieces, http_answer *answer, vd_status *status,
                         vd_error *err);
/* Drives the transfer until it is done, or (in_pieces) the piece is taken and more is wanted. */
vd_status exchange_drive(exchange *x, vd_error *err);
/* After `done`: what the result means. OK: an answer is there. */
vd_status exchange_result(const exchange *x, vd_error *err);
/* Gives the connection back for the next one, or closes it when it is in the middle of something. */
void exchange_end(exchange *x);

#endif
