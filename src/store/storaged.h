/*
 * storaged.h - an objstore over HTTP: the object daemon (docs/storaged.md has its wire).
 *
 * A log is one object that log_sync puts whole, as every remote store's (objstore.h); put-if-absent is "If-None-Match: *".
 */
#ifndef VECTORD_STORE_STORAGED_H
#define VECTORD_STORE_STORAGED_H

#include "store/http_client.h"
#include "store/objstore.h"

typedef struct objstore_http_options {
    const char *url;    /* "http://127.0.0.1:3211" */
    const char *prefix; /* goes before every key; "" or NULL: none. "team" is "team/" */
    /* 0: VD_STORE_* of limits.h */
    int64_t connect_ms, stall_s, retry_ms;
    size_t put_buffer_bytes; /* a put that fits is sent again after a failure */
} objstore_http_options;

/*
 * Asks whether the store honours conditional puts: without those two vectords, or one that repeats a lost answer, would
 * overwrite what is there. A store that does not answer yet is asked again by `list`. Returns owned (objstore_close).
 * FAILED_PRECONDITION: it is no such store; INVALID_ARGUMENT: the prefix cannot be one; OUT_OF_MEMORY.
 */
vd_status objstore_open_storaged(const objstore_http_options *options, objstore **out, vd_error *err);

#endif
