#!/usr/bin/env python3
"""Recall@10 through the whole service, with default parameters, before and after a restart.

    recall_service.py            the sample, data/packages-5k
    recall_service.py --large    every NAME-base.f16.npy / NAME-queries.f16.npy / NAME-truth100.npy in $VECTORD_BENCH_DATA
                                 (skipped when that is not set)

Vectors go in over NNG in batches, as float32 bytes. The floor is the promise: 0.95, on queries that the index has never seen.
"""

import argparse
import glob
import json
import os
import sys
import time

import numpy
import vectord_bytes_pb2 as pbb
from server import Server, TempDir, wait_for

FLOOR = 0.95
SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "packages-5k")


def load(client, base, ids, metadata, batch):
    began = time.monotonic()
    for j in range(0, len(base), batch):
        request = pbb.AddItemsRequest(name="t")
        for i in range(j, min(j + batch, len(base))):
            item = request.items.add(id=ids[i], vector=base[i].tobytes())
            if metadata:
                item.metadata = metadata[i]
        client.call(request)
    took = time.monotonic() - began
    print(f"  loaded {len(base)} in {took:.1f} s ({len(base) / took:.0f}/s)")


def settled(client, length):
    """Calibration has seen at least half of the items and has not changed its mind since the last look."""
    seen = []

    def look():
        info = client.call(pbb.GetIndexRequest(name="t"))
        seen.append((info.ef_effective, info.calibrated_at, info.calibrated_recall))
        return info.calibrated_at * 1.05 >= length and len(seen) > 20 and len(set(seen[-20:])) == 1

    wait_for(look, 60, f"calibration has settled (at last {seen[-3:]})")
    info = client.call(pbb.GetIndexRequest(name="t"))
    print(f"  ef {info.ef_effective}, calibrated at {info.calibrated_at} to {info.calibrated_recall:.4f}, {info.encoding}, "
          f"{info.memory_bytes / length:.0f} bytes an item ({info.memory_bytes / length / (4 * info.params.dimension):.2f} of raw)")


def recall(client, queries, truth, ids):
    found, began = 0, time.monotonic()
    for query, right in zip(queries, truth):
        hits = client.call(pbb.SearchRequest(name="t", vector=query.tobytes(), k=10)).results
        assert len(hits) == 10, len(hits)
        assert all(a.distance <= b.distance for a, b in zip(hits, hits[1:])), hits
        found += len({h.id for h in hits} & {ids[r] for r in right[:10]})
    took = time.monotonic() - began
    got = found / (10 * len(queries))
    print(f"  recall@10 {got:.4f} over {len(queries)} queries, {took / len(queries) * 1e6:.0f} us each by one Python client")
    return got


def finds_itself(client, base, ids, every):
    """A stored vector is its own nearest, at distance 0, with default parameters."""
    for j in range(0, len(base), every):
        hits = client.call(pbb.SearchRequest(name="t", vector=base[j].tobytes(), k=10)).results
        assert hits[0].distance == 0 and ids[j] in {h.id for h in hits if h.distance == 0}, (ids[j], hits[:3])


def measure(title, base, queries, truth, ids, metadata=None, batch=1000):
    print(title)
    with TempDir() as data, Server(data) as server:
        with server.nng(timeout_s=300) as client:
            client.call(pbb.CreateIndexRequest(name="t", dimension=base.shape[1]))
            load(client, base, ids, metadata, batch)
            settled(client, len(base))
            before = recall(client, queries, truth, ids)
            finds_itself(client, base, ids, max(1, len(base) // 2000))
            print(f"  resident {server.rss_bytes() / 2**20:.0f} MiB, raw vectors {base.nbytes / 2**20:.0f} MiB")
        server.term()
        server.start().wait_ready(timeout_s=300)
        print(f"  ready again after {server.ready_s:.2f} s")
        with server.nng(timeout_s=300) as client:
            settled(client, len(base))
            after = recall(client, queries, truth, ids)
            finds_itself(client, base, ids, max(1, len(base) // 2000))
    assert before >= FLOOR and after >= FLOOR, f"{title}: recall@10 {before:.4f}, after the restart {after:.4f}; the floor is {FLOOR}"


def sample():
    def read(name):
        with open(os.path.join(SAMPLE, name), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    items = read("items.jsonl")
    base = numpy.load(os.path.join(SAMPLE, "base.npy")).astype("<f4")
    queries = numpy.load(os.path.join(SAMPLE, "queries.npy")).astype("<f4")
    truth = numpy.load(os.path.join(SAMPLE, "truth10.npy"))
    metadata = [json.dumps(i["metadata"], ensure_ascii=False) for i in items]
    measure("packages-5k", base, queries, truth, [i["id"] for i in items], metadata, batch=200)


def large():
    folder = os.environ.get("VECTORD_BENCH_DATA")
    if not folder:
        print("VECTORD_BENCH_DATA is not set")
        return 77
    names = sorted(os.path.basename(p).removesuffix("-base.f16.npy") for p in glob.glob(os.path.join(folder, "*-base.f16.npy")))
    if not names:
        raise SystemExit(f"no *-base.f16.npy in {folder}")
    for name in names:
        part = lambda what: numpy.load(os.path.join(folder, f"{name}-{what}.npy"))
        base, queries = part("base.f16").astype("<f4"), part("queries.f16").astype("<f4")
        measure(name, base, queries, part("truth100"), [f"row-{j}" for j in range(len(base))], batch=2000)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true")
    return large() if parser.parse_args().large else sample()


if __name__ == "__main__":
    sys.exit(main())
