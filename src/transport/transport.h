/*
 * transport.h - the doors. Each walks the table of operations; none knows one by name.
 *
 * Threading: start and stop are called by the main thread. Inside, event loops run what is quick; everything that may wait or
 * take long goes to the work queue.
 */
#ifndef VECTORD_TRANSPORT_TRANSPORT_H
#define VECTORD_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/executor.h"
#include "base/metrics.h"
#include "ops/ops.h"
#include "vectord/status.h"

typedef struct transport_shared {
    const ops_context *ops;
    work_queue *queue;
    metrics *metrics;
} transport_shared;

/* ---- HTTP ---- */
typedef struct http_gateway http_gateway;
typedef struct http_options {
    const char *const *binds; /* "127.0.0.1:3215", "[::1]:3215", port 0 allowed */
    size_t bind_count;
    const char *const *cors_origins; /* Origins allowed beside the same one */
    size_t cors_origin_count;
    uint32_t threads; /* 0: one per CPU */
    bool any_host;    /* --allow-insecure-bind: Host is not checked against loopback names (Origin still is) */
} http_options;
vd_status http_gateway_start(const transport_shared *shared, const http_options *options, http_gateway **out,
                             vd_error *err);
/* The port really bound by binds[i] (for port 0). */
uint16_t http_gateway_port(const http_gateway *g, size_t i);
/* Stops accepting, lets requests in flight finish (at most drain_ms), closes, frees. NULL is fine. */
void http_gateway_stop(http_gateway *g, int64_t drain_ms);

/* ---- NNG ---- */
typedef struct nng_rep nng_rep;
typedef struct nng_options {
    const char *const *binds; /* "tcp://127.0.0.1:3216", "ipc:///run/vectord.sock"; port 0 allowed */
    size_t bind_count;
    uint32_t contexts; /* requests in progress at a time; 0: sized to the machine */
} nng_options;
vd_status nng_rep_start(const transport_shared *shared, const nng_options *options, nng_rep **out, vd_error *err);
/* The URL really bound, e.g. "tcp://127.0.0.1:41234". Borrowed. */
const char *nng_rep_url(const nng_rep *n, size_t i);
void nng_rep_stop(nng_rep *n, int64_t drain_ms);

#endif
