/*
 * toml_reader.h - a TOML document as a flat walk over its `[table] key = value` lines, in C.
 *
 * The only C++ of the project stands behind this header (toml_reader.cc around toml++). It knows the language TOML and
 * nothing about our settings: what a key means, and whether it is one, is decided in config.c.
 *
 * Threading: no shared state; one call at a time per document is all there is.
 */
#ifndef VECTORD_CONFIG_TOML_READER_H
#define VECTORD_CONFIG_TOML_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vectord/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum toml_kind {
    TOML_STRING,  /* texts[0] */
    TOML_INTEGER, /* integer */
    TOML_NUMBER,  /* number */
    TOML_BOOL,    /* boolean */
    TOML_STRINGS, /* an array of strings: texts[0..text_count-1]; an empty array too */
    TOML_OTHER    /* a table, a date, an array of something else; `type_name` says what */
} toml_kind;

/* One `key = value`. Everything is borrowed for the duration of the visit. Strings end in NUL and hold no other. */
typedef struct toml_entry {
    const char *table; /* "" for a key outside any table */
    const char *key;
    uint32_t line, column; /* of the key, from 1 */
    toml_kind kind;
    const char *type_name; /* "string", "integer", "array", "table", ... */
    const char *const *texts;
    size_t text_count;
    int64_t integer;
    double number;
    bool boolean;
} toml_entry;

/*
 * Parses `size` bytes of UTF-8 and calls visit once for each key of each first-level table, and for each first-level
 * value, in the order of their lines. Deeper tables are one entry of kind TOML_OTHER. A table without keys calls
 * visit once with key "". Visiting stops when visit returns something other than VD_OK, and that is returned.
 * INVALID_ARGUMENT: not TOML; err->text is "LINE:COLUMN: what". TOO_LARGE: over VD_CONFIG_MAX_BYTES, or so many dots
 * that nested tables could exhaust the stack. OUT_OF_MEMORY.
 */
vd_status toml_read(const char *text, size_t size, vd_status (*visit)(void *arg, const toml_entry *entry), void *arg,
                    vd_error *err);

#ifdef __cplusplus
}
#endif
#endif
