/*
 * raw.c - calls with a payload that somebody else has encoded.
 */
#include <stdlib.h>
#include <string.h>

#include "client_int.h"

static vd_status encode(vd_client *client, const vd_client_raw_request *raw, nng_msg **out, vd_error *err) {
    if (!raw->method || (!raw->payload && raw->payload_bytes > 0)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, raw->method ? "payload" : "method", "no %s",
                       raw->method ? "payload" : "method");
    }
    if (raw->timeout_ms > VD_TIMEOUT_MAX_MS) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "timeout_ms", "a time limit is at most %d ms", VD_TIMEOUT_MAX_MS);
    }
    uint8_t fresh[CLIENT_REQUEST_ID_BYTES];
    client_request request = {.method = raw->method, .timeout_ms = raw->timeout_ms};
    if (raw->request_id) {
        request.request_id = bytes_of(raw->request_id, raw->request_id_bytes);
    } else if (raw->write) {
        vd_status status = client_request_id(fresh, err);
        if (status != VD_OK) {
            return status;
        }
        request.request_id = bytes_of(fresh, sizeof fresh);
    }
    uint8_t *payload = NULL;
    vd_status status = client_envelope(client, &request, raw->payload_bytes, out, &payload, err);
    if (status == VD_OK && raw->payload_bytes > 0) {
        memcpy(payload, raw->payload, raw->payload_bytes);
    }
    return status;
}

vd_status vd_client_call_raw(vd_client *client, const vd_client_raw_request *request, vd_client_reply *reply,
                             vd_error *err) {
    nng_msg *msg = NULL;
    vd_status status = encode(client, request, &msg, err);
    if (status != VD_OK) {
        return status;
    }
    client_reply answer;
    status = client_call_wait(client, msg, request->timeout_ms, &answer, err);
    if (status == VD_OK) {
        reply->payload = answer.payload.data;
        reply->payload_bytes = answer.payload.size;
        reply->owner = answer.msg;
    }
    return status;
}

void vd_client_reply_free(vd_client_reply *reply) {
    if (reply->owner) {
        nng_msg_free(reply->owner);
    }
    memset(reply, 0, sizeof *reply);
}

typedef struct raw_job {
    vd_client_raw_fn done;
    void *arg;
} raw_job;

static void answered(void *arg, vd_status status, client_reply *reply, const vd_error *err) {
    raw_job *job = arg;
    job->done(job->arg, status, reply->payload.data, reply->payload.size, status == VD_OK ? NULL : err);
    free(job);
}

vd_status vd_client_call_raw_async(vd_client *client, const vd_client_raw_request *request, vd_client_raw_fn done,
                                   void *arg, vd_error *err) {
    raw_job *job = calloc(1, sizeof *job);
    if (!job) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    job->done = done;
    job->arg = arg;
    nng_msg *msg = NULL;
    vd_status status = encode(client, request, &msg, err);
    if (status == VD_OK) {
        status = client_call_start(client, msg, request->timeout_ms, answered, job, err);
    }
    if (status != VD_OK) {
        free(job);
    }
    return status;
}
