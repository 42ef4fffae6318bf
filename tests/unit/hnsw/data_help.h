/*
 * data_help.h - data that engines have had trouble with, an exact truth for it, and recall against that truth.
 *
 * Recall goes by distance: a hit counts when it is no further than the exact tenth, so ties can neither hide nor fake a loss. The
 * truth comes from the oracle of engine_help.h, not from the index that is being tested.
 */
#ifndef VECTORD_TESTS_DATA_HELP_H
#define VECTORD_TESTS_DATA_HELP_H

#include "base/executor.h"
#include "engine_help.h"

enum { DATA_K = 10 };

typedef enum data_kind {
    DATA_REAL,       /* data/packages-5k: sentence embeddings, queries from elsewhere */
    DATA_UNIFORM,    /* in [-1, 1], 32 dimensions */
    DATA_CLUSTERED,  /* 50 centres, spread a third of their distance */
    DATA_COPIES,     /* 30 % exact copies, and one group of 2,000 (at most half) that are all equal */
    DATA_GRID,       /* small whole numbers: full of ties */
    DATA_FOREIGN,    /* clusters, and queries from a place where there are none */
    DATA_SORTED,     /* added in the order of the first coordinate */
    DATA_BY_CLUSTER, /* added cluster by cluster */
    DATA_OFFSET,     /* a spread of 1 around a point that is 1,000 away */
    DATA_D2,         /* uniform, few dimensions: */
    DATA_D3,         /* in these the graph has least to choose from */
    DATA_D8,
    DATA_DOMINANT,     /* one dimension a thousand times as wide as the others, which tell the nearest apart */
    DATA_NEAR,         /* clusters of 40 whose spread is far below the step of a 4-bit code */
    DATA_NORMS,        /* lengths that vary tenfold */
    DATA_FAR_CLUSTERS, /* 100 clusters, each small beside its distance to the next */
    DATA_SPARSE,       /* nine of ten components are 0, none is negative */
    DATA_KINDS
} data_kind;

typedef struct data {
    data_kind kind;
    const char *name;
    vd_metric metric;
    uint32_t dimension, count, queries;
    float *base;     /* [count * dimension] in the order of adding; the id of a row is its number, in 4 bytes */
    float *query;    /* [queries * dimension] */
    uint32_t *group; /* [count] the cluster of each row, 0 where there are none */
    double *limit;   /* [queries] exact distance of the DATA_K-th nearest row */
} data;

const char *data_name(data_kind kind);
/* At most so many rows and queries (real data has 5,000 and 500). Free with data_free. */
void data_make(data *d, data_kind kind, vd_metric metric, uint32_t count, uint32_t queries);
void data_free(data *d);

static inline vd_id data_id(const uint32_t *number) {
    return (vd_id){(const char *)number, sizeof *number};
}
static inline uint32_t data_number(vd_id id) {
    uint32_t number = UINT32_MAX;
    memcpy(&number, id.data, id.size == sizeof number ? sizeof number : 0);
    return number;
}
/* Rows from..to-1 into the index, in batches of 500. */
void data_add(const data *d, vd_hnsw *index, uint32_t from, uint32_t to, const vd_executor *executor);

typedef struct measured {
    double recall;    /* at DATA_K */
    double distances; /* mean per query */
    double visited;
} measured;
/* Over all queries, against the truth of all rows: the index must hold exactly those. */
measured data_recall(const data *d, const vd_hnsw *index, const vd_hnsw_search_options *options);

#endif
