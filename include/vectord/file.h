/*
 * file.h - an index of the embeddable engine as one file, in the LHV1 format that the service (and the original Go service)
 * uses for its snapshots.
 *
 * Metadata: the engine's payloads are opaque. With VD_FILE_METADATA each payload is taken to be NULL or a NUL-terminated
 * JSON text from malloc, which is saved and loaded with its item; without it payloads are neither looked at nor made.
 *
 * Threading: saving counts as a reader of the index and may run beside searches and writes. Statuses beside those of the
 * engine: NOT_FOUND (no such file), DATA_LOSS (the text says what is wrong with the file and where), UNIMPLEMENTED (written
 * by a newer version), DISK_FULL, TOO_LARGE (more than 4 GiB of metadata), INTERNAL (an I/O error, in err->text).
 */
#ifndef VECTORD_FILE_H
#define VECTORD_FILE_H

#include "vectord/hnsw.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vd_file_flags {
    VD_FILE_PLAIN = 0,
    VD_FILE_METADATA = 1 /* payloads are NULL or NUL-terminated JSON from malloc */
} vd_file_flags;

/*
 * Writes the index to `path`: at every moment the file there is the old one or the whole new one, and the new one is on the
 * disk when this returns. `name` (1..VD_INDEX_NAME_MAX_BYTES bytes of UTF-8) stands in the file as the index's name.
 * INVALID_ARGUMENT: a bad name, or a payload that is not JSON.
 */
VECTORD_API vd_status vd_hnsw_save(vd_hnsw *index, const char *path, const char *name, vd_file_flags flags,
                                   vd_error *err);

/*
 * Reads the file at `path` into a new index, building its graph in parallel on `executor` (NULL: calling thread). `options`
 * (NULL: all from the file) gives what the file does not hold - encoding, seed, recall_target, allocator - and overrides m,
 * ef_construction and ef_search where they are not 0; dimension and metric must be 0 or equal to the file's
 * (FAILED_PRECONDITION). With VD_FILE_METADATA and no release_payload in the options, payloads are freed with free().
 * Returns owned (vd_hnsw_free).
 */
VECTORD_API vd_status vd_hnsw_load(const char *path, const vd_hnsw_options *options, vd_file_flags flags,
                                   const vd_executor *executor, vd_hnsw **out, vd_error *err);

#ifdef __cplusplus
}
#endif
#endif
