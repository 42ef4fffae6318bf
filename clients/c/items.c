/*
 * items.c - adding items: measuring, splitting, sending.
 *
 * A request holds at most VD_BODY_MAX_BYTES of payload and VD_BATCH_ITEMS_MAX items; what does not fit goes into the next
 * one. Items are measured and written by hand into the message itself, so that a batch of 64 MiB is not copied twice.
 * What the server says about "items[3]" of a later request is turned into the place in the caller's array.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "client_int.h"
#include "vectord/v1/vectord.pb-c.h"

static bool measure_item(const vd_client_item *item, uint32_t dimension, size_t *out) {
    Vectord__V1__Item message = VECTORD__V1__ITEM__INIT;
    message.id = (ProtobufCBinaryData){strlen(item->id), (uint8_t *)(uintptr_t)item->id};
    message.n_vector = dimension;
    message.vector = (float *)(uintptr_t)item->vector;
    if (item->metadata) {
        message._metadata_case = VECTORD__V1__ITEM___METADATA_METADATA;
        message.metadata = (ProtobufCBinaryData){strlen(item->metadata), (uint8_t *)(uintptr_t)item->metadata};
    }
    size_t size = vectord__v1__item__get_packed_size(&message);
    size_t head = 2; /* tag, and at least one byte of length */
    for (size_t rest = size; rest >= 0x80; rest >>= 7) {
        head++;
    }
    return size_add(size, head, out);
}

size_t vd_client_fit(const char *index, const vd_client_item *items, size_t count, uint32_t dimension) {
    size_t used = 16 + (index ? strlen(index) : 0); /* the name's field */
    size_t fits = 0;
    while (fits < count && fits < VD_BATCH_ITEMS_MAX) {
        size_t size;
        if (!items[fits].id || !items[fits].vector) {
            break;
        }
        if (!measure_item(&items[fits], dimension, &size) || !size_add(used, size, &used) || used > VD_BODY_MAX_BYTES) {
            break;
        }
        fits++;
    }
    return fits;
}

static vd_status check_items(const char *index, const vd_client_item *items, size_t count, uint32_t dimension,
                             vd_error *err) {
    if (!index || index[0] == '\0') {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "no index name");
    }
    if (!items || count == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "items", "no items");
    }
    if (dimension < VD_DIMENSION_MIN || dimension > VD_DIMENSION_MAX) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "dimension", "dimension must be %d..%d", VD_DIMENSION_MIN,
                       VD_DIMENSION_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (!items[i].id || !items[i].vector) {
            char field[48];
            snprintf(field, sizeof field, "items[%zu].%s", i, items[i].id ? "vector" : "id");
            return vd_fail(err, VD_INVALID_ARGUMENT, field, "%s is NULL", field);
        }
    }
    return VD_OK;
}

/* The message of one request with all `count` items, which must fit. */
static vd_status encode(vd_client *client, const char *index, const vd_client_item *items, size_t count,
                        uint32_t dimension, nng_msg **out, vd_error *err) {
    uint8_t request_id[CLIENT_REQUEST_ID_BYTES];
    vd_status status = client_request_id(request_id, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__Item *messages = calloc(count, sizeof *messages);
    Vectord__V1__Item **list = calloc(count, sizeof(Vectord__V1__Item *));
    if (!messages || !list) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        Vectord__V1__Item *message = &messages[i];
        vectord__v1__item__init(message);
        message->id = (ProtobufCBinaryData){strlen(items[i].id), (uint8_t *)(uintptr_t)items[i].id};
        message->n_vector = dimension;
        message->vector = (float *)(uintptr_t)items[i].vector;
        if (items[i].metadata) {
            message->_metadata_case = VECTORD__V1__ITEM___METADATA_METADATA;
            message->metadata =
                (ProtobufCBinaryData){strlen(items[i].metadata), (uint8_t *)(uintptr_t)items[i].metadata};
        }
        list[i] = message;
    }
    Vectord__V1__AddItemsRequest request = VECTORD__V1__ADD_ITEMS_REQUEST__INIT;
    request.name = (ProtobufCBinaryData){strlen(index), (uint8_t *)(uintptr_t)index};
    request.n_items = count;
    request.items = list;

    client_request call = {.method = CLIENT_METHOD("AddItems"), .request_id = bytes_of(request_id, sizeof request_id)};
    uint8_t *payload = NULL;
    status =
        client_envelope(client, &call, vectord__v1__add_items_request__get_packed_size(&request), out, &payload, err);
    if (status == VD_OK) {
        vectord__v1__add_items_request__pack(&request, payload);
    }
out:
    free(list);
    free(messages);
    return status;
}

static vd_status decode(bytes payload, vd_client_added *added, vd_error *err) {
    Vectord__V1__AddItemsResponse *reply = vectord__v1__add_items_response__unpack(NULL, payload.size, payload.data);
    if (!reply) {
        return vd_fail(err, VD_INTERNAL, NULL, "the answer is not an AddItemsResponse");
    }
    added->added += reply->added;
    added->length = reply->length;
    added->requests++;
    vectord__v1__add_items_response__free_unpacked(reply, NULL);
    return VD_OK;
}

/* "items[3]..." at the start of `text` becomes "items[3 + offset]...". */
static void shift_item(char *text, size_t size, size_t offset) {
    static const char prefix[] = "items[";
    if (strncmp(text, prefix, sizeof prefix - 1) != 0) {
        return;
    }
    char *end = NULL;
    uint64_t place = strtoumax(text + sizeof prefix - 1, &end, 10);
    if (*end != ']') {
        return;
    }
    char rest[sizeof((vd_error *)0)->text];
    snprintf(rest, sizeof rest, "%s", end);
    int used = snprintf(text, size, "%s%" PRIu64, prefix, place + offset);
    if (used > 0 && (size_t)used < size) {
        /* May cut the tail of a sentence that filled its buffer; that is what the buffer is for. */
        size_t room = size - (size_t)used - 1;
        size_t take = strnlen(rest, room);
        memcpy(text + used, rest, take);
        text[(size_t)used + take] = '\0';
    }
}

static vd_status fail_too_large(const char *index, const vd_client_item *item, size_t place, uint32_t dimension,
                                vd_error *err) {
    size_t size = 0;
    char field[48];
    (void)measure_item(item, dimension, &size);
    snprintf(field, sizeof field, "items[%zu]", place);
    return vd_fail(err, VD_TOO_LARGE, field, "%s: %zu bytes, and a request to %.64s is at most %u", field, size, index,
                   VD_BODY_MAX_BYTES);
}

vd_status vd_client_add_items(vd_client *client, const char *index, const vd_client_item *items, size_t count,
                              uint32_t dimension, vd_client_added *added, vd_error *err) {
    vd_client_added total = {0};
    vd_error reason;
    vd_status status = check_items(index, items, count, dimension, &reason);
    size_t done = 0;
    while (status == VD_OK && done < count) {
        size_t fits = vd_client_fit(index, items + done, count - done, dimension);
        if (fits == 0) {
            status = fail_too_large(index, &items[done], done, dimension, &reason);
            break;
        }
        nng_msg *msg = NULL;
        status = encode(client, index, items + done, fits, dimension, &msg, &reason);
        if (status != VD_OK) {
            break;
        }
        client_reply reply;
        status = client_call_wait(client, msg, 0, &reply, &reason);
        if (status == VD_OK) {
            status = decode(reply.payload, &total, &reason);
            nng_msg_free(reply.msg);
        } else {
            shift_item(reason.text, sizeof reason.text, done);
            shift_item(reason.field, sizeof reason.field, done);
        }
        done += fits;
    }
    if (added) {
        *added = total;
    }
    if (status != VD_OK && err) {
        *err = reason;
    }
    return status;
}

/* ---- without waiting ---- */

typedef struct add_job {
    vd_client_add_fn done;
    void *arg;
} add_job;

static void added_async(void *arg, vd_status status, client_reply *reply, const vd_error *err) {
    add_job *job = arg;
    vd_client_added added = {0};
    vd_error local;
    if (status == VD_OK) {
        status = decode(reply->payload, &added, &local);
        err = &local;
    }
    job->done(job->arg, status, &added, status == VD_OK ? NULL : err);
    free(job);
}

vd_status vd_client_add_items_async(vd_client *client, const char *index, const vd_client_item *items, size_t count,
                                    uint32_t dimension, vd_client_add_fn done, void *arg, vd_error *err) {
    vd_status status = check_items(index, items, count, dimension, err);
    if (status != VD_OK) {
        return status;
    }
    size_t fits = vd_client_fit(index, items, count, dimension);
    if (fits < count) {
        return fits == 0 ? fail_too_large(index, &items[0], 0, dimension, err)
                         : vd_fail(err, VD_TOO_LARGE, "items",
                                   "one request carries %zu of these %zu items: send them apart", fits, count);
    }
    add_job *job = calloc(1, sizeof *job);
    if (!job) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    job->done = done;
    job->arg = arg;
    nng_msg *msg = NULL;
    status = encode(client, index, items, count, dimension, &msg, err);
    if (status == VD_OK) {
        status = client_call_start(client, msg, 0, added_async, job, err);
    }
    if (status != VD_OK) {
        free(job);
    }
    return status;
}
