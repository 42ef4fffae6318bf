/*
 * admission.h - how much work the doors take on at a time: bytes of request bodies held, and calls handed to workers.
 *
 * The bounds (limits.h: VD_INFLIGHT_*) belong to the process, since memory does: both doors count into the same two numbers.
 * A refusal is UNAVAILABLE with a Retry-After; nothing queues without a bound.
 *
 * Threading: all functions are thread-safe and wait-free.
 */
#ifndef VECTORD_TRANSPORT_ADMISSION_H
#define VECTORD_TRANSPORT_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Charges `size` bytes; false (nothing charged) when the bound would be passed. */
bool admission_take_bytes(size_t size);
void admission_give_bytes(size_t size);
/* Charges one call; false when there are too many. */
bool admission_take_job(void);
void admission_give_job(void);
uint64_t admission_bytes(void);
uint64_t admission_jobs(void);

#endif
