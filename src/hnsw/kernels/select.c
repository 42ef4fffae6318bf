/*
 * select.c - which kernels this machine runs, decided once.
 *
 * kernels_find answers for one set whether the processor and the operating system can run it; kernels_select takes the
 * best of those, or the one the environment variable VECTORD_CPU names. A name that is unknown, or that this machine
 * cannot run, leaves the choice as it was: a setting carried from another machine must not stop a server.
 *
 * The compiler's own question covers the operating system too (does it save the wide registers?), but clang 14 knows
 * neither "f16c" nor "avxvnni" by name; both use the registers of AVX, so where "avx2" is answered with yes, one bit
 * each is left.
 *
 * Threading: the choice is made under pthread_once by whichever thread asks first, and never changes after.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hnsw/kernels/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const hnsw_kernels *chosen;

#if defined(__x86_64__)
static bool have_avx2(void) {
    unsigned eax, ebx, ecx, edx;
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

/* Leaf 7, subleaf 1, bit 4 of eax. */
static bool have_avx2vnni(void) {
    unsigned eax, ebx, ecx, edx;
    return have_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1U << 4);
}

static bool have_avx512(void) {
    return have_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__)
static bool have_dotprod(void) {
#if defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
    return false;
#endif
}
#endif

const hnsw_kernels *kernels_find(const char *name) {
    if (strcmp(name, "scalar") == 0) {
        return &kernels_scalar;
    }
#if defined(__x86_64__)
    if (strcmp(name, "avx512") == 0 && have_avx512()) {
        return &kernels_avx512;
    }
    if (strcmp(name, "avx2vnni") == 0 && have_avx2vnni()) {
        return &kernels_avx2vnni;
    }
    if (strcmp(name, "avx2") == 0 && have_avx2()) {
        return &kernels_avx2;
    }
#elif defined(__aarch64__)
    if (strcmp(name, "neondot") == 0 && have_dotprod()) {
        return &kernels_neondot;
    }
    if (strcmp(name, "neon") == 0) { /* every 64-bit ARM has it */
        return &kernels_neon;
    }
#endif
    return NULL;
}

static void choose(void) {
    static const char *const best_first[] = {"avx512", "avx2vnni", "avx2", "neondot", "neon", "scalar"};
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
