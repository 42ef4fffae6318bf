/*
 * arena.h - memory with the lifetime of one request: many small allocations, released together.
 *
 * Threading: an arena belongs to one thread at a time.
 */
#ifndef VECTORD_BASE_ARENA_H
#define VECTORD_BASE_ARENA_H

#include <stddef.h>

#include "base/alloc.h"

typedef struct arena_block arena_block;

typedef struct arena {
    const vd_allocator *allocator;
    arena_block *head;  /* current block; older ones linked behind it */
    size_t used;        /* of the head */
    size_t limit_bytes; /* all blocks together; 0: none */
    size_t total_bytes;
} arena;

/* `limit_bytes` caps all the arena may take (0: no cap). Allocates nothing yet. allocator NULL: the default. */
void arena_init(arena *a, const vd_allocator *allocator, size_t limit_bytes);
/* Frees everything. The arena may be used again afterwards. */
void arena_fini(arena *a);
/* Keeps one block for the next request and forgets all contents. */
void arena_reset(arena *a);

/* 16-byte aligned, uninitialised; NULL when the limit or memory is reached. size 0 gives a valid pointer. */
void *arena_alloc(arena *a, size_t size);
/* count * size, zeroed; NULL on overflow too. */
void *arena_calloc(arena *a, size_t count, size_t size);
/* A copy with a NUL behind it; NULL when out of memory. */
char *arena_strndup(arena *a, const void *data, size_t size);
/* printf into the arena; NULL when out of memory. */
char *arena_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
