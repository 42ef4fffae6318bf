/*
 * storaged_test.c - the store over HTTP against a server that follows a script: busy, silent, cut off, lying. What may be repeated is
 * repeated, what may not is not, and every answer that means nothing is an error with the store's own words.
 */
#include "store/storaged.h"

#include <pthread.h>

#include "base/clock.h"
#include "store/checksum.h"
#include "store/storaged_int.h"
#include "unit/store/check.h"
#include "unit/store/fake_http.h"

#define KEY "_vectors/fruit.lhv1"

#define ANSWER(status, headers, body) "HTTP/1.1 " status "\r\n" headers "\r\n" body
#define EMPTY(status)                 ANSWER(status, "Content-Length: 0\r\n", "")
#define DONE                          ANSWER("204 No Content", "", "")
#define EXISTS                        ANSWER("412 Precondition Failed", "Content-Length: 8\r\n", "exists!\n")
/* What opening needs: a put, the same refused, a delete. */
#define PROBE                                                                                                          \
    {.answer = DONE}, {.answer = EXISTS}, {                                                                            \
        .answer = DONE                                                                                                 \
    }
#define PROBE_REQUESTS 3
/* sha256sum of "hello" */
#define HELLO_SUM "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define HELLO     ANSWER("200 OK", "Content-Length: 5\r\nETag: \"" HELLO_SUM "\"\r\n", "hello")

static objstore_http_options quick(const fake_http *f, char url[64]) {
    snprintf(url, 64, "http://127.0.0.1:%u", f->port);
    return (objstore_http_options){
        .url = url, .connect_ms = 1000, .stall_s = 1, .retry_ms = 1500, .put_buffer_bytes = 8};
}

static vd_status open_store(const fake_http *f, objstore **out, vd_error *err) {
    char url[64];
    objstore_http_options options = quick(f, url);
    return objstore_open_storaged(&options, out, err);
}

/* A store over the script, opened. */
typedef struct scene {
    fake_http *fake;
    objstore *store;
} scene;

static scene begin(const fake_step *steps, size_t count) {
    scene s = {.fake = fake_http_start(steps, count)};
    assert_non_null(s.fake);
    vd_error err = {0};
    if (open_store(s.fake, &s.store, &err) != VD_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(atomic_load(&s.fake->seen), PROBE_REQUESTS);
    return s;
}
#define BEGIN(steps) begin(steps, sizeof(steps) / sizeof((steps)[0]))

static void end(scene *s) {
    objstore_close(s->store);
    fake_http_stop(s->fake);
}

static size_t asked(const scene *s) {
    return atomic_load(&s->fake->seen) - PROBE_REQUESTS;
}

static const fake_request *request(const scene *s, size_t i) {
    return &s->fake->requests[PROBE_REQUESTS + i];
}

static vd_status get(const scene *s, vd_error *err) {
    objstore_blob blob = {0};
    vd_status status = s->store->v->get(s->store, KEY, &blob, err);
    if (status == VD_OK) {
        assert_true(bytes_equal(bytes_of(blob.data, blob.size), bytes_str("hello")));
        objstore_blob_release(&blob);
    }
    return status;
}

static vd_status sync_log(const scene *s, const char *text, vd_error *err) {
    objstore_log *log;
    OK(s->store->v->log_create(s->store, "_vectors/.journal/00ff/0001", &log, NULL));
    OK(s->store->v->log_append(log, text, strlen(text), NULL));
    vd_status status = s->store->v->log_sync(log, err);
    s->store->v->log_close(log);
    return status;
}

static vd_status put(const scene *s, const char *text, bool if_absent, vd_error *err) {
    objstore_put *p;
    OK(s->store->v->put_begin(s->store, KEY, if_absent, &p, err));
    vd_status status = s->store->v->put_write(p, text, strlen(text), err);
    if (status != VD_OK) {
        s->store->v->put_abort(p);
        return status;
    }
    return s->store->v->put_commit(p, err);
}

typedef struct keys {
    char text[1024];
} keys;

static vd_status add_key(void *arg, const char *key, uint64_t size) {
    keys *k = arg;
    size_t used = strlen(k->text);
    snprintf(k->text + used, sizeof k->text - used, "%s=%llu\n", key, (unsigned long long)size);
    return VD_OK;
}

/* ---- opening ---- */

static void a_store_that_honours_conditions_is_taken(void **state) {
    (void)state;
    static const fake_step steps[] = {PROBE};
    scene s = BEGIN(steps);
    const fake_request *first = &s.fake->requests[0], *second = &s.fake->requests[1];
    assert_non_null(strstr(first->head, "PUT /storage/put/_vectors/.probe/"));
    assert_non_null(strstr(first->head, "If-None-Match: *"));
    assert_non_null(strstr(second->head, "If-None-Match: *"));
    assert_non_null(strstr(s.fake->requests[2].head, "DELETE /storage/delete/_vectors/.probe/"));
    end(&s);
}

static void a_store_that_lies_is_refused(void **state) {
    (void)state;
    static const struct {
        fake_step steps[3];
        vd_status status;
        const char *part;
    } cases[] = {
        {{{.answer = DONE}, {.answer = DONE}, {.answer = DONE}},
         VD_FAILED_PRECONDITION,
         "does not honour If-None-Match"},
        {{{.answer = EMPTY("404 Not Found")}}, VD_FAILED_PRECONDITION, "no object daemon that can be used"},
        {{{.answer = EMPTY("201 Created")}}, VD_FAILED_PRECONDITION, "answers 201"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_http *f = fake_http_start(cases[i].steps, cases[i].steps[1].answer ? 3 : 1);
        objstore *store;
        vd_error err = {0};
        FAILS(open_store(f, &store, &err), cases[i].status);
        if (!strstr(err.text, cases[i].part)) {
            fail_msg("%s", err.text);
        }
        fake_http_stop(f);
    }
}

static void nobody_there_is_said_with_what_to_do(void **state) {
    (void)state;
    objstore *store;
    vd_error err;
    /* port 1 of loopback: nothing listens there */
    objstore_http_options options = {.url = "http://127.0.0.1:1", .retry_ms = 300};
    int64_t began_ms = clock_now_ms();
    OK(objstore_open_storaged(&options, &store, &err)); /* it may come */
    FAILS(store->v->list(store, "", add_key, &(keys){0}, &err), VD_UNAVAILABLE);
    assert_true(clock_now_ms() - began_ms < 5000);
    assert_non_null(strstr(err.text, "http://127.0.0.1:1"));
    assert_non_null(strstr(err.text, "start storaged there, or correct [store] url"));
    objstore_close(store);
    options.prefix = "../x";
    FAILS(objstore_open_storaged(&options, &store, &err), VD_INVALID_ARGUMENT);
}

/* ---- trying again ---- */

static void what_passes_is_tried_again(void **state) {
    (void)state;
    static const fake_step steps[] = {
        PROBE,
        {.answer = EMPTY("503 Service Unavailable")},
        {.close = true}, /* reads the request and goes */
        {.answer = EMPTY("502 Bad Gateway"), .close = true},
        {.answer = ANSWER("200 OK", "Content-Length: 5\r\n", "hel"), .close = true}, /* cut */
        {.answer = HELLO}};
    scene s = BEGIN(steps);
    OK(get(&s, NULL));
    assert_int_equal(asked(&s), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_non_null(strstr(request(&s, i)->head, "GET /storage/get/_vectors/fruit.lhv1 HTTP/1.1"));
    }
    end(&s);
}

static void retry_after_is_obeyed(void **state) {
    (void)state;
    static const fake_step steps[] = {
        PROBE,
        {.answer = ANSWER("503 Service Unavailable", "Retry-After: 1\r\nContent-Length: 0\r\n", "")},
        {.answer = HELLO}};
    scene s = BEGIN(steps);
    int64_t began_ms = clock_now_ms();
    OK(get(&s, NULL));
    assert_true(clock_now_ms() - began_ms >= 1000);
    end(&s);
    static const fake_step later[] = {
        PROBE, {.answer = ANSWER("503 Service Unavailable", "Retry-After: 60\r\nContent-Length: 5\r\n", "busy\n")}};
    s = BEGIN(later);
    vd_error err;
    began_ms = clock_now_ms();
    FAILS(get(&s, &err), VD_UNAVAILABLE); /* not in the time that there is: no use in waiting */
    assert_true(clock_now_ms() - began_ms < 1000);
    assert_int_equal(err.retry_after_s, 60);
    assert_non_null(strstr(err.text, "answers 503: busy"));
    end(&s);
}

static void it_ends_when_the_store_stays_away(void **state) {
    (void)state;
    static const struct {
        fake_step step;
        const char *part;
    } cases[] = {
        {{.answer = EMPTY("503 Service Unavailable")}, "answers 503"},
        {{.close = true}, "does not answer"},
        {{.hang = true}, "does not answer"},
        {{.answer = ANSWER("200 OK", "Content-Length: 5\r\n", "hel"), .close = true}, "does not answer"},
        {{.answer = ANSWER("200 OK", "Content-Length: 5\r\n", "hel"), .hang = true}, "does not answer"},
        {{.answer = "HTTP/1.1 abc\r\n\r\n", .close = true}, "answer"},
        {{.answer = EMPTY("500 Internal Server Error")}, "answers 500"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const fake_step steps[] = {PROBE, cases[i].step};
        scene s = BEGIN(steps);
        vd_error err = {0};
        int64_t began_ms = clock_now_ms();
        FAILS(get(&s, &err), VD_UNAVAILABLE);
        assert_true(clock_now_ms() - began_ms < 15000);
        if (!strstr(err.text, cases[i].part)) {
            fail_msg("case %zu: %s", i, err.text);
        }
        print_message("case %zu: %zu requests in %lld ms\n", i, asked(&s), (long long)(clock_now_ms() - began_ms));
        end(&s);
    }
}

static void what_is_final_is_not_tried_again(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        vd_status status;
    } cases[] = {
        {EMPTY("404 Not Found"), VD_NOT_FOUND},
        {ANSWER("400 Bad Request", "Content-Length: 9\r\n", "not found"),
         VD_INVALID_ARGUMENT}, /* words are no status */
        {ANSWER("403 Forbidden", "Content-Length: 9\r\n", "not found"), VD_INTERNAL},
        {EMPTY("507 Insufficient Storage"), VD_DISK_FULL},
        {EMPTY("301 Moved Permanently"), VD_INTERNAL},
        {EMPTY("206 Partial Content"), VD_INTERNAL},
        {EMPTY("204 No Content"), VD_INTERNAL},
        {ANSWER("200 OK", "Content-Length: 5\r\nETag: \"" HELLO_SUM "\"\r\n", "hellO"), VD_DATA_LOSS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const fake_step steps[] = {PROBE, {.answer = cases[i].answer}};
        scene s = BEGIN(steps);
        FAILS(get(&s, NULL), cases[i].status);
        assert_int_equal(asked(&s), 1);
        end(&s);
    }
    /* an ETag that is not ours says nothing of the bytes */
    static const fake_step foreign[] = {
        PROBE, {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: W/\"x\"\r\n", "hello")}};
    scene s = BEGIN(foreign);
    OK(get(&s, NULL));
    end(&s);
}

/* ---- lost answers ---- */

static void a_put_whose_answer_was_lost_finds_itself(void **state) {
    (void)state;
    static const fake_step steps[] = {
        PROBE,
        {.close = true},
        {.answer = EXISTS},
        {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: \"" HELLO_SUM "\"\r\n", "")}};
    scene s = BEGIN(steps);
    OK(sync_log(&s, "hello", NULL));
    assert_int_equal(asked(&s), 3);
    assert_non_null(strstr(request(&s, 0)->head, "If-None-Match: *"));
    assert_non_null(strstr(request(&s, 1)->head, "PUT /storage/put/_vectors/.journal/00ff/0001 "));
    assert_memory_equal(request(&s, 1)->body, "hello", 5);
    assert_non_null(strstr(request(&s, 2)->head, "HEAD /storage/get/_vectors/.journal/00ff/0001 "));
    end(&s);
}

static void somebody_elses_object_is_not_taken_for_ours(void **state) {
    (void)state;
    static const fake_step steps[] = {PROBE,
                                      {.close = true},
                                      {.answer = EXISTS},
                                      {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: \"00\"\r\n", "")}};
    scene s = BEGIN(steps);
    FAILS(sync_log(&s, "hello", NULL), VD_ALREADY_EXISTS);
    assert_int_equal(asked(&s), 3);
    end(&s);
    /* refused at the first try: a log may be its own from before; an object is not, and nobody asks whose it is */
    static const fake_step clean[] = {
        PROBE,
        {.answer = EXISTS},
        {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: \"" HELLO_SUM "\"\r\n", "")},
        {.answer = EXISTS}};
    s = BEGIN(clean);
    OK(sync_log(&s, "hello", NULL));
    FAILS(put(&s, "hello", true, NULL), VD_ALREADY_EXISTS);
    assert_int_equal(asked(&s), 3);
    end(&s);
}

/* The store goes away between the 412 and the look: nobody knows whose object that is, and nobody says that he does. */
static void what_cannot_be_told_is_called_unavailable(void **state) {
    (void)state;
    static const fake_step steps[] = {PROBE, {.answer = EXISTS}, {.close = true}};
    scene s = BEGIN(steps);
    FAILS(sync_log(&s, "hello", NULL), VD_UNAVAILABLE);
    end(&s);
}

static void other_bytes_than_were_sent_are_noticed(void **state) {
    (void)state;
    static const fake_step steps[] = {PROBE, {.answer = ANSWER("204 No Content", "ETag: \"" HELLO_SUM "\"\r\n", "")}};
    scene s = BEGIN(steps);
    vd_error err;
    FAILS(put(&s, "hallo", true, &err), VD_UNAVAILABLE);
    assert_non_null(strstr(err.text, "other bytes"));
    OK(put(&s, "hello", true, NULL));
    end(&s);
}

/* ---- streams ---- */

#define LONG_TEXT "a text that is longer than the buffer of eight bytes"

static void a_stream_arrives_whole(void **state) {
    (void)state;
    static const fake_step steps[] = {PROBE, {.answer = DONE}};
    scene s = BEGIN(steps);
    OK(put(&s, LONG_TEXT, true, NULL));
    assert_int_equal(asked(&s), 1);
    assert_non_null(strstr(request(&s, 0)->head, "Transfer-Encoding: chunked"));
    assert_non_null(strstr(request(&s, 0)->head, "If-None-Match: *"));
    assert_int_equal(request(&s, 0)->body_size, strlen(LONG_TEXT));
    assert_memory_equal(request(&s, 0)->body, LONG_TEXT, strlen(LONG_TEXT));
    end(&s);
}

static void a_stream_that_was_not_begun_begins_again(void **state) {
    (void)state;
    static const fake_step steps[] = {
        PROBE,
        {.answer = EMPTY("503 Service Unavailable"), .early = true},
        {.close = true, .early = true},
        {.answer = DONE},
    };
    scene s = BEGIN(steps);
    OK(put(&s, LONG_TEXT, true, NULL));
    assert_int_equal(asked(&s), 3);
    assert_int_equal(request(&s, 2)->body_size, strlen(LONG_TEXT));
    assert_memory_equal(request(&s, 2)->body, LONG_TEXT, strlen(LONG_TEXT));
    end(&s);
}

static void a_refused_stream_tells_why(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        bool early;
        vd_status status;
    } cases[] = {
        {ANSWER("507 Insufficient Storage", "Content-Length: 5\r\n", "full\n"), true, VD_DISK_FULL},
        {ANSWER("413 Content Too Large", "Content-Length: 5\r\n", "much\n"), true, VD_TOO_LARGE},
        {EXISTS, true, VD_ALREADY_EXISTS},
        {EXISTS, false, VD_ALREADY_EXISTS},
        {ANSWER("507 Insufficient Storage", "Content-Length: 5\r\n", "full\n"), false, VD_DISK_FULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const fake_step steps[] = {PROBE, {.answer = cases[i].answer, .early = cases[i].early}};
        scene s = BEGIN(steps);
        FAILS(put(&s, LONG_TEXT, true, NULL), cases[i].status);
        end(&s);
    }
}

static void a_stream_whose_answer_was_lost_looks_for_itself(void **state) {
    (void)state;
    uint8_t sum[CHECKSUM_BYTES];
    char hex[CHECKSUM_HEX_BYTES], found[256];
    assert_true(checksum_of(LONG_TEXT, strlen(LONG_TEXT), sum));
    hex_encode(sum, sizeof sum, hex);
    snprintf(found, sizeof found, ANSWER("200 OK", "Content-Length: 52\r\nETag: \"%s\"\r\n", ""), hex);
    const fake_step there[] = {PROBE, {.close = true}, {.answer = found}};
    scene s = BEGIN(there);
    OK(put(&s, LONG_TEXT, true, NULL));
    end(&s);
    static const fake_step gone[] = {PROBE, {.close = true}, {.answer = EMPTY("404 Not Found")}};
    s = BEGIN(gone);
    FAILS(put(&s, LONG_TEXT, true, NULL), VD_UNAVAILABLE);
    end(&s);
}

/* A put that was given up may still be under way in the store: it must not undo its successor. */
static void what_is_replaced_is_named(void **state) {
    (void)state;
    static const fake_step steps[] = {
        PROBE,
        {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: \"abc\"\r\n", "")}, /* HEAD, PUT: replaces "abc" */
        {.answer = DONE},
        {.answer = EMPTY("404 Not Found")}, /* nothing is there yet */
        {.answer = DONE},
        {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: \"abc\"\r\n", "")}, /* overtaken */
        {.answer = EXISTS},
        {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: \"abc\"\r\n", "")}, /* overtaken, but by itself */
        {.close = true},
        {.answer = EXISTS},
        {.answer = ANSWER("200 OK", "Content-Length: 5\r\nETag: \"" HELLO_SUM "\"\r\n", "")},
        {.answer = ANSWER("200 OK", "Content-Length: 52\r\nETag: \"abc\"\r\n", "")}, /* a stream */
        {.answer = DONE},
        {.answer = EMPTY("500 Internal Server Error")}, /* damaged there: three looks */
        {.answer = EMPTY("500 Internal Server Error")},
        {.answer = EMPTY("500 Internal Server Error")},
        {.answer = DONE},
    };
    scene s = BEGIN(steps);
    vd_error err;
    OK(put(&s, "hello", false, NULL));
    assert_non_null(strstr(request(&s, 0)->head, "HEAD /storage/get/" KEY));
    assert_non_null(strstr(request(&s, 1)->head, "If-Match: \"abc\"\r\n"));
    OK(put(&s, "hello", false, NULL));
    assert_non_null(strstr(request(&s, 3)->head, "If-None-Match: *\r\n"));
    FAILS(put(&s, "hello", false, &err), VD_UNAVAILABLE);
    assert_non_null(strstr(err.text, "changed meanwhile"));
    OK(put(&s, "hello", false, NULL));
    assert_int_equal(asked(&s), 10);
    OK(put(&s, LONG_TEXT, false, NULL));
    assert_non_null(strstr(request(&s, 11)->head, "If-Match: \"abc\"\r\n"));
    OK(put(&s, "hello", false, NULL));
    assert_non_null(strstr(request(&s, 15)->head, "If-Match: *\r\n"));
    end(&s);
}

/* ---- cancelling ---- */

typedef struct waiting {
    http_client *client;
    vd_status status;
} waiting;

static void *wait_for_answer(void *arg) {
    waiting *w = arg;
    const http_call call = {.method = "GET", .target = "/"};
    http_answer answer;
    http_answer_init(&answer);
    w->status = http_client_call(w->client, &call, &answer, NULL, NULL);
    http_answer_fini(&answer);
    return NULL;
}

static void a_cancel_ends_what_waits(void **state) {
    (void)state;
    static const fake_step steps[] = {{.hang = true}};
    fake_http *f = fake_http_start(steps, 1);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", f->port);
    waiting w = {0};
    OK(http_client_new(&(http_client_options){.url = url, .stall_s = 60, .retry_ms = 60000}, &w.client, NULL));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_answer, &w), 0);
    int64_t until_ms = clock_now_ms() + 20000;
    while (atomic_load(&f->seen) == 0 && clock_now_ms() < until_ms) {
        sched_yield();
    }
    int64_t began_ms = clock_now_ms();
    http_client_cancel(w.client);
    pthread_join(thread, NULL);
    assert_true(clock_now_ms() - began_ms < 5000);
    FAILS(w.status, VD_CANCELLED);
    wait_for_answer(&w); /* what comes later too */
    FAILS(w.status, VD_CANCELLED);
    http_client_free(w.client);
    fake_http_stop(f);
}

/* ---- listings ---- */

static void listings_of_every_form(void **state) {
    (void)state;
    static const struct {
        const char *page, *keys, *cursor;
    } good[] = {
        {"{\"prefix\":\"\",\"objects\":[{\"key\":\"a\",\"size\":3,\"etag\":\"x\"},{\"size\":4,\"key\":\"b\"}],"
         "\"count\":2}",
         "a=3\nb=4\n", ""},
        {"{\"keys\":[\"a\",\"b/\\u00e9\"],\"cursor\":\"b\"}", "a=0\nb/\xC3\xA9=0\n", "b"},
        {"{\"objects\":[\"a\",{\"key\":\"b\",\"extra\":{\"x\":[1]}}],\"cursor\":null}", "a=0\nb=0\n", ""},
        {"{\"objects\":[]}", "", ""},
        {" {\"keys\" : [ ] , \"x\" : 1 } \n", "", ""},
    };
    char cursor[VD_OBJECT_KEY_MAX_BYTES + 1];
    size_t count;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        keys k = {0};
        OK(storaged_list_parse(bytes_str(good[i].page), add_key, &k, cursor, &count, NULL));
        assert_string_equal(k.text, good[i].keys);
        assert_string_equal(cursor, good[i].cursor);
    }
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "null",
                                      "{\"objects\":null}",
                                      "{\"objects\":{}}",
                                      "{\"objects\":[1]}",
                                      "{\"objects\":[{}]}",
                                      "{\"objects\":[{\"key\":1}]}",
                                      "{\"objects\":[\"\"]}",
                                      "{\"objects\":[\"a\"]",
                                      "{\"objects\":[\"a\"]}x",
                                      "<html>",
                                      "{\"objects\":[\"\\ud800\"]}",
                                      "{\"objects\":[{\"key\":\"a\",\"size\":-1}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        keys k = {0};
        vd_error err;
        if (storaged_list_parse(bytes_str(bad[i]), add_key, &k, cursor, &count, &err) != VD_DATA_LOSS) {
            fail_msg("%s is a listing", bad[i]);
        }
    }
}

static void pages_are_followed_and_our_own_things_hidden(void **state) {
    (void)state;
#define PAGE(length, body) ANSWER("200 OK", "Content-Length: " length "\r\n", body)
    static const fake_step steps[] = {
        PROBE,
        {.answer = PAGE("69", "{\"objects\":[\"_vectors/a\",\"_vectors/a.aside-1\"],\"cursor\":\"_vectors/b\"}")},
        {.answer = PAGE("70", "{\"keys\":[\"_vectors/.probe/0123\",\"_vectors/a.aside-x\",\"other/strange\"]}")},
        {.answer = PAGE("28", "{\"keys\":[],\"cursor\":\"again\"}")},
    };
    scene s = BEGIN(steps);
    keys k = {0};
    OK(s.store->v->list(s.store, "_vectors/", add_key, &k, NULL));
    assert_string_equal(k.text, "_vectors/a=0\n_vectors/a.aside-x=0\n");
    assert_non_null(strstr(request(&s, 0)->head, "GET /storage/list?prefix=_vectors/ HTTP"));
    assert_non_null(strstr(request(&s, 1)->head, "GET /storage/list?prefix=_vectors/&cursor=_vectors/b HTTP"));
    vd_error err;
    FAILS(s.store->v->list(s.store, "_vectors/", add_key, &k, &err), VD_DATA_LOSS);
    assert_non_null(strstr(err.text, "circles"));
    end(&s);
    static const fake_step none[] = {PROBE, {.answer = EMPTY("404 Not Found")}};
    s = BEGIN(none);
    FAILS(s.store->v->list(s.store, "_vectors/", add_key, &k, NULL), VD_INTERNAL); /* no route is not "no keys" */
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_honours_conditions_is_taken),
        cmocka_unit_test(a_store_that_lies_is_refused),
        cmocka_unit_test(nobody_there_is_said_with_what_to_do),
        cmocka_unit_test(what_passes_is_tried_again),
        cmocka_unit_test(retry_after_is_obeyed),
        cmocka_unit_test(it_ends_when_the_store_stays_away),
        cmocka_unit_test(what_is_final_is_not_tried_again),
        cmocka_unit_test(a_put_whose_answer_was_lost_finds_itself),
        cmocka_unit_test(somebody_elses_object_is_not_taken_for_ours),
        cmocka_unit_test(what_cannot_be_told_is_called_unavailable),
        cmocka_unit_test(other_bytes_than_were_sent_are_noticed),
        cmocka_unit_test(a_stream_arrives_whole),
        cmocka_unit_test(a_stream_that_was_not_begun_begins_again),
        cmocka_unit_test(a_refused_stream_tells_why),
        cmocka_unit_test(a_stream_whose_answer_was_lost_looks_for_itself),
        cmocka_unit_test(what_is_replaced_is_named),
        cmocka_unit_test(a_cancel_ends_what_waits),
        cmocka_unit_test(listings_of_every_form),
        cmocka_unit_test(pages_are_followed_and_our_own_things_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
