/*
 * load.h - many connections that each send a request, wait for the answer, send the next: what drives the server in bench_service.
 *
 * The requests are bytes made beforehand. Three ways to send them:
 *   LOAD_HTTP  HTTP/1.1, keep-alive, one epoll loop (load.c)
 *   LOAD_NNG   NNG's wire protocol (SP over TCP, REQ) in the same loop: next to no cost on the client's side, so that on a machine
 *              that client and server share the server's own speed shows
 *   LOAD_LIB   libnng itself, a REQ socket per connection, driven by aio callbacks (load_nng.c): what a program that uses the
 *              library sees
 */
#ifndef VECTORD_BENCH_LOAD_H
#define VECTORD_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum load_kind { LOAD_HTTP, LOAD_NNG, LOAD_LIB } load_kind;

typedef struct load_request {
    uint8_t *data; /* HTTP: head and body. NNG: the envelope, with LOAD_NNG_HEAD bytes before it that load.c fills */
    size_t size;
} load_request;

/* SP frame: 8 bytes of length, 4 bytes of REQ's request id. */
enum { LOAD_NNG_HEAD = 12 };

/* Latencies in buckets of 1.6 % width. */
enum { LOAD_BUCKETS = 64 * 40 };

typedef struct load_options {
    load_kind kind;
    const char *host;
    uint16_t port;
    unsigned connections;
    const load_request *requests;
    size_t request_count;
    double seconds;        /* how long to count; <= 0: send every request once */
    double warmup_seconds; /* before counting */
    /* Called with every check_every-th answer's payload (HTTP body, or RpcResponse). true: it is as it should be. */
    bool (*check)(void *arg, size_t request, const uint8_t *body, size_t size);
    void *check_arg;
    unsigned check_every; /* 0: never */
    /* Called where counting begins and ends. */
    void (*mark)(void *arg, bool begin);
    void *mark_arg;
} load_options;

typedef struct load_result {
    uint64_t requests;
    uint64_t errors; /* answers that were not a success, or that `check` refused */
    double seconds;
    uint64_t latency[LOAD_BUCKETS];
    uint64_t latency_max_ns;
    char problem[128]; /* "" when all went well */
} load_result;

/* false (and result->problem) when a connection failed. */
bool load_run(const load_options *options, load_result *result);
bool load_run_library(const load_options *options, load_result *result);

/* The latency that `part` (0..1) of the requests did not exceed, in milliseconds. */
double load_percentile_ms(const load_result *result, double part);

/* ---- shared by load.c and load_nng.c ---- */
void load_count(load_result *result, int64_t latency_ns);
/* Is this RpcResponse a success? (Its first field, code, is absent or 0.) */
bool load_rpc_ok(const uint8_t *body, size_t size);
int64_t load_now_ns(void);

#endif
