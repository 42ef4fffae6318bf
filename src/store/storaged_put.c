/*
 * storaged_put.c - puts and logs of the store over HTTP.
 *
 * A put gathers its first bytes. If that is all there is, it goes out as one request that can be repeated; a larger body streams
 * from there on, one buffer at a time, and until the first buffer has been taken it can still begin anew (a store that is busy
 * says so before it takes anything). A stream that breaks later fails: whoever made it makes it again.
 *
 * A conditional put whose answer was lost may find itself when it is repeated: 412, and the bytes that are there are ours. So
 * every body is hashed on the way, and the ETag that is stored decides.
 *
 * No put is without a condition. One that replaces says what it replaces (If-Match): a put that was given up here may still be on
 * its way through a slow disk there, and must not arrive after its successor and undo it. The journal between two frames is gone
 * by then.
 *
 * Threading: one put or log belongs to one thread at a time. Waiting for a place (storaged_int.h) holds no lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/storaged_int.h"

#define CONDITION_MAX 128u /* "If-Match: " and an ETag in quotes */

struct objstore_put {
    http_store *store;
    char *key;
    bool if_absent;
    char condition[CONDITION_MAX]; /* once something has been sent */
    buffer held;                   /* not handed over yet; at most put_buffer_bytes */
    checksum *sum;
    bool has_place;
    http_upload *upload; /* NULL: nothing has been sent */
};

struct objstore_log {
    http_store *store;
    char *key;
    buffer records;
    bool sealed;
    vd_status broken; /* OK, or what every later call answers */
};

/* ---- what is stored ---- */

/* What the key holds now; answer->status 0 when that cannot be told. */
static vd_status look(const http_store *s, const char *key, http_answer *answer, vd_error *err) {
    char target[TARGET_MAX];
    vd_status status = storaged_target(s, "get", key, target, err);
    const http_call call = {.method = "HEAD", .target = target};
    return status == VD_OK ? http_client_call(s->client, &call, answer, NULL, err) : status;
}

/* Does the key hold exactly these bytes (OK), or does it not (`otherwise`)? UNAVAILABLE: that cannot be told, and then it must not
 * be called anything. Only to be asked when nobody else would have put them there. */
static vd_status holds(const http_store *s, const char *key, const uint8_t sum[CHECKSUM_BYTES], vd_status otherwise,
                       vd_error *err) {
    char hex[CHECKSUM_HEX_BYTES];
    hex_encode(sum, CHECKSUM_BYTES, hex);
    http_answer answer;
    vd_error failed;
    http_answer_init(&answer);
    vd_status status = look(s, key, &answer, &failed);
    if (status == VD_OK) {
        status = answer.status == 200 && strcmp(answer.etag, hex) == 0 ? VD_OK : otherwise;
    } else if (err) {
        *err = failed;
    }
    http_answer_fini(&answer);
    return status;
}

/* The header that a put goes with. From a store without ETags there is nothing to tell one object from the next. */
static vd_status choose_condition(const http_store *s, const char *key, bool if_absent, char out[CONDITION_MAX],
                                  vd_error *err) {
    snprintf(out, CONDITION_MAX, "If-None-Match: *");
    if (if_absent) {
        return VD_OK;
    }
    http_answer answer;
    http_answer_init(&answer);
    vd_status status = look(s, key, &answer, err);
    if (status == VD_UNAVAILABLE && answer.status == 500) { /* damaged: it is there, and this put heals it */
        snprintf(out, CONDITION_MAX, "If-Match: *");
        status = VD_OK;
    } else if (status == VD_OK && answer.status == 200) {
        snprintf(out, CONDITION_MAX, answer.etag[0] ? "If-Match: \"%s\"" : "If-Match: *", answer.etag);
    } else if (status == VD_OK && answer.status != 404) {
        status = storaged_refused(s, &answer, "write", key, err);
    }
    http_answer_fini(&answer);
    return status;
}

/* A 412 that stands. */
static vd_status overtaken(vd_status status, bool if_absent, const char *key, vd_error *err) {
    if (status != VD_ALREADY_EXISTS || if_absent) {
        return status;
    }
    return vd_fail(err, VD_UNAVAILABLE, NULL, "write %.200s: it was changed meanwhile by somebody else", key);
}

static vd_status judge(const http_store *s, const http_answer *a, const char *key, const uint8_t sum[CHECKSUM_BYTES],
                       vd_error *err) {
    char hex[CHECKSUM_HEX_BYTES];
    if (a->status != 200 && a->status != 204) {
        return storaged_refused(s, a, "write", key, err);
    }
    hex_encode(sum, CHECKSUM_BYTES, hex);
    if (storaged_is_sum(a->etag) && strcmp(a->etag, hex) != 0) {
        return vd_fail(err, VD_UNAVAILABLE, NULL, "write %.200s: other bytes have arrived at %s than were sent", key,
                       http_client_url(s->client));
    }
    return VD_OK;
}

vd_status storaged_put_whole(http_store *s, const char *key, storaged_rule rule, bytes body, vd_error *err) {
    bool if_absent = rule != PUT_REPLACES;
    char target[TARGET_MAX], condition[CONDITION_MAX];
    uint8_t sum[CHECKSUM_BYTES];
    vd_status status = storaged_target(s, "put", key, target, err);
    if (status == VD_OK && !checksum_of(body.data, body.size, sum)) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "write %.200s: out of memory", key);
    }
    if (status == VD_OK) {
        status = choose_condition(s, key, if_absent, condition, err);
    }
    if (status != VD_OK) {
        return status;
    }
    const http_call call = {.method = "PUT", .target = target, .headers = {condition}, .body = body};
    http_answer answer;
    http_answer_init(&answer);
    bool uncertain = rule == PUT_ONCE;
    storaged_take_place(s, PLACE_WHOLE);
    status = http_client_call(s->client, &call, &answer, &uncertain, err);
    storaged_give_place(s, PLACE_WHOLE);
    if (status == VD_OK) {
        status = judge(s, &answer, key, sum, err);
    }
    if (status == VD_ALREADY_EXISTS && uncertain) { /* perhaps our own, whose answer was lost */
        status = holds(s, key, sum, status, err);
    }
    http_answer_fini(&answer);
    return overtaken(status, if_absent, key, err);
}

/* ---- puts ---- */

vd_status storaged_put_begin(objstore *face, const char *key, bool if_absent, objstore_put **out, vd_error *err) {
    http_store *s = (http_store *)face;
    char target[TARGET_MAX];
    vd_status status = storaged_target(s, "put", key, target, err);
    if (status != VD_OK) {
        return status;
    }
    objstore_put *put = calloc(1, sizeof *put);
    if (put) {
        put->key = strdup(key);
        put->sum = checksum_new();
        buffer_init(&put->held, 0);
    }
    if (!put || !put->key || !put->sum) {
        if (put) {
            storaged_put_abort(put);
        }
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "write %.200s: out of memory", key);
    }
    put->store = s;
    put->if_absent = if_absent;
    *out = put;
    return VD_OK;
}

void storaged_put_abort(objstore_put *put) {
    http_upload_free(put->upload); /* breaks it off: the store keeps nothing of a body that is cut */
    if (put->has_place) {
        storaged_give_place(put->store, PLACE_STREAM);
    }
    checksum_free(put->sum);
    buffer_fini(&put->held);
    free(put->key);
    free(put);
}

/* The store's own word is better than "broken pipe". */
static vd_status explain(const objstore_put *put, vd_status status, uint32_t *retry_after_s, vd_error *err) {
    const http_answer *a = http_upload_answer(put->upload);
    *retry_after_s = a->retry_after_s;
    if (status == VD_UNAVAILABLE && a->status && !http_status_may_pass(a->status)) {
        status = storaged_refused(put->store, a, "write", put->key, err);
    }
    return overtaken(status, put->if_absent, put->key, err);
}

/* The first buffer. Until it is taken nothing is lost by beginning again. */
static vd_status start_stream(objstore_put *put, vd_error *err) {
    char target[TARGET_MAX];
    vd_status status = storaged_target(put->store, "put", put->key, target, err);
    if (status != VD_OK) {
        return status;
    }
    const http_call call = {.method = "PUT", .target = target, .headers = {put->condition}};
    http_client *client = put->store->client;
    storaged_take_place(put->store, PLACE_STREAM);
    put->has_place = true;
    int64_t began_ms = clock_now_ms();
    for (unsigned tries = 1;; tries++) {
        uint32_t retry_after_s = 0;
        status = choose_condition(put->store, put->key, put->if_absent, put->condition, err);
        if (status == VD_OK) {
            status = http_upload_begin(client, &call, &put->upload, err);
        }
        if (status != VD_OK) {
            return status;
        }
        status = http_upload_push(put->upload, put->held.data, put->held.size, err);
        if (status == VD_OK) {
            buffer_clear(&put->held);
            return VD_OK;
        }
        status = explain(put, status, &retry_after_s, err);
        http_upload_free(put->upload);
        put->upload = NULL;
        if (status != VD_UNAVAILABLE || !http_client_pause(client, began_ms, tries, retry_after_s)) {
            return status;
        }
    }
}

static vd_status hand_over(objstore_put *put, vd_error *err) {
    if (!put->upload) {
        return start_stream(put, err);
    }
    vd_status status = http_upload_push(put->upload, put->held.data, put->held.size, err);
    buffer_clear(&put->held);
    uint32_t ignored;
    return status == VD_OK ? VD_OK : explain(put, status, &ignored, err);
}

vd_status storaged_put_write(objstore_put *put, const void *data, size_t size, vd_error *err) {
    const uint8_t *p = data;
    if (!checksum_add(put->sum, data, size)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "write %.200s: out of memory", put->key);
    }
    while (size > 0) {
        size_t room = put->store->put_buffer_bytes - put->held.size;
        if (room == 0) { /* only when more comes: what fits the buffer goes out whole */
            vd_status status = hand_over(put, err);
            if (status != VD_OK) {
                return status;
            }
            continue;
        }
        size_t part = size < room ? size : room;
        buffer_put(&put->held, p, part);
        if (put->held.failed) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "write %.200s: out of memory", put->key);
        }
        p += part;
        size -= part;
    }
    return VD_OK;
}

/* The whole body has gone out. */
static vd_status judge_stream(const objstore_put *put, vd_status status, const uint8_t sum[CHECKSUM_BYTES],
                              vd_error *err) {
    const http_answer *a = http_upload_answer(put->upload);
    if (status == VD_OK && http_status_may_pass(a->status)) {
        char line[HTTP_ANSWER_LINE];
        http_answer_line(a, line);
        return vd_fail(err, VD_UNAVAILABLE, NULL, "write %.200s: %s answers %d: %.100s", put->key,
                       http_client_url(put->store->client), a->status, line);
    }
    uint32_t ignored;
    bool lost = status != VD_OK;
    status = lost ? explain(put, status, &ignored, err) : judge(put->store, a, put->key, sum, err);
    /* a stream that found itself, or whose answer was lost, has arrived when its bytes are there */
    bool uncertain =
        lost ? status == VD_UNAVAILABLE : status == VD_ALREADY_EXISTS && http_upload_uncertain(put->upload);
    if (uncertain) {
        status = holds(put->store, put->key, sum, status, err);
    }
    return overtaken(status, put->if_absent, put->key, err);
}

static vd_status end_stream(objstore_put *put, vd_error *err) {
    uint8_t sum[CHECKSUM_BYTES];
    if (!checksum_end(put->sum, sum)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "write %.200s: out of memory", put->key);
    }
    vd_status status = put->held.size ? hand_over(put, err) : VD_OK;
    return status == VD_OK ? judge_stream(put, http_upload_end(put->upload, err), sum, err) : status;
}

vd_status storaged_put_commit(objstore_put *put, vd_error *err) {
    vd_status status = put->upload
                           ? end_stream(put, err)
                           : storaged_put_whole(put->store, put->key, put->if_absent ? PUT_IF_ABSENT : PUT_REPLACES,
                                                bytes_of(put->held.data, put->held.size), err);
    storaged_put_abort(put);
    return status;
}

/* ---- logs ---- */

vd_status storaged_log_create(objstore *face, const char *key, objstore_log **out, vd_error *err) {
    http_store *s = (http_store *)face;
    char target[TARGET_MAX];
    vd_status status = storaged_target(s, "put", key, target, err);
    if (status != VD_OK) {
        return status;
    }
    objstore_log *log = calloc(1, sizeof *log);
    char *copy = strdup(key);
    if (!log || !copy) {
        free(log);
        free(copy);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "journal %.200s: out of memory", key);
    }
    *log = (objstore_log){.store = s, .key = copy, .broken = VD_OK};
    buffer_init(&log->records, 0);
    *out = log;
    return VD_OK;
}

static vd_status still_broken(const objstore_log *log, vd_error *err) {
    return vd_fail(err, log->broken, NULL, "journal %.200s is closed to writes after a failure", log->key);
}

vd_status storaged_log_append(objstore_log *log, const void *data, size_t size, vd_error *err) {
    if (log->broken != VD_OK) {
        return still_broken(log, err);
    }
    if (log->sealed) {
        return vd_fail(err, VD_FAILED_PRECONDITION, NULL, "journal %.200s is sealed", log->key);
    }
    buffer_put(&log->records, data, size);
    if (log->records.failed) {
        log->broken = VD_OUT_OF_MEMORY;
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "journal %.200s: out of memory", log->key);
    }
    return VD_OK;
}

vd_status storaged_log_sync(objstore_log *log, vd_error *err) {
    if (log->broken != VD_OK) {
        return still_broken(log, err);
    }
    if (log->sealed) {
        return VD_OK;
    }
    vd_status status =
        storaged_put_whole(log->store, log->key, PUT_ONCE, bytes_of(log->records.data, log->records.size), err);
    log->sealed = status == VD_OK;
    log->broken = status;
    buffer_fini(&log->records);
    buffer_init(&log->records, 0);
    return status;
}

void storaged_log_close(objstore_log *log) {
    if (log) {
        buffer_fini(&log->records);
        free(log->key);
        free(log);
    }
}
