/*
 * service.c - bench_service: how fast the real vectord answers and loads, through its real doors.
 *
 *   1. starts a vectord of its own (or uses --url), loads the sample (5,000 x 384) with ids and metadata, waits until the index
 *      has measured itself;
 *   2. k = 10 searches at each number of connections over each door for a fixed time: requests/s, p50, p99, recall@10 against
 *      the exact neighbours, and the server's and this program's CPU per request;
 *   3. loads a large set into a fresh server over each door: vectors/s, and memory against the raw float32.
 *
 * A rate means nothing without the recall it was reached at, so both stand in one row. Client and server share the machine:
 * CPU per request is the steadiest figure, "client" says how much of the machine the measuring itself took, and "others" how much
 * everybody else did: a row with more than a few percent there is not worth much.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli/records.h"
#include "load.h"
#include "requests.h"
#include "support/server.h"
#include "vectord/client.h"

enum { CONNECTIONS_MAX = 16, TRUTH_K = 10, CHECK_EVERY = 17, CALIBRATE_S = 120 };

typedef struct settings {
    const char *data, *ingest_npy, *url, *http;
    unsigned connections[CONNECTIONS_MAX];
    size_t connection_count;
    bool doors[3];
    double seconds;
    unsigned repeat, ingest_connections;
    size_t batch, ingest_count;
    bool json, search, ingest, metadata;
    pid_t pid;
} settings;

static const char *const door_names[] = {"http", "nng", "nng-lib"};

typedef struct service {
    test_server server; /* pid, addresses */
    bool own;
    char host_port[96];
    char nng_host[64];
    uint16_t nng_port;
    vd_client *client;
} service;

/* ---- the server ---- */

static bool split_address(const char *address, char *host, size_t host_size, uint16_t *port) {
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= host_size) {
        fprintf(stderr, "%s: is not host:port\n", address);
        return false;
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    *port = (uint16_t)strtoul(colon + 1, NULL, 10);
    return true;
}

static bool service_open(const settings *set, service *s) {
    memset(s, 0, sizeof *s);
    if (set->url) {
        s->server.pid = set->pid;
        snprintf(s->server.rpc_url, sizeof s->server.rpc_url, "%s", set->url);
        if (!split_address(set->http, s->server.http_host, sizeof s->server.http_host, &s->server.http_port)) {
            return false;
        }
    } else {
        s->own = true;
        if (!test_server_init(&s->server) || !test_server_start(&s->server, NULL)) {
            return false;
        }
    }
    snprintf(s->host_port, sizeof s->host_port, "%s:%u", s->server.http_host, s->server.http_port);
    if (strncmp(s->server.rpc_url, "tcp://", 6) != 0 ||
        !split_address(s->server.rpc_url + 6, s->nng_host, sizeof s->nng_host, &s->nng_port)) {
        fprintf(stderr, "%s: tcp:// is needed here\n", s->server.rpc_url);
        return false;
    }
    vd_client_options options = {.timeout_ms = VD_TIMEOUT_MAX_MS};
    vd_error err;
    if (vd_client_open(s->server.rpc_url, &options, &s->client, &err) != VD_OK) {
        fprintf(stderr, "%s\n", err.text);
        return false;
    }
    return true;
}

static void service_close(service *s) {
    vd_client_close(s->client);
    if (s->own) {
        test_server_fini(&s->server);
    }
}

static bool make_index(service *s, const char *name, uint32_t dimension) {
    vd_error err;
    vd_client_delete_index(s->client, name, NULL);
    vd_client_index_options options = {.name = name, .dimension = dimension};
    if (vd_client_create_index(s->client, &options, &err) != VD_OK) {
        fprintf(stderr, "create %s: %s\n", name, err.text);
        return false;
    }
    return true;
}

/* ---- the sample ---- */

typedef struct sample {
    matrix base, queries;
    int32_t *truth;
    size_t truth_columns;
    char **ids;
    char **metadata;
} sample;

static bool read_items(const char *path, sample *s, bool metadata) {
    records r;
    vd_error err;
    s->ids = calloc(s->base.rows, sizeof(char *));
    s->metadata = calloc(s->base.rows, sizeof(char *));
    if (!s->ids || !s->metadata || records_open(path, &r, &err) != VD_OK) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return false;
    }
    bool fine = true;
    for (size_t i = 0; fine && i < s->base.rows; i++) {
        record item;
        bool more = false;
        fine = records_next(&r, &item, &more, &err) == VD_OK && more && item.id.size > 0;
        if (fine) {
            s->ids[i] = strndup((const char *)item.id.data, item.id.size);
            s->metadata[i] =
                metadata && item.metadata.data ? strndup((const char *)item.metadata.data, item.metadata.size) : NULL;
        }
    }
    records_close(&r);
    if (!fine) {
        fprintf(stderr, "%s: does not have a good line per vector\n", path);
    }
    return fine;
}

static bool sample_read(const settings *set, sample *s) {
    char path[512];
    size_t truth_rows = 0;
    memset(s, 0, sizeof *s);
    snprintf(path, sizeof path, "%s/base.npy", set->data);
    if (!matrix_read(path, SIZE_MAX, &s->base)) {
        return false;
    }
    snprintf(path, sizeof path, "%s/queries.npy", set->data);
    if (!matrix_read(path, SIZE_MAX, &s->queries)) {
        return false;
    }
    snprintf(path, sizeof path, "%s/truth10.npy", set->data);
    s->truth = truth_read(path, &truth_rows, &s->truth_columns);
    snprintf(path, sizeof path, "%s/items.jsonl", set->data);
    if (!s->truth || truth_rows != s->queries.rows || s->truth_columns < TRUTH_K) {
        fprintf(stderr, "%s: queries and truth do not belong together\n", set->data);
        return false;
    }
    return read_items(path, s, set->metadata);
}

static void sample_free(sample *s) {
    for (size_t i = 0; i < s->base.rows; i++) {
        free(s->ids ? s->ids[i] : NULL);
        free(s->metadata ? s->metadata[i] : NULL);
    }
    free(s->ids);
    free(s->metadata);
    free(s->truth);
    matrix_free(&s->base);
    matrix_free(&s->queries);
}

static bool wait_calibrated(service *s, const char *name, vd_client_index *index) {
    vd_error err;
    for (int64_t give_up_ns = load_now_ns() + CALIBRATE_S * 1000000000ll; load_now_ns() < give_up_ns;) {
        if (vd_client_get_index(s->client, name, index, &err) != VD_OK) {
            fprintf(stderr, "%s\n", err.text);
            return false;
        }
        if (index->calibrated_at * 21ull >= index->length * 20ull) {
            return true;
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    fprintf(stderr, "the index was not calibrated within %d s\n", CALIBRATE_S);
    return false;
}

static bool load_sample(service *s, const sample *from, const char *name, double *vectors_per_s) {
    vd_client_item *items = calloc(from->base.rows, sizeof *items);
    vd_error err;
    if (!items || !make_index(s, name, from->base.columns)) {
        free(items);
        return false;
    }
    for (size_t i = 0; i < from->base.rows; i++) {
        items[i] = (vd_client_item){from->ids[i], from->base.values + i * from->base.columns, from->metadata[i]};
    }
    int64_t began_ns = load_now_ns();
    vd_status status = vd_client_add_items(s->client, name, items, from->base.rows, from->base.columns, NULL, &err);
    *vectors_per_s = (double)from->base.rows * 1e9 / (double)(load_now_ns() - began_ns);
    free(items);
    if (status != VD_OK) {
        fprintf(stderr, "add: %s\n", err.text);
    }
    return status == VD_OK;
}

/* ---- searching ---- */

typedef struct checker {
    const sample *sample;
    load_kind kind;
    size_t request;
    uint64_t found, wanted;
} checker;

static void count_found(void *arg, const char *id, size_t size) {
    checker *c = arg;
    const int32_t *truth = c->sample->truth + c->request * c->sample->truth_columns;
    for (size_t i = 0; i < TRUTH_K; i++) {
        const char *name = c->sample->ids[truth[i]];
        if (strlen(name) == size && memcmp(name, id, size) == 0) {
            c->found++;
            return;
        }
    }
}

static bool check_answer(void *arg, size_t request, const uint8_t *body, size_t size) {
    checker *c = arg;
    c->request = request;
    c->wanted += TRUTH_K;
    return answer_ids(c->kind, body, size, count_found, c);
}

typedef struct cpu_meter {
    const test_server *server;
    uint64_t server_us, own_us;
    uint64_t busy, total; /* of the whole machine, in ticks */
} cpu_meter;

static uint64_t own_cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Ticks of all CPUs since the start of the machine. */
static void machine_ticks(uint64_t *busy, uint64_t *total) {
    unsigned long long v[8] = {0}; /* user nice system idle iowait irq softirq steal */
    FILE *file = fopen("/proc/stat", "re");
    *busy = *total = 0;
    if (!file) {
        return;
    }
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6],
               &v[7]) == 8) {
        for (size_t i = 0; i < 8; i++) {
            *total += v[i];
            *busy += i == 3 || i == 4 ? 0 : v[i];
        }
    }
    fclose(file);
}

static void meter(void *arg, bool begin) {
    cpu_meter *m = arg;
    uint64_t busy;
    uint64_t total;
    machine_ticks(&busy, &total);
    m->busy = begin ? busy : busy - m->busy;
    m->total = begin ? total : total - m->total;
    uint64_t server_us = test_server_cpu_us(m->server);
    uint64_t own_us = own_cpu_us();
    m->server_us = begin ? server_us : server_us - m->server_us;
    m->own_us = begin ? own_us : own_us - m->own_us;
}

/* The part of the machine, 0..1, that neither the server nor this program used but somebody else: above a few percent, the row
 * says more about them. */
static double others(const cpu_meter *m) {
    double ticks_us = 1e6 / (double)sysconf(_SC_CLK_TCK);
    double foreign = (double)m->busy * ticks_us - (double)m->server_us - (double)m->own_us;
    return foreign > 0 && m->total > 0 ? foreign / ((double)m->total * ticks_us) : 0;
}

typedef struct row {
    double rate, p50_ms, p99_ms, recall, server_us, client_us, others;
    uint64_t errors;
} row;

static int by_rate(const void *a, const void *b) {
    double left = ((const row *)a)->rate;
    double right = ((const row *)b)->rate;
    return (left > right) - (left < right);
}

static bool measure(const settings *set, const service *s, const sample *from, load_kind kind,
                    const request_set *requests, unsigned connections, row *out) {
    load_result *result = malloc(sizeof *result);
    checker check = {.sample = from, .kind = kind};
    cpu_meter cpu = {.server = &s->server};
    load_options options = {
        .kind = kind,
        .host = kind == LOAD_HTTP ? s->server.http_host : s->nng_host,
        .port = kind == LOAD_HTTP ? s->server.http_port : s->nng_port,
        .connections = connections,
        .requests = requests->requests,
        .request_count = requests->count,
        .seconds = set->seconds,
        .warmup_seconds = set->seconds < 2 ? set->seconds / 4 : 0.5,
        .check = check_answer,
        .check_arg = &check,
        .check_every = CHECK_EVERY,
        .mark = meter,
        .mark_arg = &cpu,
    };
    bool fine = result && (kind == LOAD_LIB ? load_run_library(&options, result) : load_run(&options, result));
    if (!fine || result->problem[0]) {
        fprintf(stderr, "%s, %u connections: %s\n", door_names[kind], connections, result ? result->problem : "memory");
    }
    if (fine) {
        double requests_done = result->requests ? (double)result->requests : 1;
        *out = (row){
            .rate = (double)result->requests / result->seconds,
            .p50_ms = load_percentile_ms(result, 0.50),
            .p99_ms = load_percentile_ms(result, 0.99),
            .recall = check.wanted ? (double)check.found / (double)check.wanted : 0,
            .server_us = (double)cpu.server_us / requests_done,
            .client_us = (double)cpu.own_us / requests_done,
            .others = others(&cpu),
            .errors = result->errors,
        };
    }
    free(result);
    return fine;
}

static void print_row(const settings *set, const char *door, unsigned connections, const row *r, bool first) {
    if (set->json) {
        printf("%s{\"door\":\"%s\",\"connections\":%u,\"requests_per_s\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
               "\"recall\":%.4f,\"server_cpu_us\":%.2f,\"client_cpu_us\":%.2f,\"others\":%.3f,\"errors\":%" PRIu64 "}",
               first ? "" : ",", door, connections, r->rate, r->p50_ms, r->p99_ms, r->recall, r->server_us,
               r->client_us, r->others, r->errors);
    } else {
        printf("%-8s %11u %11.0f %9.3f %9.3f %9.4f %14.2f %14.2f %7.0f%% %7" PRIu64 "\n", door, connections, r->rate,
               r->p50_ms, r->p99_ms, r->recall, r->server_us, r->client_us, 100 * r->others, r->errors);
    }
    fflush(stdout);
}

static bool bench_search(const settings *set) {
    static const char name[] = "bench";
    service s;
    sample from;
    vd_client_index index;
    double loaded = 0;
    bool fine = sample_read(set, &from);
    if (!fine) {
        return false;
    }
    fine = service_open(set, &s) && load_sample(&s, &from, name, &loaded) && wait_calibrated(&s, name, &index);
    if (fine && set->json) {
        printf("\"sample\":{\"items\":%zu,\"dimension\":%u,\"vectors_per_s\":%.0f,\"ef\":%u,\"encoding\":\"%s\"},"
               "\"search\":[",
               from.base.rows, from.base.columns, loaded, index.ef_effective, index.encoding);
    } else if (fine) {
        printf("sample: %zu x %u, loaded in one request at %.0f vectors/s; k = 10, ef %u (chosen by the index), %s\n\n",
               from.base.rows, from.base.columns, loaded, index.ef_effective, index.encoding);
        printf("%-8s %11s %11s %9s %9s %9s %14s %14s %8s %7s\n", "door", "connections", "requests/s", "p50 ms",
               "p99 ms", "recall@10", "server us/req", "client us/req", "others", "errors");
    }
    bool first = true;
    for (int kind = 0; fine && kind < 3; kind++) {
        request_set requests;
        if (!set->doors[kind]) {
            continue;
        }
        fine = requests_search((load_kind)kind, s.host_port, name, &from.queries, &requests);
        for (size_t i = 0; fine && i < set->connection_count; i++) {
            row *rows = calloc(set->repeat, sizeof *rows);
            for (unsigned n = 0; fine && n < set->repeat; n++) {
                fine = rows && measure(set, &s, &from, (load_kind)kind, &requests, set->connections[i], &rows[n]);
            }
            if (fine) {
                qsort(rows, set->repeat, sizeof *rows, by_rate);
                print_row(set, door_names[kind], set->connections[i], &rows[set->repeat / 2], first);
                first = false;
            }
            free(rows);
        }
        if (fine) {
            requests_free(&requests);
        }
    }
    if (set->json) {
        printf("]");
    }
    service_close(&s);
    sample_free(&from);
    return fine;
}

/* ---- loading ---- */

static bool ingest_door(const settings *set, load_kind kind, const matrix *base, bool first) {
    static const char name[] = "ingest";
    service s;
    request_set requests = {0};
    vd_client_index index = {0};
    vd_error err;
    load_result *result = malloc(sizeof *result);
    bool fine = service_open(set, &s) && make_index(&s, name, base->columns) &&
                requests_add(kind, s.host_port, name, base, set->batch, &requests) && result;
    cpu_meter cpu = {.server = &s.server};
    load_options options = {
        .kind = kind,
        .host = kind == LOAD_HTTP ? s.server.http_host : s.nng_host,
        .port = kind == LOAD_HTTP ? s.server.http_port : s.nng_port,
        .connections = set->ingest_connections,
        .requests = requests.requests,
        .request_count = requests.count,
        .mark = meter,
        .mark_arg = &cpu,
    };
    fine = fine && (kind == LOAD_LIB ? load_run_library(&options, result) : load_run(&options, result));
    if (result && (!fine || result->problem[0])) {
        fprintf(stderr, "%s: %s\n", door_names[kind], result->problem);
    }
    if (fine && vd_client_get_index(s.client, name, &index, &err) != VD_OK) {
        fprintf(stderr, "%s\n", err.text);
        fine = false;
    }
    if (fine) {
        double rows = (double)base->rows;
        double raw = rows * base->columns * (double)sizeof(float);
        double rss = (double)test_server_rss_bytes(&s.server);
        double rate = rows / result->seconds;
        double p99_ms = load_percentile_ms(result, 0.99);
        double server_us = (double)cpu.server_us / rows;
        double client_us = (double)cpu.own_us / rows;
        double index_bytes = (double)index.memory_bytes;
        if (set->json) {
            printf(
                "%s{\"door\":\"%s\",\"items\":%" PRIu64 ",\"connections\":%u,\"batch\":%zu,\"seconds\":%.2f,"
                "\"vectors_per_s\":%.0f,\"p99_ms\":%.1f,\"server_cpu_us\":%.1f,\"client_cpu_us\":%.1f,"
                "\"rss_bytes\":%.0f,\"rss_over_raw\":%.3f,\"index_over_raw\":%.3f,\"others\":%.3f,\"errors\":%" PRIu64
                "}",
                first ? "" : ",", door_names[kind], index.length, set->ingest_connections, set->batch, result->seconds,
                rate, p99_ms, server_us, client_us, rss, rss / raw, index_bytes / raw, others(&cpu), result->errors);
        } else {
            printf("%-8s %9" PRIu64 " %11u %6zu %9.2f %11.0f %9.1f %14.1f %14.1f %12.0f %9.3f %9.3f %7.0f%% %7" PRIu64
                   "\n",
                   door_names[kind], index.length, set->ingest_connections, set->batch, result->seconds, rate, p99_ms,
                   server_us, client_us, rss, rss / raw, index_bytes / raw, 100 * others(&cpu), result->errors);
        }
        fflush(stdout);
    }
    requests_free(&requests);
    free(result);
    service_close(&s);
    return fine;
}

static bool bench_ingest(const settings *set) {
    matrix base = {0};
    if (!matrix_read(set->ingest_npy, set->ingest_count, &base)) {
        return false;
    }
    printf(set->json ? "%s\"ingest\":[" : "%sloading %s\n\n", set->search ? (set->json ? "," : "\n") : "",
           set->ingest_npy);
    if (!set->json) {
        printf("%-8s %9s %11s %6s %9s %11s %9s %14s %14s %12s %9s %9s %8s %7s\n", "door", "items", "connections",
               "batch", "seconds", "vectors/s", "p99 ms", "server us/vec", "client us/vec", "RSS bytes", "RSS/raw",
               "index/raw", "others", "errors");
    }
    bool fine = true;
    bool first = true;
    for (int kind = 0; fine && kind < 3; kind++) {
        if (set->doors[kind] && (kind != LOAD_LIB || !set->doors[LOAD_NNG])) {
            fine = ingest_door(set, (load_kind)kind, &base, first);
            first = false;
        }
    }
    if (set->json) {
        printf("]");
    }
    matrix_free(&base);
    return fine;
}

/* ---- the command line ---- */

static void usage(FILE *to) {
    fputs("usage: bench_service [OPTIONS]\n"
          "\n"
          "  --server FILE            the vectord to measure; default $VECTORD_BIN, else the one of this build\n"
          "  --url URL --http HOST:PORT [--pid PID]\n"
          "                           measure one that runs already (its index \"bench\" is replaced)\n"
          "  --data DIR               the sample; default data/packages-5k of the source\n"
          "  --connections LIST       default 1,10,50,200\n"
          "  --doors LIST             of http, nng (bare wire client), nng-lib (libnng); default http,nng\n"
          "  --seconds S              per row; default 5\n"
          "  --repeat N               measure each row N times and show the median; default 1\n"
          "  --no-metadata            load the sample without its metadata\n"
          "  --ingest-npy FILE        vectors to load; default $VECTORD_BENCH_DATA/packages-100k-384-base.f16.npy\n"
          "  --ingest-count N         at most so many of them\n"
          "  --ingest-connections N   requests under way; default 4\n"
          "  --batch N                items per request; default 500\n"
          "  --only search|ingest\n"
          "  --json\n",
          to);
}

static bool parse_list(const char *text, settings *set) {
    set->connection_count = 0;
    while (*text && set->connection_count < CONNECTIONS_MAX) {
        char *end = NULL;
        unsigned long value = strtoul(text, &end, 10);
        if (end == text || value < 1 || value > 10000 || (*end != ',' && *end != '\0')) {
            return false;
        }
        set->connections[set->connection_count++] = (unsigned)value;
        text = *end ? end + 1 : end;
    }
    return set->connection_count > 0 && !*text;
}

static bool parse_doors(const char *text, settings *set) {
    memset(set->doors, 0, sizeof set->doors);
    while (*text) {
        size_t length = strcspn(text, ",");
        int kind = 0;
        while (kind < 3 && (strlen(door_names[kind]) != length || strncmp(door_names[kind], text, length) != 0)) {
            kind++;
        }
        if (kind == 3) {
            return false;
        }
        set->doors[kind] = true;
        text += length + (text[length] == ',');
    }
    return true;
}

enum option_id {
    O_SERVER = 256,
    O_URL,
    O_HTTP,
    O_PID,
    O_DATA,
    O_CONNECTIONS,
    O_DOORS,
    O_SECONDS,
    O_REPEAT,
    O_NO_METADATA,
    O_INGEST_NPY,
    O_INGEST_COUNT,
    O_INGEST_CONNECTIONS,
    O_BATCH,
    O_ONLY,
    O_JSON,
    O_HELP
};

static bool set_option(settings *set, int id, const char *value) {
    switch (id) {
    case O_SERVER:
        return setenv("VECTORD_BIN", value, 1) == 0;
    case O_URL:
        set->url = value;
        return true;
    case O_HTTP:
        set->http = value;
        return true;
    case O_PID:
        set->pid = (pid_t)atoi(value);
        return true;
    case O_DATA:
        set->data = value;
        return true;
    case O_CONNECTIONS:
        return parse_list(value, set);
    case O_DOORS:
        return parse_doors(value, set);
    case O_SECONDS:
        set->seconds = atof(value);
        return set->seconds > 0;
    case O_REPEAT:
        set->repeat = (unsigned)atoi(value);
        return set->repeat >= 1 && set->repeat <= 100;
    case O_NO_METADATA:
        set->metadata = false;
        return true;
    case O_INGEST_NPY:
        set->ingest_npy = value;
        return true;
    case O_INGEST_COUNT:
        set->ingest_count = strtoull(value, NULL, 10);
        return set->ingest_count > 0;
    case O_INGEST_CONNECTIONS:
        set->ingest_connections = (unsigned)atoi(value);
        return set->ingest_connections >= 1 && set->ingest_connections <= 64;
    case O_BATCH:
        set->batch = strtoull(value, NULL, 10);
        return set->batch >= 1 && set->batch <= VD_BATCH_ITEMS_MAX;
    case O_ONLY:
        set->search = strcmp(value, "search") == 0;
        set->ingest = strcmp(value, "ingest") == 0;
        return set->search || set->ingest;
    case O_JSON:
        set->json = true;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"server", 1, NULL, O_SERVER},
        {"url", 1, NULL, O_URL},
        {"http", 1, NULL, O_HTTP},
        {"pid", 1, NULL, O_PID},
        {"data", 1, NULL, O_DATA},
        {"connections", 1, NULL, O_CONNECTIONS},
        {"doors", 1, NULL, O_DOORS},
        {"seconds", 1, NULL, O_SECONDS},
        {"repeat", 1, NULL, O_REPEAT},
        {"no-metadata", 0, NULL, O_NO_METADATA},
        {"ingest-npy", 1, NULL, O_INGEST_NPY},
        {"ingest-count", 1, NULL, O_INGEST_COUNT},
        {"ingest-connections", 1, NULL, O_INGEST_CONNECTIONS},
        {"batch", 1, NULL, O_BATCH},
        {"only", 1, NULL, O_ONLY},
        {"json", 0, NULL, O_JSON},
        {"help", 0, NULL, O_HELP},
        {0},
    };
    settings set = {.data = VD_SOURCE_DIR "/data/packages-5k",
                    .seconds = 5,
                    .repeat = 1,
                    .batch = 500,
                    .ingest_connections = 4,
                    .ingest_count = SIZE_MAX,
                    .search = true,
                    .ingest = true,
                    .metadata = true,
                    .doors = {true, true, false}};
    char large[512];
    const char *folder = getenv("VECTORD_BENCH_DATA");
    if (folder) {
        snprintf(large, sizeof large, "%s/packages-100k-384-base.f16.npy", folder);
        set.ingest_npy = large;
    }
    parse_list("1,10,50,200", &set);
    int id;
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (id == O_HELP) {
            usage(stdout);
            return 0;
        }
        if (!set_option(&set, id, optarg)) {
            usage(stderr);
            return 64;
        }
    }
    if (optind != argc || (set.url && !set.http)) {
        usage(stderr);
        return 64;
    }
    if (set.ingest && !set.ingest_npy) {
        fputs("loading is left out: name a file with --ingest-npy, or a folder with VECTORD_BENCH_DATA\n", stderr);
        set.ingest = false;
    }
    if (set.json) {
        printf("{");
    }
    bool fine = !set.search || bench_search(&set);
    fine = fine && (!set.ingest || bench_ingest(&set));
    if (set.json) {
        printf("}\n");
    }
    return fine ? 0 : 1;
}
