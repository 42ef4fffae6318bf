/*
 * folder.h - what is done to a folder of ours, over the table of io.h: made durably, locked against a second process, listed,
 * swept. dir.c and the object daemon stand on it.
 *
 * Threading: no state; functions may be called from any thread.
 */
#ifndef VECTORD_STORE_FOLDER_H
#define VECTORD_STORE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/io.h"
#include "vectord/status.h"

#define FOLDER_MODE      0750
#define FOLDER_FILE_MODE 0640

/* A temporary of a put is named ".put-" and 16 hexadecimal digits. */
#define FOLDER_TEMP_PREFIX ".put-"
#define FOLDER_TEMP_DIGITS 16u
#define FOLDER_TEMP_SIZE   (sizeof FOLDER_TEMP_PREFIX + FOLDER_TEMP_DIGITS)

/* The status of an errno: DISK_FULL, NOT_FOUND, ALREADY_EXISTS, OUT_OF_MEMORY, UNAVAILABLE for what may pass, else INTERNAL. */
vd_status folder_status(int error);
/* "<what> <key>: <the system's reason>" */
vd_status folder_fail(vd_error *err, int error, const char *what, const char *key);

/* "<folder>/<name>" into out[PATH_MAX]. INVALID_ARGUMENT when it is too long. */
vd_status folder_join(char *out, vd_error *err, const char *folder, const char *name);
/* Makes the entries of `path` durable. */
int folder_sync(const io_table *io, const char *path);
/* Makes `path` and its parents, each durable in its own parent. */
int folder_make(const io_table *io, const char *path);

typedef struct folder_names {
    char **names;
    size_t count, capacity;
    bool want_folders;
    bool failed;
} folder_names;
/* The names of the files (or folders) in `path`; a missing folder is empty. Always folder_names_fini. */
int folder_list(const io_table *io, const char *path, bool folders, folder_names *out);
void folder_names_fini(folder_names *list);

/* A new temporary in `folder`, open for writing: its path into temporary[PATH_MAX]. Numbers come from *next. */
vd_status folder_temporary(const io_table *io, const char *folder, _Atomic uint64_t *next, char *temporary, int *fd,
                           const char *key, vd_error *err);
/* Removes the temporaries that crashed puts have left. A failure is no reason not to start: the next open tries again. Only
 * under our own lock. */
void folder_sweep(const io_table *io, const char *folder);

/* Takes the exclusive lock `root`/LOCK; *fd is -1 or must be closed, also on failure. FAILED_PRECONDITION when another
 * `program` has it. */
vd_status folder_lock(const io_table *io, const char *root, const char *program, int *fd, vd_error *err);

/* Lower-case hexadecimal digits, at least one. */
bool folder_is_hex(const char *text, size_t size);

#endif
