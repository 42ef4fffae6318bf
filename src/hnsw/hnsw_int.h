/*
 * hnsw_int.h - what the files of src/hnsw share: the planes, the index, and the small functions on them.
 *
 * An item lives in a slot. What belongs to a slot stands in planes: arrays that never move (planes.c), so that readers need no
 * lock to address them. A slot is FREE, PENDING (being filled and linked, in nobody's answer), LIVE or DEAD (still passed
 * through by searches, until a sweep has taken it out of every list).
 *
 * Threading
 *   writer        the mutex every writing call holds from begin to end. Inside an add, several threads link nodes at a time.
 *   link lists    the lock bit in word 0 of a node's base list guards writing all lists of that node. Never two at a time.
 *                 Readers take no lock: they load each neighbour with acquire; a list that changes meanwhile is a mix of old and
 *                 new neighbours, each of them a published node.
 *   state         stored with release after everything of the slot has been written.
 *   maps          one writer, lock-free readers inside a guard (map.c).
 *   epochs        whatever readers may still see is retired and freed when every guard from before has been left (epoch.c).
 *   publish_seq   odd while a batch becomes visible: a search that saw it change checks its answer for an id that it met in
 *                 both its old and its new slot.
 *
 * Reachability is an invariant: every base-level node but the root has a parent, and the links parent -> child and child ->
 * parent are never pruned. The tree they form keeps the base level strongly connected whatever else is dropped (tree.c).
 */
#ifndef VECTORD_HNSW_INT_H
#define VECTORD_HNSW_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "hnsw/kernels/kernels.h"
#include "vectord/hnsw.h"

#define SLOT_NONE    UINT32_MAX
#define SLOT_CHECKED 0x80000000u /* flag in a pool entry: already expanded */
#define BLOCK_NONE   UINT32_MAX

/* Up to this many items a full scan costs less than walking the graph. */
#define SCAN_ITEMS 512
/* From this size on the encoding is chosen by measurement. */
#define ENCODING_CHECK_ITEMS 1024
/* Candidates reranked exactly beyond k (measured: the exact top 10 stands inside the code-ranked top 15). */
#define RERANK_EXTRA       8
#define CALIBRATION_K      10
#define CALIBRATION_SAMPLE 400

enum { STATE_FREE = 0, STATE_PENDING = 1, STATE_LIVE = 2, STATE_DEAD = 3 };

/* What walking needs of a node beside its code or vector: 16 bytes, four to a cache line. */
typedef struct node_header {
    float factor;   /* of the code: cosine scale/|x|, euclidean scale */
    float inv_norm; /* cosine: 1/|x| */
    float norm2;    /* |x|^2 */
    int32_t code_sum;
} node_header;

/* word 0 of a base list: count in bits 0..15, tree children in bits 16..23, lock in bit 31 */
#define LINK_COUNT_MASK 0xFFFFu
#define LINK_CHILD_ONE  0x10000u
#define LINK_CHILD_MASK 0xFF0000u
#define LINK_LOCK       0x80000000u

typedef struct map_table map_table;
typedef struct hnsw_map {
    _Atomic(map_table *) table;
    uint64_t used;    /* entries and tombstones; the writer's */
    uint64_t entries; /* the writer's */
} hnsw_map;

typedef struct id_store {
    struct id_chunk *chunks; /* newest first */
    size_t chunk_used;
    size_t bytes;                               /* of all chunks */
    void *free_blocks[VD_ID_MAX_BYTES / 8 + 2]; /* by size class of 8 bytes */
} id_store;

typedef enum retired_kind { RETIRED_SLOT, RETIRED_PAYLOAD, RETIRED_BLOCK } retired_kind;
typedef struct retired {
    retired_kind kind;
    uint64_t epoch;
    uintptr_t value;
    size_t size; /* of a block */
} retired;

#define READER_SLOTS 128
typedef struct reader_slot {
    _Alignas(64) _Atomic uint64_t epoch; /* 0: free */
} reader_slot;

typedef struct scratch scratch;
#define SCRATCH_SLOTS 64

/* Memory that a batch needs, kept between batches and made by reserve. */
typedef struct batch_work {
    size_t capacity;  /* items */
    uint32_t *slots;  /* [capacity] of the batch's items; SLOT_NONE: overridden by a later one */
    uint32_t *nodes;  /* [capacity] those that go into the graph */
    uint32_t *dead;   /* [capacity] slots that the batch replaces or removes */
    uint32_t *dedupe; /* [dedupe_size] */
    size_t dedupe_size;
} batch_work;

struct vd_hnsw {
    vd_hnsw_options options;
    vd_allocator allocator;
    const hnsw_kernels *kernels;

    /* geometry, fixed at birth */
    uint32_t m;
    uint32_t m0;          /* links on the base level */
    size_t code_stride;   /* bytes */
    size_t link_stride;   /* words */
    size_t upper_stride;  /* words per level */
    uint32_t child_limit; /* tree children per node */

    /* planes, addressed by slot */
    uint32_t slot_limit;    /* address space reserved for so many */
    uint32_t slots_ready;   /* usable memory for so many */
    _Atomic uint32_t slots; /* ever handed out */
    float *vectors;
    uint8_t *codes;
    node_header *headers;
    double *norms; /* exact |x|^2 */
    _Atomic uint32_t *links;
    _Atomic uint8_t *state;
    _Atomic uint8_t *levels;
    _Atomic uint32_t *upper;  /* first upper block or BLOCK_NONE */
    _Atomic uint32_t *parent; /* in the tree; of a twin: its representative */
    _Atomic uint32_t *twin;   /* next exact duplicate, or SLOT_NONE */
    _Atomic uint8_t *is_twin; /* not in the graph; the writer's */
    char **ids;
    uint16_t *id_sizes;
    _Atomic(void *) *payloads;
    _Atomic uint32_t *upper_links; /* blocks of upper_stride words */
    uint32_t upper_limit, upper_ready, upper_used;

    /* free things; the writer's */
    uint32_t free_slots;                 /* list through parent[] */
    uint32_t free_uppers[VD_LEVELS_MAX]; /* by number of blocks, list through the blocks' first word */

    id_store id_store;
    hnsw_map id_map;     /* id -> live slot */
    hnsw_map vector_map; /* vector bits -> representative */

    _Atomic uint64_t entry; /* level << 32 | slot; ENTRY_NONE when the graph is empty */
    pthread_mutex_t entry_lock;
    uint32_t root; /* of the tree; the writer's (and guarded by entry_lock while threads link) */

    pthread_mutex_t writer;
    _Atomic uint64_t publish_seq;
    _Atomic bool
        in_flux; /* nodes of the graph are about to live or have just died: searches look what is in their way */
    _Atomic uint64_t count;
    uint32_t *dead_list; /* DEAD and not yet swept */
    size_t dead_count, dead_capacity;
    _Atomic uint32_t dead_pending; /* the same count for readers */

    /* epochs */
    _Atomic uint64_t epoch;
    reader_slot *readers; /* [READER_SLOTS], cache-line aligned inside readers_block */
    void *readers_block;
    retired *retired; /* ring-free: oldest first */
    size_t retired_count, retired_capacity;

    _Atomic(scratch *) scratches[SCRATCH_SLOTS];
    scratch *writer_scratch; /* always there, so that a write needs no new memory */
    batch_work work;

    /* choices by measurement */
    _Atomic bool walk_codes;
    _Atomic uint32_t ef_calibrated;
    _Atomic uint64_t calibrated_at;
    _Atomic uint64_t encoding_checked_at;
    _Atomic double calibrated_recall;
    _Atomic uint64_t distances;
    uint64_t id_bytes_live;
};

#define ENTRY_NONE UINT64_MAX
static inline uint64_t entry_make(uint32_t slot, uint32_t level) {
    return (uint64_t)level << 32 | slot;
}

/* ---- planes.c ---- */
vd_status planes_open(vd_hnsw *h, vd_error *err);
void planes_close(vd_hnsw *h);
/* Makes the memory of slots 0..slots-1 and of `uppers` upper blocks usable. */
vd_status planes_commit(vd_hnsw *h, uint64_t slots, uint64_t uppers, vd_error *err);
uint64_t planes_bytes(const vd_hnsw *h);

/* ---- small facts of a slot ---- */
static inline uint32_t level_of(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->levels[slot], memory_order_relaxed);
}
static inline uint32_t upper_of(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->upper[slot], memory_order_relaxed);
}
static inline bool twin_of_another(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->is_twin[slot], memory_order_relaxed) != 0;
}

/* ---- lists ---- */
static inline _Atomic uint32_t *base_links(const vd_hnsw *h, uint32_t slot) {
    return h->links + (size_t)slot * h->link_stride;
}
static inline _Atomic uint32_t *level_links(const vd_hnsw *h, uint32_t slot, uint32_t level) {
    return level == 0 ? base_links(h, slot)
                      : h->upper_links + ((size_t)upper_of(h, slot) + level - 1) * h->upper_stride;
}
static inline uint32_t level_capacity(const vd_hnsw *h, uint32_t level) {
    return level == 0 ? h->m0 : h->m;
}
static inline uint32_t links_count(const _Atomic uint32_t *list, uint32_t capacity) {
    uint32_t n = atomic_load_explicit(list, memory_order_acquire) & LINK_COUNT_MASK;
    return n < capacity ? n : capacity;
}
static inline uint32_t link_get(const _Atomic uint32_t *list, uint32_t i) {
    return atomic_load_explicit(&list[1 + i], memory_order_acquire);
}
void node_lock(const vd_hnsw *h, uint32_t slot);
void node_unlock(const vd_hnsw *h, uint32_t slot);
/* Replaces the list (node locked, or not yet visible). */
void links_store(_Atomic uint32_t *list, const uint32_t *slots, uint32_t count);
static inline uint8_t slot_state(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->state[slot], memory_order_acquire);
}
static inline uint32_t parent_of(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->parent[slot], memory_order_acquire);
}

/* ---- slots.c: taking and giving back slots, ids, upper blocks ---- */
uint32_t slot_take(vd_hnsw *h); /* memory has been reserved: cannot fail */
void slot_release(vd_hnsw *h, uint32_t slot);
/* Fills vector, code, header, norm of a slot; any thread. */
void slot_write_vector(vd_hnsw *h, uint32_t slot, const float *vector);
uint32_t slot_level(const vd_hnsw *h, vd_id id);
/* Gives the slot upper blocks for `level`; lowers the level when there are none. */
void slot_set_level(vd_hnsw *h, uint32_t slot, uint32_t level);
static inline vd_id slot_id(const vd_hnsw *h, uint32_t slot) {
    vd_id id = {h->ids[slot], h->id_sizes[slot]};
    return id;
}
/* Byte order, the shorter first: what orders ties and snapshots. */
int id_compare(vd_id a, vd_id b);
vd_status ids_reserve(vd_hnsw *h, size_t items, size_t id_bytes);
char *ids_take(vd_hnsw *h, vd_id id); /* a copy; cannot fail after ids_reserve */
void ids_release(vd_hnsw *h, char *block, size_t size);
void ids_close(vd_hnsw *h);

/* ---- map.c ---- */
uint64_t hash_bytes(uint64_t seed, const void *data, size_t size);
uint64_t hash_id(const vd_hnsw *h, vd_id id);
uint64_t hash_vector(const vd_hnsw *h, const float *vector);
vd_status map_reserve(vd_hnsw *h, hnsw_map *map, uint64_t more);
void map_close(vd_hnsw *h, hnsw_map *map);
size_t map_bytes(const hnsw_map *map);
uint32_t id_map_find(const vd_hnsw *h, vd_id id);                /* guard held */
uint32_t vector_map_find(const vd_hnsw *h, const float *vector); /* guard held */
void map_put(hnsw_map *map, uint64_t hash, uint32_t slot);
/* Replaces the entry of `hash` that holds `from`; false when there is none. */
bool map_swing(hnsw_map *map, uint64_t hash, uint32_t from, uint32_t to);
void map_remove(hnsw_map *map, uint64_t hash, uint32_t slot);

/* ---- epoch.c ---- */
vd_status retire_reserve(vd_hnsw *h, size_t more);
void retire(vd_hnsw *h, retired_kind kind, uintptr_t value, size_t size);
void reclaim(vd_hnsw *h, bool all);

/* ---- scratch.c: per-search working memory, pooled ---- */
typedef struct candidate {
    float distance;
    uint32_t slot;
} candidate;

typedef struct walk_query {
    bool codes;
    float factor, inv_norm, norm2;
    int32_t code_bias; /* 128 * sum of the query's code */
    int8_t *code;      /* code_stride bytes, 64-byte aligned; in the scratch */
    const float *vector;
} walk_query;

#define BATCH_SLOTS_MAX 512
struct scratch {
    size_t bytes;
    uint64_t *visited; /* a bit per slot */
    uint16_t *visited_tag;
    size_t visited_words;
    uint16_t visited_epoch;
    uint64_t *pool; /* distance bits << 32 | slot (| SLOT_CHECKED), ascending */
    size_t pool_capacity;
    uint32_t pool_size, pool_limit, pool_next;
    walk_query query;
    int8_t *pair_code; /* a second query code, for pruning */
    candidate *candidates;
    uint32_t *ids_a, *ids_b; /* [BATCH_SLOTS_MAX] */
    uint32_t *survivors;     /* [BATCH_SLOTS_MAX] */
    float *distances_a;      /* [BATCH_SLOTS_MAX] */
    int32_t *raw;            /* [BATCH_SLOTS_MAX] */
    uint64_t distances;      /* counted since the scratch was taken */
    uint32_t hops;
};
/* NULL when out of memory. `ef`: pool entries needed. */
scratch *scratch_take(const vd_hnsw *h, uint32_t ef);
void scratch_give(const vd_hnsw *h, scratch *s);
/* Whether it has room for every slot handed out so far, and for `ef`: batches that were added since it was taken can outgrow it. */
bool scratch_fits(const vd_hnsw *h, const scratch *s, uint32_t ef);
/* The writer's own, grown for `ef`; only reserve may find no memory. */
vd_status scratch_reserve_writer(vd_hnsw *h, uint32_t ef);
void scratch_free(const vd_hnsw *h, scratch *s);
void scratch_begin(scratch *s); /* forgets what was visited */

/* ---- walk.c: distances and searching one level ---- */
void query_from_vector(const vd_hnsw *h, scratch *s, const float *vector);
void query_from_slot(const vd_hnsw *h, scratch *s, uint32_t slot);
/* A stored node as a query; its code goes to `code` (code_stride bytes, 64-byte aligned) when `codes`. */
void stored_query(const vd_hnsw *h, uint32_t slot, bool codes, int8_t *code, walk_query *q);
/* A second query beside s->query, for distances between two stored nodes; valid until the next call with this scratch. */
void pair_query(const vd_hnsw *h, scratch *s, uint32_t slot, walk_query *q);
/* Distances for walking: monotone in the true distance, >= 0, any precision. count <= BATCH_SLOTS_MAX. */
void walk_distances(const vd_hnsw *h, scratch *s, const walk_query *q, const uint32_t *slots, uint32_t count,
                    float *out);
/* Greedy descent from the entry point to `target` level; false when the graph is empty. */
bool walk_descend(const vd_hnsw *h, scratch *s, uint32_t target, candidate *nearest);
/* Best-first search of one level from `start`; leaves the pool sorted. `hidden` (SLOT_NONE: none) is passed by as if it were not
 * there. */
void walk_level(const vd_hnsw *h, scratch *s, candidate start, uint32_t level, uint32_t ef, uint32_t hidden);
static inline uint32_t pool_slot(uint64_t key) {
    return (uint32_t)key & ~SLOT_CHECKED;
}
static inline float pool_distance(uint64_t key) {
    uint32_t bits = (uint32_t)(key >> 32);
    float d;
    __builtin_memcpy(&d, &bits, sizeof d);
    return d;
}
/* The distance that answers carry. */
double exact_distance(const vd_hnsw *h, const float *query, double query_norm2, uint32_t slot);

/* ---- prune.c ---- */
/* Picks at most `capacity` of the sorted candidates around their centre by the diversity rule; `kept` may alias nothing.
 * protect(h, centre, slot) links always stay (centre SLOT_NONE: none are protected). */
uint32_t prune_select(const vd_hnsw *h, scratch *s, uint32_t centre, const candidate *sorted, uint32_t count,
                      uint32_t capacity, uint32_t *kept);
/* Adds to `kept` (n so far, none of them among the candidates) what none of them covers, up to `capacity`. */
uint32_t prune_extend(const vd_hnsw *h, scratch *s, const candidate *sorted, uint32_t count, uint32_t capacity,
                      uint32_t *kept, uint32_t n);
/* Adds the nearest candidates that were not kept until `least` are. Returns the new number. */
uint32_t prune_fill(const candidate *sorted, uint32_t count, uint32_t least, uint32_t *kept, uint32_t n);
/* Adds `to` to the list of `from` on a level, pruning when it is full. Takes and gives the lock of `from`. `forced`: the link
 * is one of the tree's and must stay. */
void link_add(const vd_hnsw *h, scratch *s, uint32_t from, uint32_t to, float distance, uint32_t level);
/* The same with the node already locked. */
void link_add_locked(const vd_hnsw *h, scratch *s, uint32_t from, uint32_t to, float distance, uint32_t level);
void candidates_sort(candidate *c, uint32_t count);

/* ---- insert.c ---- */
void graph_insert(vd_hnsw *h, scratch *s, uint32_t slot);

/* ---- tree.c ---- */
/* Makes one of the sorted candidates (or whoever has room near them) the parent of `slot`, links both ways; returns it. */
uint32_t tree_adopt(vd_hnsw *h, scratch *s, uint32_t slot, const candidate *sorted, uint32_t count);
/* Takes a dying node out of the tree, its children find new parents. Writer only, no linking threads. */
void tree_remove(vd_hnsw *h, scratch *s, uint32_t slot);
static inline bool tree_link(const vd_hnsw *h, uint32_t a, uint32_t b) {
    return parent_of(h, a) == b || parent_of(h, b) == a;
}

/* ---- delete.c ---- */
/* The slots in work.dead[0..count) have just become DEAD and left the id map: repairs the graph around them. */
void bury(vd_hnsw *h, size_t count, const vd_executor *executor);

/* ---- search.c ---- */
/* vd_hnsw_search with one node left out of the answer and of every path (calibration); guard held. */
vd_status search_without(const vd_hnsw *h, const float *query, const vd_hnsw_search_options *options, uint32_t hidden,
                         vd_hit *hits, size_t *count, vd_search_info *info, vd_error *err);

/* ---- index.c ---- */
vd_status reserve_locked(vd_hnsw *h, size_t items, size_t id_bytes, vd_error *err);
uint32_t ef_effective(const vd_hnsw *h);
void executor_run(const vd_executor *executor, void (*task)(void *arg, uint32_t index), void *arg, uint32_t count);
static inline uint32_t executor_width(const vd_executor *executor) {
    return executor && executor->width ? executor->width : 1;
}

/* ---- calibrate.c ---- */
/* Chooses codes or float32 for walking when the index has doubled since the last look (AUTO only). Guard or writer held. */
void encoding_check(vd_hnsw *h, const vd_executor *executor);

#endif
