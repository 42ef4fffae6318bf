#!/usr/bin/env python3
"""A disk that is full: writes are refused with 507 and say so, nothing acknowledged is lost, searches go on, and when space comes
back writing goes on without a restart.

The data folder is a tmpfs of a few MiB in a mount namespace of the server's own (`unshare -rm`); skipped where the kernel does not
allow that.
"""

import subprocess

import harness
import numpy
import vectord_pb2 as pb
from harness import Skip, equal
from server import Server, TempDir
from wire import RpcError

DIMENSION = 1024  # few items fill the disk: this is not about the graph


def server_on_a_small_disk(folder, size="6m"):
    mount = f"mount -t tmpfs -o size={size} none '{folder}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip("no mount namespaces here")
    # Small journals, so that snapshots meet the full disk as well.
    args = ["--snapshot-min-bytes=256KiB", "--snapshot-idle-ms=200"]
    return Server(folder, args=args, prefix=["unshare", "-rm", "sh", "-c", mount + ' && exec "$@"', "sh"])


def vector(number):
    return [float(x) for x in numpy.random.default_rng(number).normal(size=DIMENSION).astype("<f4")]


def add(client, name, first, count):
    items = [pb.Item(id=f"i{j}", vector=vector(j), metadata=f'{{"j": {j}}}') for j in range(first, first + count)]
    return client.call(pb.AddItemsRequest(name=name, items=items))


def check(client, name, count):
    equal(client.call(pb.GetIndexRequest(name=name)).length, count, name)
    for j in range(count):
        hit = client.call(pb.SearchRequest(name=name, vector=vector(j), k=1)).results[0]
        equal((hit.id, hit.distance, hit.metadata), (f"i{j}", 0, f'{{"j": {j}}}'))


def fill(client, name, first):
    """Adds batches of 20 until one is refused; the number of items that were acknowledged and the refusal."""
    while True:
        try:
            add(client, name, first, 20)
        except RpcError as refused:
            return first, refused
        first += 20
        assert first < 20000, "the disk never filled up"


def test_full_then_free_again():
    with TempDir() as folder, server_on_a_small_disk(folder) as server:
        with server.nng() as client, server.http() as http:
            for name in ("ballast", "t"):
                client.call(pb.CreateIndexRequest(name=name, dimension=DIMENSION, distance="euclidean"))
            add(client, "ballast", 0, 240)
            count, refused = fill(client, "t", 0)
            print(f"refused after {count} items: {refused}")
            equal(refused.code, "RESOURCE_EXHAUSTED")
            assert "disk is full" in refused.message, refused.message
            body = {"items": [{"id": "x", "vector": vector(1)}]}
            answers = [http.send("POST", "/vectors/index/t/add", body) for _ in range(5)]
            # A batch of one may still fit where a batch of twenty did not.
            assert {a.status for a in answers} <= {200, 507}, [(a.status, a.text) for a in answers]
            more = 1 if any(a.status == 200 for a in answers) else 0
            equal(client.call(pb.GetIndexRequest(name="t")).length, count + more)
            for j in range(0, count, 7):
                equal(client.call(pb.SearchRequest(name="t", vector=vector(j), k=1)).results[0].distance, 0)
            equal(http.send("GET", "/readyz").status, 200)

            client.call(pb.DeleteIndexRequest(name="ballast"))
            add(client, "t", count, 20)
            if more:
                client.call(pb.GetIndexRequest(name="t"))
            equal(client.call(pb.GetIndexRequest(name="t")).length, count + 20 + more)
        equal(server.term(), 0, "exit code")


def test_a_create_on_a_full_disk_leaves_nothing():
    with TempDir() as folder, server_on_a_small_disk(folder, "2m") as server:
        with server.nng() as client, server.http() as http:
            client.call(pb.CreateIndexRequest(name="t", dimension=DIMENSION, distance="euclidean"))
            count, _ = fill(client, "t", 0)
            made = ["t"]
            for j in range(600):
                answer = http.send("POST", "/vectors/index", {"name": f"n{j}", "dimension": 2})
                if answer.status == 507:
                    break
                equal(answer.status, 201, answer.text)
                made.append(f"n{j}")
            else:
                raise AssertionError("the disk never filled up")
            print(f"{len(made) - 1} further indexes, then: {answer.text.strip()}")
            equal(list(client.call(pb.ListIndexesRequest()).names), sorted(made))
            for name in made[1:]:
                client.call(pb.DeleteIndexRequest(name=name))
            equal(http.send("POST", "/vectors/index", {"name": f"n{j}", "dimension": 2}).status, 201)
            check(client, "t", count)


if __name__ == "__main__":
    harness.main(globals())
