/*
 * object_key.c - see object_key.h. A file name that the encoder would not have written is not ours: decoding checks by
 * encoding again, so every key has exactly one name and every name at most one key.
 */
#include "store/object_key.h"

#include <limits.h>
#include <string.h>

#include "vectord/limits.h"

static const char digits[] = "0123456789ABCDEF";

static bool has_parent(bytes key) {
    size_t begin = 0;
    for (size_t i = 0; i <= key.size; i++) {
        if (i == key.size || key.data[i] == '/') {
            if (i - begin == 2 && key.data[begin] == '.' && key.data[begin + 1] == '.') {
                return true;
            }
            begin = i + 1;
        }
    }
    return false;
}

vd_status object_key_check(bytes key, vd_error *err) {
    if (key.size == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "key", "the key is empty");
    }
    if (key.size > VD_OBJECT_KEY_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "key", "the key has %zu bytes, at most %d are allowed", key.size,
                       VD_OBJECT_KEY_MAX_BYTES);
    }
    if (key.data[0] == '/') {
        return vd_fail(err, VD_INVALID_ARGUMENT, "key", "the key begins with \"/\"");
    }
    for (size_t i = 0; i < key.size; i++) {
        if (key.data[i] < 0x20 || key.data[i] == 0x7F) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "key", "the key holds the control character %%%02X at byte %zu",
                           key.data[i], i);
        }
    }
    if (has_parent(key)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "key", "the key has a component \"..\"");
    }
    if (!utf8_valid(key.data, key.size)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "key", "the key is not UTF-8");
    }
    return VD_OK;
}

typedef struct text {
    char *out;
    size_t at, capacity;
} text;

/* false when there is no room for it and the NUL. */
static bool put(text *t, uint8_t c, bool escape) {
    if (t->capacity - t->at <= (escape ? 3u : 1u)) {
        return false;
    }
    if (escape) {
        t->out[t->at++] = '%';
        t->out[t->at++] = digits[c >> 4];
        t->out[t->at++] = digits[c & 15];
    } else {
        t->out[t->at++] = (char)c;
    }
    t->out[t->at] = '\0';
    return true;
}

bool object_key_to_file(bytes key, char reserved, char *out, size_t capacity) {
    text t = {out, 0, capacity};
    out[0] = '\0';
    for (size_t i = 0; i < key.size; i++) {
        uint8_t c = key.data[i];
        bool front = i == 0 && (c == '.' || (reserved && c == (uint8_t)reserved));
        if (!put(&t, c, c == '/' || c == '%' || c < 0x20 || c == 0x7F || front)) {
            return false;
        }
    }
    return true;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool object_key_from_file(const char *file, char reserved, char *out, size_t capacity) {
    size_t at = 0;
    for (const char *p = file; *p; p++) {
        char c = *p;
        if (c == '%') {
            int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);
            if (low < 0 || (high == 0 && low == 0)) {
                return false;
            }
            c = (char)(high << 4 | low);
            p += 2;
        }
        if (at + 1 >= capacity) {
            return false;
        }
        out[at++] = c;
    }
    out[at] = '\0';
    char again[NAME_MAX + 1];
    return object_key_to_file(bytes_of(out, at), reserved, again, sizeof again) && strcmp(again, file) == 0;
}

bool object_key_to_url(bytes key, char *out, size_t capacity) {
    text t = {out, 0, capacity};
    out[0] = '\0';
    for (size_t i = 0; i < key.size; i++) {
        uint8_t c = key.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!put(&t, c, !plain && (c == 0 || !strchr("-._~/", c)))) {
            return false;
        }
    }
    return true;
}
