/* arena.c - blocks of doubling size, bump allocation inside the newest. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ARENA_FIRST_BYTES 4096u
#define ARENA_LARGEST_STEP                                                                                             \
    (1024u * 1024u) /* past this, blocks stop doubling: a large request gets a block of its own */
#define ARENA_ALIGN 16u

struct arena_block {
    arena_block *older;
    size_t size; /* of the whole block, header included */
};

#define ARENA_HEADER ((sizeof(arena_block) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN)

void arena_init(arena *a, const vd_allocator *allocator, size_t limit_bytes) {
    *a = (arena){.allocator = allocator ? allocator : alloc_default(), .limit_bytes = limit_bytes};
}

static void release_from(arena *a, arena_block *block) {
    while (block) {
        arena_block *older = block->older;
        a->total_bytes -= block->size;
        mem_release(a->allocator, block, block->size);
        block = older;
    }
}

void arena_fini(arena *a) {
    release_from(a, a->head);
    a->head = NULL;
    a->used = 0;
}

void arena_reset(arena *a) {
    if (!a->head) {
        return;
    }
    release_from(a, a->head->older);
    a->head->older = NULL;
    if (a->head->size > ARENA_LARGEST_STEP) { /* one large request must not pin its memory for ever */
        arena_fini(a);
        return;
    }
    a->used = ARENA_HEADER;
}

static bool grow(arena *a, size_t need) {
    size_t size = a->head ? a->head->size * 2 : ARENA_FIRST_BYTES;
    if (size > ARENA_LARGEST_STEP) {
        size = ARENA_LARGEST_STEP;
    }
    size_t whole;
    if (!size_add(need, ARENA_HEADER, &whole)) {
        return false;
    }
    if (size < whole) {
        size = whole;
    }
    if (a->limit_bytes && (size > a->limit_bytes || a->total_bytes > a->limit_bytes - size)) {
        size = whole; /* the last bit of the allowance, exactly */
        if (size > a->limit_bytes || a->total_bytes > a->limit_bytes - size) {
            return false;
        }
    }
    arena_block *block = mem_alloc(a->allocator, size);
    if (!block) {
        return false;
    }
    block->older = a->head;
    block->size = size;
    a->head = block;
    a->used = ARENA_HEADER;
    a->total_bytes += size;
    return true;
}

void *arena_alloc(arena *a, size_t size) {
    size_t need;
    if (!size_add(size ? size : 1, ARENA_ALIGN - 1, &need)) {
        return NULL;
    }
    need = need / ARENA_ALIGN * ARENA_ALIGN;
    if ((!a->head || a->head->size - a->used < need) && !grow(a, need)) {
        return NULL;
    }
    void *p = (char *)a->head + a->used;
    a->used += need;
    return p;
}

void *arena_calloc(arena *a, size_t count, size_t size) {
    size_t total;
    if (!size_mul(count, size, &total)) {
        return NULL;
    }
    void *p = arena_alloc(a, total);
    if (p) {
        memset(p, 0, total);
    }
    return p;
}

char *arena_strndup(arena *a, const void *data, size_t size) {
    size_t whole;
    char *copy = size_add(size, 1, &whole) ? arena_alloc(a, whole) : NULL;
    if (copy) {
        if (size) {
            memcpy(copy, data, size);
        }
        copy[size] = '\0';
    }
    return copy;
}

char *arena_printf(arena *a, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = size < 0 ? NULL : arena_alloc(a, (size_t)size + 1);
    if (text) {
        va_start(args, format);
        vsnprintf(text, (size_t)size + 1, format, args);
        va_end(args);
    }
    return text;
}
