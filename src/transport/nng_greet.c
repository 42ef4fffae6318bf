/* nng_greet.c - see nng_greet.h. The greeting is 8 bytes each way: 00 'S' 'P' 00, the protocol, 00 00. */
#include "transport/nng_greet.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to(int family, const struct sockaddr *to, socklen_t size, int timeout_ms) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* of connect, too */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, to, size) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_ipc(const char *path, int timeout_ms) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path) {
        return -1;
    }
    memcpy(to.sun_path, path, strlen(path) + 1);
    return connect_to(AF_UNIX, (const struct sockaddr *)&to, sizeof to, timeout_ms);
}

static int connect_tcp(const char *address, int timeout_ms) {
    char host[256];
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof host) {
        return -1;
    }
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    char *name = host;
    size_t size = strlen(host);
    if (size > 1 && host[0] == '[' && host[size - 1] == ']') {
        host[size - 1] = '\0';
        name++;
    }
    if (!*name || strcmp(name, "*") == 0) {
        name = host;
        snprintf(host, sizeof host, "127.0.0.1"); /* bound to every address */
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(name, colon + 1, &hints, &found) != 0) {
        return -1;
    }
    int fd = connect_to(found->ai_family, found->ai_addr, found->ai_addrlen, timeout_ms);
    freeaddrinfo(found);
    return fd;
}

int nng_greet(const char *url, int timeout_ms) {
    int fd = strncmp(url, "ipc://", 6) == 0 ? connect_ipc(url + 6, timeout_ms) : connect_tcp(url + 6, timeout_ms);
    if (fd < 0) {
        return -1;
    }
    static const char greeting[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}; /* REQ */
    char theirs[8];
    if (send(fd, greeting, sizeof greeting, MSG_NOSIGNAL) != sizeof greeting ||
        recv(fd, theirs, sizeof theirs, MSG_WAITALL) != sizeof theirs) {
        close(fd);
        return -1;
    }
    return fd;
}
