/*
 * door_test.c - the daemon's door over a real folder, byte by byte: routes, conditions, ranges, hostile keys and heads, bodies that
 * are too large, cut or too many at a time, and a disk that fails.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "storaged/door.h"
#include "storaged/folder_objects.h"
#include "store/object_key.h"
#include "unit/store/check.h"
#include "unit/store/fault_io.h"
#include "unit/transport/raw_http.h"
#include "vectord/limits.h"

typedef struct fixture {
    char path[256];
    fault_io io;
    objects *store;
    metrics *metrics;
    door *door;
    uint16_t port;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    check_make_folder(f->path);
    fault_io_init(&f->io);
    OK(folder_objects_open(f->path, &f->io.table, &f->store, NULL));
    f->metrics = metrics_new();
    assert_non_null(f->metrics);
    const char *binds[] = {"127.0.0.1:0"};
    OK(door_start(f->store, f->metrics, &(door_options){.binds = binds, .bind_count = 1}, &f->door, NULL));
    f->port = door_port(f->door, 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    door_stop(f->door, 5000);
    objects_close(f->store);
    metrics_free(f->metrics);
    check_remove_folder(f->path);
    free(f);
    return 0;
}

/* ---- helpers ---- */

static int call(const fixture *f, const char *method, const char *target, const char *headers, const char *body) {
    raw_reply r = raw_call(f->port, method, target, headers, body);
    int status = r.status;
    raw_free(&r);
    return status;
}

static void expect(const fixture *f, const char *method, const char *target, const char *headers, const char *body,
                   int status, const char *part) {
    raw_reply r = raw_call(f->port, method, target, headers, body);
    if (r.status != status || (part && (!r.body || !strstr(r.body, part)))) {
        fail_msg("%s %s: %d %s, wanted %d %s", method, target, r.status, r.body ? r.body : "", status,
                 part ? part : "");
    }
    raw_free(&r);
}

/* A header of a GET, copied; "" when absent. */
static void header_of(const fixture *f, const char *target, const char *name, char out[128]) {
    raw_reply r = raw_call(f->port, "GET", target, NULL, NULL);
    const char *value = raw_header(&r, name);
    snprintf(out, 128, "%s", value ? value : "");
    raw_free(&r);
}

static int files(const fixture *f, const char *front) {
    char folder[300];
    snprintf(folder, sizeof folder, "%s/objects", f->path);
    DIR *d = opendir(folder);
    assert_non_null(d);
    int count = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        bool self = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        count += !self && strncmp(e->d_name, front, strlen(front)) == 0;
    }
    closedir(d);
    return count;
}

/* The value of a series in /metrics; -1 when it is not there. */
static double metric_of(const fixture *f, const char *series) {
    raw_reply r = raw_call(f->port, "GET", "/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    char line[200];
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(r.body, line);
    double value = at ? strtod(at + strlen(line), NULL) : -1;
    raw_free(&r);
    return value;
}

/* Waits for a condition on the figures, or on the folder, with a deadline. */
#define EVENTUALLY(condition)                                                                                          \
    do {                                                                                                               \
        int64_t until_ = clock_now_ms() + 20000;                                                                       \
        while (!(condition)) {                                                                                         \
            if (clock_now_ms() > until_) {                                                                             \
                fail_msg("never: %s", #condition);                                                                     \
            }                                                                                                          \
            poll(NULL, 0, 5);                                                                                          \
        }                                                                                                              \
    } while (0)

/* ---- routes ---- */

static void put_get_delete(void **state) {
    const fixture *f = *state;
    raw_reply put = raw_call(f->port, "PUT", "/storage/put/notes/today", NULL, "hello");
    assert_int_equal(put.status, 204);
    const char *etag = raw_header(&put, "ETag");
    assert_non_null(etag);
    /* sha256sum of "hello" */
    assert_string_equal(etag, "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"");
    raw_free(&put);
    raw_reply get = raw_call(f->port, "GET", "/storage/get/notes%2Ftoday", NULL, NULL); /* the same key */
    assert_int_equal(get.status, 200);
    assert_string_equal(get.body, "hello");
    assert_string_equal(raw_header(&get, "Content-Type"), "application/octet-stream");
    assert_string_equal(raw_header(&get, "ETag"),
                        "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"");
    raw_free(&get);
    expect(f, "GET", "/storage/get/notes", NULL, NULL, 404, "not found\n");
    expect(f, "DELETE", "/storage/delete/notes/today", NULL, NULL, 204, NULL);
    expect(f, "DELETE", "/storage/delete/notes/today", NULL, NULL, 404, "not found\n");
    expect(f, "GET", "/storage/get/notes/today", NULL, NULL, 404, NULL);
    expect(f, "PUT", "/storage/put/empty", NULL, "", 204, NULL);
    expect(f, "GET", "/storage/get/empty", NULL, NULL, 200, NULL);
}

static void head_says_what_get_would(void **state) {
    const fixture *f = *state;
    expect(f, "PUT", "/storage/put/k", NULL, "12345", 204, NULL);
    int fd = raw_connect(f->port);
    assert_true(fd >= 0);
    assert_true(raw_send_text(fd, "HEAD /storage/get/k HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    raw_reply r = raw_read(fd, true);
    assert_int_equal(r.status, 200);
    assert_string_equal(raw_header(&r, "Content-Length"), "5");
    assert_non_null(raw_header(&r, "ETag"));
    raw_free(&r);
    /* the connection is in order: the next request on it works */
    assert_true(raw_send_text(fd, "GET /storage/get/k HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    r = raw_read(fd, false);
    assert_string_equal(r.body, "12345");
    raw_free(&r);
    close(fd);
}

static void conditions(void **state) {
    const fixture *f = *state;
    char etag[128], line[200];
    expect(f, "PUT", "/storage/put/k", "If-None-Match: *\r\n", "one", 204, NULL);
    expect(f, "PUT", "/storage/put/k", "If-None-Match: *\r\n", "two", 412, "already");
    header_of(f, "/storage/get/k", "ETag", etag);
    snprintf(line, sizeof line, "If-None-Match: %s\r\n", etag);
    expect(f, "GET", "/storage/get/k", line, NULL, 304, NULL);
    snprintf(line, sizeof line, "If-Match: %s\r\n", etag);
    expect(f, "GET", "/storage/get/k", line, NULL, 200, "one");
    expect(f, "PUT", "/storage/put/k", line, "two", 204, NULL);
    expect(f, "PUT", "/storage/put/k", line, "three", 412, "another one by now");
    expect(f, "GET", "/storage/get/k", line, NULL, 412, NULL);
    expect(f, "DELETE", "/storage/delete/k", line, NULL, 412, NULL);
    expect(f, "PUT", "/storage/put/none", "If-Match: *\r\n", "x", 412, "no such object");
    expect(f, "PUT", "/storage/put/k", "If-None-Match: x\r\n", "x", 400, "If-None-Match must be");
    expect(f, "PUT", "/storage/put/k", "If-None-Match: *\r\nIf-None-Match: *\r\n", "x", 400, "more than one");
    expect(f, "GET", "/storage/get/k", NULL, NULL, 200, "two");
    expect(f, "DELETE", "/storage/delete/k", "If-Match: *\r\n", NULL, 204, NULL);
    assert_int_equal(files(f, ""), 0);
}

static void parts(void **state) {
    const fixture *f = *state;
    char etag[128], lines[256];
    expect(f, "PUT", "/storage/put/k", NULL, "0123456789", 204, NULL);
    raw_reply r = raw_call(f->port, "GET", "/storage/get/k", "Range: bytes=2-4\r\n", NULL);
    assert_int_equal(r.status, 206);
    assert_string_equal(r.body, "234");
    assert_string_equal(raw_header(&r, "Content-Range"), "bytes 2-4/10");
    raw_free(&r);
    expect(f, "GET", "/storage/get/k", "Range: bytes=-2\r\n", NULL, 206, "89");
    expect(f, "GET", "/storage/get/k", "Range: bytes=10-\r\n", NULL, 416, "10 bytes");
    expect(f, "GET", "/storage/get/k", "Range: bytes=1-2,4-5\r\n", NULL, 200, "0123456789");
    header_of(f, "/storage/get/k", "ETag", etag);
    snprintf(lines, sizeof lines, "Range: bytes=1-2\r\nIf-Range: %s\r\n", etag);
    expect(f, "GET", "/storage/get/k", lines, NULL, 206, "12");
    expect(f, "GET", "/storage/get/k", "Range: bytes=1-2\r\nIf-Range: \"other\"\r\n", NULL, 200, "0123456789");
}

static void lists_in_pages(void **state) {
    const fixture *f = *state;
    expect(f, "GET", "/storage/list", NULL, NULL, 200, "{\"prefix\":\"\",\"objects\":[],\"count\":0}\n");
    static const char *const keys[] = {"b", "a%20b", "a", "a%2Fb", "c%22%5C", "a%2Bb"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char target[64];
        snprintf(target, sizeof target, "/storage/put/%s", keys[i]);
        expect(f, "PUT", target, NULL, "x", 204, NULL);
    }
    expect(f, "GET", "/storage/list?prefix=a&limit=2", NULL, NULL, 200,
           "{\"prefix\":\"a\",\"objects\":[{\"key\":\"a\",\"size\":1,\"etag\":\"");
    expect(f, "GET", "/storage/list?prefix=a&limit=2", NULL, NULL, 200, "],\"count\":2,\"cursor\":\"a b\"}\n");
    expect(f, "GET", "/storage/list?prefix=a&limit=2&cursor=a%20b", NULL, NULL, 200, "[{\"key\":\"a+b\"");
    expect(f, "GET", "/storage/list?prefix=a&limit=2&cursor=a+b", NULL, NULL, 200,
           "[{\"key\":\"a+b\""); /* + is a space */
    expect(f, "GET", "/storage/list?prefix=a&cursor=a%2Bb", NULL, NULL, 200, "[{\"key\":\"a/b\"");
    expect(f, "GET", "/storage/list?prefix=a&cursor=a/b", NULL, NULL, 200, "\"objects\":[],\"count\":0}\n");
    expect(f, "GET", "/storage/list?cursor=b", NULL, NULL, 200, "[{\"key\":\"c\\\"\\\\\"");
    static const char *const bad[] = {"limit=0",    "limit=10001",       "limit=x",   "limit=-1",
                                      "limit=1e3",  "limit=99999999999", "prefix=%",  "prefix=%zz",
                                      "prefix=%00", "prefix=%FF",        "cursor=%f", "cursor=%C3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char target[64];
        snprintf(target, sizeof target, "/storage/list?%s", bad[i]);
        expect(f, "GET", target, NULL, NULL, 400, "must be");
    }
}

static void routes_and_methods(void **state) {
    const fixture *f = *state;
    static const struct {
        const char *method, *target;
        int status;
    } cases[] = {
        {"GET", "/", 404},
        {"GET", "/storage", 404},
        {"GET", "/storage/", 404},
        {"GET", "/storage/get", 404},
        {"GET", "/storage/GET/x", 404},
        {"GET", "/storage/lists", 404},
        {"GET", "/storage/list/", 404},
        {"GET", "//storage/get/x", 404},
        {"POST", "/storage/put/x", 405},
        {"GET", "/storage/put/x", 405},
        {"PUT", "/storage/get/x", 405},
        {"DELETE", "/storage/get/x", 405},
        {"OPTIONS", "/storage/get/x", 405},
        {"PUT", "/storage/list", 405},
        {"GET", "/health", 200},
        {"GET", "/metrics", 200},
        {"GET", "/health/", 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect(f, cases[i].method, cases[i].target, NULL, NULL, cases[i].status, NULL);
    }
    raw_reply r = raw_call(f->port, "POST", "/storage/put/x", NULL, "body");
    assert_int_equal(r.status, 405);
    assert_string_equal(raw_header(&r, "Allow"), "PUT");
    raw_free(&r);
    assert_int_equal(files(f, ""), 0);
}

/* ---- keys ---- */

static void keys_that_are_none(void **state) {
    const fixture *f = *state;
    char longest[VD_OBJECT_KEY_MAX_BYTES + 64], too_long[VD_OBJECT_KEY_MAX_BYTES + 64];
    memset(longest, 'k', sizeof longest);
    memcpy(longest, "/storage/put/", 13);
    longest[13 + VD_OBJECT_KEY_MAX_BYTES] = '\0';
    memcpy(too_long, longest, sizeof longest);
    strcat(too_long, "k");
    static const struct {
        const char *key, *part;
    } bad[] = {
        {"", "is empty"},
        {"/x", "begins with"},
        {"%2Fx", "begins with"},
        {"..", "\"..\""},
        {"../x", "\"..\""},
        {"x/..", "\"..\""},
        {"x/../y", "\"..\""},
        {"%2e%2e/x", "\"..\""},
        {"%2E./x", "\"..\""},
        {"x%2F..%2Fy", "\"..\""},
        {"x%00y", "%00"},
        {"x%0Ay", "%0A"},
        {"x%0D", "%0D"},
        {"x%09y", "%09"},
        {"x%7F", "%7F"},
        {"%", "no escape"},
        {"x%4", "no escape"},
        {"x%zz", "no escape"},
        {"x%%41", "no escape"},
        {"%FF", "not UTF-8"},
        {"%C3", "not UTF-8"},
        {"%C0%AF", "not UTF-8"}, /* an overlong "/" */
        {"%ED%A0%80", "not UTF-8"},
        {"x?y", "%3F"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        static const char *const routes[][2] = {{"PUT", "put"}, {"GET", "get"}, {"DELETE", "delete"}};
        for (size_t r = 0; r < 3; r++) {
            char target[128];
            snprintf(target, sizeof target, "/storage/%s/%s", routes[r][1], bad[i].key);
            expect(f, routes[r][0], target, NULL, r == 0 ? "x" : NULL, 400, bad[i].part);
        }
    }
    expect(f, "PUT", longest, NULL, "x", 204, NULL);
    expect(f, "PUT", too_long, NULL, "x", 400, "at most 1024");
    assert_int_equal(files(f, ""), 1);
    assert_true(metric_of(f, "storaged_rejected_total{reason=\"bad_key\"}") > 60);
}

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Keys made of what hurts: each is either refused with a reason, or comes back byte for byte and stays inside the folder. */
static void five_hundred_hostile_names(void **state) {
    const fixture *f = *state;
    static const char *const pieces[] = {"..",   ".",        "/",           "//",
                                         "%",    "%2F",      "~",           " ",
                                         "\\",   ":",        "*",           "?",
                                         "\"",   "'",        "<",           ">",
                                         "|",    "-",        "-rf",         "&",
                                         "=",    "#",        "+",           "\n",
                                         "\r",   "\t",       "\x01",        "\x7f",
                                         "a",    "_vectors", ".lhv1",       ".put-0123456789abcdef",
                                         "LOCK", "objects",  "caf\xC3\xA9", "\xF0\x9F\x8D\x8E",
                                         "\xFF", "\xC3",     ".aside-1",    "$(id)",
                                         ";"};
    uint32_t seed = 20261127;
    int stored = 0, refused = 0;
    for (int i = 0; i < 500; i++) {
        char key[256] = "";
        for (uint32_t n = 1 + next_random(&seed) % 5; n > 0; n--) {
            strcat(key, pieces[next_random(&seed) % (sizeof pieces / sizeof pieces[0])]);
        }
        char encoded[1024], target[1100], body[32];
        assert_true(object_key_to_url(bytes_str(key), encoded, sizeof encoded));
        snprintf(body, sizeof body, "body %d", i);
        snprintf(target, sizeof target, "/storage/put/%s", encoded);
        int status = call(f, "PUT", target, NULL, body);
        bool legal = object_key_check(bytes_str(key), NULL) == VD_OK;
        if (status != (legal ? 204 : 400)) {
            fail_msg("%s: %d", encoded, status);
        }
        snprintf(target, sizeof target, "/storage/get/%s", encoded);
        expect(f, "GET", target, NULL, NULL, legal ? 200 : 400, legal ? body : NULL);
        stored += legal;
        refused += !legal;
    }
    assert_int_equal(call(f, "GET", "/storage/list", NULL, NULL), 200);
    char command[600];
    snprintf(command, sizeof command, "test \"$(find '%s' -mindepth 1 -maxdepth 1 | wc -l)\" = 2", f->path);
    assert_int_equal(system(command), 0); /* LOCK and objects, nothing beside them */
    print_message("%d stored, %d refused\n", stored, refused);
    assert_true(stored > 100 && refused > 50);
}

/* ---- strangers ---- */

static void pages_in_browsers_reach_nothing(void **state) {
    const fixture *f = *state;
    static const struct {
        const char *head;
        int status;
    } cases[] = {
        {"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
        {"GET /health HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", 200},
        {"GET /health HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 421},
        {"GET /health HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", 421},
        {"GET http://rebound.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", 403},
        {"PUT /storage/put/x HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 1\r\n\r\nx", 403},
        {"GET /health HTTP/1.1\r\n\r\n", 400},
        {"GET /health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400},
        {"PUT /storage/put/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400},
        {"PUT /storage/put/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"G@T /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        raw_reply r = raw_exchange(f->port, cases[i].head, strlen(cases[i].head));
        if (r.status != cases[i].status) {
            fail_msg("%s: %d, wanted %d", cases[i].head, r.status, cases[i].status);
        }
        raw_free(&r);
    }
    static const char nul[] = "GET /health HTTP/1.1\r\nHost: localhost\0evil\r\n\r\n";
    raw_reply r = raw_exchange(f->port, nul, sizeof nul - 1);
    assert_int_equal(r.status, 400);
    raw_free(&r);
    assert_int_equal(files(f, ""), 0);
}

/* ---- bodies ---- */

static void bodies_in_every_form(void **state) {
    const fixture *f = *state;
    static const char chunked[] = "PUT /storage/put/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    raw_reply r = raw_exchange(f->port, chunked, sizeof chunked - 1);
    assert_int_equal(r.status, 204);
    raw_free(&r);
    expect(f, "GET", "/storage/get/c", NULL, NULL, 200, "hello world");
    static const char none[] = "PUT /storage/put/n HTTP/1.1\r\nHost: localhost\r\n\r\n";
    r = raw_exchange(f->port, none, sizeof none - 1);
    assert_int_equal(r.status, 411);
    raw_free(&r);
    expect(f, "PUT", "/storage/put/z", "Content-Encoding: gzip\r\n", "x", 415, "Content-Encoding");
    expect(f, "DELETE", "/storage/delete/c", NULL, "a body that means nothing", 204, NULL);
    assert_int_equal(files(f, ""), 0);
    /* larger than any buffer on the way */
    size_t size = 5 * 1024 * 1024 + 7;
    char *large = malloc(size + 1);
    assert_non_null(large);
    for (size_t i = 0; i < size; i++) {
        large[i] = (char)('a' + i % 23);
    }
    large[size] = '\0';
    expect(f, "PUT", "/storage/put/large", NULL, large, 204, NULL);
    r = raw_call(f->port, "GET", "/storage/get/large", NULL, NULL);
    assert_int_equal(r.body_size, size);
    assert_memory_equal(r.body, large, size);
    raw_free(&r);
    free(large);
}

static void too_large_is_known_from_the_head(void **state) {
    const fixture *f = *state;
    char head[256];
    static const struct {
        const char *key;
        unsigned long long most;
    } cases[] = {{"k", VD_OBJECT_MAX_BYTES},
                 {"team/x", VD_OBJECT_MAX_BYTES},
                 {"_vectors/x.lhv1", VD_OBJECT_VECTORS_MAX_BYTES},
                 {"team/_vectors/x.lhv1", VD_OBJECT_VECTORS_MAX_BYTES}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (unsigned long long over = 0; over < 2; over++) {
            int fd = raw_connect(f->port);
            assert_true(fd >= 0);
            snprintf(head, sizeof head,
                     "PUT /storage/put/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %llu\r\nExpect: "
                     "100-continue\r\n\r\n",
                     cases[i].key, cases[i].most + over);
            assert_true(raw_send_text(fd, head));
            raw_reply r = raw_read(fd, false);
            assert_int_equal(r.status, over ? 413 : 100);
            raw_free(&r);
            close(fd);
        }
    }
    EVENTUALLY(files(f, ".put-") == 0);
    /* without Expect the answer comes when the client has stopped sending */
    static char body[300000];
    memset(body, 'x', sizeof body);
    int fd = raw_connect(f->port);
    assert_true(fd >= 0);
    snprintf(head, sizeof head, "PUT /storage/put/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: %llu\r\n\r\n",
             VD_OBJECT_MAX_BYTES + 1);
    assert_true(raw_send_text(fd, head));
    assert_true(raw_send(fd, body, sizeof body));
    assert_int_equal(files(f, ""), 0); /* nothing of it is kept meanwhile */
    close(fd);
    EVENTUALLY(metric_of(f, "storaged_rejected_total{reason=\"too_large\"}") >= 5);
}

static int open_put(const fixture *f, const char *key, const char *begin) {
    int fd = raw_connect(f->port);
    assert_true(fd >= 0);
    char head[256];
    snprintf(head, sizeof head, "PUT /storage/put/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n%s", key,
             begin);
    assert_true(raw_send_text(fd, head));
    return fd;
}

static void a_cut_body_leaves_nothing(void **state) {
    const fixture *f = *state;
    expect(f, "PUT", "/storage/put/k", NULL, "old", 204, NULL);
    int fd = open_put(f, "k", "half of ");
    EVENTUALLY(files(f, ".put-") == 1);
    close(fd);
    EVENTUALLY(files(f, ".put-") == 0);
    EVENTUALLY(metric_of(f, "storaged_puts_in_flight") == 0);
    expect(f, "GET", "/storage/get/k", NULL, NULL, 200, "old");
    assert_int_equal(files(f, ""), 1);
}

static void one_put_too_many_is_told_when_to_come_again(void **state) {
    const fixture *f = *state;
    int fds[VD_OBJECT_PUTS_MAX];
    for (int i = 0; i < VD_OBJECT_PUTS_MAX; i++) {
        char key[16];
        snprintf(key, sizeof key, "slow%d", i);
        fds[i] = open_put(f, key, "begun ");
    }
    EVENTUALLY(metric_of(f, "storaged_puts_in_flight") == VD_OBJECT_PUTS_MAX);
    raw_reply r = raw_call(f->port, "PUT", "/storage/put/fifth", NULL, "x");
    assert_int_equal(r.status, 503);
    assert_string_equal(raw_header(&r, "Retry-After"), "5");
    raw_free(&r);
    assert_int_equal(call(f, "GET", "/health", NULL, NULL), 200); /* others are not kept waiting */
    char rest[95];
    memset(rest, 'x', sizeof rest);
    assert_true(raw_send(fds[0], rest, 94));
    r = raw_read(fds[0], false);
    assert_int_equal(r.status, 204);
    raw_free(&r);
    expect(f, "PUT", "/storage/put/fifth", NULL, "x", 204, NULL);
    for (int i = 0; i < VD_OBJECT_PUTS_MAX; i++) {
        close(fds[i]);
    }
    EVENTUALLY(metric_of(f, "storaged_puts_in_flight") == 0);
    assert_int_equal(files(f, ".put-"), 0);
    assert_int_equal(files(f, ""), 2);
}

/* ---- a disk that fails ---- */

static void every_call_fails_in_turn(void **state) {
    fixture *f = *state;
    int failures = 0;
    for (int i = 1;; i++) {
        expect(f, "PUT", "/storage/put/k", NULL, "old", 204, NULL);
        fault_io_arm(&f->io, i, ENOSPC, false);
        int status = call(f, "PUT", "/storage/put/k", NULL, "the new content");
        bool failed = f->io.failed > 0;
        fault_io_arm(&f->io, 0, 0, false);
        raw_reply r = raw_call(f->port, "GET", "/storage/get/k", NULL, NULL);
        assert_int_equal(r.status, 200);
        bool fresh = strcmp(r.body, "the new content") == 0;
        assert_true(fresh || strcmp(r.body, "old") == 0);
        assert_true(status == 507 || (status == 204 && fresh));
        raw_free(&r);
        if (!failed) {
            break;
        }
        failures++;
    }
    for (int i = 1; i <= 3; i++) { /* open, size, read of the end: an error, never "not found" */
        fault_io_arm(&f->io, i, EIO, false);
        assert_int_equal(call(f, "GET", "/storage/get/k", NULL, NULL), 500);
        fault_io_arm(&f->io, 0, 0, false);
    }
    fault_io_arm(&f->io, 4, EIO, false); /* the head has gone out: the connection is cut */
    assert_int_equal(call(f, "GET", "/storage/get/k", NULL, NULL), 0);
    fault_io_arm(&f->io, 0, 0, false);
    print_message("%d calls failed in turn\n", failures);
    assert_true(failures >= 5);
}

static void figures_are_kept(void **state) {
    const fixture *f = *state;
    expect(f, "PUT", "/storage/put/k", NULL, "12345", 204, NULL);
    expect(f, "GET", "/storage/get/k", NULL, NULL, 200, "12345");
    expect(f, "GET", "/storage/get/none", NULL, NULL, 404, NULL);
    assert_true(metric_of(f, "storaged_requests_total{op=\"put\",code=\"204\"}") == 1);
    assert_true(metric_of(f, "storaged_requests_total{op=\"get\",code=\"404\"}") == 1);
    assert_true(metric_of(f, "storaged_received_bytes_total") == 5);
    EVENTUALLY(metric_of(f, "storaged_sent_bytes_total") == 5);
    assert_true(metric_of(f, "storaged_request_duration_seconds_count{op=\"put\"}") == 1);
    assert_true(metric_of(f, "storaged_puts_in_flight") == 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(put_get_delete),
        TEST(head_says_what_get_would),
        TEST(conditions),
        TEST(parts),
        TEST(lists_in_pages),
        TEST(routes_and_methods),
        TEST(keys_that_are_none),
        TEST(five_hundred_hostile_names),
        TEST(pages_in_browsers_reach_nothing),
        TEST(bodies_in_every_form),
        TEST(too_large_is_known_from_the_head),
        TEST(a_cut_body_leaves_nothing),
        TEST(one_put_too_many_is_told_when_to_come_again),
        TEST(every_call_fails_in_turn),
        TEST(figures_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
