/*
 * fault_io.h - an io_table over the real one that counts its calls and makes the i-th one fail: once, or it and all that
 * follow (the machine has died). A write that fails has written half of its bytes.
 */
#ifndef VECTORD_TESTS_STORE_FAULT_IO_H
#define VECTORD_TESTS_STORE_FAULT_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/io.h"

typedef struct fault_io {
    io_table table;
    _Atomic int calls;
    _Atomic int fail_at; /* 1 is the next call; 0: none */
    _Atomic int error;   /* errno of the failing call */
    _Atomic bool sticky;
    _Atomic int failed;   /* calls that were made to fail */
    size_t write_at_most; /* short writes and reads: this many bytes a call; 0: all */
    bool no_hard_links;   /* link answers EPERM */
} fault_io;

/* Fills the table; the struct must stay where it is. */
void fault_io_init(fault_io *f);
/* Counts from here: call number fail_at from now on fails. */
void fault_io_arm(fault_io *f, int fail_at, int error, bool sticky);

#endif
