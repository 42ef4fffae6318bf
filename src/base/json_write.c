/*
 * json_write.c - writing strings and numbers.
 *
 * Numbers are written as the shortest decimal that reads back to the same bits, the one nearest to the value among those
 * (R. Giulietti, "The Schubfach way to render doubles"): one multiplication of the value and of both ends of its rounding
 * interval by a 128-bit power of ten (json_number.c). Layout as in ECMAScript and Go: plain from 1e-6 up to 1e21, else
 * with an exponent; whole numbers have no point.
 */
#include <math.h>
#include <string.h>

#include "base/json_int.h"

/* ---- strings ---- */

/* The length of the well-formed UTF-8 sequence at p; 0 when there is none. */
static size_t sequence_at(const uint8_t *p, const uint8_t *end) {
    size_t size = *p >= 0xC2 && *p <= 0xDF ? 2 : (*p & 0xF0) == 0xE0 ? 3 : *p >= 0xF0 && *p <= 0xF4 ? 4 : 0;
    return size && (size_t)(end - p) >= size && utf8_valid(p, size) ? size : 0;
}

void json_put_string(buffer *b, const void *data, size_t size) {
    static const char hex[] = "0123456789abcdef";
    const uint8_t *p = size ? data : (const uint8_t *)"";
    const uint8_t *end = p + size, *run = p;
    buffer_put_u8(b, '"');
    while ((p = json_plain(p, end)) < end) {
        uint8_t c = *p;
        if (c >= 0x80) {
            size_t good = sequence_at(p, end);
            if (good) {
                p += good;
                continue;
            }
        }
        buffer_put(b, run, (size_t)(p - run));
        switch (c) {
        case '"':
            buffer_put(b, "\\\"", 2);
            break;
        case '\\':
            buffer_put(b, "\\\\", 2);
            break;
        case '\b':
            buffer_put(b, "\\b", 2);
            break;
        case '\f':
            buffer_put(b, "\\f", 2);
            break;
        case '\n':
            buffer_put(b, "\\n", 2);
            break;
        case '\r':
            buffer_put(b, "\\r", 2);
            break;
        case '\t':
            buffer_put(b, "\\t", 2);
            break;
        default:
            if (c < 0x20) {
                char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
                buffer_put(b, escape, sizeof escape);
            } else {
                buffer_put(b, "\xEF\xBF\xBD", 3);
            }
            break;
        }
        run = ++p;
    }
    buffer_put(b, run, (size_t)(p - run));
    buffer_put_u8(b, '"');
}

/* ---- integers ---- */

/* Two digits at a time. */
static const char pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
    "9899";

static int count_digits(uint64_t value) {
    int count = 1;
    for (; value >= 10000; value /= 10000) {
        count += 4;
    }
    return count + (value >= 10) + (value >= 100) + (value >= 1000);
}

/* The last `count` digits of value. */
static void put_digits(char *out, uint64_t value, int count) {
    char *p = out + count;
    while (p - out >= 2) {
        p -= 2;
        memcpy(p, pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (p > out) {
        *out = (char)('0' + value % 10);
    }
}

void json_put_uint64(buffer *b, uint64_t value) {
    int count = count_digits(value);
    if (buffer_reserve(b, (size_t)count)) {
        put_digits((char *)b->data + b->size, value, count);
        b->size += (size_t)count;
    }
}

void json_put_int64(buffer *b, int64_t value) {
    if (value < 0) {
        buffer_put_u8(b, '-');
    }
    json_put_uint64(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* ---- floating point ---- */

typedef struct shortest {
    uint64_t digits;
    int exponent; /* the value is digits * 10^exponent */
} shortest;

/* floor(power * factor / 2^128), the lowest bit set when something was cut off that decides a comparison. */
static inline uint64_t scaled(json_power power, uint64_t factor) {
    json_u128 low = (json_u128)power.low * factor;
    json_u128 sum = (json_u128)power.high * factor + (uint64_t)(low >> 64);
    return (uint64_t)(sum >> 64) | ((uint64_t)sum > 1);
}

/* The shortest decimal in the rounding interval of mantissa * 2^exponent. `narrow`: the value is a power of two, so the one
 * below is only half as far away. */
static shortest shorten(uint64_t mantissa, int exponent, bool narrow) {
    /* k = floor(log10 of the interval's width): one or two multiples of 10^(k+1) or 10^k lie inside */
    int k = (int)(((int64_t)exponent * 1262611 - (narrow ? 524031 : 0)) >> 22);
    json_power power = json_powers()[-k - JSON_POWER_MIN];
    if (!json_power_exact(-k)) { /* rounded up here, truncated in the table */
        power.low++;
        power.high += power.low == 0;
    }
    int shift = exponent + json_log2_power(-k) + 1;
    /* all in quarters of 10^k; the ends of the interval belong to it when the mantissa is even */
    uint64_t odd = mantissa & 1;
    uint64_t low = scaled(power, (4 * mantissa - 2 + narrow) << shift) + odd;
    uint64_t here = scaled(power, (4 * mantissa) << shift);
    uint64_t high = scaled(power, (4 * mantissa + 2) << shift) - odd;
    uint64_t whole = here / 4;
    if (whole >= 10) {
        uint64_t tenth = whole / 10;
        bool below = low <= 40 * tenth, above = 40 * tenth + 40 <= high;
        if (below != above) {
            return (shortest){tenth + above, k + 1};
        }
    }
    bool below = low <= 4 * whole, above = 4 * whole + 4 <= high;
    if (below != above) {
        return (shortest){whole + above, k};
    }
    uint64_t middle = 4 * whole + 2;
    return (shortest){whole + (here > middle || (here == middle && (whole & 1))), k};
}

static void put_shortest(buffer *b, bool negative, shortest s) {
    while (s.digits % 100000000 == 0) {
        s.digits /= 100000000;
        s.exponent += 8;
    }
    while (s.digits % 10 == 0) {
        s.digits /= 10;
        s.exponent++;
    }
    if (!buffer_reserve(b, 40)) { /* "-", "0.00000", 17 digits, 4 more zeros or "e-324" */
        return;
    }
    char *out = (char *)b->data + b->size, *start = out;
    *out = '-';
    out += negative;
    int count = count_digits(s.digits);
    int point = count + s.exponent; /* the value is 0.digits * 10^point */
    if (point > 21 || point < -5) {
        put_digits(out + 1, s.digits, count);
        out[0] = out[1];
        out[1] = '.';
        out += count > 1 ? count + 1 : 1;
        *out++ = 'e';
        *out++ = point - 1 < 0 ? '-' : '+';
        uint64_t power = (uint64_t)(point - 1 < 0 ? 1 - point : point - 1);
        int power_digits = count_digits(power);
        put_digits(out, power, power_digits);
        out += power_digits;
    } else if (point <= 0) {
        memcpy(out, "0.00000", 7);
        out += 2 - point;
        put_digits(out, s.digits, count);
        out += count;
    } else if (s.exponent >= 0) {
        put_digits(out, s.digits, count);
        memset(out + count, '0', (size_t)s.exponent);
        out += point;
    } else {
        put_digits(out + 1, s.digits, count);
        memmove(out, out + 1, (size_t)point);
        out[point] = '.';
        out += count + 1;
    }
    b->size += (size_t)(out - start);
}

void json_put_double(buffer *b, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool negative = bits >> 63;
    int field = (int)(bits >> 52 & 2047);
    uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
    if (field == 2047) { /* JSON has no such number; the callers' values are finite */
        buffer_put(b, "null", 4);
    } else if (field == 0 && mantissa == 0) {
        buffer_put(b, negative ? "-0" : "0", negative ? 2 : 1);
    } else if (field == 0) {
        put_shortest(b, negative, shorten(mantissa, -1074, false));
    } else {
        bool narrow = mantissa == 0 && field > 1;
        put_shortest(b, negative, shorten(mantissa | (uint64_t)1 << 52, field - 1075, narrow));
    }
}

void json_put_float(buffer *b, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool negative = bits >> 31;
    int field = (int)(bits >> 23 & 255);
    uint32_t mantissa = bits & ((1u << 23) - 1);
    if (field == 255) {
        buffer_put(b, "null", 4);
    } else if (field == 0 && mantissa == 0) {
        buffer_put(b, negative ? "-0" : "0", negative ? 2 : 1);
    } else if (field == 0) {
        put_shortest(b, negative, shorten(mantissa, -149, false));
    } else {
        bool narrow = mantissa == 0 && field > 1;
        put_shortest(b, negative, shorten(mantissa | 1u << 23, field - 150, narrow));
    }
}
