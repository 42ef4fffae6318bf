/*
 * dir_power_test.c - the directory store and power cuts: a fixed history of puts, logs and removes is cut before each of its
 * I/O calls, many times with other dice. What was answered with OK is there afterwards; what was under way is as before or as
 * asked; nothing is mixed; the store opens.
 */
#include "store/objstore.h"
#include "unit/store/check.h"
#include "unit/store/power_io.h"

#define FRAME   "_vectors/a.lhv1"
#define FRESH   "_vectors/b.lhv1"
#define SEGMENT "_vectors/.journal/00112233445566778899aabbccddeeff/0000000000000001"
#define THROWS  40

/* What the history has been told so far. NULL: missing; `asked` is what may also be found while a call is under way. */
typedef struct belief {
    const char *now;
    const char *asked;
    bool under_way;
} belief;

static belief frame, fresh;
static size_t synced, written; /* of the segment */
static bool segment_may_be, segment_must_be;

static const char segment_text[] = "first record.second record.third record.";

static vd_status put(objstore *s, const char *key, belief *b, const char *text, bool if_absent) {
    objstore_put *p;
    b->asked = text;
    b->under_way = true;
    vd_status status = s->v->put_begin(s, key, if_absent, &p, NULL);
    if (status != VD_OK) {
        return status;
    }
    status = s->v->put_write(p, text, strlen(text), NULL);
    if (status != VD_OK) {
        s->v->put_abort(p);
        return status;
    }
    status = s->v->put_commit(p, NULL);
    if (status == VD_OK) {
        b->now = text;
        b->under_way = false;
    }
    return status;
}

static vd_status remove_key(objstore *s, const char *key, belief *b) {
    b->asked = NULL;
    b->under_way = true;
    vd_status status = s->v->remove(s, key, NULL);
    if (status == VD_OK) {
        b->now = NULL;
        b->under_way = false;
    }
    return status;
}

static vd_status write_segment(objstore *s) {
    objstore_log *log;
    segment_may_be = true;
    vd_status status = s->v->log_create(s, SEGMENT, &log, NULL);
    if (status != VD_OK) {
        return status;
    }
    segment_must_be = true;
    static const size_t ends[] = {13, 27, 40};
    for (size_t i = 0; i < 3 && status == VD_OK; i++) {
        status = s->v->log_append(log, segment_text + written, ends[i] - written, NULL);
        written = ends[i];
        if (status == VD_OK) {
            status = s->v->log_sync(log, NULL);
        }
        if (status == VD_OK) {
            synced = ends[i];
        }
    }
    s->v->log_close(log);
    return status;
}

static vd_status remove_segment(objstore *s) {
    segment_must_be = false;
    vd_status status = s->v->remove(s, SEGMENT, NULL);
    segment_may_be = status != VD_OK;
    return status;
}

static vd_status history(const io_table *io) {
    objstore *s;
    frame = fresh = (belief){0};
    synced = written = 0;
    segment_may_be = segment_must_be = false;
    vd_status status = objstore_open_dir("/data/vectord", io, &s, NULL);
    if (status != VD_OK) {
        return status;
    }
    status = put(s, FRAME, &frame, "one", true);
    status = status == VD_OK ? put(s, FRAME, &frame, "the second version", false) : status;
    status = status == VD_OK ? write_segment(s) : status;
    status = status == VD_OK ? put(s, FRESH, &fresh, "fresh", true) : status;
    status = status == VD_OK ? remove_segment(s) : status;
    status = status == VD_OK ? remove_key(s, FRAME, &frame) : status;
    status = status == VD_OK ? put(s, FRAME, &frame, "the third", true) : status;
    objstore_close(s);
    return status;
}

static bool holds(objstore *s, const char *key, const char *text) {
    objstore_blob blob;
    vd_status status = s->v->get(s, key, &blob, NULL);
    if (status == VD_NOT_FOUND) {
        return text == NULL;
    }
    OK(status);
    bool same = text && bytes_equal(bytes_of(blob.data, blob.size), bytes_str(text));
    objstore_blob_release(&blob);
    return same;
}

static void check_belief(objstore *s, const char *key, const belief *b) {
    assert_true(holds(s, key, b->now) || (b->under_way && holds(s, key, b->asked)));
}

static void check_segment(objstore *s) {
    objstore_blob blob;
    vd_status status = s->v->get(s, SEGMENT, &blob, NULL);
    if (status == VD_NOT_FOUND) {
        assert_false(segment_must_be);
        return;
    }
    OK(status);
    assert_true(segment_may_be);
    if (segment_must_be) {
        assert_true(blob.size >= synced && blob.size <= written);
        assert_memory_equal(blob.data, segment_text, synced);
    }
    objstore_blob_release(&blob);
}

static vd_status count_key(void *arg, const char *key, uint64_t size) {
    (void)size;
    assert_true(strcmp(key, FRAME) == 0 || strcmp(key, FRESH) == 0 || strcmp(key, SEGMENT) == 0);
    ++*(int *)arg;
    return VD_OK;
}

static void what_was_acknowledged_survives(void **state) {
    (void)state;
    bool whole = false;
    for (int at = 1; !whole; at++) {
        assert_true(at < 1000);
        for (uint32_t dice = 0; dice < THROWS; dice++) {
            power_io *io = power_io_new();
            power_io_fail_from(io, at);
            whole = history(power_io_table(io)) == VD_OK && power_io_calls(io) < at;
            power_io_cut(io, dice * 7919u + (uint32_t)at);
            objstore *s;
            OK(objstore_open_dir("/data/vectord", power_io_table(io), &s, NULL));
            check_belief(s, FRAME, &frame);
            check_belief(s, FRESH, &fresh);
            check_segment(s);
            int keys = 0;
            OK(s->v->list(s, "", count_key, &keys, NULL));
            assert_true(keys <= 3);
            OK(put(s, FRAME, &frame, "after the cut", false)); /* and it goes on */
            assert_true(holds(s, FRAME, "after the cut"));
            objstore_close(s);
            power_io_free(io);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_acknowledged_survives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
