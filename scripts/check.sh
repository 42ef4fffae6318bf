#!/usr/bin/env bash
# Everything a change must pass, with one line of summary at the end: "N passed, N failed".
#
#   scripts/check.sh [--quick] [--fuzz-seconds N] [--rounds N]
#     --quick            the release build and its tests only
#     --fuzz-seconds N   for each fuzz target (20)
#     --rounds N         runs the release suite N times (1), so N times as many kills and random seeds
#
# In order: packages, release build (gcc, warnings are errors) and all tests, the same under ASan + UBSan, under TSan, a clang
# build with the fuzz targets, the steps of the Dockerfile. A step that fails does not stop those after it.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/check.sh`
set -uo pipefail
cd "$(dirname "$0")/.."

quick=no fuzz_seconds=20 rounds=1
while [ $# -gt 0 ]; do
  case $1 in
  --quick) quick=yes ;;
  --fuzz-seconds) fuzz_seconds=${2:?--fuzz-seconds needs a number}; shift ;;
  --rounds) rounds=${2:?--rounds needs a number}; shift ;;
  -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "check: unknown option $1" >&2; exit 64 ;;
  esac
  shift
done

jobs=$(nproc)
began=$SECONDS
passed=0 failed=0 skipped=0
failures=() skips=()
times=$(mktemp)
log=$(mktemp)
trap 'rm -f "$times" "$log"' EXIT

title() { printf '\n==== %s  (%d s)\n' "$1" "$((SECONDS - began))"; }
good() { passed=$((passed + 1)); }
bad() {
  failed=$((failed + 1))
  failures+=("$1")
  echo "FAILED: $1"
}
# step NAME COMMAND...: one thing that passes or fails; its output is shown when it fails. 77: skipped.
step() {
  local name=$1 code
  shift
  "$@" >"$log" 2>&1
  code=$?
  case $code in
  0) good; echo "ok: $name" ;;
  77) skipped=$((skipped + 1)); skips+=("$name"); cat "$log"; echo "SKIPPED: $name" ;;
  *) tail -n 60 "$log"; bad "$name" ;;
  esac
  return "$code"
}

build() { # build PRESET [cmake arguments]
  local preset=$1
  shift
  step "configure $preset" cmake --preset "$preset" "$@" && step "build $preset" cmake --build "build/$preset" -j "$jobs" -- -k 0
}
build_fuzz() { # the fuzz targets, and every library, for clang's warnings
  local targets
  step "configure fuzz" cmake --preset fuzz || return
  mapfile -t targets < <(ninja -C build/fuzz -t targets all | sed -nE 's/^((fuzz|vd)_[a-z0-9_]+): phony$/\1/p')
  step "build fuzz" cmake --build build/fuzz -j "$jobs" --target "${targets[@]}" -- -k 0
}

# tests PRESET [ctest arguments]: runs and counts each test.
tests() {
  local preset=$1 line name
  shift
  ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure "$@" >"$log" 2>&1
  # The closing lines of ctest, and the output of what failed.
  awk '/\*\*\*(Failed|Exception|Timeout|Not Run)/ { open = 1 } /^ +Start +[0-9]+:|tests passed,/ { open = 0 } open' "$log" | head -n 300
  sed -n '/tests passed,/,$p' "$log"
  while read -r line; do
    name=$(sed -E 's/.*Test +#[0-9]+: ([^ ]+) .*/\1/' <<<"$line")
    case $line in
    *'   Passed '*) good ;;
    *'(Disabled)'*) continue ;; # by its CMakeLists.txt, which gives the reason: does not apply to this build
    *'***Skipped'*) skipped=$((skipped + 1)); skips+=("$preset: $name") ;;
    *) bad "$preset: $name" ;;
    esac
    sed -E "s|.*Test +#[0-9]+: ([^ ]+) .* ([0-9.]+) sec.*|\2 $preset \1|" <<<"$line" >>"$times"
  done < <(grep -E '^ *[0-9]+/[0-9]+ Test +#[0-9]+: ' "$log")
  grep -qE '^ *[0-9]+/[0-9]+ Test +#' "$log" || bad "$preset: no test ran"
}

fuzz() {
  local target name
  local found=0
  for target in build/fuzz/tests/fuzz/fuzz_*; do
    [ -f "$target" ] && [ -x "$target" ] || continue
    name=${target##*/}
    found=$((found + 1))
    printf '%s\n' "$target"
  done >"$times.fuzz"
  [ -s "$times.fuzz" ] || { bad "fuzz: no targets"; return; }
  # As many at a time as there are CPUs.
  xargs -P "$jobs" -n 1 scripts/fuzz_one.sh "$fuzz_seconds" <"$times.fuzz" >"$log" 2>&1
  while read -r target; do
    name=${target##*/}
    if grep -q "^fuzz ok: $name " "$log"; then
      good
      grep "^fuzz ok: $name " "$log"
    else
      grep -A 60 "^fuzz failed: $name" "$log" | head -n 80
      bad "$name"
    fi
  done <"$times.fuzz"
  rm -f "$times.fuzz"
}

title "packages"
step "packages" scripts/setup.sh check

title "release build, warnings are errors"
build release && {
  title "release tests"
  for _ in $(seq "$rounds"); do
    tests release
  done
}
if [ "$quick" = no ]; then
  title "AddressSanitizer and UndefinedBehaviorSanitizer"
  build asan-ubsan -DVD_BENCH=OFF && tests asan-ubsan -LE 'house|release' -E 'hnsw/(kernels_neon|determinism)' # those build programs of their own
  title "ThreadSanitizer"
  # Without what has one thread only (unit/lib/flat leaves it out by itself), and what drives the server by Python from outside but for start, stop and kills. Loading is
  # watched there: unit/registry/index_load opens 10,000 indexes, whose reserved addresses are more than TSan's part of the space.
  build tsan -DVD_BENCH=OFF && TSAN_OPTIONS="suppressions=$PWD/tests/support/tsan.supp" \
    tests tsan -LE 'house|release' -E 'unit/(base/(json|bytes|arena)|hnsw/(kernels|determinism|failmalloc|basics|model|recall|churn|floors|form|reload)|codec|config|server|storaged/(condition|object_file|options)|registry/index_load|store/(lhv1|journal|dir_power|oom|object_key|checksum))|recall/|conformance|e2e_(original|frames|web|hostile)'
  title "clang build, fuzz targets, $fuzz_seconds s each"
  build_fuzz && fuzz
  title "the steps of the Dockerfile"
  step "docker steps" scripts/docker_steps.sh
fi

title "the ten slowest tests"
sort -rn "$times" | head -n 10
if [ "$skipped" -gt 0 ]; then
  printf '\n%d skipped:\n' "$skipped"
  printf '  %s\n' "${skips[@]}"
fi
if [ "$failed" -gt 0 ]; then
  printf '\nfailed:\n'
  printf '  %s\n' "${failures[@]}"
fi
printf '\n%d s\n%d passed, %d failed\n' "$((SECONDS - began))" "$passed" "$failed"
[ "$failed" -eq 0 ]
