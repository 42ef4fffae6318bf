/* bytes.c - buffers, UTF-8, CRC-32C, base64, hexadecimal. */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

int bytes_compare(bytes a, bytes b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

void buffer_init(buffer *b, size_t limit_bytes) {
    *b = (buffer){.limit_bytes = limit_bytes};
}

void buffer_fini(buffer *b) {
    free(b->data);
    *b = (buffer){.limit_bytes = b->limit_bytes};
}

bool buffer_reserve(buffer *b, size_t size) {
    if (!b->failed && b->capacity - b->size >= size) {
        return true;
    }
    size_t need;
    if (b->failed || !size_add(b->size, size, &need) || (b->limit_bytes && need > b->limit_bytes)) {
        b->failed = true;
        return false;
    }
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity < need) {
        if (!size_mul(capacity, 2, &capacity)) {
            capacity = need;
        }
    }
    if (b->limit_bytes && capacity > b->limit_bytes) {
        capacity = b->limit_bytes; /* so that the quick way above cannot pass the limit */
    }
    uint8_t *data = realloc(b->data, capacity);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void buffer_put(buffer *b, const void *data, size_t size) {
    if (size && buffer_reserve(b, size)) {
        memcpy(b->data + b->size, data, size);
        b->size += size;
    }
}

void buffer_put_u8(buffer *b, uint8_t value) {
    buffer_put(b, &value, 1);
}

void buffer_put_u32be(buffer *b, uint32_t value) {
    uint8_t raw[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    buffer_put(b, raw, sizeof raw);
}

void buffer_put_u32le(buffer *b, uint32_t value) {
    uint8_t raw[4];
    set_u32le(raw, value);
    buffer_put(b, raw, sizeof raw);
}

void buffer_put_u64le(buffer *b, uint64_t value) {
    uint8_t raw[8];
    set_u32le(raw, (uint32_t)value);
    set_u32le(raw + 4, (uint32_t)(value >> 32));
    buffer_put(b, raw, sizeof raw);
}

void buffer_printf(buffer *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0 || !buffer_reserve(b, (size_t)size + 1)) {
        b->failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf((char *)b->data + b->size, (size_t)size + 1, format, args);
    va_end(args);
    b->size += (size_t)size;
}

bool utf8_valid(const void *data, size_t size) {
    const uint8_t *p = size ? data : (const uint8_t *)""; /* NULL + 0 is undefined */
    const uint8_t *end = p + size;
    while (p < end) {
        uint8_t c = *p;
        if (c < 0x80) {
            p++;
            continue;
        }
        size_t more = c >= 0xC2 && c <= 0xDF ? 1 : (c & 0xF0) == 0xE0 ? 2 : c >= 0xF0 && c <= 0xF4 ? 3 : 0;
        if (more == 0 || (size_t)(end - p) <= more) {
            return false;
        }
        /* the second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF */
        uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if (p[1] < low || p[1] > high) {
            return false;
        }
        for (size_t i = 2; i <= more; i++) {
            if ((p[i] & 0xC0) != 0x80) {
                return false;
            }
        }
        p += more + 1;
    }
    return true;
}

void utf8_clean(char *text) {
    size_t left = strlen(text);
    while (left) {
        size_t size = 1;
        while (size <= 4 && size <= left && !utf8_valid(text, size)) {
            size++;
        }
        if (size > 4 || size > left) {
            *text = '?';
            size = 1;
        }
        text += size;
        left -= size;
    }
}

/* ---- CRC-32C ---- */

static uint32_t crc_byte(uint32_t crc, uint8_t byte) {
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) {
        crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    return crc;
}

static uint32_t crc_portable(uint32_t crc, const uint8_t *p, size_t size) {
    /* four bits at a time: a table of 16 words needs no start-up code and 1 GB/s is not needed where this runs */
    uint32_t table[16];
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 4; bit++) {
            c = (c >> 1) ^ (0x82F63B78u & (0u - (c & 1u)));
        }
        table[i] = c;
    }
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t size) {
    uint64_t wide = crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size; size--, p++) {
        crc = _mm_crc32_u8(crc, *p);
    }
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
    const uint8_t *p = data;
    crc = ~crc;
    if (size < 16) {
        for (size_t i = 0; i < size; i++) {
            crc = crc_byte(crc, p[i]);
        }
        return ~crc;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_sse42(crc, p, size);
    }
#endif
    return ~crc_portable(crc, p, size);
}

/* ---- base64, hexadecimal ---- */

static int base64_value(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

ptrdiff_t base64_decode(const char *text, size_t size, uint8_t *out) {
    static int8_t table[256];
    static bool ready; /* every thread would write the same values: made once before by whoever comes first */
    if (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
        for (int c = 0; c < 256; c++) {
            __atomic_store_n(&table[c], (int8_t)base64_value((char)c), __ATOMIC_RELAXED);
        }
        __atomic_store_n(&ready, true, __ATOMIC_RELEASE);
    }
    if (size % 4 != 0) {
        return -1;
    }
    uint8_t *start = out;
    for (size_t i = 0; i < size; i += 4) {
        const uint8_t *q = (const uint8_t *)text + i;
        size_t pad = 0;
        if (i + 4 == size) {
            pad = q[3] != '=' ? 0 : q[2] != '=' ? 1 : 2;
        }
        int a = table[q[0]], b = table[q[1]], c = pad == 2 ? 0 : table[q[2]], d = pad ? 0 : table[q[3]];
        if ((a | b | c | d) < 0) {
            return -1;
        }
        uint32_t word = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | (uint32_t)d;
        if ((pad == 1 && (word & 0xFFu)) || (pad == 2 && (word & 0xFFFFu))) {
            return -1; /* bits that padding says are not there */
        }
        *out++ = (uint8_t)(word >> 16);
        if (pad < 2) {
            *out++ = (uint8_t)(word >> 8);
        }
        if (pad < 1) {
            *out++ = (uint8_t)word;
        }
    }
    return out - start;
}

void hex_encode(const void *data, size_t size, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool hex_decode(const char *text, size_t text_size, uint8_t *out, size_t size) {
    if (text_size != size * 2) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
