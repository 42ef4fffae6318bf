/* storaged's settings: its rows, the file that it shares with vectord, and what is refused. */
#include "storaged/options.h"
#include "unit/store/check.h"

typedef struct outcome {
    options o;
    vd_status status;
    char errors[2048], warnings[2048];
} outcome;

static void copy(char *out, size_t size, const buffer *b) {
    snprintf(out, size, "%.*s", (int)b->size, b->data ? (const char *)b->data : "");
}

static outcome *load(const char *file, const char *const *env, const char *const *flags) {
    outcome *r = calloc(1, sizeof *r);
    assert_non_null(r);
    config_input input = {.file = file, .env = env, .flags = flags};
    while (flags && flags[input.flag_count]) {
        input.flag_count++;
    }
    buffer errors, warnings;
    buffer_init(&errors, 0);
    buffer_init(&warnings, 0);
    r->status = options_load(&r->o, &input, &errors, &warnings);
    copy(r->errors, sizeof r->errors, &errors);
    copy(r->warnings, sizeof r->warnings, &warnings);
    buffer_fini(&warnings);
    buffer_fini(&errors);
    return r;
}

static void drop(outcome *r) {
    options_fini(&r->o);
    free(r);
}

static void defaults(void **state) {
    (void)state;
    outcome *r = load(NULL, NULL, NULL);
    OK(r->status);
    assert_string_equal(r->o.bind.items[0], "127.0.0.1:3211");
    assert_string_equal(r->o.dir, "storaged-data");
    assert_false(r->o.exposed);
    drop(r);
}

static void file_environment_flags_in_that_order(void **state) {
    (void)state;
    char path[] = "/tmp/vd-storaged-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    /* one file for both daemons: vectord's tables are neither errors nor warnings here */
    static const char toml[] = "[vectord]\nbind = \"127.0.0.1:1\"\nno_such_key = 1\n[store]\nurl = \"x\"\n"
                               "[storaged]\nbind = \"127.0.0.1:2\"\ndir = \"a\"\n[log]\nlevel = \"warn\"\n";
    assert_int_equal(write(fd, toml, sizeof toml - 1), sizeof toml - 1);
    close(fd);
    const char *const env[] = {"STORAGED_DIR=b", "STORAGED_LOG_LEVEL=debug", "VECTORD_DATA_DIR=x", NULL};
    const char *const flags[] = {"--dir", "c", NULL};
    outcome *r = load(path, env, flags);
    OK(r->status);
    assert_string_equal(r->warnings, "");
    assert_string_equal(r->o.bind.items[0], "127.0.0.1:2");
    assert_string_equal(r->o.dir, "c");
    assert_int_equal(r->o.log_level, 0);
    drop(r);
    unlink(path);
}

static void what_cannot_be(void **state) {
    (void)state;
    static const struct {
        const char *flag, *part;
    } cases[] = {
        {"--bind=0.0.0.0:1", "can be reached from other machines"}, {"--bind=", "no door is open"},
        {"--bind=example.com:1", "must be an IPv4 address"},        {"--dir=", "have to be kept somewhere"},
        {"--port=1", "no such flag; see storaged --help"},          {"--drain-ms=x", "must be a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const flags[] = {cases[i].flag, NULL};
        outcome *r = load(NULL, NULL, flags);
        FAILS(r->status, VD_INVALID_ARGUMENT);
        if (!strstr(r->errors, cases[i].part)) {
            fail_msg("%s: %s", cases[i].flag, r->errors);
        }
        drop(r);
    }
    const char *const allowed[] = {"--bind=0.0.0.0:1", "--allow-insecure-bind", NULL};
    outcome *r = load(NULL, NULL, allowed);
    OK(r->status);
    assert_true(r->o.exposed);
    drop(r);
    const char *const env[] = {"STORAGED_DIRECTORY=x", "STORAGED_PORT=tcp://10.0.0.1:1", NULL};
    r = load(NULL, env, NULL);
    OK(r->status);
    assert_string_equal(r->warnings, "STORAGED_DIRECTORY: no such setting, ignored\n");
    drop(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(file_environment_flags_in_that_order),
        cmocka_unit_test(what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
