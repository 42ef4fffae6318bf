/*
 * load_nng.c - LOAD_LIB of load.h: a REQ socket and an aio per connection, everything in callbacks on NNG's own threads.
 *
 * Threading: a connection belongs to its callback. `mutex` guards the result and the counters; it is held for a few
 * instructions.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nng/nng.h>

#include <nng/protocol/reqrep0/req.h>

#include "load.h"

typedef struct run run;

typedef struct peer {
    run *run;
    nng_socket socket;
    nng_aio *aio;
    bool open, receiving;
    size_t request;
    int64_t began_ns;
} peer;

struct run {
    const load_options *o;
    load_result *r;
    peer *peers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t next, under_way;
    uint64_t answers;
    bool counting, stopping;
};

static void complain(run *t, const char *what) {
    pthread_mutex_lock(&t->mutex);
    if (!t->r->problem[0]) {
        snprintf(t->r->problem, sizeof t->r->problem, "%s", what);
    }
    t->stopping = true;
    pthread_mutex_unlock(&t->mutex);
}

static void retire(run *t) {
    pthread_mutex_lock(&t->mutex);
    t->under_way--;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

/* Sends the next request; false when there is none. */
static bool begin(peer *p) {
    run *t = p->run;
    bool once = t->o->seconds <= 0;
    pthread_mutex_lock(&t->mutex);
    bool stop = t->stopping || (once && t->next == t->o->request_count);
    if (!stop) {
        p->request = t->next++;
        if (!once && t->next == t->o->request_count) {
            t->next = 0;
        }
    }
    pthread_mutex_unlock(&t->mutex);
    const load_request *request = stop ? NULL : &t->o->requests[p->request];
    nng_msg *msg = NULL;
    if (stop || nng_msg_alloc(&msg, request->size - LOAD_NNG_HEAD) != 0) {
        return false;
    }
    memcpy(nng_msg_body(msg), request->data + LOAD_NNG_HEAD, request->size - LOAD_NNG_HEAD);
    p->receiving = false;
    p->began_ns = load_now_ns();
    nng_aio_set_msg(p->aio, msg);
    nng_send_aio(p->socket, p->aio);
    return true;
}

static void finish(peer *p, nng_msg *msg) {
    run *t = p->run;
    int64_t latency_ns = load_now_ns() - p->began_ns;
    const uint8_t *body = nng_msg_body(msg);
    size_t size = nng_msg_len(msg);
    bool fine = load_rpc_ok(body, size);
    pthread_mutex_lock(&t->mutex);
    if (!fine && !t->r->problem[0]) {
        snprintf(t->r->problem, sizeof t->r->problem, "refused: %.*s", size > 100 ? 100 : (int)size,
                 (const char *)body);
    }
    if (fine && t->o->check_every && t->answers % t->o->check_every == 0) {
        fine = t->o->check(t->o->check_arg, p->request, body, size);
    }
    t->answers++;
    if (t->counting) {
        load_count(t->r, latency_ns);
        t->r->errors += !fine;
    }
    pthread_mutex_unlock(&t->mutex);
    nng_msg_free(msg);
}

static void advance(void *arg) {
    peer *p = arg;
    int rv = nng_aio_result(p->aio);
    if (rv != 0) {
        if (!p->receiving) {
            nng_msg_free(nng_aio_get_msg(p->aio));
        }
        complain(p->run, nng_strerror(rv));
        retire(p->run);
        return;
    }
    if (!p->receiving) {
        p->receiving = true;
        nng_recv_aio(p->socket, p->aio);
        return;
    }
    finish(p, nng_aio_get_msg(p->aio));
    if (!begin(p)) {
        retire(p->run);
    }
}

static bool open_peer(run *t, peer *p) {
    char url[64];
    p->run = t;
    snprintf(url, sizeof url, "tcp://%s:%u", t->o->host, t->o->port);
    int rv = nng_req0_open(&p->socket);
    if (rv != 0) {
        complain(t, nng_strerror(rv));
        return false;
    }
    p->open = true;
    nng_socket_set_ms(p->socket, NNG_OPT_REQ_RESENDTIME, 600000);
    if ((rv = nng_dial(p->socket, url, NULL, 0)) != 0 || (rv = nng_aio_alloc(&p->aio, advance, p)) != 0) {
        complain(t, nng_strerror(rv));
        return false;
    }
    nng_aio_set_timeout(p->aio, 120000);
    return true;
}

static void set_counting(run *t, bool on, int64_t *began_ns) {
    if (t->o->mark) {
        t->o->mark(t->o->mark_arg, on);
    }
    pthread_mutex_lock(&t->mutex);
    t->counting = on;
    if (on) {
        *began_ns = load_now_ns();
    } else {
        t->r->seconds = (double)(load_now_ns() - *began_ns) / 1e9;
    }
    pthread_mutex_unlock(&t->mutex);
}

static void pause_for(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static void wait_idle(run *t) {
    pthread_mutex_lock(&t->mutex);
    while (t->under_way > 0) {
        pthread_cond_wait(&t->changed, &t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
}

static void drive(run *t) {
    bool once = t->o->seconds <= 0;
    int64_t began_ns = 0;
    if (once) {
        set_counting(t, true, &began_ns);
    }
    for (unsigned i = 0; i < t->o->connections; i++) {
        pthread_mutex_lock(&t->mutex);
        t->under_way++;
        pthread_mutex_unlock(&t->mutex);
        if (!begin(&t->peers[i])) {
            retire(t);
        }
    }
    if (!once) {
        pause_for(t->o->warmup_seconds);
        set_counting(t, true, &began_ns);
        pause_for(t->o->seconds);
        set_counting(t, false, &began_ns);
        pthread_mutex_lock(&t->mutex);
        t->stopping = true;
        pthread_mutex_unlock(&t->mutex);
        wait_idle(t);
        return;
    }
    wait_idle(t);
    set_counting(t, false, &began_ns);
}

bool load_run_library(const load_options *options, load_result *result) {
    memset(result, 0, sizeof *result);
    run t = {.o = options, .r = result, .peers = calloc(options->connections, sizeof(peer))};
    if (!t.peers) {
        return false;
    }
    pthread_mutex_init(&t.mutex, NULL);
    pthread_cond_init(&t.changed, NULL);
    bool fine = true;
    for (unsigned i = 0; fine && i < options->connections; i++) {
        fine = open_peer(&t, &t.peers[i]);
    }
    if (fine) {
        drive(&t);
    }
    for (unsigned i = 0; i < options->connections; i++) {
        if (t.peers[i].open) {
            nng_close(t.peers[i].socket);
        }
        if (t.peers[i].aio) {
            nng_aio_free(t.peers[i].aio);
        }
    }
    pthread_cond_destroy(&t.changed);
    pthread_mutex_destroy(&t.mutex);
    free(t.peers);
    return fine && (result->problem[0] == '\0' || result->requests > 0);
}
