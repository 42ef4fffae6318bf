#!/bin/sh
# The REST door with nothing but curl: create, add, search, errors, delete. Needs VECTORD_BIN.
set -eu
dir=$(mktemp -d)
"$VECTORD_BIN" --bind=127.0.0.1:0 --gateway-bind= --rpc-bind= --data-dir="$dir/data" --port-file="$dir/ports" 2>"$dir/log" &
pid=$!
trap 'kill $pid 2>/dev/null || true; wait $pid 2>/dev/null || true; rm -rf "$dir"' EXIT

tries=0
until [ -s "$dir/ports" ]; do
    tries=$((tries + 1))
    kill -0 $pid && [ $tries -lt 2000 ] || { cat "$dir/log"; exit 1; }
    curl -s --max-time 0.01 http://127.0.0.1:9/ || true # waits a moment
done
url=http://$(sed 's/.*"http":\["\([^"]*\)".*/\1/' "$dir/ports")/vectors

# expect WHAT WANTED CURL-ARGUMENTS...: body and status must be exactly as said.
expect() {
    what=$1 wanted=$2
    shift 2
    got=$(curl -s -w '%{http_code}' "$@")
    if [ "$got" != "$wanted" ]; then
        printf '%s\n  wanted: %s\n  got:    %s\n' "$what" "$wanted" "$got"
        exit 1
    fi
    echo "ok: $what"
}

expect "no indexes yet" '{"names":[],"count":0}
200' "$url/index"
expect "create" '{"params":{"name":"fruit","dimension":3,"m":16,"ef_search":20,"distance":"cosine","ef_construction":200},"length":0}
201' "$url/index" -d '{"name":"fruit","dimension":3}'
expect "create again" 'index already exists
409' "$url/index" -d '{"name":"fruit","dimension":3}'
expect "add" '{"added":2,"length":2}
200' "$url/index/fruit/add" -d '{"items":[{"id":"apple","vector":[1,0,0],"metadata":{"colour": "red"}},{"id":"banana","vector":[0,1,0]}]}'
expect "search" '{"results":[{"id":"apple","distance":0,"score":1,"metadata":{"colour": "red"}},{"id":"banana","distance":1,"score":0.5}]}
200' "$url/index/fruit/search" -d '{"vector":[2,0,0],"k":2}'
expect "the wrong length" 'items[0]: dim mismatch (index=3, got=2)
400' "$url/index/fruit/add" -d '{"items":[{"id":"cherry","vector":[1,0]}]}'
expect "what is not there" 'not found
404' "$url/index/vegetables"
expect "delete" 204 -X DELETE "$url/index/fruit"
expect "delete again" 'not found
404' -X DELETE "$url/index/fruit"
kill $pid
wait $pid
echo "a graceful stop ends with exit code 0"
