/*
 * command.c - see command.h. Takes its own words (--config, --check-config, --url, ...) out of the command line; the rest are
 * settings, which the daemon's loader reads.
 */
#include "config/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config/health.h"

enum { HEALTH_TIMEOUT_MS = 3000 };

extern char **environ;

/* %1$s: the name, %2$s: what it is, %3$s: two variables of it */
static const char usage[] =
    "%1$s " VECTORD_VERSION " - %2$s\n"
    "\n"
    "  %1$s [--config FILE] [SETTINGS]            serve until SIGTERM or Ctrl-C\n"
    "  %1$s --check-config [--config FILE] ...    say what is wrong with the settings, start nothing\n"
    "  %1$s config print [--config FILE] ...      the settings in force, each with where it came from\n"
    "  %1$s health [--ready] [--url URL] ...      exit code 0 when a running server answers\n"
    "  %1$s --version | --help\n"
    "\n"
    "Settings come from the TOML file, then the environment (%3$s, ...; with _FILE\n"
    "behind the name the value is read from that file), then flags; the later wins.\n"
    "\n";

/* Prints and frees; 0, or an exit code when memory or standard output failed. */
static int print_out(buffer *out) {
    bool done = !out->failed && fwrite(out->data, 1, out->size, stdout) == out->size && fflush(stdout) == 0;
    buffer_fini(out);
    return done ? 0 : COMMAND_EXIT_UNAVAILABLE;
}

static int print_help(const command_program *p) {
    buffer out;
    buffer_init(&out, 0);
    buffer_printf(&out, usage, p->schema->program, p->summary, p->variables);
    buffer_put_str(&out, p->usage_more);
    config_put_help(p->schema, &out);
    return print_out(&out);
}

static int print_markdown(const command_program *p) {
    buffer out;
    buffer_init(&out, 0);
    config_put_markdown(p->schema, &out);
    return print_out(&out);
}

static int print_settings(const command_program *p) {
    buffer out;
    buffer_init(&out, 0);
    config_target t = p->target(p->values);
    config_put_toml(&t, &out);
    return print_out(&out);
}

typedef struct command {
    const char *name; /* "serve", "check", "print", "markdown", "health" */
    const char *file, *url;
    bool ready;
    const char **flags; /* what is left: settings */
    size_t flag_count;
} command;

/* A server's warnings are lines of its log, in the form that was asked for; those of other commands are plain. */
static void show_warnings(const command_program *p, const buffer *warnings, bool serving) {
    if (!serving) {
        fprintf(stderr, "%s: warnings:\n%.*s", p->schema->program, (int)warnings->size, (const char *)warnings->data);
        return;
    }
    p->setup_log(p->values);
    const char *at = (const char *)warnings->data, *end = at + warnings->size;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        log_event(LOG_WARN, "settings", "%.*s", (int)(line_end - at), at);
        at = line_end + 1;
    }
}

/* Loads the settings and shows what is wrong with them. 0 or an exit code. */
static int load(const command_program *p, const command *cmd) {
    buffer errors, warnings;
    buffer_init(&errors, 0);
    buffer_init(&warnings, 0);
    const config_input input = {
        .file = cmd->file, .env = (const char *const *)environ, .flags = cmd->flags, .flag_count = cmd->flag_count};
    vd_status status = p->load(p->values, &input, &errors, &warnings);
    if (!warnings.failed && warnings.size) {
        show_warnings(p, &warnings, status == VD_OK && strcmp(cmd->name, "serve") == 0);
    }
    if (!errors.failed && errors.size) {
        fprintf(stderr, "%s: the settings have errors:\n%.*s", p->schema->program, (int)errors.size,
                (const char *)errors.data);
    }
    buffer_fini(&warnings);
    buffer_fini(&errors);
    return status == VD_OK ? 0 : COMMAND_EXIT_CONFIG;
}

static int check_health(const command_program *p, const char *url, bool ready) {
    const char *name = p->schema->program;
    char host_port[96] = "", path[256] = "";
    if (url && !health_split_url(url, host_port, path)) {
        fprintf(stderr, "%s health: --url must look like http://%s, got \"%s\"\n", name, p->default_address, url);
        return COMMAND_EXIT_USAGE;
    }
    if (!url) {
        const char *door = p->health_address(p->values);
        if (!door) {
            fprintf(stderr, "%s health: no HTTP door is open in these settings\n", name);
            return COMMAND_EXIT_UNAVAILABLE;
        }
        snprintf(host_port, sizeof host_port, "%s", door);
    }
    if (!path[0] || strcmp(path, "/") == 0) {
        snprintf(path, sizeof path, "%s", ready ? p->ready_path : p->live_path);
    }
    vd_error err = {0};
    if (health_check(host_port, path, HEALTH_TIMEOUT_MS, &err) != VD_OK) {
        fprintf(stderr, "%s health: %s\n", name, err.text);
        return 1;
    }
    printf("ok\n");
    return 0;
}

/* Takes the value of `name` from "name=value" or the next argument; NULL when argv[*at] is another flag. */
static const char *take_value(const char *name, int argc, char **argv, int *at, bool *missing) {
    size_t size = strlen(name);
    if (strncmp(argv[*at], name, size) != 0) {
        return NULL;
    }
    if (argv[*at][size] == '=') {
        return argv[*at] + size + 1;
    }
    if (argv[*at][size] != '\0') {
        return NULL;
    }
    if (*at + 1 >= argc) {
        *missing = true;
        return NULL;
    }
    return argv[++*at];
}

/* false: the command line makes no sense, and stderr says why. */
static bool parse_command(const char *program, int argc, char **argv, command *out) {
    int at = 1;
    out->name = "serve";
    if (argc > 1 && strcmp(argv[1], "health") == 0) {
        out->name = "health";
        at = 2;
    } else if (argc > 2 && strcmp(argv[1], "config") == 0 &&
               (strcmp(argv[2], "print") == 0 || strcmp(argv[2], "markdown") == 0)) {
        out->name = argv[2];
        at = 3;
    } else if (argc > 1 && strcmp(argv[1], "config") == 0) {
        fprintf(stderr, "%s: config needs a command: %s config print; see %s --help\n", program, program, program);
        return false;
    } else if (argc > 1 && argv[1][0] != '-') {
        fprintf(stderr, "%s: unknown command \"%s\"; see %s --help\n", program, argv[1], program);
        return false;
    }
    for (; at < argc; at++) {
        bool missing = false;
        const char *value = take_value("--config", argc, argv, &at, &missing);
        if (value) {
            out->file = value;
            continue;
        }
        bool health = strcmp(out->name, "health") == 0;
        value = health && !missing ? take_value("--url", argc, argv, &at, &missing) : NULL;
        if (value) {
            out->url = value;
            continue;
        }
        if (missing) {
            fprintf(stderr, "%s: %s needs a value\n", program, argv[at]);
            return false;
        }
        if (health && strcmp(argv[at], "--ready") == 0) {
            out->ready = true;
        } else if (strcmp(out->name, "serve") == 0 && strcmp(argv[at], "--check-config") == 0) {
            out->name = "check";
        } else {
            out->flags[out->flag_count++] = argv[at];
        }
    }
    return true;
}

int command_run(const command_program *p, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return print_help(p);
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", p->schema->program, VECTORD_VERSION);
            return 0;
        }
    }
    command cmd = {.flags = calloc((size_t)argc + 1, sizeof *cmd.flags)};
    if (!cmd.flags) {
        return COMMAND_EXIT_UNAVAILABLE;
    }
    if (!parse_command(p->schema->program, argc, argv, &cmd)) {
        free(cmd.flags);
        return COMMAND_EXIT_USAGE;
    }
    if (strcmp(cmd.name, "markdown") == 0) {
        free(cmd.flags);
        return print_markdown(p);
    }
    int code = load(p, &cmd);
    if (code == 0 && strcmp(cmd.name, "check") == 0) {
        printf("the settings are fine\n");
    } else if (code == 0 && strcmp(cmd.name, "print") == 0) {
        code = print_settings(p);
    } else if (code == 0 && strcmp(cmd.name, "health") == 0) {
        code = check_health(p, cmd.url, cmd.ready);
    } else if (code == 0) {
        code = p->serve(p->values);
    }
    p->fini(p->values);
    free(cmd.flags);
    return code;
}
