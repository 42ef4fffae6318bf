/*
 * hnsw_int.h - what the files of src/hnsw share: the planes, the index, and the small functions on them.
 *
 * An item lives in a slot. What belongs to a slot stands in planes: arrays that never move (planes.c), so that readers need no
 * lock to address them. A slot is FREE, PENDING (being filled and linked, in nobody's answer), LIVE or DEAD (still passed
 * through by searches, until a sweep has taken it out of every list). The planes that hold vectors are grouped in a form (form.c),
 * which is replaced whole when an index changes its encoding.
 *
 * Threading
 *   writer        the mutex every writing call holds from begin to end. Its parallel sections never have two threads write the list
 *                 of one node: links are chosen side by side on a graph that stands still, then each list is changed by one thread
 *                 (link.c). That is also why the graph does not depend on the number of threads.
 *   link lists    readers take no lock: they load each neighbour with acquire; a list that changes meanwhile is a mix of old and new
 *                 neighbours, each of them a published node.
 *   state         stored with release after everything of the slot has been written.
 *   form          loaded with acquire once per search, inside a guard; a replaced one is retired.
 *   maps          one writer, lock-free readers inside a guard (map.c).
 *   epochs        whatever readers may still see is retired and freed when every guard from before has been left (epoch.c).
 *   publish_seq   odd while a batch becomes visible: a search that saw it change checks its answer for an id that it met in
 *                 both its old and its new slot.
 *   sweep_seq     goes up before the dead are taken out of the lists, and a copy out of its chain.
 *   swing_seq     odd while ids go over to other slots: a scan that saw it change may have missed one in both, and scans again.
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

#define SLOT_NONE  UINT32_MAX
#define BLOCK_NONE UINT32_MAX

/* Up to this many items a full scan costs less than walking the graph. */
#define SCAN_ITEMS 512
/* From this size on the encoding is chosen by measurement. */
#define ENCODING_CHECK_ITEMS 1024
/* Candidates measured again with all bits after a walk on half of them, beyond k: at least so many, and then all that the error of
 * four bits leaves in doubt. Measured on 384-d sentence embeddings: 99.9 % of the true ten nearest stand among the first 20. */
#define REFINE_LEAST 10
#define REFINE_CHUNK 8
/* Candidates measured exactly beyond k, at most: those that the error of the codes leaves in doubt (search.c). Usually one; many where
 * vectors lie closer together than codes can tell. */
#define RERANK_MOST        64
#define CALIBRATION_K      10
#define CALIBRATION_SAMPLE 400
/* Most that the pool of a search by recall can hold: hard queries look further, easy ones stop long before. */
#define POOL_ADAPTIVE 400u
/* Nodes linked side by side: bounded by LINK_BATCH_SHARE of the graph, so that they find nearly everything they would have found one
 * after the other; among themselves they are compared one by one. */
#define LINK_BATCH_MAX   128
#define LINK_BATCH_SHARE 50

enum { STATE_FREE = 0, STATE_PENDING = 1, STATE_LIVE = 2, STATE_DEAD = 3 };

/* word 0 of a base list: count in bits 0..15, tree children in bits 16..23, been through the second pass in bit 24 */
#define LINK_COUNT_MASK 0xFFFFu
#define LINK_CHILD_ONE  0x10000u
#define LINK_CHILD_MASK 0xFF0000u
#define LINK_OPTIMIZED  0x1000000u

/* ---- planes ---- */
typedef struct plane {
    uint8_t *base;
    size_t stride;   /* bytes per slot; 0: the plane is not there */
    size_t reserved; /* bytes of address space */
    size_t huge;     /* bytes from the start that stand on huge pages (or were refused them) */
    bool usable;     /* all of it, from the start */
    bool walked;     /* large and read at random: worth huge pages */
    bool payload;    /* what a free slot holds is of no use to anyone: its pages may be given back */
} plane;

/* What exactness needs of a vector that is walked by codes or halves. With discard_vectors only `scale` is kept. */
typedef struct vector_head {
    float scale;
    uint32_t exceptions; /* block of the exceptions plane, or EXCEPTIONS_NONE */
    double norm2;
} vector_head;
#define EXCEPTIONS_NONE 0u

enum { FORM_HIGH, FORM_LOW, FORM_REST, FORM_FACTOR, FORM_NORM2, FORM_HEAD, FORM_PLANES };

/* How the vectors of an index are stored. Codes: the upper and lower halves of 8-bit codes in HIGH and LOW (discarding with sq4: no
 * LOW), the 24 bits that complete them in REST. Halves (f16, bf16): HIGH has them, REST the other 16 bits. f32: HIGH is all. */
typedef struct form {
    vd_encoding encoding; /* F32, F16, BF16; SQ8 for codes of 8 bits, SQ4 for codes of 4 */
    bool codes;
    bool keep; /* float32 values can be restored bit for bit */
    plane planes[FORM_PLANES];
    plane exceptions;         /* blocks of `stride` bytes, lists of them allocated by size class */
    pthread_mutex_t lock;     /* exceptions_used and exceptions_free: vectors are written by several threads */
    uint64_t exceptions_used; /* blocks handed out; block 0 is none */
    uint64_t exceptions_ready;
    uint32_t
        *exceptions_free; /* [exceptions_most + 1] first free list of so many blocks, chained through the first word */
    size_t exceptions_most; /* blocks that a vector can need */
} form;

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

typedef enum retired_kind { RETIRED_SLOT, RETIRED_PAYLOAD, RETIRED_BLOCK, RETIRED_TABLE, RETIRED_FORM } retired_kind;
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

/* ---- the pool of a search (pool.c): keys {distance bits, slot, a bit for "expanded"}, ascending; distances are never negative, so their
 * bits order as integers ---- */
typedef struct pool {
    uint64_t *keys; /* [limit + 32] */
    uint32_t size, limit;
    uint32_t next; /* no key before it is unchecked */
} pool;
/* Takes in what is nearer than `below` and, when the pool is full, than its last. */
typedef void (*pool_function)(pool *p, float below, const float *distances, const uint32_t *slots, uint32_t count);
void pool_take_any(pool *p, float below, const float *distances, const uint32_t *slots, uint32_t count);
#if defined(__x86_64__)
void pool_take_avx512(pool *p, float below, const float *distances, const uint32_t *slots, uint32_t count);
#endif
static inline float key_distance(uint64_t key) {
    uint32_t bits = (uint32_t)(key >> 32);
    float d;
    __builtin_memcpy(&d, &bits, sizeof d);
    return d;
}
static inline uint64_t key_make(float distance, uint32_t slot) {
    uint32_t bits;
    __builtin_memcpy(&bits, &distance, sizeof bits);
    return (uint64_t)bits << 32 | (uint64_t)slot << 1; /* slots have 31 bits */
}
/* The lowest bit, so that setting it changes no order: slots differ. */
#define KEY_EXPANDED 1u
static inline uint32_t key_slot(uint64_t key) {
    return (uint32_t)key >> 1;
}

/* A link that `target` is to get to the node `from` on a level. */
typedef struct back_link {
    uint32_t target;
    uint32_t from;
    float distance;
    uint32_t level;
    uint32_t next; /* of the same list, in order; BACK_NONE ends */
} back_link;
#define BACK_NONE UINT32_MAX

typedef struct back_group {
    uint32_t first, last; /* in `back` */
} back_group;

/* Memory that a batch needs, kept between batches and made by reserve. */
typedef struct batch_work {
    size_t capacity;  /* items */
    uint32_t *slots;  /* [capacity] of the batch's items; SLOT_NONE: overridden by a later one */
    uint32_t *nodes;  /* [capacity] those that go into the graph */
    uint32_t *dead;   /* [capacity] slots that the batch replaces or removes */
    uint32_t *dedupe; /* [dedupe_size] */
    size_t dedupe_size;
    /* linking (link.c), for LINK_BATCH_MAX nodes; made with the first reserve */
    back_link *back;     /* [back_capacity] */
    back_group *groups;  /* [back_capacity] */
    uint32_t *group_map; /* [group_map_size] group + 1 by list, 0: none */
    size_t back_capacity, group_map_size;
} batch_work;

enum {
    PLANE_LINKS,
    PLANE_STATE,
    PLANE_LEVELS,
    PLANE_UPPER,
    PLANE_PARENT,
    PLANE_TWIN,
    PLANE_IS_TWIN,
    PLANE_IDS,
    PLANE_ID_SIZES,
    PLANE_PAYLOADS,
    INDEX_PLANES
};
#define RETURN_SLOTS 1024u /* pages go back in blocks of so many slots */
#define RETURN_EMPTY 32u   /* of an empty index, from so few; not after each of many adds and deletes of one item */

/* How far to look for which recall, as measured (calibrate.c). Immutable once published. */
#define CALIBRATION_POINTS 24
typedef struct calibration_table {
    uint64_t items; /* in the index when it was measured */
    uint32_t cap;   /* pool */
    uint32_t count;
    struct {
        double recall;
        double gamma;
    } points[CALIBRATION_POINTS]; /* ascending in both */
} calibration_table;

struct vd_hnsw {
    vd_hnsw_options options; /* encoding: as asked for, changed by convert */
    vd_allocator allocator;
    const hnsw_kernels *kernels;

    pool_function pool_take;

    /* geometry, fixed at birth */
    uint32_t m;
    uint32_t m0;          /* links on the base level */
    uint32_t child_limit; /* tree children per node */
    size_t link_stride;   /* words */
    size_t upper_stride;  /* words per level */
    size_t code_size;     /* components of a query code: the dimension padded to KERNEL_LINE_CODES */

    /* planes, addressed by slot */
    uint32_t slot_limit;    /* address space reserved for so many */
    uint32_t slots_ready;   /* usable memory for so many */
    _Atomic uint32_t slots; /* ever handed out */
    _Atomic(form *) form;
    plane planes[INDEX_PLANES];
    plane upper_plane;
    uint64_t released_slots; /* since pages were last given back */
    uint64_t returned_slots; /* whose pages have been given back */
    plane returned_plane;    /* a byte per block of RETURN_SLOTS */
    uint8_t *returned;
    /* the same planes by their types */
    _Atomic uint32_t *links;
    _Atomic uint8_t *state;
    _Atomic uint8_t *levels;
    _Atomic uint32_t *upper;  /* first upper block + 1, or 0 */
    _Atomic uint32_t *parent; /* in the tree; of a twin: its representative */
    _Atomic uint32_t *twin;   /* next exact duplicate + 1, or 0 */
    _Atomic uint8_t *is_twin; /* not in the graph; the writer's */
    char **ids;
    uint16_t *id_sizes;
    _Atomic(void *) *payloads;
    _Atomic uint32_t *upper_links; /* blocks of upper_stride words */
    uint32_t upper_limit, upper_ready, upper_used;
    bool has_payloads, has_twins; /* ever; the writer's. Else nothing has touched their planes */

    /* free things; the writer's */
    uint32_t free_slots;                 /* list through parent[] */
    uint32_t free_returned;              /* the same of slots whose pages have been given back: taken last */
    uint32_t free_count;                 /* on both lists */
    uint32_t free_uppers[VD_LEVELS_MAX]; /* by number of blocks, list through the blocks' first word */

    id_store id_store;
    uint64_t map_seeds[2]; /* of this index and run; set with the first table */
    hnsw_map id_map;       /* id -> live slot */
    hnsw_map vector_map;   /* vector bits -> representative */

    _Atomic uint64_t entry;  /* level << 32 | slot; ENTRY_NONE when the graph is empty */
    uint32_t root;           /* of the tree; the writer's */
    _Atomic uint64_t linked; /* nodes in the graph, the dead that wait for a sweep not counted; the writer's */

    pthread_mutex_t writer;
    _Atomic uint64_t publish_seq;
    _Atomic uint64_t swing_seq;
    _Atomic uint64_t sweep_seq;
    _Atomic int encoding;         /* the vd_encoding asked for last */
    _Atomic size_t scratch_bytes; /* of all there are */
    _Atomic bool
        in_flux; /* nodes of the graph are about to live or have just died: searches look what is in their way */
    _Atomic uint64_t count;
    uint32_t *dead_list; /* DEAD and not yet swept */
    size_t dead_count, dead_capacity;
    size_t promised;               /* items whose adds and deletes vd_hnsw_reserve has promised not to fail */
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
    _Atomic bool walk_high; /* codes are walked on by their upper halves */
    _Atomic(calibration_table *) calibration;
    _Atomic uint64_t encoding_checked_at;
    _Atomic uint64_t distances;
    /* second pass; the writer's but for readers of the figures */
    _Atomic uint64_t optimized; /* live nodes that have been through it */
    bool optimize_open;         /* a pass was begun and has not come to its end */
    bool optimize_all;          /* the open pass takes every node */
    uint32_t optimize_next;     /* slot at which it goes on */
    uint64_t optimized_items;   /* at the end of the last whole pass */
    _Atomic bool recalibrate;   /* a pass has ended since the last calibration */
    uint64_t write_steps;       /* along chains of copies, and up and down the tree: what tests count */
};

#define ENTRY_NONE UINT64_MAX
static inline uint64_t entry_make(uint32_t slot, uint32_t level) {
    return (uint64_t)level << 32 | slot;
}

/* ---- planes.c ---- */
vd_status planes_open(vd_hnsw *h, vd_error *err);
void planes_close(vd_hnsw *h);
/* Makes usable the memory of slots 0..slots-1, of all that `more` further vectors can need beside them, and of `uppers` upper blocks. */
vd_status planes_commit(vd_hnsw *h, uint64_t slots, uint64_t uppers, uint64_t more, vd_error *err);
uint64_t planes_bytes(const vd_hnsw *h);
/* Gives the pages of whole blocks of free slots back to the system; the writer's. */
void planes_return(vd_hnsw *h);
/* Address space of a plane for `slots` slots; false when there is none. */
bool plane_open(plane *p, uint64_t slots);
void plane_close(plane *p);
bool plane_commit(plane *p, uint64_t from, uint64_t to, uint64_t filled);

/* ---- form.c: how vectors are stored ---- */
/* A form with planes for the index's slots, usable for `slots`; NULL when out of memory. */
form *form_new(vd_hnsw *h, vd_encoding encoding, uint64_t slots);
void form_free(vd_hnsw *h, form *f);
/* Slots from..to become usable, and what the vectors of `more` slots can need beside the planes. */
bool form_commit(form *f, uint64_t from, uint64_t to, uint64_t filled, uint64_t more);
uint64_t form_bytes(const form *f, uint64_t slots);
static inline form *form_of(const vd_hnsw *h) {
    return atomic_load_explicit(&((vd_hnsw *)h)->form, memory_order_acquire);
}
static inline uint8_t *form_at(const form *f, int which, uint32_t slot) {
    return f->planes[which].base + (size_t)slot * f->planes[which].stride;
}
/* Any thread, a slot of its own; memory has been committed. */
void form_write(const vd_hnsw *h, form *f, uint32_t slot, const float *vector);
void form_release(form *f, uint32_t slot); /* what it has beside the planes */
/* The values that the slot stands for: those that were added, bit for bit, or (discarding) what its code stands for. */
void form_read(const vd_hnsw *h, const form *f, uint32_t slot, float *out);
/* What form_read would show of this vector once it had been written: itself when values are kept. `buffer`: [dimension]. */
const float *form_canonical(const vd_hnsw *h, const form *f, const float *vector, float *buffer);
/* Squared length of what was added; to float32 where vectors are discarded, and 1 under cosine there. */
double form_norm2(const vd_hnsw *h, const form *f, uint32_t slot);
/* Exact distance to a query. `buffer` [dimension]. */
double exact_distance(const vd_hnsw *h, const form *f, const float *query, double query_norm2, uint32_t slot,
                      float *buffer);
void form_prefetch(const form *f, uint32_t slot); /* all that exact_distance reads */

/* ---- convert.c ---- */
/* Stores every vector in another form; writer held. */
vd_status convert_locked(vd_hnsw *h, vd_encoding encoding, const vd_executor *executor, vd_error *err);
/* Back to the form that was there before, under the same hold of the writer's lock: takes no memory. */
void convert_undo(vd_hnsw *h, form *before);

/* ---- small facts of a slot ---- */
static inline uint32_t level_of(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->levels[slot], memory_order_relaxed);
}
static inline uint32_t upper_of(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->upper[slot], memory_order_acquire) - 1u; /* BLOCK_NONE is stored as 0 */
}
static inline uint32_t twin_next(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->twin[slot], memory_order_acquire) - 1u; /* SLOT_NONE is stored as 0 */
}
static inline void twin_set_next(const vd_hnsw *h, uint32_t slot, uint32_t next) {
    atomic_store_explicit(&h->twin[slot], next + 1u, memory_order_release);
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
/* Replaces the list. */
void links_store(_Atomic uint32_t *list, const uint32_t *slots, uint32_t count);
static inline uint8_t slot_state(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->state[slot], memory_order_acquire);
}
static inline uint32_t parent_of(const vd_hnsw *h, uint32_t slot) {
    return atomic_load_explicit(&h->parent[slot], memory_order_acquire);
}

/* ---- slots.c: taking and giving back slots, chains of copies, ids, upper blocks ---- */
uint32_t slot_take(vd_hnsw *h); /* memory has been reserved: cannot fail */
void slot_release(vd_hnsw *h, uint32_t slot);
uint32_t slot_level(const vd_hnsw *h, vd_id id);
/* Gives the slot upper blocks for `level`; lowers the level when there are none. */
void slot_set_level(vd_hnsw *h, uint32_t slot, uint32_t level);
/* A slot that is in no list becomes one more exact copy of a node's vector: first of the chain behind it. And out of it again: what
 * follows a copy that has left stays as it is, for readers who have just come to it. */
void twin_attach(vd_hnsw *h, uint32_t slot, uint32_t representative);
void twin_detach(vd_hnsw *h, uint32_t slot);
void twin_to_front(vd_hnsw *h, uint32_t slot, uint32_t representative);
/* A short id stands in the plane itself, in place of the pointer to it. */
#define ID_INLINE sizeof(char *)
static inline vd_id slot_id(const vd_hnsw *h, uint32_t slot) {
    uint16_t size = h->id_sizes[slot];
    vd_id id = {size <= ID_INLINE ? (const char *)&h->ids[slot] : h->ids[slot], size};
    return id;
}
/* Byte order, the shorter first: what orders ties and snapshots. */
int id_compare(vd_id a, vd_id b);
size_t ids_need(vd_id id); /* bytes outside the slot */
vd_status ids_reserve(vd_hnsw *h, size_t need);
void ids_set(vd_hnsw *h, uint32_t slot, vd_id id); /* copies; cannot fail after ids_reserve */
void ids_clear(vd_hnsw *h, uint32_t slot);
size_t ids_bytes(const vd_hnsw *h);
void ids_close(vd_hnsw *h);

/* ---- map.c ---- */
/* The same everywhere, for the same seed. */
uint64_t hash_bytes(uint64_t seed, const void *data, size_t size);
/* For the maps: of this index in this run, so that nobody can choose ids or vectors that collide. */
uint64_t hash_id(const vd_hnsw *h, vd_id id);
uint64_t hash_vector(const vd_hnsw *h, const float *vector);
vd_status map_reserve(vd_hnsw *h, hnsw_map *map, uint64_t more);
void map_close(vd_hnsw *h, hnsw_map *map);
void table_free(vd_hnsw *h, map_table *t);
size_t map_bytes(const hnsw_map *map);
size_t table_bytes(const map_table *t);
uint32_t id_map_find(const vd_hnsw *h, vd_id id); /* guard held */
/* Of canonical values (form_canonical); guard held. `buffer`: [dimension]. */
uint32_t vector_map_find(const vd_hnsw *h, const float *canonical, float *buffer);
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

/* An item by its exact distance. */
typedef struct result {
    double distance;
    uint32_t slot;
    bool moved; /* the id has another slot by now */
} result;

/* Asks for distances to stored vectors by one of the form's lanes. */
typedef struct walk_query {
    kernel_score score;
    kernel_query query;
    kernel_plane plane;
} walk_query;

/* One level being searched (walk.c). */
typedef struct walk {
    uint32_t level;
    uint32_t popped; /* its list is on the way */
    uint32_t batch_count;
    uint32_t *batch, *next_batch;
    uint32_t rank; /* the bound is `stretch` times the distance of this rank; 0: no bound */
    float stretch;
    uint32_t floor; /* and never less than the distance of this rank */
    const vd_filter *filter;
    bool done;
} walk;

#define BATCH_SLOTS_MAX 512
struct scratch {
    size_t bytes;
    const form *form;
    uint32_t slot_limit; /* slots from here on came into being after the query was prepared: passed by */
    uint64_t *visited;   /* a bit per slot */
    uint16_t *visited_tag;
    size_t visited_words;
    uint16_t visited_epoch;
    pool pool;
    size_t pool_capacity;
    walk walk;
    walk_query query;  /* for walking */
    walk_query refine; /* the same query with all bits; equal to `query` where there is but one lane */
    bool two_lanes;
    double query_norm2;
    float query_step; /* codes: scale / length, which the error of a distance grows with */
    int8_t *query_code, *pair_code;
    float *query_vector, *pair_vector; /* values of a stored query in halves; and room for one vector */
    candidate *candidates;             /* [pool_capacity + 2 VD_M_MAX + LINK_BATCH_MAX] */
    float *occlusion;                  /* the same length: prune.c */
    uint16_t *occlusion_checked;
    result *results;         /* [pool_capacity + RERANK_MOST + 16]: search.c */
    uint32_t *ids_a, *ids_b; /* [BATCH_SLOTS_MAX] */
    float *distances_a;      /* [BATCH_SLOTS_MAX + KERNEL_OUT_PAD] */
    uint64_t distances;      /* counted since the scratch was taken */
    uint64_t refined, reranked;
    uint64_t budget;   /* of `distances`; UINT64_MAX: none */
    const int *cancel; /* or NULL */
    bool truncated;
    bool passed_by; /* a walk over matches left out a node that was not alive: not yet, or no more */
    bool stale;     /* the form was replaced: what is met from now on may not be in it */
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
/* Both set s->query, s->refine, s->form. The vector must stay where it is. */
void query_from_vector(const vd_hnsw *h, scratch *s, const float *vector);
void query_from_slot(const vd_hnsw *h, scratch *s, uint32_t slot);
/* A stored node as a query with all bits, beside s->query: valid until the next call with this scratch. */
void pair_query(const vd_hnsw *h, scratch *s, uint32_t slot, walk_query *q);
/* Distances for walking: monotone in the true distance but for the encoding's error, never below +0. count <= BATCH_SLOTS_MAX;
 * out: [count padded to KERNEL_OUT_PAD]. */
void walk_distances(scratch *s, const walk_query *q, const uint32_t *slots, uint32_t count, float *out);
/* Measures s->candidates[from..to) by all bits of the query, and sorts those before `to`. */
void candidates_refine(scratch *s, uint32_t from, uint32_t to);
/* Greedy descent from `entry` (ENTRY_NONE: false) to `target` level. */
bool walk_descend(const vd_hnsw *h, scratch *s, uint64_t entry, uint32_t target, uint32_t hidden, candidate *nearest);
static inline bool cancelled(const scratch *s) {
    return s->cancel && __atomic_load_n(s->cancel, __ATOMIC_RELAXED);
}
static inline bool interrupted(const scratch *s) {
    return s->distances >= s->budget || cancelled(s);
}
/* Best-first search of one level from `start`: begin, then turns until walk.done. `stretch` 0: no bound. `hidden` (SLOT_NONE: none)
 * is passed by as if it were not there. Leaves the pool sorted. */
void walk_begin(const vd_hnsw *h, scratch *s, candidate start, uint32_t level, uint32_t ef, float stretch,
                uint32_t rank, uint32_t hidden);
/* Further places to start from, before the first turn: measured and put into the pool. */
void walk_seed(const vd_hnsw *h, scratch *s, const uint32_t *slots, uint32_t count);
void walk_turn(const vd_hnsw *h, scratch *s);
void walk_level(const vd_hnsw *h, scratch *s, candidate start, uint32_t level, uint32_t ef);
/* By how much walking distances can be off, in their unit. */
typedef enum error_of {
    ERROR_HIGH, /* half the bits against all: 2.5 standard deviations */
    ERROR_BOTH, /* all bits, two distances against one another: 4 standard deviations */
    ERROR_BOUND /* all bits against the true distance: always less */
} error_of;
float lane_error(const vd_hnsw *h, const scratch *s, uint32_t slot, error_of what);
/* Whether `slot` is met for the first time since scratch_begin; marks it. */
bool first_met(scratch *s, uint32_t slot);

/* ---- prune.c ---- */
void candidates_sort(candidate *c, uint32_t count);
/* Chooses links from candidates sorted by distance into kept[capacity]; the tree's links of `centre` (SLOT_NONE: it has none yet)
 * always stay. alpha > 1: what is left over is looked at again with that slack. Returns how many. */
uint32_t prune_select(const vd_hnsw *h, scratch *s, uint32_t centre, const candidate *sorted, uint32_t count,
                      uint32_t capacity, float alpha, uint32_t *kept);
/* Adds to `kept` (n so far, none of them among the candidates) what none of them covers, up to `capacity`. */
uint32_t prune_extend(const vd_hnsw *h, scratch *s, const candidate *sorted, uint32_t count, uint32_t capacity,
                      uint32_t *kept, uint32_t n);
/* Adds the nearest candidates that were not kept until `least` are. Returns the new number. */
uint32_t prune_fill(const candidate *sorted, uint32_t count, uint32_t least, uint32_t *kept, uint32_t n);
/* Adds links to the list of `from` on a level, pruning when they do not fit. `new_links`: sorted or not, at most LINK_BATCH_MAX. */
void links_add(const vd_hnsw *h, scratch *s, uint32_t from, uint32_t level, candidate *new_links, uint32_t count,
               float alpha);

/* ---- link.c: putting nodes into the graph ---- */
/* Links nodes that have been written and have a level, in batches that grow with the graph. */
void link_nodes(vd_hnsw *h, const uint32_t *nodes, size_t count, const vd_executor *executor);
/* Looks once more for neighbours of nodes that are in the graph and found too few; what they have stays. */
void link_more(vd_hnsw *h, const uint32_t *nodes, size_t count);
/* Whether a node that has just been linked found less than it must have, were nothing in its way. */
bool link_found_few(const vd_hnsw *h, uint32_t slot);
vd_status link_reserve(vd_hnsw *h);
void link_close(vd_hnsw *h);
/* Gathers back links by the list they go to and adds them, each list by one thread. w->back[0..count) in order. */
void back_links_apply(vd_hnsw *h, size_t count, float alpha, const vd_executor *executor);

/* ---- tree.c ---- */
/* Makes one of the nodes in the base list of `slot`, or whoever has room near them, its parent, and puts it into that list; returns
 * it. The link back is the caller's to add. Not in parallel. */
uint32_t tree_adopt(vd_hnsw *h, uint32_t slot);
/* By all bits, as links are chosen. */
float pair_distance(const vd_hnsw *h, scratch *s, uint32_t a, uint32_t b);
/* Takes a dying node out of the tree, its children find new parents. Writer only. */
void tree_remove(vd_hnsw *h, scratch *s, uint32_t slot);
static inline bool tree_link(const vd_hnsw *h, uint32_t a, uint32_t b) {
    return parent_of(h, a) == b || parent_of(h, b) == a;
}

/* ---- delete.c ---- */
/* The slots in work.dead[0..count) have just become DEAD and left the id map: repairs the graph around them. */
void bury(vd_hnsw *h, size_t count, const vd_executor *executor);

/* ---- search.c ---- */
/* One search from its arguments to its answer, so that several can take turns on a thread: begin, then walk_turn(h, s) until
 * s->walk.done and step, as long as `walking`. */
typedef struct search_run {
    const vd_hnsw *h;
    const float *query;
    const vd_hnsw_search_options *options;
    scratch *s;
    uint32_t k, hidden;
    double gamma;               /* < 0: a plain pool */
    uint32_t ef;                /* room in the pool for items that can be answers */
    uint32_t in_the_way;        /* further room, for what cannot be one */
    uint32_t rank;              /* the walk ends by the distance of this one */
    uint64_t seq, swing, sweep; /* publish_seq, swing_seq, sweep_seq at the begin */
    int tries;
    bool walking, flux, dead;
    vd_plan plan;
    bool exact;
    struct {
        result *best; /* ascending by (distance, id bytes) */
        size_t count, capacity;
    } top;
    float *canonical;
    double share; /* of the items that match the filter, estimated */
    uint64_t matches;
} search_run;
/* Takes a scratch (NULL s afterwards: OUT_OF_MEMORY). The query has been validated. */
vd_status run_begin(search_run *r, const vd_hnsw *h, const float *query, const vd_hnsw_search_options *options,
                    uint32_t hidden, double gamma, uint32_t cap);
/* After a walk has come to its end; OUT_OF_MEMORY. */
vd_status run_step(search_run *r);
/* Copies the answer out and gives the scratch back. */
size_t run_end(search_run *r, vd_hit *hits, vd_search_info *info);
vd_status search_check(const vd_hnsw *h, const vd_hnsw_search_options *options, vd_error *err);
/* Takes in an item whose exact distance is known; false when it is there already. */
bool run_put(search_run *r, double distance, uint32_t slot);
/* Measures every item that may be an answer. */
void run_scan(search_run *r);
/* vd_hnsw_search with one node left out of the answer and of every path (calibration), and with a bound of its own: gamma < 0 means
 * by the options. Guard held. */
vd_status search_with(const vd_hnsw *h, const float *query, const vd_hnsw_search_options *options, uint32_t hidden,
                      double gamma, uint32_t cap, vd_hit *hits, size_t *count, vd_search_info *info, vd_error *err);

/* ---- filter.c ---- */
static inline bool filter_allows(const vd_hnsw *h, const vd_filter *f, uint32_t slot) {
    if (f->slots && (slot >= f->slot_count || !(f->slots[slot / 64] >> (slot % 64) & 1))) {
        return false;
    }
    return !f->accept || f->accept(f->context, slot, slot_id(h, slot),
                                   atomic_load_explicit(&((vd_hnsw *)h)->payloads[slot], memory_order_acquire));
}
/* Chooses how to search, and sets share and matches. */
vd_plan filter_plan(search_run *r);
/* Whether far fewer match around `near` (a node next to the query) than elsewhere; and whether those that do are better scanned. */
bool filter_apart(const search_run *r, uint32_t near);
bool filter_scan_apart(const search_run *r);
/* Neighbours that match, and those behind neighbours that do not; for walks with a filter. At most BATCH_SLOTS_MAX. */
uint32_t filter_collect(const vd_hnsw *h, scratch *s, uint32_t slot, uint32_t level, uint32_t *out);
/* Up to `most` slots of live nodes that match, spread over all of them, marked as met. */
uint32_t filter_seeds(const vd_hnsw *h, scratch *s, const vd_filter *filter, uint32_t *out, uint32_t most);

/* ---- index.c ---- */
/* Memory for adding `items`, so that nothing can fail once a write has begun; and for a write that adds none but ends or relinks
 * as many. With the writer's lock. */
vd_status reserve_items(vd_hnsw *h, size_t items, size_t id_bytes, vd_error *err);
vd_status reserve_changes(vd_hnsw *h, size_t items, vd_error *err);
/* So many items have been added or deleted: gives back what no later write has been promised. */
void reserve_used(vd_hnsw *h, size_t items);
void executor_run(const vd_executor *executor, void (*task)(void *arg, uint32_t index), void *arg, uint32_t count);
static inline uint32_t executor_width(const vd_executor *executor) {
    return executor && executor->width ? executor->width : 1;
}

/* ---- calibrate.c ---- */
bool encoding_check_due(const vd_hnsw *h);
/* Chooses the encoding by measurement (AUTO only). Writer held. */
vd_status encoding_check(vd_hnsw *h, const vd_executor *executor);
static inline vd_encoding encoding_asked(const vd_hnsw *h) {
    return (vd_encoding)atomic_load_explicit(&((vd_hnsw *)h)->encoding, memory_order_relaxed);
}
void calibration_figures(const vd_hnsw *h, vd_hnsw_stats *stats);
/* How far a search by recall looks: gamma and the most its pool may hold. */
void search_reach(const vd_hnsw *h, double recall, uint32_t k, double *gamma, uint32_t *cap);

#endif
