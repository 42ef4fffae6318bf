/* Which command line runs which command, and the exit code of each: service managers and scripts rely on them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/command.h"

static int serves;
static char served_dir[64];

static int note_serve(const config *c) {
    serves++;
    strncpy(served_dir, c->data_dir, sizeof served_dir - 1);
    return 42;
}

/* Runs the words (NULL at the end) and returns the exit code. */
static int run(char **words) {
    int count = 0;
    while (words[count]) {
        count++;
    }
    serves = 0;
    served_dir[0] = '\0';
    return command_main(count, words, note_serve);
}
#define RUN(...) run((char *[]){"vectord", __VA_ARGS__, NULL})

static void test_settings_alone_mean_serving(void **state) {
    (void)state;
    assert_int_equal(run((char *[]){"vectord", NULL}), 42);
    assert_int_equal(serves, 1);
    assert_string_equal(served_dir, "vectord-data");
    assert_int_equal(RUN("--data-dir", "x"), 42);
    assert_string_equal(served_dir, "x");
    assert_int_equal(RUN("--data-dir=y"), 42);
    assert_string_equal(served_dir, "y");
    /* The value of a setting is never taken for a word of the command line. */
    assert_int_equal(RUN("--data-dir", "health"), 42);
    assert_string_equal(served_dir, "health");
}

static void test_other_commands_do_not_serve(void **state) {
    (void)state;
    assert_int_equal(RUN("--help"), 0);
    assert_int_equal(RUN("--version"), 0);
    assert_int_equal(RUN("--check-config"), 0);
    assert_int_equal(RUN("--check-config", "--queue", "5"), 0);
    assert_int_equal(RUN("config", "print"), 0);
    assert_int_equal(RUN("config", "markdown"), 0);
    assert_int_equal(serves, 0);
}

static void test_what_makes_no_sense_is_64_and_bad_settings_are_78(void **state) {
    (void)state;
    assert_int_equal(RUN("serve"), COMMAND_EXIT_USAGE);
    assert_int_equal(RUN("config"), COMMAND_EXIT_USAGE);
    assert_int_equal(RUN("--config"), COMMAND_EXIT_USAGE);
    assert_int_equal(RUN("health", "--url"), COMMAND_EXIT_USAGE);
    assert_int_equal(RUN("health", "--url", "ftp://x"), COMMAND_EXIT_USAGE);
    assert_int_equal(RUN("--nope"), COMMAND_EXIT_CONFIG);
    assert_int_equal(RUN("--check-config", "--queue", "0"), COMMAND_EXIT_CONFIG);
    assert_int_equal(RUN("--config", "/nonexistent/vectord.toml"), COMMAND_EXIT_CONFIG);
    assert_int_equal(RUN("--config=/nonexistent/vectord.toml"), COMMAND_EXIT_CONFIG);
    assert_int_equal(RUN("--url", "http://127.0.0.1:1"), COMMAND_EXIT_CONFIG); /* a flag of `health` alone */
    assert_int_equal(serves, 0);
}

static void test_health_of_nobody_is_1_and_without_a_door_69(void **state) {
    (void)state;
    /* Port 1 of loopback: nothing listens there, and a connect is refused at once. */
    assert_int_equal(RUN("health", "--url", "http://127.0.0.1:1"), 1);
    assert_int_equal(RUN("health", "--ready", "--bind=127.0.0.1:1"), 1);
    assert_int_equal(RUN("health", "--bind=", "--gateway-bind="), COMMAND_EXIT_UNAVAILABLE);
    assert_int_equal(serves, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_alone_mean_serving),
        cmocka_unit_test(test_other_commands_do_not_serve),
        cmocka_unit_test(test_what_makes_no_sense_is_64_and_bad_settings_are_78),
        cmocka_unit_test(test_health_of_nobody_is_1_and_without_a_door_69),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
