/*
 * progress.h - the bar of a long job on a terminal: part done, count, rate, time left. Draws at most ten times a second, on
 * standard error, and nothing at all when that is no terminal.
 */
#ifndef VECTORD_CLI_PROGRESS_H
#define VECTORD_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct progress {
    FILE *to; /* NULL: silent */
    int64_t started_ms;
    int64_t drawn_ms;
    double first; /* part that was done before this run */
    bool shown;
} progress;

/* `first`: part done at the start, 0..1, negative when it cannot be known. */
void progress_init(progress *p, FILE *to, bool enabled, double first);
/* `part` 0..1, or negative; `done` items since the start. */
void progress_update(progress *p, double part, uint64_t done);
/* Takes the bar away. */
void progress_end(progress *p);
/* One line of the bar as text (without control characters); for progress_update and its test. */
void progress_format(char *out, size_t size, double part, double first, uint64_t done, int64_t elapsed_ms);

#endif
