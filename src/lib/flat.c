/*
 * flat.c - the flat facade's indexes: birth and death, figures, files.
 *
 * Each index is one of the engine's whose payloads are NULL or metadata as text (file.h). What is written is in
 * flat_write.c, what is searched and read in flat_search.c and flat_read.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lib/flat_int.h"
#include "vectord/file.h"

vd_status flat_finish(vd_status status, vd_error *err, char *error) {
    if (status != VD_OK && error) {
        utf8_clean(err->text); /* an id that is quoted may have been cut */
        snprintf(error, VD_FLAT_ERROR_BYTES, "%s", err->text);
    }
    return status;
}

void vd_flat_release(void *block) {
    free(block);
}

static void free_payload(void *context, void *payload) {
    (void)context;
    free(payload);
}

/* ---- birth and death ---- */

static vd_status parse_names(const char *distance, const char *encoding, vd_hnsw_options *options, vd_error *err) {
    if (!distance || strcmp(distance, "cosine") == 0) {
        options->metric = VD_METRIC_COSINE;
    } else if (strcmp(distance, "euclidean") == 0) {
        options->metric = VD_METRIC_EUCLIDEAN;
    } else {
        return vd_fail(err, VD_INVALID_ARGUMENT, "distance", "distance must be cosine or euclidean (got %.40s)",
                       distance);
    }
    if (encoding && !vd_encoding_parse(encoding, &options->encoding)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "encoding",
                       "encoding must be auto, f32, sq8, sq4, f16 or bf16 (got %.40s)", encoding);
    }
    return VD_OK;
}

/* Takes the engine's index on success. */
static vd_status wrap(vd_hnsw *engine, uint32_t dimension, vd_flat **out, vd_error *err) {
    vd_flat *index = calloc(1, sizeof *index);
    if (!index) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    pthread_mutex_init(&index->writer, NULL);
    atomic_init(&index->texts, false);
    index->dimension = dimension;
    index->engine = engine;
    *out = index;
    return VD_OK;
}

vd_status vd_flat_new(uint32_t dimension, const char *distance, uint32_t m, uint32_t ef_construction,
                      uint32_t ef_search, double recall_target, const char *encoding, uint32_t keep_vectors,
                      uint64_t seed, vd_flat **out, char *error) {
    vd_error err = {.text = ""};
    vd_hnsw *engine = NULL;
    vd_hnsw_options options = {.dimension = dimension,
                               .m = m,
                               .ef_construction = ef_construction,
                               .ef_search = ef_search,
                               .recall_target = recall_target,
                               .discard_vectors = keep_vectors == 0,
                               .seed = seed,
                               .release_payload = free_payload};
    vd_status status = parse_names(distance, encoding, &options, &err);
    if (status == VD_OK) {
        status = vd_hnsw_new(&options, &engine, &err);
    }
    if (status == VD_OK && (status = wrap(engine, dimension, out, &err)) != VD_OK) {
        vd_hnsw_free(engine);
    }
    return flat_finish(status, &err, error);
}

void vd_flat_free(vd_flat *index) {
    if (index) {
        vd_hnsw_free(index->engine);
        pthread_mutex_destroy(&index->writer);
        free(index);
    }
}

/* ---- figures ---- */

uint64_t vd_flat_count(const vd_flat *index) {
    return vd_hnsw_count(index->engine);
}

uint32_t vd_flat_dimension(const vd_flat *index) {
    return index->dimension;
}

uint32_t vd_flat_ids_are_numbers(const vd_flat *index) {
    return !atomic_load(&index->texts);
}

uint32_t vd_flat_stats(const vd_flat *index, double *values, uint32_t capacity) {
    vd_hnsw_stats s;
    vd_hnsw_options o;
    vd_hnsw_get_stats(index->engine, &s);
    vd_hnsw_get_options(index->engine, &o);
    const double all[VD_FLAT_STATS] = {
        [VD_FLAT_ITEMS] = (double)s.items,
        [VD_FLAT_DELETED_UNSWEPT] = (double)s.deleted_unswept,
        [VD_FLAT_MEMORY_BYTES] = (double)(s.memory_bytes + sizeof *index),
        [VD_FLAT_LEVELS] = s.levels,
        [VD_FLAT_EF_EFFECTIVE] = s.ef_effective,
        [VD_FLAT_CALIBRATED_AT] = (double)s.calibrated_at,
        [VD_FLAT_CALIBRATED_RECALL] = s.calibrated_recall,
        [VD_FLAT_CALIBRATED_GAMMA] = s.calibrated_gamma,
        [VD_FLAT_OPTIMIZED] = (double)s.optimized,
        [VD_FLAT_ENCODING] = s.encoding,
        [VD_FLAT_DISTANCES] = (double)s.distances,
        [VD_FLAT_OPTION_METRIC] = o.metric,
        [VD_FLAT_OPTION_M] = o.m,
        [VD_FLAT_OPTION_EF_CONSTRUCTION] = o.ef_construction,
        [VD_FLAT_OPTION_EF_SEARCH] = o.ef_search,
        [VD_FLAT_OPTION_RECALL_TARGET] = o.recall_target,
        [VD_FLAT_OPTION_ENCODING] = o.encoding,
        [VD_FLAT_OPTION_KEEP_VECTORS] = o.discard_vectors ? 0 : 1,
    };
    memcpy(values, all, (capacity < VD_FLAT_STATS ? capacity : VD_FLAT_STATS) * sizeof *values);
    return VD_FLAT_STATS;
}

/* ---- files ---- */

vd_status vd_flat_save(vd_flat *index, const char *path, const char *name, char *error) {
    vd_error err = {.text = ""};
    return flat_finish(vd_hnsw_save(index->engine, path, name, VD_FILE_METADATA, &err), &err, error);
}

/* What the file does not say and the facade must know of its items: whether one has metadata, whether all ids are
 * numbers, and which is the greatest. */
static vd_status look_through(vd_flat *index, bool numbers, vd_error *err) {
    vd_hnsw_snapshot *snapshot;
    vd_status status = vd_hnsw_snapshot_begin(index->engine, &snapshot, err);
    if (status != VD_OK) {
        return status;
    }
    bool texts = !numbers;
    for (uint64_t i = 0; i < vd_hnsw_snapshot_count(snapshot); i++) {
        vd_hnsw_node node;
        int64_t number;
        vd_hnsw_snapshot_node(snapshot, i, &node);
        index->metadata = index->metadata || node.payload;
        if (!flat_number(node.id, &number)) {
            texts = true;
        } else if ((uint64_t)number >= index->next) {
            index->next = (uint64_t)number + 1;
        }
    }
    atomic_store(&index->texts, texts);
    vd_hnsw_snapshot_end(snapshot);
    return VD_OK;
}

vd_status vd_flat_load(const char *path, double recall_target, const char *encoding, uint32_t keep_vectors,
                       uint64_t seed, uint32_t numbers, uint32_t threads, vd_flat **out, char *error) {
    vd_error err = {.text = ""};
    vd_hnsw *engine = NULL;
    vd_flat *index = NULL;
    vd_hnsw_options options = {.recall_target = recall_target,
                               .discard_vectors = keep_vectors == 0,
                               .seed = seed,
                               .release_payload = free_payload};
    vd_status status = flat_threads_check(threads, &err);
    if (status == VD_OK) {
        status = parse_names(NULL, encoding, &options, &err);
        options.metric = 0; /* the file's */
    }
    if (status == VD_OK) {
        flat_loan loan;
        const vd_executor *executor = flat_borrow(&loan, threads);
        status = vd_hnsw_load(path, &options, VD_FILE_METADATA, executor, &engine, &err);
        flat_give_back(&loan);
    }
    if (status == VD_OK) {
        vd_hnsw_get_options(engine, &options);
        status = wrap(engine, options.dimension, &index, &err);
        if (status != VD_OK) {
            vd_hnsw_free(engine);
        }
    }
    if (status == VD_OK && (status = look_through(index, numbers != 0, &err)) != VD_OK) {
        vd_flat_free(index);
    }
    if (status == VD_OK) {
        *out = index;
    }
    return flat_finish(status, &err, error);
}
