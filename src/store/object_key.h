/*
 * object_key.h - what may be the key of an object in storaged, and in the stores that speak to one. Pure text work.
 */
#ifndef VECTORD_STORE_OBJECT_KEY_H
#define VECTORD_STORE_OBJECT_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "vectord/status.h"

/* 1..VD_OBJECT_KEY_MAX_BYTES bytes of UTF-8 (a listing is JSON) without control characters, no "/" in front, no component
 * "..". INVALID_ARGUMENT with the rule that is broken. */
vd_status object_key_check(bytes key, vd_error *err);

/* The name of the file that holds `key`, as one component: percent-encoded where a byte would mean something to the file
 * system, or where it begins like a name of our own ('.', and `reserved` unless that is 0). false when it does not fit
 * `capacity` (with the NUL). */
bool object_key_to_file(bytes key, char reserved, char *out, size_t capacity);
/* The key of such a file into out (NUL-terminated); false when object_key_to_file would not have written that name. */
bool object_key_from_file(const char *file, char reserved, char *out, size_t capacity);

/* The key as part of a URL's path, "/" kept; false when it does not fit. */
bool object_key_to_url(bytes key, char *out, size_t capacity);

#endif
