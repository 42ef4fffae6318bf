/*
 * flat_search.c - the flat facade's searches: from the engine's hits to arrays, one query or many, as they come or
 * prepared.
 *
 * A search is a record of its arguments (vd_flat_prepared), made on the stack for a plain call. The ids that hits
 * point to are copied out while the guard is held. Many queries go through the engine in pieces, so that hits of 40
 * bytes take little room beside the answer, and what was deleted meanwhile is held no longer than a piece takes.
 *
 * Allowed ids become a bitmap over slots anew under each guard: only while one is held does a slot stay its item's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "lib/flat_int.h"

#define HITS_ON_STACK 64u
/* In a piece, at least: enough queries for each thread to have several under way, and to make starting threads not
 * count. */
#define QUERIES_PER_THREAD 64u
#define HITS_PER_PIECE     16384u
/* And at most, but for one query per thread: 160 MiB. */
#define HITS_MOST 4194304u

struct vd_flat_prepared {
    vd_flat *index;
    const float *queries;
    uint64_t query_count;
    vd_hnsw_search_options options;
    uint32_t threads;
    int64_t *numbers; /* or, when this is NULL, texts: */
    char *ids;
    uint64_t capacity;
    uint64_t *ends;
    char **block;
    double *distances;
    uint32_t *counts;
    char *error;
    const flat_ids *allowed; /* NULL: all */
};

/* Where texts go: the caller's room, until it is full. */
typedef struct texts {
    char *data;
    size_t size, capacity;
    bool owned;
} texts;

/* ---- out ---- */

static bool texts_put(texts *t, vd_id id) {
    size_t need;
    if (!size_add(t->size, (size_t)id.size + 1, &need)) {
        return false;
    }
    if (need > t->capacity) {
        size_t capacity = need + need / 2 + 1024;
        char *grown = realloc(t->owned ? t->data : NULL, capacity);
        if (!grown) {
            return false;
        }
        if (!t->owned && t->size) {
            memcpy(grown, t->data, t->size);
        }
        *t = (texts){.data = grown, .size = t->size, .capacity = capacity, .owned = true};
    }
    if (id.size) {
        memcpy(t->data + t->size, id.data, id.size);
    }
    t->data[need - 1] = '\0';
    t->size = need;
    return true;
}

static vd_status put_numbers(const vd_flat_prepared *p, uint64_t query, const vd_hit *hits, size_t count,
                             vd_error *err) {
    int64_t *numbers = p->numbers + query * p->options.k;
    for (size_t i = 0; i < count; i++) {
        if (!flat_number(hits[i].id, &numbers[i])) {
            return vd_fail(err, VD_FAILED_PRECONDITION, NULL, "the id \"%.*s\" is not a number: search for texts",
                           (int)(hits[i].id.size < 100 ? hits[i].id.size : 100), hits[i].id.data);
        }
    }
    for (size_t i = count; i < p->options.k; i++) {
        numbers[i] = -1;
    }
    return VD_OK;
}

static vd_status put_texts(const vd_flat_prepared *p, uint64_t query, const vd_hit *hits, size_t count, texts *t,
                           vd_error *err) {
    uint64_t *ends = p->ends + query * p->options.k;
    for (size_t i = 0; i < p->options.k; i++) {
        if (!texts_put(t, i < count ? hits[i].id : (vd_id){NULL, 0})) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for the ids found");
        }
        ends[i] = t->size;
    }
    return VD_OK;
}

static vd_status put(const vd_flat_prepared *p, uint64_t query, const vd_hit *hits, size_t count, texts *t,
                     vd_error *err) {
    double *distances = p->distances + query * p->options.k;
    for (size_t i = 0; i < p->options.k; i++) {
        distances[i] = i < count ? hits[i].distance : (double)INFINITY;
    }
    if (p->counts) {
        p->counts[query] = (uint32_t)count;
    }
    return p->numbers ? put_numbers(p, query, hits, count, err) : put_texts(p, query, hits, count, t, err);
}

/* ---- in ---- */

/*
 * The bitmap of the slots of `allowed`, under the caller's guard, put into `options`; owned (free with bitmap_free).
 * Without `allowed` there is none, and everything may be found.
 */
typedef struct bitmap {
    vd_filter filter;
    uint64_t *words;
} bitmap;

static vd_status bitmap_make(bitmap *b, const vd_flat_prepared *p, vd_hnsw_search_options *options, vd_error *err) {
    const flat_ids *allowed = p->allowed;
    *b = (bitmap){.words = NULL};
    if (!allowed) {
        return VD_OK;
    }
    uint32_t *slots = NULL;
    size_t found = 0;
    uint32_t most = 0;
    if (allowed->count && (allowed->count > SIZE_MAX ||
                           !(slots = mem_alloc_array(alloc_default(), (size_t)allowed->count, sizeof *slots)))) {
        goto no_memory;
    }
    for (uint64_t i = 0; i < allowed->count; i++) {
        char digits[FLAT_DIGITS_MAX];
        vd_id id = flat_id(allowed, i, digits);
        uint32_t slot;
        if (id.size && vd_hnsw_slot(p->index->engine, id, &slot) == VD_OK) {
            slots[found++] = slot;
            most = slot > most ? slot : most;
        }
    }
    size_t words = (size_t)most / 64 + 1; /* never none: no bitmap would let everything through */
    b->words = calloc(words, sizeof *b->words);
    if (!b->words) {
        goto no_memory;
    }
    for (size_t i = 0; i < found; i++) {
        b->words[slots[i] / 64] |= (uint64_t)1 << slots[i] % 64;
    }
    b->filter = (vd_filter){.slots = b->words, .slot_count = (uint64_t)words * 64};
    options->filter = &b->filter;
    free(slots);
    return VD_OK;
no_memory:
    free(slots);
    return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for a filter of %llu ids",
                   (unsigned long long)allowed->count);
}

static void bitmap_free(bitmap *b, vd_hnsw_search_options *options) {
    options->filter = NULL;
    free(b->words);
}

static vd_status search_one(const vd_flat_prepared *p, vd_hnsw_search_options *options, texts *t, vd_error *err) {
    vd_hit on_stack[HITS_ON_STACK];
    vd_hit *hits = on_stack;
    if (options->k > HITS_ON_STACK && !(hits = mem_alloc_array(alloc_default(), options->k, sizeof *hits))) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for %u hits", options->k);
    }
    size_t count;
    bitmap allowed;
    vd_hnsw_guard guard;
    vd_hnsw_enter(p->index->engine, &guard);
    vd_status status = bitmap_make(&allowed, p, options, err);
    if (status == VD_OK) {
        status = vd_hnsw_search(p->index->engine, p->queries, options, hits, &count, NULL, err);
    }
    if (status == VD_OK) {
        status = put(p, 0, hits, count, t, err);
    }
    vd_hnsw_leave(p->index->engine, &guard);
    bitmap_free(&allowed, options);
    if (hits != on_stack) {
        free(hits);
    }
    return status;
}

/* The engine counts the queries of its piece; a person counts those of the call. */
static void name_the_query(uint64_t first, vd_error *err) {
    unsigned long long query;
    int size = 0;
    if (first && sscanf(err->text, "queries[%llu]%n", &query, &size) == 1 && size > 0) {
        char rest[sizeof err->text];
        snprintf(rest, sizeof rest, "%s", err->text + size);
        snprintf(err->text, sizeof err->text, "queries[%llu]%.300s", first + query, rest);
    }
}

static vd_status search_many(const vd_flat_prepared *p, vd_hnsw_search_options *options, texts *t,
                             const vd_executor *executor, vd_error *err) {
    uint64_t piece = (uint64_t)QUERIES_PER_THREAD * (executor ? executor->width : 1);
    piece = piece < HITS_PER_PIECE / options->k ? HITS_PER_PIECE / options->k : piece;
    if (piece > HITS_MOST / options->k) {
        uint64_t least = executor ? executor->width : 1;
        piece = HITS_MOST / options->k > least ? HITS_MOST / options->k : least;
    }
    piece = piece < p->query_count ? piece : p->query_count;
    size_t hit_count;
    vd_hit *hits = size_mul((size_t)piece, options->k, &hit_count)
                       ? mem_alloc_array(alloc_default(), hit_count, sizeof *hits)
                       : NULL;
    size_t *counts = mem_alloc_array(alloc_default(), (size_t)piece, sizeof *counts);
    vd_status status = VD_OK;
    if (!hits || !counts) {
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "no memory for %llu times %u hits", (unsigned long long)piece,
                         options->k);
    }
    for (uint64_t first = 0; status == VD_OK && first < p->query_count; first += piece) {
        uint64_t left = p->query_count - first;
        size_t now = (size_t)(left < piece ? left : piece);
        bitmap allowed;
        vd_hnsw_guard guard;
        vd_hnsw_enter(p->index->engine, &guard);
        status = bitmap_make(&allowed, p, options, err);
        if (status == VD_OK) {
            status = vd_hnsw_search_batch(p->index->engine, p->queries + (size_t)first * p->index->dimension, now,
                                          options, executor, hits, counts, NULL, err);
        }
        if (status != VD_OK) {
            name_the_query(first, err);
        }
        for (size_t i = 0; status == VD_OK && i < now; i++) {
            status = put(p, first + i, hits + i * options->k, counts[i], t, err);
        }
        vd_hnsw_leave(p->index->engine, &guard);
        bitmap_free(&allowed, options);
    }
    free(hits);
    free(counts);
    return status;
}

static vd_status search(const vd_flat_prepared *p, vd_error *err) {
    vd_hnsw_search_options options = p->options;
    uint64_t items = vd_hnsw_count(p->index->engine);
    if (options.k > items) { /* no room for hits that cannot be; adds that go on meanwhile need not be seen */
        options.k = items ? (uint32_t)items : 1;
    }
    texts t = {.data = p->ids, .capacity = (size_t)p->capacity};
    if (p->block) {
        *p->block = NULL;
    }
    vd_status status;
    if (p->query_count == 1) {
        status = search_one(p, &options, &t, err);
    } else {
        flat_loan loan;
        const vd_executor *executor = flat_borrow(&loan, p->threads);
        status = search_many(p, &options, &t, executor, err);
        flat_give_back(&loan);
    }
    if (t.owned && status == VD_OK) {
        *p->block = t.data; /* the caller owns it from here */
    } else if (t.owned) {
        free(t.data);
    }
    return status;
}

static vd_status check(const vd_flat_prepared *p, vd_error *err) {
    size_t places;
    vd_status status = flat_threads_check(p->threads, err);
    if (status != VD_OK) {
        return status;
    }
    if (p->options.k < 1 || p->options.k > VD_ITEMS_MAX) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "k", "k must be 1..%u (got %u)", VD_ITEMS_MAX, p->options.k);
    }
    if (p->options.ef > VD_EF_SEARCH_MAX) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "ef", "ef must be 1..%d (got %u)", VD_EF_SEARCH_MAX, p->options.ef);
    }
    if (p->query_count > SIZE_MAX || !size_mul((size_t)p->query_count, p->options.k, &places) ||
        !size_mul((size_t)p->query_count, p->index->dimension, &places)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "queries", "%llu queries of %u hits are more than memory can hold",
                       (unsigned long long)p->query_count, p->options.k);
    }
    return p->allowed ? flat_ends_check(p->allowed, err) : VD_OK;
}

static vd_status search_now(const vd_flat_prepared *p) {
    vd_error err = {.text = ""};
    vd_status status = check(p, &err);
    if (status == VD_OK && p->query_count) {
        status = search(p, &err);
    } else if (p->block) {
        *p->block = NULL;
    }
    return flat_finish(status, &err, p->error);
}

vd_status vd_flat_search(vd_flat *index, const float *queries, uint64_t query_count, uint32_t k, uint32_t ef,
                         double recall, uint32_t exact, uint32_t threads, int64_t *numbers, double *distances,
                         uint32_t *counts, char *error) {
    const vd_flat_prepared p = {.index = index,
                                .queries = queries,
                                .query_count = query_count,
                                .options = {.k = k, .ef = ef, .recall_target = recall, .exact = exact != 0},
                                .threads = threads,
                                .numbers = numbers,
                                .distances = distances,
                                .counts = counts,
                                .error = error};
    return search_now(&p);
}

vd_status vd_flat_search_text(vd_flat *index, const float *queries, uint64_t query_count, uint32_t k, uint32_t ef,
                              double recall, uint32_t exact, uint32_t threads, char *ids, uint64_t capacity,
                              uint64_t *ends, char **block, double *distances, uint32_t *counts, char *error) {
    const vd_flat_prepared p = {.index = index,
                                .queries = queries,
                                .query_count = query_count,
                                .options = {.k = k, .ef = ef, .recall_target = recall, .exact = exact != 0},
                                .threads = threads,
                                .ids = ids,
                                .capacity = capacity,
                                .ends = ends,
                                .block = block,
                                .distances = distances,
                                .counts = counts,
                                .error = error};
    return search_now(&p);
}

/* Allowed ids as they come: numbers, or texts with their ends; neither when there are none. */
static flat_ids allowed_ids(const int64_t *numbers, const char *text, const uint64_t *ends, uint64_t count) {
    return (flat_ids){.text = text, .ends = ends, .numbers = numbers, .count = numbers || ends ? count : 0};
}

vd_status vd_flat_search_filtered(vd_flat *index, const int64_t *allowed_numbers, const char *allowed_text,
                                  const uint64_t *allowed_ends, uint64_t allowed_count, const float *queries,
                                  uint64_t query_count, uint32_t k, uint32_t ef, double recall, uint32_t exact,
                                  uint32_t threads, int64_t *numbers, double *distances, uint32_t *counts,
                                  char *error) {
    const flat_ids allowed = allowed_ids(allowed_numbers, allowed_text, allowed_ends, allowed_count);
    const vd_flat_prepared p = {.index = index,
                                .queries = queries,
                                .query_count = query_count,
                                .options = {.k = k, .ef = ef, .recall_target = recall, .exact = exact != 0},
                                .threads = threads,
                                .numbers = numbers,
                                .distances = distances,
                                .counts = counts,
                                .error = error,
                                .allowed = &allowed};
    return search_now(&p);
}

vd_status vd_flat_search_filtered_text(vd_flat *index, const int64_t *allowed_numbers, const char *allowed_text,
                                       const uint64_t *allowed_ends, uint64_t allowed_count, const float *queries,
                                       uint64_t query_count, uint32_t k, uint32_t ef, double recall, uint32_t exact,
                                       uint32_t threads, char *ids, uint64_t capacity, uint64_t *ends, char **block,
                                       double *distances, uint32_t *counts, char *error) {
    const flat_ids allowed = allowed_ids(allowed_numbers, allowed_text, allowed_ends, allowed_count);
    const vd_flat_prepared p = {.index = index,
                                .queries = queries,
                                .query_count = query_count,
                                .options = {.k = k, .ef = ef, .recall_target = recall, .exact = exact != 0},
                                .threads = threads,
                                .ids = ids,
                                .capacity = capacity,
                                .ends = ends,
                                .block = block,
                                .distances = distances,
                                .counts = counts,
                                .error = error,
                                .allowed = &allowed};
    return search_now(&p);
}

/* ---- prepared ---- */

static vd_status prepare(const vd_flat_prepared *p, vd_flat_prepared **out) {
    vd_error err = {.text = ""};
    vd_status status = check(p, &err);
    if (status == VD_OK) {
        vd_flat_prepared *copy = malloc(sizeof *copy);
        if (copy) {
            *copy = *p;
            *out = copy;
        } else {
            status = vd_fail(&err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        }
    }
    return flat_finish(status, &err, p->error);
}

vd_status vd_flat_prepare(vd_flat *index, const float *query, uint32_t k, uint32_t ef, double recall, uint32_t exact,
                          int64_t *numbers, double *distances, uint32_t *count, char *error, vd_flat_prepared **out) {
    const vd_flat_prepared p = {.index = index,
                                .queries = query,
                                .query_count = 1,
                                .options = {.k = k, .ef = ef, .recall_target = recall, .exact = exact != 0},
                                .threads = 1,
                                .numbers = numbers,
                                .distances = distances,
                                .counts = count,
                                .error = error};
    return prepare(&p, out);
}

vd_status vd_flat_prepare_text(vd_flat *index, const float *query, uint32_t k, uint32_t ef, double recall,
                               uint32_t exact, char *ids, uint64_t capacity, uint64_t *ends, char **block,
                               double *distances, uint32_t *count, char *error, vd_flat_prepared **out) {
    const vd_flat_prepared p = {.index = index,
                                .queries = query,
                                .query_count = 1,
                                .options = {.k = k, .ef = ef, .recall_target = recall, .exact = exact != 0},
                                .threads = 1,
                                .ids = ids,
                                .capacity = capacity,
                                .ends = ends,
                                .block = block,
                                .distances = distances,
                                .counts = count,
                                .error = error};
    return prepare(&p, out);
}

vd_status vd_flat_run(const vd_flat_prepared *prepared) {
    return search_now(prepared);
}

void vd_flat_prepared_free(vd_flat_prepared *prepared) {
    free(prepared);
}
