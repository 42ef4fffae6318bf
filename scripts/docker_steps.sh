#!/usr/bin/env bash
# Runs the steps of docker/Dockerfile without a Docker daemon, in roots made by debootstrap, then runs the result as the image
# would run and tests it from outside its network namespace.
#
#   scripts/docker_steps.sh [--keep DIR]     DIR keeps the roots; a temporary folder otherwise
#
# Needs root, debootstrap, a Debian mirror and network namespaces; says what is missing and exits with 77 otherwise. The checks of
# the texts alone (lint) always run.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # also right when called as `sh scripts/docker_steps.sh`
set -euo pipefail
cd "$(dirname "$0")/.."
dockerfile=docker/Dockerfile compose=docker/compose.yaml
mirror=${VECTORD_TEST_DEBIAN_MIRROR:-http://deb.debian.org/debian}
keep=
if [ "${1:-}" = --keep ]; then keep=${2:?--keep needs a folder}; fi

fail() { echo "docker: $*" >&2; exit 1; }
skip() { echo "docker: SKIPPED, $*: the steps of the Dockerfile were not run" >&2; exit 77; }
expect() { echo "ok: $1"; }

# ---- the texts ----
lint() {
  local steps last
  steps=$(instructions)
  last=$(awk '$1 == "FROM" { text = "" } { text = text $0 "\n" } END { printf "%s", text }' <<<"$steps")
  ! grep -qE '^FROM [^: ]+( |$)|^FROM [^ ]*:latest' <<<"$steps" || fail "an image without a fixed tag"
  grep -qE '^USER [1-9][0-9]*:[1-9][0-9]*$' <<<"$last" || fail "the final stage must name a numeric user that is not root"
  grep -qE '^ENTRYPOINT \["' <<<"$last" || fail "ENTRYPOINT must have the exec form, or signals do not arrive"
  grep -qE '^HEALTHCHECK .*CMD \["' <<<"$last" || fail "HEALTHCHECK must have the exec form"
  ! grep -E 'apt-get install' <<<"$steps" | grep -qv -- --no-install-recommends || fail "apt-get install without --no-install-recommends"
  ! grep -E 'apt-get install' <<<"$steps" | grep -qv '/var/lib/apt/lists' || fail "package lists are left in a layer"
  ! grep -qE '^ADD ' <<<"$steps" || fail "ADD does more than it says; use COPY"
  ! grep -q 'ALLOW_INSECURE_BIND=1' <<<"$steps" || fail "the image itself must not allow insecure addresses"
  grep -q 'VECTORD_ALLOW_INSECURE_BIND: "1"' "$compose" || fail "compose must allow insecure addresses"
  ! sed -n '/ports:/,/volumes:/p' "$compose" | grep -E '^ *- ' | grep -qvE '"127\.0\.0\.1:[0-9]+:[0-9]+"' ||
    fail "compose publishes a port on other addresses than 127.0.0.1"
  for port in $(sed -n 's/^EXPOSE //p' <<<"$last"); do
    grep -q "\"127.0.0.1:$port:$port\"" "$compose" || fail "compose does not publish port $port"
  done
  expect "Dockerfile and compose.yaml keep the house rules"
}

# The Dockerfile with one instruction per line, without comments.
instructions() {
  sed -E '/^[[:space:]]*#/d; /^[[:space:]]*$/d' "$dockerfile" |
    awk '{ if (sub(/\\$/, "")) { held = held $0 } else { print held $0; held = "" } }' | sed -E 's/[[:space:]]+/ /g; s/ $//'
}

lint
[ "$(id -u)" -eq 0 ] || skip "not root"
for tool in debootstrap ip unshare chroot setsid curl; do
  command -v "$tool" >/dev/null || skip "no $tool"
done

work=${keep:-$(mktemp -d)}
mkdir -p "$work"
namespace=vdock$$
link=vd$$
server=
cleanup() {
  local code=$?
  trap - EXIT
  if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then kill -KILL "$server" || true; fi
  ip netns del "$namespace" 2>/dev/null || true
  ip link del "$link" 2>/dev/null || true
  if [ -z "$keep" ]; then rm -rf --one-file-system "$work"; fi
  exit $code
}
trap cleanup EXIT

# ---- FROM: one base for all stages ----
base() {
  if [ ! -f "$work/base/.made" ]; then
    debootstrap --variant=minbase bookworm "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 || {
      tail -n 5 "$work/debootstrap.log" >&2
      skip "debootstrap failed (no mirror?)"
    }
    touch "$work/base/.made"
  fi
}

# in_root ROOT COMMAND: a shell in the root with /proc and the few devices a build needs, in a mount namespace of its own.
in_root() {
  unshare --mount bash -c '
    root=$1
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    for device in null zero random urandom; do
      [ -e "$root/dev/$device" ] || : >"$root/dev/$device"
      mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir -p "$root/dev/shm" && mount -t tmpfs tmpfs "$root/dev/shm"
    [ ! -f /etc/resolv.conf ] || { touch "$root/etc/resolv.conf"; mount --bind "$(readlink -f /etc/resolv.conf)" "$root/etc/resolv.conf"; }
    exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
      HOME=/root sh -c "$2"' - "$1" "$2"
}

declare -A stage_root environment
user=0:0 entrypoint= healthcheck= root= volumes=
words() { sed -E 's/^[^[]*\[//; s/\][^]]*$//; s/", *"/\n/g; s/"//g' <<<"$1"; } # ["a", "b"] -> a line each

run_steps() {
  local line verb rest number=0 name
  while IFS= read -r line; do
    verb=${line%% *} rest=${line#* }
    case $verb in
    FROM)
      number=$((number + 1))
      name=$number
      [[ $rest =~ \ AS\ (.*)$ ]] && name=${BASH_REMATCH[1]}
      root=$work/stage-$name
      rm -rf --one-file-system "$root"
      base
      cp -a "$work/base" "$root"
      stage_root[$name]=$root
      ;;
    RUN)
      echo "  RUN ${rest:0:100}"
      in_root "$root" "$rest" >"$work/run.log" 2>&1 || { tail -n 40 "$work/run.log" >&2; fail "this step failed: RUN $rest"; }
      ;;
    COPY)
      echo "  COPY $rest"
      if [[ $rest =~ ^--from=([^ ]+)\ ([^ ]+)\ ([^ ]+)$ ]]; then
        mkdir -p "$root${BASH_REMATCH[3]}"
        cp -a "${stage_root[${BASH_REMATCH[1]}]}${BASH_REMATCH[2]}/." "$root${BASH_REMATCH[3]}/"
      elif [[ $rest =~ ^\.\ ([^ ]+)$ ]]; then
        mkdir -p "$root${BASH_REMATCH[1]}"
        git -c safe.directory='*' ls-files -z | xargs -0 ls -d 2>/dev/null | tar -cf - -T - | tar -xf - -C "$root${BASH_REMATCH[1]}"
      elif [[ $rest =~ ^([^\ ]+)\ ([^\ ]+)$ ]]; then
        install -D -m "$(stat -c %a "${BASH_REMATCH[1]}")" "${BASH_REMATCH[1]}" "$root${BASH_REMATCH[2]}"
      else
        fail "this form of COPY is not known here: $line"
      fi
      ;;
    ENV)
      while read -r pair; do [ -z "$pair" ] || environment[${pair%%=*}]=${pair#*=}; done < <(tr ' ' '\n' <<<"$rest")
      ;;
    USER) user=$rest ;;
    VOLUME) volumes=$rest ;;
    ENTRYPOINT) entrypoint=$(words "$rest") ;;
    HEALTHCHECK) healthcheck=$(words "${rest#*CMD }") ;;
    LABEL | EXPOSE | STOPSIGNAL) ;;
    *) fail "this instruction is not known here: $line" ;;
    esac
  done < <(instructions)
}

# contained COMMAND...: as the container would: its environment, user, read-only root, no capabilities, its network namespace.
contained() {
  local pairs=() name
  for name in "${!environment[@]}"; do pairs+=("$name=${environment[$name]}"); done
  exec setsid ip netns exec "$namespace" unshare --mount bash -c '
    root=$1 volume=$2 data=$3 user=$4; shift 4
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --bind /dev/null "$root/dev/null"
    mount --bind /dev/urandom "$root/dev/urandom"
    mount --bind "$data" "$root$volume"
    mount -o remount,ro,bind "$root"
    exec chroot "$root" setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs --bounding-set=-all \
      --inh-caps=-all env -i PATH=/usr/bin:/bin "$@"' \
    - "$root" "$volumes" "$work/volume" "$user" "${pairs[@]}" "$@"
}

test_image() {
  local address=10.213.77.2 http code
  mapfile -t entry <<<"$entrypoint"
  mapfile -t health <<<"$healthcheck"
  rm -rf "$work/volume"
  mkdir -p "$work/volume"
  chown "$user" "$work/volume" # a fresh volume takes the owner of the folder in the image
  [ "$(stat -c %u:%g "$root$volumes")" = "$user" ] || fail "the image's $volumes does not belong to $user"

  ip netns add "$namespace"
  ip link add "$link" type veth peer name "${link}i"
  ip link set "${link}i" netns "$namespace"
  ip addr add 10.213.77.1/30 dev "$link"
  ip link set "$link" up
  ip netns exec "$namespace" ip addr add "$address/30" dev "${link}i"
  ip netns exec "$namespace" ip link set "${link}i" up
  ip netns exec "$namespace" ip link set lo up

  (contained "${entry[@]}") >"$work/refused.log" 2>&1 && fail "the image alone must refuse to open itself to other machines"
  grep -q -- --allow-insecure-bind "$work/refused.log" || { cat "$work/refused.log" >&2; fail "the refusal does not name the way out"; }
  expect "without VECTORD_ALLOW_INSECURE_BIND=1 the image refuses to start, and says why"

  environment[VECTORD_ALLOW_INSECURE_BIND]=1
  for round in first second; do
    (contained "${entry[@]}") >"$work/server.log" 2>&1 &
    server=$!
    for _ in $(seq 200); do
      (contained "${health[@]}") >"$work/health.log" 2>&1 && break
      kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; fail "the server ended"; }
      sleep 0.1
    done
    (contained "${health[@]}" --ready) >"$work/health.log" 2>&1 || { cat "$work/health.log" "$work/server.log" >&2; fail "never healthy"; }
    expect "$round start: the HEALTHCHECK command says healthy"
    if [ "$round" = first ]; then
      [ "$(awk '/^Uid:/ { print $2 }' "/proc/$server/status")" = "${user%:*}" ] || fail "does not run as ${user%:*}"
      expect "it runs as ${user%:*}, root read-only, without capabilities"
      grep -q 'REACHABLE FROM OTHER MACHINES' "$work/server.log" || fail "no loud line in the log"
      expect "the log says aloud that others can reach it"
    fi
    for port in 3215 3110; do
      code=$(curl -s -o "$work/answer" -w '%{http_code}' --max-time 10 "http://$address:$port/vectors/index") || true
      [ "$code" = 200 ] || { cat "$work/server.log" >&2; fail "port $port from outside its network namespace: $code"; }
    done
    expect "$round start: ports 3215 and 3110 answer from outside the network namespace"
    (exec 3<>"/dev/tcp/$address/3216") || fail "port 3216 is closed"
    if [ "$round" = first ]; then
      curl -sf "http://$address:3215/vectors/index" -d '{"name":"t","dimension":2}' >/dev/null
      curl -sf "http://$address:3215/vectors/index/t/add" -d '{"items":[{"id":"a","vector":[1,0]}]}' >/dev/null
    fi
    http=$(curl -s "http://$address:3215/vectors/index/t/search" -d '{"vector":[1,0]}')
    grep -q '"id":"a"' <<<"$http" || fail "the item is not found: $http"
    kill -TERM "$server"
    code=0
    wait "$server" || code=$?
    server=
    [ "$code" = 0 ] || { cat "$work/server.log" >&2; fail "SIGTERM: exit code $code"; }
    expect "$round start: the item is found, SIGTERM ends it with exit code 0"
  done
}

echo "docker: the steps of $dockerfile"
run_steps
# Without apt's caches, which the official images remove after each step.
size() { du -sk --one-file-system --exclude=var/cache --exclude=var/lib/apt "$1" | cut -f1; }
echo "docker: the image adds $((($(size "$root") - $(size "$work/base")) / 1024)) MiB to its base"
test_image
echo "docker: all steps run, the image works"
