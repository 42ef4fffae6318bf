/*
 * args.c - the command line after the verb: "--name value", "--name=value", "-k 5", "-k5"; "--" ends the options; the rest are the
 * verb's arguments. An option given twice is an error, since one of the two would be ignored.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

const cli_option cli_common_options[] = {
    {"--url", NULL, "URL", "the server's NNG address; default $VECTORD_URL, else " VD_CLIENT_URL_DEFAULT},
    {"--json", NULL, NULL, "results (and errors) as JSON"},
    {"--timeout", NULL, "SECONDS", "how long one request may take; default 60"},
    {"--help", "-h", NULL, "this text"},
    {0},
};

/* Does `word` name this option? *value: what is glued to it, or NULL. */
static bool matches(const cli_option *option, const char *word, const char **value) {
    size_t length = strlen(option->name);
    if (strncmp(word, option->name, length) == 0 && (word[length] == '\0' || word[length] == '=')) {
        *value = word[length] == '=' ? word + length + 1 : NULL;
        return true;
    }
    if (option->brief && strncmp(word, option->brief, 2) == 0 && (word[2] == '\0' || option->value)) {
        *value = word[2] != '\0' ? word + 2 : NULL;
        return true;
    }
    return false;
}

static const cli_option *find(const cli_option *options, const char *word, const char **value, size_t *place) {
    for (size_t i = 0; options[i].name; i++) {
        if (matches(&options[i], word, value)) {
            *place = i;
            return &options[i];
        }
    }
    return NULL;
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out) {
    char *end = NULL;
    errno = 0;
    if (text[0] < '0' || text[0] > '9') {
        return false; /* strtoull takes "-1" and " 1" */
    }
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max) {
        return false;
    }
    *out = value;
    return true;
}

static bool set_common(cli *c, const cli_verb *verb, const cli_option *option, const char *value, bool *help) {
    if (strcmp(option->name, "--url") == 0) {
        c->url = value;
    } else if (strcmp(option->name, "--json") == 0) {
        c->json = true;
    } else if (strcmp(option->name, "--help") == 0) {
        *help = true;
    } else {
        uint64_t seconds;
        if (!parse_number(value, 1, VD_TIMEOUT_MAX_MS / 1000, &seconds)) {
            cli_usage(c, verb, "--timeout takes 1..%d seconds, not \"%s\"", VD_TIMEOUT_MAX_MS / 1000, value);
            return false;
        }
        c->timeout_ms = (uint32_t)seconds * 1000;
    }
    return true;
}

static size_t count_words(const char *text) {
    size_t count = 0;
    for (const char *at = text; *at; at++) {
        count += *at != ' ' && (at == text || at[-1] == ' ');
    }
    return count;
}

/* One option at argv[*i]; *i moves on when its value is the next word. */
static bool parse_option(cli *c, const cli_verb *verb, int argc, char **argv, int *i, cli_args *args, bool *help) {
    const char *word = argv[*i];
    const char *value = NULL;
    size_t place = 0;
    bool common = false;
    const cli_option *option = find(verb->options, word, &value, &place);
    if (!option) {
        option = find(cli_common_options, word, &value, &place);
        common = true;
    }
    if (!option) {
        cli_usage(c, verb, "unknown option %s", word);
        return false;
    }
    if (!option->value && value) {
        cli_usage(c, verb, "%s takes no value", option->name);
        return false;
    }
    if (option->value && !value) {
        if (*i + 1 >= argc) {
            cli_usage(c, verb, "%s needs a value: %s %s", option->name, option->name, option->value);
            return false;
        }
        value = argv[++*i];
    }
    if (common) {
        return set_common(c, verb, option, value, help);
    }
    if (args->values[place]) {
        cli_usage(c, verb, "%s is given twice", option->name);
        return false;
    }
    args->values[place] = option->value ? value : "";
    return true;
}

bool cli_parse(cli *c, const cli_verb *verb, int argc, char **argv, cli_args *args, bool *help) {
    memset(args, 0, sizeof *args);
    args->verb = verb;
    *help = false;
    size_t wanted = count_words(verb->positional);
    size_t count = 0;
    bool options_over = false;
    for (int i = 0; i < argc; i++) {
        if (!options_over && strcmp(argv[i], "--") == 0) {
            options_over = true;
        } else if (!options_over && argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!parse_option(c, verb, argc, argv, &i, args, help)) {
                return false;
            }
        } else if (count == wanted) {
            cli_usage(c, verb, "one argument too many: \"%s\"", argv[i]);
            return false;
        } else {
            args->positional[count++] = argv[i];
        }
    }
    if (!*help && count < wanted) {
        cli_usage(c, verb, "%s needs %s", verb->name, verb->positional);
        return false;
    }
    return true;
}

const char *cli_value(const cli_args *args, const char *option) {
    for (size_t i = 0; args->verb->options[i].name; i++) {
        if (strcmp(args->verb->options[i].name, option) == 0) {
            return args->values[i];
        }
    }
    return NULL;
}

bool cli_number(cli *c, const cli_args *args, const char *option, uint64_t min, uint64_t max, uint64_t *out) {
    const char *text = cli_value(args, option);
    if (text && !parse_number(text, min, max, out)) {
        cli_usage(c, args->verb, "%s takes a whole number, %" PRIu64 "..%" PRIu64 ", not \"%s\"", option, min, max,
                  text);
        return false;
    }
    return true;
}
