/*
 * data_help.c - see data_help.h.
 */
#include "data_help.h"

#include <math.h>

#include "support/npy.h"

static const struct {
    const char *name;
    uint32_t dimension;
} kinds[DATA_KINDS] = {
    [DATA_REAL] = {"packages-5k", 384},
    [DATA_UNIFORM] = {"uniform", 32},
    [DATA_CLUSTERED] = {"clustered", 32},
    [DATA_COPIES] = {"copies", 32},
    [DATA_GRID] = {"grid", 16},
    [DATA_FOREIGN] = {"foreign queries", 32},
    [DATA_SORTED] = {"sorted by a coordinate", 16},
    [DATA_BY_CLUSTER] = {"cluster by cluster", 32},
    [DATA_OFFSET] = {"far beyond its spread", 32},
    [DATA_D2] = {"2 dimensions", 2},
    [DATA_D3] = {"3 dimensions", 3},
    [DATA_D8] = {"8 dimensions", 8},
    [DATA_DOMINANT] = {"one dominant dimension", 24},
    [DATA_NEAR] = {"near duplicates", 64},
    [DATA_NORMS] = {"lengths vary tenfold", 32},
    [DATA_FAR_CLUSTERS] = {"far clusters", 16},
    [DATA_SPARSE] = {"sparse", 96},
};

const char *data_name(data_kind kind) {
    return kinds[kind].name;
}

/* ---- shapes that data_fill does not know ---- */

/* The centre of a group, the same whenever it is asked for. */
static void centre_of(uint32_t group, float scale, float *out, uint32_t dimension) {
    rng r = {mix64(0xCE27E5ull + group)};
    for (uint32_t j = 0; j < dimension; j++) {
        out[j] = scale * rng_normal(&r);
    }
}

/* Around one of `groups` centres, `scale` from one another, `spread` wide. */
static uint32_t fill_group(rng *r, float *v, uint32_t dimension, uint32_t groups, float scale, float spread) {
    uint32_t group = rng_below(r, groups);
    centre_of(group, scale, v, dimension);
    for (uint32_t j = 0; j < dimension; j++) {
        v[j] += spread * rng_normal(r);
    }
    return group;
}

static uint32_t fill_one(const data *d, rng *r, float *v, bool query) {
    uint32_t dimension = d->dimension;
    switch (d->kind) {
    case DATA_CLUSTERED:
    case DATA_COPIES:
    case DATA_BY_CLUSTER:
        return fill_group(r, v, dimension, 50, 1.0f, 0.3f);
    case DATA_FOREIGN:
        if (query) { /* between all clusters, and to one side */
            for (uint32_t j = 0; j < dimension; j++) {
                v[j] = 0.7f + 0.4f * rng_normal(r);
            }
            return 0;
        }
        return fill_group(r, v, dimension, 50, 1.0f, 0.3f);
    case DATA_FAR_CLUSTERS:
        return fill_group(r, v, dimension, 100, 10.0f, 0.05f);
    case DATA_NEAR:
        return fill_group(r, v, dimension, d->count / 40 + 1, 1.0f, 0.002f);
    case DATA_GRID:
        data_fill(r, SHAPE_GRID, v, 1, dimension);
        return 0;
    case DATA_OFFSET:
        data_fill(r, SHAPE_OFFSET, v, 1, dimension);
        return 0;
    case DATA_DOMINANT:
        /* few values of the wide one, so that many rows share it */
        data_fill(r, SHAPE_UNIFORM, v, 1, dimension);
        v[0] = 1000.0f * (1.0f + (float)rng_below(r, 4));
        return 0;
    case DATA_NORMS: {
        data_fill(r, SHAPE_UNIFORM, v, 1, dimension);
        float length = (float)(1.0 + 9.0 * rng_unit(r));
        for (uint32_t j = 0; j < dimension; j++) {
            v[j] *= length;
        }
        return 0;
    }
    case DATA_SPARSE:
        memset(v, 0, sizeof *v * dimension);
        for (uint32_t j = 0; j < dimension / 10; j++) {
            uint32_t at = rng_below(r, dimension) * rng_below(r, dimension) / dimension; /* some are common */
            v[at] += (float)rng_unit(r) + 0.01f;
        }
        return 0;
    default:
        data_fill(r, SHAPE_UNIFORM, v, 1, dimension);
        return 0;
    }
}

/* ---- orders ---- */

static const data *ordering; /* for qsort */
static int by_first(const void *a, const void *b) {
    float x = ordering->base[(size_t) * (const uint32_t *)a * ordering->dimension];
    float y = ordering->base[(size_t) * (const uint32_t *)b * ordering->dimension];
    return (x > y) - (x < y);
}
static int by_group(const void *a, const void *b) {
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    uint32_t x = ordering->group[i], y = ordering->group[j];
    return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

static void put_in_order(data *d, int (*order)(const void *, const void *)) {
    size_t row = sizeof(float) * d->dimension;
    uint32_t *places = malloc(sizeof *places * d->count), *group = malloc(sizeof *group * d->count);
    float *base = malloc(row * d->count);
    assert_true(places && group && base);
    for (uint32_t i = 0; i < d->count; i++) {
        places[i] = i;
    }
    ordering = d;
    qsort(places, d->count, sizeof *places, order);
    for (uint32_t i = 0; i < d->count; i++) {
        memcpy(base + (size_t)i * d->dimension, d->base + (size_t)places[i] * d->dimension, row);
        group[i] = d->group[places[i]];
    }
    free(places);
    free(d->base);
    free(d->group);
    d->base = base;
    d->group = group;
}

/* ---- making ---- */

static void load_real(data *d) {
    npy_matrix base, queries;
    OK(npy_load(VD_SOURCE_DIR "/data/packages-5k/base.npy", &base, err));
    OK(npy_load(VD_SOURCE_DIR "/data/packages-5k/queries.npy", &queries, err));
    assert_true(base.values && queries.values && base.columns == queries.columns && base.columns == d->dimension);
    d->count = d->count < base.rows ? d->count : (uint32_t)base.rows;
    d->queries = d->queries < queries.rows ? d->queries : (uint32_t)queries.rows;
    d->base = base.values;
    d->query = queries.values;
    base.values = queries.values = NULL;
    npy_free(&base);
    npy_free(&queries);
}

static void make_copies(data *d, rng *r) {
    size_t row = sizeof(float) * d->dimension;
    uint32_t equal = d->count / 2 < 2000 ? d->count / 2 : 2000;
    for (uint32_t i = 1; i < d->count; i++) {
        if (i % 2 && i / 2 < equal) { /* all over the order of adding */
            memcpy(d->base + (size_t)i * d->dimension, d->base, row);
        } else if (rng_below(r, 100) < 30) {
            memcpy(d->base + (size_t)i * d->dimension, d->base + (size_t)rng_below(r, i) * d->dimension, row);
        }
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void find_limits(data *d) {
    double *all = malloc(sizeof *all * d->count);
    assert_non_null(all);
    uint32_t k = d->count < DATA_K ? d->count : DATA_K;
    for (uint32_t q = 0; q < d->queries; q++) {
        for (uint32_t i = 0; i < d->count; i++) {
            all[i] = oracle_distance(d->metric, d->query + (size_t)q * d->dimension, d->base + (size_t)i * d->dimension,
                                     d->dimension);
        }
        qsort(all, d->count, sizeof *all, by_value);
        d->limit[q] = all[k - 1];
    }
    free(all);
}

void data_make(data *d, data_kind kind, vd_metric metric, uint32_t count, uint32_t queries) {
    *d = (data){.kind = kind,
                .name = kinds[kind].name,
                .metric = metric,
                .dimension = kinds[kind].dimension,
                .count = count,
                .queries = queries};
    rng r = {0xDA7Aull + (uint64_t)kind * 7919};
    if (kind == DATA_REAL) {
        load_real(d);
    } else {
        d->base = malloc(sizeof(float) * d->dimension * d->count);
        d->query = malloc(sizeof(float) * d->dimension * d->queries);
    }
    d->group = calloc(d->count, sizeof *d->group);
    d->limit = malloc(sizeof *d->limit * d->queries);
    assert_true(d->base && d->query && d->group && d->limit);
    for (uint32_t i = 0; kind != DATA_REAL && i < d->count; i++) {
        d->group[i] = fill_one(d, &r, d->base + (size_t)i * d->dimension, false);
    }
    for (uint32_t i = 0; kind != DATA_REAL && i < d->queries; i++) {
        (void)fill_one(d, &r, d->query + (size_t)i * d->dimension, true);
    }
    if (kind == DATA_COPIES) {
        make_copies(d, &r);
    } else if (kind == DATA_SORTED) {
        put_in_order(d, by_first);
    } else if (kind == DATA_BY_CLUSTER) {
        put_in_order(d, by_group);
    }
    find_limits(d);
}

void data_free(data *d) {
    free(d->base);
    free(d->query);
    free(d->group);
    free(d->limit);
    memset(d, 0, sizeof *d);
}

void data_add(const data *d, vd_hnsw *index, uint32_t from, uint32_t to, const vd_executor *executor) {
    enum { BATCH = 500 };
    static uint32_t numbers[BATCH];
    static vd_hnsw_item items[BATCH];
    while (from < to) {
        uint32_t n = to - from < BATCH ? to - from : BATCH;
        for (uint32_t i = 0; i < n; i++) {
            numbers[i] = from + i;
            items[i] = (vd_hnsw_item){data_id(&numbers[i]), d->base + (size_t)(from + i) * d->dimension, NULL};
        }
        OK(vd_hnsw_add(index, items, n, executor, err));
        from += n;
    }
}

measured data_recall(const data *d, const vd_hnsw *index, const vd_hnsw_search_options *options) {
    measured m = {0};
    vd_hit hits[DATA_K];
    uint64_t good = 0, distances = 0, visited = 0, wanted = d->count < DATA_K ? d->count : DATA_K;
    vd_hnsw_search_options o = *options;
    o.k = DATA_K;
    for (uint32_t q = 0; q < d->queries; q++) {
        size_t count = 0;
        vd_search_info info;
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, d->query + (size_t)q * d->dimension, &o, hits, &count, &info, err));
        vd_hnsw_leave(index, &guard);
        assert_int_equal(count, wanted);
        for (size_t i = 0; i < count; i++) {
            good += hits[i].distance <= d->limit[q];
        }
        distances += info.distances;
        visited += info.visited;
    }
    m.recall = (double)good / (double)(wanted * d->queries);
    m.distances = (double)distances / d->queries;
    m.visited = (double)visited / d->queries;
    return m;
}
