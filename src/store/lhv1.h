/*
 * lhv1.h - the LHV1 frame: bytes in, bytes out, no I/O. The format's table stands in lhv1.c and docs/format-lhv1.md.
 *
 * Our own fields ride in the envelope under "vectord": {"epoch": 32 hex digits, "sequence": n, "ef_construction": n}.
 */
#ifndef VECTORD_STORE_LHV1_H
#define VECTORD_STORE_LHV1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "vectord/hnsw.h" /* vd_metric, vd_id */
#include "vectord/status.h"

#define LHV1_EPOCH_BYTES 16

typedef struct lhv1_params {
    char name[VD_INDEX_NAME_MAX_BYTES + 1]; /* NUL-terminated */
    uint32_t dimension;
    uint32_t m;
    uint32_t ef_search;
    uint32_t ef_construction; /* 0: the frame does not say */
    vd_metric metric;
    bool has_epoch; /* false: not written by vectord, or saved again by the original since */
    uint8_t epoch[LHV1_EPOCH_BYTES];
    uint64_t sequence; /* of the last journal record the frame contains */
} lhv1_params;

/* What was tolerated on reading. */
typedef struct lhv1_warnings {
    uint64_t dangling_links;
    uint64_t self_links;
    uint64_t repeated_links;
    uint64_t empty_layers;
    uint64_t orphan_metadata;
    uint64_t trailing_bytes;
    uint64_t clamped_params; /* m or ef_search beyond our limits, brought inside */
} lhv1_warnings;

/* ---- reading ---- */
typedef struct lhv1_frame lhv1_frame;
typedef struct lhv1_node {
    vd_id id;              /* points into the frame's bytes */
    const uint8_t *vector; /* dimension little-endian float32, unaligned: copy out with lhv1_vector */
    bytes metadata;        /* raw JSON; data NULL when there is none */
} lhv1_node;

/* Checks the whole frame and indexes its base layer. Borrows `frame` until lhv1_close. DATA_LOSS with the byte offset and the
 * reason for anything that must be refused, UNIMPLEMENTED for a newer version, OUT_OF_MEMORY. Returns owned. */
vd_status lhv1_open(bytes frame, lhv1_frame **out, vd_error *err);
void lhv1_close(lhv1_frame *frame);
const lhv1_params *lhv1_get_params(const lhv1_frame *frame);
const lhv1_warnings *lhv1_get_warnings(const lhv1_frame *frame);
uint64_t lhv1_count(const lhv1_frame *frame);
void lhv1_get_node(const lhv1_frame *frame, uint64_t i, lhv1_node *out);
void lhv1_vector(const lhv1_node *node, uint32_t dimension, float *out);

/* ---- writing, streamed: never a second copy of the index ---- */
/* Positions 0..count-1 are sorted by id bytes. The functions are called in two passes and must answer alike. */
typedef struct lhv1_source {
    void *context;
    uint64_t count;
    uint32_t levels; /* highest level + 1; 0 when count is 0 */
    void (*node)(void *context, uint64_t position, vd_id *id, const float **vector, bytes *metadata, uint32_t *level);
    size_t (*links)(void *context, uint64_t position, uint32_t level, uint32_t *out, size_t capacity); /* positions */
} lhv1_source;
typedef struct lhv1_sink {
    void *context;
    vd_status (*write)(void *context, const void *data, size_t size, vd_error *err);
} lhv1_sink;
vd_status lhv1_encode(const lhv1_params *params, const lhv1_source *source, const lhv1_sink *sink, vd_error *err);

#endif
