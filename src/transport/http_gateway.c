/*
 * http_gateway.c - starting and stopping the HTTP door. It makes its listening sockets itself (libmicrohttpd would hide
 * which address failed and why), starts one epoll loop per CPU, and an acceptor that serves all loops from all sockets.
 * Each loop is a daemon with one thread: libmicrohttpd's own pool of threads is documented not to go with connections
 * that are handed in, and loops of our own can be chosen by how many connections they have.
 *
 * Threading: `mutex` guards jobs and hurry. Stopping goes: end the acceptor and close the listening sockets, wait for the
 * requests in flight, refuse new jobs, wait for the last job (a suspended connection must not meet MHD_stop_daemon), then
 * end the loops. All of a gateway's callbacks run on threads that are joined before it is freed.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/http_library.h"
#include "http/http_listen.h"
#include "transport/http_int.h"

/* Connections of the gateway: the limit, or what the file descriptors allow beside the indexes' files. */
static unsigned connection_limit(void) {
    struct rlimit files;
    unsigned most = VD_HTTP_CONNECTIONS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
        uint64_t share = files.rlim_cur / 2;
        most = share < most ? (unsigned)share : most;
    }
    return most < 16 ? 16 : most;
}

/* The acceptor keeps the limit. libmicrohttpd's own must not be met: it closes what comes beyond, and it still counts a
 * connection when it has told of its end. */
static struct MHD_Daemon *start_daemon(http_loop *loop, unsigned connections) {
    http_gateway *g = loop->gateway;
    unsigned flags = MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_ERROR_LOG | MHD_USE_ITC;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_request_handle, g, MHD_OPTION_EXTERNAL_LOGGER, http_library_log,
        NULL, /* first, so that it hears of the rest */
        MHD_OPTION_NOTIFY_CONNECTION, http_loop_notify, loop, MHD_OPTION_NOTIFY_COMPLETED, http_request_completed, g,
        MHD_OPTION_URI_LOG_CALLBACK, http_conn_target, NULL, MHD_OPTION_UNESCAPE_CALLBACK, http_library_keep_escapes,
        NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)VD_HTTP_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)VD_HTTP_CONNECTION_BYTES, MHD_OPTION_END);
}

/* ---- start and stop ---- */

static void count_slow(void *arg) {
    call_stats_reject(arg, CALL_REJECT_SLOW);
}

static http_gateway *gateway_new(const transport_shared *shared, const http_options *options) {
    http_gateway *g = calloc(1, sizeof *g);
    if (!g) {
        return NULL;
    }
    g->shared = *shared;
    pthread_mutex_init(&g->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->idle, &attr);
    pthread_condattr_destroy(&attr);
    g->stats = call_stats_new(shared->metrics, CALL_DOOR_HTTP);
    g->routes = http_routes_new();
    g->guard = http_guard_new(options->cors_origins, options->cors_origin_count, options->any_host);
    g->scratches = scratch_pool_new();
    const http_watch_options watch = {.rate_min = VD_HTTP_RATE_MIN, .slow = count_slow, .arg = g->stats};
    g->watch = g->stats ? http_watch_new(&watch) : NULL;
    g->ports = calloc(options->bind_count ? options->bind_count : 1, sizeof *g->ports);
    if (!g->stats || !g->routes || !g->guard || !g->scratches || !g->watch || !g->ports) {
        http_gateway_stop(g, 0);
        return NULL;
    }
    return g;
}

static vd_status start_listening(http_gateway *g, const http_options *options, int *fds, vd_error *err) {
    /* All sockets first: the guard must know every address before the first request. */
    for (size_t i = 0; i < options->bind_count; i++) {
        struct sockaddr_storage address = {0};
        vd_status status = http_listen(options->binds[i], &address, &g->ports[i], &fds[i], err);
        if (status) {
            return status;
        }
        if (!http_guard_bound(g->guard, &address)) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        }
        g->port_count++;
    }
    return VD_OK;
}

static vd_status start_loops(http_gateway *g, unsigned count, unsigned connections, vd_error *err) {
    g->loops = aligned_alloc(_Alignof(http_loop), count * sizeof *g->loops);
    if (!g->loops) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    for (unsigned i = 0; i < count; i++) {
        g->loops[i] = (http_loop){.gateway = g};
        g->loops[i].daemon = start_daemon(&g->loops[i], 2 * connections);
        if (!g->loops[i].daemon) {
            return vd_fail(err, VD_INTERNAL, "bind", "cannot start event loop %u of %u of the HTTP server", i + 1,
                           count);
        }
        g->loop_count++;
    }
    return VD_OK;
}

static vd_status start_all(http_gateway *g, const http_options *options, int *fds, vd_error *err) {
    unsigned connections = connection_limit();
    vd_status status = start_listening(g, options, fds, err);
    if (!status) {
        status = start_loops(g, options->threads ? options->threads : executor_cpus(), connections, err);
    }
    if (status) {
        return status;
    }
    g->acceptor = http_acceptor_new(fds, g->port_count, g->loops, g->loop_count, connections);
    if (!g->acceptor) {
        return vd_fail(err, VD_INTERNAL, "bind", "cannot start accepting HTTP connections");
    }
    for (size_t i = 0; i < g->port_count; i++) {
        fds[i] = -1; /* the acceptor's now */
        log_event(LOG_INFO, "http listening", "address=%s port=%u", options->binds[i], g->ports[i]);
    }
    return VD_OK;
}

vd_status http_gateway_start(const transport_shared *shared, const http_options *options, http_gateway **out,
                             vd_error *err) {
    http_gateway *g = gateway_new(shared, options);
    int *fds = calloc(options->bind_count ? options->bind_count : 1, sizeof *fds);
    vd_status status;
    if (!g || !fds) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        goto out;
    }
    for (size_t i = 0; i < options->bind_count; i++) {
        fds[i] = -1;
    }
    status = start_all(g, options, fds, err);
    if (status) {
        for (size_t i = 0; i < options->bind_count; i++) {
            if (fds[i] >= 0) {
                close(fds[i]);
            }
        }
        goto out;
    }
    *out = g;
    g = NULL;
out:
    http_gateway_stop(g, 0);
    free(fds);
    return status;
}

uint16_t http_gateway_port(const http_gateway *g, size_t i) {
    return i < g->port_count ? g->ports[i] : 0;
}

bool http_gateway_take_job(http_gateway *g) {
    pthread_mutex_lock(&g->mutex);
    bool taken = !g->hurry;
    g->jobs += taken;
    pthread_mutex_unlock(&g->mutex);
    return taken;
}

void http_gateway_give_job(http_gateway *g) {
    pthread_mutex_lock(&g->mutex);
    if (--g->jobs == 0) {
        pthread_cond_broadcast(&g->idle); /* under the lock: behind it the gateway may be gone */
    }
    pthread_mutex_unlock(&g->mutex);
}

void http_gateway_request_done(http_gateway *g) {
    if (atomic_fetch_sub(&g->requests, 1) == 1 && atomic_load(&g->draining)) {
        pthread_mutex_lock(&g->mutex);
        pthread_cond_broadcast(&g->idle);
        pthread_mutex_unlock(&g->mutex);
    }
}

static void wait_for_requests_locked(http_gateway *g, int64_t until_ms) {
    struct timespec until = clock_timespec(until_ms);
    while (atomic_load(&g->requests) && pthread_cond_timedwait(&g->idle, &g->mutex, &until) == 0) {
    }
}

#define LAST_ANSWERS_MS 500 /* for the answers of jobs that ended with the drain */

void http_gateway_stop(http_gateway *g, int64_t drain_ms) {
    if (!g) {
        return;
    }
    atomic_store(&g->draining, true);
    http_acceptor_free(g->acceptor);
    pthread_mutex_lock(&g->mutex);
    wait_for_requests_locked(g, clock_now_ms() + drain_ms);
    g->hurry = true;
    while (g->jobs) {
        pthread_cond_wait(&g->idle, &g->mutex);
    }
    wait_for_requests_locked(g, clock_now_ms() + LAST_ANSWERS_MS);
    pthread_mutex_unlock(&g->mutex);
    for (size_t i = 0; i < g->loop_count; i++) {
        MHD_stop_daemon(g->loops[i].daemon);
    }
    http_watch_free(g->watch);
    free(g->loops);
    free(g->ports);
    scratch_pool_free(g->scratches);
    http_guard_free(g->guard);
    http_routes_free(g->routes);
    call_stats_free(g->stats);
    pthread_cond_destroy(&g->idle);
    pthread_mutex_destroy(&g->mutex);
    free(g);
}
