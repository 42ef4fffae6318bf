#!/usr/bin/env bash
# asm.sh - shows in the machine code that the engine's innermost loops ask no branch about what cannot be predicted.
#
#   asm.sh LIBRARY                          checks libvd_hnsw.a of a release build (gcc, x86-64)
#   asm.sh --self-test COMPILER SOURCE_DIR  shows that code which is not like that is found
#
# Whether a neighbour has been visited, whether it is near enough and where it belongs is anyone's guess: a branch on it is wrong
# every other time and costs as much as the distance. No measurement of time is steady enough to notice one more of them; counting
# the conditional jumps is.
#
#   collect           conditional jumps in all: the recorded number below. They are: base level or not, an empty list, a neighbour
#                     that is too new (never, so it is predicted), and the loop. One on the visited bit would be one more.
#   pool_take_*       every innermost loop - gathering by distance, the steps of the search for a place, moving up - has one
#                     conditional jump, its own. And none anywhere is made on a comparison of floats (comiss and its kind).
#   score_high        prefetches: at least so many as its loops over 3, 6 and any number of lines ask for. (A compiler may drop what
#                     it can show to have no use; it has no reason to, but nothing else would tell.)
#
# A loop is found as a conditional jump backwards with all jumps to the same place; it is innermost when no other begins in it. When
# the code is changed and the check fails: look at `objdump -d`, and put another number here if every jump is one that is predicted.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh asm.sh`
set -euo pipefail

COLLECT_JUMPS=4
POOL_ANY_LOOPS=2    # at least: gathering, the search
POOL_AVX512_LOOPS=2 # at least: the search, moving up
PREFETCHES=40       # at least; 87 were there when this was written: 3, 6 or any number of lines, and two numbers, by some places

# facts MEMBER FUNCTION LIBRARY: "jumps loops worst float_jumps prefetches instructions" over all functions of that name (a regular
# expression) in that member. worst: the conditional jumps in that innermost loop which has most.
facts() {
  objdump -d -w --no-show-raw-insn "$3" | awk -v member="$1" -v name="$2" '
    function hex(text,    i, value) {
      value = 0
      for (i = 1; i <= length(text); i++) {
        value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
      }
      return value
    }
    function close_function(    i, j, h, inner, count) {
      jumps += n
      for (h in last) { # a loop from h to last[h]
        inner = 1
        for (j in last) {
          inner = inner && !(j + 0 > h + 0 && j + 0 <= last[h])
        }
        if (inner) {
          loops++
          count = 0
          for (i = 1; i <= n; i++) {
            count += at[i] >= h + 0 && at[i] <= last[h]
          }
          worst = count > worst ? count : worst
        }
      }
      n = 0
      split("", last)
    }
    /file format/ { here = ($1 == member ":") }
    /^[0-9a-f]+ <.*>:$/ {
      if (on) { close_function() }
      symbol = substr($2, 2, length($2) - 3)
      sub(/\.(constprop|isra|part|cold).*/, "", symbol)
      on = here && symbol ~ ("^(" name ")$")
      floats = 0
      next
    }
    on && NF >= 2 && $1 ~ /^[0-9a-f]+:$/ {
      address = hex(substr($1, 1, length($1) - 1))
      instructions++
      if ($2 ~ /^j/ && $2 !~ /^jmp/) {
        at[++n] = address
        float_jumps += floats
        if ($3 ~ /^[0-9a-f]+$/ && hex($3) <= address) {
          h = hex($3)
          last[h] = (h in last) && last[h] > address ? last[h] : address
        }
      }
      prefetches += $2 ~ /^prefetch/
      # flags live on until something else sets them; moves do not
      if ($2 ~ /^v?u?comis/) {
        floats = 1
      } else if ($2 !~ /^(v?mov|lea|nop|j|set|cmov|push|pop)/) {
        floats = 0
      }
    }
    END {
      if (on) { close_function() }
      printf "%d %d %d %d %d %d\n", jumps, loops, worst, float_jumps, prefetches, instructions
    }'
}

complaints=0
complain() {
  echo "$1"
  complaints=$((complaints + 1))
}

check_walk() { # LIBRARY
  read -r jumps loops worst float_jumps prefetches instructions < <(facts walk.c.o collect "$1")
  echo "collect: $jumps conditional jumps in $instructions instructions"
  [ "$instructions" -gt 20 ] || complain "collect: not found as a function of its own"
  [ "$jumps" -le "$COLLECT_JUMPS" ] || complain "collect: $jumps conditional jumps, $COLLECT_JUMPS are due"
}

check_pool() { # LIBRARY FUNCTION LOOPS
  read -r jumps loops worst float_jumps prefetches instructions < <(facts pool.c.o "$2" "$1")
  echo "$2: $loops innermost loops with at most $worst conditional jumps, $float_jumps jumps on floats, $jumps in all"
  [ "$instructions" -gt 20 ] || complain "$2: not found as a function of its own"
  [ "$loops" -ge "$3" ] || complain "$2: $loops innermost loops, at least $3 are due"
  [ "$worst" -le 1 ] || complain "$2: $worst conditional jumps in an innermost loop, its own is due"
  [ "$float_jumps" -eq 0 ] || complain "$2: $float_jumps jumps on a comparison of floats"
}

check_prefetches() { # LIBRARY
  read -r jumps loops worst float_jumps prefetches instructions < <(facts avx512.c.o 'score_high|high_[a-z0-9]+' "$1")
  echo "score_high (avx512): $prefetches prefetches in $instructions instructions"
  [ "$instructions" -gt 20 ] || complain "score_high (avx512): not found"
  [ "$prefetches" -ge "$PREFETCHES" ] || complain "score_high (avx512): $prefetches prefetches, at least $PREFETCHES are due"
}

check() { # LIBRARY
  check_walk "$1"
  check_pool "$1" pool_take_any "$POOL_ANY_LOOPS"
  check_pool "$1" pool_take_avx512 "$POOL_AVX512_LOOPS"
  check_prefetches "$1"
}

# ---- the self-test ----

work=
# compile OUT.a "FILES" FLAGS...: sources in $work as they are built for release
compile() {
  local out=$1 files=$2 file
  shift 2
  rm -f "$out"
  for file in $files; do
    "$compiler" -std=gnu11 -O3 -g1 -DNDEBUG -D_GNU_SOURCE -DVECTORD_VERSION='"0"' -ffp-contract=off -fno-omit-frame-pointer -fPIC \
      -fvisibility=hidden -fstack-protector-strong -fstack-clash-protection "$@" -I"$work" -I"$source_dir/src" \
      -I"$source_dir/include" -c "$work/$file.c" -o "$work/$file.c.o"
    ar rcs "$out" "$work/$file.c.o"
  done
}

fresh() {
  cp "$source_dir/src/hnsw/walk.c" "$source_dir/src/hnsw/pool.c" "$source_dir/src/hnsw/kernels/avx512.c" "$work"
}

# change FILE FROM TO: replaces a text that stands there once or more, over line ends
change() {
  python3 - "$work/$1" "$2" "$3" <<'END'
import re, sys
path, old, new = sys.argv[1:]
text = open(path).read()
pattern = r"\s+".join(re.escape(word) for word in old.split())
text, times = re.subn(pattern, lambda match: new, text)
if times == 0:
    sys.exit(f"the self-test no longer fits {path}: not found: {old}")
open(path, "w").write(text)
END
}

# found WHAT COMMAND...: the check must complain
found() {
  local what=$1 before=$complaints
  shift
  "$@" >"$work/log"
  if [ "$complaints" -eq "$before" ]; then
    cat "$work/log"
    echo "SELF-TEST FAILED: $what was not found"
    exit 1
  fi
  echo "found: $what"
  complaints=$before
}

if [ "${1:-}" = --self-test ]; then
  compiler=${2:?compiler}
  source_dir=$(cd "${3:?source folder}" && pwd)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  keep='__asm__ volatile("");' # what a compiler cannot turn into arithmetic

  fresh
  compile "$work/as_it_is.a" "walk pool avx512"
  check "$work/as_it_is.a"
  [ "$complaints" -eq 0 ] || exit 1

  fresh
  change walk.c 'out[found] = neighbour; found += !(seen & bit);' 'if (!(seen & bit)) { out[found++] = neighbour; }'
  compile "$work/visited.a" walk
  found "a branch on the visited bit" check_walk "$work/visited.a"

  fresh
  change pool.c 'near[entering] = i; entering += distances[i] < bound;' 'if (distances[i] < bound) { near[entering++] = i; }'
  compile "$work/near.a" pool
  found "a branch on a distance" check_pool "$work/near.a" pool_take_any "$POOL_ANY_LOOPS"

  fresh
  change pool.c 'base += (size_t)half & -(size_t)(base[half - 1] < key);' \
    "if (base[half - 1] < key) { $keep base += half; }"
  compile "$work/place.a" pool
  found "a branchy search in plain C" check_pool "$work/place.a" pool_take_any "$POOL_ANY_LOOPS"
  found "a branchy search with AVX-512" check_pool "$work/place.a" pool_take_avx512 "$POOL_AVX512_LOOPS"

  fresh
  compile "$work/prefetch.a" avx512 '-D__builtin_prefetch(...)=((void)0)' -w
  found "prefetches that were dropped" check_prefetches "$work/prefetch.a"
  exit 0
fi

check "${1:?library}"
if [ "$complaints" -gt 0 ]; then
  echo "see the head of $0"
  exit 1
fi
