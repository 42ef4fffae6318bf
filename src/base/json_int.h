/*
 * json_int.h - what json.c, json_number.c and json_write.c share; nobody else includes it.
 */
#ifndef VECTORD_BASE_JSON_INT_H
#define VECTORD_BASE_JSON_INT_H

#include "base/json.h"

/* Powers of ten that reading (down to 10^-343) and writing (up to 10^324) a double may need. */
#define JSON_POWER_MIN (-343)
#define JSON_POWER_MAX 325

/* 10^n = (high:low) * 2^(json_log2_power(n) - 127), the top bit of `high` set, truncated; exact for 0 <= n <= 55. */
typedef struct json_power {
    uint64_t high;
    uint64_t low;
} json_power;

/* The table, indexed by n - JSON_POWER_MIN; filled on first use, thread-safe. */
const json_power *json_powers(void);

static inline bool json_power_exact(int n) {
    return n >= 0 && n <= 55; /* 5^55 < 2^128 < 5^56 */
}

/* floor(log2(10^n)), right for |n| <= 1233. */
static inline int json_log2_power(int n) {
    return (int)(((int64_t)n * 1741647) >> 19);
}

__extension__ typedef unsigned __int128 json_u128;

/* The fault that json_fail turns into OUT_OF_MEMORY; compared by address. */
extern const char json_no_memory[];

static inline void json_space(json_reader *r) {
    const uint8_t *p = r->at;
    while (p < r->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    r->at = p;
}

/* 0x80 in every byte of `word` that is a quote, a backslash, a control character or not ASCII (a byte above such a one may be
 * marked too: the first mark is what counts, and it is exact in little-endian order). */
static inline uint64_t json_special_bytes(uint64_t word) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
    return ((word - ones * 0x20) | (quote - ones) | (slash - ones) | word) & high;
}

/* The first byte of [p, end) that a string cannot hold as it is or that is not ASCII; `end` when there is none. */
static inline const uint8_t *json_plain(const uint8_t *p, const uint8_t *end) {
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        uint64_t marks = json_special_bytes(word);
        if (marks) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return p + __builtin_ctzll(marks) / 8;
#else
            break;
#endif
        }
        p += 8;
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') {
        p++;
    }
    return p;
}

/* Checks the number at r->at (which is '-' or a digit) and moves past it. */
bool json_skip_number(json_reader *r);

#endif
