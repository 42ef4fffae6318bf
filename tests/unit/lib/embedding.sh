#!/bin/sh
# embedding.sh SOURCE_DIR BUILD_DIR C_COMPILER - what docs/embedding.md says works: the two components install, its program compiles
# with pkg-config and nothing else, and prints what stands there.
set -eu
page=$1/docs/embedding.md build=$2 cc=$3
command -v pkg-config >/dev/null || { echo "skipped: pkg-config is not installed"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/vectord-embedding-XXXXXX")
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --component library --prefix "$work/prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
cmake --install "$build" --component development --prefix "$work/prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
pc=$(find "$work/prefix" -name vectord.pc)
library=$(dirname "$(find "$work/prefix" -name libvectord.so.0)")

cd "$work"
sed -n '/^```c$/,/^```$/p' "$page" | sed '1d;$d' >first.c
grep -q 'int main' first.c || { echo "no program in $page"; exit 1; }
# shellcheck disable=SC2046
"$cc" -std=c11 -Wall -Wextra -Werror first.c $(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs vectord) -o first
LD_LIBRARY_PATH=$library ./first >printed
# The block without a language: what it prints.
awk '/^```/ { if (open) { open = 0; next } open = 1; plain = $0 == "```"; next } open && plain' "$page" >wanted
[ -s wanted ] || { echo "nothing to compare with in $page"; exit 1; }
diff wanted printed
for word in library development; do
    grep -q -- "--component $word" "$page" || { echo "$page does not install $word"; exit 1; }
done
