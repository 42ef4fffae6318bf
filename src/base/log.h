/*
 * log.h - one line per event on standard error: readable text on a terminal, one JSON object per line otherwise (or
 * as set). Never put secrets or item contents in it.
 *
 * Threading: all functions are thread-safe; a line is written with one write(2).
 */
#ifndef VECTORD_BASE_LOG_H
#define VECTORD_BASE_LOG_H

typedef enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } log_level;
typedef enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON } log_format;

void log_setup(log_level least, log_format format);

/*
 * log_event(LOG_INFO, "index loaded", "index", "%s", name, "items", "%u", n, NULL) would need nested varargs, so an event
 * is a message and one printf-formatted detail of space-separated key=value pairs:
 *     log_event(LOG_INFO, "index loaded", "index=%s items=%u ms=%lld", name, n, ms);
 * `detail` may be NULL. In JSON it is the member "detail"; everything is escaped.
 */
void log_event(log_level level, const char *message, const char *detail, ...) __attribute__((format(printf, 3, 4)));

#endif
