/* address.c - see address.h. Only numeric hosts: what a name resolves to may change after it was found to be loopback. */
#include "config/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { IPC_PATH_MAX = 107 }; /* sockaddr_un.sun_path less its NUL */

static bool parse_port(const char *text, uint16_t *out) {
    uint32_t value = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0') {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    if (value > 65535) {
        return false;
    }
    *out = (uint16_t)value;
    return true;
}

static bool set_host(address *a, const char *host, size_t size, bool bracketed) {
    char text[64];
    if (size >= sizeof text) {
        return false;
    }
    memcpy(text, host, size);
    text[size] = '\0';
    if (!bracketed && strcmp(text, "localhost") == 0) {
        memcpy(text, "127.0.0.1", sizeof "127.0.0.1");
    } else if (!bracketed && strcmp(text, "*") == 0) {
        memcpy(text, "0.0.0.0", sizeof "0.0.0.0");
    }
    struct in_addr v4;
    struct in6_addr v6;
    if (!bracketed && inet_pton(AF_INET, text, &v4) == 1) {
        a->v6 = false;
        a->loopback = (ntohl(v4.s_addr) >> 24) == 127;
        return inet_ntop(AF_INET, &v4, a->host, sizeof a->host) != NULL;
    }
    if (bracketed && inet_pton(AF_INET6, text, &v6) == 1) {
        a->v6 = true;
        a->loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        return inet_ntop(AF_INET6, &v6, a->host, sizeof a->host) != NULL;
    }
    return false;
}

static vd_status parse_host_port(const char *text, address *out, vd_error *err) {
    const char *colon = strrchr(text, ':');
    if (!colon) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "\"%.100s\" has no port: write HOST:PORT", text);
    }
    bool bracketed = text[0] == '[';
    const char *host = text;
    size_t size = (size_t)(colon - text);
    if (bracketed) {
        if (size < 2 || colon[-1] != ']') {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "\"%.100s\": write an IPv6 address as [ADDRESS]:PORT", text);
        }
        host++;
        size -= 2;
    }
    if (!set_host(out, host, size, bracketed)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL,
                       "\"%.100s\": the host must be an IPv4 address, an IPv6 address in brackets or localhost", text);
    }
    if (!parse_port(colon + 1, &out->port)) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "\"%.100s\": the port must be a number from 0 to 65535", text);
    }
    return VD_OK;
}

vd_status address_parse_http(const char *text, address *out, vd_error *err) {
    memset(out, 0, sizeof *out);
    if (strstr(text, "://")) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "\"%.100s\": write HOST:PORT without a scheme", text);
    }
    vd_status status = parse_host_port(text, out, err);
    if (status == VD_OK) {
        snprintf(out->text, sizeof out->text, out->v6 ? "[%s]:%u" : "%s:%u", out->host, out->port);
    }
    return status;
}

vd_status address_parse_rpc(const char *text, address *out, vd_error *err) {
    static const char *const later[] = {"tls+tcp://", "ws://", "wss://", "tcp4://", "tcp6://", "inproc://"};
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        if (strncmp(text, later[i], strlen(later[i])) == 0) {
            return vd_fail(err, VD_UNIMPLEMENTED, NULL, "\"%.100s\": %s is not offered; use tcp:// or ipc://", text,
                           later[i]);
        }
    }
    if (strncmp(text, "ipc://", 6) == 0) {
        const char *path = text + 6;
        if (path[0] != '/' || strlen(path) > IPC_PATH_MAX) {
            return vd_fail(err, VD_INVALID_ARGUMENT, NULL,
                           "\"%.100s\": an ipc address is ipc:// and an absolute path of at most %d bytes", text,
                           IPC_PATH_MAX);
        }
        out->loopback = true;
        snprintf(out->text, sizeof out->text, "%s", text);
        return VD_OK;
    }
    if (strncmp(text, "tcp://", 6) != 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, NULL, "\"%.100s\": write tcp://HOST:PORT or ipc:///path", text);
    }
    vd_status status = parse_host_port(text + 6, out, err);
    if (status == VD_OK) {
        snprintf(out->text, sizeof out->text, out->v6 ? "tcp://[%s]:%u" : "tcp://%s:%u", out->host, out->port);
    }
    return status;
}
