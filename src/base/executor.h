/*
 * executor.h - the project's threads: a pool for parallel sections (vd_executor) and a queue for jobs that may wait.
 *
 * Threading: all functions are thread-safe unless they say otherwise.
 */
#ifndef VECTORD_BASE_EXECUTOR_H
#define VECTORD_BASE_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "vectord/executor.h"
#include "vectord/status.h"

/* ---- parallel sections ---- */
typedef struct executor_pool executor_pool;
/* `threads` 0: one per CPU this process may use. The caller of run() works too, so a width of 1 starts no thread.
 * Returns owned. OUT_OF_MEMORY. Several run() calls at a time share the threads. */
vd_status executor_pool_new(uint32_t threads, executor_pool **out);
void executor_pool_free(executor_pool *pool);
const vd_executor *executor_pool_get(executor_pool *pool);
/* CPUs this process may use (affinity mask, then cgroup v2 quota rounded up); at least 1. */
uint32_t executor_cpus(void);

/* ---- jobs that may block (a disk, a lock): the transports hand them over and go on ---- */
typedef struct work_queue work_queue;
/* `threads` workers, at most `capacity` jobs waiting. */
vd_status work_queue_new(uint32_t threads, uint32_t capacity, work_queue **out);
/* false when the queue is full or closed: answer "busy" then. fn runs once on a worker. */
bool work_queue_push(work_queue *queue, void (*fn)(void *arg), void *arg);
uint32_t work_queue_depth(work_queue *queue);
/* Takes no more jobs, runs all that were accepted, joins. NULL is fine. */
void work_queue_free(work_queue *queue);

#endif
