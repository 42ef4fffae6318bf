/* alloc.c - malloc behind the allocator's face. */
#include "base/alloc.h"

#include <stdlib.h>

static void *system_alloc(void *context, size_t size) {
    (void)context;
    return malloc(size ? size : 1);
}

static void *system_resize(void *context, void *block, size_t old_size, size_t new_size) {
    (void)context;
    (void)old_size;
    return realloc(block, new_size ? new_size : 1);
}

static void system_release(void *context, void *block, size_t size) {
    (void)context;
    (void)size;
    free(block);
}

const vd_allocator *alloc_default(void) {
    static const vd_allocator allocator = {NULL, system_alloc, system_resize, system_release};
    return &allocator;
}

void *mem_alloc_array(const vd_allocator *a, size_t count, size_t size) {
    size_t total;
    return size_mul(count, size, &total) ? mem_alloc(a, total) : NULL;
}
