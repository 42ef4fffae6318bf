/*
 * index_ls.c - vectorctl index ls.
 */
#include <string.h>

#include "cli/cli.h"

static const cli_option options[] = {{0}};

static void add_row(cli_table *table, const vd_client_index *index) {
    buffer b;
    buffer_init(&b, 0);
    cli_table_text(table, index->name, 0);
    cli_put_count(&b, index->length);
    buffer_put(&b, "", 1);
    cli_table_cell(table, "%s", b.failed ? "" : (const char *)b.data);
    buffer_clear(&b);
    cli_table_cell(table, "%u", index->dimension);
    cli_table_text(table, index->distance, 0);
    cli_put_size(&b, index->memory_bytes);
    buffer_put(&b, "", 1);
    cli_table_cell(table, "%s", b.failed ? "" : (const char *)b.data);
    if (strcmp(index->state, "loading") == 0) {
        cli_table_cell(table, "loading %.0f %%", index->load_progress * 100);
    } else if (index->reason[0]) {
        buffer_clear(&b);
        buffer_printf(&b, "%s: %s", index->state, index->reason);
        buffer_put(&b, "", 1);
        cli_table_text(table, b.failed ? "" : (const char *)b.data, 0);
    } else {
        cli_table_text(table, index->state, 0);
    }
    buffer_fini(&b);
}

static int run(cli *c, const cli_args *args) {
    (void)args;
    int code = cli_connect(c);
    if (code != CLI_OK) {
        return code;
    }
    vd_error err;
    vd_client_names *names = NULL;
    if (vd_client_list_indexes(c->client, &names, &err) != VD_OK) {
        return cli_report(c, &err);
    }
    buffer json;
    buffer_init(&json, 0);
    buffer_put_str(&json, "{\"indexes\":[");
    cli_table *table = cli_table_new(6, 1u << 1 | 1u << 2 | 1u << 4);
    static const char *const heads[] = {"NAME", "ITEMS", "DIMENSION", "DISTANCE", "MEMORY", "STATE"};
    for (size_t i = 0; i < 6; i++) {
        cli_table_cell(table, "%s", heads[i]);
    }
    size_t shown = 0;
    for (size_t i = 0; i < names->count; i++) {
        vd_client_index index;
        vd_status status = vd_client_get_index(c->client, names->names[i], &index, &err);
        if (status == VD_NOT_FOUND) {
            continue; /* deleted since it was listed */
        }
        if (status != VD_OK) {
            code = cli_report(c, &err);
            break;
        }
        buffer_put_str(&json, shown++ ? ",{" : "{");
        cli_put_index_json(&json, &index);
        buffer_put_str(&json, "}");
        add_row(table, &index);
    }
    vd_client_names_free(names);
    buffer_printf(&json, "],\"count\":%zu}", shown);
    if (code == CLI_OK && c->json) {
        code = cli_print_json(c, &json);
    } else if (code == CLI_OK && shown == 0) {
        fputs("no indexes yet: make one with `vectorctl index create NAME --dimension N`\n", c->err);
    } else if (code == CLI_OK) {
        code = cli_table_print(c, table);
        table = NULL;
    }
    cli_table_free(table);
    buffer_fini(&json);
    return code;
}

const cli_verb cli_index_ls = {
    .name = "index ls",
    .positional = "",
    .summary = "lists the indexes with their size and state",
    .about =
        "Lists all indexes, sorted by name, with their number of items, their memory and their state: ready, loading\n"
        "(after a start of the server) or quarantined (its file is damaged; the reason is shown).",
    .examples = "  vectorctl index ls\n"
                "  vectorctl index ls --json | jq -r '.indexes[].name'\n",
    .options = options,
    .run = run,
};
