/* fuzz_listing.c - what a store answers to a listing. Beside "no crash": keys and cursor have sensible lengths, and the verdict comes
 * with a reason. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "store/storaged_int.h"

static vd_status look(void *arg, const char *key, uint64_t size) {
    (void)size;
    ++*(size_t *)arg;
    FUZZ_CHECK(key[0] != '\0' && strlen(key) <= VD_OBJECT_KEY_MAX_BYTES);
    return VD_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char cursor[VD_OBJECT_KEY_MAX_BYTES + 1];
    size_t seen = 0, count = 0;
    vd_error err = {0};
    vd_status status = storaged_list_parse(bytes_of(data, size), look, &seen, cursor, &count, &err);
    FUZZ_CHECK(status == VD_OK || (status == VD_DATA_LOSS && err.text[0]));
    FUZZ_CHECK(seen == count && strlen(cursor) <= VD_OBJECT_KEY_MAX_BYTES);
    return 0;
}
