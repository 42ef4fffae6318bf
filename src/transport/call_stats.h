/*
 * call_stats.h - what a door tells Prometheus about the calls that went through it.
 *
 *   vectord_requests_total{op,transport,code}            code is the status's name ("OK", "NOT_FOUND")
 *   vectord_request_duration_seconds{op,transport}       from the complete request to the complete reply
 *   vectord_requests_in_flight{transport}
 *   vectord_rejected_total{transport,reason}             refused before any operation ran
 *
 * Threading: all functions are thread-safe; after the first call with the same op and code, begin, end, count and
 * reject take no lock.
 */
#ifndef VECTORD_TRANSPORT_CALL_STATS_H
#define VECTORD_TRANSPORT_CALL_STATS_H

#include <stdint.h>

#include "base/metrics.h"
#include "ops/ops.h"

typedef enum call_door { CALL_DOOR_HTTP, CALL_DOOR_NNG, CALL_DOORS } call_door;

/* X(name, label) */
#define CALL_REJECT_MAP(X)                                                                                             \
    X(HOST, "host")                                                                                                    \
    X(ORIGIN, "origin")                                                                                                \
    X(MALFORMED, "malformed")                                                                                          \
    X(NO_ROUTE, "no_route")                                                                                            \
    X(TOO_LARGE, "too_large")                                                                                          \
    X(MEDIA_TYPE, "media_type")                                                                                        \
    X(BUSY, "busy")                                                                                                    \
    X(SLOW, "slow")
typedef enum call_reject {
#define CALL_REJECT_ENUM(name, label) CALL_REJECT_##name,
    CALL_REJECT_MAP(CALL_REJECT_ENUM)
#undef CALL_REJECT_ENUM
        CALL_REJECTS
} call_reject;

typedef struct call_stats call_stats;
/* `m` may be NULL (nothing is counted but the calls in flight). Returns owned; NULL when out of memory. */
call_stats *call_stats_new(metrics *m, call_door door);
void call_stats_free(call_stats *s);
/* A request is in flight from begin to end. */
void call_stats_begin(call_stats *s);
void call_stats_end(call_stats *s);
/* Its answer is ready. */
void call_stats_count(call_stats *s, const op_row *op, vd_status status, int64_t nanoseconds);
void call_stats_reject(call_stats *s, call_reject reason);

#endif
