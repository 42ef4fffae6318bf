#!/usr/bin/env python3
"""kill -9 again and again under load: what was acknowledged is there, bit for bit; what was never sent is not.

    kill9.py [--rounds N] [--seed S] [--store dir|storaged]

Each round starts vectord on the same store (a folder, or an object daemon, which dies too in every third round), checks everything against the model, lets four writers work (two over NNG, two over
HTTP: batches of new items, upserts, an index that is made and dropped) beside one that searches, and kills the process at a random moment. Checked:

- every acknowledged item is there with its exact metadata and its exact vector (a neighbour's distance is recomputed in double
  precision from the bits that were sent, and its own vector finds it at distance 0 with default parameters);
- a batch whose answer never came is there as a whole or not at all;
- nothing is there that was never sent: length equals what the model says;
- acknowledged creates and drops hold.
"""

import argparse
import http.client
import json
import os
import random
import select
import sys
import threading
import time

import numpy
import pynng
import vectord_bytes_pb2 as pbb
from server import Server, Storaged, TempDir

DIMENSION = 24
BATCH = 40
ITEMS_PER_WRITER = 600  # then only upserts: the check after each kill stays quick


class Writer(threading.Thread):
    """One client with ids of its own, so that its model needs no lock. `known` is what was acknowledged: id -> (vector, metadata);
    `open` is the one write whose answer never came."""

    def __init__(self, name, seed):
        super().__init__(daemon=True)
        self.label, self.random = name, random.Random(seed)
        self.known, self.open, self.next_id = {}, None, 0
        self.side_index, self.side_open = False, None
        self.writes = 0
        self.fault = self.client = None

    def begin(self, server, stop):
        writer = type(self)(self.label, self.random.random())
        writer.known, writer.next_id = self.known, self.next_id
        writer.side_index, writer.writes = self.side_index, self.writes
        writer.server, writer.stop = server, stop
        writer.start()
        return writer

    def make_batch(self):
        batch = {}
        for _ in range(self.random.randint(1, BATCH)):
            if self.known and (self.random.random() < 0.35 or self.next_id >= ITEMS_PER_WRITER):
                item = self.random.choice(list(self.known))
                old = self.known[item][1]
            else:
                item, old = f"{self.label}-é-{self.next_id}", None
                self.next_id += 1
            vector = numpy.array([self.random.gauss(0, 1) for _ in range(DIMENSION)], "<f4")
            # absent keeps what is stored, {} clears it
            sent = self.random.choice([None, "{}", f'{{ "w":"{self.label}",  "n":{self.random.random()!r} }}', f'"{item}"'])
            kept = old if sent is None else (None if sent == "{}" else sent)
            batch[item] = (vector, kept, sent)
        return batch

    def run(self):
        try:
            with self.connect() as client:
                self.client = client
                while not self.stop.is_set():
                    if self.random.random() < 0.08:
                        self.side_step(client)
                    else:
                        batch = self.make_batch()
                        self.open = batch
                        length = self.add(client, batch)
                        self.known.update({k: v[:2] for k, v in batch.items()})
                        self.open = None
                        if length < len(self.known):
                            raise AssertionError(f"length {length}, but {len(self.known)} of this writer alone are in")
                    self.writes += 1
        except (OSError, pynng.exceptions.NNGException, http.client.HTTPException):
            pass  # the server is gone: that is the point
        except Exception as fault:
            self.fault = fault

    def side_step(self, client):
        """Makes or drops the writer's own index."""
        self.side_open = not self.side_index
        (self.create if self.side_open else self.drop)(client, f"side-{self.label}")
        self.side_index, self.side_open = self.side_open, None


class NngWriter(Writer):
    def hang_up(self):
        """A REQ socket waits for a server that is gone until its timeout."""
        if self.client:
            self.client.close()

    def connect(self):
        return self.server.nng(timeout_s=5)

    def add(self, client, batch):
        items = [pbb.Item(id=k, vector=v[0].tobytes(), **({} if v[2] is None else {"metadata": v[2]})) for k, v in batch.items()]
        reply = client.call(pbb.AddItemsRequest(name="main", items=items))
        assert reply.added == len(batch), reply
        return reply.length

    def create(self, client, name):
        client.call(pbb.CreateIndexRequest(name=name, dimension=2))

    def drop(self, client, name):
        client.call(pbb.DeleteIndexRequest(name=name))


class HttpWriter(Writer):
    def hang_up(self):
        pass  # the kernel has told it

    def connect(self):
        return self.server.http(timeout_s=5)

    def send(self, client, method, path, body, wanted):
        answer = client.send(method, path, body, {"Content-Type": "application/json", "Idempotency-Key": os.urandom(8).hex()})
        if answer.status != wanted:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.text}")
        return answer

    def add(self, client, batch):
        def item(k, v):
            meta = "" if v[2] is None else f',"metadata":{v[2]}'
            return f'{{"id":{json.dumps(k)},"vector":{json.dumps([float(x) for x in v[0]])}{meta}}}'

        body = '{"items":[' + ",".join(item(k, v) for k, v in batch.items()) + "]}"
        reply = self.send(client, "POST", "/vectors/index/main/add", body, 200).json()
        assert reply["added"] == len(batch), reply
        return reply["length"]

    def create(self, client, name):
        self.send(client, "POST", "/vectors/index", json.dumps({"name": name, "dimension": 2}), 201)

    def drop(self, client, name):
        self.send(client, "DELETE", f"/vectors/index/{name}", None, 204)


class Searcher(threading.Thread):
    """Searches all the while: answers are ordered, whole and never an error."""

    def __init__(self, server, stop, seed):
        super().__init__(daemon=True)
        self.server, self.stop, self.random = server, stop, numpy.random.default_rng(seed)
        self.client, self.fault, self.searches = None, None, 0
        self.start()

    def run(self):
        try:
            with self.server.nng(timeout_s=5) as self.client:
                while not self.stop.is_set():
                    query = self.random.normal(size=DIMENSION).astype("<f4").tobytes()
                    hits = self.client.call(pbb.SearchRequest(name="main", vector=query, k=20)).results
                    distances = [h.distance for h in hits]
                    assert distances == sorted(distances) and all(d >= 0 for d in distances), distances
                    assert len({h.id for h in hits}) == len(hits), [h.id for h in hits]
                    for hit in hits:
                        if hit.HasField("metadata"):
                            json.loads(hit.metadata)
                    self.searches += 1
        except (OSError, pynng.exceptions.NNGException):
            pass
        except Exception as fault:
            self.fault = fault

    def hang_up(self):
        if self.client:
            self.client.close()


def distance(a, b):
    a, b = a.astype("f8"), b.astype("f8")
    return float(numpy.sqrt(((a - b) ** 2).sum()))


def settle(writer, stored):
    """Decides by what is there whether the unanswered write was applied: all of it or none."""
    if writer.open is None:
        return
    applied = [stored.get(k) is not None and stored[k] == (v[0].tobytes(), v[1]) for k, v in writer.open.items()]
    if all(applied):
        writer.known.update({k: v[:2] for k, v in writer.open.items()})
    else:
        for (k, v), there in zip(writer.open.items(), applied):
            before = writer.known.get(k)
            same_as_before = before is not None and stored.get(k) == (before[0].tobytes(), before[1])
            if there and not same_as_before:
                raise AssertionError(f"{writer.label}: half a batch is there: {sum(applied)} of {len(applied)}")
    writer.open = None


def read_back(client, candidates):
    """id -> (vector bytes, metadata) of what the index holds of `candidates`: {id: [possible (vector, metadata)]}."""
    stored = {}
    for item, options in candidates.items():
        for vector, metadata in options:
            hits = client.call(pbb.SearchRequest(name="main", vector=vector.tobytes(), k=2)).results
            hit = next((h for h in hits if h.id == item and h.distance == 0), None)
            if hit:
                stored[item] = (vector.tobytes(), hit.metadata if hit.HasField("metadata") else None)
                break
    return stored


def check(server, writers, generator):
    """Compares the server with the model of every writer; returns the number of items."""
    with server.nng() as client:
        names = set(client.call(pbb.ListIndexesRequest()).names)
        for writer in writers:
            if writer.side_open is not None:
                writer.side_index, writer.side_open = f"side-{writer.label}" in names, None
            if writer.side_index != (f"side-{writer.label}" in names):
                raise AssertionError(f"side-{writer.label}: acknowledged {writer.side_index}, but the server has {sorted(names)}")
        if names != {"main"} | {f"side-{w.label}" for w in writers if w.side_index}:
            raise AssertionError(f"an index that nobody made: {sorted(names)}")

        candidates = {}
        for writer in writers:
            for item, value in writer.known.items():
                candidates[item] = [value]
            for item, value in (writer.open or {}).items():
                candidates[item] = [value[:2]] + candidates.get(item, [])
        stored = read_back(client, candidates)
        for writer in writers:
            settle(writer, stored)
            for item, (vector, metadata) in writer.known.items():
                if stored.get(item) != (vector.tobytes(), metadata):
                    raise AssertionError(
                        f"{item} is lost or changed: acknowledged {metadata!r}, found "
                        f"{stored[item][1] if item in stored else 'nothing at distance 0 from its own vector'!r}"
                    )
        known = {k: v for w in writers for k, v in w.known.items()}
        info = client.call(pbb.GetIndexRequest(name="main"))
        if info.length != len(known):
            raise AssertionError(f"the index holds {info.length} items, {len(known)} were acknowledged or half-way")

        # Distance 0 could hide a difference too small to count: distances to others, recomputed from what was sent, cannot.
        for item in generator.sample(sorted(known), min(40, len(known))):
            for hit in client.call(pbb.SearchRequest(name="main", id=item, k=5, exact=True)).results:
                wanted = distance(known[item][0], known[hit.id][0])
                if abs(hit.distance - wanted) > 1e-12 * max(1.0, wanted):
                    raise AssertionError(f"{item} to {hit.id}: distance {hit.distance!r}, should be {wanted!r}")
        return len(known)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--store", choices=["dir", "storaged"], default="dir")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    generator = random.Random(seed)
    starts, searches, store_deaths = [], 0, 0
    with TempDir() as data:
        store = Storaged(data).start() if args.store == "storaged" else None
        # Small journals, so that kills also fall into snapshots.
        server = Server(store.url if store else data, args=["--snapshot-min-bytes=64KiB", "--snapshot-idle-ms=100"])
        writers = [cls(f"w{j}", generator.random()) for j, cls in enumerate([NngWriter, HttpWriter, NngWriter, HttpWriter])]
        try:
            with server.start().wait_ready().nng() as client:
                client.call(pbb.CreateIndexRequest(name="main", dimension=DIMENSION, distance="euclidean"))
            for round_number in range(args.rounds):
                stop = threading.Event()
                writers = [w.begin(server, stop) for w in writers]
                searcher = Searcher(server, stop, generator.getrandbits(32))
                moment = generator.uniform(0.05, 1.5)
                select.select([], [], [], moment)
                store_dies = store and generator.random() < 1 / 3
                if store_dies:
                    store.kill()
                server.kill()
                stop.set()
                for client in [*writers, searcher]:
                    client.hang_up()
                    client.join(30)
                    if client.fault:
                        raise client.fault
                searches += searcher.searches
                if store_dies:
                    store.start()
                    store_deaths += 1
                server.start().wait_ready()
                starts.append(server.ready_s)
                began = time.monotonic()
                items = check(server, writers, generator)
                print(
                    f"round {round_number + 1:3}: killed after {moment:.3f} s, ready again in {server.ready_s:.3f} s, "
                    f"{items} items, {sum(w.writes for w in writers)} writes and {searches} searches so far, checked in {time.monotonic() - began:.1f} s"
                )
        except BaseException:
            for process in filter(None, [server, store]):
                process.show_log()
            raise
        finally:
            for process in filter(None, [server, store]):
                if process.process and process.process.poll() is None:
                    process.kill()
    if store_deaths:
        print(f"in {store_deaths} of the rounds the store was killed too")
    print(f"{args.rounds} kills, nothing lost; ready again in {sum(starts) / len(starts):.3f} s, at most {max(starts):.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
