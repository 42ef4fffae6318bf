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
#define VD_ITEMS_MAX               4294967294u /* slots are 32 bits wide and one value means "none" */
#define VD_RECALL_TARGET_DEFAULT   0.95
#define VD_RECALL_AIM_MARGIN       0.02 /* calibration aims this much above the target: real queries lie further out */

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

/* ---- the write path ---- */
#define VD_DEDUPE_WINDOW        65536 /* remembered request ids per index */
#define VD_REQUEST_ID_MAX_BYTES 64

#endif
