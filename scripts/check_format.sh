#!/usr/bin/env bash
# Fails on C and C++ files that clang-format 14 would change; --fix changes them.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/check_format.sh`
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$(command -v clang-format-14 || true)
if [ -z "$tool" ]; then
  echo "format: clang-format-14 is not installed (scripts/setup.sh check)"
  exit 77
fi
arguments=(--dry-run -Werror)
[ "${1:-}" != --fix ] || arguments=(-i)
# The files of the checkout; in a tree without git (an unpacked archive) all there are.
{ git -c safe.directory='*' ls-files -z -- '*.c' '*.h' '*.cc' 2>/dev/null || find . -path ./build -prune -o -type f \( -name '*.[ch]' -o -name '*.cc' \) -print0; } |
  xargs -0 -r ls -d 2>/dev/null | tr '\n' '\0' | xargs -0 -r -n 20 -P 2 "$tool" "${arguments[@]}"
echo "format: every file is as clang-format 14 would write it"
