/*
 * http_listen.h - a listening socket for an address of the settings.
 */
#ifndef VECTORD_HTTP_HTTP_LISTEN_H
#define VECTORD_HTTP_HTTP_LISTEN_H

#include <stdint.h>
#include <sys/socket.h>

#include "vectord/status.h"

/* Listens on "127.0.0.1:3215", "[::1]:3215" or "localhost:0" without blocking. *address and *port are what was really bound;
 * *out is owned (close it). INVALID_ARGUMENT: no such form; UNAVAILABLE with the system's reason. */
vd_status http_listen(const char *bind_text, struct sockaddr_storage *address, uint16_t *port, int *out, vd_error *err);

#endif
