/* options.c - the table of storaged's settings, and what they mean together. */
#include "storaged/options.h"

#include <string.h>

#include "vectord/limits.h"

#define TEXT_OF_(x)     #x
#define TEXT_OF(x)      TEXT_OF_(x)
#define AT(field)       offsetof(options, field)
#define RANGE(min, max) (double)(min), (double)(max)
#define NO_RANGE        0, 0

static const config_setting rows[] = {
    {"storaged", "bind", CONFIG_LIST, CONFIG_LIVE, AT(bind), "127.0.0.1:3211", NO_RANGE, NULL, "Where HTTP is served."},
    {"storaged", "dir", CONFIG_STRING, CONFIG_LIVE, AT(dir), "storaged-data", NO_RANGE, NULL,
     "The folder that keeps the objects."},
    {"storaged", "allow_insecure_bind", CONFIG_BOOL, CONFIG_LIVE, AT(allow_insecure_bind), "false", NO_RANGE, NULL,
     "Allows addresses that other machines can reach, though there is no authentication yet."},
    {"storaged", "port_file", CONFIG_STRING, CONFIG_LIVE, AT(port_file), "", NO_RANGE, NULL,
     "Writes the addresses really bound to this file as JSON, once they are open."},
    {"storaged", "drain_ms", CONFIG_COUNT, CONFIG_LIVE, AT(drain_ms), TEXT_OF(VD_DRAIN_MS_DEFAULT),
     RANGE(0, VD_DRAIN_MS_MAX), NULL, "How long requests in flight may take to finish at a graceful stop."},
    {"log", "format", CONFIG_CHOICE, CONFIG_LIVE, AT(log_format), "auto", NO_RANGE, "auto,text,json",
     "Lines on standard error; auto is text on a terminal and one JSON object per line elsewhere."},
    {"log", "level", CONFIG_CHOICE, CONFIG_LIVE, AT(log_level), "info", NO_RANGE, "debug,info,warn,error",
     "The least level that is written."},
};
_Static_assert(sizeof rows / sizeof rows[0] <= CONFIG_SETTINGS_MAX, "options.origins has a place for each row");

/* vectord's tables, which may stand in the same file. */
static const char *const neighbours[] = {"vectord", "gateway", "rpc", "snapshot", "store", "grpc", "tls", NULL};
static const char *const passed[] = {"STORAGED_BIN=", "STORAGED_URL=", NULL};

static const config_schema schema = {.program = "storaged",
                                     .prefix = "STORAGED_",
                                     .neighbours = neighbours,
                                     .passed = passed,
                                     .rows = rows,
                                     .count = sizeof rows / sizeof rows[0]};

const config_schema *options_schema(void) {
    return &schema;
}

config_target options_target(options *o) {
    return (config_target){&schema, o, o->origins, &o->arena};
}

vd_status options_load(options *o, const config_input *input, buffer *errors, buffer *warnings) {
    memset(o, 0, sizeof *o);
    arena_init(&o->arena, input->allocator, 0);
    config_target t = options_target(o);
    if (config_read(&t, input, errors, warnings) != VD_OK) {
        return VD_OUT_OF_MEMORY;
    }
    config_check_binds(&t, &o->bind, address_parse_http, o->allow_insecure_bind, &o->exposed, errors);
    if (o->bind.count == 0) {
        config_report(&t, &o->bind, errors, "is empty: no door is open");
    }
    if (o->dir[0] == '\0') {
        config_report(&t, &o->dir, errors, "is empty: objects have to be kept somewhere");
    }
    if (errors->failed || warnings->failed) {
        return VD_OUT_OF_MEMORY;
    }
    return errors->size == 0 ? VD_OK : VD_INVALID_ARGUMENT;
}

void options_fini(options *o) {
    arena_fini(&o->arena);
}
