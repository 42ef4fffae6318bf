/*
 * http_conn.c - absolute deadlines. libmicrohttpd's own timeout is an inactivity timer: a client that sends one byte a
 * minute holds its connection for ever. One thread looks at all connections once a second and ends those that took too
 * long for their head, send their body or read their reply slower than the door's least rate on average, or keep sending a
 * body that has been refused.
 *
 * A connection between two requests has no deadline but the idle one; the first byte of the next head is noticed by the
 * kernel's count of received bytes, since libmicrohttpd says nothing before the request line is whole.
 *
 * Threading: the mutex guards the list and keeps every fd on it open (a connection leaves the list before its socket is
 * closed). The phase is the one word that loop and watchdog both write: whoever sets it first wins.
 */
#include "http/http_conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http/http_target.h"
#include "vectord/limits.h"

#define TICK_MS 1000

struct http_watch {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    http_conn *head;
    unsigned next_lane;
    bool stopping;
    http_watch_options options;
};

typedef struct peer {
    uint64_t received; /* bytes ever; 0 when the kernel cannot tell */
    bool gone;         /* it has closed its side, and everything it sent was read */
} peer;

static peer ask(int fd) {
    /* tcpi_state is the first byte of the kernel's struct tcp_info and tcpi_bytes_received stands at offset 128
     * (linux/tcp.h, since 4.1; glibc's struct ends before it, and the two headers cannot be included together). */
    enum { OFFSET = 128 };
    union {
        uint64_t words[32];
        uint8_t bytes[256];
    } info = {0};
    socklen_t size = sizeof info;
    peer p = {0};
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        return p;
    }
    int unread = 0;
    p.gone = info.bytes[0] == TCP_CLOSE_WAIT && ioctl(fd, FIONREAD, &unread) == 0 && unread == 0;
    if (size >= OFFSET + 8) {
        p.received = info.words[OFFSET / 8];
    }
    return p;
}

static void cut(http_watch *w, http_conn *c, int phase, const char *answer) {
    if (!atomic_compare_exchange_strong(&c->phase, &phase, CONN_CUT)) {
        return; /* the loop moved on in this very moment */
    }
    if (answer) {
        ssize_t sent = send(c->fd, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent; /* a courtesy: it fits the socket's buffer or it does not */
    }
    shutdown(c->fd, SHUT_RDWR);
    if (answer && w->options.slow) {
        w->options.slow(w->options.arg);
    }
}

static const char request_timeout[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
                                      "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n\r\n"
                                      "request timeout\n";
static const char body_refused[] = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n"
                                   "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 15\r\n\r\n"
                                   "body too large\n";

/* True when a transfer of `size` bytes may have taken so long. */
static bool in_time(const http_watch *w, int64_t since_ms, int64_t now, uint64_t size) {
    return now - since_ms < VD_HTTP_GRACE_MS + (int64_t)(size / w->options.rate_min) * 1000;
}

/* Between two requests nothing is due but the idle limit, so the first byte of a head must be noticed. */
static void look_at_head(http_watch *w, http_conn *c, int64_t since, const peer *p, int64_t now) {
    uint32_t requests = atomic_load(&c->requests);
    if (requests == 0) {
        c->head_ms = since; /* a new connection is expected to speak */
    } else if (requests != c->seen_requests) {
        c->seen_requests = requests;
        c->seen_bytes = p->received;
        c->head_ms = 0;
    } else if (!c->head_ms && p->received != c->seen_bytes) {
        c->head_ms = now;
    }
    if (c->head_ms && now - c->head_ms >= VD_HTTP_HEAD_MS) {
        cut(w, c, CONN_HEAD, request_timeout);
    }
}

static void look(http_watch *w, http_conn *c, int64_t now) {
    int phase = atomic_load(&c->phase);
    int64_t since = atomic_load(&c->since_ms);
    uint64_t size = atomic_load(&c->bytes);
    if (phase == CONN_HEAD || phase == CONN_BODY || phase == CONN_DROP) {
        /* libmicrohttpd misses an end that arrives together with data, and would keep the request for the idle time.
         * Twice the same, a tick apart, so that it is not about to be processed. */
        peer p = ask(c->fd);
        if (p.gone && c->gone_ticks++ && c->gone_since_ms == since) {
            cut(w, c, phase, NULL);
            return;
        }
        c->gone_since_ms = since;
        if (!p.gone) {
            c->gone_ticks = 0;
        }
        if (phase == CONN_HEAD) {
            look_at_head(w, c, since, &p, now);
            return;
        }
    }
    if (phase == CONN_BODY && !in_time(w, since, now, size)) {
        cut(w, c, phase, request_timeout);
    } else if (phase == CONN_DROP && now - since >= VD_HTTP_DROP_MS) {
        cut(w, c, phase, body_refused);
    } else if (phase == CONN_REPLY && !in_time(w, since, now, size)) {
        cut(w, c, phase, NULL); /* what is in the socket's buffers counts as sent */
    }
}

static void *watch(void *arg) {
    http_watch *w = arg;
    pthread_mutex_lock(&w->mutex);
    while (!w->stopping) {
        if (!w->head) {
            pthread_cond_wait(&w->wake, &w->mutex);
            continue;
        }
        struct timespec until = clock_timespec(clock_now_ms() + TICK_MS);
        pthread_cond_timedwait(&w->wake, &w->mutex, &until);
        int64_t now = clock_now_ms();
        for (http_conn *c = w->head; c; c = c->next) {
            look(w, c, now);
        }
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

http_watch *http_watch_new(const http_watch_options *options) {
    http_watch *w = calloc(1, sizeof *w);
    if (!w) {
        return NULL;
    }
    w->options = *options;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&w->thread, NULL, watch, w) != 0) {
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->mutex);
        free(w);
        return NULL;
    }
    return w;
}

void http_watch_free(http_watch *w) {
    if (!w) {
        return;
    }
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

void http_conn_open(http_watch *w, struct MHD_Connection *connection, void **socket_context) {
    http_conn *c = calloc(1, sizeof *c);
    if (!c) {
        return; /* the handler closes a connection without a context */
    }
    c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    atomic_store(&c->phase, CONN_HEAD);
    atomic_store(&c->since_ms, clock_now_ms());
    *socket_context = c;
    pthread_mutex_lock(&w->mutex);
    c->lane = w->next_lane++;
    c->next = w->head;
    if (c->next) {
        c->next->previous = c;
    } else {
        pthread_cond_signal(&w->wake);
    }
    w->head = c;
    pthread_mutex_unlock(&w->mutex);
}

void http_conn_close(http_watch *w, void **socket_context) {
    http_conn *c = *socket_context;
    if (!c) {
        return;
    }
    pthread_mutex_lock(&w->mutex);
    if (c->previous) {
        c->previous->next = c->next;
    } else {
        w->head = c->next;
    }
    if (c->next) {
        c->next->previous = c->previous;
    }
    pthread_mutex_unlock(&w->mutex);
    free(c);
    *socket_context = NULL;
}

http_conn *http_conn_of(struct MHD_Connection *connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void *http_conn_target(void *cls, const char *target, struct MHD_Connection *connection) {
    (void)cls;
    http_conn *c = http_conn_of(connection);
    if (c) { /* an empty one is refused with the rest of the head */
        c->target = target && http_target_is_clean(target) ? bytes_str(target) : (bytes){0};
    }
    return NULL;
}

bool http_conn_enter(http_conn *conn, conn_phase phase, uint64_t size) {
    int before = atomic_load(&conn->phase);
    atomic_store(&conn->since_ms, clock_now_ms());
    atomic_store(&conn->bytes, size);
    do {
        if (before == CONN_CUT) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&conn->phase, &before, (int)phase));
    return true;
}

void http_conn_refuse_body(http_conn *conn) {
    ssize_t sent = send(conn->fd, body_refused, strlen(body_refused), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent; /* a courtesy, as in cut() */
}
