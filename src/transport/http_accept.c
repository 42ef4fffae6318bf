/*
 * http_accept.c - who gets a new connection. Loops that listen themselves race for it: the one that wakes first takes a
 * whole burst, and a client that keeps ten connections then has them all on one CPU. So one thread accepts for the
 * whole gateway and hands each connection to the loop that has the fewest, in turns where that says nothing.
 *
 * When there is nothing to accept with (file descriptors, memory) or the limit is reached, connections wait in the
 * kernel's backlog and are tried again every RETRY_MS; poll() would report them at once and for ever.
 *
 * Relies on: listening sockets that do not block (http_gateway.c makes them), and http_loop_notify, which takes a
 * closed connection off its loop's count. Leaves to others: everything a connection does once it is open.
 *
 * Threading: the acceptor's fields are its thread's alone from start to join; `stop_fd` is written by whoever stops it.
 * The loops' `open` is atomic: this thread adds, the loops subtract.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "transport/http_int.h"

#define RETRY_MS     100
#define LOG_EVERY_MS 1000
#define BURST        64 /* from one address before the others and the stop are looked at again */

struct http_acceptor {
    pthread_t thread;
    int stop_fd;
    struct pollfd *polled; /* the stop, then the listening sockets */
    size_t listener_count;
    http_loop *loops;
    size_t loop_count;
    size_t turn; /* the loop to begin looking at */
    uint32_t limit;
    bool logged; /* at logged_ms */
    int64_t logged_ms;
};

typedef enum took { TOOK_ONE, TOOK_NONE, TOOK_REFUSED } took;

static bool at_limit(const http_acceptor *a) {
    uint64_t open = 0;
    for (size_t i = 0; i < a->loop_count; i++) {
        open += atomic_load(&a->loops[i].open);
    }
    return open >= a->limit;
}

static http_loop *choose(http_acceptor *a) {
    size_t best = a->turn;
    uint32_t fewest = atomic_load(&a->loops[best].open);
    for (size_t i = 1; i < a->loop_count; i++) {
        size_t at = (a->turn + i) % a->loop_count;
        uint32_t open = atomic_load(&a->loops[at].open);
        if (open < fewest) {
            fewest = open;
            best = at;
        }
    }
    a->turn = (best + 1) % a->loop_count;
    return &a->loops[best];
}

static void say_waiting(http_acceptor *a, const char *reason) {
    int64_t now = clock_now_ms();
    if (!a->logged || now - a->logged_ms >= LOG_EVERY_MS) {
        a->logged = true;
        a->logged_ms = now;
        log_event(LOG_WARN, "http connections wait", "reason=%s", reason);
    }
}

static took take_one(http_acceptor *a, int listener) {
    if (at_limit(a)) {
        say_waiting(a, "connection limit");
        return TOOK_REFUSED;
    }
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    int fd = accept4(listener, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        switch (errno) {
        case EAGAIN:
            return TOOK_NONE;
        case EINTR:
        case ECONNABORTED: /* the rest: errors of that one connection, as accept(2) has them */
        case EPROTO:
        case EPERM:
        case ENETDOWN:
        case ENETUNREACH:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENONET:
        case EOPNOTSUPP:
            return TOOK_ONE;
        default:
            say_waiting(a, strerror(errno)); /* EMFILE, ENFILE, ENOBUFS, ENOMEM, and never a loop on what is unknown */
            return TOOK_REFUSED;
        }
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    http_loop *loop = choose(a);
    /* Before it is handed over: it may be closed again before MHD_add_connection returns. One for which the loop has no
     * memory later is closed without a word and stays counted, which costs a place and nothing else. */
    atomic_fetch_add(&loop->open, 1);
    if (MHD_add_connection(loop->daemon, fd, (struct sockaddr *)&address, size) != MHD_YES) { /* closed by it */
        atomic_fetch_sub(&loop->open, 1);
        say_waiting(a, "out of memory");
        return TOOK_REFUSED;
    }
    return TOOK_ONE;
}

/* false when the rest has to wait. */
static bool take_burst(http_acceptor *a, int listener) {
    took result = TOOK_ONE;
    for (int i = 0; i < BURST && result == TOOK_ONE; i++) {
        result = take_one(a, listener);
    }
    return result != TOOK_REFUSED;
}

static void *accept_connections(void *arg) {
    http_acceptor *a = arg;
    bool wait = false;
    for (;;) {
        int ready = poll(a->polled, wait ? 1 : (nfds_t)a->listener_count + 1, wait ? RETRY_MS : -1);
        if (ready < 0) {
            wait = errno != EINTR; /* ENOMEM */
            continue;
        }
        if (a->polled[0].revents) {
            return NULL;
        }
        /* After a wait nothing is known of the sockets, so all are tried. */
        bool try_all = wait;
        wait = false;
        for (size_t i = 1; i <= a->listener_count; i++) {
            if ((try_all || a->polled[i].revents) && !take_burst(a, a->polled[i].fd)) {
                wait = true;
                break;
            }
        }
    }
}

void http_loop_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode code) {
    http_loop *loop = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        http_conn_open(loop->gateway->watch, connection, socket_context);
    } else {
        atomic_fetch_sub(&loop->open, 1);
        http_conn_close(loop->gateway->watch, socket_context);
    }
}

http_acceptor *http_acceptor_new(const int *listeners, size_t listener_count, http_loop *loops, size_t loop_count,
                                 uint32_t limit) {
    http_acceptor *a = calloc(1, sizeof *a);
    if (!a) {
        return NULL;
    }
    *a = (http_acceptor){.listener_count = listener_count, .loops = loops, .loop_count = loop_count, .limit = limit};
    a->polled = calloc(listener_count + 1, sizeof *a->polled);
    if (!a->polled) {
        goto no_polled;
    }
    a->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->stop_fd < 0) {
        goto no_stop_fd;
    }
    a->polled[0] = (struct pollfd){.fd = a->stop_fd, .events = POLLIN};
    for (size_t i = 0; i < listener_count; i++) {
        a->polled[i + 1] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
    }
    if (pthread_create(&a->thread, NULL, accept_connections, a) != 0) {
        goto no_thread;
    }
    return a;
no_thread:
    close(a->stop_fd);
no_stop_fd:
    free(a->polled);
no_polled:
    free(a);
    return NULL;
}

void http_acceptor_free(http_acceptor *a) {
    if (!a) {
        return;
    }
    eventfd_write(a->stop_fd, 1); /* cannot fail: the count is 0 */
    pthread_join(a->thread, NULL);
    for (size_t i = 1; i <= a->listener_count; i++) {
        close(a->polled[i].fd);
    }
    close(a->stop_fd);
    free(a->polled);
    free(a);
}
