/*
 * pool.c - taking a batch of distances into the sorted pool of a search, in plain C and with AVX-512.
 *
 * No branch asks about a distance: whether a neighbour is near enough, and where it belongs, cannot be predicted, and a mispredicted
 * branch costs more than all the comparing. First those that can enter at all are gathered (late in a search few can), then each is
 * put in its place by a search whose steps are arithmetic. tests/house checks in the machine code that this stays so.
 *
 * Both functions leave the same pool.
 */
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "hnsw/hnsw_int.h"

/* Below which distance a neighbour can enter: the bound, and in a full pool its last. */
static float entry_bound(const pool *p, float below) {
    float last = p->size == p->limit ? key_distance(p->keys[p->size - 1]) : below;
    return last < below ? last : below;
}

/* How many keys are smaller than `key`. */
static uint32_t place_of(const uint64_t *keys, uint32_t size, uint64_t key) {
    const uint64_t *base = keys;
    for (uint32_t length = size; length > 0;) {
        uint32_t half = (length + 1) / 2;
        base += (size_t)half & -(size_t)(base[half - 1] < key);
        length -= half;
    }
    return (uint32_t)(base - keys);
}

void pool_take_any(pool *p, float below, const float *distances, const uint32_t *slots, uint32_t count) {
    uint32_t near[BATCH_SLOTS_MAX + 1];
    const float bound = entry_bound(p, below);
    uint32_t entering = 0;
    for (uint32_t i = 0; i < count; i++) {
        near[entering] = i;
        entering += distances[i] < bound;
    }
    for (uint32_t j = 0; j < entering; j++) {
        uint64_t key = key_make(distances[near[j]], slots[near[j]]);
        if (p->size == p->limit && key >= p->keys[p->size - 1]) {
            continue; /* pushed out by its fellows */
        }
        uint32_t at = place_of(p->keys, p->size, key);
        uint32_t behind = p->size - at - (p->size == p->limit);
        memmove(p->keys + at + 1, p->keys + at, behind * sizeof key);
        p->keys[at] = key;
        p->size += p->size < p->limit;
        p->next = at < p->next ? at : p->next;
    }
}

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi,bmi2,popcnt")))

/* place_of, the last 16 keys at once. Reads up to 16 keys behind `size`: the array has them (scratch.c), whatever they hold. */
TARGET static inline uint32_t place_of_avx512(const uint64_t *keys, uint32_t size, uint64_t key) {
    const uint64_t *base = keys;
    uint32_t length = size;
    while (length > 16) {
        uint32_t half = length / 2;
        base += (size_t)half & -(size_t)(base[half - 1] < key);
        length -= half;
    }
    const __m512i wanted = _mm512_set1_epi64((long long)key);
    uint32_t smaller = _mm512_cmplt_epu64_mask(_mm512_loadu_si512(base), wanted);
    smaller |= (uint32_t)_mm512_cmplt_epu64_mask(_mm512_loadu_si512(base + 8), wanted) << 8;
    smaller &= (1u << length) - 1u;
    return (uint32_t)(base - keys) + (uint32_t)__builtin_popcount(smaller);
}

TARGET void pool_take_avx512(pool *p, float below, const float *distances, const uint32_t *slots, uint32_t count) {
    uint64_t *keys = p->keys;
    uint32_t size = p->size, next = p->next;
    const uint32_t limit = p->limit;
    const __m512 bound = _mm512_set1_ps(entry_bound(p, below));
    for (uint32_t i = 0; i < count; i += 16) {
        uint32_t near = _mm512_cmp_ps_mask(_mm512_loadu_ps(distances + i), bound, _CMP_LT_OQ);
        near &= count - i < 16 ? (1u << (count - i)) - 1u : 0xFFFFu;
        for (; near; near &= near - 1) {
            const uint32_t j = i + (uint32_t)__builtin_ctz(near);
            const uint64_t key = key_make(distances[j], slots[j]);
            if (size == limit && key >= keys[size - 1]) {
                continue;
            }
            const uint32_t at = place_of_avx512(keys, size, key);
            uint32_t end = size - (size == limit); /* the last of a full pool falls out */
            while (end >= at + 8) {
                _mm512_storeu_si512(keys + end - 7, _mm512_loadu_si512(keys + end - 8));
                end -= 8;
            }
            const __mmask8 rest = (__mmask8)((1u << (end - at)) - 1u);
            _mm512_mask_storeu_epi64(keys + at + 1, rest, _mm512_maskz_loadu_epi64(rest, keys + at));
            keys[at] = key;
            size += size < limit;
            next = at < next ? at : next;
        }
    }
    p->size = size;
    p->next = next;
}
#endif
