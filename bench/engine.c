/*
 * engine.c - bench_engine: the engine alone, without doors: build, second pass, and the curve of recall against rate, with the
 * counters that do not depend on the machine (distances and hops per query).
 *
 *   bench_engine [options] BASE.npy QUERIES.npy TRUTH.npy
 *
 * Base and queries: float16/32/64, rows are normalised; truth: int32 row numbers, nearest first, at least 10 columns. Rates are those of
 * the fastest of --passes passes over all queries, one thread, so that a neighbour on the machine is seen less.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/executor.h"
#include "support/npy.h"
#include "vectord/hnsw.h"

#define K 10

typedef struct settings {
    vd_hnsw_options index;
    uint32_t threads, passes, batch;
    size_t rows;
    double target; /* 0: the whole curve */
    bool optimize, by_ef, build_only;
} settings;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long resident_bytes(void) {
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%ld %ld", &pages, &resident) != 2) {
            resident = 0;
        }
        fclose(f);
    }
    return resident * sysconf(_SC_PAGESIZE);
}

static void must(vd_status status, const vd_error *err, const char *what) {
    if (status != VD_OK) {
        fprintf(stderr, "bench_engine: %s: %s\n", what, err->text);
        exit(1);
    }
}

static void normalise(npy_matrix *m) {
    for (size_t i = 0; i < m->rows; i++) {
        double sum = 0;
        float *row = m->values + i * m->columns;
        for (size_t j = 0; j < m->columns; j++) {
            sum += (double)row[j] * row[j];
        }
        for (size_t j = 0; j < m->columns; j++) {
            row[j] = (float)(row[j] / sqrt(sum));
        }
    }
}

static void add_all(vd_hnsw *index, const npy_matrix *base, size_t rows, const vd_executor *executor) {
    enum { BATCH = 1000 };
    static char names[BATCH][16];
    static vd_hnsw_item items[BATCH];
    vd_error err = {0};
    for (size_t from = 0; from < rows; from += BATCH) {
        size_t count = rows - from < BATCH ? rows - from : BATCH;
        for (size_t i = 0; i < count; i++) {
            int size = snprintf(names[i], sizeof names[i], "%zu", from + i);
            items[i] =
                (vd_hnsw_item){.id = {names[i], (uint32_t)size}, .vector = base->values + (from + i) * base->columns};
        }
        must(vd_hnsw_add(index, items, count, executor, &err), &err, "add");
    }
}

static uint32_t good_hits(const vd_hit *hits, size_t count, const int32_t *truth) {
    uint32_t good = 0;
    for (size_t i = 0; i < count; i++) {
        int32_t row = 0;
        for (uint32_t c = 0; c < hits[i].id.size; c++) {
            row = row * 10 + (hits[i].id.data[c] - '0');
        }
        for (size_t j = 0; j < K; j++) {
            good += truth[j] == row;
        }
    }
    return good;
}

static void measure(const vd_hnsw *index, const settings *s, const npy_matrix *queries, const npy_matrix *truth,
                    const vd_hnsw_search_options *options, const char *label, double knob) {
    vd_error err = {0};
    double best = 1e9;
    uint64_t distances = 0, hops = 0, refined = 0, reranked = 0, good = 0;
    size_t n = queries->rows;
    vd_hit *hits = malloc(n * K * sizeof *hits);
    size_t *counts = malloc(n * sizeof *counts);
    vd_search_info *infos = malloc(n * sizeof *infos);
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t pass = 0; pass < s->passes; pass++) {
        double began = now_s();
        if (s->batch) {
            must(vd_hnsw_search_batch(index, queries->values, n, options, NULL, hits, counts, infos, &err), &err,
                 "search");
        } else {
            for (size_t i = 0; i < n; i++) {
                must(vd_hnsw_search(index, queries->values + i * queries->columns, options, hits + i * K, &counts[i],
                                    &infos[i], &err),
                     &err, "search");
            }
        }
        double took = now_s() - began;
        best = took < best ? took : best;
    }
    for (size_t i = 0; i < n; i++) {
        good += good_hits(hits + i * K, counts[i], truth->whole + i * truth->columns);
        distances += infos[i].distances;
        hops += infos[i].visited;
        refined += infos[i].refined;
        reranked += infos[i].reranked;
    }
    vd_hnsw_leave(index, &guard);
    double q = (double)n;
    printf("%-7s %-7g recall %.4f  %8.0f/s  %6.1f us  distances %6.0f (refined %.0f, exact %.1f)  hops %5.1f  %.1f ns "
           "each\n",
           label, knob, (double)good / (K * q), q / best, best / q * 1e6, (double)distances / q, (double)refined / q,
           (double)reranked / q, (double)hops / q, best * 1e9 / (double)distances);
    fflush(stdout);
    free(hits);
    free(counts);
    free(infos);
}

static void curve(const vd_hnsw *index, const settings *s, const npy_matrix *queries, const npy_matrix *truth) {
    static const uint32_t efs[] = {24, 32, 48, 64, 80, 100, 130, 170, 220, 300, 400};
    static const double recalls[] = {0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995};
    if (s->target > 0) {
        vd_hnsw_search_options o = {.k = K, .recall_target = s->target};
        measure(index, s, queries, truth, &o, "target", s->target);
        return;
    }
    for (size_t i = 0; s->by_ef && i < sizeof efs / sizeof efs[0]; i++) {
        vd_hnsw_search_options o = {.k = K, .ef = efs[i]};
        measure(index, s, queries, truth, &o, "ef", efs[i]);
    }
    for (size_t i = 0; i < sizeof recalls / sizeof recalls[0]; i++) {
        vd_hnsw_search_options o = {.k = K, .recall_target = recalls[i]};
        measure(index, s, queries, truth, &o, "target", recalls[i]);
    }
}

/* Files that do not belong together would be read beyond their ends, or give a recall of nothing. Words, or NULL. */
static const char *misfit(const npy_matrix *base, const npy_matrix *queries, const npy_matrix *truth, size_t rows,
                          bool build_only) {
    if (!base->values || !queries->values) {
        return "base and queries must be of floats";
    }
    if (!truth->whole || truth->columns < K) {
        return "the truth must be of int32, with at least 10 columns";
    }
    if (base->rows == 0 || queries->rows == 0 || queries->columns != base->columns) {
        return "base and queries must have rows, of one dimension";
    }
    if (truth->rows < queries->rows) {
        return "the truth has fewer rows than there are queries";
    }
    for (size_t i = 0; i < queries->rows && !build_only; i++) {
        for (size_t j = 0; j < K; j++) {
            int32_t row = truth->whole[i * truth->columns + j];
            if (row < 0 || (size_t)row >= rows) {
                return "the truth names rows that are not in the base: it belongs to another one, or to more --rows";
            }
        }
    }
    return NULL;
}

static const char usage[] = "usage: bench_engine [options] BASE.npy QUERIES.npy TRUTH.npy\n"
                            "  --encoding NAME     auto (default), sq8, sq4, f16, bf16, f32\n"
                            "  --discard           keep codes only\n"
                            "  --threads N         for building (2)\n"
                            "  --rows N            of the base (all; the truth must fit)\n"
                            "  --m N, --ef-construction N\n"
                            "  --no-optimize       without the second pass\n"
                            "  --build-only        no searches\n"
                            "  --target R          this recall target alone, not the curve\n"
                            "  --ef                plain pools as well\n"
                            "  --batch             queries in one call\n"
                            "  --passes N          over the queries, the fastest counts (5)\n";

int main(int argc, char **argv) {
    static const struct option longs[] = {{"encoding", 1, 0, 'e'},    {"discard", 0, 0, 'd'},
                                          {"threads", 1, 0, 't'},     {"rows", 1, 0, 'r'},
                                          {"m", 1, 0, 'm'},           {"ef-construction", 1, 0, 'c'},
                                          {"no-optimize", 0, 0, 'n'}, {"ef", 0, 0, 'f'},
                                          {"batch", 0, 0, 'b'},       {"passes", 1, 0, 'p'},
                                          {"help", 0, 0, 'h'},        {"build-only", 0, 0, 'o'},
                                          {"target", 1, 0, 'g'},      {0, 0, 0, 0}};
    settings s = {.threads = 2, .passes = 5, .optimize = true};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        unsigned long number = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (c) {
        case 'e':
            if (!vd_encoding_parse(optarg, &s.index.encoding)) {
                fprintf(stderr, "bench_engine: no encoding is called %s\n", optarg);
                return 64;
            }
            break;
        case 'd':
            s.index.discard_vectors = true;
            break;
        case 't':
            s.threads = (uint32_t)number;
            break;
        case 'r':
            s.rows = number;
            break;
        case 'm':
            s.index.m = (uint32_t)number;
            break;
        case 'c':
            s.index.ef_construction = (uint32_t)number;
            break;
        case 'n':
            s.optimize = false;
            break;
        case 'f':
            s.by_ef = true;
            break;
        case 'b':
            s.batch = 1;
            break;
        case 'p':
            s.passes = (uint32_t)number;
            break;
        case 'g':
            s.target = strtod(optarg, NULL);
            break;
        case 'o':
            s.build_only = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 64;
        }
    }
    if (argc - optind != 3) {
        fputs(usage, stderr);
        return 64;
    }
    vd_error err = {0};
    npy_matrix base = {0}, queries = {0}, truth = {0};
    must(npy_load(argv[optind], &base, &err), &err, argv[optind]);
    must(npy_load(argv[optind + 1], &queries, &err), &err, argv[optind + 1]);
    must(npy_load(argv[optind + 2], &truth, &err), &err, argv[optind + 2]);
    size_t rows = s.rows && s.rows < base.rows ? s.rows : base.rows;
    const char *wrong =
        s.passes == 0 ? "--passes must be 1 or more" : misfit(&base, &queries, &truth, rows, s.build_only);
    if (wrong) {
        fprintf(stderr, "bench_engine: %s\n", wrong);
        return 64;
    }
    normalise(&base);
    normalise(&queries);
    executor_pool *pool = NULL;
    if (s.threads > 1) {
        must(executor_pool_new(s.threads, &pool), &err, "threads");
    }
    const vd_executor *executor = pool ? executor_pool_get(pool) : NULL;
    s.index.dimension = (uint32_t)base.columns;
    long before = resident_bytes();
    vd_hnsw *index = NULL;
    must(vd_hnsw_new(&s.index, &index, &err), &err, "new");
    double began = now_s(), cpu = cpu_s();
    add_all(index, &base, rows, executor);
    double added = now_s();
    vd_hnsw_stats stats;
    vd_hnsw_get_stats(index, &stats);
    printf("cpu %s; added %zu x %zu in %.2f s (%.2f s of CPU, %.0f/s), %.0f distances each\n", vd_hnsw_cpu(), rows,
           base.columns, added - began, cpu_s() - cpu, (double)rows / (added - began),
           (double)stats.distances / (double)rows);
    if (s.optimize) {
        vd_optimize_options o = {.executor = executor};
        uint64_t first = stats.distances;
        cpu = cpu_s();
        must(vd_hnsw_optimize(index, &o, &err), &err, "optimize");
        vd_hnsw_get_stats(index, &stats);
        printf("second pass %.2f s (%.2f s of CPU), %.0f distances each\n", now_s() - added, cpu_s() - cpu,
               (double)(stats.distances - first) / (double)rows);
    }
    double raw = (double)rows * (double)base.columns * sizeof(float);
    printf("memory / raw: %.4f resident, %.4f by its own count\n", (double)(resident_bytes() - before) / raw,
           (double)stats.memory_bytes / raw);
    if (s.build_only) {
        vd_hnsw_free(index);
        executor_pool_free(pool);
        return 0;
    }
    double calibrating = now_s();
    must(vd_hnsw_calibrate(index, executor, &err), &err, "calibrate");
    vd_hnsw_get_stats(index, &stats);
    vd_hnsw_report report;
    vd_status healthy = vd_hnsw_check(index, &report, &err);
    printf("calibrated in %.2f s: gamma %.4f for %.2f, measured %.4f, pool %u; walks on %s; mean degree %.1f; %s\n",
           now_s() - calibrating, stats.calibrated_gamma, VD_RECALL_TARGET_DEFAULT, stats.calibrated_recall,
           stats.ef_effective, vd_encoding_name(stats.encoding), report.mean_degree,
           healthy == VD_OK ? "sound" : report.first);
    fflush(stdout);
    curve(index, &s, &queries, &truth);
    vd_hnsw_free(index);
    executor_pool_free(pool);
    npy_free(&base);
    npy_free(&queries);
    npy_free(&truth);
    return 0;
}
