/*
 * metadata.c - an item's metadata: opaque JSON, kept byte for byte as one counted block that the engine carries as payload.
 *
 * Absent, null and empty all keep what is stored; an empty object clears it: an item has metadata or it has none, and one that
 * was given "{}" has none and shows none. White space around the value is dropped, everything inside comes back as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "registry/registry_int.h"

/* Escaped strings are unescaped into it while they are checked. */
#define CHECK_ARENA_BYTES (4u * VD_METADATA_MAX_BYTES)

index_payload *index_payload_new(bytes metadata) {
    index_payload *payload = malloc(sizeof *payload + metadata.size);
    if (payload) {
        atomic_init(&payload->refs, 1);
        payload->size = (uint32_t)metadata.size;
        memcpy(payload->data, metadata.data, metadata.size);
    }
    return payload;
}

void index_payload_retain(index_payload *payload) {
    if (payload) {
        atomic_fetch_add_explicit(&payload->refs, 1, memory_order_relaxed);
    }
}

void index_payload_release(void *context, void *p) {
    (void)context;
    index_payload *payload = p;
    if (payload && atomic_fetch_sub_explicit(&payload->refs, 1, memory_order_acq_rel) == 1) {
        free(payload);
    }
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_empty_object(bytes value) {
    if (value.size < 2 || value.data[0] != '{' || value.data[value.size - 1] != '}') {
        return false;
    }
    for (size_t i = 1; i < value.size - 1; i++) {
        if (!is_space(value.data[i])) {
            return false;
        }
    }
    return true;
}

metadata_rule index_metadata_rule(bytes raw, bytes *trimmed) {
    while (raw.size && is_space(raw.data[0])) {
        raw.data++;
        raw.size--;
    }
    while (raw.size && is_space(raw.data[raw.size - 1])) {
        raw.size--;
    }
    *trimmed = raw;
    if (!raw.data || raw.size == 0 || (raw.size == 4 && memcmp(raw.data, "null", 4) == 0)) {
        return METADATA_KEEP;
    }
    return is_empty_object(raw) ? METADATA_CLEAR : METADATA_SET;
}

vd_status index_metadata_check(bytes raw, metadata_rule *rule, bytes *trimmed, vd_error *err) {
    *rule = index_metadata_rule(raw, trimmed);
    if (*rule != METADATA_SET) {
        return VD_OK;
    }
    if (trimmed->size > VD_METADATA_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "metadata: at most %d bytes (got %zu)", VD_METADATA_MAX_BYTES,
                       trimmed->size);
    }
    _Static_assert(VD_METADATA_DEPTH_MAX == VD_JSON_DEPTH_MAX, "the reader's own depth limit is the one of metadata");
    arena scratch;
    arena_init(&scratch, NULL, CHECK_ARENA_BYTES);
    json_reader reader;
    json_reader_init(&reader, trimmed->data, trimmed->size, &scratch);
    vd_status status = VD_OK;
    if (!json_skip(&reader, NULL) || !json_at_end(&reader)) {
        status = json_fail(&reader, "metadata", err);
    }
    arena_fini(&scratch);
    return status;
}
