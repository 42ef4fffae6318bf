#!/usr/bin/env bash
# Fails on an #include against the allowed arrows of docs/architecture.md.
#
#   scripts/check_layers.sh [ROOT]      ROOT: the checkout, this one otherwise
#   scripts/check_layers.sh --self-test shows that offending includes are found
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/check_layers.sh`
set -euo pipefail

# What each folder may include of the others. A folder may always include itself and the public headers that `public` names.
declare -A may=(
  [base]=""
  [hnsw]="base"
  [store]="base"
  [lib]="hnsw store base"
  [registry]="hnsw store base"
  [ops]="registry base"
  [codec]="base"
  [http]="base"
  [config]="base"
  [transport]="ops codec http base"
  [storaged]="http config store base"
  [server]="transport http config codec ops registry hnsw store base"
  [cli]="base"
  [clients]="base"
  [bench]="base hnsw codec cli" # it measures them, and reads files as vectorctl does
)
# Folders that may use the generated messages, and vectord/client.h.
messages="ops codec transport clients bench"
client="cli bench clients"
# Libraries and the folders that may know them; the engine knows neither files nor sockets nor the log.
libraries() {
  case $1 in
  nng/*) echo "transport clients bench" ;;
  microhttpd.h) echo "http transport storaged" ;;
  nghttp2/*) echo "transport" ;;
  toml++/*) echo "config" ;;
  msgpack.h | msgpack/*) echo "store codec" ;;
  curl/*) echo "store bench" ;;
  openssl/*) echo "store" ;;
  jansson.h) echo "bench" ;;
  protobuf-c/*) echo "$messages" ;;
  sys/socket.h | netinet/* | arpa/*) echo "http config transport storaged bench" ;;
  fcntl.h | dirent.h | poll.h | sys/epoll.h | sys/stat.h) echo "base store lib http config transport storaged server cli clients bench" ;;
  *) echo any ;;
  esac
}

has() { case " $1 " in *" $2 "*) return 0 ;; *) return 1 ;; esac; }

check() {
  local root=$1 bad=0 file line path folder target allowed
  while IFS=: read -r file line path; do
    file=${file#"$root"/}
    case $file in
    src/*/*) folder=${file#src/} folder=${folder%%/*} ;;
    clients/*) folder=clients ;;
    bench/*) folder=bench ;;
    *) folder=public ;;
    esac
    target=${path%%/*}
    allowed=no
    if [ "$folder" = public ]; then
      case $path in vectord/*) allowed=yes ;; *) [ "$(libraries "$path")" = any ] && [ "$path" = "${path#*/}" ] && allowed=yes ;; esac
    elif [ -z "${may[$folder]+x}" ]; then
      echo "$file:$line: the folder src/$folder has no row in scripts/check_layers.sh"
      bad=1
      continue
    elif [[ $path == */vectord.pb-c.h ]]; then
      has "$messages" "$folder" && allowed=yes
    elif [ "$path" = vectord/client.h ]; then
      has "$client" "$folder" && allowed=yes
    elif [ "$target" = vectord ] || [ "$path" = "$target" ] && [ -z "${may[$target]+x}" ] && [ "$(libraries "$path")" = any ]; then
      allowed=yes
    elif [ -n "${may[$target]+x}" ]; then
      { [ "$target" = "$folder" ] || has "${may[$folder]}" "$target"; } && allowed=yes
      [ "$folder:$path" = hnsw:base/log.h ] && allowed=no
    elif [ "$(libraries "$path")" = any ] || has "$(libraries "$path")" "$folder"; then
      allowed=yes
    fi
    if [ "$allowed" = no ]; then
      echo "$file:$line: $folder may not include $path"
      bad=1
    fi
  done < <(cd "$root" && find src include clients/c bench -type f \( -name '*.[ch]' -o -name '*.cc' \) -print0 2>/dev/null | sort -z |
    xargs -0 -r grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]' |
    sed -E 's/^([^:]*:[0-9]*:).*[<"]([^>"]*)[>"].*$/\1\2/')
  return $bad
}

self_test() {
  local root rule
  root=$(mktemp -d)
  trap "rm -rf '$root'" EXIT
  while read -r file path verdict; do
    rm -rf "$root/src" "$root/include" "$root/clients" "$root/bench"
    mkdir -p "$root/$(dirname "$file")"
    printf '#include "%s"\n' "$path" >"$root/$file"
    if check "$root" >/dev/null; then rule=yes; else rule=no; fi
    [ "$rule" = "$verdict" ] || { echo "self-test: $file including $path: $rule, must be $verdict"; exit 1; }
  done <<'CASES'
src/hnsw/a.c base/alloc.h yes
src/hnsw/a.c base/log.h no
src/hnsw/a.c store/lhv1.h no
src/hnsw/a.c sys/socket.h no
src/hnsw/kernels/a.c hnsw/hnsw_int.h yes
src/store/a.c hnsw/hnsw_int.h no
src/store/a.c vectord/hnsw.h yes
src/store/a.c registry/registry.h no
src/base/a.c store/io.h no
src/base/a.c vectord/status.h yes
src/base/a.c string.h yes
src/ops/a.c transport/transport.h no
src/ops/a.c vectord/v1/vectord.pb-c.h yes
src/registry/a.c vectord/v1/vectord.pb-c.h no
src/registry/a.c microhttpd.h no
src/registry/a.c vectord/client.h no
src/transport/a.c ops/ops.h yes
src/transport/a.c registry/registry.h no
src/transport/a.c http/http_guard.h yes
src/http/a.c transport/transport.h no
src/storaged/a.c http/http_conn.h yes
src/storaged/a.c store/folder.h yes
src/storaged/a.c transport/transport.h no
src/storaged/a.c registry/registry.h no
src/storaged/a.c server/config.h no
src/config/a.c server/config.h no
src/store/a.c storaged/objects.h no
src/server/a.c registry/registry.h yes
src/server/a.c cli/cli.h no
src/cli/a.c vectord/client.h yes
src/cli/a.c registry/registry.h no
src/unknown/a.c base/log.h no
clients/c/a.c nng/nng.h yes
clients/c/a.c ops/ops.h no
include/vectord/a.h vectord/status.h yes
include/vectord/a.h base/alloc.h no
include/vectord/a.h stdint.h yes
CASES
  echo "self-test: every rule holds"
}

case ${1:-} in
--self-test) self_test ;;
*)
  root=$(cd "${1:-$(dirname "$0")/..}" && pwd)
  check "$root"
  echo "layers: every include follows the arrows"
  ;;
esac
