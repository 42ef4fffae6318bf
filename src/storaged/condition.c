/* condition.c - see condition.h. Our tags are strong and hold no comma or quote, so a list is cut at what stands in quotes. */
#include "storaged/condition.h"

#include <stddef.h>
#include <string.h>

static const char *skip_space(const char *p) {
    return p + strspn(p, " \t");
}

typedef struct tag {
    const char *text;
    size_t size;
    bool weak;
} tag;

/* The next tag of a list, or false at its end or at what is none (*bad then). */
static bool next_tag(const char **at, tag *out, bool *bad) {
    const char *p = *at;
    p = skip_space(p);
    while (*p == ',') { /* empty members are allowed */
        p = skip_space(p + 1);
    }
    *bad = false;
    if (*p == '\0') {
        return false;
    }
    out->weak = p[0] == 'W' && p[1] == '/';
    p += out->weak ? 2 : 0;
    const char *end = *p == '"' ? strchr(p + 1, '"') : NULL;
    if (!end) {
        *bad = true;
        return false;
    }
    out->text = p + 1;
    out->size = (size_t)(end - p - 1);
    p = skip_space(end + 1);
    if (*p != ',' && *p != '\0') {
        *bad = true;
        return false;
    }
    *at = p;
    return true;
}

static bool is_any(const char *value) {
    value = skip_space(value);
    return value[0] == '*' && *skip_space(value + 1) == '\0';
}

static bool well_formed(const char *value) {
    if (!value || is_any(value)) {
        return true;
    }
    tag t;
    bool bad;
    size_t count = 0;
    while (next_tag(&value, &t, &bad)) {
        count++;
    }
    return !bad && count > 0;
}

vd_status condition_check(const object_condition *c, vd_error *err) {
    if (!well_formed(c->if_match) || !well_formed(c->if_none_match)) {
        const char *name = well_formed(c->if_match) ? "If-None-Match" : "If-Match";
        return vd_fail(err, VD_INVALID_ARGUMENT, name, "%s must be * or a list of entity tags in quotes", name);
    }
    return VD_OK;
}

/* `weakly`: W/"x" is "x" too, as If-None-Match compares. */
static bool lists(const char *value, const char *etag, bool weakly) {
    if (is_any(value)) {
        return true;
    }
    tag t;
    bool bad;
    size_t size = strlen(etag);
    while (next_tag(&value, &t, &bad)) {
        if (size > 0 && t.size == size && memcmp(t.text, etag, size) == 0 && (weakly || !t.weak)) {
            return true;
        }
    }
    return false;
}

bool condition_lists(const char *value, const char *etag) {
    return lists(value, etag, true);
}

bool condition_holds(const object_condition *c, const char *etag) {
    if (c->if_match && (!etag || !lists(c->if_match, etag, false))) {
        return false;
    }
    return !c->if_none_match || !etag || !lists(c->if_none_match, etag, true);
}

/* Digits at *at; false when there are none or too many. */
static bool number(const char **at, uint64_t *out) {
    uint64_t value = 0;
    size_t digits = 0;
    for (; (*at)[digits] >= '0' && (*at)[digits] <= '9'; digits++) {
        if (digits == 18) {
            return false;
        }
        value = value * 10 + (uint64_t)((*at)[digits] - '0');
    }
    *at += digits;
    *out = value;
    return digits > 0;
}

byte_range condition_range(const char *value, uint64_t size, uint64_t *offset, uint64_t *length) {
    *offset = 0;
    *length = size;
    if (!value || strncmp(value, "bytes=", 6) != 0) {
        return RANGE_WHOLE;
    }
    const char *p = skip_space(value + 6);
    uint64_t first = 0, last = 0;
    bool has_first = number(&p, &first);
    if (*p++ != '-') {
        return RANGE_WHOLE;
    }
    bool has_last = number(&p, &last);
    if (*skip_space(p) != '\0' || (!has_first && !has_last) || (has_first && has_last && last < first)) {
        return RANGE_WHOLE;
    }
    if (!has_first) { /* the last so many */
        if (last == 0 || size == 0) {
            return RANGE_UNSATISFIABLE;
        }
        *length = last < size ? last : size;
        *offset = size - *length;
        return RANGE_PART;
    }
    if (first >= size) {
        return RANGE_UNSATISFIABLE;
    }
    *offset = first;
    *length = (has_last && last < size ? last + 1 : size) - first;
    return RANGE_PART;
}
