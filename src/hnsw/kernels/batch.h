/*
 * batch.h - how the kernels with vector instructions go through their vectors: four per turn, the last repeated when
 * fewer are left. So every register of the query serves four vectors, a remainder needs no code of its own, the value
 * of a vector does not depend on its place in the batch, and nothing behind slots[count - 1] is read. Results are
 * stored by whole turns, for which the contract leaves room (KERNEL_OUT_PAD).
 *
 * Prefetching goes by the same turns, and within a turn by its vectors: each is given its share of the slots that come
 * next, so that no more lines are asked for at once than a processor has buffers for (10 to 16 in those of today, and
 * four records of 192 bytes are 12 lines). Against a turn's share in one go that gained, on a Xeon of 2023 with AVX-512
 * and records in the third cache, 2 to 5 % with codes of 384 components and 10 to 20 % with floats.
 */
#ifndef VECTORD_HNSW_KERNELS_BATCH_H
#define VECTORD_HNSW_KERNELS_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hnsw/kernels/kernels.h"

#define BATCH        4 /* vectors per turn */
#define BATCH_INLINE static inline __attribute__((always_inline))

/* s[0..BATCH) = the next slots, left >= 1. Minima rather than branches: how many are left is anyone's guess, and a
 * wrong one costs as much as two vectors. */
BATCH_INLINE void batch_pick(uint32_t s[BATCH], const uint32_t *slots, uint32_t left) {
    const uint32_t last = left - 1;
    for (uint32_t k = 0; k < BATCH; k++) {
        s[k] = slots[last < k ? last : k];
    }
}

/* What is to be prefetched, how far that has come, and how much of it goes with each turn. */
typedef struct batch_ahead {
    const uint32_t *slots;
    uint32_t next;
    uint32_t end; /* of this turn */
    uint32_t count;
    uint32_t per_turn;
} batch_ahead;

/* Commonly there are as many to come as there are now, so the division is seldom made. */
BATCH_INLINE batch_ahead batch_ahead_of(const uint32_t *ahead, uint32_t ahead_count, uint32_t count) {
    uint32_t per_turn = BATCH;
    if (ahead_count > count) {
        const uint32_t turns = count / BATCH + (count % BATCH != 0);
        per_turn = turns ? ahead_count / turns + (ahead_count % turns != 0) : ahead_count;
    }
    return (batch_ahead){.slots = ahead, .count = ahead_count, .per_turn = per_turn};
}

/* Goes on to the share of the next turn: slots[next..end). */
BATCH_INLINE void batch_ahead_turn(batch_ahead *a) {
    const uint32_t left = a->count - a->next;
    a->end = a->next + (left < a->per_turn ? left : a->per_turn);
}

BATCH_INLINE void batch_prefetch_line(const void *p) {
    __builtin_prefetch(p, 0, 3);
}

/* Prefetches one record of codes of this turn's share, if any is left: `lines` of the high plane, of the low one too
 * when `both`, and the numbers beside them. Called before each vector of a turn. */
BATCH_INLINE void batch_ahead_code(batch_ahead *a, const kernel_plane *p, size_t lines, bool both) {
    if (a->next < a->end) {
        const size_t slot = a->slots[a->next++];
        for (size_t b = 0; b < lines; b++) {
            batch_prefetch_line(p->high + slot * p->stride + b * KERNEL_LINE);
        }
        for (size_t b = 0; both && b < lines; b++) {
            batch_prefetch_line(p->low + slot * p->stride + b * KERNEL_LINE);
        }
        batch_prefetch_line(p->factor + slot);
        if (p->norm2) {
            batch_prefetch_line(p->norm2 + slot);
        }
    }
}

/* All that is left of the share: when there is more to come than there is now, or nothing now. */
BATCH_INLINE void batch_ahead_codes(batch_ahead *a, const kernel_plane *p, size_t lines, bool both) {
    while (a->next < a->end) {
        batch_ahead_code(a, p, lines, both);
    }
}

/* All that is left of the share, `bytes` of floats each; `factor`: whether the function reads it. */
BATCH_INLINE void batch_ahead_floats(batch_ahead *a, const kernel_plane *p, size_t bytes, bool factor) {
    for (; a->next < a->end; a->next++) {
        const size_t slot = a->slots[a->next];
        const uint8_t *x = p->high + slot * p->stride;
        for (size_t b = 0; b < bytes; b += KERNEL_LINE) {
            batch_prefetch_line(x + b);
        }
        batch_prefetch_line(x + bytes - 1); /* a record that starts within a line may end in one more */
        if (factor) {
            batch_prefetch_line(p->factor + slot);
        }
    }
}

/* Begins a turn with floats. A record of them is dozens of lines, too many for one go. So of the first BATCH records
 * only the addresses are given, in y, and while the kernel reads x it prefetches what has the same place in y (x once
 * more where nothing is to come). False when no slots are ahead at all: then it need not. */
BATCH_INLINE bool batch_ahead_beside(batch_ahead *a, const kernel_plane *p, size_t bytes, bool factor,
                                     const uint8_t *const x[BATCH], const uint8_t *y[BATCH]) {
    batch_ahead_turn(a);
    for (uint32_t k = 0; k < BATCH; k++) {
        y[k] = x[k];
        if (a->next < a->end) {
            const size_t slot = a->slots[a->next++];
            y[k] = p->high + slot * p->stride;
            batch_prefetch_line(y[k] + bytes - 1);
            if (factor) {
                batch_prefetch_line(p->factor + slot);
            }
        }
    }
    batch_ahead_floats(a, p, bytes, factor);
    return a->count > 0;
}

#endif
