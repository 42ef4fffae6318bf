/*
 * folder.c - see folder.h.
 */
#include "store/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

vd_status folder_status(int error) {
    switch (error) {
    case ENOENT:
        return VD_NOT_FOUND;
    case EEXIST:
        return VD_ALREADY_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return VD_DISK_FULL;
    case ENOMEM:
        return VD_OUT_OF_MEMORY;
    case EAGAIN:
    case EBUSY:
    case EMFILE:
    case ENFILE:
    case ESTALE:
    case ETIMEDOUT:
        return VD_UNAVAILABLE;
    default:
        return VD_INTERNAL;
    }
}

vd_status folder_fail(vd_error *err, int error, const char *what, const char *key) {
    char reason[128];
    const char *text = strerror_r(error, reason, sizeof reason);
    return vd_fail(err, folder_status(error), NULL, "%s %s: %s", what, key, text);
}

bool folder_is_hex(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) {
            return false;
        }
    }
    return size > 0;
}

vd_status folder_join(char *out, vd_error *err, const char *folder, const char *name) {
    int size = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    if (size < 0 || size >= PATH_MAX) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "path %.200s/... is longer than the system allows", folder);
    }
    return VD_OK;
}

int folder_sync(const io_table *io, const char *path) {
    int fd;
    int error = io->open(io->context, path, O_RDONLY | O_DIRECTORY, 0, &fd);
    if (error) {
        return error;
    }
    error = io->sync(io->context, fd);
    int close_error = io->close(io->context, fd);
    return error ? error : close_error;
}

int folder_make(const io_table *io, const char *path) {
    char part[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof part) {
        return ENAMETOOLONG;
    }
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (part[i] != '/' && part[i] != '\0') {
            continue;
        }
        char kept = part[i];
        part[i] = '\0';
        int error = io->mkdir(io->context, part, FOLDER_MODE);
        if (error == 0) {
            char parent[PATH_MAX];
            memcpy(parent, part, i + 1);
            char *slash = strrchr(parent, '/');
            error = folder_sync(io, !slash ? "." : slash == parent ? "/" : (*slash = '\0', parent));
        }
        if (error && error != EEXIST) {
            return error;
        }
        part[i] = kept;
    }
    return 0;
}

static int collect(void *arg, const char *name, int is_directory) {
    folder_names *list = arg;
    if ((is_directory != 0) != list->want_folders) {
        return 0;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        char **names = realloc(list->names, capacity * sizeof *names);
        if (!names) {
            list->failed = true;
            return 1;
        }
        list->names = names;
        list->capacity = capacity;
    }
    list->names[list->count] = strdup(name);
    if (!list->names[list->count]) {
        list->failed = true;
        return 1;
    }
    list->count++;
    return 0;
}

void folder_names_fini(folder_names *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->names[i]);
    }
    free(list->names);
}

int folder_list(const io_table *io, const char *path, bool folders, folder_names *out) {
    *out = (folder_names){.want_folders = folders};
    int error = io->list(io->context, path, collect, out);
    if (error == ENOENT) {
        error = 0;
    }
    if (!error && out->failed) {
        error = ENOMEM;
    }
    return error;
}

static bool is_temporary(const char *name) {
    size_t prefix = strlen(FOLDER_TEMP_PREFIX);
    return strncmp(name, FOLDER_TEMP_PREFIX, prefix) == 0 && strlen(name) == prefix + FOLDER_TEMP_DIGITS &&
           folder_is_hex(name + prefix, FOLDER_TEMP_DIGITS);
}

vd_status folder_temporary(const io_table *io, const char *folder, _Atomic uint64_t *next, char *temporary, int *fd,
                           const char *key, vd_error *err) {
    for (;;) {
        char name[FOLDER_TEMP_SIZE];
        snprintf(name, sizeof name, FOLDER_TEMP_PREFIX "%016llx",
                 (unsigned long long)atomic_fetch_add_explicit(next, 1, memory_order_relaxed));
        vd_status status = folder_join(temporary, err, folder, name);
        if (status != VD_OK) {
            return status;
        }
        int error = io->open(io->context, temporary, O_WRONLY | O_CREAT | O_EXCL, FOLDER_FILE_MODE, fd);
        if (error == 0) {
            return VD_OK;
        }
        if (error != EEXIST) { /* a leftover that could not be swept: take the next number */
            return folder_fail(err, error, "write", key);
        }
    }
}

void folder_sweep(const io_table *io, const char *folder) {
    folder_names files;
    if (folder_list(io, folder, false, &files) == 0) {
        for (size_t i = 0; i < files.count; i++) {
            char path[PATH_MAX];
            if (is_temporary(files.names[i]) && folder_join(path, NULL, folder, files.names[i]) == VD_OK) {
                (void)io->unlink(io->context, path);
            }
        }
    }
    folder_names_fini(&files);
}

vd_status folder_lock(const io_table *io, const char *root, const char *program, int *fd, vd_error *err) {
    char path[PATH_MAX];
    *fd = -1;
    vd_status status = folder_join(path, err, root, "LOCK");
    if (status != VD_OK) {
        return status;
    }
    int error = io->open(io->context, path, O_RDWR | O_CREAT, FOLDER_FILE_MODE, fd);
    if (error) {
        *fd = -1;
        return folder_fail(err, error, "open", path);
    }
    error = io->lock(io->context, *fd);
    if (error == EWOULDBLOCK) {
        return vd_fail(err, VD_FAILED_PRECONDITION, NULL,
                       "directory %s is in use by another %s: stop that one, or choose another directory", root,
                       program);
    }
    return error ? folder_fail(err, error, "lock", path) : VD_OK;
}
