"""Frames that the original Go service wrote, good and damaged, in a data folder: what loads answers exactly as it must, what is
damaged is set apart with its reason while everything else is served, and nothing on disk is touched."""

import json
import os
import shutil

import harness
import vectord_pb2 as pb
from harness import equal
from server import Server, TempDir
from wire import RpcError

FRAMES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "lhv1")
with open(os.path.join(FRAMES, "manifest.json"), encoding="utf-8") as manifest:
    MANIFEST = json.load(manifest)


def lines(path):
    with open(os.path.join(FRAMES, path), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def place(data, names):
    folder = os.path.join(data, "_vectors")
    os.makedirs(folder, exist_ok=True)
    for name in names:
        shutil.copy(os.path.join(FRAMES, name), os.path.join(folder, name))


def check_answers(client, frame, extra=0):
    """The five queries of the manifest, with and without exact; and each item's metadata as Go wrote it."""
    name = frame["file"].removesuffix(".lhv1")
    info = client.call(pb.GetIndexRequest(name=name))
    equal((info.state, info.length), ("ready", frame["nodes"] + extra), name)
    for key in ("dimension", "m", "ef_search", "distance"):
        equal(getattr(info.params, key), frame["params"][key], f"{name}.{key}")
    equal(info.params.name, name)
    queries = lines(frame["queries"])
    equal(len(queries), len(frame["answers_exact"]))
    for query, wanted in zip(queries, frame["answers_exact"]):
        for exact in (True, False):
            hits = client.call(pb.SearchRequest(name=name, vector=query["vector"], k=query["k"], exact=exact)).results
            equal([h.id for h in hits], [w["id"] for w in wanted], f"{name}, exact={exact}")
            for hit, w in zip(hits, wanted):
                assert abs(hit.distance - w["distance"]) <= 1e-6, (name, hit, w)
    for item in lines(frame["file"].replace(".lhv1", ".decode.jsonl"))[1:]:
        hits = client.call(pb.SearchRequest(name=name, vector=item["vector"], k=3)).results
        hit = next(h for h in hits if h.id == item["id"])
        equal(hit.distance, 0.0, f"{name}/{item['id']}")
        metadata = item.get("metadata")
        if metadata in (None, {}):
            assert not hit.HasField("metadata"), hit
        else:
            equal(json.loads(hit.metadata), metadata, f"{name}/{item['id']}")


def test_the_originals_frames_answer_exactly_then_live_on():
    good = MANIFEST["good"]
    with TempDir() as data:
        place(data, [frame["file"] for frame in good])
        with Server(data) as server:
            with server.nng() as client:
                for frame in good:
                    check_answers(client, frame)
                # Something of our own far away from all queries, so that each is saved in our form.
                for frame in good:
                    name, dimension = frame["file"].removesuffix(".lhv1"), frame["params"]["dimension"]
                    if frame["params"]["distance"] == "euclidean":
                        client.call(pb.AddItemsRequest(name=name, items=[pb.Item(id="zz-ours", vector=[1e6] * dimension)]))
            with server.nng() as client:
                extra = {"euclid3": 1}
            for hard in (False, True, False):
                server.restart(hard=hard)
                with server.nng() as client:
                    for frame in good:
                        if frame["file"] != "euclid3.lhv1":
                            check_answers(client, frame, extra.get(frame["file"].removesuffix(".lhv1"), 0))
                    hits = client.call(pb.SearchRequest(name="euclid3", vector=[0, 0], k=10)).results
                    equal([h.id for h in hits], ["a", "c", "b", "zz-ours"])


def test_frames_saved_by_us_answer_exactly():
    """Load, write to every index, stop (which saves), start again from our own frames: the same answers to the last bit."""
    good = [frame for frame in MANIFEST["good"] if frame["nodes"]]
    with TempDir() as data:
        place(data, [frame["file"] for frame in good])
        with Server(data) as server:
            before = {}
            with server.nng() as client:
                for frame in good:
                    name = frame["file"].removesuffix(".lhv1")
                    item = lines(frame["file"].replace(".lhv1", ".decode.jsonl"))[1]
                    client.call(pb.AddItemsRequest(name=name, items=[pb.Item(id=item["id"], vector=item["vector"])]))  # as it was
                    before[name] = answers(client, frame)
            original = {f: os.path.getsize(os.path.join(FRAMES, f)) for f in (g["file"] for g in good)}
            server.restart()
            with server.nng() as client:
                for frame in good:
                    equal(answers(client, frame), before[frame["file"].removesuffix(".lhv1")], frame["file"])
                    check_answers(client, frame)
            print("sizes, original and ours:", {f: (s, os.path.getsize(os.path.join(data, "_vectors", f))) for f, s in original.items()})


def answers(client, frame):
    name = frame["file"].removesuffix(".lhv1")
    return [client.call(pb.SearchRequest(name=name, vector=q["vector"], k=50)).SerializeToString() for q in lines(frame["queries"])]


def test_damaged_frames_are_set_apart_while_others_serve():
    bad = {entry["file"].removesuffix(".lhv1"): entry for entry in MANIFEST["corrupt"]}
    with TempDir() as data:
        place(data, [entry["file"] for entry in bad.values()] + ["euclid3.lhv1"])
        with Server(data) as server:
            with server.nng() as client:
                check_answers(client, next(f for f in MANIFEST["good"] if f["file"] == "euclid3.lhv1"))
                names = list(client.call(pb.ListIndexesRequest()).names)
                equal(names, sorted([*bad, "euclid3"], key=str.encode))
                quarantined = 0
                for name, entry in bad.items():
                    info = client.call(pb.GetIndexRequest(name=name))
                    if entry["expect"] == "reject":
                        equal(info.state, "quarantined", name)
                        assert info.reason, name
                        print(f"{name}: {info.reason}")
                        quarantined += 1
                        refused(client, pb.SearchRequest(name=name, vector=[1] * 8), "DATA_LOSS")
                        refused(client, pb.AddItemsRequest(name=name, items=[pb.Item(id="a", vector=[1] * 8)]), "DATA_LOSS")
                        refused(client, pb.CreateIndexRequest(name=name, dimension=8), "ALREADY_EXISTS")
                    else:
                        equal(info.state, "ready", name)
                        equal(info.length, 200, name)
                health = client.call(pb.HealthRequest())
                equal((health.status, health.ready, health.quarantined), ("degraded", True, quarantined))
            with server.http() as http:
                answer = http.send("GET", "/readyz")
                equal(answer.status, 200)
                assert "quarantined" in answer.text, answer.text
            server.restart()  # a clean stop must not save over them
            for name, entry in bad.items():
                if entry["expect"] == "reject":
                    equal(read(data, entry["file"]), read_frame(entry["file"]), f"{name} on disk")
            with server.nng() as client:
                client.call(pb.DeleteIndexRequest(name="bad-nan"))
                refused(client, pb.GetIndexRequest(name="bad-nan"), "NOT_FOUND")
                equal(read(data, "bad-nan.lhv1.aside-1"), read_frame("bad-nan.lhv1"), "set aside")
                client.call(pb.CreateIndexRequest(name="bad-nan", dimension=2))
                equal(client.call(pb.GetIndexRequest(name="bad-nan")).length, 0)


def refused(client, request, code):
    try:
        client.call(request)
    except RpcError as error:
        equal(error.code, code, str(error))
        assert error.message, error
        return
    raise AssertionError(f"not refused: {request}")


def read(data, name):
    with open(os.path.join(data, "_vectors", name), "rb") as f:
        return f.read()


def read_frame(name):
    with open(os.path.join(FRAMES, name), "rb") as f:
        return f.read()


def test_the_file_name_wins_over_the_name_inside():
    with TempDir() as data:
        os.makedirs(os.path.join(data, "_vectors"))
        shutil.copy(os.path.join(FRAMES, "euclid3.lhv1"), os.path.join(data, "_vectors", "renamed.lhv1"))
        with Server(data) as server, server.nng() as client:
            equal(list(client.call(pb.ListIndexesRequest()).names), ["renamed"])
            equal(client.call(pb.GetIndexRequest(name="renamed")).params.name, "renamed")
            equal([h.id for h in client.call(pb.SearchRequest(name="renamed", vector=[0, 0])).results], ["a", "c", "b"])


if __name__ == "__main__":
    harness.main(globals())
