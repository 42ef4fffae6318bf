/*
 * run.c - vectorctl: finds the verb, prints the help, runs.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

static const cli_verb *const verbs[] = {
    &cli_index_create, &cli_index_ls, &cli_index_get, &cli_index_rm, &cli_load, &cli_search, &cli_health,
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void print_overview(FILE *to) {
    fputs("vectorctl " VECTORD_VERSION " - works with a vectord server: makes indexes, loads vectors, searches.\n"
          "\n"
          "usage: vectorctl VERB [ARGUMENTS] [OPTIONS]\n"
          "\n",
          to);
    for (size_t i = 0; i < VERBS; i++) {
        char call[64];
        snprintf(call, sizeof call, "%s %s", verbs[i]->name, verbs[i]->positional);
        fprintf(to, "  %-20s %s\n", call, verbs[i]->summary);
    }
    fputs(
        "\n"
        "Each verb explains itself: `vectorctl load --help`.\n"
        "\n"
        "A first minute, with the sample that comes with the source:\n"
        "  vectord &\n"
        "  vectorctl load packages --npy data/packages-5k/base.npy --ids-jsonl data/packages-5k/items.jsonl --create\n"
        "  vectorctl search packages --like boto3 -k 5\n",
        to);
}

static void print_options(const cli_option *options, FILE *to) {
    for (; options->name; options++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s%s", options->brief ? options->brief : "", options->brief ? ", " : "",
                 options->name, options->value ? " " : "", options->value ? options->value : "");
        fprintf(to, "  %-24s %s\n", left, options->help);
    }
}

static void print_verb(const cli_verb *verb, FILE *to) {
    fprintf(to, "usage: vectorctl %s%s%s [OPTIONS]\n\n%s\n", verb->name, verb->positional[0] ? " " : "",
            verb->positional, verb->about);
    if (verb->options[0].name) {
        fputs("\noptions:\n", to);
        print_options(verb->options, to);
    }
    fputs("\noptions of every verb:\n", to);
    print_options(cli_common_options, to);
    fprintf(to, "\nexamples:\n%s", verb->examples);
}

/* Does the command line begin with the words of `name`? *words: how many they are. */
static bool is_verb(const char *name, int argc, char **argv, int *words) {
    *words = 0;
    while (*name) {
        size_t length = strcspn(name, " ");
        if (*words >= argc || strlen(argv[*words]) != length || strncmp(argv[*words], name, length) != 0) {
            return false;
        }
        ++*words;
        name += length;
        name += *name == ' ';
    }
    return true;
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static int run_verb(cli *c, const cli_verb *verb, int argc, char **argv) {
    cli_args args;
    bool help;
    if (!cli_parse(c, verb, argc, argv, &args, &help)) {
        return CLI_USAGE;
    }
    if (help) {
        print_verb(verb, c->out);
        return CLI_OK;
    }
    int code = verb->run(c, &args);
    vd_client_close(c->client);
    c->client = NULL;
    return code;
}

/* A group of verbs named alone ("vectorctl index"): lists them. */
static bool print_group(cli *c, int argc, char **argv) {
    bool any = false;
    size_t length = strlen(argv[0]);
    for (size_t i = 0; i < VERBS; i++) {
        if (strncmp(verbs[i]->name, argv[0], length) == 0 && verbs[i]->name[length] == ' ') {
            FILE *to = argc > 1 && is_help(argv[1]) ? c->out : c->err;
            fprintf(to, "  vectorctl %-14s %-5s %s\n", verbs[i]->name, verbs[i]->positional, verbs[i]->summary);
            any = true;
        }
    }
    return any;
}

int cli_main(int argc, char **argv, FILE *out, FILE *err) {
    const char *url = getenv("VECTORD_URL");
    cli c = {.out = out, .err = err, .url = url && url[0] ? url : VD_CLIENT_URL_DEFAULT, .argc = argc, .argv = argv};
    struct winsize size;
    c.err_tty = isatty(fileno(err)) == 1;
    if (isatty(fileno(out)) == 1 && ioctl(fileno(out), TIOCGWINSZ, &size) == 0) {
        c.width = size.ws_col;
    }
    argc--;
    argv++;
    if (argc > 1 && strcmp(argv[0], "help") == 0) {
        argc--;
        argv++;
        for (size_t i = 0; i < VERBS; i++) {
            int words;
            if (is_verb(verbs[i]->name, argc, argv, &words)) {
                print_verb(verbs[i], out);
                return CLI_OK;
            }
        }
    }
    if (argc == 0 || is_help(argv[0])) {
        print_overview(argc == 0 ? err : out);
        return argc == 0 ? CLI_USAGE : CLI_OK;
    }
    if (strcmp(argv[0], "--version") == 0) {
        fputs("vectorctl " VECTORD_VERSION "\n", out);
        return CLI_OK;
    }
    for (size_t i = 0; i < VERBS; i++) {
        int words;
        if (is_verb(verbs[i]->name, argc, argv, &words)) {
            return run_verb(&c, verbs[i], argc - words, argv + words);
        }
    }
    if (print_group(&c, argc, argv)) {
        if (argc > 1 && !is_help(argv[1])) {
            return cli_usage(&c, NULL, "there is no verb \"%s %s\"", argv[0], argv[1]);
        }
        return argc > 1 ? CLI_OK : CLI_USAGE;
    }
    return cli_usage(&c, NULL, "there is no verb \"%s\"", argv[0]);
}
