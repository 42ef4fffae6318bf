/*
 * requests.c - see requests.h.
 */
#include "requests.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/vectors.h"
#include "vectord/v1/vectord.pb-c.h"

static bool no_memory(void) {
    fputs("out of memory\n", stderr);
    return false;
}

bool matrix_read(const char *path, size_t rows_max, matrix *out) {
    vectors v;
    vd_error err;
    if (vectors_open_npy(path, &v, &err) != VD_OK) {
        fprintf(stderr, "%s\n", err.text);
        return false;
    }
    out->columns = v.dimension;
    out->rows = v.count < rows_max ? (size_t)v.count : rows_max;
    out->values = malloc(out->rows * v.dimension * sizeof(float) + 1);
    bool fine = out->values || no_memory();
    for (size_t i = 0; fine && i < out->rows; i++) {
        bool more;
        if (vectors_next(&v, out->values + i * v.dimension, &more, &err) != VD_OK) {
            fprintf(stderr, "%s\n", err.text);
            fine = false;
        }
    }
    vectors_close(&v);
    if (!fine) {
        matrix_free(out);
    }
    return fine;
}

void matrix_free(matrix *m) {
    free(m->values);
    m->values = NULL;
}

int32_t *truth_read(const char *path, size_t *rows, size_t *columns) {
    FILE *file = NULL;
    vd_error err;
    npy_header header;
    int32_t *out = NULL;
    if (vectors_open_file(path, &file, &err) != VD_OK || npy_read_header(file, path, &header, &err) != VD_OK) {
        fprintf(stderr, "%s\n", err.text);
        goto close;
    }
    if (header.kind != NPY_I4 || header.rows > 1000000 || header.columns > 1000) {
        fprintf(stderr, "%s: is not a table of row numbers\n", path);
        goto close;
    }
    *rows = (size_t)header.rows;
    *columns = (size_t)header.columns;
    size_t count = *rows * *columns;
    out = malloc(count * sizeof *out + 1);
    for (size_t i = 0; out && i < count; i++) {
        uint8_t word[4];
        if (fread(word, 1, 4, file) != 4) {
            fprintf(stderr, "%s: cut short\n", path);
            free(out);
            out = NULL;
            break;
        }
        out[i] = (int32_t)get_u32le(word);
    }
close:
    if (file) {
        fclose(file);
    }
    return out;
}

/* ---- making requests ---- */

static bool add_http(request_set *set, const char *host_port, const char *index, const char *verb, const buffer *body) {
    buffer b;
    buffer_init(&b, 0);
    buffer_printf(
        &b,
        "POST /vectors/index/%s/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "\r\n",
        index, verb, host_port, body->size);
    buffer_put(&b, body->data, body->size);
    if (b.failed || body->failed) {
        buffer_fini(&b);
        return no_memory();
    }
    set->requests[set->count++] = (load_request){b.data, b.size};
    return true;
}

static bool add_nng(request_set *set, const char *method, const ProtobufCMessage *message, uint64_t number) {
    size_t payload_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *payload = malloc(payload_bytes + 1);
    uint8_t id[16] = "bench-service-";
    id[14] = (uint8_t)(number >> 8);
    id[15] = (uint8_t)number;
    if (!payload) {
        return no_memory();
    }
    protobuf_c_message_pack(message, payload);
    Vectord__V1__RpcRequest rpc = VECTORD__V1__RPC_REQUEST__INIT;
    rpc.method = (ProtobufCBinaryData){strlen(method), (uint8_t *)(uintptr_t)method};
    rpc.payload = (ProtobufCBinaryData){payload_bytes, payload};
    rpc.timeout_ms = 60000;
    if (number > 0) {
        rpc.request_id = (ProtobufCBinaryData){sizeof id, id};
    }
    size_t size = LOAD_NNG_HEAD + vectord__v1__rpc_request__get_packed_size(&rpc);
    uint8_t *data = malloc(size);
    if (data) {
        vectord__v1__rpc_request__pack(&rpc, data + LOAD_NNG_HEAD);
        set->requests[set->count++] = (load_request){data, size};
    }
    free(payload);
    return data || no_memory();
}

static void put_vector(buffer *b, const float *values, uint32_t count) {
    buffer_put_str(b, "[");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            buffer_put_str(b, ",");
        }
        json_put_float(b, values[i]);
    }
    buffer_put_str(b, "]");
}

static bool make_room(request_set *set, size_t count) {
    set->count = 0;
    set->requests = calloc(count, sizeof *set->requests);
    return set->requests || no_memory();
}

bool requests_search(load_kind kind, const char *host_port, const char *index, const matrix *queries,
                     request_set *out) {
    if (!make_room(out, queries->rows)) {
        return false;
    }
    for (size_t i = 0; i < queries->rows; i++) {
        float *values = queries->values + i * queries->columns;
        bool fine;
        if (kind == LOAD_HTTP) {
            buffer body;
            buffer_init(&body, 0);
            buffer_put_str(&body, "{\"vector\":");
            put_vector(&body, values, queries->columns);
            buffer_put_str(&body, ",\"k\":10}");
            fine = add_http(out, host_port, index, "search", &body);
            buffer_fini(&body);
        } else {
            Vectord__V1__SearchRequest message = VECTORD__V1__SEARCH_REQUEST__INIT;
            message.name = (ProtobufCBinaryData){strlen(index), (uint8_t *)(uintptr_t)index};
            message.n_vector = queries->columns;
            message.vector = values;
            message._k_case = VECTORD__V1__SEARCH_REQUEST___K_K;
            message.k = 10;
            fine = add_nng(out, "/vectord.v1.VectorService/Search", &message.base, 0);
        }
        if (!fine) {
            requests_free(out);
            return false;
        }
    }
    return true;
}

static bool add_http_batch(request_set *out, const char *host_port, const char *index, const matrix *base, size_t first,
                           size_t count) {
    buffer body;
    buffer_init(&body, 0);
    buffer_put_str(&body, "{\"items\":[");
    for (size_t i = first; i < first + count; i++) {
        buffer_printf(&body, "%s{\"id\":\"v%zu\",\"vector\":", i > first ? "," : "", i);
        put_vector(&body, base->values + i * base->columns, base->columns);
        buffer_put_str(&body, "}");
    }
    buffer_put_str(&body, "]}");
    bool fine = add_http(out, host_port, index, "add", &body);
    buffer_fini(&body);
    return fine;
}

static bool add_nng_batch(request_set *out, const char *index, const matrix *base, size_t first, size_t count) {
    Vectord__V1__Item *items = calloc(count, sizeof *items);
    Vectord__V1__Item **list = calloc(count, sizeof(Vectord__V1__Item *));
    char(*ids)[24] = calloc(count, sizeof *ids);
    bool fine = items && list && ids;
    for (size_t i = 0; fine && i < count; i++) {
        vectord__v1__item__init(&items[i]);
        int length = snprintf(ids[i], sizeof ids[i], "v%zu", first + i);
        items[i].id = (ProtobufCBinaryData){(size_t)length, (uint8_t *)ids[i]};
        items[i].n_vector = base->columns;
        items[i].vector = base->values + (first + i) * base->columns;
        list[i] = &items[i];
    }
    if (fine) {
        Vectord__V1__AddItemsRequest message = VECTORD__V1__ADD_ITEMS_REQUEST__INIT;
        message.name = (ProtobufCBinaryData){strlen(index), (uint8_t *)(uintptr_t)index};
        message.n_items = count;
        message.items = list;
        fine = add_nng(out, "/vectord.v1.VectorService/AddItems", &message.base, out->count + 1);
    } else {
        no_memory();
    }
    free(ids);
    free(list);
    free(items);
    return fine;
}

bool requests_add(load_kind kind, const char *host_port, const char *index, const matrix *base, size_t batch,
                  request_set *out) {
    if (!make_room(out, base->rows / batch + 1)) {
        return false;
    }
    for (size_t first = 0; first < base->rows; first += batch) {
        size_t count = base->rows - first < batch ? base->rows - first : batch;
        bool fine = kind == LOAD_HTTP ? add_http_batch(out, host_port, index, base, first, count)
                                      : add_nng_batch(out, index, base, first, count);
        if (!fine) {
            requests_free(out);
            return false;
        }
    }
    return true;
}

void requests_free(request_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        free(set->requests[i].data);
    }
    free(set->requests);
    memset(set, 0, sizeof *set);
}

/* ---- reading answers ---- */

typedef void (*visit_fn)(void *arg, const char *id, size_t id_size);

static bool visit_json(const uint8_t *body, size_t size, visit_fn visit, void *arg) {
    arena a;
    json_reader r;
    bytes key;
    bytes id;
    bool more;
    arena_init(&a, NULL, 0);
    json_reader_init(&r, body, size, &a);
    if (json_begin_object(&r)) {
        while (json_next_key(&r, &key, &more) && more) {
            if (!bytes_equal(key, bytes_str("results"))) {
                json_skip(&r, NULL);
                continue;
            }
            bool another;
            json_begin_array(&r);
            while (json_next_element(&r, &another) && another) {
                bool member;
                json_begin_object(&r);
                while (json_next_key(&r, &key, &member) && member) {
                    if (!bytes_equal(key, bytes_str("id"))) {
                        json_skip(&r, NULL);
                    } else if (json_read_string(&r, &id)) {
                        visit(arg, (const char *)id.data, id.size);
                    }
                }
            }
        }
    }
    arena_fini(&a);
    return !r.fault;
}

static bool visit_rpc(const uint8_t *body, size_t size, visit_fn visit, void *arg) {
    Vectord__V1__RpcResponse *rpc = vectord__v1__rpc_response__unpack(NULL, size, body);
    if (!rpc) {
        return false;
    }
    Vectord__V1__SearchResponse *reply =
        vectord__v1__search_response__unpack(NULL, rpc->payload.len, rpc->payload.data);
    for (size_t i = 0; reply && i < reply->n_results; i++) {
        visit(arg, (const char *)reply->results[i]->id.data, reply->results[i]->id.len);
    }
    bool fine = reply != NULL;
    if (reply) {
        vectord__v1__search_response__free_unpacked(reply, NULL);
    }
    vectord__v1__rpc_response__free_unpacked(rpc, NULL);
    return fine;
}

bool answer_ids(load_kind kind, const uint8_t *body, size_t size, visit_fn visit, void *arg) {
    return kind == LOAD_HTTP ? visit_json(body, size, visit, arg) : visit_rpc(body, size, visit, arg);
}
