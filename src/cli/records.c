/*
 * records.c - see records.h.
 */
#include "cli/records.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "cli/vectors.h"

enum { LINE_STEP_BYTES = 4096 };

vd_status records_open(const char *path, records *out, vd_error *err) {
    records r = {0};
    if (strcmp(path, "-") == 0) {
        r.file = stdin;
        path = "standard input";
    } else {
        vd_status status = vectors_open_file(path, &r.file, err);
        if (status != VD_OK) {
            return status;
        }
        struct stat info;
        if (fstat(fileno(r.file), &info) == 0 && S_ISREG(info.st_mode)) {
            r.size = (uint64_t)info.st_size;
        }
    }
    r.path = strdup(path);
    r.vector = malloc(VD_DIMENSION_MAX * sizeof *r.vector);
    buffer_init(&r.text, 0);
    arena_init(&r.arena, NULL, 0);
    if (!r.path || !r.vector) {
        records_close(&r);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    *out = r;
    return VD_OK;
}

void records_close(records *r) {
    if (!r->path && !r->file) {
        return;
    }
    if (r->file && r->file != stdin) {
        fclose(r->file);
    }
    free(r->path);
    free(r->vector);
    buffer_fini(&r->text);
    arena_fini(&r->arena);
    memset(r, 0, sizeof *r);
}

static bool is_blank(const buffer *b) {
    for (size_t i = 0; i < b->size; i++) {
        if (b->data[i] != ' ' && b->data[i] != '\t' && b->data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* One line without its end; false in *more when there is nothing left. */
static vd_status read_line(records *r, bool *more, vd_error *err) {
    buffer_clear(&r->text);
    *more = false;
    int c = 0;
    flockfile(r->file);
    while (c != EOF && c != '\n' && r->text.size <= RECORD_MAX_BYTES && buffer_reserve(&r->text, LINE_STEP_BYTES)) {
        uint8_t *at = r->text.data + r->text.size;
        size_t n = 0;
        while (n < LINE_STEP_BYTES && (c = getc_unlocked(r->file)) != EOF && c != '\n') {
            at[n++] = (uint8_t)c;
        }
        r->text.size += n;
        r->consumed += n;
    }
    funlockfile(r->file);
    if (r->text.failed) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    if (ferror(r->file)) {
        return vd_fail(err, VD_INTERNAL, NULL, "%s: %s", r->path, strerror(errno));
    }
    if (c == EOF && r->text.size == 0) {
        return VD_OK;
    }
    r->line++;
    r->consumed++;
    if (r->text.size > RECORD_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s:%" PRIu64 ": a line of more than %zu bytes", r->path,
                       r->line, RECORD_MAX_BYTES);
    }
    *more = true;
    return VD_OK;
}

vd_status records_next_line(records *r, bool *more, vd_error *err) {
    vd_status status;
    do {
        status = read_line(r, more, err);
    } while (status == VD_OK && *more && is_blank(&r->text));
    if (status == VD_OK && *more && r->line == 1 && r->text.size >= 3 && memcmp(r->text.data, "\xef\xbb\xbf", 3) == 0) {
        r->text.size -= 3; /* a byte order mark, as some editors put it */
        memmove(r->text.data, r->text.data + 3, r->text.size);
    }
    return status;
}

vd_status records_skip(records *r, uint64_t count, vd_error *err) {
    for (uint64_t i = 0; i < count; i++) {
        bool more;
        vd_status status = records_next_line(r, &more, err);
        if (status != VD_OK) {
            return status;
        }
        if (!more) {
            return vd_fail(err, VD_OUT_OF_RANGE, NULL, "%s: there is no row %" PRIu64 ", it has %" PRIu64, r->path,
                           count, i);
        }
    }
    return VD_OK;
}

static bool read_vector(json_reader *r, float *vector, uint32_t *dimension) {
    bool more;
    *dimension = 0;
    if (!json_begin_array(r)) {
        return false;
    }
    while (json_next_element(r, &more) && more) {
        if (*dimension == VD_DIMENSION_MAX) {
            return json_fault(r, "more than 16384 values");
        }
        if (!json_read_float(r, &vector[*dimension])) {
            return false;
        }
        if (!isfinite(vector[*dimension])) {
            return json_fault(r, "a value is beyond float32");
        }
        ++*dimension;
    }
    if (r->fault) {
        return false;
    }
    return *dimension > 0 || json_fault(r, "an empty vector");
}
_Static_assert(VD_DIMENSION_MAX == 16384, "the text in read_vector says so");

vd_status records_parse_vector(bytes text, const char *what, float *vector, uint32_t *dimension, vd_error *err) {
    arena a;
    json_reader r;
    arena_init(&a, NULL, 0);
    json_reader_init(&r, text.data, text.size, &a);
    vd_status status = read_vector(&r, vector, dimension) && json_at_end(&r) ? VD_OK : json_fail(&r, what, err);
    arena_fini(&a);
    return status;
}

static bool read_id(json_reader *r, bytes *out) {
    json_kind kind;
    if (!json_peek(r, &kind)) {
        return false;
    }
    if (kind == JSON_NUMBER) {
        if (!json_skip(r, out)) {
            return false;
        }
        for (size_t i = 0; i < out->size; i++) {
            if (out->data[i] < '0' || out->data[i] > '9') {
                return json_fault(r, "an id is a string or a whole number");
            }
        }
        return true;
    }
    if (kind != JSON_STRING) {
        return json_fault(r, "an id is a string or a whole number");
    }
    if (!json_read_string(r, out)) {
        return false;
    }
    if (out->size < VD_ID_MIN_BYTES || out->size > VD_ID_MAX_BYTES) {
        return json_fault(r, "an id has 1 to 1024 bytes");
    }
    return true;
}
_Static_assert(VD_ID_MAX_BYTES == 1024, "the text in read_id says so");

static bool read_metadata(json_reader *r, bytes *out) {
    json_kind kind;
    bytes raw;
    if (!json_peek(r, &kind) || !json_skip(r, &raw)) {
        return false;
    }
    *out = kind == JSON_NULL ? bytes_of(NULL, 0) : raw;
    return true;
}

static bool read_record(json_reader *r, float *vector, record *out) {
    enum { ID = 1, VECTOR = 2, METADATA = 4 };
    unsigned seen = 0;
    bytes key;
    bool more;
    memset(out, 0, sizeof *out);
    if (!json_begin_object(r)) {
        return false;
    }
    while (json_next_key(r, &key, &more) && more) {
        unsigned bit = bytes_equal(key, bytes_str("id"))         ? ID
                       : bytes_equal(key, bytes_str("vector"))   ? VECTOR
                       : bytes_equal(key, bytes_str("metadata")) ? METADATA
                                                                 : 0;
        if (bit == 0) {
            return json_fault(r, "a member that is none of \"id\", \"vector\", \"metadata\"");
        }
        if (seen & bit) {
            return json_fault(r, "a member is there twice");
        }
        seen |= bit;
        if (!(bit == ID       ? read_id(r, &out->id)
              : bit == VECTOR ? read_vector(r, vector, &out->dimension)
                              : read_metadata(r, &out->metadata))) {
            return false;
        }
    }
    out->has_vector = seen & VECTOR;
    return !r->fault && json_at_end(r);
}

vd_status records_next(records *r, record *out, bool *more, vd_error *err) {
    vd_status status = records_next_line(r, more, err);
    if (status != VD_OK || !*more) {
        return status;
    }
    arena_reset(&r->arena);
    json_reader reader;
    json_reader_init(&reader, r->text.data, r->text.size, &r->arena);
    if (!read_record(&reader, r->vector, out)) {
        char place[256];
        snprintf(place, sizeof place, "%s:%" PRIu64, r->path, r->line);
        return json_fail(&reader, place, err);
    }
    return VD_OK;
}
