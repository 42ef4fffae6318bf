/*
 * storaged.c - the object daemon as an objstore: opening it, getting, removing, setting aside.
 *
 * "Missing" is status 404 and nothing else, never the text of a body. A body counts only when it is whole: libcurl compares its
 * length, and where the ETag is a SHA-256 (storaged's always is) the bytes are hashed again here.
 *
 * Threading: `mutex` guards the places for puts and what is known of the store, and is not held over a call; the client is thread-safe; everything else is fixed once
 * the store is open.
 */
#include "store/storaged.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "store/object_key.h"
#include "store/storaged_int.h"

#define ASIDE_MAX 1000u

/* ---- keys and answers ---- */

vd_status storaged_target(const http_store *s, const char *route, const char *key, char out[TARGET_MAX],
                          vd_error *err) {
    char whole[sizeof s->prefix + VD_OBJECT_KEY_MAX_BYTES + 1];
    vd_status status = object_key_check(bytes_str(key), err); /* by itself too: a prefix would hide a "/" in front */
    int size = status == VD_OK ? snprintf(whole, sizeof whole, "%s%s", s->prefix, key) : 0;
    if (status == VD_OK) {
        status = object_key_check(bytes_of(whole, (size_t)size), err);
    }
    if (status != VD_OK) {
        return status;
    }
    size_t used = (size_t)snprintf(out, TARGET_MAX, "/storage/%s/", route);
    if (!object_key_to_url(bytes_of(whole, (size_t)size), out + used, TARGET_MAX - used)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "key %.200s is too long", key);
    }
    return VD_OK;
}

vd_status storaged_refused(const http_store *s, const http_answer *a, const char *what, const char *key,
                           vd_error *err) {
    vd_status status = a->status == 404   ? VD_NOT_FOUND
                       : a->status == 412 ? VD_ALREADY_EXISTS
                       : a->status == 413 ? VD_TOO_LARGE
                       : a->status == 507 ? VD_DISK_FULL
                       : a->status == 400 ? VD_INVALID_ARGUMENT
                                          : VD_INTERNAL;
    char line[HTTP_ANSWER_LINE];
    http_answer_line(a, line);
    return vd_fail(err, status, NULL, "%s %.100s: %s answers %d: %.100s", what, key, http_client_url(s->client),
                   a->status, line);
}

bool storaged_is_sum(const char *etag) {
    uint8_t sum[CHECKSUM_BYTES];
    return hex_decode(etag, strlen(etag), sum, sizeof sum);
}

static bool is_success(int status) {
    return status == 200 || status == 204;
}

void storaged_take_place(http_store *s, storaged_place place) {
    pthread_mutex_lock(&s->mutex);
    while (s->used[place] == PLACES_EACH) {
        pthread_cond_wait(&s->free, &s->mutex);
    }
    s->used[place]++;
    pthread_mutex_unlock(&s->mutex);
}

void storaged_give_place(http_store *s, storaged_place place) {
    pthread_mutex_lock(&s->mutex);
    s->used[place]--;
    pthread_cond_broadcast(&s->free);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- get ---- */

static void release_blob(objstore_blob *blob) {
    free(blob->owner);
    blob->owner = NULL;
    blob->data = NULL;
    blob->size = 0;
}

static vd_status check_whole(const http_answer *a, const char *key, vd_error *err) {
    uint8_t sum[CHECKSUM_BYTES];
    char hex[CHECKSUM_HEX_BYTES];
    if (!storaged_is_sum(a->etag)) {
        return VD_OK;
    }
    if (!checksum_of(a->body.data, a->body.size, sum)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "read %.200s: out of memory", key);
    }
    hex_encode(sum, sizeof sum, hex);
    return strcmp(hex, a->etag) == 0
               ? VD_OK
               : vd_fail(err, VD_DATA_LOSS, NULL, "read %.200s: its bytes are not those of its ETag", key);
}

static vd_status http_get(objstore *face, const char *key, objstore_blob *out, vd_error *err) {
    const http_store *s = (const http_store *)face;
    char target[TARGET_MAX];
    vd_status status = storaged_target(s, "get", key, target, err);
    if (status != VD_OK) {
        return status;
    }
    const http_call call = {.method = "GET", .target = target, .answer_max = VD_OBJECT_VECTORS_MAX_BYTES};
    http_answer answer;
    http_answer_init(&answer);
    status = http_client_call(s->client, &call, &answer, NULL, err);
    if (status == VD_OK && answer.status != 200) {
        status = storaged_refused(s, &answer, "read", key, err);
    }
    if (status == VD_OK) {
        status = check_whole(&answer, key, err);
    }
    if (status == VD_OK && !answer.body.data && !buffer_reserve(&answer.body, 1)) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "read %.200s: out of memory", key);
    }
    if (status == VD_OK) {
        *out = (objstore_blob){
            .data = answer.body.data, .size = answer.body.size, .release = release_blob, .owner = answer.body.data};
        buffer_init(&answer.body, 0); /* the blob's now: buffers are malloc's */
    }
    http_answer_fini(&answer);
    return status;
}

/* ---- remove ---- */

static vd_status http_remove(objstore *face, const char *key, vd_error *err) {
    const http_store *s = (const http_store *)face;
    char target[TARGET_MAX];
    vd_status status = storaged_target(s, "delete", key, target, err);
    if (status != VD_OK) {
        return status;
    }
    const http_call call = {.method = "DELETE", .target = target};
    http_answer answer;
    http_answer_init(&answer);
    status = http_client_call(s->client, &call, &answer, NULL, err);
    if (status == VD_OK && !is_success(answer.status) && answer.status != 404) {
        status = storaged_refused(s, &answer, "remove", key, err);
    }
    http_answer_fini(&answer);
    return status;
}

/* A copy under another key, then the object goes: it is there twice for a moment, never not at all. */
static vd_status http_set_aside(objstore *face, const char *key, vd_error *err) {
    http_store *s = (http_store *)face;
    objstore_blob blob = {0};
    vd_status status = http_get(face, key, &blob, err);
    if (status != VD_OK) {
        return status;
    }
    status = VD_ALREADY_EXISTS;
    for (unsigned n = 1; status == VD_ALREADY_EXISTS && n <= ASIDE_MAX; n++) {
        char aside[VD_OBJECT_KEY_MAX_BYTES + 32];
        int size = snprintf(aside, sizeof aside, "%s" ASIDE_MARK "%u", key, n);
        status = size > 0 && (size_t)size < sizeof aside
                     ? storaged_put_whole(s, aside, PUT_IF_ABSENT, bytes_of(blob.data, blob.size), err)
                     : vd_fail(err, VD_INVALID_ARGUMENT, NULL, "key %.200s is too long", key);
    }
    objstore_blob_release(&blob);
    return status == VD_OK ? http_remove(face, key, err) : status;
}

/* ---- opening ---- */

static void http_close(objstore *face) {
    http_store *s = (http_store *)face;
    if (s->client) {
        http_client_cancel(s->client);
        http_client_free(s->client);
    }
    pthread_cond_destroy(&s->free);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

static const objstore_vtable vtable = {
    .kind = "storaged",
    .remote = true,
    .get = http_get,
    .put_begin = storaged_put_begin,
    .put_write = storaged_put_write,
    .put_commit = storaged_put_commit,
    .put_abort = storaged_put_abort,
    .remove = http_remove,
    .set_aside = http_set_aside,
    .list = storaged_list,
    .log_create = storaged_log_create,
    .log_append = storaged_log_append,
    .log_sync = storaged_log_sync,
    .log_close = storaged_log_close,
    .close = http_close,
};

static vd_status set_prefix(http_store *s, const char *prefix, vd_error *err) {
    size_t size = prefix ? strlen(prefix) : 0;
    if (size == 0) {
        return VD_OK;
    }
    vd_status status = object_key_check(bytes_of(prefix, size), err);
    if (status == VD_OK && size > VD_STORE_PREFIX_MAX_BYTES) {
        status = vd_fail(err, VD_INVALID_ARGUMENT, NULL, "the store's prefix has more than %d bytes",
                         VD_STORE_PREFIX_MAX_BYTES);
    }
    if (status == VD_OK) {
        snprintf(s->prefix, sizeof s->prefix, "%s%s", prefix, prefix[size - 1] == '/' ? "" : "/");
    }
    return status;
}

/* Puts a key of our own twice if absent: the second one must be refused. */
static vd_status probe(http_store *s, vd_error *err) {
    uint8_t number[8];
    char key[sizeof PROBE_PREFIX + 2 * sizeof number];
    if (getrandom(number, sizeof number, 0) != (ssize_t)sizeof number) {
        return vd_fail(err, VD_INTERNAL, NULL, "no random bytes");
    }
    memcpy(key, PROBE_PREFIX, sizeof PROBE_PREFIX - 1);
    hex_encode(number, sizeof number, key + sizeof PROBE_PREFIX - 1);
    vd_status first = storaged_put_whole(s, key, PUT_IF_ABSENT, bytes_str("first"), err);
    if (first != VD_OK) {
        return first;
    }
    vd_error ignored;
    vd_status second = storaged_put_whole(s, key, PUT_IF_ABSENT, bytes_str("second"), err);
    (void)http_remove(&s->face, key, &ignored);
    if (second == VD_OK) {
        return vd_fail(err, VD_FAILED_PRECONDITION, NULL,
                       "the store at %s does not honour If-None-Match: two writers would overwrite each other unseen",
                       http_client_url(s->client));
    }
    return second == VD_ALREADY_EXISTS ? VD_OK : second;
}

static vd_status explain(const http_store *s, vd_status status, vd_error *err) {
    vd_error cause = err ? *err : (vd_error){0};
    if (status == VD_UNAVAILABLE) {
        return vd_fail(err, status, NULL, "%.200s; start storaged there, or correct [store] url", cause.text);
    }
    if (status == VD_NOT_FOUND || status == VD_INTERNAL || status == VD_ALREADY_EXISTS || status == VD_DATA_LOSS) {
        return vd_fail(err, VD_FAILED_PRECONDITION, NULL,
                       "what answers at %s is no object daemon that can be used: %.200s", http_client_url(s->client),
                       cause.text);
    }
    return status;
}

vd_status storaged_prove(http_store *s, vd_error *err) {
    pthread_mutex_lock(&s->mutex);
    bool proved = s->proved;
    pthread_mutex_unlock(&s->mutex);
    if (proved) {
        return VD_OK;
    }
    vd_status status = probe(s, err); /* two at a time do no harm */
    if (status != VD_OK) {
        return explain(s, status, err);
    }
    pthread_mutex_lock(&s->mutex);
    s->proved = true;
    pthread_mutex_unlock(&s->mutex);
    return VD_OK;
}

vd_status objstore_open_storaged(const objstore_http_options *options, objstore **out, vd_error *err) {
    http_store *s = calloc(1, sizeof *s);
    if (!s) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    vd_error own;
    err = err ? err : &own;
    s->face.v = &vtable;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->free, NULL);
    s->put_buffer_bytes = options->put_buffer_bytes ? options->put_buffer_bytes : VD_STORE_PUT_BUFFER_BYTES;
    const http_client_options client = {.url = options->url,
                                        .connect_ms = options->connect_ms,
                                        .stall_s = options->stall_s,
                                        .retry_ms = options->retry_ms};
    vd_status status = set_prefix(s, options->prefix, err);
    if (status == VD_OK) {
        status = http_client_new(&client, &s->client, err);
    }
    if (status == VD_OK) {
        status = storaged_prove(s, err);
    }
    if (status == VD_UNAVAILABLE) {
        log_event(LOG_WARN, "the object store does not answer yet", "error=%s", err->text);
    } else if (status != VD_OK) {
        http_close(&s->face);
        return status;
    }
    *out = &s->face;
    return VD_OK;
}
