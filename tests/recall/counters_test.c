/*
 * counters_test.c - what a query costs in distances, and what a vector costs in memory, as gates.
 *
 * The engine is deterministic, so the number of distances per query at a given recall is a figure without noise: a change that makes
 * searches longer, or the graph worse, fails here on any machine, however busy. Built on two threads, put through the second pass and
 * calibrated; then recall@10 over plain pools (ef) and over recall targets (the adaptive stop), and between the points the distances
 * at recall 0.95 and 0.99. Each must be within TOLERANCE of what is recorded, either way: what has become better is to be kept.
 * `test_recall_counters record` and `record large` print the table anew.
 *
 * Memory, as the index counts it and as the system does (resident set of a child process, before and after): with the values kept, and
 * with codes alone. The graph of those is linked with less care, which makes it no smaller.
 *
 * The packaged sample; with `large` the sets in the folder that VECTORD_BENCH_DATA names (NAME-base.f16.npy, NAME-queries.f16.npy,
 * NAME-truth100.npy).
 */
#include <inttypes.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/executor.h"
#include "support/npy.h"
#include "unit/hnsw/engine_help.h"

enum { BATCH = 1000, K = 10, THREADS = 2, CARELESS_EF = 16 };
#define TOLERANCE 0.03

typedef struct figures {
    double ef_95, ef_99;         /* distances per query by a plain pool at recall@10 0.95, 0.99 */
    double target_95, target_99; /* the same by recall targets */
} figures;

typedef struct data_set {
    const char *name;
    bool packaged;
    vd_encoding encoding; /* what AUTO chooses */
    figures recorded;
    double most_kept, most_sq8, most_sq4; /* memory, of the raw float32; 0: too small a set to tell */
} data_set;

static const data_set sets[] = {
    {"packages-5k", true, VD_ENCODING_SQ4, {574.9, 993.8, 550.7, 831.7}, 0.00, 0.00, 0.00},
    {"packages-100k-384", false, VD_ENCODING_SQ4, {1547.5, 3929.6, 1313.2, 3163.0}, 1.15, 0.40, 0.30},
    {"packages-30k-768", false, VD_ENCODING_SQ4, {892.9, 1929.6, 818.8, 1682.8}, 1.10, 0.32, 0.20},
};
#define SETS (sizeof sets / sizeof sets[0])

static bool recording;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static npy_matrix load(const data_set *set, const char *part) {
    char path[4096];
    if (set->packaged) {
        snprintf(path, sizeof path, "%s/data/%s/%s%s.npy", VD_SOURCE_DIR, set->name, part,
                 strcmp(part, "truth") == 0 ? "10" : "");
    } else {
        snprintf(path, sizeof path, "%s/%s-%s%s.npy", getenv("VECTORD_BENCH_DATA"), set->name, part,
                 strcmp(part, "truth") == 0 ? "100" : ".f16");
    }
    npy_matrix m;
    OK(npy_load(path, &m, err));
    return m;
}

/* NULL when a call fails. */
static vd_hnsw *build(const npy_matrix *base, const vd_hnsw_options *options, const vd_executor *executor) {
    static char ids[BATCH][16];
    static vd_hnsw_item items[BATCH];
    vd_hnsw *index = NULL;
    if (vd_hnsw_new(options, &index, NULL) != VD_OK ||
        vd_hnsw_reserve(index, base->rows, base->rows * 8, NULL) != VD_OK) {
        return NULL;
    }
    for (size_t at = 0; at < base->rows; at += BATCH) {
        const size_t n = base->rows - at < BATCH ? base->rows - at : BATCH;
        for (size_t i = 0; i < n; i++) {
            const int size = snprintf(ids[i], sizeof ids[i], "%zu", at + i);
            items[i] = (vd_hnsw_item){{ids[i], (uint32_t)size}, base->values + (at + i) * base->columns, NULL};
        }
        if (vd_hnsw_add(index, items, n, executor, NULL) != VD_OK) {
            return NULL;
        }
    }
    return index;
}

/* ---- distances ---- */

typedef struct point {
    double recall, distances;
} point;

static point measure(const vd_hnsw *index, const npy_matrix *queries, const double *limits,
                     const vd_hnsw_search_options *options) {
    uint64_t good = 0, work = 0;
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (size_t q = 0; q < queries->rows; q++) {
        vd_hit hits[K];
        size_t count = 0;
        vd_search_info info;
        OK(vd_hnsw_search(index, queries->values + q * queries->columns, options, hits, &count, &info, err));
        work += info.distances;
        for (size_t i = 0; i < count; i++) {
            good += hits[i].distance <= limits[q];
        }
    }
    vd_hnsw_leave(index, &guard);
    return (point){(double)good / (double)(queries->rows * K), (double)work / (double)queries->rows};
}

/* Between the last point below and the first that reaches `recall`; the first point when it is beyond already. */
static double distances_at(double recall, const point *points, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++) {
        if (points[i].recall >= recall) {
            if (i == 0) {
                return points[0].distances;
            }
            const point low = points[i - 1], high = points[i];
            return low.distances +
                   (recall - low.recall) / (high.recall - low.recall) * (high.distances - low.distances);
        }
    }
    fail_msg("%s: recall %.2f is not reached, but %.4f", what, recall, points[count - 1].recall);
    return 0;
}

static figures sweep(const vd_hnsw *index, const npy_matrix *queries, const double *limits, const char *name) {
    static const uint32_t efs[] = {10, 12, 15, 18, 22, 27, 33, 40, 48, 58, 70, 85, 105, 130, 160, 200, 250, 320, 400};
    static const double targets[] = {0.4,  0.5,  0.6,   0.7,  0.78, 0.84,  0.88, 0.91,
                                     0.93, 0.95, 0.965, 0.98, 0.99, 0.995, 0.999};
    enum { EFS = sizeof efs / sizeof efs[0], TARGETS = sizeof targets / sizeof targets[0] };
    point points[EFS + TARGETS];
    figures out;
    size_t count = 0;
    do { /* no further than to what is asked for */
        points[count] = measure(index, queries, limits, &(vd_hnsw_search_options){.k = K, .ef = efs[count]});
    } while (points[count++].recall < 0.99 && count < EFS);
    out.ef_95 = distances_at(0.95, points, count, name);
    out.ef_99 = distances_at(0.99, points, count, name);
    count = 0;
    do {
        points[count] =
            measure(index, queries, limits, &(vd_hnsw_search_options){.k = K, .recall_target = targets[count]});
    } while (points[count++].recall < 0.99 && count < TARGETS);
    out.target_95 = distances_at(0.95, points, count, name);
    out.target_99 = distances_at(0.99, points, count, name);
    return out;
}

static bool within(const char *set, const char *what, double measured, double recorded) {
    const double change = measured / recorded - 1.0;
    const bool good = change <= TOLERANCE && change >= -TOLERANCE;
    print_message("%s: %s: %.1f distances, recorded are %.1f (%+.1f %%)%s\n", set, what, measured, recorded,
                  100.0 * change,
                  good         ? ""
                  : change > 0 ? " TOO MANY"
                               : " BETTER: record it");
    return good;
}

static void distances_per_query(const data_set *set, const npy_matrix *base) {
    static const char *const names[] = {"AUTO", "F32", "SQ8", "SQ4", "F16", "BF16"};
    npy_matrix queries = load(set, "queries"), truth = load(set, "truth");
    assert_true(queries.values && truth.whole && queries.columns == base->columns && queries.rows == truth.rows);
    double *limits = calloc(queries.rows, sizeof *limits);
    assert_non_null(limits);
    for (size_t q = 0; q < queries.rows; q++) {
        const int32_t tenth = truth.whole[q * truth.columns + K - 1];
        limits[q] = oracle_distance(VD_METRIC_COSINE, queries.values + q * queries.columns,
                                    base->values + (size_t)tenth * base->columns, (uint32_t)base->columns);
    }
    executor_pool *pool = NULL;
    assert_int_equal(executor_pool_new(THREADS, &pool), VD_OK);
    const vd_executor *executor = executor_pool_get(pool);
    const double start = seconds();
    vd_hnsw *index = build(base, &(vd_hnsw_options){.dimension = (uint32_t)base->columns}, executor);
    assert_non_null(index);
    const double built = seconds();
    OK(vd_hnsw_optimize(index, &(vd_optimize_options){.executor = executor}, err));
    const double optimized = seconds();
    OK(vd_hnsw_calibrate(index, executor, err));
    const double calibrated = seconds();
    const figures f = sweep(index, &queries, limits, set->name), *r = &set->recorded;
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    print_message("%s: %s; built in %.1f s, second pass %.1f s, calibrated in %.1f s, swept in %.1f s\n", set->name,
                  vd_encoding_name(stats.encoding), built - start, optimized - built, calibrated - optimized,
                  seconds() - calibrated);
    if (recording) {
        printf("    {\"%s\", %s, VD_ENCODING_%s, {%.1f, %.1f, %.1f, %.1f}, %.2f, %.2f, %.2f},\n", set->name,
               set->packaged ? "true" : "false", names[stats.encoding], f.ef_95, f.ef_99, f.target_95, f.target_99,
               set->most_kept, set->most_sq8, set->most_sq4);
    } else {
        bool good = within(set->name, "ef, recall 0.95", f.ef_95, r->ef_95);
        good &= within(set->name, "ef, recall 0.99", f.ef_99, r->ef_99);
        good &= within(set->name, "target, recall 0.95", f.target_95, r->target_95);
        good &= within(set->name, "target, recall 0.99", f.target_99, r->target_99);
        if (!good || stats.encoding != set->encoding) {
            fail_msg("%s: not what is recorded (encoding %s, recorded %s); if that is meant, see `record`", set->name,
                     vd_encoding_name(stats.encoding), vd_encoding_name(set->encoding));
        }
    }
    vd_hnsw_free(index);
    executor_pool_free(pool);
    free(limits);
    npy_free(&queries);
    npy_free(&truth);
}

/* ---- memory ---- */

static uint64_t resident_bytes(void) {
    unsigned long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu %lu", &size, &pages) != 2) {
        pages = 0;
    }
    if (f) {
        fclose(f);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

typedef struct bytes_used {
    uint64_t counted, resident;
} bytes_used;

/* In a child of its own, so that nothing that was used before and given back is counted as free. */
static bytes_used memory_of(const npy_matrix *base, const vd_hnsw_options *options) {
    int ends[2];
    bytes_used used = {0, 0};
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        executor_pool *pool = NULL;
        volatile float sum = 0; /* all of the base is resident before, not because of the index */
        for (size_t i = 0; i < base->rows * base->columns; i += 64) {
            sum += base->values[i];
        }
        if (executor_pool_new(THREADS, &pool) != VD_OK) {
            _exit(1);
        }
        const uint64_t before = resident_bytes();
        vd_hnsw *index = build(base, options, executor_pool_get(pool));
        if (!index) {
            _exit(1);
        }
        vd_hnsw_stats stats;
        vd_hnsw_get_stats(index, &stats);
        used = (bytes_used){stats.memory_bytes, resident_bytes() - before};
        _exit(write(ends[1], &used, sizeof used) != (ssize_t)sizeof used);
    }
    close(ends[1]);
    const ssize_t got = read(ends[0], &used, sizeof used);
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(got == (ssize_t)sizeof used && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return used;
}

static void memory_per_vector(const data_set *set, const npy_matrix *base) {
    const double raw = (double)(base->rows * base->columns * sizeof(float));
    const struct {
        const char *what;
        vd_encoding encoding;
        bool discard;
        double most;
    } forms[] = {{"kept", VD_ENCODING_SQ4, false, set->most_kept},
                 {"discarded, sq8", VD_ENCODING_SQ8, true, set->most_sq8},
                 {"discarded, sq4", VD_ENCODING_SQ4, true, set->most_sq4}};
    const double process =
        (double)(512 << 10); /* stacks and the allocator's own, which are resident but not the index */
    bool good = true;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const bytes_used used = memory_of(base, &(vd_hnsw_options){.dimension = (uint32_t)base->columns,
                                                                   .ef_construction = CARELESS_EF,
                                                                   .encoding = forms[i].encoding,
                                                                   .discard_vectors = forms[i].discard});
        const double counted = (double)used.counted / raw, resident = (double)used.resident / raw;
        const bool fits = forms[i].most == 0 || (counted <= forms[i].most && resident <= forms[i].most + process / raw);
        print_message("%s: %s: memory %.3f of raw counted, %.3f resident", set->name, forms[i].what, counted, resident);
        if (forms[i].most > 0) {
            print_message("; at most %.2f%s", forms[i].most, fits ? "" : " TOO MUCH");
        }
        print_message("\n");
        good &= fits;
    }
    if (!good && !recording) {
        fail_msg("%s: more memory than a vector may take", set->name);
    }
}

static void costs(void **state) {
    const data_set *set = *state;
    npy_matrix base = load(set, "base");
    assert_true(base.values && base.rows > 0);
    if (!HELP_SANITIZED) { /* which has memory of its own for every byte */
        memory_per_vector(set, &base);
    }
    distances_per_query(set, &base);
    npy_free(&base);
}

/* [record] [large]: large ones are the sets that VECTORD_BENCH_DATA has; 77 where it is not set, which ctest shows as skipped. */
int main(int argc, char **argv) {
    struct CMUnitTest tests[SETS];
    size_t count = 0;
    bool large = false;
    for (int i = 1; i < argc; i++) {
        recording |= strcmp(argv[i], "record") == 0;
        large |= strcmp(argv[i], "large") == 0;
    }
    const char *folder = getenv("VECTORD_BENCH_DATA");
    if (large && (!folder || !folder[0] || HELP_SANITIZED)) {
        printf("SKIPPED: %s, so distances and memory at 100,000 x 384 and 30,000 x 768 were NOT looked at\n",
               HELP_SANITIZED ? "too slow under a sanitizer" : "VECTORD_BENCH_DATA is not set");
        return 77;
    }
    for (size_t i = 0; i < SETS; i++) {
        if (sets[i].packaged != large) {
            tests[count++] = (struct CMUnitTest){sets[i].name, costs, NULL, NULL, (void *)&sets[i]};
        }
    }
    return _cmocka_run_group_tests("costs", tests, count, NULL, NULL);
}
