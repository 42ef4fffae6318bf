/* route.c - from method and path to what is meant. Paths are compared as they came (never unescaped as a whole): only the key
 * is decoded, once, by request.c. */
#include <string.h>

#include "storaged/door_int.h"

static const struct {
    const char *path;
    bool key; /* a key follows */
    verb verb;
    const char *method, *allow;
} routes[] = {
    {"/storage/get/", true, VERB_GET, "GET", "GET, HEAD"},
    {"/storage/put/", true, VERB_PUT, "PUT", "PUT"},
    {"/storage/delete/", true, VERB_DELETE, "DELETE", "DELETE"},
    {"/storage/list", false, VERB_LIST, "GET", "GET, HEAD"},
    {"/health", false, VERB_HEALTH, "GET", "GET, HEAD"},
    {"/metrics", false, VERB_METRICS, "GET", "GET, HEAD"},
};

void route_find(bytes path, const char *method, route_match *out) {
    *out = (route_match){0};
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        size_t size = strlen(routes[i].path);
        if (path.size < size || memcmp(path.data, routes[i].path, size) != 0 || (!routes[i].key && path.size != size)) {
            continue;
        }
        out->allow = routes[i].allow;
        out->verb = routes[i].verb;
        out->found = strcmp(routes[i].method, wanted) == 0;
        out->raw_key = bytes_of(path.data + size, path.size - size);
        return;
    }
}

uint64_t route_body_max(bytes key) {
    static const char component[] = "_vectors/";
    size_t size = sizeof component - 1;
    for (size_t i = 0; key.size >= size && i <= key.size - size; i++) {
        if ((i == 0 || key.data[i - 1] == '/') && memcmp(key.data + i, component, size) == 0) {
            return VD_OBJECT_VECTORS_MAX_BYTES; /* behind a prefix too: several vectords may share one daemon */
        }
    }
    return VD_OBJECT_MAX_BYTES;
}
