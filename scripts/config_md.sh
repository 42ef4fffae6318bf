#!/usr/bin/env bash
# Puts the table that `vectord config markdown` prints into docs/config.md, and storaged's into docs/storaged.md; --check fails when the
# file says something else.
#
#   scripts/config_md.sh [--check] BINARY [PAGE]       PAGE: docs/config.md
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/config_md.sh`
set -euo pipefail
cd "$(dirname "$0")/.."
check=no
if [ "${1:-}" = --check ]; then
  check=yes
  shift
fi
binary=$1
page=${2:-docs/config.md}
table=$(mktemp)
made=$(mktemp)
trap 'rm -f "$table" "$made"' EXIT
"$binary" config markdown >"$table"
awk -v table="$table" '
  /^<!-- settings -->$/ { print; while ((getline line < table) > 0) print line; skip = 1; next }
  /^<!-- end of settings -->$/ { skip = 0 }
  !skip { print }' "$page" >"$made"
if [ "$check" = no ]; then
  cat "$made" >"$page"
elif ! cmp -s "$made" "$page"; then
  diff "$page" "$made" || true
  echo "$page is not what $binary says: run scripts/config_md.sh $binary $page"
  exit 1
fi
