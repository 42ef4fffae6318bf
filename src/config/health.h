/*
 * health.h - `vectord health`: one GET on a running server, for container health checks and scripts. Needs no curl.
 */
#ifndef VECTORD_CONFIG_HEALTH_H
#define VECTORD_CONFIG_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "vectord/status.h"

/*
 * GET http://HOST:PORT<path> on a numeric address. OK when the answer is 200; UNAVAILABLE with the reason (the status line, or
 * why there was none) otherwise; DEADLINE_EXCEEDED after timeout_ms in all; INVALID_ARGUMENT when host_port is no address.
 * 0.0.0.0 and [::] mean this machine.
 */
vd_status health_check(const char *host_port, const char *path, int64_t timeout_ms, vd_error *err);

/* "http://127.0.0.1:3215/readyz" -> "127.0.0.1:3215" and "/readyz" ("" when there is none). false when it is none of ours. */
bool health_split_url(const char *url, char host_port[96], char path[256]);

#endif
