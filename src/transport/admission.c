/* admission.c - two counters with a ceiling. Optimistic: add, look, take back; a refused caller may make another one that
 * arrives in the same instant be refused too, which is right when the bound is that near. */
#include "transport/admission.h"

#include <stdatomic.h>

#include "vectord/limits.h"

static _Atomic uint64_t bytes_held;
static _Atomic uint64_t jobs_held;

static bool take(_Atomic uint64_t *held, uint64_t amount, uint64_t most) {
    uint64_t before = atomic_fetch_add_explicit(held, amount, memory_order_relaxed);
    if (before > most || amount > most - before) {
        atomic_fetch_sub_explicit(held, amount, memory_order_relaxed);
        return false;
    }
    return true;
}

bool admission_take_bytes(size_t size) {
    return take(&bytes_held, size, VD_INFLIGHT_BODY_MAX_BYTES);
}

void admission_give_bytes(size_t size) {
    atomic_fetch_sub_explicit(&bytes_held, size, memory_order_relaxed);
}

bool admission_take_job(void) {
    return take(&jobs_held, 1, VD_INFLIGHT_JOBS_MAX);
}

void admission_give_job(void) {
    atomic_fetch_sub_explicit(&jobs_held, 1, memory_order_relaxed);
}

uint64_t admission_bytes(void) {
    return atomic_load_explicit(&bytes_held, memory_order_relaxed);
}

uint64_t admission_jobs(void) {
    return atomic_load_explicit(&jobs_held, memory_order_relaxed);
}
