/*
 * real_doors.h - both doors over a real registry in this process, kept in a folder of its own or nowhere. For tests that look
 * at bytes on a socket; the whole program is driven by the e2e_* scripts.
 */
#ifndef TESTS_REAL_DOORS_H
#define TESTS_REAL_DOORS_H

#include <stdbool.h>

#include "transport/transport.h"

typedef struct real_doors {
    char folder[64]; /* "" when ephemeral */
    executor_pool *pool;
    work_queue *queue;
    registry *registry;
    metrics *metrics;
    ops_context ops;
    transport_shared shared;
    http_gateway *http;
    nng_rep *nng;
    uint16_t port;
} real_doors;

/* false, with the reason on stderr, when something did not start. */
bool real_doors_start(real_doors *d, bool durable);
/* Stops and starts again over the same folder. */
bool real_doors_restart(real_doors *d);
void real_doors_stop(real_doors *d);

#endif
