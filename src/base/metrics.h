/*
 * metrics.h - one small registry of counters, gauges and histograms, printed as Prometheus text (exposition format 0.0.4).
 *
 * Threading: add and observe are wait-free from any thread; registering and printing take a lock.
 */
#ifndef VECTORD_BASE_METRICS_H
#define VECTORD_BASE_METRICS_H

#include <stdint.h>

#include "base/bytes.h"

typedef struct metrics metrics;
typedef struct metric metric;

metrics *metrics_new(void); /* returns owned; NULL when out of memory */
void metrics_free(metrics *m);

/*
 * Finds or makes a series. `name` and `help` are borrowed for ever (constants); `labels` is the inside of the braces, e.g.
 * "op=\"Search\",code=\"0\"" (copied; "" for none; use metrics_label to escape values). NULL when out of memory or past
 * the series cap; every function below accepts NULL and does nothing. */
metric *metrics_counter(metrics *m, const char *name, const char *help, const char *labels);
metric *metrics_gauge(metrics *m, const char *name, const char *help, const char *labels);
/* Seconds, bounds 0.1 ms .. 10 s. */
metric *metrics_histogram(metrics *m, const char *name, const char *help, const char *labels);

void metric_add(metric *s, uint64_t value);
void metric_set(metric *s, double value);
void metric_observe_ns(metric *s, int64_t nanoseconds);

/* Called at each print, before it, to set gauges that are computed (items per index, process memory). May call
 * metrics_gauge and metric_set. */
void metrics_on_print(metrics *m, void (*fn)(void *arg, metrics *m), void *arg);
/* Drops a series (an index was deleted). Its handle must not be used again: it may come to stand for another series. */
void metrics_remove(metrics *m, const char *name, const char *labels);
void metrics_print(metrics *m, buffer *out);
/* Escapes a label value into out (at most `size` bytes with the NUL; cut at a character boundary). */
void metrics_label(const void *value, size_t value_size, char *out, size_t size);
/* `info_name` ("vectord_build_info") with the version as its label, process_resident_memory_bytes, process_cpu_seconds_total,
 * process_open_fds, ... */
void metrics_register_process(metrics *m, const char *info_name, const char *version);

#endif
