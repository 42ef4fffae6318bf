/*
 * door.h - the HTTP door of the object daemon.
 *
 * Threading: start and stop are called by the main thread.
 */
#ifndef VECTORD_STORAGED_DOOR_H
#define VECTORD_STORAGED_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "storaged/objects.h"
#include "vectord/status.h"

typedef struct door door;
typedef struct door_options {
    const char *const *binds; /* "127.0.0.1:3211", port 0 allowed */
    size_t bind_count;
    bool any_host; /* allow_insecure_bind: Host is not checked against loopback names (Origin still is) */
} door_options;
/* Borrows the objects and the metrics. Returns owned (door_stop). INVALID_ARGUMENT, UNAVAILABLE, OUT_OF_MEMORY, INTERNAL. */
vd_status door_start(objects *store, metrics *m, const door_options *options, door **out, vd_error *err);
/* The port really bound by binds[i] (for port 0). */
uint16_t door_port(const door *d, size_t i);
/* Stops accepting, lets requests in flight finish (at most drain_ms), cuts the rest, frees. NULL is fine. */
void door_stop(door *d, int64_t drain_ms);

#endif
