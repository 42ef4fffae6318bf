/*
 * address.h - the addresses a door may listen on: "HOST:PORT", "tcp://HOST:PORT", "ipc:///path". Pure text work.
 */
#ifndef VECTORD_CONFIG_ADDRESS_H
#define VECTORD_CONFIG_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vectord/status.h"

typedef struct address {
    char host[64]; /* numeric, without brackets; "" for ipc */
    uint16_t port; /* 0: any free one */
    bool v6;
    bool loopback;  /* 127.0.0.0/8, ::1, ipc: other machines cannot reach it */
    char text[160]; /* normal form: "127.0.0.1:3215", "[::1]:3215", "tcp://...", "ipc://..." */
} address;

/* "HOST:PORT" for HTTP. HOST is an IPv4 address, an IPv6 address in brackets, `localhost` or `*` (all of IPv4).
 * INVALID_ARGUMENT with the reason. */
vd_status address_parse_http(const char *text, address *out, vd_error *err);
/* "tcp://HOST:PORT" or "ipc:///path" for NNG. INVALID_ARGUMENT; UNIMPLEMENTED for other schemes of NNG. */
vd_status address_parse_rpc(const char *text, address *out, vd_error *err);

#endif
