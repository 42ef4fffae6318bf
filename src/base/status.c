/* status.c - the texts of status.h. */
#include "vectord/status.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct status_row {
    vd_status status;
    int rpc;
    int http;
    const char *name;
    const char *text;
} status_row;

static const status_row rows[] = {
#define STATUS_ROW(name, value, rpc, http, text) {VD_##name, rpc, http, #name, text},
    VD_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

static const status_row *find(vd_status status) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].status == status) {
            return &rows[i];
        }
    }
    return &rows[VD_UNKNOWN]; /* rows 0..16 stand at their own value */
}

const char *vd_status_text(vd_status status) {
    return find(status)->text;
}

const char *vd_status_name(vd_status status) {
    return find(status)->name;
}

int vd_status_rpc(vd_status status) {
    return find(status)->rpc;
}

int vd_status_http(vd_status status) {
    return find(status)->http;
}

vd_status vd_fail(vd_error *err, vd_status status, const char *field, const char *format, ...) {
    if (!err) {
        return status;
    }
    err->status = status;
    err->retry_after_s = 0;
    snprintf(err->field, sizeof err->field, "%s", field ? field : "");
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}
