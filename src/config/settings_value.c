/*
 * settings_value.c - one value of one setting: from text (environment, flags, defaults), from a list, a number or a boolean
 * (TOML), into its field. Checks kind and range; what values mean together is each daemon's affair.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/settings.h"
#include "vectord/limits.h"

static bool refuse(config_problem *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(config_problem *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    return false;
}

static bool out_of_memory(config_problem *why) {
    return refuse(why, "out of memory");
}

static void *field(const config_target *t, const config_setting *s) {
    return (char *)t->values + s->offset;
}

static bool store_string(const config_target *t, const config_setting *s, const char *text, config_problem *why) {
    char *copy = arena_strndup(t->arena, text, strlen(text));
    if (!copy) {
        return out_of_memory(why);
    }
    *(const char **)field(t, s) = copy;
    return true;
}

bool config_set_list(const config_target *t, const config_setting *s, const char *const *texts, size_t count,
                     config_problem *why) {
    if (s->kind != CONFIG_LIST) {
        return refuse(why, "takes one value, not a list");
    }
    if (count > VD_BINDS_MAX) {
        return refuse(why, "takes at most %d values, got %zu", VD_BINDS_MAX, count);
    }
    config_list list = {arena_calloc(t->arena, count + 1, sizeof *list.items), 0};
    if (!list.items) {
        return out_of_memory(why);
    }
    for (size_t i = 0; i < count; i++) {
        if (texts[i][0] == '\0') {
            if (count == 1) {
                break; /* `bind = ""` means closed */
            }
            return refuse(why, "value %zu of the list is empty", i + 1);
        }
        list.items[list.count] = arena_strndup(t->arena, texts[i], strlen(texts[i]));
        if (!list.items[list.count++]) {
            return out_of_memory(why);
        }
    }
    *(config_list *)field(t, s) = list;
    return true;
}

/* "a, b" -> two values, without the spaces around them. */
static bool set_list_text(const config_target *t, const config_setting *s, const char *text, config_problem *why) {
    const char *parts[VD_BINDS_MAX + 1];
    size_t count = 0;
    char *copy = arena_strndup(t->arena, text, strlen(text));
    if (!copy) {
        return out_of_memory(why);
    }
    for (char *at = copy; at; count++) {
        char *comma = strchr(at, ',');
        if (comma) {
            *comma = '\0';
        }
        at += strspn(at, " \t");
        size_t size = strlen(at);
        while (size > 0 && (at[size - 1] == ' ' || at[size - 1] == '\t')) {
            at[--size] = '\0';
        }
        if (count > VD_BINDS_MAX) {
            return refuse(why, "takes at most %d values", VD_BINDS_MAX);
        }
        parts[count] = at;
        at = comma ? comma + 1 : NULL;
    }
    return config_set_list(t, s, parts, count, why);
}

bool config_set_number(const config_target *t, const config_setting *s, double number, config_problem *why) {
    bool whole = s->kind == CONFIG_COUNT || s->kind == CONFIG_BYTES;
    if (!whole && s->kind != CONFIG_NUMBER) {
        return refuse(why, "takes no number");
    }
    if (whole && number != floor(number)) {
        return refuse(why, "must be a whole number, got %g", number);
    }
    /* Written so that NaN is refused too. All whole maxima lie below 2^53, where a double is exact. */
    if (!(number >= s->min && number <= s->max)) {
        return refuse(why, "must be from %.15g to %.15g, got %.15g", s->min, s->max, number);
    }
    if (whole) {
        *(uint64_t *)field(t, s) = (uint64_t)number;
    } else {
        *(double *)field(t, s) = number;
    }
    return true;
}

bool config_set_bool(const config_target *t, const config_setting *s, bool value, config_problem *why) {
    if (s->kind != CONFIG_BOOL) {
        return refuse(why, "takes no boolean");
    }
    *(bool *)field(t, s) = value;
    return true;
}

static bool set_bool_text(const config_target *t, const config_setting *s, const char *text, config_problem *why) {
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcmp(text, yes[i]) == 0) {
            return config_set_bool(t, s, true, why);
        }
        if (strcmp(text, no[i]) == 0) {
            return config_set_bool(t, s, false, why);
        }
    }
    return refuse(why, "must be true or false, got \"%.40s\"", text);
}

/* Only plain decimal: strtod alone would take hexadecimal, "inf" and leading space. */
static bool set_number_text(const config_target *t, const config_setting *s, const char *text, config_problem *why) {
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
    size_t plain = strspn(text, s->kind == CONFIG_NUMBER ? "0123456789." : "0123456789");
    char *end = NULL;
    double number = plain > 0 ? strtod(text, &end) : 0;
    if (plain == 0 || plain > 40 || end != text + plain) {
        return refuse(why, "must be a number, got \"%.40s\"", text);
    }
    end += strspn(end, " ");
    bool known = *end == '\0';
    for (size_t i = 0; i < sizeof units / sizeof units[0] && s->kind == CONFIG_BYTES && !known; i++) {
        if (strcmp(end, units[i].name) == 0) {
            number *= units[i].factor;
            known = true;
        }
    }
    if (!known) {
        return refuse(why,
                      s->kind == CONFIG_BYTES ? "must be a number with KiB, MiB, GiB, TiB or nothing, got \"%.40s\""
                                              : "must be a number, got \"%.40s\"",
                      text);
    }
    return config_set_number(t, s, number, why);
}

static bool set_choice_text(const config_target *t, const config_setting *s, const char *text, config_problem *why) {
    int place = 0;
    size_t size = strlen(text);
    for (const char *at = s->choices; at; place++) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        if (length == size && memcmp(at, text, size) == 0) {
            *(int *)field(t, s) = place;
            return true;
        }
        at = comma ? comma + 1 : NULL;
    }
    return refuse(why, "must be one of %s, got \"%.40s\"", s->choices, text);
}

bool config_set_text(const config_target *t, const config_setting *s, const char *text, config_problem *why) {
    if (!utf8_valid(text, strlen(text))) {
        return refuse(why, "is not UTF-8");
    }
    switch (s->kind) {
    case CONFIG_STRING:
        return store_string(t, s, text, why);
    case CONFIG_LIST:
        return set_list_text(t, s, text, why);
    case CONFIG_BOOL:
        return set_bool_text(t, s, text, why);
    case CONFIG_COUNT:
    case CONFIG_BYTES:
    case CONFIG_NUMBER:
        return set_number_text(t, s, text, why);
    case CONFIG_CHOICE:
        return set_choice_text(t, s, text, why);
    }
    return refuse(why, "is of no known kind");
}
