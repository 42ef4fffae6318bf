/*
 * index_get.c - vectorctl index get.
 */
#include <inttypes.h>

#include "cli/cli.h"

static const cli_option options[] = {{0}};

static void put_size_line(buffer *b, const char *label, uint64_t size) {
    buffer_put_str(b, label);
    cli_put_size(b, size);
    buffer_put_str(b, "\n");
}

static int print_text(cli *c, const vd_client_index *index) {
    buffer b;
    buffer_init(&b, 0);
    buffer_put_str(&b, "name             ");
    cli_put_text(&b, index->name, 0);
    buffer_put_str(&b, "\nstate            ");
    cli_put_text(&b, index->state, 0);
    if (index->reason[0]) {
        buffer_put_str(&b, ": ");
        cli_put_text(&b, index->reason, 0);
    }
    buffer_put_str(&b, "\nitems            ");
    cli_put_count(&b, index->length);
    buffer_printf(&b, "\ndimension        %u\ndistance         %s\nm                %u\nef_construction  %u\n",
                  index->dimension, index->distance, index->m, index->ef_construction);
    buffer_printf(&b, "ef_search        at least %u, at most %u\n", index->ef_search, index->ef_effective);
    if (index->calibrated_at > 0) {
        buffer_printf(&b, "recall@10        %.3f, measured at ", index->calibrated_recall);
        cli_put_count(&b, index->calibrated_at);
        buffer_put_str(&b, " items\n");
    } else {
        buffer_put_str(&b, "recall@10        not measured yet\n");
    }
    buffer_printf(&b, "encoding         %s\noptimized        ", index->encoding);
    cli_put_count(&b, index->optimized);
    buffer_put_str(&b, " items\n");
    put_size_line(&b, "memory           ", index->memory_bytes);
    put_size_line(&b, "journal          ", index->journal_bytes);
    buffer_printf(&b, "writes           %" PRIu64 "\n", index->sequence);
    bool fine = cli_flush(&b, c->out);
    buffer_fini(&b);
    return fine ? CLI_OK : CLI_IO;
}

static int run(cli *c, const cli_args *args) {
    int code = cli_connect(c);
    if (code != CLI_OK) {
        return code;
    }
    vd_error err;
    vd_client_index index;
    if (vd_client_get_index(c->client, args->positional[0], &index, &err) != VD_OK) {
        return cli_report_index(c, args->positional[0], &err);
    }
    if (!c->json) {
        return print_text(c, &index);
    }
    buffer b;
    buffer_init(&b, 0);
    buffer_put_str(&b, "{");
    cli_put_index_json(&b, &index);
    buffer_put_str(&b, "}");
    return cli_print_json(c, &b);
}

const cli_verb cli_index_get = {
    .name = "index get",
    .positional = "NAME",
    .summary = "shows one index in full",
    .about = "Shows the parameters, size and health of one index: the recall it measured on its own vectors, how wide "
             "a search\n"
             "looks because of it, its memory, and the journal written since the last snapshot.",
    .examples = "  vectorctl index get packages\n"
                "  vectorctl index get packages --json | jq .memory_bytes\n",
    .options = options,
    .run = run,
};
