/*
 * http_clients_test.c - curl and Python's http.client against the HTTP door: what they show their users of a refusal that comes
 * while they are still sending. Skipped (77) with a word when neither is installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "integration/real_doors.h"

static real_doors doors;
static char big_file[] = "/tmp/vectord-body-XXXXXX";

static int start(void **state) {
    (void)state;
    int fd = mkstemp(big_file);
    if (fd < 0 || ftruncate(fd, 64 * 1024 * 1024 + 1) != 0) {
        return -1;
    }
    close(fd);
    return real_doors_start(&doors, false) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    unlink(big_file);
    real_doors_stop(&doors);
    return 0;
}

static bool installed(const char *program) {
    char command[100];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

/* Runs a shell command with $URL and $FILE set; its output must equal `wanted`. */
static void run(const char *command, const char *wanted) {
    char whole[1000];
    char output[4000];
    snprintf(whole, sizeof whole, "URL=http://localhost:%u FILE=%s; %s 2>&1", doors.port, big_file, command);
    FILE *pipe = popen(whole, "r");
    assert_non_null(pipe);
    size_t size = fread(output, 1, sizeof output - 1, pipe);
    output[size] = '\0';
    int code = pclose(pipe);
    if (code != 0 || strcmp(output, wanted) != 0) {
        print_error("%s\nexit %d, want:\n%s\ngot:\n%s\n", whole, code, wanted, output);
        fail();
    }
}

static void test_curl(void **state) {
    (void)state;
    if (!installed("curl")) {
        print_message("SKIPPED: curl is not installed\n");
        skip();
    }
    run("curl -sS -d '{\"name\":\"c\",\"dimension\":2}' -o /dev/null -w '%{http_code}' $URL/vectors/index", "201");
    run("curl -sS -d '{\"items\":[{\"id\":\"a\",\"vector\":[1,2]}]}' $URL/vectors/index/c/add",
        "{\"added\":1,\"length\":1}\n");
    /* curl asks first (Expect: 100-continue) above 1 MiB, unless it is told not to, and then sends everything */
    run("curl -sS --data-binary @$FILE -w '%{http_code}' $URL/vectors/index/c/add", "body too large\n413");
    run("curl -sS -H Expect: --data-binary @$FILE -w '%{http_code}' $URL/vectors/index/c/add", "body too large\n413");
    run("curl -sS -H Expect: -H 'Transfer-Encoding: chunked' --data-binary @$FILE -w '%{http_code}' "
        "$URL/vectors/index/c/add",
        "body too large\n413");
    run("curl -sS -H Expect: --data-binary @$FILE -w '%{http_code}' $URL/vectors/index/none/add", "not found\n404");
    run("curl -sS -H Expect: -H 'Origin: http://evil.example' --data-binary @$FILE -o /dev/null -w '%{http_code}' "
        "$URL/vectors/index/c/add",
        "403");
    run("curl -sS -F a=b -o /dev/null -w '%{http_code}' $URL/vectors/index/c/add", "415");
    run("curl -sS -I -o /dev/null -w '%{http_code}' $URL/vectors/index/c", "200");
    run("curl -sS -X DELETE -w '%{http_code}' $URL/vectors/index/c", "204");
}

static void test_python(void **state) {
    (void)state;
    if (!installed("python3")) {
        print_message("SKIPPED: python3 is not installed\n");
        skip();
    }
    char command[400];
    snprintf(command, sizeof command, "python3 %s/tests/integration/http_clients.py %u", VD_SOURCE_DIR, doors.port);
    run(command, "ok\n");
}

int main(void) {
    if (!installed("curl") && !installed("python3")) {
        fprintf(stderr, "SKIPPED: neither curl nor python3 is installed\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_curl), cmocka_unit_test(test_python)};
    return cmocka_run_group_tests(tests, start, stop);
}
