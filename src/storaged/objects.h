/*
 * objects.h - what stands behind the daemon's door: objects with strong ETags, conditions that are evaluated together with the
 * change, pages of keys. One implementation per kind of place (folder.c now; S3 later), all behind this vtable.
 *
 * Keys have passed object_key_check before they come here.
 *
 * Threading: all functions may be called from any thread; one put or reader belongs to one thread at a time.
 * Statuses: NOT_FOUND is "there is no such object" and nothing else; FAILED_PRECONDITION is a condition that does not hold;
 * DATA_LOSS an object that is there and damaged; DISK_FULL, UNAVAILABLE, OUT_OF_MEMORY, INTERNAL as everywhere. What was not
 * committed has changed nothing.
 */
#ifndef VECTORD_STORAGED_OBJECTS_H
#define VECTORD_STORAGED_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "storaged/condition.h"
#include "store/checksum.h"
#include "vectord/status.h"

typedef struct objects objects;
typedef struct objects_put objects_put;
typedef struct objects_reader objects_reader;

typedef struct object_info {
    uint64_t size;
    char etag[CHECKSUM_HEX_BYTES]; /* "": damaged, its bytes cannot be vouched for */
} object_info;

/* One line of a listing. Returning something other than OK ends the walk with that status. */
typedef vd_status (*objects_visit)(void *arg, const char *key, const object_info *info);

typedef struct objects_vtable {
    const char *kind; /* "folder" */
    /* Becomes visible, whole and durable, at commit; until then (and after abort) what was there stands. Commit and abort both
     * free the put. Commit checks `condition` together with the change and says what is now stored. */
    vd_status (*put_begin)(objects *o, bytes key, objects_put **out, vd_error *err);
    vd_status (*put_write)(objects_put *put, const void *data, size_t size, vd_error *err);
    vd_status (*put_commit)(objects_put *put, const object_condition *condition, object_info *out, vd_error *err);
    void (*put_abort)(objects_put *put);
    /* The bytes stay those of this moment, whatever happens to the key. `out` may be NULL: only the info. */
    vd_status (*open)(objects *o, bytes key, object_info *info, objects_reader **out, vd_error *err);
    vd_status (*read)(objects_reader *r, uint64_t offset, void *data, size_t size, vd_error *err);
    void (*close_reader)(objects_reader *r);
    /* NOT_FOUND when there was nothing (and then it is durable that there is nothing). */
    vd_status (*remove)(objects *o, bytes key, const object_condition *condition, vd_error *err);
    /* At most `limit` keys that begin with `prefix` and come after `after` ("" : from the start), sorted by bytes. *more: there
     * are further ones. */
    vd_status (*list)(objects *o, bytes prefix, bytes after, size_t limit, objects_visit visit, void *arg, bool *more,
                      vd_error *err);
    void (*close)(objects *o);
} objects_vtable;

/* First member of every implementation's struct. */
struct objects {
    const objects_vtable *v;
};

static inline void objects_close(objects *o) {
    if (o) {
        o->v->close(o);
    }
}

#endif
