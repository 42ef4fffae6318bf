/*
 * source.c - see source.h. Vectors and records are read side by side, row by row; a file that ends before the other one is an error,
 * since ids would then stand for the wrong vectors.
 */
#include "cli/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static vd_status fail_uneven(const source *s, bool records_over, vd_error *err) {
    const char *shorter = records_over ? s->records.path : s->vectors.path;
    const char *longer = records_over ? s->vectors.path : s->records.path;
    return vd_fail(err, VD_INVALID_ARGUMENT, NULL,
                   "%s ends after %" PRIu64 " rows, %s goes on: they do not belong together", shorter, s->position,
                   longer);
}

vd_status source_open(const source_options *options, source *out, vd_error *err) {
    source s = {.position = options->first};
    vd_status status = VD_OK;
    if (options->npy || options->fvecs) {
        status = options->npy ? vectors_open_npy(options->npy, &s.vectors, err)
                              : vectors_open_fvecs(options->fvecs, &s.vectors, err);
        if (status != VD_OK) {
            return status;
        }
        s.has_vectors = true;
        s.dimension = s.vectors.dimension;
        status = vectors_seek(&s.vectors, options->first, err);
    }
    if (status == VD_OK && options->jsonl) {
        status = records_open(options->jsonl, &s.records, err);
        s.has_records = status == VD_OK;
        if (status == VD_OK) {
            status = records_skip(&s.records, options->first, err);
        }
    }
    if (status == VD_OK && s.has_records && !s.has_vectors) {
        bool more;
        status = records_next(&s.records, &s.first, &more, err);
        if (status == VD_OK && !more && options->first == 0) {
            status = vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: holds no items", s.records.path);
        }
        s.pending = status == VD_OK && more;
        s.dimension = s.first.dimension;
        if (s.pending && !s.first.has_vector) {
            status = vd_fail(err, VD_INVALID_ARGUMENT, NULL,
                             "%s:%" PRIu64
                             ": there is no \"vector\"; vectors in another file are given with --npy or --fvecs",
                             s.records.path, s.records.line);
        }
    }
    if (status == VD_OK && s.has_vectors && s.vectors.count == 0) {
        status = vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: holds no vectors", s.vectors.path);
    }
    if (status != VD_OK) {
        source_close(&s);
        return status;
    }
    *out = s;
    return VD_OK;
}

void source_close(source *s) {
    vectors_close(&s->vectors);
    records_close(&s->records);
    s->has_vectors = s->has_records = false;
}

double source_progress(const source *s) {
    if (s->has_vectors) {
        return (double)s->vectors.position / (double)s->vectors.count;
    }
    return s->records.size > 0 ? (double)s->records.consumed / (double)s->records.size : -1;
}

uint64_t source_left(const source *s) {
    return s->has_vectors ? s->vectors.count - s->vectors.position : 0;
}

/* ---- batches ---- */

vd_status batch_init(batch *b, size_t capacity, uint32_t dimension, vd_error *err) {
    memset(b, 0, sizeof *b);
    size_t row_bytes = (size_t)dimension * sizeof(float);
    size_t fits = row_bytes ? BATCH_BYTES_MAX / row_bytes : 1;
    b->capacity = capacity < fits ? capacity : fits;
    b->dimension = dimension;
    arena_init(&b->text, NULL, 0);
    b->items = mem_alloc_array(alloc_default(), b->capacity, sizeof *b->items);
    b->values = mem_alloc_array(alloc_default(), b->capacity, row_bytes ? row_bytes : 1);
    if (!b->items || !b->values) {
        batch_fini(b);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    return VD_OK;
}

void batch_fini(batch *b) {
    free(b->items);
    free(b->values);
    arena_fini(&b->text);
    memset(b, 0, sizeof *b);
}

static vd_status read_record(source *s, record *out, bool *more, vd_error *err) {
    if (s->pending) {
        s->pending = false;
        *out = s->first;
        *more = true;
        return VD_OK;
    }
    return records_next(&s->records, out, more, err);
}

/* The vector of the row whose record was just read (or there is no record). */
static vd_status read_values(source *s, const record *r, float *values, bool *more, vd_error *err) {
    if (s->has_vectors) {
        if (s->has_records && r->has_vector) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL,
                           "%s:%" PRIu64 ": has a \"vector\", and %s has another one for it", s->records.path,
                           s->records.line, s->vectors.path);
        }
        return vectors_next(&s->vectors, values, more, err);
    }
    *more = true;
    if (r->dimension != s->dimension) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s:%" PRIu64 ": %s (the first one has %u values, this one %u)",
                       s->records.path, s->records.line,
                       r->has_vector ? "the vector has another dimension" : "no \"vector\"", s->dimension,
                       r->dimension);
    }
    memcpy(values, s->records.vector, (size_t)s->dimension * sizeof(float));
    return VD_OK;
}

/* One row into items[count]; false in *more at the end. */
static vd_status read_row(batch *b, source *s, bool *more, vd_error *err) {
    record r = {0};
    float *values = b->values + b->count * b->dimension;
    bool record_there = true;
    vd_status status = s->has_records ? read_record(s, &r, &record_there, err) : VD_OK;
    if (status != VD_OK) {
        return status;
    }
    if (!record_there && !s->has_vectors) {
        *more = false;
        return VD_OK;
    }
    status = read_values(s, &r, values, more, err);
    if (status != VD_OK) {
        return status;
    }
    if (s->has_vectors && s->has_records && *more != record_there) {
        return fail_uneven(s, *more, err);
    }
    if (!*more) {
        return VD_OK;
    }
    if (s->has_records && r.id.size == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s:%" PRIu64 ": there is no \"id\"", s->records.path,
                       s->records.line);
    }
    vd_client_item *item = &b->items[b->count];
    item->vector = values;
    item->id = s->has_records ? arena_strndup(&b->text, r.id.data, r.id.size)
                              : arena_printf(&b->text, "%" PRIu64, s->position);
    item->metadata = r.metadata.data ? arena_strndup(&b->text, r.metadata.data, r.metadata.size) : NULL;
    if (!item->id || (r.metadata.data && !item->metadata)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    return VD_OK;
}

vd_status batch_fill(batch *b, source *s, vd_error *err) {
    arena_reset(&b->text);
    b->count = 0;
    b->first = s->position;
    size_t used = 0;
    while (b->count < b->capacity && used < BATCH_BYTES_MAX) {
        bool more = true;
        vd_status status = read_row(b, s, &more, err);
        if (status != VD_OK || !more) {
            return status;
        }
        const vd_client_item *item = &b->items[b->count];
        used += (size_t)b->dimension * sizeof(float) + strlen(item->id) +
                (item->metadata ? strlen(item->metadata) : 0) + 16;
        b->count++;
        s->position++;
    }
    return VD_OK;
}
