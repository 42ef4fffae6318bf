/*
 * folder_objects.c - opening the folder, reading and removing objects.
 *
 * Threading: `change_lock` is held over the step that makes a change visible together with the look at what was there before, so
 * that conditions are exact; `next_temporary` is atomic; everything else is fixed once the store is open. No lock is held over
 * the data of an object or over a sync.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "storaged/folder_objects_int.h"
#include "store/folder.h"

struct objects_reader {
    const folder_objects *store;
    int fd;
};

vd_status folder_objects_path(const folder_objects *s, bytes key, char *path, vd_error *err) {
    char name[OBJECT_NAME_MAX + 1];
    if (!object_name(key, name)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    return folder_join(path, err, s->folder, name);
}

vd_status folder_objects_tail(const folder_objects *s, int fd, object_info *info, uint8_t space[OBJECT_TAIL_MAX],
                              bytes *key, const char *name, vd_error *err) {
    uint64_t file_size = 0;
    *info = (object_info){0};
    int error = s->io->size(s->io->context, fd, &file_size);
    size_t tail = file_size < OBJECT_TAIL_MAX ? (size_t)file_size : OBJECT_TAIL_MAX;
    if (!error) {
        error = io_read_full(s->io, fd, space, tail, file_size - tail);
    }
    if (error) {
        vd_status status = folder_fail(err, error, "read", name);
        return status == VD_NOT_FOUND ? VD_INTERNAL : status;
    }
    object_tail t;
    if (!object_tail_decode(bytes_of(space, tail), file_size, &t, key)) {
        info->size = file_size;
        return vd_fail(err, VD_DATA_LOSS, NULL,
                       "%.200s is damaged: its file does not end as an object does; put it again or delete it", name);
    }
    info->size = t.content_size;
    hex_encode(t.sum, sizeof t.sum, info->etag);
    return VD_OK;
}

vd_status folder_objects_look(const folder_objects *s, const char *path, bytes key, int *fd, object_info *info,
                              vd_error *err) {
    uint8_t space[OBJECT_TAIL_MAX];
    char name[VD_OBJECT_KEY_MAX_BYTES + 1];
    bytes own;
    memcpy(name, key.data, key.size);
    name[key.size] = '\0';
    int error = s->io->open(s->io->context, path, O_RDONLY, 0, fd);
    if (error) {
        *fd = -1;
        return error == ENOENT ? vd_fail(err, VD_NOT_FOUND, NULL, "not found") : folder_fail(err, error, "read", name);
    }
    vd_status status = folder_objects_tail(s, *fd, info, space, &own, name, err);
    if (status == VD_OK && !bytes_equal(own, key)) {
        info->etag[0] = '\0';
        status = vd_fail(err, VD_DATA_LOSS, NULL, "%.200s is damaged: its file says that it holds another key", name);
    }
    return status;
}

vd_status folder_objects_allows_locked(const folder_objects *s, const char *path, bytes key,
                                       const object_condition *condition, vd_error *err) {
    if (!condition->if_match && !condition->if_none_match) {
        return VD_OK;
    }
    int fd;
    object_info info;
    vd_status status = folder_objects_look(s, path, key, &fd, &info, err);
    if (fd >= 0) {
        (void)s->io->close(s->io->context, fd);
    }
    if (status != VD_OK && status != VD_NOT_FOUND && status != VD_DATA_LOSS) {
        return status;
    }
    if (!condition_holds(condition, status == VD_NOT_FOUND ? NULL : info.etag)) {
        return vd_fail(err, VD_FAILED_PRECONDITION, NULL, "precondition failed: %s",
                       status == VD_NOT_FOUND     ? "there is no such object"
                       : condition->if_none_match ? "there is such an object already"
                                                  : "the object is another one by now");
    }
    return VD_OK;
}

/* ---- reading ---- */

static vd_status open_object(objects *face, bytes key, object_info *info, objects_reader **out, vd_error *err) {
    const folder_objects *s = (const folder_objects *)face;
    char path[PATH_MAX];
    int fd = -1;
    vd_status status = folder_objects_path(s, key, path, err);
    if (status == VD_OK) {
        status = folder_objects_look(s, path, key, &fd, info, err);
    }
    objects_reader *r = status == VD_OK && out ? calloc(1, sizeof *r) : NULL;
    if (status == VD_OK && out && !r) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    if (r) {
        *r = (objects_reader){s, fd};
        *out = r;
    } else if (fd >= 0) {
        (void)s->io->close(s->io->context, fd); /* nothing was written: a failed close loses nothing */
    }
    return status;
}

static vd_status read_object(objects_reader *r, uint64_t offset, void *data, size_t size, vd_error *err) {
    int error = io_read_full(r->store->io, r->fd, data, size, offset);
    return error ? folder_fail(err, error, "read", "an object") : VD_OK;
}

static void close_reader(objects_reader *r) {
    if (r) {
        (void)r->store->io->close(r->store->io->context, r->fd);
        free(r);
    }
}

/* ---- removing ---- */

static vd_status remove_object(objects *face, bytes key, const object_condition *condition, vd_error *err) {
    folder_objects *s = (folder_objects *)face;
    char path[PATH_MAX];
    vd_status status = folder_objects_path(s, key, path, err);
    if (status != VD_OK) {
        return status;
    }
    int error = 0;
    pthread_mutex_lock(&s->change_lock);
    status = folder_objects_allows_locked(s, path, key, condition, err);
    if (status == VD_OK) {
        error = s->io->unlink(s->io->context, path);
    }
    pthread_mutex_unlock(&s->change_lock);
    if (status != VD_OK) {
        return status;
    }
    bool missing = error == ENOENT;
    if (!error || missing) {
        /* also when it was missing: an earlier remove may have failed between the unlink and the sync */
        error = folder_sync(s->io, s->folder);
    }
    if (error) {
        status = folder_fail(err, error, "remove", path + strlen(s->folder) + 1);
        return status == VD_NOT_FOUND ? VD_INTERNAL : status; /* the folder is gone */
    }
    return missing ? vd_fail(err, VD_NOT_FOUND, NULL, "not found") : VD_OK;
}

/* ---- the store itself ---- */

static void close_store(objects *face) {
    folder_objects *s = (folder_objects *)face;
    if (s->lock_fd >= 0) {
        (void)s->io->close(s->io->context, s->lock_fd); /* gives the lock back */
    }
    pthread_mutex_destroy(&s->change_lock);
    free(s);
}

static const objects_vtable vtable = {
    .kind = "folder",
    .put_begin = folder_objects_put_begin,
    .put_write = folder_objects_put_write,
    .put_commit = folder_objects_put_commit,
    .put_abort = folder_objects_put_abort,
    .open = open_object,
    .read = read_object,
    .close_reader = close_reader,
    .remove = remove_object,
    .list = folder_objects_list,
    .close = close_store,
};

vd_status folder_objects_open(const char *path, const io_table *io, objects **out, vd_error *err) {
    if (path[0] == '\0') {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "the directory has an empty path");
    }
    folder_objects *s = calloc(1, sizeof *s);
    if (!s) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "open %s: out of memory", path);
    }
    s->face.v = &vtable;
    s->io = io ? io : io_system();
    s->lock_fd = -1;
    pthread_mutex_init(&s->change_lock, NULL);
    int error = folder_make(s->io, path);
    vd_status status = error ? folder_fail(err, error, "make directory", path)
                             : folder_lock(s->io, path, "storaged", &s->lock_fd, err);
    if (status == VD_OK) {
        status = folder_join(s->folder, err, path, "objects");
    }
    if (status == VD_OK) {
        error = folder_make(s->io, s->folder);
        if (error) {
            status = folder_fail(err, error, "make directory", s->folder);
        }
    }
    if (status != VD_OK) {
        close_store(&s->face);
        return status;
    }
    folder_sweep(s->io, s->folder);
    *out = &s->face;
    return VD_OK;
}
