/*
 * main.c - wiring and the order of start and stop, nothing else.
 *
 * Start:  settings, log, thread pools, store, registry (begins to load), metrics, doors. The doors open at once; an index that
 *         is still loading answers 503 with Retry-After, and one log line says when all are there.
 * Stop:   SIGTERM, SIGINT or SIGHUP: doors finish what is in flight, jobs end, indexes are saved, exit code 0. A second
 *         signal ends the process where it stands; the journals lose nothing by it.
 *
 * Threading: signals are blocked before the first thread exists and taken by sigtimedwait in the main thread, so no code
 * runs in a signal handler.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/executor.h"
#include "base/log.h"
#include "base/metrics.h"
#include "config/announce.h"
#include "config/process.h"
#include "ops/ops.h"
#include "registry/registry.h"
#include "server/command.h"
#include "server/config.h"
#include "store/objstore.h"
#include "store/storaged.h"
#include "transport/transport.h"

enum { LOADING_POLL_MS = 50 };

typedef struct server {
    const config *config;
    executor_pool *pool;
    work_queue *queue;
    objstore *store;
    registry *registry;
    metrics *metrics;
    ops_context ops;
    transport_shared shared;
    http_gateway *http;
    nng_rep *rpc;
    announce_doors doors;
} server;

/* ---- start ---- */

static vd_status start_pools(server *s, vd_error *err) {
    const config *c = s->config;
    uint32_t workers = (uint32_t)c->workers;
    if (workers == 0) {
        workers = executor_cpus() * 4 < 16 ? 16 : executor_cpus() * 4;
    }
    if (executor_pool_new((uint32_t)c->threads, &s->pool) != VD_OK ||
        work_queue_new(workers, (uint32_t)c->queue, &s->queue) != VD_OK) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "cannot start the threads: %s", strerror(errno));
    }
    return VD_OK;
}

static vd_status start_store(server *s, vd_error *err) {
    const config *c = s->config;
    if (c->store_url[0]) {
        const objstore_http_options options = {.url = c->store_url, .prefix = c->store_prefix};
        return objstore_open_storaged(&options, &s->store, err);
    }
    return c->data_dir[0] ? objstore_open_dir(c->data_dir, NULL, &s->store, err) : VD_OK;
}

static vd_status start_registry(server *s, vd_error *err) {
    const config *c = s->config;
    vd_status opened = start_store(s, err);
    if (opened != VD_OK) {
        return opened;
    }
    const registry_options options = {
        .store = s->store,
        .executor = executor_pool_get(s->pool),
        .snapshot_min_bytes = c->snapshot_min_bytes,
        .snapshot_factor = c->snapshot_factor,
        .snapshot_idle_ms = (int64_t)c->snapshot_idle_ms,
    };
    vd_status status = registry_open(&options, &s->registry, err);
    if (status == VD_OK) {
        s->store = NULL; /* the registry's now */
    }
    return status;
}

static vd_status start_metrics(server *s, vd_error *err) {
    s->metrics = metrics_new();
    if (!s->metrics) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory for the metrics");
    }
    metrics_register_process(s->metrics, "vectord_build_info", VECTORD_VERSION);
    registry_register_metrics(s->registry, s->metrics);
    s->ops = (ops_context){.registry = s->registry, .version = VECTORD_VERSION, .started_ms = clock_now_ms()};
    s->shared = (transport_shared){.ops = &s->ops, .queue = s->queue, .metrics = s->metrics};
    return VD_OK;
}

/* "HOST:0" with the port the system chose. */
static void note_http_door(server *s, const char *bind, uint16_t port) {
    char *out = s->doors.http[s->doors.http_count++];
    const char *colon = strrchr(bind, ':');
    snprintf(out, sizeof s->doors.http[0], "%.*s:%u", (int)(colon - bind), bind, port);
}

static vd_status start_doors(server *s, vd_error *err) {
    const config *c = s->config;
    const char *binds[2 * VD_BINDS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < c->bind.count; i++) {
        binds[count++] = c->bind.items[i];
    }
    for (size_t i = 0; i < c->gateway_bind.count; i++) {
        binds[count++] = c->gateway_bind.items[i];
    }
    vd_status status = VD_OK;
    if (count > 0) {
        const http_options http = {.binds = binds,
                                   .bind_count = count,
                                   .cors_origins = c->cors_origins.items,
                                   .cors_origin_count = c->cors_origins.count,
                                   .threads = (uint32_t)c->gateway_threads,
                                   .any_host = c->exposed};
        status = http_gateway_start(&s->shared, &http, &s->http, err);
        for (size_t i = 0; i < count && status == VD_OK; i++) {
            note_http_door(s, binds[i], http_gateway_port(s->http, i));
        }
    }
    if (status == VD_OK && c->rpc_bind.count > 0) {
        const nng_options rpc = {
            .binds = c->rpc_bind.items, .bind_count = c->rpc_bind.count, .contexts = (uint32_t)c->rpc_contexts};
        status = nng_rep_start(&s->shared, &rpc, &s->rpc, err);
        for (size_t i = 0; i < c->rpc_bind.count && status == VD_OK; i++) {
            s->doors.rpc[s->doors.rpc_count++] = nng_rep_url(s->rpc, i);
        }
    }
    return status;
}

/* ---- stop: the reverse of start; whatever was not started is NULL ---- */

static void stop(server *s) {
    http_gateway_stop(s->http, (int64_t)s->config->drain_ms);
    nng_rep_stop(s->rpc, (int64_t)s->config->drain_ms);
    work_queue_free(s->queue);
    if (s->registry) {
        registry_close(s->registry);
    }
    objstore_close(s->store);
    metrics_free(s->metrics);
    executor_pool_free(s->pool);
}

static void log_ready(const server *s, int64_t since_ms) {
    registry_summary sum;
    registry_get_summary(s->registry, &sum);
    log_event(sum.quarantined ? LOG_WARN : LOG_INFO, "ready", "indexes=%u items=%llu quarantined=%u ms=%lld",
              sum.indexes, (unsigned long long)sum.items, sum.quarantined, (long long)(clock_now_ms() - since_ms));
}

/* Returns the signal that asked for the stop. Meanwhile says when loading has ended. */
static int serve(const server *s, const sigset_t *signals) {
    int64_t since_ms = clock_now_ms();
    bool loaded = false;
    for (;;) {
        if (!loaded && registry_wait_loaded(s->registry, LOADING_POLL_MS)) {
            loaded = true;
            log_ready(s, since_ms);
        }
        const struct timespec none = {0, 0};
        int signal = loaded ? sigwaitinfo(signals, NULL) : sigtimedwait(signals, NULL, &none);
        if (signal > 0) {
            return signal;
        }
    }
}

static int run(const config *c) {
    sigset_t signals;
    process_prepare(&signals);
    log_setup((log_level)c->log_level, (log_format)c->log_format);

    if (c->exposed) {
        log_event(
            LOG_WARN,
            "REACHABLE FROM OTHER MACHINES WITHOUT AUTHENTICATION: whoever reaches these addresses can read, change "
            "and delete everything (allow_insecure_bind)",
            NULL);
    }
    server s = {.config = c, .doors = {.program = "vectord"}};
    vd_error err = {0};
    int64_t began_ms = clock_now_ms();
    vd_status status = start_pools(&s, &err);
    if (status == VD_OK) {
        status = start_registry(&s, &err);
    }
    if (status == VD_OK) {
        status = start_metrics(&s, &err);
    }
    if (status == VD_OK) {
        status = start_doors(&s, &err);
    }
    if (status == VD_OK && c->port_file[0]) {
        status = announce_write_port_file(c->port_file, &s.doors, &err);
    }
    if (status != VD_OK) {
        log_event(LOG_ERROR, "cannot start", "%s", err.text);
        stop(&s);
        return COMMAND_EXIT_UNAVAILABLE;
    }
    announce_started(&s.doors, VECTORD_VERSION, c->store_url[0] ? c->store_url : c->data_dir,
                     isatty(STDERR_FILENO) != 0);

    int got = serve(&s, &signals);
    began_ms = clock_now_ms();
    log_event(LOG_INFO, "stopping", "signal=%s", sigabbrev_np(got));
    /* From here on a second signal has its default effect: the process ends at once. */
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    if (c->port_file[0]) {
        unlink(c->port_file);
    }
    stop(&s);
    log_event(LOG_INFO, "stopped", "ms=%lld", (long long)(clock_now_ms() - began_ms));
    return 0;
}

int main(int argc, char **argv) {
    return command_main(argc, argv, run);
}
