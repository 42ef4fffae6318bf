/*
 * index_write.c - a write up to the moment it is queued: everything about it that does not depend on what the index holds is
 * checked and made here, on the writer's own thread and without a lock, so that the leader of a group has little left to do.
 *
 * Leaves to index_turn.c who goes first, and to index_commit.c everything that depends on applied and pending state.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "registry/registry_int.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "float arrays are journalled as they stand in memory");

/* What msgpack and our framing add at most, per item and per record. */
#define ITEM_OVERHEAD_BYTES   24u
#define RECORD_OVERHEAD_BYTES 160u

static vd_status item_fail(vd_error *err, vd_status status, size_t i, const char *part, const char *text) {
    char field[48];
    snprintf(field, sizeof field, "items[%zu]%s", i, part);
    return vd_fail(err, status, field, "items[%zu]: %s", i, text);
}

static vd_status check_id(bytes id, size_t i, const char *part, vd_error *err) {
    if (id.size == 0) {
        return item_fail(err, VD_INVALID_ARGUMENT, i, part, "empty id");
    }
    if (id.size > VD_ID_MAX_BYTES) {
        char text[64];
        snprintf(text, sizeof text, "id: at most %d bytes (got %zu)", VD_ID_MAX_BYTES, id.size);
        return item_fail(err, VD_INVALID_ARGUMENT, i, part, text);
    }
    if (memchr(id.data, 0, id.size)) {
        return item_fail(err, VD_INVALID_ARGUMENT, i, part, "id contains a NUL byte");
    }
    if (!utf8_valid(id.data, id.size)) {
        return item_fail(err, VD_INVALID_ARGUMENT, i, part, "id is not valid UTF-8");
    }
    return VD_OK;
}

static vd_status check_count(size_t count, const char *what, vd_error *err) {
    if (count == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, what, "%s must be non-empty", what);
    }
    if (count > VD_BATCH_ITEMS_MAX) {
        return vd_fail(err, VD_TOO_LARGE, what, "%s: at most %d in one batch (got %zu)", what, VD_BATCH_ITEMS_MAX,
                       count);
    }
    return VD_OK;
}

static vd_status op_init(index_op *op, journal_kind kind, size_t count, const index_write *how, vd_error *err) {
    *op = (index_op){.kind = kind,
                     .count = count,
                     .given = count,
                     .request_id = how->request_id,
                     .durability = how->durability,
                     .min_durability = how->min_durability};
    op->record_bytes = RECORD_OVERHEAD_BYTES + how->request_id.size;
    op->items = calloc(count, sizeof *op->items);
    if (op->items && kind == JOURNAL_ADD) {
        op->payloads = calloc(count, sizeof *op->payloads);
    }
    if (!op->items || (kind == JOURNAL_ADD && !op->payloads)) {
        free(op->items);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a batch of %zu items", count);
    }
    pthread_cond_init(&op->wake, NULL);
    return VD_OK;
}

static void op_fini(index_op *op) {
    if (op->payloads && !op->applied) {
        for (size_t i = 0; i < op->count; i++) {
            index_payload_release(NULL, op->payloads[i]);
        }
    }
    free(op->payloads);
    free(op->items);
    pthread_cond_destroy(&op->wake);
}

static vd_status prepare_item(const vd_index *index, index_op *op, const index_item *item, size_t i, vd_error *err) {
    vd_status status = check_id(item->id, i, ".id", err);
    if (status != VD_OK) {
        return status;
    }
    vd_error inner;
    char text[sizeof inner.text];
    if (item->vector_count != index->params.dimension) {
        snprintf(text, sizeof text, "dim mismatch (index=%u, got=%zu)", index->params.dimension, item->vector_count);
        return item_fail(err, VD_INVALID_ARGUMENT, i, ".vector", text);
    }
    status = vd_hnsw_validate(index->engine, item->vector, &inner);
    if (status != VD_OK) {
        return item_fail(err, status, i, ".vector", inner.text);
    }
    metadata_rule rule;
    bytes metadata;
    status = index_metadata_check(item->metadata, &rule, &metadata, &inner);
    if (status != VD_OK) {
        return item_fail(err, status, i, ".metadata", inner.text);
    }
    op->items[i] = (journal_item){
        .id = {(const char *)item->id.data, (uint32_t)item->id.size},
        .vector = (const uint8_t *)item->vector,
        .dimension = index->params.dimension,
        .metadata = rule == METADATA_KEEP ? (bytes){NULL, 0} : metadata,
    };
    if (rule == METADATA_SET) {
        op->payloads[i] = index_payload_new(metadata);
        if (!op->payloads[i]) {
            return item_fail(err, VD_OUT_OF_MEMORY, i, ".metadata", "no memory for the metadata");
        }
    }
    op->id_bytes += item->id.size;
    op->record_bytes +=
        item->id.size + (size_t)index->params.dimension * sizeof(float) + metadata.size + ITEM_OVERHEAD_BYTES;
    return VD_OK;
}

/* What every write needs, before anything of it is looked at. The levels in *how are made definite. */
static vd_status begin(const vd_index *index, const index_write *given, index_write *how, vd_error *err) {
    vd_status status = index_check_ready((vd_index *)index, err);
    *how = given ? *given : (index_write){0};
    if (status == VD_OK) {
        status = dedupe_check_id(how->request_id, err);
    }
    if (status != VD_OK) {
        return status;
    }
    const index_durability strongest = index->strongest;
    if (how->min_durability > strongest) {
        return vd_fail(err, VD_FAILED_PRECONDITION, "min_durability",
                       "min_durability: \"%s\" is more than this server has (\"%s\")",
                       index_durability_name(how->min_durability), index_durability_name(strongest));
    }
    if (how->durability == DURABILITY_DEFAULT || how->durability > strongest) {
        how->durability = strongest;
    }
    return VD_OK;
}

/* Runs a prepared op and hands its answer over. */
static vd_status run(vd_index *index, index_op *op, index_write_result *result, vd_error *err) {
    index_turn_write(index, op);
    index_request_tasks(index); /* also after a failure: then a save is wanted */
    if (op->status != VD_OK) {
        if (err) {
            *err = op->err;
        }
        return op->status;
    }
    if (result) {
        *result = (index_write_result){.affected = op->affected, .length = op->length};
        result->receipt.sequence = op->sequence;
        result->receipt.durability = op->reached;
        result->fell_short = op->reached < index->strongest;
        index_copy_epoch(index, result->receipt.epoch);
    }
    return VD_OK;
}

vd_status index_add(vd_index *index, const index_item *items, size_t count, const index_write *given,
                    index_write_result *result, vd_error *err) {
    index_write how;
    vd_status status = begin(index, given, &how, err);
    if (status == VD_OK) {
        status = check_count(count, "items", err);
    }
    if (status != VD_OK) {
        return status;
    }
    index_op op;
    status = op_init(&op, JOURNAL_ADD, count, &how, err);
    if (status != VD_OK) {
        return status;
    }
    for (size_t i = 0; status == VD_OK && i < count; i++) {
        status = prepare_item(index, &op, &items[i], i, err);
    }
    if (status == VD_OK) {
        status = run(index, &op, result, err);
    }
    op_fini(&op);
    return status;
}

vd_status index_delete_items(vd_index *index, const bytes *ids, size_t count, const index_write *given,
                             index_write_result *result, vd_error *err) {
    index_write how;
    vd_status status = begin(index, given, &how, err);
    if (status == VD_OK) {
        status = check_count(count, "ids", err);
    }
    for (size_t i = 0; status == VD_OK && i < count; i++) {
        status = check_id(ids[i], i, "", err);
    }
    if (status != VD_OK) {
        return status;
    }
    index_op op;
    status = op_init(&op, JOURNAL_DELETE, count, &how, err);
    if (status != VD_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        op.items[i].id = (vd_id){(const char *)ids[i].data, (uint32_t)ids[i].size};
        op.record_bytes += ids[i].size + ITEM_OVERHEAD_BYTES;
    }
    status = run(index, &op, result, err);
    op_fini(&op);
    return status;
}
