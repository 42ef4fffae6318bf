/*
 * http_route.c - the routes, made once from the table. There are a few dozen: a scan over (before, after) pairs is faster
 * than any tree at that size, and literal paths are tried before those with a field.
 */
#include "transport/http_route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "http/http_target.h"

typedef struct route {
    const char *method;
    const op_row *op;
    http_builtin builtin;
    bytes prefix; /* "/vectors", "/v1/vectors" or "" */
    bytes before; /* up to the field, or everything */
    bytes after;
    char field[40]; /* "": none */
} route;

struct http_routes {
    size_t count;
    route routes[];
};

static const char *const prefixes[] = {"/vectors", "/v1/vectors"};

static void split(route *r, const char *path) {
    const char *open = strchr(path, '{');
    const char *close = open ? strchr(open, '}') : NULL;
    if (!close) {
        r->before = bytes_str(path);
        return;
    }
    r->before = bytes_of(path, (size_t)(open - path));
    snprintf(r->field, sizeof r->field, "%.*s", (int)(close - open - 1), open + 1);
    r->after = bytes_str(close + 1);
}

static void add(http_routes *routes, const char *method, const op_row *op, http_builtin builtin, const char *prefix,
                const char *path) {
    route *r = &routes->routes[routes->count++];
    *r = (route){.method = method, .op = op, .builtin = builtin, .prefix = bytes_str(prefix)};
    split(r, path);
}

http_routes *http_routes_new(void) {
    size_t count;
    const op_row *table = ops_table(&count);
    http_routes *routes = calloc(1, sizeof *routes + (2 * count + 3) * sizeof routes->routes[0]);
    if (!routes) {
        return NULL;
    }
    for (int with_field = 0; with_field < 2; with_field++) {
        for (size_t i = 0; i < count; i++) {
            const char *path = table[i].http_path;
            if (!path || (strchr(path, '{') != NULL) != (with_field != 0)) {
                continue;
            }
            if (path[0] == '=') {
                add(routes, table[i].http_method, &table[i], HTTP_BUILTIN_NONE, "", path + 1);
                continue;
            }
            for (size_t p = 0; p < sizeof prefixes / sizeof prefixes[0]; p++) {
                add(routes, table[i].http_method, &table[i], HTTP_BUILTIN_NONE, prefixes[p], path);
            }
        }
    }
    add(routes, "GET", NULL, HTTP_BUILTIN_METRICS, "", "/metrics");
    add(routes, "GET", NULL, HTTP_BUILTIN_LIVE, "", "/livez");
    add(routes, "GET", NULL, HTTP_BUILTIN_READY, "", "/readyz");
    return routes;
}

void http_routes_free(http_routes *routes) {
    free(routes);
}

static bool take_front(bytes *path, bytes front) {
    if (path->size < front.size || (front.size && memcmp(path->data, front.data, front.size) != 0)) {
        return false;
    }
    path->data += front.size;
    path->size -= front.size;
    return true;
}

static bool matches(const route *r, bytes path, bytes *raw) {
    if (!take_front(&path, r->prefix) || !take_front(&path, r->before)) {
        return false;
    }
    if (!r->field[0]) {
        return path.size == 0;
    }
    if (path.size <= r->after.size) {
        return false; /* an empty segment is no name */
    }
    size_t middle = path.size - r->after.size;
    if (memcmp(path.data + middle, r->after.data, r->after.size) != 0 || memchr(path.data, '/', middle)) {
        return false;
    }
    *raw = bytes_of(path.data, middle);
    return true;
}

static void allow(http_match *out, const char *method) {
    size_t used = strlen(out->allow);
    snprintf(out->allow + used, sizeof out->allow - used, "%s%s", used ? ", " : "", method);
    if (strcmp(method, "GET") == 0) {
        allow(out, "HEAD");
    }
}

void http_routes_find(const http_routes *routes, bytes path, const char *method, http_match *out) {
    *out = (http_match){0};
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (size_t i = 0; i < routes->count; i++) {
        const route *r = &routes->routes[i];
        bytes raw = {0};
        if (!matches(r, path, &raw)) {
            continue;
        }
        if (strcmp(r->method, wanted) == 0) {
            out->op = r->op;
            out->builtin = r->builtin;
            out->field = r->field[0] ? r->field : NULL;
            out->raw = raw;
            return;
        }
        allow(out, r->method);
    }
    if (out->allow[0]) {
        allow(out, "OPTIONS");
    }
}

vd_status http_segment_decode(bytes raw, arena *a, bytes *out, vd_error *err) {
    uint8_t *to = arena_alloc(a, raw.size);
    size_t size = 0;
    if (!to) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    if (!http_percent_decode(raw, to, &size)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "bad %% escape in the path");
    }
    if (size && memchr(to, 0, size)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "NUL in the path");
    }
    *out = bytes_of(to, size);
    return VD_OK;
}
