/*
 * flat.h - the embeddable engine for languages that call C through an FFI (ctypes, cffi, JNA, Panama, ...): whole
 * arrays in, whole arrays out, so that one call costs as little as possible.
 *
 * Every parameter is a number, a pointer or a NUL-terminated text; no struct is passed or read, and there is one
 * callback, which may be NULL. Programs in C are better off with hnsw.h, which this is made of.
 *
 * Ids are texts. Where an array of int64 numbers is taken or given, number n stands for the text that is n in decimal
 * ("0", "17"): the same item has both names. An index remembers whether any id was ever given as a text
 * (vd_flat_ids_are_numbers).
 *
 *   texts     one block of UTF-8 and `ends`: text i is the bytes from ends[i-1] (0 for the first) to ends[i]. Those
 *             that are given have nothing between them; those that a search returns have a NUL each as their last byte
 *   numbers   0..2^63-1
 *   vectors   float32, one row of `dimension` values behind the other, rows in the order of the ids
 *   distances float64: what the engine computes, and so equal to the service's answers bit for bit, in strict order;
 *             float32 would make ties of what are none. A hit costs 16 bytes instead of 12
 *
 * Short answers: a query that finds fewer than k items has its row filled up with number -1, an empty text (a NUL) and
 * distance infinity, which sorts last. `counts` has how many were found.
 *
 * Arrays belong to the caller, are borrowed for the call and must have the sizes that are stated: nothing can check
 * them. They need no alignment beyond that of their type. Blocks that a call returns (`char **block`) are owned by the
 * caller: vd_flat_release.
 *
 * Threads: every function may be called from any thread at any time beside any other, except that vd_flat_free must be
 * the last call. Searches wait for nobody; adds wait for one another. `threads` is how many a call may use at most,
 * the calling one included: 1 uses no other, 0 one per CPU of this process, fewer when the system gives no more. The
 * answers are the same for every number. The helpers are one pool of the process, started when first needed and idle
 * between calls; after a fork the child starts its own.
 *
 * Errors: every function that can fail returns a vd_status and takes `error`, VD_FLAT_ERROR_BYTES bytes of the caller
 * or NULL, where a failure leaves a NUL-terminated sentence; it is not touched by success. INVALID_ARGUMENT and
 * OUT_OF_MEMORY can come from all. After a failure the index is as before and what was written to result arrays is
 * undefined.
 */
#ifndef VECTORD_FLAT_H
#define VECTORD_FLAT_H

#include <stdint.h>

#include "vectord/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VD_FLAT_ERROR_BYTES 512

typedef struct vd_flat vd_flat;

/* Frees a block that another function of this header returned; NULL is fine. */
VECTORD_API void vd_flat_release(void *block);

/* ---- an index ---- */

/*
 * Makes an empty index. `distance`: "cosine" (also for NULL) or "euclidean". `encoding`: a name of vd_encoding_parse;
 * NULL: "auto". m, ef_construction, ef_search, recall_target: 0 is the default of limits.h. keep_vectors 0: codes only
 * (hnsw.h, discard_vectors). Returns owned (vd_flat_free).
 */
VECTORD_API vd_status vd_flat_new(uint32_t dimension, const char *distance, uint32_t m, uint32_t ef_construction,
                                  uint32_t ef_search, double recall_target, const char *encoding, uint32_t keep_vectors,
                                  uint64_t seed, vd_flat **out, char *error);
/* No call may be running or follow. NULL is fine. */
VECTORD_API void vd_flat_free(vd_flat *index);

VECTORD_API uint64_t vd_flat_count(const vd_flat *index);
VECTORD_API uint32_t vd_flat_dimension(const vd_flat *index);
/* 1 while every id that was ever added was given as a number (of a loaded index: while every id is one), else 0. */
VECTORD_API uint32_t vd_flat_ids_are_numbers(const vd_flat *index);

/* ---- writing ---- */

/*
 * Adds or replaces `count` rows, all or nothing. numbers[i] is the id of row i; several rows with one id: the last one
 * wins. numbers NULL: the rows are numbered upwards from the first number that lies above all ids ever added (0 in a
 * new index; in a loaded one from above the ids it holds). *first (may be NULL) is the number of the first row then,
 * and untouched otherwise. Metadata of an id that is replaced stays with it. INVALID_ARGUMENT names the row
 * ("items[3]: vector[7] is not finite"). OUT_OF_RANGE: no numbers are left above the greatest id.
 */
VECTORD_API vd_status vd_flat_add(vd_flat *index, const float *vectors, uint64_t count, const int64_t *numbers,
                                  uint32_t threads, int64_t *first, char *error);
/* The same with texts of 1..VD_ID_MAX_BYTES bytes. INVALID_ARGUMENT also for an id that is not UTF-8 and for ends that
 * decrease. */
VECTORD_API vd_status vd_flat_add_text(vd_flat *index, const float *vectors, uint64_t count, const char *ids,
                                       const uint64_t *ends, uint32_t threads, char *error);

/* Removes ids; those that are not there are skipped. *deleted (may be NULL): how many were there. */
VECTORD_API vd_status vd_flat_delete(vd_flat *index, const int64_t *numbers, uint64_t count, uint32_t threads,
                                     uint64_t *deleted, char *error);
VECTORD_API vd_status vd_flat_delete_text(vd_flat *index, const char *ids, const uint64_t *ends, uint64_t count,
                                          uint32_t threads, uint64_t *deleted, char *error);

/*
 * Links every item once more (vd_hnsw_optimize). What it saves depends on the data: on 100,000 sentence embeddings
 * 10 % of the distances per search at recall 0.95 and a third at 0.99. `progress` (may be NULL) is called on the calling
 * thread, now and then, with items done and in all; 0 from it ends the call with CANCELLED, and a later call goes on
 * from there.
 */
VECTORD_API vd_status vd_flat_optimize(vd_flat *index, uint32_t threads,
                                       int (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                                       char *error);
/* Measures how far searches must look to reach the index's recall (vd_hnsw_calibrate). Worth doing when due: 1 or 0. */
VECTORD_API uint32_t vd_flat_calibration_due(const vd_flat *index);
VECTORD_API vd_status vd_flat_calibrate(vd_flat *index, uint32_t threads, char *error);

/* ---- reading ---- */

/*
 * Finds the k nearest items of each of `query_count` queries (1 <= k <= VD_ITEMS_MAX; beyond a few thousand every item
 * is measured, and time grows with the square of k). ef 0: as far as `recall` needs (0: the index's own recall_target;
 * until the index is calibrated a pool of 100, whatever the recall), else a pool of so many, at most VD_EF_SEARCH_MAX;
 * not both. exact not 0: measures every item. numbers and distances: [query_count * k]; counts: [query_count], may be
 * NULL. More than one thread only serves more than one query. INVALID_ARGUMENT names the query ("queries[3]: vector[7]
 * is not finite"). FAILED_PRECONDITION: an id that was found is not a number: call vd_flat_search_text.
 */
VECTORD_API vd_status vd_flat_search(vd_flat *index, const float *queries, uint64_t query_count, uint32_t k,
                                     uint32_t ef, double recall, uint32_t exact, uint32_t threads, int64_t *numbers,
                                     double *distances, uint32_t *counts, char *error);
/*
 * The same with ids as texts, those of all queries in one block with ends [query_count * k]. They stand in `ids` when
 * they fit into its `capacity` bytes, and *block is NULL; else *block is where they are (returned owned). `ids` may be
 * NULL with capacity 0, `block` may not. After a failure *block is NULL.
 */
VECTORD_API vd_status vd_flat_search_text(vd_flat *index, const float *queries, uint64_t query_count, uint32_t k,
                                          uint32_t ef, double recall, uint32_t exact, uint32_t threads, char *ids,
                                          uint64_t capacity, uint64_t *ends, char **block, double *distances,
                                          uint32_t *counts, char *error);

/*
 * The same among some ids only: `allowed_count` numbers, or texts when allowed_ends is not NULL. Ids that are not there
 * are skipped, an id may stand there twice, and with none of them nothing is found. A query finds min(k, allowed items
 * that are there); an item that another thread replaces during the call may be missing. Ids are looked up once a call,
 * and once more for every few thousand hits of a call with many queries. INVALID_ARGUMENT also for ends that decrease.
 */
VECTORD_API vd_status vd_flat_search_filtered(vd_flat *index, const int64_t *allowed_numbers, const char *allowed_ids,
                                              const uint64_t *allowed_ends, uint64_t allowed_count,
                                              const float *queries, uint64_t query_count, uint32_t k, uint32_t ef,
                                              double recall, uint32_t exact, uint32_t threads, int64_t *numbers,
                                              double *distances, uint32_t *counts, char *error);
VECTORD_API vd_status vd_flat_search_filtered_text(vd_flat *index, const int64_t *allowed_numbers,
                                                   const char *allowed_ids, const uint64_t *allowed_ends,
                                                   uint64_t allowed_count, const float *queries, uint64_t query_count,
                                                   uint32_t k, uint32_t ef, double recall, uint32_t exact,
                                                   uint32_t threads, char *ids, uint64_t capacity, uint64_t *ends,
                                                   char **block, double *distances, uint32_t *counts, char *error);

/*
 * A search of one query with all its arguments set beforehand: an FFI pays for every argument of every call (ctypes:
 * about 0.1 microseconds each), and a run has one. The caller fills `query`, runs, and takes what is in the other
 * places. All places must outlive it, and runs of one prepared search must not overlap; prepare one for each thread.
 * Returns owned (vd_flat_prepared_free), to be freed before the index.
 */
typedef struct vd_flat_prepared vd_flat_prepared;
VECTORD_API vd_status vd_flat_prepare(vd_flat *index, const float *query, uint32_t k, uint32_t ef, double recall,
                                      uint32_t exact, int64_t *numbers, double *distances, uint32_t *count, char *error,
                                      vd_flat_prepared **out);
VECTORD_API vd_status vd_flat_prepare_text(vd_flat *index, const float *query, uint32_t k, uint32_t ef, double recall,
                                           uint32_t exact, char *ids, uint64_t capacity, uint64_t *ends, char **block,
                                           double *distances, uint32_t *count, char *error, vd_flat_prepared **out);
VECTORD_API vd_status vd_flat_run(const vd_flat_prepared *prepared);
VECTORD_API void vd_flat_prepared_free(vd_flat_prepared *prepared);

/*
 * Copies the vectors of ids to `vectors` ([count * dimension]; NULL: only look). found[i] is 1 or 0; the row of one
 * that is not there is not a number throughout. `found` NULL: all must be there, else NOT_FOUND, and the text names
 * the first that is not.
 */
VECTORD_API vd_status vd_flat_get(const vd_flat *index, const int64_t *numbers, uint64_t count, float *vectors,
                                  uint8_t *found, char *error);
VECTORD_API vd_status vd_flat_get_text(const vd_flat *index, const char *ids, const uint64_t *ends, uint64_t count,
                                       float *vectors, uint8_t *found, char *error);
/*
 * All ids of one moment, in the order of their bytes as texts. Waits for a write that is going on, and looks at every
 * item, vector included. *numbers: [*count], returned owned (vd_flat_release), NULL when there are none.
 * FAILED_PRECONDITION: one is not a number: call vd_flat_list_text.
 */
VECTORD_API vd_status vd_flat_list(vd_flat *index, int64_t **numbers, uint64_t *count, char *error);
/* The same as texts: *block and *ends are returned owned, each on its own; both NULL when there are none. */
VECTORD_API vd_status vd_flat_list_text(vd_flat *index, char **block, uint64_t **ends, uint64_t *count, char *error);
/* The metadata of one id of `size` bytes, as it came with the file: *block is NUL-terminated JSON, returned owned, or
 * NULL when the item has none. NOT_FOUND. */
VECTORD_API vd_status vd_flat_metadata(const vd_flat *index, const char *id, uint64_t size, char **block, char *error);

/* What values[] of vd_flat_stats hold: the figures and options of hnsw.h. Where it does not say "a fraction", a whole
 * number below 2^53. */
enum {
    VD_FLAT_ITEMS,
    VD_FLAT_DELETED_UNSWEPT,
    VD_FLAT_MEMORY_BYTES, /* without metadata */
    VD_FLAT_LEVELS,
    VD_FLAT_EF_EFFECTIVE,
    VD_FLAT_CALIBRATED_AT,
    VD_FLAT_CALIBRATED_RECALL, /* a fraction */
    VD_FLAT_CALIBRATED_GAMMA,  /* a fraction */
    VD_FLAT_OPTIMIZED,
    VD_FLAT_ENCODING, /* vd_encoding: what is walked with now; vd_encoding_name has its name */
    VD_FLAT_DISTANCES,
    VD_FLAT_OPTION_METRIC, /* vd_metric */
    VD_FLAT_OPTION_M,
    VD_FLAT_OPTION_EF_CONSTRUCTION,
    VD_FLAT_OPTION_EF_SEARCH,
    VD_FLAT_OPTION_RECALL_TARGET, /* a fraction */
    VD_FLAT_OPTION_ENCODING,      /* vd_encoding: what was asked for */
    VD_FLAT_OPTION_KEEP_VECTORS,
    VD_FLAT_STATS
};
/* Fills the first `capacity` of VD_FLAT_STATS values (a later version may have more of them, behind these) and returns
 * how many there are. Waits for a write that is going on. */
VECTORD_API uint32_t vd_flat_stats(const vd_flat *index, double *values, uint32_t capacity);

/* ---- files ---- */

/* Writes the index to `path` as a snapshot that the service reads, with metadata (file.h, vd_hnsw_save; `name`
 * likewise). Searches and writes may go on. The statuses of file.h. */
VECTORD_API vd_status vd_flat_save(vd_flat *index, const char *path, const char *name, char *error);
/*
 * Reads a file of vd_flat_save, of the service or of the original, and builds its graph on `threads`; what the file
 * does not hold comes from the other arguments, as in vd_flat_new. numbers: whether ids are to be numbers: 0 no; 1
 * when all of them can be. Returns owned (vd_flat_free). The statuses of file.h: NOT_FOUND, DATA_LOSS, UNIMPLEMENTED,
 * INTERNAL.
 */
VECTORD_API vd_status vd_flat_load(const char *path, double recall_target, const char *encoding, uint32_t keep_vectors,
                                   uint64_t seed, uint32_t numbers, uint32_t threads, vd_flat **out, char *error);

#ifdef __cplusplus
}
#endif
#endif
