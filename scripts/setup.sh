#!/bin/sh
# Installs what is missing from Debian's packages; does nothing when nothing is missing.
#
#   scripts/setup.sh          what building and running needs
#   scripts/setup.sh check    also what scripts/check.sh needs
#
# As root directly, as another user through sudo.
set -eu

run="gcc g++ cmake ninja-build pkg-config libc6-dev curl
 libnng-dev libmicrohttpd-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libprotobuf-dev
 libmsgpack-dev libcurl4-openssl-dev libssl-dev libjansson-dev libcmocka-dev libtomlplusplus-dev"
check="git python3 python3-venv chromium clang-14 libclang-rt-14-dev llvm-14 lld-14 clang-format-14 iproute2 debootstrap
 qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross"

case "${1:-run}" in
run) wanted=$run ;;
check) wanted="$run $check" ;;
*)
  echo "usage: scripts/setup.sh [run|check]" >&2
  exit 64
  ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup: this needs Debian (or a relative of it with apt-get). The packages are:" $wanted >&2
  exit 1
fi

missing=
for package in $wanted; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
  echo "setup: every package is there"
  exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: missing:$missing" >&2
    echo "setup: run as root: apt-get install$missing" >&2
    exit 1
  fi
  as_root=sudo
fi
echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# sudo forgets the environment, so the variable goes through env.
if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >"$log" 2>&1 ||
  ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >>"$log" 2>&1; then
  cat "$log" >&2
  echo "setup: installing failed" >&2
  exit 1
fi
echo "setup: done"
