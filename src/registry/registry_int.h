/*
 * registry_int.h - what the files of this folder share; nobody else includes it.
 *
 * One index has one `lock` (short: queue and flags, never held over I/O or engine calls) and one `turn`: the right to
 * change the index. The leader of a group of writers holds the turn from the journal to the publishing; a save holds it
 * while it takes its position; a delete and a stop hold it so that nothing comes after them. docs/concurrency.md has the
 * whole order.
 */
#ifndef VECTORD_REGISTRY_REGISTRY_INT_H
#define VECTORD_REGISTRY_REGISTRY_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "registry/index.h"
#include "registry/registry.h"
#include "store/journal.h"
#include "store/lhv1.h"
#include "store/saver.h"

/* ---- names and keys: names.c ---- */

#define FRAME_KEY_MAX   (sizeof "_vectors/" + VD_INDEX_NAME_MAX_BYTES + sizeof ".lhv1")
#define JOURNAL_KEY_MAX (sizeof "_vectors/.journal//" + 2 * LHV1_EPOCH_BYTES + 17)

vd_status registry_name_check(bytes name, vd_error *err);
void registry_frame_key(bytes name, char out[FRAME_KEY_MAX]);
void registry_segment_key(const uint8_t epoch[LHV1_EPOCH_BYTES], uint64_t first, char out[JOURNAL_KEY_MAX]);
/* What a key of the store is; false for keys that mean nothing here. */
bool registry_parse_frame_key(const char *key, bytes *name);
bool registry_parse_journal_key(const char *key, uint8_t epoch[LHV1_EPOCH_BYTES], uint64_t *first);

/* ---- metadata: metadata.c ---- */

/* One item's metadata; shared by reference when a write keeps what is stored. */
typedef struct index_payload {
    _Atomic uint32_t refs;
    uint32_t size;
    char data[];
} index_payload;

index_payload *index_payload_new(bytes metadata); /* returns owned (one reference); NULL when out of memory */
void index_payload_retain(index_payload *payload);
void index_payload_release(void *context, void *payload); /* NULL is fine; the engine's release_payload */
static inline bytes index_payload_bytes(const void *payload) {
    const index_payload *p = payload;
    return p ? bytes_of(p->data, p->size) : (bytes){NULL, 0};
}

typedef enum metadata_rule { METADATA_KEEP, METADATA_CLEAR, METADATA_SET } metadata_rule;
/* Drops white space around `raw` and says what it asks for; does not check it. */
metadata_rule index_metadata_rule(bytes raw, bytes *trimmed);
/* The same, and INVALID_ARGUMENT with the reason when it is no JSON within the limits. err->text has no prefix. */
vd_status index_metadata_check(bytes raw, metadata_rule *rule, bytes *trimmed, vd_error *err);

/* ---- what a group has changed before it is applied: pending.c ---- */

typedef struct pending_entry {
    vd_id id; /* data NULL: free */
    uint64_t hash;
    bool present;
    index_payload *payload; /* borrowed */
} pending_entry;
typedef struct index_pending {
    pending_entry *entries;
    size_t capacity; /* power of two; holds at most half of it */
    size_t count;
} index_pending;

/* Room for `items` ids in all; false when there is no memory. Empties it. */
bool index_pending_prepare(index_pending *p, size_t items);
void index_pending_fini(index_pending *p);
/* The entry of an id, read from the engine when it is new here. Call inside a guard. The id must outlive the entry. */
pending_entry *index_pending_get(index_pending *p, const vd_hnsw *engine, vd_id id);

/* ---- remembered request ids: dedupe.c ---- */

typedef struct dedupe_answer {
    uint64_t sequence;
    uint64_t affected; /* items added or deleted */
    uint64_t length;   /* of the index afterwards */
    uint64_t time_ms;  /* since 1970: when it was given */
} dedupe_answer;
typedef struct dedupe_entry {
    uint64_t hash;
    uint8_t id_size;
    uint8_t kind; /* journal_kind */
    uint8_t id[VD_REQUEST_ID_MAX_BYTES];
    dedupe_answer answer;
} dedupe_entry;
typedef struct dedupe_window {
    uint32_t limit;
    uint32_t capacity; /* entries allocated: power of two up to limit */
    uint32_t count;
    uint32_t next; /* ring position of the next entry */
    dedupe_entry *ring;
    uint32_t *table; /* position in the ring + 1; 0: free */
    uint32_t table_capacity;
} dedupe_window;

void dedupe_init(dedupe_window *w, uint32_t limit); /* limit: power of two */
void dedupe_fini(dedupe_window *w);
bool dedupe_reserve(dedupe_window *w, uint32_t more); /* false: no memory */
const dedupe_entry *dedupe_find(const dedupe_window *w, uint8_t kind, bytes id);
/* Cannot fail after a reserve; without one it forgets silently when there is no memory. */
void dedupe_put(dedupe_window *w, uint8_t kind, bytes id, const dedupe_answer *answer);
/* Entries in the order of their arrival, 0 the oldest; i below w->count. */
const dedupe_entry *dedupe_at(const dedupe_window *w, uint32_t i);
vd_status dedupe_check_id(bytes id, vd_error *err);

/* ---- one index ---- */

/* The records of one group of writes, on their way into the store. */
typedef struct index_chunk {
    struct index_chunk *next;
    uint64_t first, last;  /* sequence numbers */
    uint64_t acked_before; /* greatest acknowledged one when it was made: a segment that begins with it says so */
    uint64_t synced;       /* greatest durable one at that time: likewise */
    uint64_t key;          /* of the segment that begins with it; 0: not tried yet */
    bytes records;
    buffer owned; /* what `records` points into, once it is in the backlog */
} index_chunk;

typedef struct index_segment {
    uint64_t first;
    uint64_t size_bytes;
} index_segment;

/* A write on its way; lives on the stack of the thread that waits for it. */
typedef struct index_op {
    struct index_op *next;
    journal_kind kind;
    bytes request_id;
    journal_item *items;      /* owned array; ids, vectors and metadata belong to the caller's request */
    index_payload **payloads; /* owned, ADD only: what each item will carry */
    size_t count;             /* of them that are journalled */
    size_t given;             /* of them at first */
    size_t id_bytes;          /* of what is added */
    size_t record_bytes;      /* upper bound of the encoded record */
    pthread_cond_t wake;
    bool done;
    bool logged;           /* has a record in the group */
    bool applied;          /* the engine owns the payloads */
    struct index_op *twin; /* an earlier one of the group with the same request id */
    vd_status status;
    vd_error err;
    uint64_t affected, length;
    uint64_t sequence;
    index_durability durability, min_durability, reached;
} index_op;

struct vd_index {
    _Atomic uint32_t refs;
    registry *owner;            /* gone when the index outlives it: not for who may call then */
    index_durability strongest; /* that its store gives; fixed */
    char name[VD_INDEX_NAME_MAX_BYTES + 1];
    index_params params; /* fixed once params_known */
    _Atomic bool params_known;
    _Atomic int state; /* index_state; `reason` and `engine` are written before it */
    char reason[352];
    _Atomic uint32_t progress; /* millionths, while loading */
    vd_hnsw *engine;
    uint8_t epoch[LHV1_EPOCH_BYTES];
    bool epoch_known; /* fixed once loaded; the epoch itself changes with the turn and `lock` held */
    bool leftover;    /* the frame is of an index that was dropped, or never made */

    pthread_mutex_t lock; /* guards: */
    pthread_cond_t turn_free;
    index_op *queue_head, *queue_tail;
    bool turn_taken;
    uint32_t turn_waiting; /* saves, deletes, stops: they go before writers */
    bool dropping;         /* a delete is under way: no save may begin */
    bool dropped;          /* gone: everything is answered "not found" */
    bool closing;
    index_segment *segments; /* in the store, oldest first */
    size_t segment_count, segment_capacity;
    bool saving;         /* a frame is on its way to the store: one at a time, or an older could overtake a newer */
    bool save_wanted;    /* a save is due whatever the journal's size */
    bool changed;        /* something was journalled since the last frame */
    vd_hnsw_stats stats; /* as of the last group, load or calibration */
    int64_t save_not_before_ms; /* after a failure */

    /* guarded by the turn: */
    objstore_log *log;
    buffer records;
    index_pending pending;
    dedupe_window dedupe;
    index_chunk *backlog, **backlog_end; /* applied and acknowledged, not in the store yet; oldest first */
    uint32_t flush_failures;
    uint64_t next_sequence;
    uint64_t acked;        /* greatest sequence that was answered with success (or replayed) */
    bool needs_frame;      /* the store has no frame with our epoch: one goes first */
    bool in_doubt;         /* a group was refused and nothing has been durable since: a crash may bring it back */
    char write_fault[400]; /* memory and journal differ: no more writes until a restart; "" normally */

    /* for readers at any time: */
    _Atomic uint64_t sequence, journal_bytes, snapshot_bytes;
    _Atomic uint64_t durable; /* greatest sequence that the store has, with all before it */
    _Atomic uint64_t backlog_bytes;
    _Atomic int64_t last_write_ms, flush_not_before_ms;

    saver_task *save_task, *flush_task, *calibrate_task; /* NULL when ephemeral (save, flush) or not loaded */
    uint32_t save_failures;                              /* of the save task alone */
};

vd_index *index_new(registry *owner, bytes name); /* LOADING, one reference; NULL: no memory */
/* Makes the engine from index->params. */
vd_status index_make_engine(vd_index *index, vd_error *err);
/* Background tasks of a loaded index; OUT_OF_MEMORY. */
vd_status index_make_tasks(vd_index *index, vd_error *err);
void index_set_ready(vd_index *index);
/* Looks at the engine's figures, which waits for a writer in it; readers get what was seen here and never wait. */
void index_refresh_stats(vd_index *index);
void index_quarantine(vd_index *index, const char *reason);
void index_acquire(vd_index *index);
void index_copy_epoch(vd_index *index, uint8_t out[LHV1_EPOCH_BYTES]);
/* A fresh one: nothing that the store holds belongs to the index any more, and a frame goes before the next record. */
void index_renew_epoch(vd_index *index);
/* Sets sizes from the segment list. */
void index_count_journal_locked(vd_index *index);

/* ---- the turn: index_turn.c ---- */
typedef enum turn_user { TURN_SAVE, TURN_OWNER } turn_user;
/* Waits for the turn ahead of writers. false (TURN_SAVE only): the index is being deleted. */
bool index_turn_take(vd_index *index, turn_user user);
void index_turn_give(vd_index *index);
/* Queues a write, leads the group when it is its turn; returns with op->status set. */
void index_turn_write(vd_index *index, index_op *op);
/* Answers every queued write. */
void index_turn_refuse(vd_index *index, vd_status status, const char *text);

/* ---- index_journal.c: all with the turn, but for the tasks ---- */
/* Puts the backlog and then the group (may be NULL) into the store, durably and in order. After a failure the group's numbers are used
 * up: part of it may be there. */
vd_status index_journal_write(vd_index *index, index_chunk *group, vd_error *err);
/* The store has just failed: it is left alone for a while, each time longer. */
void index_journal_note_failure(vd_index *index);
void index_journal_note_success(vd_index *index);
/* true: a network store failed a moment ago and is not tried again for *retry_ms. */
bool index_journal_pausing(const vd_index *index, int64_t *retry_ms);
/* Adds the group to the backlog; it takes over index->records. UNAVAILABLE: too much waits. */
vd_status index_journal_keep(vd_index *index, index_chunk *group, vd_error *err);
/* Drops what a frame holds. */
void index_journal_forget(vd_index *index, uint64_t position);
/* Begins a segment with the request ids that are still remembered: a frame is about to make their own records superfluous. */
vd_status index_journal_carry_requests(vd_index *index, vd_error *err);
void index_journal_close(vd_index *index);
void index_flush_run(void *index); /* the flush task */
int64_t index_flush_delay(const vd_index *index);

/* ---- index_commit.c ---- */
/* Takes a group through journal and engine; sets status and results of each. Needs the turn. */
void index_commit(vd_index *index, index_op *group);

/* ---- index_save.c ---- */
/* Puts a frame of what the index holds now and drops the journal before it. */
vd_status index_save(vd_index *index, vd_error *err);
/* The same for a caller that holds the turn. */
vd_status index_save_in_turn(vd_index *index, vd_error *err);
/* Waits until no frame is on its way and keeps others from beginning one. Needs the turn. */
void index_saving_begin(vd_index *index);
void index_saving_end(vd_index *index);
/* The first frame of a new index; ALREADY_EXISTS. */
vd_status index_put_first(vd_index *index, vd_error *err);
void index_save_run(void *index);      /* the save task */
void index_calibrate_run(void *index); /* the calibration task */
/* After a write or a load: asks for what is due. */
void index_request_tasks(vd_index *index);

/* ---- index_load.c ---- */
/* Reads frame and journal, ends READY or QUARANTINED (LOADING when the registry is closing). */
void index_load(vd_index *index);
/* index_replay.c: applies the segments of index->segments after `reached` of the frame. */
vd_status index_replay(vd_index *index, uint64_t reached, uint64_t frame_bytes, vd_error *err);

/* ---- index_drop.c ---- */
/* Deletes files; holds the index dead afterwards. On failure the index lives on. */
vd_status index_drop(vd_index *index, bytes request_id, vd_error *err);
/* Moves the files of a quarantined index aside. */
vd_status index_drop_quarantined(vd_index *index, bytes request_id, vd_error *err);
/* Removes what a delete that was cut short has left: frame and journal. true: nothing is left. */
bool index_drop_leftover(vd_index *index);
/* Waits until the caller's reference is the last one, at most timeout_ms. */
void index_wait_unused(vd_index *index, int64_t timeout_ms);

/* ---- the catalog: which indexes are being made, and which are gone: catalog.c ---- */

typedef struct catalog_entry {
    journal_kind kind;
    uint8_t epoch[LHV1_EPOCH_BYTES]; /* of the index */
    uint8_t request_size;
    uint8_t request[VD_REQUEST_ID_MAX_BYTES];
    bool settled; /* DROPPED, WITHDRAWN: nothing of it is left in the store */
    uint64_t sequence, time_ms;
    char name[VD_INDEX_NAME_MAX_BYTES + 1];
} catalog_entry;
typedef struct catalog {
    pthread_mutex_t lock; /* guards everything here, and is held while a record is made durable */
    objstore *store;      /* NULL: in memory only */
    objstore_log *log;
    catalog_entry *entries; /* oldest first */
    size_t count, capacity;
    index_segment *segments;
    size_t segment_count, segment_capacity;
    uint64_t next_sequence, acked;
    uint64_t bytes;
} catalog;

void catalog_init(catalog *c);
void catalog_fini(catalog *c);
/* Reads the segments that the store listed under the epoch of zeros. DATA_LOSS: damaged. Takes `segments`. */
vd_status catalog_open(catalog *c, objstore *store, index_segment *segments, size_t count, vd_error *err);
/* One record, durable when it returns OK, and remembered. */
vd_status catalog_write(catalog *c, journal_kind kind, bytes name, const uint8_t epoch[LHV1_EPOCH_BYTES],
                        bytes request_id, vd_error *err);
/* Remembers what could not be written: that a frame of this epoch is void. */
void catalog_note_void(catalog *c, bytes name, const uint8_t epoch[LHV1_EPOCH_BYTES]);
/* The last entry of that kind and name with this request id; false when there is none. */
bool catalog_find(catalog *c, journal_kind kind, bytes name, bytes request_id, catalog_entry *out);
/* Whether an index of that epoch was dropped, or withdrawn. */
bool catalog_is_gone(catalog *c, const uint8_t epoch[LHV1_EPOCH_BYTES]);
bool catalog_was_dropped(catalog *c, const uint8_t epoch[LHV1_EPOCH_BYTES]);
/* Nothing of that epoch is left in the store: the entry may be forgotten once it is old. */
void catalog_settle(catalog *c, const uint8_t epoch[LHV1_EPOCH_BYTES]);
void catalog_settle_all(catalog *c);

/* ---- the registry ---- */

/* A journal that the store listed at start. */
typedef struct journal_found {
    uint8_t epoch[LHV1_EPOCH_BYTES];
    index_segment *segments;
    size_t count, capacity;
    bool claimed;
    char name[VD_INDEX_NAME_MAX_BYTES + 1]; /* from its BEGIN record, once looked at; "" when unreadable */
} journal_found;

struct registry {
    registry_options options;
    objstore *store;      /* owned; NULL: ephemeral */
    bool frames_left_out; /* the store has more than may be served; fixed once it is listed */
    _Atomic bool listed;  /* what the store holds is known */
    pthread_t lister;     /* waits for a store that was away at the start */
    bool has_lister;
    _Atomic bool leftovers_remain; /* of deletes: not everything could be removed at this start */
    saver *saver;
    _Atomic(metric *) saves, save_failures, journal_failures, journal_syncs; /* NULL until somebody wants them */
    _Atomic uint64_t backlog_bytes;                                          /* of all indexes */
    _Atomic uint32_t indexes_without_store; /* a network store failed them last time they tried */
    catalog catalog;

    pthread_rwlock_t map_lock; /* guards: */
    vd_index **map;            /* sorted by name; VD_INDEXES_MAX entries */
    size_t count;

    pthread_mutex_t lock; /* guards: */
    pthread_cond_t changed;
    const bytes **busy; /* names that are being created or deleted */
    size_t busy_count, busy_capacity;
    char list_reason[352]; /* why the store is not listed yet */
    vd_index **load_queue; /* smallest last: taken from the end */
    size_t load_count;
    uint32_t loaders_running;
    bool loaded;
    journal_found *journals; /* until loading has ended and the unclaimed ones are settled */
    size_t journal_count, journal_capacity;

    _Atomic bool closing;
    pthread_t *loaders;
    uint32_t loader_count;
    pthread_mutex_t print_lock; /* guards printed */
    char (*printed)[VD_INDEX_NAME_MAX_BYTES + 1];
    size_t printed_count;
};

bool registry_map_find(registry *r, bytes name, size_t *position); /* needs map_lock */
void registry_map_insert_locked(registry *r, vd_index *index);
void registry_map_remove_locked(registry *r, vd_index *index);
/* Waits until nobody else creates or deletes that name, then keeps others from it. `name` must live until unbusy. */
vd_status registry_busy(registry *r, const bytes *name, vd_error *err);
void registry_unbusy(registry *r, const bytes *name);
/* The index's epoch, and the journal of that epoch if there is one, become the index's alone: segments are moved to it. When
 * another index has the epoch already, this one gets a new one and needs a frame. OUT_OF_MEMORY. */
vd_status registry_claim_journal(registry *r, vd_index *index, vd_error *err);
index_durability registry_strongest(const registry *r);
/* A failure of the store as clients are told it: what is not a full disk or memory is the store's own trouble, and trying again makes
 * sense. *err keeps its text. */
vd_status registry_store_trouble(vd_status status, vd_error *err);
/* All that the map holds now, each acquired; free the array. NULL: no memory. */
vd_index **registry_acquire_all(registry *r, size_t *count);
/* registry_list.c */
/* Lists the store, or, when a network store is away, begins to wait for it. */
vd_status registry_list_store(registry *r, vd_error *err);
/* UNAVAILABLE with the reason until the store has been listed. */
vd_status registry_check_listed(registry *r, vd_error *err);
/* registry_open.c */
vd_status registry_start_loaders(registry *r, vd_error *err);
/* A frame that was found at the start turned out to be the rest of a deleted index: its files go, and it leaves the map. */
void registry_discard(registry *r, vd_index *index);
void registry_settle_journals(registry *r);
void registry_new_epoch(uint8_t epoch[LHV1_EPOCH_BYTES]);

#endif
