/*
 * run_test.c - the command line of vectorctl without a server: every mistake gives its exit code and a sentence that helps; every
 * verb has a help text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "files.h"

static char out_text[16384];
static char err_text[16384];

static void read_back(FILE *file, char *text, size_t size) {
    fflush(file);
    rewind(file);
    size_t n = fread(text, 1, size - 1, file);
    text[n] = '\0';
    fclose(file);
}

/* Splits `line` at blanks. */
static int ctl(const char *line) {
    char copy[512];
    char *argv[32] = {copy};
    int argc = 0;
    snprintf(copy, sizeof copy, "vectorctl %s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    FILE *out = tmpfile();
    FILE *err = tmpfile();
    assert_non_null(out);
    assert_non_null(err);
    int code = cli_main(argc, argv, out, err);
    read_back(out, out_text, sizeof out_text);
    read_back(err, err_text, sizeof err_text);
    return code;
}

static void expect(const char *line, int code, const char *text) {
    int got = ctl(line);
    if (got != code || !strstr(err_text, text)) {
        fail_msg("vectorctl %s: exit code %d (want %d), says: %s", line, got, code, err_text);
    }
    assert_string_equal(out_text, "");
}

static void usage_errors(void **state) {
    (void)state;
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"", "usage:"},
        {"bogus", "there is no verb \"bogus\""},
        {"index", "index create"},
        {"index bogus", "index create"},
        {"index bogus", "there is no verb \"index bogus\""},
        {"index create", "needs NAME"},
        {"index create a", "--dimension is missing"},
        {"index create a b --dimension 3", "one argument too many: \"b\""},
        {"index create a --dimension", "--dimension needs a value"},
        {"index create a --dimension 0", "1..16384"},
        {"index create a --dimension 16385", "1..16384"},
        {"index create a --dimension 3x", "not \"3x\""},
        {"index create a --dimension=-3", "not \"-3\""},
        {"index create a --dimension 99999999999999999999", "1..16384"},
        {"index create a --dimension 3 --dimension 4", "given twice"},
        {"index create a --dimension 3 --m 1", "2..128"},
        {"index create a --dimension 3 --ef-construction 7", "8..2000"},
        {"index create a --dimension 3 --ef-search 4097", "1..4096"},
        {"index create a --bogus 3", "unknown option --bogus"},
        {"index create a --dim 3", "unknown option --dim"},
        {"index ls --json=1", "--json takes no value"},
        {"index ls a", "one argument too many"},
        {"index rm", "needs NAME"},
        {"health --timeout 0", "--timeout takes 1..600 seconds"},
        {"health --timeout 601", "--timeout takes 1..600 seconds"},
        {"load a", "nothing to load"},
        {"load a --npy x --fvecs y", "cannot be loaded together"},
        {"load a --ids-jsonl x", "needs the vectors"},
        {"load a --npy v --ids-jsonl x --jsonl y", "give one of them"},
        {"load a --npy x --batch 0", "--batch takes"},
        {"load a --npy x --batch 100001", "--batch takes"},
        {"load a --npy x --resume -1", "--resume takes"},
        {"search a", "what to search for?"},
        {"search a --like b --vector [1]", "what to search for?"},
        {"search a --like b --row 1", "--row needs --vector-file"},
        {"search a --like b -k 0", "1..1000"},
        {"search a --like b -k1001", "1..1000"},
        {"search a --like b --ef 4097", "1..4096"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect(cases[i].line, CLI_USAGE, cases[i].text);
    }
    expect("health --url http://127.0.0.1:3215", CLI_USAGE, "HTTP door");
    expect("health --url nonsense", CLI_USAGE, "not an address");
}

static void file_errors_come_before_the_server(void **state) {
    (void)state;
    char line[512];
    expect("load a --npy /nonexistent.npy", CLI_NO_INPUT, "/nonexistent.npy: No such file");
    expect("search a --vector-file /nonexistent.npy", CLI_NO_INPUT, "No such file");
    snprintf(line, sizeof line, "load a --npy %s", files_write("bad.npy", "hello", 5));
    expect(line, CLI_DATA, "is not a .npy file");
    expect("search a --vector [1,", CLI_DATA, "--vector: ");
    expect("search a --vector [1,2]x", CLI_DATA, "--vector: ");
    snprintf(line, sizeof line, "search a --vector-file %s --row 2",
             files_write("q.json", "[1,2]\n{\"vector\":[3,4]}\n", 23));
    expect(line, CLI_DATA, "there is no row 2, it has 2");
    snprintf(line, sizeof line, "search a --vector-file %s", files_write("q.json", "{\"text\": 1}", 11));
    expect(line, CLI_DATA, "neither an array of numbers nor an object");
}

static void nobody_there(void **state) {
    (void)state;
    static const char *const lines[] = {"health",
                                        "index ls",
                                        "index get a",
                                        "index rm a",
                                        "index create a -d 3",
                                        "search a --like b",
                                        "search a --vector [1,2]"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char line[256];
        snprintf(line, sizeof line, "%s --url ipc://%s", lines[i], files_path("no-socket"));
        expect(line, CLI_UNAVAILABLE, "Is vectord running? Start it with `vectord`");
    }
}

static void errors_as_json(void **state) {
    (void)state;
    char line[256];
    snprintf(line, sizeof line, "health --json --url ipc://%s", files_path("no-socket"));
    assert_int_equal(ctl(line), CLI_UNAVAILABLE);
    static const char start[] = "{\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"cannot reach ipc://";
    assert_int_equal(strncmp(err_text, start, sizeof start - 1), 0);
    assert_ptr_equal(strchr(err_text, '\n'), err_text + strlen(err_text) - 1); /* one line, no hint */
}

static void every_verb_helps(void **state) {
    (void)state;
    static const char *const verbs[] = {"index create", "index ls", "index get", "index rm",
                                        "load",         "search",   "health"};
    assert_int_equal(ctl("--help"), CLI_OK);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        assert_non_null(strstr(out_text, verbs[i]));
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s --help", verbs[i]);
        assert_int_equal(ctl(line), CLI_OK);
        assert_non_null(strstr(out_text, "examples:"));
        assert_non_null(strstr(out_text, "--url"));
        assert_string_equal(err_text, "");
        char first[sizeof out_text];
        memcpy(first, out_text, sizeof first);
        snprintf(line, sizeof line, "help %s", verbs[i]);
        assert_int_equal(ctl(line), CLI_OK);
        assert_string_equal(first, out_text);
    }
    assert_int_equal(ctl("index --help"), CLI_OK);
    assert_int_equal(ctl("--version"), CLI_OK);
    assert_int_equal(strncmp(out_text, "vectorctl ", 10), 0);
}

static void put(const char *text, size_t width, const char *want) {
    buffer b;
    buffer_init(&b, 0);
    cli_put_text(&b, text, width);
    buffer_put(&b, "", 1);
    assert_string_equal((const char *)b.data, want);
    buffer_fini(&b);
}

static void foreign_text_cannot_reach_the_terminal(void **state) {
    (void)state;
    put("plain", 0, "plain");
    put("a\x1b[31mred", 0, "a\xef\xbf\xbd[31mred");
    put("\x7f\x01", 0, "\xef\xbf\xbd\xef\xbf\xbd");
    put("\xc2\x9b", 0, "\xef\xbf\xbd"); /* C1: a control sequence in one character */
    put("bad \xff utf", 0, "bad \xef\xbf\xbd utf");
    put("cut \xe2\x82", 0, "cut \xef\xbf\xbd\xef\xbf\xbd");
    put("a\nb\tc", 0, "a b c");
    put("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 2, "\xe2\x82\xac\xe2\x80\xa6");
    put("abc", 3, "abc");
    put("abcd", 3, "ab\xe2\x80\xa6");
}

static void numbers_for_people(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b, 0);
    static const uint64_t counts[] = {0, 999, 1000, 1234567};
    for (size_t i = 0; i < 4; i++) {
        cli_put_count(&b, counts[i]);
        buffer_put_str(&b, " ");
    }
    cli_put_size(&b, 1023);
    buffer_put_str(&b, " ");
    cli_put_size(&b, 1536);
    buffer_put(&b, "", 1);
    assert_string_equal((const char *)b.data, "0 999 1,000 1,234,567 1023 B 1.5 KiB");
    buffer_fini(&b);
}

static void the_bar(void **state) {
    (void)state;
    char line[160];
    progress_format(line, sizeof line, 0.5, 0, 5000, 1000);
    assert_string_equal(line, " 50 % [############------------] 5,000 items, 5,000/s, 0:01 left");
    progress_format(line, sizeof line, 0.75, 0.5, 1000, 3600000); /* resumed half way: a quarter took an hour */
    assert_string_equal(line, " 75 % [##################------] 1,000 items, 0/s, 1:00:00 left");
    progress_format(line, sizeof line, -1, -1, 7, 1000); /* from a pipe */
    assert_string_equal(line, "7 items, 7/s");
    progress_format(line, sizeof line, 1, 0, 10, 0);
    assert_string_equal(line, "100 % [########################] 10");
}

int main(void) {
    unsetenv("VECTORD_URL");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_errors),       cmocka_unit_test(file_errors_come_before_the_server),
        cmocka_unit_test(nobody_there),       cmocka_unit_test(errors_as_json),
        cmocka_unit_test(every_verb_helps),   cmocka_unit_test(foreign_text_cannot_reach_the_terminal),
        cmocka_unit_test(numbers_for_people), cmocka_unit_test(the_bar),
    };
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
