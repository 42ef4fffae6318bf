/*
 * http_target.h - request targets: which bytes they may have, where the host ends and the path begins, percent-decoding.
 * Pure text work.
 */
#ifndef VECTORD_HTTP_HTTP_TARGET_H
#define VECTORD_HTTP_HTTP_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* RFC 3986 leaves nothing but visible ASCII: everything else travels percent-encoded. To be asked while the target is whole,
 * since libmicrohttpd cuts the query into pieces in place. */
bool http_target_is_clean(const char *target);
/* "http://host/path" carries the host itself (RFC 9112, 3.2.2) and wins over the Host header: *host is set then, and left
 * alone otherwise. false: neither that nor a path nor "*". */
bool http_target_split(const char *target, bytes *host, bytes *path);
/* Decodes `raw` once into `out`, which has room for raw.size bytes. false on an escape that is none. */
bool http_percent_decode(bytes raw, uint8_t *out, size_t *size);

#endif
