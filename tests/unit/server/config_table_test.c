/* The table of settings against itself: every row is reachable by all three of its names, defaults are legal, names unique, and
 * what `config print` prints reads back as the same settings. */
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

static vd_status load(config *c, const config_input *input) {
    buffer errors, warnings;
    buffer_init(&errors, 0);
    buffer_init(&warnings, 0);
    vd_status status = config_load(c, input, &errors, &warnings);
    if (status != VD_OK) {
        print_error("%.*s", (int)errors.size, (const char *)errors.data);
    }
    buffer_fini(&warnings);
    buffer_fini(&errors);
    return status;
}

/* A legal value of the row that differs from its default. */
static const char *other_value(const config_setting *s) {
    switch (s->kind) {
    case CONFIG_STRING:
        return strstr(s->key, "url") ? "http://127.0.0.1:1" : "other";
    case CONFIG_LIST:
        return strcmp(s->key, "cors_origins") == 0 ? "https://a.example"
               : strcmp(s->table, "rpc") == 0      ? "tcp://127.0.0.1:1"
               : strcmp(s->table, "gateway") == 0  ? "127.0.0.1:2"
                                                   : "127.0.0.1:1";
    case CONFIG_BOOL:
        return "true";
    case CONFIG_COUNT:
        return "17";
    case CONFIG_BYTES:
        return "5000";
    case CONFIG_NUMBER:
        return "3.25";
    case CONFIG_CHOICE:
        return strrchr(s->choices, ',') + 1;
    }
    return "";
}

static void test_environment_and_flag_reach_every_row(void **state) {
    (void)state;
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].state == CONFIG_PLANNED) {
            continue; /* refused: see config_test.c */
        }
        char env_name[96], flag_name[96], pair[256];
        config_env_name(&all[i], env_name);
        config_flag_name(&all[i], flag_name);
        snprintf(pair, sizeof pair, "%s=%s", env_name, other_value(&all[i]));
        const char *env[] = {pair, NULL};
        config c;
        assert_int_equal(load(&c, &(config_input){.env = env}), VD_OK);
        assert_string_equal(c.origins[i], env_name);
        config_fini(&c);

        const char *flags[] = {flag_name, other_value(&all[i])};
        snprintf(pair, sizeof pair, "%s=%s", flag_name, other_value(&all[i]));
        const char *joined[] = {pair};
        config_input by_flag = {.flags = flags, .flag_count = 2}, by_joined = {.flags = joined, .flag_count = 1};
        if (all[i].kind == CONFIG_BOOL) {
            by_flag.flag_count = 1; /* takes no value */
        }
        assert_int_equal(load(&c, &by_flag), VD_OK);
        assert_string_equal(c.origins[i], flag_name);
        config_fini(&c);
        assert_int_equal(load(&c, &by_joined), VD_OK);
        assert_string_equal(c.origins[i], flag_name);
        config_fini(&c);
    }
}

static void test_names_are_unique(void **state) {
    (void)state;
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            char a[96], b[96];
            config_env_name(&all[i], a);
            config_env_name(&all[j], b);
            assert_string_not_equal(a, b);
            config_flag_name(&all[i], a);
            config_flag_name(&all[j], b);
            assert_string_not_equal(a, b);
            assert_int_not_equal(all[i].offset, all[j].offset);
        }
        assert_true(all[i].help[0] != '\0');
    }
}

static void test_print_reads_back_as_the_same_settings(void **state) {
    (void)state;
    char path[] = "/tmp/vd-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *flags[] = {"--data-dir",
                           "odd \"name\" \\ \x01 \xC3\xA9",
                           "--snapshot-min-bytes=32MiB",
                           "--snapshot-factor",
                           "0.1",
                           "--gateway-bind=",
                           "--log-level=debug",
                           "--rpc-bind=tcp://127.0.0.1:1,ipc:///tmp/x"};
    config first, second;
    assert_int_equal(load(&first, &(config_input){.flags = flags, .flag_count = 8}), VD_OK);
    buffer a, b;
    buffer_init(&a, 0);
    buffer_init(&b, 0);
    config_print(&first, &a);
    assert_int_equal(write(fd, a.data, a.size), (ssize_t)a.size);
    close(fd);
    assert_int_equal(load(&second, &(config_input){.file = path}), VD_OK);
    assert_string_equal(second.data_dir, first.data_dir);
    assert_true(second.snapshot_factor == 0.1);
    assert_int_equal(second.snapshot_min_bytes, 32 * 1024 * 1024);
    assert_int_equal(second.gateway_bind.count, 0);
    assert_int_equal(second.rpc_bind.count, 2);
    assert_int_equal(second.log_level, LOG_DEBUG);
    unlink(path);
    buffer_fini(&b);
    buffer_fini(&a);
    config_fini(&second);
    config_fini(&first);
}

/* docs/vectord.toml says of itself that what is commented out is the default: with the lines let in, it must still be so. */
static void test_the_example_file_names_every_live_setting_with_its_default(void **state) {
    (void)state;
    FILE *in = fopen(VD_SOURCE_DIR "/docs/vectord.toml", "r");
    assert_non_null(in);
    char path[] = "/tmp/vd-config-XXXXXX", line[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *out = fdopen(fd, "w");
    assert_non_null(out);
    while (fgets(line, sizeof line, in)) {
        const char *equals = strstr(line, " = ");
        bool setting = strncmp(line, "# ", 2) == 0 && equals && strcspn(line + 2, " ") == (size_t)(equals - line) - 2;
        fputs(setting ? line + 2 : line, out);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
    config file, defaults;
    assert_int_equal(load(&file, &(config_input){.file = path}), VD_OK);
    assert_int_equal(load(&defaults, &(config_input){0}), VD_OK);
    unlink(path);
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        if ((strcmp(file.origins[i], "default") != 0) != (all[i].state == CONFIG_LIVE)) {
            fail_msg("[%s] %s: %s", all[i].table, all[i].key, file.origins[i]);
        }
        file.origins[i] = defaults.origins[i];
    }
    buffer a, b;
    buffer_init(&a, 0);
    buffer_init(&b, 0);
    config_print(&file, &a);
    config_print(&defaults, &b);
    buffer_put_u8(&a, 0);
    buffer_put_u8(&b, 0);
    assert_string_equal((const char *)a.data, (const char *)b.data);
    buffer_fini(&b);
    buffer_fini(&a);
    config_fini(&defaults);
    config_fini(&file);
}

static void test_help_and_documentation_name_every_live_flag(void **state) {
    (void)state;
    buffer help, markdown;
    buffer_init(&help, 0);
    buffer_init(&markdown, 0);
    config_print_help(&help);
    config_print_markdown(&markdown);
    buffer_put_u8(&help, 0);
    buffer_put_u8(&markdown, 0);
    size_t count;
    const config_setting *all = config_table(&count);
    for (size_t i = 0; i < count; i++) {
        char flag[96], env[96];
        config_flag_name(&all[i], flag);
        config_env_name(&all[i], env);
        assert_non_null(strstr((const char *)markdown.data, env));
        assert_int_equal(strstr((const char *)help.data, flag) != NULL, all[i].state == CONFIG_LIVE);
    }
    buffer_fini(&markdown);
    buffer_fini(&help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_and_flag_reach_every_row),
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_print_reads_back_as_the_same_settings),
        cmocka_unit_test(test_the_example_file_names_every_live_setting_with_its_default),
        cmocka_unit_test(test_help_and_documentation_name_every_live_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
