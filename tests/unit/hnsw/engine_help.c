/*
 * engine_help.c - see engine_help.h.
 */
#include "engine_help.h"

#include <math.h>

uint32_t help_rounds(void) {
    const char *text = getenv("VECTORD_TEST_ROUNDS");
    long rounds = text ? strtol(text, NULL, 10) : 1;
    return rounds < 1 ? 1 : rounds > 1000000 ? 1000000 : (uint32_t)rounds;
}

/* ---- numbers ---- */

uint64_t mix64(uint64_t z) { /* the finaliser of splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

uint64_t rng_next(rng *r) {
    return mix64(r->state += 0x9E3779B97F4A7C15ull);
}

uint32_t rng_below(rng *r, uint32_t limit) {
    return (uint32_t)(((rng_next(r) >> 32) * limit) >> 32);
}

double rng_unit(rng *r) {
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

float rng_normal(rng *r) {
    double sum = -6.0;
    for (int i = 0; i < 12; i++) {
        sum += rng_unit(r);
    }
    return (float)sum;
}

void data_fill(rng *r, shape kind, float *out, size_t count, uint32_t dimension) {
    enum { CENTRES = 50 };
    rng centres = {r->state ^ 0xC1A55ull};
    if (kind == SHAPE_CLUSTERED) {
        centres.state = 0xC1A55ull + dimension; /* the same for items and queries */
    }
    for (size_t i = 0; i < count; i++) {
        float *v = out + i * dimension;
        rng centre = {mix64(centres.state + rng_below(r, CENTRES))};
        bool zero = true;
        for (uint32_t j = 0; j < dimension; j++) {
            switch (kind) {
            case SHAPE_CLUSTERED:
                v[j] = rng_normal(&centre) + 0.3f * rng_normal(r);
                break;
            case SHAPE_UNIFORM:
                v[j] = (float)(2.0 * rng_unit(r) - 1.0);
                break;
            case SHAPE_GRID:
                v[j] = (float)rng_below(r, 4);
                break;
            case SHAPE_OFFSET:
                v[j] = 1000.0f / sqrtf((float)dimension) + rng_normal(r);
                break;
            }
            zero &= v[j] == 0.0f;
        }
        if (zero) {
            v[0] = 1.0f;
        }
    }
}

/* ---- the oracle ---- */

static double reduce_lanes(double lane[16]) {
    for (int width = 8; width >= 2; width /= 2) {
        for (int j = 0; j < width; j++) {
            lane[j] += lane[j + width];
        }
    }
    return lane[0] + lane[1];
}

static double dot(const float *a, const float *b, uint32_t dimension) {
    double lane[16] = {0};
    for (uint32_t i = 0; i < dimension; i++) {
        lane[i % 16] += (double)a[i] * (double)b[i];
    }
    return reduce_lanes(lane);
}

double oracle_distance(vd_metric metric, const float *a, const float *b, uint32_t dimension) {
    if (metric == VD_METRIC_EUCLIDEAN) {
        double lane[16] = {0};
        for (uint32_t i = 0; i < dimension; i++) {
            double difference = (double)a[i] - (double)b[i];
            double square = difference * difference;
            lane[i % 16] += square;
        }
        return sqrt(reduce_lanes(lane));
    }
    double distance = 1.0 - dot(a, b, dimension) / sqrt(dot(a, a, dimension) * dot(b, b, dimension));
    return distance < 0.0 ? 0.0 : distance;
}

int oracle_id_order(vd_id a, vd_id b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* ---- indexes ---- */

executor_pool *help_pool;

int help_pool_up(void **state) {
    (void)state;
    return executor_pool_new(2, &help_pool) == VD_OK ? 0 : -1;
}

int help_pool_down(void **state) {
    (void)state;
    executor_pool_free(help_pool);
    return 0;
}

vd_hnsw *help_new(const vd_hnsw_options *options) {
    vd_hnsw *index = NULL;
    OK(vd_hnsw_new(options, &index, err));
    return index;
}

void help_check(vd_hnsw *index, const char *when) {
    vd_hnsw_report report;
    vd_error error = {0};
    vd_status status = vd_hnsw_check(index, &report, &error);
    if (status != VD_OK) {
        fail_msg("%s: %s: %s (%llu unreachable, %llu bad links, %llu bad levels, %llu bad map)", when,
                 vd_status_name(status), error.text, (unsigned long long)report.unreachable,
                 (unsigned long long)report.bad_links, (unsigned long long)report.bad_levels,
                 (unsigned long long)report.bad_map);
    }
    assert_int_equal(report.items, vd_hnsw_count(index));
}

double help_recall(const vd_hnsw *index, const float *queries, uint32_t count, uint32_t dimension, uint32_t ef) {
    enum { K = 10 };
    vd_hit hits[K], truth[K];
    uint64_t good = 0, wanted = 0;
    for (uint32_t i = 0; i < count; i++) {
        const float *query = queries + (size_t)i * dimension;
        vd_hnsw_guard guard;
        size_t found = 0, exact = 0;
        vd_hnsw_enter(index, &guard);
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .exact = true}, truth, &exact, NULL, err));
        OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = K, .ef = ef}, hits, &found, NULL, err));
        for (size_t j = 0; j < found; j++) {
            good += hits[j].distance <= truth[exact - 1].distance;
        }
        wanted += exact;
        vd_hnsw_leave(index, &guard);
    }
    return wanted ? (double)good / (double)wanted : 1.0;
}

/* ---- the allocator ---- */

enum { BLOCK_HEAD = 64 }; /* keeps malloc's alignment, and more */

static bool may_allocate(fault_allocator *a) {
    atomic_fetch_add(&a->calls, 1);
    if (atomic_load(&a->budget) < 0) {
        return true;
    }
    if (atomic_fetch_sub(&a->budget, 1) > 0) {
        return true;
    }
    atomic_store(&a->budget, 0);
    atomic_fetch_add(&a->failed, 1);
    return false;
}

static void *fault_alloc(void *context, size_t size) {
    fault_allocator *a = context;
    if (!may_allocate(a)) {
        return NULL;
    }
    uint8_t *block = malloc(size + BLOCK_HEAD);
    if (!block) {
        return NULL;
    }
    memcpy(block, &size, sizeof size);
    memset(block + BLOCK_HEAD, 0xA5, size); /* what is not initialised shows */
    atomic_fetch_add(&a->blocks, 1);
    atomic_fetch_add(&a->bytes, (int64_t)size);
    return block + BLOCK_HEAD;
}

static void fault_release(void *context, void *block, size_t size) {
    fault_allocator *a = context;
    if (!block) {
        return;
    }
    uint8_t *start = (uint8_t *)block - BLOCK_HEAD;
    size_t asked;
    memcpy(&asked, start, sizeof asked);
    if (asked != size) {
        atomic_store(&a->wrong_size, true);
    }
    memset(block, 0x5A, asked); /* what is used after release shows */
    atomic_fetch_sub(&a->blocks, 1);
    atomic_fetch_sub(&a->bytes, (int64_t)asked);
    free(start);
}

static void *fault_resize(void *context, void *block, size_t old_size, size_t new_size) {
    void *moved = fault_alloc(context, new_size);
    if (moved && block) {
        memcpy(moved, block, old_size < new_size ? old_size : new_size);
        fault_release(context, block, old_size);
    }
    return moved;
}

void fault_allocator_init(fault_allocator *a) {
    memset(a, 0, sizeof *a);
    a->face = (vd_allocator){a, fault_alloc, fault_resize, fault_release};
    atomic_init(&a->budget, -1);
}

/* ---- faults of threads ---- */

void fault_put(fault_note *note, const char *format, ...) {
    if (atomic_fetch_add(&note->taken, 1) == 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(note->text, sizeof note->text, format, args);
        va_end(args);
        atomic_store(&note->ready, true);
    }
}

void fault_assert_none(fault_note *note) {
    if (atomic_load(&note->taken)) {
        fail_msg("%s", atomic_load(&note->ready) ? note->text : "a fault");
    }
}
