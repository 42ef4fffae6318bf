/*
 * index.c - creating, listing, reading and deleting indexes, and the server's health: small messages, one at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "client_int.h"
#include "vectord/v1/vectord.pb-c.h"

static ProtobufCBinaryData borrow(const char *text) {
    return (ProtobufCBinaryData){text ? strlen(text) : 0, (uint8_t *)(uintptr_t)text};
}

/* Sends one message and waits. `write` gives it a request id. */
static vd_status call(vd_client *client, const char *method, const ProtobufCMessage *message, bool write,
                      client_reply *reply, vd_error *err) {
    uint8_t request_id[CLIENT_REQUEST_ID_BYTES];
    client_request request = {.method = method};
    if (write) {
        vd_status status = client_request_id(request_id, err);
        if (status != VD_OK) {
            return status;
        }
        request.request_id = bytes_of(request_id, sizeof request_id);
    }
    nng_msg *msg = NULL;
    uint8_t *payload = NULL;
    vd_status status =
        client_envelope(client, &request, protobuf_c_message_get_packed_size(message), &msg, &payload, err);
    if (status != VD_OK) {
        return status;
    }
    protobuf_c_message_pack(message, payload);
    return client_call_wait(client, msg, 0, reply, err);
}

static vd_status check_name(const char *name, vd_error *err) {
    return name && name[0] != '\0' ? VD_OK : vd_fail(err, VD_INVALID_ARGUMENT, "name", "no index name");
}

vd_status vd_client_create_index(vd_client *client, const vd_client_index_options *options, vd_error *err) {
    vd_status status = check_name(options->name, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__CreateIndexRequest message = VECTORD__V1__CREATE_INDEX_REQUEST__INIT;
    message.name = borrow(options->name);
    message.dimension = options->dimension;
    if (options->m) {
        message._m_case = VECTORD__V1__CREATE_INDEX_REQUEST___M_M;
        message.m = options->m;
    }
    if (options->ef_search) {
        message._ef_search_case = VECTORD__V1__CREATE_INDEX_REQUEST___EF_SEARCH_EF_SEARCH;
        message.ef_search = options->ef_search;
    }
    if (options->ef_construction) {
        message._ef_construction_case = VECTORD__V1__CREATE_INDEX_REQUEST___EF_CONSTRUCTION_EF_CONSTRUCTION;
        message.ef_construction = options->ef_construction;
    }
    if (options->distance) {
        message._distance_case = VECTORD__V1__CREATE_INDEX_REQUEST___DISTANCE_DISTANCE;
        message.distance = borrow(options->distance);
    }
    client_reply reply;
    status = call(client, CLIENT_METHOD("CreateIndex"), &message.base, true, &reply, err);
    if (status == VD_OK) {
        nng_msg_free(reply.msg);
    }
    return status;
}

vd_status vd_client_list_indexes(vd_client *client, vd_client_names **out, vd_error *err) {
    Vectord__V1__ListIndexesRequest message = VECTORD__V1__LIST_INDEXES_REQUEST__INIT;
    client_reply reply;
    vd_status status = call(client, CLIENT_METHOD("ListIndexes"), &message.base, false, &reply, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__ListIndexesResponse *list =
        vectord__v1__list_indexes_response__unpack(NULL, reply.payload.size, reply.payload.data);
    if (!list) {
        status = vd_fail(err, VD_INTERNAL, NULL, "the answer is not a ListIndexesResponse");
        goto free_reply;
    }
    size_t size = 0;
    bool fits = size_mul(list->n_names, sizeof(char *), &size) && size_add(size, sizeof(vd_client_names), &size);
    for (size_t i = 0; fits && i < list->n_names; i++) {
        fits = size_add(size, list->names[i].len + 1, &size);
    }
    vd_client_names *result = fits ? malloc(size) : NULL;
    if (!result) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        goto free_list;
    }
    const char **names = (const char **)(result + 1);
    char *text = (char *)(names + list->n_names);
    for (size_t i = 0; i < list->n_names; i++) {
        size_t length = list->names[i].len;
        if (length > 0) {
            memcpy(text, list->names[i].data, length);
        }
        text[length] = '\0';
        names[i] = text;
        text += length + 1;
    }
    result->count = list->n_names;
    result->names = names;
    *out = result;
free_list:
    vectord__v1__list_indexes_response__free_unpacked(list, NULL);
free_reply:
    nng_msg_free(reply.msg);
    return status;
}

void vd_client_names_free(vd_client_names *names) {
    free(names);
}

static void copy(char *out, size_t size, const ProtobufCBinaryData *text) {
    size_t length = text->len < size ? text->len : size - 1;
    if (length > 0) {
        memcpy(out, text->data, length);
    }
    out[length] = '\0';
}

vd_status vd_client_get_index(vd_client *client, const char *name, vd_client_index *out, vd_error *err) {
    vd_status status = check_name(name, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__GetIndexRequest message = VECTORD__V1__GET_INDEX_REQUEST__INIT;
    message.name = borrow(name);
    client_reply reply;
    status = call(client, CLIENT_METHOD("GetIndex"), &message.base, false, &reply, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__GetIndexResponse *index =
        vectord__v1__get_index_response__unpack(NULL, reply.payload.size, reply.payload.data);
    nng_msg_free(reply.msg);
    if (!index) {
        return vd_fail(err, VD_INTERNAL, NULL, "the answer is not a GetIndexResponse");
    }
    memset(out, 0, sizeof *out);
    if (index->params) {
        copy(out->name, sizeof out->name, &index->params->name);
        copy(out->distance, sizeof out->distance, &index->params->distance);
        out->dimension = index->params->dimension;
        out->m = index->params->m;
        out->ef_construction = index->params->ef_construction;
        out->ef_search = index->params->ef_search;
    }
    copy(out->state, sizeof out->state, &index->state);
    copy(out->reason, sizeof out->reason, &index->reason);
    copy(out->encoding, sizeof out->encoding, &index->encoding);
    out->length = index->length;
    out->load_progress = index->load_progress;
    out->ef_effective = index->ef_effective;
    out->calibrated_at = index->calibrated_at;
    out->calibrated_recall = index->calibrated_recall;
    out->memory_bytes = index->memory_bytes;
    out->journal_bytes = index->journal_bytes;
    out->sequence = index->sequence;
    out->optimized = index->optimized;
    vectord__v1__get_index_response__free_unpacked(index, NULL);
    return VD_OK;
}

vd_status vd_client_delete_index(vd_client *client, const char *name, vd_error *err) {
    vd_status status = check_name(name, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__DeleteIndexRequest message = VECTORD__V1__DELETE_INDEX_REQUEST__INIT;
    message.name = borrow(name);
    client_reply reply;
    status = call(client, CLIENT_METHOD("DeleteIndex"), &message.base, true, &reply, err);
    if (status == VD_OK) {
        nng_msg_free(reply.msg);
    }
    return status;
}

vd_status vd_client_health(vd_client *client, vd_client_server *out, vd_error *err) {
    Vectord__V1__HealthRequest message = VECTORD__V1__HEALTH_REQUEST__INIT;
    client_reply reply;
    vd_status status = call(client, CLIENT_METHOD("Health"), &message.base, false, &reply, err);
    if (status != VD_OK) {
        return status;
    }
    Vectord__V1__HealthResponse *health =
        vectord__v1__health_response__unpack(NULL, reply.payload.size, reply.payload.data);
    nng_msg_free(reply.msg);
    if (!health) {
        return vd_fail(err, VD_INTERNAL, NULL, "the answer is not a HealthResponse");
    }
    memset(out, 0, sizeof *out);
    copy(out->status, sizeof out->status, &health->status);
    copy(out->version, sizeof out->version, &health->version);
    out->ready = health->ready;
    out->indexes = health->indexes;
    out->loading = health->loading;
    out->quarantined = health->quarantined;
    out->items = health->items;
    out->uptime_seconds = health->uptime_seconds;
    out->durable = health->durable;
    vectord__v1__health_response__free_unpacked(health, NULL);
    return VD_OK;
}
