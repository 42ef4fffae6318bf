/*
 * status.h - the one set of result codes, and the error a person reads.
 *
 * Values 0..16 are the canonical gRPC codes, so that every door (NNG, HTTP, gRPC) speaks the same
 * language. Values from 32 up are refinements of one of them that HTTP distinguishes (413, 507, ...):
 * on the RPC doors they travel as their canonical code.
 *
 * Reference: google/rpc/code.proto for the meaning of 0..16.
 */
#ifndef VECTORD_STATUS_H
#define VECTORD_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Marks what libvectord.so exports; everything else is hidden. */
#define VECTORD_API __attribute__((visibility("default")))

/* X(name, value, canonical RPC code, HTTP status, text) */
#define VD_STATUS_MAP(X)                                                                                               \
    X(OK, 0, 0, 200, "ok")                                                                                             \
    X(CANCELLED, 1, 1, 499, "cancelled")                                                                               \
    X(UNKNOWN, 2, 2, 500, "unknown")                                                                                   \
    X(INVALID_ARGUMENT, 3, 3, 400, "invalid argument")                                                                 \
    X(DEADLINE_EXCEEDED, 4, 4, 504, "deadline exceeded")                                                               \
    X(NOT_FOUND, 5, 5, 404, "not found")                                                                               \
    X(ALREADY_EXISTS, 6, 6, 409, "already exists")                                                                     \
    X(PERMISSION_DENIED, 7, 7, 403, "permission denied")                                                               \
    X(RESOURCE_EXHAUSTED, 8, 8, 429, "resource exhausted")                                                             \
    X(FAILED_PRECONDITION, 9, 9, 400, "failed precondition")                                                           \
    X(ABORTED, 10, 10, 409, "aborted")                                                                                 \
    X(OUT_OF_RANGE, 11, 11, 400, "out of range")                                                                       \
    X(UNIMPLEMENTED, 12, 12, 501, "unimplemented")                                                                     \
    X(INTERNAL, 13, 13, 500, "internal")                                                                               \
    X(UNAVAILABLE, 14, 14, 503, "unavailable")                                                                         \
    X(DATA_LOSS, 15, 15, 500, "data loss")                                                                             \
    X(UNAUTHENTICATED, 16, 16, 401, "unauthenticated")                                                                 \
    X(TOO_LARGE, 32, 8, 413, "too large")                                                                              \
    X(OUT_OF_MEMORY, 33, 8, 429, "out of memory")                                                                      \
    X(DISK_FULL, 34, 8, 507, "disk full")                                                                              \
    X(MISDIRECTED, 35, 7, 421, "misdirected request")                                                                  \
    X(UNSUPPORTED_MEDIA, 36, 3, 415, "unsupported media type")                                                         \
    X(METHOD_NOT_ALLOWED, 37, 12, 405, "method not allowed")

typedef enum vd_status {
#define VD_STATUS_ENUM(name, value, rpc, http, text) VD_##name = value,
    VD_STATUS_MAP(VD_STATUS_ENUM)
#undef VD_STATUS_ENUM
} vd_status;

/* The name of a status in lower case ("not found"); never NULL, "unknown" for a foreign value. */
VECTORD_API const char *vd_status_text(vd_status status);
/* The constant's name ("NOT_FOUND"); never NULL, "UNKNOWN" for a foreign value. */
VECTORD_API const char *vd_status_name(vd_status status);
/* The canonical gRPC code 0..16 and the HTTP status of a status; 2 and 500 for a foreign value. */
VECTORD_API int vd_status_rpc(vd_status status);
VECTORD_API int vd_status_http(vd_status status);

/*
 * What went wrong, for a person. Owned by the caller, filled without allocating; contents are only
 * meaningful after a call returned something other than VD_OK. Every `vd_error *` parameter of the
 * project may be NULL, which means "the status is enough".
 *
 * text   the whole sentence as a client sees it, e.g. "items[3]: dim mismatch (index=3, got=2)".
 * field  the path of the faulty request field, e.g. "items[3].vector"; "" when no field is at fault.
 * retry_after_s  seconds after which trying again makes sense; 0 when it does not.
 */
typedef struct vd_error {
    vd_status status;
    uint32_t retry_after_s;
    char field[96];
    char text[352];
} vd_error;

/* Fills *err (printf style; truncates) and returns `status`, so that `return vd_fail(...)` reads well.
 * err may be NULL. `field` may be NULL for none. Thread-safe. */
VECTORD_API vd_status vd_fail(vd_error *err, vd_status status, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#ifdef __cplusplus
}
#endif
#endif
