/*
 * main.c - storaged: wiring and the order of start and stop, nothing else.
 *
 * Start:  settings, log, the folder (locked and swept), the door.
 * Stop:   SIGTERM, SIGINT or SIGHUP: requests in flight finish, exit code 0. A second signal ends the process where it stands;
 *         what was answered is on disk.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "config/announce.h"
#include "config/command.h"
#include "config/process.h"
#include "storaged/door.h"
#include "storaged/folder_objects.h"
#include "storaged/options.h"

static void setup_log(const void *values) {
    const options *o = values;
    log_setup((log_level)o->log_level, (log_format)o->log_format);
}

static void announce(const options *o, const door *d, announce_doors *doors) {
    doors->program = "storaged";
    doors->http_only = true;
    for (size_t i = 0; i < o->bind.count; i++) {
        const char *colon = strrchr(o->bind.items[i], ':');
        snprintf(doors->http[doors->http_count++], sizeof doors->http[0], "%.*s:%u", (int)(colon - o->bind.items[i]),
                 o->bind.items[i], door_port(d, i));
    }
}

static vd_status start(const options *o, objects **store, metrics **m, door **d, announce_doors *doors, vd_error *err) {
    vd_status status = folder_objects_open(o->dir, NULL, store, err);
    if (status != VD_OK) {
        return status;
    }
    *m = metrics_new();
    if (!*m) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory for the metrics");
    }
    metrics_register_process(*m, "storaged_build_info", VECTORD_VERSION);
    const door_options door_settings = {.binds = o->bind.items, .bind_count = o->bind.count, .any_host = o->exposed};
    status = door_start(*store, *m, &door_settings, d, err);
    if (status == VD_OK) {
        announce(o, *d, doors);
        if (o->port_file[0]) {
            status = announce_write_port_file(o->port_file, doors, err);
        }
    }
    return status;
}

static int serve(const void *values) {
    const options *o = values;
    sigset_t signals;
    process_prepare(&signals);
    setup_log(o);
    if (o->exposed) {
        log_event(
            LOG_WARN,
            "REACHABLE FROM OTHER MACHINES WITHOUT AUTHENTICATION: whoever reaches these addresses can read, change "
            "and delete every object (allow_insecure_bind)",
            NULL);
    }
    objects *store = NULL;
    metrics *m = NULL;
    door *d = NULL;
    announce_doors doors = {0};
    vd_error err = {0};
    int code = 0;
    if (start(o, &store, &m, &d, &doors, &err) != VD_OK) {
        log_event(LOG_ERROR, "cannot start", "%s", err.text);
        code = COMMAND_EXIT_UNAVAILABLE;
    } else {
        announce_started(&doors, VECTORD_VERSION, o->dir, isatty(STDERR_FILENO) != 0);
        int got;
        do {
            got = sigwaitinfo(&signals, NULL);
        } while (got < 0); /* EINTR: a debugger, or a stop and a continue */
        log_event(LOG_INFO, "stopping", "signal=%s", sigabbrev_np(got));
        /* From here on a second signal has its default effect: the process ends at once. */
        pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
        if (o->port_file[0]) {
            unlink(o->port_file);
        }
    }
    int64_t began_ms = clock_now_ms();
    door_stop(d, (int64_t)o->drain_ms);
    objects_close(store);
    metrics_free(m);
    if (code == 0) {
        log_event(LOG_INFO, "stopped", "ms=%lld", (long long)(clock_now_ms() - began_ms));
    }
    return code;
}

static vd_status load(void *values, const config_input *input, buffer *errors, buffer *warnings) {
    return options_load(values, input, errors, warnings);
}

static config_target target(void *values) {
    return options_target(values);
}

static const char *health_address(const void *values) {
    const options *o = values;
    return o->bind.items[0];
}

static void fini(void *values) {
    options_fini(values);
}

static const char more[] =
    "Routes: PUT /storage/put/KEY, GET /storage/get/KEY, DELETE /storage/delete/KEY, GET /storage/list?prefix=P,\n"
    "/health, /metrics. A KEY is percent-encoded. For example:\n"
    "  curl -T FILE http://127.0.0.1:3211/storage/put/notes/today\n"
    "  curl http://127.0.0.1:3211/storage/get/notes/today\n"
    "  vectord --store-url http://127.0.0.1:3211        keeps its indexes here\n"
    "\n";

int main(int argc, char **argv) {
    options o;
    const command_program program = {
        .schema = options_schema(),
        .summary = "objects over HTTP, kept in a folder",
        .variables = "STORAGED_DIR, STORAGED_BIND",
        .usage_more = more,
        .default_address = "127.0.0.1:3211",
        .live_path = "/health",
        .ready_path = "/health",
        .values = &o,
        .load = load,
        .target = target,
        .setup_log = setup_log,
        .health_address = health_address,
        .serve = serve,
        .fini = fini,
    };
    return command_run(&program, argc, argv);
}
