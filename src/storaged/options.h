/*
 * options.h - the settings of storaged: rows of config/settings.h, in the same file as vectord's if one likes.
 *
 * Threading: filled by one thread and then only read.
 */
#ifndef VECTORD_STORAGED_OPTIONS_H
#define VECTORD_STORAGED_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/settings.h"

typedef struct options {
    /* [storaged] */
    config_list bind;
    const char *dir;
    bool allow_insecure_bind;
    const char *port_file; /* "": none */
    uint64_t drain_ms;
    /* [log] */
    int log_format, log_level; /* enum log_format, enum log_level */

    /* derived */
    bool exposed; /* some address is reachable from other machines (only with allow_insecure_bind) */

    const char *origins[CONFIG_SETTINGS_MAX];
    arena arena;
} options;

const config_schema *options_schema(void);
config_target options_target(options *o);
/* As config_read, and what the values mean together. OK when there are no errors; INVALID_ARGUMENT; OUT_OF_MEMORY. Always
 * options_fini. */
vd_status options_load(options *o, const config_input *input, buffer *errors, buffer *warnings);
void options_fini(options *o);

#endif
