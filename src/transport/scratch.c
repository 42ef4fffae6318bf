/*
 * scratch.c - a few short lists of used scratches.
 *
 * Threading: each lane's mutex guards its list and count; nothing is called while it is held.
 */
#include "transport/scratch.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "vectord/limits.h"

#define LANES      8u
#define LANE_KEEP  64u            /* scratches a lane keeps */
#define KEEP_BYTES (128u * 1024u) /* what one part of a kept scratch may hold on to */

typedef struct lane {
    _Alignas(64) pthread_mutex_t mutex;
    scratch *head;
    unsigned count;
} lane;

struct scratch_pool {
    lane lanes[LANES];
};

scratch_pool *scratch_pool_new(void) {
    scratch_pool *pool = aligned_alloc(64, sizeof *pool);
    if (pool) {
        for (unsigned i = 0; i < LANES; i++) {
            pthread_mutex_init(&pool->lanes[i].mutex, NULL);
            pool->lanes[i].head = NULL;
            pool->lanes[i].count = 0;
        }
    }
    return pool;
}

static void destroy(scratch *s) {
    arena_fini(&s->arena);
    buffer_fini(&s->in);
    buffer_fini(&s->out);
    free(s);
}

void scratch_pool_free(scratch_pool *pool) {
    if (!pool) {
        return;
    }
    for (unsigned i = 0; i < LANES; i++) {
        while (pool->lanes[i].head) {
            scratch *s = pool->lanes[i].head;
            pool->lanes[i].head = s->next;
            destroy(s);
        }
        pthread_mutex_destroy(&pool->lanes[i].mutex);
    }
    free(pool);
}

scratch *scratch_get(scratch_pool *pool, unsigned at) {
    lane *l = &pool->lanes[at % LANES];
    pthread_mutex_lock(&l->mutex);
    scratch *s = l->head;
    if (s) {
        l->head = s->next;
        l->count--;
    }
    pthread_mutex_unlock(&l->mutex);
    if (!s) {
        s = calloc(1, sizeof *s);
        if (s) {
            arena_init(&s->arena, NULL, VD_REQUEST_ARENA_MAX_BYTES);
            buffer_init(&s->in, 0);
            buffer_init(&s->out, 0);
        }
    }
    return s;
}

/* Large requests must not leave their memory behind in the pool. */
static void shrink(buffer *b) {
    if (b->capacity > KEEP_BYTES) {
        buffer_fini(b);
        buffer_init(b, 0);
    } else {
        buffer_clear(b);
    }
}

void scratch_put(scratch_pool *pool, unsigned at, scratch *s) {
    if (!s) {
        return;
    }
    arena_reset(&s->arena);
    if (s->arena.total_bytes > KEEP_BYTES) {
        arena_fini(&s->arena);
    }
    shrink(&s->in);
    shrink(&s->out);
    lane *l = &pool->lanes[at % LANES];
    pthread_mutex_lock(&l->mutex);
    bool kept = l->count < LANE_KEEP;
    if (kept) {
        s->next = l->head;
        l->head = s;
        l->count++;
    }
    pthread_mutex_unlock(&l->mutex);
    if (!kept) {
        destroy(s);
    }
}
