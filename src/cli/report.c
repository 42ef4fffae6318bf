/*
 * report.c - what goes wrong, for a person: one line that says what, a second one that says what to do. With --json it is one
 * line {"error": {...}} on standard error. Also the connection, whose failure is the most common error of all.
 */
#include <stdarg.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"

static void put_error(cli *c, const char *name, const char *text, const char *field) {
    buffer b;
    buffer_init(&b, 0);
    if (c->json) {
        buffer_put_str(&b, "{\"error\":{\"code\":");
        json_put_string(&b, name, strlen(name));
        buffer_put_str(&b, ",\"message\":");
        json_put_string(&b, text, strlen(text));
        if (field && field[0]) {
            buffer_put_str(&b, ",\"field\":");
            json_put_string(&b, field, strlen(field));
        }
        buffer_put_str(&b, "}}\n");
    } else {
        buffer_put_str(&b, "vectorctl: ");
        cli_put_text(&b, text, 0);
        buffer_put_str(&b, "\n");
    }
    cli_flush(&b, c->err);
    buffer_fini(&b);
}

int cli_usage(cli *c, const cli_verb *verb, const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    put_error(c, "USAGE", text, NULL);
    if (verb) {
        cli_hint(c, "See `vectorctl %s --help`.", verb->name);
    } else {
        cli_hint(c, "See `vectorctl --help`.");
    }
    return CLI_USAGE;
}

void cli_hint(cli *c, const char *format, ...) {
    if (c->json) {
        return;
    }
    va_list list;
    va_start(list, format);
    vfprintf(c->err, format, list);
    va_end(list);
    fputc('\n', c->err);
}

int cli_exit_code(vd_status status) {
    switch (status) {
    case VD_OK:
        return CLI_OK;
    case VD_INVALID_ARGUMENT:
    case VD_OUT_OF_RANGE:
    case VD_FAILED_PRECONDITION:
    case VD_TOO_LARGE:
    case VD_DATA_LOSS:
    case VD_UNSUPPORTED_MEDIA:
        return CLI_DATA;
    case VD_NOT_FOUND:
        return CLI_NO_INPUT;
    case VD_ALREADY_EXISTS:
        return CLI_EXISTS;
    case VD_PERMISSION_DENIED:
    case VD_UNAUTHENTICATED:
    case VD_MISDIRECTED:
        return CLI_DENIED;
    case VD_UNAVAILABLE:
        return CLI_UNAVAILABLE;
    case VD_DEADLINE_EXCEEDED:
    case VD_RESOURCE_EXHAUSTED:
    case VD_ABORTED:
    case VD_DISK_FULL:
    case VD_OUT_OF_MEMORY:
        return CLI_TRY_AGAIN;
    case VD_CANCELLED:
        return CLI_INTERRUPTED;
    case VD_UNKNOWN:
    case VD_UNIMPLEMENTED:
    case VD_INTERNAL:
    case VD_METHOD_NOT_ALLOWED:
        return CLI_INTERNAL;
    }
    return CLI_INTERNAL;
}

int cli_report(cli *c, const vd_error *err) {
    put_error(c, vd_status_name(err->status), err->text, err->field);
    if (err->status == VD_UNAVAILABLE && err->retry_after_s > 0) {
        cli_hint(c, "The server is busy or starting: try again in %u s.", err->retry_after_s);
        return CLI_TRY_AGAIN;
    }
    if (err->status == VD_UNAVAILABLE) {
        cli_hint(c, "Is vectord running? Start it with `vectord`, or name another address with --url or VECTORD_URL.");
    } else if (err->status == VD_DEADLINE_EXCEEDED) {
        cli_hint(c, "Give it more time with --timeout SECONDS.");
    } else if (err->status == VD_NOT_FOUND && strcmp(err->field, "id") != 0) {
        cli_hint(c, "`vectorctl index ls` shows the indexes there are.");
    }
    return cli_exit_code(err->status);
}

int cli_report_index(cli *c, const char *name, const vd_error *err) {
    /* The original's text for every missing index is these two words; a missing item says more. */
    if (err->status == VD_NOT_FOUND && strcmp(err->text, "not found") == 0) {
        vd_error named;
        vd_fail(&named, VD_NOT_FOUND, "name", "there is no index \"%s\"", name);
        return cli_report(c, &named);
    }
    return cli_report(c, err);
}

int cli_report_file(cli *c, const vd_error *err) {
    put_error(c, vd_status_name(err->status), err->text, err->field);
    return err->status == VD_INTERNAL ? CLI_IO : cli_exit_code(err->status);
}

int cli_connect(cli *c) {
    vd_client_options options = {.timeout_ms = c->timeout_ms};
    vd_error err;
    if (vd_client_open(c->url, &options, &c->client, &err) == VD_OK) {
        return CLI_OK;
    }
    int code = cli_report(c, &err);
    return err.status == VD_INVALID_ARGUMENT ? CLI_USAGE : code;
}
