/*
 * door.c - starting and stopping the HTTP door, and its figures.
 *
 * One thread per connection (libmicrohttpd's): nearly every request waits for the disk, a handful of vectords are the clients, and
 * a handler that may simply wait is easier to get right than one that hands over to workers. VD_OBJECT_CONNECTIONS_MAX bounds the
 * threads; the watchdog of http_conn.c bounds how long a connection may hold one.
 *
 * Threading: `mutex` guards the count of requests. Stopping goes: stop listening, wait for the requests in flight, cut what is left,
 * join the threads, join the watchdog.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/http_library.h"
#include "http/http_listen.h"
#include "storaged/door_int.h"

static const char *const verb_names[VERBS] = {"get", "put", "delete", "list", "health", "metrics"};

/* ---- figures ---- */

void door_count(door *d, verb v, int http_status, int64_t nanoseconds) {
    char labels[64];
    snprintf(labels, sizeof labels, "op=\"%s\",code=\"%d\"", verb_names[v], http_status);
    metric_add(metrics_counter(d->metrics, "storaged_requests_total", "Requests by operation and HTTP status.", labels),
               1);
    metric_observe_ns(d->durations[v], nanoseconds);
}

static void count_slow(void *arg) {
    door *d = arg;
    metric_add(d->rejected[REJECT_SLOW], 1);
}

static void show_puts(void *arg, metrics *m) {
    door *d = arg;
    metric_set(metrics_gauge(m, "storaged_puts_in_flight", "Puts between head and answer.", ""),
               (double)atomic_load(&d->puts));
}

static void make_metrics(door *d) {
    static const char *const reasons[REJECTS] = {
#define REASON(name, label) label,
        REJECT_MAP(REASON)
#undef REASON
    };
    char labels[64];
    for (int i = 0; i < VERBS; i++) {
        snprintf(labels, sizeof labels, "op=\"%s\"", verb_names[i]);
        d->durations[i] = metrics_histogram(d->metrics, "storaged_request_duration_seconds",
                                            "From the head of a request to its answer.", labels);
    }
    for (int i = 0; i < REJECTS; i++) {
        snprintf(labels, sizeof labels, "reason=\"%s\"", reasons[i]);
        d->rejected[i] = metrics_counter(d->metrics, "storaged_rejected_total",
                                         "Requests refused by their head or manners.", labels);
    }
    d->received = metrics_counter(d->metrics, "storaged_received_bytes_total", "Bytes of objects taken in.", "");
    d->sent = metrics_counter(d->metrics, "storaged_sent_bytes_total", "Bytes of objects given out.", "");
    metrics_on_print(d->metrics, show_puts, d);
}

/* ---- start and stop ---- */

static void notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                   enum MHD_ConnectionNotificationCode code) {
    door *d = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        http_conn_open(d->watch, connection, socket_context);
    } else {
        http_conn_close(d->watch, socket_context);
    }
}

static struct MHD_Daemon *start_daemon(door *d, int fd, unsigned connections) {
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG | MHD_USE_ITC;
    return MHD_start_daemon(flags, 0, NULL, NULL, request_handle, d, MHD_OPTION_EXTERNAL_LOGGER, http_library_log,
                            NULL, /* first, so that it hears of the rest */
                            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_CONNECTION, notify, d,
                            MHD_OPTION_NOTIFY_COMPLETED, request_completed, d, MHD_OPTION_URI_LOG_CALLBACK,
                            http_conn_target, NULL, MHD_OPTION_UNESCAPE_CALLBACK, http_library_keep_escapes, NULL,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_LIMIT, connections,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)VD_HTTP_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)VD_OBJECT_CONNECTION_BYTES, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
                            (size_t)(VD_OBJECT_CONNECTION_BYTES / 4), MHD_OPTION_END);
}

static vd_status open_address(door *d, const char *bind, int *fd, vd_error *err) {
    struct sockaddr_storage address = {0};
    vd_status status = http_listen(bind, &address, &d->ports[d->count], fd, err);
    if (status == VD_OK && !http_guard_bound(d->guard, &address)) {
        close(*fd);
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    return status;
}

/* All sockets first: the guard must know every address before the first request. */
static vd_status start_all(door *d, const door_options *options, int *fds, vd_error *err) {
    vd_status status = VD_OK;
    for (size_t i = 0; i < options->bind_count && status == VD_OK; i++) {
        status = open_address(d, options->binds[i], &fds[i], err);
        d->count += status == VD_OK;
    }
    size_t opened = d->count;
    d->count = 0;
    unsigned share = VD_OBJECT_CONNECTIONS_MAX / (unsigned)(opened ? opened : 1);
    for (size_t i = 0; i < opened; i++) {
        if (status == VD_OK) {
            d->daemons[i] = start_daemon(d, fds[i], share ? share : 1);
            if (!d->daemons[i]) {
                status = vd_fail(err, VD_INTERNAL, "bind", "cannot start the HTTP server on %s", options->binds[i]);
            }
        }
        if (status != VD_OK) {
            close(fds[i]);
        } else {
            d->count++;
            log_event(LOG_INFO, "http listening", "address=%s port=%u", options->binds[i], d->ports[i]);
        }
    }
    return status;
}

static door *door_new(objects *store, metrics *m, const door_options *options) {
    door *d = calloc(1, sizeof *d);
    if (!d) {
        return NULL;
    }
    d->store = store;
    d->metrics = m;
    pthread_mutex_init(&d->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->idle, &attr);
    pthread_condattr_destroy(&attr);
    const http_watch_options watch = {.rate_min = VD_OBJECT_RATE_MIN, .slow = count_slow, .arg = d};
    size_t count = options->bind_count ? options->bind_count : 1;
    d->guard = http_guard_new(NULL, 0, options->any_host);
    d->watch = http_watch_new(&watch);
    d->ports = calloc(count, sizeof *d->ports);
    d->daemons = calloc(count, sizeof(struct MHD_Daemon *));
    d->listeners = calloc(count, sizeof *d->listeners);
    if (!d->guard || !d->watch || !d->ports || !d->daemons || !d->listeners) {
        door_stop(d, 0);
        return NULL;
    }
    return d;
}

vd_status door_start(objects *store, metrics *m, const door_options *options, door **out, vd_error *err) {
    door *d = door_new(store, m, options);
    int *fds = calloc(options->bind_count ? options->bind_count : 1, sizeof *fds);
    vd_status status;
    if (!d || !fds) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    } else {
        make_metrics(d);
        status = start_all(d, options, fds, err);
    }
    free(fds);
    if (status != VD_OK) {
        door_stop(d, 0);
        return status;
    }
    *out = d;
    return VD_OK;
}

uint16_t door_port(const door *d, size_t i) {
    return i < d->count ? d->ports[i] : 0;
}

void door_stop(door *d, int64_t drain_ms) {
    if (!d) {
        return;
    }
    atomic_store(&d->draining, true);
    for (size_t i = 0; i < d->count; i++) {
        d->listeners[i] = MHD_quiesce_daemon(d->daemons[i]); /* ours again, though its thread may still look at it */
        if (d->listeners[i] >= 0) {
            shutdown(d->listeners[i], SHUT_RDWR); /* connections are refused from here on */
        }
    }
    struct timespec until = clock_timespec(clock_now_ms() + drain_ms);
    pthread_mutex_lock(&d->mutex);
    while (d->requests && pthread_cond_timedwait(&d->idle, &d->mutex, &until) == 0) {
    }
    pthread_mutex_unlock(&d->mutex);
    for (size_t i = 0; i < d->count; i++) {
        MHD_stop_daemon(d->daemons[i]); /* cuts what is left and joins its threads */
        if (d->listeners[i] >= 0) {
            close(d->listeners[i]);
        }
    }
    http_watch_free(d->watch);
    http_guard_free(d->guard);
    free(d->daemons);
    free(d->listeners);
    free(d->ports);
    pthread_cond_destroy(&d->idle);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}
