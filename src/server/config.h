/*
 * config.h - the settings of vectord: one table of rows (config_table.c) drives the TOML file, the environment, the flags,
 * `--help`, `vectord config print` and the table in docs/config.md. A setting that has no row does not exist.
 *
 * Order, the later wins:  default < TOML file < environment < flags.
 * Names of a row {table "rpc", key "bind"}:  `[rpc] bind`, VECTORD_RPC_BIND (or VECTORD_RPC_BIND_FILE: read from that file),
 * `--rpc-bind`. The table "vectord" is left out of the short names: VECTORD_DATA_DIR, `--data-dir`.
 *
 * Threading: a config is filled by one thread and then only read.
 */
#ifndef VECTORD_SERVER_CONFIG_H
#define VECTORD_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/log.h"
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
    CONFIG_PLANNED, /* known, not built yet: any value but the default is refused with a sentence that says so */
    CONFIG_FOREIGN  /* belongs to another daemon that reads the same file: checked, otherwise left alone */
} config_state;

typedef struct config_setting {
    const char *table, *key;
    config_kind kind;
    config_state state;
    size_t offset;        /* into struct config */
    const char *fallback; /* the default, as it would stand in the environment */
    double min, max;      /* COUNT, BYTES, NUMBER */
    const char *choices;  /* CHOICE: "auto,text,json" */
    const char *help;     /* one sentence */
} config_setting;

/* The table; *count rows, order stable. */
const config_setting *config_table(size_t *count);
enum { CONFIG_SETTINGS_MAX = 64 };

typedef struct config {
    /* [vectord] */
    config_list bind;
    const char *data_dir; /* "": nothing is kept */
    bool ephemeral;
    bool allow_insecure_bind;
    const char *port_file; /* "": none */
    uint64_t threads, workers, queue, drain_ms;
    const char *storaged_url;
    /* [gateway] */
    config_list gateway_bind, cors_origins;
    uint64_t gateway_threads;
    /* [rpc] */
    config_list rpc_bind;
    uint64_t rpc_contexts;
    /* [snapshot] */
    uint64_t snapshot_min_bytes, snapshot_idle_ms;
    double snapshot_factor;
    /* [log] */
    int log_format, log_level; /* enum log_format, enum log_level */
    /* planned, and other daemons' */
    const char *store_url;
    config_list grpc_bind;
    const char *tls_cert_file, *tls_key_file, *tls_client_ca_file;
    const char *storaged_bind, *storaged_dir;

    /* derived */
    bool exposed; /* some address is reachable from other machines (only with allow_insecure_bind) */

    /* where each row's value came from: "default", "vectord.toml:3:1", "VECTORD_BIND", "--bind" */
    const char *origins[CONFIG_SETTINGS_MAX];
    arena arena; /* of all strings */
} config;

typedef struct config_input {
    const char *file;         /* path of the TOML file; NULL: VECTORD_CONFIG of the environment, else none */
    const char *const *env;   /* "NAME=value", NULL at the end; NULL: none */
    const char *const *flags; /* "--name", "--name=value" or "--name", "value"; those without their program name */
    size_t flag_count;
    const vd_allocator *allocator; /* of the settings' own strings; NULL: the default */
} config_input;

/*
 * Fills *c (owned: config_fini in every case, also when this failed). Each problem found is a line in `errors` or `warnings`, with its place:
 * "vectord.toml:3:1: [vectord] has no key `bnid`". Goes on after a problem, so that one run shows them all.
 * OK when there are no errors; INVALID_ARGUMENT; OUT_OF_MEMORY when not even the defaults fit (a line in `errors` too).
 */
vd_status config_load(config *c, const config_input *input, buffer *errors, buffer *warnings);
void config_fini(config *c);

/* "VECTORD_RPC_BIND" and "--rpc-bind" of a row into out[96]. */
void config_env_name(const config_setting *s, char out[96]);
void config_flag_name(const config_setting *s, char out[96]);

/* The settings in force as TOML that can be read back, each with where it came from. */
void config_print(const config *c, buffer *out);
/* What `vectord --help` lists under "settings". */
void config_print_help(buffer *out);
/* The table of docs/config.md. */
void config_print_markdown(buffer *out);

/* ---- shared by config.c and config_value.c ---- */
typedef struct config_problem {
    char text[512];
} config_problem;
/* Parses `text` as the row's kind and stores it; false with *why filled (and nothing stored) when it is none. */
bool config_set_text(config *c, const config_setting *s, const char *text, config_problem *why);
bool config_set_list(config *c, const config_setting *s, const char *const *texts, size_t count, config_problem *why);
bool config_set_number(config *c, const config_setting *s, double number, config_problem *why);
bool config_set_bool(config *c, const config_setting *s, bool value, config_problem *why);

/* The value of a row, for reading. */
static inline const void *config_value(const config *c, const config_setting *s) {
    return (const char *)c + s->offset;
}

#endif
