/*
 * storaged.h - an objstore over HTTP: the object daemon (docs/storaged.md has its wire).
 *
 * What differs from a folder: a log is one object that log_sync puts whole (the vtable's log_seals); put-if-absent is
 * "If-None-Match: *", so log_create does not ask the store and an existing key shows at log_sync.
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
 * Asks whether the store is there and whether it honours conditional puts: without those two vectords, or one that repeats a
 * lost answer, would overwrite what is there. Returns owned (objstore_close). UNAVAILABLE: it does not answer, with what to do;
 * FAILED_PRECONDITION: it is no such store; INVALID_ARGUMENT: the prefix cannot be one; OUT_OF_MEMORY.
 */
vd_status objstore_open_storaged(const objstore_http_options *options, objstore **out, vd_error *err);

#endif
