/*
 * limits.h - every bound of the project, default, minimum and maximum side by side, with its reason.
 *
 * The same macros feed validation, configuration, `--help` and the table in docs/limits.md; a limit that
 * is not here does not exist. Every MAX is inclusive: the greatest legal value.
 */
#ifndef VECTORD_LIMITS_H
#define VECTORD_LIMITS_H

/* ---- an index ---- */
/* Bytes of UTF-8 without control characters, not "." or "..": a name is also a file name. A name is percent-encoded
 * on disk ("/", "%", leading "."), and NAME_MAX is 255 bytes with ".lhv1.tmp" to come. */
#define VD_INDEX_NAME_MAX_BYTES    200
#define VD_INDEXES_MAX             10000 /* a process-wide cap, so that creating in a loop cannot eat all file handles */
#define VD_DIMENSION_MIN           1
#define VD_DIMENSION_MAX           16384 /* 64 KiB a vector; integer code sums stay far inside 32 bits */
#define VD_M_DEFAULT               16
#define VD_M_MIN                   2 /* below 2 a graph is a chain */
#define VD_M_MAX                   128
#define VD_EF_CONSTRUCTION_DEFAULT 200
#define VD_EF_CONSTRUCTION_MIN     8
#define VD_EF_CONSTRUCTION_MAX     2000
#define VD_EF_SEARCH_DEFAULT       20 /* the original's documented default; here it is a floor */
#define VD_EF_SEARCH_MIN           1
#define VD_EF_SEARCH_MAX           4096
#define VD_LEVELS_MAX              16          /* a count: arrays are [VD_LEVELS_MAX], loops use < */
#define VD_ITEMS_MAX               2147483646u /* slots have 31 bits: the keys of a search use the 32nd */
#define VD_RECALL_TARGET_DEFAULT   0.95
/* A search aims above the recall it is asked for by this share of what is missing to 1: 0.95 aims at 0.98, as real queries lie
 * further out than the stored vectors it was measured on (measured: up to 0.024 lower). */
#define VD_RECALL_AIM_SHARE 0.6

/* ---- an item ---- */
#define VD_ID_MIN_BYTES       1
#define VD_ID_MAX_BYTES       1024
#define VD_METADATA_MAX_BYTES (1024 * 1024)
#define VD_METADATA_DEPTH_MAX 64

/* ---- a request ---- */
#define VD_BODY_MAX_BYTES       (64u * 1024u * 1024u)
#define VD_BATCH_ITEMS_MAX      100000 /* 64 MiB of the shortest items is not far above this */
#define VD_K_DEFAULT            10
#define VD_K_MAX                1000 /* more is cut to this, as the original does */
#define VD_JSON_DEPTH_MAX       64
#define VD_ENVELOPE_SLACK_BYTES (1024u * 1024u) /* what an envelope may add to a body on the NNG door */
#define VD_TIMEOUT_MAX_MS       600000

/* ---- the doors ---- */
#define VD_INFLIGHT_BODY_MAX_BYTES                                                                                     \
    (1024ull * 1024 * 1024)                               /* bodies held at a time by all doors together; beyond: 503 */
#define VD_INFLIGHT_JOBS_MAX       4096                   /* calls waiting for or in a worker; beyond: 503 */
#define VD_REQUEST_ARENA_MAX_BYTES (512u * 1024u * 1024u) /* one request decoded, with its reply */
#define VD_HTTP_CONNECTIONS_MAX    10000                  /* of all HTTP addresses together; 32 KiB each while open */
#define VD_HTTP_CONNECTION_BYTES   32768                  /* request line and headers together must fit */
#define VD_HTTP_HEAD_MS            10000 /* from the first byte (or the connect) to the end of the head */
#define VD_HTTP_IDLE_S             60    /* no byte either way for so long: closed */
#define VD_HTTP_RATE_MIN           1024  /* bytes per second, averaged, after a grace of ... */
#define VD_HTTP_GRACE_MS           10000
#define VD_HTTP_DROP_MAX_BYTES                                                                                         \
    (256ull * 1024 * 1024) /* of a refused body: read and dropped so that the answer arrives */
#define VD_HTTP_DROP_MS       10000
#define VD_NNG_RECEIVE_MARGIN (15u * 1024u * 1024u) /* an envelope so much too large is still read and answered */

/* ---- the object daemon ---- */
#define VD_OBJECT_KEY_MAX_BYTES     1024 /* of UTF-8, once percent-decoded */
#define VD_OBJECT_MAX_BYTES         (256ull * 1024 * 1024)
#define VD_OBJECT_VECTORS_MAX_BYTES (4ull * 1024 * 1024 * 1024) /* under "_vectors/": a frame is one object */
#define VD_OBJECT_LIST_MAX          10000                       /* keys on one page */
#define VD_OBJECT_PUTS_MAX          4 /* in flight; one more is answered 503: more would only share the disk's bandwidth */
#define VD_OBJECT_BUSY_RETRY_S      5   /* the Retry-After of that answer */
#define VD_OBJECT_CONNECTIONS_MAX   128 /* each has a thread: file operations wait */
#define VD_OBJECT_CONNECTION_BYTES  131072
#define VD_OBJECT_RATE_MIN                                                                                             \
    262144 /* bytes per second of a body, averaged, after VD_HTTP_GRACE_MS: few puts fit at a time */
#define VD_STORE_PREFIX_MAX_BYTES 200 /* of [store] prefix */
#define VD_STORE_PUT_BUFFER_BYTES                                                                                      \
    (1024u * 1024u) /* a put that fits is sent again after a failure; a larger one streams */
#define VD_STORE_CONNECT_MS     3000
#define VD_STORE_STALL_S        10   /* a transfer that stands still for so long has failed */
#define VD_STORE_RETRY_MS       2000 /* no new try begins later than this after the first: writers wait meanwhile */
#define VD_STORE_TOTAL_MS       3600000
#define VD_STORE_LIST_MAX_BYTES (64u * 1024u * 1024u) /* one page of a listing */

/* ---- the write path ---- */
#define VD_DEDUPE_WINDOW        65536  /* remembered request ids per index */
#define VD_DEDUPE_AGE_MS        600000 /* older ones need not outlive a restart: nobody resends for so long */
#define VD_REQUEST_ID_MAX_BYTES 64

/* ---- the server (settings of the same names: docs/config.md) ---- */
#define VD_CONFIG_MAX_BYTES           (64u * 1024u) /* a configuration file; also what a *_FILE variable may point to */
#define VD_BINDS_MAX                  16            /* addresses per door */
#define VD_THREADS_MAX                1024          /* of each pool; 0 sizes it to the machine */
#define VD_WORK_QUEUE_DEFAULT         1024 /* requests that wait for a worker; beyond it the answer is "busy" */
#define VD_WORK_QUEUE_MIN             1
#define VD_WORK_QUEUE_MAX             1000000
#define VD_DRAIN_MS_DEFAULT           10000 /* what requests in flight are given at a graceful stop */
#define VD_DRAIN_MS_MAX               600000
#define VD_SNAPSHOT_MIN_BYTES_DEFAULT (16u * 1024u * 1024u) /* below this a replay is quicker than a save is worth */
#define VD_SNAPSHOT_MIN_BYTES_MIN     4096
#define VD_SNAPSHOT_MIN_BYTES_MAX     (1ull << 40)
#define VD_SNAPSHOT_FACTOR_DEFAULT    2.0 /* n items cost O(n) bytes written: each snapshot doubles the one before */
#define VD_SNAPSHOT_FACTOR_MIN        0.01
#define VD_SNAPSHOT_FACTOR_MAX        1000.0
#define VD_SNAPSHOT_IDLE_MS_DEFAULT   30000
#define VD_SNAPSHOT_IDLE_MS_MIN       10
#define VD_SNAPSHOT_IDLE_MS_MAX       86400000
#define VD_METRIC_SERIES_MAX          131072 /* a dozen for each of VD_INDEXES_MAX; a scrape of more would take seconds */

#endif
