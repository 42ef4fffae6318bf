/* http_target.c - see http_target.h. */
#include "http/http_target.h"

#include <string.h>
#include <strings.h>

bool http_target_is_clean(const char *target) {
    for (const char *p = target; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7F) {
            return false;
        }
    }
    return *target != '\0';
}

bool http_target_split(const char *target, bytes *host, bytes *path) {
    if (target[0] == '/' || strcmp(target, "*") == 0) {
        *path = bytes_str(target);
        return true;
    }
    if (strncasecmp(target, "http://", 7) != 0) {
        return false;
    }
    size_t size = strcspn(target + 7, "/");
    *host = bytes_of(target + 7, size);
    *path = target[7 + size] ? bytes_str(target + 7 + size) : bytes_str("/");
    return true;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_percent_decode(bytes raw, uint8_t *out, size_t *size) {
    size_t used = 0;
    for (size_t i = 0; i < raw.size; i++) {
        uint8_t c = raw.data[i];
        if (c == '%') {
            int high = raw.size - i > 2 ? hex_digit(raw.data[i + 1]) : -1;
            int low = raw.size - i > 2 ? hex_digit(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        out[used++] = c;
    }
    *size = used;
    return true;
}
