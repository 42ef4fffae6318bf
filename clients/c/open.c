/*
 * open.c - making and ending a client: address, first connection, socket options.
 *
 * The first connection is probed with a plain stream first: a socket's own dialer either hides why it fails (in the background)
 * or waits as long as the system does (in the foreground, over two minutes for an address that swallows packets). The probe has
 * a time limit and a reason. After that the socket's dialer connects in the background, again whenever the connection breaks.
 *
 * Closing: libnng 1.5.2 receives a message in two parts or more (its length, then the rest as it comes) and sends a large one in
 * as many as it takes. A connection that is closed between two of them never ends: the next part begins on an aio that is already
 * stopped, which NNG answers with nothing, and the thread that takes connections apart, the only one of the process, waits for
 * it for ever. So does then every nng_close of the process, and no lost connection is made again. With replies on their way that
 * was one close in 3 to 40 (2 CPUs). Hence, in this order:
 *   1. The calls end (client_calls_end), with the socket open. No handler runs after that, whatever the socket does.
 *   2. A request that is being written gets FLUSH_MS to be.
 *   3. The limit for what is received becomes one byte. A reply that comes now is refused at its length, and NNG closes that
 *      connection itself, as after a read error: there is no second part. The rest of one whose length was already there gets
 *      QUIET_MS to arrive.
 *   Both are waited for only when a call has ended without its reply, and no longer than the connection lasts.
 *   4. nng_close, on a thread of its own and for VD_CLIENT_CLOSE_MS. What remains is a message that takes longer than these limits
 *      and has a part moving at this moment, or another user of libnng in the process who has met the fault.
 * If it does not return, the thread, the socket and the vd_client stay behind: the thread has the socket, and pipe_changed
 * may still be called with the client, of which it uses mutex, changed, pipes and unanswered. The calls, their contexts and the
 * token are gone by then. When nng_close returns late after all, its thread frees the client.
 *
 * Threading: pipe_changed runs on NNG's threads, until nng_close returns. The client is freed by the caller of vd_client_close, or
 * by the closing thread when the caller no longer waits (bounded.h); either way after nng_close.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bounded.h"
#include "base/clock.h"
#include "client_int.h"

#include <nng/protocol/reqrep0/req.h> /* wants nng.h before it */
#include <nng/supplemental/util/platform.h>

/* Sending again is for lost connections only, where NNG does it at once. By the clock it must never happen: the server may
 * still be at work. So: later than any call may last. */
#define RESEND_MS        ((nng_duration)(VD_TIMEOUT_MAX_MS + 60000))
#define RECONNECT_MS     50 /* first pause between attempts; doubles up to the next one */
#define RECONNECT_MAX_MS 1000
#define PROBE_PAUSE_MS   50
#define GREETING_MS      500
#define FLUSH_MS         1000
#define QUIET_MS         100

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg) {
    vd_client *client = arg;
    (void)pipe;
    pthread_mutex_lock(&client->mutex);
    if (event == NNG_PIPE_EV_ADD_POST) {
        client->pipes++;
    } else if (client->pipes > 0) {
        client->pipes--;
    }
    if (client->pipes == 0) {
        client->unanswered = false; /* what was to come on it does not */
    }
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->mutex);
}

static vd_status check_url(const char *url, vd_error *err) {
    if (strlen(url) > CLIENT_URL_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "url", "url: longer than %d bytes", CLIENT_URL_MAX_BYTES);
    }
    if (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "url",
                       "%s is the address of an HTTP door; this client speaks to the NNG door, by default %s", url,
                       VD_CLIENT_URL_DEFAULT);
    }
    if (strncmp(url, "tcp://", 6) != 0 && strncmp(url, "ipc://", 6) != 0) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "url", "%s is not an address like tcp://host:port or ipc:///path",
                       url);
    }
    return VD_OK;
}

static void transfer(nng_stream *stream, nng_aio *aio, void *data, void (*start)(nng_stream *, nng_aio *)) {
    nng_iov iov = {.iov_buf = data, .iov_len = 8};
    nng_aio_set_iov(aio, 1, &iov);
    start(stream, aio);
    nng_aio_wait(aio);
}

/* The eight bytes both sides of an SP connection begin with. A listener of libnng 1.5.2 whose peer leaves without them takes the next
 * connection 100 ms later, and the next one is ours. Whether they are answered does not matter here. */
static void exchange_greetings(nng_stream *stream, nng_aio *aio, int64_t timeout_ms) {
    uint8_t ours[8] = {0, 'S', 'P', 0, 0, NNG_REQ0_SELF & 0xFF, 0, 0};
    uint8_t theirs[8];
    nng_aio_set_timeout(aio, (nng_duration)(timeout_ms / 4 < GREETING_MS ? timeout_ms / 4 + 1 : GREETING_MS));
    transfer(stream, aio, ours, nng_stream_send);
    if (nng_aio_result(aio) == 0) {
        transfer(stream, aio, theirs, nng_stream_recv);
    }
}

/* One attempt to reach the address. Gives NNG's error. */
static int probe_once(const char *url, int64_t timeout_ms) {
    nng_stream_dialer *dialer = NULL;
    nng_aio *aio = NULL;
    int rv = nng_stream_dialer_alloc(&dialer, url);
    if (rv != 0) {
        return rv;
    }
    rv = nng_aio_alloc(&aio, NULL, NULL);
    if (rv != 0) {
        goto free_dialer;
    }
    nng_aio_set_timeout(aio, (nng_duration)timeout_ms);
    nng_stream_dialer_dial(dialer, aio);
    nng_aio_wait(aio);
    rv = nng_aio_result(aio);
    if (rv == 0) {
        nng_stream *stream = nng_aio_get_output(aio, 0);
        exchange_greetings(stream, aio, timeout_ms);
        nng_stream_close(stream);
        nng_stream_free(stream);
    }
    nng_aio_free(aio);
free_dialer:
    nng_stream_dialer_close(dialer);
    nng_stream_dialer_free(dialer);
    return rv;
}

static vd_status probe(const char *url, int64_t deadline_ms, bool again, vd_error *err) {
    for (;;) {
        int64_t left_ms = deadline_ms - clock_now_ms();
        int rv = probe_once(url, left_ms > 1 ? left_ms : 1);
        if (rv == 0) {
            return VD_OK;
        }
        if (rv == NNG_ENOMEM) {
            return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
        }
        if (rv == NNG_EADDRINVAL || rv == NNG_EINVAL) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "url", "%s: %s", url, nng_strerror(rv));
        }
        if (!again || clock_now_ms() + PROBE_PAUSE_MS >= deadline_ms) {
            /* A socket file that is not there is the same thing to a person as a port nobody listens on. */
            const char *reason = rv == NNG_ENOENT ? "Connection refused" : nng_strerror(rv);
            return vd_fail(err, VD_UNAVAILABLE, NULL, "cannot reach %s: %s", url, reason);
        }
        nng_msleep(PROBE_PAUSE_MS);
    }
}

static vd_status wait_connected(vd_client *client, int64_t deadline_ms, vd_error *err) {
    struct timespec until = clock_timespec(deadline_ms);
    pthread_mutex_lock(&client->mutex);
    int rc = 0;
    while (client->pipes == 0 && rc == 0) {
        rc = pthread_cond_timedwait(&client->changed, &client->mutex, &until);
    }
    bool connected = client->pipes > 0;
    pthread_mutex_unlock(&client->mutex);
    if (!connected) {
        return vd_fail(err, VD_UNAVAILABLE, NULL,
                       "%s takes connections but is not a vectord NNG door (is it the HTTP port?)", client->url);
    }
    return VD_OK;
}

static vd_status open_socket(vd_client *client, vd_error *err) {
    int rv = nng_req0_open(&client->socket);
    if (rv != 0) {
        goto fail;
    }
    nng_dialer dialer;
    if ((rv = nng_socket_set_ms(client->socket, NNG_OPT_REQ_RESENDTIME, RESEND_MS)) != 0 ||
        (rv = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMINT, RECONNECT_MS)) != 0 ||
        (rv = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS)) != 0 ||
        (rv = nng_socket_set_size(client->socket, NNG_OPT_RECVMAXSZ, CLIENT_REPLY_MAX_BYTES)) != 0 ||
        (rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_POST, pipe_changed, client)) != 0 ||
        (rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_REM_POST, pipe_changed, client)) != 0 ||
        (rv = nng_dialer_create(&dialer, client->socket, client->url)) != 0) {
        goto close;
    }
    /* Small requests must not wait for one another; not an option of ipc, hence not checked. */
    (void)nng_dialer_set_bool(dialer, NNG_OPT_TCP_NODELAY, true);
    rv = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    if (rv == 0) {
        return VD_OK;
    }
close:
    nng_close(client->socket); /* nothing has been connected: it returns */
fail:
    return vd_fail(err, rv == NNG_ENOMEM ? VD_OUT_OF_MEMORY : VD_INTERNAL, NULL, "%s: %s", client->url,
                   nng_strerror(rv));
}

static void close_socket(void *arg) {
    vd_client *client = arg;
    nng_close(client->socket);
}

static void client_free(void *arg) {
    vd_client *client = arg;
    pthread_cond_destroy(&client->changed);
    pthread_mutex_destroy(&client->mutex);
    free(client->authorization);
    free(client);
}

static bool is_unanswered(vd_client *client) {
    pthread_mutex_lock(&client->mutex);
    bool unanswered = client->unanswered && client->pipes > 0;
    pthread_mutex_unlock(&client->mutex);
    return unanswered;
}

/* Steps 2 and 3. The socket is "writable" when a connection has nothing to write and no request waits. */
static void quiesce(vd_client *client) {
    int fd;
    if (is_unanswered(client) && nng_socket_get_int(client->socket, NNG_OPT_SENDFD, &fd) == 0) {
        struct pollfd writable = {.fd = fd, .events = POLLIN};
        (void)poll(&writable, 1, FLUSH_MS); /* a signal cuts it short: then there is still the bound of step 4 */
    }
    (void)nng_socket_set_size(client->socket, NNG_OPT_RECVMAXSZ, 1);
    struct timespec until = clock_timespec(clock_now_ms() + QUIET_MS);
    pthread_mutex_lock(&client->mutex);
    while (client->unanswered && client->pipes > 0 &&
           pthread_cond_timedwait(&client->changed, &client->mutex, &until) == 0) {
    }
    pthread_mutex_unlock(&client->mutex);
}

/* Closes and frees a client whose socket is open; "Closing" above. */
static void close_and_free(vd_client *client) {
    client_calls_end(client);
    free(client->authorization);
    client->authorization = NULL;
    quiesce(client);
    if (bounded_run(close_socket, client_free, client, VD_CLIENT_CLOSE_MS)) {
        client_free(client);
    }
}

static vd_status set_token(vd_client *client, const char *token, vd_error *err) {
    static const char scheme[] = "Bearer ";
    size_t size = strnlen(token, CLIENT_TOKEN_MAX_BYTES + 1);
    if (size > CLIENT_TOKEN_MAX_BYTES) {
        return vd_fail(err, VD_INVALID_ARGUMENT, "token", "token: longer than %d bytes", CLIENT_TOKEN_MAX_BYTES);
    }
    client->authorization = malloc(sizeof scheme + size);
    if (!client->authorization) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    memcpy(client->authorization, scheme, sizeof scheme - 1);
    memcpy(client->authorization + sizeof scheme - 1, token, size + 1);
    return VD_OK;
}

vd_status vd_client_open(const char *url, const vd_client_options *options, vd_client **out, vd_error *err) {
    static const vd_client_options defaults;
    if (!options) {
        options = &defaults;
    }
    if (!url) {
        url = VD_CLIENT_URL_DEFAULT;
    }
    vd_status status = check_url(url, err);
    if (status != VD_OK) {
        return status;
    }
    if (options->timeout_ms > VD_TIMEOUT_MAX_MS || options->connect_timeout_ms > VD_TIMEOUT_MAX_MS) {
        return vd_fail(err, VD_INVALID_ARGUMENT,
                       options->timeout_ms > VD_TIMEOUT_MAX_MS ? "timeout_ms" : "connect_timeout_ms",
                       "a time limit is at most %d ms", VD_TIMEOUT_MAX_MS);
    }
    vd_client *client = calloc(1, sizeof *client);
    if (!client) {
        return vd_fail(err, VD_OUT_OF_MEMORY, NULL, "out of memory");
    }
    snprintf(client->url, sizeof client->url, "%s", url);
    client->timeout_ms = options->timeout_ms ? options->timeout_ms : VD_CLIENT_TIMEOUT_DEFAULT_MS;
    client->connect_timeout_ms =
        options->connect_timeout_ms ? options->connect_timeout_ms : VD_CLIENT_CONNECT_TIMEOUT_DEFAULT_MS;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&client->mutex, NULL);
    pthread_cond_init(&client->changed, &attributes);
    pthread_condattr_destroy(&attributes);

    int64_t deadline_ms = clock_now_ms() + client->connect_timeout_ms;
    if (options->token && (status = set_token(client, options->token, err)) != VD_OK) {
        goto free_client;
    }
    status = probe(url, deadline_ms, options->wait_for_server, err);
    if (status != VD_OK) {
        goto free_client;
    }
    status = open_socket(client, err);
    if (status != VD_OK) {
        goto free_client;
    }
    status = wait_connected(client, deadline_ms, err);
    if (status != VD_OK) {
        close_and_free(client);
        return status;
    }
    *out = client;
    return VD_OK;

free_client:
    client_free(client);
    return status;
}

void vd_client_close(vd_client *client) {
    if (client) {
        close_and_free(client);
    }
}

const char *vd_client_url(const vd_client *client) {
    return client->url;
}
