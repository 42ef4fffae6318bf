#!/usr/bin/env bash
# Every header compiles on its own, the public ones also as strict C11 and as C++.
#
#   scripts/check_headers.sh [DIRECTORY]    where the generated messages are (build/release/proto otherwise)
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/check_headers.sh`
set -uo pipefail
cd "$(dirname "$0")/.."
proto=${1:-build/release/proto}
common=(-fsyntax-only -Wall -Wextra -Werror -Isrc -Iinclude -isystem "$proto" -D_GNU_SOURCE -DVECTORD_VERSION='"0"')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

one() {
  local header=$1
  local name=${header#src/}
  name=${name#include/}
  local unit
  unit=$(mktemp "$work/XXXXXX.c")
  # Twice: the guard works. A declaration, so that the unit is not empty.
  printf '#include "%s"\n#include "%s"\nint vd_header_unit;\n' "$name" "$name" >"$unit"
  cc -std=gnu11 "${common[@]}" "$unit" || { echo "headers: $header does not stand alone"; return 1; }
  case $header in
  include/*)
    cc -std=c11 -pedantic-errors "${common[@]}" -U_GNU_SOURCE "$unit" || { echo "headers: $header is not strict C11"; return 1; }
    c++ -std=c++11 "${common[@]}" -x c++ "$unit" || { echo "headers: $header is not C++"; return 1; }
    ;;
  esac
}

bad=0
while IFS= read -r header; do
  one "$header" || bad=1
done < <(find src include -name '*.h' ! -name '*_body.h' | sort) # a body is the text of several files, each with its own beginning
[ "$bad" = 0 ] && echo "headers: each stands alone"
exit "$bad"
