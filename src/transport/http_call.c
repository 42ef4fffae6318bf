/*
 * http_call.c - from the body to the rendered reply: in the loop when that is quick, in a worker when the operation waits for
 * a disk or takes long. Suspending and resuming a connection costs more than a plain search, so it is never done for one.
 */
#include "base/clock.h"
#include "codec/codec.h"
#include "transport/admission.h"
#include "transport/http_int.h"

#define INLINE_BODY_BYTES (64u * 1024u) /* decoding more than this takes about a millisecond: not in a loop */

static vd_status decode(http_request *r) {
    const op_row *op = r->match.op;
    arena *a = &r->scratch->arena;
    bytes body = bytes_of(r->scratch->in.data, r->scratch->in.size);
    vd_status status;
    if (r->body_form == HTTP_MEDIA_PROTO) {
        status = codec_proto_decode(op->request, body, a, &r->message, &r->err);
    } else {
        status = codec_json_decode(op->request, body, a, &r->message, &r->err);
    }
    if (!status && r->match.field) {
        status = codec_set_string(r->message, r->match.field, r->path_field, &r->err);
    }
    return status;
}

static void execute(http_request *r) {
    op_call call = {.arena = &r->scratch->arena};
    if (r->head.idempotency_key) {
        call.request_id = bytes_str(r->head.idempotency_key);
    }
    ProtobufCMessage *reply = NULL;
    r->status = ops_dispatch(r->gateway->shared.ops, r->match.op, &call, r->message, &reply, &r->err);
    if (r->status) {
        http_reply_error(r);
    } else {
        http_reply_message(r, reply);
    }
}

/* The reply is rendered: back to the loop. The request must not be touched afterwards. */
static void end_job(http_request *r) {
    http_gateway *g = r->gateway;
    r->phase = REQUEST_DONE;
    MHD_resume_connection(r->connection);
    admission_give_job();
    http_gateway_give_job(g);
}

static void job(void *arg) {
    http_request *r = arg;
    http_gateway *g = r->gateway;
    pthread_mutex_lock(&g->mutex);
    bool hurry = g->hurry;
    pthread_mutex_unlock(&g->mutex);
    if (hurry) {
        r->status = vd_fail(&r->err, VD_UNAVAILABLE, NULL, "shutting down");
    } else if (!r->message) {
        r->status = decode(r);
    }
    if (r->status) {
        http_reply_error(r);
    } else {
        execute(r);
    }
    end_job(r);
}

static void refuse_busy(http_request *r, const char *text) {
    r->reject = CALL_REJECT_BUSY;
    r->status = vd_fail(&r->err, VD_UNAVAILABLE, NULL, "%s", text);
    r->err.retry_after_s = 1;
    http_reply_error(r);
}

/* true when the reply is rendered, false when a worker will do that. */
static bool defer(http_request *r) {
    http_gateway *g = r->gateway;
    if (!admission_take_job()) {
        refuse_busy(r, "busy: too many requests are waiting, try again");
        return true;
    }
    if (!http_gateway_take_job(g)) {
        admission_give_job();
        refuse_busy(r, "shutting down");
        return true;
    }
    r->phase = REQUEST_WORKING;
    MHD_suspend_connection(r->connection); /* first: the worker may be done before push returns */
    if (!work_queue_push(g->shared.queue, job, r)) {
        refuse_busy(r, "busy: too many requests are waiting, try again");
        end_job(r);
    }
    return false;
}

bool http_call_run(http_request *r) {
    const op_row *op = r->match.op;
    if ((op->flags & OP_BLOCKS) || r->scratch->in.size > INLINE_BODY_BYTES) {
        return defer(r);
    }
    r->status = decode(r);
    if (r->status) {
        http_reply_error(r);
        return true;
    }
    if (ops_blocks(r->gateway->shared.ops, op, r->message)) {
        return defer(r);
    }
    execute(r);
    return true;
}
