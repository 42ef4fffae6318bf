/*
 * process.h - what a daemon does to its process before it starts its first thread.
 */
#ifndef VECTORD_CONFIG_PROCESS_H
#define VECTORD_CONFIG_PROCESS_H

#include <signal.h>

/* Blocks SIGTERM, SIGINT and SIGHUP (put into *stop, for sigwaitinfo, so that no code runs in a signal handler), ignores SIGPIPE,
 * takes all the file descriptors that are allowed. Main thread, before the first other one. */
void process_prepare(sigset_t *stop);

#endif
