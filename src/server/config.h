/*
 * config.h - the settings of vectord. Their rows are config_table.c; what a row is, and where values come from, is
 * config/settings.h.
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
#include "config/settings.h"
#include "vectord/status.h"

/* The table; *count rows, order stable. */
const config_setting *config_table(size_t *count);

typedef struct config {
    /* [vectord] */
    config_list bind;
    const char *data_dir; /* "": nothing is kept */
    bool ephemeral;
    bool allow_insecure_bind;
    const char *port_file; /* "": none */
    uint64_t threads, workers, queue, drain_ms;
    const char *storaged_url; /* an older name of store_url */
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
    /* [store] */
    const char *store_url; /* "": none */
    const char *store_prefix;
    /* planned */
    config_list grpc_bind;
    const char *tls_cert_file, *tls_key_file, *tls_client_ca_file;

    /* derived */
    bool exposed; /* some address is reachable from other machines (only with allow_insecure_bind) */

    /* where each row's value came from: "default", "vectord.toml:3:1", "VECTORD_BIND", "--bind" */
    const char *origins[CONFIG_SETTINGS_MAX];
    arena arena; /* of all strings */
} config;

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

/* vectord's rows and names; and a config as the reader of config/settings.h sees it. */
const config_schema *config_schema_get(void);
config_target config_target_of(const config *c);

/* The value of a row, for reading. */
static inline const void *config_value(const config *c, const config_setting *s) {
    return (const char *)c + s->offset;
}

#endif
