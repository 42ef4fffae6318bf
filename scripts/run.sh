#!/usr/bin/env bash
# The first minute: sets up, builds, starts vectord, loads the sample, searches, and keeps serving until Ctrl-C.
#
#   scripts/run.sh              serve until Ctrl-C
#   scripts/run.sh --once       stop after the demo, exit code 0
#   --http-port N  --gateway-port N  --rpc-port N     other ports (0: any free one); 3215, 3110 and 3216 otherwise
#   --data-dir DIR                                    another folder; ./vectord-data otherwise
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/run.sh`
set -euo pipefail
cd "$(dirname "$0")/.."

once=no http_port=3215 gateway_port=3110 rpc_port=3216 data_dir=vectord-data
usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
  --once) once=yes ;;
  --http-port | --gateway-port | --rpc-port | --data-dir)
    [ $# -ge 2 ] || { echo "run: $1 needs a value" >&2; exit 64; }
    case $1 in
    --http-port) http_port=$2 ;;
    --gateway-port) gateway_port=$2 ;;
    --rpc-port) rpc_port=$2 ;;
    --data-dir) data_dir=$2 ;;
    esac
    shift
    ;;
  -h | --help) usage; exit 0 ;;
  *) echo "run: unknown option $1" >&2; usage >&2; exit 64 ;;
  esac
  shift
done

index=packages
sample=data/packages-5k
build=build/release
work=$(mktemp -d)
server=

bold= plain= dim=
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m' dim=$'\e[2m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
shown() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }

finish() {
  local code=$?
  trap - EXIT
  if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" || code=$?
  fi
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 129' HUP

# ---- build ----
say "1. What building needs"
scripts/setup.sh run

say "2. Building"
[ -f "$build/build.ninja" ] || cmake --preset release >"$work/cmake.log" || { cat "$work/cmake.log" >&2; exit 1; }
cmake --build "$build" --target vectord vectorctl

# ---- start ----
say "3. Starting vectord on the folder $data_dir"
taken() { [ "$1" != 0 ] && (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for pair in "http:$http_port" "gateway:$gateway_port" "rpc:$rpc_port"; do
  if taken "${pair#*:}"; then
    echo "run: port ${pair#*:} is taken. Choose another one: scripts/run.sh --${pair%:*}-port N (0: any free one)" >&2
    exit 69
  fi
done
# In a session of its own: Ctrl-C reaches this script alone, which then asks the server once (twice would mean "at once").
setsid "$build/bin/vectord" --data-dir "$data_dir" --bind "127.0.0.1:$http_port" --gateway-bind "127.0.0.1:$gateway_port" \
  --rpc-bind "tcp://127.0.0.1:$rpc_port" --port-file "$work/ports.json" --log-format text 2>"$work/log" &
server=$!
for _ in $(seq 600); do
  [ -s "$work/ports.json" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; server=; exit 1; }
  sleep 0.05
done
http=$(sed -n 's/.*"http":\["\([^"]*\)".*/\1/p' "$work/ports.json")
rpc=$(sed -n 's/.*"rpc":\["\([^"]*\)".*/\1/p' "$work/ports.json")
[ -n "$http" ] && [ -n "$rpc" ] || { echo "run: vectord did not start" >&2; cat "$work/log" >&2; exit 1; }
for _ in $(seq 1200); do
  "$build/bin/vectord" health --ready --url "http://$http" >/dev/null 2>&1 && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; server=; exit 1; }
  sleep 0.05
done
grep -E ' (warn|error) ' "$work/log" || true
echo "Ready."

ctl=$build/bin/vectorctl
export VECTORD_URL=$rpc

# ---- load ----
say "4. The sample: 5,000 popular Python packages, as vectors"
wanted=$(wc -l <"$sample/items.jsonl")
length=$({ "$ctl" index get "$index" --json 2>/dev/null || true; } | sed -n 's/.*"length":\([0-9]*\).*/\1/p')
if [ "${length:-0}" -ge "$wanted" ]; then
  echo "The index \"$index\" with $length items is in $data_dir already; nothing to load."
else
  shown "vectorctl load $index --create --npy $sample/base.npy --jsonl $sample/items.jsonl"
  "$ctl" load "$index" --create --npy "$sample/base.npy" --jsonl "$sample/items.jsonl"
fi

# ---- search ----
say "5. Which Python package does what this npm package does?"
row=0
while [ "$row" -lt 3 ]; do
  text=$(sed -n "$((row + 1))s/.*\"text\": \"\(.*\)\".*/\1/p" "$sample/queries.jsonl")
  printf '\n%snpm  %s%s\n' "$bold" "$text" "$plain"
  shown "vectorctl search $index --vector-file $sample/queries.npy --row $row -k 3"
  "$ctl" search "$index" --vector-file "$sample/queries.npy" --row "$row" -k 3
  row=$((row + 1))
done

say "6. The first search again, with curl"
shown "curl -s http://$http/vectors/index/$index/search --data-binary @$sample/semver.json"
curl -sS --fail-with-body "http://$http/vectors/index/$index/search" --data-binary "@$sample/semver.json" >"$work/answer"
printf '%s ...\n' "$(cut -c 1-330 "$work/answer")"

say "vectord is serving"
sed 's/[][{}"]//g; s/pid:[0-9]*,//; s/,rpc:/\n  RPC   /; s/http:/  HTTP  /; s/,/ and /g' "$work/ports.json"
if [ "$once" = yes ]; then
  echo
  echo "Stopping it again (--once). Without --once it goes on serving."
  exit 0
fi
echo
echo "Ctrl-C stops it. The data stays in $data_dir; the next start is quicker."
tail -n 0 -f "$work/log" --pid "$server" &
trap 'exit 0' INT TERM
wait "$server" && server=
