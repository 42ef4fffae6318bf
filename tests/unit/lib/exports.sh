#!/bin/sh
# exports.sh LIBRARY HEADER_FOLDER - libvectord.so shows every function that include/vectord/ declares, and nothing else.
set -eu
nm -D --defined-only "$1" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | grep -v '^VECTORD_' | sort -u >exported.$$
cat "$2"/status.h "$2"/hnsw.h "$2"/file.h "$2"/flat.h | tr '\n' ' ' | grep -oE 'VECTORD_API[^;{]*[; ]' |
    grep -oE '\bvd_[a-z_0-9]+\(' | tr -d '(' | sort -u >declared.$$
status=0
diff declared.$$ exported.$$ || {
    echo "left: declared; right: exported"
    status=1
}
rm -f declared.$$ exported.$$
exit $status
