/*
 * http_guard.h - who may talk to a server on loopback. A page in a browser can make its visitor's browser send requests
 * here, and a name that its owner points at 127.0.0.1 makes them look local. So: the Host must be a loopback name or an
 * address that is really bound, and a request that carries an Origin must come from this server's own pages or from an
 * origin that the configuration names.
 *
 * Threading: immutable once made.
 */
#ifndef VECTORD_HTTP_HTTP_GUARD_H
#define VECTORD_HTTP_HTTP_GUARD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/bytes.h"

typedef struct http_guard http_guard;
/* Copies everything. any_host: the Host is not compared with names (it must still be well formed). An origin of "*" allows
 * every one. Returns owned; NULL when out of memory. */
http_guard *http_guard_new(const char *const *cors_origins, size_t cors_origin_count, bool any_host);
void http_guard_free(http_guard *g);
/* Adds an address that the server is bound to. false when out of memory. */
bool http_guard_bound(http_guard *g, const struct sockaddr_storage *address);

/* Is this Host ("localhost:3215", "127.0.0.1", "[::1]:3215") one of ours? */
bool http_guard_host(const http_guard *g, bytes host);

typedef enum http_origin { HTTP_ORIGIN_SAME, HTTP_ORIGIN_LISTED, HTTP_ORIGIN_REFUSED } http_origin;
/* An Origin header against the (already accepted) Host of the same request. */
http_origin http_guard_origin(const http_guard *g, bytes host, const char *origin);

#endif
