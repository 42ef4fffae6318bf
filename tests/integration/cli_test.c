/*
 * cli_test.c - vectorctl against the real server: the first minute of the README, resuming, and what scripts rely on (exit codes and
 * JSON). The program itself is run where signals matter, cli_main elsewhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "support/server.h"

#define SAMPLE VD_SOURCE_DIR "/data/packages-5k"

static test_server server;
static char out_text[65536];
static char err_text[65536];

static int start_server(void **state) {
    (void)state;
    if (!test_server_init(&server) || !test_server_start(&server, NULL)) {
        return -1;
    }
    return setenv("VECTORD_URL", server.rpc_url, 1);
}

static int end_server(void **state) {
    (void)state;
    test_server_fini(&server);
    return 0;
}

static void read_back(FILE *file, char *text, size_t size) {
    fflush(file);
    rewind(file);
    size_t n = fread(text, 1, size - 1, file);
    text[n] = '\0';
    fclose(file);
}

/* Splits `line` at blanks. */
static int ctl(const char *line) {
    char copy[1024];
    char *argv[40] = {copy};
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

static void expect(const char *line, int code, const char *out, const char *err) {
    int got = ctl(line);
    if (got != code || !strstr(out_text, out) || !strstr(err_text, err)) {
        fail_msg("vectorctl %s: exit code %d (want %d)\nout: %s\nerr: %s", line, got, code, out_text, err_text);
    }
}

static const char *write_file(const char *name, const char *text) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", server.dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void the_first_minute(void **state) {
    (void)state;
    expect("health", CLI_OK, "ok, ready", "");
    expect("index ls", CLI_OK, "", "no indexes yet");
    expect("load packages --npy " SAMPLE "/base.npy --ids-jsonl " SAMPLE "/items.jsonl", CLI_NO_INPUT, "",
           "Add --create to make it, or: vectorctl index create packages --dimension 384");
    expect("load packages --npy " SAMPLE "/base.npy --ids-jsonl " SAMPLE "/items.jsonl --create", CLI_OK,
           "\"complete\":true,\"length\":5000", "");
    expect("index ls", CLI_OK, "packages  5,000        384  cosine", "");
    expect("index get packages --json", CLI_OK, "\"length\":5000,\"state\":\"ready\"", "");
    expect("search packages --like boto3 -k 3", CLI_OK, "\n1  boto ", "");
    assert_null(strstr(out_text, " boto3 "));
    expect("search packages --vector-file " SAMPLE "/queries.npy --row 2 -k 3 --json", CLI_OK, "\"count\":3", "");
    expect("search packages --vector-file " SAMPLE "/base.npy --row 4999 -k 1 --exact", CLI_OK, "0.000000", "");
    expect("search packages --like nothing-like-it", CLI_NO_INPUT, "", "no such item");
    expect("search packages --vector [1,2]", CLI_DATA, "", "dim mismatch (index=384, got=2)");
    expect("index rm packages", CLI_OK, "deleted packages", "");
    expect("index rm packages", CLI_NO_INPUT, "", "there is no index \"packages\"");
    expect("index rm packages --if-exists --json", CLI_OK, "{\"deleted\":false,\"name\":\"packages\"}", "");
}

static void names_and_parameters(void **state) {
    (void)state;
    expect("index create a/b%20 -d 2 --distance euclidean --m 8 --ef-construction 50 --ef-search 30 --json", CLI_OK,
           "\"name\":\"a/"
           "b%20\",\"dimension\":2,\"m\":8,\"ef_construction\":50,\"ef_search\":30,\"distance\":\"euclidean\"",
           "");
    expect("index create a/b%20 -d 2", CLI_EXISTS, "", "already exists");
    expect("index create c -d 2 --distance manhattan", CLI_DATA, "", "distance");
    expect("search a/b%20 --vector [1,2]", CLI_OK, "", "nothing found: the index is empty");
    expect("index rm a/b%20", CLI_OK, "deleted a/b%20", "");
}

static void json_lines(void **state) {
    (void)state;
    char line[512];
    snprintf(line, sizeof line, "load notes --jsonl %s --create --distance euclidean --batch 2",
             write_file("notes.jsonl", "{\"id\": \"a\", \"vector\": [0, 0], \"metadata\": {\"t\": 1}}\n"
                                       "{\"id\": \"b\", \"vector\": [3, 4]}\n"
                                       "{\"id\": \"a\", \"vector\": [0, 1], \"metadata\": {\"t\": 2}}\n"));
    expect(line, CLI_OK, "\"loaded\":3", "");
    expect("index get notes --json", CLI_OK, "\"length\":2", "");
    expect("search notes --vector [0,1] -k 1 --json", CLI_OK,
           "\"results\":[{\"id\":\"a\",\"distance\":0,\"score\":1,\"metadata\":{\"t\": 2}}]",
           ""); /* the later line won */
    snprintf(line, sizeof line, "load notes --jsonl %s",
             write_file("wrong.jsonl", "{\"id\": \"a\", \"vector\": [1, 2, 3]}\n"));
    expect(line, CLI_DATA, "", "the file has vectors of dimension 3, index \"notes\" takes 2");
    expect("index rm notes", CLI_OK, "", "");
}

static void a_bad_line_stops_and_resumes(void **state) {
    (void)state;
    char line[512];
    char path[128];
    snprintf(path, sizeof path, "%s",
             write_file("some.jsonl", "{\"id\": \"a\", \"vector\": [1, 2]}\n"
                                      "{\"id\": \"b\", \"vector\": [2, 2]}\n"
                                      "{\"id\": \"c\", \"vector\": [3, \"x\"]}\n"
                                      "{\"id\": \"d\", \"vector\": [4, 2]}\n"));
    snprintf(line, sizeof line, "load some --jsonl %s --create", path);
    expect(line, CLI_DATA, "\"loaded\":2,\"first_row\":0,\"next_row\":2,\"complete\":false", "some.jsonl:3: ");
    assert_non_null(strstr(err_text, "2 rows are in. Continue with:"));
    assert_non_null(strstr(err_text, "--create --resume 2"));
    write_file("some.jsonl", "{\"id\": \"a\", \"vector\": [1, 2]}\n"
                             "{\"id\": \"b\", \"vector\": [2, 2]}\n"
                             "{\"id\": \"c\", \"vector\": [3, 2]}\n"
                             "{\"id\": \"d\", \"vector\": [4, 2]}\n");
    snprintf(line, sizeof line, "load some --jsonl %s --create --resume 2", path);
    expect(line, CLI_OK, "\"loaded\":2,\"first_row\":2,\"next_row\":4,\"complete\":true,\"length\":4", "");
    snprintf(line, sizeof line, "load some --jsonl %s --resume 4", path);
    expect(line, CLI_OK, "\"loaded\":0", ""); /* resuming what was complete is fine */
    snprintf(line, sizeof line, "load some --jsonl %s --resume 5", path);
    expect(line, CLI_DATA, "", "there is no row 5");
    /* What the server refuses is named by its row in the file. */
    snprintf(line, sizeof line, "load some --jsonl %s --batch 1",
             write_file("zero.jsonl", "{\"id\": \"a\", \"vector\": [1, 2]}\n{\"id\": \"b\", \"vector\": [0, 0]}\n"));
    expect(line, CLI_DATA, "\"next_row\":1", "row 1: ");
    expect("index rm some", CLI_OK, "", "");
}

/* The program itself, its standard input fed by hand, so that it is in the middle of a load when the signal comes. */
static void an_interrupt_says_how_to_go_on(void **state) {
    (void)state;
    int in[2];
    char errors[128];
    snprintf(errors, sizeof errors, "%s/interrupted", server.dir);
    assert_int_equal(pipe(in), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(in[0], 0);
        close(in[0]);
        close(in[1]);
        if (!freopen(errors, "w", stderr) || !freopen("/dev/null", "w", stdout)) {
            _exit(126);
        }
        execl(VD_BINARY_DIR "/bin/vectorctl", "vectorctl", "load", "slow one", "--jsonl", "-", "--create", "--batch",
              "1", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    static const char first[] = "{\"id\": \"a\", \"vector\": [1, 2]}\n";
    assert_int_equal(write(in[1], first, sizeof first - 1), sizeof first - 1);
    /* The first row is in: the load is under way, and its handler is set. */
    vd_client *client = NULL;
    vd_client_index index;
    vd_error err;
    assert_int_equal(vd_client_open(server.rpc_url, NULL, &client, &err), VD_OK);
    while (vd_client_get_index(client, "slow one", &index, &err) != VD_OK || index.length == 0) {
    }
    kill(pid, SIGINT);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(in[1]);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CLI_INTERRUPTED);
    FILE *file = fopen(errors, "r");
    assert_non_null(file);
    read_back(file, err_text, sizeof err_text);
    assert_non_null(strstr(err_text, "1 rows are in. Continue with:"));
    assert_non_null(strstr(err_text, "load 'slow one' --jsonl - --create --batch 1 --resume 1"));
    assert_int_equal(vd_client_delete_index(client, "slow one", &err), VD_OK);
    vd_client_close(client);
}

static void a_server_that_goes_away(void **state) {
    (void)state;
    test_server_kill(&server);
    expect("health", CLI_UNAVAILABLE, "", "Is vectord running?");
    expect("load x --npy " SAMPLE "/queries.npy --create", CLI_UNAVAILABLE, "", "cannot reach tcp://127.0.0.1:");
    assert_true(test_server_start(&server, NULL));
    int code;
    do {
        code = ctl("health --ready --json"); /* ctest ends a test that goes on for ever */
    } while (code == CLI_NOT_READY);
    expect("health --ready --json", CLI_OK, "\"ready\":true", "");
}

int main(void) {
    if (!test_server_available()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_minute),
        cmocka_unit_test(names_and_parameters),
        cmocka_unit_test(json_lines),
        cmocka_unit_test(a_bad_line_stops_and_resumes),
        cmocka_unit_test(an_interrupt_says_how_to_go_on),
        cmocka_unit_test(a_server_that_goes_away),
    };
    return cmocka_run_group_tests(tests, start_server, end_server);
}
