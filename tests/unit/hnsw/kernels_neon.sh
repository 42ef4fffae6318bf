#!/bin/sh
# kernels_neon.sh SOURCE_DIR - the NEON kernels on a machine that has none: cross-compiled, and checked under an emulator.
# Without the cross compiler or the emulator there is nothing to run: says so and exits 77, which ctest shows as skipped.
set -eu
source_dir=$1
compiler=${AARCH64_CC:-aarch64-linux-gnu-gcc}
emulator=${QEMU_AARCH64:-qemu-aarch64}
for tool in "$compiler" "$emulator"; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "SKIPPED: no $tool, so the NEON kernels were NOT tested (Debian: gcc-aarch64-linux-gnu, qemu-user)" >&2
        exit 77
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernels=$source_dir/src/hnsw/kernels
tests=$source_dir/tests/unit/hnsw
"$compiler" -O3 -std=gnu11 -Wall -Wextra -Wconversion -Wshadow -Werror -ffp-contract=off -D_GNU_SOURCE \
    -I"$source_dir/src" -I"$source_dir/include" -I"$tests" \
    "$kernels/scalar.c" "$kernels/neon.c" "$kernels/neondot.c" "$kernels/select.c" \
    "$tests/kernels_check.c" "$tests/kernels_check_main.c" -lm -o "$work/kernels_check"
# -cpu max: one that has dotprod.
"$emulator" -cpu max -L /usr/aarch64-linux-gnu "$work/kernels_check" neon neondot scalar
