/*
 * names.c - which names an index may have, and the keys that its files stand under in the store.
 *
 * A key holds the literal name: what a store does to make a safe file name or URL of it is the store's affair. Frames end in
 * ".lhv1", journal segments are sixteen hexadecimal digits under ".journal/<epoch>/"; the one name that could confuse the
 * two begins with ".journal/" and is refused.
 */
#include <stdio.h>
#include <string.h>

#include "registry/registry_int.h"

#define PREFIX         "_vectors/"
#define SUFFIX         ".lhv1"
#define JOURNAL        ".journal/"
#define JOURNAL_PREFIX PREFIX JOURNAL
#define SEQUENCE_CHARS 16u

vd_status registry_name_check(bytes name, vd_error *err) {
    if (name.size == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "name: must not be empty");
    }
    if (name.size > VD_INDEX_NAME_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "name: at most %d bytes (got %zu)", VD_INDEX_NAME_MAX_BYTES,
                       name.size);
    }
    if (!utf8_valid(name.data, name.size)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "name: not valid UTF-8");
    }
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        bool c1 = c == 0xC2 && i + 1 < name.size && name.data[i + 1] < 0xA0; /* U+0080..U+009F */
        if (c < 0x20 || c == 0x7F || c1) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "name", "name: control character at byte %zu", i);
        }
    }
    if (bytes_equal(name, bytes_str(".")) || bytes_equal(name, bytes_str(".."))) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "name: must not be \".\" or \"..\"");
    }
    if (name.size >= strlen(JOURNAL) && memcmp(name.data, JOURNAL, strlen(JOURNAL)) == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "name: must not begin with \"" JOURNAL "\"");
    }
    return VD_OK;
}

void registry_frame_key(bytes name, char out[FRAME_KEY_MAX]) {
    snprintf(out, FRAME_KEY_MAX, PREFIX "%.*s" SUFFIX, (int)name.size, (const char *)name.data);
}

void registry_segment_key(const uint8_t epoch[LHV1_EPOCH_BYTES], uint64_t first, char out[JOURNAL_KEY_MAX]) {
    char hex[2 * LHV1_EPOCH_BYTES + 1];
    hex_encode(epoch, LHV1_EPOCH_BYTES, hex);
    snprintf(out, JOURNAL_KEY_MAX, JOURNAL_PREFIX "%s/%016llx", hex, (unsigned long long)first);
}

bool registry_parse_frame_key(const char *key, bytes *name) {
    size_t size = strlen(key), prefix = strlen(PREFIX), suffix = strlen(SUFFIX);
    if (size <= prefix + suffix || memcmp(key, PREFIX, prefix) != 0 ||
        memcmp(key + size - suffix, SUFFIX, suffix) != 0) {
        return false;
    }
    *name = bytes_of(key + prefix, size - prefix - suffix);
    return registry_name_check(*name, NULL) == VD_OK;
}

bool registry_parse_journal_key(const char *key, uint8_t epoch[LHV1_EPOCH_BYTES], uint64_t *first) {
    size_t prefix = strlen(JOURNAL_PREFIX);
    if (strncmp(key, JOURNAL_PREFIX, prefix) != 0) {
        return false;
    }
    const char *hex = key + prefix;
    const char *slash = strchr(hex, '/');
    if (!slash || !hex_decode(hex, (size_t)(slash - hex), epoch, LHV1_EPOCH_BYTES)) {
        return false;
    }
    uint8_t big_endian[SEQUENCE_CHARS / 2];
    if (!hex_decode(slash + 1, strlen(slash + 1), big_endian, sizeof big_endian)) {
        return false;
    }
    *first = (uint64_t)get_u32be(big_endian) << 32 | get_u32be(big_endian + 4);
    return true;
}
