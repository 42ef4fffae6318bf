/*
 * progress.c - see progress.h.
 */
#include "cli/progress.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"

enum { DRAW_EVERY_MS = 100, BAR_CELLS = 24 };

void progress_init(progress *p, FILE *to, bool enabled, double first) {
    memset(p, 0, sizeof *p);
    p->to = enabled ? to : NULL;
    p->first = first;
    p->started_ms = clock_now_ms();
}

static void put_duration(buffer *b, double seconds) {
    uint64_t s = seconds > 359999 ? 359999 : (uint64_t)(seconds + 0.5);
    if (s >= 3600) {
        buffer_printf(b, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60, s % 60);
    } else {
        buffer_printf(b, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
    }
}

void progress_format(char *out, size_t size, double part, double first, uint64_t done, int64_t elapsed_ms) {
    double seconds = (double)elapsed_ms / 1000;
    buffer b;
    buffer_init(&b, 0);
    if (part >= 0) {
        int cells = (int)(part * BAR_CELLS);
        buffer_printf(&b, "%3d %% [", (int)(part * 100));
        for (int i = 0; i < BAR_CELLS; i++) {
            buffer_put_str(&b, i < cells ? "#" : "-");
        }
        buffer_put_str(&b, "] ");
    }
    cli_put_count(&b, done);
    if (seconds > 0) {
        buffer_put_str(&b, " items, ");
        cli_put_count(&b, (uint64_t)((double)done / seconds));
        buffer_put_str(&b, "/s");
    }
    if (part > first && first >= 0 && part < 1) {
        buffer_put_str(&b, ", ");
        put_duration(&b, seconds * (1 - part) / (part - first));
        buffer_put_str(&b, " left");
    }
    buffer_put_u8(&b, 0);
    snprintf(out, size, "%s", b.failed ? "" : (const char *)b.data);
    buffer_fini(&b);
}

void progress_update(progress *p, double part, uint64_t done) {
    int64_t now = clock_now_ms();
    if (!p->to || (p->shown && now - p->drawn_ms < DRAW_EVERY_MS)) {
        return;
    }
    char line[160];
    progress_format(line, sizeof line, part, p->first, done, now - p->started_ms);
    fprintf(p->to, "\r\x1b[K%s", line);
    fflush(p->to);
    p->drawn_ms = now;
    p->shown = true;
}

void progress_end(progress *p) {
    if (p->to && p->shown) {
        fputs("\r\x1b[K", p->to);
        fflush(p->to);
        p->shown = false;
    }
}
