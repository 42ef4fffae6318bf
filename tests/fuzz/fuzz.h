/* fuzz.h - what every fuzz target offers, and how it says that a promise was broken. */
#ifndef VECTORD_TESTS_FUZZ_H
#define VECTORD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* assert that stays in release builds */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
