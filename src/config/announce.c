/* announce.c - see announce.h. */
#include "config/announce.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"

static void put_addresses(buffer *out, const announce_doors *doors, bool rpc) {
    size_t count = rpc ? doors->rpc_count : doors->http_count;
    for (size_t i = 0; i < count; i++) {
        const char *text = rpc ? doors->rpc[i] : doors->http[i];
        buffer_put_str(out, i ? "," : "");
        json_put_string(out, text, strlen(text));
    }
}

static void print_banner(const announce_doors *doors, const char *version, const char *data) {
    char *absolute = data[0] ? realpath(data, NULL) : NULL; /* NULL for a URL too */
    buffer out;
    buffer_init(&out, 0);
    buffer_printf(&out, "\n  %s %s\n\n", doors->program, version);
    for (size_t i = 0; i < doors->http_count; i++) {
        buffer_printf(&out, "    HTTP   http://%s\n", doors->http[i]);
    }
    for (size_t i = 0; i < doors->rpc_count; i++) {
        buffer_printf(&out, "    RPC    %s\n", doors->rpc[i]);
    }
    buffer_printf(&out, "    data   %s\n", data[0] ? (absolute ? absolute : data) : "in memory only: nothing is kept");
    buffer_put_str(&out, "\n  Ctrl-C stops it.\n\n");
    if (!out.failed) {
        fwrite(out.data, 1, out.size, stderr);
    }
    buffer_fini(&out);
    free(absolute);
}

void announce_started(const announce_doors *doors, const char *version, const char *data, bool terminal) {
    if (terminal) {
        print_banner(doors, version, data);
        return;
    }
    buffer text;
    buffer_init(&text, 0);
    buffer_put_str(&text, "http=");
    for (size_t i = 0; i < doors->http_count; i++) {
        buffer_printf(&text, "%s%s", i ? "," : "", doors->http[i]);
    }
    buffer_put_str(&text, doors->http_only ? "" : " rpc=");
    for (size_t i = 0; i < doors->rpc_count; i++) {
        buffer_printf(&text, "%s%s", i ? "," : "", doors->rpc[i]);
    }
    if (!text.failed) {
        log_event(LOG_INFO, "serving", "version=%s %.*s data_dir=%s", version, (int)text.size, (const char *)text.data,
                  data[0] ? data : "none");
    }
    buffer_fini(&text);
}

vd_status announce_write_port_file(const char *path, const announce_doors *doors, vd_error *err) {
    buffer out;
    char *temporary = NULL;
    int fd = -1;
    vd_status status = VD_OK;
    buffer_init(&out, 0);
    buffer_printf(&out, "{\"pid\":%ld,\"http\":[", (long)getpid());
    put_addresses(&out, doors, false);
    if (!doors->http_only) {
        buffer_put_str(&out, "],\"rpc\":[");
        put_addresses(&out, doors, true);
    }
    buffer_put_str(&out, "]}\n");
    if (out.failed || asprintf(&temporary, "%s.tmp-%ld", path, (long)getpid()) < 0) {
        temporary = NULL;
        status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory for the port file");
        goto done;
    }
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        status = vd_fail(err, VD_INTERNAL, NULL, "cannot write the port file %s: %s", temporary, strerror(errno));
        goto done;
    }
    for (size_t at = 0; at < out.size;) {
        ssize_t written = write(fd, out.data + at, out.size - at);
        if (written < 0 && errno != EINTR) {
            status = vd_fail(err, VD_INTERNAL, NULL, "cannot write the port file %s: %s", temporary, strerror(errno));
            goto remove;
        }
        at += written > 0 ? (size_t)written : 0;
    }
    if (rename(temporary, path) != 0) {
        status = vd_fail(err, VD_INTERNAL, NULL, "cannot write the port file %s: %s", path, strerror(errno));
        goto remove;
    }
    goto done;
remove:
    unlink(temporary);
done:
    if (fd >= 0) {
        close(fd);
    }
    free(temporary);
    buffer_fini(&out);
    return status;
}
