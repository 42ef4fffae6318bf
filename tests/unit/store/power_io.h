/*
 * power_io.h - a file system in memory that can lose its power: what was not synced is then there, or not, or in part, each
 * file and each name by itself, as the dice say. Names become durable when their folder is synced, contents when the file is.
 * That is less than any real file system gives, so what survives here survives there.
 */
#ifndef VECTORD_TESTS_STORE_POWER_IO_H
#define VECTORD_TESTS_STORE_POWER_IO_H

#include <stdint.h>

#include "store/io.h"

typedef struct power_io power_io;

power_io *power_io_new(void);
void power_io_free(power_io *p);
const io_table *power_io_table(power_io *p);
/* All calls from the `at`-th on fail (1 is the next one; 0: never). */
void power_io_fail_from(power_io *p, int at);
int power_io_calls(const power_io *p);
/* The power goes and comes back. Descriptors are gone, calls work again. */
void power_io_cut(power_io *p, uint32_t dice);

#endif
