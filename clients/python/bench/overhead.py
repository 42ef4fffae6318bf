#!/usr/bin/env python3
"""What one search of one query costs more from Python than from C.

    VECTORD_LIBRARY=build/release/src/lib/libvectord.so.0 clients/python/bench/overhead.py [--rounds N]

For each index below, the same queries are searched one by one, in two ways in turn in the same process on the same
index:

  Python   index.search(query) for each query, the query being a row of a float32 array, results kept by nobody
  C        vd_flat_search with query_count = 1 for each query, from a loop in C that is compiled for this (with cc)

The queries go in blocks of 50, each `rounds` times in each way; the figures are wall-clock microseconds per query, for
each block from its quickest round, so that what else the machine does counts as little as possible. The difference is
what Python adds: the method, ctypes, giving up and taking back the interpreter's lock, and two new arrays. Other
threads of the interpreter that want the lock make it more. Without a C compiler only the Python column is shown.

The indexes: ten items (the engine does next to nothing, so noise is least), and the 5,000 x 384 sample of
data/packages-5k with its own queries, ids as ints and as strs. k = 10, no ef: as far as the calibrated recall needs.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

import vectord
from vectord._library import library

K = 10
BLOCK = 50
SAMPLE = HERE.parents[2] / "data" / "packages-5k"

LOOP = r"""
#include <stdint.h>
#include <time.h>
typedef int search_fn(void *, const float *, uint64_t, uint32_t, uint32_t, double, uint32_t, uint32_t, int64_t *, double *, uint32_t *,
                      char *);
typedef int search_text_fn(void *, const float *, uint64_t, uint32_t, uint32_t, double, uint32_t, uint32_t, char *, uint64_t,
                           uint64_t *, char **, double *, uint32_t *, char *);
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
double loop(search_fn *search, void *index, const float *queries, uint64_t count, uint32_t dimension, int *failed) {
    int64_t ids[10];
    double distances[10], start = now();
    for (uint64_t i = 0; i < count; i++) {
        *failed |= search(index, queries + i * dimension, 1, 10, 0, 0.0, 0, 1, ids, distances, 0, 0);
    }
    return now() - start;
}
double loop_text(search_text_fn *search, void *index, const float *queries, uint64_t count, uint32_t dimension, int *failed) {
    char ids[4096], *block;
    uint64_t ends[10];
    double distances[10], start = now();
    for (uint64_t i = 0; i < count; i++) {
        *failed |= search(index, queries + i * dimension, 1, 10, 0, 0.0, 0, 1, ids, sizeof ids, ends, &block, distances, 0, 0);
    }
    return now() - start;
}
"""


def compile_loop(folder: str) -> ctypes.CDLL | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return None
    source, target = Path(folder) / "loop.c", Path(folder) / "loop.so"
    source.write_text(LOOP)
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def python_seconds(index: vectord.Index, queries: np.ndarray) -> float:
    search = index.search
    rows = list(queries)
    start = time.perf_counter()
    for row in rows:
        search(row)
    return time.perf_counter() - start


def c_seconds(loops: ctypes.CDLL, index: vectord.Index, queries: np.ndarray, texts: bool) -> float:
    function = loops.loop_text if texts else loops.loop
    function.restype = ctypes.c_double
    failed = ctypes.c_int(0)
    search = library().search_text if texts else library().search
    seconds = function(
        ctypes.cast(search, ctypes.c_void_p),
        ctypes.c_void_p(index._handle),
        ctypes.c_void_p(queries.ctypes.data),
        ctypes.c_uint64(len(queries)),
        ctypes.c_uint32(queries.shape[1]),
        ctypes.byref(failed),
    )
    if failed.value:
        raise SystemExit("overhead: a search failed")
    return float(seconds)


def measure(name: str, index: vectord.Index, queries: np.ndarray, rounds: int, loops: ctypes.CDLL | None) -> None:
    texts = isinstance(index.search(queries[0])[0][0], str)
    blocks = [queries[first : first + BLOCK] for first in range(0, len(queries), BLOCK)]
    from_python = [float("inf")] * len(blocks)
    from_c = [float("inf")] * len(blocks)
    for _ in range(rounds):
        for i, block in enumerate(blocks):
            if loops:
                from_c[i] = min(from_c[i], c_seconds(loops, index, block, texts))
            from_python[i] = min(from_python[i], python_seconds(index, block))
    python, c = (sum(times) / len(queries) * 1e6 for times in (from_python, from_c))
    if loops:
        print(f"{name:<44}{python:10.2f}{c:10.2f}{python - c:12.2f}")
    else:
        print(f"{name:<44}{python:10.2f}{'-':>10}{'-':>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description="What one search of one query costs more from Python than from C.")
    parser.add_argument("--rounds", type=int, default=100, help="how often each block of queries goes each way (100)")
    rounds = parser.parse_args().rounds
    if not (SAMPLE / "base.npy").exists():
        raise SystemExit(f"overhead: {SAMPLE}/base.npy is not there")
    base = np.load(SAMPLE / "base.npy").astype(np.float32)
    queries = np.ascontiguousarray(np.load(SAMPLE / "queries.npy").astype(np.float32))
    print(
        f"vectord {vectord.library_version()} ({vectord.library_path()}), Python {sys.version.split()[0]}, "
        f"numpy {np.__version__}"
    )
    print(f"{len(queries)} queries, k = {K}, {rounds} rounds; microseconds per query")
    print(f"{'':<44}{'Python':>10}{'C':>10}{'difference':>12}")
    with tempfile.TemporaryDirectory() as folder:
        loops = compile_loop(folder)
        for kind in ("ints", "strs"):
            few = vectord.Index(base.shape[1])
            few.add(range(K) if kind == "ints" else [f"package-{i}" for i in range(K)], base[:K])
            measure(f"{K} items x {base.shape[1]}, ids {kind}", few, queries, rounds, loops)
            all_of_it = vectord.Index(base.shape[1])
            all_of_it.add(range(len(base)) if kind == "ints" else [f"package-{i}" for i in range(len(base))], base)
            measure(f"{len(base)} items x {base.shape[1]}, ids {kind}", all_of_it, queries, rounds, loops)


if __name__ == "__main__":
    main()
