/*
 * storaged_list.c - listing over HTTP, page by page. What the original's listing looks like is not public, so both "objects" and
 * "keys" are understood, of strings or of objects with a "key" and perhaps a "size". Keys of our own making that are nobody's
 * business (set aside, probes) are not shown.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "store/object_key.h"
#include "store/storaged_int.h"

#define PAGES_MAX 100000u /* a store that never comes to an end is broken */

/* ---- one page ---- */

typedef struct parser {
    json_reader r;
    storaged_page_visit visit;
    void *arg;
    vd_status status;
    size_t count;
    bool listed;
} parser;

static bool take_key(parser *p, bytes key, uint64_t size) {
    char text[VD_OBJECT_KEY_MAX_BYTES + 1];
    if (key.size == 0 || key.size >= sizeof text) {
        return json_fault(&p->r, "a key of no sensible length");
    }
    memcpy(text, key.data, key.size);
    text[key.size] = '\0';
    p->count++;
    p->status = p->visit(p->arg, text, size);
    return p->status == VD_OK;
}

static bool read_object(parser *p) {
    bytes name, key = {0};
    uint64_t size = 0;
    bool more;
    if (!json_begin_object(&p->r)) {
        return false;
    }
    while (json_next_key(&p->r, &name, &more) && more) {
        json_kind kind;
        if (!json_peek(&p->r, &kind)) {
            return false;
        }
        bool fine = bytes_equal(name, bytes_str("key")) && kind == JSON_STRING    ? json_read_string(&p->r, &key)
                    : bytes_equal(name, bytes_str("size")) && kind == JSON_NUMBER ? json_read_uint64(&p->r, &size)
                                                                                  : json_skip(&p->r, NULL);
        if (!fine) {
            return false;
        }
    }
    return !p->r.fault && take_key(p, key, size);
}

static bool read_keys(parser *p) {
    bool more;
    p->listed = true;
    if (!json_begin_array(&p->r)) {
        return false;
    }
    while (json_next_element(&p->r, &more) && more) {
        json_kind kind;
        bytes key;
        if (!json_peek(&p->r, &kind)) {
            return false;
        }
        bool fine = kind == JSON_STRING ? json_read_string(&p->r, &key) && take_key(p, key, 0) : read_object(p);
        if (!fine) {
            return false;
        }
    }
    return !p->r.fault;
}

static bool read_page(parser *p, char *cursor) {
    bytes name, text;
    bool more;
    if (!json_begin_object(&p->r)) {
        return false;
    }
    while (json_next_key(&p->r, &name, &more) && more) {
        json_kind kind;
        if (!json_peek(&p->r, &kind)) {
            return false;
        }
        bool fine;
        if (kind == JSON_ARRAY && (bytes_equal(name, bytes_str("objects")) || bytes_equal(name, bytes_str("keys")))) {
            fine = read_keys(p);
        } else if (kind == JSON_STRING && bytes_equal(name, bytes_str("cursor"))) {
            fine = json_read_string(&p->r, &text);
            if (fine && text.size > VD_OBJECT_KEY_MAX_BYTES) {
                return json_fault(&p->r, "a cursor that is too long");
            }
            if (fine) {
                memcpy(cursor, text.data, text.size);
                cursor[text.size] = '\0';
            }
        } else {
            fine = json_skip(&p->r, NULL);
        }
        if (!fine) {
            return false;
        }
    }
    return !p->r.fault && json_at_end(&p->r);
}

vd_status storaged_list_parse(bytes page, storaged_page_visit visit, void *arg, char *cursor, size_t *count,
                              vd_error *err) {
    arena scratch;
    arena_init(&scratch, NULL, VD_STORE_LIST_MAX_BYTES);
    parser p = {.visit = visit, .arg = arg};
    json_reader_init(&p.r, page.data, page.size, &scratch);
    cursor[0] = '\0';
    vd_status status = VD_OK;
    if (!read_page(&p, cursor) || !p.listed) {
        status = p.status;
        if (status == VD_OK && p.r.fault) {
            json_fail(&p.r, "listing", err);
            status = VD_DATA_LOSS;
        } else if (status == VD_OK) {
            status = vd_fail(err, VD_DATA_LOSS, NULL, "listing: it has neither \"objects\" nor \"keys\"");
        }
        if (err && status == VD_DATA_LOSS) {
            err->status = status;
        }
    }
    *count = p.count;
    arena_fini(&scratch);
    return status;
}

/* ---- all pages ---- */

typedef struct listing {
    size_t prefix; /* bytes of the store's own prefix, which the keys go without */
    const char *whole_prefix;
    vd_status (*visit)(void *arg, const char *key, uint64_t size);
    void *arg;
} listing;

static bool is_aside(const char *key) {
    const char *mark = NULL;
    for (const char *p = key; (p = strstr(p, ASIDE_MARK)); p++) {
        mark = p;
    }
    const char *number = mark ? mark + strlen(ASIDE_MARK) : "";
    return number[0] && number[strspn(number, "0123456789")] == '\0';
}

static vd_status show(void *arg, const char *key, uint64_t size) {
    const listing *l = arg;
    if (strncmp(key, l->whole_prefix, strlen(l->whole_prefix)) != 0) {
        return VD_OK; /* not what was asked for */
    }
    const char *own = key + l->prefix;
    if (is_aside(own) || strncmp(own, PROBE_PREFIX, strlen(PROBE_PREFIX)) == 0) {
        return VD_OK;
    }
    return l->visit(l->arg, own, size);
}

/* Asks for the page behind `cursor`, which becomes the next one. */
static vd_status take_page(const http_store *s, const listing *l, char *cursor, vd_error *err) {
    char target[2 * TARGET_MAX];
    size_t used = (size_t)snprintf(target, sizeof target, "/storage/list?prefix=");
    bool fits = object_key_to_url(bytes_str(l->whole_prefix), target + used, TARGET_MAX - used);
    used = strlen(target);
    if (fits && cursor[0]) {
        used += (size_t)snprintf(target + used, sizeof target - used, "&cursor=");
        fits = object_key_to_url(bytes_str(cursor), target + used, sizeof target - used);
    }
    if (!fits) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "list: the prefix is too long");
    }
    const http_call call = {.method = "GET", .target = target, .answer_max = VD_STORE_LIST_MAX_BYTES};
    http_answer answer;
    http_answer_init(&answer);
    vd_status status = http_client_call(s->client, &call, &answer, NULL, err);
    if (status == VD_OK && answer.status != 200) {
        status = storaged_refused(s, &answer, "list", l->whole_prefix, err);
        status = status == VD_NOT_FOUND ? VD_INTERNAL : status; /* no route, which says nothing of keys */
    }
    char next[VD_OBJECT_KEY_MAX_BYTES + 1];
    size_t count;
    listing copy = *l;
    if (status == VD_OK) {
        status = storaged_list_parse(bytes_of(answer.body.data, answer.body.size), show, &copy, next, &count, err);
    }
    if (status == VD_OK && next[0] && strcmp(next, cursor) == 0) {
        status = vd_fail(err, VD_DATA_LOSS, NULL, "list: the store goes round in circles");
    }
    if (status == VD_OK) {
        memcpy(cursor, next, sizeof next);
    }
    http_answer_fini(&answer);
    return status;
}

vd_status storaged_list(objstore *face, const char *prefix,
                        vd_status (*visit)(void *arg, const char *key, uint64_t size), void *arg, vd_error *err) {
    http_store *s = (http_store *)face;
    char whole[sizeof s->prefix + VD_OBJECT_KEY_MAX_BYTES + 1], cursor[VD_OBJECT_KEY_MAX_BYTES + 1] = "";
    int size = snprintf(whole, sizeof whole, "%s%s", s->prefix, prefix);
    if (size < 0 || size > VD_OBJECT_KEY_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "list: the prefix is too long");
    }
    vd_status proved = storaged_prove(s, err); /* a registry lists before it does anything else */
    if (proved != VD_OK) {
        return proved;
    }
    const listing l = {.prefix = strlen(s->prefix), .whole_prefix = whole, .visit = visit, .arg = arg};
    for (unsigned pages = 0; pages < PAGES_MAX; pages++) {
        vd_status status = take_page(s, &l, cursor, err);
        if (status != VD_OK || !cursor[0]) {
            return status;
        }
    }
    return vd_fail(err, VD_DATA_LOSS, NULL, "list: more than %u pages", PAGES_MAX);
}
