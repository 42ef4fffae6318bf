/* The port file: whole or not there, valid JSON, the old one replaced, nothing left behind when it cannot be written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/announce.h"

static announce_doors two_doors(void) {
    announce_doors doors = {.program = "vectord", .http_count = 2, .rpc = {"tcp://127.0.0.1:3"}, .rpc_count = 1};
    snprintf(doors.http[0], sizeof doors.http[0], "127.0.0.1:1");
    snprintf(doors.http[1], sizeof doors.http[1], "[::1]:2");
    return doors;
}

static void read_all(const char *path, char *out, size_t size) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void test_the_file_names_pid_and_addresses(void **state) {
    (void)state;
    char dir[] = "/tmp/vd-announce-XXXXXX", path[64], text[512], want[512];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/ports.json", dir);
    announce_doors doors = two_doors();
    for (int i = 0; i < 2; i++) { /* the second time it replaces the first */
        assert_int_equal(announce_write_port_file(path, &doors, NULL), VD_OK);
        snprintf(want, sizeof want,
                 "{\"pid\":%ld,\"http\":[\"127.0.0.1:1\",\"[::1]:2\"],\"rpc\":[\"tcp://127.0.0.1:3\"]}\n",
                 (long)getpid());
        read_all(path, text, sizeof text);
        assert_string_equal(text, want);
    }
    doors.http_only = true;
    assert_int_equal(announce_write_port_file(path, &doors, NULL), VD_OK);
    snprintf(want, sizeof want, "{\"pid\":%ld,\"http\":[\"127.0.0.1:1\",\"[::1]:2\"]}\n", (long)getpid());
    read_all(path, text, sizeof text);
    assert_string_equal(text, want);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* empty: the temporary is gone */
}

static void test_a_folder_in_the_way_is_an_error_that_leaves_nothing(void **state) {
    (void)state;
    char dir[] = "/tmp/vd-announce-XXXXXX", parent[] = "/tmp/vd-announce-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    assert_non_null(mkdtemp(parent));
    announce_doors doors = two_doors();
    vd_error err = {0};
    snprintf(path, sizeof path, "%s/missing/ports.json", dir);
    assert_int_equal(announce_write_port_file(path, &doors, &err), VD_INTERNAL);
    assert_non_null(strstr(err.text, "No such file or directory"));
    snprintf(path, sizeof path, "%s/ports", parent);
    char inner[80];
    snprintf(inner, sizeof inner, "mkdir -p %s/full", path);
    assert_int_equal(system(inner), 0);
    assert_int_equal(announce_write_port_file(path, &doors, &err), VD_INTERNAL);
    snprintf(inner, sizeof inner, "%s/full", path);
    assert_int_equal(rmdir(inner), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(parent), 0); /* empty: the temporary was removed */
    assert_int_equal(rmdir(dir), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_file_names_pid_and_addresses),
        cmocka_unit_test(test_a_folder_in_the_way_is_an_error_that_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
