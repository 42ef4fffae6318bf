/*
 * config.c - gathers the settings from defaults, the TOML file, the environment and the flags, in that order, and checks
 * what they mean together.
 *
 * Relies on config_table.c for what exists, on config_value.c for single values, on address.c for what an address is.
 * Leaves to main.c: acting on any of it. Nothing here opens a socket or makes a folder, so `--check-config` is this file.
 *
 * A problem never stops the walk: each becomes a line with its place, so that one run shows all of them.
 */
#include "server/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/address.h"
#include "server/toml_reader.h"
#include "vectord/limits.h"

typedef struct loader {
    config *c;
    const char *file; /* as given, for messages */
    buffer *errors, *warnings;
    char foreign_table[96]; /* the last table that is not ours: one warning for all its keys */
} loader;

/* ---- names ---- */

static void upper_name(char *out, size_t size, const char *prefix, const char *table, const char *key) {
    snprintf(out, size, "%s%s%s%s", prefix, table, table[0] ? "_" : "", key);
    for (char *p = out; *p; p++) {
        if (*p >= 'a' && *p <= 'z') {
            *p = (char)(*p - 'a' + 'A');
        }
    }
}

static const char *short_table(const config_setting *s) {
    return strcmp(s->table, "vectord") == 0 ? "" : s->table;
}

void config_env_name(const config_setting *s, char out[96]) {
    upper_name(out, 96, "VECTORD_", short_table(s), s->key);
}

void config_flag_name(const config_setting *s, char out[96]) {
    const char *table = short_table(s);
    snprintf(out, 96, "--%s%s%s", table, table[0] ? "-" : "", s->key);
    for (char *p = out; *p; p++) {
        if (*p == '_') {
            *p = '-';
        }
    }
}

static const config_setting *find_setting(const char *table, const char *key, bool *table_known) {
    size_t count;
    const config_setting *all = config_table(&count);
    *table_known = false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(all[i].table, table) == 0) {
            *table_known = true;
            if (strcmp(all[i].key, key) == 0) {
                return &all[i];
            }
        }
    }
    return NULL;
}

static size_t place_of(const config_setting *s) {
    size_t count;
    return (size_t)(s - config_table(&count));
}

static void set_origin(loader *l, const config_setting *s, const char *origin) {
    const char *copy = arena_strndup(&l->c->arena, origin, strlen(origin));
    l->c->origins[place_of(s)] = copy ? copy : "?";
}

static void report(loader *l, const char *origin, const config_setting *s, const char *why) {
    buffer_printf(l->errors, "%s: [%s] %s: %s\n", origin, s->table, s->key, why);
}

/* ---- sources ---- */

static void take_text(loader *l, const config_setting *s, const char *text, const char *origin) {
    config_problem why;
    if (config_set_text(l->c, s, text, &why)) {
        set_origin(l, s, origin);
    } else {
        report(l, origin, s, why.text);
    }
}

static void take_defaults(loader *l) {
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        take_text(l, &all[i], all[i].fallback, "default");
    }
}

/* A small file as text with a NUL behind it, in the arena. NULL with a line in errors. */
static char *read_small_file(loader *l, const char *path, const char *origin, size_t *size) {
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        buffer_printf(l->errors, "%s: cannot open %s: %s\n", origin, path, strerror(errno));
        return NULL;
    }
    text = arena_alloc(&l->c->arena, VD_CONFIG_MAX_BYTES + 2);
    if (!text) {
        buffer_printf(l->errors, "%s: out of memory\n", origin);
    }
    *size = 0;
    while (text && *size <= VD_CONFIG_MAX_BYTES) {
        ssize_t got = read(fd, text + *size, VD_CONFIG_MAX_BYTES + 1 - *size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            buffer_printf(l->errors, "%s: cannot read %s: %s\n", origin, path, strerror(errno));
            text = NULL;
        }
        if (got <= 0) {
            break;
        }
        *size += (size_t)got;
    }
    close(fd);
    if (text && *size > VD_CONFIG_MAX_BYTES) {
        buffer_printf(l->errors, "%s: %s is larger than %u bytes\n", origin, path, VD_CONFIG_MAX_BYTES);
        return NULL;
    }
    if (text) {
        text[*size] = '\0';
    }
    return text;
}

static bool set_from_toml(loader *l, const config_setting *s, const toml_entry *e, config_problem *why) {
    switch (e->kind) {
    case TOML_STRING:
        if (s->kind == CONFIG_LIST) {
            return config_set_list(l->c, s, e->texts, 1, why);
        }
        if (s->kind == CONFIG_STRING || s->kind == CONFIG_CHOICE || s->kind == CONFIG_BYTES) {
            return config_set_text(l->c, s, e->texts[0], why);
        }
        break;
    case TOML_STRINGS:
        if (s->kind == CONFIG_LIST) {
            return config_set_list(l->c, s, e->texts, e->text_count, why);
        }
        break;
    case TOML_INTEGER:
        if (s->kind == CONFIG_COUNT || s->kind == CONFIG_BYTES || s->kind == CONFIG_NUMBER) {
            return config_set_number(l->c, s, (double)e->integer, why);
        }
        break;
    case TOML_NUMBER:
        if (s->kind == CONFIG_NUMBER) {
            return config_set_number(l->c, s, e->number, why);
        }
        break;
    case TOML_BOOL:
        if (s->kind == CONFIG_BOOL) {
            return config_set_bool(l->c, s, e->boolean, why);
        }
        break;
    case TOML_OTHER:
        break;
    }
    static const char *const wanted[] = {"a string",
                                         "a string or an array of strings",
                                         "true or false",
                                         "a whole number",
                                         "a number of bytes or a string like \"16MiB\"",
                                         "a number",
                                         "a string"};
    snprintf(why->text, sizeof why->text, "must be %s, not %s", wanted[s->kind], e->type_name);
    return false;
}

static vd_status take_toml_entry(void *arg, const toml_entry *e) {
    loader *l = arg;
    char origin[256];
    snprintf(origin, sizeof origin, "%.200s:%u:%u", l->file, e->line, e->column);
    bool table_known;
    const config_setting *s = find_setting(e->table, e->key, &table_known);
    config_problem why;
    if (s) {
        if (set_from_toml(l, s, e, &why)) {
            set_origin(l, s, origin);
        } else {
            report(l, origin, s, why.text);
        }
    } else if (e->table[0] == '\0') {
        buffer_printf(l->warnings, "%s: `%.80s` stands outside any table and is ignored\n", origin, e->key);
    } else if (!table_known) {
        char table[sizeof l->foreign_table];
        snprintf(table, sizeof table, "%s", e->table);
        if (strcmp(table, l->foreign_table) != 0) {
            buffer_printf(l->warnings, "%s: the table [%.80s] is not ours and is ignored\n", origin, e->table);
            memcpy(l->foreign_table, table, sizeof table);
        }
    } else if (e->key[0] != '\0') {
        buffer_printf(l->errors, "%s: [%s] has no key `%.80s`\n", origin, e->table, e->key);
    }
    return VD_OK;
}

static void take_file(loader *l, const char *path) {
    size_t size;
    char *text = read_small_file(l, path, "--config", &size);
    if (!text) {
        return;
    }
    l->file = path;
    vd_error err = {0};
    if (toml_read(text, size, take_toml_entry, l, &err) != VD_OK) {
        buffer_printf(l->errors, "%s:%s\n", path, err.text);
    }
}

static const char *env_find(const char *const *env, const char *name) {
    size_t size = strlen(name);
    for (; env && *env; env++) {
        if (strncmp(*env, name, size) == 0 && (*env)[size] == '=') {
            return *env + size + 1;
        }
    }
    return NULL;
}

/* The value of NAME, or of the file that NAME_FILE points to (without its last line break). NULL: neither. */
static const char *env_value(loader *l, const char *const *env, const char *name, char origin[128]) {
    const char *value = env_find(env, name);
    char file_name[112];
    snprintf(file_name, sizeof file_name, "%s_FILE", name);
    const char *path = env_find(env, file_name);
    if (value && path) {
        buffer_printf(l->errors, "%s: set together with %s; keep one of them\n", name, file_name);
        return NULL;
    }
    snprintf(origin, 128, "%s", value ? name : file_name);
    if (value || !path) {
        return value;
    }
    size_t size;
    char *text = read_small_file(l, path, file_name, &size);
    if (text && strlen(text) != size) {
        buffer_printf(l->errors, "%s: %s holds a NUL byte\n", file_name, path);
        return NULL;
    }
    if (text && size > 0 && text[size - 1] == '\n') {
        text[--size] = '\0';
    }
    if (text && size > 0 && text[size - 1] == '\r') {
        text[--size] = '\0';
    }
    return text;
}

static void take_env(loader *l, const char *const *env) {
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        char name[96], long_name[96], origin[128], long_origin[128];
        config_env_name(&all[i], name);
        upper_name(long_name, sizeof long_name, "VECTORD_", all[i].table, all[i].key);
        const char *value = env_value(l, env, name, origin);
        if (strcmp(name, long_name) != 0) { /* VECTORD_VECTORD_DATA_DIR: the rule without its exception works too */
            const char *other = env_value(l, env, long_name, long_origin);
            if (value && other) {
                buffer_printf(l->errors, "%s: set together with %s; keep one of them\n", origin, long_origin);
                continue;
            }
            if (other) {
                value = other;
                memcpy(origin, long_origin, sizeof origin);
            }
        }
        if (value) {
            take_text(l, &all[i], value, origin);
        }
    }
}

/* NAME or NAME_FILE of some row, in its short or long form. */
static bool env_known(const char *name, size_t size) {
    static const char *const others[] = {"VECTORD_CONFIG"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strlen(others[i]) == size && memcmp(others[i], name, size) == 0) {
            return true;
        }
    }
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        char names[4][112];
        config_env_name(&all[i], names[0]);
        upper_name(names[1], 96, "VECTORD_", all[i].table, all[i].key);
        for (int n = 0; n < 2; n++) {
            snprintf(names[n + 2], sizeof names[n + 2], "%.100s_FILE", names[n]);
        }
        for (int n = 0; n < 4; n++) {
            if (strlen(names[n]) == size && memcmp(names[n], name, size) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A misspelt variable must not pass in silence. Variables that an orchestrator makes up for a service called "vectord",
 * those of the tests and benchmarks, the engine's own VECTORD_CPU (hnsw/kernels/select.c), and VECTORD_LIBRARY of clients/python, are not settings. */
static void warn_unknown_env(loader *l, const char *const *env) {
    static const char *const passed[] = {
        "VECTORD_SERVICE_", "VECTORD_PORT=", "VECTORD_PORT_", "VECTORD_BENCH_", "VECTORD_TEST_",
        "VECTORD_URL=",     "VECTORD_BIN=",  "VECTORD_KEEP=", "VECTORD_CPU=",   "VECTORD_LIBRARY="};
    for (; env && *env; env++) {
        const char *equals = strchr(*env, '=');
        if (strncmp(*env, "VECTORD_", 8) != 0 || !equals || env_known(*env, (size_t)(equals - *env))) {
            continue;
        }
        bool ours = true;
        for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++) {
            ours = ours && strncmp(*env, passed[i], strlen(passed[i])) != 0;
        }
        if (ours) {
            buffer_printf(l->warnings, "%.*s: no such setting, ignored\n",
                          (int)(equals - *env > 80 ? 80 : equals - *env), *env);
        }
    }
}

static void take_flags(loader *l, const char *const *flags, size_t flag_count) {
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t at = 0; at < flag_count; at++) {
        const char *flag = flags[at];
        const char *equals = strchr(flag, '=');
        size_t size = equals ? (size_t)(equals - flag) : strlen(flag);
        const config_setting *s = NULL;
        char name[96];
        for (size_t i = 0; i < count && !s; i++) {
            config_flag_name(&all[i], name);
            if (strlen(name) == size && memcmp(name, flag, size) == 0) {
                s = &all[i];
            }
        }
        if (!s) {
            buffer_printf(l->errors, "%.*s: no such flag; see vectord --help\n", (int)(size > 80 ? 80 : size), flag);
        } else if (equals) {
            take_text(l, s, equals + 1, name);
        } else if (s->kind == CONFIG_BOOL) {
            take_text(l, s, "true", name);
        } else if (at + 1 < flag_count) {
            take_text(l, s, flags[++at], name);
        } else {
            buffer_printf(l->errors, "%s: needs a value\n", name);
        }
    }
}

/* ---- what settings mean together ---- */

static const char *origin_of(loader *l, const void *value) {
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (config_value(l->c, &all[i]) == value) {
            return l->c->origins[i];
        }
    }
    return "?";
}

static void check_planned(loader *l) {
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].state != CONFIG_PLANNED) {
            continue;
        }
        const void *value = config_value(l->c, &all[i]);
        bool set = all[i].kind == CONFIG_LIST ? ((const config_list *)value)->count > 0
                                              : (*(const char *const *)value)[0] != '\0';
        if (set) {
            report(l, l->c->origins[i], &all[i],
                   strcmp(all[i].table, "store") == 0 || strcmp(all[i].key, "storaged_url") == 0
                       ? "object stores are not built yet, and nothing is kept elsewhere in silence; remove it and set "
                         "[vectord] data_dir"
                       : "is not built yet; remove it");
        }
    }
}

typedef vd_status (*address_parser)(const char *text, address *out, vd_error *err);

static void check_binds(loader *l, config_list *list, const char *label, address_parser parse) {
    const char *origin = origin_of(l, list);
    for (size_t i = 0; i < list->count; i++) {
        address a;
        vd_error err = {0};
        if (parse(list->items[i], &a, &err) != VD_OK) {
            buffer_printf(l->errors, "%s: %s: %s\n", origin, label, err.text);
            continue;
        }
        if (!a.loopback) {
            l->c->exposed = true;
            if (!l->c->allow_insecure_bind) {
                buffer_printf(l->errors,
                              "%s: %s: %s can be reached from other machines, and there is no authentication yet; bind "
                              "to 127.0.0.1, or allow it with --allow-insecure-bind (VECTORD_ALLOW_INSECURE_BIND=1)\n",
                              origin, label, a.text);
            }
        }
        const char *copy = arena_strndup(&l->c->arena, a.text, strlen(a.text));
        if (copy) {
            list->items[i] = copy;
        }
    }
}

/* Two HTTP doors on one address would end in "address in use", which says less. */
static void check_doors(loader *l) {
    config *c = l->c;
    const config_list *lists[] = {&c->bind, &c->gateway_bind};
    for (size_t a = 0; a < c->bind.count + c->gateway_bind.count; a++) {
        for (size_t b = 0; b < a; b++) {
            const char *first = b < lists[0]->count ? lists[0]->items[b] : lists[1]->items[b - lists[0]->count];
            const char *second = a < lists[0]->count ? lists[0]->items[a] : lists[1]->items[a - lists[0]->count];
            size_t size = strlen(first);
            bool any_port = size > 2 && strcmp(first + size - 2, ":0") == 0;
            if (!any_port && strcmp(first, second) == 0) {
                buffer_printf(l->errors, "%s: the address %s is given twice for HTTP\n",
                              origin_of(l, a < lists[0]->count ? lists[0] : lists[1]), first);
            }
        }
    }
    if (c->bind.count + c->gateway_bind.count + c->rpc_bind.count == 0) {
        buffer_printf(l->errors, "[vectord] bind, [gateway] bind and [rpc] bind are all empty: no door is open\n");
    }
}

static void check_origins(loader *l) {
    for (size_t i = 0; i < l->c->cors_origins.count; i++) {
        const char *text = l->c->cors_origins.items[i];
        const char *host = strstr(text, "://");
        if (!host || host[3] == '\0' || strchr(host + 3, '/')) {
            buffer_printf(
                l->errors,
                "%s: [gateway] cors_origins: \"%.80s\" is no origin; write SCHEME://HOST or SCHEME://HOST:PORT\n",
                origin_of(l, &l->c->cors_origins), text);
        }
    }
}

vd_status config_load(config *c, const config_input *input, buffer *errors, buffer *warnings) {
    memset(c, 0, sizeof *c);
    arena_init(&c->arena, input->allocator, 0);
    loader l = {.c = c, .file = "", .errors = errors, .warnings = warnings};
    take_defaults(&l);
    if (errors->size > 0 || errors->failed) {
        return VD_OUT_OF_MEMORY; /* defaults fail for no other reason; without them there is nothing to check */
    }
    const char *file = input->file ? input->file : env_find(input->env, "VECTORD_CONFIG");
    if (file && file[0]) {
        take_file(&l, file);
    }
    take_env(&l, input->env);
    take_flags(&l, input->flags, input->flag_count);
    warn_unknown_env(&l, input->env);

    check_planned(&l);
    check_binds(&l, &c->bind, "[vectord] bind", address_parse_http);
    check_binds(&l, &c->gateway_bind, "[gateway] bind", address_parse_http);
    check_binds(&l, &c->rpc_bind, "[rpc] bind", address_parse_rpc);
    check_doors(&l);
    check_origins(&l);
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
