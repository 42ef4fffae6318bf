/* fake_http.c - see fake_http.h. */
#include "unit/store/fake_http.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct peer {
    fake_http *owner;
    int fd;
    char data[FAKE_BODY_MAX + FAKE_HEAD_MAX]; /* read, not used yet */
    size_t size;
    bool between; /* nothing of the next request is here yet */
} peer;

/* false: the client has gone, or the test ends, or another connection comes while this one is idle. */
static bool more(peer *p) {
    struct pollfd fds[3] = {{.fd = p->fd, .events = POLLIN},
                            {.fd = p->owner->wake[0], .events = POLLIN},
                            {.fd = p->owner->listener, .events = POLLIN}};
    if (poll(fds, p->between ? 3 : 2, 30000) <= 0 || fds[1].revents || p->size == sizeof p->data) {
        return false;
    }
    if (!fds[0].revents) {
        return false;
    }
    p->between = false;
    ssize_t got = recv(p->fd, p->data + p->size, sizeof p->data - p->size, 0);
    p->size += got > 0 ? (size_t)got : 0;
    return got > 0;
}

static void drop(peer *p, size_t size) {
    memmove(p->data, p->data + size, p->size - size);
    p->size -= size;
}

static bool read_head(peer *p, fake_request *r) {
    for (;;) {
        char *end = memmem(p->data, p->size, "\r\n\r\n", 4);
        if (end) {
            size_t size = (size_t)(end - p->data) + 4;
            size_t kept = size < sizeof r->head ? size : sizeof r->head - 1;
            memcpy(r->head, p->data, kept);
            r->head[kept] = '\0';
            drop(p, size);
            return true;
        }
        if (!more(p)) {
            return false;
        }
    }
}

static bool take(peer *p, fake_request *r, size_t size) {
    while (p->size < size) {
        if (!more(p)) {
            return false;
        }
    }
    if (r && r->body_size + size <= sizeof r->body) {
        memcpy(r->body + r->body_size, p->data, size);
        r->body_size += size;
    }
    drop(p, size);
    return true;
}

static bool read_chunks(peer *p, fake_request *r) {
    for (;;) {
        char *end;
        while (!(end = memmem(p->data, p->size, "\r\n", 2))) {
            if (!more(p)) {
                return false;
            }
        }
        size_t size = strtoul(p->data, NULL, 16);
        drop(p, (size_t)(end - p->data) + 2);
        if (!take(p, r, size) || !take(p, NULL, 2)) {
            return false;
        }
        if (size == 0) {
            return true;
        }
    }
}

static bool read_body(peer *p, fake_request *r) {
    if (strcasestr(r->head, "\r\nExpect: 100-continue")) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (send(p->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL) < 0) {
            return false;
        }
    }
    if (strcasestr(r->head, "\r\nTransfer-Encoding: chunked")) {
        return read_chunks(p, r);
    }
    const char *length = strcasestr(r->head, "\r\nContent-Length:");
    return !length || take(p, r, strtoul(length + 17, NULL, 10));
}

/* false: the connection ends. */
static bool serve_one(peer *p) {
    fake_http *f = p->owner;
    size_t number = atomic_load(&f->seen);
    fake_request *r = &f->requests[number < FAKE_REQUESTS_MAX ? number : FAKE_REQUESTS_MAX - 1];
    memset(r, 0, sizeof *r);
    p->between = p->size == 0;
    if (!read_head(p, r)) {
        return false;
    }
    const fake_step *step = &f->steps[number < f->step_count ? number : f->step_count - 1];
    if (!step->early && !read_body(p, r)) {
        return false;
    }
    atomic_fetch_add(&f->seen, 1);
    if (step->answer) {
        (void)send(p->fd, step->answer, strlen(step->answer), MSG_NOSIGNAL);
    }
    while (step->hang && more(p)) {
    }
    return !step->close && !step->hang && !step->early;
}

static void *serve(void *arg) {
    fake_http *f = arg;
    peer *p = malloc(sizeof *p);
    for (;;) {
        struct pollfd fds[2] = {{.fd = f->listener, .events = POLLIN}, {.fd = f->wake[0], .events = POLLIN}};
        if (poll(fds, 2, -1) <= 0 || fds[1].revents || !p) {
            free(p);
            return NULL;
        }
        p->owner = f;
        p->size = 0;
        p->fd = accept(f->listener, NULL, NULL);
        while (p->fd >= 0 && serve_one(p)) {
        }
        if (p->fd >= 0) {
            close(p->fd);
        }
    }
}

fake_http *fake_http_start(const fake_step *steps, size_t count) {
    fake_http *f = calloc(1, sizeof *f);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (!f || pipe(f->wake) != 0) {
        free(f);
        return NULL;
    }
    f->steps = steps;
    f->step_count = count;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&address, size) != 0 || listen(f->listener, 16) != 0 ||
        getsockname(f->listener, (struct sockaddr *)&address, &size) != 0 ||
        pthread_create(&f->thread, NULL, serve, f) != 0) {
        return NULL; /* the test fails and the process ends */
    }
    f->port = ntohs(address.sin_port);
    return f;
}

void fake_http_stop(fake_http *f) {
    (void)!write(f->wake[1], "x", 1);
    pthread_join(f->thread, NULL);
    close(f->listener);
    close(f->wake[0]);
    close(f->wake[1]);
    free(f);
}
