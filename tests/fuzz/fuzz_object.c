/* fuzz_object.c - the end of an object's file, and the conditions of a request. Beside "no crash": what decodes encodes to the same
 * bytes. The first byte chooses. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "storaged/condition.h"
#include "storaged/object_file.h"

static void look_at_tail(const uint8_t *data, size_t size) {
    size_t last = size < OBJECT_TAIL_MAX ? size : OBJECT_TAIL_MAX;
    object_tail tail;
    bytes key;
    if (object_tail_decode(bytes_of(data + size - last, last), size, &tail, &key)) {
        uint8_t again[OBJECT_TAIL_MAX];
        size_t bytes_again = object_tail_encode(key, tail.content_size, tail.sum, again);
        FUZZ_CHECK(bytes_again + tail.content_size == size);
        FUZZ_CHECK(memcmp(again, data + tail.content_size, bytes_again) == 0);
    }
}

static void look_at_condition(const char *text, uint64_t size) {
    object_condition c = {text, text};
    uint64_t offset, length;
    byte_range range = condition_range(text, size, &offset, &length);
    FUZZ_CHECK(range != RANGE_PART || (length > 0 && offset < size && length <= size - offset));
    if (condition_check(&c, NULL) == VD_OK) {
        (void)condition_holds(&c, "x");
        FUZZ_CHECK(!condition_holds(&c, NULL)); /* If-Match never holds for what is not there */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    if (data[0] == 'c') {
        char *text = malloc(size);
        FUZZ_CHECK(text != NULL);
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        look_at_condition(text, size);
        free(text);
    } else {
        look_at_tail(data + 1, size - 1);
    }
    return 0;
}
