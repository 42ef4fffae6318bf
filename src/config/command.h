/*
 * command.h - the command line that the daemons have in common: which command is meant, and all of them but serving itself.
 */
#ifndef VECTORD_CONFIG_COMMAND_H
#define VECTORD_CONFIG_COMMAND_H

#include "config/settings.h"

/* As in sysexits.h, so that a service manager can tell "will never work" from "try again". */
enum {
    COMMAND_EXIT_USAGE = 64,       /* the command line makes no sense */
    COMMAND_EXIT_UNAVAILABLE = 69, /* cannot start: an address is taken, the folder is in use, ... */
    COMMAND_EXIT_CONFIG = 78       /* the settings have errors */
};

/* One daemon. `values` is its struct of settings, which the functions get. */
typedef struct command_program {
    const config_schema *schema;
    const char *summary;         /* "a vector-search service" */
    const char *variables;       /* two of its variables, as examples */
    const char *usage_more;      /* further lines of --help, before the settings */
    const char *default_address; /* "127.0.0.1:3215" */
    const char *live_path, *ready_path;
    void *values;
    vd_status (*load)(void *values, const config_input *input, buffer *errors, buffer *warnings);
    config_target (*target)(void *values);
    void (*setup_log)(const void *values);
    const char *(*health_address)(const void *values); /* NULL: no HTTP door is open */
    int (*serve)(const void *values);                  /* with valid settings, which it borrows; the exit code */
    void (*fini)(void *values);
} command_program;

/* Runs the command and returns the exit code. Settings come from the process's environment too. Main thread only. */
int command_run(const command_program *p, int argc, char **argv);

#endif
