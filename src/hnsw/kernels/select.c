/* select.c - which kernels this machine runs, decided once. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hnsw/kernels/kernels.h"

static const hnsw_kernels *chosen;

const hnsw_kernels *kernels_find(const char *name) {
    if (strcmp(name, "scalar") == 0) {
        return &kernels_scalar;
    }
    return NULL;
}

static void choose(void) {
    static const char *const best_first[] = {"avx512", "avx2", "neon", "scalar"};
    const char *wish = getenv("VECTORD_CPU");
    chosen = wish ? kernels_find(wish) : NULL;
    for (size_t i = 0; !chosen; i++) {
        chosen = kernels_find(best_first[i]);
    }
}

const hnsw_kernels *kernels_select(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen;
}
