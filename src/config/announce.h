/*
 * announce.h - telling where the server can be reached: to a person, to a log reader, to a program (port file).
 */
#ifndef VECTORD_CONFIG_ANNOUNCE_H
#define VECTORD_CONFIG_ANNOUNCE_H

#include <stdbool.h>
#include <stddef.h>

#include "vectord/limits.h"
#include "vectord/status.h"

/* The addresses really bound, in the order of the settings. */
typedef struct announce_doors {
    const char *program;              /* "vectord" */
    bool http_only;                   /* it has no other kind of door */
    char http[2 * VD_BINDS_MAX][160]; /* "127.0.0.1:3215" */
    size_t http_count;
    const char *rpc[VD_BINDS_MAX]; /* "tcp://127.0.0.1:3216", borrowed */
    size_t rpc_count;
} announce_doors;

/* The banner on a terminal; otherwise one log line. `data`: where it is kept, a folder or a URL; "": nowhere. */
void announce_started(const announce_doors *doors, const char *version, const char *data, bool terminal);
/*
 * {"pid":1,"http":["127.0.0.1:3215"],"rpc":["tcp://127.0.0.1:3216"]} and a newline (without "rpc" when http_only),
 * written beside `path` and renamed onto it: a reader sees all of it or nothing. INTERNAL with the reason, OUT_OF_MEMORY.
 */
vd_status announce_write_port_file(const char *path, const announce_doors *doors, vd_error *err);

#endif
