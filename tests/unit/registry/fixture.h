/*
 * fixture.h - what the tests of the registry share: a store in a folder of its own, a registry on it that can be closed, opened
 * again or left behind as a crash would leave it, and a model of what must be in an index.
 */
#ifndef VECTORD_TESTS_REGISTRY_FIXTURE_H
#define VECTORD_TESTS_REGISTRY_FIXTURE_H

#include "unit/store/check.h"

#include "base/executor.h"
#include "base/log.h"
#include "registry/registry_int.h"
#include "unit/store/fault_io.h"

#define DIM 4u

typedef struct fixture {
    char path[256];
    fault_io io;
    executor_pool *pool;
    registry *r;
    registry_options options; /* used by each open; store is set there */
} fixture;

int fixture_setup(void **state);    /* opens an empty store */
int fixture_teardown(void **state); /* closes, removes */

vd_status fixture_try_open(fixture *f, vd_error *err);
void fixture_open(fixture *f); /* and waits until everything is loaded */
void fixture_close(fixture *f);
/* The process dies: from this moment no I/O call of it does anything (a write that was on its way may be there by half), and
 * another process opens what is on the disk. */
void fixture_crash(fixture *f);
/* The same without opening: the caller has something to break first. */
void fixture_crash_closed(fixture *f);

void make_index(fixture *f, const char *name, vd_metric distance);
vd_index *get_index(fixture *f, const char *name); /* release it */

/* The i-th vector of a fixed sequence; no two alike, none zero. */
void test_vector(uint32_t i, float out[DIM]);

/* ---- the model ---- */
typedef struct model_item {
    char id[64];
    uint32_t vector;   /* number of test_vector */
    char metadata[64]; /* "": none */
} model_item;
typedef struct model {
    model_item items[4096];
    size_t count;
} model;
void model_put(model *m, const char *id, uint32_t vector, const char *metadata); /* metadata NULL: keep; "{}": clear */
void model_remove(model *m, const char *id);
/* Does both: the index and the model. */
void put_one(vd_index *index, model *m, const char *id, uint32_t vector, const char *metadata);
/* Exactly these items, bit for bit; fails the test with the first difference. */
void check_model(vd_index *index, const model *m);

/* One item straight to the index. */
vd_status add_one(vd_index *index, const char *id, uint32_t vector, const char *metadata, const char *request_id,
                  index_write_result *result, vd_error *err);

#define REQUEST(text) (&(index_write){.request_id = bytes_str(text)})
/* Deletes items; request_id and deleted may be NULL. */
vd_status delete_some(vd_index *index, const bytes *ids, size_t count, const char *request_id, uint64_t *deleted,
                      vd_error *err);

/* ---- files ---- */
/* The catalog's own files are left out by both: they are not an index's. */
#define CATALOG_FOLDER ".journal/00000000000000000000000000000000"
/* The only file whose path matches `pattern` (shell glob below f->path); fails when there is not exactly one. */
void only_file(const fixture *f, const char *pattern, char out[600]);
size_t count_files(const fixture *f, const char *pattern);
void write_file(const char *path, bytes data);

#endif
