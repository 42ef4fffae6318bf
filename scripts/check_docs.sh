#!/usr/bin/env bash
# Every file that a document links to, and every path under src/ or include/ it names in backticks, exists.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/check_docs.sh`
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0
while IFS=: read -r page target; do
  case $target in http*://* | mailto:*) continue ;; esac
  [ -e "$(dirname "$page")/${target%%#*}" ] || { echo "$page: links to $target, which is not there"; bad=1; }
done < <(grep -oE '\]\([^)#][^)]*\)' README.md CHANGELOG.md docs/*.md data/*/README.md clients/*/README.md tests/*/README.md bench/*/README.md | sed -E 's/\]\(//; s/\)$//')
while IFS=: read -r page path; do
  # shellcheck disable=SC2086
  ls -d $path >/dev/null 2>&1 || { echo "$page: names $path, which is not there"; bad=1; }
done < <(grep -oE '`(src|include|scripts|tests|docs)/[A-Za-z0-9_./*-]+`' README.md CHANGELOG.md docs/*.md bench/*/README.md | tr -d '`')
[ "$bad" = 0 ] && echo "docs: every link and every path leads somewhere"
exit "$bad"
