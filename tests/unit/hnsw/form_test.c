/*
 * form_test.c - how vectors are stored (src/hnsw/form.c), through the public header.
 *
 * Kept vectors come back bit for bit, whatever they are walked by: proved on random bit patterns of every exponent that
 * vd_hnsw_validate lets in, and on the shapes that storing in parts finds hard (codes of 0, values half a step between two codes,
 * -0, subnormals, one giant among dwarfs, halves that round up to the next power of two). A few million values by default;
 * `--values N` or VECTORD_TEST_ROUNDS for more (a night: --values 100000000).
 *
 * Discarded vectors are what their codes stand for: one rule, written down once more here, the same on every processor, within half
 * a step of what was added; and all that the index says afterwards - distances, exact copies, finding by the own vector - is true
 * of those values. What is shown can be added again without changing.
 *
 * Distances are those of the documented rule, bit for bit, and so the same by every encoding; an exact search misses nothing,
 * though it looks at codes first. Copies the rule, not the code: the oracle is engine_help.c.
 */
#include <inttypes.h>
#include <math.h>

#include "engine_help.h"

enum { BATCH = 128, D_MOST = 1000 };

static const uint32_t dimensions[] = {1, 2, 3, 7, 31, 64, 100, 128, 129, 384, 768, 1000};
#define DIMENSIONS (sizeof dimensions / sizeof dimensions[0])
static const vd_encoding encodings[] = {VD_ENCODING_F32, VD_ENCODING_SQ8, VD_ENCODING_SQ4, VD_ENCODING_F16,
                                        VD_ENCODING_BF16};
#define ENCODINGS (sizeof encodings / sizeof encodings[0])
static const vd_encoding lossy[] = {VD_ENCODING_SQ8, VD_ENCODING_SQ4, VD_ENCODING_F16, VD_ENCODING_BF16};
#define LOSSY (sizeof lossy / sizeof lossy[0])

static uint64_t values_wanted;

/* ---- vectors that are hard to store ---- */

typedef enum kind {
    KIND_BITS,      /* any sign, exponent and mantissa */
    KIND_NEAR,      /* exponents within eight of one another */
    KIND_EMBEDDING, /* normal, length about 1 */
    KIND_GIANT,     /* one huge, the rest tiny or subnormal */
    KIND_SUBNORMAL, /* all below 2^-126 (euclidean), or all but one */
    KIND_SPARSE,    /* seven in ten are +0 */
    KIND_RELU,      /* what was negative is -0 */
    KIND_CONSTANT,
    KIND_SIGNS,    /* +x and -x */
    KIND_INTEGERS, /* -8..8 */
    KIND_STEPS,    /* half a step between two codes, and a few float32 to either side */
    KIND_HALVES,   /* half a step between two halves, and a few float32 to either side; the largest rounds up */
    KIND_ZERO,     /* euclidean: nothing but +0 and -0 */
    KINDS
} kind;

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static uint32_t to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* A float32 with a biased exponent from least..most. */
static float any_float(rng *r, uint32_t least, uint32_t most) {
    uint64_t bits = rng_next(r);
    uint32_t exponent = least + rng_below(r, most - least + 1);
    return from_bits((uint32_t)(bits & 0x807FFFFFu) | exponent << 23);
}

/* `steps` float32 further from zero (or nearer, when negative). */
static float beside(float x, int steps) {
    uint32_t bits = to_bits(x);
    int32_t magnitude = (int32_t)(bits & 0x7FFFFFFFu) + steps;
    return from_bits((bits & 0x80000000u) | (uint32_t)(magnitude < 0 ? 0 : magnitude));
}

static void fill_kind(rng *r, kind k, bool cosine, float *v, uint32_t d) {
    uint32_t most = 127 + 60; /* so that the norm stays below 2^62 */
    for (uint32_t n = d; n > 1; n /= 4) {
        most--;
    }
    const uint32_t least = cosine ? 127 - 60 : 1;
    const uint32_t base = least + 8 + rng_below(r, most - least - 8);
    const float giant = any_float(r, base, base), sign = rng_below(r, 2) ? 1.0f : -1.0f;
    const float step = fabsf(giant) / 127.0f;
    for (uint32_t i = 0; i < d; i++) {
        const int off = (int)rng_below(r, 7) - 3;
        const float n = rng_normal(r);
        switch (k) {
        case KIND_BITS:
            v[i] = any_float(r, 0, most);
            break;
        case KIND_NEAR:
            v[i] = any_float(r, base - 8, base);
            break;
        case KIND_EMBEDDING:
            v[i] = n / sqrtf((float)d);
            break;
        case KIND_GIANT:
            v[i] = rng_below(r, 4) ? any_float(r, 0, base > 40 ? base - 40 : 0) : any_float(r, base - 8, base - 5);
            break;
        case KIND_SUBNORMAL:
            v[i] = any_float(r, 0, 0);
            break;
        case KIND_SPARSE:
            v[i] = rng_below(r, 10) < 7 ? 0.0f : n;
            break;
        case KIND_RELU:
            v[i] = n > 0 ? n : -0.0f;
            break;
        case KIND_CONSTANT:
            v[i] = giant;
            break;
        case KIND_SIGNS:
            v[i] = rng_below(r, 2) ? giant : -giant;
            break;
        case KIND_INTEGERS:
            v[i] = (float)rng_below(r, 17) - 8.0f;
            break;
        case KIND_STEPS:
            v[i] = beside(((float)rng_below(r, 127) + 0.5f) * step, off) * (rng_below(r, 2) ? 1.0f : -1.0f);
            break;
        case KIND_HALVES: /* 10 bits of mantissa and the half below them, or 7 */
            v[i] = beside(from_bits((rng_below(r, 2) ? 0x1000u : 0x8000u) | (uint32_t)(rng_next(r) & 0x807F0000u) |
                                    (base - rng_below(r, 8)) << 23),
                          off);
            break;
        default:
            v[i] = rng_below(r, 2) ? 0.0f : -0.0f;
            break;
        }
    }
    const uint32_t at = rng_below(r, d);
    if (k == KIND_GIANT || k == KIND_STEPS) {
        v[at] = giant;
    } else if (k == KIND_HALVES) {
        v[at] = sign * from_bits(base << 23 | 0x7FFFFFu) * 2.0f; /* just below a power of two */
    } else if (cosine && (k == KIND_SUBNORMAL || k == KIND_ZERO)) {
        v[at] = sign * from_bits(least << 23);
    }
}

/* One that the index takes. */
static void fill_valid(const vd_hnsw *index, rng *r, kind k, bool cosine, float *v, uint32_t d) {
    fill_kind(r, k, cosine, v, d);
    for (int tries = 0; vd_hnsw_validate(index, v, NULL) != VD_OK; tries++) {
        if (tries < 20) {
            fill_kind(r, k, cosine, v, d);
        } else {
            v[0] = 1.0f; /* every kind but this one element */
            assert_true(tries < 22);
        }
    }
}

/* ---- indexes of a few items with numbers for ids ---- */

static uint32_t numbers[4096];

static vd_id id_of(uint32_t i) {
    numbers[i] = i;
    return (vd_id){(const char *)&numbers[i], sizeof numbers[i]};
}

static void add(vd_hnsw *index, const float *vectors, uint32_t first, uint32_t count, uint32_t d,
                const vd_executor *executor) {
    static vd_hnsw_item items[4096];
    for (uint32_t i = 0; i < count; i++) {
        items[i] = (vd_hnsw_item){id_of(first + i), vectors + (size_t)i * d, NULL};
    }
    OK(vd_hnsw_add(index, items, count, executor, err));
}

static void get(const vd_hnsw *index, uint32_t i, float *out) {
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    assert_int_equal(vd_hnsw_get(index, id_of(i), out, NULL), VD_OK);
    vd_hnsw_leave(index, &guard);
}

static vd_hnsw *small_index(uint32_t d, vd_metric metric, vd_encoding encoding, bool discard) {
    return help_new(&(vd_hnsw_options){.dimension = d,
                                       .metric = metric,
                                       .m = 4,
                                       .ef_construction = 8,
                                       .encoding = encoding,
                                       .discard_vectors = discard,
                                       .seed = 3});
}

static void expect_bits(const float *got, const float *wanted, uint32_t d, const char *what) {
    for (uint32_t j = 0; memcmp(got, wanted, d * sizeof *got) != 0 && j < d; j++) {
        if (to_bits(got[j]) != to_bits(wanted[j])) {
            fail_msg("%s, dimension %u, element %u: 0x%08" PRIx32 " (%g), expected 0x%08" PRIx32 " (%g)", what, d, j,
                     to_bits(got[j]), (double)got[j], to_bits(wanted[j]), (double)wanted[j]);
        }
    }
}

/* ---- kept ---- */

/* The same ids get new vectors of another kind again and again, so that what was stored is given back and used again too. */
static uint64_t round_trips(vd_metric metric, vd_encoding encoding, uint32_t d, uint64_t values) {
    static float vectors[BATCH * D_MOST], got[D_MOST];
    char what[64];
    vd_hnsw *index = small_index(d, metric, encoding, false);
    rng r = {mix64(d * 64 + (uint32_t)metric * 8 + (uint32_t)encoding)};
    uint64_t done = 0;
    const uint32_t batch = d <= 129 ? BATCH : 8; /* a full one is written by several threads */
    for (uint32_t round = 0; done < values || round < KINDS; round++) {
        kind k = (kind)(round % KINDS);
        for (uint32_t i = 0; i < batch; i++) {
            fill_valid(index, &r, k, metric == VD_METRIC_COSINE, vectors + (size_t)i * d, d);
        }
        add(index, vectors, 0, batch, d, round % 2 == 0 ? executor_pool_get(help_pool) : NULL);
        snprintf(what, sizeof what, "%s, %s, kind %d", vd_encoding_name(encoding),
                 metric == VD_METRIC_COSINE ? "cosine" : "euclidean", (int)k);
        vd_hnsw_snapshot *s = NULL;
        OK(vd_hnsw_snapshot_begin(index, &s, err));
        for (uint32_t i = 0; i < batch; i++) {
            get(index, i, got);
            expect_bits(got, vectors + (size_t)i * d, d, what);
            vd_hnsw_node node;
            uint32_t number;
            vd_hnsw_snapshot_node(s, i, &node);
            memcpy(&number, node.id.data, sizeof number);
            expect_bits(node.vector, vectors + (size_t)number * d, d, what);
        }
        vd_hnsw_snapshot_end(s);
        done += (uint64_t)batch * d;
        if (round < KINDS) {
            help_check(index, what);
        }
    }
    vd_hnsw_free(index);
    return done;
}

static void kept_vectors_come_back_bit_for_bit(void **state) {
    (void)state;
    const uint64_t each = values_wanted / (2 * ENCODINGS * DIMENSIONS);
    for (size_t e = 0; e < ENCODINGS; e++) {
        uint64_t done = 0;
        for (size_t i = 0; i < DIMENSIONS; i++) {
            done += round_trips(VD_METRIC_COSINE, encodings[e], dimensions[i], each);
            done += round_trips(VD_METRIC_EUCLIDEAN, encodings[e], dimensions[i], each);
        }
        print_message("%s: %" PRIu64 " values\n", vd_encoding_name(encodings[e]), done);
    }
}

/* What a vector needs beside its planes depends on its values; what one gives back the next one has. */
static void what_is_stored_beside_the_planes_is_used_again(void **state) {
    (void)state;
    enum { D = 384, ROUNDS = 120, EARLY = 40, AT_A_TIME = 40 };
    static float vectors[AT_A_TIME * D];
    const kind few[] = {KIND_EMBEDDING, KIND_SPARSE, KIND_RELU, KIND_GIANT, KIND_INTEGERS};
    const vd_encoding with_some[] = {VD_ENCODING_SQ8, VD_ENCODING_F16};
    for (size_t e = 0; e < sizeof with_some / sizeof with_some[0]; e++) {
        vd_hnsw *index = small_index(D, VD_METRIC_EUCLIDEAN, with_some[e], false);
        rng r = {77};
        vd_hnsw_stats stats;
        uint64_t early = 0;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            for (uint32_t i = 0; i < AT_A_TIME; i++) {
                kind k = few[(round + i) % (sizeof few / sizeof few[0])];
                fill_valid(index, &r, k, false, vectors + (size_t)i * D, D);
            }
            add(index, vectors, 0, AT_A_TIME, D, NULL);
            vd_hnsw_get_stats(index, &stats);
            early = round == EARLY ? stats.memory_bytes : early;
        }
        if (stats.memory_bytes > early + early / 10) {
            fail_msg("%s: %" PRIu64 " bytes after %d rounds, %" PRIu64 " after %d", vd_encoding_name(with_some[e]),
                     stats.memory_bytes, ROUNDS, early, EARLY);
        }
        vd_hnsw_free(index);
    }
}

/* ---- discarded ---- */

static float half_value(float x) { /* to the nearest binary16, ties to even, in arithmetic alone */
    float magnitude = fabsf(x), unit;
    if (magnitude < 0x1p-14f) {
        unit = 0x1p-24f;
    } else {
        int exponent;
        (void)frexpf(magnitude, &exponent);
        unit = ldexpf(1.0f, exponent - 11);
    }
    return copysignf(rintf(magnitude / unit) * unit, x);
}

#define SQ4_TOP 120.0f /* the code of the largest, which is the middle of the uppermost sixteen */

/* What a vector is once only its code is kept. Returns the unit that errors are bounded by. */
static double stands_for(vd_encoding encoding, const float *x, uint32_t d, float *out) {
    float largest = 0.0f;
    for (uint32_t i = 0; i < d; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    if (encoding == VD_ENCODING_BF16) {
        for (uint32_t i = 0; i < d; i++) {
            out[i] = from_bits((to_bits(x[i]) + 0x8000u) & 0xFFFF0000u);
        }
        return 0.0;
    }
    if (encoding == VD_ENCODING_F16) {
        int exponent = 0;
        (void)frexpf(largest, &exponent);
        int up = largest > 0 ? 15 - exponent : 0;
        up = up > 120 ? 120 : up < -120 ? -120 : up;
        for (uint32_t i = 0; i < d; i++) {
            out[i] = half_value(x[i] * ldexpf(1.0f, up)) * ldexpf(1.0f, -up);
        }
        return ldexp(1.0, -25 - up);
    }
    const bool usable = largest > 1e-35f;
    const float top = encoding == VD_ENCODING_SQ4 ? SQ4_TOP : 127.0f;
    const float scale = usable ? largest / top : 0.0f, inverse = usable ? top / largest : 0.0f;
    for (uint32_t i = 0; i < d; i++) {
        int code = (int)rintf(x[i] * inverse);
        if (encoding == VD_ENCODING_SQ4) { /* the middle of sixteen */
            code = (code + 128) / 16 * 16 + 8 - 128;
        }
        out[i] = (float)code * scale;
    }
    return usable ? (double)scale * (encoding == VD_ENCODING_SQ4 ? 8.5 : 0.5) : 1e-35;
}

static void expect_near(vd_encoding encoding, const float *x, const float *y, uint32_t d, double unit) {
    for (uint32_t i = 0; i < d; i++) {
        const double error = fabs((double)x[i] - (double)y[i]), size = fabs((double)x[i]);
        const double bound = encoding == VD_ENCODING_BF16  ? size * 0x1p-8 + 0x1p-134
                             : encoding == VD_ENCODING_F16 ? size * 0x1p-11 + unit + 0x1p-149
                                                           : unit + size * 0x1p-20;
        if (error > bound) {
            fail_msg("%s, dimension %u: %.9g is shown as %.9g, off by %g, at most %g", vd_encoding_name(encoding), d,
                     (double)x[i], (double)y[i], error, bound);
        }
    }
}

static void discarded_vectors_are_what_their_codes_stand_for(void **state) {
    (void)state;
    enum { COUNT = 24 };
    static float vectors[COUNT * D_MOST], reversed[COUNT * D_MOST], got[D_MOST], again[D_MOST], wanted[D_MOST];
    const uint32_t rounds = help_rounds();
    for (size_t at = 0; at < LOSSY * DIMENSIONS * 2; at++) {
        const vd_encoding encoding = lossy[at % LOSSY];
        const uint32_t d = dimensions[at / LOSSY % DIMENSIONS];
        const vd_metric metric = at / LOSSY / DIMENSIONS ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN;
        vd_hnsw *index = small_index(d, metric, encoding, true), *backwards = small_index(d, metric, encoding, true);
        rng r = {mix64(at + 1000)};
        for (uint32_t round = 0; round < rounds * KINDS; round++) {
            for (uint32_t i = 0; i < COUNT; i++) {
                fill_valid(index, &r, (kind)(round % KINDS), metric == VD_METRIC_COSINE, vectors + (size_t)i * d, d);
            }
            add(index, vectors, 0, COUNT, d, NULL);
            for (uint32_t i = 0; i < COUNT; i++) { /* the order and the company make no difference */
                memcpy(reversed + (size_t)i * d, vectors + (size_t)(COUNT - 1 - i) * d, d * sizeof *vectors);
            }
            add(backwards, reversed, 0, COUNT / 3, d, NULL);
            add(backwards, reversed + (size_t)(COUNT / 3) * d, COUNT / 3, COUNT - COUNT / 3, d, NULL);
            for (uint32_t i = 0; i < COUNT; i++) {
                const float *x = vectors + (size_t)i * d;
                double unit = stands_for(encoding, x, d, wanted);
                get(index, i, got);
                get(backwards, COUNT - 1 - i, again);
                expect_bits(got, wanted, d, vd_encoding_name(encoding));
                expect_bits(again, got, d, vd_encoding_name(encoding));
                expect_near(encoding, x, got, d, unit);
            }
        }
        help_check(index, vd_encoding_name(encoding));
        help_check(backwards, vd_encoding_name(encoding));
        vd_hnsw_free(index);
        vd_hnsw_free(backwards);
    }
}

/* Saved, loaded, copied from one index into another: what an index shows is a value that it keeps. */
static void what_is_shown_can_be_added_again_unchanged(void **state) {
    (void)state;
    enum { COUNT = 100 };
    const uint32_t some[] = {3, 100, 384};
    static float vectors[COUNT * D_MOST], got[D_MOST];
    for (size_t at = 0; at < LOSSY * 3 * 2; at++) {
        const vd_encoding encoding = lossy[at % LOSSY];
        const uint32_t d = some[at / LOSSY % 3];
        const vd_metric metric = at / LOSSY / 3 ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN;
        vd_hnsw *index = small_index(d, metric, encoding, true);
        rng r = {mix64(at + 5000)};
        for (uint32_t i = 0; i < COUNT; i++) {
            const kind some_kinds[] = {KIND_EMBEDDING, KIND_INTEGERS, KIND_NEAR, KIND_SPARSE};
            fill_valid(index, &r, some_kinds[i % 4], metric == VD_METRIC_COSINE, vectors + (size_t)i * d, d);
        }
        add(index, vectors, 0, COUNT, d, NULL);
        for (uint32_t i = 0; i < COUNT; i++) {
            get(index, i, vectors + (size_t)i * d);
        }
        add(index, vectors, 0, COUNT, d, NULL);
        for (uint32_t i = 0; i < COUNT; i++) {
            char what[64];
            snprintf(what, sizeof what, "%s, %s, added again", vd_encoding_name(encoding),
                     metric == VD_METRIC_COSINE ? "cosine" : "euclidean");
            get(index, i, got);
            expect_bits(got, vectors + (size_t)i * d, d, what);
        }
        vd_hnsw_free(index);
    }
}

/* ---- distances ---- */

enum { ITEMS = 1100, QUERIES = 30, K = 10 }; /* more than are scanned anyway, and enough for AUTO to look */

/* Searches in all ways; every distance is the oracle's to what get returns. */
static void expect_true_distances(const vd_hnsw *index, vd_metric metric, const float *queries, uint32_t count,
                                  uint32_t d, const char *what) {
    const vd_hnsw_search_options ways[] = {
        {.k = K}, {.k = K, .ef = 30}, {.k = K, .exact = true}, {.k = 200}, {.k = K, .recall_target = 0.999}};
    static float shown[D_MOST];
    vd_hnsw_guard guard;
    vd_hnsw_enter(index, &guard);
    for (uint32_t q = 0; q < count; q++) {
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
            vd_hit hits[200];
            size_t found = 0;
            const float *query = queries + (size_t)q * d;
            OK(vd_hnsw_search(index, query, &ways[w], hits, &found, NULL, err));
            assert_int_equal(found, ways[w].k);
            for (size_t i = 0; i < found; i++) {
                assert_int_equal(vd_hnsw_get(index, hits[i].id, shown, NULL), VD_OK);
                const double wanted = oracle_distance(metric, query, shown, d);
                if (!same_bits(hits[i].distance, wanted)) {
                    fail_msg("%s: hit %zu is at %.17g, by the oracle at %.17g", what, i, hits[i].distance, wanted);
                }
                assert_true(
                    i == 0 || hits[i - 1].distance < hits[i].distance ||
                    (hits[i - 1].distance == hits[i].distance && oracle_id_order(hits[i - 1].id, hits[i].id) < 0));
            }
        }
    }
    vd_hnsw_leave(index, &guard);
}

static void distances_to_discarded_vectors_are_those_of_what_is_shown(void **state) {
    (void)state;
    const uint32_t some[] = {3, 64, 100};
    static float vectors[ITEMS * 100], queries[QUERIES * 100], shown[100];
    for (size_t at = 0; at < LOSSY * 3 * 2; at++) {
        const vd_encoding encoding = lossy[at % LOSSY];
        const uint32_t d = some[at / LOSSY % 3];
        const vd_metric metric = at / LOSSY / 3 ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN;
        vd_hnsw *index = small_index(d, metric, encoding, true);
        rng r = {mix64(at + 9000)};
        data_fill(&r, SHAPE_CLUSTERED, vectors, ITEMS, d);
        data_fill(&r, SHAPE_CLUSTERED, queries, QUERIES, d);
        add(index, vectors, 0, ITEMS, d, NULL);
        expect_true_distances(index, metric, queries, QUERIES, d, vd_encoding_name(encoding));
        expect_true_distances(index, metric, vectors, 10, d, vd_encoding_name(encoding));
        /* by what was added and by what is shown, an item is found */
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        for (uint32_t i = 0; i < ITEMS; i += 7) {
            get(index, i, shown);
            const float *by[] = {vectors + (size_t)i * d, shown};
            for (size_t b = 0; b < 2; b++) {
                vd_hit hits[K];
                size_t count = 0;
                bool found = false;
                const double own = oracle_distance(metric, by[b], shown, d);
                OK(vd_hnsw_search(index, by[b], &(vd_hnsw_search_options){.k = K, .ef = K}, hits, &count, NULL, err));
                for (size_t j = 0; j < count; j++) {
                    found |= memcmp(hits[j].id.data, &i, sizeof i) == 0;
                }
                if (!found && own < hits[count - 1].distance) {
                    fail_msg("%s, dimension %u: item %u is not found by %s", vd_encoding_name(encoding), d, i,
                             b ? "what is shown of it" : "its own vector");
                }
                assert_true(b == 0 || own == 0.0);
            }
        }
        vd_hnsw_leave(index, &guard);
        help_check(index, vd_encoding_name(encoding));
        vd_hnsw_free(index);
    }
}

/* Vectors that end as the same code are exact copies of one another: together in every answer, and one outlives the other. */
static void equal_codes_are_exact_copies(void **state) {
    (void)state;
    enum { D = 40, COPIES = 30 };
    static float vectors[ITEMS * D], shown[D], first[D];
    for (size_t e = 0; e < LOSSY; e++) {
        vd_hnsw *index = small_index(D, VD_METRIC_EUCLIDEAN, lossy[e], true);
        rng r = {mix64(e + 31)};
        data_fill(&r, SHAPE_CLUSTERED, vectors, ITEMS, D);
        float *copies = vectors + (size_t)(ITEMS - COPIES) * D;
        (void)stands_for(lossy[e], copies, D, copies);
        float largest = 0.0f;
        for (uint32_t j = 0; j < D; j++) {
            largest = fabsf(copies[j]) > largest ? fabsf(copies[j]) : largest;
        }
        for (uint32_t i = 1; i < COPIES; i++) { /* all but the largest a few float32 aside */
            for (uint32_t j = 0; j < D; j++) {
                const int aside = fabsf(copies[j]) == largest ? 0 : (int)rng_below(&r, 9) - 4;
                copies[(size_t)i * D + j] = beside(copies[j], aside);
            }
        }
        add(index, vectors, 0, ITEMS, D, NULL);
        for (uint32_t gone = 0; gone < COPIES; gone += 10) {
            get(index, ITEMS - COPIES + gone, first);
            vd_hit hits[COPIES + 1];
            size_t count = 0;
            vd_hnsw_guard guard;
            vd_hnsw_enter(index, &guard);
            OK(vd_hnsw_search(index, copies + (size_t)gone * D,
                              &(vd_hnsw_search_options){.k = COPIES - gone + 1, .ef = COPIES + 1}, hits, &count, NULL,
                              err));
            assert_int_equal(count, COPIES - gone + 1);
            for (uint32_t i = gone; i < COPIES; i++) {
                get(index, ITEMS - COPIES + i, shown);
                expect_bits(shown, first, D, vd_encoding_name(lossy[e]));
                assert_true(same_bits(hits[i - gone].distance, hits[0].distance));
            }
            assert_true(hits[count - 1].distance > hits[0].distance);
            vd_hnsw_leave(index, &guard);
            vd_id ids[10];
            size_t deleted = 0;
            for (uint32_t i = 0; i < 10; i++) {
                ids[i] = id_of(ITEMS - COPIES + gone + i);
            }
            OK(vd_hnsw_delete(index, ids, 10, NULL, &deleted, err));
            assert_int_equal(deleted, 10);
            help_check(index, vd_encoding_name(lossy[e]));
        }
        vd_hnsw_free(index);
    }
}

static void distances_are_the_same_by_every_encoding(void **state) {
    (void)state;
    enum { TRIED = ENCODINGS + 1 };
    const uint32_t some[] = {1, 3, 64, 100};
    static float vectors[ITEMS * 100], queries[QUERIES * 100];
    static vd_hit first[QUERIES][K], hits[K];
    for (size_t at = 0; at < 4 * 2; at++) {
        const uint32_t d = some[at % 4];
        const vd_metric metric = at / 4 ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN;
        rng r = {mix64(at + 70)};
        data_fill(&r, at % 2 ? SHAPE_OFFSET : SHAPE_CLUSTERED, vectors, ITEMS, d);
        data_fill(&r, at % 2 ? SHAPE_OFFSET : SHAPE_CLUSTERED, queries, QUERIES, d);
        memcpy(queries, vectors + (size_t)500 * d, 10 * d * sizeof *queries); /* the first are stored vectors */
        vd_hnsw *indexes[TRIED];
        for (size_t e = 0; e < TRIED; e++) {
            const vd_encoding encoding = e < ENCODINGS ? encodings[e] : VD_ENCODING_AUTO;
            vd_hnsw *index = indexes[e] = small_index(d, metric, encoding, false);
            add(index, vectors, 0, ITEMS, d, NULL);
            expect_true_distances(index, metric, queries, QUERIES, d, vd_encoding_name(encoding));
            vd_hnsw_guard guard;
            vd_hnsw_enter(index, &guard);
            for (uint32_t q = 0; q < QUERIES; q++) {
                size_t count = 0;
                vd_hit *out = e == 0 ? first[q] : hits;
                OK(vd_hnsw_search(index, queries + (size_t)q * d, &(vd_hnsw_search_options){.k = K, .exact = true}, out,
                                  &count, NULL, err));
                assert_int_equal(count, K);
                if (q < 10 && d > 1) {
                    assert_true(same_bits(out[0].distance, 0.0)); /* +0 */
                }
                for (uint32_t i = 0; i < K; i++) {
                    assert_true(same_bits(out[i].distance, first[q][i].distance));
                    assert_int_equal(oracle_id_order(out[i].id, first[q][i].id), 0);
                }
            }
            vd_hnsw_leave(index, &guard);
        }
        for (size_t e = 0; e < TRIED; e++) {
            vd_hnsw_free(indexes[e]);
        }
    }
}

/* ---- an exact search is exact ---- */

typedef struct place {
    double distance;
    uint32_t item;
} place;

static int by_place(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return oracle_id_order(id_of(x->item), id_of(y->item));
}

/* Of every kind, of mixed kinds, and scaled down to where float32 itself has few bits left: codes may not hide anything. */
static void an_exact_search_misses_nothing(void **state) {
    (void)state;
    enum { D = 100, COUNT = 300, TOP = 12 };
    static float vectors[COUNT * D];
    static place all[COUNT];
    const uint32_t rounds = help_rounds();
    for (uint32_t at = 0; at < rounds * ENCODINGS * 2 * (KINDS + 4); at++) {
        const vd_encoding encoding = encodings[at % ENCODINGS];
        const vd_metric metric = at / ENCODINGS % 2 ? VD_METRIC_COSINE : VD_METRIC_EUCLIDEAN;
        const uint32_t what = at / ENCODINGS / 2 % (KINDS + 4);
        vd_hnsw *index = small_index(D, metric, encoding, false);
        rng r = {mix64(at / ENCODINGS + 400)};
        for (uint32_t i = 0; i < COUNT; i++) {
            const kind k = what < KINDS ? (kind)what : what == KINDS ? (kind)rng_below(&r, KINDS) : KIND_EMBEDDING;
            float *v = vectors + (size_t)i * D;
            fill_valid(index, &r, k, metric == VD_METRIC_COSINE, v, D);
            const float scale = what == KINDS + 1   ? 1e-18f
                                : what == KINDS + 2 ? (metric == VD_METRIC_COSINE ? 3e-19f : 1e-21f)
                                : what == KINDS + 3 ? 1e17f
                                                    : 1.0f;
            for (uint32_t j = 0; j < D; j++) {
                v[j] *= scale;
            }
        }
        add(index, vectors, 0, COUNT, D, NULL);
        vd_hnsw_guard guard;
        vd_hnsw_enter(index, &guard);
        for (uint32_t q = 0; q < 12; q++) {
            float query[D];
            memcpy(query, vectors + (size_t)q * 20 * D, sizeof query);
            query[rng_below(&r, D)] *= 1.5f;
            if (vd_hnsw_validate(index, query, NULL) != VD_OK) {
                continue;
            }
            for (uint32_t i = 0; i < COUNT; i++) {
                all[i] = (place){oracle_distance(metric, query, vectors + (size_t)i * D, D), i};
            }
            qsort(all, COUNT, sizeof *all, by_place);
            vd_hit hits[TOP];
            size_t count = 0;
            OK(vd_hnsw_search(index, query, &(vd_hnsw_search_options){.k = TOP, .exact = true}, hits, &count, NULL,
                              err));
            assert_int_equal(count, TOP);
            for (uint32_t i = 0; i < TOP; i++) {
                if (!same_bits(hits[i].distance, all[i].distance) ||
                    oracle_id_order(hits[i].id, id_of(all[i].item)) != 0) {
                    fail_msg("%s, %s, data %u: place %u is at %.17g, by the oracle at %.17g",
                             vd_encoding_name(encoding), metric == VD_METRIC_COSINE ? "cosine" : "euclidean", what, i,
                             hits[i].distance, all[i].distance);
                }
            }
        }
        vd_hnsw_leave(index, &guard);
        vd_hnsw_free(index);
    }
}

int main(int argc, char **argv) {
    const char *wish = getenv("VECTORD_CPU");
    if (wish && strcmp(wish, vd_hnsw_cpu()) != 0) {
        printf("SKIPPED: this machine cannot run the %s kernels\n", wish);
        return 77;
    }
    values_wanted = (uint64_t)help_amount(2000000, 200000) * help_rounds();
    if (argc == 3 && strcmp(argv[1], "--values") == 0) {
        values_wanted = strtoull(argv[2], NULL, 10);
    }
    printf("kernels: %s, %" PRIu64 " values\n", vd_hnsw_cpu(), values_wanted);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_vectors_come_back_bit_for_bit),
        cmocka_unit_test(what_is_stored_beside_the_planes_is_used_again),
        cmocka_unit_test(discarded_vectors_are_what_their_codes_stand_for),
        cmocka_unit_test(what_is_shown_can_be_added_again_unchanged),
        cmocka_unit_test(distances_to_discarded_vectors_are_those_of_what_is_shown),
        cmocka_unit_test(equal_codes_are_exact_copies),
        cmocka_unit_test(distances_are_the_same_by_every_encoding),
        cmocka_unit_test(an_exact_search_misses_nothing),
    };
    return cmocka_run_group_tests(tests, help_pool_up, help_pool_down);
}
