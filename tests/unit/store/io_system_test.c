/* io_system_test.c - the real table: reasons come back as errno values, short files are errors, folders list. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "store/io.h"
#include "unit/store/check.h"

static char folder[256];

static int make_folder(void **state) {
    (void)state;
    check_make_folder(folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    check_remove_folder(folder);
    return 0;
}

static const char *path_of(const char *name) {
    static char paths[2][400];
    static int turn;
    turn ^= 1;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static void files(void **state) {
    (void)state;
    const io_table *io = io_system();
    int fd;
    uint64_t size;
    char text[8];
    assert_int_equal(io->open(NULL, path_of("f"), O_RDONLY, 0, &fd), ENOENT);
    assert_int_equal(io->open(NULL, path_of("f"), O_RDWR | O_CREAT | O_EXCL, 0600, &fd), 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(io_write_full(io, fd, "0123456789", 10, 0), 0);
    assert_int_equal(io_write_full(io, fd, "x", 1, 12), 0);
    assert_int_equal(io->size(NULL, fd, &size), 0);
    assert_int_equal(size, 13);
    assert_int_equal(io_read_full(io, fd, text, 4, 3), 0);
    assert_memory_equal(text, "3456", 4);
    assert_int_equal(io_read_full(io, fd, text, 4, 10), EIO); /* the file ends before that */
    assert_int_equal(io->truncate(NULL, fd, 5), 0);
    assert_int_equal(io->size(NULL, fd, &size), 0);
    assert_int_equal(size, 5);
    assert_int_equal(io->sync(NULL, fd), 0);
    assert_int_equal(io->data_sync(NULL, fd), 0);
    assert_int_equal(io->close(NULL, fd), 0);
    assert_int_equal(io->open(NULL, path_of("f"), O_RDWR | O_CREAT | O_EXCL, 0600, &fd), EEXIST);
    assert_int_equal(io->link(NULL, path_of("f"), path_of("g")), 0);
    assert_int_equal(io->link(NULL, path_of("f"), path_of("g")), EEXIST);
    assert_int_equal(io->rename(NULL, path_of("g"), path_of("h")), 0);
    assert_int_equal(io->unlink(NULL, path_of("g")), ENOENT);
    assert_int_equal(io->unlink(NULL, path_of("h")), 0);
}

static void bad_descriptors_have_reasons(void **state) {
    (void)state;
    const io_table *io = io_system();
    size_t done;
    uint64_t size;
    char text[4];
    assert_int_equal(io->read(NULL, -1, text, 4, 0, &done), EBADF);
    assert_int_equal(io->write(NULL, -1, text, 4, 0, &done), EBADF);
    assert_int_equal(io->sync(NULL, -1), EBADF);
    assert_int_equal(io->data_sync(NULL, -1), EBADF);
    assert_int_equal(io->truncate(NULL, -1, 0), EBADF);
    assert_int_equal(io->size(NULL, -1, &size), EBADF);
    assert_int_equal(io->lock(NULL, -1), EBADF);
    assert_int_equal(io->close(NULL, -1), EBADF);
}

typedef struct seen {
    int files, folders, stop_after;
} seen;

static int see(void *arg, const char *name, int is_directory) {
    seen *s = arg;
    assert_string_not_equal(name, ".");
    assert_string_not_equal(name, "..");
    s->files += !is_directory;
    s->folders += is_directory != 0;
    return s->stop_after && s->files + s->folders >= s->stop_after;
}

static void folders(void **state) {
    (void)state;
    const io_table *io = io_system();
    int fd;
    assert_int_equal(io->mkdir(NULL, path_of("d"), 0700), 0);
    assert_int_equal(io->mkdir(NULL, path_of("d"), 0700), EEXIST);
    assert_int_equal(io->mkdir(NULL, path_of("d/e"), 0700), 0);
    assert_int_equal(symlink("e", path_of("d/link")), 0);
    assert_int_equal(symlink("nowhere", path_of("d/dangling")), 0);
    assert_int_equal(io->open(NULL, path_of("d/f"), O_WRONLY | O_CREAT, 0600, &fd), 0);
    assert_int_equal(io->close(NULL, fd), 0);
    seen all = {0}, some = {.stop_after = 2};
    assert_int_equal(io->list(NULL, path_of("d"), see, &all), 0);
    assert_int_equal(all.files, 2);
    assert_int_equal(all.folders, 2);
    assert_int_equal(io->list(NULL, path_of("d"), see, &some), 0);
    assert_int_equal(some.files + some.folders, 2);
    assert_int_equal(io->list(NULL, path_of("none"), see, &all), ENOENT);
    assert_int_equal(io->rmdir(NULL, path_of("d")), ENOTEMPTY);
    assert_int_equal(io->rmdir(NULL, path_of("d/e")), 0);
}

static void a_lock_is_held_once(void **state) {
    (void)state;
    const io_table *io = io_system();
    int first, second;
    assert_int_equal(io->open(NULL, path_of("LOCK"), O_RDWR | O_CREAT, 0600, &first), 0);
    assert_int_equal(io->open(NULL, path_of("LOCK"), O_RDWR | O_CREAT, 0600, &second), 0);
    assert_int_equal(io->lock(NULL, first), 0);
    assert_int_equal(io->lock(NULL, second), EWOULDBLOCK);
    assert_int_equal(io->close(NULL, first), 0);
    assert_int_equal(io->lock(NULL, second), 0);
    assert_int_equal(io->close(NULL, second), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files),
        cmocka_unit_test(bad_descriptors_have_reasons),
        cmocka_unit_test(folders),
        cmocka_unit_test(a_lock_is_held_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
