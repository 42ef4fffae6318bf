/*
 * lhv1_encode_test.c - writing frames: what is written reads back bit for bit, keeps the rules that the original needs, and
 * fails cleanly.
 */
#include "store/lhv1.h"
#include "unit/store/check.h"

#define DIMENSION 3
#define ITEMS     40

typedef struct item {
    char id[16];
    float vector[DIMENSION];
    char metadata[40];
    uint32_t level;
} item;

typedef struct fixture {
    item items[ITEMS];
    lhv1_params params;
    lhv1_source source;
    int calls;
    int change_after; /* metadata changes after so many calls; 0: never */
    bytes huge;       /* metadata of item 0 when size is not 0 */
} fixture;

static void get_node(void *context, uint64_t position, vd_id *id, const float **vector, bytes *metadata,
                     uint32_t *level) {
    fixture *f = context;
    const item *it = &f->items[position];
    *id = (vd_id){it->id, (uint32_t)strlen(it->id)};
    *vector = it->vector;
    *metadata = it->metadata[0] ? bytes_str(it->metadata) : bytes_of(NULL, 0);
    if (position == 0 && f->huge.size) {
        *metadata = f->huge;
    }
    if (f->change_after && ++f->calls > f->change_after) {
        *metadata = bytes_str("{\"changed\":true}");
    }
    *level = it->level;
}

/* All kinds of nonsense among the good ones: itself, out of range, twice, on no such level, more than were asked for. */
static size_t get_links(void *context, uint64_t position, uint32_t level, uint32_t *out, size_t capacity) {
    (void)context;
    (void)level;
    size_t count = 0;
    const uint32_t wanted[] = {(uint32_t)position, 0, 1, 1, 9, UINT32_MAX, ITEMS, 16, 32, 2, 3};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && count < capacity; i++) {
        out[count++] = wanted[i];
    }
    return count + (position == 5 ? 1000 : 0);
}

static void setup(fixture *f) {
    memset(f, 0, sizeof *f);
    for (uint32_t i = 0; i < ITEMS; i++) {
        item *it = &f->items[i];
        snprintf(it->id, sizeof it->id, "<id&%02u>\xE2\x80\xA8", i);
        it->vector[0] = (float)i;
        it->vector[1] = 1.0F / 3.0F;
        it->vector[2] = -0.0F;
        it->level = i % 16 == 0 ? 2 : i % 8 == 0 ? 1 : 0;
        if (i % 2) {
            snprintf(it->metadata, sizeof it->metadata, "{\"n\": %u, \"s\":\"\\u2028\"}", i);
        }
    }
    uint32_t denormal = 1, most = 0x7F7FFFFFu, negative_denormal = 0x80000001u;
    memcpy(&f->items[3].vector[0], &denormal, 4);
    memcpy(&f->items[4].vector[1], &most, 4);
    memcpy(&f->items[5].vector[1], &negative_denormal, 4);
    snprintf(f->params.name, sizeof f->params.name, "na\"me/\xC3\xA9");
    f->params.dimension = DIMENSION;
    f->params.m = 8;
    f->params.ef_search = 33;
    f->params.ef_construction = 120;
    f->params.metric = VD_METRIC_EUCLIDEAN;
    f->params.has_epoch = true;
    memset(f->params.epoch, 0xA5, LHV1_EPOCH_BYTES);
    f->params.sequence = 123456789012345;
    f->source = (lhv1_source){.context = f, .count = ITEMS, .levels = 3, .node = get_node, .links = get_links};
}

static vd_status put_buffer(void *context, const void *data, size_t size, vd_error *err) {
    buffer *b = context;
    buffer_put(b, data, size);
    return b->failed ? vd_fail(err, VD_DISK_FULL, NULL, "full") : VD_OK;
}

static vd_status encode(fixture *f, buffer *out, vd_error *err) {
    lhv1_sink sink = {out, put_buffer};
    return lhv1_encode(&f->params, &f->source, &sink, err);
}

static void all_comes_back_bit_for_bit(void **state) {
    (void)state;
    fixture f;
    buffer b;
    vd_error err;
    setup(&f);
    buffer_init(&b, 0);
    OK(encode(&f, &b, &err));
    lhv1_frame *frame;
    OK(lhv1_open(bytes_of(b.data, b.size), &frame, &err));
    const lhv1_params *p = lhv1_get_params(frame);
    assert_memory_equal(p, &f.params, sizeof *p);
    lhv1_warnings none = {0};
    assert_memory_equal(lhv1_get_warnings(frame), &none, sizeof none);
    assert_int_equal(lhv1_count(frame), ITEMS);
    for (uint64_t i = 0; i < ITEMS; i++) {
        lhv1_node node;
        float vector[DIMENSION];
        lhv1_get_node(frame, i, &node);
        assert_true(bytes_equal(bytes_of(node.id.data, node.id.size), bytes_str(f.items[i].id)));
        lhv1_vector(&node, DIMENSION, vector);
        assert_memory_equal(vector, f.items[i].vector, sizeof vector);
        if (f.items[i].metadata[0]) {
            assert_true(bytes_equal(node.metadata, bytes_str(f.items[i].metadata)));
        } else {
            assert_null(node.metadata.data);
        }
    }
    lhv1_close(frame);
    buffer_fini(&b);
}

static void equal_indexes_give_equal_frames(void **state) {
    (void)state;
    fixture f;
    buffer a, b;
    setup(&f);
    buffer_init(&a, 0);
    buffer_init(&b, 0);
    OK(encode(&f, &a, NULL));
    OK(encode(&f, &b, NULL));
    assert_true(bytes_equal(bytes_of(a.data, a.size), bytes_of(b.data, b.size)));
    buffer_fini(&a);
    buffer_fini(&b);
}

/* The first bytes are checked by hand against the original's encoder. */
static void an_empty_index_is_nineteen_bytes_of_graph(void **state) {
    (void)state;
    static const char wanted[] =
        "LHV1\0\0\0\xA0{\"version\":1,\"params\":{\"name\":\"e\",\"dimension\":3,\"m\":16,\"ef_search\":20,"
        "\"distance\":\"cosine\"},\"metadata\":{},\"vectord\":{\"sequence\":0,\"ef_construction\":200}}"
        "\x02\x20\0\0\0\0\0\0\xD0\x3F\x28\x0C"
        "cosine\0";
    fixture f;
    buffer b;
    setup(&f);
    f.params = (lhv1_params){
        .name = "e", .dimension = 3, .m = 16, .ef_search = 20, .ef_construction = 200, .metric = VD_METRIC_COSINE};
    f.source.count = 0;
    f.source.levels = 0;
    buffer_init(&b, 0);
    OK(encode(&f, &b, NULL));
    size_t envelope = sizeof wanted - 1 - 8 - 19;
    assert_int_equal(b.size, sizeof wanted - 1);
    assert_int_equal(get_u32be(b.data + 4), envelope);
    assert_memory_equal(b.data + 8, wanted + 8, envelope + 19);
    buffer_fini(&b);
}

typedef struct failing_sink {
    int calls, fail_at;
} failing_sink;

static vd_status put_or_fail(void *context, const void *data, size_t size, vd_error *err) {
    failing_sink *s = context;
    (void)data;
    (void)size;
    return ++s->calls >= s->fail_at ? vd_fail(err, VD_DISK_FULL, NULL, "no space") : VD_OK;
}

static void a_sink_that_fails_ends_it(void **state) {
    (void)state;
    fixture f;
    setup(&f);
    vd_error err;
    failing_sink count = {0, 1000};
    lhv1_sink sink = {&count, put_or_fail};
    OK(lhv1_encode(&f.params, &f.source, &sink, &err));
    for (int i = 1; i <= count.calls; i++) {
        failing_sink s = {0, i};
        sink.context = &s;
        FAILS(lhv1_encode(&f.params, &f.source, &sink, &err), VD_DISK_FULL);
        assert_int_equal(s.calls, i); /* not asked again after it has failed */
    }
}

static void a_source_that_changes_its_mind_is_noticed(void **state) {
    (void)state;
    fixture f;
    buffer b;
    vd_error err;
    setup(&f);
    f.change_after = 2 * ITEMS; /* levels, measuring, then writing */
    buffer_init(&b, 0);
    FAILS(encode(&f, &b, &err), VD_INTERNAL);
    buffer_fini(&b);
}

static void an_envelope_past_its_length_field_is_too_large(void **state) {
    (void)state;
    fixture f;
    buffer b;
    vd_error err;
    setup(&f);
    f.huge = bytes_of("never read", UINT32_MAX);
    buffer_init(&b, 0);
    FAILS(encode(&f, &b, &err), VD_TOO_LARGE);
    assert_int_equal(b.size, 0);
    buffer_fini(&b);
}

static void parameters_out_of_range_are_refused(void **state) {
    (void)state;
    fixture f;
    buffer b;
    buffer_init(&b, 0);
    for (int i = 0; i < 6; i++) {
        setup(&f);
        switch (i) {
        case 0:
            f.params.dimension = 0;
            break;
        case 1:
            f.params.m = VD_M_MAX + 1;
            break;
        case 2:
            f.params.ef_search = 0;
            break;
        case 3:
            f.params.metric = (vd_metric)9;
            break;
        case 4:
            f.params.sequence = (uint64_t)INT64_MAX + 1;
            break;
        default:
            f.params.ef_construction = VD_EF_CONSTRUCTION_MAX + 1;
            break;
        }
        FAILS(encode(&f, &b, NULL), VD_INVALID_ARGUMENT);
    }
    buffer_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_comes_back_bit_for_bit),
        cmocka_unit_test(equal_indexes_give_equal_frames),
        cmocka_unit_test(an_empty_index_is_nineteen_bytes_of_graph),
        cmocka_unit_test(a_sink_that_fails_ends_it),
        cmocka_unit_test(a_source_that_changes_its_mind_is_noticed),
        cmocka_unit_test(an_envelope_past_its_length_field_is_too_large),
        cmocka_unit_test(parameters_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
