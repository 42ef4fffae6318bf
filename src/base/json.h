/*
 * json.h - a strict streaming JSON reader (RFC 8259) and a writer. No tree: the caller pulls one token at a time, strings
 * are unescaped into the request's arena only when they contain escapes, and whole values can be taken as the raw span
 * they stand in (that is how opaque metadata comes back byte for byte).
 *
 * Strict: UTF-8 must be well formed, no lone surrogates, no NUL in strings (\u0000 included) unless allowed, no leading
 * zeros, no comments, no trailing commas, depth at most VD_JSON_DEPTH_MAX, and nothing but white space after the value.
 */
#ifndef VECTORD_BASE_JSON_H
#define VECTORD_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "vectord/status.h"

typedef enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
} json_kind;

typedef struct json_reader {
    const uint8_t *start;
    const uint8_t *at;
    const uint8_t *end;
    arena *arena; /* for unescaped strings */
    uint32_t depth;
    const char *fault; /* constant text; NULL while all is well */
    size_t fault_at;   /* byte offset of the fault */
} json_reader;

void json_reader_init(json_reader *r, const void *data, size_t size, arena *a);

/* The kind of the value that starts here; false on a fault. Does not consume it. */
bool json_peek(json_reader *r, json_kind *kind);
/* Consume one scalar of the kind peeked. The string is unescaped and valid UTF-8; it points into the input or the arena. */
bool json_read_null(json_reader *r);
bool json_read_bool(json_reader *r, bool *out);
bool json_read_string(json_reader *r, bytes *out);
/* Correctly rounded to double; a magnitude beyond double is a fault. */
bool json_read_double(json_reader *r, double *out);
/* Correctly rounded to float32 directly (not through double); *out may be infinite: the caller decides. */
bool json_read_float(json_reader *r, float *out);
/* An integer literal without fraction or exponent (also "1.0" and "1e2" when they are whole); false with fault "not a
 * whole number" or "out of range". */
bool json_read_int64(json_reader *r, int64_t *out);
bool json_read_uint64(json_reader *r, uint64_t *out);

/*
 * Walks an object:   json_begin_object(r); while (json_next_key(r, &key, &more) && more) { read or skip the value }
 * json_next_key returns false on a fault; *more is false at the closing brace (consumed). Arrays alike. */
bool json_begin_object(json_reader *r);
bool json_next_key(json_reader *r, bytes *key, bool *more);
bool json_begin_array(json_reader *r);
bool json_next_element(json_reader *r, bool *more);
/* Reads elements of an array of numbers as long as they are ordinary ones, at most `capacity`; returns how many. Stands where
 * json_next_element stands, before and after: go on with that for what is left, be it a fault, the end, or an odd number. */
size_t json_read_floats(json_reader *r, float *out, size_t capacity);

/* Consumes the next value of any kind, checking it fully; *raw (may be NULL) is the span without surrounding space. */
bool json_skip(json_reader *r, bytes *raw);
/* true when only white space is left; else a fault "bytes after the value". */
bool json_at_end(json_reader *r);
/* Sets a fault at the current place (the first one stays); returns false. */
bool json_fault(json_reader *r, const char *constant_text);
/* Fills err with INVALID_ARGUMENT "<what>: <fault> at byte N" and returns it. */
vd_status json_fail(const json_reader *r, const char *what, vd_error *err);

/* ---- writing: into a buffer; commas are put by the caller through these helpers ---- */
void json_put_string(buffer *b, const void *data, size_t size); /* quoted and escaped; invalid UTF-8 becomes U+FFFD */
void json_put_double(buffer *b, double value);                  /* shortest form that reads back equal; finite only */
void json_put_float(buffer *b, float value);                    /* likewise for float32 */
void json_put_int64(buffer *b, int64_t value);
void json_put_uint64(buffer *b, uint64_t value);

#endif
