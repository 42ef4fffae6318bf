/* Which addresses a door accepts, what their normal form is, and which of them other machines could reach. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/address.h"

typedef struct good {
    const char *text, *normal, *host;
    uint16_t port;
    bool loopback;
} good;

static void test_http_addresses_have_one_normal_form(void **state) {
    (void)state;
    static const good cases[] = {
        {"127.0.0.1:3215", "127.0.0.1:3215", "127.0.0.1", 3215, true},
        {"127.9.8.7:1", "127.9.8.7:1", "127.9.8.7", 1, true},
        {"localhost:80", "127.0.0.1:80", "127.0.0.1", 80, true},
        {"[::1]:3215", "[::1]:3215", "::1", 3215, true},
        {"[0:0:0:0:0:0:0:1]:3215", "[::1]:3215", "::1", 3215, true},
        {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1", 0, true},
        {"127.0.0.1:65535", "127.0.0.1:65535", "127.0.0.1", 65535, true},
        {"0.0.0.0:1", "0.0.0.0:1", "0.0.0.0", 1, false},
        {"*:1", "0.0.0.0:1", "0.0.0.0", 1, false},
        {"[::]:1", "[::]:1", "::", 1, false},
        {"128.0.0.1:1", "128.0.0.1:1", "128.0.0.1", 1, false},
        {"126.255.255.255:1", "126.255.255.255:1", "126.255.255.255", 1, false},
        /* Mapped IPv4 is not taken for loopback: whoever means 127.0.0.1 can write it. */
        {"[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        address a;
        vd_error err = {0};
        if (address_parse_http(cases[i].text, &a, &err) != VD_OK) {
            fail_msg("%s: %s", cases[i].text, err.text);
        }
        assert_string_equal(a.text, cases[i].normal);
        assert_string_equal(a.host, cases[i].host);
        assert_int_equal(a.port, cases[i].port);
        assert_int_equal(a.loopback, cases[i].loopback);
    }
}

static void test_http_refuses_what_is_no_address(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        ":",
        ":3215",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999999999999",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:1 ",
        "127.0.0.1:0x10",
        "127.0.0.1:1\n",
        "127.1:1",
        "0177.0.0.1:1",
        "2130706433:1",
        "256.0.0.1:1",
        "example.com:80",
        "::1:3215",
        "[::1]",
        "[::1:3215",
        "[]:1",
        "[127.0.0.1]:1",
        "[localhost]:1",
        "[fe80::1%eth0]:1",
        "http://127.0.0.1:3215",
        "tcp://127.0.0.1:3215",
        "127.0.0.1:1:2",
        "11111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111:1",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        address a;
        vd_error err = {0};
        if (address_parse_http(cases[i], &a, &err) != VD_INVALID_ARGUMENT) {
            fail_msg("accepted \"%s\"", cases[i]);
        }
        assert_true(err.text[0] != '\0');
    }
}

static void test_rpc_addresses(void **state) {
    (void)state;
    static const good cases[] = {
        {"tcp://127.0.0.1:3216", "tcp://127.0.0.1:3216", "127.0.0.1", 3216, true},
        {"tcp://localhost:0", "tcp://127.0.0.1:0", "127.0.0.1", 0, true},
        {"tcp://[::1]:1", "tcp://[::1]:1", "::1", 1, true},
        {"tcp://*:1", "tcp://0.0.0.0:1", "0.0.0.0", 1, false},
        {"tcp://10.0.0.1:1", "tcp://10.0.0.1:1", "10.0.0.1", 1, false},
        {"ipc:///run/vectord.sock", "ipc:///run/vectord.sock", "", 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        address a;
        vd_error err = {0};
        if (address_parse_rpc(cases[i].text, &a, &err) != VD_OK) {
            fail_msg("%s: %s", cases[i].text, err.text);
        }
        assert_string_equal(a.text, cases[i].normal);
        assert_int_equal(a.loopback, cases[i].loopback);
    }
}

static void test_rpc_refuses_other_schemes(void **state) {
    (void)state;
    address a;
    vd_error err = {0};
    static const char *const later[] = {"ws://127.0.0.1:1", "wss://127.0.0.1:1", "tls+tcp://127.0.0.1:1", "inproc://x"};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        assert_int_equal(address_parse_rpc(later[i], &a, &err), VD_UNIMPLEMENTED);
    }
    static const char *const bad[] = {"",       "127.0.0.1:1",    "tcp://",           "tcp://127.0.0.1",
                                      "ipc://", "ipc://relative", "TCP://127.0.0.1:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(address_parse_rpc(bad[i], &a, &err), VD_INVALID_ARGUMENT);
    }
}

static void test_an_ipc_path_has_the_length_of_a_socket_name(void **state) {
    (void)state;
    char text[6 + 108 + 1] = "ipc:///";
    memset(text + 7, 'a', 106);
    text[6 + 107] = '\0';
    address a;
    assert_int_equal(address_parse_rpc(text, &a, NULL), VD_OK);
    text[6 + 107] = 'a';
    text[6 + 108] = '\0';
    assert_int_equal(address_parse_rpc(text, &a, NULL), VD_INVALID_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_addresses_have_one_normal_form),
        cmocka_unit_test(test_http_refuses_what_is_no_address),
        cmocka_unit_test(test_rpc_addresses),
        cmocka_unit_test(test_rpc_refuses_other_schemes),
        cmocka_unit_test(test_an_ipc_path_has_the_length_of_a_socket_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
