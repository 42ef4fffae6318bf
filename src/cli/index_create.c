/*
 * index_create.c - vectorctl index create.
 */
#include "cli/cli.h"

static const cli_option options[] = {
    {"--dimension", "-d", "N", "values per vector, " CLI_RANGE(VD_DIMENSION_MIN, VD_DIMENSION_MAX) " (required)"},
    {"--distance", NULL, "NAME", "cosine (default) or euclidean"},
    {"--m", NULL, "N", "links per node, " CLI_RANGE(VD_M_MIN, VD_M_MAX) "; default " CLI_TEXT(VD_M_DEFAULT)},
    {"--ef-construction", NULL, "N",
     "candidates while building, " CLI_RANGE(VD_EF_CONSTRUCTION_MIN,
                                             VD_EF_CONSTRUCTION_MAX) "; default " CLI_TEXT(VD_EF_CONSTRUCTION_DEFAULT)},
    {"--ef-search", NULL, "N",
     "floor of the candidates while searching, " CLI_RANGE(VD_EF_SEARCH_MIN, VD_EF_SEARCH_MAX) "; default " CLI_TEXT(
         VD_EF_SEARCH_DEFAULT)},
    {0},
};

static int run(cli *c, const cli_args *args) {
    uint64_t dimension = 0;
    uint64_t m = 0;
    uint64_t ef_construction = 0;
    uint64_t ef_search = 0;
    if (!cli_number(c, args, "--dimension", VD_DIMENSION_MIN, VD_DIMENSION_MAX, &dimension) ||
        !cli_number(c, args, "--m", VD_M_MIN, VD_M_MAX, &m) ||
        !cli_number(c, args, "--ef-construction", VD_EF_CONSTRUCTION_MIN, VD_EF_CONSTRUCTION_MAX, &ef_construction) ||
        !cli_number(c, args, "--ef-search", VD_EF_SEARCH_MIN, VD_EF_SEARCH_MAX, &ef_search)) {
        return CLI_USAGE;
    }
    if (dimension == 0) {
        return cli_usage(c, args->verb, "--dimension is missing: how many values do your vectors have?");
    }
    int code = cli_connect(c);
    if (code != CLI_OK) {
        return code;
    }
    vd_client_index_options wanted = {
        .name = args->positional[0],
        .dimension = (uint32_t)dimension,
        .m = (uint32_t)m,
        .ef_construction = (uint32_t)ef_construction,
        .ef_search = (uint32_t)ef_search,
        .distance = cli_value(args, "--distance"),
    };
    vd_client_index index;
    vd_error err;
    if (vd_client_create_index(c->client, &wanted, &err) != VD_OK ||
        vd_client_get_index(c->client, args->positional[0], &index, &err) != VD_OK) {
        return cli_report(c, &err);
    }
    buffer b;
    buffer_init(&b, 0);
    if (c->json) {
        buffer_put_str(&b, "{");
        cli_put_index_json(&b, &index);
        buffer_put_str(&b, "}");
        return cli_print_json(c, &b);
    }
    buffer_put_str(&b, "created ");
    cli_put_text(&b, index.name, 0);
    buffer_printf(&b, ": dimension %u, %s, m %u, ef_construction %u\n", index.dimension, index.distance, index.m,
                  index.ef_construction);
    bool fine = cli_flush(&b, c->out);
    buffer_fini(&b);
    return fine ? CLI_OK : CLI_IO;
}

const cli_verb cli_index_create = {
    .name = "index create",
    .positional = "NAME",
    .summary = "makes an empty index",
    .about =
        "Makes an empty index. All its vectors will have the same dimension. The defaults suit most data: the server\n"
        "measures by itself how wide it must search to find 95 % of the true neighbours. A larger --m and\n"
        "--ef-construction cost memory and loading time and help very large or very clustered data.",
    .examples = "  vectorctl index create packages --dimension 384\n"
                "  vectorctl index create faces -d 512 --distance euclidean --m 24\n",
    .options = options,
    .run = run,
};
