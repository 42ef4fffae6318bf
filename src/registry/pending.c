/*
 * pending.c - the state a group of writes leads to, before any of it is applied: id -> is it there, with which metadata.
 *
 * What the group has not touched is read from the engine, so a lookup always answers for the moment after the last staged
 * write. An open-addressing table sized before the group begins: staging cannot fail for want of memory.
 */
#include <stdlib.h>
#include <string.h>

#include "registry/registry_int.h"

/* A table above this is given back after the group that needed it. */
#define KEPT_ENTRIES 65536u

static uint64_t hash_id(vd_id id) {
    uint64_t h = 0x9E3779B97F4A7C15u ^ id.size;
    const uint8_t *p = (const uint8_t *)id.data;
    size_t left = id.size;
    while (left) {
        uint64_t word = 0;
        size_t take = left < 8 ? left : 8;
        memcpy(&word, p, take);
        h = (h ^ word) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
        p += take;
        left -= take;
    }
    return h;
}

bool index_pending_prepare(index_pending *p, size_t items) {
    size_t capacity = 64;
    while (capacity / 2 < items) {
        if (capacity > SIZE_MAX / 4) {
            return false;
        }
        capacity *= 2;
    }
    if (p->capacity < capacity || p->capacity > KEPT_ENTRIES) {
        pending_entry *entries = calloc(capacity, sizeof *entries);
        if (!entries) {
            return false;
        }
        free(p->entries);
        p->entries = entries;
        p->capacity = capacity;
    } else if (p->count) {
        memset(p->entries, 0, p->capacity * sizeof *p->entries);
    }
    p->count = 0;
    return true;
}

void index_pending_fini(index_pending *p) {
    free(p->entries);
    *p = (index_pending){0};
}

pending_entry *index_pending_get(index_pending *p, const vd_hnsw *engine, vd_id id) {
    uint64_t hash = hash_id(id);
    size_t at = (size_t)hash & (p->capacity - 1);
    while (p->entries[at].id.data) {
        pending_entry *entry = &p->entries[at];
        if (entry->hash == hash && entry->id.size == id.size && memcmp(entry->id.data, id.data, id.size) == 0) {
            return entry;
        }
        at = (at + 1) & (p->capacity - 1);
    }
    pending_entry *entry = &p->entries[at];
    void *payload = NULL;
    bool present = vd_hnsw_get(engine, id, NULL, &payload) == VD_OK;
    *entry = (pending_entry){.id = id, .hash = hash, .present = present, .payload = present ? payload : NULL};
    p->count++;
    return entry;
}
