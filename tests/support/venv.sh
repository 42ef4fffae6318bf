#!/bin/sh
# Makes the Python environment of the end-to-end tests in the build tree, and the protobuf stubs beside it.
#
#   venv.sh BUILD_DIR PROTO_FILE
#
# BUILD_DIR/venv is made once and used again until requirements.txt changes; BUILD_DIR/stubs is written anew each time. Without
# network access to a package index the first run fails loudly: these tests are never skipped in silence. Concurrent calls wait
# for one another.
set -eu
build=$1
proto=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$build"
exec 9>"$build/venv.lock"
flock 9

wanted=$(cat "$here/requirements.txt")
if [ "$wanted" != "$(cat "$build/venv/made-from.txt" 2>/dev/null || true)" ]; then
    rm -rf "$build/venv"
    python3 -m venv "$build/venv"
    if ! "$build/venv/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$here/requirements.txt"; then
        echo "venv.sh: cannot install $here/requirements.txt (no network?); the end-to-end tests need these packages" >&2
        rm -rf "$build/venv"
        exit 1
    fi
    printf '%s\n' "$wanted" >"$build/venv/made-from.txt"
fi

# Two sets of stubs: vectord_pb2 from the published file, and vectord_bytes_pb2 from a copy whose vectors are `bytes`. On the
# wire a packed `repeated float` and the bytes of little-endian float32 are the same, and Python then copies no floats one by one.
mkdir -p "$build/stubs"
cp "$proto" "$build/stubs/vectord.proto"
sed -e 's/^package vectord\.v1;/package vectord_bytes.v1;/' -e 's/repeated float vector/bytes vector/' "$proto" \
    >"$build/stubs/vectord_bytes.proto"
protoc -I"$build/stubs" --python_out="$build/stubs" vectord.proto vectord_bytes.proto
"$build/venv/bin/python" -c "
import sys; sys.path.insert(0, '$build/stubs')
import vectord_pb2, vectord_bytes_pb2, pynng, numpy
a = vectord_pb2.Item(id='x', vector=[1.5, -2.0]).SerializeToString()
assert a == vectord_bytes_pb2.Item(id='x', vector=numpy.array([1.5, -2.0], '<f4').tobytes()).SerializeToString()"
