/*
 * kernels_check.h - what every set of kernels must do, as plain functions: run by cmocka on this machine
 * (kernels_test.c) and by a bare main under an emulator for another processor (kernels_check_main.c).
 */
#ifndef VECTORD_TESTS_KERNELS_CHECK_H
#define VECTORD_TESTS_KERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "hnsw/kernels/kernels.h"

typedef struct kernels_check {
    const char *title;
    bool (*run)(const hnsw_kernels *set); /* false after a line on stderr that says what differed */
} kernels_check;

/* Every check is run with as many seeds as the environment variable VECTORD_TEST_ROUNDS says; 1 without it. */
extern const kernels_check kernels_checks[];
extern const size_t kernels_check_count;

#endif
