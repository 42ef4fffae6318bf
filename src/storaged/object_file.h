/*
 * object_file.h - one object as one file: its bytes, its key, and a trailer that vouches for both.
 *
 *   offset from the end   size   field
 *   -64 - key - content          the object's bytes, from the start of the file
 *   -64 - key                    the key
 *   -64                   8      "sdobj\0\0\1": mark and version
 *   -56                   8      content size, little-endian
 *   -48                   4      key size, little-endian
 *   -44                   4      zero
 *   -40                   32     SHA-256 of the content: the ETag
 *   -8                    4      CRC-32C of the key and of the 56 bytes before this field, little-endian
 *   -4                    4      "end\n"
 *
 * Why a trailer: the ETag must be there after a restart without reading every object; a file beside it could not be renamed
 * together with it; extended attributes are missing on some file systems and lost by most ways of copying. At the end, because
 * the checksum is known when the last byte has come, and because the content then begins at offset 0: readers of LHV1 frames
 * ignore what follows, so a frame can be taken out of the folder by cp. The key is in it since the names of long keys are
 * hashes.
 *
 * Pure; folder.c does the I/O.
 */
#ifndef VECTORD_STORAGED_OBJECT_FILE_H
#define VECTORD_STORAGED_OBJECT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "store/checksum.h"
#include "vectord/limits.h"

#define OBJECT_TRAILER_BYTES 64u
#define OBJECT_TAIL_MAX      (VD_OBJECT_KEY_MAX_BYTES + OBJECT_TRAILER_BYTES)

/* Names in the folder: the key percent-encoded, or "~" and the SHA-256 of the key in hexadecimal when that is too long. 240 of
 * NAME_MAX's 255, so that a person can add something. */
#define OBJECT_NAME_MAX 240u
#define OBJECT_LONG     '~'

typedef struct object_tail {
    uint64_t content_size;
    uint32_t key_size;
    uint8_t sum[CHECKSUM_BYTES];
} object_tail;

/* Key and trailer into out; returns how many bytes. */
size_t object_tail_encode(bytes key, uint64_t content_size, const uint8_t sum[CHECKSUM_BYTES],
                          uint8_t out[OBJECT_TAIL_MAX]);
/* `last` are the last bytes of a file of `file_size` bytes: all of them, or OBJECT_TAIL_MAX. On success *key points into them.
 * false: this is not the end of an object of ours. */
bool object_tail_decode(bytes last, uint64_t file_size, object_tail *out, bytes *key);

/* The file name of a key; false when out of memory. */
bool object_name(bytes key, char out[OBJECT_NAME_MAX + 1]);
/* The key of a file name that is not long; false when there is none. */
bool object_name_key(const char *name, char *out, size_t capacity);
/* A name that object_name would give to a long key. */
bool object_name_is_long(const char *name);

#endif
