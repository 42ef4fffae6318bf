/*
 * health.c - see health.h. A GET of our own on a plain socket: the image that runs the server needs no HTTP client, and a
 * health check must not depend on anything that can be missing.
 */
#include "config/health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/address.h"

bool health_split_url(const char *url, char host_port[96], char path[256]) {
    static const char scheme[] = "http://";
    if (strncmp(url, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    const char *host = url + sizeof scheme - 1;
    size_t host_size = strcspn(host, "/?#");
    const char *rest = host + host_size;
    size_t path_size = strcspn(rest, "#");
    if (host_size == 0 || host_size >= 96 || path_size >= 256 || (path_size > 0 && rest[0] != '/')) {
        return false;
    }
    for (size_t i = 0; i < path_size; i++) {
        if ((unsigned char)rest[i] <= ' ') {
            return false; /* it would end the request line */
        }
    }
    memcpy(host_port, host, host_size);
    host_port[host_size] = '\0';
    memcpy(path, rest, path_size);
    path[path_size] = '\0';
    return true;
}

static vd_status wait_for(int fd, short events, int64_t deadline_ms, vd_error *err) {
    for (;;) {
        int64_t left = deadline_ms - clock_now_ms();
        if (left <= 0) {
            return vd_fail(err, VD_DEADLINE_EXCEEDED, NULL, "no answer in time");
        }
        struct pollfd p = {.fd = fd, .events = events};
        int got = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (got > 0) {
            return VD_OK;
        }
        if (got < 0 && errno != EINTR) {
            return vd_fail(err, VD_INTERNAL, NULL, "poll: %s", strerror(errno));
        }
    }
}

static vd_status connect_to(const address *a, int64_t deadline_ms, int *out, vd_error *err) {
    struct sockaddr_storage storage = {0};
    socklen_t size;
    if (a->v6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(a->port);
        inet_pton(AF_INET6, strcmp(a->host, "::") == 0 ? "::1" : a->host, &v6->sin6_addr);
        size = sizeof *v6;
    } else {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(a->port);
        inet_pton(AF_INET, strcmp(a->host, "0.0.0.0") == 0 ? "127.0.0.1" : a->host, &v4->sin_addr);
        size = sizeof *v4;
    }
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return vd_fail(err, VD_INTERNAL, NULL, "socket: %s", strerror(errno));
    }
    int error = connect(fd, (struct sockaddr *)&storage, size) == 0 ? 0 : errno;
    vd_status status = VD_OK;
    if (error == EINPROGRESS || error == EINTR) {
        socklen_t error_size = sizeof error;
        status = wait_for(fd, POLLOUT, deadline_ms, err);
        if (status == VD_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) != 0) {
            error = errno;
        }
    }
    if (status == VD_OK && error != 0) {
        status = vd_fail(err, VD_UNAVAILABLE, NULL, "cannot connect to %s: %s", a->text, strerror(error));
    }
    if (status != VD_OK) {
        close(fd);
        return status;
    }
    *out = fd;
    return VD_OK;
}

static vd_status send_all(int fd, const char *data, size_t size, int64_t deadline_ms, vd_error *err) {
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(fd, data + done, size - done, MSG_NOSIGNAL);
        if (sent >= 0) {
            done += (size_t)sent;
        } else if (errno == EAGAIN) {
            vd_status status = wait_for(fd, POLLOUT, deadline_ms, err);
            if (status != VD_OK) {
                return status;
            }
        } else if (errno != EINTR) {
            return vd_fail(err, VD_UNAVAILABLE, NULL, "cannot send: %s", strerror(errno));
        }
    }
    return VD_OK;
}

/* Reads until the first line is complete, the buffer is full, or the peer has closed. */
static vd_status read_first_line(int fd, char *line, size_t size, int64_t deadline_ms, vd_error *err) {
    size_t filled = 0;
    line[0] = '\0';
    while (filled + 1 < size) {
        ssize_t got = recv(fd, line + filled, size - 1 - filled, 0);
        if (got < 0 && errno == EAGAIN) {
            vd_status status = wait_for(fd, POLLIN, deadline_ms, err);
            if (status != VD_OK) {
                return status;
            }
            continue;
        }
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return vd_fail(err, VD_UNAVAILABLE, NULL, "no answer: %s", strerror(errno));
        }
        filled += (size_t)got;
        line[filled] = '\0';
        char *end = strpbrk(line, "\r\n");
        if (end || got == 0) {
            if (end) {
                *end = '\0';
            }
            break;
        }
    }
    return VD_OK;
}

vd_status health_check(const char *host_port, const char *path, int64_t timeout_ms, vd_error *err) {
    address a;
    vd_status status = address_parse_http(host_port, &a, err);
    if (status != VD_OK) {
        return status;
    }
    int64_t deadline_ms = clock_now_ms() + timeout_ms;
    int fd = -1;
    status = connect_to(&a, deadline_ms, &fd, err);
    if (status != VD_OK) {
        return status;
    }
    /* The Host is a loopback name whenever the target is this machine: servers check it against exactly that. */
    char request[512];
    bool here = a.loopback || strcmp(a.host, "0.0.0.0") == 0 || strcmp(a.host, "::") == 0;
    int size = here ? snprintf(request, sizeof request,
                               "GET %s HTTP/1.1\r\nHost: localhost:%u\r\nConnection: close\r\n\r\n", path, a.port)
                    : snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                               path, a.text);
    char line[160];
    if (size < 0 || (size_t)size >= sizeof request) {
        status = vd_fail(err, VD_INVALID_ARGUMENT, NULL, "the path is too long");
    } else {
        status = send_all(fd, request, (size_t)size, deadline_ms, err);
    }
    if (status == VD_OK) {
        status = read_first_line(fd, line, sizeof line, deadline_ms, err);
    }
    close(fd);
    if (status != VD_OK) {
        return status;
    }
    if (strncmp(line, "HTTP/1.", 7) == 0 && strncmp(line + 8, " 200", 4) == 0 &&
        (line[12] == ' ' || line[12] == '\0')) {
        return VD_OK;
    }
    return vd_fail(err, VD_UNAVAILABLE, NULL, "%s%s answered: %.120s", a.text, path, line[0] ? line : "nothing");
}
