/* folder_objects_int.h - what the files of the folder store share; nobody else includes it. */
#ifndef VECTORD_STORAGED_FOLDER_OBJECTS_INT_H
#define VECTORD_STORAGED_FOLDER_OBJECTS_INT_H

#include <limits.h>
#include <pthread.h>

#include "storaged/folder_objects.h"
#include "storaged/object_file.h"

typedef struct folder_objects {
    objects face; /* first */
    const io_table *io;
    char folder[PATH_MAX]; /* <dir>/objects */
    int lock_fd;
    _Atomic uint64_t next_temporary;
    pthread_mutex_t change_lock; /* held over "look at what is there, then change it" */
} folder_objects;

/* The path of the key's file into path[PATH_MAX]. */
vd_status folder_objects_path(const folder_objects *s, bytes key, char *path, vd_error *err);
/* Opens the file of `key`. OK; NOT_FOUND; DATA_LOSS: it is there, but its end does not vouch for it (*fd is open, info->etag is
 * "" and info->size that of the file). *fd is -1 or must be closed. */
vd_status folder_objects_look(const folder_objects *s, const char *path, bytes key, int *fd, object_info *info,
                              vd_error *err);
/* Reads the end of an open file: what it says, and the key in it. DATA_LOSS as above. */
vd_status folder_objects_tail(const folder_objects *s, int fd, object_info *info, uint8_t space[OBJECT_TAIL_MAX],
                              bytes *key, const char *name, vd_error *err);
/* Is the change allowed by what is there now? OK, FAILED_PRECONDITION, or why it cannot be told. Under change_lock. */
vd_status folder_objects_allows_locked(const folder_objects *s, const char *path, bytes key,
                                       const object_condition *condition, vd_error *err);

/* folder_objects_put.c */
vd_status folder_objects_put_begin(objects *face, bytes key, objects_put **out, vd_error *err);
vd_status folder_objects_put_write(objects_put *put, const void *data, size_t size, vd_error *err);
vd_status folder_objects_put_commit(objects_put *put, const object_condition *condition, object_info *out,
                                    vd_error *err);
void folder_objects_put_abort(objects_put *put);
/* folder_objects_list.c */
vd_status folder_objects_list(objects *face, bytes prefix, bytes after, size_t limit, objects_visit visit, void *arg,
                              bool *more, vd_error *err);

#endif
