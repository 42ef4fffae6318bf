/*
 * dedupe.c - the request ids of the last writes and what they were answered: a write that comes again (NNG's REQ sends again
 * when an answer is late) gets its first answer and changes nothing.
 *
 * A ring of entries in order of arrival, and an open-addressing table from id to ring position. Both grow by doubling up
 * to the limit; from then on the oldest entry makes room. Entries are removed from the table by shifting back what follows,
 * so there are no tombstones.
 */
#include <stdlib.h>
#include <string.h>

#include "registry/registry_int.h"

#define FIRST_CAPACITY 64u

static uint64_t hash_request(uint8_t kind, bytes id) {
    uint64_t h = 0xCBF29CE484222325u ^ kind;
    for (size_t i = 0; i < id.size; i++) {
        h = (h ^ id.data[i]) * 0x100000001B3u;
    }
    h ^= h >> 29;
    return h * 0x9E3779B97F4A7C15u;
}

void dedupe_init(dedupe_window *w, uint32_t limit) {
    *w = (dedupe_window){.limit = limit};
}

void dedupe_fini(dedupe_window *w) {
    free(w->ring);
    free(w->table);
    w->ring = NULL;
    w->table = NULL;
}

static uint32_t home(const dedupe_window *w, uint64_t hash) {
    return (uint32_t)(hash >> 32) & (w->table_capacity - 1);
}

static void table_insert(dedupe_window *w, uint32_t position) {
    uint32_t at = home(w, w->ring[position].hash);
    while (w->table[at]) {
        at = (at + 1) & (w->table_capacity - 1);
    }
    w->table[at] = position + 1;
}

static void table_remove(dedupe_window *w, uint32_t position) {
    uint32_t mask = w->table_capacity - 1;
    uint32_t hole = home(w, w->ring[position].hash);
    while (w->table[hole] != position + 1) {
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; w->table[at]; at = (at + 1) & mask) {
        uint32_t want = home(w, w->ring[w->table[at] - 1].hash);
        if (((at - want) & mask) >= ((at - hole) & mask)) { /* may stand at the hole as well */
            w->table[hole] = w->table[at];
            hole = at;
        }
    }
    w->table[hole] = 0;
}

bool dedupe_reserve(dedupe_window *w, uint32_t more) {
    uint32_t capacity = w->capacity ? w->capacity : FIRST_CAPACITY;
    while (capacity < w->limit && capacity - w->count < more) {
        capacity *= 2;
    }
    if (capacity > w->limit) {
        capacity = w->limit;
    }
    if (capacity == w->capacity) {
        return true;
    }
    /* the ring has never been full below the limit, so its entries stand at 0..count-1 */
    uint32_t *table = calloc((size_t)capacity * 2, sizeof *table);
    dedupe_entry *ring = table ? realloc(w->ring, capacity * sizeof *ring) : NULL;
    if (!ring) {
        free(table);
        return false;
    }
    free(w->table);
    w->ring = ring;
    w->table = table;
    w->capacity = capacity;
    w->table_capacity = capacity * 2;
    w->next = w->count;
    for (uint32_t i = 0; i < w->count; i++) {
        table_insert(w, i);
    }
    return true;
}

const dedupe_entry *dedupe_find(const dedupe_window *w, uint8_t kind, bytes id) {
    if (w->count == 0 || id.size == 0) {
        return NULL;
    }
    uint64_t hash = hash_request(kind, id);
    for (uint32_t at = home(w, hash); w->table[at]; at = (at + 1) & (w->table_capacity - 1)) {
        const dedupe_entry *entry = &w->ring[w->table[at] - 1];
        if (entry->hash == hash && entry->kind == kind && bytes_equal(bytes_of(entry->id, entry->id_size), id)) {
            return entry;
        }
    }
    return NULL;
}

const dedupe_entry *dedupe_at(const dedupe_window *w, uint32_t age_rank) {
    uint32_t first = w->count < w->capacity ? 0 : w->next % w->capacity; /* the oldest, once the ring is full */
    return &w->ring[(first + age_rank) % w->capacity];
}

void dedupe_put(dedupe_window *w, uint8_t kind, bytes id, const dedupe_answer *answer) {
    if (id.size == 0 || id.size > VD_REQUEST_ID_MAX_BYTES || dedupe_find(w, kind, id) ||
        (!dedupe_reserve(w, 1) && w->count == w->capacity && w->capacity == 0)) {
        return;
    }
    uint32_t position = w->next;
    if (position >= w->capacity) { /* full: over the oldest */
        position = 0;
    }
    if (w->count == w->capacity) {
        table_remove(w, position);
    } else {
        w->count++;
    }
    dedupe_entry *entry = &w->ring[position];
    *entry =
        (dedupe_entry){.hash = hash_request(kind, id), .id_size = (uint8_t)id.size, .kind = kind, .answer = *answer};
    memcpy(entry->id, id.data, id.size);
    table_insert(w, position);
    w->next = position + 1;
}

vd_status dedupe_check_id(bytes id, vd_error *err) {
    if (id.size > VD_REQUEST_ID_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "request id: at most %d bytes (got %zu)",
                       VD_REQUEST_ID_MAX_BYTES, id.size);
    }
    return VD_OK;
}
