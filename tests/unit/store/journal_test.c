/*
 * journal_test.c - journal records: golden bytes, every kind there and back, torn and damaged records, hostile counts.
 *
 * tests/data/journal/golden.journal holds the records made by `golden_records`; it was written once and must never change:
 * a record of a released version stays readable, and what we write must equal it.
 */
#include <msgpack.h>

#include "store/journal.h"
#include "unit/store/check.h"

#define GOLDEN_RECORDS 4

static const uint8_t epoch[LHV1_EPOCH_BYTES] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                                0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF};
static const uint8_t vectors[2][8] = {{0, 0, 0x80, 0x3F, 0, 0, 0, 0x80}, {1, 0, 0, 0, 0xFF, 0xFF, 0x7F, 0x7F}};

static vd_id id_of(const char *text) {
    return (vd_id){text, (uint32_t)strlen(text)};
}

static void golden_records(journal_record out[GOLDEN_RECORDS], journal_item add[3], journal_item gone[2]) {
    memset(out, 0, GOLDEN_RECORDS * sizeof *out);
    memset(add, 0, 3 * sizeof *add);
    memset(gone, 0, 2 * sizeof *gone);
    add[0] = (journal_item){.id = id_of("a"), .vector = vectors[0], .dimension = 2, .metadata = bytes_str("{\"x\":1}")};
    add[1] = (journal_item){
        .id = id_of("caf\xC3\xA9 with an id of more than thirty-one bytes"), .vector = vectors[1], .dimension = 2};
    add[2] = (journal_item){.id = id_of("b"), .vector = vectors[1], .dimension = 2, .metadata = bytes_str("{}")};
    gone[0].id = id_of("a");
    gone[1].id = id_of("b");
    for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
        memcpy(out[i].epoch, epoch, sizeof epoch);
        out[i].sequence = 70000 + i;
        out[i].synced = i ? 70000 : 0;
    }
    out[0].kind = JOURNAL_BEGIN;
    out[0].name = bytes_str("fruit/\xF0\x9F\x8D\x8E");
    out[1].kind = JOURNAL_ADD;
    out[1].request_id = bytes_str("request-1");
    out[1].length_after = 3;
    out[1].items = add;
    out[1].item_count = 3;
    out[2].kind = JOURNAL_DELETE;
    out[2].length_after = 1;
    out[2].items = gone;
    out[2].item_count = 2;
    out[3].kind = JOURNAL_DELETE;
    out[3].sequence = UINT64_MAX;
    out[3].length_after = UINT64_C(1) << 40;
}

static void encode_golden(buffer *out) {
    journal_record records[GOLDEN_RECORDS];
    journal_item add[3], gone[2];
    golden_records(records, add, gone);
    for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
        OK(journal_encode(&records[i], out, NULL));
    }
    assert_false(out->failed);
}

static void assert_same(const journal_record *a, const journal_record *b) {
    assert_int_equal(a->kind, b->kind);
    assert_memory_equal(a->epoch, b->epoch, LHV1_EPOCH_BYTES);
    assert_true(a->sequence == b->sequence && a->length_after == b->length_after && a->synced == b->synced);
    assert_true(bytes_equal(a->request_id, b->request_id));
    assert_true(bytes_equal(a->name, b->name));
    assert_int_equal(a->item_count, b->item_count);
    for (size_t i = 0; i < a->item_count; i++) {
        const journal_item *x = &a->items[i], *y = &b->items[i];
        assert_true(bytes_equal(bytes_of(x->id.data, x->id.size), bytes_of(y->id.data, y->id.size)));
        assert_int_equal(x->dimension, y->dimension);
        assert_true(x->dimension == 0 || memcmp(x->vector, y->vector, (size_t)x->dimension * 4) == 0);
        assert_true((x->metadata.data == NULL) == (y->metadata.data == NULL));
        assert_true(bytes_equal(x->metadata, y->metadata));
    }
}

static void the_format_does_not_drift(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    encode_golden(&b);
    if (getenv("VECTORD_WRITE_GOLDEN")) {
        FILE *f = fopen(VD_TEST_DATA "/journal/golden.journal", "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(b.data, 1, b.size, f), b.size);
        fclose(f);
    }
    bytes golden = check_read_data("journal", "golden.journal");
    assert_int_equal(golden.size, b.size);
    assert_memory_equal(golden.data, b.data, b.size);
    journal_record wanted[GOLDEN_RECORDS];
    journal_item add[3], gone[2];
    golden_records(wanted, add, gone);
    arena a;
    arena_init(&a, NULL, 0);
    size_t offset = 0;
    vd_error err;
    journal_record got;
    for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
        OK(journal_decode(golden, &offset, &a, &got, &err));
        assert_same(&got, &wanted[i]);
    }
    FAILS(journal_decode(golden, &offset, &a, &got, &err), VD_OUT_OF_RANGE);
    assert_int_equal(offset, golden.size);
    arena_fini(&a);
    free((void *)golden.data);
    buffer_fini(&b);
}

/* Another implementation of msgpack reads what we write. */
static void a_body_is_plain_msgpack(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    encode_golden(&b);
    size_t at = 0, records = 0;
    while (at < b.size) {
        size_t size = get_u32le(b.data + at), used = 0;
        msgpack_unpacked unpacked;
        msgpack_unpacked_init(&unpacked);
        assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)b.data + at + 8, size, &used),
                         MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(used, size);
        assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_ARRAY);
        assert_int_equal(unpacked.data.via.array.size, 8);
        assert_int_equal(unpacked.data.via.array.ptr[0].via.u64, 1);
        assert_int_equal(unpacked.data.via.array.ptr[2].type, MSGPACK_OBJECT_BIN);
        if (records == 1) {
            const msgpack_object *items = &unpacked.data.via.array.ptr[7];
            assert_int_equal(items->via.array.size, 3);
            const msgpack_object *item = &items->via.array.ptr[0];
            assert_int_equal(item->via.array.ptr[0].type, MSGPACK_OBJECT_STR);
            assert_int_equal(item->via.array.ptr[1].type, MSGPACK_OBJECT_BIN);
            assert_int_equal(item->via.array.ptr[1].via.bin.size, 8);
        }
        msgpack_unpacked_destroy(&unpacked);
        at += 8 + size;
        records++;
    }
    assert_int_equal(records, GOLDEN_RECORDS);
    buffer_fini(&b);
}

/* Reads records until one is not good; how many were. */
static size_t count_good(bytes data, vd_status *last, size_t *offset) {
    arena a;
    arena_init(&a, NULL, 0);
    size_t good = 0;
    *offset = 0;
    journal_record record;
    while ((*last = journal_decode(data, offset, &a, &record, NULL)) == VD_OK) {
        good++;
    }
    arena_fini(&a);
    return good;
}

static void a_journal_cut_anywhere_keeps_its_whole_records(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    encode_golden(&b);
    size_t ends[GOLDEN_RECORDS], at = 0;
    for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
        at += 8 + get_u32le(b.data + at);
        ends[i] = at;
    }
    for (size_t size = 0; size <= b.size; size++) {
        uint8_t *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        memcpy(copy, b.data, size);
        size_t whole = 0, offset;
        bool at_end = size == 0;
        while (whole < GOLDEN_RECORDS && ends[whole] <= size) {
            at_end = ends[whole] == size;
            whole++;
        }
        vd_status last;
        assert_int_equal(count_good(bytes_of(copy, size), &last, &offset), whole);
        assert_int_equal(last, at_end ? VD_OUT_OF_RANGE : VD_ABORTED);
        assert_int_equal(offset, whole ? ends[whole - 1] : 0);
        free(copy);
    }
    buffer_fini(&b);
}

static void every_flipped_bit_is_noticed(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    encode_golden(&b);
    for (size_t bit = 0; bit < b.size * 8; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        size_t before = 0, at = 0, offset;
        while (at + 8 + get_u32le(b.data + at) <= bit / 8 && before < GOLDEN_RECORDS) {
            at += 8 + get_u32le(b.data + at);
            before++;
        }
        vd_status last;
        assert_int_equal(count_good(bytes_of(b.data, b.size), &last, &offset), before);
        assert_int_equal(last, VD_ABORTED);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buffer_fini(&b);
}

static void zeros_behind_the_last_record_are_a_torn_tail(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    encode_golden(&b);
    size_t end = b.size;
    for (int i = 0; i < 4096; i++) {
        buffer_put_u8(&b, 0);
    }
    vd_status last;
    size_t offset;
    assert_int_equal(count_good(bytes_of(b.data, b.size), &last, &offset), GOLDEN_RECORDS);
    assert_int_equal(last, VD_ABORTED);
    assert_int_equal(offset, end);
    assert_true(journal_tail_is_torn(bytes_of(b.data, b.size), offset, epoch, UINT64_MAX));
    buffer_fini(&b);
}

/* Three records of one item; the second one is damaged. Whether that is a torn tail is told by what the third one knew. */
static bool torn_with(uint64_t synced_of_third, const uint8_t *epoch_of_third) {
    journal_item gone = {.id = id_of("a")};
    journal_record record = {.kind = JOURNAL_DELETE, .items = &gone, .item_count = 1};
    buffer b;
    buffer_init(&b, 0);
    size_t second = 0;
    for (uint64_t i = 1; i <= 3; i++) {
        memcpy(record.epoch, i == 3 ? epoch_of_third : epoch, LHV1_EPOCH_BYTES);
        record.sequence = i;
        record.synced = i == 3 ? synced_of_third : 0;
        second = i == 2 ? b.size : second;
        OK(journal_encode(&record, &b, NULL));
    }
    b.data[second + 20] ^= 1;
    vd_status last;
    size_t offset;
    assert_int_equal(count_good(bytes_of(b.data, b.size), &last, &offset), 1);
    assert_int_equal(offset, second);
    bool torn = journal_tail_is_torn(bytes_of(b.data, b.size), offset, epoch, 1);
    buffer_fini(&b);
    return torn;
}

static void damage_is_told_from_a_torn_tail(void **state) {
    (void)state;
    static const uint8_t other[LHV1_EPOCH_BYTES] = {1};
    assert_true(torn_with(0, epoch));  /* one group, not synced: the pages came in any order */
    assert_true(torn_with(1, epoch));  /* likewise: only the first was durable */
    assert_false(torn_with(2, epoch)); /* the second had been durable: it was acknowledged */
    assert_true(torn_with(2, other));  /* bytes that somebody has put into the metadata of a record */
}

/* A record with a right checksum around any body. */
/* Vectors of a client that look like records from end to end, each as long as what is left: hours, were they all summed. */
static void a_hostile_tail_is_read_once(void **state) {
    (void)state;
    enum { SIZE = 16 << 20, STEP = 12 };
    uint8_t *data = calloc(1, SIZE);
    assert_non_null(data);
    for (uint32_t at = 0; at + STEP <= SIZE; at += STEP) {
        set_u32le(data + at, SIZE - at > STEP ? SIZE - at - STEP : 0);
        data[at + 8] = 0x98;
        data[at + 9] = 1;
    }
    assert_true(journal_tail_is_torn(bytes_of(data, SIZE), 0, epoch, 1));
    free(data);
}

static void put_record(buffer *b, const void *body, size_t size) {
    uint8_t head[8];
    set_u32le(head, (uint32_t)size);
    set_u32le(head + 4, crc32c(crc32c(0, head, 4), body, size));
    buffer_put(b, head, 8);
    buffer_put(b, body, size);
}

static vd_status decode_body(const void *body, size_t size) {
    buffer b;
    buffer_init(&b, 0);
    put_record(&b, body, size);
    arena a;
    arena_init(&a, NULL, 1024 * 1024);
    size_t offset = 0;
    journal_record record;
    vd_error err = {0};
    vd_status status = journal_decode(bytes_of(b.data, b.size), &offset, &a, &record, &err);
    assert_true(status == VD_OK || (err.status == status && err.text[0] && offset == 0));
    arena_fini(&a);
    buffer_fini(&b);
    return status;
}

#define EPOCH_BIN                                                                                                      \
    "\xC4\x10"                                                                                                         \
    "0123456789abcdef"
#define BODY(text) (text), sizeof(text) - 1

/* Request ids and the catalog's records come back as they were written. */
static void requests_and_catalog(void **state) {
    (void)state;
    char longest[VD_REQUEST_ID_MAX_BYTES];
    memset(longest, 'r', sizeof longest);
    const journal_request requests[] = {
        {.id = bytes_str("a"), .kind = JOURNAL_ADD, .sequence = 1, .affected = 2, .length = 3, .time_ms = 4},
        {.id = bytes_of(longest, sizeof longest),
         .kind = JOURNAL_DELETE,
         .sequence = UINT64_MAX,
         .affected = UINT64_MAX,
         .length = UINT64_MAX,
         .time_ms = UINT64_MAX},
    };
    journal_record records[] = {
        {.kind = JOURNAL_REQUESTS, .sequence = 7, .requests = requests, .request_count = 2},
        {.kind = JOURNAL_CREATED, .sequence = 8, .name = bytes_str("t"), .request_id = bytes_str("q"), .time_ms = 9},
        {.kind = JOURNAL_DROPPED, .sequence = 9, .name = bytes_str("\xF0\x9F\x8D\x8E"), .time_ms = UINT64_MAX},
        {.kind = JOURNAL_WITHDRAWN, .sequence = 10, .name = bytes_str("t")},
    };
    enum { COUNT = sizeof records / sizeof records[0] };
    buffer out;
    buffer_init(&out, 0);
    for (size_t i = 0; i < COUNT; i++) {
        memset(records[i].epoch, (int)i, sizeof records[i].epoch);
        memset(records[i].subject, records[i].kind == JOURNAL_REQUESTS ? 0 : 0xA0 + (int)i, sizeof records[i].subject);
        OK(journal_encode(&records[i], &out, NULL));
    }
    arena a;
    arena_init(&a, NULL, 0);
    size_t offset = 0;
    for (size_t i = 0; i < COUNT; i++) {
        journal_record got;
        OK(journal_decode(bytes_of(out.data, out.size), &offset, &a, &got, NULL));
        assert_same(&got, &records[i]);
        assert_memory_equal(got.subject, records[i].subject, sizeof got.subject);
        assert_true(got.time_ms == records[i].time_ms);
        assert_int_equal(got.request_count, records[i].request_count);
        for (size_t j = 0; j < got.request_count; j++) {
            const journal_request *x = &got.requests[j], *y = &requests[j];
            assert_true(bytes_equal(x->id, y->id) && x->kind == y->kind && x->sequence == y->sequence);
            assert_true(x->affected == y->affected && x->length == y->length && x->time_ms == y->time_ms);
        }
    }
    assert_int_equal(offset, out.size);
    for (size_t size = 0; size < out.size; size++) { /* cut anywhere: never a record too many */
        size_t at = 0, count = 0;
        journal_record got;
        while (journal_decode(bytes_of(out.data, size), &at, &a, &got, NULL) == VD_OK) {
            count++;
        }
        assert_true(count < COUNT);
    }
    arena_fini(&a);
    buffer_fini(&out);
}

static void bodies(void **state) {
    (void)state;
    OK(decode_body(BODY("\x98\x01\x02" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\xA1"
                        "a")));
    /* any width of a number, a string or an array */
    OK(decode_body(BODY("\xDC\x00\x08\xCC\x01\xCD\x00\x02\xC5\x00\x10"
                        "0123456789abcdef"
                        "\xCE\x00\x00\x00\x05\xC6\x00\x00\x00\x00\xCF\x00\x00\x00\x00\x00\x00\x00\x07\x00\xDD\x00\x00"
                        "\x00\x01\xD9\x01"
                        "a")));
    FAILS(decode_body(BODY("")), VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x90")), VD_DATA_LOSS);
    FAILS(decode_body(BODY("\xC0")), VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x97\x01\x02" EPOCH_BIN "\x05\xC4\x00\x07\x90")), VD_DATA_LOSS);         /* a field short */
    FAILS(decode_body(BODY("\x98\x01\x02" EPOCH_BIN "\x05\xC4\x00\x07\x00\x90\xC0")), VD_DATA_LOSS); /* a byte more */
    FAILS(decode_body(BODY("\x98\x02\x02" EPOCH_BIN "\x05\xC4\x00\x07\x00\x90")), VD_UNIMPLEMENTED);
    FAILS(decode_body(BODY("\x92\x02\x02")), VD_UNIMPLEMENTED);
    FAILS(decode_body(BODY("\x98\x01\x07" EPOCH_BIN "\x05\xC4\x00\x07\x00\x90")), VD_UNIMPLEMENTED);
    /* request ids: none; one; an empty one; of a kind that has no answers; one that is not there */
    OK(decode_body(BODY("\x98\x01\x03" EPOCH_BIN "\x05\xC4\x00\x07\x00\x90")));
    OK(decode_body(BODY("\x98\x01\x03" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\x96\xC4\x01r\x02\x05\x00\x07\x09")));
    FAILS(decode_body(BODY("\x98\x01\x03" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\x96\xC4\x00\x02\x05\x00\x07\x09\x09")),
          VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x03" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\x96\xC4\x01r\x00\x05\x00\x07\x09")),
          VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x03" EPOCH_BIN "\x05\xC4\x00\x07\x00\x92\x96\xC4\x01r\x02\x05\x00\x07\x09")),
          VD_DATA_LOSS);
    /* the catalog: a create; without a time; an epoch of 15 bytes */
    OK(decode_body(BODY("\x98\x01\x04" EPOCH_BIN "\x05\xC4\x00\x00\x00\x93\xA1t" EPOCH_BIN "\x09")));
    FAILS(decode_body(BODY("\x98\x01\x05" EPOCH_BIN "\x05\xC4\x00\x00\x00\x92\xA1t" EPOCH_BIN)), VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x06" EPOCH_BIN "\x05\xC4\x00\x00\x00\x93\xA1t\xC4\x0F"
                           "0123456789abcde\x09")),
          VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x02\xC4\x0F"
                           "0123456789abcde"
                           "\x05\xC4\x00\x07\x00\x90")),
          VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x02" EPOCH_BIN "\xFF\xC4\x00\x07\x00\x90")), VD_DATA_LOSS);     /* negative */
    FAILS(decode_body(BODY("\x98\x01\x02" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\xA0")), VD_DATA_LOSS); /* empty id */
    /* an item with a vector of 3 bytes; with metadata that is a number */
    FAILS(decode_body(BODY("\x98\x01\x01" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\x93\xA1"
                           "a\xC4\x03xyz\xC0")),
          VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x01" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\x93\xA1"
                           "a\xC4\x00\x05")),
          VD_DATA_LOSS);
    OK(decode_body(BODY("\x98\x01\x01" EPOCH_BIN "\x05\xC4\x00\x07\x00\x91\x93\xA1"
                        "a\xC4\x00\xC0")));
}

/* Five bytes that claim 4 Gi elements: the arena above holds 1 MiB, so an allocation from the count would fail otherwise. */
static void counts_allocate_nothing_on_their_own(void **state) {
    (void)state;
    FAILS(decode_body(BODY("\xDD\xFF\xFF\xFF\xFF\x01")), VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x01" EPOCH_BIN "\x05\xC4\x00\x07\x00\xDD\xFF\xFF\xFF\xFF")), VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x02" EPOCH_BIN "\x05\xC4\x00\x07\x00\xDD\x00\x01\x00\x00\xA1"
                           "a")),
          VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x02" EPOCH_BIN "\x05\xC6\xFF\xFF\xFF\xFF\x07\x00\x90")), VD_DATA_LOSS);
    FAILS(decode_body(BODY("\x98\x01\x00" EPOCH_BIN "\x05\xC4\x00\x07\x00\xDB\xFF\xFF\xFF\xFF"
                           "a")),
          VD_DATA_LOSS);
}

static void more_than_four_gib_is_too_large(void **state) {
    (void)state;
    journal_item items[3] = {{.id = id_of("a"), .metadata = bytes_of("never read", 0x7FFFFFFF)},
                             {.id = id_of("b"), .metadata = bytes_of("never read", 0x7FFFFFFF)},
                             {.id = id_of("c"), .metadata = bytes_of("never read", SIZE_MAX / 2)}};
    journal_record record = {.kind = JOURNAL_ADD, .items = items, .item_count = 2};
    buffer b;
    vd_error err;
    buffer_init(&b, 0);
    FAILS(journal_encode(&record, &b, &err), VD_TOO_LARGE);
    record.item_count = 3;
    FAILS(journal_encode(&record, &b, &err), VD_TOO_LARGE);
    assert_int_equal(b.size, 0);
    buffer_fini(&b);
}

static void a_buffer_that_cannot_grow_is_left_alone(void **state) {
    (void)state;
    journal_record record = {.kind = JOURNAL_BEGIN, .name = bytes_str("n")};
    buffer b;
    vd_error err;
    buffer_init(&b, 16);
    FAILS(journal_encode(&record, &b, &err), VD_OUT_OF_MEMORY);
    assert_true(b.failed);
    buffer_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_format_does_not_drift),
        cmocka_unit_test(a_body_is_plain_msgpack),
        cmocka_unit_test(a_journal_cut_anywhere_keeps_its_whole_records),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(zeros_behind_the_last_record_are_a_torn_tail),
        cmocka_unit_test(damage_is_told_from_a_torn_tail),
        cmocka_unit_test(a_hostile_tail_is_read_once),
        cmocka_unit_test(requests_and_catalog),
        cmocka_unit_test(bodies),
        cmocka_unit_test(counts_allocate_nothing_on_their_own),
        cmocka_unit_test(more_than_four_gib_is_too_large),
        cmocka_unit_test(a_buffer_that_cannot_grow_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
