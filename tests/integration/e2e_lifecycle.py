"""Starting, stopping and refusing to start: the real binary with its real command line."""

import fcntl
import os
import re
import signal
import subprocess
import threading

import harness
import vectord_pb2 as pb
from harness import equal
from server import Server, TempDir, binary, clean_environment, wait_for
from wire import RpcError


def run(*flags, env=None, timeout=30):
    """Runs vectord to its end; (exit code, everything it said)."""
    done = subprocess.run(
        [binary(), *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=clean_environment(env),
        timeout=timeout,
    )
    return done.returncode, done.stdout.decode()


CLOSED = ["--bind=127.0.0.1:0", "--gateway-bind=", "--rpc-bind="]


def fill(server, name, count):
    with server.nng() as client:
        client.call(pb.CreateIndexRequest(name=name, dimension=2, distance="euclidean"))
        items = [pb.Item(id=f"i{j}", vector=[j, 1], metadata=f'{{"j": {j}}}') for j in range(count)]
        client.call(pb.AddItemsRequest(name=name, items=items))


def holds(server, name, count):
    with server.nng() as client:
        equal(client.call(pb.GetIndexRequest(name=name)).length, count)
        for j in range(count):
            hit = client.call(pb.SearchRequest(name=name, vector=[j, 1], k=1)).results[0]
            equal((hit.id, hit.distance, hit.metadata), (f"i{j}", 0, f'{{"j": {j}}}'))


def test_sigterm_ends_with_0_and_everything_kept():
    for number in (signal.SIGTERM, signal.SIGINT):
        with TempDir() as data, Server(data) as server:
            fill(server, "t", 50)
            server.process.send_signal(number)
            equal(server.process.wait(60), 0, "exit code")
            server.start().wait_ready()
            holds(server, "t", 50)


def test_sigterm_answers_what_is_in_flight():
    """Writers keep writing while the server stops: whatever was answered is kept, and the stop still ends with 0."""
    with TempDir() as data, Server(data) as server:
        fill(server, "t", 1)
        acknowledged, started = [], threading.Event()

        def write():
            with server.http(timeout_s=20) as http:
                try:
                    for j in range(1000000):
                        body = {"items": [{"id": f"w{j}", "vector": [j, 7]}]}
                        if http.send("POST", "/vectors/index/t/add", body).status != 200:
                            return
                        acknowledged.append(j)
                        started.set()
                except OSError:
                    return

        writer = threading.Thread(target=write)
        writer.start()
        assert started.wait(20)
        equal(server.term(), 0, "exit code")
        writer.join(30)
        server.start().wait_ready()
        with server.nng() as client:
            length = client.call(pb.GetIndexRequest(name="t")).length
            assert length in (1 + len(acknowledged), 2 + len(acknowledged)), (length, len(acknowledged))
            for j in acknowledged[-20:]:
                equal(client.call(pb.SearchRequest(name="t", vector=[j, 7], k=1)).results[0].id, f"w{j}")


def test_a_second_server_on_the_same_folder_is_refused():
    with TempDir() as data, Server(data) as server:
        fill(server, "t", 3)
        code, said = run(*CLOSED, f"--data-dir={data}")
        assert code != 0, said
        assert data in said and re.search(r"in use|locked|another", said), said
        holds(server, "t", 3)


def test_a_folder_that_cannot_be_written_is_refused():
    with TempDir() as data:
        path = os.path.join(data, "file")
        with open(path, "w", encoding="ascii") as f:
            f.write("x")
        code, said = run(*CLOSED, f"--data-dir={path}")
        assert code != 0 and path in said, (code, said)


def test_a_port_that_is_taken_is_refused():
    with Server() as server:
        address = f"127.0.0.1:{server.port}"
        code, said = run(f"--bind={address}", "--gateway-bind=", "--rpc-bind=", "--ephemeral")
        assert code != 0 and address in said, (code, said)


def test_unknown_keys_have_a_place():
    with TempDir() as data:
        path = os.path.join(data, "vectord.toml")
        with open(path, "w", encoding="utf-8") as f:
            f.write('[vectord]\ndata_dir = "x"\n  bnid = "127.0.0.1:0"\n\n[rpc]\ncontexts = "many"\n')
        code, said = run(f"--config={path}")
        equal(code, 78, "exit code (EX_CONFIG)")
        assert "vectord.toml:3:3" in said and "bnid" in said, said
        assert "vectord.toml:6:1" in said and "contexts" in said, said
        code, said = run("--bnid=127.0.0.1:0")
        assert code != 0 and "bnid" in said, (code, said)


def test_settings_that_are_not_built_yet_are_refused_not_ignored():
    code, said = run(*CLOSED, "--ephemeral", "--store-url=s3://bucket")
    assert code == 78 and "S3 is not built yet" in said, (code, said)
    with TempDir() as data:
        path = os.path.join(data, "vectord.toml")
        with open(path, "w", encoding="utf-8") as f:
            f.write('[vectord]\nstoraged_url = "https://127.0.0.1:3211"\n')
        code, said = run(f"--config={path}")
        assert code == 78 and "vectord.toml:2" in said and "storaged_url" in said, (code, said)


def test_addresses_that_others_can_reach_are_refused():
    for flag in ("--bind=0.0.0.0:0", "--rpc-bind=tcp://0.0.0.0:0", "--gateway-bind=[::]:0"):
        code, said = run(*CLOSED, flag, "--ephemeral")
        assert code == 78 and "--allow-insecure-bind" in said, (flag, code, said)


def test_ephemeral_keeps_nothing():
    with TempDir() as data:
        server = Server(None, args=[f"--data-dir={data}"])
        with server:
            with server.nng() as client:
                assert not client.call(pb.HealthRequest()).durable
            fill(server, "t", 5)
            holds(server, "t", 5)
            equal(server.term(), 0)
        equal(os.listdir(data), [], "files of an ephemeral server")
        with server:
            with server.nng() as client:
                equal(list(client.call(pb.ListIndexesRequest()).names), [])


def test_health_from_the_command_line():
    with TempDir() as data, Server(data) as server:
        equal(run("health", "--ready", f"--url=http://127.0.0.1:{server.port}"), (0, "ok\n"))
        port = server.port
    code, said = run("health", f"--url=http://127.0.0.1:{port}")
    assert code == 1 and str(port) in said, (code, said)


def test_unknown_files_are_left_alone_and_our_temporaries_are_swept():
    with TempDir() as data, Server(data) as server:
        fill(server, "t", 4)
        server.kill()
        folder = os.path.join(data, "_vectors")
        strange = {"README": b"mine", "t.lhv1.bak": b"copy", ".put-0123456789abcdef": None, "x.tmp": b"half", "core": b"\x7fELF"}
        for name, content in strange.items():
            with open(os.path.join(folder, name), "wb") as f:
                f.write(content or b"half a frame")
        server.start().wait_ready()
        holds(server, "t", 4)
        with server.nng() as client:
            equal(list(client.call(pb.ListIndexesRequest()).names), ["t"])
        for name, content in strange.items():
            path = os.path.join(folder, name)
            if content is None:
                assert not os.path.exists(path), f"{name} was not swept"
            else:
                with open(path, "rb") as f:
                    equal(f.read(), content, name)


def test_a_torn_journal_loses_only_its_tail():
    """The last journal file cut at many lengths: always a prefix of the history, and never a refusal to start."""
    with TempDir() as data, Server(data) as server:
        with server.nng() as client:
            client.call(pb.CreateIndexRequest(name="t", dimension=1, distance="euclidean"))
            for j in range(8):
                client.call(pb.AddItemsRequest(name="t", items=[pb.Item(id=f"i{j}", vector=[j]), pb.Item(id=f"j{j}", vector=[j])]))
        server.kill()
        journals = os.path.join(data, "_vectors", ".journal")
        segments = [os.path.join(d, f) for d, _, names in os.walk(journals) for f in names if not d.endswith("0" * 32)]
        equal(len(segments), 1, "journal files")
        with open(segments[0], "rb") as f:
            whole = f.read()
        image = snapshot(data)
        last = 16
        for size in sorted({len(whole) - n for n in (1, 2, 7, 30, 90)} | {len(whole) // 2, len(whole) // 3, 40, 3, 0}, reverse=True):
            restore(data, image)
            with open(segments[0], "wb") as f:
                f.write(whole[:size])
            server.start().wait_ready()
            with server.nng() as client:
                got = client.call(pb.GetIndexRequest(name="t"))
                assert got.state == "ready" and got.length % 2 == 0 and got.length <= last, (size, got.state, got.reason, got.length)
                for j in range(got.length // 2):
                    equal([h.id for h in client.call(pb.SearchRequest(name="t", vector=[j], k=2)).results], [f"i{j}", f"j{j}"])
                last = got.length
            server.kill()
        equal(last, 0, "items after everything was cut off")


def snapshot(folder):
    out = {}
    for d, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(d, name), "rb") as f:
                out[os.path.join(d, name)] = f.read()
    return out


def restore(folder, image):
    for d, _, names in os.walk(folder):
        for name in names:
            if os.path.join(d, name) not in image:
                os.unlink(os.path.join(d, name))
    for path, content in image.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content)


def test_resends_are_known_after_a_restart():
    """A client that never saw the answer asks again after the server came back, from a kill or an orderly stop (whose save makes the
    records superfluous): applied once, answered as the first time."""
    with TempDir() as data, Server(data) as server:
        create = pb.CreateIndexRequest(name="t", dimension=1, distance="euclidean")
        first = pb.AddItemsRequest(name="t", items=[pb.Item(id="a", vector=[1])])
        with server.nng() as client:
            client.call(create, request_id=b"create")
            client.call(first, request_id=b"first")
            client.call(pb.AddItemsRequest(name="t", items=[pb.Item(id="a", vector=[5]), pb.Item(id="b", vector=[6])]))
            client.call(pb.CreateIndexRequest(name="gone", dimension=1))
            client.call(pb.DeleteIndexRequest(name="gone"), request_id=b"delete")
        for hard in (True, False, False, True):
            server.restart(hard=hard)
            with server.nng() as client:
                answer = client.call(first, request_id=b"first")
                equal((answer.added, answer.length), (1, 1), "the first answer")
                hits = client.call(pb.SearchRequest(name="t", vector=[0])).results
                equal([(h.id, h.distance) for h in hits], [("a", 5), ("b", 6)], "not applied again")
                client.call(create, request_id=b"create")
                client.call(pb.DeleteIndexRequest(name="gone"), request_id=b"delete")
                equal(client.call(pb.GetIndexRequest(name="t")).length, 2)
                for request, request_id, code in (
                    (create, b"another", "ALREADY_EXISTS"),
                    (pb.DeleteIndexRequest(name="gone"), b"another", "NOT_FOUND"),
                ):
                    try:
                        client.call(request, request_id=request_id)
                        raise AssertionError(f"a new {code} was answered as if old")
                    except RpcError as refused:
                        equal(refused.code, code)


def test_the_lock_goes_with_the_process():
    """A folder whose owner was killed can be opened at once; the lock is the kernel's, not a file that stays."""
    with TempDir() as data, Server(data) as server:
        fill(server, "t", 2)
        server.kill()
        with open(os.path.join(data, "LOCK"), "ab") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            code, said = run(*CLOSED, f"--data-dir={data}")
            assert code != 0 and data in said, said
        server.start().wait_ready()
        holds(server, "t", 2)


def test_loading_is_said_and_not_hidden():
    """While an index loads, searches are 503 with Retry-After, never 404 and never empty."""
    count = 2000 if os.environ.get("E2E_SANITIZER") else 6000
    with TempDir() as data, Server(data, args=["--threads=1"]) as server:
        with server.nng() as client:
            client.call(pb.CreateIndexRequest(name="t", dimension=64, ef_construction=400))
            for j in range(0, count, 1000):
                items = [pb.Item(id=f"i{j + i}", vector=[((j + i) * 7919 * (d + 3)) % 1009 - 500 for d in range(64)]) for i in range(1000)]
                client.call(pb.AddItemsRequest(name="t", items=items))
        server.term()
        server.start()
        seen = set()

        def loaded():
            with server.http() as http:
                answer = http.send("POST", "/vectors/index/t/search", {"vector": [1] * 64})
                if answer.status == 503:
                    assert int(answer.headers["retry-after"]) >= 1, answer.headers
                    state = http.send("GET", "/vectors/index/t").json()
                    assert state["state"] in ("loading", "ready") and 0 <= state["load_progress"] <= 1, state
                    created = http.send("POST", "/vectors/index", {"name": "t", "dimension": 3})
                    assert created.status in (409, 503), (created.status, created.text)
                seen.add(answer.status)
                assert answer.status in (200, 503), (answer.status, answer.text)
                return answer.status == 200

        wait_for(loaded, 60, "the index is loaded")
        print("statuses seen while loading:", sorted(seen))
        with server.nng() as client:
            equal(client.call(pb.GetIndexRequest(name="t")).length, count)
            try:
                client.call(pb.GetIndexRequest(name="u"))
                raise AssertionError("an index that never was")
            except RpcError as refused:
                equal(refused.code, "NOT_FOUND")


if __name__ == "__main__":
    harness.main(globals())
