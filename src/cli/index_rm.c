/*
 * index_rm.c - vectorctl index rm.
 */
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"

static const cli_option options[] = {
    {"--if-exists", NULL, NULL, "a name that is not there is fine"},
    {0},
};

static int run(cli *c, const cli_args *args) {
    int code = cli_connect(c);
    if (code != CLI_OK) {
        return code;
    }
    const char *name = args->positional[0];
    vd_error err;
    vd_status status = vd_client_delete_index(c->client, name, &err);
    bool missing = status == VD_NOT_FOUND && cli_value(args, "--if-exists");
    if (status != VD_OK && !missing) {
        return cli_report_index(c, args->positional[0], &err);
    }
    buffer b;
    buffer_init(&b, 0);
    if (c->json) {
        buffer_printf(&b, "{\"deleted\":%s,\"name\":", missing ? "false" : "true");
        json_put_string(&b, name, strlen(name));
        buffer_put_str(&b, "}");
        return cli_print_json(c, &b);
    }
    buffer_put_str(&b, missing ? "there was no " : "deleted ");
    cli_put_text(&b, name, 0);
    buffer_put_str(&b, "\n");
    bool fine = cli_flush(&b, c->out);
    buffer_fini(&b);
    return fine ? CLI_OK : CLI_IO;
}

const cli_verb cli_index_rm = {
    .name = "index rm",
    .positional = "NAME",
    .summary = "deletes an index with everything in it",
    .about =
        "Deletes an index, its items and its files. There is no way back. A quarantined index can be deleted too: its\n"
        "damaged files are then moved aside, not removed.",
    .examples = "  vectorctl index rm packages\n"
                "  vectorctl index rm scratch --if-exists\n",
    .options = options,
    .run = run,
};
