/* http_library.c - see http_library.h. */
#include "http/http_library.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

void http_library_log(void *cls, const char *format, va_list args) {
    (void)cls;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    log_event(LOG_DEBUG, "http library", "%s", text);
}

size_t http_library_keep_escapes(void *cls, struct MHD_Connection *connection, char *text) {
    (void)cls;
    (void)connection;
    return strlen(text);
}
