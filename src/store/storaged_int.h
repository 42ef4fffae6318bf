/* storaged_int.h - what the files of the store over HTTP share; nobody else includes it. */
#ifndef VECTORD_STORE_STORAGED_INT_H
#define VECTORD_STORE_STORAGED_INT_H

#include <pthread.h>

#include "store/checksum.h"
#include "store/storaged.h"
#include "vectord/limits.h"

#define ASIDE_MARK   ".aside-"
#define PROBE_PREFIX "_vectors/.probe/"
/* Every byte may become three, and the route stands before it. */
#define TARGET_MAX (64u + 3u * (VD_OBJECT_KEY_MAX_BYTES + 1u))

/* The daemon takes VD_OBJECT_PUTS_MAX puts at a time and tells others to come back in seconds. One vectord alone never asks for
 * more: half of the places are for bodies that stream (frames), so that journals need not wait for those. */
#define PLACES_EACH (VD_OBJECT_PUTS_MAX / 2u)
typedef enum storaged_place { PLACE_WHOLE, PLACE_STREAM, PLACES } storaged_place;

typedef struct http_store {
    objstore face; /* first */
    http_client *client;
    pthread_mutex_t mutex; /* guards: */
    pthread_cond_t free;   /* a place was given back */
    unsigned used[PLACES];
    bool proved; /* it has been seen to honour conditional puts */
    char prefix[VD_STORE_PREFIX_MAX_BYTES + 2];
    size_t put_buffer_bytes;
} http_store;

/* "/storage/get/<prefix><key>", percent-encoded. INVALID_ARGUMENT: it is no key, or too long a one. */
vd_status storaged_target(const http_store *s, const char *route, const char *key, char out[TARGET_MAX], vd_error *err);
/* What an answer that is not a success means for "<what> <key>". */
vd_status storaged_refused(const http_store *s, const http_answer *a, const char *what, const char *key, vd_error *err);
/* Is the ETag one of ours, a SHA-256? */
bool storaged_is_sum(const char *etag);

/* Waits for a place; nobody keeps one for longer than a put takes, and those have deadlines. */
void storaged_take_place(http_store *s, storaged_place place);
void storaged_give_place(http_store *s, storaged_place place);

/* Does it honour conditional puts? Asked until it has answered once. UNAVAILABLE: it does not answer; FAILED_PRECONDITION: it is
 * none that can be used. */
vd_status storaged_prove(http_store *s, vd_error *err);

typedef enum storaged_rule {
    PUT_REPLACES,  /* whatever is there when the put begins */
    PUT_IF_ABSENT, /* ALREADY_EXISTS otherwise */
    PUT_ONCE       /* the same, but finding the same bytes there is a success: an earlier try has put them */
} storaged_rule;
/* Puts a body that is in memory, again if need be. A repetition that finds its own bytes there has succeeded. */
vd_status storaged_put_whole(http_store *s, const char *key, storaged_rule rule, bytes body, vd_error *err);

/* storaged_put.c */
vd_status storaged_put_begin(objstore *face, const char *key, bool if_absent, objstore_put **out, vd_error *err);
vd_status storaged_put_write(objstore_put *put, const void *data, size_t size, vd_error *err);
vd_status storaged_put_commit(objstore_put *put, vd_error *err);
void storaged_put_abort(objstore_put *put);
vd_status storaged_log_create(objstore *face, const char *key, objstore_log **out, vd_error *err);
vd_status storaged_log_append(objstore_log *log, const void *data, size_t size, vd_error *err);
vd_status storaged_log_sync(objstore_log *log, vd_error *err);
void storaged_log_close(objstore_log *log);
/* storaged_list.c */
vd_status storaged_list(objstore *face, const char *prefix,
                        vd_status (*visit)(void *arg, const char *key, uint64_t size), void *arg, vd_error *err);
/* One page: calls visit for each key in it, and tells where to go on (*cursor empty: at the end). Pure. `cursor` holds
 * VD_OBJECT_KEY_MAX_BYTES + 1. DATA_LOSS when it is no listing. */
typedef vd_status (*storaged_page_visit)(void *arg, const char *key, uint64_t size);
vd_status storaged_list_parse(bytes page, storaged_page_visit visit, void *arg, char *cursor, size_t *count,
                              vd_error *err);

#endif
