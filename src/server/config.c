/*
 * config.c - vectord's settings: what the values mean together.
 *
 * Relies on config/settings.c for gathering them and on config_table.c for what exists. Leaves to main.c: acting on any of it.
 */
#include "server/config.h"

#include <stdio.h>
#include <string.h>

#include "config/address.h"
#include "store/object_key.h"
#include "vectord/limits.h"

#define TEXT_OF_(x) #x
#define TEXT_OF(x)  TEXT_OF_(x)

/* Tables of the object daemon, which may stand in the same file. */
static const char *const neighbours[] = {"storaged", NULL};
/* Of the tests and benchmarks, the engine's own VECTORD_CPU (hnsw/kernels/select.c), and VECTORD_LIBRARY of clients/python. */
static const char *const passed[] = {"VECTORD_BENCH_", "VECTORD_TEST_", "VECTORD_URL=",     "VECTORD_BIN=",
                                     "VECTORD_KEEP=",  "VECTORD_CPU=",  "VECTORD_LIBRARY=", NULL};

const config_schema *config_schema_get(void) {
    static config_schema schema = {
        .program = "vectord", .prefix = "VECTORD_", .neighbours = neighbours, .passed = passed};
    schema.rows = config_table(&schema.count);
    return &schema;
}

config_target config_target_of(const config *c) {
    config *values = (config *)(uintptr_t)c; /* a target for reading is never written through */
    return (config_target){config_schema_get(), values, values->origins, &values->arena};
}

void config_env_name(const config_setting *s, char out[96]) {
    config_name_env(config_schema_get(), s, out);
}

void config_flag_name(const config_setting *s, char out[96]) {
    config_name_flag(config_schema_get(), s, out);
}

void config_print(const config *c, buffer *out) {
    config_target t = config_target_of(c);
    config_put_toml(&t, out);
}

void config_print_help(buffer *out) {
    config_put_help(config_schema_get(), out);
}

void config_print_markdown(buffer *out) {
    config_put_markdown(config_schema_get(), out);
}

/* ---- what settings mean together ---- */

static void check_planned(const config_target *t, buffer *errors) {
    for (size_t i = 0; i < t->schema->count; i++) {
        const config_setting *s = &t->schema->rows[i];
        if (s->state != CONFIG_PLANNED) {
            continue;
        }
        const void *value = config_field(t, s);
        bool set =
            s->kind == CONFIG_LIST ? ((const config_list *)value)->count > 0 : (*(const char *const *)value)[0] != '\0';
        if (set) {
            config_report(t, value, errors, "is not built yet; remove it");
        }
    }
}

/* Two HTTP doors on one address would end in "address in use", which says less. */
static void check_doors(const config *c, const config_target *t, buffer *errors) {
    const config_list *lists[] = {&c->bind, &c->gateway_bind};
    for (size_t a = 0; a < c->bind.count + c->gateway_bind.count; a++) {
        for (size_t b = 0; b < a; b++) {
            const char *first = b < lists[0]->count ? lists[0]->items[b] : lists[1]->items[b - lists[0]->count];
            const char *second = a < lists[0]->count ? lists[0]->items[a] : lists[1]->items[a - lists[0]->count];
            size_t size = strlen(first);
            bool any_port = size > 2 && strcmp(first + size - 2, ":0") == 0;
            if (!any_port && strcmp(first, second) == 0) {
                buffer_printf(errors, "%s: the address %s is given twice for HTTP\n",
                              config_origin_of(t, a < lists[0]->count ? lists[0] : lists[1]), first);
            }
        }
    }
    if (c->bind.count + c->gateway_bind.count + c->rpc_bind.count == 0) {
        buffer_printf(errors, "[vectord] bind, [gateway] bind and [rpc] bind are all empty: no door is open\n");
    }
}

static void check_origins(const config *c, const config_target *t, buffer *errors) {
    for (size_t i = 0; i < c->cors_origins.count; i++) {
        const char *text = c->cors_origins.items[i];
        const char *host = strstr(text, "://");
        if (!host || host[3] == '\0' || strchr(host + 3, '/')) {
            buffer_printf(
                errors,
                "%s: [gateway] cors_origins: \"%.80s\" is no origin; write SCHEME://HOST or SCHEME://HOST:PORT\n",
                config_origin_of(t, &c->cors_origins), text);
        }
    }
}

/* What may be the store, one way or the other: no store, a folder, or an object store. */
static void check_store(config *c, const config_target *t, buffer *errors, buffer *warnings) {
    const char **given = c->store_url[0] ? &c->store_url : &c->storaged_url;
    if (c->store_url[0] && c->storaged_url[0] && strcmp(c->store_url, c->storaged_url) != 0) {
        config_report(t, &c->storaged_url, errors,
                      "differs from [store] url, of which it is an older name; keep one of them");
    }
    const char *url = *given;
    if (!url[0]) {
        if (c->store_prefix[0]) {
            config_report(t, &c->store_prefix, warnings, "means nothing without [store] url");
        }
        return;
    }
    const char *rest = strncmp(url, "http://", 7) == 0 ? url + 7 : "";
    size_t host = strcspn(rest, "/?#@");
    if (strncmp(url, "s3://", 5) == 0) {
        config_report(t, given, errors, "S3 is not built yet; write http://HOST:PORT of a storaged");
    } else if (strncmp(url, "https://", 8) == 0) {
        config_report(t, given, errors, "TLS is not built yet; write http://HOST:PORT of a storaged");
    } else if (host == 0 || host > 250 || (rest[host] && strcmp(rest + host, "/") != 0)) {
        config_report(t, given, errors,
                      "must look like http://127.0.0.1:3211, without a path (that is [store] prefix)");
    }
    vd_error err;
    if (c->store_prefix[0] && (strlen(c->store_prefix) > VD_STORE_PREFIX_MAX_BYTES ||
                               object_key_check(bytes_str(c->store_prefix), &err) != VD_OK)) {
        config_report(t, &c->store_prefix, errors,
                      "must be the beginning of a key: at most " TEXT_OF(
                          VD_STORE_PREFIX_MAX_BYTES) " bytes, no \"/\" in front, no \"..\"");
    }
    bool data_dir_given = strcmp(config_origin_of(t, &c->data_dir), "default") != 0;
    if (c->ephemeral) {
        config_report(t, given, errors, "a store is given, and so is ephemeral, which keeps nothing; keep one of them");
    } else if (data_dir_given && c->data_dir[0]) {
        config_report(t, given, errors,
                      "both a store and a data_dir: not yet supported; set data_dir = \"\", or remove the url");
    }
    c->data_dir = "";
    c->store_url = url;
}

vd_status config_load(config *c, const config_input *input, buffer *errors, buffer *warnings) {
    memset(c, 0, sizeof *c);
    arena_init(&c->arena, input->allocator, 0);
    config_target t = config_target_of(c);
    if (config_read(&t, input, errors, warnings) != VD_OK) {
        return VD_OUT_OF_MEMORY;
    }
    check_planned(&t, errors);
    config_check_binds(&t, &c->bind, address_parse_http, c->allow_insecure_bind, &c->exposed, errors);
    config_check_binds(&t, &c->gateway_bind, address_parse_http, c->allow_insecure_bind, &c->exposed, errors);
    config_check_binds(&t, &c->rpc_bind, address_parse_rpc, c->allow_insecure_bind, &c->exposed, errors);
    check_doors(c, &t, errors);
    check_origins(c, &t, errors);
    check_store(c, &t, errors, warnings);
    if (c->ephemeral) {
        c->data_dir = "";
    }
    if (errors->failed || warnings->failed) {
        return VD_OUT_OF_MEMORY;
    }
    return errors->size == 0 ? VD_OK : VD_INVALID_ARGUMENT;
}

void config_fini(config *c) {
    arena_fini(&c->arena);
}
