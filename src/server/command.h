/*
 * command.h - the command line of vectord: which of its commands is meant, and all of them but serving itself.
 */
#ifndef VECTORD_SERVER_COMMAND_H
#define VECTORD_SERVER_COMMAND_H

#include "server/config.h"

/* As in sysexits.h, so that a service manager can tell "will never work" from "try again". */
enum {
    COMMAND_EXIT_USAGE = 64,       /* the command line makes no sense */
    COMMAND_EXIT_UNAVAILABLE = 69, /* cannot start: an address is taken, the folder is in use, ... */
    COMMAND_EXIT_CONFIG = 78       /* the settings have errors */
};

/* Runs the command and returns the exit code. `serve` is called for the command that is none: with valid settings, which it
 * borrows. Settings come from the process's environment too. Main thread only. */
int command_main(int argc, char **argv, int (*serve)(const config *c));

#endif
