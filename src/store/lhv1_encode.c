/*
 * lhv1_encode.c - writing an LHV1 frame as a stream that the original can load and search.
 *
 * Relies on the source to answer alike in both passes: the first one measures the envelope (its length stands in front of
 * it) and learns the levels, the second one writes. All that is held is one byte per item and one small buffer.
 *
 * What the original needs, and gets: layers base first and none empty, every id of a layer in all layers below with the same
 * vector bits, every neighbour in the same layer and not the node itself, at most M neighbours. Ids and metadata are
 * in the order of the ids' bytes, so equal indexes give equal frames.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/json.h"
#include "store/lhv1.h"

#define CHUNK_BYTES 65536u
/* The exponent of the level distribution in the original's file; it has no meaning to a reader that builds anew. */
#define LEVEL_FACTOR_BITS 0x3FD0000000000000u /* 0.25 */

typedef struct writer {
    const lhv1_params *params;
    const lhv1_source *source;
    const lhv1_sink *sink; /* NULL: count only */
    uint64_t total;
    buffer text;     /* one JSON string at a time */
    uint8_t *levels; /* of each position */
    uint64_t layer_counts[VD_LEVELS_MAX];
    vd_status status;
    vd_error *err;
    size_t used;
    uint8_t chunk[CHUNK_BYTES];
} writer;

/* ---- bytes ---- */

static void flush(writer *w) {
    if (w->used > 0 && w->status == VD_OK) {
        w->status = w->sink->write(w->sink->context, w->chunk, w->used, w->err);
    }
    w->used = 0;
}

static void put(writer *w, const void *data, size_t size) {
    w->total += size;
    if (!w->sink || w->status != VD_OK || size == 0) {
        return;
    }
    if (size > CHUNK_BYTES - w->used) {
        flush(w);
        if (size >= CHUNK_BYTES) { /* large enough to go out from where it is */
            if (w->status == VD_OK) {
                w->status = w->sink->write(w->sink->context, data, size, w->err);
            }
            return;
        }
    }
    memcpy(w->chunk + w->used, data, size);
    w->used += size;
}

static void put_text(writer *w, const char *text) {
    put(w, text, strlen(text));
}

static void put_json_string(writer *w, const void *data, size_t size) {
    buffer_clear(&w->text);
    json_put_string(&w->text, data, size);
    if (w->text.failed && w->status == VD_OK) {
        w->status = vd_fail(w->err, VD_OUT_OF_MEMORY, NULL, "frame: out of memory");
    }
    put(w, w->text.data, w->text.failed ? 0 : w->text.size);
}

static void put_field(writer *w, const char *name, uint64_t value) {
    char text[64];
    put(w, text, (size_t)snprintf(text, sizeof text, "%s%llu", name, (unsigned long long)value));
}

static void put_varint(writer *w, uint64_t value) {
    uint8_t raw[10];
    size_t size = 0;
    uint64_t zigzag = value << 1; /* counts and sizes: never negative, far below 2^63 */
    while (zigzag >= 0x80) {
        raw[size++] = (uint8_t)(zigzag | 0x80);
        zigzag >>= 7;
    }
    raw[size++] = (uint8_t)zigzag;
    put(w, raw, size);
}

static void put_string(writer *w, const void *data, size_t size) {
    put_varint(w, size);
    put(w, data, size);
}

static void put_vector(writer *w, const float *vector) {
    uint32_t dimension = w->params->dimension;
    put_varint(w, dimension);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    put(w, vector, (size_t)dimension * sizeof *vector);
#else
    for (uint32_t i = 0; i < dimension; i++) {
        uint32_t bits;
        uint8_t raw[4];
        memcpy(&bits, &vector[i], sizeof bits);
        set_u32le(raw, bits);
        put(w, raw, sizeof raw);
    }
#endif
}

static const char *metric_name(vd_metric metric) {
    return metric == VD_METRIC_EUCLIDEAN ? "euclidean" : "cosine";
}

/* ---- the envelope ---- */

static void put_metadata(writer *w) {
    bool first = true;
    for (uint64_t i = 0; i < w->source->count && w->status == VD_OK; i++) {
        vd_id id;
        const float *vector;
        bytes metadata = {NULL, 0};
        uint32_t level;
        w->source->node(w->source->context, i, &id, &vector, &metadata, &level);
        if (metadata.size == 0) {
            continue;
        }
        put_text(w, first ? "" : ",");
        first = false;
        put_json_string(w, id.data, id.size);
        put_text(w, ":");
        put(w, metadata.data, metadata.size);
    }
}

static void put_envelope(writer *w) {
    const lhv1_params *p = w->params;
    put_text(w, "{\"version\":1,\"params\":{\"name\":");
    put_json_string(w, p->name, strlen(p->name));
    put_field(w, ",\"dimension\":", p->dimension);
    put_field(w, ",\"m\":", p->m);
    put_field(w, ",\"ef_search\":", p->ef_search);
    put_text(w, ",\"distance\":\"");
    put_text(w, metric_name(p->metric));
    put_text(w, "\"},\"metadata\":{");
    put_metadata(w);
    put_text(w, "},\"vectord\":{");
    if (p->has_epoch) {
        char hex[2 * LHV1_EPOCH_BYTES + 1];
        hex_encode(p->epoch, LHV1_EPOCH_BYTES, hex);
        put_text(w, "\"epoch\":\"");
        put_text(w, hex);
        put_text(w, "\",");
    }
    put_field(w, "\"sequence\":", p->sequence);
    put_field(w, ",\"ef_construction\":", p->ef_construction);
    put_text(w, "}}");
}

/* ---- the graph ---- */

/* Drops what the original could not stand, so that a link that changed under a running save does no harm. */
static size_t keep_links(const writer *w, uint64_t position, uint32_t level, uint32_t *links, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool good = links[i] < w->source->count && links[i] != position && w->levels[links[i]] >= level;
        for (size_t j = 0; good && j < kept; j++) {
            good = links[j] != links[i];
        }
        if (good) {
            links[kept++] = links[i];
        }
    }
    return kept;
}

static void put_node(writer *w, uint64_t position, uint32_t level) {
    const lhv1_source *s = w->source;
    vd_id id;
    const float *vector;
    bytes metadata;
    uint32_t top;
    s->node(s->context, position, &id, &vector, &metadata, &top);
    put_string(w, id.data, id.size);
    put_vector(w, vector); /* before the next call on the source: the vector need not outlive it */
    uint32_t links[VD_M_MAX];
    size_t count = s->links(s->context, position, level, links, w->params->m);
    count = keep_links(w, position, level, links, count < w->params->m ? count : w->params->m);
    put_varint(w, count);
    for (size_t i = 0; i < count; i++) {
        s->node(s->context, links[i], &id, &vector, &metadata, &top);
        put_string(w, id.data, id.size);
    }
}

static void put_graph(writer *w) {
    uint8_t level_factor[8];
    set_u32le(level_factor, (uint32_t)LEVEL_FACTOR_BITS);
    set_u32le(level_factor + 4, (uint32_t)(LEVEL_FACTOR_BITS >> 32));
    const char *metric = metric_name(w->params->metric);
    uint32_t layers = 0;
    while (layers < VD_LEVELS_MAX && w->layer_counts[layers] > 0) {
        layers++;
    }
    put_varint(w, 1);
    put_varint(w, w->params->m);
    put(w, level_factor, sizeof level_factor);
    put_varint(w, w->params->ef_search);
    put_string(w, metric, strlen(metric));
    put_varint(w, layers);
    for (uint32_t level = 0; level < layers; level++) {
        put_varint(w, w->layer_counts[level]);
        for (uint64_t i = 0; i < w->source->count && w->status == VD_OK; i++) {
            if (w->levels[i] >= level) {
                put_node(w, i, level);
            }
        }
    }
}

/* ---- the whole ---- */

static vd_status check_params(const lhv1_params *p, const lhv1_source *source, vd_error *err) {
    if (p->dimension < VD_DIMENSION_MIN || p->dimension > VD_DIMENSION_MAX || p->m < VD_M_MIN || p->m > VD_M_MAX ||
        p->ef_search < VD_EF_SEARCH_MIN || p->ef_search > VD_EF_SEARCH_MAX || p->sequence > INT64_MAX ||
        p->ef_construction > VD_EF_CONSTRUCTION_MAX || source->count > VD_ITEMS_MAX ||
        (p->metric != VD_METRIC_COSINE && p->metric != VD_METRIC_EUCLIDEAN)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "frame: parameters out of range");
    }
    return VD_OK;
}

static void read_levels(writer *w) {
    const lhv1_source *s = w->source;
    for (uint64_t i = 0; i < s->count; i++) {
        vd_id id;
        const float *vector;
        bytes metadata;
        uint32_t level = 0;
        s->node(s->context, i, &id, &vector, &metadata, &level);
        w->levels[i] = (uint8_t)(level < VD_LEVELS_MAX ? level : VD_LEVELS_MAX - 1);
        for (uint32_t l = 0; l <= w->levels[i]; l++) {
            w->layer_counts[l]++;
        }
    }
}

vd_status lhv1_encode(const lhv1_params *params, const lhv1_source *source, const lhv1_sink *sink, vd_error *err) {
    vd_status status = check_params(params, source, err);
    if (status != VD_OK) {
        return status;
    }
    writer *w = calloc(1, sizeof *w);
    uint8_t *levels = malloc((size_t)source->count + 1);
    if (!w || !levels) {
        free(w);
        free(levels);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "frame: out of memory");
    }
    w->params = params;
    w->source = source;
    w->levels = levels;
    w->err = err;
    buffer_init(&w->text, 0);
    read_levels(w);
    put_envelope(w);
    uint64_t envelope_size = w->total;
    if (w->status == VD_OK && envelope_size > UINT32_MAX) {
        w->status = vd_fail(err, VD_TOO_LARGE, NULL, "frame: %llu bytes of metadata, the format holds less than 4 GiB",
                            (unsigned long long)envelope_size);
    }
    if (w->status == VD_OK) {
        uint8_t header[8] = {'L',
                             'H',
                             'V',
                             '1',
                             (uint8_t)(envelope_size >> 24),
                             (uint8_t)(envelope_size >> 16),
                             (uint8_t)(envelope_size >> 8),
                             (uint8_t)envelope_size};
        w->sink = sink;
        put(w, header, sizeof header);
        w->total = 0;
        put_envelope(w);
        if (w->status == VD_OK && w->total != envelope_size) {
            w->status = vd_fail(err, VD_INTERNAL, NULL, "frame: the metadata changed while it was being written");
        }
        put_graph(w);
        flush(w);
    }
    status = w->status;
    buffer_fini(&w->text);
    free(levels);
    free(w);
    return status;
}
