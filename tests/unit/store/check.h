/* check.h - what the tests of the store share: cmocka with status names in its messages, files, temporary folders. */
#ifndef VECTORD_TESTS_STORE_CHECK_H
#define VECTORD_TESTS_STORE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vectord/status.h"

/* The expression is evaluated once; on a difference both names and the error's text are shown. */
#define STATUS(expr, wanted)                                                                                           \
    do {                                                                                                               \
        vd_status status_ = (expr);                                                                                    \
        if (status_ != (wanted)) {                                                                                     \
            fail_msg("%s is %s, not %s", #expr, vd_status_name(status_), vd_status_name(wanted));                      \
        }                                                                                                              \
    } while (0)
#define OK(expr)            STATUS(expr, VD_OK)
#define FAILS(expr, wanted) STATUS(expr, wanted)

/* A whole file in exactly its size, so that a sanitizer sees a read past its end. Free with free(). */
static inline bytes check_read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("cannot open %s", path);
    }
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)size, f), size);
    fclose(f);
    return bytes_of(data, (size_t)size);
}

static inline bytes check_read_data(const char *folder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, VD_TEST_DATA "/%s/%s", folder, name);
    return check_read_file(path);
}

/* A new folder under TMPDIR, or in memory: thousands of syncs to a busy disk take minutes and prove no more.
 * check_remove_folder takes it away with all it holds. */
static inline void check_make_folder(char out[256]) {
    const char *base = getenv("TMPDIR");
    if (!base || !base[0]) {
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }
    snprintf(out, 256, "%s/vectord-test-XXXXXX", base);
    assert_non_null(mkdtemp(out));
}

static inline void check_remove_folder(const char *path) {
    char command[600];
    snprintf(command, sizeof command, "rm -rf -- '%s'", path);
    assert_int_equal(system(command), 0);
}

#endif
