/*
 * codec_bench.c - microseconds per body of the codec, one thread, warm: the bodies that requests are made of.
 *
 *     bench_codec [rounds]      (default 2000 of each small body; large ones take fewer)
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vectord/v1/vectord.pb-c.h>

#include "base/clock.h"
#include "codec/codec.h"

enum { DIMENSION = 384, ITEMS = 500, HITS = 10 };

static uint64_t seed = 0x2545F4914F6CDD1Du;

/* Like an embedding's coordinate: a float32 around 0 with all its digits. */
static float coordinate(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return ((float)(seed >> 40) / 16777216.0f - 0.5f) * 0.2f;
}

typedef vd_status decode_fn(const ProtobufCMessageDescriptor *descriptor, bytes body, arena *a, ProtobufCMessage **out,
                            vd_error *err);
typedef void encode_fn(const ProtobufCMessage *message, buffer *out);

static void report(const char *what, int64_t ns, uint64_t rounds, size_t size) {
    double us = (double)ns / 1e3 / (double)rounds;
    printf("%-44s %10.2f us  %9zu bytes  %7.0f MB/s\n", what, us, size, (double)size / us);
}

/* The fastest of five runs: what the code costs, not what else the machine does. */
static void bench_decode(const char *what, decode_fn *decode, const ProtobufCMessageDescriptor *descriptor, bytes body,
                         uint64_t rounds) {
    int64_t best = INT64_MAX;
    arena a;
    arena_init(&a, NULL, 0);
    for (int run = 0; run < 5; run++) {
        int64_t start = clock_now_ns();
        for (uint64_t i = 0; i < rounds; i++) {
            ProtobufCMessage *message;
            vd_error err;
            if (decode(descriptor, body, &a, &message, &err)) {
                fprintf(stderr, "%s: %s\n", what, err.text);
                exit(1);
            }
            arena_reset(&a);
        }
        int64_t took = clock_now_ns() - start;
        best = took < best ? took : best;
    }
    arena_fini(&a);
    report(what, best, rounds, body.size);
}

static void bench_encode(const char *what, encode_fn *encode, const ProtobufCMessage *message, uint64_t rounds) {
    int64_t best = INT64_MAX;
    buffer out;
    buffer_init(&out, 0);
    for (int run = 0; run < 5; run++) {
        int64_t start = clock_now_ns();
        for (uint64_t i = 0; i < rounds; i++) {
            buffer_clear(&out);
            encode(message, &out);
        }
        int64_t took = clock_now_ns() - start;
        best = took < best ? took : best;
    }
    report(what, best, rounds, out.size);
    buffer_fini(&out);
}

static ProtobufCBinaryData text(char *value) {
    return (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
}

static void bench_adds(uint64_t rounds) {
    static float vectors[ITEMS][DIMENSION];
    static char ids[ITEMS][16];
    static Vectord__V1__Item items[ITEMS];
    static Vectord__V1__Item *pointers[ITEMS];
    char name[] = "articles", metadata[] = "{\"title\":\"On the origin of species\",\"year\":1859}";
    for (size_t i = 0; i < ITEMS; i++) {
        for (size_t k = 0; k < DIMENSION; k++) {
            vectors[i][k] = coordinate();
        }
        snprintf(ids[i], sizeof ids[i], "doc-%zu", i);
        vectord__v1__item__init(&items[i]);
        items[i].id = text(ids[i]);
        items[i].vector = vectors[i];
        items[i].n_vector = DIMENSION;
        items[i]._metadata_case = VECTORD__V1__ITEM___METADATA_METADATA;
        items[i].metadata = text(metadata);
        pointers[i] = &items[i];
    }
    Vectord__V1__AddItemsRequest add = VECTORD__V1__ADD_ITEMS_REQUEST__INIT;
    add.name = text(name);
    add.n_items = ITEMS;
    add.items = pointers;
    buffer json, proto, doubles;
    buffer_init(&json, 0);
    buffer_init(&proto, 0);
    buffer_init(&doubles, 0);
    codec_json_encode(&add.base, &json);
    codec_proto_encode(&add.base, &proto);
    buffer_put_str(&doubles, "{\"items\":[");
    for (size_t i = 0; i < ITEMS; i++) { /* as Python writes a float32 that it holds as a double: 17 digits */
        buffer_printf(&doubles, "%s{\"id\":\"%s\",\"vector\":[", i ? ", " : "", ids[i]);
        for (size_t k = 0; k < DIMENSION; k++) {
            buffer_printf(&doubles, "%s%.17g", k ? ", " : "", (double)vectors[i][k]);
        }
        buffer_put_str(&doubles, "]}");
    }
    buffer_put_str(&doubles, "]}");
    const ProtobufCMessageDescriptor *d = add.base.descriptor;
    bench_decode("AddItems 500 x 384, JSON, shortest floats", codec_json_decode, d, bytes_of(json.data, json.size),
                 rounds);
    bench_decode("AddItems 500 x 384, JSON, 17 digits", codec_json_decode, d, bytes_of(doubles.data, doubles.size),
                 rounds);
    bench_decode("AddItems 500 x 384, proto", codec_proto_decode, d, bytes_of(proto.data, proto.size), rounds);
    bench_encode("AddItems 500 x 384, to JSON", codec_json_encode, &add.base, rounds);
    bench_encode("AddItems 500 x 384, to proto", codec_proto_encode, &add.base, rounds);
    buffer_fini(&json);
    buffer_fini(&proto);
    buffer_fini(&doubles);
}

static void bench_search(uint64_t rounds) {
    float vector[DIMENSION];
    for (size_t k = 0; k < DIMENSION; k++) {
        vector[k] = coordinate();
    }
    Vectord__V1__SearchRequest search = VECTORD__V1__SEARCH_REQUEST__INIT;
    char name[] = "articles";
    search.name = text(name);
    search.vector = vector;
    search.n_vector = DIMENSION;
    search._k_case = VECTORD__V1__SEARCH_REQUEST___K_K;
    search.k = HITS;
    buffer json, proto;
    buffer_init(&json, 0);
    buffer_init(&proto, 0);
    codec_json_encode(&search.base, &json);
    codec_proto_encode(&search.base, &proto);
    const ProtobufCMessageDescriptor *d = search.base.descriptor;
    bench_decode("Search 384, JSON", codec_json_decode, d, bytes_of(json.data, json.size), rounds);
    bench_decode("Search 384, proto", codec_proto_decode, d, bytes_of(proto.data, proto.size), rounds);
    Vectord__V1__Hit hits[HITS];
    Vectord__V1__Hit *pointers[HITS];
    char ids[HITS][16], metadata[] = "{\"title\":\"On the origin of species\",\"year\":1859}";
    for (size_t i = 0; i < HITS; i++) {
        snprintf(ids[i], sizeof ids[i], "doc-%zu", i * 12345);
        vectord__v1__hit__init(&hits[i]);
        hits[i].id = text(ids[i]);
        hits[i].distance = fabs((double)coordinate()) * 3.14159265358979;
        hits[i].score = 1 - hits[i].distance / 2;
        hits[i]._metadata_case = VECTORD__V1__HIT___METADATA_METADATA;
        hits[i].metadata = text(metadata);
        pointers[i] = &hits[i];
    }
    Vectord__V1__SearchResponse reply = VECTORD__V1__SEARCH_RESPONSE__INIT;
    reply.n_results = HITS;
    reply.results = pointers;
    bench_encode("reply of 10 hits, to JSON", codec_json_encode, &reply.base, rounds);
    bench_encode("reply of 10 hits, to proto", codec_proto_encode, &reply.base, rounds);
    buffer_fini(&json);
    buffer_fini(&proto);
}

int main(int argc, char **argv) {
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000;
    if (rounds < 100) {
        rounds = 100;
    }
    bench_search(rounds * 10);
    bench_adds(rounds / 100);
    return 0;
}
