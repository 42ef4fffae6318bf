/* fault_io.c - see fault_io.h. */
#include "unit/store/fault_io.h"

#include <errno.h>
#include <string.h>

static int next_call(void *context) {
    fault_io *f = context;
    int call = ++f->calls;
    if (f->fail_at && (call == f->fail_at || (f->sticky && call > f->fail_at))) {
        f->failed++;
        return f->error;
    }
    return 0;
}

static int fault_open(void *context, const char *path, int flags, mode_t mode, int *fd) {
    int error = next_call(context);
    return error ? error : io_system()->open(NULL, path, flags, mode, fd);
}

static int fault_close(void *context, int fd) {
    int error = next_call(context);
    int real = io_system()->close(NULL, fd); /* a failed close has closed */
    return error ? error : real;
}

static int fault_read(void *context, int fd, void *data, size_t size, uint64_t offset, size_t *done) {
    const fault_io *f = context;
    int error = next_call(context);
    if (f->write_at_most && size > f->write_at_most) {
        size = f->write_at_most;
    }
    return error ? error : io_system()->read(NULL, fd, data, size, offset, done);
}

static int fault_write(void *context, int fd, const void *data, size_t size, uint64_t offset, size_t *done) {
    const fault_io *f = context;
    int error = next_call(context);
    if (error) {
        (void)io_system()->write(NULL, fd, data, size / 2, offset, done);
        return error;
    }
    if (f->write_at_most && size > f->write_at_most) {
        size = f->write_at_most;
    }
    return io_system()->write(NULL, fd, data, size, offset, done);
}

static int fault_sync(void *context, int fd) {
    int error = next_call(context);
    return error ? error : io_system()->sync(NULL, fd);
}

static int fault_data_sync(void *context, int fd) {
    int error = next_call(context);
    return error ? error : io_system()->data_sync(NULL, fd);
}

static int fault_truncate(void *context, int fd, uint64_t size) {
    int error = next_call(context);
    return error ? error : io_system()->truncate(NULL, fd, size);
}

static int fault_size(void *context, int fd, uint64_t *size) {
    int error = next_call(context);
    return error ? error : io_system()->size(NULL, fd, size);
}

static int fault_rename(void *context, const char *from, const char *to) {
    int error = next_call(context);
    return error ? error : io_system()->rename(NULL, from, to);
}

static int fault_link(void *context, const char *from, const char *to) {
    const fault_io *f = context;
    int error = next_call(context);
    return error ? error : f->no_hard_links ? EPERM : io_system()->link(NULL, from, to);
}

static int fault_unlink(void *context, const char *path) {
    int error = next_call(context);
    return error ? error : io_system()->unlink(NULL, path);
}

static int fault_mkdir(void *context, const char *path, mode_t mode) {
    int error = next_call(context);
    return error ? error : io_system()->mkdir(NULL, path, mode);
}

static int fault_rmdir(void *context, const char *path) {
    int error = next_call(context);
    return error ? error : io_system()->rmdir(NULL, path);
}

static int fault_list(void *context, const char *path, int (*visit)(void *arg, const char *name, int is_directory),
                      void *arg) {
    int error = next_call(context);
    return error ? error : io_system()->list(NULL, path, visit, arg);
}

static int fault_lock(void *context, int fd) {
    int error = next_call(context);
    return error ? error : io_system()->lock(NULL, fd);
}

void fault_io_init(fault_io *f) {
    memset(f, 0, sizeof *f);
    f->table = (io_table){
        .context = f,
        .open = fault_open,
        .close = fault_close,
        .read = fault_read,
        .write = fault_write,
        .sync = fault_sync,
        .data_sync = fault_data_sync,
        .truncate = fault_truncate,
        .size = fault_size,
        .rename = fault_rename,
        .link = fault_link,
        .unlink = fault_unlink,
        .mkdir = fault_mkdir,
        .rmdir = fault_rmdir,
        .list = fault_list,
        .lock = fault_lock,
    };
}

void fault_io_arm(fault_io *f, int fail_at, int error, bool sticky) {
    f->calls = 0;
    f->failed = 0;
    f->fail_at = fail_at;
    f->error = error;
    f->sticky = sticky;
}
