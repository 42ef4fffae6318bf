/*
 * call_stats.c - series are looked up once and remembered per (operation, status), since finding one takes a lock.
 *
 * The number of calls in flight lives in this file and not in the handle: the metrics registry outlives the doors and calls
 * back at each print, and there is no way to take a callback back.
 */
#include "transport/call_stats.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "transport/admission.h"

#define STATUS_SLOTS 64 /* the enum's values are below this; anything else counts as UNKNOWN */

static const char *const door_names[CALL_DOORS] = {"http", "nng"};
static _Atomic int64_t in_flight[CALL_DOORS];

typedef struct op_series {
    metric *duration;
    _Atomic(metric *) by_status[STATUS_SLOTS];
} op_series;

struct call_stats {
    metrics *metrics;
    call_door door;
    const op_row *table;
    size_t op_count;
    metric *rejected[CALL_REJECTS];
    op_series ops[];
};

static void print_in_flight(void *arg, metrics *m) {
    (void)arg;
    for (int d = 0; d < CALL_DOORS; d++) {
        char labels[64];
        snprintf(labels, sizeof labels, "transport=\"%s\"", door_names[d]);
        metric_set(metrics_gauge(m, "vectord_requests_in_flight", "Calls begun and not answered yet.", labels),
                   (double)atomic_load_explicit(&in_flight[d], memory_order_relaxed));
    }
    metric_set(metrics_gauge(m, "vectord_request_body_bytes", "Request bodies held in memory now.", ""),
               (double)admission_bytes());
    metric_set(metrics_gauge(m, "vectord_jobs_in_flight", "Calls waiting for a worker or running in one.", ""),
               (double)admission_jobs());
}

static metric *find_counter(call_stats *s, const op_row *op, vd_status status) {
    char labels[160];
    snprintf(labels, sizeof labels, "op=\"%s\",transport=\"%s\",code=\"%s\"", op->name, door_names[s->door],
             vd_status_name(status));
    return metrics_counter(s->metrics, "vectord_requests_total", "Calls answered.", labels);
}

call_stats *call_stats_new(metrics *m, call_door door) {
    size_t count;
    const op_row *table = ops_table(&count);
    call_stats *s = calloc(1, sizeof *s + count * sizeof s->ops[0]);
    if (!s) {
        return NULL;
    }
    s->metrics = m;
    s->door = door;
    s->table = table;
    s->op_count = count;
    if (!m) {
        return s;
    }
    char labels[128];
    for (size_t i = 0; i < count; i++) {
        snprintf(labels, sizeof labels, "op=\"%s\",transport=\"%s\"", table[i].name, door_names[door]);
        s->ops[i].duration = metrics_histogram(m, "vectord_request_duration_seconds",
                                               "From the complete request to the complete reply.", labels);
        atomic_store(&s->ops[i].by_status[VD_OK], find_counter(s, &table[i], VD_OK));
    }
    static const char *const reasons[CALL_REJECTS] = {
#define REASON(name, label) label,
        CALL_REJECT_MAP(REASON)
#undef REASON
    };
    for (int r = 0; r < CALL_REJECTS; r++) {
        bool http_only =
            r == CALL_REJECT_HOST || r == CALL_REJECT_ORIGIN || r == CALL_REJECT_MEDIA_TYPE || r == CALL_REJECT_SLOW;
        if (http_only && door != CALL_DOOR_HTTP) {
            continue;
        }
        snprintf(labels, sizeof labels, "transport=\"%s\",reason=\"%s\"", door_names[door], reasons[r]);
        s->rejected[r] =
            metrics_counter(m, "vectord_rejected_total", "Requests refused before any operation ran.", labels);
    }
    metrics_on_print(m, print_in_flight, NULL);
    return s;
}

void call_stats_free(call_stats *s) {
    free(s);
}

void call_stats_begin(call_stats *s) {
    atomic_fetch_add_explicit(&in_flight[s->door], 1, memory_order_relaxed);
}

void call_stats_end(call_stats *s) {
    atomic_fetch_sub_explicit(&in_flight[s->door], 1, memory_order_relaxed);
}

void call_stats_count(call_stats *s, const op_row *op, vd_status status, int64_t nanoseconds) {
    if (!s->metrics) {
        return;
    }
    op_series *series = &s->ops[op - s->table];
    int slot = (int)status >= 0 && (int)status < STATUS_SLOTS ? (int)status : (int)VD_UNKNOWN;
    metric *counter = atomic_load_explicit(&series->by_status[slot], memory_order_acquire);
    if (!counter) {
        counter = find_counter(s, op, (vd_status)slot);
        atomic_store_explicit(&series->by_status[slot], counter, memory_order_release);
    }
    metric_add(counter, 1);
    metric_observe_ns(series->duration, nanoseconds);
}

void call_stats_reject(call_stats *s, call_reject reason) {
    metric_add(s->rejected[reason], 1);
}
