/*
 * planes.c - the arrays that never move. Address space for as many slots as this machine could ever hold is reserved once per
 * plane; memory becomes usable in steps. So there is no reallocation, no lock for readers, and no copy when an index grows.
 *
 * Rejected: doubling segments (an extra load per access) and realloc (readers would need a lock).
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hnsw/hnsw_int.h"

#define HUGE_PAGE_BYTES (2u * 1024u * 1024u)
#define STEP_SLOTS      1024u

typedef struct plane {
    void **base;
    size_t stride; /* bytes per slot */
    bool huge;     /* large and walked at random */
} plane;

#define PLANE_COUNT 14

static void list_planes(vd_hnsw *h, plane out[PLANE_COUNT]) {
    const plane all[PLANE_COUNT] = {
        {(void **)&h->vectors, sizeof(float) * h->options.dimension, true},
        {(void **)&h->codes, h->code_stride, true},
        {(void **)&h->headers, sizeof *h->headers, true},
        {(void **)&h->norms, sizeof *h->norms, false},
        {(void **)&h->links, sizeof *h->links * h->link_stride, true},
        {(void **)&h->state, sizeof *h->state, false},
        {(void **)&h->levels, sizeof *h->levels, false},
        {(void **)&h->upper, sizeof *h->upper, false},
        {(void **)&h->parent, sizeof *h->parent, false},
        {(void **)&h->twin, sizeof *h->twin, false},
        {(void **)&h->is_twin, sizeof *h->is_twin, false},
        {(void **)&h->ids, sizeof *h->ids, false},
        {(void **)&h->id_sizes, sizeof *h->id_sizes, false},
        {(void **)&h->payloads, sizeof *h->payloads, false},
    };
    memcpy(out, all, sizeof all);
}

static size_t page_round(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static size_t reserved_bytes(size_t stride, uint32_t limit) {
    return page_round(stride * limit) + HUGE_PAGE_BYTES;
}

/* Huge-page aligned, so that the same slot stands in the same huge page on every run. */
static void *reserve(size_t bytes) {
    uint8_t *raw = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) {
        return NULL;
    }
    uintptr_t at = (uintptr_t)raw;
    uintptr_t aligned = (at + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
    if (aligned > at) {
        munmap(raw, aligned - at);
    }
    size_t tail = at + bytes + HUGE_PAGE_BYTES - (aligned + bytes);
    if (tail) {
        munmap((void *)(aligned + bytes), tail);
    }
    return (void *)aligned;
}

static bool reserve_all(vd_hnsw *h, uint32_t limit) {
    plane planes[PLANE_COUNT];
    list_planes(h, planes);
    for (size_t i = 0; i < PLANE_COUNT; i++) {
        *planes[i].base = reserve(reserved_bytes(planes[i].stride, limit));
        if (!*planes[i].base) {
            return false;
        }
    }
    h->upper_links = reserve(reserved_bytes(sizeof *h->upper_links * h->upper_stride, h->upper_limit));
    return h->upper_links != NULL;
}

static void unmap_all(vd_hnsw *h) {
    plane planes[PLANE_COUNT];
    list_planes(h, planes);
    for (size_t i = 0; i < PLANE_COUNT; i++) {
        if (*planes[i].base) {
            munmap(*planes[i].base, reserved_bytes(planes[i].stride, h->slot_limit));
            *planes[i].base = NULL;
        }
    }
    if (h->upper_links) {
        munmap((void *)h->upper_links, reserved_bytes(sizeof *h->upper_links * h->upper_stride, h->upper_limit));
        h->upper_links = NULL;
    }
}

static size_t slot_bytes(vd_hnsw *h) {
    plane planes[PLANE_COUNT];
    size_t total = 0;
    list_planes(h, planes);
    for (size_t i = 0; i < PLANE_COUNT; i++) {
        total += planes[i].stride;
    }
    return total;
}

vd_status planes_open(vd_hnsw *h, vd_error *err) {
    /* As much address space as physical memory could back, and a quarter more for what is swapped or cold. */
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = memory / slot_bytes(h) * 5 / 4;
    limit = limit > VD_ITEMS_MAX ? VD_ITEMS_MAX : limit < STEP_SLOTS ? STEP_SLOTS : limit;
    for (;; limit /= 2) {
        h->slot_limit = (uint32_t)limit;
        h->upper_limit = (uint32_t)(limit / 8 < STEP_SLOTS ? STEP_SLOTS : limit / 8);
        if (reserve_all(h, h->slot_limit)) {
            return VD_OK;
        }
        unmap_all(h);
        if (limit / 2 < STEP_SLOTS) { /* an address space limit (ulimit -v) that leaves nothing */
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no address space for an index of dimension %u",
                           h->options.dimension);
        }
    }
}

void planes_close(vd_hnsw *h) {
    unmap_all(h);
}

static bool make_usable(void *base, size_t stride, uint32_t from, uint32_t to, bool huge) {
    size_t start = page_round(stride * from), end = page_round(stride * to);
    if (start >= end) {
        return true;
    }
    if (mprotect((uint8_t *)base + start, end - start, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    if (huge) {
        /* Only where a whole huge page will fill: the tail of a plane stays on small pages. */
        size_t first = start / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        size_t last = end / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        if (first < last) {
            (void)madvise((uint8_t *)base + first, last - first, MADV_HUGEPAGE); /* a hint: refusal costs only speed */
        }
    }
    return true;
}

vd_status planes_commit(vd_hnsw *h, uint64_t slots, uint64_t uppers, vd_error *err) {
    if (slots > h->slot_limit) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "an index of dimension %u can hold %u items on this machine",
                       h->options.dimension, h->slot_limit);
    }
    if (slots > h->slots_ready) {
        uint64_t to = (uint64_t)h->slots_ready + h->slots_ready / 8;
        to = to < slots ? slots : to;
        to = (to + STEP_SLOTS - 1) / STEP_SLOTS * STEP_SLOTS;
        to = to > h->slot_limit ? h->slot_limit : to;
        plane planes[PLANE_COUNT];
        list_planes(h, planes);
        for (size_t i = 0; i < PLANE_COUNT; i++) {
            if (!make_usable(*planes[i].base, planes[i].stride, h->slots_ready, (uint32_t)to, planes[i].huge)) {
                return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
            }
        }
        h->slots_ready = (uint32_t)to;
    }
    /* Best effort: without a block a node just stays on a lower level, so this is no reason to refuse a write. */
    uppers = uppers > h->upper_limit ? h->upper_limit : uppers;
    if (uppers > h->upper_ready) {
        uint64_t to = (uppers + STEP_SLOTS - 1) / STEP_SLOTS * STEP_SLOTS;
        to = to > h->upper_limit ? h->upper_limit : to;
        if (make_usable((void *)h->upper_links, sizeof *h->upper_links * h->upper_stride, h->upper_ready, (uint32_t)to,
                        false)) {
            h->upper_ready = (uint32_t)to;
        }
    }
    return VD_OK;
}

uint64_t planes_bytes(const vd_hnsw *h) {
    uint64_t slots = atomic_load_explicit(&h->slots, memory_order_relaxed);
    return slots * slot_bytes((vd_hnsw *)h) + (uint64_t)h->upper_used * h->upper_stride * sizeof *h->upper_links;
}
