/*
 * registry.h - name -> index: creating, listing, deleting, loading at start, stopping.
 *
 * States: LOADING (files are being read, its graph rebuilt), READY, QUARANTINED (files are damaged; reason kept, files
 * untouched, name taken). Listening can begin as soon as registry_open has returned.
 *
 * Threading: all functions are thread-safe. Lock order: registry map lock, then one index's writer lock, then the engine.
 * No call to the store is made while the map lock is held.
 */
#ifndef VECTORD_REGISTRY_REGISTRY_H
#define VECTORD_REGISTRY_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/metrics.h"
#include "registry/index.h"
#include "store/objstore.h"
#include "vectord/executor.h"
#include "vectord/status.h"

typedef struct registry registry;

typedef struct registry_options {
    objstore *store;             /* takes on success; NULL: ephemeral, nothing is kept */
    const vd_executor *executor; /* borrows; parallel inserts, calibration */
    uint32_t load_threads;       /* indexes loaded at a time; 0: executor width */
    uint64_t snapshot_min_bytes; /* a snapshot is due when the journal holds at least this ... ; 0: 16 MiB */
    double snapshot_factor;      /* ... and this many times the last snapshot; 0: 2.0 */
    int64_t snapshot_idle_ms;    /* or when nothing was written for so long; 0: 30,000 */
    uint64_t backlog_max_bytes;  /* of acknowledged writes that wait for the store, all indexes together; 0: 256 MiB */
} registry_options;

/* Lists the store and starts loading in the background. A network store that is away is waited for in the background too: until
 * it has been listed every call is UNAVAILABLE with the reason. Returns owned. */
vd_status registry_open(const registry_options *options, registry **out, vd_error *err);
/* Waits until loading has ended, or timeout_ms passed (false). -1: no limit. */
bool registry_wait_loaded(registry *r, int64_t timeout_ms);
/* Refuses new writes (UNAVAILABLE), saves every index with a journal, closes the store. Frees. Statuses of saves that failed
 * are logged; their journals stay and lose nothing. */
void registry_close(registry *r);

/* Names are checked here (INVALID_ARGUMENT names the rule). The frame of the new index is in the store when it returns.
 * `receipt` may be NULL. */
vd_status registry_create(registry *r, const index_params *params, bytes request_id, index_receipt *receipt,
                          vd_error *err);
/* The index is gone for good when it returns OK, memory too (searches that run finish first); its files are, unless the store
 * refuses, and then the next start removes them. A quarantined index's files are set aside. */
vd_status registry_delete(registry *r, bytes name, bytes request_id, vd_error *err);

/* Finds an index in any state. OK, NOT_FOUND. Returns owned (index_release). */
vd_status registry_acquire(registry *r, bytes name, vd_index **out, vd_error *err);
/* Names sorted by bytes into the arena. */
vd_status registry_list(registry *r, arena *a, bytes **names, size_t *count, vd_error *err);

/* Returns when all writes that were answered before are as durable as the server can make them. UNAVAILABLE names the first
 * index for which that failed; the others have been tried too. *flushed: indexes that had something waiting or not, all done. */
vd_status registry_flush(registry *r, uint32_t *flushed, vd_error *err);

typedef struct registry_summary {
    uint32_t indexes, loading, quarantined;
    uint64_t items;
    bool listed;            /* what the store holds is known */
    bool ready;             /* ... and nothing of it is loading */
    bool durable;           /* a store is behind it */
    bool store_away;        /* a network store fails: writes are acknowledged at "memory" */
    uint64_t backlog_bytes; /* of writes that were acknowledged at "memory" and wait for the store */
    index_durability strongest;
} registry_summary;
void registry_get_summary(registry *r, registry_summary *out);
/* Gauges: items, memory, journal bytes, ef per index. */
void registry_register_metrics(registry *r, metrics *m);

#endif
