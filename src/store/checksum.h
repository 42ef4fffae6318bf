/*
 * checksum.h - SHA-256 of a stream. It is the ETag of an object in storaged, so that `sha256sum` of what was stored is what
 * the server says, no two contents share one by accident or by design, and a client that has lost an answer can tell whether
 * its bytes are the ones that are there.
 *
 * Threading: a checksum belongs to one thread at a time.
 */
#ifndef VECTORD_STORE_CHECKSUM_H
#define VECTORD_STORE_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_BYTES     32u
#define CHECKSUM_HEX_BYTES (2u * CHECKSUM_BYTES + 1u) /* with the NUL */

typedef struct checksum checksum;
checksum *checksum_new(void); /* returns owned; NULL when out of memory */
void checksum_free(checksum *c);
/* false when the library refuses (out of memory): the checksum is of no use then. */
bool checksum_add(checksum *c, const void *data, size_t size);
/* Ends it; nothing may be added afterwards. */
bool checksum_end(checksum *c, uint8_t out[CHECKSUM_BYTES]);
/* Of one piece; false when out of memory. */
bool checksum_of(const void *data, size_t size, uint8_t out[CHECKSUM_BYTES]);

#endif
