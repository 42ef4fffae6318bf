/*
 * scratch.h - the memory of one request, kept for the next one: an arena, the bytes that came in, the bytes that go out.
 *
 * A door takes one when a request begins and puts it back when its reply has been sent, so a steady load allocates nothing
 * here, and ten thousand idle connections hold none.
 *
 * Threading: get and put are thread-safe (a few small locks, picked by `lane`); a scratch belongs to one thread at a time.
 */
#ifndef VECTORD_TRANSPORT_SCRATCH_H
#define VECTORD_TRANSPORT_SCRATCH_H

#include "base/arena.h"
#include "base/bytes.h"

typedef struct scratch {
    arena arena; /* limited to VD_REQUEST_ARENA_MAX_BYTES */
    buffer in;
    buffer out;
    struct scratch *next; /* in the pool only */
} scratch;

typedef struct scratch_pool scratch_pool;
scratch_pool *scratch_pool_new(void); /* returns owned; NULL when out of memory */
void scratch_pool_free(scratch_pool *pool);
/* Empty; NULL when out of memory. Callers that pass different lanes do not meet on one lock. */
scratch *scratch_get(scratch_pool *pool, unsigned lane);
void scratch_put(scratch_pool *pool, unsigned lane, scratch *s);

#endif
