/*
 * cli.h - what the verbs of vectorctl share: the verb table's row, arguments, output, errors, exit codes.
 *
 * A verb is one file with one cli_verb; run.c lists them. Results go to standard output (a table, or one JSON document with
 * --json), everything else to standard error.
 */
#ifndef VECTORD_CLI_CLI_H
#define VECTORD_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "vectord/client.h"

/* sysexits.h, where it fits. */
enum {
    CLI_OK = 0,
    CLI_NOT_READY = 1,    /* health --ready */
    CLI_USAGE = 64,       /* the command line is wrong */
    CLI_DATA = 65,        /* a file, or a value in it, is not acceptable */
    CLI_NO_INPUT = 66,    /* no such file, index or item */
    CLI_UNAVAILABLE = 69, /* no server there */
    CLI_INTERNAL = 70,
    CLI_EXISTS = 73,    /* the name is taken */
    CLI_IO = 74,        /* reading or writing failed */
    CLI_TRY_AGAIN = 75, /* busy, loading, timed out, a limit reached */
    CLI_DENIED = 77,
    CLI_INTERRUPTED = 130
};

/* The bounds of limits.h in a help text. */
#define CLI_TEXT_(x)        #x
#define CLI_TEXT(x)         CLI_TEXT_(x)
#define CLI_RANGE(min, max) CLI_TEXT(min) ".." CLI_TEXT(max)

enum { CLI_OPTIONS_MAX = 24, CLI_POSITIONAL_MAX = 4 };

typedef struct cli_option {
    const char *name;  /* "--dimension" */
    const char *brief; /* "-k", or NULL */
    const char *value; /* what it takes, "N"; NULL: a switch */
    const char *help;
} cli_option;

typedef struct cli cli;
typedef struct cli_args cli_args;

typedef struct cli_verb {
    const char *name;          /* "index create" */
    const char *positional;    /* "NAME"; "" for none: as many words as arguments are needed */
    const char *summary;       /* one line, for the list of verbs */
    const char *about;         /* paragraphs of its --help */
    const char *examples;      /* lines of its --help */
    const cli_option *options; /* ends with a NULL name */
    int (*run)(cli *c, const cli_args *args);
} cli_verb;

struct cli_args {
    const cli_verb *verb;
    const char *positional[CLI_POSITIONAL_MAX];
    const char *values[CLI_OPTIONS_MAX]; /* by place in verb->options; a switch that is set has "" */
};

struct cli {
    FILE *out;
    FILE *err;
    const char *url;
    bool json;
    bool err_tty;
    uint32_t width;      /* columns of the terminal; 0: no terminal, nothing is cut */
    uint32_t timeout_ms; /* 0: the client's default */
    int argc;            /* the whole command line, to repeat it in a hint */
    char **argv;
    vd_client *client; /* made by cli_connect, closed by cli_main */
};

/* vectorctl itself; returns the exit code. Writes to the two streams only. */
int cli_main(int argc, char **argv, FILE *out, FILE *err);

/* ---- args.c ---- */
/* Reads what follows the verb; false when it is wrong (reported). Options that all verbs have go into *c; *help is set by
 * --help. */
bool cli_parse(cli *c, const cli_verb *verb, int argc, char **argv, cli_args *args, bool *help);
/* The options all verbs have; ends with a NULL name. */
extern const cli_option cli_common_options[];
/* NULL when not given. */
const char *cli_value(const cli_args *args, const char *option);
/* Reads a whole number; leaves *out when the option is not given. false when it is not min..max (reported). */
bool cli_number(cli *c, const cli_args *args, const char *option, uint64_t min, uint64_t max, uint64_t *out);

/* ---- report.c ---- */
/* Prints "vectorctl: ..." (with --json one JSON line) and returns `code`. */
int cli_usage(cli *c, const cli_verb *verb, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Prints an error of the client or of a reader, with a hint where there is one; returns the exit code for it. */
int cli_report(cli *c, const vd_error *err);
/* The same for a call about the index `name`: "not found" says what was not found. */
int cli_report_index(cli *c, const char *name, const vd_error *err);
/* The same for a file: no hints about servers, and "no such file" is an error of its own. */
int cli_report_file(cli *c, const vd_error *err);
/* A line that helps, after an error; nothing with --json. */
void cli_hint(cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Connects to c->url; CLI_OK, or the exit code after reporting. */
int cli_connect(cli *c);
int cli_exit_code(vd_status status);

/* ---- text.c ---- */
/* Appends text for a terminal: control characters become U+FFFD, and it is cut to `width` columns (0: not), counting each
 * character as one. Returns the columns used. */
size_t cli_put_text(buffer *b, const char *text, size_t width);
/* "1,234,567" and "12.3 MiB". */
void cli_put_count(buffer *b, uint64_t count);
void cli_put_size(buffer *b, uint64_t size_bytes);
/* Writes and clears a buffer; false when the stream or memory failed. */
bool cli_flush(buffer *b, FILE *to);

/* Rows of cells. The first row is the header; columns marked in `right` (bit per column) are aligned to the right. */
typedef struct cli_table cli_table;
cli_table *cli_table_new(size_t columns, uint32_t right);
void cli_table_cell(cli_table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A cell of foreign text, made safe for a terminal and cut to `width` columns (0: not). */
void cli_table_text(cli_table *t, const char *text, size_t width);
/* Prints and frees. CLI_OK, CLI_IO or CLI_INTERNAL (no memory). */
int cli_table_print(cli *c, cli_table *t);
void cli_table_free(cli_table *t); /* NULL is fine */
/* Prints one JSON document and a newline, frees the buffer. */
int cli_print_json(cli *c, buffer *b);
/* The members of an index as JSON, without braces. */
void cli_put_index_json(buffer *b, const vd_client_index *index);

/* ---- the verbs ---- */
extern const cli_verb cli_index_create, cli_index_ls, cli_index_get, cli_index_rm, cli_load, cli_search, cli_health;

#endif
