/*
 * json_number.c - reading numbers: the grammar, and decimal to double, float32 and integers.
 *
 * A number is scanned into up to 19 significant digits and a power of ten. The value then lies in an interval: the digits (and
 * one more when some were cut off) times a power of ten that is known to 128 bits, truncated. Rounding is monotone, so
 * when both ends round to the same float, that is the correctly rounded value; the interval is so narrow that only exact
 * ties and near-ties of very long decimals fail the test, and those go to strtod_l / strtof_l in the "C" locale on a
 * bounded copy. float32 is rounded from the interval itself, never from a double: rounding twice would be wrong.
 *
 * The powers of ten are computed on first use with plain long arithmetic instead of being 10 KB of constants to trust.
 */
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_int.h"

/* ---- powers of ten ---- */

/* 2^1023 / 5^343 has 227 bits left, so every quotient below is exact in its upper 128 bits. */
#define LONG_WORDS 16

static json_power powers[JSON_POWER_MAX - JSON_POWER_MIN + 1];
static pthread_once_t powers_once = PTHREAD_ONCE_INIT;
static bool powers_ready;
static locale_t c_locale;

/* The 128 bits from the highest set one on; the number is not 0. */
static json_power top_bits(const uint64_t *words) {
    int high = LONG_WORDS - 1;
    while (words[high] == 0) {
        high--;
    }
    uint64_t a = words[high], b = high >= 1 ? words[high - 1] : 0, c = high >= 2 ? words[high - 2] : 0;
    int zeros = __builtin_clzll(a);
    if (zeros) {
        a = a << zeros | b >> (64 - zeros);
        b = b << zeros | c >> (64 - zeros);
    }
    return (json_power){a, b};
}

static void fill_powers(void) {
    uint64_t words[LONG_WORDS] = {1};
    for (int n = 0; n <= JSON_POWER_MAX; n++) { /* 5^n: 10^n without its power of two */
        powers[n - JSON_POWER_MIN] = top_bits(words);
        uint64_t carry = 0;
        for (int i = 0; i < LONG_WORDS; i++) {
            json_u128 product = (json_u128)words[i] * 5 + carry;
            words[i] = (uint64_t)product;
            carry = (uint64_t)(product >> 64);
        }
    }
    memset(words, 0, sizeof words);
    words[LONG_WORDS - 1] = (uint64_t)1 << 63;
    for (int n = -1; n >= JSON_POWER_MIN; n--) { /* floor(floor(x / 5) / 5) = floor(x / 25) */
        uint64_t rest = 0;
        for (int i = LONG_WORDS - 1; i >= 0; i--) {
            json_u128 part = (json_u128)rest << 64 | words[i];
            words[i] = (uint64_t)(part / 5);
            rest = (uint64_t)(part % 5);
        }
        powers[n - JSON_POWER_MIN] = top_bits(words);
    }
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* a static object in glibc: cannot fail */
    __atomic_store_n(&powers_ready, true, __ATOMIC_RELEASE);
}

const json_power *json_powers(void) {
    if (__builtin_expect(!__atomic_load_n(&powers_ready, __ATOMIC_ACQUIRE), 0)) {
        pthread_once(&powers_once, fill_powers);
    }
    return powers;
}

/* ---- the grammar ---- */

typedef struct decimal {
    uint64_t digits;  /* the first significant digits, at most 19 */
    int64_t exponent; /* the value is digits * 10^exponent, ... */
    bool cut;         /* ... plus less than 10^exponent, not 0 */
    int64_t power;    /* the exponent as written */
    bool negative;
    const uint8_t *first; /* the text of the number */
    const uint8_t *last;
} decimal;

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

/* Eight digits, the first in the lowest byte (0..9, not characters), as a number. */
static inline uint32_t eight_digits(uint64_t digits) {
    digits = digits * 10 + (digits >> 8); /* pairs in bytes 0, 2, 4, 6 */
    const uint64_t mask = 0x000000FF000000FFu;
    return (uint32_t)(((digits & mask) * (100 + ((uint64_t)1000000 << 32)) +
                       (digits >> 16 & mask) * (1 + ((uint64_t)10000 << 32))) >>
                      32);
}

/* Appends the run of digits at p to *value (which may wrap: the caller counts digits); returns its end. How many digits a
 * coordinate has cannot be predicted, so nothing branches on it but whether a word is full. */
static inline const uint8_t *digit_run(const uint8_t *p, const uint8_t *end, uint64_t *value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    static const uint32_t powers_of_ten[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        /* 0x80 in bytes that are no digits; what carries into higher bytes does not matter: the first one is exact */
        uint64_t others = ((word + 0x4646464646464646u) | (word - 0x3030303030303030u)) & 0x8080808080808080u;
        unsigned count = others ? (unsigned)__builtin_ctzll(others) / 8 : 8;
        uint64_t digits = word - 0x3030303030303030u;
        digits = count ? digits << (64 - 8 * count) : 0; /* zeros before the digits instead of what follows them */
        *value = *value * powers_of_ten[count] + eight_digits(digits);
        p += count;
        if (count < 8) {
            return p;
        }
    }
#endif
    while (p < end && is_digit(*p)) {
        *value = *value * 10 + (uint64_t)(*p - '0');
        p++;
    }
    return p;
}

static bool malformed(json_reader *r, const uint8_t *at, const char *text) {
    if (!r->fault) {
        r->fault = at == r->end ? "unexpected end" : text;
        r->fault_at = (size_t)(at - r->start);
    }
    return false;
}

/* The first 19 significant digits of [first, last), where a point may stand; the rest only counts. */
static __attribute__((noinline)) void cut_digits(decimal *d, const uint8_t *first, const uint8_t *last) {
    uint64_t digits = 0;
    int kept = 0;
    int64_t dropped = 0; /* digits that were not kept, on either side of the point: all of them scale */
    bool rest = false;
    for (const uint8_t *p = first; p < last; p++) {
        if (*p == '.') {
            continue;
        }
        if (kept == 0 && *p == '0') {
            continue;
        }
        if (kept < 19) {
            digits = digits * 10 + (uint64_t)(*p - '0');
            kept++;
        } else {
            dropped++;
            rest |= *p != '0';
        }
    }
    d->digits = digits;
    d->exponent += dropped;
    d->cut = rest;
}

/* Reads the number at r->at into *d; r->at moves past it. */
static inline __attribute__((always_inline)) bool scan_number(json_reader *r, decimal *d) {
    const uint8_t *p = r->at, *end = r->end;
    d->first = p;
    d->negative = *p == '-';
    p += d->negative;
    if (p == end || !is_digit(*p)) {
        return malformed(r, p, "malformed number");
    }
    const uint8_t *first = p;
    uint64_t value = 0;
    if (*p == '0') {
        p++;
        if (p < end && is_digit(*p)) {
            return malformed(r, first, "number with a leading zero");
        }
    } else {
        p = digit_run(p, end, &value);
    }
    ptrdiff_t count = p - first;
    int64_t exponent = 0;
    if (p < end && *p == '.') {
        const uint8_t *point = p++;
        p = digit_run(p, end, &value);
        if (p == point + 1) {
            return malformed(r, p, "malformed number");
        }
        exponent = -(p - point - 1);
        count += p - point - 1;
    }
    const uint8_t *last = p;
    int64_t power = 0;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        bool minus = p < end && *p == '-';
        p += p < end && (*p == '-' || *p == '+');
        if (p == end || !is_digit(*p)) {
            return malformed(r, p, "malformed number");
        }
        for (; p < end && is_digit(*p); p++) {
            if (power < INT64_MAX / 100) { /* far beyond what any number of digits that fits in memory makes up for */
                power = power * 10 + (*p - '0');
            }
        }
        power = minus ? -power : power;
    }
    d->digits = value;
    d->exponent = exponent + power;
    d->cut = false;
    d->power = power;
    d->last = p;
    if (__builtin_expect(count > 19, 0)) {
        cut_digits(d, first, last);
    }
    r->at = p;
    return true;
}

bool json_skip_number(json_reader *r) {
    const uint8_t *p = r->at, *end = r->end;
    p += *p == '-';
    if (p == end || !is_digit(*p)) {
        return malformed(r, p, "malformed number");
    }
    const uint8_t *first = p;
    while (p < end && is_digit(*p)) {
        p++;
    }
    if (*first == '0' && p - first > 1) {
        return malformed(r, first, "number with a leading zero");
    }
    if (p < end && *p == '.') {
        const uint8_t *point = p++;
        while (p < end && is_digit(*p)) {
            p++;
        }
        if (p == point + 1) {
            return malformed(r, p, "malformed number");
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '-' || *p == '+');
        const uint8_t *digits = p;
        while (p < end && is_digit(*p)) {
            p++;
        }
        if (p == digits) {
            return malformed(r, p, "malformed number");
        }
    }
    r->at = p;
    return true;
}

/* Stands at a number, after white space. */
static inline bool at_number(json_reader *r) {
    /* no branch between digit and sign: signs are random */
    if (!r->fault && r->at < r->end && (is_digit(*r->at) | (*r->at == '-'))) {
        return true;
    }
    json_kind kind;
    return json_peek(r, &kind) && (kind == JSON_NUMBER || json_fault(r, "not a number"));
}

/* ---- binary floating point ---- */

typedef struct binary_format {
    int mantissa_bits; /* with the hidden one */
    int exponent_min;  /* of the lowest bit of a subnormal, as a power of two */
    int exponent_bias; /* field of a normal number = power of two of the mantissa's lowest bit + this */
    int exponent_all;  /* field of infinity */
} binary_format;

static const binary_format format_double = {53, -1074, 1075, 2047};
static const binary_format format_float = {24, -149, 150, 255};

/* The bits of `mantissa` * 2^exponent (top bit of mantissa set) rounded to nearest, ties to even; `sticky`: and a little more. */
static inline uint64_t round_bits(uint64_t mantissa, bool sticky, int exponent, binary_format f) {
    int shift = 64 - f.mantissa_bits;
    if (exponent + shift < f.exponent_min) {
        shift = f.exponent_min - exponent; /* subnormal: fewer bits */
        if (shift > 64) {
            return 0; /* below half of the least one */
        }
    }
    uint64_t kept = shift == 64 ? 0 : mantissa >> shift;
    uint64_t half = (uint64_t)1 << (shift - 1);
    uint64_t rest = shift == 64 ? mantissa : mantissa & (half * 2 - 1);
    kept += (rest > half) | ((rest == half) & (sticky | (kept & 1))); /* no branches: random too */
    exponent += shift;
    if (kept >> f.mantissa_bits) { /* rounded up to the next power of two */
        kept >>= 1;
        exponent++;
    }
    if (!(kept >> (f.mantissa_bits - 1))) {
        return kept;
    }
    int field = exponent + f.exponent_bias;
    if (field >= f.exponent_all) {
        return (uint64_t)f.exponent_all << (f.mantissa_bits - 1);
    }
    return ((uint64_t)field << (f.mantissa_bits - 1)) | (kept & (((uint64_t)1 << (f.mantissa_bits - 1)) - 1));
}

/* The same for all of product * 2^exponent; its top bit or the next one is set. */
static inline uint64_t round_product(json_u128 product, int exponent, binary_format f) {
    int shift = !(product >> 127);
    product <<= shift;
    return round_bits((uint64_t)(product >> 64), (uint64_t)product != 0, exponent + 64 - shift, f);
}

/* The bits of |d|; false when the interval does not tell. */
static inline bool convert(const decimal *d, binary_format f, uint64_t *bits) {
    if (d->digits == 0 || d->exponent < JSON_POWER_MIN) { /* 10^19 * 10^-344 is less than half of the least double */
        *bits = 0;
        return true;
    }
    if (d->exponent > JSON_POWER_MAX) {
        *bits = (uint64_t)f.exponent_all << (f.mantissa_bits - 1);
        return true;
    }
    int n = (int)d->exponent;
    const json_power power = json_powers()[n - JSON_POWER_MIN];
    int zeros = __builtin_clzll(d->digits);
    uint64_t digits = d->digits << zeros;
    /* the product's upper 128 bits; below them less than one is lost to the table, one to this line */
    json_u128 product = (json_u128)digits * power.high + (uint64_t)(((json_u128)digits * power.low) >> 64);
    json_u128 slack = 2;
    if (json_power_exact(n) && power.low == 0) {
        slack = 0; /* n <= 27: the product is exact */
    }
    if (d->cut) {
        slack += ((json_u128)power.high + 1) << zeros; /* one more of the last digit */
    }
    json_u128 high = product + slack;
    int exponent = json_log2_power(n) - 127 + 64 - zeros;
    *bits = round_product(product, exponent, f);
    return slack == 0 || (high > product && *bits == round_product(high, exponent, f));
}

/* strtod needs a NUL behind the number, and a number may be as long as the body: all its digits past the 800th become one that
 * says whether any was not 0 (767 digits decide any double). */
#define COPY_DIGITS 800
static void copy_number(const decimal *d, char *out) {
    const uint8_t *p = d->first + d->negative;
    int kept = 0;
    int64_t exponent = 0;
    bool rest = false, point = false;
    for (; p < d->last && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        exponent -= point;
        if (kept == 0 && *p == '0') {
            continue;
        }
        if (kept < COPY_DIGITS) {
            *out++ = (char)*p;
            kept++;
        } else {
            exponent++;
            rest |= *p != '0';
        }
    }
    if (rest) {
        *out++ = '1';
        exponent--;
    }
    exponent += d->power;
    bool negative = exponent < 0;
    uint64_t size = negative ? 0 - (uint64_t)exponent : (uint64_t)exponent;
    char digits[24];
    int count = 0;
    do {
        digits[count++] = (char)('0' + size % 10);
        size /= 10;
    } while (size);
    *out++ = 'e';
    *out++ = negative ? '-' : '+';
    while (count) {
        *out++ = digits[--count];
    }
    *out = '\0';
}

static __attribute__((noinline)) double slow_double(const decimal *d) {
    char text[COPY_DIGITS + 32];
    copy_number(d, text);
    return strtod_l(text, NULL, c_locale);
}

static __attribute__((noinline)) float slow_float(const decimal *d) {
    char text[COPY_DIGITS + 32];
    copy_number(d, text);
    return strtof_l(text, NULL, c_locale);
}

bool json_read_double(json_reader *r, double *out) {
    decimal d;
    if (!at_number(r) || !scan_number(r, &d)) {
        return false;
    }
    uint64_t bits;
    double value;
    if (convert(&d, format_double, &bits)) {
        memcpy(&value, &bits, sizeof value);
    } else {
        value = slow_double(&d);
    }
    if (!isfinite(value)) {
        r->fault = "out of range";
        r->fault_at = (size_t)(d.first - r->start);
        return false;
    }
    *out = d.negative ? -value : value;
    return true;
}

bool json_read_float(json_reader *r, float *out) {
    decimal d;
    if (!at_number(r) || !scan_number(r, &d)) {
        return false;
    }
    uint64_t bits;
    float value;
    if (__builtin_expect(convert(&d, format_float, &bits), 1)) {
        uint32_t bits32 = (uint32_t)bits;
        bits32 |= (uint32_t)d.negative << 31;
        memcpy(&value, &bits32, sizeof value);
    } else {
        value = slow_float(&d);
        value = d.negative ? -value : value;
    }
    *out = value;
    return true;
}

/* ---- integers ---- */

/* The number at r->at as sign and magnitude, when it is whole and fits. Works on the text: 2^64 has more digits than decimal. */
static bool read_whole(json_reader *r, bool *negative, uint64_t *magnitude) {
    decimal d;
    if (!at_number(r) || !scan_number(r, &d)) {
        return false;
    }
    *negative = d.negative;
    const uint8_t *first = d.first + d.negative, *p = first;
    while (p < d.last && is_digit(*p)) {
        p++;
    }
    int64_t left = p - first + d.power; /* digits that stand before the point once the exponent has moved it */
    uint64_t value = 0;
    bool whole = true, fits = true;
    for (p = first; p < d.last && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            continue;
        }
        if (left > 0) {
            fits = fits && !__builtin_mul_overflow(value, (uint64_t)10, &value) &&
                   !__builtin_add_overflow(value, (uint64_t)(*p - '0'), &value);
        } else {
            whole = whole && *p == '0';
        }
        left--;
    }
    for (; left > 0 && value && fits; left--) {
        fits = !__builtin_mul_overflow(value, (uint64_t)10, &value);
    }
    if (!whole || !fits) {
        r->fault = whole ? "out of range" : "not a whole number";
        r->fault_at = (size_t)(d.first - r->start);
        return false;
    }
    *magnitude = value;
    return true;
}

static bool out_of_range(json_reader *r, const uint8_t *at) {
    r->fault = "out of range";
    r->fault_at = (size_t)(at - r->start);
    return false;
}

bool json_read_int64(json_reader *r, int64_t *out) {
    bool negative;
    uint64_t magnitude;
    if (!r->fault) {
        json_space(r);
    }
    const uint8_t *first = r->at;
    if (!read_whole(r, &negative, &magnitude)) {
        return false;
    }
    if (magnitude > (uint64_t)INT64_MAX + negative) {
        return out_of_range(r, first);
    }
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool json_read_uint64(json_reader *r, uint64_t *out) {
    bool negative;
    if (!r->fault) {
        json_space(r);
    }
    const uint8_t *first = r->at;
    if (!read_whole(r, &negative, out)) {
        return false;
    }
    return (!negative || *out == 0) || out_of_range(r, first);
}
