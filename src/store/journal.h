/*
 * journal.h - the record format of the journal: bytes in, bytes out, no I/O.
 *
 * OFFSET SIZE FIELD
 * 0      4    length of the body, little-endian
 * 4      4    CRC-32C of the 4 length bytes and the body
 * 8      n    body: one msgpack array
 *             [version=1, kind, epoch bin16, sequence, request id bin (empty: none), reply length (items afterwards),
 *              synced, payload]
 *             kind 1 ADD     payload = [[id str, vector bin (little-endian float32), metadata str | nil], ...]
 *             kind 2 DELETE  payload = [id str, ...]
 *             kind 0 BEGIN   first record of a segment: payload = index name str
 *             kind 3 REQUESTS  the request ids that are still remembered, and their answers, whose own records a frame has made
 *                            superfluous: payload = [[id bin, kind, sequence, affected, length, time ms since 1970], ...]
 *             kinds 4 CREATED, 5 DROPPED, 6 WITHDRAWN stand in the catalog, the journal of the server whose own epoch is
 *                            all zeros: payload = [index name str, its epoch bin16, time ms since 1970]
 * A batch is one record: all of it or nothing. A record that is cut short or fails its checksum at the very end of the last
 * segment is a torn tail and is dropped; anywhere else it is damage. Unknown kinds are an error (written by a newer version).
 *
 * `synced` is the highest sequence number that was durable when the record was made. A power cut may keep a later page of an
 * unsynced group and lose an earlier one, so a good record behind a bad one is no proof of damage; one that says that the
 * bad one had been durable is.
 */
#ifndef VECTORD_STORE_JOURNAL_H
#define VECTORD_STORE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "store/lhv1.h" /* LHV1_EPOCH_BYTES */
#include "vectord/hnsw.h"
#include "vectord/status.h"

typedef enum journal_kind {
    JOURNAL_BEGIN = 0,
    JOURNAL_ADD = 1,
    JOURNAL_DELETE = 2,
    JOURNAL_REQUESTS = 3,
    JOURNAL_CREATED = 4,  /* an index is being made: it is there once its frame is */
    JOURNAL_DROPPED = 5,  /* an index is gone from here on, whatever of its files still stands */
    JOURNAL_WITHDRAWN = 6 /* an index could not be made: a frame of its epoch that is found is void */
} journal_kind;

typedef struct journal_item {
    vd_id id;
    const uint8_t *vector; /* little-endian float32, unaligned; NULL in a DELETE */
    uint32_t dimension;
    bytes metadata; /* data NULL: absent (keep what is stored) */
} journal_item;

/* A request id that is remembered, with its first answer. */
typedef struct journal_request {
    bytes id;
    journal_kind kind;
    uint64_t sequence, affected, length;
    uint64_t time_ms; /* since 1970 */
} journal_request;

typedef struct journal_record {
    journal_kind kind;
    uint8_t epoch[LHV1_EPOCH_BYTES];
    uint64_t sequence;
    bytes request_id;
    uint64_t length_after; /* items in the index once applied: the reply of a resend */
    uint64_t synced;       /* highest sequence known durable when this was written; 0: none, or not known */
    bytes name;            /* BEGIN: of the journal's index; CREATED, DROPPED, WITHDRAWN: of the index they speak of */
    const journal_item *items; /* ADD, DELETE */
    size_t item_count;
    const journal_request *requests; /* REQUESTS */
    size_t request_count;
    uint8_t subject[LHV1_EPOCH_BYTES]; /* CREATED, DROPPED, WITHDRAWN: epoch of that index */
    uint64_t time_ms;                  /* likewise: when */
} journal_record;

/* Appends one encoded record to `out`; check out->failed. TOO_LARGE past 4 GiB. */
vd_status journal_encode(const journal_record *record, buffer *out, vd_error *err);

/*
 * Decodes the record at *offset of `data` and advances *offset. Spans point into `data`, arrays into `arena`.
 * OK; OUT_OF_RANGE: clean end (nothing left); ABORTED: cut short or bad checksum at *offset (torn when it is the last segment);
 * DATA_LOSS: checksum right but the contents are not a record; UNIMPLEMENTED: newer version or kind; OUT_OF_MEMORY.
 */
vd_status journal_decode(bytes data, size_t *offset, arena *arena, journal_record *out, vd_error *err);

/*
 * After journal_decode has answered ABORTED at `offset` of the last segment, with `sequence` the last one that was read well:
 * true when what is left is a torn tail (no later record of that epoch says that more than `sequence` had been durable),
 * false when acknowledged records are damaged.
 */
bool journal_tail_is_torn(bytes data, size_t offset, const uint8_t epoch[LHV1_EPOCH_BYTES], uint64_t sequence);

#endif
