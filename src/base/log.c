/* log.c - formats a line in a stack buffer and writes it with one write(2), so that lines of threads do not mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

static _Atomic int least_level = LOG_INFO;
static _Atomic int line_format = LOG_FORMAT_AUTO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(log_level least, log_format format) {
    if (format == LOG_FORMAT_AUTO) {
        format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
    }
    least_level = (int)least;
    line_format = (int)format;
}

/* A character of more than one byte is copied whole or not at all; what is no UTF-8 (such as one that was cut) becomes
 * U+FFFD, so that a line is always valid JSON. */
static size_t put_escaped(char *out, size_t at, size_t size, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p && at + 8 < size; p++) {
        if (*p >= 0x80) {
            size_t whole = *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
            if (strnlen((const char *)p, whole) < whole || !utf8_valid(p, whole)) {
                at += (size_t)snprintf(out + at, size - at, "\\ufffd");
                continue;
            }
            memcpy(out + at, p, whole);
            at += whole;
            p += whole - 1;
        } else if (*p == '"' || *p == '\\') {
            out[at++] = '\\';
            out[at++] = (char)*p;
        } else if (*p < 0x20 || *p == 0x7F) {
            at += (size_t)snprintf(out + at, size - at, "\\u%04x", *p);
        } else {
            out[at++] = (char)*p;
        }
    }
    return at;
}

void log_event(log_level level, const char *message, const char *detail, ...) {
    if ((int)level < least_level) {
        return;
    }
    char text[1024] = "";
    if (detail) {
        va_list args;
        va_start(args, detail);
        vsnprintf(text, sizeof text, detail, args);
        va_end(args);
    }
    char when[32];
    clock_wall_rfc3339(when);
    char line[2600];
    size_t at;
    if (line_format == LOG_FORMAT_TEXT) {
        at = (size_t)snprintf(line, sizeof line - 2, "%s %-5s ", when, level_names[level]);
        at = put_escaped(line, at, sizeof line - 2, message);
        if (text[0]) {
            line[at++] = ' ';
            at = put_escaped(line, at, sizeof line - 2, text);
        }
    } else {
        at = (size_t)snprintf(line, sizeof line - 4, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"", when,
                              level_names[level]);
        at = put_escaped(line, at, sizeof line - 24, message);
        if (text[0]) {
            at += (size_t)snprintf(line + at, sizeof line - at, "\",\"detail\":\"");
            at = put_escaped(line, at, sizeof line - 8, text);
        }
        line[at++] = '"';
        line[at++] = '}';
    }
    line[at++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, at);
    (void)written; /* nowhere left to complain */
}
