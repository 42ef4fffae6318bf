/*
 * peer.h - the other end of the wire, for tests of the client: a REP socket that answers as it is told, also in ways no server
 * would.
 *
 * Threading: one thread serves; what it has seen is copied out under a mutex. Asserts stay on the main thread.
 */
#ifndef VECTORD_TESTS_UNIT_CLIENT_PEER_H
#define VECTORD_TESTS_UNIT_CLIENT_PEER_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vectord/v1/vectord.pb-c.h"

enum { PEER_SEEN_MAX = 64 };

typedef struct peer_seen {
    char method[64];
    uint8_t request_id[64];
    size_t request_id_size;
    uint32_t timeout_ms;
    char authorization[64];
    size_t payload_size;
    size_t items;        /* of an AddItems */
    char first_item[64]; /* its id */
} peer_seen;

typedef enum peer_action {
    PEER_ANSWER, /* *reply */
    PEER_BYTES,  /* raw bytes instead of an RpcResponse */
    PEER_DROP,   /* close the connection */
    PEER_IGNORE  /* never answer */
} peer_action;

typedef struct peer peer;
/* Runs on the peer's thread for each request; `count` is how many came before. Payloads of *reply are packed by peer_pack. */
typedef peer_action (*peer_handler)(peer *p, size_t count, const Vectord__V1__RpcRequest *request,
                                    Vectord__V1__RpcResponse *reply);

struct peer {
    nng_socket socket;
    char url[64];
    pthread_t thread;
    peer_handler handler;
    void *arg;
    uint8_t packed[4096]; /* room for peer_pack and for PEER_BYTES */
    size_t packed_size;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    peer_seen seen[PEER_SEEN_MAX];
    size_t count;
    size_t pipes;
};

bool peer_start(peer *p, peer_handler handler, void *arg);
void peer_stop(peer *p);
/* Waits until the client's connection has gone. Closing a socket in libnng 1.5.2 at the very moment when a connection of it
 * breaks can hang (nng_close waits for a pipe whose reaper waits for a task): close one after the other. */
bool peer_wait_alone(peer *p);
/* Makes `message` the payload of the reply (at most 4096 bytes). */
void peer_pack(peer *p, const ProtobufCMessage *message, Vectord__V1__RpcResponse *reply);
/* Waits until `count` requests have come; false after 10 s. */
bool peer_wait(peer *p, size_t count);
peer_seen peer_get(peer *p, size_t i);

#endif
