/*
 * alloc.h - checked size arithmetic and the default allocator.
 */
#ifndef VECTORD_BASE_ALLOC_H
#define VECTORD_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#include "vectord/hnsw.h" /* vd_allocator */

/* false, with *out untouched, when the result does not fit. */
static inline bool size_mul(size_t a, size_t b, size_t *out) {
    size_t result;
    if (__builtin_mul_overflow(a, b, &result)) {
        return false;
    }
    *out = result;
    return true;
}
static inline bool size_add(size_t a, size_t b, size_t *out) {
    size_t result;
    if (__builtin_add_overflow(a, b, &result)) {
        return false;
    }
    *out = result;
    return true;
}

/* malloc behind the vd_allocator face; never NULL. */
const vd_allocator *alloc_default(void);

static inline void *mem_alloc(const vd_allocator *a, size_t size) {
    return a->alloc(a->context, size);
}
static inline void *mem_resize(const vd_allocator *a, void *block, size_t old_size, size_t new_size) {
    return a->resize(a->context, block, old_size, new_size);
}
static inline void mem_release(const vd_allocator *a, void *block, size_t size) {
    if (block) {
        a->release(a->context, block, size);
    }
}
/* NULL on overflow or when there is no memory. */
void *mem_alloc_array(const vd_allocator *a, size_t count, size_t size);

#endif
