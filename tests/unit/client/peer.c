/* peer.c - see peer.h. */
#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <nng/protocol/reqrep0/rep.h>

static void copy_text(char *out, size_t size, ProtobufCBinaryData text) {
    size_t length = text.len < size ? text.len : size - 1;
    if (length > 0) {
        memcpy(out, text.data, length);
    }
    out[length] = '\0';
}

static void note(peer *p, const Vectord__V1__RpcRequest *request) {
    peer_seen seen = {.timeout_ms = request->timeout_ms, .payload_size = request->payload.len};
    copy_text(seen.method, sizeof seen.method, request->method);
    seen.request_id_size = request->request_id.len < 64 ? request->request_id.len : 64;
    if (seen.request_id_size > 0) {
        memcpy(seen.request_id, request->request_id.data, seen.request_id_size);
    }
    if (request->n_metadata > 0) {
        copy_text(seen.authorization, sizeof seen.authorization, request->metadata[0]->value);
    }
    if (strcmp(seen.method, "/vectord.v1.VectorService/AddItems") == 0) {
        Vectord__V1__AddItemsRequest *add =
            vectord__v1__add_items_request__unpack(NULL, request->payload.len, request->payload.data);
        if (add) {
            seen.items = add->n_items;
            copy_text(seen.first_item, sizeof seen.first_item, add->items[0]->id);
            vectord__v1__add_items_request__free_unpacked(add, NULL);
        }
    }
    pthread_mutex_lock(&p->mutex);
    if (p->count < PEER_SEEN_MAX) {
        p->seen[p->count++] = seen;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

static void respond(peer *p, nng_msg *msg, peer_action action, const Vectord__V1__RpcResponse *reply) {
    if (action == PEER_DROP) {
        nng_pipe_close(nng_msg_get_pipe(msg));
    }
    if (action == PEER_DROP || action == PEER_IGNORE) {
        nng_msg_free(msg);
        return;
    }
    nng_msg_clear(msg);
    if (action == PEER_BYTES) {
        nng_msg_append(msg, p->packed, p->packed_size);
    } else {
        size_t size = vectord__v1__rpc_response__get_packed_size(reply);
        nng_msg_realloc(msg, size);
        vectord__v1__rpc_response__pack(reply, nng_msg_body(msg));
    }
    if (nng_sendmsg(p->socket, msg, 0) != 0) {
        nng_msg_free(msg);
    }
}

static void *serve(void *arg) {
    peer *p = arg;
    nng_msg *msg = NULL;
    for (size_t count = 0; nng_recvmsg(p->socket, &msg, 0) == 0; count++) {
        Vectord__V1__RpcRequest *request = vectord__v1__rpc_request__unpack(NULL, nng_msg_len(msg), nng_msg_body(msg));
        Vectord__V1__RpcResponse reply = VECTORD__V1__RPC_RESPONSE__INIT;
        peer_action action = PEER_DROP;
        if (request) {
            note(p, request);
            action = p->handler(p, count, request, &reply);
            vectord__v1__rpc_request__free_unpacked(request, NULL);
        }
        respond(p, msg, action, &reply);
    }
    return NULL;
}

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg) {
    peer *p = arg;
    (void)pipe;
    pthread_mutex_lock(&p->mutex);
    if (event == NNG_PIPE_EV_ADD_POST) {
        p->pipes++;
    } else {
        p->pipes--;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

bool peer_start(peer *p, peer_handler handler, void *arg) {
    memset(p, 0, sizeof *p);
    p->handler = handler;
    p->arg = arg;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    nng_listener listener;
    int port = 0;
    if (nng_rep0_open(&p->socket) != 0 || nng_pipe_notify(p->socket, NNG_PIPE_EV_ADD_POST, pipe_changed, p) != 0 ||
        nng_pipe_notify(p->socket, NNG_PIPE_EV_REM_POST, pipe_changed, p) != 0 ||
        nng_listen(p->socket, "tcp://127.0.0.1:0", &listener, 0) != 0 ||
        nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) != 0) {
        return false;
    }
    snprintf(p->url, sizeof p->url, "tcp://127.0.0.1:%d", port);
    return pthread_create(&p->thread, NULL, serve, p) == 0;
}

void peer_stop(peer *p) {
    nng_close(p->socket);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
}

void peer_pack(peer *p, const ProtobufCMessage *message, Vectord__V1__RpcResponse *reply) {
    p->packed_size = protobuf_c_message_get_packed_size(message);
    if (p->packed_size <= sizeof p->packed) {
        protobuf_c_message_pack(message, p->packed);
        reply->payload = (ProtobufCBinaryData){p->packed_size, p->packed};
    }
}

static bool wait_until(peer *p, bool (*there)(const peer *p, size_t n), size_t n) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    int rc = 0;
    pthread_mutex_lock(&p->mutex);
    while (!there(p, n) && rc == 0) {
        rc = pthread_cond_timedwait(&p->changed, &p->mutex, &until);
    }
    bool fine = there(p, n);
    pthread_mutex_unlock(&p->mutex);
    return fine;
}

static bool has_seen(const peer *p, size_t n) {
    return p->count >= n;
}

static bool has_pipes(const peer *p, size_t n) {
    return p->pipes == n;
}

bool peer_wait(peer *p, size_t count) {
    return wait_until(p, has_seen, count);
}

bool peer_wait_alone(peer *p) {
    return wait_until(p, has_pipes, 0);
}

peer_seen peer_get(peer *p, size_t i) {
    pthread_mutex_lock(&p->mutex);
    peer_seen seen = p->seen[i];
    pthread_mutex_unlock(&p->mutex);
    return seen;
}
