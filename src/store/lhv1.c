/*
 * lhv1.c - reading an LHV1 frame, the file of one index: bytes in, no I/O. Writing is lhv1_encode.c.
 *
 * OFFSET            SIZE          FIELD
 * 0                 4             "LHV1"
 * 4                 4             envelope length n, unsigned, big-endian
 * 8                 n             JSON envelope: version (1 or 2), params {name, dimension, m, ef_search, distance},
 *                                 metadata {id: any JSON value}, vectord {epoch, sequence, ef_construction}
 * 8 + n             to the end    graph
 *
 * graph := V(1) V(M) F64(Ml) V(ef_search) S(distance) V(layer count) layer*      base layer first
 * layer := V(node count) node*
 * node  := S(id) V(dimension) float32[dimension] V(neighbour count) S(neighbour id)*
 *
 * V is a zigzag varint of 64 bits (1..10 bytes, longer forms legal), S is V(bytes) and the bytes, F64 and float32 are
 * IEEE-754 little-endian. A node of level L stands in the layers 0..L with the same vector in each.
 *
 * Nothing in a frame is trusted: each count is checked against the bytes that are left before anything is allocated for it,
 * so memory is bounded by a small multiple of the frame. What the original's own histories of deletes leave behind (dangling
 * links and the like) is counted and dropped; links are only checked, because the graph is built anew from the vectors.
 *
 * Three passes: the envelope without the metadata's contents (the graph's checks need the dimension), the graph (which makes
 * the table of ids), the metadata (which needs that table).
 */
#include "store/lhv1.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/json.h"

#define HEADER_BYTES     8
#define VERSION_NEWEST   2
#define GRAPH_VERSION    1
#define VARINT_BYTES_MAX 10
#define NODE_BYTES_LEAST 4 /* id length, one byte of id, dimension, neighbour count; the vector comes on top */

typedef struct frame_node {
    const uint8_t *id;
    const uint8_t *vector;
    const uint8_t *metadata;
    uint32_t id_size;
    uint32_t metadata_size; /* the envelope's length has 32 bits */
} frame_node;

/* Open addressing; a slot is empty when node is 0. */
typedef struct id_slot {
    uint32_t tag;  /* the hash's upper half: most misses end here, without touching the id */
    uint32_t node; /* position + 1 */
} id_slot;

struct lhv1_frame {
    lhv1_params params;
    lhv1_warnings warnings;
    frame_node *nodes;
    uint64_t count;
    id_slot *table;
    size_t table_mask;
    uint64_t seed[2];
};

/* ---- the table of ids ---- */

__extension__ typedef unsigned __int128 wide;

static uint64_t fold(uint64_t a, uint64_t b) {
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load_tail(const uint8_t *p, size_t size) {
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++) {
        word |= (uint64_t)p[i] << (8 * i);
    }
    return word;
}

/* Keyed by a random seed: whoever makes a frame cannot make its ids collide. */
static uint64_t hash_id(const lhv1_frame *f, const uint8_t *id, size_t size) {
    uint64_t h = f->seed[0] ^ size;
    for (; size > 8; size -= 8, id += 8) {
        h = fold(h ^ get_u64le(id), f->seed[1]);
    }
    return fold(fold(h ^ load_tail(id, size), f->seed[1]) ^ f->seed[0], 0x9E3779B97F4A7C15u);
}

/* The slot that holds the id, or the empty one where it belongs. */
static id_slot *find_slot(const lhv1_frame *f, const uint8_t *id, size_t size, uint32_t *tag) {
    uint64_t hash = hash_id(f, id, size);
    *tag = (uint32_t)(hash >> 32);
    for (size_t at = (size_t)hash & f->table_mask;; at = (at + 1) & f->table_mask) {
        id_slot *slot = &f->table[at];
        if (slot->node == 0) {
            return slot;
        }
        const frame_node *node = &f->nodes[slot->node - 1];
        if (slot->tag == *tag && node->id_size == size && memcmp(node->id, id, size) == 0) {
            return slot;
        }
    }
}

/* false when the id is not in the base layer. */
static bool find_node(const lhv1_frame *f, const uint8_t *id, size_t size, uint32_t *out) {
    if (f->count == 0 || size == 0) {
        return false;
    }
    uint32_t tag;
    const id_slot *slot = find_slot(f, id, size, &tag);
    *out = slot->node - 1;
    return slot->node != 0;
}

/* ---- the graph's bytes ---- */

typedef struct cursor {
    const uint8_t *start; /* of the frame: offsets in messages count from here */
    const uint8_t *at;
    const uint8_t *end;
    const char *fault; /* constant text; the first one stays */
} cursor;

static size_t left(const cursor *c) {
    return (size_t)(c->end - c->at);
}

static bool fault(cursor *c, const char *text) {
    if (!c->fault) {
        c->fault = text;
    }
    return false;
}

static bool get_varint(cursor *c, int64_t *out) {
    uint64_t raw = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        if (c->at == c->end) {
            return fault(c, "the graph is cut short");
        }
        uint8_t byte = *c->at++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            return fault(c, "a number has more than 64 bits");
        }
        raw |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            *out = (int64_t)(raw >> 1 ^ (0 - (raw & 1)));
            return true;
        }
    }
    return fault(c, "a number has more than 64 bits");
}

/* A count of things that take `bytes_each` at least. */
static bool get_count(cursor *c, size_t bytes_each, const char *otherwise, uint64_t *out) {
    const uint8_t *at = c->at;
    int64_t value;
    if (!get_varint(c, &value)) {
        return false;
    }
    if (value < 0 || (uint64_t)value > left(c) / bytes_each) {
        c->at = at; /* the message names the count's own place */
        return fault(c, otherwise);
    }
    *out = (uint64_t)value;
    return true;
}

static bool get_string(cursor *c, bytes *out) {
    uint64_t size;
    if (!get_count(c, 1, "a string is longer than the frame", &size)) {
        return false;
    }
    *out = bytes_of(c->at, (size_t)size);
    c->at += size;
    return true;
}

/* Ids must be what the rest of the project can serve. */
static bool check_id(cursor *c, bytes id) {
    if (id.size == 0) {
        return fault(c, "a node has an empty id");
    }
    if (id.size > VD_ID_MAX_BYTES) {
        return fault(c, "an id is longer than 1024 bytes");
    }
    _Static_assert(VD_ID_MAX_BYTES == 1024, "the text above says so");
    if (!utf8_valid(id.data, id.size)) {
        return fault(c, "an id is not valid UTF-8");
    }
    return memchr(id.data, 0, id.size) == NULL || fault(c, "an id holds a NUL byte");
}

static bool check_vector(cursor *c, const uint8_t *vector, uint32_t dimension, vd_metric metric) {
    uint32_t any = 0, infinite = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        uint32_t bits = get_u32le(vector + (size_t)i * 4) & 0x7FFFFFFFu;
        any |= bits;
        infinite |= bits >= 0x7F800000u;
    }
    if (infinite) {
        return fault(c, "a vector holds a value that is not finite");
    }
    return any != 0 || metric != VD_METRIC_COSINE || fault(c, "a vector has zero norm under cosine");
}

/* id, vector, neighbour count: *at is left at the first neighbour. */
static bool get_node_head(cursor *c, uint32_t dimension, bytes *id, const uint8_t **vector, uint64_t *links) {
    int64_t size;
    if (!get_string(c, id) || !get_varint(c, &size)) {
        return false;
    }
    if (size != (int64_t)dimension) {
        return fault(c, "a vector's dimension differs from the params");
    }
    if (left(c) / 4 < dimension) {
        return fault(c, "the graph is cut short");
    }
    *vector = c->at;
    c->at += (size_t)dimension * 4;
    return get_count(c, 1, "a neighbour count is larger than the frame", links);
}

static bool skip_links(cursor *c, uint64_t links) {
    bytes id;
    for (uint64_t i = 0; i < links; i++) {
        if (!get_string(c, &id)) {
            return false;
        }
    }
    return true;
}

/* ---- layers ---- */

/* What the checks across layers need per node of the base layer; freed when the graph has been read. */
typedef struct marks {
    uint32_t *layer; /* newest layer, counted without the empty ones, in which the node was seen */
    uint32_t *link;  /* ordinal of the last list of neighbours that named it */
    uint32_t list;   /* ordinal of the current list; 0 is none */
} marks;

static vd_status allocate_nodes(lhv1_frame *f, uint64_t count, marks *m, vd_error *err) {
    size_t slots = 16;
    while (slots / 4 * 3 < count) {
        slots *= 2; /* count is at most the frame's bytes / 8: no overflow */
    }
    f->nodes = mem_alloc_array(alloc_default(), (size_t)count, sizeof *f->nodes);
    f->table = calloc(slots, sizeof *f->table);
    m->layer = calloc((size_t)count, sizeof *m->layer);
    m->link = calloc((size_t)count, sizeof *m->link);
    f->table_mask = slots - 1;
    if (!f->nodes || !f->table || !m->layer || !m->link) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "frame: no memory for the ids of %llu items",
                       (unsigned long long)count);
    }
    return VD_OK;
}

static bool read_base_node(lhv1_frame *f, cursor *c) {
    const uint8_t *at = c->at;
    bytes id;
    const uint8_t *vector;
    uint64_t links;
    uint32_t tag;
    if (!get_node_head(c, f->params.dimension, &id, &vector, &links) || !skip_links(c, links)) {
        return false;
    }
    if (!check_id(c, id) || !check_vector(c, vector, f->params.dimension, f->params.metric)) {
        c->at = at;
        return false;
    }
    id_slot *slot = find_slot(f, id.data, id.size, &tag);
    if (slot->node != 0) {
        c->at = at;
        return fault(c, "an id stands twice in one layer");
    }
    f->nodes[f->count++] = (frame_node){.id = id.data, .id_size = (uint32_t)id.size, .vector = vector};
    *slot = (id_slot){tag, (uint32_t)f->count};
    return true;
}

static bool read_upper_node(lhv1_frame *f, cursor *c, marks *m, uint32_t layer) {
    const uint8_t *at = c->at;
    bytes id;
    const uint8_t *vector;
    uint64_t links;
    uint32_t node;
    if (!get_node_head(c, f->params.dimension, &id, &vector, &links) || !skip_links(c, links)) {
        return false;
    }
    if (!find_node(f, id.data, id.size, &node)) {
        c->at = at;
        return fault(c, "an id of an upper layer is not in the base layer");
    }
    if (m->layer[node] == layer) {
        c->at = at;
        return fault(c, "an id stands twice in one layer");
    }
    if (memcmp(vector, f->nodes[node].vector, (size_t)f->params.dimension * 4) != 0) {
        c->at = at;
        return fault(c, "an id has another vector in an upper layer");
    }
    m->layer[node] = layer;
    return true;
}

/* Goes over a layer that has been read and counts the links that lead nowhere. The bytes are known to be whole. */
static void check_links(lhv1_frame *f, cursor c, marks *m, uint32_t layer, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        bytes id, target;
        const uint8_t *vector;
        uint64_t links;
        uint32_t self = (uint32_t)i, node;
        if (!get_node_head(&c, f->params.dimension, &id, &vector, &links) ||
            (layer > 0 && !find_node(f, id.data, id.size, &self))) {
            return;
        }
        if (++m->list == 0) { /* the ordinals have gone round: marks of the last turn must not be taken for new ones */
            memset(m->link, 0, (size_t)f->count * sizeof *m->link);
            m->list = 1;
        }
        for (uint64_t j = 0; j < links && get_string(&c, &target); j++) {
            if (!find_node(f, target.data, target.size, &node) || (layer > 0 && m->layer[node] != layer)) {
                f->warnings.dangling_links++;
            } else if (node == self) {
                f->warnings.self_links++;
            } else if (m->link[node] == m->list) {
                f->warnings.repeated_links++;
            } else {
                m->link[node] = m->list;
            }
        }
    }
}

static vd_status read_layer(lhv1_frame *f, cursor *c, marks *m, uint32_t *layer, vd_error *err) {
    size_t node_bytes = NODE_BYTES_LEAST + (size_t)f->params.dimension * 4;
    uint64_t count;
    if (!get_count(c, node_bytes, "a layer claims more nodes than the frame can hold", &count)) {
        return VD_DATA_LOSS;
    }
    if (count == 0) {
        f->warnings.empty_layers++;
        return VD_OK;
    }
    if (count > VD_ITEMS_MAX) {
        return vd_fail(err, VD_TOO_LARGE, NULL, "frame: %llu items in one index", (unsigned long long)count);
    }
    cursor start = *c;
    if (!f->nodes) {
        vd_status status = allocate_nodes(f, count, m, err);
        if (status != VD_OK) {
            return status;
        }
        for (uint64_t i = 0; i < count; i++) {
            if (!read_base_node(f, c)) {
                return VD_DATA_LOSS;
            }
        }
    } else {
        for (uint64_t i = 0; i < count; i++) {
            if (!read_upper_node(f, c, m, *layer)) {
                return VD_DATA_LOSS;
            }
        }
    }
    start.end = c->at;
    check_links(f, start, m, *layer, count);
    ++*layer;
    return VD_OK;
}

static bool metric_of(bytes name, vd_metric *out) {
    if (bytes_equal(name, bytes_str("cosine"))) {
        *out = VD_METRIC_COSINE;
    } else if (bytes_equal(name, bytes_str("euclidean"))) {
        *out = VD_METRIC_EUCLIDEAN;
    } else {
        return false;
    }
    return true;
}

/* Up to the layers. The graph's own M and ef_search repeat the envelope's, which rule. */
static vd_status read_graph_head(const lhv1_frame *f, cursor *c, uint64_t *layers, vd_error *err) {
    int64_t version, m, ef_search;
    bytes distance;
    vd_metric metric;
    if (!get_varint(c, &version)) {
        return VD_DATA_LOSS;
    }
    if (version != GRAPH_VERSION) {
        return vd_fail(err, version > GRAPH_VERSION ? VD_UNIMPLEMENTED : VD_DATA_LOSS, NULL,
                       "frame: graph encoding version %lld, known is %d", (long long)version, GRAPH_VERSION);
    }
    if (!get_varint(c, &m)) {
        return VD_DATA_LOSS;
    }
    if (left(c) < 8) {
        fault(c, "the graph is cut short");
        return VD_DATA_LOSS;
    }
    uint64_t ml = get_u64le(c->at);
    if ((ml & 0x7FF0000000000000u) == 0x7FF0000000000000u) {
        fault(c, "the level factor is not finite");
        return VD_DATA_LOSS;
    }
    c->at += 8;
    if (!get_varint(c, &ef_search) || !get_string(c, &distance)) {
        return VD_DATA_LOSS;
    }
    if (m < 0 || ef_search < 0) {
        fault(c, "M or ef_search is negative");
        return VD_DATA_LOSS;
    }
    if (!metric_of(distance, &metric)) {
        fault(c, "unknown distance in the graph");
        return VD_DATA_LOSS;
    }
    if (metric != f->params.metric) {
        fault(c, "the distances of envelope and graph differ");
        return VD_DATA_LOSS;
    }
    return get_count(c, 1, "more layers than the frame can hold", layers) ? VD_OK : VD_DATA_LOSS;
}

/* DATA_LOSS without a text: the cursor knows it. */
static vd_status read_graph(lhv1_frame *f, cursor *c, vd_error *err) {
    uint64_t layers = 0;
    vd_status status = read_graph_head(f, c, &layers, err);
    marks m = {0};
    uint32_t layer = 0;
    for (uint64_t i = 0; status == VD_OK && i < layers; i++) {
        status = read_layer(f, c, &m, &layer, err);
    }
    free(m.layer);
    free(m.link);
    f->warnings.trailing_bytes = left(c);
    return status;
}

/* ---- the envelope ---- */

typedef struct envelope {
    json_reader reader;
    arena arena;
    const char *what; /* the member being read, for messages */
    bytes metadata;   /* the object's span; data NULL when there is none */
    bool has_version, has_params, has_metadata, has_own;
    int64_t version;
} envelope;

static bool read_whole(json_reader *r, int64_t least, int64_t most, const char *otherwise, int64_t *out) {
    return json_read_int64(r, out) && ((*out >= least && *out <= most) || json_fault(r, otherwise));
}

/* m and ef_search of the original are any Go int: what is out of our range is brought into it, what is missing or zero gets
 * the default. The graph is built anew, so neither is bound to the bytes that follow. */
static bool read_tunable(lhv1_frame *f, json_reader *r, int64_t least, int64_t most, uint32_t otherwise,
                         uint32_t *out) {
    int64_t value;
    if (!read_whole(r, 0, INT64_MAX, "a negative parameter", &value)) {
        return false;
    }
    int64_t kept = value == 0 ? otherwise : value < least ? least : value > most ? most : value;
    if (kept != value && value != 0) {
        f->warnings.clamped_params++;
    }
    *out = (uint32_t)kept;
    return true;
}

static bool read_name(lhv1_frame *f, json_reader *r) {
    bytes name;
    if (!json_read_string(r, &name)) {
        return false;
    }
    if (name.size <= VD_INDEX_NAME_MAX_BYTES) { /* else the key's name is the only one: it wins anyway */
        memcpy(f->params.name, name.data, name.size);
        f->params.name[name.size] = '\0';
    }
    return true;
}

static bool read_params(lhv1_frame *f, json_reader *r) {
    bytes key, distance;
    bool more;
    if (!json_begin_object(r)) {
        return false;
    }
    while (json_next_key(r, &key, &more) && more) {
        if (bytes_equal(key, bytes_str("name"))) {
            (void)read_name(f, r);
        } else if (bytes_equal(key, bytes_str("dimension"))) {
            int64_t dimension = 0;
            if (read_whole(r, VD_DIMENSION_MIN, VD_DIMENSION_MAX, "dimension out of range", &dimension)) {
                f->params.dimension = (uint32_t)dimension;
            }
        } else if (bytes_equal(key, bytes_str("m"))) {
            (void)read_tunable(f, r, VD_M_MIN, VD_M_MAX, VD_M_DEFAULT, &f->params.m);
        } else if (bytes_equal(key, bytes_str("ef_search"))) {
            (void)read_tunable(f, r, VD_EF_SEARCH_MIN, VD_EF_SEARCH_MAX, VD_EF_SEARCH_DEFAULT, &f->params.ef_search);
        } else if (bytes_equal(key, bytes_str("distance"))) {
            if (json_read_string(r, &distance) && !metric_of(distance, &f->params.metric)) {
                (void)json_fault(r, "unknown distance");
            }
        } else {
            (void)json_skip(r, NULL);
        }
    }
    return !r->fault && (f->params.dimension != 0 || json_fault(r, "params without a dimension"));
}

static bool read_epoch(lhv1_frame *f, json_reader *r) {
    bytes text;
    if (!json_read_string(r, &text)) {
        return false;
    }
    f->params.has_epoch = hex_decode((const char *)text.data, text.size, f->params.epoch, LHV1_EPOCH_BYTES);
    return f->params.has_epoch || json_fault(r, "epoch is not 32 hexadecimal digits");
}

static bool read_own(lhv1_frame *f, json_reader *r) {
    bytes key;
    bool more;
    int64_t value = 0;
    if (!json_begin_object(r)) {
        return false;
    }
    while (json_next_key(r, &key, &more) && more) {
        if (bytes_equal(key, bytes_str("epoch"))) {
            (void)read_epoch(f, r);
        } else if (bytes_equal(key, bytes_str("sequence"))) {
            if (read_whole(r, 0, INT64_MAX, "sequence out of range", &value)) {
                f->params.sequence = (uint64_t)value;
            }
        } else if (bytes_equal(key, bytes_str("ef_construction"))) {
            if (read_whole(r, 0, VD_EF_CONSTRUCTION_MAX, "ef_construction out of range", &value)) {
                f->params.ef_construction = (uint32_t)value;
            }
        } else {
            (void)json_skip(r, NULL);
        }
    }
    return !r->fault;
}

/* Member by member, so that the depth of a value counts from the value, as it did when it came in. */
static bool walk_metadata(json_reader *r, bytes *span) {
    bytes key;
    bool more;
    json_kind kind;
    if (!json_peek(r, &kind)) {
        return false;
    }
    if (kind == JSON_NULL) {
        return json_read_null(r);
    }
    const uint8_t *start = r->at;
    if (!json_begin_object(r)) {
        return false;
    }
    while (json_next_key(r, &key, &more) && more) {
        (void)json_skip(r, NULL);
        arena_reset(r->arena);
    }
    *span = bytes_of(start, (size_t)(r->at - start));
    return !r->fault;
}

static bool once(json_reader *r, bool *seen) {
    if (*seen) {
        return json_fault(r, "a member stands twice in the envelope");
    }
    *seen = true;
    return true;
}

static bool read_members(lhv1_frame *f, envelope *e) {
    json_reader *r = &e->reader;
    bytes key;
    bool more;
    if (!json_begin_object(r)) {
        return false;
    }
    while (json_next_key(r, &key, &more) && more) {
        if (bytes_equal(key, bytes_str("version"))) {
            (void)(once(r, &e->has_version) && json_read_int64(r, &e->version));
        } else if (bytes_equal(key, bytes_str("params"))) {
            (void)(once(r, &e->has_params) && read_params(f, r));
        } else if (bytes_equal(key, bytes_str("metadata"))) {
            (void)(once(r, &e->has_metadata) && walk_metadata(r, &e->metadata));
        } else if (bytes_equal(key, bytes_str("vectord"))) {
            (void)(once(r, &e->has_own) && read_own(f, r));
        } else {
            (void)json_skip(r, NULL);
        }
    }
    return !r->fault && json_at_end(r);
}

static vd_status fail_json(const json_reader *r, size_t base, vd_error *err) {
    vd_error reason;
    if (json_fail(r, "frame envelope", &reason) == VD_OUT_OF_MEMORY) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "%s", reason.text);
    }
    return vd_fail(err, VD_DATA_LOSS, NULL, "frame envelope: %s at byte %zu", r->fault, base + r->fault_at);
}

static vd_status read_envelope(lhv1_frame *f, bytes json, bytes *metadata, vd_error *err) {
    envelope e = {.version = 1}; /* one that cannot be read is a fault of its own, not a newer version */
    arena_init(&e.arena, NULL, 0);
    json_reader_init(&e.reader, json.data, json.size, &e.arena);
    f->params.m = VD_M_DEFAULT;
    f->params.ef_search = VD_EF_SEARCH_DEFAULT;
    f->params.metric = VD_METRIC_COSINE;
    vd_status status = VD_OK;
    if (!read_members(f, &e)) {
        status = fail_json(&e.reader, HEADER_BYTES, err);
    }
    /* a newer version may be what made the rest unreadable */
    if (e.has_version && (status == VD_OK || status == VD_DATA_LOSS) && (e.version < 1 || e.version > VERSION_NEWEST)) {
        status = vd_fail(err, VD_UNIMPLEMENTED, NULL, "frame: version %lld, known are 1 to %d", (long long)e.version,
                         VERSION_NEWEST);
    }
    if (status == VD_OK && !(e.has_version && e.has_params)) {
        status = vd_fail(err, VD_DATA_LOSS, NULL, "frame envelope: no %s", e.has_version ? "params" : "version");
    }
    *metadata = e.metadata;
    arena_fini(&e.arena);
    return status;
}

/* The envelope has been checked; this gives each node its value. The last one wins, as in the original. */
static vd_status read_metadata(lhv1_frame *f, bytes json, size_t base, vd_error *err) {
    arena a;
    json_reader r;
    bytes key, raw;
    bool more;
    uint32_t node;
    arena_init(&a, NULL, 0);
    json_reader_init(&r, json.data, json.size, &a);
    (void)json_begin_object(&r);
    while (json_next_key(&r, &key, &more) && more && json_skip(&r, &raw)) {
        if (find_node(f, key.data, key.size, &node)) {
            f->nodes[node].metadata = raw.data;
            f->nodes[node].metadata_size = (uint32_t)raw.size;
        } else {
            f->warnings.orphan_metadata++;
        }
        arena_reset(&a);
    }
    vd_status status = r.fault ? fail_json(&r, base, err) : VD_OK;
    arena_fini(&a);
    return status;
}

/* ---- the whole ---- */

static void make_seed(lhv1_frame *f) {
    if (getrandom(f->seed, sizeof f->seed, GRND_NONBLOCK) != (ssize_t)sizeof f->seed) {
        f->seed[0] =
            (uint64_t)(uintptr_t)f * 0xD1342543DE82EF95u; /* early at boot: an address is unknown outside too */
        f->seed[1] = ~f->seed[0] * 0xAF251AF3B0F025B5u;
    }
    f->seed[1] |= 1;
}

vd_status lhv1_open(bytes frame, lhv1_frame **out, vd_error *err) {
    if (frame.size < HEADER_BYTES || memcmp(frame.data, "LHV1", 4) != 0) {
        return vd_fail(err, VD_DATA_LOSS, NULL, "frame: does not begin with LHV1");
    }
    size_t envelope_size = get_u32be(frame.data + 4);
    if (envelope_size > frame.size - HEADER_BYTES) {
        return vd_fail(err, VD_DATA_LOSS, NULL, "frame: an envelope of %zu bytes in a frame of %zu", envelope_size,
                       frame.size);
    }
    lhv1_frame *f = calloc(1, sizeof *f);
    if (!f) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "frame: out of memory");
    }
    make_seed(f);
    bytes metadata = {NULL, 0};
    vd_status status = read_envelope(f, bytes_of(frame.data + HEADER_BYTES, envelope_size), &metadata, err);
    if (status == VD_OK) {
        cursor c = {frame.data, frame.data + HEADER_BYTES + envelope_size, frame.data + frame.size, NULL};
        status = read_graph(f, &c, err);
        if (status == VD_DATA_LOSS && c.fault) {
            status = vd_fail(err, VD_DATA_LOSS, NULL, "frame: %s at byte %zu", c.fault, (size_t)(c.at - c.start));
        }
    }
    if (status == VD_OK && metadata.data) {
        status = read_metadata(f, metadata, (size_t)(metadata.data - frame.data), err);
    }
    if (status != VD_OK) {
        lhv1_close(f);
        return status;
    }
    free(f->table); /* only reading needs it */
    f->table = NULL;
    *out = f;
    return VD_OK;
}

void lhv1_close(lhv1_frame *f) {
    if (f) {
        free(f->nodes);
        free(f->table);
        free(f);
    }
}

const lhv1_params *lhv1_get_params(const lhv1_frame *f) {
    return &f->params;
}

const lhv1_warnings *lhv1_get_warnings(const lhv1_frame *f) {
    return &f->warnings;
}

uint64_t lhv1_count(const lhv1_frame *f) {
    return f->count;
}

void lhv1_get_node(const lhv1_frame *f, uint64_t i, lhv1_node *out) {
    const frame_node *node = &f->nodes[i];
    *out = (lhv1_node){
        .id = {(const char *)node->id, node->id_size},
        .vector = node->vector,
        .metadata = bytes_of(node->metadata, node->metadata_size),
    };
}

void lhv1_vector(const lhv1_node *node, uint32_t dimension, float *out) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out, node->vector, (size_t)dimension * sizeof *out);
#else
    for (uint32_t i = 0; i < dimension; i++) {
        uint32_t bits = get_u32le(node->vector + (size_t)i * 4);
        memcpy(&out[i], &bits, sizeof bits);
    }
#endif
}
