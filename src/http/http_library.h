/*
 * http_library.h - what every door gives libmicrohttpd, so that all of them see the same raw request.
 */
#ifndef VECTORD_HTTP_HTTP_LIBRARY_H
#define VECTORD_HTTP_HTTP_LIBRARY_H

#include <microhttpd.h>
#include <stdarg.h>
#include <stddef.h>

/* MHD_OPTION_EXTERNAL_LOGGER: its lines are debug lines of ours (mostly peers that went away). */
void http_library_log(void *cls, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* MHD_OPTION_UNESCAPE_CALLBACK: paths stay as they came, "%2F" in a name must not become a separator. */
size_t http_library_keep_escapes(void *cls, struct MHD_Connection *connection, char *text);

#endif
