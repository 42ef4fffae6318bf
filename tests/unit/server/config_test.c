/* Where settings come from, which source wins, and what is refused with which sentence at which place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"
#include "vectord/limits.h"

typedef struct outcome {
    config c;
    vd_status status;
    char errors[8192], warnings[4096];
    char path[32]; /* of the TOML file */
} outcome;

static void write_file(char *path, const void *data, size_t size) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    close(fd);
}

/* toml, env, flags: NULL for none; env and flags end with NULL. */
static outcome *load(const char *toml, const char *const *env, const char *const *flags) {
    outcome *o = calloc(1, sizeof *o);
    assert_non_null(o);
    config_input input = {.env = env, .flags = flags};
    if (toml) {
        strcpy(o->path, "/tmp/vd-config-XXXXXX");
        write_file(o->path, toml, strlen(toml));
        input.file = o->path;
    }
    while (flags && flags[input.flag_count]) {
        input.flag_count++;
    }
    buffer errors, warnings;
    buffer_init(&errors, 0);
    buffer_init(&warnings, 0);
    o->status = config_load(&o->c, &input, &errors, &warnings);
    snprintf(o->errors, sizeof o->errors, "%.*s", (int)errors.size, errors.data ? (const char *)errors.data : "");
    snprintf(o->warnings, sizeof o->warnings, "%.*s", (int)warnings.size,
             warnings.data ? (const char *)warnings.data : "");
    buffer_fini(&warnings);
    buffer_fini(&errors);
    if (toml) {
        unlink(o->path);
    }
    return o;
}

static void drop(outcome *o) {
    config_fini(&o->c);
    free(o);
}

static void expect_fine(const outcome *o) {
    if (o->status != VD_OK || o->warnings[0]) {
        fail_msg("%s%s", o->errors, o->warnings);
    }
}

static void expect_text(const char *all, const char *part) {
    if (!strstr(all, part)) {
        fail_msg("\"%s\" is not in:\n%s", part, all);
    }
}

/* Exactly one error, at this place, with this text in it. */
static void expect_error(const outcome *o, const char *place, const char *part) {
    assert_int_equal(o->status, VD_INVALID_ARGUMENT);
    char begin[256];
    snprintf(begin, sizeof begin, "%s%s", o->path, place);
    if (strncmp(o->errors, begin, strlen(begin)) != 0 || strchr(o->errors, '\n') != o->errors + strlen(o->errors) - 1) {
        fail_msg("wanted one error at %s, got:\n%s", begin, o->errors);
    }
    expect_text(o->errors, part);
}

static void test_without_any_source_the_documented_defaults_hold(void **state) {
    (void)state;
    outcome *o = load(NULL, NULL, NULL);
    expect_fine(o);
    assert_int_equal(o->c.bind.count, 1);
    assert_string_equal(o->c.bind.items[0], "127.0.0.1:3215");
    assert_string_equal(o->c.gateway_bind.items[0], "127.0.0.1:3110");
    assert_string_equal(o->c.rpc_bind.items[0], "tcp://127.0.0.1:3216");
    assert_string_equal(o->c.data_dir, "vectord-data");
    assert_int_equal(o->c.queue, VD_WORK_QUEUE_DEFAULT);
    assert_int_equal(o->c.snapshot_min_bytes, VD_SNAPSHOT_MIN_BYTES_DEFAULT);
    assert_true(o->c.snapshot_factor == VD_SNAPSHOT_FACTOR_DEFAULT);
    assert_int_equal(o->c.log_level, LOG_INFO);
    assert_int_equal(o->c.log_format, LOG_FORMAT_AUTO);
    assert_false(o->c.exposed);
    drop(o);
}

static void test_flags_beat_environment_beats_file_beats_default(void **state) {
    (void)state;
    const char *toml = "[vectord]\nqueue = 2\ndrain_ms = 2\nworkers = 2\n";
    const char *const env[] = {"VECTORD_QUEUE=3", "VECTORD_DRAIN_MS=3", NULL};
    const char *const flags[] = {"--queue", "4", NULL};
    outcome *o = load(toml, env, flags);
    expect_fine(o);
    assert_int_equal(o->c.queue, 4);
    assert_int_equal(o->c.drain_ms, 3);
    assert_int_equal(o->c.workers, 2);
    assert_int_equal(o->c.threads, 0);
    drop(o);
}

static void test_the_file_of_the_original_is_read(void **state) {
    (void)state;
    outcome *o =
        load("[vectord]\nbind = \"127.0.0.1:4000\"\nstoraged_url = \"\"\n[storaged]\nbind = \"127.0.0.1:3211\"\n"
             "no_key_of_vectord = 1\n[other]\nx = 1\ny = 2\n",
             NULL, NULL);
    assert_int_equal(o->status, VD_OK);
    assert_string_equal(o->c.bind.items[0], "127.0.0.1:4000");
    expect_text(o->warnings, ":8:1: the table [other] is not ours");
    assert_ptr_equal(strchr(o->warnings, '\n') + 1, o->warnings + strlen(o->warnings)); /* once, not per key */
    drop(o);
}

static void test_a_key_that_does_not_exist_is_an_error_with_its_place(void **state) {
    (void)state;
    outcome *o = load("[vectord]\n\n  bnid = \"x\"\n", NULL, NULL);
    expect_error(o, ":3:3: ", "[vectord] has no key `bnid`");
    drop(o);
    o = load("[rpc]\nbind.x = 1\n", NULL, NULL);
    expect_error(o, ":2:1: ", "[rpc] bind: must be a string or an array of strings, not table");
    drop(o);
    o = load("[log.format]\nx = 1\n", NULL, NULL);
    expect_error(o, ":1:6: ", "[log] format: must be a string, not table");
    drop(o);
}

static void test_broken_toml_has_its_place(void **state) {
    (void)state;
    outcome *o = load("[vectord]\nbind = \n", NULL, NULL);
    expect_error(o, ":2:8: ", "expected value");
    drop(o);
}

static void test_one_run_shows_all_errors(void **state) {
    (void)state;
    const char *const env[] = {"VECTORD_LOG_LEVEL=loud", NULL};
    const char *const flags[] = {"--nope", "--workers", NULL};
    outcome *o = load("[vectord]\nqueue = 0\nthreads = \"x\"\n", env, flags);
    assert_int_equal(o->status, VD_INVALID_ARGUMENT);
    expect_text(o->errors, ":2:1: [vectord] queue: must be from 1 to 1000000, got 0");
    expect_text(o->errors, ":3:1: [vectord] threads: must be a whole number, not string");
    expect_text(o->errors, "VECTORD_LOG_LEVEL: [log] level: must be one of debug,info,warn,error, got \"loud\"");
    expect_text(o->errors, "--nope: no such flag");
    expect_text(o->errors, "--workers: needs a value");
    drop(o);
}

static void test_values_of_the_wrong_kind_or_range(void **state) {
    (void)state;
    static const struct {
        const char *toml, *part;
    } cases[] = {
        {"[vectord]\nbind = 3215\n", "must be a string or an array of strings, not integer"},
        {"[vectord]\nbind = [3215]\n", "must be a string or an array of strings, not array"},
        {"[vectord]\nbind = [\"127.0.0.1:1\", \"\"]\n", "value 2 of the list is empty"},
        {"[vectord]\ndata_dir = 1\n", "must be a string, not integer"},
        {"[vectord]\nephemeral = \"yes\"\n", "must be true or false, not string"},
        {"[vectord]\nqueue = 1.5\n", "must be a whole number, not number"},
        {"[vectord]\nqueue = -1\n", "must be from 1 to 1000000, got -1"},
        {"[vectord]\nqueue = 1000001\n", "got 1000001"},
        {"[vectord]\nqueue = 9223372036854775807\n", "must be from"},
        {"[snapshot]\nfactor = nan\n", "must be from"},
        {"[snapshot]\nfactor = inf\n", "must be from"},
        {"[snapshot]\nfactor = \"2\"\n", "must be a number, not string"},
        {"[snapshot]\nmin_bytes = \"16MB\"\n", "must be a number with KiB, MiB, GiB, TiB or nothing"},
        {"[snapshot]\nmin_bytes = \"0x10000\"\n", "must be a number"},
        {"[snapshot]\nmin_bytes = \"2000GiB\"\n", "must be from"},
        {"[log]\nlevel = \"inf\"\n", "must be one of"},
        {"[gateway]\ncors_origins = \"example.com\"\n", "is no origin"},
        {"[gateway]\ncors_origins = \"https://example.com/\"\n", "is no origin"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        outcome *o = load(cases[i].toml, NULL, NULL);
        expect_error(o, ":2:1: ", cases[i].part);
        drop(o);
    }
    outcome *o = load("[vectord]\nqueue = 1000000\n[snapshot]\nmin_bytes = \"1TiB\"\nfactor = 1000\n", NULL, NULL);
    expect_fine(o); /* the greatest legal values */
    drop(o);
}

static void test_too_many_addresses(void **state) {
    (void)state;
    char text[2048] = "--gateway-cors-origins=https://a";
    for (int i = 1; i < VD_BINDS_MAX; i++) {
        strcat(text, ",https://a");
    }
    const char *const flags[] = {text, NULL};
    outcome *o = load(NULL, NULL, flags);
    expect_fine(o);
    assert_int_equal(o->c.cors_origins.count, VD_BINDS_MAX);
    drop(o);
    strcat(text, ",https://a");
    o = load(NULL, NULL, flags);
    expect_error(o, "--gateway-cors-origins: ", "takes at most 16 values");
    drop(o);
    strcat(text, ",https://a");
    o = load(NULL, NULL, flags);
    expect_error(o, "--gateway-cors-origins: ", "takes at most 16 values");
    drop(o);
}

static void test_lists_in_environment_are_split_at_commas(void **state) {
    (void)state;
    const char *const env[] = {"VECTORD_RPC_BIND= tcp://127.0.0.1:1 ,\tipc:///tmp/x", "VECTORD_GATEWAY_BIND=", NULL};
    outcome *o = load(NULL, env, NULL);
    expect_fine(o);
    assert_int_equal(o->c.rpc_bind.count, 2);
    assert_string_equal(o->c.rpc_bind.items[0], "tcp://127.0.0.1:1");
    assert_string_equal(o->c.rpc_bind.items[1], "ipc:///tmp/x");
    assert_int_equal(o->c.gateway_bind.count, 0);
    drop(o);
}

static void test_a_variable_may_point_to_a_file(void **state) {
    (void)state;
    char path[] = "/tmp/vd-value-XXXXXX", pair[96], both[96];
    write_file(path, "from a file\r\n", 13);
    snprintf(pair, sizeof pair, "VECTORD_DATA_DIR_FILE=%s", path);
    const char *const env[] = {pair, NULL};
    outcome *o = load(NULL, env, NULL);
    expect_fine(o);
    assert_string_equal(o->c.data_dir, "from a file");
    drop(o);
    snprintf(both, sizeof both, "VECTORD_DATA_DIR=x");
    const char *const env_both[] = {pair, both, NULL};
    o = load(NULL, env_both, NULL);
    expect_error(o, "VECTORD_DATA_DIR: ", "set together with VECTORD_DATA_DIR_FILE");
    drop(o);
    unlink(path);
    o = load(NULL, env, NULL);
    expect_error(o, "VECTORD_DATA_DIR_FILE: ", "No such file or directory");
    drop(o);

    char nul_path[] = "/tmp/vd-value-XXXXXX";
    write_file(nul_path, "a\0b", 3);
    snprintf(pair, sizeof pair, "VECTORD_DATA_DIR_FILE=%s", nul_path);
    o = load(NULL, env, NULL);
    expect_error(o, "VECTORD_DATA_DIR_FILE: ", "holds a NUL byte");
    drop(o);
    unlink(nul_path);
}

static void test_files_have_a_largest_size(void **state) {
    (void)state;
    char path[] = "/tmp/vd-value-XXXXXX", pair[96];
    char *data = malloc(VD_CONFIG_MAX_BYTES + 1);
    assert_non_null(data);
    memset(data, 'x', VD_CONFIG_MAX_BYTES + 1);
    write_file(path, data, VD_CONFIG_MAX_BYTES + 1);
    snprintf(pair, sizeof pair, "VECTORD_DATA_DIR_FILE=%s", path);
    const char *const env[] = {pair, NULL};
    outcome *o = load(NULL, env, NULL);
    expect_error(o, "VECTORD_DATA_DIR_FILE: ", "is larger than 65536 bytes");
    drop(o);
    assert_int_equal(truncate(path, VD_CONFIG_MAX_BYTES), 0);
    o = load(NULL, env, NULL);
    expect_fine(o);
    assert_int_equal(strlen(o->c.data_dir), VD_CONFIG_MAX_BYTES);
    drop(o);
    unlink(path);
    free(data);
}

static void test_the_long_name_of_a_variable_works_but_not_both(void **state) {
    (void)state;
    const char *const env[] = {"VECTORD_VECTORD_DATA_DIR=x", NULL};
    outcome *o = load(NULL, env, NULL);
    expect_fine(o);
    assert_string_equal(o->c.data_dir, "x");
    drop(o);
    const char *const both[] = {"VECTORD_VECTORD_DATA_DIR=x", "VECTORD_DATA_DIR=y", NULL};
    o = load(NULL, both, NULL);
    expect_error(o, "VECTORD_DATA_DIR: ", "set together with VECTORD_VECTORD_DATA_DIR");
    drop(o);
}

static void test_a_misspelt_variable_is_a_warning(void **state) {
    (void)state;
    const char *const env[] = {"VECTORD_DATADIR=x",
                               "HOME=/x",
                               "VECTORD_SERVICE_HOST=10.0.0.1",
                               "VECTORD_CPU=scalar",
                               "VECTORD_PORT=tcp://10.0.0.1:1",
                               "VECTORD_PORT_3215_TCP=x",
                               "VECTORD_LOG_LEVEL_FILE",
                               NULL};
    outcome *o = load(NULL, env, NULL);
    assert_int_equal(o->status, VD_OK);
    assert_string_equal(o->warnings, "VECTORD_DATADIR: no such setting, ignored\n");
    drop(o);
}

static void test_the_file_can_come_from_the_environment(void **state) {
    (void)state;
    char path[] = "/tmp/vd-config-XXXXXX", pair[96];
    write_file(path, "[vectord]\nqueue = 9\n", 20);
    snprintf(pair, sizeof pair, "VECTORD_CONFIG=%s", path);
    const char *const env[] = {pair, NULL};
    outcome *o = load(NULL, env, NULL);
    expect_fine(o);
    assert_int_equal(o->c.queue, 9);
    drop(o);
    unlink(path);
    o = load(NULL, env, NULL);
    expect_error(o, "--config: cannot open ", "No such file or directory");
    drop(o);
}

/* Silence would mean that someone believes his data is in S3. */
static void test_what_is_not_built_yet_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *toml, *part;
    } cases[] = {
        {"[vectord]\nstoraged_url = \"s3://bucket\"\n", "[vectord] storaged_url: S3 is not built yet"},
        {"[store]\nurl = \"s3://bucket/prefix\"\n", "[store] url: S3 is not built yet"},
        {"[store]\nurl = \"https://127.0.0.1:3211\"\n", "[store] url: TLS is not built yet"},
        {"[grpc]\nbind = \"127.0.0.1:3217\"\n", "[grpc] bind: is not built yet"},
        {"[tls]\ncert_file = \"/x\"\n", "[tls] cert_file: is not built yet"},
        {"[tls]\nkey_file = \"/x\"\n", "[tls] key_file: is not built yet"},
        {"[tls]\nclient_ca_file = \"/x\"\n", "[tls] client_ca_file: is not built yet"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        outcome *o = load(cases[i].toml, NULL, NULL);
        expect_error(o, ":2:1: ", cases[i].part);
        drop(o);
    }
    outcome *o = load("[grpc]\nbind = \"\"\n[tls]\ncert_file = \"\"\n[store]\nurl = \"\"\n", NULL, NULL);
    expect_fine(o);
    drop(o);
    const char *const env[] = {"VECTORD_STORE_URL=s3://x", NULL};
    o = load(NULL, env, NULL);
    expect_error(o, "VECTORD_STORE_URL: ", "S3 is not built yet");
    drop(o);
}

static void test_an_object_store_takes_the_place_of_the_folder(void **state) {
    (void)state;
    outcome *o = load("[store]\nurl = \"http://127.0.0.1:3211\"\nprefix = \"team\"\n", NULL, NULL);
    expect_fine(o);
    assert_string_equal(o->c.store_url, "http://127.0.0.1:3211");
    assert_string_equal(o->c.store_prefix, "team");
    assert_string_equal(o->c.data_dir, ""); /* its default does not count */
    drop(o);
    o = load("[vectord]\nstoraged_url = \"http://storaged.example:3211/\"\ndata_dir = \"\"\n", NULL, NULL);
    expect_fine(o);
    assert_string_equal(o->c.store_url, "http://storaged.example:3211/"); /* the older name means the same */
    drop(o);
    static const struct {
        const char *toml, *place, *part;
    } cases[] = {
        {"[store]\nurl = \"http://127.0.0.1:3211\"\n[vectord]\ndata_dir = \"x\"\n", ":2:1: ", "not yet supported"},
        {"[store]\nurl = \"http://127.0.0.1:3211\"\n[vectord]\nephemeral = true\n", ":2:1: ", "so is ephemeral"},
        {"[store]\nurl = \"http://a:1\"\n[vectord]\nstoraged_url = \"http://b:1\"\n",
         ":4:1: ", "differs from [store] url"},
        {"[store]\nurl = \"127.0.0.1:3211\"\n", ":2:1: ", "must look like http://127.0.0.1:3211"},
        {"[store]\nurl = \"http://\"\n", ":2:1: ", "must look like"},
        {"[store]\nurl = \"http://h:1/path\"\n", ":2:1: ", "without a path"},
        {"[store]\nurl = \"http://user@h:1\"\n", ":2:1: ", "must look like"},
        {"[store]\nurl = \"http://h:1\"\nprefix = \"/x\"\n", ":3:1: ", "must be the beginning of a key"},
        {"[store]\nurl = \"http://h:1\"\nprefix = \"x/../y\"\n", ":3:1: ", "must be the beginning of a key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        o = load(cases[i].toml, NULL, NULL);
        expect_error(o, cases[i].place, cases[i].part);
        drop(o);
    }
    o = load("[store]\nprefix = \"x\"\n", NULL, NULL);
    assert_int_equal(o->status, VD_OK);
    expect_text(o->warnings, ":2:1: [store] prefix: means nothing without [store] url");
    assert_string_equal(o->c.data_dir, "vectord-data");
    drop(o);
}

static void test_only_loopback_unless_allowed(void **state) {
    (void)state;
    static const char *const cases[] = {"--bind=0.0.0.0:1", "--gateway-bind=[::]:1", "--rpc-bind=tcp://10.0.0.1:1",
                                        "--bind=127.0.0.1:1,192.168.1.1:1"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const flags[] = {cases[i], NULL}, *const allowed[] = {cases[i], "--allow-insecure-bind", NULL};
        const char *const env[] = {"VECTORD_ALLOW_INSECURE_BIND=1", NULL};
        outcome *o = load(NULL, NULL, flags);
        expect_error(o, "--", "can be reached from other machines");
        drop(o);
        o = load(NULL, NULL, allowed);
        expect_fine(o);
        assert_true(o->c.exposed);
        drop(o);
        o = load(NULL, env, flags);
        expect_fine(o);
        assert_true(o->c.exposed);
        drop(o);
    }
    const char *const allowed_only[] = {"--allow-insecure-bind", NULL};
    outcome *o = load(NULL, NULL, allowed_only);
    expect_fine(o);
    assert_false(o->c.exposed); /* allowed, not done */
    drop(o);
}

static void test_doors_that_cannot_be(void **state) {
    (void)state;
    const char *const twice[] = {"--bind=127.0.0.1:5", "--gateway-bind=localhost:5", NULL};
    outcome *o = load(NULL, NULL, twice);
    expect_error(o, "--gateway-bind: ", "127.0.0.1:5 is given twice");
    drop(o);
    const char *const any[] = {"--bind=127.0.0.1:0", "--gateway-bind=127.0.0.1:0", NULL};
    o = load(NULL, NULL, any);
    expect_fine(o);
    drop(o);
    const char *const none[] = {"--bind=", "--gateway-bind=", "--rpc-bind=", NULL};
    o = load(NULL, NULL, none);
    expect_error(o, "[vectord] bind, ", "no door is open");
    drop(o);
}

static void test_ephemeral_in_both_spellings(void **state) {
    (void)state;
    outcome *o = load("[vectord]\ndata_dir = \"\"\n", NULL, NULL);
    expect_fine(o);
    assert_string_equal(o->c.data_dir, "");
    drop(o);
    const char *const flags[] = {"--ephemeral", NULL};
    o = load("[vectord]\ndata_dir = \"x\"\n", NULL, flags);
    expect_fine(o);
    assert_string_equal(o->c.data_dir, "");
    drop(o);
}

/* ---- out of memory: the i-th allocation fails, for every i ---- */

typedef struct failing {
    int left; /* allocations that still succeed */
} failing;

static void *failing_alloc(void *context, size_t size) {
    failing *f = context;
    return f->left-- > 0 ? malloc(size) : NULL;
}
static void *failing_resize(void *context, void *block, size_t old_size, size_t new_size) {
    (void)old_size;
    failing *f = context;
    return f->left-- > 0 ? realloc(block, new_size) : NULL;
}
static void failing_release(void *context, void *block, size_t size) {
    (void)context;
    (void)size;
    free(block);
}

static void test_running_out_of_memory_is_an_error_at_every_point(void **state) {
    (void)state;
    char path[] = "/tmp/vd-config-XXXXXX";
    /* Large enough to need several blocks of the arena. */
    char *toml = malloc(40000);
    assert_non_null(toml);
    size_t size = (size_t)sprintf(toml, "[vectord]\ndata_dir = \"");
    memset(toml + size, 'x', 30000);
    strcpy(toml + size + 30000, "\"\n");
    write_file(path, toml, strlen(toml));
    int failures = 0;
    for (int i = 0;; i++) {
        failing f = {i};
        vd_allocator a = {&f, failing_alloc, failing_resize, failing_release};
        config c;
        buffer errors, warnings;
        buffer_init(&errors, 0);
        buffer_init(&warnings, 0);
        vd_status status = config_load(&c, &(config_input){.file = path, .allocator = &a}, &errors, &warnings);
        bool said = errors.size > 0;
        config_fini(&c);
        buffer_fini(&warnings);
        buffer_fini(&errors);
        if (status == VD_OK) {
            break;
        }
        assert_true(said);
        failures++;
        assert_true(i < 1000);
    }
    assert_true(failures >= 3);
    unlink(path);
    free(toml);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_any_source_the_documented_defaults_hold),
        cmocka_unit_test(test_flags_beat_environment_beats_file_beats_default),
        cmocka_unit_test(test_the_file_of_the_original_is_read),
        cmocka_unit_test(test_a_key_that_does_not_exist_is_an_error_with_its_place),
        cmocka_unit_test(test_broken_toml_has_its_place),
        cmocka_unit_test(test_one_run_shows_all_errors),
        cmocka_unit_test(test_values_of_the_wrong_kind_or_range),
        cmocka_unit_test(test_too_many_addresses),
        cmocka_unit_test(test_lists_in_environment_are_split_at_commas),
        cmocka_unit_test(test_a_variable_may_point_to_a_file),
        cmocka_unit_test(test_files_have_a_largest_size),
        cmocka_unit_test(test_the_long_name_of_a_variable_works_but_not_both),
        cmocka_unit_test(test_a_misspelt_variable_is_a_warning),
        cmocka_unit_test(test_the_file_can_come_from_the_environment),
        cmocka_unit_test(test_what_is_not_built_yet_is_refused_by_name),
        cmocka_unit_test(test_an_object_store_takes_the_place_of_the_folder),
        cmocka_unit_test(test_only_loopback_unless_allowed),
        cmocka_unit_test(test_doors_that_cannot_be),
        cmocka_unit_test(test_ephemeral_in_both_spellings),
        cmocka_unit_test(test_running_out_of_memory_is_an_error_at_every_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
