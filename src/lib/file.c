/*
 * file.c - the engine and the frame format put together: an index to a file and back.
 *
 * Relies on a snapshot of the engine as the source of the frame's writer, so that nothing is copied, and on the table of
 * io.h for the file. Leaves journals, keys and locks to the service: this is for programs that hold an index of their own.
 */
#include "vectord/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/json.h"
#include "store/io.h"
#include "store/lhv1.h"

#define FILE_MODE 0644
/* Vectors handed to the engine at a time: enough for every thread to have work, little beside the index. */
#define BATCH_BYTES (16u * 1024u * 1024u)
#define BATCH_ITEMS 65536u
/* Names that leftovers of other crashed saves may hold. */
#define TEMPORARY_TRIES 100u

static vd_status fail_errno(vd_error *err, int error, const char *what, const char *path) {
    char reason[128];
    vd_status status = error == ENOENT                      ? VD_NOT_FOUND
                       : error == ENOSPC || error == EDQUOT ? VD_DISK_FULL
                       : error == ENOMEM                    ? VD_OUT_OF_MEMORY
                                                            : VD_INTERNAL;
    return vd_fail(err, status, NULL, "%s %s: %s", what, path, strerror_r(error, reason, sizeof reason));
}

/* ---- saving ---- */

typedef struct saving {
    vd_hnsw_snapshot *snapshot;
    bool metadata;
    const char *path;
    int fd;
    uint64_t size;
} saving;

static void source_node(void *context, uint64_t position, vd_id *id, const float **vector, bytes *metadata,
                        uint32_t *level) {
    const saving *s = context;
    vd_hnsw_node node;
    vd_hnsw_snapshot_node(s->snapshot, position, &node);
    *id = node.id;
    *vector = node.vector;
    *level = node.level;
    *metadata = s->metadata && node.payload ? bytes_str(node.payload) : bytes_of(NULL, 0);
}

static size_t source_links(void *context, uint64_t position, uint32_t level, uint32_t *out, size_t capacity) {
    const saving *s = context;
    return vd_hnsw_snapshot_links(s->snapshot, position, level, out, capacity);
}

static vd_status sink_write(void *context, const void *data, size_t size, vd_error *err) {
    saving *s = context;
    int error = io_write_full(io_system(), s->fd, data, size, s->size);
    if (error) {
        return fail_errno(err, error, "write", s->path);
    }
    s->size += size;
    return VD_OK;
}

/* One payload that is not JSON would make the whole file unreadable. */
static vd_status check_metadata(const saving *s, vd_error *err) {
    arena a;
    vd_status status = VD_OK;
    arena_init(&a, NULL, 0);
    for (uint64_t i = 0; status == VD_OK && s->metadata && i < vd_hnsw_snapshot_count(s->snapshot); i++) {
        vd_hnsw_node node;
        vd_hnsw_snapshot_node(s->snapshot, i, &node);
        if (!node.payload) {
            continue;
        }
        json_reader r;
        json_reader_init(&r, node.payload, strlen(node.payload), &a);
        if (!json_skip(&r, NULL) || !json_at_end(&r)) {
            char what[128];
            snprintf(what, sizeof what, "metadata of id %.*s", (int)(node.id.size < 64 ? node.id.size : 64),
                     node.id.data);
            status = json_fail(&r, what, err);
        }
    }
    arena_fini(&a);
    return status;
}

static vd_status open_temporary(saving *s, char temporary[PATH_MAX], vd_error *err) {
    int error = EEXIST;
    for (unsigned i = 0; error == EEXIST && i < TEMPORARY_TRIES; i++) {
        int size = snprintf(temporary, PATH_MAX, "%s.tmp-%ld-%u", s->path, (long)getpid(), i);
        if (size < 0 || size >= PATH_MAX) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "path %.200s... is too long", s->path);
        }
        error = io_system()->open(NULL, temporary, O_WRONLY | O_CREAT | O_EXCL, FILE_MODE, &s->fd);
    }
    return error ? fail_errno(err, error, "create", temporary) : VD_OK;
}

static int sync_folder_of(const char *path) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t size = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (size >= sizeof folder) {
        return ENAMETOOLONG;
    }
    memcpy(folder, path, size);
    folder[size] = '\0';
    int fd;
    int error = io_system()->open(NULL, size ? folder : ".", O_RDONLY | O_DIRECTORY, 0, &fd);
    if (error) {
        return error;
    }
    error = io_system()->sync(NULL, fd);
    (void)io_system()->close(NULL, fd);
    return error;
}

static vd_status write_file(saving *s, const lhv1_params *params, vd_error *err) {
    char temporary[PATH_MAX];
    vd_status status = open_temporary(s, temporary, err);
    if (status != VD_OK) {
        return status;
    }
    lhv1_source source = {.context = s,
                          .count = vd_hnsw_snapshot_count(s->snapshot),
                          .levels = vd_hnsw_snapshot_levels(s->snapshot),
                          .node = source_node,
                          .links = source_links};
    lhv1_sink sink = {s, sink_write};
    status = lhv1_encode(params, &source, &sink, err);
    int error = status == VD_OK ? io_system()->sync(NULL, s->fd) : 0;
    int close_error = io_system()->close(NULL, s->fd);
    error = error ? error : close_error;
    if (status == VD_OK && !error) {
        error = io_system()->rename(NULL, temporary, s->path);
    }
    if (status != VD_OK || error) {
        (void)io_system()->unlink(NULL, temporary);
        return status != VD_OK ? status : fail_errno(err, error, "write", s->path);
    }
    error = sync_folder_of(s->path);
    return error ? fail_errno(err, error, "sync the folder of", s->path) : VD_OK;
}

vd_status vd_hnsw_save(vd_hnsw *index, const char *path, const char *name, vd_file_flags flags, vd_error *err) {
    size_t name_size = strlen(name);
    if (name_size == 0 || name_size > VD_INDEX_NAME_MAX_BYTES || !utf8_valid(name, name_size)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "name must be 1..%d bytes of UTF-8", VD_INDEX_NAME_MAX_BYTES);
    }
    vd_hnsw_options options;
    vd_hnsw_get_options(index, &options);
    lhv1_params params = {.dimension = options.dimension,
                          .m = options.m,
                          .ef_search = options.ef_search,
                          .ef_construction = options.ef_construction,
                          .metric = options.metric};
    memcpy(params.name, name, name_size);
    saving s = {.metadata = (flags & VD_FILE_METADATA) != 0, .path = path};
    vd_status status = vd_hnsw_snapshot_begin(index, &s.snapshot, err);
    if (status != VD_OK) {
        return status;
    }
    status = check_metadata(&s, err);
    if (status == VD_OK) {
        status = write_file(&s, &params, err);
    }
    vd_hnsw_snapshot_end(s.snapshot);
    return status;
}

/* ---- loading ---- */

static vd_status read_file(const char *path, uint8_t **data, size_t *size, vd_error *err) {
    const io_table *io = io_system();
    int fd;
    uint64_t whole = 0;
    uint8_t *block = NULL;
    int error = io->open(NULL, path, O_RDONLY, 0, &fd);
    if (error) {
        return fail_errno(err, error, "read", path);
    }
    error = io->size(NULL, fd, &whole);
    if (!error) {
        block = whole < SIZE_MAX ? malloc((size_t)whole + 1) : NULL;
        error = block ? io_read_full(io, fd, block, (size_t)whole, 0) : ENOMEM;
    }
    (void)io->close(NULL, fd);
    if (error) {
        free(block);
        return fail_errno(err, error, "read", path);
    }
    *data = block;
    *size = (size_t)whole;
    return VD_OK;
}

static void free_payload(void *context, void *payload) {
    (void)context;
    free(payload);
}

static vd_status new_index(const lhv1_params *params, const vd_hnsw_options *given, vd_file_flags flags, vd_hnsw **out,
                           vd_error *err) {
    vd_hnsw_options options = given ? *given : (vd_hnsw_options){0};
    if ((options.dimension && options.dimension != params->dimension) ||
        (options.metric && options.metric != params->metric)) {
        return vd_fail(err, VD_FAILED_PRECONDITION, NULL, "the file holds dimension %u and distance %s",
                       params->dimension, params->metric == VD_METRIC_COSINE ? "cosine" : "euclidean");
    }
    options.dimension = params->dimension;
    options.metric = params->metric;
    options.m = options.m ? options.m : params->m;
    options.ef_search = options.ef_search ? options.ef_search : params->ef_search;
    options.ef_construction = options.ef_construction ? options.ef_construction : params->ef_construction;
    if ((flags & VD_FILE_METADATA) && !options.release_payload) {
        options.release_payload = free_payload;
    }
    return vd_hnsw_new(&options, out, err);
}

/* A part of the file on its way into the index. */
typedef struct batch {
    vd_hnsw_item *items;
    float *vectors;
    size_t capacity;
    size_t count;
} batch;

static bool take_payload(const lhv1_node *node, void **out) {
    *out = NULL;
    if (!node->metadata.data) {
        return true;
    }
    char *text = malloc(node->metadata.size + 1);
    if (!text) {
        return false;
    }
    memcpy(text, node->metadata.data, node->metadata.size);
    text[node->metadata.size] = '\0';
    *out = text;
    return true;
}

static vd_status add_batch(vd_hnsw *index, const lhv1_frame *frame, batch *b, uint64_t first, vd_file_flags flags,
                           const vd_executor *executor, vd_error *err) {
    uint32_t dimension = lhv1_get_params(frame)->dimension;
    uint64_t left = lhv1_count(frame) - first;
    size_t wanted = left < b->capacity ? (size_t)left : b->capacity;
    vd_status status = VD_OK;
    b->count = 0;
    while (b->count < wanted && status == VD_OK) {
        lhv1_node node;
        float *vector = b->vectors + b->count * dimension;
        vd_hnsw_item *item = &b->items[b->count];
        lhv1_get_node(frame, first + b->count, &node);
        lhv1_vector(&node, dimension, vector);
        *item = (vd_hnsw_item){.id = node.id, .vector = vector};
        if ((flags & VD_FILE_METADATA) && !take_payload(&node, &item->payload)) {
            status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the metadata");
        }
        b->count++;
    }
    if (status == VD_OK) {
        status = vd_hnsw_add(index, b->items, b->count, executor, err);
    }
    for (size_t i = 0; status != VD_OK && i < b->count; i++) {
        free(b->items[i].payload); /* not taken */
    }
    return status;
}

static vd_status fill(vd_hnsw *index, const lhv1_frame *frame, vd_file_flags flags, const vd_executor *executor,
                      vd_error *err) {
    uint32_t dimension = lhv1_get_params(frame)->dimension;
    size_t per_batch = BATCH_BYTES / (dimension * sizeof(float));
    batch b = {.capacity = per_batch < BATCH_ITEMS ? per_batch : BATCH_ITEMS};
    if (b.capacity > lhv1_count(frame)) {
        b.capacity = (size_t)lhv1_count(frame) + 1; /* an empty index has no array of size 0 */
    }
    b.items = mem_alloc_array(alloc_default(), b.capacity, sizeof *b.items);
    b.vectors = mem_alloc_array(alloc_default(), b.capacity, dimension * sizeof(float));
    vd_status status = VD_OK;
    if (!b.items || !b.vectors) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a batch of %zu items", b.capacity);
    }
    for (uint64_t first = 0; status == VD_OK && first < lhv1_count(frame); first += b.count) {
        status = add_batch(index, frame, &b, first, flags, executor, err);
    }
    if (status == VD_OK && vd_hnsw_calibration_due(index)) {
        status = vd_hnsw_calibrate(index, executor, err);
    }
    free(b.items);
    free(b.vectors);
    return status;
}

vd_status vd_hnsw_load(const char *path, const vd_hnsw_options *options, vd_file_flags flags,
                       const vd_executor *executor, vd_hnsw **out, vd_error *err) {
    uint8_t *data = NULL;
    size_t size = 0;
    lhv1_frame *frame = NULL;
    vd_hnsw *index = NULL;
    vd_status status = read_file(path, &data, &size, err);
    if (status == VD_OK) {
        status = lhv1_open(bytes_of(data, size), &frame, err);
    }
    if (status == VD_OK) {
        status = new_index(lhv1_get_params(frame), options, flags, &index, err);
    }
    if (status == VD_OK) {
        status = fill(index, frame, flags, executor, err);
    }
    if (status == VD_OK) {
        *out = index; /* the caller owns it from here */
        index = NULL;
    }
    vd_hnsw_free(index);
    lhv1_close(frame);
    free(data);
    return status;
}
