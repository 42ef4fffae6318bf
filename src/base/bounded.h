/*
 * bounded.h - a call that may never return, and a bound on how long one waits for it. For libraries' calls that can hang: a
 * thread and a little memory left behind are better than a program that does not end.
 */
#ifndef VECTORD_BASE_BOUNDED_H
#define VECTORD_BASE_BOUNDED_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Runs work(arg) on a thread of its own and waits at most `limit_ms` for its end. True: it has returned, and nothing of it is
 * left. False: it runs on, and what `arg` leads to must stay; when it does return, late(arg) follows on that thread (NULL:
 * nothing does). Where no thread can be had the work runs here, without a bound. The thread takes no signals.
 */
bool bounded_run(void (*work)(void *arg), void (*late)(void *arg), void *arg, int64_t limit_ms);

#endif
