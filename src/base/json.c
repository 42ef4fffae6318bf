/*
 * json.c - the reader's tokens: white space, literals, strings, the punctuation of arrays and objects, and skipping.
 *
 * Relies on the arena for strings that contain escapes and on json_number.c for numbers; leaves writing to json_write.c.
 *
 * The reader keeps no stack. Whether a comma is due follows from the byte before the place: it is the opening bracket
 * itself exactly when nothing has been read since json_begin_*, because no value ends in an opening bracket. Skipping
 * needs a stack of kinds; at most VD_JSON_DEPTH_MAX levels of one bit each fit in a word.
 */
#include "base/json.h"

#include <stdio.h>
#include <string.h>

#include "base/json_int.h"
#include "vectord/limits.h"

_Static_assert(VD_JSON_DEPTH_MAX <= 64, "skip_value keeps one bit per level in a uint64_t");

const char json_no_memory[] = "out of memory";

void json_reader_init(json_reader *r, const void *data, size_t size, arena *a) {
    const uint8_t *start = size ? data : (const uint8_t *)"";
    *r = (json_reader){.start = start, .at = start, .end = start + size, .arena = a};
}

static bool fault_here(json_reader *r, const uint8_t *at, const char *text) {
    if (!r->fault) {
        r->fault = text;
        r->fault_at = (size_t)(at - r->start);
    }
    return false;
}

bool json_fault(json_reader *r, const char *constant_text) {
    return fault_here(r, r->at, constant_text);
}

vd_status json_fail(const json_reader *r, const char *what, vd_error *err) {
    if (r->fault == json_no_memory) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "%s: out of memory", what);
    }
    return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: %s at byte %zu", what, r->fault ? r->fault : "not valid",
                   r->fault_at);
}

/* ---- scalars ---- */

bool json_peek(json_reader *r, json_kind *kind) {
    if (r->fault) {
        return false;
    }
    json_space(r);
    if (r->at == r->end) {
        return json_fault(r, "unexpected end");
    }
    switch (*r->at) {
    case '"':
        *kind = JSON_STRING;
        return true;
    case '[':
        *kind = JSON_ARRAY;
        return true;
    case '{':
        *kind = JSON_OBJECT;
        return true;
    case 'n':
        *kind = JSON_NULL;
        return true;
    case 'f':
        *kind = JSON_FALSE;
        return true;
    case 't':
        *kind = JSON_TRUE;
        return true;
    default:
        if (*r->at == '-' || (*r->at >= '0' && *r->at <= '9')) {
            *kind = JSON_NUMBER;
            return true;
        }
        return json_fault(r, "not a JSON value");
    }
}

static bool literal(json_reader *r, const char *word, size_t size) {
    size_t left = (size_t)(r->end - r->at);
    if (memcmp(r->at, word, left < size ? left : size) != 0) {
        return json_fault(r, "not a JSON value");
    }
    if (left < size) {
        return fault_here(r, r->end, "unexpected end");
    }
    r->at += size;
    return true;
}

bool json_read_null(json_reader *r) {
    json_kind kind;
    if (!json_peek(r, &kind)) {
        return false;
    }
    return kind == JSON_NULL ? literal(r, "null", 4) : json_fault(r, "not null");
}

bool json_read_bool(json_reader *r, bool *out) {
    json_kind kind;
    if (!json_peek(r, &kind)) {
        return false;
    }
    if (kind != JSON_TRUE && kind != JSON_FALSE) {
        return json_fault(r, "not true or false");
    }
    if (!(kind == JSON_TRUE ? literal(r, "true", 4) : literal(r, "false", 5))) {
        return false;
    }
    *out = kind == JSON_TRUE;
    return true;
}

/* ---- strings ---- */

static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The four digits of a \u escape at p; -1 when they are not all there. */
static int32_t hex_four(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) {
        return -1;
    }
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

/* Checks the escape at p (its backslash) and moves *p past it. */
static bool check_escape(json_reader *r, const uint8_t **at, bool nul_allowed) {
    const uint8_t *p = *at;
    if (r->end - p < 2) {
        return fault_here(r, r->end, "unexpected end");
    }
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        *at = p + 2;
        return true;
    case 'u':
        break;
    default:
        return fault_here(r, p, "bad escape in a string");
    }
    int32_t unit = hex_four(p + 2, r->end);
    if (unit < 0) {
        return fault_here(r, p, "bad escape in a string");
    }
    if (unit == 0 && !nul_allowed) {
        return fault_here(r, p, "NUL in a string");
    }
    *at = p + 6;
    if (unit < 0xD800 || unit > 0xDFFF) {
        return true;
    }
    if (unit <= 0xDBFF && r->end - *at >= 6 && p[6] == '\\' && p[7] == 'u') {
        int32_t second = hex_four(p + 8, r->end);
        if (second >= 0xDC00 && second <= 0xDFFF) {
            *at = p + 12;
            return true;
        }
    }
    return fault_here(r, p, "lone surrogate in a string");
}

/* Moves *at past the run of bytes above 0x7F that starts there. Only well-formed UTF-8 passes. */
static bool check_utf8(json_reader *r, const uint8_t **at) {
    const uint8_t *p = *at;
    do {
        uint8_t c = *p;
        ptrdiff_t size = c >= 0xC2 && c <= 0xDF ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
        if (size == 0 || r->end - p < size || !utf8_valid(p, (size_t)size)) {
            return fault_here(r, p, "not valid UTF-8");
        }
        p += size;
    } while (p < r->end && *p >= 0x80);
    *at = p;
    return true;
}

/* Checks the string at r->at (its quote) and moves past it; [*first, *last) is what stands between the quotes. */
static bool scan_string(json_reader *r, bool nul_allowed, const uint8_t **first, const uint8_t **last, bool *escaped) {
    const uint8_t *p = r->at + 1;
    *first = p;
    *escaped = false;
    for (;;) {
        p = json_plain(p, r->end);
        if (p == r->end) {
            return fault_here(r, p, "unexpected end");
        }
        if (*p == '"') {
            *last = p;
            r->at = p + 1;
            return true;
        }
        if (*p == '\\') {
            *escaped = true;
            if (!check_escape(r, &p, nul_allowed)) {
                return false;
            }
        } else if (*p >= 0x80) {
            if (!check_utf8(r, &p)) {
                return false;
            }
        } else {
            return fault_here(r, p, "control character in a string");
        }
    }
}

static uint8_t *put_utf8(uint8_t *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (uint8_t)c;
    } else if (c < 0x800) {
        *out++ = (uint8_t)(0xC0 | c >> 6);
        *out++ = (uint8_t)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *out++ = (uint8_t)(0xE0 | c >> 12);
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (c & 0x3F));
    } else {
        *out++ = (uint8_t)(0xF0 | c >> 18);
        *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3F));
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (c & 0x3F));
    }
    return out;
}

/* Writes the text of a string that scan_string has accepted; it never grows. Returns the size. */
static size_t unescape(const uint8_t *p, const uint8_t *last, uint8_t *out) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    uint8_t *start = out;
    while (p < last) {
        const uint8_t *slash = memchr(p, '\\', (size_t)(last - p));
        size_t plain = (size_t)((slash ? slash : last) - p);
        memcpy(out, p, plain);
        out += plain;
        p += plain;
        if (!slash) {
            break;
        }
        if (p[1] == 'u') {
            uint32_t unit = (uint32_t)hex_four(p + 2, last);
            p += 6;
            if (unit >= 0xD800 && unit <= 0xDBFF) {
                unit = 0x10000 + ((unit - 0xD800) << 10) + ((uint32_t)hex_four(p + 2, last) - 0xDC00);
                p += 6;
            }
            out = put_utf8(out, unit);
            continue;
        }
        const char *letter = memchr(from, p[1], sizeof from - 1);
        *out++ = letter ? (uint8_t)to[letter - from] : p[1];
        p += 2;
    }
    return (size_t)(out - start);
}

/* A string whose opening quote is at r->at. */
static bool read_string_here(json_reader *r, bytes *out) {
    const uint8_t *first, *last;
    bool escaped;
    if (!scan_string(r, false, &first, &last, &escaped)) {
        return false;
    }
    if (!escaped) {
        *out = bytes_of(first, (size_t)(last - first));
        return true;
    }
    uint8_t *text = arena_alloc(r->arena, (size_t)(last - first));
    if (!text) {
        return json_fault(r, json_no_memory);
    }
    *out = bytes_of(text, unescape(first, last, text));
    return true;
}

bool json_read_string(json_reader *r, bytes *out) {
    json_kind kind;
    if (!json_peek(r, &kind)) {
        return false;
    }
    return kind == JSON_STRING ? read_string_here(r, out) : json_fault(r, "not a string");
}

/* ---- arrays and objects ---- */

static bool begin(json_reader *r, json_kind wanted, const char *otherwise) {
    json_kind kind;
    if (!json_peek(r, &kind)) {
        return false;
    }
    if (kind != wanted) {
        return json_fault(r, otherwise);
    }
    if (r->depth == VD_JSON_DEPTH_MAX) {
        return json_fault(r, "nested too deeply");
    }
    r->depth++;
    r->at++;
    return true;
}

/* Past the comma, if one is due, or past the closing bracket. */
static bool next(json_reader *r, uint8_t opening, uint8_t closing, const char *otherwise, bool *more) {
    if (r->fault) {
        return false;
    }
    bool first = r->at[-1] == opening;
    json_space(r);
    if (r->at == r->end) {
        return json_fault(r, "unexpected end");
    }
    if (*r->at == closing) {
        r->at++;
        r->depth--;
        *more = false;
        return true;
    }
    if (!first) {
        if (*r->at != ',') {
            return json_fault(r, otherwise);
        }
        r->at++;
    }
    *more = true;
    return true;
}

bool json_begin_object(json_reader *r) {
    return begin(r, JSON_OBJECT, "not an object");
}

bool json_begin_array(json_reader *r) {
    return begin(r, JSON_ARRAY, "not an array");
}

bool json_next_element(json_reader *r, bool *more) {
    if (!r->fault && r->at < r->end && *r->at == ',' && r->at[-1] != '[') { /* nearly always, in a vector */
        r->at++;
        *more = true;
        return true;
    }
    return next(r, '[', ']', "expected ',' or ']'", more);
}

/* The quote of a member's name. */
static bool at_name(json_reader *r) {
    json_space(r);
    if (r->at == r->end) {
        return json_fault(r, "unexpected end");
    }
    return *r->at == '"' || json_fault(r, "expected a member name");
}

static bool colon(json_reader *r) {
    json_space(r);
    if (r->at == r->end) {
        return json_fault(r, "unexpected end");
    }
    if (*r->at != ':') {
        return json_fault(r, "expected ':'");
    }
    r->at++;
    return true;
}

bool json_next_key(json_reader *r, bytes *key, bool *more) {
    if (!next(r, '{', '}', "expected ',' or '}'", more)) {
        return false;
    }
    return !*more || (at_name(r) && read_string_here(r, key) && colon(r));
}

/* ---- skipping ---- */

/* Checks one value that is neither an array nor an object. */
static bool skip_scalar(json_reader *r, json_kind kind) {
    const uint8_t *first, *last;
    bool escaped;
    switch (kind) {
    case JSON_STRING:
        /* what is not interpreted may hold \u0000: text from PDFs does, and the bytes go back as they came */
        return scan_string(r, true, &first, &last, &escaped);
    case JSON_NUMBER:
        return json_skip_number(r);
    case JSON_NULL:
        return literal(r, "null", 4);
    case JSON_TRUE:
        return literal(r, "true", 4);
    default:
        return literal(r, "false", 5);
    }
}

static bool skip_value(json_reader *r) {
    const uint8_t *first, *last;
    bool escaped;
    uint64_t objects = 0; /* the kinds of the open brackets, the innermost lowest; 1: object */
    uint32_t depth = 0;
    for (;;) {
        json_kind kind;
        if (!json_peek(r, &kind)) {
            return false;
        }
        if (kind == JSON_ARRAY || kind == JSON_OBJECT) {
            if (depth == VD_JSON_DEPTH_MAX) {
                return json_fault(r, "nested too deeply");
            }
            depth++;
            r->at++;
            objects = objects << 1 | (kind == JSON_OBJECT);
            r->depth++;
        } else if (!skip_scalar(r, kind)) {
            return false;
        }
        /* close what ends here, then stand before the next value */
        for (bool more = false; !more;) {
            if (depth == 0) {
                return true;
            }
            if (objects & 1) {
                if (!next(r, '{', '}', "expected ',' or '}'", &more) ||
                    (more && !(at_name(r) && scan_string(r, true, &first, &last, &escaped) && colon(r)))) {
                    return false;
                }
            } else if (!json_next_element(r, &more)) {
                return false;
            }
            if (!more) {
                objects >>= 1;
                depth--;
            }
        }
    }
}

bool json_skip(json_reader *r, bytes *raw) {
    if (r->fault) {
        return false;
    }
    json_space(r);
    const uint8_t *first = r->at;
    uint32_t depth = r->depth;
    if (!skip_value(r)) {
        return false;
    }
    r->depth = depth;
    if (raw) {
        *raw = bytes_of(first, (size_t)(r->at - first));
    }
    return true;
}

bool json_at_end(json_reader *r) {
    if (r->fault) {
        return false;
    }
    json_space(r);
    return r->at == r->end || json_fault(r, "bytes after the value");
}
