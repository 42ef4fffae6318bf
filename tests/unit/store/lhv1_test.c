/*
 * lhv1_test.c - reading frames: those that the original has written, those that it must be refused for, and frames that are
 * broken on purpose. The expectations of the golden frames come from tests/data/lhv1/manifest.json and *.decode.jsonl.
 */
#include <jansson.h>

#include "store/lhv1.h"
#include "unit/store/check.h"

/* ---- golden frames ---- */

static json_t *load_manifest(void) {
    json_error_t error;
    json_t *manifest = json_load_file(VD_TEST_DATA "/lhv1/manifest.json", 0, &error);
    if (!manifest) {
        fail_msg("manifest.json: %s", error.text);
    }
    return manifest;
}

static void check_node(const lhv1_frame *frame, const json_t *line) {
    const json_t *id = json_object_get(line, "id");
    const lhv1_params *params = lhv1_get_params(frame);
    for (uint64_t i = 0; i < lhv1_count(frame); i++) {
        lhv1_node node;
        lhv1_get_node(frame, i, &node);
        if (!bytes_equal(bytes_of(node.id.data, node.id.size),
                         bytes_of(json_string_value(id), json_string_length(id)))) {
            continue;
        }
        const json_t *vector = json_object_get(line, "vector");
        assert_int_equal(json_array_size(vector), params->dimension);
        float *values = calloc(params->dimension, sizeof *values);
        assert_non_null(values);
        lhv1_vector(&node, params->dimension, values);
        for (uint32_t j = 0; j < params->dimension; j++) {
            float wanted = (float)json_number_value(json_array_get(vector, j));
            assert_memory_equal(&values[j], &wanted, sizeof wanted);
        }
        free(values);
        json_t *wanted = json_object_get(line, "metadata");
        if (!wanted) {
            assert_null(node.metadata.data);
            return;
        }
        json_t *got = json_loadb((const char *)node.metadata.data, node.metadata.size, JSON_DECODE_ANY, NULL);
        assert_non_null(got);
        assert_true(json_equal(got, wanted));
        json_decref(got);
        return;
    }
    fail_msg("id %s is missing", json_string_value(id));
}

static uint64_t check_decode(const lhv1_frame *frame, const char *file) {
    char name[256];
    snprintf(name, sizeof name, "%.*s.decode.jsonl", (int)(strlen(file) - strlen(".lhv1")), file);
    bytes text = check_read_data("lhv1", name);
    uint64_t nodes = 0;
    const char *at = (const char *)text.data, *end = at + text.size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline ? newline : end) - at);
        json_t *line = json_loadb(at, size, 0, NULL);
        assert_non_null(line);
        if (json_object_get(line, "id")) {
            check_node(frame, line);
            nodes++;
        }
        json_decref(line);
        at += size + 1;
    }
    free((void *)text.data);
    return nodes;
}

static void every_good_frame_gives_its_contents(void **state) {
    (void)state;
    json_t *manifest = load_manifest();
    json_t *good = json_object_get(manifest, "good");
    size_t i;
    json_t *entry;
    assert_true(json_array_size(good) >= 5);
    json_array_foreach(good, i, entry) {
        const char *file = json_string_value(json_object_get(entry, "file"));
        bytes data = check_read_data("lhv1", file);
        lhv1_frame *frame;
        vd_error err;
        OK(lhv1_open(data, &frame, &err));
        const lhv1_params *params = lhv1_get_params(frame);
        const json_t *wanted = json_object_get(entry, "params");
        assert_string_equal(params->name, json_string_value(json_object_get(wanted, "name")));
        assert_int_equal(params->dimension, json_integer_value(json_object_get(wanted, "dimension")));
        assert_int_equal(params->m, json_integer_value(json_object_get(wanted, "m")));
        assert_int_equal(params->ef_search, json_integer_value(json_object_get(wanted, "ef_search")));
        bool cosine = strcmp(json_string_value(json_object_get(wanted, "distance")), "cosine") == 0;
        assert_int_equal(params->metric, cosine ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN);
        assert_false(params->has_epoch);
        assert_int_equal(lhv1_count(frame), json_integer_value(json_object_get(entry, "nodes")));
        assert_int_equal(check_decode(frame, file), lhv1_count(frame));
        json_int_t metadata = 0;
        for (uint64_t n = 0; n < lhv1_count(frame); n++) {
            lhv1_node node;
            lhv1_get_node(frame, n, &node);
            metadata += node.metadata.data != NULL;
        }
        assert_int_equal(metadata, json_integer_value(json_object_get(entry, "metadata_count")));
        lhv1_close(frame);
        free((void *)data.data);
    }
    json_decref(manifest);
}

static void every_corrupt_frame_is_refused_or_mended(void **state) {
    (void)state;
    json_t *manifest = load_manifest();
    json_t *corrupt = json_object_get(manifest, "corrupt");
    size_t i;
    json_t *entry;
    assert_true(json_array_size(corrupt) >= 11);
    json_array_foreach(corrupt, i, entry) {
        const char *expect = json_string_value(json_object_get(entry, "expect"));
        bytes data = check_read_data("lhv1", json_string_value(json_object_get(entry, "file")));
        lhv1_frame *frame;
        vd_error err = {0};
        vd_status status = lhv1_open(data, &frame, &err);
        if (strcmp(expect, "reject") == 0) {
            assert_int_equal(status, VD_DATA_LOSS);
            assert_int_equal(err.status, VD_DATA_LOSS);
            assert_memory_equal(err.text, "frame", 5);
        } else {
            OK(status);
            const lhv1_warnings *w = lhv1_get_warnings(frame);
            bool dangling = strcmp(expect, "load-and-drop-edge") == 0;
            assert_int_equal(w->dangling_links, dangling ? 1 : 0);
            assert_int_equal(w->trailing_bytes, dangling ? 0 : 8);
            assert_int_equal(lhv1_count(frame), 200);
            lhv1_close(frame);
        }
        free((void *)data.data);
    }
    json_decref(manifest);
}

static void what_deletes_leave_behind_is_counted(void **state) {
    (void)state;
    bytes data = check_read_data("lhv1", "tolerated.lhv1");
    lhv1_frame *frame;
    OK(lhv1_open(data, &frame, NULL));
    const lhv1_warnings *w = lhv1_get_warnings(frame);
    assert_int_equal(w->dangling_links, 1);
    assert_int_equal(w->self_links, 1);
    assert_int_equal(w->empty_layers, 1);
    lhv1_close(frame);
    free((void *)data.data);
}

/* ---- frames made here ---- */

static void put_varint(buffer *b, int64_t value) {
    uint64_t zigzag = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    while (zigzag >= 0x80) {
        buffer_put_u8(b, (uint8_t)(zigzag | 0x80));
        zigzag >>= 7;
    }
    buffer_put_u8(b, (uint8_t)zigzag);
}

static void put_string(buffer *b, const char *text) {
    put_varint(b, (int64_t)strlen(text));
    buffer_put_str(b, text);
}

static void put_head(buffer *b, const char *envelope) {
    buffer_put_str(b, "LHV1");
    buffer_put_u32be(b, (uint32_t)strlen(envelope));
    buffer_put_str(b, envelope);
}

static void put_graph_head(buffer *b, const char *distance, int64_t layers) {
    put_varint(b, 1);
    put_varint(b, 16);
    buffer_put_u64le(b, 0x3FD0000000000000u);
    put_varint(b, 20);
    put_string(b, distance);
    put_varint(b, layers);
}

static void put_node(buffer *b, const char *id, float x, float y, const char *const *links, size_t count) {
    float vector[2] = {x, y};
    put_string(b, id);
    put_varint(b, 2);
    buffer_put(b, vector, sizeof vector);
    put_varint(b, (int64_t)count);
    for (size_t i = 0; i < count; i++) {
        put_string(b, links[i]);
    }
}

#define PARAMS "\"params\":{\"name\":\"t\",\"dimension\":2,\"m\":16,\"ef_search\":20,\"distance\":\"euclidean\"}"

/* Opens a copy in a block of exactly its size. */
static vd_status open_copy(const buffer *b, size_t size, lhv1_frame **out, vd_error *err, uint8_t **copy) {
    *copy = malloc(size ? size : 1);
    assert_non_null(*copy);
    memcpy(*copy, b->data, size);
    return lhv1_open(bytes_of(*copy, size), out, err);
}

/* Opens, wants the status, and closes. `text` NULL: any. */
static void expect(buffer *b, vd_status wanted, const char *text) {
    lhv1_frame *frame;
    vd_error err = {0};
    uint8_t *copy;
    assert_false(b->failed);
    vd_status status = open_copy(b, b->size, &frame, &err, &copy);
    if (status != wanted) {
        fail_msg("%s (%s), not %s", vd_status_name(status), err.text, vd_status_name(wanted));
    }
    if (text && !strstr(err.text, text)) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    }
    if (status == VD_OK) {
        lhv1_close(frame);
    }
    free(copy);
    buffer_fini(b);
}

/* One frame per row: an envelope before an empty graph. */
static void envelopes(void **state) {
    (void)state;
    static const struct {
        const char *envelope;
        vd_status status;
        const char *text;
    } rows[] = {
        {"{\"version\":1," PARAMS "}", VD_OK, NULL},
        {"{\"version\":2," PARAMS ",\"ids\":[\"a\"],\"metadata\":null}", VD_OK, NULL},
        {" { \"later\" : {\"x\":[1,{}]}, " PARAMS ", \"version\" : 1 } ", VD_OK, NULL},
        {"{\"version\":3," PARAMS "}", VD_UNIMPLEMENTED, "version 3"},
        {"{\"version\":0," PARAMS "}", VD_UNIMPLEMENTED, "version 0"},
        {"{\"version\":3,\"params\":[]}", VD_UNIMPLEMENTED, "version 3"},
        {"{\"version\":\"1\"," PARAMS "}", VD_DATA_LOSS, NULL},
        {"{" PARAMS "}", VD_DATA_LOSS, "no version"},
        {"{\"version\":1}", VD_DATA_LOSS, "no params"},
        {"{\"version\":1,\"version\":1," PARAMS "}", VD_DATA_LOSS, "twice"},
        {"{\"version\":1," PARAMS ",\"metadata\":{},\"metadata\":{}}", VD_DATA_LOSS, "twice"},
        {"{\"version\":1," PARAMS "} x", VD_DATA_LOSS, "after the value"},
        {"{\"version\":1," PARAMS, VD_DATA_LOSS, NULL},
        {"", VD_DATA_LOSS, NULL},
        {"[]", VD_DATA_LOSS, "not an object"},
        {"{\"version\":1," PARAMS ",\"metadata\":[]}", VD_DATA_LOSS, "not an object"},
        {"{\"version\":1," PARAMS ",\"metadata\":{\"a\":{\"b\":}}}", VD_DATA_LOSS, NULL},
        {"{\"version\":1,\"params\":{\"distance\":\"euclidean\"}}", VD_DATA_LOSS, "without a dimension"},
        {"{\"version\":1,\"params\":{\"dimension\":0,\"distance\":\"euclidean\"}}", VD_DATA_LOSS, "dimension out of"},
        {"{\"version\":1,\"params\":{\"dimension\":16384,\"distance\":\"euclidean\"}}", VD_OK, NULL},
        {"{\"version\":1,\"params\":{\"dimension\":16385,\"distance\":\"euclidean\"}}", VD_DATA_LOSS, NULL},
        {"{\"version\":1,\"params\":{\"dimension\":2,\"distance\":\"dot\"}}", VD_DATA_LOSS, "unknown distance"},
        {"{\"version\":1,\"params\":{\"dimension\":2,\"distance\":\"Euclidean\"}}", VD_DATA_LOSS, "unknown distance"},
        {"{\"version\":1,\"params\":{\"dimension\":2,\"m\":-1,\"distance\":\"euclidean\"}}", VD_DATA_LOSS, "negative"},
        {"{\"version\":1," PARAMS ",\"vectord\":{\"epoch\":\"00112233445566778899aabbccddeeff\",\"x\":0}}", VD_OK,
         NULL},
        {"{\"version\":1," PARAMS ",\"vectord\":{\"epoch\":\"0011\"}}", VD_DATA_LOSS, "epoch"},
        {"{\"version\":1," PARAMS ",\"vectord\":{\"sequence\":9223372036854775807}}", VD_OK, NULL},
        {"{\"version\":1," PARAMS ",\"vectord\":{\"sequence\":9223372036854775808}}", VD_DATA_LOSS, NULL},
        {"{\"version\":1," PARAMS ",\"vectord\":{\"sequence\":-1}}", VD_DATA_LOSS, "sequence"},
        {"{\"version\":1," PARAMS ",\"vectord\":{\"ef_construction\":2001}}", VD_DATA_LOSS, "ef_construction"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buffer b;
        buffer_init(&b, 0);
        put_head(&b, rows[i].envelope);
        put_graph_head(&b, "euclidean", 0);
        expect(&b, rows[i].status, rows[i].text);
    }
}

static void our_own_fields_come_back(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    put_head(&b, "{\"version\":1,\"params\":{\"name\":\"caf\\u00e9\",\"dimension\":2,\"m\":999,\"ef_search\":0,"
                 "\"distance\":\"euclidean\"},\"vectord\":{\"epoch\":\"000102030405060708090A0b0c0d0e0f\","
                 "\"sequence\":77,\"ef_construction\":300}}");
    put_graph_head(&b, "euclidean", 0);
    lhv1_frame *frame;
    OK(lhv1_open(bytes_of(b.data, b.size), &frame, NULL));
    const lhv1_params *p = lhv1_get_params(frame);
    assert_string_equal(p->name, "caf\xC3\xA9");
    assert_true(p->has_epoch);
    for (size_t i = 0; i < LHV1_EPOCH_BYTES; i++) {
        assert_int_equal(p->epoch[i], i);
    }
    assert_int_equal(p->sequence, 77);
    assert_int_equal(p->ef_construction, 300);
    assert_int_equal(p->m, VD_M_MAX); /* beyond our limit: brought inside, and said */
    assert_int_equal(p->ef_search, VD_EF_SEARCH_DEFAULT);
    assert_int_equal(lhv1_get_warnings(frame)->clamped_params, 1);
    lhv1_close(frame);
    buffer_fini(&b);
}

static void metadata_finds_its_node(void **state) {
    (void)state;
    char deep[160] = "";
    for (size_t i = 0; i < VD_METADATA_DEPTH_MAX; i++) {
        deep[i] = '[';
        deep[VD_METADATA_DEPTH_MAX + i] = ']';
    }
    char envelope[1024];
    snprintf(envelope, sizeof envelope,
             "{\"version\":1," PARAMS ",\"metadata\":{\"\\u003ca\\u0026\\u2028\": 1.50 ,\"b\":1,\"b\":null,"
             "\"deep\":%s,\"gone\":{}}}",
             deep);
    buffer b;
    buffer_init(&b, 0);
    put_head(&b, envelope);
    put_graph_head(&b, "euclidean", 1);
    put_varint(&b, 4);
    put_node(&b, "<a&\xE2\x80\xA8", 0, 0, NULL, 0);
    put_node(&b, "b", 1, 0, NULL, 0);
    put_node(&b, "c", 2, 0, NULL, 0);
    put_node(&b, "deep", 3, 0, NULL, 0);
    lhv1_frame *frame;
    vd_error err;
    OK(lhv1_open(bytes_of(b.data, b.size), &frame, &err));
    static const char *const wanted[] = {"1.50", "null", NULL, NULL};
    for (uint64_t i = 0; i < 3; i++) {
        lhv1_node node;
        lhv1_get_node(frame, i, &node);
        if (wanted[i]) {
            assert_true(bytes_equal(node.metadata, bytes_str(wanted[i])));
        } else {
            assert_null(node.metadata.data);
        }
    }
    lhv1_node node;
    lhv1_get_node(frame, 3, &node);
    assert_true(bytes_equal(node.metadata, bytes_str(deep)));
    assert_int_equal(lhv1_get_warnings(frame)->orphan_metadata, 1);
    lhv1_close(frame);
    buffer_fini(&b);
}

/* Base: a, b. Upper: as told. */
static void two_layers(const char *upper, float x, int64_t times, vd_status status, const char *text) {
    buffer b;
    buffer_init(&b, 0);
    put_head(&b, "{\"version\":1," PARAMS "}");
    put_graph_head(&b, "euclidean", 2);
    put_varint(&b, 2);
    put_node(&b, "a", 1, 2, NULL, 0);
    put_node(&b, "b", 3, 4, NULL, 0);
    put_varint(&b, times);
    for (int64_t i = 0; i < times; i++) {
        put_node(&b, upper, x, 2, NULL, 0);
    }
    expect(&b, status, text);
}

static void layers_must_agree(void **state) {
    (void)state;
    two_layers("a", 1, 1, VD_OK, NULL);
    two_layers("a", 1, 0, VD_OK, NULL);
    two_layers("a", 1.5F, 1, VD_DATA_LOSS, "another vector");
    two_layers("c", 1, 1, VD_DATA_LOSS, "not in the base layer");
    two_layers("a", 1, 2, VD_DATA_LOSS, "twice");
    two_layers("", 1, 1, VD_DATA_LOSS, NULL);
}

static void links_that_lead_nowhere_are_counted(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    put_head(&b, "{\"version\":1," PARAMS "}");
    put_graph_head(&b, "euclidean", 4);
    put_varint(&b, 0);
    put_varint(&b, 3);
    put_node(&b, "a", 1, 2, (const char *const[]){"b", "c", "b", "a", "zz", ""}, 6);
    put_node(&b, "b", 3, 4, (const char *const[]){"a", "c"}, 2);
    put_node(&b, "c", 5, 6, (const char *const[]){"a", "a", "a"}, 3);
    put_varint(&b, 0);
    put_varint(&b, 1);
    put_node(&b, "c", 5, 6, (const char *const[]){"a", "c"}, 2); /* a is known, but not on this layer */
    buffer_put_str(&b, "tail");
    lhv1_frame *frame;
    vd_error err;
    OK(lhv1_open(bytes_of(b.data, b.size), &frame, &err));
    const lhv1_warnings *w = lhv1_get_warnings(frame);
    assert_int_equal(w->dangling_links, 3);
    assert_int_equal(w->self_links, 2);
    assert_int_equal(w->repeated_links, 3);
    assert_int_equal(w->empty_layers, 2);
    assert_int_equal(w->trailing_bytes, 4);
    assert_int_equal(lhv1_count(frame), 3);
    lhv1_close(frame);
    buffer_fini(&b);
}

static void one_node(const char *distance, const char *id, size_t id_size, float x, float y, vd_status status,
                     const char *text) {
    char envelope[256];
    snprintf(envelope, sizeof envelope,
             "{\"version\":1,\"params\":{\"name\":\"t\",\"dimension\":2,\"distance\":\"%s\"}}", distance);
    float vector[2] = {x, y};
    buffer b;
    buffer_init(&b, 0);
    put_head(&b, envelope);
    put_graph_head(&b, distance, 1);
    put_varint(&b, 1);
    put_varint(&b, (int64_t)id_size);
    buffer_put(&b, id, id_size);
    put_varint(&b, 2);
    buffer_put(&b, vector, sizeof vector);
    put_varint(&b, 0);
    expect(&b, status, text);
}

static void ids_and_vectors_are_checked(void **state) {
    (void)state;
    char longest[VD_ID_MAX_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    volatile float zero = 0;
    float nan_value = zero / zero, infinity = 1 / zero;
    one_node("cosine", "a", 1, 1, 0, VD_OK, NULL);
    one_node("cosine", "", 0, 1, 0, VD_DATA_LOSS, NULL);
    one_node("cosine", longest, VD_ID_MAX_BYTES, 1, 0, VD_OK, NULL);
    one_node("cosine", longest, VD_ID_MAX_BYTES + 1, 1, 0, VD_DATA_LOSS, "longer than");
    one_node("cosine", "\xC3", 1, 1, 0, VD_DATA_LOSS, "UTF-8");
    one_node("cosine", "a\0b", 3, 1, 0, VD_DATA_LOSS, "NUL");
    one_node("cosine", "a", 1, 0, -0.0F, VD_DATA_LOSS, "zero norm");
    one_node("cosine", "a", 1, 0, 1e-45F, VD_OK, NULL);
    one_node("euclidean", "a", 1, 0, 0, VD_OK, NULL);
    one_node("euclidean", "a", 1, nan_value, 0, VD_DATA_LOSS, "not finite");
    one_node("euclidean", "a", 1, 0, infinity, VD_DATA_LOSS, "not finite");
    one_node("euclidean", "a", 1, 0, -infinity, VD_DATA_LOSS, "not finite");
    one_node("euclidean", "a", 1, 3.4028235e38F, 0, VD_OK, NULL);
}

/* Counts that ask for far more memory than the machine has are refused from the bytes that are left. */
static void counts_allocate_nothing_on_their_own(void **state) {
    (void)state;
    static const int64_t counts[] = {-1, 3, 1000000, INT64_C(1) << 32, INT64_C(1) << 62, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (int place = 0; place < 6; place++) {
            buffer b;
            buffer_init(&b, 0);
            put_head(&b, "{\"version\":1," PARAMS "}");
            put_graph_head(&b, "euclidean", place == 0 ? counts[i] : 1);
            put_varint(&b, place == 1 ? counts[i] : 2);
            put_varint(&b, place == 2 ? counts[i] : 1); /* id length */
            buffer_put_str(&b, "a");
            put_varint(&b, place == 3 ? counts[i] : 2); /* dimension */
            buffer_put_u64le(&b, 0);
            put_varint(&b, place == 4 ? counts[i] : 1); /* neighbours */
            put_varint(&b, place == 5 ? counts[i] : 1); /* neighbour's length */
            buffer_put_str(&b, "b");                    /* the second node is missing, so the frame is cut short too */
            expect(&b, VD_DATA_LOSS, NULL);
        }
    }
}

static void numbers_may_be_longer_than_needed(void **state) {
    (void)state;
    static const struct {
        const char *digits;
        size_t size;
        vd_status status;
    } rows[] = {
        {"\x02", 1, VD_OK},
        {"\x82\x00", 2, VD_OK},
        {"\x82\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, VD_OK},
        {"\x82\x80\x80\x80\x80\x80\x80\x80\x80\x02", 10, VD_DATA_LOSS},     /* 65 bits */
        {"\x82\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, VD_DATA_LOSS}, /* 11 bytes */
        {"\x04", 1, VD_UNIMPLEMENTED},                                      /* a later graph version */
        {"\x01", 1, VD_DATA_LOSS},                                          /* version -1 */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buffer b, graph;
        buffer_init(&b, 0);
        buffer_init(&graph, 0);
        put_head(&b, "{\"version\":1," PARAMS "}");
        put_graph_head(&graph, "euclidean", 0);
        buffer_put(&b, rows[i].digits, rows[i].size);
        buffer_put(&b, graph.data + 1, graph.size - 1);
        buffer_fini(&graph);
        expect(&b, rows[i].status, NULL);
    }
}

/* ---- damage of every kind ---- */

static void a_frame_cut_anywhere_is_refused(void **state) {
    (void)state;
    static const char *const files[] = {"euclid3.lhv1", "single.lhv1", "empty.lhv1"};
    for (size_t i = 0; i < 3; i++) {
        bytes data = check_read_data("lhv1", files[i]);
        for (size_t size = 0; size < data.size; size++) {
            buffer b;
            buffer_init(&b, 0);
            buffer_put(&b, data.data, size);
            if (size == 0) {
                buffer_put_u8(&b, 0); /* so that there is something to copy; still no frame */
            }
            expect(&b, VD_DATA_LOSS, NULL);
        }
        free((void *)data.data);
    }
}

static void a_flipped_bit_never_crashes(void **state) {
    (void)state;
    static const char *const files[] = {"euclid3.lhv1", "single.lhv1"};
    for (size_t i = 0; i < 2; i++) {
        bytes data = check_read_data("lhv1", files[i]);
        for (size_t bit = 0; bit < data.size * 8; bit++) {
            uint8_t *copy = malloc(data.size);
            assert_non_null(copy);
            memcpy(copy, data.data, data.size);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            lhv1_frame *frame;
            vd_status status = lhv1_open(bytes_of(copy, data.size), &frame, NULL);
            if (status == VD_OK) {
                for (uint64_t n = 0; n < lhv1_count(frame); n++) {
                    float vector[VD_DIMENSION_MAX];
                    lhv1_node node;
                    lhv1_get_node(frame, n, &node);
                    lhv1_vector(&node, lhv1_get_params(frame)->dimension, vector);
                }
                lhv1_close(frame);
            } else {
                assert_true(status == VD_DATA_LOSS || status == VD_UNIMPLEMENTED);
            }
            free(copy);
        }
        free((void *)data.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_good_frame_gives_its_contents),
        cmocka_unit_test(every_corrupt_frame_is_refused_or_mended),
        cmocka_unit_test(what_deletes_leave_behind_is_counted),
        cmocka_unit_test(envelopes),
        cmocka_unit_test(our_own_fields_come_back),
        cmocka_unit_test(metadata_finds_its_node),
        cmocka_unit_test(layers_must_agree),
        cmocka_unit_test(links_that_lead_nowhere_are_counted),
        cmocka_unit_test(ids_and_vectors_are_checked),
        cmocka_unit_test(counts_allocate_nothing_on_their_own),
        cmocka_unit_test(numbers_may_be_longer_than_needed),
        cmocka_unit_test(a_frame_cut_anywhere_is_refused),
        cmocka_unit_test(a_flipped_bit_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
