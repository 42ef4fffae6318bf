/*
 * io.h - every file operation of the project goes through this table, so that tests can fail the i-th one, tear a write or
 * lose what was not synced. Functions return 0 or a positive errno; results go through the last parameter.
 */
#ifndef VECTORD_STORE_IO_H
#define VECTORD_STORE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct io_table {
    void *context;
    int (*open)(void *context, const char *path, int flags, mode_t mode, int *fd);
    int (*close)(void *context, int fd);
    int (*read)(void *context, int fd, void *data, size_t size, uint64_t offset, size_t *done);        /* pread */
    int (*write)(void *context, int fd, const void *data, size_t size, uint64_t offset, size_t *done); /* pwrite */
    int (*sync)(void *context, int fd);      /* fsync (files and directories) */
    int (*data_sync)(void *context, int fd); /* fdatasync */
    int (*truncate)(void *context, int fd, uint64_t size);
    int (*size)(void *context, int fd, uint64_t *size);
    int (*rename)(void *context, const char *from, const char *to);
    int (*link)(void *context, const char *from, const char *to); /* EEXIST: put-if-absent */
    int (*unlink)(void *context, const char *path);
    int (*mkdir)(void *context, const char *path, mode_t mode);
    int (*rmdir)(void *context, const char *path);
    /* Calls visit(arg, name, is_directory) for each entry but "." and ".."; stops when it returns non-zero. */
    int (*list)(void *context, const char *path, int (*visit)(void *arg, const char *name, int is_directory),
                void *arg);
    int (*lock)(void *context, int fd); /* exclusive advisory lock, EWOULDBLOCK when held by another process */
} io_table;

/* The operating system. EINTR is retried inside; short reads and writes are reported, not hidden. */
const io_table *io_system(void);

/* Loops over io->write / io->read until all is done. read_full: a file that ends early gives EIO. */
int io_write_full(const io_table *io, int fd, const void *data, size_t size, uint64_t offset);
int io_read_full(const io_table *io, int fd, void *data, size_t size, uint64_t offset);

#endif
