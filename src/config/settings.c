/*
 * settings.c - gathers the settings of a daemon from defaults, the TOML file, the environment and the flags, in that order.
 *
 * Relies on the daemon's table for what exists, on settings_value.c for single values, on address.c for what an address is.
 * Leaves to the daemon what values mean together, and acting on any of it. Nothing here opens a socket or makes a folder, so
 * `--check-config` is this file.
 *
 * A problem never stops the walk: each becomes a line with its place, so that one run shows all of them.
 */
#include "config/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/toml_reader.h"
#include "vectord/limits.h"

typedef struct loader {
    const config_target *target;
    const config_schema *schema;
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

static const char *short_table(const config_schema *schema, const config_setting *s) {
    return strcmp(s->table, schema->program) == 0 ? "" : s->table;
}

void config_name_env(const config_schema *schema, const config_setting *s, char out[96]) {
    upper_name(out, 96, schema->prefix, short_table(schema, s), s->key);
}

void config_name_flag(const config_schema *schema, const config_setting *s, char out[96]) {
    const char *table = short_table(schema, s);
    snprintf(out, 96, "--%s%s%s", table, table[0] ? "-" : "", s->key);
    for (char *p = out; *p; p++) {
        if (*p == '_') {
            *p = '-';
        }
    }
}

static const config_setting *find_setting(const config_schema *schema, const char *table, const char *key,
                                          bool *table_known) {
    *table_known = false;
    for (size_t i = 0; i < schema->count; i++) {
        if (strcmp(schema->rows[i].table, table) == 0) {
            *table_known = true;
            if (strcmp(schema->rows[i].key, key) == 0) {
                return &schema->rows[i];
            }
        }
    }
    return NULL;
}

static bool listed(const char *const *list, const char *text) {
    for (; list && *list; list++) {
        if (strcmp(*list, text) == 0) {
            return true;
        }
    }
    return false;
}

const config_setting *config_row_of(const config_target *t, const void *value) {
    for (size_t i = 0; i < t->schema->count; i++) {
        if (config_field(t, &t->schema->rows[i]) == value) {
            return &t->schema->rows[i];
        }
    }
    return NULL;
}

const char *config_origin_of(const config_target *t, const void *value) {
    const config_setting *s = config_row_of(t, value);
    return s ? t->origins[s - t->schema->rows] : "?";
}

static void report(buffer *errors, const char *origin, const config_setting *s, const char *why) {
    buffer_printf(errors, "%s: [%s] %s: %s\n", origin, s->table, s->key, why);
}

void config_report(const config_target *t, const void *value, buffer *out, const char *why) {
    report(out, config_origin_of(t, value), config_row_of(t, value), why);
}

static void set_origin(loader *l, const config_setting *s, const char *origin) {
    const char *copy = arena_strndup(l->target->arena, origin, strlen(origin));
    l->target->origins[s - l->schema->rows] = copy ? copy : "?";
}

/* ---- sources ---- */

static void take_text(loader *l, const config_setting *s, const char *text, const char *origin) {
    config_problem why;
    if (config_set_text(l->target, s, text, &why)) {
        set_origin(l, s, origin);
    } else {
        report(l->errors, origin, s, why.text);
    }
}

static void take_defaults(loader *l) {
    for (size_t i = 0; i < l->schema->count; i++) {
        take_text(l, &l->schema->rows[i], l->schema->rows[i].fallback, "default");
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
    text = arena_alloc(l->target->arena, VD_CONFIG_MAX_BYTES + 2);
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
            return config_set_list(l->target, s, e->texts, 1, why);
        }
        if (s->kind == CONFIG_STRING || s->kind == CONFIG_CHOICE || s->kind == CONFIG_BYTES) {
            return config_set_text(l->target, s, e->texts[0], why);
        }
        break;
    case TOML_STRINGS:
        if (s->kind == CONFIG_LIST) {
            return config_set_list(l->target, s, e->texts, e->text_count, why);
        }
        break;
    case TOML_INTEGER:
        if (s->kind == CONFIG_COUNT || s->kind == CONFIG_BYTES || s->kind == CONFIG_NUMBER) {
            return config_set_number(l->target, s, (double)e->integer, why);
        }
        break;
    case TOML_NUMBER:
        if (s->kind == CONFIG_NUMBER) {
            return config_set_number(l->target, s, e->number, why);
        }
        break;
    case TOML_BOOL:
        if (s->kind == CONFIG_BOOL) {
            return config_set_bool(l->target, s, e->boolean, why);
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
    const config_setting *s = find_setting(l->schema, e->table, e->key, &table_known);
    config_problem why;
    if (s) {
        if (set_from_toml(l, s, e, &why)) {
            set_origin(l, s, origin);
        } else {
            report(l->errors, origin, s, why.text);
        }
    } else if (e->table[0] == '\0') {
        buffer_printf(l->warnings, "%s: `%.80s` stands outside any table and is ignored\n", origin, e->key);
    } else if (!table_known && !listed(l->schema->neighbours, e->table)) {
        char table[sizeof l->foreign_table];
        snprintf(table, sizeof table, "%s", e->table);
        if (strcmp(table, l->foreign_table) != 0) {
            buffer_printf(l->warnings, "%s: the table [%.80s] is not ours and is ignored\n", origin, e->table);
            memcpy(l->foreign_table, table, sizeof table);
        }
    } else if (table_known && e->key[0] != '\0') {
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
    size_t count = l->schema->count;
    const config_setting *all = l->schema->rows;
    for (size_t i = 0; i < count; i++) {
        char name[96], long_name[96], origin[128], long_origin[128];
        config_name_env(l->schema, &all[i], name);
        upper_name(long_name, sizeof long_name, l->schema->prefix, all[i].table, all[i].key);
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

/* NAME or NAME_FILE of some row, in its short or long form, or PREFIX_CONFIG. */
static bool env_known(const config_schema *schema, const char *name, size_t size) {
    char names[4][112];
    snprintf(names[0], sizeof names[0], "%sCONFIG", schema->prefix);
    if (strlen(names[0]) == size && memcmp(names[0], name, size) == 0) {
        return true;
    }
    for (size_t i = 0; i < schema->count; i++) {
        config_name_env(schema, &schema->rows[i], names[0]);
        upper_name(names[1], 96, schema->prefix, schema->rows[i].table, schema->rows[i].key);
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

/* A misspelt variable must not pass in silence. Variables that an orchestrator makes up for a service of the daemon's name are not
 * meant: PREFIX_SERVICE_HOST, PREFIX_PORT and their like. */
static bool made_by_others(const config_schema *schema, const char *variable) {
    static const char *const orchestrators[] = {"SERVICE_", "PORT=", "PORT_"};
    const char *rest = variable + strlen(schema->prefix);
    for (size_t i = 0; i < sizeof orchestrators / sizeof orchestrators[0]; i++) {
        if (strncmp(rest, orchestrators[i], strlen(orchestrators[i])) == 0) {
            return true;
        }
    }
    for (const char *const *p = schema->passed; p && *p; p++) {
        if (strncmp(variable, *p, strlen(*p)) == 0) {
            return true;
        }
    }
    return false;
}

static void warn_unknown_env(loader *l, const char *const *env) {
    size_t prefix = strlen(l->schema->prefix);
    for (; env && *env; env++) {
        const char *equals = strchr(*env, '=');
        if (strncmp(*env, l->schema->prefix, prefix) == 0 && equals &&
            !env_known(l->schema, *env, (size_t)(equals - *env)) && !made_by_others(l->schema, *env)) {
            buffer_printf(l->warnings, "%.*s: no such setting, ignored\n",
                          (int)(equals - *env > 80 ? 80 : equals - *env), *env);
        }
    }
}

static void take_flags(loader *l, const char *const *flags, size_t flag_count) {
    size_t count = l->schema->count;
    const config_setting *all = l->schema->rows;
    for (size_t at = 0; at < flag_count; at++) {
        const char *flag = flags[at];
        const char *equals = strchr(flag, '=');
        size_t size = equals ? (size_t)(equals - flag) : strlen(flag);
        const config_setting *s = NULL;
        char name[96];
        for (size_t i = 0; i < count && !s; i++) {
            config_name_flag(l->schema, &all[i], name);
            if (strlen(name) == size && memcmp(name, flag, size) == 0) {
                s = &all[i];
            }
        }
        if (!s) {
            buffer_printf(l->errors, "%.*s: no such flag; see %s --help\n", (int)(size > 80 ? 80 : size), flag,
                          l->schema->program);
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

vd_status config_read(const config_target *t, const config_input *input, buffer *errors, buffer *warnings) {
    loader l = {.target = t, .schema = t->schema, .file = "", .errors = errors, .warnings = warnings};
    take_defaults(&l);
    if (errors->size > 0 || errors->failed) {
        return VD_OUT_OF_MEMORY; /* defaults fail for no other reason; without them there is nothing to check */
    }
    char variable[64];
    snprintf(variable, sizeof variable, "%sCONFIG", t->schema->prefix);
    const char *file = input->file ? input->file : env_find(input->env, variable);
    if (file && file[0]) {
        take_file(&l, file);
    }
    take_env(&l, input->env);
    take_flags(&l, input->flags, input->flag_count);
    warn_unknown_env(&l, input->env);
    return VD_OK;
}

void config_check_binds(const config_target *t, config_list *list, config_address_parser parse, bool allowed,
                        bool *exposed, buffer *errors) {
    for (size_t i = 0; i < list->count; i++) {
        address a;
        vd_error err = {0};
        if (parse(list->items[i], &a, &err) != VD_OK) {
            config_report(t, list, errors, err.text);
            continue;
        }
        if (!a.loopback) {
            *exposed = true;
            if (!allowed) {
                char why[480];
                snprintf(
                    why, sizeof why,
                    "%s can be reached from other machines, and there is no authentication yet; bind to 127.0.0.1, "
                    "or allow it with --allow-insecure-bind (%sALLOW_INSECURE_BIND=1)",
                    a.text, t->schema->prefix);
                config_report(t, list, errors, why);
            }
        }
        const char *copy = arena_strndup(t->arena, a.text, strlen(a.text));
        if (copy) {
            list->items[i] = copy;
        }
    }
}
