/*
 * nng_greet.h - a hand-made connection to an NNG listener, to see whether it still takes any.
 *
 * libnng 1.5.2 confuses "the peer went away during the greeting" (EPIPE, which it calls NNG_ECLOSED) with "the listener was
 * closed", and then never matches a connection again although the kernel and the greeting go on as if nothing had happened
 * (fixed in 1.6.0). One local client that connects and closes at the wrong moment is enough. The door looks at its
 * listeners once a second and opens one again that has stopped.
 */
#ifndef VECTORD_TRANSPORT_NNG_GREET_H
#define VECTORD_TRANSPORT_NNG_GREET_H

/* Connects to a tcp:// or ipc:// URL and exchanges greetings as a REQ socket. The descriptor, to be closed; -1 when that
 * failed or took longer than timeout_ms. */
int nng_greet(const char *url, int timeout_ms);

#endif
