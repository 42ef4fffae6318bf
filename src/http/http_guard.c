/* http_guard.c - see http_guard.h. */
#include "http/http_guard.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct ip {
    bool v6;
    uint8_t octets[16];
} ip;

struct http_guard {
    char **origins;
    size_t origin_count;
    ip *bound;
    size_t bound_count;
    bool any_host, any_origin;
    bool wildcard; /* bound to every address: any literal is ours, since no one can point a literal elsewhere */
};

http_guard *http_guard_new(const char *const *cors_origins, size_t count, bool any_host) {
    http_guard *g = calloc(1, sizeof *g);
    if (!g) {
        return NULL;
    }
    g->any_host = any_host;
    g->origins = calloc(count ? count : 1, sizeof *g->origins);
    if (!g->origins) {
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        g->origins[i] = strdup(cors_origins[i]);
        if (!g->origins[i]) {
            goto fail;
        }
        size_t size = strlen(g->origins[i]);
        if (size && g->origins[i][size - 1] == '/') {
            g->origins[i][size - 1] = '\0'; /* people write "https://app.example/", browsers send it without */
        }
        g->any_origin = g->any_origin || strcmp(g->origins[i], "*") == 0;
        g->origin_count++;
    }
    return g;
fail:
    http_guard_free(g);
    return NULL;
}

void http_guard_free(http_guard *g) {
    if (!g) {
        return;
    }
    for (size_t i = 0; i < g->origin_count; i++) {
        free(g->origins[i]);
    }
    free(g->origins);
    free(g->bound);
    free(g);
}

bool http_guard_bound(http_guard *g, const struct sockaddr_storage *address) {
    ip *grown = realloc(g->bound, (g->bound_count + 1) * sizeof *grown);
    if (!grown) {
        return false;
    }
    g->bound = grown;
    ip one = {.v6 = address->ss_family == AF_INET6};
    static const uint8_t nowhere[16] = {0};
    if (one.v6) {
        memcpy(one.octets, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        g->wildcard = g->wildcard || memcmp(one.octets, nowhere, 16) == 0;
    } else {
        memcpy(one.octets, &((const struct sockaddr_in *)address)->sin_addr, 4);
        g->wildcard = g->wildcard || memcmp(one.octets, nowhere, 4) == 0;
    }
    g->bound[g->bound_count++] = one;
    return true;
}

typedef struct authority {
    bytes name; /* without brackets */
    bool literal_v6;
    unsigned port; /* 0: none given */
} authority;

/* host[":"[port]]; false when it is neither. */
static bool parse_authority(bytes text, authority *out) {
    *out = (authority){0};
    const char *p = (const char *)text.data;
    size_t name_end;
    if (text.size && p[0] == '[') {
        const char *close = memchr(p, ']', text.size);
        if (!close) {
            return false;
        }
        out->literal_v6 = true;
        out->name = bytes_of(p + 1, (size_t)(close - p) - 1);
        name_end = (size_t)(close - p) + 1;
    } else {
        const char *colon = text.size ? memchr(p, ':', text.size) : NULL;
        name_end = colon ? (size_t)(colon - p) : text.size;
        out->name = bytes_of(p, name_end);
    }
    if (out->name.size == 0 || out->name.size > 253 || (name_end < text.size && p[name_end] != ':')) {
        return false;
    }
    for (size_t i = 0; i < out->name.size; i++) {
        unsigned char c = out->name.data[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!plain && c != '-' && c != '.' && c != '_' && !(c == ':' && out->literal_v6)) {
            return false;
        }
    }
    for (size_t i = name_end + 1; i < text.size; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
        out->port = out->port * 10 + (unsigned)(p[i] - '0');
        if (out->port > 65535) {
            return false;
        }
    }
    return true;
}

static bool parse_ip(const authority *a, ip *out) {
    char text[64];
    if (a->name.size >= sizeof text) {
        return false;
    }
    memcpy(text, a->name.data, a->name.size);
    text[a->name.size] = '\0';
    *out = (ip){.v6 = a->literal_v6};
    if (!out->v6) {
        return inet_pton(AF_INET, text, out->octets) == 1;
    }
    if (inet_pton(AF_INET6, text, out->octets) != 1) {
        return false;
    }
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    if (memcmp(out->octets, mapped, sizeof mapped) == 0) {
        ip v4 = {0};
        memcpy(v4.octets, out->octets + 12, 4);
        *out = v4;
    }
    return true;
}

static bool is_loopback(const ip *a) {
    static const uint8_t one[16] = {[15] = 1};
    return a->v6 ? memcmp(a->octets, one, 16) == 0 : a->octets[0] == 127;
}

static bool named(bytes name, const char *wanted) {
    size_t size = name.size && name.data[name.size - 1] == '.' ? name.size - 1 : name.size; /* "localhost." is rooted */
    return size == strlen(wanted) && strncasecmp((const char *)name.data, wanted, size) == 0;
}

bool http_guard_host(const http_guard *g, bytes host) {
    authority a;
    if (!parse_authority(host, &a)) {
        return false;
    }
    if (g->any_host || (!a.literal_v6 && named(a.name, "localhost"))) {
        return true;
    }
    ip literal;
    if (!parse_ip(&a, &literal)) {
        return false;
    }
    if (is_loopback(&literal) || g->wildcard) {
        return true;
    }
    for (size_t i = 0; i < g->bound_count; i++) {
        if (g->bound[i].v6 == literal.v6 && memcmp(g->bound[i].octets, literal.octets, literal.v6 ? 16 : 4) == 0) {
            return true;
        }
    }
    return false;
}

http_origin http_guard_origin(const http_guard *g, bytes host, const char *origin) {
    /* https too: a proxy that ends TLS in front of us passes the Host on, and one authority has one server. */
    unsigned default_port = 80;
    const char *rest = NULL;
    if (strncasecmp(origin, "http://", 7) == 0) {
        rest = origin + 7;
    } else if (strncasecmp(origin, "https://", 8) == 0) {
        rest = origin + 8;
        default_port = 443;
    }
    authority theirs;
    authority ours;
    if (rest && parse_authority(bytes_str(rest), &theirs) && parse_authority(host, &ours) &&
        theirs.literal_v6 == ours.literal_v6 && theirs.name.size == ours.name.size &&
        strncasecmp((const char *)theirs.name.data, (const char *)ours.name.data, ours.name.size) == 0 &&
        (theirs.port ? theirs.port : default_port) == (ours.port ? ours.port : default_port)) {
        return HTTP_ORIGIN_SAME;
    }
    for (size_t i = 0; i < g->origin_count; i++) {
        if (strcasecmp(g->origins[i], origin) == 0) {
            return HTTP_ORIGIN_LISTED;
        }
    }
    return g->any_origin ? HTTP_ORIGIN_LISTED : HTTP_ORIGIN_REFUSED;
}
