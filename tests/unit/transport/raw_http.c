/* raw_http.c - see raw_http.h. */
#include "unit/transport/raw_http.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

int raw_connect(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool raw_send(int fd, const void *data, size_t size) {
    const char *p = data;
    while (size) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, RAW_WAIT_MS) <= 0) {
            return false;
        }
        ssize_t sent = send(fd, p, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            continue;
        }
        if (sent <= 0) {
            return false;
        }
        p += sent;
        size -= (size_t)sent;
    }
    return true;
}

bool raw_send_text(int fd, const char *text) {
    return raw_send(fd, text, strlen(text));
}

static ssize_t read_some(int fd, char *to, size_t size) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, RAW_WAIT_MS) <= 0) {
        return -1;
    }
    return recv(fd, to, size, 0);
}

static char *find_header(const char *head, const char *name) {
    size_t size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':') {
            return (char *)(uintptr_t)(line + 3 + size);
        }
    }
    return NULL;
}

raw_reply raw_read(int fd, bool head_only) {
    raw_reply r = {0};
    char head[16384];
    size_t used = 0;
    do { /* byte by byte, so that nothing of the next reply is taken */
        ssize_t got = used + 1 < sizeof head ? read_some(fd, head + used, 1) : -1;
        if (got <= 0) {
            r.closed = true;
            return r;
        }
        head[++used] = '\0';
    } while (used < 4 || memcmp(head + used - 4, "\r\n\r\n", 4) != 0);
    r.head = strdup(head);
    int status = atoi(head + 9);
    const char *length = find_header(head, "Content-Length");
    const char *connection = find_header(head, "Connection");
    r.closed = connection && strcasestr(connection, "close") == connection + 1;
    r.body_size = length && !head_only && status >= 200 && status != 204 ? (size_t)strtoull(length, NULL, 10) : 0;
    r.body = calloc(1, r.body_size + 1);
    for (size_t at = 0; at < r.body_size;) {
        ssize_t got = read_some(fd, r.body + at, r.body_size - at);
        if (got <= 0) {
            return r;
        }
        at += (size_t)got;
    }
    r.status = status;
    return r;
}

void raw_free(raw_reply *r) {
    free(r->head);
    free(r->body);
    *r = (raw_reply){0};
}

const char *raw_header(const raw_reply *r, const char *name) {
    static char value[512];
    const char *at = r->head ? find_header(r->head, name) : NULL;
    if (!at) {
        return NULL;
    }
    at += strspn(at, " ");
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

bool raw_wait_closed(int fd) {
    char rest[4096];
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, RAW_WAIT_MS) <= 0) {
            return false;
        }
        if (recv(fd, rest, sizeof rest, 0) <= 0) {
            return true;
        }
    }
}

raw_reply raw_exchange(uint16_t port, const char *data, size_t size) {
    int fd = raw_connect(port);
    raw_reply r = {0};
    if (fd >= 0) {
        raw_send(fd, data, size); /* the peer may answer and close before it has read everything */
        r = raw_read(fd, strncmp(data, "HEAD ", 5) == 0);
        close(fd);
    }
    return r;
}

raw_reply raw_call(uint16_t port, const char *method, const char *target, const char *headers, const char *body) {
    size_t body_size = body ? strlen(body) : 0;
    size_t room = strlen(method) + strlen(target) + (headers ? strlen(headers) : 0) + body_size + 200;
    char *request = malloc(room);
    bool has_host = headers && (strncasecmp(headers, "Host:", 5) == 0 || strcasestr(headers, "\nHost:"));
    int size = snprintf(request, room, "%s %s HTTP/1.1\r\n%s%s", method, target, has_host ? "" : "Host: localhost\r\n",
                        headers ? headers : "");
    if (body) {
        size += snprintf(request + size, room - (size_t)size, "Content-Length: %zu\r\n", body_size);
    }
    size += snprintf(request + size, room - (size_t)size, "\r\n%s", body ? body : "");
    raw_reply r = raw_exchange(port, request, (size_t)size);
    free(request);
    return r;
}
