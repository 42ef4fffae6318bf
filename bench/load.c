/*
 * load.c - the epoll loop of load.h: HTTP/1.1 and NNG's wire protocol over non-blocking sockets, one thread.
 *
 * It is as lean as it can be made: one write and one read per request, no copies, one look at the head of an answer. It trusts
 * the server to frame its answers, as a benchmark may; a broken frame ends the run with a reason.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RECEIVE_BYTES = 64 * 1024, EVENTS = 256, DRAIN_MS = 5000 };

typedef struct connection {
    int fd;
    bool busy;      /* a request is on its way */
    bool want_out;  /* registered for writing */
    size_t request; /* which */
    size_t sent;
    uint8_t *in;
    size_t have, capacity;
    int64_t began_ns;
} connection;

typedef struct loop {
    const load_options *o;
    load_result *r;
    int epoll;
    connection *connections;
    size_t next; /* request to send */
    size_t open; /* requests on their way */
    uint64_t answers;
    bool counting, stopping;
} loop;

int64_t load_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void load_count(load_result *result, int64_t latency_ns) {
    uint64_t value = latency_ns > 0 ? (uint64_t)latency_ns : 1;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(value);
    unsigned bucket = exponent < 6 ? (unsigned)value : (exponent - 5) * 64 + (unsigned)(value >> (exponent - 6) & 63);
    result->latency[bucket < LOAD_BUCKETS ? bucket : LOAD_BUCKETS - 1]++;
    if (value > result->latency_max_ns) {
        result->latency_max_ns = value;
    }
    result->requests++;
}

double load_percentile_ms(const load_result *result, double part) {
    uint64_t rank = (uint64_t)(part * (double)result->requests);
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < LOAD_BUCKETS; bucket++) {
        seen += result->latency[bucket];
        if (seen > rank) {
            unsigned exponent = bucket / 64 + 5;
            double value = bucket < 64 ? bucket : (double)(64u + bucket % 64 + 1) * (double)(1ull << (exponent - 6));
            return value / 1e6;
        }
    }
    return (double)result->latency_max_ns / 1e6;
}

bool load_rpc_ok(const uint8_t *body, size_t size) {
    return size == 0 || body[0] != 0x08 || (size > 1 && body[1] == 0);
}

static bool problem(loop *l, const char *what) {
    if (!l->r->problem[0]) {
        snprintf(l->r->problem, sizeof l->r->problem, "%s%s%s", what, errno ? ": " : "", errno ? strerror(errno) : "");
    }
    return false;
}

/* ---- one connection ---- */

static bool connect_one(loop *l, connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(l->o->port)};
    int on = 1;
    if (inet_pton(AF_INET, l->o->host, &address.sin_addr) != 1) {
        errno = 0;
        return problem(l, "the host is not an IPv4 address");
    }
    c->capacity = RECEIVE_BYTES;
    c->in = malloc(c->capacity);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!c->in || c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        return problem(l, "connect");
    }
    if (l->o->kind == LOAD_NNG) {
        static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
        uint8_t answer[8];
        if (write(c->fd, hello, sizeof hello) != sizeof hello || recv(c->fd, answer, 8, MSG_WAITALL) != 8 ||
            memcmp(answer, "\0SP\0\0\x31", 6) != 0) {
            return problem(l, "no NNG REP socket there");
        }
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0 || fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
        return problem(l, "epoll");
    }
    return true;
}

static bool watch_out(loop *l, connection *c, bool on) {
    if (c->want_out == on) {
        return true;
    }
    struct epoll_event event = {.events = EPOLLIN | (on ? (uint32_t)EPOLLOUT : 0), .data.ptr = c};
    c->want_out = on;
    return epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &event) == 0 || problem(l, "epoll");
}

static bool send_more(loop *l, connection *c) {
    const load_request *request = &l->o->requests[c->request];
    while (c->sent < request->size) {
        ssize_t n = send(c->fd, request->data + c->sent, request->size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return watch_out(l, c, true);
        }
        if (n < 0) {
            return problem(l, "send");
        }
        c->sent += (size_t)n;
    }
    return watch_out(l, c, false);
}

static bool begin(loop *l, connection *c) {
    bool once = l->o->seconds <= 0;
    if (l->stopping || (once && l->next == l->o->request_count)) {
        return true;
    }
    c->request = l->next++;
    if (!once && l->next == l->o->request_count) {
        l->next = 0;
    }
    c->busy = true;
    c->sent = 0;
    c->have = 0;
    c->began_ns = load_now_ns();
    l->open++;
    return send_more(l, c);
}

/* ---- answers ---- */

typedef struct answer {
    const uint8_t *body;
    size_t size;
    size_t total; /* bytes of the whole answer; 0: not known yet */
    bool ok;
} answer;

/* The value of Content-Length; -1 when there is none. */
static ssize_t content_length(const uint8_t *head, size_t size) {
    static const char name[] = "\r\ncontent-length:";
    for (size_t i = 0; i + sizeof name < size; i++) {
        if (head[i] == '\r' && strncasecmp((const char *)head + i, name, sizeof name - 1) == 0) {
            return strtol((const char *)head + i + sizeof name - 1, NULL, 10);
        }
    }
    return -1;
}

static bool look_http(loop *l, const connection *c, answer *a) {
    const uint8_t *end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!end) {
        return true;
    }
    size_t head = (size_t)(end - c->in) + 4;
    ssize_t length = content_length(c->in, head);
    if (length < 0 || head < 16) {
        errno = 0;
        return problem(l, "an answer without Content-Length");
    }
    a->total = head + (size_t)length;
    a->body = c->in + head;
    a->size = (size_t)length;
    a->ok = c->in[9] == '2';
    return true;
}

static bool look_nng(loop *l, const connection *c, answer *a) {
    if (c->have < LOAD_NNG_HEAD) {
        return true;
    }
    uint64_t length = 0;
    for (int i = 0; i < 8; i++) {
        length = length << 8 | c->in[i];
    }
    if (length < 4 || length > (1u << 30)) {
        errno = 0;
        return problem(l, "a frame of an impossible size");
    }
    a->total = 8 + (size_t)length;
    a->body = c->in + LOAD_NNG_HEAD;
    a->size = (size_t)length - 4;
    a->ok = c->have > LOAD_NNG_HEAD ? load_rpc_ok(a->body, a->size) : true;
    return true;
}

static bool finish(loop *l, connection *c, const answer *a) {
    int64_t latency_ns = load_now_ns() - c->began_ns;
    c->busy = false;
    l->open--;
    bool fine = a->ok;
    if (!fine && !l->r->problem[0]) {
        /* The run goes on, but the first refusal is shown. */
        snprintf(l->r->problem, sizeof l->r->problem, "refused: %.*s", a->size > 100 ? 100 : (int)a->size,
                 (const char *)a->body);
    }
    if (fine && l->o->check_every && l->answers % l->o->check_every == 0) {
        fine = l->o->check(l->o->check_arg, c->request, a->body, a->size);
    }
    l->answers++;
    if (l->counting) {
        load_count(l->r, latency_ns);
        l->r->errors += !fine;
    }
    return begin(l, c);
}

static bool receive(loop *l, connection *c) {
    ssize_t n = recv(c->fd, c->in + c->have, c->capacity - c->have, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0 || !c->busy) {
        errno = n < 0 ? errno : 0;
        return problem(l, "the server closed a connection");
    }
    c->have += (size_t)n;
    answer a = {0};
    if (!(l->o->kind == LOAD_HTTP ? look_http(l, c, &a) : look_nng(l, c, &a))) {
        return false;
    }
    size_t need = a.total ? a.total : c->have + 1;
    if (need > c->capacity) {
        uint8_t *grown = realloc(c->in, need * 2);
        if (!grown) {
            return problem(l, "memory");
        }
        c->in = grown;
        c->capacity = need * 2;
    }
    return a.total == 0 || c->have < a.total || finish(l, c, &a);
}

/* ---- the run ---- */

static bool step(loop *l, int timeout_ms) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(l->epoll, events, EVENTS, timeout_ms);
    if (count < 0 && errno != EINTR) {
        return problem(l, "epoll");
    }
    for (int i = 0; i < count; i++) {
        connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT && !send_more(l, c)) {
            return false;
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !receive(l, c)) {
            return false;
        }
    }
    return true;
}

static void set_counting(loop *l, bool on, int64_t *began_ns) {
    if (l->o->mark) {
        l->o->mark(l->o->mark_arg, on);
    }
    l->counting = on;
    if (on) {
        *began_ns = load_now_ns();
    } else {
        l->r->seconds = (double)(load_now_ns() - *began_ns) / 1e9;
    }
}

static bool drive(loop *l) {
    int64_t start_ns = load_now_ns();
    int64_t began_ns = start_ns;
    bool once = l->o->seconds <= 0;
    if (once) {
        set_counting(l, true, &began_ns);
    }
    for (unsigned i = 0; i < l->o->connections; i++) {
        if (!begin(l, &l->connections[i])) {
            return false;
        }
    }
    int64_t warm_ns = start_ns + (int64_t)(l->o->warmup_seconds * 1e9);
    int64_t end_ns = warm_ns + (int64_t)(l->o->seconds * 1e9);
    while (once ? l->open > 0 : load_now_ns() < end_ns) {
        if (!once && !l->counting && load_now_ns() >= warm_ns) {
            set_counting(l, true, &began_ns);
        }
        if (!step(l, once ? -1 : 10)) {
            return false;
        }
    }
    set_counting(l, false, &began_ns);
    l->stopping = true;
    for (int64_t give_up_ns = load_now_ns() + DRAIN_MS * 1000000ll; l->open > 0 && load_now_ns() < give_up_ns;) {
        if (!step(l, 10)) {
            return false;
        }
    }
    return true;
}

/* The frame's length and a request id; each connection has one request on its way, so that one id does for all. */
static void fill_frames(const load_options *o) {
    for (size_t i = 0; i < o->request_count; i++) {
        uint64_t length = o->requests[i].size - 8;
        for (int b = 0; b < 8; b++) {
            o->requests[i].data[b] = (uint8_t)(length >> (56 - 8 * b));
        }
        memcpy(o->requests[i].data + 8, "\x80\0\0\1", 4);
    }
}

bool load_run(const load_options *options, load_result *result) {
    memset(result, 0, sizeof *result);
    loop l = {.o = options, .r = result, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    l.connections = calloc(options->connections, sizeof *l.connections);
    bool fine = l.connections && l.epoll >= 0;
    for (unsigned i = 0; fine && i < options->connections; i++) {
        l.connections[i].fd = -1;
    }
    if (fine && options->kind == LOAD_NNG) {
        fill_frames(options);
    }
    for (unsigned i = 0; fine && i < options->connections; i++) {
        fine = connect_one(&l, &l.connections[i]);
    }
    fine = fine && drive(&l);
    for (unsigned i = 0; l.connections && i < options->connections; i++) {
        if (l.connections[i].fd >= 0) {
            close(l.connections[i].fd);
        }
        free(l.connections[i].in);
    }
    free(l.connections);
    if (l.epoll >= 0) {
        close(l.epoll);
    }
    return fine;
}
