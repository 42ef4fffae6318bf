/*
 * dir_names.c - where the directory store keeps a key: percent-encoding of names, and back.
 *
 * A name that encode_name would not have written is not ours: decoding checks by encoding again, so every key has exactly one
 * file and every file at most one key.
 */
#include "store/dir_names.h"

#include <stdio.h>
#include <string.h>

/* NAME_MAX is 255 and ".aside-<n>" may have to be added. */
#define FILE_NAME_MAX_BYTES 240u

bool dir_is_hex(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) {
            return false;
        }
    }
    return size > 0;
}

/* false when it does not fit `capacity` (with the NUL). */
static bool encode_name(const char *name, size_t size, char *out, size_t capacity) {
    static const char digits[] = "0123456789ABCDEF";
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)name[i];
        bool escape = c == '/' || c == '%' || c < 0x20 || c == 0x7F || (c == '.' && i == 0);
        if (at + (escape ? 3 : 1) >= capacity) {
            return false;
        }
        if (escape) {
            out[at++] = '%';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 15];
        } else {
            out[at++] = (char)c;
        }
    }
    out[at] = '\0';
    return true;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Only what encode_name would have written: any other file is not ours. */
bool dir_decode_name(const char *file, char *out, size_t capacity) {
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
    return encode_name(out, at, again, sizeof again) && strcmp(again, file) == 0;
}

vd_status dir_join(char *out, vd_error *err, const char *folder, const char *name) {
    int size = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    if (size < 0 || size >= PATH_MAX) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "path %.200s/... is longer than the system allows", folder);
    }
    return VD_OK;
}

vd_status dir_locate(const char *root, const char *key, dir_location *out, vd_error *err) {
    char folder[PATH_MAX];
    char name[FILE_NAME_MAX_BYTES + 1];
    vd_status status;
    if (strncmp(key, JOURNAL_PREFIX, strlen(JOURNAL_PREFIX)) == 0) {
        const char *epoch = key + strlen(JOURNAL_PREFIX);
        const char *slash = strchr(epoch, '/');
        size_t epoch_size = slash ? (size_t)(slash - epoch) : 0;
        if (!slash || epoch_size > KEY_HEX_MAX || !dir_is_hex(epoch, epoch_size) || strlen(slash + 1) > KEY_HEX_MAX ||
            !dir_is_hex(slash + 1, strlen(slash + 1))) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%.200s is not the key of a journal segment", key);
        }
        char epoch_folder[sizeof ".journal/" + KEY_HEX_MAX];
        snprintf(epoch_folder, sizeof epoch_folder, ".journal/%.*s", (int)epoch_size, epoch);
        snprintf(name, sizeof name, "%s", slash + 1);
        status = dir_join(folder, err, root, KEY_PREFIX);
        folder[strlen(folder) - 1] = '\0'; /* KEY_PREFIX ends in "/" */
        if (status == VD_OK) {
            status = dir_join(out->folder, err, folder, epoch_folder);
        }
        out->journal = true;
    } else {
        const char *rest = key + strlen(KEY_PREFIX);
        if (strncmp(key, KEY_PREFIX, strlen(KEY_PREFIX)) != 0 || *rest == '\0') {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "key %.200s does not begin with " KEY_PREFIX, key);
        }
        if (!encode_name(rest, strlen(rest), name, sizeof name)) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%.200s is too long for a file name once it is encoded",
                           key);
        }
        status = dir_join(out->folder, err, root, "_vectors");
        out->journal = false;
    }
    return status == VD_OK ? dir_join(out->path, err, out->folder, name) : status;
}
