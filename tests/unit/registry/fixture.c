/* fixture.c - see fixture.h. */
#include "unit/registry/fixture.h"

#include <errno.h>
#include <glob.h>
#include <math.h>

vd_status fixture_try_open(fixture *f, vd_error *err) {
    registry_options options = f->options;
    options.executor = executor_pool_get(f->pool);
    vd_status status = objstore_open_dir(f->path, &f->io.table, &options.store, err);
    if (status == VD_OK) {
        status = registry_open(&options, &f->r, err);
        if (status != VD_OK) {
            objstore_close(options.store);
        }
    }
    return status;
}

void fixture_open(fixture *f) {
    vd_error err = {0};
    if (fixture_try_open(f, &err) != VD_OK) {
        fail_msg("open: %s", err.text);
    }
    assert_true(registry_wait_loaded(f->r, 60000));
}

void fixture_close(fixture *f) {
    registry_close(f->r);
    f->r = NULL;
}

int fixture_setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    log_setup(getenv("VD_TEST_LOG") ? LOG_DEBUG : LOG_ERROR + 1, LOG_FORMAT_TEXT);
    check_make_folder(f->path);
    fault_io_init(&f->io);
    f->options.snapshot_idle_ms = 3600 * 1000; /* nothing in the background unless a test asks for it */
    OK(executor_pool_new(2, &f->pool));
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state) {
    fixture *f = *state;
    fault_io_arm(&f->io, 0, 0, false);
    registry_close(f->r);
    executor_pool_free(f->pool);
    check_remove_folder(f->path);
    free(f);
    return 0;
}

void fixture_crash_closed(fixture *f) {
    fault_io_arm(&f->io, 1, EIO, true);
    fixture_close(f);
    fault_io_arm(&f->io, 0, 0, false);
}

void fixture_crash(fixture *f) {
    fixture_crash_closed(f);
    fixture_open(f);
}

void make_index(fixture *f, const char *name, vd_metric distance) {
    index_params params = {.name = bytes_str(name),
                           .dimension = DIM,
                           .m = VD_M_DEFAULT,
                           .ef_search = VD_EF_SEARCH_DEFAULT,
                           .ef_construction = VD_EF_CONSTRUCTION_DEFAULT,
                           .metric = distance};
    vd_error err = {0};
    if (registry_create(f->r, &params, (bytes){NULL, 0}, NULL, &err) != VD_OK) {
        fail_msg("create %s: %s", name, err.text);
    }
}

vd_index *get_index(fixture *f, const char *name) {
    vd_index *index = NULL;
    OK(registry_acquire(f->r, bytes_str(name), &index, NULL));
    return index;
}

void test_vector(uint32_t i, float out[DIM]) {
    for (uint32_t d = 0; d < DIM; d++) {
        uint32_t h = (i * DIM + d + 1) * 2654435761u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        out[d] = (float)h / 4294967296.0f - 0.5f;
    }
    out[0] += 1.0f + (float)i * 0.001f;
}

/* ---- the model ---- */

static model_item *model_find(model *m, const char *id) {
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->items[i].id, id) == 0) {
            return &m->items[i];
        }
    }
    return NULL;
}

void model_put(model *m, const char *id, uint32_t vector, const char *metadata) {
    model_item *item = model_find(m, id);
    if (!item) {
        assert_true(m->count < sizeof m->items / sizeof m->items[0]);
        item = &m->items[m->count++];
        *item = (model_item){0};
        snprintf(item->id, sizeof item->id, "%s", id);
    }
    item->vector = vector;
    if (metadata) {
        snprintf(item->metadata, sizeof item->metadata, "%s", strcmp(metadata, "{}") == 0 ? "" : metadata);
    }
}

void model_remove(model *m, const char *id) {
    model_item *item = model_find(m, id);
    if (item) {
        *item = m->items[--m->count];
    }
}

vd_status add_one(vd_index *index, const char *id, uint32_t vector, const char *metadata, const char *request_id,
                  index_write_result *result, vd_error *err) {
    float values[DIM];
    test_vector(vector, values);
    index_item item = {.id = bytes_str(id), .vector = values, .vector_count = DIM};
    if (metadata) {
        item.metadata = bytes_str(metadata);
    }
    index_write_result own;
    return index_add(index, &item, 1, request_id ? REQUEST(request_id) : NULL, result ? result : &own, err);
}

vd_status delete_some(vd_index *index, const bytes *ids, size_t count, const char *request_id, uint64_t *deleted,
                      vd_error *err) {
    index_write_result result = {0};
    vd_status status = index_delete_items(index, ids, count, request_id ? REQUEST(request_id) : NULL, &result, err);
    if (deleted) {
        *deleted = result.affected;
    }
    return status;
}

void put_one(vd_index *index, model *m, const char *id, uint32_t vector, const char *metadata) {
    vd_error err = {0};
    if (add_one(index, id, vector, metadata, NULL, NULL, &err) != VD_OK) {
        fail_msg("add %s: %s", id, err.text);
    }
    model_put(m, id, vector, metadata);
}

void check_model(vd_index *index, const model *m) {
    OK(index_check_ready(index, NULL));
    assert_int_equal(vd_hnsw_count(index->engine), m->count);
    vd_hnsw_guard guard;
    vd_hnsw_enter(index->engine, &guard);
    const char *wrong = NULL;
    for (size_t i = 0; i < m->count && !wrong; i++) {
        const model_item *item = &m->items[i];
        float wanted[DIM], got[DIM];
        void *payload = NULL;
        test_vector(item->vector, wanted);
        vd_id id = {item->id, (uint32_t)strlen(item->id)};
        if (vd_hnsw_get(index->engine, id, got, &payload) != VD_OK || memcmp(wanted, got, sizeof got) != 0 ||
            !bytes_equal(index_payload_bytes(payload), bytes_str(item->metadata)) ||
            (payload == NULL) != (item->metadata[0] == '\0')) {
            wrong = item->id;
        }
    }
    vd_hnsw_leave(index->engine, &guard);
    if (wrong) {
        fail_msg("item %s is missing or not as it was stored", wrong);
    }
}

/* ---- files ---- */

static size_t find_files(const fixture *f, const char *pattern, char *last, size_t capacity) {
    char path[700];
    snprintf(path, sizeof path, "%s/%s", f->path, pattern);
    glob_t found;
    size_t count = 0;
    if (glob(path, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            if (!strstr(found.gl_pathv[i], CATALOG_FOLDER)) {
                snprintf(last, capacity, "%s", found.gl_pathv[i]);
                count++;
            }
        }
    }
    globfree(&found);
    return count;
}

size_t count_files(const fixture *f, const char *pattern) {
    char last[600];
    return find_files(f, pattern, last, sizeof last);
}

void only_file(const fixture *f, const char *pattern, char out[600]) {
    size_t count = find_files(f, pattern, out, 600);
    if (count != 1) {
        fail_msg("%zu files match %s, not one", count, pattern);
    }
}

void write_file(const char *path, bytes data) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data.data, 1, data.size, file), data.size);
    assert_int_equal(fclose(file), 0);
}
