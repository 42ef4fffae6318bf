/* settings_print.c - the settings for people: the values in force, the help text, the table of the documentation. */
#include <string.h>

#include "base/json.h"
#include "config/settings.h"

/* A TOML basic string. Values are UTF-8 without NUL (settings_value.c), so control characters are all there is to escape. */
static void put_toml_string(buffer *out, const char *text) {
    buffer_put_u8(out, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\') {
            buffer_put_u8(out, '\\');
            buffer_put_u8(out, *p);
        } else if (*p < 0x20 || *p == 0x7F) {
            buffer_printf(out, "\\u%04X", *p);
        } else {
            buffer_put_u8(out, *p);
        }
    }
    buffer_put_u8(out, '"');
}

static void put_choice(buffer *out, const char *choices, int place) {
    const char *at = choices;
    for (; place > 0; place--) {
        at = strchr(at, ',') + 1;
    }
    buffer_printf(out, "\"%.*s\"", (int)strcspn(at, ","), at);
}

static void put_list(buffer *out, const config_list *list) {
    buffer_put_u8(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        buffer_put_str(out, i ? ", " : "");
        put_toml_string(out, list->items[i]);
    }
    buffer_put_u8(out, ']');
}

static void put_value(buffer *out, const config_target *t, const config_setting *s) {
    const void *value = config_field(t, s);
    switch (s->kind) {
    case CONFIG_STRING:
        put_toml_string(out, *(const char *const *)value);
        break;
    case CONFIG_LIST:
        put_list(out, value);
        break;
    case CONFIG_BOOL:
        buffer_put_str(out, *(const bool *)value ? "true" : "false");
        break;
    case CONFIG_COUNT:
    case CONFIG_BYTES:
        buffer_printf(out, "%llu", (unsigned long long)*(const uint64_t *)value);
        break;
    case CONFIG_NUMBER:
        json_put_double(out, *(const double *)value);
        break;
    case CONFIG_CHOICE:
        put_choice(out, s->choices, *(const int *)value);
        break;
    }
}

static const char *state_note(config_state state) {
    return state == CONFIG_PLANNED ? " (not built yet)" : "";
}

void config_put_toml(const config_target *t, buffer *out) {
    const config_setting *all = t->schema->rows;
    const char *table = "";
    for (size_t i = 0; i < t->schema->count; i++) {
        if (strcmp(table, all[i].table) != 0) {
            table = all[i].table;
            buffer_printf(out, "%s[%s]\n", i ? "\n" : "", table);
        }
        buffer_printf(out, "%s = ", all[i].key);
        put_value(out, t, &all[i]);
        buffer_printf(out, " # %s%s\n", t->origins[i], state_note(all[i].state));
    }
}

static void put_range(buffer *out, const config_setting *s) {
    if (s->kind == CONFIG_COUNT || s->kind == CONFIG_BYTES || s->kind == CONFIG_NUMBER) {
        buffer_printf(out, "%.15g .. %.15g", s->min, s->max);
    } else if (s->kind == CONFIG_CHOICE) {
        buffer_put_str(out, s->choices);
    } else if (s->kind == CONFIG_BOOL) {
        buffer_put_str(out, "true, false");
    } else {
        buffer_put_str(out, s->kind == CONFIG_LIST ? "list" : "text");
    }
}

void config_put_help(const config_schema *schema, buffer *out) {
    const config_setting *all = schema->rows;
    for (size_t i = 0; i < schema->count; i++) {
        char flag[96];
        config_name_flag(schema, &all[i], flag);
        if (all[i].state == CONFIG_LIVE) {
            buffer_printf(out, "  %-24s %s", flag, all[i].help);
            buffer_printf(out, " [%s]\n", all[i].fallback[0] ? all[i].fallback : "\"\"");
        }
    }
}

void config_put_markdown(const config_schema *schema, buffer *out) {
    const config_setting *all = schema->rows;
    buffer_put_str(out, "| TOML | environment | flag | default | values | meaning |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < schema->count; i++) {
        char env[96], flag[96];
        config_name_env(schema, &all[i], env);
        config_name_flag(schema, &all[i], flag);
        buffer_printf(out, "| `[%s] %s` | `%s` | `%s` | `%s` | ", all[i].table, all[i].key, env, flag,
                      all[i].fallback[0] ? all[i].fallback : "\"\"");
        put_range(out, &all[i]);
        buffer_printf(out, " | %s%s |\n", all[i].help, state_note(all[i].state));
    }
}
