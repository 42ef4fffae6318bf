/*
 * http_route.h - from a raw request target to a row of the table. Paths are compared as they came (never unescaped as a
 * whole), so that a "/" inside a name can travel as %2F; only the name's own segment is decoded, once.
 *
 * Threading: immutable once made.
 */
#ifndef VECTORD_TRANSPORT_HTTP_ROUTE_H
#define VECTORD_TRANSPORT_HTTP_ROUTE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "ops/ops.h"

/* What the gateway answers itself. */
typedef enum http_builtin {
    HTTP_BUILTIN_NONE,
    HTTP_BUILTIN_METRICS,
    HTTP_BUILTIN_LIVE,
    HTTP_BUILTIN_READY
} http_builtin;

typedef struct http_routes http_routes;
/* Walks ops_table(). Returns owned; NULL when out of memory. */
http_routes *http_routes_new(void);
void http_routes_free(http_routes *routes);

typedef struct http_match {
    const op_row *op; /* NULL: a builtin, or no route for this method */
    http_builtin builtin;
    const char *field; /* name of the request field that the path carries; NULL: none. Borrowed from the routes */
    bytes raw;         /* that field's segment as it came */
    char allow[64];    /* the methods that this path has; "" when there is no such path */
} http_match;
/* `path` without the query. HEAD finds what GET finds. */
void http_routes_find(const http_routes *routes, bytes path, const char *method, http_match *out);

/* Percent-decodes one segment into the arena. INVALID_ARGUMENT on a bad escape or %00, OUT_OF_MEMORY. */
vd_status http_segment_decode(bytes raw, arena *a, bytes *out, vd_error *err);

#endif
