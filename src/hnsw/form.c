/*
 * form.c - how the vectors of an index are stored: what walking reads, and what makes them whole again.
 *
 * Codes. A component is rint(x / scale), scale = the vector's largest / 127: no training, all 127 steps used whatever the vector's
 * length. Given a code that is not 0, x lies within half a step of code * scale, so its magnitude is known to a factor of three;
 * two float32 that end in the same 24 bits differ by a factor of four at least. So those 24 bits, kept beside the code, give x
 * back exactly, and together they take 4 bytes per component, as x did. Where the code is 0 (2 % of components of sentence
 * embeddings) the upper byte is kept as an exception. Any component that would not come back (none is known) is given the code 0:
 * what is read is what was written, by construction.
 *
 * Halves. bf16 is x rounded to its upper 16 bits, f16 is x times a power of two that takes the vector's largest to [2^14, 2^15); the
 * other 16 bits are the difference (bf16) or the lower half (f16, with exceptions where it has gone subnormal).
 *
 * With discard_vectors there is no complement, and a vector is what its code stands for.
 *
 * Threading: form_write from several threads for different slots; the exceptions' allocator has a lock. Reading needs a guard.
 */
#include <math.h>
#include <string.h>

#include "hnsw/hnsw_int.h"

#define SCALE_LEAST     1e-35f /* below, a scale would leave float32's normal range: such a vector gets codes of 0 */
#define BLOCK_LEAST     4u     /* bytes: a free list's next block stands in its first */
#define EXCEPTIONS_STEP 8192u  /* blocks made usable at a time */

/* ---- half precision in plain C: the same bits everywhere ---- */

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounds to nearest, ties to even; |x| < 65520. Subnormal results are rounded by adding a number whose last place is theirs. */
static uint16_t f16_of(float x) {
    uint32_t sign = bits_of(x) >> 16 & 0x8000u, magnitude = bits_of(x) & 0x7FFFFFFFu;
    if (magnitude < 0x38800000u) { /* below 2^-14 */
        return (uint16_t)(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u));
    }
    magnitude += 0xFFFu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

static float float_of_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7FFFu;
    if (magnitude < 0x400u) {
        float subnormal = (float)magnitude * 0x1p-24f;
        return float_of(bits_of(subnormal) | sign);
    }
    return float_of(sign | ((magnitude << 13) + 0x38000000u));
}

/* Ties away from zero, so that the difference to x always fits 16 signed bits. */
static uint16_t bf16_of(float x) {
    return (uint16_t)((bits_of(x) + 0x8000u) >> 16);
}

/* 2^e with largest * 2^e in [2^14, 2^15); 1 for a vector of zeros. Kept within what 1 / it can be. */
static float half_scale(float largest) {
    if (!(largest > 0.0f)) {
        return 1.0f;
    }
    int exponent;
    (void)frexpf(largest, &exponent); /* largest = f * 2^exponent, f in [0.5, 1) */
    int e = 15 - exponent;
    return ldexpf(1.0f, e > 120 ? 120 : e < -120 ? -120 : e);
}

/* ---- birth and death ---- */

static void describe(const vd_hnsw *h, form *f) {
    size_t d = h->options.dimension;
    bool euclidean = h->options.metric == VD_METRIC_EUCLIDEAN;
    plane *p = f->planes;
    switch (f->encoding) {
    case VD_ENCODING_SQ8:
    case VD_ENCODING_SQ4:
        p[FORM_HIGH].stride = h->code_size / 2;
        p[FORM_LOW].stride = f->keep || f->encoding == VD_ENCODING_SQ8 ? h->code_size / 2 : 0;
        p[FORM_REST].stride = f->keep ? (3 * d + 1) / 2 * 2 : 0;
        break;
    case VD_ENCODING_F16:
    case VD_ENCODING_BF16:
        p[FORM_HIGH].stride = 2 * d;
        p[FORM_REST].stride = f->keep ? 2 * d : 0;
        break;
    default:
        p[FORM_HIGH].stride = 4 * d;
        break;
    }
    p[FORM_FACTOR].stride = sizeof(float);
    p[FORM_NORM2].stride = euclidean && (f->codes || !f->keep) ? sizeof(float) : 0;
    p[FORM_HEAD].stride = f->keep ? sizeof(vector_head) : sizeof(float);
    for (size_t i = 0; i < FORM_PLANES; i++) {
        p[i].payload = true;
        p[i].walked = i != FORM_NORM2 && i != FORM_HEAD;
    }
    f->exceptions.stride = f->keep && (f->codes || f->encoding == VD_ENCODING_F16) ? BLOCK_LEAST : 0;
}

/* Bytes of the longest list of exceptions, with its head: an upper byte for each code, the upper half for each f16. */
static size_t exceptions_bytes(const vd_hnsw *h, const form *f) {
    return 2 + (f->codes ? 1 : 2) * (size_t)h->options.dimension;
}
static size_t blocks_of(const form *f, size_t bytes) {
    return (bytes + f->exceptions.stride - 1) / f->exceptions.stride;
}

/* Blocks are numbered in 32 bits: they are so large that all slots may have their longest lists, and a quarter more, as lists that were
 * given back serve only their like. 4 bytes up to some 60 GB of memory; a list of few exceptions takes one block then. */
static bool open_exceptions(vd_hnsw *h, form *f) {
    uint64_t blocks = 0;
    for (;; f->exceptions.stride *= 2) {
        f->exceptions_most = blocks_of(f, exceptions_bytes(h, f));
        blocks = (uint64_t)h->slot_limit * f->exceptions_most;
        blocks += blocks / 4 + 1;
        if (blocks <= UINT32_MAX) {
            break;
        }
    }
    f->exceptions_used = 1;
    f->exceptions_free = mem_alloc_array(&h->allocator, f->exceptions_most + 1, sizeof *f->exceptions_free);
    if (f->exceptions_free) {
        memset(f->exceptions_free, 0, (f->exceptions_most + 1) * sizeof *f->exceptions_free);
    }
    return f->exceptions_free && plane_open(&f->exceptions, blocks);
}

form *form_new(vd_hnsw *h, vd_encoding encoding, uint64_t slots) {
    form *f = mem_alloc(&h->allocator, sizeof *f);
    if (!f) {
        return NULL;
    }
    memset(f, 0, sizeof *f);
    f->encoding = encoding;
    f->codes = encoding == VD_ENCODING_SQ8 || encoding == VD_ENCODING_SQ4;
    f->keep = !h->options.discard_vectors;
    pthread_mutex_init(&f->lock, NULL);
    describe(h, f);
    bool done = true;
    for (size_t i = 0; i < FORM_PLANES && done; i++) {
        done = plane_open(&f->planes[i], h->slot_limit);
    }
    if (done && f->exceptions.stride) {
        done = open_exceptions(h, f);
    }
    if (!done || !form_commit(f, 0, slots, slots, slots)) {
        form_free(h, f);
        return NULL;
    }
    return f;
}

void form_free(vd_hnsw *h, form *f) {
    if (!f) {
        return;
    }
    for (size_t i = 0; i < FORM_PLANES; i++) {
        plane_close(&f->planes[i]);
    }
    plane_close(&f->exceptions);
    mem_release(&h->allocator, f->exceptions_free, (f->exceptions_most + 1) * sizeof *f->exceptions_free);
    pthread_mutex_destroy(&f->lock);
    mem_release(&h->allocator, f, sizeof *f);
}

bool form_commit(form *f, uint64_t from, uint64_t to, uint64_t filled, uint64_t more) {
    for (size_t i = 0; i < FORM_PLANES; i++) {
        if (!plane_commit(&f->planes[i], from, to, filled)) {
            return false;
        }
    }
    if (f->exceptions.stride && more) {
        /* The most that so many vectors could need. Pages that nothing is written to cost nothing. */
        uint64_t wanted = f->exceptions_used + more * f->exceptions_most;
        uint64_t most = f->exceptions.reserved / f->exceptions.stride;
        most = most > UINT32_MAX ? UINT32_MAX : most;
        if (wanted > most) {
            return false;
        }
        if (wanted > f->exceptions_ready) {
            wanted += f->exceptions_ready / 8 + EXCEPTIONS_STEP;
            wanted = wanted > most ? most : wanted;
            if (!plane_commit(&f->exceptions, f->exceptions_ready, wanted, 0)) {
                return false;
            }
            f->exceptions_ready = wanted;
        }
    }
    return true;
}

uint64_t form_bytes(const form *f, uint64_t slots) {
    size_t slot_bytes = 0;
    for (size_t i = 0; i < FORM_PLANES; i++) {
        slot_bytes += f->planes[i].stride;
    }
    return slots * slot_bytes + f->exceptions_used * f->exceptions.stride;
}

/* ---- exceptions: lists of blocks, {blocks << 1 | sparse, bytes} ---- */

typedef struct exception_list {
    uint16_t head;
    uint8_t bytes[];
} exception_list;

static exception_list *exceptions_at(const form *f, uint32_t block) {
    return (exception_list *)(void *)(f->exceptions.base + (size_t)block * f->exceptions.stride);
}

static uint32_t exceptions_take(form *f, size_t bytes, bool sparse) {
    size_t units = blocks_of(f, bytes + sizeof(exception_list));
    pthread_mutex_lock(&f->lock);
    uint32_t block = f->exceptions_free[units];
    if (block) {
        memcpy(&f->exceptions_free[units], exceptions_at(f, block), sizeof(uint32_t));
    } else {
        block = (uint32_t)f->exceptions_used;
        f->exceptions_used += units;
    }
    pthread_mutex_unlock(&f->lock);
    exceptions_at(f, block)->head = (uint16_t)(units << 1 | sparse);
    return block;
}

void form_release(form *f, uint32_t slot) {
    if (!f->exceptions.stride) {
        return;
    }
    vector_head *head = (vector_head *)(void *)form_at(f, FORM_HEAD, slot);
    if (head->exceptions != EXCEPTIONS_NONE) {
        pthread_mutex_lock(&f->lock);
        exception_list *list = exceptions_at(f, head->exceptions);
        uint16_t units = list->head >> 1;
        memcpy(list, &f->exceptions_free[units], sizeof(uint32_t));
        f->exceptions_free[units] = head->exceptions;
        pthread_mutex_unlock(&f->lock);
        head->exceptions = EXCEPTIONS_NONE;
    }
}

/* ---- codes ---- */

typedef struct code_parts {
    _Alignas(64) int8_t code[VD_DIMENSION_MAX + KERNEL_LINE_CODES];
} code_parts;

/* The largest code. With the upper halves alone a code stands for the middle of sixteen, 120 at most: what is read from such a form
 * and written to it again is the same. */
static float code_most(const form *f) {
    return f->planes[FORM_LOW].stride ? 127.0f : 120.0f;
}

static void make_code(const vd_hnsw *h, const form *f, const float *vector, int8_t *code, float *scale) {
    float largest = h->kernels->max_abs(vector, h->options.dimension);
    bool usable = largest > SCALE_LEAST;
    *scale = usable ? largest / code_most(f) : 0.0f;
    (void)h->kernels->quantize(vector, h->options.dimension, usable ? code_most(f) / largest : 0.0f, code,
                               h->code_size);
}

static uint16_t *rest16_of(const form *f, uint32_t slot) {
    return (uint16_t *)(void *)form_at(f, FORM_REST, slot);
}
static uint8_t *rest8_of(const vd_hnsw *h, const form *f, uint32_t slot) {
    return form_at(f, FORM_REST, slot) + 2 * (size_t)h->options.dimension;
}

/* The upper bytes that the codes of 0 need, into `out` (NULL: only counted). Returns how many. */
static size_t find_exceptions(const vd_hnsw *h, const float *vector, const int8_t *code, uint8_t *out, bool *sparse) {
    *sparse = true;
    for (uint32_t i = 0; i < h->options.dimension && *sparse; i++) {
        uint32_t bits = bits_of(vector[i]);
        *sparse = code[i] != 0 || (bits & 0xFFFFFFu) != 0 || bits == 0;
    }
    size_t count = 0;
    for (uint32_t i = 0; i < h->options.dimension; i++) {
        uint32_t bits = bits_of(vector[i]);
        if (code[i] == 0 && !(*sparse && bits == 0)) {
            if (out) {
                out[count] = (uint8_t)(bits >> 24);
            }
            count++;
        }
    }
    return count;
}

/* Gives the code 0 to what would not come back as it is. true: all does. A part at a time: stacks are to stay small. */
static bool comes_back(const vd_hnsw *h, const form *f, uint32_t slot, const float *vector, int8_t *code, float scale,
                       const uint8_t *exceptions, bool sparse) {
    uint32_t dimension = h->options.dimension;
    float back[KERNEL_LINE_CODES];
    bool whole = true;
    for (uint32_t from = 0; from < dimension; from += KERNEL_LINE_CODES) {
        uint32_t n = dimension - from < KERNEL_LINE_CODES ? dimension - from : KERNEL_LINE_CODES;
        h->kernels->restore(code + from, rest16_of(f, slot) + from, rest8_of(h, f, slot) + from, scale, exceptions,
                            sparse, n, back);
        for (uint32_t i = from; i < from + n; i++) {
            uint32_t bits = bits_of(vector[i]);
            exceptions += code[i] == 0 && !(sparse && bits == 0);
            if (bits_of(back[i - from]) != bits) {
                code[i] = 0;
                whole = false;
            }
        }
    }
    return whole;
}

static void write_complement(const vd_hnsw *h, form *f, uint32_t slot, const float *vector, int8_t *code, float scale,
                             vector_head *head) {
    uint16_t *rest16 = rest16_of(f, slot);
    uint8_t *rest8 = rest8_of(h, f, slot);
    for (uint32_t i = 0; i < h->options.dimension; i++) {
        uint32_t bits = bits_of(vector[i]);
        rest16[i] = (uint16_t)bits;
        rest8[i] = (uint8_t)(bits >> 16);
    }
    head->exceptions = EXCEPTIONS_NONE;
    for (;;) {
        bool sparse;
        size_t count = find_exceptions(h, vector, code, NULL, &sparse);
        if (count || !sparse) {
            head->exceptions = exceptions_take(f, count, sparse);
            (void)find_exceptions(h, vector, code, exceptions_at(f, head->exceptions)->bytes, &sparse);
        }
        const uint8_t *bytes = head->exceptions ? exceptions_at(f, head->exceptions)->bytes : rest8;
        if (comes_back(h, f, slot, vector, code, scale, bytes, sparse)) {
            return;
        }
        form_release(f, slot); /* once more, with fewer codes that are not 0 */
    }
}

__attribute__((noinline)) static void pack_high(const vd_hnsw *h, const int8_t *code, uint8_t *high) {
    _Alignas(64) uint8_t low[VD_DIMENSION_MAX / 2 + KERNEL_LINE];
    h->kernels->pack(code, h->code_size, high, low);
}

static void write_codes(const vd_hnsw *h, form *f, uint32_t slot, const float *vector, double norm2) {
    code_parts parts;
    float scale;
    make_code(h, f, vector, parts.code, &scale);
    if (f->keep) {
        vector_head *head = (vector_head *)(void *)form_at(f, FORM_HEAD, slot);
        head->scale = scale;
        head->norm2 = norm2;
        write_complement(h, f, slot, vector, parts.code, scale, head);
    } else {
        memcpy(form_at(f, FORM_HEAD, slot), &scale, sizeof scale);
    }
    if (f->planes[FORM_LOW].stride) {
        h->kernels->pack(parts.code, h->code_size, form_at(f, FORM_HIGH, slot), form_at(f, FORM_LOW, slot));
    } else {
        pack_high(h, parts.code, form_at(f, FORM_HIGH, slot));
    }
    float length = (float)sqrt(norm2);
    float factor = h->options.metric == VD_METRIC_COSINE ? (norm2 > 0 ? scale / length : 0.0f) : scale;
    memcpy(form_at(f, FORM_FACTOR, slot), &factor, sizeof factor);
}

static void read_code(const vd_hnsw *h, const form *f, uint32_t slot, int8_t *code) {
    h->kernels->unpack(form_at(f, FORM_HIGH, slot), f->planes[FORM_LOW].stride ? form_at(f, FORM_LOW, slot) : NULL,
                       h->code_size, code);
}

static void scale_code(const vd_hnsw *h, const int8_t *code, float scale, float *out) {
    for (uint32_t i = 0; i < h->options.dimension; i++) {
        out[i] = (float)code[i] * scale;
    }
}

static void read_codes(const vd_hnsw *h, const form *f, uint32_t slot, float *out) {
    code_parts parts;
    read_code(h, f, slot, parts.code);
    if (f->keep) {
        const vector_head *head = (const vector_head *)(const void *)form_at(f, FORM_HEAD, slot);
        const exception_list *list = head->exceptions != EXCEPTIONS_NONE ? exceptions_at(f, head->exceptions) : NULL;
        h->kernels->restore(parts.code, rest16_of(f, slot), rest8_of(h, f, slot), head->scale,
                            list ? list->bytes : NULL, list ? (list->head & 1) != 0 : true, h->options.dimension, out);
    } else {
        float scale;
        memcpy(&scale, form_at(f, FORM_HEAD, slot), sizeof scale);
        scale_code(h, parts.code, scale, out);
    }
}

/* ---- halves ---- */

static void write_halves(const vd_hnsw *h, form *f, uint32_t slot, const float *vector, double norm2) {
    uint32_t dimension = h->options.dimension;
    bool f16 = f->encoding == VD_ENCODING_F16;
    uint16_t *half = (uint16_t *)(void *)form_at(f, FORM_HIGH, slot);
    float scale = f16 ? half_scale(h->kernels->max_abs(vector, dimension)) : 1.0f;
    size_t count = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        half[i] = f16 ? f16_of(vector[i] * scale) : bf16_of(vector[i]);
        count += f16 && (half[i] & 0x7C00u) == 0; /* subnormal: does not say which float32 it was */
    }
    if (f->keep) {
        uint16_t *rest = rest16_of(f, slot);
        for (uint32_t i = 0; i < dimension; i++) {
            rest[i] =
                (uint16_t)bits_of(vector[i]); /* bf16: the difference and the lower half are the same modulo 2^16 */
        }
        vector_head *head = (vector_head *)(void *)form_at(f, FORM_HEAD, slot);
        *head = (vector_head){.scale = scale, .norm2 = norm2, .exceptions = EXCEPTIONS_NONE};
        if (count) {
            head->exceptions = exceptions_take(f, count * sizeof(uint16_t), false);
            uint8_t *bytes = exceptions_at(f, head->exceptions)->bytes;
            for (uint32_t i = 0; i < dimension; i++) {
                if ((half[i] & 0x7C00u) == 0) {
                    uint16_t upper = (uint16_t)(bits_of(vector[i]) >> 16);
                    memcpy(bytes, &upper, sizeof upper);
                    bytes += sizeof upper;
                }
            }
        }
    } else {
        memcpy(form_at(f, FORM_HEAD, slot), &scale, sizeof scale);
    }
    float inverse = 1.0f / scale;
    float factor =
        h->options.metric == VD_METRIC_COSINE ? (norm2 > 0 ? (float)((double)inverse / sqrt(norm2)) : 0.0f) : inverse;
    memcpy(form_at(f, FORM_FACTOR, slot), &factor, sizeof factor);
}

/* The bits that end in `lower` and are nearest to `about`. */
static uint32_t nearest_bits(uint32_t about, uint16_t lower) {
    int32_t difference = (int16_t)(uint16_t)(lower - (uint16_t)about);
    return about + (uint32_t)difference;
}

static void read_halves(const vd_hnsw *h, const form *f, uint32_t slot, float *out) {
    uint32_t dimension = h->options.dimension;
    bool f16 = f->encoding == VD_ENCODING_F16;
    const uint16_t *half = (const uint16_t *)(const void *)form_at(f, FORM_HIGH, slot);
    if (!f->keep) {
        float scale;
        memcpy(&scale, form_at(f, FORM_HEAD, slot), sizeof scale);
        float inverse = 1.0f / scale;
        for (uint32_t i = 0; i < dimension; i++) {
            out[i] = f16 ? float_of_f16(half[i]) * inverse : float_of((uint32_t)half[i] << 16);
        }
        return;
    }
    const vector_head *head = (const vector_head *)(const void *)form_at(f, FORM_HEAD, slot);
    const uint16_t *rest = rest16_of(f, slot);
    const uint8_t *exception = head->exceptions != EXCEPTIONS_NONE ? exceptions_at(f, head->exceptions)->bytes : NULL;
    float inverse = 1.0f / head->scale;
    for (uint32_t i = 0; i < dimension; i++) {
        uint32_t bits;
        if (f16 && (half[i] & 0x7C00u) == 0) {
            uint16_t upper;
            memcpy(&upper, exception, sizeof upper);
            exception += sizeof upper;
            bits = (uint32_t)upper << 16 | rest[i];
        } else {
            bits = nearest_bits(f16 ? bits_of(float_of_f16(half[i]) * inverse) : (uint32_t)half[i] << 16, rest[i]);
        }
        out[i] = float_of(bits);
    }
}

/* ---- what the others call ---- */

void form_write(const vd_hnsw *h, form *f, uint32_t slot, const float *vector) {
    double norm2 = h->kernels->exact_dot(vector, vector, h->options.dimension);
    if (f->planes[FORM_NORM2].stride) {
        float rounded = (float)norm2;
        memcpy(form_at(f, FORM_NORM2, slot), &rounded, sizeof rounded);
    }
    if (f->codes) {
        write_codes(h, f, slot, vector, norm2);
    } else if (f->encoding != VD_ENCODING_F32) {
        write_halves(h, f, slot, vector, norm2);
    } else {
        memcpy(form_at(f, FORM_HIGH, slot), vector, h->options.dimension * sizeof *vector);
        float factor = norm2 > 0 ? (float)(1.0 / sqrt(norm2)) : 0.0f;
        memcpy(form_at(f, FORM_FACTOR, slot), &factor, sizeof factor);
        vector_head *head = (vector_head *)(void *)form_at(f, FORM_HEAD, slot);
        *head = (vector_head){.scale = 1.0f, .norm2 = norm2, .exceptions = EXCEPTIONS_NONE};
    }
}

void form_read(const vd_hnsw *h, const form *f, uint32_t slot, float *out) {
    if (f->codes) {
        read_codes(h, f, slot, out);
    } else if (f->encoding != VD_ENCODING_F32) {
        read_halves(h, f, slot, out);
    } else {
        memcpy(out, form_at(f, FORM_HIGH, slot), h->options.dimension * sizeof *out);
    }
}

const float *form_canonical(const vd_hnsw *h, const form *f, const float *vector, float *buffer) {
    uint32_t dimension = h->options.dimension;
    if (f->keep) {
        return vector;
    }
    if (!f->codes) {
        bool f16 = f->encoding == VD_ENCODING_F16;
        float scale = f16 ? half_scale(h->kernels->max_abs(vector, dimension)) : 1.0f;
        float inverse = 1.0f / scale;
        for (uint32_t i = 0; i < dimension; i++) {
            buffer[i] =
                f16 ? float_of_f16(f16_of(vector[i] * scale)) * inverse : float_of((uint32_t)bf16_of(vector[i]) << 16);
        }
        return buffer;
    }
    code_parts parts;
    float scale;
    make_code(h, f, vector, parts.code, &scale);
    if (!f->planes[FORM_LOW].stride) {
        _Alignas(64) uint8_t halves[2][VD_DIMENSION_MAX / 2 + KERNEL_LINE];
        h->kernels->pack(parts.code, h->code_size, halves[0], halves[1]);
        h->kernels->unpack(halves[0], NULL, h->code_size, parts.code);
    }
    scale_code(h, parts.code, scale, buffer);
    return buffer;
}

double form_norm2(const vd_hnsw *h, const form *f, uint32_t slot) {
    if (f->keep) {
        return ((const vector_head *)(const void *)form_at(f, FORM_HEAD, slot))->norm2;
    }
    float norm2 = 1.0f;
    if (h->options.metric == VD_METRIC_EUCLIDEAN) {
        memcpy(&norm2, form_at(f, FORM_NORM2, slot), sizeof norm2);
    }
    return (double)norm2;
}

double exact_distance(const vd_hnsw *h, const form *f, const float *query, double query_norm2, uint32_t slot,
                      float *buffer) {
    const float *x = (const float *)(const void *)form_at(f, FORM_HIGH, slot);
    if (f->encoding != VD_ENCODING_F32) {
        form_read(h, f, slot, buffer);
        x = buffer;
    }
    if (h->options.metric == VD_METRIC_EUCLIDEAN) {
        return sqrt(h->kernels->exact_l2(query, x, h->options.dimension));
    }
    double norm2 = f->keep ? form_norm2(h, f, slot) : h->kernels->exact_dot(x, x, h->options.dimension);
    double cosine = h->kernels->exact_dot(query, x, h->options.dimension) / sqrt(query_norm2 * norm2);
    double distance = 1.0 - cosine;
    return distance < 0.0 ? 0.0 : distance;
}

static void prefetch_bytes(const void *from, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch((const char *)from + i);
    }
}

void form_prefetch(const form *f, uint32_t slot) {
    for (int i = 0; i < FORM_PLANES; i++) {
        if (f->planes[i].stride && i != FORM_FACTOR && i != FORM_NORM2) {
            prefetch_bytes(form_at(f, i, slot), f->planes[i].stride);
        }
    }
}
