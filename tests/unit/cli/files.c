/* files.c - see files.h. */
#include "files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <ftw.h>

static char folder[64];

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

int files_setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/vectord-cli-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

int files_teardown(void **state) {
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *files_path(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

const char *files_write(const char *name, const void *data, size_t size) {
    const char *path = files_path(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

size_t npy_build(unsigned version, const char *header, const void *data, size_t data_size, unsigned char *out) {
    size_t length_bytes = version == 1 ? 2 : 4;
    size_t length = strlen(header);
    size_t padded = (8 + length_bytes + length + 1 + 63) / 64 * 64 - 8 - length_bytes;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version;
    out[7] = 0;
    for (size_t i = 0; i < length_bytes; i++) {
        out[8 + i] = (unsigned char)(padded >> (8 * i));
    }
    unsigned char *text = out + 8 + length_bytes;
    memset(text, ' ', padded);
    memcpy(text, header, length);
    text[padded - 1] = '\n';
    if (data_size > 0) {
        memcpy(text + padded, data, data_size);
    }
    return 8 + length_bytes + padded + data_size;
}
