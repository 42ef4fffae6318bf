/*
 * fuzz_lhv1.c - any bytes as a frame. A frame that is taken can be written again, and what was written reads back the same,
 * without anything to warn about.
 */
#include "base/bytes.h"
#include "fuzz.h"
#include "store/lhv1.h"

/* A reader's frame as a writer's source: all on level 0, a ring of links. */
typedef struct again {
    const lhv1_frame *frame;
    float *vector;
} again;

static void get_node(void *context, uint64_t position, vd_id *id, const float **vector, bytes *metadata,
                     uint32_t *level) {
    const again *a = context;
    lhv1_node node;
    lhv1_get_node(a->frame, position, &node);
    lhv1_vector(&node, lhv1_get_params(a->frame)->dimension, a->vector);
    *id = node.id;
    *vector = a->vector;
    *metadata = node.metadata;
    *level = position % 4 == 0;
}

static size_t get_links(void *context, uint64_t position, uint32_t level, uint32_t *out, size_t capacity) {
    const again *a = context;
    (void)level;
    if (capacity == 0) {
        return 0;
    }
    out[0] = (uint32_t)((position + 4) % lhv1_count(a->frame));
    return 1;
}

static vd_status put(void *context, const void *data, size_t size, vd_error *err) {
    (void)err;
    buffer_put(context, data, size);
    return ((buffer *)context)->failed ? VD_OUT_OF_MEMORY : VD_OK;
}

static void compare(const lhv1_frame *a, const lhv1_frame *b) {
    const lhv1_params *p = lhv1_get_params(a), *q = lhv1_get_params(b);
    const lhv1_warnings none = {0};
    FUZZ_CHECK(lhv1_count(a) == lhv1_count(b));
    FUZZ_CHECK(strcmp(p->name, q->name) == 0 && p->dimension == q->dimension && p->m == q->m);
    FUZZ_CHECK(p->ef_search == q->ef_search && p->ef_construction == q->ef_construction && p->metric == q->metric);
    FUZZ_CHECK(p->has_epoch == q->has_epoch && memcmp(p->epoch, q->epoch, LHV1_EPOCH_BYTES) == 0);
    FUZZ_CHECK(p->sequence == q->sequence);
    FUZZ_CHECK(memcmp(lhv1_get_warnings(b), &none, sizeof none) == 0);
    for (uint64_t i = 0; i < lhv1_count(a); i++) {
        lhv1_node x, y;
        lhv1_get_node(a, i, &x);
        lhv1_get_node(b, i, &y);
        FUZZ_CHECK(bytes_equal(bytes_of(x.id.data, x.id.size), bytes_of(y.id.data, y.id.size)));
        FUZZ_CHECK(memcmp(x.vector, y.vector, (size_t)p->dimension * 4) == 0);
        FUZZ_CHECK(bytes_equal(x.metadata, y.metadata));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lhv1_frame *frame, *second;
    vd_error err;
    vd_status status = lhv1_open(bytes_of(data, size), &frame, &err);
    if (status != VD_OK) {
        FUZZ_CHECK(status == VD_DATA_LOSS || status == VD_UNIMPLEMENTED || status == VD_OUT_OF_MEMORY);
        FUZZ_CHECK(err.status == status && err.text[0] != '\0');
        return 0;
    }
    again a = {frame, calloc(lhv1_get_params(frame)->dimension, sizeof(float))};
    buffer out;
    buffer_init(&out, 0);
    lhv1_source source = {&a, lhv1_count(frame), lhv1_count(frame) ? 2 : 0, get_node, get_links};
    lhv1_sink sink = {&out, put};
    FUZZ_CHECK(a.vector != NULL);
    FUZZ_CHECK(lhv1_encode(lhv1_get_params(frame), &source, &sink, &err) == VD_OK);
    FUZZ_CHECK(lhv1_open(bytes_of(out.data, out.size), &second, &err) == VD_OK);
    compare(frame, second);
    lhv1_close(second);
    lhv1_close(frame);
    buffer_fini(&out);
    free(a.vector);
    return 0;
}
