/*
 * clock.h - time, in one place. Monotonic for durations and deadlines, wall for log lines and for ages that outlive the process.
 */
#ifndef VECTORD_BASE_CLOCK_H
#define VECTORD_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

int64_t clock_now_ms(void);   /* monotonic */
int64_t clock_now_ns(void);   /* monotonic */
uint64_t clock_unix_ms(void); /* wall: since 1970, may jump */
/* Monotonic absolute time for pthread_cond_timedwait on a condition made with cond_init_monotonic. */
struct timespec clock_timespec(int64_t monotonic_ms);
/* RFC 3339 with milliseconds in UTC into out[32]. */
void clock_wall_rfc3339(char out[32]);

#endif
