/*
 * dir.c - the directory store: objects as files.
 *
 *   <dir>/LOCK                                 held with flock for as long as the store is open
 *   <dir>/_vectors/<name>.lhv1                 name percent-encoded: "/", "%" and a leading "." (and bytes below 0x20)
 *   <dir>/_vectors/.journal/<epoch>/<seq>      as in the key
 *   <dir>/_vectors/.put-<16 hex digits>        a put that is not committed; swept at open
 *   <file>.aside-<n>                           set aside for a person; never listed, never touched again
 *
 * A put writes a temporary in the folder of its target, syncs it, renames it over the target (or links it there, when the
 * target must not exist) and syncs the folder: at every moment the key has the old object or the new one. Files that this
 * store did not name are ignored and left alone. Objects are read into memory, never mapped: a bad sector is then an error
 * and not a SIGBUS.
 *
 * A failed append or sync of a log cuts the file back to what was durable before (as far as the disk still obeys), so that
 * an unfinished record does not stand in front of the next segment.
 *
 * Threading: `rename_lock` is held over the step that makes a put visible, so that put-if-absent stays exact on file systems
 * without hard links; `next_temporary` is atomic; everything else is fixed once the store is open. No lock is held over
 * data writes or syncs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "store/dir_names.h"
#include "store/folder.h"
#include "store/objstore.h"

#define FRAME_SUFFIX ".lhv1"
#define ASIDE_MARK   ".aside-"

/* ".aside-1" ... : more damaged copies of one object than anybody looks at */
#define ASIDE_MAX 1000u
/* A frame of many GB must not become one sync at the end: it would stall every journal on the same disk. */
#define SYNC_STEP_BYTES (64u * 1024u * 1024u)

typedef struct dir_store {
    objstore face; /* first */
    const io_table *io;
    char *root; /* without a trailing "/" */
    int lock_fd;
    _Atomic uint64_t next_temporary;
    pthread_mutex_t rename_lock;
} dir_store;

struct objstore_put {
    dir_store *store;
    char *key;
    dir_location at;
    char temporary[PATH_MAX];
    int fd;
    bool if_absent;
    uint64_t size;
    uint64_t unsynced;
};

struct objstore_log {
    dir_store *store;
    char *key;
    int fd;
    uint64_t size;
    uint64_t durable; /* size at the last good sync */
    vd_status broken; /* OK, or what every later call answers */
    char reason[128];
};

/* ---- reading ---- */

static void release_blob(objstore_blob *blob) {
    free(blob->owner);
    blob->owner = NULL;
    blob->data = NULL;
    blob->size = 0;
}

static vd_status dir_get(objstore *face, const char *key, objstore_blob *out, vd_error *err) {
    dir_store *s = (dir_store *)face;
    dir_location at;
    vd_status status = dir_locate(s->root, key, &at, err);
    if (status != VD_OK) {
        return status;
    }
    int fd;
    int error = s->io->open(s->io->context, at.path, O_RDONLY, 0, &fd);
    if (error) {
        return folder_fail(err, error, "read", key);
    }
    uint64_t size;
    uint8_t *data = NULL;
    error = s->io->size(s->io->context, fd, &size);
    if (!error) {
        data = size < SIZE_MAX ? malloc((size_t)size + 1) : NULL;
        error = data ? io_read_full(s->io, fd, data, (size_t)size, 0) : ENOMEM;
    }
    (void)s->io->close(s->io->context, fd); /* nothing was written: a failed close loses nothing */
    if (error) {
        free(data);
        return folder_fail(err, error, "read", key);
    }
    *out = (objstore_blob){.data = data, .size = (size_t)size, .release = release_blob, .owner = data};
    return VD_OK;
}

static vd_status visit_file(const dir_store *s, const char *folder, const char *file, const char *key,
                            const char *prefix, vd_status (*visit)(void *arg, const char *key, uint64_t size),
                            void *arg, vd_error *err) {
    if (strncmp(key, prefix, strlen(prefix)) != 0) {
        return VD_OK;
    }
    char path[PATH_MAX];
    vd_status status = folder_join(path, err, folder, file);
    if (status != VD_OK) {
        return status;
    }
    int fd;
    uint64_t size = 0;
    int error = s->io->open(s->io->context, path, O_RDONLY, 0, &fd);
    if (!error) {
        error = s->io->size(s->io->context, fd, &size);
        (void)s->io->close(s->io->context, fd);
    }
    if (error == ENOENT) {
        return VD_OK; /* removed since the folder was read */
    }
    return error ? folder_fail(err, error, "list", key) : visit(arg, key, size);
}

static bool ends_with(const char *text, const char *suffix) {
    size_t size = strlen(text), tail = strlen(suffix);
    return size > tail && strcmp(text + size - tail, suffix) == 0;
}

static vd_status list_frames(const dir_store *s, const char *prefix,
                             vd_status (*visit)(void *arg, const char *key, uint64_t size), void *arg, vd_error *err) {
    char folder[PATH_MAX];
    vd_status status = folder_join(folder, err, s->root, "_vectors");
    if (status != VD_OK) {
        return status;
    }
    folder_names files;
    int error = folder_list(s->io, folder, false, &files);
    if (error) {
        status = folder_fail(err, error, "list", KEY_PREFIX);
    }
    for (size_t i = 0; status == VD_OK && i < files.count; i++) {
        char key[sizeof KEY_PREFIX + NAME_MAX] = KEY_PREFIX;
        if (ends_with(files.names[i], FRAME_SUFFIX) &&
            dir_decode_name(files.names[i], key + strlen(KEY_PREFIX), sizeof key - strlen(KEY_PREFIX))) {
            status = visit_file(s, folder, files.names[i], key, prefix, visit, arg, err);
        }
    }
    folder_names_fini(&files);
    return status;
}

static vd_status list_epoch(const dir_store *s, const char *journal, const char *epoch, const char *prefix,
                            vd_status (*visit)(void *arg, const char *key, uint64_t size), void *arg, vd_error *err) {
    char folder[PATH_MAX];
    vd_status status = folder_join(folder, err, journal, epoch);
    if (status != VD_OK) {
        return status;
    }
    folder_names files;
    int error = folder_list(s->io, folder, false, &files);
    if (error) {
        status = folder_fail(err, error, "list", JOURNAL_PREFIX);
    }
    for (size_t i = 0; status == VD_OK && i < files.count; i++) {
        char key[sizeof JOURNAL_PREFIX + 2 * KEY_HEX_MAX + 1];
        size_t size = strlen(files.names[i]);
        if (size <= KEY_HEX_MAX && folder_is_hex(files.names[i], size)) {
            snprintf(key, sizeof key, JOURNAL_PREFIX "%s/%s", epoch, files.names[i]);
            status = visit_file(s, folder, files.names[i], key, prefix, visit, arg, err);
        }
    }
    folder_names_fini(&files);
    return status;
}

static vd_status list_journals(const dir_store *s, const char *prefix,
                               vd_status (*visit)(void *arg, const char *key, uint64_t size), void *arg,
                               vd_error *err) {
    char journal[PATH_MAX];
    vd_status status = folder_join(journal, err, s->root, "_vectors/.journal");
    if (status != VD_OK) {
        return status;
    }
    folder_names epochs;
    int error = folder_list(s->io, journal, true, &epochs);
    if (error) {
        status = folder_fail(err, error, "list", JOURNAL_PREFIX);
    }
    for (size_t i = 0; status == VD_OK && i < epochs.count; i++) {
        size_t size = strlen(epochs.names[i]);
        if (size <= KEY_HEX_MAX && folder_is_hex(epochs.names[i], size)) {
            status = list_epoch(s, journal, epochs.names[i], prefix, visit, arg, err);
        }
    }
    folder_names_fini(&epochs);
    return status;
}

/* Whether some key beginning with `area` can begin with `prefix` too. */
static bool overlaps(const char *prefix, const char *area) {
    size_t size = strlen(prefix), area_size = strlen(area);
    return strncmp(prefix, area, size < area_size ? size : area_size) == 0;
}

static vd_status dir_list(objstore *face, const char *prefix,
                          vd_status (*visit)(void *arg, const char *key, uint64_t size), void *arg, vd_error *err) {
    const dir_store *s = (const dir_store *)face;
    vd_status status = VD_OK;
    if (overlaps(prefix, KEY_PREFIX)) {
        status = list_frames(s, prefix, visit, arg, err);
    }
    if (status == VD_OK && overlaps(prefix, JOURNAL_PREFIX)) {
        status = list_journals(s, prefix, visit, arg, err);
    }
    return status;
}

/* ---- puts ---- */

static void put_free(objstore_put *put) {
    free(put->key);
    free(put);
}

static vd_status dir_put_begin(objstore *face, const char *key, bool if_absent, objstore_put **out, vd_error *err) {
    dir_store *s = (dir_store *)face;
    objstore_put *put = calloc(1, sizeof *put);
    char *copy = strdup(key);
    if (!put || !copy) {
        free(put);
        free(copy);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "write %s: out of memory", key);
    }
    put->store = s;
    put->key = copy;
    put->if_absent = if_absent;
    vd_status status = dir_locate(s->root, key, &put->at, err);
    if (status == VD_OK && put->at.journal) {
        int error = folder_make(s->io, put->at.folder);
        if (error) {
            status = folder_fail(err, error, "write", key);
        }
    }
    if (status == VD_OK) {
        status = folder_temporary(s->io, put->at.folder, &s->next_temporary, put->temporary, &put->fd, key, err);
    }
    if (status == VD_OK) {
        *out = put;
        return VD_OK;
    }
    put_free(put);
    return status;
}

static vd_status dir_put_write(objstore_put *put, const void *data, size_t size, vd_error *err) {
    const io_table *io = put->store->io;
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

static void dir_put_abort(objstore_put *put) {
    const io_table *io = put->store->io;
    if (put->fd >= 0) {
        (void)io->close(io->context, put->fd);
    }
    (void)io->unlink(io->context, put->temporary);
    put_free(put);
}

/* For file systems without hard links: looks, then renames. Exact because every rename of this store holds the lock and no
 * other process has the store open. */
static int rename_if_absent(const dir_store *s, const objstore_put *put) {
    int fd;
    int error = s->io->open(s->io->context, put->at.path, O_RDONLY, 0, &fd);
    if (error == 0) {
        (void)s->io->close(s->io->context, fd);
        return EEXIST;
    }
    return error == ENOENT ? s->io->rename(s->io->context, put->temporary, put->at.path) : error;
}

/* The step that makes the object visible. *linked: the temporary is still there too. */
static int publish(dir_store *s, const objstore_put *put, bool *linked) {
    *linked = false;
    pthread_mutex_lock(&s->rename_lock);
    int error;
    if (put->if_absent) {
        error = s->io->link(s->io->context, put->temporary, put->at.path);
        if (error == EPERM || error == ENOSYS || error == EOPNOTSUPP || error == EMLINK) {
            error = rename_if_absent(s, put);
        } else {
            *linked = error == 0;
        }
    } else {
        error = s->io->rename(s->io->context, put->temporary, put->at.path);
    }
    pthread_mutex_unlock(&s->rename_lock);
    return error;
}

static vd_status dir_put_commit(objstore_put *put, vd_error *err) {
    dir_store *s = put->store;
    const io_table *io = s->io;
    int error = io->sync(io->context, put->fd);
    int close_error = io->close(io->context, put->fd);
    put->fd = -1;
    bool linked = false;
    if (!error && !close_error) {
        error = publish(s, put, &linked);
    }
    if (error || close_error) {
        vd_status status = folder_fail(err, error ? error : close_error, "write", put->key);
        if (status == VD_NOT_FOUND) { /* the folder is gone: "missing" would be a lie about the object */
            status = vd_fail(err, VD_INTERNAL, NULL, "write %s: the folder has been removed", put->key);
        }
        dir_put_abort(put);
        return status;
    }
    vd_status status = VD_OK;
    error = folder_sync(s->io, put->at.folder);
    if (error) {
        status = folder_fail(err, error, "sync the folder of", put->key);
        if (linked || put->if_absent) { /* it was not there before: take it away again, as far as the disk obeys */
            (void)io->unlink(io->context, put->at.path);
        }
    }
    if (linked) {
        (void)io->unlink(io->context, put->temporary); /* a leftover is swept at the next open */
    }
    put_free(put);
    return status;
}

/* ---- removing ---- */

/* The folder of an epoch goes with its last segment; anything else in it keeps it. */
static int remove_epoch_folder(const dir_store *s, const dir_location *at) {
    int error = s->io->rmdir(s->io->context, at->folder);
    if (error == ENOTEMPTY || error == EEXIST || error == ENOENT) {
        return 0;
    }
    if (error) {
        return error;
    }
    char journal[PATH_MAX];
    return folder_join(journal, NULL, s->root, "_vectors/.journal") == VD_OK ? folder_sync(s->io, journal)
                                                                             : ENAMETOOLONG;
}

static vd_status dir_remove(objstore *face, const char *key, vd_error *err) {
    const dir_store *s = (const dir_store *)face;
    dir_location at;
    vd_status status = dir_locate(s->root, key, &at, err);
    if (status != VD_OK) {
        return status;
    }
    int error = s->io->unlink(s->io->context, at.path);
    bool missing = error == ENOENT;
    if (!error || missing) {
        /* also when it was missing: an earlier remove may have failed between the unlink and the sync */
        error = folder_sync(s->io, at.folder);
        if (missing && error == ENOENT) {
            error = 0;
        }
    }
    if (!error && at.journal) {
        error = remove_epoch_folder(s, &at);
    }
    return error ? folder_fail(err, error, "remove", key) : VD_OK;
}

static vd_status dir_set_aside(objstore *face, const char *key, vd_error *err) {
    dir_store *s = (dir_store *)face;
    dir_location at;
    vd_status status = dir_locate(s->root, key, &at, err);
    if (status != VD_OK) {
        return status;
    }
    int error = EEXIST;
    pthread_mutex_lock(&s->rename_lock);
    for (uint32_t n = 1; error == EEXIST && n <= ASIDE_MAX; n++) {
        char aside[PATH_MAX + 16];
        snprintf(aside, sizeof aside, "%s" ASIDE_MARK "%u", at.path, n);
        int fd;
        error = s->io->open(s->io->context, aside, O_RDONLY, 0, &fd);
        if (error == 0) {
            (void)s->io->close(s->io->context, fd);
            error = EEXIST;
        } else if (error == ENOENT) {
            error = s->io->rename(s->io->context, at.path, aside);
        }
    }
    pthread_mutex_unlock(&s->rename_lock);
    if (!error) {
        error = folder_sync(s->io, at.folder);
    }
    return error ? folder_fail(err, error, "set aside", key) : VD_OK;
}

/* ---- logs ---- */

static vd_status log_fail(objstore_log *log, int error, const char *what, vd_error *err) {
    const io_table *io = log->store->io;
    char reason[96];
    log->broken = folder_status(error);
    snprintf(log->reason, sizeof log->reason, "%s: %s", what, strerror_r(error, reason, sizeof reason));
    if (io->truncate(io->context, log->fd, log->durable) == 0) {
        (void)io->sync(io->context, log->fd);
    }
    return vd_fail(err, log->broken, NULL, "journal %s: %s", log->key, log->reason);
}

static vd_status still_broken(const objstore_log *log, vd_error *err) {
    return vd_fail(err, log->broken, NULL, "journal %s is closed to writes after a failed %s", log->key, log->reason);
}

/* The segment's file in its epoch folder, both durable. */
static int create_segment(dir_store *s, const dir_location *at, int *fd) {
    int error = ENOENT;
    /* the folder may go between the two steps, when another thread removes the last segment in it */
    for (int tries = 0; error == ENOENT && tries < 3; tries++) {
        error = folder_make(s->io, at->folder);
        if (!error) {
            error = s->io->open(s->io->context, at->path, O_WRONLY | O_CREAT | O_EXCL, FOLDER_FILE_MODE, fd);
        }
    }
    if (error) {
        return error;
    }
    error = s->io->sync(s->io->context, *fd);
    if (!error) {
        error = folder_sync(s->io, at->folder);
    }
    if (!error && at->journal) { /* again: the epoch folder may be there from a try whose sync failed */
        char journal[PATH_MAX];
        error = folder_join(journal, NULL, s->root, "_vectors/.journal") == VD_OK ? folder_sync(s->io, journal)
                                                                                  : ENAMETOOLONG;
    }
    if (error) {
        (void)s->io->close(s->io->context, *fd);
        (void)s->io->unlink(s->io->context, at->path);
    }
    return error;
}

static vd_status dir_log_create(objstore *face, const char *key, objstore_log **out, vd_error *err) {
    dir_store *s = (dir_store *)face;
    dir_location at;
    vd_status status = dir_locate(s->root, key, &at, err);
    if (status != VD_OK) {
        return status;
    }
    objstore_log *log = calloc(1, sizeof *log);
    char *copy = strdup(key);
    if (!log || !copy) {
        free(log);
        free(copy);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "journal %s: out of memory", key);
    }
    *log = (objstore_log){.store = s, .key = copy, .broken = VD_OK};
    int error = create_segment(s, &at, &log->fd);
    if (error) {
        free(copy);
        free(log);
        return folder_fail(err, error, "create", key);
    }
    *out = log;
    return VD_OK;
}

static vd_status dir_log_append(objstore_log *log, const void *data, size_t size, vd_error *err) {
    if (log->broken != VD_OK) {
        return still_broken(log, err);
    }
    int error = io_write_full(log->store->io, log->fd, data, size, log->size);
    if (error) {
        return log_fail(log, error, "write", err);
    }
    log->size += size;
    return VD_OK;
}

static vd_status dir_log_sync(objstore_log *log, vd_error *err) {
    if (log->broken != VD_OK) {
        return still_broken(log, err);
    }
    const io_table *io = log->store->io;
    int error = io->data_sync(io->context, log->fd);
    if (error) {
        return log_fail(log, error, "sync", err);
    }
    log->durable = log->size;
    return VD_OK;
}

static void dir_log_close(objstore_log *log) {
    if (log) {
        (void)log->store->io->close(log->store->io->context, log->fd); /* what counts was synced before */
        free(log->key);
        free(log);
    }
}

/* ---- the store itself ---- */

static void dir_close(objstore *face) {
    dir_store *s = (dir_store *)face;
    if (s->lock_fd >= 0) {
        (void)s->io->close(s->io->context, s->lock_fd); /* gives the lock back */
    }
    pthread_mutex_destroy(&s->rename_lock);
    free(s->root);
    free(s);
}

static const objstore_vtable dir_vtable = {
    .kind = "dir",
    .get = dir_get,
    .put_begin = dir_put_begin,
    .put_write = dir_put_write,
    .put_commit = dir_put_commit,
    .put_abort = dir_put_abort,
    .remove = dir_remove,
    .set_aside = dir_set_aside,
    .list = dir_list,
    .log_create = dir_log_create,
    .log_append = dir_log_append,
    .log_sync = dir_log_sync,
    .log_close = dir_log_close,
    .close = dir_close,
};

/* Temporaries of journal puts stand in the epoch folders. */
static void sweep_all(const dir_store *s, const char *vectors, const char *journal) {
    folder_sweep(s->io, vectors);
    folder_names epochs;
    if (folder_list(s->io, journal, true, &epochs) == 0) {
        for (size_t i = 0; i < epochs.count; i++) {
            char folder[PATH_MAX];
            if (folder_is_hex(epochs.names[i], strlen(epochs.names[i])) &&
                folder_join(folder, NULL, journal, epochs.names[i]) == VD_OK) {
                folder_sweep(s->io, folder);
            }
        }
    }
    folder_names_fini(&epochs);
}

vd_status objstore_open_dir(const char *path, const io_table *io, objstore **out, vd_error *err) {
    if (path[0] == '\0') {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "the directory has an empty path");
    }
    dir_store *s = calloc(1, sizeof *s);
    char *root = strdup(path);
    if (!s || !root) {
        free(s);
        free(root);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "open %s: out of memory", path);
    }
    for (size_t size = strlen(root); size > 1 && root[size - 1] == '/'; size--) {
        root[size - 1] = '\0';
    }
    s->face.v = &dir_vtable;
    s->io = io ? io : io_system();
    s->root = root;
    s->lock_fd = -1;
    pthread_mutex_init(&s->rename_lock, NULL);
    char vectors[PATH_MAX], journal[PATH_MAX];
    vd_status status = folder_join(vectors, err, root, "_vectors");
    if (status == VD_OK) {
        status = folder_join(journal, err, root, "_vectors/.journal");
    }
    if (status == VD_OK) {
        int error = folder_make(s->io, root);
        status = error ? folder_fail(err, error, "make directory", root)
                       : folder_lock(s->io, root, "vectord", &s->lock_fd, err);
    }
    if (status == VD_OK) {
        int error = folder_make(s->io, journal);
        if (error) {
            status = folder_fail(err, error, "make directory", journal);
        }
    }
    if (status == VD_OK) {
        sweep_all(s, vectors, journal);
        *out = &s->face;
    } else {
        dir_close(&s->face);
    }
    return status;
}
