/*
 * search.c - vectorctl search: by a vector from a file or the command line, or by a stored id.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/records.h"
#include "cli/vectors.h"

/* A JSON file with queries is read whole, for a vector may stretch over lines. */
#define QUERY_FILE_MAX_BYTES VD_BODY_MAX_BYTES

static const cli_option options[] = {
    {"--vector-file", NULL, "FILE", "the query: .npy, or JSON values ([0.1, ...] or {\"vector\": [...]}); - is stdin"},
    {"--row", NULL, "N", "which vector of the file; default 0, the first"},
    {"--vector", NULL, "JSON", "the query itself: '[0.1, 0.9, 0.3]'"},
    {"--like", NULL, "ID", "the query is the vector of this item, which is left out of the results"},
    {"--k", "-k", "N", "how many; default " CLI_TEXT(VD_K_DEFAULT) ", at most " CLI_TEXT(VD_K_MAX)},
    {"--ef", NULL, "N", "candidates to look at; default: what the index needs for its recall target"},
    {"--exact", NULL, NULL, "compare with every item"},
    {0},
};

/* ---- the query ---- */

static vd_status read_all(FILE *file, const char *path, buffer *out, vd_error *err) {
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0) {
        buffer_put(out, chunk, n);
        if (out->size > QUERY_FILE_MAX_BYTES) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "%s: more than %u bytes of JSON; use .npy for many queries",
                           path, QUERY_FILE_MAX_BYTES);
        }
    }
    if (ferror(file)) {
        return vd_fail(err, VD_INTERNAL, NULL, "%s: %s", path, strerror(errno));
    }
    return out->failed ? vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory") : VD_OK;
}

/* The "vector" member of an object, or the value itself when it is an array. */
static bool find_vector(bytes value, bytes *out) {
    arena a;
    json_reader r;
    json_kind kind;
    bool found = false;
    arena_init(&a, NULL, 0);
    json_reader_init(&r, value.data, value.size, &a);
    if (json_peek(&r, &kind) && kind == JSON_ARRAY) {
        *out = value;
        found = true;
    } else if (kind == JSON_OBJECT && json_begin_object(&r)) {
        bytes key;
        bytes raw;
        bool more;
        while (json_next_key(&r, &key, &more) && more) {
            bool wanted = bytes_equal(key, bytes_str("vector"));
            if (!json_skip(&r, &raw)) {
                break;
            }
            if (wanted) {
                *out = raw;
                found = true;
            }
        }
    }
    arena_fini(&a);
    return found;
}

/* The row-th of the JSON values that stand one after another in `text`. */
static vd_status parse_json_query(bytes text, const char *path, uint64_t row, float *vector, uint32_t *dimension,
                                  vd_error *err) {
    const uint8_t *at = text.data;
    const uint8_t *end = text.data + text.size;
    for (uint64_t i = 0;; i++) {
        while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
            at++;
        }
        if (at == end) {
            return vd_fail(err, VD_OUT_OF_RANGE, NULL, "%s: there is no row %" PRIu64 ", it has %" PRIu64, path, row,
                           i);
        }
        arena a;
        json_reader r;
        bytes value;
        arena_init(&a, NULL, 0);
        json_reader_init(&r, at, (size_t)(end - at), &a);
        vd_status status = json_skip(&r, &value) ? VD_OK : json_fail(&r, path, err);
        arena_fini(&a);
        if (status != VD_OK) {
            return status;
        }
        if (i == row) {
            bytes array;
            if (!find_vector(value, &array)) {
                return vd_fail(err, VD_INVALID_ARGUMENT, NULL,
                               "%s: row %" PRIu64 " is neither an array of numbers nor an object with a \"vector\"",
                               path, row);
            }
            return records_parse_vector(array, path, vector, dimension, err);
        }
        at = value.data + value.size;
    }
}

static vd_status read_npy_query(const char *path, uint64_t row, float *vector, uint32_t *dimension, vd_error *err) {
    vectors v;
    vd_status status = vectors_open_npy(path, &v, err);
    if (status != VD_OK) {
        return status;
    }
    bool more = true;
    status = vectors_seek(&v, row, err);
    if (status == VD_OK) {
        status = vectors_next(&v, vector, &more, err);
    }
    if (status == VD_OK && !more) {
        status =
            vd_fail(err, VD_OUT_OF_RANGE, NULL, "%s: there is no row %" PRIu64 ", it has %" PRIu64, path, row, v.count);
    }
    *dimension = v.dimension;
    vectors_close(&v);
    return status;
}

static vd_status read_query_file(const char *path, uint64_t row, float *vector, uint32_t *dimension, vd_error *err) {
    FILE *file = stdin;
    bool standard = strcmp(path, "-") == 0;
    if (!standard) {
        vd_status status = vectors_open_file(path, &file, err);
        if (status != VD_OK) {
            return status;
        }
        int first = getc(file);
        if (first == 0x93) {
            fclose(file);
            return read_npy_query(path, row, vector, dimension, err);
        }
        if (first != EOF) {
            ungetc(first, file);
        }
    }
    buffer text;
    buffer_init(&text, 0);
    vd_status status = read_all(file, path, &text, err);
    if (status == VD_OK) {
        status = parse_json_query(bytes_of(text.data, text.size), standard ? "standard input" : path, row, vector,
                                  dimension, err);
    }
    buffer_fini(&text);
    if (!standard) {
        fclose(file);
    }
    return status;
}

/* ---- the results ---- */

static int print_json(cli *c, const char *index, const vd_client_results *results, double took_ms) {
    buffer b;
    buffer_init(&b, 0);
    buffer_put_str(&b, "{\"index\":");
    json_put_string(&b, index, strlen(index));
    buffer_put_str(&b, ",\"results\":[");
    for (size_t i = 0; i < results->count; i++) {
        const vd_client_hit *hit = &results->hits[i];
        buffer_put_str(&b, i ? ",{\"id\":" : "{\"id\":");
        json_put_string(&b, hit->id, strlen(hit->id));
        buffer_put_str(&b, ",\"distance\":");
        json_put_double(&b, hit->distance);
        buffer_put_str(&b, ",\"score\":");
        json_put_double(&b, hit->score);
        if (hit->metadata) {
            buffer_put_str(&b, ",\"metadata\":");
            buffer_put_str(&b, hit->metadata);
        }
        buffer_put_str(&b, "}");
    }
    buffer_printf(&b, "],\"count\":%zu,\"took_ms\":%.3f}", results->count, took_ms);
    return cli_print_json(c, &b);
}

static int print_table(cli *c, const vd_client_results *results) {
    if (results->count == 0) {
        fputs("nothing found: the index is empty\n", c->err);
        return CLI_OK;
    }
    enum { ID_MAX = 48, FIXED = 36 };
    cli_table *table = cli_table_new(5, 1u << 0 | 1u << 2 | 1u << 3);
    static const char *const heads[] = {"#", "ID", "DISTANCE", "SCORE", "METADATA"};
    for (size_t i = 0; i < 5; i++) {
        cli_table_cell(table, "%s", heads[i]);
    }
    size_t longest = 2;
    for (size_t i = 0; i < results->count; i++) {
        size_t length = strlen(results->hits[i].id);
        longest = length > longest ? length : longest;
    }
    size_t id_width = c->width ? (longest < ID_MAX ? longest : ID_MAX) : 0;
    size_t metadata_width = 0;
    if (c->width) {
        metadata_width = c->width > FIXED + id_width + 16 ? c->width - FIXED - id_width : 16;
    }
    for (size_t i = 0; i < results->count; i++) {
        const vd_client_hit *hit = &results->hits[i];
        cli_table_cell(table, "%zu", i + 1);
        cli_table_text(table, hit->id, id_width);
        cli_table_cell(table, "%.6f", hit->distance);
        cli_table_cell(table, "%.4f", hit->score);
        cli_table_text(table, hit->metadata ? hit->metadata : "", metadata_width);
    }
    return cli_table_print(c, table);
}

static int search(cli *c, const cli_args *args, vd_client_search_request *request, float *vector) {
    vd_error err;
    uint64_t row = 0;
    uint64_t k = 0;
    uint64_t ef = 0;
    const char *file = cli_value(args, "--vector-file");
    const char *inline_vector = cli_value(args, "--vector");
    if (!cli_number(c, args, "--row", 0, VD_ITEMS_MAX, &row) || !cli_number(c, args, "--k", 1, VD_K_MAX, &k) ||
        !cli_number(c, args, "--ef", VD_EF_SEARCH_MIN, VD_EF_SEARCH_MAX, &ef)) {
        return CLI_USAGE;
    }
    request->id = cli_value(args, "--like");
    if (!file + !inline_vector + !request->id != 2) {
        return cli_usage(c, args->verb, "what to search for? Give one of --like ID, --vector-file FILE, --vector JSON");
    }
    if (cli_value(args, "--row") && !file) {
        return cli_usage(c, args->verb, "--row needs --vector-file");
    }
    if (!request->id) {
        request->vector = vector;
        vd_status status =
            file ? read_query_file(file, row, vector, &request->dimension, &err)
                 : records_parse_vector(bytes_str(inline_vector), "--vector", vector, &request->dimension, &err);
        if (status != VD_OK) {
            return cli_report_file(c, &err);
        }
    }
    request->k = (uint32_t)k;
    request->ef = (uint32_t)ef;
    request->exact = cli_value(args, "--exact") != NULL;
    int code = cli_connect(c);
    if (code != CLI_OK) {
        return code;
    }
    vd_client_results *results = NULL;
    int64_t started_ns = clock_now_ns();
    if (vd_client_search(c->client, request, &results, &err) != VD_OK) {
        return cli_report_index(c, request->index, &err);
    }
    double took_ms = (double)(clock_now_ns() - started_ns) / 1e6;
    code = c->json ? print_json(c, request->index, results, took_ms) : print_table(c, results);
    vd_client_results_free(results);
    return code;
}

static int run(cli *c, const cli_args *args) {
    float *vector = malloc(VD_DIMENSION_MAX * sizeof *vector);
    if (!vector) {
        vd_error err;
        vd_fail(&err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        return cli_report(c, &err);
    }
    vd_client_search_request request = {.index = args->positional[0]};
    int code = search(c, args, &request, vector);
    free(vector);
    return code;
}

const cli_verb cli_search = {
    .name = "search",
    .positional = "NAME",
    .summary = "finds the nearest items of a vector or of an item",
    .about = "Finds the items nearest to a vector, nearest first. Distance: lower is nearer; cosine gives 1 - cos, "
             "euclidean the\n"
             "length of the difference. Score: higher is better, 0 to 1.\n"
             "\n"
             "The server looks as far as it must to find 95 % of the true neighbours; --ef overrides that, --exact "
             "compares\n"
             "with everything.",
    .examples = "  vectorctl search packages --like boto3 -k 5\n"
                "  vectorctl search packages --vector-file queries.npy --row 17\n"
                "  vectorctl search colours --vector '[0.9, 0.1, 0.1]'\n"
                "  echo '{\"vector\": [0.9, 0.1, 0.1]}' | vectorctl search colours --vector-file - --json | jq "
                "'.results[].id'\n",
    .options = options,
    .run = run,
};
