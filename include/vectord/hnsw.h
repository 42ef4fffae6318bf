/*
 * hnsw.h - the embeddable engine: an in-memory approximate nearest neighbour index over string ids.
 *
 * HNSW (Malkov and Yashunin, arXiv 1603.09320) with diversity pruning of own and back links, real deletes,
 * exact duplicates kept out of the graph, and exact distances in every answer. No I/O, no sockets, no log,
 * no clock, no threads of its own (see executor.h). Memory comes from one allocator, but for what has a place per item and for
 * large tables, which are mapped (mmap).
 *
 * Deterministic: the same calls give the same graph, bit for bit, on any number of threads and any processor, and so the
 * same answers. (With one reservation: which places of deleted items are used again depends on whether a reader held a pass when
 * they died, and places break ties.)
 *
 * Distances (lower is nearer), computed in double from the exact float32 values in a fixed order, so they are
 * bit-equal on every CPU:   cosine 1 - dot(q,x)/sqrt(|q|^2 |x|^2) ; euclidean sqrt(sum (q-x)^2).
 * Results are ordered by (distance, id bytes), which is total.
 *
 * Threading: any number of searches and reads run at the same time as one another and as a write; they take no
 * lock. Writes (add, delete, optimize-like calls, snapshot_begin) are serialised by the index itself: a second
 * writer waits. Whoever looks at pointers that the index hands out (ids, payloads, snapshot items) does so
 * between vd_hnsw_enter and vd_hnsw_leave.
 *
 * Ownership words: borrows (valid during the call), copies, takes (on success only), returns owned.
 */
#ifndef VECTORD_HNSW_H
#define VECTORD_HNSW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vectord/executor.h"
#include "vectord/limits.h"
#include "vectord/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vd_hnsw vd_hnsw;

typedef enum vd_metric { VD_METRIC_COSINE = 1, VD_METRIC_EUCLIDEAN = 2 } vd_metric;

/*
 * What the graph is walked with, and how vectors are stored beside it. None needs training. Unless vectors are discarded, the
 * float32 values come back bit for bit with every one of them, and are stored once: what walking does not read is a complement.
 *   SQ8   8 bits per component, scale by the vector's largest        reads d bytes per distance
 *   SQ4   the upper 4 of the same 8 bits; the rest refines answers   reads d/2 bytes; the fastest where it ranks well
 *   F16, BF16   half precision                                       reads 2d bytes
 *   F32   as they are                                                reads 4d bytes
 *   AUTO  SQ4 or SQ8 where their order holds the true ten nearest of the index's own vectors within what is measured again
 *         exactly, else F32; looks again at every calibration.
 */
typedef enum vd_encoding {
    VD_ENCODING_AUTO = 0,
    VD_ENCODING_F32 = 1,
    VD_ENCODING_SQ8 = 2,
    VD_ENCODING_SQ4 = 3,
    VD_ENCODING_F16 = 4,
    VD_ENCODING_BF16 = 5
} vd_encoding;
/* "auto", "f32", "sq8", "sq4", "f16", "bf16"; NULL for a number that is none. vd_encoding_parse: false for a name that is none. */
VECTORD_API const char *vd_encoding_name(vd_encoding encoding);
VECTORD_API bool vd_encoding_parse(const char *name, vd_encoding *out);

/* Memory functions; all three are needed. `size` is what was asked for. alloc returns NULL when there is none. */
typedef struct vd_allocator {
    void *context;
    void *(*alloc)(void *context, size_t size);
    void *(*resize)(void *context, void *block, size_t old_size, size_t new_size);
    void (*release)(void *context, void *block, size_t size);
} vd_allocator;

typedef struct vd_id {
    const char *data; /* UTF-8, not NUL-terminated; the engine treats it as bytes */
    uint32_t size;    /* 1..VD_ID_MAX_BYTES */
} vd_id;

/* Zero-initialise, set what you need: 0 or NULL means the default of limits.h everywhere but `dimension`. */
typedef struct vd_hnsw_options {
    uint32_t dimension;
    vd_metric metric; /* default VD_METRIC_COSINE */
    uint32_t m;       /* links per node on the upper levels; the base level holds up to 2m-1 */
    uint32_t ef_construction;
    uint32_t ef_search; /* floor of the effective ef */
    double recall_target;
    vd_encoding encoding;
    /* Keep codes only: a third (sq8) or a quarter (sq4) of the memory. Distances are then those of what the codes stand for,
     * and that is what get and snapshots show. Not with f32; auto means sq8. */
    bool discard_vectors;
    uint64_t seed;
    const vd_allocator *allocator; /* copied; NULL: malloc */
    /* Called for a payload that no reader can see any more; NULL when payloads need no freeing. Under the writer's lock: it must
     * not call the index. */
    void (*release_payload)(void *context, void *payload);
    void *release_context;
} vd_hnsw_options;

/* Returns owned (free with vd_hnsw_free). INVALID_ARGUMENT names the option out of range; OUT_OF_MEMORY. */
VECTORD_API vd_status vd_hnsw_new(const vd_hnsw_options *options, vd_hnsw **out, vd_error *err);
/* No call may be running or follow. NULL is fine. Releases every payload. */
VECTORD_API void vd_hnsw_free(vd_hnsw *index);

/* ---- writing ---- */

typedef struct vd_hnsw_item {
    vd_id id;
    const float *vector; /* `dimension` finite values; not all zero under cosine */
    void *payload;       /* opaque to the engine; returned with hits; NULL is a value like any other */
} vd_hnsw_item;

/*
 * Checks one vector as add and search do. INVALID_ARGUMENT with a text that names the first bad element
 * ("vector[7] is not finite", "zero-norm vector", "norm overflows"). Thread-safe.
 */
VECTORD_API vd_status vd_hnsw_validate(const vd_hnsw *index, const float *vector, vd_error *err);

/*
 * Sets aside all memory that adds and deletes of `items` items together can need, the added ones with `id_bytes` bytes of ids in
 * total (0: nothing is added), so that none of them can fail. It is kept until so many have been added or deleted;
 * no items at all end what was promised before.
 * OUT_OF_MEMORY leaves everything as it was.
 */
VECTORD_API vd_status vd_hnsw_reserve(vd_hnsw *index, size_t items, size_t id_bytes, vd_error *err);

/*
 * Adds or replaces `count` items, all or nothing, in parallel on `executor` (NULL: calling thread). Copies ids
 * and vectors; takes payloads. An id that is there already gets the new vector and payload (the old payload is
 * released when no reader sees it). The same id several times in one call: the last one wins and the payloads of
 * the others are released. When it returns, every search that starts later sees all of them.
 * INVALID_ARGUMENT ("items[j]: ..."), OUT_OF_MEMORY (only without a sufficient reserve): nothing changed, and
 * the caller still owns the payloads.
 */
VECTORD_API vd_status vd_hnsw_add(vd_hnsw *index, const vd_hnsw_item *items, size_t count, const vd_executor *executor,
                                  vd_error *err);

/* Removes ids; unknown ones are skipped. *deleted (may be NULL) is how many were there. Neighbours are reconnected
 * before it returns and the space is used again. */
VECTORD_API vd_status vd_hnsw_delete(vd_hnsw *index, const vd_id *ids, size_t count, const vd_executor *executor,
                                     size_t *deleted, vd_error *err);

/*
 * Links every node once more, now that the whole graph is there to search (and with a second, wider choice of links: the
 * occlusion factor alpha of DiskANN, 1.1 for own links and 1.05 for back links). What it saves depends on the data: on 100,000
 * sentence embeddings 10 % of the distances per search at recall 0.95 and a third at 0.99; it undoes what many deletes did to the
 * graph; on queries unlike anything stored it can cost a tenth. Runs beside searches and writes: it takes the writer's place for
 * some hundred nodes at a time. `progress` (may be NULL) is called after each piece, with no lock held; false from it ends the call
 * (CANCELLED), and a later call goes on where it ended.
 * A pass over what was added since the last one, or over everything when the index has grown by half. Due
 * (vd_hnsw_optimization_due) when more than a tenth of the items have never been through one. OUT_OF_MEMORY: no scratch space.
 */
typedef struct vd_optimize_options {
    const vd_executor *executor;
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
} vd_optimize_options;
VECTORD_API bool vd_hnsw_optimization_due(const vd_hnsw *index);
VECTORD_API vd_status vd_hnsw_optimize(vd_hnsw *index, const vd_optimize_options *options, vd_error *err);

/* Stores and walks with another encoding from now on (AUTO: chooses now and at every calibration). Searches go on; writes wait;
 * the vectors are held twice meanwhile. OUT_OF_MEMORY: nothing changed. FAILED_PRECONDITION when vectors were discarded.
 * INVALID_ARGUMENT: no such encoding. */
VECTORD_API vd_status vd_hnsw_convert(vd_hnsw *index, vd_encoding encoding, const vd_executor *executor, vd_error *err);

/*
 * Measures, on a sample of the index's own vectors searched leave-one-out against an exact scan, how far a search must look for
 * which recall at k = 10, and uses that from then on (aiming above each target: real queries lie further out than stored vectors).
 * Runs beside searches and writes. Due (vd_hnsw_calibration_due) whenever the index has doubled or lost a third since the
 * last time, or was optimized; until then searches look a little further as the index grows. Stale (vd_hnsw_calibration_stale) when
 * it has changed by a twentieth: worth doing again once nothing is being written.
 */
VECTORD_API bool vd_hnsw_calibration_due(const vd_hnsw *index);
VECTORD_API bool vd_hnsw_calibration_stale(const vd_hnsw *index);
VECTORD_API vd_status vd_hnsw_calibrate(vd_hnsw *index, const vd_executor *executor, vd_error *err);

/* ---- reading ---- */

/* A reader's pass: while it is held, no id, vector or payload that the index has shown can go away. Cheap (two
 * atomic stores), may be nested in one thread with separate guards, must be left by the thread that entered. There are 128 at a
 * time; who wants another waits for one to be left, so threads that nest them must be fewer than 64. */
typedef struct vd_hnsw_guard {
    uint32_t slot;
} vd_hnsw_guard;
VECTORD_API void vd_hnsw_enter(const vd_hnsw *index, vd_hnsw_guard *guard);
VECTORD_API void vd_hnsw_leave(const vd_hnsw *index, vd_hnsw_guard *guard);

/*
 * Which items may be answers. `slots`: bit s % 64 of word s / 64 says whether the item in slot s may (bits beyond slot_count: no).
 * `accept`: called for what the bitmap lets through, from the searching thread (several in a batch call), inside the guard;
 * must be quick and give the same answer every time. Either may be NULL; with both NULL everything may.
 * A filtered search finds min(k, items that match): few matches are scanned, many are collected while walking, what is between
 * walks through the neighbours of what does not match, with the scan as the last resort.
 */
typedef struct vd_filter {
    const uint64_t *slots;
    uint64_t slot_count;
    bool (*accept)(void *context, uint32_t slot, vd_id id, void *payload);
    void *context;
} vd_filter;

typedef struct vd_hnsw_search_options {
    uint32_t k;           /* 0: VD_K_DEFAULT */
    uint32_t ef;          /* 0: as far as recall_target needs, by distance; else a plain pool of so many (at least k) */
    bool exact;           /* scan everything */
    double recall_target; /* 0: the index's own; else above 0 and at most 1. Not together with ef */
    uint64_t
        max_distances; /* 0: no limit. Work ends within 1,024 of it; the best so far are the answer, `truncated` is set */
    const int *cancel; /* NULL: none. Read (atomically) at least every 1,024 distances; not 0 ends the work as above */
    const vd_filter *filter; /* NULL: none */
} vd_hnsw_search_options;

typedef struct vd_hit {
    double distance;
    vd_id id;      /* points into the index: valid while the guard is held */
    void *payload; /* likewise */
    uint32_t slot; /* the item's place, for filters: its own until it is deleted or replaced and the guard left */
} vd_hit;

typedef enum vd_plan {
    VD_PLAN_SCAN = 0,        /* every item was measured: the answer is exact */
    VD_PLAN_WALK = 1,        /* the graph was walked */
    VD_PLAN_FILTER_SCAN = 2, /* every item that matches was measured: exact too */
    VD_PLAN_FILTER_WALK = 3, /* walked, collecting what matches */
    VD_PLAN_FILTER_HOP = 4   /* walked over what matches, two hops at a time */
} vd_plan;

/* What a search did; deterministic for a given graph, so tests gate on it. */
typedef struct vd_search_info {
    uint32_t ef;        /* most that the pool could hold; 0 for scans */
    uint32_t visited;   /* nodes expanded */
    uint64_t distances; /* computed, of any precision: of these... */
    uint64_t refined;   /* ...with all bits of a code after a walk on half of them */
    uint64_t reranked;  /* ...in double from the exact vectors */
    vd_plan plan;
    bool exact;     /* nothing can be nearer than what was found */
    bool truncated; /* the budget or the caller ended it early */
} vd_search_info;

/*
 * Finds the k nearest items. `hits` has room for k; *count is how many were found: min(k, items that match). Call inside a
 * guard. `info` may be NULL. INVALID_ARGUMENT: see vd_hnsw_validate. OUT_OF_MEMORY: no scratch space.
 */
VECTORD_API vd_status vd_hnsw_search(const vd_hnsw *index, const float *query, const vd_hnsw_search_options *options,
                                     vd_hit *hits, size_t *count, vd_search_info *info, vd_error *err);

/*
 * The same for `query_count` queries that lie one behind the other: results of query i at hits[i * k], counts[i], infos[i]
 * (infos may be NULL). The threads of the executor (NULL: the calling one) share them. Equal answers to as many single
 * calls. Call inside a guard that the calling thread holds. Any failure fails the whole call; the text names the query ("queries[3]: vector[7] is not finite").
 */
VECTORD_API vd_status vd_hnsw_search_batch(const vd_hnsw *index, const float *queries, size_t query_count,
                                           const vd_hnsw_search_options *options, const vd_executor *executor,
                                           vd_hit *hits, size_t *counts, vd_search_info *infos, vd_error *err);

/* Copies the vector of an id (bit for bit as it was added) to `vector` (may be NULL) and shows its payload
 * (`payload` may be NULL). Call inside a guard. NOT_FOUND. */
VECTORD_API vd_status vd_hnsw_get(const vd_hnsw *index, vd_id id, float *vector, void **payload);
/* The slot of an id, for filters. Call inside a guard. NOT_FOUND. */
VECTORD_API vd_status vd_hnsw_slot(const vd_hnsw *index, vd_id id, uint32_t *slot);
/* Slots ever handed out: what a bitmap of all slots must cover. */
VECTORD_API uint32_t vd_hnsw_slots(const vd_hnsw *index);

typedef struct vd_hnsw_stats {
    uint64_t items;
    uint64_t deleted_unswept; /* slots still waiting to be used again */
    uint64_t memory_bytes;    /* everything the index holds, committed, but for what payloads point to */
    uint32_t levels;
    uint32_t ef_effective;    /* most that the pool of a search without an ef of its own can hold */
    uint64_t calibrated_at;   /* items at the last calibration; 0: never */
    double calibrated_recall; /* what it measured at the setting for recall_target */
    double calibrated_gamma;  /* that setting: a search goes on to (1 + gamma)^2 of the k-th distance */
    uint64_t optimized;       /* items that have been through the second pass */
    vd_encoding encoding;     /* what the graph is walked with now; never AUTO */
    uint64_t distances;       /* computed since the start, by writes and searches */
} vd_hnsw_stats;
/* Waits for a write that is going on (it reads what only writers touch): poll it, do not call it per search. */
VECTORD_API void vd_hnsw_get_stats(const vd_hnsw *index, vd_hnsw_stats *stats);
VECTORD_API void vd_hnsw_get_options(const vd_hnsw *index, vd_hnsw_options *options);
VECTORD_API uint64_t vd_hnsw_count(const vd_hnsw *index);

/* ---- a consistent picture, for saving ---- */

/*
 * The live items of one moment, sorted by id bytes. Writes may go on while it is held (links may then change;
 * those to items outside the picture are not shown). Holds a reader's pass: end it on the thread that began it.
 */
typedef struct vd_hnsw_snapshot vd_hnsw_snapshot;
typedef struct vd_hnsw_node {
    vd_id id;
    const float *vector; /* `dimension` exact values, valid until the next call on this snapshot */
    void *payload;
    uint32_t level; /* the node stands on levels 0..level */
} vd_hnsw_node;
VECTORD_API vd_status vd_hnsw_snapshot_begin(vd_hnsw *index, vd_hnsw_snapshot **out, vd_error *err);
VECTORD_API uint64_t vd_hnsw_snapshot_count(const vd_hnsw_snapshot *snapshot);
VECTORD_API uint32_t vd_hnsw_snapshot_levels(const vd_hnsw_snapshot *snapshot);
VECTORD_API void vd_hnsw_snapshot_node(vd_hnsw_snapshot *snapshot, uint64_t position, vd_hnsw_node *out);
/* Writes the positions (in this snapshot) of the nearest neighbours of `position` on `level`, nearest first, at most
 * `capacity`; returns how many. Exact duplicates that share a node are not neighbours of one another. */
VECTORD_API size_t vd_hnsw_snapshot_links(vd_hnsw_snapshot *snapshot, uint64_t position, uint32_t level, uint32_t *out,
                                          size_t capacity);
VECTORD_API void vd_hnsw_snapshot_end(vd_hnsw_snapshot *snapshot);

/* ---- health ---- */

typedef struct vd_hnsw_report {
    uint64_t items;
    uint64_t unreachable; /* live items that no path from the entry point leads to; must be 0 */
    uint64_t bad_links;   /* self, repeated, out of range, to free slots, to a level the target is not on */
    uint64_t bad_levels;
    uint64_t bad_map;   /* id map and slots disagree */
    double mean_degree; /* base level */
    char first[160];    /* the first fault in words; "" when there is none */
} vd_hnsw_report;
/* Checks every invariant; O(items). Writers wait. INTERNAL when anything is wrong (*report says what). */
VECTORD_API vd_status vd_hnsw_check(vd_hnsw *index, vd_hnsw_report *report, vd_error *err);

/* The kernel set in use: "scalar", "avx2", "avx2vnni", "avx512", "neon", "neondot". VECTORD_CPU=name in the environment
 * forces one that the machine has, before the first index is made. */
VECTORD_API const char *vd_hnsw_cpu(void);

/* The version of the library, "1.2.3". */
VECTORD_API const char *vd_version(void);

#ifdef __cplusplus
}
#endif
#endif
