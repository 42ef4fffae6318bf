/*
 * dir_names.h - keys of the directory store and the files that hold them; nobody but dir.c and dir_names.c includes it.
 */
#ifndef VECTORD_STORE_DIR_NAMES_H
#define VECTORD_STORE_DIR_NAMES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "vectord/status.h"

#define KEY_PREFIX     "_vectors/"
#define JOURNAL_PREFIX "_vectors/.journal/"
/* Most digits of an epoch or a sequence number in a key. */
#define KEY_HEX_MAX 64

/* Where a key lives. */
typedef struct dir_location {
    char path[PATH_MAX];
    char folder[PATH_MAX]; /* of the file */
    bool journal;
} dir_location;

/* INVALID_ARGUMENT: not a key of objstore.h, or one that makes too long a name or path. */
vd_status dir_locate(const char *root, const char *key, dir_location *out, vd_error *err);
/* The name within "_vectors/" of a file; false when the file is not ours. */
bool dir_decode_name(const char *file, char *out, size_t capacity);

#endif
