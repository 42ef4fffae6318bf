/* log_test.c - one line per event, JSON that parses whatever is in it, levels, cut at the end of a character. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static int saved_stderr;
static FILE *captured;

static void begin(void) {
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    captured = tmpfile();
    assert_non_null(captured);
    assert_true(dup2(fileno(captured), STDERR_FILENO) >= 0);
}

static size_t end(char *out, size_t size) {
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    rewind(captured);
    size_t read = fread(out, 1, size - 1, captured);
    out[read] = '\0';
    fclose(captured);
    return read;
}

static void a_line_is_json(void **state) {
    (void)state;
    char out[4096];
    log_setup(LOG_INFO, LOG_FORMAT_JSON);
    begin();
    log_event(LOG_WARN, "a \"quoted\"\nmessage", "name=%s tab=\t", "back\\slash\x01\x7F");
    size_t size = end(out, sizeof out);
    assert_int_equal(out[size - 1], '\n');
    assert_ptr_equal(strchr(out, '\n'), out + size - 1);
    json_t *line = json_loads(out, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "msg")), "a \"quoted\"\nmessage");
    assert_string_equal(json_string_value(json_object_get(line, "detail")), "name=back\\slash\x01\x7F tab=\t");
    assert_int_equal(strlen(json_string_value(json_object_get(line, "time"))), strlen("2026-01-01T00:00:00.000Z"));
    json_decref(line);
}

/* Long text of every kind of character is cut and still parses. */
static void a_long_line_is_cut(void **state) {
    (void)state;
    static const char *const units[] = {
        "x", "\"", "\x01", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x8D\x8E", "a\xE2\x82\xAC"};
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        char text[5000] = "", out[8192];
        while (strlen(text) + 8 < sizeof text) {
            strcat(text, units[u]);
        }
        for (int message = 0; message < 2; message++) {
            begin();
            log_event(LOG_ERROR, message ? text : "m", "%s", text);
            end(out, sizeof out);
            json_error_t error;
            json_t *line = json_loads(out, 0, &error);
            if (!line) {
                fail_msg("%s: %s", error.text, out);
            }
            json_decref(line);
        }
    }
}

static void levels_are_kept(void **state) {
    (void)state;
    char out[4096];
    log_setup(LOG_WARN, LOG_FORMAT_TEXT);
    begin();
    log_event(LOG_DEBUG, "debug", NULL);
    log_event(LOG_INFO, "info", NULL);
    log_event(LOG_WARN, "warned", NULL);
    log_event(LOG_ERROR, "failed", "n=%d", 7);
    end(out, sizeof out);
    assert_null(strstr(out, "debug"));
    assert_null(strstr(out, "info"));
    assert_non_null(strstr(out, " warn  warned\n"));
    assert_non_null(strstr(out, " error failed n=7\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_json),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(levels_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
