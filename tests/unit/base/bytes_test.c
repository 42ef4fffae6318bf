/* bytes_test.c - known answers: CRC-32C (RFC 3720 B.4), base64 (RFC 4648 10), UTF-8 (RFC 3629), hexadecimal; buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

static void crc32c_known_answers(void **state) {
    (void)state;
    uint8_t data[48] = {0};
    assert_int_equal(crc32c(0, data, 32), 0x8A9136AAu);
    memset(data, 0xFF, 32);
    assert_int_equal(crc32c(0, data, 32), 0x62A8AB43u);
    for (uint8_t i = 0; i < 32; i++) {
        data[i] = i;
    }
    assert_int_equal(crc32c(0, data, 32), 0x46DD794Eu);
    for (uint8_t i = 0; i < 32; i++) {
        data[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, data, 32), 0x113FDB5Cu);
    static const uint8_t scsi_read[48] = {0x01, 0xC0, 0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,   0,
                                          0,    0,    0x14, 0,    0,    0, 0, 0, 4, 0, 0, 0, 0,   0x14,
                                          0,    0,    0,    0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02};
    assert_int_equal(crc32c(0, scsi_read, 48), 0xD9963A56u);
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(crc32c(0, "", 0), 0);
}

/* Any cut, any alignment, short and long: the same sum as bit by bit. */
static void crc32c_continues(void **state) {
    (void)state;
    uint8_t data[200];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t start = 0; start < 9; start++) {
        size_t size = sizeof data - start;
        uint32_t slow = 0xFFFFFFFFu;
        for (size_t i = start; i < sizeof data; i++) {
            slow ^= data[i];
            for (int bit = 0; bit < 8; bit++) {
                slow = slow & 1 ? slow >> 1 ^ 0x82F63B78u : slow >> 1;
            }
        }
        for (size_t cut = 0; cut <= size; cut++) {
            uint32_t crc = crc32c(0, data + start, cut);
            assert_int_equal(crc32c(crc, data + start + cut, size - cut), ~slow);
        }
    }
}

static void base64_known_answers(void **state) {
    (void)state;
    static const struct {
        const char *text, *bytes;
    } rows[] = {{"", ""},
                {"Zg==", "f"},
                {"Zm8=", "fo"},
                {"Zm9v", "foo"},
                {"Zm9vYg==", "foob"},
                {"Zm9vYmE=", "fooba"},
                {"Zm9vYmFy", "foobar"},
                {"+/+/", "\xFB\xFF\xBF"}};
    uint8_t out[16];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(base64_decode(rows[i].text, strlen(rows[i].text), out), strlen(rows[i].bytes));
        assert_memory_equal(out, rows[i].bytes, strlen(rows[i].bytes));
    }
    static const char *const bad[] = {
        "Z",    "Zg",   "Zg=",  "====", "Z===",  "=Zg=",     "Zg==Zg==", "Zh==", /* stray bits */
        "Zm9=", "Zm9-", "Zm9_", "Zm 9", "Zm9\n", "Zm9vYg=a", "Zg=v",     "\xC3\xA9zz"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (base64_decode(bad[i], strlen(bad[i]), out) != -1) {
            fail_msg("%s was taken", bad[i]);
        }
    }
}

static void utf8_known_answers(void **state) {
    (void)state;
    static const char *const good[] = {"",
                                       "ascii\x7F",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF",
                                       "a\xE2\x80\xA8z"};
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC2",
                                      "\xC2\x7F",
                                      "\xC2\xC0",
                                      "\xE0\x9F\xBF", /* overlong */
                                      "\xE0\xA0",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF", /* surrogates */
                                      "\xE2\x80\x7F",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF0\x90\x80",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFE",
                                      "\xFF",
                                      "ok\xE2\x82"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(utf8_valid(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
    }
    assert_true(utf8_valid("a\0b", 3));
    assert_true(utf8_valid(NULL, 0));

    static const char *const cut[][2] = {{"", ""},
                                         {"plain", "plain"},
                                         {"\xC3\xA9", "\xC3\xA9"},
                                         {"a\xC3", "a?"},
                                         {"\xE6\xBC", "??"},
                                         {"\xF0\x9F\x98", "???"},
                                         {"\xFF"
                                          "b",
                                          "?b"},
                                         {"\xED\xA0\x80", "???"},
                                         {"\xC3\xA9\xC0\x80z", "\xC3\xA9??z"}};
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        char text[16];
        snprintf(text, sizeof text, "%s", cut[i][0]);
        utf8_clean(text);
        assert_string_equal(text, cut[i][1]);
    }
}

static void hexadecimal(void **state) {
    (void)state;
    char text[9];
    uint8_t raw[4];
    hex_encode("\x00\x7F\x80\xFF", 4, text);
    assert_string_equal(text, "007f80ff");
    assert_true(hex_decode("007F80fF", 8, raw, 4));
    assert_memory_equal(raw, "\x00\x7F\x80\xFF", 4);
    assert_false(hex_decode("007f80f", 7, raw, 4));
    assert_false(hex_decode("007f80ff0", 9, raw, 4));
    assert_false(hex_decode("007f80fg", 8, raw, 4));
    assert_false(hex_decode("007f80f ", 8, raw, 4));
    assert_true(hex_decode("", 0, raw, 0));
}

static void order_of_bytes(void **state) {
    (void)state;
    static const char *const sorted[] = {"", "\x01", "A", "a", "aa", "ab", "b", "\xC3\xA9", "\xFF"};
    size_t count = sizeof sorted / sizeof sorted[0];
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            int order = bytes_compare(bytes_str(sorted[i]), bytes_str(sorted[j]));
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(bytes_equal(bytes_str(sorted[i]), bytes_str(sorted[j])), i == j);
        }
    }
    assert_true(bytes_equal(bytes_of(NULL, 0), bytes_str("")));
}

static void a_buffer_grows(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        buffer_put_u32be(&b, i);
        buffer_put_u32le(&b, i);
        buffer_put_u64le(&b, UINT64_C(0x0102030405060708) + i);
        buffer_put_u8(&b, (uint8_t)i);
        buffer_printf(&b, "%03u", i);
    }
    assert_false(b.failed);
    assert_int_equal(b.size, 1000 * 20);
    const uint8_t *last = b.data + 999 * 20;
    assert_int_equal(get_u32be(last), 999);
    assert_int_equal(get_u32le(last + 4), 999);
    assert_true(get_u64le(last + 8) == UINT64_C(0x0102030405060708) + 999);
    assert_int_equal(last[16], 999 & 0xFF);
    assert_memory_equal(last + 17, "999", 3);
    assert_memory_equal(b.data + 8, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    buffer_fini(&b);
    assert_null(b.data);
}

static void a_buffer_keeps_its_limit(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 1000);
    for (int i = 0; i < 1000; i++) {
        buffer_put_u8(&b, 1);
    }
    assert_false(b.failed);
    buffer_put_u8(&b, 1);
    assert_true(b.failed);
    assert_int_equal(b.size, 1000);
    buffer_put_str(&b, ""); /* nothing more is taken, not even what would fit */
    assert_false(buffer_reserve(&b, 0));
    buffer_clear(&b);
    buffer_put_str(&b, "again");
    assert_false(b.failed);
    assert_int_equal(b.size, 5);
    assert_false(buffer_reserve(&b, SIZE_MAX));
    buffer_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_known_answers), cmocka_unit_test(crc32c_continues),
        cmocka_unit_test(base64_known_answers), cmocka_unit_test(utf8_known_answers),
        cmocka_unit_test(hexadecimal),          cmocka_unit_test(order_of_bytes),
        cmocka_unit_test(a_buffer_grows),       cmocka_unit_test(a_buffer_keeps_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
