/*
 * client_int.h - what the files of the C client share: the connection, and one call on it.
 *
 * A call is an NNG REQ context and an aio, kept in a free list, and runs through two phases: send, receive. Its handler runs
 * once, on an NNG thread. Synchronous calls are asynchronous ones with a handler that wakes the caller.
 */
#ifndef VECTORD_CLIENT_INT_H
#define VECTORD_CLIENT_INT_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "vectord/client.h"

#define CLIENT_METHOD(name)     "/vectord.v1.VectorService/" name
#define CLIENT_REQUEST_ID_BYTES 16
#define CLIENT_TOKEN_MAX_BYTES  8192
#define CLIENT_REPLY_MAX_BYTES  ((size_t)1 << 30) /* a thousand hits with the largest metadata */
#define CLIENT_URL_MAX_BYTES    255

typedef struct client_call client_call;

/* What came back. `payload` points into `msg`; a handler that sets msg to NULL takes it. */
typedef struct client_reply {
    nng_msg *msg;
    bytes payload;
} client_reply;

/* `err` is never NULL; `reply` is empty unless status is VD_OK. */
typedef void (*client_handler)(void *arg, vd_status status, client_reply *reply, const vd_error *err);

typedef struct client_request {
    const char *method;
    uint32_t timeout_ms; /* 0: the client's */
    bytes request_id;    /* size 0: none */
} client_request;

/* Threading: `mutex` guards everything below it; it is never held while NNG is called or a handler runs. */
struct vd_client {
    char url[CLIENT_URL_MAX_BYTES + 1];
    char *authorization; /* NULL: none */
    uint32_t timeout_ms;
    uint32_t connect_timeout_ms;
    nng_socket socket;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* monotonic clock: a pipe came or went, or handing is 0 after close */
    uint32_t pipes;
    bool closed;
    size_t handing;  /* threads that are giving a call to NNG; none begins to when closed is set */
    bool unanswered; /* a call on this connection ended without its reply, which may still come */
    client_call *idle;
    client_call *all; /* every call, by next_made; grows only while handing > 0 */
};

/*
 * The message of a call: the envelope without its payload, and room for `payload_bytes` at *payload for the caller to fill.
 * Returns owned (nng_msg_free, or given to client_call_start). TOO_LARGE, OUT_OF_MEMORY.
 */
vd_status client_envelope(const vd_client *client, const client_request *request, size_t payload_bytes, nng_msg **out,
                          uint8_t **payload, vd_error *err);

/* Takes `msg` in every case. On VD_OK the handler runs exactly once, else never. Does not block. */
vd_status client_call_start(vd_client *client, nng_msg *msg, uint32_t timeout_ms, client_handler handler, void *arg,
                            vd_error *err);
/* Takes `msg`. *reply is owned: nng_msg_free(reply->msg). */
vd_status client_call_wait(vd_client *client, nng_msg *msg, uint32_t timeout_ms, client_reply *reply, vd_error *err);
/* Sets closed, ends every call with CANCELLED and frees them all; their handlers have returned when this does. */
void client_calls_end(vd_client *client);

/* Reads an RpcResponse. VD_OK and *payload, or the server's error. */
vd_status client_decode_envelope(bytes body, bytes *payload, vd_error *err);

/* 16 random bytes. UNAVAILABLE when the system has none to give. */
vd_status client_request_id(uint8_t out[CLIENT_REQUEST_ID_BYTES], vd_error *err);

/* The bytes of a borrowed string; empty for NULL. */
static inline bytes client_text(const char *text) {
    return text ? bytes_str(text) : bytes_of(NULL, 0);
}

#endif
