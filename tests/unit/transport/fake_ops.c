/*
 * fake_ops.c - see fake_ops.h. It defines the four functions of ops.h itself, so the real ones stay out of the program.
 *
 * Threading: one mutex guards everything below.
 */
#include "unit/transport/fake_ops.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "vectord/v1/vectord.pb-c.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned adds, deletes, at_gate;
static bool gate_open = true;
static bool is_ready = true;

unsigned fake_adds(void) {
    pthread_mutex_lock(&mutex);
    unsigned n = adds;
    pthread_mutex_unlock(&mutex);
    return n;
}

unsigned fake_deletes(void) {
    pthread_mutex_lock(&mutex);
    unsigned n = deletes;
    pthread_mutex_unlock(&mutex);
    return n;
}

void fake_reset(void) {
    pthread_mutex_lock(&mutex);
    adds = 0;
    deletes = 0;
    at_gate = 0;
    gate_open = true;
    is_ready = true;
    pthread_mutex_unlock(&mutex);
}

void fake_gate(bool open) {
    pthread_mutex_lock(&mutex);
    gate_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

void fake_ready(bool ready) {
    pthread_mutex_lock(&mutex);
    is_ready = ready;
    pthread_mutex_unlock(&mutex);
}

bool fake_wait_at_gate(unsigned count) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    pthread_mutex_lock(&mutex);
    int result = 0;
    while (at_gate < count && result == 0) {
        result = pthread_cond_timedwait(&changed, &mutex, &until);
    }
    bool there = at_gate >= count;
    pthread_mutex_unlock(&mutex);
    return there;
}

static bool named(bytes name, const char *text) {
    return bytes_equal(name, bytes_str(text));
}

static bytes bytes_of_pb(ProtobufCBinaryData d) {
    return bytes_of(d.data, d.len);
}

static ProtobufCBinaryData pb_of(bytes b) {
    return (ProtobufCBinaryData){.len = b.size, .data = (uint8_t *)(uintptr_t)b.data};
}

static vd_status check_name(const ops_context *ctx, bytes name, vd_error *err) {
    (void)ctx;
    return named(name, "missing") ? vd_fail(err, VD_NOT_FOUND, NULL, "not found") : VD_OK;
}

/* Names that stand for a failure. */
static vd_status fail_by_name(bytes name, vd_error *err) {
    if (named(name, "internal")) {
        return vd_fail(err, VD_INTERNAL, NULL, "a secret: /etc/shadow");
    }
    if (named(name, "violation")) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "items[3].vector", "items[3]: dim mismatch (index=3, got=2)");
    }
    if (named(name, "loading")) {
        vd_fail(err, VD_UNAVAILABLE, NULL, "index is loading (40%%)");
        err->retry_after_s = 7;
        return VD_UNAVAILABLE;
    }
    if (named(name, "full")) {
        return vd_fail(err, VD_DISK_FULL, NULL, "disk full");
    }
    return VD_OK;
}

#define HANDLER(name)                                                                                                  \
    static vd_status name(const ops_context *ctx, op_call *call, const ProtobufCMessage *message,                      \
                          ProtobufCMessage **reply, vd_error *err)
#define REPLY(Type, type)                                                                                              \
    Vectord__V1__##Type *out = arena_alloc(call->arena, sizeof *out);                                                  \
    vectord__v1__##type##__init(out);                                                                                  \
    *reply = &out->base

HANDLER(get_index) {
    (void)ctx;
    const Vectord__V1__GetIndexRequest *in = (const void *)message;
    vd_status status = fail_by_name(bytes_of_pb(in->name), err);
    if (status) {
        return status;
    }
    REPLY(GetIndexResponse, get_index_response);
    out->state = in->name; /* tells what name arrived */
    if (named(bytes_of_pb(in->name), "thread")) {
        char *text = arena_alloc(call->arena, 32);
        snprintf(text, 32, "thread %ld", (long)gettid());
        out->state = pb_of(bytes_str(text));
    }
    return VD_OK;
}

HANDLER(create_index) {
    (void)ctx;
    const Vectord__V1__CreateIndexRequest *in = (const void *)message;
    if (named(bytes_of_pb(in->name), "taken")) {
        return vd_fail(err, VD_ALREADY_EXISTS, "name", "already exists");
    }
    REPLY(CreateIndexResponse, create_index_response);
    out->length = in->dimension;
    return VD_OK;
}

HANDLER(delete_index) {
    (void)ctx;
    (void)message;
    (void)err;
    pthread_mutex_lock(&mutex);
    deletes++;
    pthread_mutex_unlock(&mutex);
    REPLY(DeleteIndexResponse, delete_index_response);
    return VD_OK;
}

HANDLER(add_items) {
    (void)ctx;
    const Vectord__V1__AddItemsRequest *in = (const void *)message;
    vd_status status = fail_by_name(bytes_of_pb(in->name), err);
    if (status) {
        return status;
    }
    pthread_mutex_lock(&mutex);
    adds++;
    if (named(bytes_of_pb(in->name), "gate")) {
        at_gate++;
        pthread_cond_broadcast(&changed);
        while (!gate_open) {
            pthread_cond_wait(&changed, &mutex);
        }
        at_gate--;
    }
    pthread_mutex_unlock(&mutex);
    REPLY(AddItemsResponse, add_items_response);
    out->added = (uint32_t)in->n_items;
    return VD_OK;
}

/* One hit: its id is the request id, its distance the number of floats. "many": a reply of about 4 MiB. */
HANDLER(search) {
    (void)ctx;
    const Vectord__V1__SearchRequest *in = (const void *)message;
    vd_status status = fail_by_name(bytes_of_pb(in->name), err);
    if (status) {
        return status;
    }
    bool many = named(bytes_of_pb(in->name), "many");
    REPLY(SearchResponse, search_response);
    out->n_results = many ? 4096 : 1;
    out->results = arena_calloc(call->arena, out->n_results, sizeof *out->results);
    char *pad = arena_calloc(call->arena, 1, 1024);
    memset(pad, 'x', 1024);
    for (size_t i = 0; i < out->n_results; i++) {
        Vectord__V1__Hit *hit = arena_alloc(call->arena, sizeof *hit);
        vectord__v1__hit__init(hit);
        hit->id = many ? pb_of(bytes_of(pad, 1024)) : pb_of(call->request_id);
        hit->distance = (double)in->n_vector;
        out->results[i] = hit;
    }
    return VD_OK;
}

static bool search_is_long(const ops_context *ctx, const ProtobufCMessage *message) {
    (void)ctx;
    return named(bytes_of_pb(((const Vectord__V1__SearchRequest *)(const void *)message)->name), "long");
}

HANDLER(health) {
    (void)ctx;
    (void)message;
    (void)err;
    REPLY(HealthResponse, health_response);
    pthread_mutex_lock(&mutex);
    out->ready = is_ready;
    pthread_mutex_unlock(&mutex);
    out->indexes = 3;
    out->loading = out->ready ? 0 : 2;
    return VD_OK;
}

#define SERVICE "/vectord.v1.VectorService/"
static const op_row rows[] = {
    {"CreateIndex", SERVICE "CreateIndex", "POST", "/index", 201, OP_MUTATES,
     &vectord__v1__create_index_request__descriptor, &vectord__v1__create_index_response__descriptor, create_index,
     NULL, NULL},
    {"GetIndex", SERVICE "GetIndex", "GET", "/index/{name}", 200, OP_IDEMPOTENT,
     &vectord__v1__get_index_request__descriptor, &vectord__v1__get_index_response__descriptor, get_index, NULL,
     check_name},
    {"DeleteIndex", SERVICE "DeleteIndex", "DELETE", "/index/{name}", 204, OP_MUTATES | OP_BLOCKS,
     &vectord__v1__delete_index_request__descriptor, &vectord__v1__delete_index_response__descriptor, delete_index,
     NULL, check_name},
    {"AddItems", SERVICE "AddItems", "POST", "/index/{name}/add", 200, OP_MUTATES | OP_BLOCKS,
     &vectord__v1__add_items_request__descriptor, &vectord__v1__add_items_response__descriptor, add_items, NULL,
     check_name},
    {"Search", SERVICE "Search", "POST", "/index/{name}/search", 200, OP_IDEMPOTENT,
     &vectord__v1__search_request__descriptor, &vectord__v1__search_response__descriptor, search, search_is_long,
     check_name},
    {"Health", SERVICE "Health", "GET", "=/health", 200, OP_IDEMPOTENT, &vectord__v1__health_request__descriptor,
     &vectord__v1__health_response__descriptor, health, NULL, NULL},
};

const op_row *ops_table(size_t *count) {
    *count = sizeof rows / sizeof rows[0];
    return rows;
}

const op_row *ops_find(const char *method, size_t method_size) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strlen(rows[i].method) == method_size && memcmp(rows[i].method, method, method_size) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

bool ops_blocks(const ops_context *ctx, const op_row *op, const ProtobufCMessage *request) {
    return (op->flags & OP_BLOCKS) || (op->is_long && op->is_long(ctx, request));
}

vd_status ops_dispatch(const ops_context *ctx, const op_row *op, op_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage **reply, vd_error *err) {
    return op->handler(ctx, call, request, reply, err);
}

bool fake_server_start(fake_server *s, unsigned workers, unsigned capacity, const http_options *http,
                       const nng_options *nng) {
    *s = (fake_server){0};
    s->metrics = metrics_new();
    if (!s->metrics || work_queue_new(workers, capacity, &s->queue) != VD_OK) {
        return false;
    }
    s->shared = (transport_shared){.ops = &s->ops, .queue = s->queue, .metrics = s->metrics};
    vd_error err;
    if (http && http_gateway_start(&s->shared, http, &s->http, &err) != VD_OK) {
        return false;
    }
    if (nng && nng_rep_start(&s->shared, nng, &s->nng, &err) != VD_OK) {
        return false;
    }
    s->port = s->http ? http_gateway_port(s->http, 0) : 0;
    return true;
}

void fake_server_stop(fake_server *s) {
    fake_gate(true);
    http_gateway_stop(s->http, 5000);
    nng_rep_stop(s->nng, 5000);
    work_queue_free(s->queue);
    metrics_free(s->metrics);
    *s = (fake_server){0};
}
