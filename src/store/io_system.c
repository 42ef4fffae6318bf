/*
 * io_system.c - the operating system behind the table of io.h.
 *
 * EINTR is retried here and nowhere else, except for close: on Linux the descriptor is gone even when close is interrupted,
 * and a second close could hit a descriptor that another thread has opened since.
 */
#include "store/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* One call never asks for more: Linux moves at most 0x7ffff000 bytes at a time anyway. */
#define IO_CALL_BYTES_MAX (1024u * 1024u * 1024u)

static int system_open(void *context, const char *path, int flags, mode_t mode, int *fd) {
    (void)context;
    int opened;
    do {
        opened = open(path, flags | O_CLOEXEC, mode);
    } while (opened < 0 && errno == EINTR);
    if (opened < 0) {
        return errno;
    }
    *fd = opened;
    return 0;
}

static int system_close(void *context, int fd) {
    (void)context;
    return close(fd) == 0 || errno == EINTR ? 0 : errno;
}

static int system_read(void *context, int fd, void *data, size_t size, uint64_t offset, size_t *done) {
    (void)context;
    ssize_t moved;
    do {
        moved = pread(fd, data, size < IO_CALL_BYTES_MAX ? size : IO_CALL_BYTES_MAX, (off_t)offset);
    } while (moved < 0 && errno == EINTR);
    if (moved < 0) {
        return errno;
    }
    *done = (size_t)moved;
    return 0;
}

static int system_write(void *context, int fd, const void *data, size_t size, uint64_t offset, size_t *done) {
    (void)context;
    ssize_t moved;
    do {
        moved = pwrite(fd, data, size < IO_CALL_BYTES_MAX ? size : IO_CALL_BYTES_MAX, (off_t)offset);
    } while (moved < 0 && errno == EINTR);
    if (moved < 0) {
        return errno;
    }
    *done = (size_t)moved;
    return 0;
}

static int system_sync(void *context, int fd) {
    (void)context;
    int result;
    do {
        result = fsync(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

static int system_data_sync(void *context, int fd) {
    (void)context;
    int result;
    do {
        result = fdatasync(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

static int system_truncate(void *context, int fd, uint64_t size) {
    (void)context;
    int result;
    do {
        result = ftruncate(fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

static int system_size(void *context, int fd, uint64_t *size) {
    (void)context;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return errno;
    }
    if (S_ISDIR(info.st_mode)) {
        return EISDIR;
    }
    *size = (uint64_t)info.st_size;
    return 0;
}

static int system_rename(void *context, const char *from, const char *to) {
    (void)context;
    return rename(from, to) == 0 ? 0 : errno;
}

static int system_link(void *context, const char *from, const char *to) {
    (void)context;
    return link(from, to) == 0 ? 0 : errno;
}

static int system_unlink(void *context, const char *path) {
    (void)context;
    return unlink(path) == 0 ? 0 : errno;
}

static int system_mkdir(void *context, const char *path, mode_t mode) {
    (void)context;
    return mkdir(path, mode) == 0 ? 0 : errno;
}

static int system_rmdir(void *context, const char *path) {
    (void)context;
    return rmdir(path) == 0 ? 0 : errno;
}

/* d_type is DT_UNKNOWN on some file systems, and a link to a folder counts as a folder: both need a stat. */
static int entry_is_directory(const char *folder, const struct dirent *entry) {
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK) {
        return entry->d_type == DT_DIR;
    }
    char path[PATH_MAX];
    struct stat info;
    int size = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    return size > 0 && (size_t)size < sizeof path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int system_list(void *context, const char *path, int (*visit)(void *arg, const char *name, int is_directory),
                       void *arg) {
    (void)context;
    DIR *folder = opendir(path);
    if (!folder) {
        return errno;
    }
    int result = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            result = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (visit(arg, entry->d_name, entry_is_directory(path, entry)) != 0) {
            break;
        }
    }
    closedir(folder);
    return result;
}

static int system_lock(void *context, int fd) {
    (void)context;
    int result;
    do {
        result = flock(fd, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

const io_table *io_system(void) {
    static const io_table table = {
        .open = system_open,
        .close = system_close,
        .read = system_read,
        .write = system_write,
        .sync = system_sync,
        .data_sync = system_data_sync,
        .truncate = system_truncate,
        .size = system_size,
        .rename = system_rename,
        .link = system_link,
        .unlink = system_unlink,
        .mkdir = system_mkdir,
        .rmdir = system_rmdir,
        .list = system_list,
        .lock = system_lock,
    };
    return &table;
}

int io_write_full(const io_table *io, int fd, const void *data, size_t size, uint64_t offset) {
    const uint8_t *p = data;
    while (size > 0) {
        size_t done = 0;
        int error = io->write(io->context, fd, p, size, offset, &done);
        if (error) {
            return error;
        }
        if (done == 0 || done > size) {
            return EIO; /* no progress and no reason: looping would never end */
        }
        p += done;
        size -= done;
        offset += done;
    }
    return 0;
}

int io_read_full(const io_table *io, int fd, void *data, size_t size, uint64_t offset) {
    uint8_t *p = data;
    while (size > 0) {
        size_t done = 0;
        int error = io->read(io->context, fd, p, size, offset, &done);
        if (error) {
            return error;
        }
        if (done == 0 || done > size) {
            return EIO;
        }
        p += done;
        size -= done;
        offset += done;
    }
    return 0;
}
