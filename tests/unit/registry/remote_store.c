/* remote_store.c - see remote_store.h. */
#include "unit/registry/remote_store.h"

#include <stdlib.h>
#include <string.h>

typedef struct remote {
    objstore face;
    objstore *inner;
    remote_control *control;
} remote;

struct objstore_put {
    remote *r;
    objstore_put *inner;
};

struct objstore_log {
    remote *r;
    char key[512];
    buffer data;
    bool sealed;
};

static remote *of(objstore *s) {
    return (remote *)s;
}

static vd_status check(const remote *r, vd_error *err) {
    return atomic_load(&r->control->away) ? vd_fail(err, VD_UNAVAILABLE, NULL, "connection refused") : VD_OK;
}

static vd_status get(objstore *s, const char *key, objstore_blob *out, vd_error *err) {
    vd_status status = check(of(s), err);
    return status == VD_OK ? of(s)->inner->v->get(of(s)->inner, key, out, err) : status;
}

static vd_status put_begin(objstore *s, const char *key, bool if_absent, objstore_put **out, vd_error *err) {
    vd_status status = check(of(s), err);
    if (status != VD_OK) {
        return status;
    }
    objstore_put *put = calloc(1, sizeof *put);
    put->r = of(s);
    status = put->r->inner->v->put_begin(put->r->inner, key, if_absent, &put->inner, err);
    if (status != VD_OK) {
        free(put);
        return status;
    }
    *out = put;
    return VD_OK;
}

static vd_status put_write(objstore_put *put, const void *data, size_t size, vd_error *err) {
    vd_status status = check(put->r, err);
    return status == VD_OK ? put->r->inner->v->put_write(put->inner, data, size, err) : status;
}

static void put_abort(objstore_put *put) {
    put->r->inner->v->put_abort(put->inner);
    free(put);
}

static vd_status put_commit(objstore_put *put, vd_error *err) {
    vd_status status = check(put->r, err);
    if (status != VD_OK) {
        put_abort(put);
        return status;
    }
    status = put->r->inner->v->put_commit(put->inner, err);
    free(put);
    return status;
}

static vd_status remove_key(objstore *s, const char *key, vd_error *err) {
    vd_status status = check(of(s), err);
    return status == VD_OK ? of(s)->inner->v->remove(of(s)->inner, key, err) : status;
}

static vd_status set_aside(objstore *s, const char *key, vd_error *err) {
    vd_status status = check(of(s), err);
    return status == VD_OK ? of(s)->inner->v->set_aside(of(s)->inner, key, err) : status;
}

static vd_status list(objstore *s, const char *prefix, vd_status (*visit)(void *arg, const char *key, uint64_t size),
                      void *arg, vd_error *err) {
    vd_status status = check(of(s), err);
    return status == VD_OK ? of(s)->inner->v->list(of(s)->inner, prefix, visit, arg, err) : status;
}

static vd_status log_create(objstore *s, const char *key, objstore_log **out, vd_error *err) {
    (void)err;
    objstore_log *log = calloc(1, sizeof *log);
    log->r = of(s);
    strncpy(log->key, key, sizeof log->key - 1);
    buffer_init(&log->data, 0);
    *out = log;
    return VD_OK;
}

static vd_status log_append(objstore_log *log, const void *data, size_t size, vd_error *err) {
    if (log->sealed) {
        return vd_fail(err, VD_INTERNAL, NULL, "appended to an object that is put already");
    }
    buffer_put(&log->data, data, size);
    return VD_OK;
}

/* Someone else's object of that key is ALREADY_EXISTS; our own, from a put whose answer was lost, a success. */
static vd_status put_whole(objstore_log *log, vd_error *err) {
    objstore *inner = log->r->inner;
    objstore_put *put;
    vd_status status = inner->v->put_begin(inner, log->key, true, &put, err);
    if (status == VD_OK) {
        status = inner->v->put_write(put, log->data.data, log->data.size, err);
        if (status == VD_OK) {
            status = inner->v->put_commit(put, err);
        } else {
            inner->v->put_abort(put);
        }
    }
    if (status == VD_ALREADY_EXISTS) {
        objstore_blob blob = {0};
        if (inner->v->get(inner, log->key, &blob, NULL) == VD_OK) {
            bool same = blob.size == log->data.size && memcmp(blob.data, log->data.data, blob.size) == 0;
            objstore_blob_release(&blob);
            return same ? VD_OK : status;
        }
    }
    return status;
}

static vd_status log_sync(objstore_log *log, vd_error *err) {
    log->sealed = true;
    vd_status status = check(log->r, err);
    if (status == VD_OK) {
        status = put_whole(log, err);
        atomic_fetch_add(&log->r->control->puts, 1);
    }
    if (status == VD_OK && atomic_load(&log->r->control->lost_answers) > 0) {
        atomic_fetch_sub(&log->r->control->lost_answers, 1);
        status = vd_fail(err, VD_UNAVAILABLE, NULL, "no answer");
    }
    return status;
}

static void log_close(objstore_log *log) {
    buffer_fini(&log->data);
    free(log);
}

static void close_store(objstore *s) {
    objstore_close(of(s)->inner);
    free(s);
}

objstore *remote_store_new(objstore *inner, remote_control *control) {
    static const objstore_vtable table = {
        .kind = "remote",
        .remote = true,
        .get = get,
        .put_begin = put_begin,
        .put_write = put_write,
        .put_commit = put_commit,
        .put_abort = put_abort,
        .remove = remove_key,
        .set_aside = set_aside,
        .list = list,
        .log_create = log_create,
        .log_append = log_append,
        .log_sync = log_sync,
        .log_close = log_close,
        .close = close_store,
    };
    remote *r = calloc(1, sizeof *r);
    *r = (remote){.face = {&table}, .inner = inner, .control = control};
    return &r->face;
}
