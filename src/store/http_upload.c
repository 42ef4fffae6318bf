/*
 * http_upload.c - a body in pieces. libcurl asks for data when it wants some; between two pieces its transfer is paused, and the
 * next piece wakes it. push returns when libcurl has copied the piece, so the caller's buffer is free again and no more than
 * one piece and libcurl's own buffer are ever in memory.
 */
#include <stdlib.h>

#include "store/http_client_int.h"

struct http_upload {
    exchange *x;
    http_answer answer;
};

vd_status http_upload_begin(http_client *c, const http_call *call, http_upload **out, vd_error *err) {
    http_upload *u = calloc(1, sizeof *u);
    if (!u) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    http_answer_init(&u->answer);
    vd_status status;
    u->x = exchange_begin(c, call, true, &u->answer, &status, err);
    if (!u->x) {
        http_upload_free(u);
        return status;
    }
    *out = u;
    return VD_OK;
}

/* The store has spoken, or gone, before the end of the body. */
static vd_status ended_early(const http_upload *u, vd_error *err) {
    vd_status status = exchange_result(u->x, err);
    if (status == VD_OK) {
        char line[HTTP_ANSWER_LINE];
        http_answer_line(&u->answer, line);
        status = vd_fail(err, VD_UNAVAILABLE, NULL, "%s answers %d before the end: %s", http_client_url(u->x->client),
                         u->answer.status, line);
    }
    return status;
}

static vd_status resume(exchange *x, vd_error *err) {
    if (!x->paused) {
        return VD_OK;
    }
    x->paused = false;
    CURLcode code = curl_easy_pause(x->easy, CURLPAUSE_CONT);
    return code == CURLE_OK ? VD_OK : vd_fail(err, VD_UNAVAILABLE, NULL, "%s", curl_easy_strerror(code));
}

vd_status http_upload_push(http_upload *u, const void *data, size_t size, vd_error *err) {
    exchange *x = u->x;
    if (x->done) {
        return ended_early(u, err);
    }
    x->base += x->piece.size;
    x->piece = bytes_of(data, size);
    x->taken = 0;
    vd_status status = resume(x, err);
    if (status == VD_OK) {
        status = exchange_drive(x, err);
    }
    return status == VD_OK && x->done ? ended_early(u, err) : status;
}

vd_status http_upload_end(http_upload *u, vd_error *err) {
    exchange *x = u->x;
    x->base += x->piece.size;
    x->piece = (bytes){0};
    x->taken = 0;
    x->last_piece = true;
    vd_status status = x->done ? VD_OK : resume(x, err);
    if (status == VD_OK && !x->done) {
        status = exchange_drive(x, err);
    }
    return status == VD_OK ? exchange_result(x, err) : status;
}

const http_answer *http_upload_answer(const http_upload *u) {
    return &u->answer;
}

bool http_upload_uncertain(const http_upload *u) {
    return u->x->rewound;
}

void http_upload_free(http_upload *u) {
    if (u) {
        if (u->x) {
            exchange_end(u->x);
        }
        http_answer_fini(&u->answer);
        free(u);
    }
}
