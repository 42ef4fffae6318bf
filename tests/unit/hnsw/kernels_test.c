/*
 * kernels_test.c - every set of kernels this machine can run against the plain one, and the choice among them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels_check.h"

/* The sets of this architecture; kernels_neon.sh sees to the other one. */
#if defined(__aarch64__)
static const char *const names[] = {"scalar", "neon", "neondot"};
#elif defined(__x86_64__)
static const char *const names[] = {"scalar", "avx2", "avx2vnni", "avx512"};
#else
static const char *const names[] = {"scalar"};
#endif
#define NAME_COUNT (sizeof names / sizeof *names)

typedef struct one_check {
    const char *set;
    const kernels_check *check;
    char title[120];
} one_check;

static void run_check(void **state) {
    const one_check *one = *state;
    const hnsw_kernels *set = kernels_find(one->set);
    if (!set) {
        print_message("SKIPPED: this machine cannot run the %s kernels\n", one->set);
        skip();
    }
    assert_string_equal(set->name, one->set);
    assert_true(one->check->run(set));
}

static void find_knows_only_its_names(void **state) {
    (void)state;
    assert_null(kernels_find(""));
    assert_null(kernels_find("avx"));
    assert_null(kernels_find("AVX2"));
    assert_null(kernels_find("avx512 "));
    assert_ptr_equal(kernels_find("scalar"), &kernels_scalar);
}

/* The choice is made once in a process, so each wish is tried in a child of its own: it exits 0 when it got
 * `expected`. */
static void assert_chosen(const char *wish, const char *expected) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (wish) {
            setenv("VECTORD_CPU", wish, 1);
        } else {
            unsetenv("VECTORD_CPU");
        }
        const hnsw_kernels *set = kernels_select();
        _exit(set && strcmp(set->name, expected) == 0 && kernels_select() == set ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("VECTORD_CPU=%s did not choose %s", wish ? wish : "(unset)", expected);
    }
}

static void select_takes_the_best_or_the_wish(void **state) {
    (void)state;
    const char *best = kernels_find("avx512")     ? "avx512"
                       : kernels_find("avx2vnni") ? "avx2vnni"
                       : kernels_find("avx2")     ? "avx2"
                       : kernels_find("neondot")  ? "neondot"
                       : kernels_find("neon")     ? "neon"
                                                  : "scalar";
    assert_chosen(NULL, best);
    assert_chosen("", best);
    assert_chosen("pentium", best);
    for (size_t n = 0; n < NAME_COUNT; n++) {
        assert_chosen(names[n], kernels_find(names[n]) ? names[n] : best);
    }
}

int main(void) {
    enum { FIXED = 2 };
    const size_t count = NAME_COUNT * kernels_check_count;
    one_check *all = calloc(count, sizeof *all);
    struct CMUnitTest *tests = calloc(count + FIXED, sizeof *tests);
    if (!all || !tests) {
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < count; i++) {
        all[i].set = names[i / kernels_check_count];
        all[i].check = &kernels_checks[i % kernels_check_count];
        (void)snprintf(all[i].title, sizeof all[i].title, "%s: %s", all[i].set, all[i].check->title);
        tests[i] = (struct CMUnitTest){all[i].title, run_check, NULL, NULL, &all[i]};
    }
    tests[count] = (struct CMUnitTest)cmocka_unit_test(find_knows_only_its_names);
    tests[count + 1] = (struct CMUnitTest)cmocka_unit_test(select_takes_the_best_or_the_wish);
    const int failed = _cmocka_run_group_tests("kernels", tests, count + FIXED, NULL, NULL);
    free(tests);
    free(all);
    return failed;
}
