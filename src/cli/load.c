/*
 * load.c - vectorctl load: reads files, sends batches.
 *
 * One batch is on its way while the next one is read, never two: with the same id twice in a file, the later line must win.
 * Adding is "add or replace", so a batch may be sent again: that is what makes a load resumable from a row number alone.
 *
 * Threading: `sent` is called on the client's thread and touches only what shipment.mutex guards.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/source.h"

/* A server that says "busy" or "loading" is asked again for so long. */
enum { BUSY_MAX_MS = 60000, BUSY_PAUSE_MAX_S = 5 };

static const cli_option options[] = {
    {"--npy", NULL, "FILE", "vectors as a NumPy array of float16, float32 or float64, a row each"},
    {"--fvecs", NULL, "FILE", "vectors as .fvecs"},
    {"--jsonl", NULL, "FILE",
     "items as lines {\"id\", \"vector\", \"metadata\"}; beside --npy or --fvecs without vectors; - is stdin"},
    {"--ids-jsonl", NULL, "FILE", "the same as --jsonl beside --npy or --fvecs: row n belongs to line n"},
    {"--batch", NULL, "N", "items per request; default " CLI_TEXT(BATCH_ITEMS_DEFAULT)},
    {"--create", NULL, NULL, "make the index when it is not there; the dimension comes from the file"},
    {"--distance", NULL, "NAME", "for --create: cosine (default) or euclidean"},
    {"--m", NULL, "N", "for --create: links per node"},
    {"--ef-construction", NULL, "N", "for --create: candidates while building"},
    {"--resume", NULL, "ROW", "begin with this row (the first is 0), as an interrupted load says"},
    {0},
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

/* ---- one batch on its way ---- */

typedef struct shipment {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool under_way;
    vd_status status;
    vd_client_added added;
    vd_error err;
} shipment;

static void sent(void *arg, vd_status status, const vd_client_added *added, const vd_error *err) {
    shipment *s = arg;
    pthread_mutex_lock(&s->mutex);
    s->status = status;
    s->added = *added;
    if (err) {
        s->err = *err;
    }
    s->under_way = false;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

typedef struct load {
    cli *c;
    const char *index;
    source source;
    batch batches[2];
    shipment shipment;
    progress bar;
    uint64_t first;  /* row it began with */
    uint64_t loaded; /* rows the server has confirmed */
    uint64_t length; /* of the index */
    uint32_t requests;
    int64_t started_ms;
} load;

static void set_under_way(shipment *s, bool under_way) {
    pthread_mutex_lock(&s->mutex);
    s->under_way = under_way;
    pthread_mutex_unlock(&s->mutex);
}

static vd_status ship(load *l, const batch *b, vd_error *err) {
    /* Before the call: `sent` may run before it returns. */
    set_under_way(&l->shipment, true);
    vd_status status =
        vd_client_add_items_async(l->c->client, l->index, b->items, b->count, b->dimension, sent, &l->shipment, err);
    if (status != VD_OK) {
        set_under_way(&l->shipment, false);
    }
    return status;
}

static vd_status await(load *l, vd_error *err) {
    shipment *s = &l->shipment;
    pthread_mutex_lock(&s->mutex);
    while (s->under_way) {
        pthread_cond_wait(&s->changed, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    if (s->status != VD_OK) {
        *err = s->err;
    }
    return s->status;
}

/* Waits for the batch under way; sends it again while the server is busy. */
static vd_status settle(load *l, const batch *b, vd_error *err) {
    int64_t give_up_ms = clock_now_ms() + BUSY_MAX_MS;
    for (;;) {
        vd_status status = await(l, err);
        if (status == VD_OK) {
            l->loaded += b->count;
            l->length = l->shipment.added.length;
            l->requests++;
            progress_update(&l->bar, source_progress(&l->source), l->loaded);
            return VD_OK;
        }
        if (status != VD_UNAVAILABLE || err->retry_after_s == 0 || interrupted || clock_now_ms() > give_up_ms) {
            return status;
        }
        uint32_t pause_s = err->retry_after_s < BUSY_PAUSE_MAX_S ? err->retry_after_s : BUSY_PAUSE_MAX_S;
        nanosleep(&(struct timespec){.tv_sec = pause_s}, NULL); /* a signal ends it early */
        status = ship(l, b, err);
        if (status != VD_OK) {
            return status;
        }
    }
}

/* The whole file. On an error everything up to l->loaded is in. */
static vd_status transfer(load *l, vd_error *err) {
    vd_status reading = VD_OK;
    vd_error reading_err;
    batch *under_way = NULL;
    for (size_t turn = 0; reading == VD_OK && !interrupted; turn ^= 1) {
        batch *next = &l->batches[turn];
        reading = batch_fill(next, &l->source, &reading_err);
        if (under_way) {
            vd_status status = settle(l, under_way, err);
            under_way = NULL;
            if (status != VD_OK) {
                return status;
            }
        }
        if (next->count == 0) {
            break;
        }
        vd_status status = ship(l, next, err);
        if (status != VD_OK) {
            return status;
        }
        under_way = next;
    }
    vd_status status = under_way ? settle(l, under_way, err) : VD_OK;
    /* An interrupt ends a read that waits (a pipe): that is no error of the file. */
    if (status == VD_OK && reading != VD_OK && !interrupted) {
        *err = reading_err;
        return reading;
    }
    return status;
}

/* ---- before and after ---- */

/* "items[3].vector: ..." of the server, as a row of the file. */
static void name_row(const load *l, vd_error *err) {
    uint64_t place;
    int used = 0;
    if (sscanf(err->text, "items[%" SCNu64 "]%n", &place, &used) == 1 && used > 0) {
        char rest[sizeof err->text];
        snprintf(rest, sizeof rest, "%s", err->text + used);
        vd_fail(err, err->status, err->field, "row %" PRIu64 "%s", l->first + l->loaded + place, rest);
    }
}

static void put_command(buffer *b, const cli *c) {
    buffer_put_str(b, "vectorctl");
    for (int i = 1; i < c->argc; i++) {
        const char *word = c->argv[i];
        if (strcmp(word, "--resume") == 0) {
            i++;
            continue;
        }
        if (strncmp(word, "--resume=", 9) == 0) {
            continue;
        }
        bool plain = word[0] != '\0';
        for (const char *at = word; *at; at++) {
            plain = plain && (strchr("-_./:=,+@%", *at) || (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
                              (*at >= 'A' && *at <= 'Z'));
        }
        buffer_put_str(b, plain ? " " : " '");
        for (const char *at = word; *at; at++) {
            if (*at == '\'') {
                buffer_put_str(b, "'\\''");
            } else {
                buffer_put(b, at, 1);
            }
        }
        buffer_put_str(b, plain ? "" : "'");
    }
}

static void hint_resume(const load *l) {
    uint64_t next = l->first + l->loaded;
    buffer b;
    buffer_init(&b, 0);
    cli_put_count(&b, next);
    buffer_put_str(&b, " rows are in. Continue with:\n  ");
    put_command(&b, l->c);
    buffer_printf(&b, " --resume %" PRIu64 "\n", next);
    if (!l->c->json) {
        cli_flush(&b, l->c->err);
    }
    buffer_fini(&b);
}

static int print_summary(const load *l, bool complete) {
    cli *c = l->c;
    double seconds = (double)(clock_now_ms() - l->started_ms) / 1000;
    double rate = seconds > 0 ? (double)l->loaded / seconds : 0;
    buffer b;
    buffer_init(&b, 0);
    if (c->json || !c->err_tty) {
        buffer_put_str(&b, "{\"index\":");
        json_put_string(&b, l->index, strlen(l->index));
        buffer_printf(&b,
                      ",\"loaded\":%" PRIu64 ",\"first_row\":%" PRIu64 ",\"next_row\":%" PRIu64
                      ",\"complete\":%s,\"length\":%" PRIu64
                      ",\"requests\":%u,\"seconds\":%.3f,\"items_per_second\":%.1f}",
                      l->loaded, l->first, l->first + l->loaded, complete ? "true" : "false", l->length, l->requests,
                      seconds, rate);
        return cli_print_json(c, &b);
    }
    buffer_put_str(&b, "loaded ");
    cli_put_count(&b, l->loaded);
    buffer_put_str(&b, " items into ");
    cli_put_text(&b, l->index, 0);
    buffer_printf(&b, " in %.1f s (", seconds);
    cli_put_count(&b, (uint64_t)rate);
    buffer_put_str(&b, "/s); it holds ");
    cli_put_count(&b, l->length);
    buffer_put_str(&b, " now\n");
    bool fine = cli_flush(&b, c->out);
    buffer_fini(&b);
    return fine ? CLI_OK : CLI_IO;
}

/* The index is there and of the right dimension, or is made. */
static int prepare_index(load *l, const cli_args *args, const vd_client_index_options *wanted) {
    vd_error err;
    vd_client_index index;
    vd_status status = vd_client_get_index(l->c->client, l->index, &index, &err);
    if (status == VD_NOT_FOUND && cli_value(args, "--create")) {
        status = vd_client_create_index(l->c->client, wanted, &err);
        return status == VD_OK ? CLI_OK : cli_report(l->c, &err);
    }
    if (status == VD_NOT_FOUND) {
        vd_fail(&err, VD_NOT_FOUND, "name", "there is no index \"%s\"", l->index);
        int code = cli_report(l->c, &err);
        cli_hint(l->c, "Add --create to make it, or: vectorctl index create %s --dimension %u", l->index,
                 l->source.dimension);
        return code;
    }
    if (status != VD_OK) {
        return cli_report(l->c, &err);
    }
    /* An empty rest of a file has no dimension of its own. */
    if (l->source.dimension != 0 && index.dimension != l->source.dimension) {
        vd_fail(&err, VD_INVALID_ARGUMENT, "dimension", "the file has vectors of dimension %u, index \"%s\" takes %u",
                l->source.dimension, l->index, index.dimension);
        return cli_report(l->c, &err);
    }
    l->length = index.length;
    return CLI_OK;
}

static int check_sources(cli *c, const cli_args *args, source_options *from) {
    const char *ids = cli_value(args, "--ids-jsonl");
    from->npy = cli_value(args, "--npy");
    from->fvecs = cli_value(args, "--fvecs");
    from->jsonl = cli_value(args, "--jsonl");
    if (ids && !from->npy && !from->fvecs) {
        return cli_usage(c, args->verb, "--ids-jsonl needs the vectors: --npy FILE or --fvecs FILE");
    }
    if (!from->npy && !from->fvecs && !from->jsonl) {
        return cli_usage(c, args->verb, "nothing to load: give --npy FILE, --fvecs FILE or --jsonl FILE");
    }
    if (from->npy && from->fvecs) {
        return cli_usage(c, args->verb, "--npy and --fvecs cannot be loaded together");
    }
    if (ids && from->jsonl) {
        return cli_usage(c, args->verb, "--jsonl and --ids-jsonl are the same thing here: give one of them");
    }
    if (ids) {
        from->jsonl = ids;
    }
    return CLI_OK;
}

static int run_transfer(load *l) {
    cli *c = l->c;
    vd_error err;
    vd_status status = transfer(l, &err);
    progress_end(&l->bar);
    if (status != VD_OK) {
        name_row(l, &err);
        int code = cli_report(c, &err);
        hint_resume(l);
        if (c->json || !c->err_tty) {
            print_summary(l, false);
        }
        return code;
    }
    bool complete = !interrupted;
    int code = print_summary(l, complete);
    if (!complete) {
        hint_resume(l);
        return CLI_INTERRUPTED;
    }
    return code;
}

static int run(cli *c, const cli_args *args) {
    source_options from = {0};
    uint64_t batch_items = BATCH_ITEMS_DEFAULT;
    uint64_t m = 0;
    uint64_t ef_construction = 0;
    int code = check_sources(c, args, &from);
    if (code != CLI_OK) {
        return code;
    }
    if (!cli_number(c, args, "--batch", 1, VD_BATCH_ITEMS_MAX, &batch_items) ||
        !cli_number(c, args, "--m", VD_M_MIN, VD_M_MAX, &m) ||
        !cli_number(c, args, "--ef-construction", VD_EF_CONSTRUCTION_MIN, VD_EF_CONSTRUCTION_MAX, &ef_construction) ||
        !cli_number(c, args, "--resume", 0, VD_ITEMS_MAX, &from.first)) {
        return CLI_USAGE;
    }
    load l = {.c = c, .index = args->positional[0], .first = from.first, .started_ms = clock_now_ms()};
    vd_error err;
    if (source_open(&from, &l.source, &err) != VD_OK) {
        return cli_report_file(c, &err);
    }
    pthread_mutex_init(&l.shipment.mutex, NULL);
    pthread_cond_init(&l.shipment.changed, NULL);
    code = cli_connect(c);
    if (code != CLI_OK) {
        goto close_source;
    }
    vd_client_index_options wanted = {
        .name = l.index,
        .dimension = l.source.dimension,
        .m = (uint32_t)m,
        .ef_construction = (uint32_t)ef_construction,
        .distance = cli_value(args, "--distance"),
    };
    code = prepare_index(&l, args, &wanted);
    if (code != CLI_OK) {
        goto close_source;
    }
    if (batch_init(&l.batches[0], (size_t)batch_items, l.source.dimension, &err) != VD_OK ||
        batch_init(&l.batches[1], (size_t)batch_items, l.source.dimension, &err) != VD_OK) {
        code = cli_report(c, &err);
        goto free_batches;
    }
    /* The second Ctrl-C ends the program at once. No SA_RESTART: a read from a pipe must end too. */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    struct sigaction before;
    interrupted = 0;
    sigaction(SIGINT, &action, &before);
    progress_init(&l.bar, c->err, c->err_tty && !c->json, source_progress(&l.source));
    code = run_transfer(&l);
    sigaction(SIGINT, &before, NULL);
free_batches:
    batch_fini(&l.batches[0]);
    batch_fini(&l.batches[1]);
close_source:
    pthread_cond_destroy(&l.shipment.changed);
    pthread_mutex_destroy(&l.shipment.mutex);
    source_close(&l.source);
    return code;
}

const cli_verb cli_load = {
    .name = "load",
    .positional = "NAME",
    .summary = "loads vectors from .npy, .fvecs or JSON lines",
    .about =
        "Loads vectors into an index, adding new ids and replacing those that are there. Files are read row by row, "
        "so\n"
        "their size does not matter. Without ids the row numbers (from 0) are the ids.\n"
        "\n"
        "Each request is all or nothing. When a load is interrupted (Ctrl-C, a server that goes away, a bad line), it\n"
        "says how to continue: `--resume ROW`. Rows that are sent twice do no harm.\n"
        "\n"
        "On a terminal it shows progress, rate and the time left; otherwise it prints one line of JSON at the end.",
    .examples =
        "  vectorctl load packages --npy base.npy --ids-jsonl items.jsonl --create\n"
        "  vectorctl load sift --fvecs sift_base.fvecs --create --distance euclidean\n"
        "  vectorctl load notes --jsonl notes.jsonl --create\n"
        "  zcat notes.jsonl.gz | vectorctl load notes --jsonl -\n"
        "  vectorctl load sift --fvecs sift_base.fvecs --resume 412000\n"
        "\n"
        "  notes.jsonl:  {\"id\": \"n1\", \"vector\": [0.1, 0.9, 0.3], \"metadata\": {\"title\": \"first note\"}}\n"
        "  items.jsonl:  {\"id\": \"boto3\", \"metadata\": {\"rank\": 1}}          (line n belongs to row n of the "
        "array)\n",
    .options = options,
    .run = run,
};
