/*
 * call.c - one call: a message goes out on an NNG context, its answer comes back on the same one.
 *
 * Time: the whole call has one deadline. While there is no connection, sending waits for at most the connect timeout, so that a
 * server that is gone is reported soon; a request that is under way when the connection breaks is sent again by NNG as soon as
 * there is a new one, within the deadline.
 *
 * Threading: call_step runs on NNG's threads, once per phase, never twice at a time for one call. A call belongs to it from the
 * first send until it is put back; client->mutex guards the lists and the counts. Whoever gives a call to NNG (sends, receives) does
 * so between hand_begin and hand_end, which is what lets close know that no call is on its way there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client_int.h"

struct client_call {
    vd_client *client;
    client_call *next; /* in the free list */
    client_call *next_made;
    nng_ctx context;
    nng_aio *aio;
    bool receiving;
    bool answered;
    bool connected; /* there was a connection when it began */
    int64_t deadline_ms;
    uint32_t timeout_ms;
    client_handler handler;
    void *arg;
};

static void call_step(void *arg);

static vd_status fail_closed(vd_error *err) {
    return vd_fail(err, VD_CANCELLED, NULL, "the client was closed");
}

/* False when the client is closed, and then there is nothing to end. */
static bool hand_begin(vd_client *client) {
    pthread_mutex_lock(&client->mutex);
    bool open = !client->closed;
    client->handing += open;
    pthread_mutex_unlock(&client->mutex);
    return open;
}

/* The client may be gone when it returns. */
static void hand_end(vd_client *client) {
    pthread_mutex_lock(&client->mutex);
    if (--client->handing == 0 && client->closed) {
        pthread_cond_broadcast(&client->changed);
    }
    pthread_mutex_unlock(&client->mutex);
}

static client_call *call_new(vd_client *client, vd_error *err) {
    client_call *call = calloc(1, sizeof *call);
    if (!call) {
        goto no_memory;
    }
    call->client = client;
    if (nng_aio_alloc(&call->aio, call_step, call) != 0) {
        goto free_call;
    }
    if (nng_ctx_open(&call->context, client->socket) != 0) { /* the socket is open: see client_calls_end */
        goto free_aio;
    }
    pthread_mutex_lock(&client->mutex);
    call->next_made = client->all;
    client->all = call;
    pthread_mutex_unlock(&client->mutex);
    return call;
free_aio:
    nng_aio_free(call->aio);
free_call:
    free(call);
no_memory:
    vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    return NULL;
}

/*
 * The calls end before the socket does, because only the end of the socket may hang (open.c). Each aio is stopped with its context
 * open: NNG's cancel functions use the context, and a time limit may be running out at this moment. For the same reason an aio is
 * freed, which waits for that, before its context is closed.
 */
void client_calls_end(vd_client *client) {
    pthread_mutex_lock(&client->mutex);
    client->closed = true;
    while (client->handing > 0) {
        pthread_cond_wait(&client->changed, &client->mutex);
    }
    pthread_mutex_unlock(&client->mutex);
    /* From here on nobody gives NNG a call, so a stopped aio never swallows one: what was under way ends with NNG_ECANCELED. */
    for (client_call *call = client->all; call; call = call->next_made) {
        nng_aio_stop(call->aio); /* returns when its handler has */
    }
    while (client->all) {
        client_call *call = client->all;
        client->all = call->next_made;
        nng_aio_free(call->aio);
        nng_ctx_close(call->context);
        free(call);
    }
    client->idle = NULL;
}

static void call_put_back(client_call *call) {
    vd_client *client = call->client;
    pthread_mutex_lock(&client->mutex);
    call->next = client->idle;
    client->idle = call;
    client->unanswered |= call->receiving && !call->answered;
    pthread_mutex_unlock(&client->mutex);
}

static bool is_connected(vd_client *client) {
    pthread_mutex_lock(&client->mutex);
    bool connected = client->pipes > 0;
    pthread_mutex_unlock(&client->mutex);
    return connected;
}

/* The status and sentence for what NNG says went wrong. */
static vd_status fail_transport(const client_call *call, int rv, vd_error *err) {
    vd_client *client = call->client;
    const char *url = client->url;
    switch (rv) {
    case NNG_ETIMEDOUT:
        if (!call->receiving && !call->connected) {
            return vd_fail(err, VD_UNAVAILABLE, NULL, "no connection to %s: the server is gone or was stopped", url);
        }
        if (!is_connected(client)) {
            return vd_fail(
                err, VD_UNAVAILABLE, NULL,
                "the connection to %s was lost and did not come back within %u ms; a write may or may not have "
                "been carried out",
                url, call->timeout_ms);
        }
        return vd_fail(err, VD_DEADLINE_EXCEEDED, NULL, "no answer from %s within %u ms", url, call->timeout_ms);
    case NNG_ECLOSED:
    case NNG_ECANCELED:
        return fail_closed(err);
    case NNG_ENOMEM:
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    default:
        return vd_fail(err, VD_UNAVAILABLE, NULL, "%s: %s", url, nng_strerror(rv));
    }
}

static void call_finish(client_call *call, vd_status status, client_reply *reply, const vd_error *err) {
    call->handler(call->arg, status, reply, err);
    if (reply->msg) {
        nng_msg_free(reply->msg);
    }
    call_put_back(call);
}

static void call_step(void *arg) {
    client_call *call = arg;
    vd_client *client = call->client;
    client_reply reply = {NULL, {NULL, 0}};
    vd_error err;
    int rv = nng_aio_result(call->aio);
    if (rv != 0) {
        if (!call->receiving) {
            nng_msg_free(nng_aio_get_msg(call->aio));
        }
        nng_aio_set_msg(call->aio, NULL);
        vd_status status = fail_transport(call, rv, &err);
        call_finish(call, status, &reply, &err);
        return;
    }
    if (!call->receiving) {
        call->receiving = true;
        nng_aio_set_msg(call->aio, NULL);
        if (!hand_begin(client)) {
            vd_status status = fail_closed(&err);
            call_finish(call, status, &reply, &err);
            return;
        }
        int64_t left_ms = call->deadline_ms - clock_now_ms();
        nng_aio_set_timeout(call->aio, left_ms > 1 ? (nng_duration)left_ms : 1);
        nng_ctx_recv(call->context, call->aio);
        hand_end(client);
        return;
    }
    call->answered = true;
    reply.msg = nng_aio_get_msg(call->aio);
    nng_aio_set_msg(call->aio, NULL);
    vd_status status =
        client_decode_envelope(bytes_of(nng_msg_body(reply.msg), nng_msg_len(reply.msg)), &reply.payload, &err);
    if (status != VD_OK) {
        nng_msg_free(reply.msg);
        reply.msg = NULL;
    }
    call_finish(call, status, &reply, &err);
}

vd_status client_call_start(vd_client *client, nng_msg *msg, uint32_t timeout_ms, client_handler handler, void *arg,
                            vd_error *err) {
    if (!hand_begin(client)) {
        nng_msg_free(msg);
        return fail_closed(err);
    }
    pthread_mutex_lock(&client->mutex);
    client_call *call = client->idle;
    if (call) {
        client->idle = call->next;
    }
    bool connected = client->pipes > 0;
    pthread_mutex_unlock(&client->mutex);
    if (!call && !(call = call_new(client, err))) {
        nng_msg_free(msg);
        hand_end(client);
        return VD_OUT_OF_MEMORY;
    }
    call->timeout_ms = timeout_ms ? timeout_ms : client->timeout_ms;
    call->deadline_ms = clock_now_ms() + call->timeout_ms;
    call->receiving = false;
    call->answered = false;
    call->connected = connected;
    call->handler = handler;
    call->arg = arg;
    uint32_t send_ms = call->timeout_ms;
    if (!connected && client->connect_timeout_ms < send_ms) {
        send_ms = client->connect_timeout_ms;
    }
    nng_aio_set_timeout(call->aio, (nng_duration)send_ms);
    nng_aio_set_msg(call->aio, msg);
    nng_ctx_send(call->context, call->aio); /* from here on the call belongs to call_step */
    hand_end(client);
    return VD_OK;
}

/* ---- waiting for one ---- */

typedef struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t done_changed;
    bool done;
    vd_status status;
    client_reply reply;
    vd_error err;
} waiter;

static void wake(void *arg, vd_status status, client_reply *reply, const vd_error *err) {
    waiter *w = arg;
    pthread_mutex_lock(&w->mutex);
    w->status = status;
    if (status == VD_OK) {
        w->reply = *reply;
        reply->msg = NULL; /* the waiter's now */
    } else {
        w->err = *err;
    }
    w->done = true;
    /* Signalled under the lock: the waiter's stack may be gone the moment it is released. */
    pthread_cond_signal(&w->done_changed);
    pthread_mutex_unlock(&w->mutex);
}

vd_status client_call_wait(vd_client *client, nng_msg *msg, uint32_t timeout_ms, client_reply *reply, vd_error *err) {
    waiter w = {.done = false};
    pthread_mutex_init(&w.mutex, NULL);
    pthread_cond_init(&w.done_changed, NULL);
    vd_status status = client_call_start(client, msg, timeout_ms, wake, &w, err);
    if (status != VD_OK) {
        goto out;
    }
    pthread_mutex_lock(&w.mutex);
    while (!w.done) {
        pthread_cond_wait(&w.done_changed, &w.mutex);
    }
    pthread_mutex_unlock(&w.mutex);
    status = w.status;
    if (status == VD_OK) {
        *reply = w.reply;
    } else if (err) {
        *err = w.err;
    }
out:
    pthread_cond_destroy(&w.done_changed);
    pthread_mutex_destroy(&w.mutex);
    return status;
}
