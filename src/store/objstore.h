/*
 * objstore.h - where frames and journals are kept: a vtable with one implementation per kind of store (dir.c, storaged.c; S3
 * later). Keys are UTF-8 with "/" between segments, e.g. "_vectors/fruit.lhv1"; what a store does to make them safe
 * (percent-encoding of file names or of the wire) is its own affair and invisible here.
 *
 * Keys in use:  _vectors/<name>.lhv1                         the frame (snapshot) of an index
 *               _vectors/.journal/<epoch hex>/<first seq hex> journal segments of the index with that epoch
 *
 * Threading: all functions may be called from any thread; one put or log object belongs to one thread at a time.
 * Errors: NOT_FOUND means missing and nothing else; ALREADY_EXISTS from a conditional put; DISK_FULL for ENOSPC and EDQUOT;
 * UNAVAILABLE for what may pass; INTERNAL for the rest. err->text names the key and the system's reason.
 */
#ifndef VECTORD_STORE_OBJSTORE_H
#define VECTORD_STORE_OBJSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "store/io.h"
#include "vectord/status.h"

typedef struct objstore objstore;
typedef struct objstore_put objstore_put;
typedef struct objstore_log objstore_log;

/* A whole object in memory; release with objstore_blob_release. */
typedef struct objstore_blob {
    const uint8_t *data;
    size_t size;
    void (*release)(struct objstore_blob *blob);
    void *owner;
} objstore_blob;
static inline void objstore_blob_release(objstore_blob *blob) {
    if (blob->release) {
        blob->release(blob);
        blob->release = NULL;
    }
}

typedef struct objstore_vtable {
    const char *kind; /* "dir", "storaged" */
    /* Over a network: its failures may be outages that pass, and its objects cannot grow, so a log is one put at log_sync and
     * nothing can be appended to it afterwards; log_create asks nobody, and an existing key shows at log_sync. Putting the same
     * log again, after an answer was lost, is a success. */
    bool remote;
    vd_status (*get)(objstore *s, const char *key, objstore_blob *out, vd_error *err);
    /* A put becomes visible, whole and durable, at commit; until then (and after abort) the old object stands.
     * if_absent: commit fails with ALREADY_EXISTS when the key has an object. Commit and abort both free the put. */
    vd_status (*put_begin)(objstore *s, const char *key, bool if_absent, objstore_put **out, vd_error *err);
    vd_status (*put_write)(objstore_put *put, const void *data, size_t size, vd_error *err);
    vd_status (*put_commit)(objstore_put *put, vd_error *err);
    void (*put_abort)(objstore_put *put);
    /* Missing is not an error. Durable when it returns. */
    vd_status (*remove)(objstore *s, const char *key, vd_error *err);
    /* Keeps an object for a person to look at, out of the way: new key "<key>.aside-<n>", never listed by `list`. */
    vd_status (*set_aside)(objstore *s, const char *key, vd_error *err);
    /* Every key with the prefix, in no particular order; unknown files and leftovers of our own puts are not shown. */
    vd_status (*list)(objstore *s, const char *prefix, vd_status (*visit)(void *arg, const char *key, uint64_t size),
                      void *arg, vd_error *err);
    /* An object that grows: what was appended is durable when log_sync returns. A failed append or sync leaves the log
     * `broken` (every later call fails with the same status): close it and begin another; a failed sync is never retried
     * as a success. log_create fails with ALREADY_EXISTS for an existing key. */
    vd_status (*log_create)(objstore *s, const char *key, objstore_log **out, vd_error *err);
    vd_status (*log_append)(objstore_log *log, const void *data, size_t size, vd_error *err);
    vd_status (*log_sync)(objstore_log *log, vd_error *err);
    void (*log_close)(objstore_log *log);
    void (*close)(objstore *s);
} objstore_vtable;

/* First member of every implementation's struct. */
struct objstore {
    const objstore_vtable *v;
};

/*
 * The directory store. Makes `path` (and parents) when missing, takes an exclusive lock on `path`/LOCK (FAILED_PRECONDITION
 * "... is in use by another vectord: ..." when held), sweeps temporaries of our own naming. io NULL: the system's.
 * Returns owned (close with objstore_close).
 */
vd_status objstore_open_dir(const char *path, const io_table *io, objstore **out, vd_error *err);

static inline void objstore_close(objstore *s) {
    if (s) {
        s->v->close(s);
    }
}

#endif
