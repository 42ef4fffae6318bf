/* SHA-256 against published values, whole and in pieces. */
#include "store/checksum.h"
#include "unit/store/check.h"

static void published_values(void **state) {
    (void)state;
    static const struct {
        const char *text, *sum;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t sum[CHECKSUM_BYTES];
        char hex[CHECKSUM_HEX_BYTES];
        size_t size = strlen(cases[i].text);
        assert_true(checksum_of(cases[i].text, size, sum));
        hex_encode(sum, sizeof sum, hex);
        assert_string_equal(hex, cases[i].sum);
        for (size_t cut = 0; cut <= size; cut++) {
            checksum *c = checksum_new();
            assert_non_null(c);
            assert_true(checksum_add(c, cases[i].text, cut));
            assert_true(checksum_add(c, cases[i].text + cut, size - cut));
            assert_true(checksum_end(c, sum));
            checksum_free(c);
            hex_encode(sum, sizeof sum, hex);
            assert_string_equal(hex, cases[i].sum);
        }
    }
    checksum_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
