/*
 * metrics.c - counters, gauges and histograms behind fixed addresses, found by name and labels in a hash table, printed in the
 * order they were made.
 *
 * A series is never freed before the registry: a removed one goes to a list of spares and is used for the next new series, so
 * an update that races with its removal touches live memory (and at worst counts for its successor).
 *
 * Threading: values are relaxed atomics, written without a lock. `lock` guards the tables and the lists. `print_lock` is taken
 * first and keeps prints apart, so that callbacks run one at a time and without `lock` (they call back into this file).
 */
#include "base/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "vectord/limits.h"

/* Upper bounds in nanoseconds and as Prometheus writes them; one bucket more counts the rest. */
static const struct {
    int64_t ns;
    const char *text;
} bounds[] = {
    {100000, "0.0001"},  {250000, "0.00025"}, {500000, "0.0005"},  {1000000, "0.001"},
    {2500000, "0.0025"}, {5000000, "0.005"},  {10000000, "0.01"},  {25000000, "0.025"},
    {50000000, "0.05"},  {100000000, "0.1"},  {250000000, "0.25"}, {500000000, "0.5"},
    {1000000000, "1"},   {2500000000, "2.5"}, {5000000000, "5"},   {10000000000, "10"},
};
#define BOUNDS (sizeof bounds / sizeof bounds[0])

typedef enum metric_kind { KIND_COUNTER, KIND_GAUGE, KIND_SECONDS_TOTAL, KIND_HISTOGRAM } metric_kind;

typedef struct family family;

struct metric {
    _Atomic uint64_t
        value; /* a count; the bits of a double for KIND_GAUGE and KIND_SECONDS_TOTAL; nanoseconds in all for histograms */
    metric_kind kind;
    family *owner;
    char *labels;
    metric *next_in_family, *previous_in_family;
    metric *next_in_bucket;    /* of the hash table; of the spares */
    _Atomic uint64_t counts[]; /* BOUNDS + 1, histograms only */
};

struct family {
    const char *name;
    const char *help;
    metric_kind kind;
    metric *first, *last;
    family *next;
};

typedef struct callback {
    void (*fn)(void *arg, metrics *m);
    void *arg;
    struct callback *next;
} callback;

struct metrics {
    pthread_mutex_t print_lock;
    pthread_mutex_t lock;
    family *first, *last;
    metric **buckets; /* bucket_count, a power of two; series by hash of name and labels */
    size_t bucket_count;
    size_t series; /* live ones */
    metric *spare_values, *spare_histograms;
    callback *callbacks;
    char build_labels[128];
};

metrics *metrics_new(void) {
    metrics *m = calloc(1, sizeof *m);
    if (!m) {
        return NULL;
    }
    m->bucket_count = 256;
    m->buckets = calloc(m->bucket_count, sizeof(metric *));
    if (!m->buckets) {
        free(m);
        return NULL;
    }
    pthread_mutex_init(&m->print_lock, NULL);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

static void free_spares(metric *s) {
    while (s) {
        metric *next = s->next_in_bucket;
        free(s);
        s = next;
    }
}

void metrics_free(metrics *m) {
    if (!m) {
        return;
    }
    while (m->first) {
        family *f = m->first;
        m->first = f->next;
        while (f->first) {
            metric *s = f->first;
            f->first = s->next_in_family;
            free(s->labels);
            free(s);
        }
        free(f);
    }
    while (m->callbacks) {
        callback *next = m->callbacks->next;
        free(m->callbacks);
        m->callbacks = next;
    }
    free_spares(m->spare_values);
    free_spares(m->spare_histograms);
    free(m->buckets);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->print_lock);
    free(m);
}

/* ---- finding and making ---- */

/* FNV-1a; the names are ours, so nobody can choose them to collide, and index names only slow the printing down. */
static size_t hash(const char *name, const char *labels) {
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *p = name; *p; p++) {
        h = (h ^ (uint8_t)*p) * 0x100000001b3u;
    }
    h *= 0x100000001b3u;
    for (const char *p = labels; *p; p++) {
        h = (h ^ (uint8_t)*p) * 0x100000001b3u;
    }
    return (size_t)(h ^ h >> 32);
}

static metric **slot_locked(metrics *m, const char *name, const char *labels) {
    metric **slot = &m->buckets[hash(name, labels) & (m->bucket_count - 1)];
    while (*slot && (strcmp((*slot)->owner->name, name) != 0 || strcmp((*slot)->labels, labels) != 0)) {
        slot = &(*slot)->next_in_bucket;
    }
    return slot;
}

/* Twice the buckets; stays as it is when there is no memory. */
static void spread_locked(metrics *m) {
    size_t count = m->bucket_count * 2;
    metric **buckets = calloc(count, sizeof(metric *));
    if (!buckets) {
        return;
    }
    for (family *f = m->first; f; f = f->next) {
        for (metric *s = f->first; s; s = s->next_in_family) {
            metric **slot = &buckets[hash(f->name, s->labels) & (count - 1)];
            s->next_in_bucket = *slot;
            *slot = s;
        }
    }
    free(m->buckets);
    m->buckets = buckets;
    m->bucket_count = count;
}

static family *family_locked(metrics *m, metric_kind kind, const char *name, const char *help) {
    family *f = m->first;
    while (f && strcmp(f->name, name) != 0) {
        f = f->next;
    }
    if (f) {
        return f->kind == kind ? f : NULL;
    }
    f = calloc(1, sizeof *f);
    if (!f) {
        return NULL;
    }
    *f = (family){.name = name, .help = help, .kind = kind};
    if (m->last) {
        m->last->next = f;
    } else {
        m->first = f;
    }
    m->last = f;
    return f;
}

static metric *make_locked(metrics *m, metric_kind kind, const char *name, const char *help, const char *labels) {
    if (m->series == VD_METRIC_SERIES_MAX) {
        return NULL;
    }
    if (m->series >= m->bucket_count) {
        spread_locked(m);
    }
    family *f = family_locked(m, kind, name, help);
    char *copy = f ? strdup(labels) : NULL;
    if (!copy) {
        return NULL;
    }
    size_t counts = kind == KIND_HISTOGRAM ? BOUNDS + 1 : 0;
    metric **spares = counts ? &m->spare_histograms : &m->spare_values;
    metric *s = *spares;
    if (s) {
        *spares = s->next_in_bucket;
    } else {
        s = calloc(1, sizeof *s + counts * sizeof s->counts[0]);
        if (!s) {
            free(copy);
            return NULL;
        }
        s->kind = kind;
    }
    if (s->kind != kind) { /* only ever between two kinds without buckets */
        s->kind = kind;
    }
    s->owner = f;
    s->labels = copy;
    atomic_store_explicit(&s->value, 0, memory_order_relaxed);
    for (size_t i = 0; i < counts; i++) {
        atomic_store_explicit(&s->counts[i], 0, memory_order_relaxed);
    }
    s->next_in_family = NULL;
    s->previous_in_family = f->last;
    if (f->last) {
        f->last->next_in_family = s;
    } else {
        f->first = s;
    }
    f->last = s;
    metric **slot = &m->buckets[hash(name, labels) & (m->bucket_count - 1)];
    s->next_in_bucket = *slot;
    *slot = s;
    m->series++;
    return s;
}

static metric *find_or_make(metrics *m, metric_kind kind, const char *name, const char *help, const char *labels) {
    if (!m) {
        return NULL;
    }
    pthread_mutex_lock(&m->lock);
    metric *s = *slot_locked(m, name, labels);
    if (s && s->kind != kind) {
        s = NULL;
    } else if (!s) {
        s = make_locked(m, kind, name, help, labels);
    }
    pthread_mutex_unlock(&m->lock);
    return s;
}

metric *metrics_counter(metrics *m, const char *name, const char *help, const char *labels) {
    return find_or_make(m, KIND_COUNTER, name, help, labels);
}

metric *metrics_gauge(metrics *m, const char *name, const char *help, const char *labels) {
    return find_or_make(m, KIND_GAUGE, name, help, labels);
}

metric *metrics_histogram(metrics *m, const char *name, const char *help, const char *labels) {
    return find_or_make(m, KIND_HISTOGRAM, name, help, labels);
}

void metrics_remove(metrics *m, const char *name, const char *labels) {
    if (!m) {
        return;
    }
    pthread_mutex_lock(&m->lock);
    metric **slot = slot_locked(m, name, labels);
    metric *s = *slot;
    if (s) {
        *slot = s->next_in_bucket;
        *(s->previous_in_family ? &s->previous_in_family->next_in_family : &s->owner->first) = s->next_in_family;
        *(s->next_in_family ? &s->next_in_family->previous_in_family : &s->owner->last) = s->previous_in_family;
        free(s->labels);
        s->labels = NULL;
        metric **spares = s->kind == KIND_HISTOGRAM ? &m->spare_histograms : &m->spare_values;
        s->next_in_bucket = *spares;
        *spares = s;
        m->series--;
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- updating ---- */

void metric_add(metric *s, uint64_t value) {
    if (s) {
        atomic_fetch_add_explicit(&s->value, value, memory_order_relaxed);
    }
}

void metric_set(metric *s, double value) {
    if (s) {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        atomic_store_explicit(&s->value, bits, memory_order_relaxed);
    }
}

void metric_observe_ns(metric *s, int64_t nanoseconds) {
    if (!s || s->kind != KIND_HISTOGRAM) {
        return;
    }
    if (nanoseconds < 0) {
        nanoseconds = 0;
    }
    size_t i = 0;
    while (i < BOUNDS && nanoseconds > bounds[i].ns) {
        i++;
    }
    atomic_fetch_add_explicit(&s->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->value, (uint64_t)nanoseconds, memory_order_relaxed);
}

/* ---- printing ---- */

void metrics_on_print(metrics *m, void (*fn)(void *arg, metrics *m), void *arg) {
    callback *made = m ? malloc(sizeof *made) : NULL;
    if (!made) {
        return;
    }
    *made = (callback){.fn = fn, .arg = arg};
    pthread_mutex_lock(&m->lock);
    callback **end = &m->callbacks;
    while (*end) {
        end = &(*end)->next;
    }
    *end = made;
    pthread_mutex_unlock(&m->lock);
}

static void put_double(buffer *out, double value) {
    if (isfinite(value)) {
        json_put_double(out, value);
    } else {
        buffer_put_str(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
    }
}

/* name suffix {labels,le="bound"} and the space before the value */
static void put_name(buffer *out, const metric *s, const char *suffix, const char *bound) {
    buffer_put_str(out, s->owner->name);
    buffer_put_str(out, suffix);
    if (s->labels[0] || bound) {
        buffer_put_u8(out, '{');
        buffer_put_str(out, s->labels);
        if (bound) {
            buffer_put_str(out, s->labels[0] ? ",le=\"" : "le=\"");
            buffer_put_str(out, bound);
            buffer_put_u8(out, '"');
        }
        buffer_put_u8(out, '}');
    }
    buffer_put_u8(out, ' ');
}

static void put_histogram(buffer *out, const metric *s) {
    uint64_t count = 0; /* summed here: a count kept apart could disagree with the buckets for a moment */
    for (size_t i = 0; i <= BOUNDS; i++) {
        count += atomic_load_explicit(&s->counts[i], memory_order_relaxed);
        put_name(out, s, "_bucket", i < BOUNDS ? bounds[i].text : "+Inf");
        json_put_uint64(out, count);
        buffer_put_u8(out, '\n');
    }
    put_name(out, s, "_sum", NULL);
    put_double(out, (double)atomic_load_explicit(&s->value, memory_order_relaxed) / 1e9);
    buffer_put_u8(out, '\n');
    put_name(out, s, "_count", NULL);
    json_put_uint64(out, count);
    buffer_put_u8(out, '\n');
}

static void put_series(buffer *out, const metric *s) {
    if (s->kind == KIND_HISTOGRAM) {
        put_histogram(out, s);
        return;
    }
    uint64_t bits = atomic_load_explicit(&s->value, memory_order_relaxed);
    put_name(out, s, "", NULL);
    if (s->kind == KIND_COUNTER) {
        json_put_uint64(out, bits);
    } else {
        double value;
        memcpy(&value, &bits, sizeof value);
        put_double(out, value);
    }
    buffer_put_u8(out, '\n');
}

void metrics_print(metrics *m, buffer *out) {
    static const char *const types[] = {"counter", "gauge", "counter", "histogram"};
    if (!m) {
        return;
    }
    pthread_mutex_lock(&m->print_lock);
    pthread_mutex_lock(&m->lock);
    callback *c = m->callbacks;
    while (c) {
        pthread_mutex_unlock(&m->lock);
        c->fn(c->arg, m);
        pthread_mutex_lock(&m->lock);
        c = c->next;
    }
    for (const family *f = m->first; f; f = f->next) {
        if (!f->first) {
            continue;
        }
        buffer_put_str(out, "# HELP ");
        buffer_put_str(out, f->name);
        buffer_put_u8(out, ' ');
        for (const char *p = f->help; *p; p++) {
            if (*p == '\\' || *p == '\n') {
                buffer_put_str(out, *p == '\n' ? "\\n" : "\\\\");
            } else {
                buffer_put_u8(out, (uint8_t)*p);
            }
        }
        buffer_put_str(out, "\n# TYPE ");
        buffer_put_str(out, f->name);
        buffer_put_u8(out, ' ');
        buffer_put_str(out, types[f->kind]);
        buffer_put_u8(out, '\n');
        for (const metric *s = f->first; s; s = s->next_in_family) {
            put_series(out, s);
        }
    }
    pthread_mutex_unlock(&m->lock);
    pthread_mutex_unlock(&m->print_lock);
}

void metrics_label(const void *value, size_t value_size, char *out, size_t size) {
    const uint8_t *p = value, *end = p + value_size;
    if (size == 0) {
        return;
    }
    size_t used = 0;
    while (p < end) {
        const char *put = (const char *)p;
        size_t step = 1, put_size;
        if (*p == '\\' || *p == '"' || *p == '\n') {
            put = *p == '\n' ? "\\n" : *p == '"' ? "\\\"" : "\\\\";
            put_size = 2;
        } else {
            while (step < 4 && step < (size_t)(end - p) && !utf8_valid(p, step)) {
                step++;
            }
            put_size = step;
            if (!utf8_valid(p, step)) { /* the format is UTF-8 */
                put = "\xEF\xBF\xBD";
                put_size = 3;
                step = 1;
            }
        }
        if (put_size >= size - used) {
            break;
        }
        memcpy(out + used, put, put_size);
        used += put_size;
        p += step;
    }
    out[used] = '\0';
}

/* ---- the process ---- */

/* A file of /proc as text; "" when it cannot be read. */
static void read_proc(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, out, size - 1);
    out[got > 0 ? got : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

static double open_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) {
        return NAN;
    }
    double count = -3; /* ".", ".." and the directory itself */
    while (readdir(directory)) {
        count++;
    }
    closedir(directory);
    return count;
}

/* Seconds since 1970 at which the process started; NAN when /proc does not say. */
static double start_time(void) {
    char text[1024];
    read_proc("/proc/self/stat", text, sizeof text);
    const char *p = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    if (!p) {
        return NAN;
    }
    struct timespec now, boot;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    double since_boot = (double)strtoull(p + 1, NULL, 10) / (double)sysconf(_SC_CLK_TCK);
    return (double)(now.tv_sec - boot.tv_sec) + (double)(now.tv_nsec - boot.tv_nsec) / 1e9 + since_boot;
}

static void set_process(void *arg, metrics *m) {
    (void)arg;
    unsigned long long pages = 0, resident = 0;
    char text[128];
    read_proc("/proc/self/statm", text, sizeof text);
    if (sscanf(text, "%llu %llu", &pages, &resident) == 2) {
        double page_bytes = (double)sysconf(_SC_PAGESIZE);
        metric_set(metrics_gauge(m, "process_resident_memory_bytes", "Resident memory size in bytes.", ""),
                   (double)resident * page_bytes);
        metric_set(metrics_gauge(m, "process_virtual_memory_bytes", "Virtual memory size in bytes.", ""),
                   (double)pages * page_bytes);
    }
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    metric_set(find_or_make(m, KIND_SECONDS_TOTAL, "process_cpu_seconds_total",
                            "Total user and system CPU time spent in seconds.", ""),
               (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    metric_set(metrics_gauge(m, "process_open_fds", "Number of open file descriptors.", ""), open_descriptors());
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        metric_set(metrics_gauge(m, "process_max_fds", "Maximum number of open file descriptors.", ""),
                   limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur);
    }
}

void metrics_register_process(metrics *m, const char *info_name, const char *version) {
    if (!m) {
        return;
    }
    char escaped[64], labels[96];
    metrics_label(version, strlen(version), escaped, sizeof escaped);
    snprintf(labels, sizeof labels, "version=\"%s\"", escaped);
    metric_set(metrics_gauge(m, info_name, "The version that runs; always 1.", labels), 1);
    metric_set(
        metrics_gauge(m, "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", ""),
        start_time());
    metrics_on_print(m, set_process, NULL);
}
