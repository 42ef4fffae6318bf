/*
 * journal.c - journal records to bytes and back. The format's table stands in journal.h and docs/format-journal.md.
 *
 * Writing goes through msgpack-c. Reading does not: msgpack-c allocates an array from the count that the bytes claim, so
 * five hostile bytes ask for 100 GB, and it builds a tree where a cursor is enough. The reader below takes the msgpack
 * types that a record may hold (every width of each), one after the other, and checks each count against the bytes that are
 * left before anything is allocated.
 *
 * Relies on the caller to know which segment is the last one: the same torn record is harmless there and damage elsewhere
 * (journal_tail_is_torn tells the two apart within one segment).
 */
#include "store/journal.h"

#include <msgpack.h>

#define RECORD_HEADER_BYTES 8
#define RECORD_VERSION      1
#define RECORD_FIELDS       8
#define ITEM_FIELDS         3
#define REQUEST_FIELDS      6
#define CATALOG_FIELDS      3
/* The least that one item takes: an array's head, an id of one byte, an empty vector, nil; or an id of one byte alone. */
#define ADD_ITEM_BYTES_MIN    6
#define DELETE_ITEM_BYTES_MIN 2
/* Array's head, an id of one byte, five integers of one byte. */
#define REQUEST_BYTES_MIN 9
/* Head, id's head, five integers at their widest. */
#define REQUEST_FIXED_BYTES_MAX (1 + 2 + 5 * 9)
/* Head, epoch, an integer; the name is counted by itself. */
#define CATALOG_BYTES_MAX (1 + 2 + LHV1_EPOCH_BYTES + 9)
/* What msgpack adds at most: 5 bytes in front of a string or an array, 9 for an integer. */
#define HEAD_BYTES_MAX 5
#define BODY_BYTES_MAX (1 + 9 + 9 + 2 + LHV1_EPOCH_BYTES + 9 + HEAD_BYTES_MAX + 9 + 9 + HEAD_BYTES_MAX)

/* ---- writing ---- */

static int put_packed(void *context, const char *data, size_t size) {
    buffer *out = context;
    buffer_put(out, data, size);
    return out->failed ? -1 : 0;
}

static void pack_str(msgpack_packer *p, const void *data, size_t size) {
    msgpack_pack_str(p, size);
    msgpack_pack_str_body(p, data, size);
}

static void pack_bin(msgpack_packer *p, const void *data, size_t size) {
    msgpack_pack_bin(p, size);
    msgpack_pack_bin_body(p, data, size);
}

static void pack_item(msgpack_packer *p, const journal_item *item) {
    msgpack_pack_array(p, ITEM_FIELDS);
    pack_str(p, item->id.data, item->id.size);
    pack_bin(p, item->vector, (size_t)item->dimension * 4);
    if (item->metadata.data) {
        pack_str(p, item->metadata.data, item->metadata.size);
    } else {
        msgpack_pack_nil(p);
    }
}

static void pack_request(msgpack_packer *p, const journal_request *request) {
    msgpack_pack_array(p, REQUEST_FIELDS);
    pack_bin(p, request->id.data, request->id.size);
    msgpack_pack_uint8(p, (uint8_t)request->kind);
    msgpack_pack_uint64(p, request->sequence);
    msgpack_pack_uint64(p, request->affected);
    msgpack_pack_uint64(p, request->length);
    msgpack_pack_uint64(p, request->time_ms);
}

static void pack_payload(msgpack_packer *p, const journal_record *record) {
    switch (record->kind) {
    case JOURNAL_BEGIN:
        pack_str(p, record->name.data, record->name.size);
        break;
    case JOURNAL_ADD:
        msgpack_pack_array(p, record->item_count);
        for (size_t i = 0; i < record->item_count; i++) {
            pack_item(p, &record->items[i]);
        }
        break;
    case JOURNAL_DELETE:
        msgpack_pack_array(p, record->item_count);
        for (size_t i = 0; i < record->item_count; i++) {
            pack_str(p, record->items[i].id.data, record->items[i].id.size);
        }
        break;
    case JOURNAL_REQUESTS:
        msgpack_pack_array(p, record->request_count);
        for (size_t i = 0; i < record->request_count; i++) {
            pack_request(p, &record->requests[i]);
        }
        break;
    case JOURNAL_CREATED:
    case JOURNAL_DROPPED:
    case JOURNAL_WITHDRAWN:
        msgpack_pack_array(p, CATALOG_FIELDS);
        pack_str(p, record->name.data, record->name.size);
        pack_bin(p, record->subject, sizeof record->subject);
        msgpack_pack_uint64(p, record->time_ms);
        break;
    }
}

/* An upper bound of the body's size, so that the buffer grows once; false when it cannot fit the record's length. */
static bool body_bound(const journal_record *record, size_t *out) {
    size_t total = BODY_BYTES_MAX + CATALOG_BYTES_MAX;
    if (!size_add(total, record->request_id.size, &total) || !size_add(total, record->name.size, &total)) {
        return false;
    }
    for (size_t i = 0; i < record->item_count; i++) {
        const journal_item *item = &record->items[i];
        size_t fixed = 4 * HEAD_BYTES_MAX + item->id.size + (size_t)item->dimension * 4;
        if (!size_add(total, fixed, &total) || !size_add(total, item->metadata.size, &total)) {
            return false;
        }
    }
    for (size_t i = 0; i < record->request_count; i++) {
        if (!size_add(total, REQUEST_FIXED_BYTES_MAX + record->requests[i].id.size, &total)) {
            return false;
        }
    }
    *out = total;
    return total <= UINT32_MAX;
}

vd_status journal_encode(const journal_record *record, buffer *out, vd_error *err) {
    size_t bound;
    if (record->item_count > UINT32_MAX || record->request_count > UINT32_MAX || !body_bound(record, &bound)) {
        return vd_fail(err, VD_TOO_LARGE, NULL, "journal record: more than 4 GiB in one batch");
    }
    size_t start = out->size;
    if (!buffer_reserve(out, RECORD_HEADER_BYTES + bound)) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "journal record: no memory for %zu bytes", bound);
    }
    out->size += RECORD_HEADER_BYTES; /* filled in below: the length is known then */
    msgpack_packer p;
    msgpack_packer_init(&p, out, put_packed);
    msgpack_pack_array(&p, RECORD_FIELDS);
    msgpack_pack_uint8(&p, RECORD_VERSION);
    msgpack_pack_uint8(&p, (uint8_t)record->kind);
    pack_bin(&p, record->epoch, sizeof record->epoch);
    msgpack_pack_uint64(&p, record->sequence);
    pack_bin(&p, record->request_id.data, record->request_id.size);
    msgpack_pack_uint64(&p, record->length_after);
    msgpack_pack_uint64(&p, record->synced);
    pack_payload(&p, record);
    uint8_t *head = out->data + start;
    size_t body_size = out->size - start - RECORD_HEADER_BYTES;
    set_u32le(head, (uint32_t)body_size);
    set_u32le(head + 4, crc32c(crc32c(0, head, 4), head + RECORD_HEADER_BYTES, body_size));
    return VD_OK;
}

/* ---- reading ---- */

typedef struct cursor {
    const uint8_t *at;
    const uint8_t *end;
} cursor;

static size_t left(const cursor *c) {
    return (size_t)(c->end - c->at);
}

static bool get_uint_be(cursor *c, size_t size, uint64_t *out) {
    if (left(c) < size) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | *c->at++;
    }
    *out = value;
    return true;
}

static bool get_head(cursor *c, uint8_t *out) {
    if (c->at == c->end) {
        return false;
    }
    *out = *c->at++;
    return true;
}

static bool get_uint(cursor *c, uint64_t *out) {
    uint8_t head;
    if (!get_head(c, &head)) {
        return false;
    }
    if (head <= 0x7F) {
        *out = head;
        return true;
    }
    return head >= 0xCC && head <= 0xCF && get_uint_be(c, (size_t)1 << (head - 0xCC), out);
}

static bool get_array(cursor *c, size_t element_bytes_min, size_t *out) {
    uint8_t head;
    uint64_t count;
    if (!get_head(c, &head)) {
        return false;
    }
    if ((head & 0xF0) == 0x90) {
        count = head & 0x0F;
    } else if (head != 0xDC && head != 0xDD) {
        return false;
    } else if (!get_uint_be(c, head == 0xDC ? 2 : 4, &count)) {
        return false;
    }
    if (count > left(c) / element_bytes_min) {
        return false;
    }
    *out = (size_t)count;
    return true;
}

static bool get_span(cursor *c, uint64_t size, bytes *out) {
    if (size > left(c)) {
        return false;
    }
    *out = bytes_of(c->at, (size_t)size);
    c->at += size;
    return true;
}

static bool get_bin(cursor *c, bytes *out) {
    uint8_t head;
    uint64_t size;
    return get_head(c, &head) && head >= 0xC4 && head <= 0xC6 && get_uint_be(c, (size_t)1 << (head - 0xC4), &size) &&
           get_span(c, size, out);
}

static bool get_str(cursor *c, bytes *out) {
    uint8_t head;
    uint64_t size;
    if (!get_head(c, &head)) {
        return false;
    }
    if ((head & 0xE0) == 0xA0) {
        return get_span(c, head & 0x1F, out);
    }
    return head >= 0xD9 && head <= 0xDB && get_uint_be(c, (size_t)1 << (head - 0xD9), &size) && get_span(c, size, out);
}

static bool get_id(cursor *c, vd_id *out) {
    bytes id;
    if (!get_str(c, &id) || id.size < VD_ID_MIN_BYTES || id.size > VD_ID_MAX_BYTES) {
        return false;
    }
    *out = (vd_id){(const char *)id.data, (uint32_t)id.size};
    return true;
}

static bool get_item(cursor *c, journal_item *out) {
    size_t fields;
    bytes vector;
    if (!get_array(c, 1, &fields) || fields != ITEM_FIELDS || !get_id(c, &out->id) || !get_bin(c, &vector)) {
        return false;
    }
    if (vector.size % 4 != 0 || vector.size / 4 > VD_DIMENSION_MAX) {
        return false;
    }
    out->vector = vector.data;
    out->dimension = (uint32_t)(vector.size / 4);
    if (c->at < c->end && *c->at == 0xC0) {
        c->at++;
        out->metadata = (bytes){NULL, 0};
        return true;
    }
    return get_str(c, &out->metadata);
}

static vd_status get_items(cursor *c, arena *a, journal_record *record, vd_error *err) {
    bool add = record->kind == JOURNAL_ADD;
    size_t count;
    if (!get_array(c, add ? ADD_ITEM_BYTES_MIN : DELETE_ITEM_BYTES_MIN, &count)) {
        return VD_DATA_LOSS;
    }
    journal_item *items = arena_calloc(a, count, sizeof *items);
    if (!items) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "journal record: no memory for %zu items", count);
    }
    for (size_t i = 0; i < count; i++) {
        if (!(add ? get_item(c, &items[i]) : get_id(c, &items[i].id))) {
            return VD_DATA_LOSS;
        }
    }
    record->items = items;
    record->item_count = count;
    return VD_OK;
}

static bool get_request(cursor *c, journal_request *out) {
    size_t fields;
    uint64_t kind;
    if (!get_array(c, 1, &fields) || fields != REQUEST_FIELDS || !get_bin(c, &out->id) || out->id.size == 0 ||
        out->id.size > VD_REQUEST_ID_MAX_BYTES || !get_uint(c, &kind) ||
        (kind != JOURNAL_ADD && kind != JOURNAL_DELETE)) {
        return false;
    }
    out->kind = (journal_kind)kind;
    return get_uint(c, &out->sequence) && get_uint(c, &out->affected) && get_uint(c, &out->length) &&
           get_uint(c, &out->time_ms);
}

static vd_status get_requests(cursor *c, arena *a, journal_record *record, vd_error *err) {
    size_t count;
    if (!get_array(c, REQUEST_BYTES_MIN, &count)) {
        return VD_DATA_LOSS;
    }
    journal_request *requests = arena_calloc(a, count, sizeof *requests);
    if (!requests) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "journal record: no memory for %zu request ids", count);
    }
    for (size_t i = 0; i < count; i++) {
        if (!get_request(c, &requests[i])) {
            return VD_DATA_LOSS;
        }
    }
    record->requests = requests;
    record->request_count = count;
    return VD_OK;
}

static bool get_name(cursor *c, bytes *out) {
    return get_str(c, out) && out->size <= VD_INDEX_NAME_MAX_BYTES;
}

static bool get_subject(cursor *c, journal_record *record) {
    size_t fields;
    bytes epoch;
    if (!get_array(c, 1, &fields) || fields != CATALOG_FIELDS || !get_name(c, &record->name) || !get_bin(c, &epoch) ||
        epoch.size != LHV1_EPOCH_BYTES || !get_uint(c, &record->time_ms)) {
        return false;
    }
    memcpy(record->subject, epoch.data, LHV1_EPOCH_BYTES);
    return true;
}

static vd_status get_payload(cursor *c, arena *a, journal_record *record, vd_error *err) {
    switch (record->kind) {
    case JOURNAL_BEGIN:
        return get_name(c, &record->name) ? VD_OK : VD_DATA_LOSS;
    case JOURNAL_REQUESTS:
        return get_requests(c, a, record, err);
    case JOURNAL_CREATED:
    case JOURNAL_DROPPED:
    case JOURNAL_WITHDRAWN:
        return get_subject(c, record) ? VD_OK : VD_DATA_LOSS;
    default:
        return get_items(c, a, record, err);
    }
}

/* DATA_LOSS comes back without a text: the caller knows the place. */
static vd_status get_body(cursor *c, arena *a, journal_record *record, vd_error *err) {
    size_t fields;
    uint64_t version, kind;
    bytes epoch;
    if (!get_array(c, 1, &fields) || fields == 0 || !get_uint(c, &version)) {
        return VD_DATA_LOSS;
    }
    if (version != RECORD_VERSION) {
        return vd_fail(err, VD_UNIMPLEMENTED, NULL, "journal record of version %llu: written by a newer vectord",
                       (unsigned long long)version);
    }
    if (fields != RECORD_FIELDS || !get_uint(c, &kind)) {
        return VD_DATA_LOSS;
    }
    if (kind > JOURNAL_WITHDRAWN) {
        return vd_fail(err, VD_UNIMPLEMENTED, NULL, "journal record of kind %llu: written by a newer vectord",
                       (unsigned long long)kind);
    }
    record->kind = (journal_kind)kind;
    if (!get_bin(c, &epoch) || epoch.size != LHV1_EPOCH_BYTES) {
        return VD_DATA_LOSS;
    }
    memcpy(record->epoch, epoch.data, LHV1_EPOCH_BYTES);
    if (!get_uint(c, &record->sequence) || !get_bin(c, &record->request_id) ||
        record->request_id.size > VD_REQUEST_ID_MAX_BYTES || !get_uint(c, &record->length_after) ||
        !get_uint(c, &record->synced)) {
        return VD_DATA_LOSS;
    }
    return get_payload(c, a, record, err);
}

/* Whether a record with a right checksum begins at `offset`, and where its body is. */
static bool find_body(bytes data, size_t offset, bytes *body) {
    size_t rest = data.size - offset;
    if (rest < RECORD_HEADER_BYTES) {
        return false;
    }
    const uint8_t *head = data.data + offset;
    uint32_t size = get_u32le(head);
    if (size > rest - RECORD_HEADER_BYTES ||
        crc32c(crc32c(0, head, 4), head + RECORD_HEADER_BYTES, size) != get_u32le(head + 4)) {
        return false;
    }
    *body = bytes_of(head + RECORD_HEADER_BYTES, size);
    return true;
}

vd_status journal_decode(bytes data, size_t *offset, arena *a, journal_record *out, vd_error *err) {
    if (*offset >= data.size) {
        return vd_fail(err, VD_OUT_OF_RANGE, NULL, "end of the journal");
    }
    bytes body;
    if (!find_body(data, *offset, &body)) {
        return vd_fail(err, VD_ABORTED, NULL, "journal record at byte %zu of %zu is cut short or fails its checksum",
                       *offset, data.size);
    }
    journal_record record = {0};
    cursor c = {body.data, body.data + body.size};
    vd_status status = get_body(&c, a, &record, err);
    if (status == VD_DATA_LOSS || (status == VD_OK && c.at != c.end)) {
        return vd_fail(err, VD_DATA_LOSS, NULL, "journal record at byte %zu has a right checksum and wrong contents",
                       *offset);
    }
    if (status == VD_OK) {
        *offset += RECORD_HEADER_BYTES + body.size;
        *out = record;
    }
    return status;
}

/* Head of the array, version, kind, head of the epoch, epoch: as journal_encode writes them. */
#define TAIL_BEGIN_BYTES (5 + LHV1_EPOCH_BYTES)

bool journal_tail_is_torn(bytes data, size_t offset, const uint8_t epoch[LHV1_EPOCH_BYTES], uint64_t sequence) {
    arena a;
    arena_init(&a, NULL, 0);
    bool torn = true;
    /* A body begins with the head of an array of RECORD_FIELDS, version, kind and epoch: only there is a checksum worth its time.
     * Were it not for the epoch, a client could fill its vectors with beginnings, each with megabytes to be summed. */
    uint8_t begin[TAIL_BEGIN_BYTES] = {0x90 | RECORD_FIELDS, RECORD_VERSION, 0, 0xC4, LHV1_EPOCH_BYTES};
    memcpy(begin + TAIL_BEGIN_BYTES - LHV1_EPOCH_BYTES, epoch, LHV1_EPOCH_BYTES);
    for (size_t at = offset + 1; torn && at < data.size && data.size - at > RECORD_HEADER_BYTES + sizeof begin; at++) {
        const uint8_t *head = data.data + at + RECORD_HEADER_BYTES;
        size_t next = at;
        journal_record record;
        begin[2] = head[2]; /* any kind */
        if (memcmp(head, begin, sizeof begin) == 0 && journal_decode(data, &next, &a, &record, NULL) == VD_OK) {
            /* the epoch is secret enough that no client can hide a false record inside its metadata */
            torn = record.synced <= sequence;
            at = next - 1;
            arena_reset(&a);
        }
    }
    arena_fini(&a);
    return torn;
}
