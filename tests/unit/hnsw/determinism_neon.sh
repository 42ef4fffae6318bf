#!/bin/sh
# determinism_neon.sh SOURCE_DIR - the recorded sums of determinism_test.c on the NEON kernels, on a machine that has none: the
# whole engine cross-compiled, and run under an emulator. Every second life, by one metric: the emulator is slow.
# Without the cross compiler or the emulator there is nothing to run: says so and exits 77, which ctest shows as skipped.
set -eu
source_dir=$1
compiler=${AARCH64_CC:-aarch64-linux-gnu-gcc}
emulator=${QEMU_AARCH64:-qemu-aarch64}
for tool in "$compiler" "$emulator"; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "SKIPPED: no $tool, so graphs by the NEON kernels were NOT compared (Debian: gcc-aarch64-linux-gnu, qemu-user)" >&2
        exit 77
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What the test uses of cmocka, which is not there for the other machine.
cat >"$work/cmocka.h" <<'END'
#define fail_msg(...) (printf("FAILED: " __VA_ARGS__), printf("\n"), exit(1))
#define assert_int_equal(a, b) ((a) == (b) ? (void)0 : fail_msg("%s:%d: %s, %s", __FILE__, __LINE__, #a, #b))
#define print_message printf
struct CMUnitTest {
    void (*function)(void **);
};
#define cmocka_unit_test(f) {f}
static inline int run_all(const struct CMUnitTest *tests, int count) {
    for (int i = 0; i < count; i++) {
        tests[i].function(NULL);
    }
    return 0;
}
#define cmocka_run_group_tests(tests, up, down) run_all(tests, sizeof tests / sizeof tests[0])
#define _cmocka_run_group_tests(name, tests, count, up, down) run_all(tests, count)
END
cd "$source_dir"
"$compiler" -O3 -std=gnu11 -Wall -Wextra -Werror -ffp-contract=off -D_GNU_SOURCE -DVECTORD_VERSION='"0"' \
    -I"$work" -Isrc -Iinclude -Itests src/hnsw/*.c src/hnsw/kernels/*.c src/base/alloc.c src/base/bytes.c src/base/status.c \
    src/base/executor.c tests/unit/hnsw/determinism_test.c tests/unit/hnsw/engine_help.c -lm -pthread -o "$work/determinism"
for kernels in neon neondot; do
    # -cpu max: one that has dotprod.
    VECTORD_CPU=$kernels "$emulator" -cpu max -L /usr/aarch64-linux-gnu "$work/determinism" few >"$work/log" || {
        code=$?
        cat "$work/log"
        exit "$code"
    }
    cat "$work/log"
    if grep -q "DIFFERENT" "$work/log" || ! grep -q "as recorded" "$work/log"; then
        exit 1
    fi
done
