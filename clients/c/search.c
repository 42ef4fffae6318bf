/*
 * search.c - searching. The answer is decoded into one block: the hits first, then the text they point to.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "client_int.h"
#include "vectord/v1/vectord.pb-c.h"

static vd_status encode(vd_client *client, const vd_client_search_request *request, nng_msg **out, vd_error *err) {
    if (!request->index || request->index[0] == '\0') {
        return vd_fail(err, VD_INVALID_ARGUMENT, "name", "no index name");
    }
    if (request->vector && (request->dimension < VD_DIMENSION_MIN || request->dimension > VD_DIMENSION_MAX)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "dimension", "dimension must be %d..%d", VD_DIMENSION_MIN,
                       VD_DIMENSION_MAX);
    }
    if (!request->vector == !request->id) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "vector", "a search needs a vector or an id%s",
                       request->vector ? ", not both" : "");
    }
    Vectord__V1__SearchRequest message = VECTORD__V1__SEARCH_REQUEST__INIT;
    message.name = (ProtobufCBinaryData){strlen(request->index), (uint8_t *)(uintptr_t)request->index};
    if (request->vector) {
        message.n_vector = request->dimension;
        message.vector = (float *)(uintptr_t)request->vector;
    } else {
        message._id_case = VECTORD__V1__SEARCH_REQUEST___ID_ID;
        message.id = (ProtobufCBinaryData){strlen(request->id), (uint8_t *)(uintptr_t)request->id};
    }
    if (request->k) {
        message._k_case = VECTORD__V1__SEARCH_REQUEST___K_K;
        message.k = request->k > VD_K_MAX ? VD_K_MAX : (int32_t)request->k;
    }
    if (request->ef) {
        message._ef_case = VECTORD__V1__SEARCH_REQUEST___EF_EF;
        message.ef = request->ef;
    }
    if (request->exact) {
        message._exact_case = VECTORD__V1__SEARCH_REQUEST___EXACT_EXACT;
        message.exact = 1;
    }
    client_request call = {.method = CLIENT_METHOD("Search")};
    uint8_t *payload = NULL;
    vd_status status =
        client_envelope(client, &call, vectord__v1__search_request__get_packed_size(&message), out, &payload, err);
    if (status == VD_OK) {
        vectord__v1__search_request__pack(&message, payload);
    }
    return status;
}

static const char *put_text(char **at, const ProtobufCBinaryData *text) {
    const char *start = *at;
    if (text->len > 0) {
        memcpy(*at, text->data, text->len);
    }
    (*at)[text->len] = '\0';
    *at += text->len + 1;
    return start;
}

static bool has_metadata(const Vectord__V1__Hit *hit) {
    return hit->_metadata_case == VECTORD__V1__HIT___METADATA_METADATA;
}

/* Returns owned (free). */
static vd_status decode(bytes payload, vd_client_results **out, vd_error *err) {
    Vectord__V1__SearchResponse *reply = vectord__v1__search_response__unpack(NULL, payload.size, payload.data);
    if (!reply) {
        return vd_fail(err, VD_INTERNAL, NULL, "the answer is not a SearchResponse");
    }
    vd_status status = VD_OK;
    size_t size = 0;
    bool fits =
        size_mul(reply->n_results, sizeof(vd_client_hit), &size) && size_add(size, sizeof(vd_client_results), &size);
    for (size_t i = 0; fits && i < reply->n_results; i++) {
        const Vectord__V1__Hit *hit = reply->results[i];
        fits = size_add(size, hit->id.len + 1, &size) &&
               (!has_metadata(hit) || size_add(size, hit->metadata.len + 1, &size));
    }
    vd_client_results *results = fits ? malloc(size) : NULL;
    if (!results) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        goto out;
    }
    vd_client_hit *hits = (vd_client_hit *)(results + 1);
    char *text = (char *)(hits + reply->n_results);
    for (size_t i = 0; i < reply->n_results; i++) {
        const Vectord__V1__Hit *hit = reply->results[i];
        hits[i].id = put_text(&text, &hit->id);
        hits[i].distance = hit->distance;
        hits[i].score = hit->score;
        hits[i].metadata = has_metadata(hit) ? put_text(&text, &hit->metadata) : NULL;
    }
    results->count = reply->n_results;
    results->hits = hits;
    *out = results;
out:
    vectord__v1__search_response__free_unpacked(reply, NULL);
    return status;
}

vd_status vd_client_search(vd_client *client, const vd_client_search_request *request, vd_client_results **out,
                           vd_error *err) {
    nng_msg *msg = NULL;
    vd_status status = encode(client, request, &msg, err);
    if (status != VD_OK) {
        return status;
    }
    client_reply reply;
    status = client_call_wait(client, msg, 0, &reply, err);
    if (status != VD_OK) {
        return status;
    }
    status = decode(reply.payload, out, err);
    nng_msg_free(reply.msg);
    return status;
}

void vd_client_results_free(vd_client_results *results) {
    free(results);
}

/* ---- without waiting ---- */

typedef struct search_job {
    vd_client_search_fn done;
    void *arg;
} search_job;

static void found_async(void *arg, vd_status status, client_reply *reply, const vd_error *err) {
    search_job *job = arg;
    vd_client_results *results = NULL;
    vd_error local;
    if (status == VD_OK) {
        status = decode(reply->payload, &results, &local);
        err = &local;
    }
    job->done(job->arg, status, results, status == VD_OK ? NULL : err);
    free(results);
    free(job);
}

vd_status vd_client_search_async(vd_client *client, const vd_client_search_request *request, vd_client_search_fn done,
                                 void *arg, vd_error *err) {
    search_job *job = calloc(1, sizeof *job);
    if (!job) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    job->done = done;
    job->arg = arg;
    nng_msg *msg = NULL;
    vd_status status = encode(client, request, &msg, err);
    if (status == VD_OK) {
        status = client_call_start(client, msg, 0, found_async, job, err);
    }
    if (status != VD_OK) {
        free(job);
    }
    return status;
}
