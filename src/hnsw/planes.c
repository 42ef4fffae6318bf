/*
 * planes.c - the arrays that never move. Address space for as many slots as this machine could ever hold is reserved once per
 * plane; memory is taken as it is written to. So there is no reallocation, no lock for readers, and no copy when an index grows.
 * Where the system accounts for memory strictly (vm.overcommit_memory 2), address space is reserved without access and made usable in
 * steps; everywhere else it is writable from the start, and neighbouring planes are one mapping to the system, which has room for
 * some 65,000 (vm.max_map_count): thousands of indexes fit.
 *
 * Huge pages stand only where a whole one is filled: the part that a reserve will fill is advised before it is touched, and what
 * small writes have filled bit by bit is collapsed when it is complete. The tail of a plane stays on small pages, so that an index
 * does not hold up to 2 MiB per plane that nothing is in. (Measured: a random 384-byte record costs 26 ns on huge pages and 28 ns
 * on small ones, with 100,000 of them; malloc'ed arrays get none.)
 *
 * What is deleted goes back: when all slots of a block are free, the whole pages inside are dropped.
 *
 * Rejected: doubling segments (an extra load per access) and realloc (readers would need a lock).
 */
#include <sys/mman.h>
#include <unistd.h>

#include "hnsw/hnsw_int.h"

#define HUGE_PAGE_BYTES (2u * 1024u * 1024u)
#define STEP_SLOTS      1024u
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; older kernels refuse it, which costs only speed */
#endif

static size_t page_round(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

bool plane_open(plane *p, uint64_t slots) {
    if (p->stride == 0) {
        return true;
    }
    size_t bytes;
    if (!size_mul(p->stride, slots, &bytes) || bytes > SIZE_MAX / 2) {
        return false;
    }
    /* Huge-page aligned, so that the same slot stands in the same huge page on every run. */
    bytes = page_round(bytes) + HUGE_PAGE_BYTES;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    uint8_t *raw = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    p->usable = raw != MAP_FAILED;
    if (raw == MAP_FAILED) {
        raw = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_NONE, flags, -1, 0);
    }
    if (raw == MAP_FAILED) {
        return false;
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
    p->base = (uint8_t *)aligned;
    p->reserved = bytes;
    p->huge = 0;
    return true;
}

void plane_close(plane *p) {
    if (p->base) {
        munmap(p->base, p->reserved);
        p->base = NULL;
        p->reserved = 0;
    }
}

/* Slots from..to become usable; the first `filled` are about to be written, or have been. */
bool plane_commit(plane *p, uint64_t from, uint64_t to, uint64_t filled) {
    if (p->stride == 0) {
        return true;
    }
    size_t start = page_round(p->stride * from), end = page_round(p->stride * to);
    if (!p->usable && start < end && mprotect(p->base + start, end - start, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    if (p->walked) {
        size_t full = p->stride * filled / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        if (full > p->huge) { /* hints: refusal costs only speed */
            (void)madvise(p->base + p->huge, full - p->huge, MADV_HUGEPAGE);
            size_t written =
                start / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES + (start % HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 0);
            written = written < full ? written : full;
            if (written > p->huge) {
                (void)madvise(p->base + p->huge, written - p->huge, MADV_COLLAPSE);
            }
            p->huge = full;
        }
    }
    return true;
}

/* ---- all planes of an index ---- */

static void describe(vd_hnsw *h) {
    plane *p = h->planes;
    p[PLANE_LINKS] = (plane){.stride = sizeof *h->links * h->link_stride, .walked = true, .payload = true};
    p[PLANE_STATE] = (plane){.stride = sizeof *h->state};
    p[PLANE_LEVELS] = (plane){.stride = sizeof *h->levels};
    p[PLANE_UPPER] = (plane){.stride = sizeof *h->upper};
    p[PLANE_PARENT] = (plane){.stride = sizeof *h->parent};
    p[PLANE_TWIN] = (plane){.stride = sizeof *h->twin};
    p[PLANE_IS_TWIN] = (plane){.stride = sizeof *h->is_twin};
    p[PLANE_IDS] = (plane){.stride = sizeof *h->ids};
    p[PLANE_ID_SIZES] = (plane){.stride = sizeof *h->id_sizes};
    p[PLANE_PAYLOADS] = (plane){.stride = sizeof *h->payloads};
    h->upper_plane = (plane){.stride = sizeof *h->upper_links * h->upper_stride};
    h->returned_plane = (plane){.stride = 1};
}

static void name_planes(vd_hnsw *h) {
    plane *p = h->planes;
    h->links = (void *)p[PLANE_LINKS].base;
    h->state = (void *)p[PLANE_STATE].base;
    h->levels = (void *)p[PLANE_LEVELS].base;
    h->upper = (void *)p[PLANE_UPPER].base;
    h->parent = (void *)p[PLANE_PARENT].base;
    h->twin = (void *)p[PLANE_TWIN].base;
    h->is_twin = (void *)p[PLANE_IS_TWIN].base;
    h->ids = (void *)p[PLANE_IDS].base;
    h->id_sizes = (void *)p[PLANE_ID_SIZES].base;
    h->payloads = (void *)p[PLANE_PAYLOADS].base;
    h->upper_links = (void *)h->upper_plane.base;
    h->returned = h->returned_plane.base;
}

static size_t slot_bytes(const vd_hnsw *h) {
    size_t total = 0;
    for (size_t i = 0; i < INDEX_PLANES; i++) {
        total += h->planes[i].stride;
    }
    return total;
}

static bool reserve_all(vd_hnsw *h) {
    for (size_t i = 0; i < INDEX_PLANES; i++) {
        if (!plane_open(&h->planes[i], h->slot_limit)) {
            return false;
        }
    }
    uint64_t blocks = h->slot_limit / RETURN_SLOTS + 1;
    return plane_open(&h->upper_plane, h->upper_limit) && plane_open(&h->returned_plane, blocks) &&
           plane_commit(&h->returned_plane, 0, blocks, 0);
}

void planes_close(vd_hnsw *h) {
    for (size_t i = 0; i < INDEX_PLANES; i++) {
        plane_close(&h->planes[i]);
    }
    plane_close(&h->upper_plane);
    form_free(h, atomic_load_explicit(&h->form, memory_order_relaxed));
    atomic_store_explicit(&h->form, NULL, memory_order_relaxed);
    plane_close(&h->returned_plane);
    h->returned = NULL;
}

/* Upper blocks for so many nodes: 1 / (m - 1) each, m^-1 + m^-2 + ..., and an eighth and some more, as the number varies and blocks
 * that are given back serve nodes of the same level only. */
static uint64_t upper_blocks(const vd_hnsw *h, uint64_t nodes) {
    return nodes / (h->m - 1) + nodes / 8 + STEP_SLOTS;
}

vd_status planes_open(vd_hnsw *h, vd_error *err) {
    /* As much address space as physical memory could back, and a quarter more for what is swapped or cold. */
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    vd_encoding first = h->options.encoding == VD_ENCODING_AUTO
                            ? (h->options.discard_vectors ? VD_ENCODING_SQ8 : VD_ENCODING_F32)
                            : h->options.encoding;
    if (first == VD_ENCODING_SQ4 && !h->options.discard_vectors) {
        first = VD_ENCODING_SQ8; /* codes are kept whole, whether half of their bits are walked on or all */
    }
    describe(h);
    uint64_t dimension = h->options.dimension;
    uint64_t least_bytes = slot_bytes(h) + (h->options.discard_vectors ? dimension / 2 : 4 * dimension);
    uint64_t limit = memory / least_bytes * 5 / 4;
    limit = limit > VD_ITEMS_MAX ? VD_ITEMS_MAX : limit < STEP_SLOTS ? STEP_SLOTS : limit;
    for (;; limit /= 2) {
        h->slot_limit = (uint32_t)limit;
        h->upper_limit = (uint32_t)upper_blocks(h, limit);
        form *f = reserve_all(h) ? form_new(h, first, 0) : NULL;
        if (f) {
            atomic_store_explicit(&h->form, f, memory_order_release);
            name_planes(h);
            return VD_OK;
        }
        planes_close(h);
        if (limit / 2 < STEP_SLOTS) { /* an address space limit (ulimit -v) that leaves nothing */
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no address space for an index of dimension %u",
                           h->options.dimension);
        }
    }
}

vd_status planes_commit(vd_hnsw *h, uint64_t slots, uint64_t uppers, uint64_t more, vd_error *err) {
    form *f = form_of(h);
    if (slots > h->slot_limit) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "an index of dimension %u can hold %u items on this machine",
                       h->options.dimension, h->slot_limit);
    }
    uint64_t to = h->slots_ready;
    if (slots > to) {
        to += to / 8;
        to = to < slots ? slots : to;
        to = (to + STEP_SLOTS - 1) / STEP_SLOTS * STEP_SLOTS;
        to = to > h->slot_limit ? h->slot_limit : to;
    }
    uint64_t taken = atomic_load_explicit(&h->slots, memory_order_relaxed);
    uint64_t filled = slots < h->slots_ready ? taken : slots;
    for (size_t i = 0; i < INDEX_PLANES; i++) {
        if (!plane_commit(&h->planes[i], h->slots_ready, to, filled)) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        }
    }
    if (!form_commit(f, h->slots_ready, to, filled, more)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    h->slots_ready = (uint32_t)to;
    /* Best effort: without a block a node just stays on a lower level, so this is no reason to refuse a write. */
    uint64_t needed = h->upper_used + upper_blocks(h, more);
    uppers = uppers < needed ? needed : uppers;
    uppers = uppers > h->upper_limit ? h->upper_limit : uppers;
    if (uppers > h->upper_ready) {
        uint64_t last = (uppers + STEP_SLOTS - 1) / STEP_SLOTS * STEP_SLOTS;
        last = last > h->upper_limit ? h->upper_limit : last;
        if (plane_commit(&h->upper_plane, h->upper_ready, last, h->upper_used)) {
            h->upper_ready = (uint32_t)last;
        }
    }
    return VD_OK;
}

uint64_t planes_bytes(const vd_hnsw *h) {
    uint64_t slots = atomic_load_explicit(&((vd_hnsw *)h)->slots, memory_order_relaxed);
    uint64_t kept = slots - h->returned_slots;
    uint64_t bytes = (uint64_t)h->upper_used * h->upper_stride * sizeof *h->upper_links;
    for (size_t i = 0; i < INDEX_PLANES; i++) {
        bool untouched =
            (i == PLANE_PAYLOADS && !h->has_payloads) || ((i == PLANE_TWIN || i == PLANE_IS_TWIN) && !h->has_twins);
        bytes += untouched ? 0 : (h->planes[i].payload ? kept : slots) * h->planes[i].stride;
    }
    return bytes + form_bytes(form_of(h), kept);
}

/* ---- giving back ---- */

static void drop_pages(const plane *p, uint64_t from, uint64_t to) {
    if (!p->payload || p->stride == 0) {
        return;
    }
    size_t start = page_round(p->stride * from);
    size_t end = p->stride * to;
    end -= end % page_round(1);
    if (start < end) {
        (void)madvise(p->base + start, end - start, MADV_DONTNEED);
    }
}

void planes_return(vd_hnsw *h) {
    form *f = form_of(h);
    uint32_t slots = atomic_load_explicit(&h->slots, memory_order_relaxed);
    for (uint32_t from = 0; from + RETURN_SLOTS <= slots; from += RETURN_SLOTS) {
        bool free_block = !h->returned[from / RETURN_SLOTS];
        for (uint32_t slot = from; free_block && slot < from + RETURN_SLOTS; slot++) {
            free_block = slot_state(h, slot) == STATE_FREE;
        }
        if (free_block) {
            for (size_t i = 0; i < INDEX_PLANES; i++) {
                drop_pages(&h->planes[i], from, from + RETURN_SLOTS);
            }
            for (size_t i = 0; i < FORM_PLANES; i++) {
                drop_pages(&f->planes[i], from, from + RETURN_SLOTS);
            }
            h->returned[from / RETURN_SLOTS] = 1;
            h->returned_slots += RETURN_SLOTS;
        }
    }
    /* In order again: what is used next stands together, and not where pages have just been given back. */
    h->free_slots = SLOT_NONE;
    h->free_returned = SLOT_NONE;
    for (uint32_t slot = slots; slot-- > 0;) {
        if (slot_state(h, slot) == STATE_FREE) {
            uint32_t *list = h->returned[slot / RETURN_SLOTS] ? &h->free_returned : &h->free_slots;
            atomic_store_explicit(&h->parent[slot], *list, memory_order_relaxed);
            *list = slot;
        }
    }
}
