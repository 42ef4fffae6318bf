/*
 * client.h - the C client of vectord: indexes, items and searches over one NNG connection.
 *
 *     vd_client *client = NULL;
 *     vd_error err;
 *     if (vd_client_open("tcp://127.0.0.1:3216", NULL, &client, &err) != VD_OK) { puts(err.text); return 1; }
 *     vd_client_search_request request = {.index = "fruit", .vector = query, .dimension = 384, .k = 10};
 *     vd_client_results *results = NULL;
 *     if (vd_client_search(client, &request, &results, &err) == VD_OK) { ... vd_client_results_free(results); }
 *     vd_client_close(client);
 *
 * Link with `pkg-config --cflags --libs vectord-client`. clients/c/README.md has a complete program.
 *
 * Connection: one per client, shared by all its calls and made again by itself when it breaks. A request that was under
 * way then is sent again; every write carries a random request id, so a write that had already been applied is not
 * applied twice and gets its first answer.
 *
 * Threading: every function may be called from any thread at any time, but for vd_client_close, which must be the last.
 * Callbacks run on the library's threads: they must not block, must not make a synchronous call and must not close the
 * client; starting further asynchronous calls is what they are for.
 *
 * Strings are NUL-terminated UTF-8. Ownership words: borrows (valid during the call), copies, returns owned (free with X).
 * Every function returns VD_OK or a status, and fills *err (may be NULL) with the sentence a person reads; what the server
 * said is passed on as it is, with the path of the faulty field in err->field. Beside the statuses a function names, all
 * calls can give:
 *   INVALID_ARGUMENT   an argument is missing or out of range (found here or by the server)
 *   UNAVAILABLE        no connection, or the server is starting or busy (err->retry_after_s says when to try again)
 *   DEADLINE_EXCEEDED  no answer within the time limit; a write may or may not have been carried out
 *   RESOURCE_EXHAUSTED a limit of the server
 *   CANCELLED          the client was closed
 *   OUT_OF_MEMORY      here, not on the server
 *   INTERNAL           an answer that could not be read, or a fault of the server
 */
#ifndef VECTORD_CLIENT_H
#define VECTORD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vectord/limits.h"
#include "vectord/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VD_CLIENT_URL_DEFAULT "tcp://127.0.0.1:3216"
/* Long enough for a 64 MiB batch to be inserted into a graph; searches answer in a millisecond. */
#define VD_CLIENT_TIMEOUT_DEFAULT_MS 60000
/* A connection on a local network takes a millisecond; this is for the far ones. */
#define VD_CLIENT_CONNECT_TIMEOUT_DEFAULT_MS 5000
/* How long closing waits for libnng, which takes a millisecond. */
#define VD_CLIENT_CLOSE_MS 3000

typedef struct vd_client vd_client;

/* Zero-initialise, set what you need. */
typedef struct vd_client_options {
    uint32_t timeout_ms;         /* for each call; 0: VD_CLIENT_TIMEOUT_DEFAULT_MS; at most VD_TIMEOUT_MAX_MS */
    uint32_t connect_timeout_ms; /* to connect, and to reconnect before a new call gives up; 0: the default */
    bool wait_for_server;        /* open: keep trying until connect_timeout_ms, also when the connection is refused */
    const char *token;           /* sent as "authorization: Bearer <token>"; copied; NULL: none */
} vd_client_options;

/*
 * Connects. `url` is "tcp://host:port" or "ipc:///path" (NULL: VD_CLIENT_URL_DEFAULT); `options` may be NULL. Borrows both.
 * Returns owned (free with vd_client_close). INVALID_ARGUMENT: not such an address; UNAVAILABLE: nobody answers there.
 */
VECTORD_API vd_status vd_client_open(const char *url, const vd_client_options *options, vd_client **out, vd_error *err);

/* Closes the connection and frees the client. Asynchronous calls under way end with CANCELLED, and their callbacks have
 * returned when this does. No other call may be running or follow. NULL is fine. libnng 1.5.2 can hang on closing: it is
 * waited for for VD_CLIENT_CLOSE_MS, then left behind with its thread, its socket and a few hundred bytes of the client. */
VECTORD_API void vd_client_close(vd_client *client);

/* The address it was opened with. Borrowed, valid until close. */
VECTORD_API const char *vd_client_url(const vd_client *client);

/* ---- indexes ---- */

/* Zero-initialise; 0 or NULL means the server's default everywhere but for name and dimension. */
typedef struct vd_client_index_options {
    const char *name;
    uint32_t dimension;
    uint32_t m;
    uint32_t ef_construction;
    uint32_t ef_search;
    const char *distance; /* "cosine" (default) or "euclidean" */
} vd_client_index_options;

/* All there is to know about an index; holds no pointers, so it needs no freeing. */
typedef struct vd_client_index {
    char name[VD_INDEX_NAME_MAX_BYTES + 1];
    uint32_t dimension;
    uint32_t m;
    uint32_t ef_construction;
    uint32_t ef_search;
    char distance[16];
    uint64_t length;          /* items */
    char state[16];           /* "ready", "loading", "quarantined" */
    char reason[256];         /* why it is quarantined; else "" */
    double load_progress;     /* 0..1 while loading */
    uint32_t ef_effective;    /* what a search without an ef of its own uses now */
    uint64_t calibrated_at;   /* length at the last calibration; 0: not yet */
    double calibrated_recall; /* recall@10 measured then */
    char encoding[16];        /* what the graph is walked with: "sq8" or "f32" */
    uint64_t memory_bytes;
    uint64_t journal_bytes; /* written since the last snapshot */
    uint64_t sequence;      /* of the last applied write */
    uint64_t optimized;     /* items that have been through the second pass over the graph */
} vd_client_index;

/* Makes an empty index. Borrows `options`. ALREADY_EXISTS: the name is taken, also by an index that is loading or
 * quarantined. */
VECTORD_API vd_status vd_client_create_index(vd_client *client, const vd_client_index_options *options, vd_error *err);

/* Sorted by bytes. */
typedef struct vd_client_names {
    size_t count;
    const char *const *names;
} vd_client_names;
/* Returns owned (free with vd_client_names_free). */
VECTORD_API vd_status vd_client_list_indexes(vd_client *client, vd_client_names **out, vd_error *err);
VECTORD_API void vd_client_names_free(vd_client_names *names);

/* Fills *out. NOT_FOUND. */
VECTORD_API vd_status vd_client_get_index(vd_client *client, const char *name, vd_client_index *out, vd_error *err);
/* Removes an index with everything in it. NOT_FOUND. */
VECTORD_API vd_status vd_client_delete_index(vd_client *client, const char *name, vd_error *err);

/* ---- items ---- */

typedef struct vd_client_item {
    const char *id;       /* 1..VD_ID_MAX_BYTES bytes */
    const float *vector;  /* `dimension` finite values; not all zero under cosine */
    const char *metadata; /* JSON, kept byte for byte; NULL: what is stored stays */
} vd_client_item;

typedef struct vd_client_added {
    uint64_t added;    /* items of this call that are in the index now; on failure, those before the failed request */
    uint64_t length;   /* items in the index afterwards */
    uint32_t requests; /* how many requests carried them */
} vd_client_added;

/*
 * Adds or replaces `count` items of `dimension` values each. What fits one request (VD_BODY_MAX_BYTES,
 * VD_BATCH_ITEMS_MAX) is all or nothing; more is sent in several requests one after another, each all or nothing with the
 * time limit for itself. Errors name items by their place in `items`. Borrows everything. `added` may be NULL and is
 * filled on failure too.
 * NOT_FOUND: no such index; TOO_LARGE: one item alone is past the limit.
 */
VECTORD_API vd_status vd_client_add_items(vd_client *client, const char *index, const vd_client_item *items,
                                          size_t count, uint32_t dimension, vd_client_added *added, vd_error *err);

/* How many of the items, from the first one, one request can carry; 0 when the first alone is too large. */
VECTORD_API size_t vd_client_fit(const char *index, const vd_client_item *items, size_t count, uint32_t dimension);

/* `added` and `err` are borrowed for the duration of the callback; err is NULL when status is VD_OK. */
typedef void (*vd_client_add_fn)(void *arg, vd_status status, const vd_client_added *added, const vd_error *err);
/* The same without waiting. Copies what it needs before it returns. When it returns VD_OK, `done` is called exactly once;
 * else never. TOO_LARGE: more than one request can carry (see vd_client_fit). */
VECTORD_API vd_status vd_client_add_items_async(vd_client *client, const char *index, const vd_client_item *items,
                                                size_t count, uint32_t dimension, vd_client_add_fn done, void *arg,
                                                vd_error *err);

/* ---- searching ---- */

/* Zero-initialise; give `vector` and `dimension`, or `id`. */
typedef struct vd_client_search_request {
    const char *index;
    const float *vector; /* the query */
    uint32_t dimension;
    const char *id; /* or: search by a stored item's vector; that item is not in the answer */
    uint32_t k;     /* 0: VD_K_DEFAULT; at most VD_K_MAX */
    uint32_t ef;    /* 0: the index's own, which holds its recall target; else taken as given */
    bool exact;     /* scan everything */
} vd_client_search_request;

typedef struct vd_client_hit {
    const char *id;
    double distance;      /* lower is nearer */
    double score;         /* higher is better, 0..1 */
    const char *metadata; /* the stored JSON; NULL: there is none */
} vd_client_hit;

/* Nearest first. One block: the hits point into it. */
typedef struct vd_client_results {
    size_t count;
    const vd_client_hit *hits;
} vd_client_results;

/* Finds the k nearest items. Borrows `request`. Returns owned (free with vd_client_results_free). NOT_FOUND: no such index,
 * or no item with that id. */
VECTORD_API vd_status vd_client_search(vd_client *client, const vd_client_search_request *request,
                                       vd_client_results **out, vd_error *err);
VECTORD_API void vd_client_results_free(vd_client_results *results);

/* `results` (NULL on failure) and `err` (NULL on success) are borrowed for the duration of the callback. */
typedef void (*vd_client_search_fn)(void *arg, vd_status status, const vd_client_results *results, const vd_error *err);
/* The same without waiting. Copies what it needs before it returns. When it returns VD_OK, `done` is called exactly once;
 * else never. */
VECTORD_API vd_status vd_client_search_async(vd_client *client, const vd_client_search_request *request,
                                             vd_client_search_fn done, void *arg, vd_error *err);

/* ---- the server ---- */

typedef struct vd_client_server {
    char status[16]; /* "ok", or "degraded" while an index is quarantined */
    bool ready;      /* every index has been loaded or quarantined */
    char version[32];
    uint32_t indexes;
    uint32_t loading;
    uint32_t quarantined;
    uint64_t items;
    double uptime_seconds;
    bool durable; /* false: nothing outlives the server's process */
} vd_client_server;
VECTORD_API vd_status vd_client_health(vd_client *client, vd_client_server *out, vd_error *err);

/* ---- raw calls: for benchmarks, and for operations newer than this library ---- */

typedef struct vd_client_raw_request {
    const char *method;  /* "/vectord.v1.VectorService/Search" */
    const void *payload; /* the protobuf request message; may be NULL when payload_bytes is 0 */
    size_t payload_bytes;
    uint32_t timeout_ms;    /* 0: the client's */
    const void *request_id; /* NULL: none, or a fresh random one when `write` is set */
    size_t request_id_bytes;
    bool write;
} vd_client_raw_request;

typedef struct vd_client_reply {
    const void *payload; /* the protobuf response message */
    size_t payload_bytes;
    void *owner;
} vd_client_reply;

/* Sends one request and waits. Borrows `request`. *reply is owned (free with vd_client_reply_free). */
VECTORD_API vd_status vd_client_call_raw(vd_client *client, const vd_client_raw_request *request,
                                         vd_client_reply *reply, vd_error *err);
VECTORD_API void vd_client_reply_free(vd_client_reply *reply);

/* `payload` and `err` are borrowed for the duration of the callback. */
typedef void (*vd_client_raw_fn)(void *arg, vd_status status, const void *payload, size_t payload_bytes,
                                 const vd_error *err);
VECTORD_API vd_status vd_client_call_raw_async(vd_client *client, const vd_client_raw_request *request,
                                               vd_client_raw_fn done, void *arg, vd_error *err);

#ifdef __cplusplus
}
#endif
#endif
