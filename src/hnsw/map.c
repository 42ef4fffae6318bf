/*
 * map.c - two hash maps with one writer and lock-free readers: id -> live slot, and vector bits -> the slot that represents
 * all exact copies of a vector.
 *
 * Open addressing with linear probing over 64-bit entries {hash high 32 bits | slot}: what is compared first stands in the
 * entry, and growing needs no key. Removing leaves a tombstone. A grown table is published whole; the old one is retired.
 * Hashes are seeded by chance for each index: with a known function, ids or vectors sent on purpose to collide would each be compared
 * with all others.
 *
 * Threading: writers hold the index's writer mutex; readers hold a guard, so neither a table nor a slot they see goes away.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "hnsw/hnsw_int.h"

#define ENTRY_FREE  0ull
#define ENTRY_TOMB  1ull
#define TABLE_FIRST 64u
/* A table of so many bytes is a mapping of its own: those that it has outgrown would leave holes in the heap that no larger one fits. */
#define TABLE_MAPPED (64u * 1024u)

struct map_table {
    uint64_t capacity;
    size_t bytes;
    _Atomic uint64_t entries[];
};

/* A slot is stored plus 2, so that no entry equals FREE or TOMB whatever its hash is. */
static uint64_t entry_of(uint64_t hash, uint32_t slot) {
    return (hash & 0xFFFFFFFF00000000ull) | ((uint64_t)slot + 2);
}
static uint32_t entry_slot(uint64_t entry) {
    return (uint32_t)(entry & 0xFFFFFFFFull) - 2;
}
static bool entry_live(uint64_t entry) {
    return entry != ENTRY_FREE && entry != ENTRY_TOMB;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

typedef struct hash_key {
    uint64_t start, first, second, last, final;
    uint64_t kept; /* of what came before each word, whatever the product */
} hash_key;

/* Multiply-and-fold over 8-byte words: a few ns for an id, about 30 ns for a 384-d vector. */
static inline uint64_t fold(hash_key key, const void *data, size_t size) {
    const uint8_t *p = data;
    uint64_t h = key.start ^ (uint64_t)size * 0xE7037ED1A0B428DBull;
    size_t left = size;
    for (; left >= 16; left -= 16, p += 16) {
        uint64_t a, b;
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = mix(a ^ key.first ^ h, b ^ key.second) ^ (h & key.kept);
    }
    uint64_t tail[2] = {0, 0};
    memcpy(tail, p, left);
    h = mix(tail[0] ^ h, tail[1] ^ key.last) ^ (h & key.kept);
    return mix(h, key.final);
}

uint64_t hash_bytes(uint64_t seed, const void *data, size_t size) {
    return fold((hash_key){.start = seed ^ 0x9E3779B97F4A7C15ull,
                           .first = 0xA0761D6478BD642Full,
                           .second = 0xE7037ED1A0B428DBull,
                           .last = 0x8EBC6AF09C88C6E3ull,
                           .final = 0x589965CC75374CC3ull},
                data, size);
}

/* Both factors of every product hold a secret, or words equal to a constant would make it 0 for whatever the other one is. */
static uint64_t map_hash(const vd_hnsw *h, uint64_t which, const void *data, size_t size) {
    return fold((hash_key){.start = h->map_seeds[0] + which,
                           .first = 0xA0761D6478BD642Full,
                           .second = h->map_seeds[1],
                           .last = h->map_seeds[1] ^ 0x8EBC6AF09C88C6E3ull,
                           .final = 0x589965CC75374CC3ull,
                           .kept = UINT64_MAX},
                data, size);
}

uint64_t hash_id(const vd_hnsw *h, vd_id id) {
    return map_hash(h, 0, id.data, id.size);
}

uint64_t hash_vector(const vd_hnsw *h, const float *vector) {
    return map_hash(h, 1, vector, sizeof *vector * h->options.dimension);
}

/* Nothing but the order of entries depends on these, and that shows nowhere. */
static void choose_seeds(vd_hnsw *h) {
    if (h->map_seeds[0] == 0 && h->map_seeds[1] == 0 &&
        getrandom(h->map_seeds, sizeof h->map_seeds, GRND_NONBLOCK) != (ssize_t)sizeof h->map_seeds) {
        h->map_seeds[0] = mix((uintptr_t)h, 0x9E3779B97F4A7C15ull); /* an address is better than nothing */
        h->map_seeds[1] = mix((uintptr_t)&choose_seeds ^ h->map_seeds[0], 0xD6E8FEB86659FD93ull) | 1u;
    }
}

static map_table *table_new(const vd_allocator *a, uint64_t capacity) {
    size_t bytes;
    if (!size_mul(capacity, sizeof(uint64_t), &bytes) || !size_add(bytes, sizeof(map_table), &bytes)) {
        return NULL;
    }
    map_table *t = NULL;
    if (bytes >= TABLE_MAPPED) {
        t = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        t = t == MAP_FAILED ? NULL : t;
    } else if ((t = mem_alloc(a, bytes))) {
        memset(t, 0, bytes);
    }
    if (t) {
        t->capacity = capacity;
        t->bytes = bytes;
    }
    return t;
}

void table_free(vd_hnsw *h, map_table *t) {
    if (t && t->bytes >= TABLE_MAPPED) {
        munmap(t, t->bytes);
    } else if (t) {
        mem_release(&h->allocator, t, t->bytes);
    }
}

/* Where an entry starts probing must be computable from the entry alone, so it comes from its upper 32 bits; by their share of the
 * whole, so that a table may have any capacity. */
static uint64_t home(const map_table *t, uint64_t hash) {
    return (hash >> 32) * t->capacity >> 32;
}
static uint64_t next_of(const map_table *t, uint64_t i) {
    return i + 1 == t->capacity ? 0 : i + 1;
}

static void table_put(map_table *t, uint64_t entry, uint64_t *used) {
    for (uint64_t i = home(t, entry);; i = next_of(t, i)) {
        uint64_t at = atomic_load_explicit(&t->entries[i], memory_order_relaxed);
        if (!entry_live(at)) {
            *used += at == ENTRY_FREE;
            atomic_store_explicit(&t->entries[i], entry, memory_order_release);
            return;
        }
    }
}

/* 76 to 87 % full as it grows, 9 to 11 bytes an item: doubling would leave it half empty on average. */
vd_status map_reserve(vd_hnsw *h, hnsw_map *map, uint64_t more) {
    map_table *old = atomic_load_explicit(&map->table, memory_order_relaxed);
    uint64_t capacity = old ? old->capacity : 0;
    if ((map->used + more) * 8 <= capacity * 7) {
        return VD_OK;
    }
    uint64_t wanted = (map->entries + more) / 16 * 21;
    wanted = wanted < TABLE_FIRST ? TABLE_FIRST : wanted;
    wanted += wanted < 1024 ? wanted : 64; /* small ones grow faster */
    map_table *fresh = table_new(&h->allocator, wanted);
    if (!fresh) {
        return VD_OUT_OF_MEMORY;
    }
    choose_seeds(h); /* before there is a table to look into */
    uint64_t used = 0;
    for (uint64_t i = 0; i < capacity; i++) {
        uint64_t entry = atomic_load_explicit(&old->entries[i], memory_order_relaxed);
        if (entry_live(entry)) {
            table_put(fresh, entry, &used);
        }
    }
    map->used = used;
    atomic_store_explicit(&map->table, fresh, memory_order_release);
    if (old) {
        retire(h, RETIRED_TABLE, (uintptr_t)old, 0);
    }
    return VD_OK;
}

void map_close(vd_hnsw *h, hnsw_map *map) {
    table_free(h, atomic_load_explicit(&map->table, memory_order_relaxed));
}

size_t table_bytes(const map_table *t) {
    return t->bytes;
}

size_t map_bytes(const hnsw_map *map) {
    map_table *t = atomic_load_explicit(&map->table, memory_order_relaxed);
    return t ? t->bytes : 0;
}

void map_put(hnsw_map *map, uint64_t hash, uint32_t slot) {
    map_table *t = atomic_load_explicit(&map->table, memory_order_relaxed);
    table_put(t, entry_of(hash, slot), &map->used);
    map->entries++;
}

static _Atomic uint64_t *find_entry(hnsw_map *map, uint64_t hash, uint32_t slot) {
    map_table *t = atomic_load_explicit(&map->table, memory_order_relaxed);
    uint64_t wanted = entry_of(hash, slot);
    for (uint64_t i = home(t, hash);; i = next_of(t, i)) {
        uint64_t at = atomic_load_explicit(&t->entries[i], memory_order_relaxed);
        if (at == wanted) {
            return &t->entries[i];
        }
        if (at == ENTRY_FREE) {
            return NULL;
        }
    }
}

bool map_swing(hnsw_map *map, uint64_t hash, uint32_t from, uint32_t to) {
    _Atomic uint64_t *entry = find_entry(map, hash, from);
    if (entry) {
        atomic_store_explicit(entry, entry_of(hash, to), memory_order_release);
    }
    return entry != NULL;
}

void map_remove(hnsw_map *map, uint64_t hash, uint32_t slot) {
    _Atomic uint64_t *entry = find_entry(map, hash, slot);
    if (entry) {
        atomic_store_explicit(entry, ENTRY_TOMB, memory_order_release);
        map->entries--;
    }
}

uint32_t id_map_find(const vd_hnsw *h, vd_id id) {
    map_table *t = atomic_load_explicit(&((vd_hnsw *)h)->id_map.table, memory_order_acquire);
    if (!t) {
        return SLOT_NONE;
    }
    uint64_t hash = hash_id(h, id);
    for (uint64_t i = home(t, hash);; i = next_of(t, i)) {
        uint64_t at = atomic_load_explicit(&t->entries[i], memory_order_acquire);
        if (at == ENTRY_FREE) {
            return SLOT_NONE;
        }
        if (entry_live(at) && ((at ^ hash) >> 32) == 0) {
            uint32_t slot = entry_slot(at);
            if (h->id_sizes[slot] == id.size && memcmp(slot_id(h, slot).data, id.data, id.size) == 0) {
                return slot;
            }
        }
    }
}

uint32_t vector_map_find(const vd_hnsw *h, const float *vector, float *buffer) {
    map_table *t = atomic_load_explicit(&((vd_hnsw *)h)->vector_map.table, memory_order_acquire);
    if (!t) {
        return SLOT_NONE;
    }
    size_t bytes = sizeof *vector * h->options.dimension;
    uint64_t hash = hash_vector(h, vector);
    for (uint64_t i = home(t, hash);; i = next_of(t, i)) {
        uint64_t at = atomic_load_explicit(&t->entries[i], memory_order_acquire);
        if (at == ENTRY_FREE) {
            return SLOT_NONE;
        }
        if (entry_live(at) && ((at ^ hash) >> 32) == 0) {
            uint32_t slot = entry_slot(at);
            /* After the entry: a form that is at least as new as the slot. */
            form_read(h, form_of(h), slot, buffer);
            if (memcmp(buffer, vector, bytes) == 0) {
                return slot;
            }
        }
    }
}
