/*
 * fake_ops.h - a table of operations for testing the doors without what lies behind them: operations that fail in a chosen
 * way, wait at a gate, or tell what they were given. (The doors over the real registry: tests/integration.)
 */
#ifndef TESTS_FAKE_OPS_H
#define TESTS_FAKE_OPS_H

#include <stdbool.h>

#include "base/executor.h"
#include "base/metrics.h"
#include "ops/ops.h"
#include "transport/transport.h"

/* How often AddItems and DeleteIndex have run. */
unsigned fake_adds(void);
unsigned fake_deletes(void);
void fake_reset(void);
/* AddItems on "gate" waits until the gate is open. */
void fake_gate(bool open);
/* Waits until `count` calls stand at the gate; false after a while. */
bool fake_wait_at_gate(unsigned count);
void fake_ready(bool ready);

/* The doors over the fake table. */
typedef struct fake_server {
    ops_context ops;
    work_queue *queue;
    metrics *metrics;
    transport_shared shared;
    http_gateway *http;
    nng_rep *nng;
    uint16_t port;
} fake_server;
/* A queue of `workers` threads and `capacity` jobs; false when something did not start. */
bool fake_server_start(fake_server *s, unsigned workers, unsigned capacity, const http_options *http,
                       const nng_options *nng);
void fake_server_stop(fake_server *s);

#endif
