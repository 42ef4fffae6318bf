/*
 * oom_test.c - every allocation of reading and writing frames, journals and objects fails in turn: the answer is
 * OUT_OF_MEMORY, nothing leaks (under a sanitizer), and what was there before is there still.
 *
 * The linker sends this program's calls of malloc and its kin to the functions below (--wrap in CMakeLists.txt).
 */
#include "store/journal.h"
#include "store/objstore.h"
#include "store/saver.h"
#include "unit/store/check.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);

static int calls, fail_at; /* fail_at 0: none */

static bool fails(void) {
    return fail_at && ++calls == fail_at;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size) {
    return fails() ? NULL : __real_realloc(block, size);
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}

/* Runs with allocation 1, 2, 3, ... failing until none does; `least` tells that the scenario allocates at all. */
static void fail_each(vd_status (*run)(void *arg), void *arg, int least) {
    for (int i = 1;; i++) {
        calls = 0;
        fail_at = i;
        vd_status status = run(arg);
        int made = calls;
        fail_at = 0;
        if (made < i) {
            OK(status);
            assert_true(i > least);
            return;
        }
        if (status != VD_OUT_OF_MEMORY) {
            fail_msg("allocation %d fails: %s", i, vd_status_name(status));
        }
    }
}

static vd_status open_frame(void *arg) {
    lhv1_frame *frame;
    vd_error err;
    vd_status status = lhv1_open(*(bytes *)arg, &frame, &err);
    if (status == VD_OK) {
        lhv1_close(frame);
    }
    return status;
}

static void reading_a_frame(void **state) {
    (void)state;
    bytes data = check_read_data("lhv1", "cosine200x8.lhv1");
    fail_each(open_frame, &data, 5);
    free((void *)data.data);
}

static void get_node(void *context, uint64_t position, vd_id *id, const float **vector, bytes *metadata,
                     uint32_t *level) {
    static const float zeros[2];
    static const char *const ids[] = {"a", "b\"\\"};
    (void)context;
    *id = (vd_id){ids[position], (uint32_t)strlen(ids[position])};
    *vector = zeros;
    *metadata = bytes_str("{}");
    *level = 0;
}

static size_t get_links(void *context, uint64_t position, uint32_t level, uint32_t *out, size_t capacity) {
    (void)context;
    (void)level;
    (void)capacity;
    out[0] = (uint32_t)(1 - position);
    return 1;
}

static vd_status discard(void *context, const void *data, size_t size, vd_error *err) {
    (void)context;
    (void)data;
    (void)size;
    (void)err;
    return VD_OK;
}

static vd_status write_frame(void *arg) {
    (void)arg;
    lhv1_params params = {.name = "n", .dimension = 2, .m = 2, .ef_search = 1, .metric = VD_METRIC_EUCLIDEAN};
    lhv1_source source = {NULL, 2, 1, get_node, get_links};
    lhv1_sink sink = {NULL, discard};
    vd_error err;
    return lhv1_encode(&params, &source, &sink, &err);
}

static void writing_a_frame(void **state) {
    (void)state;
    fail_each(write_frame, NULL, 3);
}

static vd_status journal_there_and_back(void *arg) {
    (void)arg;
    journal_item item = {.id = {"a", 1}, .vector = (const uint8_t *)"\0\0\0\0", .dimension = 1};
    journal_record record = {.kind = JOURNAL_ADD, .items = &item, .item_count = 1};
    buffer b;
    arena a;
    size_t offset = 0;
    vd_error err;
    buffer_init(&b, 0);
    arena_init(&a, NULL, 0);
    vd_status status = journal_encode(&record, &b, &err);
    if (status == VD_OK) {
        status = journal_decode(bytes_of(b.data, b.size), &offset, &a, &record, &err);
    }
    arena_fini(&a);
    buffer_fini(&b);
    return status;
}

static void journals(void **state) {
    (void)state;
    fail_each(journal_there_and_back, NULL, 2);
}

static vd_status visit(void *arg, const char *key, uint64_t size) {
    (void)arg;
    (void)key;
    (void)size;
    return VD_OK;
}

/* One of each: open, put, get, list, log. */
static vd_status use_store(void *arg) {
    static const char key[] = "_vectors/a.lhv1", log_key[] = "_vectors/.journal/0f/01";
    objstore *s;
    objstore_put *put;
    objstore_log *log;
    objstore_blob blob;
    vd_error err;
    vd_status status = objstore_open_dir(arg, NULL, &s, &err);
    if (status != VD_OK) {
        return status;
    }
    status = s->v->put_begin(s, key, false, &put, &err);
    if (status == VD_OK) {
        OK(s->v->put_write(put, "x", 1, &err));
        OK(s->v->put_commit(put, &err));
        status = s->v->get(s, key, &blob, &err);
    }
    if (status == VD_OK) {
        objstore_blob_release(&blob);
        status = s->v->list(s, "", visit, NULL, &err);
    }
    if (status == VD_OK) {
        status = s->v->log_create(s, log_key, &log, &err);
        if (status == VD_OK) {
            s->v->log_close(log);
            OK(s->v->remove(s, log_key, &err));
        }
    }
    objstore_close(s);
    return status;
}

/* Sweeping at open ignores what it could not list, so not every failed allocation is an error there. */
static void the_directory_store(void **state) {
    (void)state;
    char path[256];
    check_make_folder(path);
    for (int i = 1;; i++) {
        calls = 0;
        fail_at = i;
        vd_status status = use_store(path);
        int made = calls;
        fail_at = 0;
        assert_true(status == VD_OK || status == VD_OUT_OF_MEMORY);
        if (made < i) {
            OK(status);
            assert_true(i > 8);
            break;
        }
    }
    check_remove_folder(path);
}

static void job(void *arg) {
    (void)arg;
}

static vd_status use_saver(void *arg) {
    (void)arg;
    saver *s;
    vd_status status = saver_new(1, &s);
    if (status != VD_OK) {
        return status;
    }
    saver_task *task = saver_task_new(s, job, NULL);
    saver_task_free(task);
    saver_free(s);
    return task ? VD_OK : VD_OUT_OF_MEMORY;
}

static void the_saver(void **state) {
    (void)state;
    fail_each(use_saver, NULL, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_a_frame),     cmocka_unit_test(writing_a_frame), cmocka_unit_test(journals),
        cmocka_unit_test(the_directory_store), cmocka_unit_test(the_saver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
