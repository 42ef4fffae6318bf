/*
 * http_listen.c - see http_listen.h. Sockets of our own: libmicrohttpd would hide which address failed and why.
 */
#include "http/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 1024

/* "127.0.0.1:3215", "[::1]:3215", "localhost:0". Names other than localhost are not looked up: what a server binds to must
 * not depend on a resolver. */
static vd_status parse_bind(const char *bind, struct sockaddr_storage *out, socklen_t *size, vd_error *err) {
    const char *colon = strrchr(bind, ':');
    char host[80];
    if (!colon || colon == bind || colon[1] == '\0' || (size_t)(colon - bind) >= sizeof host) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "bind", "bad address \"%s\": want host:port", bind);
    }
    snprintf(host, sizeof host, "%.*s", (int)(colon - bind), bind);
    size_t length = strlen(host);
    char *name = host;
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        name++;
    }
    if (strcmp(name, "localhost") == 0) {
        name = host;
        snprintf(host, sizeof host, "127.0.0.1");
    }
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    bool port_ok = colon[1] >= '0' && colon[1] <= '9' && *end == '\0' && port <= 65535;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (!port_ok || getaddrinfo(name, colon + 1, &hints, &found) != 0 || !found) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "bind",
                       "bad address \"%s\": want an IP address (IPv6 in brackets) or localhost, and a port", bind);
    }
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return VD_OK;
}

vd_status http_listen(const char *bind_text, struct sockaddr_storage *address, uint16_t *port, int *out,
                      vd_error *err) {
    socklen_t size = 0;
    vd_status status = parse_bind(bind_text, address, &size, err);
    if (status) {
        return status;
    }
    int on = 1;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (address->ss_family == AF_INET6) {
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        }
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)address, size) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) != 0) {
        status = vd_fail(err, VD_UNAVAILABLE, "bind", "cannot listen on %s: %s%s", bind_text, strerror(errno),
                         errno == EADDRINUSE ? ": choose another port (0: any free one)" : "");
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    *port = ntohs(address->ss_family == AF_INET6 ? ((struct sockaddr_in6 *)address)->sin6_port
                                                 : ((struct sockaddr_in *)address)->sin_port);
    *out = fd;
    return VD_OK;
}
