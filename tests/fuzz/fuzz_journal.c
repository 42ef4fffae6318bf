/*
 * fuzz_journal.c - any bytes as a journal, and any bytes as the body of a record whose checksum is right (a fuzzer cannot
 * guess checksums). A record that is taken can be written again and reads back the same.
 */
#include "fuzz.h"
#include "store/journal.h"

static void compare(const journal_record *a, const journal_record *b) {
    FUZZ_CHECK(a->kind == b->kind && a->sequence == b->sequence && a->length_after == b->length_after);
    FUZZ_CHECK(a->synced == b->synced && memcmp(a->epoch, b->epoch, LHV1_EPOCH_BYTES) == 0);
    FUZZ_CHECK(bytes_equal(a->request_id, b->request_id) && bytes_equal(a->name, b->name));
    FUZZ_CHECK(a->item_count == b->item_count);
    for (size_t i = 0; i < a->item_count; i++) {
        const journal_item *x = &a->items[i], *y = &b->items[i];
        FUZZ_CHECK(bytes_equal(bytes_of(x->id.data, x->id.size), bytes_of(y->id.data, y->id.size)));
        FUZZ_CHECK(
            bytes_equal(bytes_of(x->vector, (size_t)x->dimension * 4), bytes_of(y->vector, (size_t)y->dimension * 4)));
        FUZZ_CHECK((x->metadata.data == NULL) == (y->metadata.data == NULL) && bytes_equal(x->metadata, y->metadata));
    }
}

static void read_all(bytes data) {
    static const uint8_t epoch[LHV1_EPOCH_BYTES];
    arena a;
    arena_init(&a, NULL, 0);
    size_t offset = 0;
    vd_error err;
    vd_status status = VD_OK;
    while (status == VD_OK) {
        journal_record record, again;
        size_t before = offset, at = 0;
        status = journal_decode(data, &offset, &a, &record, &err);
        if (status != VD_OK) {
            FUZZ_CHECK(offset == before && err.status == status && err.text[0] != '\0');
            break;
        }
        FUZZ_CHECK(offset > before && offset <= data.size);
        buffer out;
        buffer_init(&out, 0);
        FUZZ_CHECK(journal_encode(&record, &out, &err) == VD_OK);
        FUZZ_CHECK(journal_decode(bytes_of(out.data, out.size), &at, &a, &again, &err) == VD_OK && at == out.size);
        compare(&record, &again);
        buffer_fini(&out);
    }
    if (status == VD_ABORTED) {
        (void)journal_tail_is_torn(data, offset, epoch, 1);
    }
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_all(bytes_of(data, size));
    buffer framed;
    uint8_t head[4];
    buffer_init(&framed, 0);
    set_u32le(head, (uint32_t)size);
    buffer_put(&framed, head, sizeof head);
    buffer_put_u32le(&framed, crc32c(crc32c(0, head, sizeof head), data, size));
    buffer_put(&framed, data, size);
    FUZZ_CHECK(!framed.failed);
    read_all(bytes_of(framed.data, framed.size));
    buffer_fini(&framed);
    return 0;
}
