/* real_doors.c - see real_doors.h. The order of start and stop is the server's. */
#include "integration/real_doors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/objstore.h"

static bool open_all(real_doors *d, vd_error *err) {
    objstore *store = NULL;
    if (executor_pool_new(2, &d->pool) != VD_OK || work_queue_new(4, 256, &d->queue) != VD_OK) {
        return false;
    }
    if (d->folder[0] && objstore_open_dir(d->folder, NULL, &store, err) != VD_OK) {
        return false;
    }
    registry_options options = {.store = store, .executor = executor_pool_get(d->pool)};
    if (registry_open(&options, &d->registry, err) != VD_OK) {
        objstore_close(store);
        return false;
    }
    registry_wait_loaded(d->registry, -1);
    d->metrics = metrics_new();
    registry_register_metrics(d->registry, d->metrics);
    d->ops = (ops_context){.registry = d->registry, .version = "test", .started_ms = clock_now_ms()};
    d->shared = (transport_shared){.ops = &d->ops, .queue = d->queue, .metrics = d->metrics};
    static const char *const http_binds[] = {"127.0.0.1:0"};
    static const char *const nng_binds[] = {"tcp://127.0.0.1:0"};
    http_options http = {.binds = http_binds, .bind_count = 1, .threads = 2};
    nng_options nng = {.binds = nng_binds, .bind_count = 1};
    if (http_gateway_start(&d->shared, &http, &d->http, err) != VD_OK ||
        nng_rep_start(&d->shared, &nng, &d->nng, err) != VD_OK) {
        return false;
    }
    d->port = http_gateway_port(d->http, 0);
    return true;
}

static void close_all(real_doors *d) {
    http_gateway_stop(d->http, 10000);
    nng_rep_stop(d->nng, 10000);
    work_queue_free(d->queue);
    if (d->registry) {
        registry_close(d->registry);
    }
    metrics_free(d->metrics);
    executor_pool_free(d->pool);
    d->http = NULL;
    d->nng = NULL;
    d->queue = NULL;
    d->registry = NULL;
    d->metrics = NULL;
    d->pool = NULL;
}

static bool open_or_say(real_doors *d) {
    vd_error err = {0};
    if (!open_all(d, &err)) {
        fprintf(stderr, "doors: %s\n", err.text);
        real_doors_stop(d);
        return false;
    }
    return true;
}

bool real_doors_start(real_doors *d, bool durable) {
    memset(d, 0, sizeof *d);
    if (durable) {
        snprintf(d->folder, sizeof d->folder, "/tmp/vectord-doors-XXXXXX");
        if (!mkdtemp(d->folder)) {
            return false;
        }
    }
    return open_or_say(d);
}

bool real_doors_restart(real_doors *d) {
    close_all(d);
    return open_or_say(d);
}

void real_doors_stop(real_doors *d) {
    close_all(d);
    if (d->folder[0]) {
        char command[128];
        snprintf(command, sizeof command, "rm -rf '%s'", d->folder);
        if (system(command) != 0) {
            fprintf(stderr, "cannot remove %s\n", d->folder);
        }
        d->folder[0] = '\0';
    }
}
