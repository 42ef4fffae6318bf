/* object_file.c - see object_file.h. */
#include "storaged/object_file.h"

#include <string.h>

#include "store/folder.h"
#include "store/object_key.h"

static const uint8_t begin_mark[8] = {'s', 'd', 'o', 'b', 'j', 0, 0, 1};
static const uint8_t end_mark[4] = {'e', 'n', 'd', '\n'};

static void set_u64le(uint8_t *p, uint64_t v) {
    set_u32le(p, (uint32_t)v);
    set_u32le(p + 4, (uint32_t)(v >> 32));
}

size_t object_tail_encode(bytes key, uint64_t content_size, const uint8_t sum[CHECKSUM_BYTES],
                          uint8_t out[OBJECT_TAIL_MAX]) {
    uint8_t *t = out + key.size;
    memcpy(out, key.data, key.size);
    memcpy(t, begin_mark, sizeof begin_mark);
    set_u64le(t + 8, content_size);
    set_u32le(t + 16, (uint32_t)key.size);
    set_u32le(t + 20, 0);
    memcpy(t + 24, sum, CHECKSUM_BYTES);
    set_u32le(t + 56, crc32c(0, out, key.size + 56));
    memcpy(t + 60, end_mark, sizeof end_mark);
    return key.size + OBJECT_TRAILER_BYTES;
}

bool object_tail_decode(bytes last, uint64_t file_size, object_tail *out, bytes *key) {
    if (last.size < OBJECT_TRAILER_BYTES) {
        return false;
    }
    const uint8_t *t = last.data + last.size - OBJECT_TRAILER_BYTES;
    if (memcmp(t, begin_mark, sizeof begin_mark) != 0 || memcmp(t + 60, end_mark, sizeof end_mark) != 0 ||
        get_u32le(t + 20) != 0) {
        return false;
    }
    out->content_size = get_u64le(t + 8);
    out->key_size = get_u32le(t + 16);
    uint64_t before_content = file_size - OBJECT_TRAILER_BYTES; /* file_size >= last.size */
    if (out->key_size == 0 || out->key_size > VD_OBJECT_KEY_MAX_BYTES ||
        out->key_size > last.size - OBJECT_TRAILER_BYTES || out->content_size != before_content - out->key_size) {
        return false;
    }
    *key = bytes_of(t - out->key_size, out->key_size);
    if (get_u32le(t + 56) != crc32c(0, key->data, out->key_size + 56)) {
        return false;
    }
    memcpy(out->sum, t + 24, CHECKSUM_BYTES);
    return true;
}

bool object_name(bytes key, char out[OBJECT_NAME_MAX + 1]) {
    if (object_key_to_file(key, OBJECT_LONG, out, OBJECT_NAME_MAX + 1)) {
        return true;
    }
    uint8_t sum[CHECKSUM_BYTES];
    if (!checksum_of(key.data, key.size, sum)) {
        return false;
    }
    out[0] = OBJECT_LONG;
    hex_encode(sum, sizeof sum, out + 1);
    return true;
}

bool object_name_key(const char *name, char *out, size_t capacity) {
    return name[0] != OBJECT_LONG && strlen(name) <= OBJECT_NAME_MAX &&
           object_key_from_file(name, OBJECT_LONG, out, capacity) && object_key_check(bytes_str(out), NULL) == VD_OK;
}

bool object_name_is_long(const char *name) {
    return name[0] == OBJECT_LONG && strlen(name) == 1 + 2 * CHECKSUM_BYTES &&
           folder_is_hex(name + 1, 2 * CHECKSUM_BYTES);
}
