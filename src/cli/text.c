/*
 * text.c - output: text made safe for a terminal, counts and sizes, aligned tables, JSON documents.
 *
 * Ids and metadata come from whoever filled the index. On a terminal an escape sequence in one of them could rewrite what the
 * reader sees, so control characters are never printed as they are.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "cli/cli.h"

#define REPLACEMENT "\xef\xbf\xbd"
#define ELLIPSIS    "\xe2\x80\xa6"

/* Bytes of the character at `text` (1 for a byte that starts none); *control: it must not reach a terminal. */
static size_t character(const unsigned char *text, size_t left, bool *control) {
    unsigned char c = text[0];
    size_t size = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
    *control = c < 0x20 || c == 0x7f;
    if (size > left || !utf8_valid(text, size)) {
        *control = true;
        return 1;
    }
    if (size == 2 && c == 0xc2 && text[1] < 0xa0) {
        *control = true; /* C1 */
    }
    return size;
}

static size_t columns_of(const char *text) {
    size_t columns = 0;
    for (size_t left = strlen(text); left > 0; columns++) {
        bool control;
        size_t size = character((const unsigned char *)text, left, &control);
        text += size;
        left -= size;
    }
    return columns;
}

size_t cli_put_text(buffer *b, const char *text, size_t width) {
    size_t total = columns_of(text);
    size_t keep = width > 0 && total > width ? width - 1 : total;
    size_t left = strlen(text);
    for (size_t i = 0; i < keep; i++) {
        bool control;
        size_t size = character((const unsigned char *)text, left, &control);
        if (control && (text[0] == '\n' || text[0] == '\t' || text[0] == '\r')) {
            buffer_put_str(b, " ");
        } else if (control) {
            buffer_put_str(b, REPLACEMENT);
        } else {
            buffer_put(b, text, size);
        }
        text += size;
        left -= size;
    }
    if (keep < total) {
        buffer_put_str(b, ELLIPSIS);
        keep++;
    }
    return keep;
}

void cli_put_count(buffer *b, uint64_t count) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            buffer_put_str(b, ",");
        }
        buffer_put(b, &digits[i], 1);
    }
}

void cli_put_size(buffer *b, uint64_t size_bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    double value = (double)size_bytes;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    buffer_printf(b, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

bool cli_flush(buffer *b, FILE *to) {
    bool fine = !b->failed && fwrite(b->data, 1, b->size, to) == b->size && fflush(to) == 0;
    buffer_clear(b);
    return fine;
}

int cli_print_json(cli *c, buffer *b) {
    buffer_put_str(b, "\n");
    bool memory = !b->failed;
    bool fine = cli_flush(b, c->out);
    buffer_fini(b);
    return fine ? CLI_OK : memory ? CLI_IO : CLI_INTERNAL;
}

void cli_put_index_json(buffer *b, const vd_client_index *index) {
    buffer_put_str(b, "\"name\":");
    json_put_string(b, index->name, strlen(index->name));
    buffer_printf(b,
                  ",\"dimension\":%u,\"m\":%u,\"ef_construction\":%u,\"ef_search\":%u,\"distance\":", index->dimension,
                  index->m, index->ef_construction, index->ef_search);
    json_put_string(b, index->distance, strlen(index->distance));
    buffer_printf(b, ",\"length\":%" PRIu64 ",\"state\":", index->length);
    json_put_string(b, index->state, strlen(index->state));
    buffer_put_str(b, ",\"reason\":");
    json_put_string(b, index->reason, strlen(index->reason));
    buffer_put_str(b, ",\"load_progress\":");
    json_put_double(b, index->load_progress);
    buffer_printf(b, ",\"ef_effective\":%u,\"calibrated_at\":%" PRIu64 ",\"calibrated_recall\":", index->ef_effective,
                  index->calibrated_at);
    json_put_double(b, index->calibrated_recall);
    buffer_put_str(b, ",\"encoding\":");
    json_put_string(b, index->encoding, strlen(index->encoding));
    buffer_printf(b,
                  ",\"memory_bytes\":%" PRIu64 ",\"journal_bytes\":%" PRIu64 ",\"sequence\":%" PRIu64
                  ",\"optimized\":%" PRIu64,
                  index->memory_bytes, index->journal_bytes, index->sequence, index->optimized);
}

/* ---- tables ---- */

struct cli_table {
    size_t columns;
    uint32_t right;
    char **cells; /* row by row */
    size_t count;
    size_t capacity;
    bool failed;
};

cli_table *cli_table_new(size_t columns, uint32_t right) {
    cli_table *t = calloc(1, sizeof *t);
    if (t) {
        t->columns = columns;
        t->right = right;
    }
    return t;
}

/* Takes `cell`. */
static void add_cell(cli_table *t, char *cell) {
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 64;
        size_t size;
        char **cells = size_mul(capacity, sizeof(char *), &size) ? realloc(t->cells, size) : NULL;
        if (!cells) {
            free(cell);
            t->failed = true;
            return;
        }
        t->cells = cells;
        t->capacity = capacity;
    }
    if (!cell) {
        t->failed = true;
    }
    t->cells[t->count++] = cell;
}

void cli_table_cell(cli_table *t, const char *format, ...) {
    if (!t) {
        return;
    }
    char *cell = NULL;
    va_list list;
    va_start(list, format);
    if (vasprintf(&cell, format, list) < 0) {
        cell = NULL;
    }
    va_end(list);
    add_cell(t, cell);
}

void cli_table_text(cli_table *t, const char *text, size_t width) {
    if (!t) {
        return;
    }
    buffer b;
    buffer_init(&b, 0);
    cli_put_text(&b, text, width);
    buffer_put(&b, "", 1);
    add_cell(t, b.failed ? NULL : strdup((const char *)b.data));
    buffer_fini(&b);
}

static void put_row(buffer *b, const cli_table *t, size_t row, const size_t *widths) {
    static const char blanks[] = "                                                                ";
    for (size_t i = 0; i < t->columns; i++) {
        const char *cell = t->cells[row * t->columns + i];
        size_t pad = widths[i] - columns_of(cell);
        bool right = t->right >> i & 1;
        bool last = i + 1 == t->columns;
        for (int side = 0; side < 2; side++) {
            if (side == 1) {
                buffer_put_str(b, cell);
            }
            for (size_t n = (side == 0) == right && !(last && side == 1) ? pad : 0; n > 0;) {
                size_t step = n < sizeof blanks - 1 ? n : sizeof blanks - 1;
                buffer_put(b, blanks, step);
                n -= step;
            }
        }
        buffer_put_str(b, last ? "\n" : "  ");
    }
}

void cli_table_free(cli_table *t) {
    if (!t) {
        return;
    }
    for (size_t i = 0; i < t->count; i++) {
        free(t->cells[i]);
    }
    free(t->cells);
    free(t);
}

int cli_table_print(cli *c, cli_table *t) {
    if (!t) {
        return CLI_INTERNAL;
    }
    int code = CLI_INTERNAL;
    buffer b;
    buffer_init(&b, 0);
    size_t *widths = calloc(t->columns, sizeof *widths);
    if (!t->failed && widths) {
        for (size_t i = 0; i < t->count; i++) {
            size_t width = columns_of(t->cells[i]);
            if (width > widths[i % t->columns]) {
                widths[i % t->columns] = width;
            }
        }
        for (size_t row = 0; row < t->count / t->columns; row++) {
            put_row(&b, t, row, widths);
        }
        bool memory = !b.failed;
        code = cli_flush(&b, c->out) ? CLI_OK : memory ? CLI_IO : CLI_INTERNAL;
    }
    free(widths);
    buffer_fini(&b);
    cli_table_free(t);
    return code;
}
