/*
 * saver.h - background jobs with at most one run in flight per task and requests coalesced: saves, calibrations.
 *
 * Threading: all functions thread-safe. Jobs run on the saver's own threads and may block.
 */
#ifndef VECTORD_STORE_SAVER_H
#define VECTORD_STORE_SAVER_H

#include <stdbool.h>
#include <stdint.h>

#include "vectord/status.h"

typedef struct saver saver;
typedef struct saver_task saver_task;

vd_status saver_new(uint32_t threads, saver **out);
/* Waits for running jobs, drops those that wait. All tasks must have been freed before. */
void saver_free(saver *s);

/* A task runs fn(arg). Returns owned (free with saver_task_free); NULL when out of memory. */
saver_task *saver_task_new(saver *s, void (*fn)(void *arg), void *arg);
/* Asks for one run that starts at least delay_ms from now. Requests before that run starts are one run (the earliest time
 * counts); a request during a run gives one more run after it. */
void saver_request(saver_task *task, int64_t delay_ms);
/* Drops a waiting run, waits for a running one. No run of the task is in flight when it returns. */
void saver_cancel(saver_task *task);
/* Cancels, then frees. */
void saver_task_free(saver_task *task);

#endif
