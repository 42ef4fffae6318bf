#!/usr/bin/env bash
# One fuzz target for so many seconds, from its seed corpus (and what earlier runs found, in the build tree).
#
#   scripts/fuzz_one.sh SECONDS TARGET
# Ends with "fuzz ok: NAME ..." or "fuzz failed: NAME" and the reason.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/fuzz_one.sh`
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=$1 target=$2
name=${target##*/}
seeds=tests/fuzz/corpus/${name#fuzz_}
work=build/fuzz-corpus/$name
mkdir -p "$work"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
arguments=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=3072 -print_final_stats=1 -artifact_prefix="$work/../$name-")
# A dictionary, when there is one.
[ ! -f "tests/fuzz/${name#fuzz_}.dict" ] || arguments+=(-dict="tests/fuzz/${name#fuzz_}.dict")
directories=("$work")
[ ! -d "$seeds" ] || directories+=("$seeds")
[ ! -d "tests/fuzz/regression/${name#fuzz_}" ] || directories+=("tests/fuzz/regression/${name#fuzz_}")
if "$target" "${arguments[@]}" "${directories[@]}" >"$log" 2>&1; then
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  count=0
  [ ! -d "$seeds" ] || count=$(find "$seeds" -type f | wc -l)
  echo "fuzz ok: $name $runs runs in $seconds s, $count seeds"
else
  echo "fuzz failed: $name"
  tail -n 50 "$log"
  exit 1
fi
