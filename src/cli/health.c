/*
 * health.c - vectorctl health.
 */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"

static const cli_option options[] = {
    {"--ready", NULL, NULL, "exit code 1 until every index has been loaded"},
    {0},
};

static void put_text(buffer *b, const vd_client_server *server) {
    uint64_t seconds = (uint64_t)server->uptime_seconds;
    buffer_printf(b, "status       %s%s\nversion      %s\n", server->status, server->ready ? ", ready" : ", loading",
                  server->version);
    buffer_printf(b, "up           %" PRIu64 "d %02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "\n", seconds / 86400,
                  seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    buffer_printf(b, "indexes      %u", server->indexes);
    if (server->loading > 0) {
        buffer_printf(b, ", %u loading", server->loading);
    }
    if (server->quarantined > 0) {
        buffer_printf(b, ", %u quarantined", server->quarantined);
    }
    buffer_put_str(b, "\nitems        ");
    cli_put_count(b, server->items);
    buffer_printf(b, "\ndurable      %s\n", server->durable ? "yes" : "no, nothing outlives the server");
}

static int run(cli *c, const cli_args *args) {
    int code = cli_connect(c);
    if (code != CLI_OK) {
        return code;
    }
    vd_error err;
    vd_client_server server;
    if (vd_client_health(c->client, &server, &err) != VD_OK) {
        return cli_report(c, &err);
    }
    buffer b;
    buffer_init(&b, 0);
    if (c->json) {
        buffer_put_str(&b, "{\"status\":");
        json_put_string(&b, server.status, strlen(server.status));
        buffer_printf(&b, ",\"ready\":%s,\"version\":", server.ready ? "true" : "false");
        json_put_string(&b, server.version, strlen(server.version));
        buffer_printf(&b, ",\"indexes\":%u,\"loading\":%u,\"quarantined\":%u,\"items\":%" PRIu64 ",\"uptime_seconds\":",
                      server.indexes, server.loading, server.quarantined, server.items);
        json_put_double(&b, server.uptime_seconds);
        buffer_printf(&b, ",\"durable\":%s}", server.durable ? "true" : "false");
        code = cli_print_json(c, &b);
    } else {
        put_text(&b, &server);
        code = cli_flush(&b, c->out) ? CLI_OK : CLI_IO;
        buffer_fini(&b);
    }
    return code == CLI_OK && cli_value(args, "--ready") && !server.ready ? CLI_NOT_READY : code;
}

const cli_verb cli_health = {
    .name = "health",
    .positional = "",
    .summary = "asks the server how it is",
    .about = "Asks the server how it is. Exit code 0 when it answers; with --ready 1 while indexes are still being "
             "loaded; 69 when\n"
             "nobody is there.",
    .examples = "  vectorctl health\n"
                "  until vectorctl health --ready > /dev/null; do sleep 1; done\n",
    .options = options,
    .run = run,
};
