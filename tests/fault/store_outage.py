#!/usr/bin/env python3
"""The object store goes away in every way there is, under load: searches go on, writes that insist on the store wait or fail with
a clear error, others are told that they are in memory only, and everything that was acknowledged is there afterwards: at once,
and, as soon as Flush says that the store has it, also after kill -9.

    store_outage.py [--seconds N] [--modes a,b,...]      N: how long each outage lasts (2)

Real vectord, real storaged, and the proxy of tests/support between them, whose modes are the outages.
"""

import argparse
import sys
import threading
import time

import numpy
import pynng
import vectord_bytes_pb2 as pbb
from proxy import MODES, Proxy
from server import Server, Storaged, TempDir
from wire import RpcError

DIMENSION = 16
RECOVERY_S = 60


def vector_of(item):
    return numpy.random.default_rng(abs(hash_of(item))).normal(size=DIMENSION).astype("<f4")


def hash_of(item):
    return int.from_bytes(item.encode().ljust(8, b".")[-8:], "little")


class Searcher(threading.Thread):
    """Searches all the while; each answer must come, whole and soon."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stop, self.fault = server, threading.Event(), None
        self.searches, self.slowest = 0, 0.0
        self.start()

    def run(self):
        try:
            with self.server.nng(timeout_s=30) as client:
                while not self.stop.is_set():
                    began = time.monotonic()
                    hits = client.call(pbb.SearchRequest(name="main", vector=vector_of("i0").tobytes(), k=5)).results
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    assert hits[0].id == "i0" and hits[0].distance == 0, hits
                    self.searches += 1
        except (RpcError, pynng.exceptions.NNGException, AssertionError, IndexError) as fault:
            self.fault = fault


class Writer:
    """Adds items one batch at a time, every second one insisting on the store. `known` is what was acknowledged, `refused` what was
    answered with an error, `in_memory` counts the batches that were told so."""

    def __init__(self):
        self.known, self.refused, self.next_id, self.in_memory, self.turn = set(), [], 0, 0, 0

    def add(self, client, count=3, insist=None):
        """One batch; the error's text, or None."""
        self.turn += 1
        insist = self.turn % 2 == 0 if insist is None else insist
        batch = [f"i{self.next_id + j}" for j in range(count)]
        self.next_id += count
        items = [pbb.Item(id=i, vector=vector_of(i).tobytes()) for i in batch]
        try:
            level = {"min_durability": "store"} if insist else {}
            reply = client.call(pbb.AddItemsRequest(name="main", items=items, **level))
        except RpcError as error:
            self.refused.append(batch)
            if not insist or error.code != "UNAVAILABLE" or "not stored" not in str(error):
                raise AssertionError(f"an error that says something else: {error}") from error
            return str(error)
        reached = reply.durability if reply.HasField("durability") else "store"
        assert reached == "store" or (reached == "memory" and not insist), (reached, insist)
        self.in_memory += reached == "memory"
        self.known.update(batch)
        return None


def found(client, item):
    hits = client.call(pbb.SearchRequest(name="main", vector=vector_of(item).tobytes(), k=1)).results
    return bool(hits) and hits[0].id == item and hits[0].distance == 0


def check(server, writer, restarted):
    with server.nng() as client:
        lost = [i for i in writer.known if not found(client, i)]
        assert not lost, f"acknowledged and gone: {lost[:10]}"
        length = client.call(pbb.GetIndexRequest(name="main")).length
        there = 0
        for batch in writer.refused:
            seen = [found(client, i) for i in batch]
            assert all(seen) or not any(seen), f"half a batch is there: {batch} {seen}"
            there += sum(seen)
            # what a crash between the refusal and the next write may bring back is there for good from then on
            if all(seen):
                writer.known.update(batch)
        writer.refused = [b for b in writer.refused if not writer.known.issuperset(b)]
        assert restarted or there == 0, f"{there} items are there that were answered with an error"
        assert length == len(writer.known), f"length {length}, {len(writer.known)} known"


def outage(mode, seconds, server, proxy, writer):
    searcher = Searcher(server)
    acked, errors, longest, before = 0, [], 0.0, writer.in_memory
    with server.nng(timeout_s=120) as client:
        proxy.set_mode(mode)
        ends = time.monotonic() + seconds
        healer = threading.Timer(seconds, proxy.set_mode, ["pass"])
        healer.start()
        while time.monotonic() < ends:
            began = time.monotonic()
            error = writer.add(client)
            longest = max(longest, time.monotonic() - began)
            acked += error is None
            errors += [error] if error else []
        healer.join()
        healed = time.monotonic()
        while writer.add(client, insist=True) is not None:  # each waits for the store by itself
            assert time.monotonic() < healed + RECOVERY_S, "writing does not come back"
        back = time.monotonic() - healed
        assert client.call(pbb.FlushRequest(name="main")).durability == "store"
    searcher.stop.set()
    searcher.join(60)
    if searcher.fault:
        raise searcher.fault
    assert searcher.searches > 0 and searcher.slowest < 5, f"{searcher.searches} searches, slowest {searcher.slowest:.2f} s"
    print(
        f"{mode:9}: {acked} batches acknowledged, {writer.in_memory - before} of them in memory, {len(errors)} refused, longest write {longest:.1f} s, writing again {back:.2f} s after; "
        f"{searcher.searches} searches, slowest {1000 * searcher.slowest:.0f} ms"
    )
    if errors:
        print(f"           says: {errors[0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--modes", default=",".join(MODES))
    args = parser.parse_args()
    writer = Writer()
    with TempDir() as data, Storaged(data) as store:
        proxy = Proxy(store.host, store.port)
        server = Server(proxy.url, ["--snapshot-min-bytes=16KiB", "--snapshot-idle-ms=200"])
        with server:
            with server.nng() as client:
                client.call(pbb.CreateIndexRequest(name="main", dimension=DIMENSION, distance="euclidean"))
                for _ in range(50):
                    assert writer.add(client) is None
                assert writer.in_memory == 0
            for mode in args.modes.split(","):
                outage(mode, args.seconds, server, proxy, writer)
                check(server, writer, restarted=False)
                server.kill()
                server.start().wait_ready()
                check(server, writer, restarted=True)
            # and the store itself dies and comes back
            store.kill()
            store.start()
            with server.nng() as client:
                ends = time.monotonic() + RECOVERY_S
                while writer.add(client, insist=True) is not None:
                    assert time.monotonic() < ends, "writing does not come back"
            assert server.term() == 0
        proxy.close()
    print(f"{len(args.modes.split(','))} outages of {args.seconds:g} s, {len(writer.known)} items acknowledged, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
