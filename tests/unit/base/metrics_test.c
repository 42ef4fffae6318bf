/*
 * metrics_test.c - the printed text is what Prometheus reads: types, buckets that add up, escaped labels; series come and go; updates
 * from several threads all count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/metrics.h"
#include "vectord/limits.h"

/* The print-out with a NUL behind it; free() it. */
static char *printed(metrics *m) {
    buffer b;
    buffer_init(&b, 0);
    metrics_print(m, &b);
    buffer_put_u8(&b, 0);
    assert_false(b.failed);
    return (char *)b.data;
}

/* The value of the line "series value"; NAN when there is none. */
static double value_of(const char *text, const char *series) {
    size_t size = strlen(series);
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, series, size) == 0 && line[size] == ' ') {
            return strtod(line + size, NULL);
        }
    }
    return NAN;
}

static size_t lines_with(const char *text, const char *part) {
    size_t count = 0;
    for (const char *p = text; (p = strstr(p, part)); p++) {
        count++;
    }
    return count;
}

static void text_is_exactly_the_format(void **state) {
    (void)state;
    metrics *m = metrics_new();
    metric_add(metrics_counter(m, "a_total", "Back\\slash\nand line.", "op=\"Search\",code=\"0\""), 3);
    metric_add(metrics_counter(m, "a_total", "Back\\slash\nand line.", "op=\"Search\",code=\"5\""), 1);
    metric_set(metrics_gauge(m, "b", "B.", ""), -0.25);
    metric_add(metrics_counter(m, "a_total", "Back\\slash\nand line.", "op=\"Search\",code=\"0\""), 4);
    metric_set(metrics_gauge(m, "c", "C.", ""), INFINITY);
    metric_set(metrics_gauge(m, "d", "D.", ""), NAN);
    char *text = printed(m);
    assert_string_equal(text, "# HELP a_total Back\\\\slash\\nand line.\n"
                              "# TYPE a_total counter\n"
                              "a_total{op=\"Search\",code=\"0\"} 7\n"
                              "a_total{op=\"Search\",code=\"5\"} 1\n"
                              "# HELP b B.\n"
                              "# TYPE b gauge\n"
                              "b -0.25\n"
                              "# HELP c C.\n"
                              "# TYPE c gauge\n"
                              "c +Inf\n"
                              "# HELP d D.\n"
                              "# TYPE d gauge\n"
                              "d NaN\n");
    free(text);
    metrics_free(m);
}

static void histogram_buckets_are_cumulative_and_inclusive(void **state) {
    (void)state;
    metrics *m = metrics_new();
    metric *h = metrics_histogram(m, "t_seconds", "T.", "op=\"x\"");
    metric_observe_ns(h, -5); /* a clock that went back counts as 0 */
    metric_observe_ns(h, 100000);
    metric_observe_ns(h, 100001);
    metric_observe_ns(h, 10000000000);
    metric_observe_ns(h, 10000000001);
    char *text = printed(m);
    assert_true(value_of(text, "t_seconds_bucket{op=\"x\",le=\"0.0001\"}") == 2);
    assert_true(value_of(text, "t_seconds_bucket{op=\"x\",le=\"0.00025\"}") == 3);
    assert_true(value_of(text, "t_seconds_bucket{op=\"x\",le=\"5\"}") == 3);
    assert_true(value_of(text, "t_seconds_bucket{op=\"x\",le=\"10\"}") == 4);
    assert_true(value_of(text, "t_seconds_bucket{op=\"x\",le=\"+Inf\"}") == 5);
    assert_true(value_of(text, "t_seconds_count{op=\"x\"}") == 5);
    assert_true(fabs(value_of(text, "t_seconds_sum{op=\"x\"}") - 20.000200002) < 1e-12);
    assert_int_equal(lines_with(text, "_bucket{"), 17);
    /* the bounds rise and the counts never fall */
    double bound = 0, count = 0;
    for (const char *p = text; (p = strstr(p, "le=\"")); p++) {
        double next_bound = strtod(p + 4, NULL);
        double next_count = strtod(strstr(p, "} ") + 2, NULL);
        assert_true(next_bound > bound && next_count >= count);
        bound = next_bound;
        count = next_count;
    }
    assert_true(isinf(bound));
    free(text);
    metrics_free(m);
}

static void a_series_is_found_again_and_keeps_its_kind(void **state) {
    (void)state;
    metrics *m = metrics_new();
    char name[] = "x"; /* equal text, another address */
    metric *s = metrics_gauge(m, "x", "X.", "i=\"1\"");
    assert_non_null(s);
    assert_ptr_equal(metrics_gauge(m, name, "X.", "i=\"1\""), s);
    assert_ptr_not_equal(metrics_gauge(m, "x", "X.", "i=\"2\""), s);
    assert_null(metrics_counter(m, "x", "X.", "i=\"1\""));
    assert_null(metrics_histogram(m, "x", "X.", "i=\"3\""));
    metrics_free(m);
}

static void nothing_happens_to_null(void **state) {
    (void)state;
    assert_null(metrics_counter(NULL, "x", "X.", ""));
    metric_add(NULL, 1);
    metric_set(NULL, 1);
    metric_observe_ns(NULL, 1);
    metrics_remove(NULL, "x", "");
    metrics_print(NULL, NULL);
    metrics_on_print(NULL, NULL, NULL);
    metrics_register_process(NULL, "vectord_build_info", "1");
    metrics_free(NULL);
    metrics *m = metrics_new();
    metrics_remove(m, "never made", "");
    metric_observe_ns(metrics_counter(m, "c_total", "C.", ""), 5); /* not a histogram */
    char *text = printed(m);
    assert_true(value_of(text, "c_total") == 0);
    free(text);
    metrics_free(m);
}

static void removed_series_are_gone_and_start_at_nothing(void **state) {
    (void)state;
    metrics *m = metrics_new();
    char labels[32];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3000; i++) {
            snprintf(labels, sizeof labels, "index=\"%d\"", i);
            metric *s = metrics_counter(m, "items_total", "I.", labels);
            metric_add(s, 1);
            metric *h = metrics_histogram(m, "h_seconds", "H.", labels);
            metric_observe_ns(h, 1);
        }
        for (int i = 0; i < 3000; i++) {
            if (i % 1000 != 999) {
                snprintf(labels, sizeof labels, "index=\"%d\"", i);
                metrics_remove(m, "items_total", labels);
                metrics_remove(m, "h_seconds", labels);
                metrics_remove(m, "h_seconds", labels); /* twice is nothing */
            }
        }
        char *text = printed(m);
        assert_int_equal(lines_with(text, "\nitems_total{"), 3);
        assert_int_equal(lines_with(text, "\nh_seconds_count{"), 3);
        assert_true(value_of(text, "items_total{index=\"1999\"}") == round + 1);
        free(text);
    }
    metric_add(metrics_counter(m, "items_total", "I.", "index=\"0\""), 5);
    metric_observe_ns(metrics_histogram(m, "h_seconds", "H.", "index=\"0\""), 1);
    for (int i = 999; i < 3000; i += 1000) {
        snprintf(labels, sizeof labels, "index=\"%d\"", i);
        metrics_remove(m, "items_total", labels);
    }
    char *text = printed(m);
    assert_true(value_of(text, "items_total{index=\"0\"}") == 5);
    assert_true(value_of(text, "h_seconds_count{index=\"0\"}") == 1);
    free(text);
    metrics_remove(m, "items_total", "index=\"0\"");
    text = printed(m);
    assert_int_equal(lines_with(text, "items_total"), 0); /* no header without a series */
    free(text);
    metrics_free(m);
}

static void series_end_at_the_cap(void **state) {
    (void)state;
    metrics *m = metrics_new();
    char labels[32];
    for (int i = 0; i < VD_METRIC_SERIES_MAX; i++) {
        snprintf(labels, sizeof labels, "i=\"%d\"", i);
        assert_non_null(metrics_gauge(m, "g", "G.", labels));
    }
    assert_null(metrics_gauge(m, "g", "G.", "i=\"one more\""));
    assert_non_null(metrics_gauge(m, "g", "G.", "i=\"0\"")); /* known ones are still found */
    metrics_remove(m, "g", "i=\"0\"");
    assert_non_null(metrics_gauge(m, "g", "G.", "i=\"one more\""));
    metrics_free(m);
}

static void labels_are_escaped_and_cut_between_characters(void **state) {
    (void)state;
    char out[64];
    metrics_label("a\"b\\c\nd", 7, out, sizeof out);
    assert_string_equal(out, "a\\\"b\\\\c\\nd");
    metrics_label("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9, out, sizeof out);
    assert_string_equal(out, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    metrics_label("x\xFFy\xE2\x82", 5, out, sizeof out);
    assert_string_equal(out, "x\xEF\xBF\xBDy\xEF\xBF\xBD\xEF\xBF\xBD");
    metrics_label("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9, out, 9);
    assert_string_equal(out, "\xC3\xA9\xE2\x82\xAC");
    metrics_label("ab\n", 3, out, 4); /* never half of an escape */
    assert_string_equal(out, "ab");
    metrics_label("abc", 3, out, 1);
    assert_string_equal(out, "");
    metrics_label("", 0, out, sizeof out);
    assert_string_equal(out, "");
}

static void count_prints(void *arg, metrics *m) {
    int *prints = arg;
    ++*prints;
    metric_set(metrics_gauge(m, "prints", "P.", ""), *prints);
}

static void callbacks_run_before_each_print(void **state) {
    (void)state;
    metrics *m = metrics_new();
    int first = 0, second = 10;
    metrics_on_print(m, count_prints, &first);
    metrics_on_print(m, count_prints, &second);
    free(printed(m));
    char *text = printed(m);
    assert_int_equal(first, 2);
    assert_true(value_of(text, "prints") == 12); /* in the order they were registered */
    free(text);
    metrics_free(m);
}

static void the_process_shows_itself(void **state) {
    (void)state;
    metrics *m = metrics_new();
    metrics_register_process(m, "vectord_build_info", "1.2.3");
    char *text = printed(m);
    assert_true(value_of(text, "vectord_build_info{version=\"1.2.3\"}") == 1);
    double resident = value_of(text, "process_resident_memory_bytes");
    assert_true(resident > 100000);
    assert_true(value_of(text, "process_virtual_memory_bytes") >= resident);
    assert_true(value_of(text, "process_cpu_seconds_total") > 0);
    double descriptors = value_of(text, "process_open_fds");
    assert_true(descriptors >= 1 && descriptors <= value_of(text, "process_max_fds"));
    double started = value_of(text, "process_start_time_seconds");
    assert_true(started > 1.6e9 && started <= (double)time(NULL) + 1);
    assert_non_null(strstr(text, "# TYPE process_cpu_seconds_total counter\n"));
    free(text);
    metrics_free(m);
}

/* ---- threads ---- */

enum { THREADS = 4, UPDATES = 20000 };

static void *update(void *arg) {
    metrics *m = arg;
    metric *c = metrics_counter(m, "c_total", "C.", "");
    metric *h = metrics_histogram(m, "h_seconds", "H.", "");
    for (int i = 0; i < UPDATES; i++) {
        metric_add(c, 2);
        metric_observe_ns(h, (int64_t)i * 1000);
        if (i % 64 == 0) {
            char labels[32];
            snprintf(labels, sizeof labels, "i=\"%d\"", i % 1024);
            metric_set(metrics_gauge(m, "g", "G.", labels), i);
            metrics_remove(m, "g", labels);
        }
    }
    return NULL;
}

static void updates_of_all_threads_count(void **state) {
    (void)state;
    metrics *m = metrics_new();
    pthread_t threads[THREADS];
    int started = 0;
    while (started < THREADS && pthread_create(&threads[started], NULL, update, m) == 0) {
        started++;
    }
    for (int i = 0; i < 20; i++) { /* each print adds up in itself */
        char *text = printed(m);
        double count = value_of(text, "h_seconds_count");
        assert_true(isnan(count) || count == value_of(text, "h_seconds_bucket{le=\"+Inf\"}"));
        free(text);
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(started, THREADS);
    char *text = printed(m);
    assert_true(value_of(text, "c_total") == 2.0 * THREADS * UPDATES);
    assert_true(value_of(text, "h_seconds_count") == (double)THREADS * UPDATES);
    free(text);
    metrics_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_exactly_the_format),
        cmocka_unit_test(histogram_buckets_are_cumulative_and_inclusive),
        cmocka_unit_test(a_series_is_found_again_and_keeps_its_kind),
        cmocka_unit_test(nothing_happens_to_null),
        cmocka_unit_test(removed_series_are_gone_and_start_at_nothing),
        cmocka_unit_test(series_end_at_the_cap),
        cmocka_unit_test(labels_are_escaped_and_cut_between_characters),
        cmocka_unit_test(callbacks_run_before_each_print),
        cmocka_unit_test(the_process_shows_itself),
        cmocka_unit_test(updates_of_all_threads_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
