/*
 * folder_objects_put.c - a put: a temporary in the folder, written and hashed as the bytes come, ended with its trailer, synced,
 * and then renamed over the target under `change_lock` if the condition holds at that moment. At every moment the key has the
 * old object or the new one.
 */
#include <stdlib.h>
#include <string.h>

#include "storaged/folder_objects_int.h"
#include "store/folder.h"

/* An object of GBs must not become one sync at the end: it would stall every other put on the same disk. */
#define SYNC_STEP_BYTES (64u * 1024u * 1024u)

struct objects_put {
    folder_objects *store;
    checksum *sum;
    int fd;
    uint64_t size, unsynced;
    char path[PATH_MAX], temporary[PATH_MAX];
    size_t key_size;
    char key[VD_OBJECT_KEY_MAX_BYTES + 1];
};

static void put_free(objects_put *put) {
    checksum_free(put->sum);
    free(put);
}

vd_status folder_objects_put_begin(objects *face, bytes key, objects_put **out, vd_error *err) {
    folder_objects *s = (folder_objects *)face;
    objects_put *put = calloc(1, sizeof *put);
    if (put) {
        put->sum = checksum_new();
    }
    if (!put || !put->sum) {
        free(put);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    put->store = s;
    put->key_size = key.size;
    memcpy(put->key, key.data, key.size);
    vd_status status = folder_objects_path(s, key, put->path, err);
    if (status == VD_OK) {
        status = folder_temporary(s->io, s->folder, &s->next_temporary, put->temporary, &put->fd, put->key, err);
        status = status == VD_NOT_FOUND ? VD_INTERNAL : status; /* the folder is gone: no word about the object */
    }
    if (status != VD_OK) {
        put_free(put);
        return status;
    }
    *out = put;
    return VD_OK;
}

vd_status folder_objects_put_write(objects_put *put, const void *data, size_t size, vd_error *err) {
    const io_table *io = put->store->io;
    if (!checksum_add(put->sum, data, size)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    int error = io_write_full(io, put->fd, data, size, put->size);
    if (error) {
        return folder_fail(err, error, "write", put->key);
    }
    put->size += size;
    put->unsynced += size;
    if (put->unsynced >= SYNC_STEP_BYTES) {
        put->unsynced = 0;
        error = io->data_sync(io->context, put->fd);
        if (error) {
            return folder_fail(err, error, "sync", put->key);
        }
    }
    return VD_OK;
}

void folder_objects_put_abort(objects_put *put) {
    const io_table *io = put->store->io;
    if (put->fd >= 0) {
        (void)io->close(io->context, put->fd);
    }
    (void)io->unlink(io->context, put->temporary);
    put_free(put);
}

/* Writes the trailer and makes the file durable under its temporary name. */
static vd_status seal(objects_put *put, object_info *info, vd_error *err) {
    const io_table *io = put->store->io;
    uint8_t sum[CHECKSUM_BYTES], tail[OBJECT_TAIL_MAX];
    if (!checksum_end(put->sum, sum)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    size_t size = object_tail_encode(bytes_of(put->key, put->key_size), put->size, sum, tail);
    int error = io_write_full(io, put->fd, tail, size, put->size);
    if (!error) {
        error = io->sync(io->context, put->fd);
    }
    int close_error = io->close(io->context, put->fd);
    put->fd = -1;
    error = error ? error : close_error;
    if (error) {
        return folder_fail(err, error, "write", put->key);
    }
    info->size = put->size;
    hex_encode(sum, sizeof sum, info->etag);
    return VD_OK;
}

vd_status folder_objects_put_commit(objects_put *put, const object_condition *condition, object_info *out,
                                    vd_error *err) {
    folder_objects *s = put->store;
    vd_status status = seal(put, out, err);
    if (status == VD_OK) {
        pthread_mutex_lock(&s->change_lock);
        status = folder_objects_allows_locked(s, put->path, bytes_of(put->key, put->key_size), condition, err);
        int error = status == VD_OK ? s->io->rename(s->io->context, put->temporary, put->path) : 0;
        pthread_mutex_unlock(&s->change_lock);
        if (error) {
            status = folder_fail(err, error, "write", put->key);
        }
    }
    if (status != VD_OK) {
        folder_objects_put_abort(put);
        return status == VD_NOT_FOUND ? VD_INTERNAL : status; /* the folder is gone: no word about the object */
    }
    int error = folder_sync(s->io, s->folder);
    if (error) { /* visible, and perhaps not durable: the client hears that it failed and puts it again */
        status = folder_fail(err, error, "sync the folder of", put->key);
        status = status == VD_NOT_FOUND ? VD_INTERNAL : status;
    }
    put_free(put);
    return status;
}
