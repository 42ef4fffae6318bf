/*
 * json_number_test.c - numbers both ways against the C library's: correctly rounded double and float32 from any decimal, and the
 * shortest decimal that reads back equal. VECTORD_TEST_COUNT=n raises the random rounds (default 300,000).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static uint64_t seed = 0x9E3779B97F4A7C15u;
static uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t rounds(void) {
    const char *text = getenv("VECTORD_TEST_COUNT");
    return text ? strtoull(text, NULL, 10) : 300000;
}

static double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Reads `text` as both types and compares the bits with strtod and strtof. */
static void check_reading(const char *text) {
    size_t size = strlen(text);
    json_reader r;
    json_reader_init(&r, text, size, NULL);
    float f, wanted_f = strtof(text, NULL);
    bool good = json_read_float(&r, &f) && json_at_end(&r);
    if (!good || memcmp(&f, &wanted_f, sizeof f) != 0) {
        print_message("float <%s>: %a, not %a\n", text, (double)f, (double)wanted_f);
    }
    assert_true(good);
    assert_memory_equal(&f, &wanted_f, sizeof f);
    /* the same in an array, by the fast way as far as it goes */
    char array[1400];
    if (size < 600) {
        int array_size = snprintf(array, sizeof array, "[%s,%s,1%*s]", text, text, 60, "");
        json_reader_init(&r, array, (size_t)array_size, NULL);
        float all[3] = {0};
        bool more = true;
        assert_true(json_begin_array(&r));
        size_t count = json_read_floats(&r, all, 3);
        while (json_next_element(&r, &more) && more) {
            assert_true(count < 3 && json_read_float(&r, &all[count]));
            count++;
        }
        assert_true(json_at_end(&r));
        assert_int_equal(count, 3);
        assert_memory_equal(&all[0], &wanted_f, sizeof wanted_f);
        assert_memory_equal(&all[1], &wanted_f, sizeof wanted_f);
    }
    json_reader_init(&r, text, size, NULL);
    double d, wanted_d = strtod(text, NULL);
    good = json_read_double(&r, &d);
    if (!isfinite(wanted_d)) {
        assert_false(good);
        assert_string_equal(r.fault, "out of range");
        return;
    }
    if (!good || memcmp(&d, &wanted_d, sizeof d) != 0) {
        print_message("double <%s>: %a, not %a\n", text, d, wanted_d);
    }
    assert_true(good);
    assert_memory_equal(&d, &wanted_d, sizeof d);
}

static void chosen_numbers(void **state) {
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0e5",
        "0e999999999999",
        "0.0000000000000000000000000000000000e400",
        "1",
        "1.0",
        "0.5",
        "10",
        "1e0",
        "1E+2",
        "100e-2",
        "0.1",
        "0.3",
        "1e22",
        "1e23",
        "8.5",
        "9007199254740993",
        "9007199254740992.5",
        "9007199254740993.00000000000000000000000000000000000000000000000000000000000000000001",
        /* the ends of double */
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.5e-324",
        "1e-400",
        "1e-323",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "2.2250738585072014e-308",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1.797693134862315807e308",
        "1e308",
        "1e309",
        "1e999999999999",
        /* the ends of float32 */
        "3.4028235e38",
        "3.4028235677973366e38",
        "3.40282356779733661637539395458e38",
        "3.4028236e38",
        "1e39",
        "-1e39",
        "1.17549435e-38",
        "1.1754942e-38",
        "1.4e-45",
        "7.006492321624085e-46",
        "7.0064923216240853e-46",
        "7.1e-46",
        "7.0064923216240854e-46",
        "1e-46",
        /* ties of float32, and a little beside them; through a double they would round twice */
        "16777217",
        "16777217.0",
        "16777217.000000001",
        "16777216.999999999",
        "16777219",
        "1.00000005960464477539062500",
        "1.00000005960464477539062501",
        "1.00000005960464477539062499",
        "1.000000059604644775390624999999999999999999",
        "1.000000178813934326171875",
        "8388608.5",
        "8388609.5",
        "0.0009765625582076609134674072265625",
        "0.50000002980232238769531250",
        "7.038531e-26",
        "1.2676506e30",
        "1.090544144181609e-19",
        /* many digits */
        "0.1000000000000000055511151231257827021181583404541015625",
        "12345678901234567890",
        "123456789012345678901234567890",
        "0.000000000000000000000000000012345678901234567890123",
        "18446744073709551615",
        "18446744073709551616",
        "9999999999999999999",
        "99999999999999999999",
        "0.99999999999999999999",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        check_reading(texts[i]);
    }
}

static void random_decimals(void **state) {
    (void)state;
    char text[512];
    for (uint64_t i = 0, n = rounds(); i < n; i++) {
        size_t size = 0;
        uint64_t r = next_random();
        size_t whole = 1 + r % 20, fraction = (r >> 8) % 30;
        if (r >> 63) {
            text[size++] = '-';
        }
        if ((r >> 16) % 2) {
            text[size++] = '0';
        } else {
            text[size++] = (char)('1' + (r >> 20) % 9);
            while (--whole) {
                text[size++] = (char)('0' + next_random() % 10);
            }
        }
        if (fraction) {
            text[size++] = '.';
            size_t zeros = (r >> 24) % 4 == 0 ? (r >> 26) % 30 : 0;
            while (zeros--) {
                text[size++] = '0';
            }
            while (fraction--) {
                text[size++] = (char)('0' + next_random() % 10);
            }
        }
        text[size] = '\0';
        if ((r >> 32) % 3 == 0) {
            int range = (r >> 34) % 2 ? 50 : 350;
            snprintf(text + size, sizeof text - size, "e%d", (int)((r >> 36) % (uint64_t)(2 * range)) - range);
        }
        check_reading(text);
    }
}

static void random_bit_patterns_at_every_precision(void **state) {
    (void)state;
    char text[64];
    for (uint64_t i = 0, n = rounds(); i < n; i++) {
        uint64_t r = next_random();
        double d = i % 2 ? double_of(r) : (double)float_of((uint32_t)r);
        if (isfinite(d)) {
            snprintf(text, sizeof text, "%.*e", (int)(next_random() % 26), d);
            check_reading(text);
        }
    }
}

/* The decimal that lies exactly between two neighbours, and its neighbours in the last digit. */
static void exact_ties(void **state) {
    (void)state;
    char text[2048];
    for (uint64_t i = 0, n = rounds() / 20; i < n; i++) {
        uint64_t r = next_random();
        if (i % 2) {
            float f = float_of((uint32_t)r & 0x7FFFFFFFu);
            float g = nextafterf(f, INFINITY);
            if (!isfinite(f) || !isfinite(g)) {
                continue;
            }
            snprintf(text, sizeof text, "%.150e", ((double)f + (double)g) / 2);
        } else {
            double f = double_of(r & INT64_MAX);
            double g = nextafter(f, INFINITY);
            if (!isfinite(f) || !isfinite(g)) {
                continue;
            }
            snprintf(text, sizeof text, "%.1100Le", ((long double)f + (long double)g) / 2);
        }
        check_reading(text);
        char *end = strchr(text, 'e');
        end[-1] = '1'; /* was 0: a little above */
        check_reading(text);
        end[-1] = '0';
        char *last = end - 1;
        while (*last == '0') {
            *last-- = '9';
        }
        if (*last != '.') {
            --*last; /* a little below */
            check_reading(text);
        }
    }
}

static void numbers_as_long_as_a_body(void **state) {
    (void)state;
    enum { SIZE = 200000 };
    static char text[SIZE + 64];
    /* 1 and two hundred thousand zeros, taken back by the exponent */
    text[0] = '1';
    memset(text + 1, '0', SIZE);
    snprintf(text + 1 + SIZE, 32, "e-%d", SIZE);
    check_reading(text);
    memcpy(text, "0.", 2);
    memset(text + 2, '0', SIZE);
    snprintf(text + 2 + SIZE, 32, "12345e%d", SIZE);
    check_reading(text);
    /* a tie that only the very last digit breaks */
    memset(text, '0', SIZE);
    memcpy(text, "16777217.", 9);
    text[SIZE - 1] = '1';
    text[SIZE] = '\0';
    check_reading(text);
    text[SIZE - 1] = '0';
    check_reading(text);
    memcpy(text, "9007199254740993.", 17);
    check_reading(text);
    text[SIZE - 1] = '1';
    check_reading(text);
}

/* ---- writing ---- */

static size_t significant_digits(const char *text) {
    char digits[64];
    size_t count = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text >= '0' && *text <= '9' && (count || *text != '0')) {
            digits[count++] = *text;
        }
    }
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    return count;
}

/* Writes, reads back with strtod, and (when asked) compares the length with the shortest that printf can find. */
static void check_double(double d, bool shortest) {
    buffer b;
    buffer_init(&b, 0);
    json_put_double(&b, d);
    buffer_put_u8(&b, 0);
    assert_false(b.failed);
    const char *text = (const char *)b.data;
    double back = strtod(text, NULL);
    if (memcmp(&back, &d, sizeof d) != 0) {
        print_message("%a was written as %s\n", d, text);
    }
    assert_memory_equal(&back, &d, sizeof d);
    json_reader r;
    json_reader_init(&r, text, b.size - 1, NULL);
    assert_true(json_read_double(&r, &back) && json_at_end(&r));
    assert_memory_equal(&back, &d, sizeof d);
    if (shortest && d != 0) {
        char other[64];
        size_t precision = 0;
        do {
            snprintf(other, sizeof other, "%.*e", (int)precision++, d);
        } while (strtod(other, NULL) != d);
        if (significant_digits(text) > precision) {
            print_message("%s is longer than %s\n", text, other);
        }
        assert_true(significant_digits(text) <= precision);
        /* of the shortest ones, the nearest: printf rounds correctly, so equal lengths mean equal digits */
        if (significant_digits(text) == precision) {
            char ours[64];
            snprintf(ours, sizeof ours, "%.*e", (int)precision - 1, strtod(text, NULL));
            assert_string_equal(ours, other);
        }
    }
    buffer_fini(&b);
}

static void check_float(float f, bool shortest) {
    buffer b;
    buffer_init(&b, 0);
    json_put_float(&b, f);
    buffer_put_u8(&b, 0);
    assert_false(b.failed);
    const char *text = (const char *)b.data;
    float back = strtof(text, NULL);
    if (memcmp(&back, &f, sizeof f) != 0) {
        print_message("%a was written as %s\n", (double)f, text);
    }
    assert_memory_equal(&back, &f, sizeof f);
    json_reader r;
    json_reader_init(&r, text, b.size - 1, NULL);
    assert_true(json_read_float(&r, &back) && json_at_end(&r));
    assert_memory_equal(&back, &f, sizeof f);
    if (shortest && f != 0) {
        char other[64];
        size_t precision = 0;
        do {
            snprintf(other, sizeof other, "%.*e", (int)precision++, (double)f);
        } while (strtof(other, NULL) != f);
        assert_true(significant_digits(text) <= precision);
    }
    buffer_fini(&b);
}

static void written_numbers_read_back_equal(void **state) {
    (void)state;
    for (uint64_t i = 0, n = rounds(); i < n; i++) {
        uint64_t r = next_random();
        double d = double_of(r);
        if (isfinite(d)) {
            check_double(d, i % 16 == 0);
        }
        check_double((double)(r >> 11) / 9007199254740992.0, i % 16 == 0); /* like a score */
        check_double((double)(int64_t)(r >> (r % 64)), i % 16 == 0);
        float f = float_of((uint32_t)r);
        if (isfinite(f)) {
            check_float(f, i % 16 == 0);
        }
    }
}

static void every_power_of_two_and_its_neighbours(void **state) {
    (void)state;
    for (int e = -1074; e < 1024; e++) {
        double d = ldexp(1, e);
        check_double(d, true);
        check_double(-nextafter(d, INFINITY), true);
        check_double(nextafter(d, 0), true);
    }
    for (int e = -149; e < 128; e++) {
        float f = ldexpf(1, e);
        check_float(f, true);
        check_float(-nextafterf(f, INFINITY), true);
        check_float(nextafterf(f, 0), true);
    }
    for (int e = -323; e <= 308; e++) {
        char text[16];
        snprintf(text, sizeof text, "1e%d", e);
        check_double(strtod(text, NULL), true);
    }
}

static void layout_is_that_of_ecmascript(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {0.3, "0.3"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100, "100"},
        {123456789, "123456789"},
        {1.25e-3, "0.00125"},
        {1e-6, "0.000001"},
        {1.5e-6, "0.0000015"},
        {1e-7, "1e-7"},
        {1.5e-7, "1.5e-7"},
        {1e20, "100000000000000000000"},
        {1e21, "1e+21"},
        {1.5e21, "1.5e+21"},
        {123456789012345680000.0, "123456789012345680000"},
        {9007199254740993.0, "9007199254740992"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {-2.2204460492503131e-16, "-2.220446049250313e-16"},
    };
    buffer b;
    buffer_init(&b, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buffer_clear(&b);
        json_put_double(&b, rows[i].value);
        buffer_put_u8(&b, 0);
        assert_string_equal(b.data, rows[i].text);
    }
    static const struct {
        float value;
        const char *text;
    } floats[] = {
        {0.1f, "0.1"}, {16777216, "16777216"}, {3.4028235e38f, "3.4028235e+38"}, {1e-45f, "1e-45"}, {0.3f, "0.3"}};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        buffer_clear(&b);
        json_put_float(&b, floats[i].value);
        buffer_put_u8(&b, 0);
        assert_string_equal(b.data, floats[i].text);
    }
    buffer_clear(&b);
    json_put_double(&b, NAN);
    json_put_float(&b, INFINITY);
    json_put_int64(&b, INT64_MIN);
    json_put_uint64(&b, UINT64_MAX);
    json_put_int64(&b, 0);
    buffer_put_u8(&b, 0);
    assert_string_equal(b.data, "nullnull-9223372036854775808184467440737095516150");
    for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10) {
        for (int step = -1; step <= 1; step++) {
            char wanted[32];
            snprintf(wanted, sizeof wanted, "%llu", (unsigned long long)(power + (uint64_t)step));
            buffer_clear(&b);
            json_put_uint64(&b, power + (uint64_t)step);
            buffer_put_u8(&b, 0);
            assert_string_equal(b.data, wanted);
        }
    }
    buffer_fini(&b);
}

/* A locale with a decimal comma changes neither direction, the slow path of ties included. */
static void locale_does_not_matter(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8"};
    bool found = false;
    for (size_t i = 0; i < 4 && !found; i++) {
        found = setlocale(LC_ALL, names[i]) != NULL;
    }
    if (!found) {
        skip(); /* none is installed */
    }
    static const char text[] = "[0.5,16777217.0000000000000000000000000000001,8388608.5]";
    json_reader r;
    json_reader_init(&r, text, strlen(text), NULL);
    static const float wanted[] = {0.5f, 16777218, 8388608};
    bool more;
    assert_true(json_begin_array(&r));
    for (int i = 0; i < 3; i++) {
        float value = 0;
        assert_true(json_next_element(&r, &more) && more && json_read_float(&r, &value));
        assert_true(value == wanted[i]);
    }
    json_reader_init(&r, "9007199254740993.00000000000000000000000001", 43, NULL);
    double value;
    assert_true(json_read_double(&r, &value));
    assert_true(value == 9007199254740994.0);
    buffer b;
    buffer_init(&b, 0);
    json_put_double(&b, 0.5);
    assert_true(bytes_equal(bytes_of(b.data, b.size), bytes_str("0.5")));
    buffer_fini(&b);
    setlocale(LC_ALL, "C");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chosen_numbers),
        cmocka_unit_test(random_decimals),
        cmocka_unit_test(random_bit_patterns_at_every_precision),
        cmocka_unit_test(exact_ties),
        cmocka_unit_test(numbers_as_long_as_a_body),
        cmocka_unit_test(written_numbers_read_back_equal),
        cmocka_unit_test(every_power_of_two_and_its_neighbours),
        cmocka_unit_test(layout_is_that_of_ecmascript),
        cmocka_unit_test(locale_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
