/* The end of an object's file: what was encoded is found again, and any one byte changed, or any byte missing, is noticed. */
#include "storaged/object_file.h"
#include "unit/store/check.h"

#define KEY "_vectors/fruit.lhv1"

/* A whole file: content, key, trailer. */
static size_t make_file(const char *content, const char *key, uint8_t *out) {
    uint8_t sum[CHECKSUM_BYTES];
    size_t size = strlen(content);
    assert_true(checksum_of(content, size, sum));
    memcpy(out, content, size);
    return size + object_tail_encode(bytes_str(key), size, sum, out + size);
}

static bool decode(const uint8_t *file, size_t size, object_tail *tail, bytes *key) {
    size_t last = size < OBJECT_TAIL_MAX ? size : OBJECT_TAIL_MAX;
    return object_tail_decode(bytes_of(file + size - last, last), size, tail, key);
}

static void what_was_encoded_is_found(void **state) {
    (void)state;
    static char longest[VD_OBJECT_KEY_MAX_BYTES + 1];
    memset(longest, 'k', VD_OBJECT_KEY_MAX_BYTES);
    static char large[5001];
    memset(large, 'x', 5000);
    const char *const contents[] = {"", "x", "some bytes", large};
    const char *const keys[] = {"k", KEY, longest};
    static uint8_t file[5000 + OBJECT_TAIL_MAX];
    for (size_t c = 0; c < 4; c++) {
        for (size_t k = 0; k < 3; k++) {
            size_t size = make_file(contents[c], keys[k], file);
            object_tail tail;
            bytes key;
            assert_true(decode(file, size, &tail, &key));
            assert_int_equal(tail.content_size, strlen(contents[c]));
            assert_true(bytes_equal(key, bytes_str(keys[k])));
            uint8_t sum[CHECKSUM_BYTES];
            assert_true(checksum_of(contents[c], strlen(contents[c]), sum));
            assert_memory_equal(tail.sum, sum, sizeof sum);
        }
    }
}

static void every_changed_byte_of_the_end_is_noticed(void **state) {
    (void)state;
    uint8_t file[256 + OBJECT_TAIL_MAX];
    size_t size = make_file("content", KEY, file);
    object_tail tail;
    bytes key;
    int noticed = 0;
    for (size_t at = strlen("content"); at < size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            file[at] ^= (uint8_t)(1 << bit);
            assert_false(decode(file, size, &tail, &key));
            file[at] ^= (uint8_t)(1 << bit);
            noticed++;
        }
    }
    for (size_t cut = 1; cut <= size; cut++) { /* a file that ends early, whatever its length */
        assert_false(decode(file, size - cut, &tail, &key));
        noticed++;
    }
    uint8_t longer[300 + OBJECT_TAIL_MAX];
    memcpy(longer, file, size);
    longer[size] = 0;
    assert_false(decode(longer, size + 1, &tail, &key));
    print_message("%d changes noticed\n", noticed);
}

static void sizes_that_lie_are_refused(void **state) {
    (void)state;
    uint8_t file[256 + OBJECT_TAIL_MAX];
    size_t size = make_file("content", KEY, file);
    object_tail tail;
    bytes key;
    /* a valid trailer at the end of a file of another length */
    assert_false(object_tail_decode(bytes_of(file, size), size + 1, &tail, &key));
    assert_false(object_tail_decode(bytes_of(file, size), UINT64_MAX, &tail, &key));
    assert_false(object_tail_decode(bytes_of(file, 0), 0, &tail, &key));
    assert_false(object_tail_decode(bytes_of(file + size - 64, 64), 64, &tail, &key)); /* its key is missing */
}

static void names_and_keys_belong_together(void **state) {
    (void)state;
    static char longest[VD_OBJECT_KEY_MAX_BYTES + 1];
    memset(longest, '/', VD_OBJECT_KEY_MAX_BYTES);
    longest[0] = 'a';
    static const struct {
        const char *key, *name;
    } cases[] = {
        {"plain", "plain"},
        {"_vectors/fruit.lhv1", "_vectors%2Ffruit.lhv1"},
        {".hidden", "%2Ehidden"},
        {"~tilde", "%7Etilde"},
        {"a~b", "a~b"},
        {"100%", "100%25"},
        {"a/.b", "a%2F.b"},
        {".put-0123456789abcdef", "%2Eput-0123456789abcdef"},
        {"caf\xC3\xA9", "caf\xC3\xA9"},
    };
    char name[OBJECT_NAME_MAX + 1], key[VD_OBJECT_KEY_MAX_BYTES + 1];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(object_name(bytes_str(cases[i].key), name));
        assert_string_equal(name, cases[i].name);
        assert_true(object_name_key(name, key, sizeof key));
        assert_string_equal(key, cases[i].key);
        assert_false(object_name_is_long(name));
    }
    assert_true(object_name(bytes_str(longest), name));
    assert_true(object_name_is_long(name));
    assert_false(object_name_key(name, key, sizeof key));
    static const char *const strangers[] = {
        "%2f", "%41", "a%zz", "a/b", ".put-0123456789abcdef", "~short", "notes%", "%2F", "%2E%2E", "", "LOCK\x01"};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        if (object_name_key(strangers[i], key, sizeof key)) {
            fail_msg("\"%s\" is taken for the key \"%s\"", strangers[i], key);
        }
        assert_false(object_name_is_long(strangers[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_encoded_is_found),
        cmocka_unit_test(every_changed_byte_of_the_end_is_noticed),
        cmocka_unit_test(sizes_that_lie_are_refused),
        cmocka_unit_test(names_and_keys_belong_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
