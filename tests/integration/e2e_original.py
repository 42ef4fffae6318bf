"""What the original Go service promised to its users, asked of this one: the acceptance list, over the REST door."""

import os
import random

import harness
from harness import equal
from server import Server, TempDir


def rest(http, method, path, body=None):
    answer = http.send(method, path, body)
    return answer.status, answer.json() if answer.headers.get("content-type") == "application/json" else answer.text


def vectors(count, dimension, seed=1):
    generator = random.Random(seed)
    return [[generator.gauss(0, 1) for _ in range(dimension)] for _ in range(count)]


def test_an_inserted_vector_is_found():
    with TempDir() as data, Server(data) as server, server.http() as http:
        rest(http, "POST", "/vectors/index", {"name": "t", "dimension": 32})
        all_of_them = vectors(500, 32)
        for j in range(0, 500, 50):
            items = [{"id": f"v{j + i}", "vector": v} for i, v in enumerate(all_of_them[j : j + 50])]
            equal(rest(http, "POST", "/vectors/index/t/add", {"items": items}), (200, {"added": 50, "length": j + 50}))
        for j, vector in enumerate(all_of_them):
            status, reply = rest(http, "POST", "/vectors/index/t/search", {"vector": vector, "k": 1})
            equal((status, reply["results"][0]["id"], reply["results"][0]["distance"]), (200, f"v{j}", 0))


def test_a_batch_of_200():
    with TempDir() as data, Server(data) as server, server.http() as http:
        rest(http, "POST", "/vectors/index", {"name": "t", "dimension": 8})
        items = [{"id": f"v{j}", "vector": v, "metadata": {"n": j}} for j, v in enumerate(vectors(200, 8))]
        equal(rest(http, "POST", "/vectors/index/t/add", {"items": items}), (200, {"added": 200, "length": 200}))
        equal(rest(http, "GET", "/v1/vectors/index/t")[1]["length"], 200)
        for item in items:
            hit = rest(http, "POST", "/v1/vectors/index/t/search", {"vector": item["vector"], "k": 1})[1]["results"][0]
            equal((hit["id"], hit["distance"], hit["metadata"]), (item["id"], 0, item["metadata"]))


def test_refusals():
    with TempDir() as data, Server(data) as server, server.http() as http:
        create = {"name": "t", "dimension": 3}
        equal(rest(http, "POST", "/vectors/index", create)[0], 201)
        equal(rest(http, "POST", "/vectors/index", create)[0], 409)
        wrong = {"items": [{"id": "a", "vector": [1, 2]}]}
        equal(rest(http, "POST", "/vectors/index/t/add", wrong), (400, "items[0]: dim mismatch (index=3, got=2)\n"))
        equal(rest(http, "POST", "/vectors/index/t/search", {"vector": [1, 2]})[0], 400)
        for method, path, body in [
            ("GET", "/vectors/index/nope", None),
            ("DELETE", "/vectors/index/nope", None),
            ("POST", "/vectors/index/nope/add", wrong),
            ("POST", "/vectors/index/nope/search", {"vector": [1, 2, 3]}),
        ]:
            equal(rest(http, method, path, body), (404, "not found\n"))


def restarted(hard):
    with TempDir() as data, Server(data) as server:
        with server.http() as http:
            rest(http, "POST", "/vectors/index", {"name": "t", "dimension": 16, "distance": "euclidean"})
            items = [{"id": f"v{j}", "vector": v, "metadata": {"n": [j]}} for j, v in enumerate(vectors(300, 16))]
            equal(rest(http, "POST", "/vectors/index/t/add", {"items": items})[0], 200)
        server.restart(hard=hard)
        with server.http() as http:
            equal(rest(http, "GET", "/vectors/index/t")[1]["length"], 300)
            for item in items:
                hit = rest(http, "POST", "/vectors/index/t/search", {"vector": item["vector"]})[1]["results"][0]
                equal((hit["id"], hit["distance"], hit["metadata"]), (item["id"], 0, item["metadata"]))


def test_killed_and_restarted_the_same_vector_is_at_distance_0():
    restarted(hard=True)


def test_stopped_and_restarted_the_same_vector_is_at_distance_0():
    restarted(hard=False)


CATALOG = os.path.join("_vectors", ".journal", "0" * 32)  # the server's own journal, which belongs to no index


def files(data):
    found = (os.path.relpath(os.path.join(d, f), data) for d, _, names in os.walk(data) for f in names)
    return sorted(name for name in found if name != "LOCK" and not name.startswith(CATALOG))


def test_delete_removes_the_files_and_a_restart_counts_0():
    with TempDir() as data, Server(data) as server:
        with server.http() as http:
            rest(http, "POST", "/vectors/index", {"name": "t", "dimension": 4})
            rest(http, "POST", "/vectors/index/t/add", {"items": [{"id": "a", "vector": [1, 0, 0, 0]}]})
            assert "_vectors/t.lhv1" in files(data), files(data)
            equal(rest(http, "DELETE", "/vectors/index/t")[0], 204)
            equal(files(data), [], "files after DELETE")
        server.restart()
        with server.http() as http:
            equal(rest(http, "GET", "/vectors/index"), (200, {"names": [], "count": 0}))
            equal(rest(http, "POST", "/vectors/index", {"name": "t", "dimension": 4})[1]["length"], 0)


if __name__ == "__main__":
    harness.main(globals())
