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

/* The keys of up to 16 lanes that can enter, ascending: each goes where it belongs by how many are smaller. */
TARGET static inline uint32_t sort_near(uint32_t near, __m512i low, __m512i high, uint64_t *sorted) {
    const __m512i none = _mm512_set1_epi64(-1);
    uint64_t keys[16] __attribute__((aligned(64)));
    const uint32_t first = (uint32_t)__builtin_popcount(near & 0xFFu), n = (uint32_t)__builtin_popcount(near);
    _mm512_store_si512(keys, none);
    _mm512_store_si512(keys + 8, none);
    _mm512_mask_compressstoreu_epi64(keys, (__mmask8)near, low);
    _mm512_mask_compressstoreu_epi64(keys + first, (__mmask8)(near >> 8), high);
    const __m512i a = _mm512_load_si512(keys), b = _mm512_load_si512(keys + 8);
    for (uint32_t i = 0; i < n; i++) {
        const __m512i key = _mm512_set1_epi64((long long)keys[i]);
        const uint32_t smaller = _mm512_cmplt_epu64_mask(a, key) | (uint32_t)_mm512_cmplt_epu64_mask(b, key) << 8;
        sorted[__builtin_popcount(smaller)] = keys[i];
    }
    return n;
}

/* keys[from, to) move up by `by`, the highest first. */
TARGET static inline void move_up(uint64_t *keys, uint32_t from, uint32_t to, uint32_t by) {
    while (to >= from + 8) {
        to -= 8;
        _mm512_storeu_si512(keys + to + by, _mm512_loadu_si512(keys + to));
    }
    const __mmask8 rest = (__mmask8)((1u << (to - from)) - 1u);
    _mm512_mask_storeu_epi64(keys + from + by, rest, _mm512_maskz_loadu_epi64(rest, keys + from));
}

/* Sixteen at a time, merged from the end, so that each key of the pool moves once however many come in. Writes up to 16 keys behind
 * the limit; they fall out. */
TARGET void pool_take_avx512(pool *p, float below, const float *distances, const uint32_t *slots, uint32_t count) {
    uint64_t *keys = p->keys;
    /* Once for all of them, as pool_take_any does: whichever of equal distances has the lower slot stays. */
    const __m512 bound = _mm512_set1_ps(entry_bound(p, below));
    for (uint32_t i = 0; i < count; i += 16) {
        const __m512 d = _mm512_loadu_ps(distances + i);
        const uint32_t left = count - i;
        const __mmask16 valid = (__mmask16)(left < 16 ? (1u << left) - 1u : 0xFFFFu);
        const uint32_t near = _mm512_mask_cmp_ps_mask(valid, d, bound, _CMP_LT_OQ);
        if (near == 0) {
            continue;
        }
        const __m512i slot = _mm512_slli_epi32(_mm512_maskz_loadu_epi32(valid, slots + i), 1),
                      bits = _mm512_castps_si512(d);
        const __m512i low = _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu32_epi64(_mm512_castsi512_si256(bits)), 32),
                                            _mm512_cvtepu32_epi64(_mm512_castsi512_si256(slot)));
        const __m512i high =
            _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(bits, 1)), 32),
                            _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(slot, 1)));
        uint64_t fresh[16];
        const uint32_t n = sort_near(near, low, high, fresh);
        uint32_t end = p->size;
        for (uint32_t j = n; j-- > 0;) {
            const uint32_t at = place_of_avx512(keys, end, fresh[j]);
            move_up(keys, at, end, j + 1);
            keys[at + j] = fresh[j];
            end = at;
        }
        p->next = end < p->next ? end : p->next;
        p->size = p->size + n < p->limit ? p->size + n : p->limit;
    }
}
#endif
