/*
 * bytes.h - a span of bytes, a growing buffer, and integers put and got byte by byte (never by casting a buffer).
 */
#ifndef VECTORD_BASE_BYTES_H
#define VECTORD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct bytes {
    const uint8_t *data;
    size_t size;
} bytes;

static inline bytes bytes_of(const void *data, size_t size) {
    bytes b = {(const uint8_t *)data, size};
    return b;
}
static inline bytes bytes_str(const char *text) {
    return bytes_of(text, strlen(text));
}
static inline bool bytes_equal(bytes a, bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
/* memcmp order, the shorter first. */
int bytes_compare(bytes a, bytes b);

/* A growing buffer on malloc. Once growing has failed, `failed` stays set, further puts do nothing, and the contents
 * must not be used: check once at the end. */
typedef struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t limit_bytes; /* 0: none */
    bool failed;
} buffer;

void buffer_init(buffer *b, size_t limit_bytes);
void buffer_fini(buffer *b);
static inline void buffer_clear(buffer *b) {
    b->size = 0;
    b->failed = false;
}
/* Room for `size` more bytes; false (and failed) when there is none. */
bool buffer_reserve(buffer *b, size_t size);
void buffer_put(buffer *b, const void *data, size_t size);
void buffer_put_u8(buffer *b, uint8_t value);
void buffer_put_u32be(buffer *b, uint32_t value);
void buffer_put_u32le(buffer *b, uint32_t value);
void buffer_put_u64le(buffer *b, uint64_t value);
static inline void buffer_put_str(buffer *b, const char *text) {
    buffer_put(b, text, strlen(text));
}
void buffer_printf(buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint32_t get_u32be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline uint32_t get_u32le(const uint8_t *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | (uint32_t)p[0];
}
static inline uint64_t get_u64le(const uint8_t *p) {
    return (uint64_t)get_u32le(p + 4) << 32 | get_u32le(p);
}
static inline void set_u32le(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

/* true when the bytes are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool utf8_valid(const void *data, size_t size);
/* Replaces each byte of a C string that is not part of well-formed UTF-8 by '?': a quoted, cut-off text becomes one that every
 * reader takes. */
void utf8_clean(char *text);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `data`, continuing from `crc` (0 at the start). */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* Standard base64 (RFC 4648 section 4, padding needed, no line breaks). Returns decoded bytes or -1; `out` has room for
 * size / 4 * 3. */
ptrdiff_t base64_decode(const char *text, size_t size, uint8_t *out);

/* Lower-case hexadecimal; `out` has room for 2 * size + 1. */
void hex_encode(const void *data, size_t size, char *out);
/* Exactly `size` bytes from 2 * size digits of either case; false otherwise. */
bool hex_decode(const char *text, size_t text_size, uint8_t *out, size_t size);

#endif
