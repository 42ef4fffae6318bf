/*
 * files.h - small files for the tests of the readers, in a folder of their own that goes away.
 */
#ifndef VECTORD_TESTS_UNIT_CLI_FILES_H
#define VECTORD_TESTS_UNIT_CLI_FILES_H

#include <stddef.h>

/* cmocka setup and teardown. */
int files_setup(void **state);
int files_teardown(void **state);
/* The path of `name` in the folder; valid until the next call. */
const char *files_path(const char *name);
/* Writes a file and gives its path (valid until the next call). Asserts. */
const char *files_write(const char *name, const void *data, size_t size);

/* A .npy file: `header` is the Python literal; it is padded as NumPy does. Writes into out (room for 64 KiB + data) and returns the
 * size. */
size_t npy_build(unsigned version, const char *header, const void *data, size_t data_size, unsigned char *out);

#endif
