/*
 * http_client.c - exchanges on libcurl. Each runs on the thread that asked for it, on a multi handle of its own: the thread sleeps
 * in curl_multi_poll, which a cancel wakes, and a body can be handed over in pieces. Connections stay open in the handles; a
 * handle serves one exchange at a time and goes back to a short list.
 *
 * Deadlines: connecting, standing still (no byte either way), and a whole try each have one. Nothing waits for ever.
 *
 * Relies on libcurl for HTTP itself. The proxy variables of the environment are not looked at, redirects are not followed and no
 * other protocol is spoken: what the settings name is where the bytes go.
 *
 * Threading: `mutex` guards the lists and the flag; it is not held over a transfer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "store/http_client_int.h"
#include "vectord/limits.h"

#define IDLE_MAX         8u
#define PAUSE_FIRST_MS   100
#define PAUSE_MAX_MS     2000
#define STALL_BYTES      1024L /* per second: slower, over stall_s, is standing still */
#define UPLOAD_BYTES     (512L * 1024)
#define FAULT_TRIES      3u /* of a 500: it may be the store's bad moment, or this one object's fate */
#define POLL_MS          1000
#define ERROR_BODY_BYTES (64u * 1024u)

struct http_client {
    char *url;
    http_client_options options;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool cancelled;
    uint64_t random;
    exchange *idle, *used;
    size_t idle_count;
};

/* ---- answers ---- */

void http_answer_init(http_answer *a) {
    memset(a, 0, sizeof *a);
    buffer_init(&a->body, 0);
}

void http_answer_fini(http_answer *a) {
    buffer_fini(&a->body);
}

void http_answer_line(const http_answer *a, char out[HTTP_ANSWER_LINE]) {
    size_t size = 0;
    while (size < a->body.size && size + 1 < HTTP_ANSWER_LINE && a->body.data[size] >= 0x20) {
        out[size] = (char)a->body.data[size];
        size++;
    }
    out[size] = '\0';
    utf8_clean(out);
}

static void answer_clear(http_answer *a) {
    a->status = 0;
    a->retry_after_s = 0;
    a->etag[0] = '\0';
    a->body.limit_bytes = 0;
    buffer_clear(&a->body);
}

static bool header_is(const char *line, size_t size, const char *name, const char **value, size_t *value_size) {
    size_t name_size = strlen(name);
    if (size <= name_size || strncasecmp(line, name, name_size) != 0 || line[name_size] != ':') {
        return false;
    }
    const char *p = line + name_size + 1, *end = line + size;
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    while (end > p && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    *value = p;
    *value_size = (size_t)(end - p);
    return true;
}

static uint64_t digits(const char *text, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size && i < 18; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return 0;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    return value;
}

static void note_etag(http_answer *a, const char *value, size_t size) {
    if (size >= 2 && value[0] == '"' && value[size - 1] == '"' && size - 2 < sizeof a->etag) {
        memcpy(a->etag, value + 1, size - 2);
        a->etag[size - 2] = '\0';
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *arg) {
    exchange *x = arg;
    size *= count;
    const char *value;
    size_t value_size;
    if (size > 9 && strncasecmp(line, "HTTP/", 5) == 0) { /* also behind a 100: what came before says nothing */
        answer_clear(x->answer);
        const char *space = memchr(line, ' ', size);
        int status = space && line + size - space > 3 ? (int)digits(space + 1, 3) : 0;
        x->answer->status = status >= 200 ? status : 0; /* 100 is no answer yet */
    } else if (header_is(line, size, "ETag", &value, &value_size)) {
        note_etag(x->answer, value, value_size);
    } else if (header_is(line, size, "Retry-After", &value, &value_size)) {
        uint64_t seconds = digits(value, value_size);
        x->answer->retry_after_s = seconds < 3600 ? (uint32_t)seconds : 3600;
    } else if (header_is(line, size, "Content-Length", &value, &value_size) && x->answer->status == 200) {
        uint64_t length = digits(value, value_size);
        if (length > 0 && length <= x->answer_max) {
            /* once and exactly, not by doubling: a frame may be most of the memory there is */
            x->answer->body.limit_bytes = (size_t)length;
            x->no_memory = !buffer_reserve(&x->answer->body, (size_t)length);
            return x->no_memory ? 0 : size;
        }
    }
    return size;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg) {
    exchange *x = arg;
    size *= count;
    size_t most = x->answer->status == 200 ? x->answer_max : ERROR_BODY_BYTES;
    if (size > most - x->answer->body.size) {
        x->too_large = true;
        return 0;
    }
    buffer_put(&x->answer->body, data, size);
    x->no_memory = x->answer->body.failed;
    return x->no_memory ? 0 : size;
}

/* ---- bodies ---- */

static size_t on_read(char *to, size_t size, size_t count, void *arg) {
    exchange *x = arg;
    size_t room = size * count, left = x->piece.size - x->taken;
    if (left == 0) {
        x->paused = x->in_pieces && !x->last_piece;
        return x->paused ? CURL_READFUNC_PAUSE : 0;
    }
    size_t part = left < room ? left : room;
    memcpy(to, x->piece.data + x->taken, part);
    x->taken += part;
    return part;
}

/* libcurl goes back to the beginning when a kept connection breaks without an answer: it repeats the request by itself. */
static int on_seek(void *arg, curl_off_t offset, int origin) {
    exchange *x = arg;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset < x->base || (uint64_t)offset - x->base > x->piece.size) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    x->taken = (size_t)((uint64_t)offset - x->base);
    x->rewound = true;
    return CURL_SEEKFUNC_OK;
}

/* ---- the client ---- */

static void init_library(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void exchange_free(exchange *x) {
    if (x) {
        curl_slist_free_all(x->headers);
        curl_easy_cleanup(x->easy);
        if (x->multi) {
            curl_multi_cleanup(x->multi);
        }
        free(x);
    }
}

vd_status http_client_new(const http_client_options *options, http_client **out, vd_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_library);
    http_client *c = calloc(1, sizeof *c);
    char *url = strdup(options->url);
    if (!c || !url) {
        free(c);
        free(url);
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    c->url = url;
    for (size_t size = strlen(url); size > 0 && url[size - 1] == '/'; size--) {
        url[size - 1] = '\0';
    }
    c->options = *options;
    c->options.url = url;
    c->options.connect_ms = options->connect_ms ? options->connect_ms : VD_STORE_CONNECT_MS;
    c->options.stall_s = options->stall_s ? options->stall_s : VD_STORE_STALL_S;
    c->options.retry_ms = options->retry_ms ? options->retry_ms : VD_STORE_RETRY_MS;
    c->options.total_ms = options->total_ms ? options->total_ms : VD_STORE_TOTAL_MS;
    c->random = (uint64_t)clock_now_ns() | 1;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    *out = c;
    return VD_OK;
}

void http_client_free(http_client *c) {
    if (!c) {
        return;
    }
    while (c->idle) {
        exchange *x = c->idle;
        c->idle = x->next;
        exchange_free(x);
    }
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->mutex);
    free(c->url);
    free(c);
}

void http_client_cancel(http_client *c) {
    pthread_mutex_lock(&c->mutex);
    c->cancelled = true;
    for (exchange *x = c->used; x; x = x->next) {
        curl_multi_wakeup(x->multi);
    }
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->mutex);
}

const char *http_client_url(const http_client *c) {
    return c->url;
}

static bool is_cancelled(http_client *c) {
    pthread_mutex_lock(&c->mutex);
    bool cancelled = c->cancelled;
    pthread_mutex_unlock(&c->mutex);
    return cancelled;
}

/* xorshift64: spreads tries of many clients, nothing more. */
static uint64_t random_locked(http_client *c) {
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random;
}

bool http_client_pause(http_client *c, int64_t began_ms, unsigned tries, uint32_t retry_after_s) {
    int64_t pause_ms = PAUSE_FIRST_MS;
    for (unsigned i = 1; i < tries && pause_ms < PAUSE_MAX_MS; i++) {
        pause_ms *= 2;
    }
    pthread_mutex_lock(&c->mutex);
    pause_ms = pause_ms / 2 + (int64_t)(random_locked(c) % (uint64_t)(pause_ms / 2 + 1));
    if (pause_ms < (int64_t)retry_after_s * 1000) {
        pause_ms = (int64_t)retry_after_s * 1000;
    }
    int64_t until_ms = clock_now_ms() + pause_ms;
    bool in_time = until_ms - began_ms <= c->options.retry_ms;
    struct timespec until = clock_timespec(until_ms);
    while (in_time && !c->cancelled && pthread_cond_timedwait(&c->wake, &c->mutex, &until) != ETIMEDOUT) {
    }
    in_time = in_time && !c->cancelled;
    pthread_mutex_unlock(&c->mutex);
    return in_time;
}

/* ---- one exchange ---- */

static exchange *exchange_new(http_client *c) {
    exchange *x = calloc(1, sizeof *x);
    if (x) {
        x->client = c;
        x->easy = curl_easy_init();
        x->multi = curl_multi_init();
    }
    if (!x || !x->easy || !x->multi) {
        exchange_free(x);
        return NULL;
    }
    curl_multi_setopt(x->multi, CURLMOPT_MAXCONNECTS, 1L);
    return x;
}

/* An idle one or a new one, among those in use. */
static exchange *take(http_client *c) {
    pthread_mutex_lock(&c->mutex);
    exchange *x = c->idle;
    if (x) {
        c->idle = x->next;
        c->idle_count--;
    }
    pthread_mutex_unlock(&c->mutex);
    if (!x) {
        x = exchange_new(c);
    }
    if (x) {
        pthread_mutex_lock(&c->mutex);
        x->next = c->used;
        c->used = x;
        pthread_mutex_unlock(&c->mutex);
    }
    return x;
}

static void set_method(exchange *x, const http_call *call) {
    if (strcmp(call->method, "HEAD") == 0) {
        curl_easy_setopt(x->easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(call->method, "PUT") == 0) {
        curl_easy_setopt(x->easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(x->easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BYTES);
        curl_easy_setopt(x->easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(x->easy, CURLOPT_READDATA, x);
        curl_easy_setopt(x->easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(x->easy, CURLOPT_SEEKDATA, x);
        /* On a kept connection that breaks libcurl begins again by itself, and a body in pieces cannot: it would go out without
         * those that are gone. */
        curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, x->in_pieces ? 1L : 0L);
        curl_easy_setopt(x->easy, CURLOPT_INFILESIZE_LARGE, x->in_pieces ? (curl_off_t)-1 : (curl_off_t)x->piece.size);
    } else if (strcmp(call->method, "GET") != 0) {
        curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, call->method);
    }
}

static void set_options(exchange *x) {
    const http_client_options *o = &x->client->options;
    curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(x->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(x->easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(x->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(x->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(x->easy, CURLOPT_USERAGENT, "vectord/" VECTORD_VERSION);
    curl_easy_setopt(x->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
    curl_easy_setopt(x->easy, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES);
    curl_easy_setopt(x->easy, CURLOPT_LOW_SPEED_TIME, (long)o->stall_s);
    curl_easy_setopt(x->easy, CURLOPT_BUFFERSIZE, UPLOAD_BYTES);
    curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->error);
    curl_easy_setopt(x->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(x->easy, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
}

/* false when out of memory. */
static bool set_target(exchange *x, const http_call *call) {
    char *url = NULL;
    if (asprintf(&url, "%s%s", x->client->url, call->target) < 0) {
        return false;
    }
    CURLcode code = curl_easy_setopt(x->easy, CURLOPT_URL, url); /* copied */
    free(url);
    for (size_t i = 0; i < HTTP_CLIENT_HEADERS_MAX && call->headers[i]; i++) {
        struct curl_slist *longer = curl_slist_append(x->headers, call->headers[i]);
        if (!longer) {
            return false;
        }
        x->headers = longer;
    }
    return code == CURLE_OK && curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers) == CURLE_OK &&
           curl_multi_add_handle(x->multi, x->easy) == CURLM_OK;
}

exchange *exchange_begin(http_client *c, const http_call *call, bool in_pieces, http_answer *answer, vd_status *status,
                         vd_error *err) {
    if (is_cancelled(c)) {
        *status = vd_fail(err, VD_CANCELLED, NULL, "the store is being closed");
        return NULL;
    }
    exchange *x = take(c);
    if (!x) {
        *status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        return NULL;
    }
    answer_clear(answer);
    x->answer = answer;
    x->answer_max = call->answer_max;
    x->too_large = x->no_memory = x->paused = x->rewound = x->done = x->last_piece = false;
    x->in_pieces = in_pieces;
    x->piece = in_pieces ? (bytes){0} : call->body;
    x->taken = 0;
    x->base = 0;
    x->error[0] = '\0';
    x->deadline_ms = clock_now_ms() + c->options.total_ms;
    set_options(x);
    set_method(x, call);
    x->added = set_target(x, call);
    if (!x->added) {
        exchange_end(x);
        *status = vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        return NULL;
    }
    *status = VD_OK;
    return x;
}

static void look_for_end(exchange *x) {
    int left;
    for (const CURLMsg *m; (m = curl_multi_info_read(x->multi, &left));) {
        if (m->msg == CURLMSG_DONE) {
            x->done = true;
            x->result = m->data.result;
        }
    }
}

vd_status exchange_drive(exchange *x, vd_error *err) {
    for (;;) {
        int running;
        CURLMcode code = curl_multi_perform(x->multi, &running);
        look_for_end(x);
        if (x->done || (x->paused && x->taken == x->piece.size)) {
            return VD_OK;
        }
        int64_t left_ms = x->deadline_ms - clock_now_ms();
        if (code != CURLM_OK) {
            return vd_fail(err, code == CURLM_OUT_OF_MEMORY ? VD_OUT_OF_MEMORY : VD_INTERNAL, NULL, "%s",
                           curl_multi_strerror(code));
        }
        if (is_cancelled(x->client)) {
            return vd_fail(err, VD_CANCELLED, NULL, "the store is being closed");
        }
        if (left_ms <= 0) {
            return vd_fail(err, VD_UNAVAILABLE, NULL, "%s: no whole answer within %lld ms", x->client->url,
                           (long long)x->client->options.total_ms);
        }
        curl_multi_poll(x->multi, NULL, 0, left_ms < POLL_MS ? (int)left_ms : POLL_MS, NULL);
    }
}

vd_status exchange_result(const exchange *x, vd_error *err) {
    const char *text = x->error[0] ? x->error : curl_easy_strerror(x->result);
    switch (x->result) {
    case CURLE_OK:
        return VD_OK;
    case CURLE_OUT_OF_MEMORY:
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    default:
        break;
    }
    if (x->no_memory) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory for an answer of %s", x->client->url);
    }
    if (x->too_large) {
        return vd_fail(err, VD_DATA_LOSS, NULL, "%s answers with more than the %zu bytes that are expected",
                       x->client->url, x->answer_max);
    }
    return vd_fail(err, VD_UNAVAILABLE, NULL, "%s does not answer: %.200s", x->client->url, text);
}

void exchange_end(exchange *x) {
    http_client *c = x->client;
    bool reusable = x->done || !x->added;
    if (x->added) {
        curl_multi_remove_handle(x->multi, x->easy); /* an unfinished transfer: its connection is closed */
        x->added = false;
    }
    curl_easy_reset(x->easy);
    curl_slist_free_all(x->headers);
    x->headers = NULL;
    x->answer = NULL;
    pthread_mutex_lock(&c->mutex);
    for (exchange **at = &c->used; *at; at = &(*at)->next) {
        if (*at == x) {
            *at = x->next;
            break;
        }
    }
    bool kept = reusable && c->idle_count < IDLE_MAX;
    if (kept) {
        x->next = c->idle;
        c->idle = x;
        c->idle_count++;
    }
    pthread_mutex_unlock(&c->mutex);
    if (!kept) {
        exchange_free(x);
    }
}

/* ---- calls ---- */

static vd_status try_once(http_client *c, const http_call *call, http_answer *out, bool *rewound, vd_error *err) {
    vd_status status;
    exchange *x = exchange_begin(c, call, false, out, &status, err);
    if (!x) {
        return status;
    }
    status = exchange_drive(x, err);
    if (status == VD_OK) {
        status = exchange_result(x, err);
    }
    *rewound = x->rewound;
    exchange_end(x);
    return status;
}

bool http_status_may_pass(int status) {
    return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

vd_status http_client_call(http_client *c, const http_call *call, http_answer *out, bool *uncertain, vd_error *err) {
    int64_t began_ms = clock_now_ms();
    for (unsigned tries = 1;; tries++) {
        bool rewound = false;
        vd_status status = try_once(c, call, out, &rewound, err);
        if (rewound && uncertain) {
            *uncertain = true;
        }
        if (status == VD_OK && !http_status_may_pass(out->status)) {
            return VD_OK;
        }
        if (status == VD_OK) {
            char line[HTTP_ANSWER_LINE];
            http_answer_line(out, line);
            status = vd_fail(err, VD_UNAVAILABLE, NULL, "%s answers %d: %s", c->url, out->status, line);
        }
        if (status != VD_UNAVAILABLE) {
            return status;
        }
        if (uncertain) {
            *uncertain = true;
        }
        bool hopeless = out->status == 500 && tries >= FAULT_TRIES;
        if (hopeless || !http_client_pause(c, began_ms, tries, out->retry_after_s)) {
            if (err) {
                err->retry_after_s = out->retry_after_s ? out->retry_after_s : 1;
            }
            return status;
        }
    }
}
