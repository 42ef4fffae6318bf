/*
 * remote_store.h - a store over a network, for tests: objects in a folder (the real directory store), a log that is one put when it is
 * synced, and a connection that can be cut. Real daemons behind real sockets are tests/integration's business; here the
 * cut happens at the very call that a test wants.
 */
#ifndef VECTORD_TESTS_REGISTRY_REMOTE_STORE_H
#define VECTORD_TESTS_REGISTRY_REMOTE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "store/objstore.h"

typedef struct remote_control {
    _Atomic bool away;        /* every call fails with UNAVAILABLE and does nothing */
    _Atomic int lost_answers; /* so many puts of logs are done and then fail as well */
    _Atomic uint64_t puts;    /* of logs, done */
} remote_control;

/* Takes `inner`. */
objstore *remote_store_new(objstore *inner, remote_control *control);

#endif
