/*
 * kernels_check_main.c - the kernel checks without cmocka: kernels_check_main NAME... runs them on each named set, and
 * fails on a set this machine (or the emulator it is given) cannot run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernels_check.h"

int main(int argc, char **argv) {
    int failed = argc < 2;
    for (int i = 1; i < argc; i++) {
        const hnsw_kernels *set = kernels_find(argv[i]);
        if (!set) {
            fprintf(stderr, "%s: not available here\n", argv[i]);
            failed = 1;
            continue;
        }
        for (size_t c = 0; c < kernels_check_count; c++) {
            const bool ok = kernels_checks[c].run(set);
            printf("%-6s %s: %s\n", ok ? "ok" : "FAILED", argv[i], kernels_checks[c].title);
            failed |= !ok;
        }
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
