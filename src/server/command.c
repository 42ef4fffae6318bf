/* command.c - vectord, as the command line of config/command.h sees it. */
#include "server/command.h"

#include "base/log.h"

typedef struct values {
    config config;
    int (*serve)(const config *c);
} values;

static vd_status load(void *arg, const config_input *input, buffer *errors, buffer *warnings) {
    values *v = arg;
    return config_load(&v->config, input, errors, warnings);
}

static config_target target(void *arg) {
    values *v = arg;
    return config_target_of(&v->config);
}

static void setup_log(const void *arg) {
    const values *v = arg;
    log_setup((log_level)v->config.log_level, (log_format)v->config.log_format);
}

static const char *health_address(const void *arg) {
    const values *v = arg;
    const config_list *doors = v->config.bind.count ? &v->config.bind : &v->config.gateway_bind;
    return doors->count ? doors->items[0] : NULL;
}

static int serve_values(const void *arg) {
    const values *v = arg;
    return v->serve(&v->config);
}

static void fini(void *arg) {
    values *v = arg;
    config_fini(&v->config);
}

int command_main(int argc, char **argv, int (*serve)(const config *c)) {
    values v = {.serve = serve};
    const command_program program = {
        .schema = config_schema_get(),
        .summary = "a vector-search service",
        .variables = "VECTORD_DATA_DIR, VECTORD_RPC_BIND",
        .usage_more = "",
        .default_address = "127.0.0.1:3215",
        .live_path = "/livez",
        .ready_path = "/readyz",
        .values = &v,
        .load = load,
        .target = target,
        .setup_log = setup_log,
        .health_address = health_address,
        .serve = serve_values,
        .fini = fini,
    };
    return command_run(&program, argc, argv);
}
