/*
 * command.h - the command line of vectord.
 */
#ifndef VECTORD_SERVER_COMMAND_H
#define VECTORD_SERVER_COMMAND_H

#include "config/command.h"
#include "server/config.h"

/* Runs the command and returns the exit code. `serve` is called for the command that is none: with valid settings, which it
 * borrows. Settings come from the process's environment too. Main thread only. */
int command_main(int argc, char **argv, int (*serve)(const config *c));

#endif
