/*
 * dir_names.c - where the directory store keeps a key: names percent-encoded as object_key.c does it, and back.
 */
#include "store/dir_names.h"

#include <stdio.h>
#include <string.h>

#include "store/folder.h"
#include "store/object_key.h"

/* NAME_MAX is 255 and ".aside-<n>" may have to be added. */
#define FILE_NAME_MAX_BYTES 240u

bool dir_decode_name(const char *file, char *out, size_t capacity) {
    return object_key_from_file(file, 0, out, capacity);
}

vd_status dir_locate(const char *root, const char *key, dir_location *out, vd_error *err) {
    char folder[PATH_MAX];
    char name[FILE_NAME_MAX_BYTES + 1];
    vd_status status;
    if (strncmp(key, JOURNAL_PREFIX, strlen(JOURNAL_PREFIX)) == 0) {
        const char *epoch = key + strlen(JOURNAL_PREFIX);
        const char *slash = strchr(epoch, '/');
        size_t epoch_size = slash ? (size_t)(slash - epoch) : 0;
        if (!slash || epoch_size > KEY_HEX_MAX || !folder_is_hex(epoch, epoch_size) ||
            strlen(slash + 1) > KEY_HEX_MAX || !folder_is_hex(slash + 1, strlen(slash + 1))) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%.200s is not the key of a journal segment", key);
        }
        char epoch_folder[sizeof ".journal/" + KEY_HEX_MAX];
        snprintf(epoch_folder, sizeof epoch_folder, ".journal/%.*s", (int)epoch_size, epoch);
        snprintf(name, sizeof name, "%s", slash + 1);
        status = folder_join(folder, err, root, KEY_PREFIX);
        folder[strlen(folder) - 1] = '\0'; /* KEY_PREFIX ends in "/" */
        if (status == VD_OK) {
            status = folder_join(out->folder, err, folder, epoch_folder);
        }
        out->journal = true;
    } else {
        const char *rest = key + strlen(KEY_PREFIX);
        if (strncmp(key, KEY_PREFIX, strlen(KEY_PREFIX)) != 0 || *rest == '\0') {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "key %.200s does not begin with " KEY_PREFIX, key);
        }
        if (!object_key_to_file(bytes_str(rest), 0, name, sizeof name)) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%.200s is too long for a file name once it is encoded",
                           key);
        }
        status = folder_join(out->folder, err, root, "_vectors");
        out->journal = false;
    }
    return status == VD_OK ? folder_join(out->path, err, out->folder, name) : status;
}
