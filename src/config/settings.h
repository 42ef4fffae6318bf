/*
 * settings.h - the settings of a daemon: one table of rows drives the TOML file, the environment, the flags, `--help`,
 * `config print` and the table in the documentation. A setting that has no row does not exist. vectord's rows are
 * server/config_table.c, storaged's are storaged/options.c.
 *
 * Order, the later wins:  default < TOML file < environment < flags.
 * Names of a row {table "rpc", key "bind"} of vectord:  `[rpc] bind`, VECTORD_RPC_BIND (or VECTORD_RPC_BIND_FILE: read from
 * that file), `--rpc-bind`. The daemon's own table is left out of the short names: VECTORD_DATA_DIR, `--data-dir`.
 *
 * Threading: settings are filled by one thread and then only read.
 */
#ifndef VECTORD_CONFIG_SETTINGS_H
#define VECTORD_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "config/address.h"
#include "vectord/status.h"

typedef struct config_list {
    const char **items;
    size_t count;
} config_list;

typedef enum config_kind {
    CONFIG_STRING, /* const char *: never NULL */
    CONFIG_LIST,   /* config_list: an array of strings, or one string; commas separate in environment and flags */
    CONFIG_BOOL,   /* bool */
    CONFIG_COUNT,  /* uint64_t, min..max */
    CONFIG_BYTES,  /* uint64_t, min..max, with KiB, MiB, GiB, TiB */
    CONFIG_NUMBER, /* double, min..max */
    CONFIG_CHOICE  /* int: the place in `choices` */
} config_kind;

typedef enum config_state {
    CONFIG_LIVE,
    CONFIG_PLANNED /* known, not built yet: any value but the default is refused with a sentence that says so */
} config_state;

typedef struct config_setting {
    const char *table, *key;
    config_kind kind;
    config_state state;
    size_t offset;        /* into the daemon's struct of settings */
    const char *fallback; /* the default, as it would stand in the environment */
    double min, max;      /* COUNT, BYTES, NUMBER */
    const char *choices;  /* CHOICE: "auto,text,json" */
    const char *help;     /* one sentence */
} config_setting;

enum { CONFIG_SETTINGS_MAX = 64 };

/* What is fixed about a daemon's settings. */
typedef struct config_schema {
    const char *program;           /* "vectord": its name, and the table that is left out of names */
    const char *prefix;            /* "VECTORD_" */
    const char *const *neighbours; /* tables of other daemons that share the file, not looked at; NULL at the end */
    const char *const *passed;     /* beginnings of variables that are neither settings nor mistakes; NULL at the end */
    const config_setting *rows;
    size_t count;
} config_schema;

/* Where the values of one run go. */
typedef struct config_target {
    const config_schema *schema;
    void *values;         /* the daemon's struct */
    const char **origins; /* of each row: "default", "vectord.toml:3:1", "VECTORD_BIND", "--bind" */
    arena *arena;         /* of all strings */
} config_target;

typedef struct config_input {
    const char *file;         /* path of the TOML file; NULL: PREFIX_CONFIG of the environment, else none */
    const char *const *env;   /* "NAME=value", NULL at the end; NULL: none */
    const char *const *flags; /* "--name", "--name=value" or "--name", "value"; those without their program name */
    size_t flag_count;
    const vd_allocator *allocator; /* of the settings' own strings; NULL: the default */
} config_input;

/*
 * Fills the target from all sources. Each problem found is a line in `errors` or `warnings`, with its place:
 * "vectord.toml:3:1: [vectord] has no key `bnid`". Goes on after a problem, so that one run shows them all.
 * OK also with errors; OUT_OF_MEMORY when not even the defaults fit (a line in `errors` too): there is nothing to check then.
 */
vd_status config_read(const config_target *t, const config_input *input, buffer *errors, buffer *warnings);

/* ---- for what settings mean together ---- */
/* The row whose value this is, and where it came from. */
const config_setting *config_row_of(const config_target *t, const void *value);
const char *config_origin_of(const config_target *t, const void *value);
/* "ORIGIN: [table] key: why", into errors or warnings */
void config_report(const config_target *t, const void *value, buffer *out, const char *why);

typedef vd_status (*config_address_parser)(const char *text, address *out, vd_error *err);
/* Each address of a LIST is parsed and replaced by its normal form. One that other machines can reach sets *exposed, and is an
 * error unless it is allowed. */
void config_check_binds(const config_target *t, config_list *list, config_address_parser parse, bool allowed,
                        bool *exposed, buffer *errors);

/* ---- names and texts ---- */
/* "VECTORD_RPC_BIND" and "--rpc-bind" of a row. */
void config_name_env(const config_schema *schema, const config_setting *s, char out[96]);
void config_name_flag(const config_schema *schema, const config_setting *s, char out[96]);
/* The settings in force as TOML that can be read back, each with where it came from. */
void config_put_toml(const config_target *t, buffer *out);
/* What `--help` lists under "settings". */
void config_put_help(const config_schema *schema, buffer *out);
/* The table of the documentation. */
void config_put_markdown(const config_schema *schema, buffer *out);

/* ---- single values: settings_value.c ---- */
typedef struct config_problem {
    char text[512];
} config_problem;
/* Parses `text` as the row's kind and stores it; false with *why filled (and nothing stored) when it is none. */
bool config_set_text(const config_target *t, const config_setting *s, const char *text, config_problem *why);
bool config_set_list(const config_target *t, const config_setting *s, const char *const *texts, size_t count,
                     config_problem *why);
bool config_set_number(const config_target *t, const config_setting *s, double number, config_problem *why);
bool config_set_bool(const config_target *t, const config_setting *s, bool value, config_problem *why);

/* The value of a row, for reading. */
static inline const void *config_field(const config_target *t, const config_setting *s) {
    return (const char *)t->values + s->offset;
}

#endif
