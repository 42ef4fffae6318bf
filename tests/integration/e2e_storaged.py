"""The real storaged binary from outside: bad bodies, bad keys, slow and greedy clients leave nothing behind; a restart and a kill lose
nothing that was answered; and vectord keeps its indexes there."""

import hashlib
import http.client
import os
import random
import select
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import harness
from harness import equal
from server import Server, Storaged, TempDir, binary, clean_environment, wait_for

MIB = 1024 * 1024


def path(verb, key):
    return f"/storage/{verb}/" + urllib.parse.quote(key if isinstance(key, bytes) else key.encode(), safe="/")


def put(client, key, body, headers=None):
    return client.send("PUT", path("put", key), body, headers)


def keys_of(client, prefix=""):
    """Every key, page by page."""
    keys, cursor = [], None
    while True:
        query = {"prefix": prefix, "limit": 1000, **({"cursor": cursor} if cursor is not None else {})}
        page = client.send("GET", "/storage/list?" + urllib.parse.urlencode(query)).json()
        equal(page["count"], len(page["objects"]))
        keys += [o["key"] for o in page["objects"]]
        cursor = page.get("cursor")
        if cursor is None:
            equal(keys, sorted(keys, key=str.encode), "sorted by bytes")
            return keys


def metric(client, series):
    for line in client.send("GET", "/metrics").text.splitlines():
        if line.startswith(series + " "):
            return float(line.split()[-1])
    return 0.0


def run(name, *args, env=None, timeout_s=30):
    got = subprocess.run([binary(name), *args], env=clean_environment(env), capture_output=True, timeout=timeout_s)
    return got.returncode, (got.stdout + got.stderr).decode()


class Raw:
    """A connection that says what it likes."""

    def __init__(self, server, text=b""):
        self.socket = socket.create_connection((server.host, server.port), timeout=60)
        self.send(text)

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        return response

    def closed(self):
        """Waits until the server has hung up; returns what it said before."""
        said = b""
        while True:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return said
            if not data:
                return said
            said += data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def head(key, length, more=""):
    return f"PUT {path('put', key)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{more}\r\n".encode()


# ---- manners ----


def test_settings_and_signals():
    with TempDir() as folder:
        code, said = run("storaged", "--check-config", f"--dir={folder}")
        equal((code, said), (0, "the settings are fine\n"))
        config = os.path.join(folder, "both.toml")
        with open(config, "w", encoding="utf-8") as f:
            f.write('[vectord]\nqueue = 5\n[storaged]\nbnid = "x"\n')
        code, said = run("storaged", "--check-config", "--config", config)
        assert code == 78 and "both.toml:4:1: [storaged] has no key `bnid`" in said, (code, said)
        code, said = run("vectord", "--check-config", "--config", config)
        assert code == 0 and "storaged" not in said, (code, said)
        code, said = run("storaged", "--bind=0.0.0.0:0", f"--dir={folder}")
        assert code == 78 and "--allow-insecure-bind" in said, (code, said)
        code, said = run("storaged", "--help")
        assert code == 0 and "/storage/put/KEY" in said and "--drain-ms" in said, said
        data = os.path.join(folder, "data")
        with Storaged(data) as server:
            equal(set(server.ports), {"pid", "http"})
            equal(run("storaged", "health", "--url", server.url)[0], 0)
            code, said = run("storaged", "--bind=127.0.0.1:0", f"--dir={data}")
            assert code == 69 and "in use by another storaged" in said, (code, said)
            code, said = run("storaged", f"--bind={server.bind}", f"--dir={folder}/other")
            assert code == 69 and "choose another port" in said, (code, said)
            equal(server.term(), 0)
        equal(run("storaged", "health", "--url", server.url)[0], 1)


def test_a_request_in_flight_survives_sigterm():
    with TempDir() as data, Storaged(data) as server:
        with Raw(server, head("k", 10) + b"01234") as slow:
            wait_for(server.temporaries, 20, "the put has begun")
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: any('"stopping"' in line for line in server.log), 20, "it is stopping")
            slow.send(b"56789")
            answer = slow.answer()
            equal((answer.status, answer.getheader("Connection")), (204, "close"))
        equal(server.process.wait(30), 0)
        with Storaged(data) as again, again.http() as client:
            equal(client.send("GET", path("get", "k")).body, b"0123456789")


# ---- hostile ----


def legal(key):
    return (
        0 < len(key) <= 1024
        and not key.startswith(b"/")
        and b".." not in key.split(b"/")
        and not any(c < 0x20 or c == 0x7F for c in key)
        and key.decode("utf-8", "replace").encode() == key
    )


def test_five_hundred_hostile_names():
    generator = random.Random(20261127)
    pieces = [b"..", b".", b"/", b"//", b"%", b"%2F", b"~", b" ", b"\\", b":", b"*", b"?", b'"', b"-rf", b"&", b"#", b"+", b"\n", b"\0",
              b"\t", b"\x7f", b"a", b"_vectors", b".lhv1", b".put-0123456789abcdef", "é".encode(), "🍎".encode(), b"\xff", b"\xc3",
              b"$(id)", b";", b"A" * 200]  # fmt: skip
    stored = {}
    refused = 0
    with TempDir() as data, Storaged(data) as server, server.http() as client:
        for number in range(500):
            key = b"".join(generator.choices(pieces, k=generator.randint(1, 7)))
            answer = put(client, key, f"body {number}".encode())
            if legal(key):
                equal(answer.status, 204, key)
                stored[key] = f"body {number}".encode()
            else:
                assert answer.status == 400 and answer.text.startswith("the key "), (key, answer.status, answer.text)
                refused += 1
        for key, body in stored.items():
            equal(client.send("GET", path("get", key)).body, body, key)
        equal(keys_of(client), sorted((k.decode() for k in stored), key=str.encode))
        equal(sorted(os.listdir(data)), ["LOCK", "objects"])
        for key in stored:
            equal(client.send("DELETE", path("delete", key)).status, 204, key)
        equal(keys_of(client), [])
        equal(os.listdir(os.path.join(data, "objects")), [])
    print(f"{len(stored)} keys stored and found, {refused} refused")
    assert len(stored) > 150 and refused > 150


def test_cut_bodies_leave_nothing():
    with TempDir() as data, Storaged(data) as server, server.http() as client:
        equal(put(client, "k", b"old").status, 204)
        for begun in (b"", b"x", b"x" * 65536, b"x" * 300000):
            with Raw(server, head("k", 400000) + begun):
                pass
        with Raw(server, b"PUT /storage/put/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"):
            pass
        wait_for(lambda: not server.temporaries() and metric(client, "storaged_puts_in_flight") == 0, 20, "nothing is left")
        equal(client.send("GET", path("get", "k")).body, b"old")
        equal(keys_of(client), ["k"])


def test_oversize_is_refused_and_takes_no_memory():
    with TempDir() as data, Storaged(data) as server, server.http() as client:
        equal(put(client, "warm", b"x" * MIB).status, 204)
        before = server.rss_bytes()
        with Raw(server, head("k", 256 * MIB + 1, "Expect: 100-continue\r\n")) as raw:
            equal(raw.answer().status, 413)
        with Raw(server, head("_vectors/k", 4096 * MIB + 1, "Expect: 100-continue\r\n")) as raw:
            equal(raw.answer().status, 413)
        with Raw(server, head("_vectors/k", 4096 * MIB, "Expect: 100-continue\r\n")) as raw:
            assert raw.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        # http.client does not ask first: it hears the answer when it has sent everything
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        connection.request("PUT", "/storage/put/k", iter([b"x" * MIB] * 20), {"Content-Length": str(300 * MIB)}, encode_chunked=False)
        connection.close()
        # chunked: known only when it has come
        with Raw(server, b"PUT /storage/put/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n") as raw:
            chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"
            for _ in range(257):
                raw.send(chunk)
            raw.send(b"0\r\n\r\n")
            equal(raw.answer().status, 413)
        wait_for(lambda: not server.temporaries(), 20, "nothing is left")
        equal(keys_of(client), ["warm"])
        grown = server.rss_bytes() - before
        print(f"grew by {grown / MIB:.1f} MiB")
        assert os.environ.get("E2E_SANITIZER") or grown < 32 * MIB, grown


def test_slow_heads_and_bodies_are_cut():
    """Each sends a byte now and then, which no inactivity timer would mind."""
    with TempDir() as data, Storaged(data) as server, server.http() as client:
        began = time.monotonic()
        slow = {"head": Raw(server, b"PUT /storage/put/a HTTP/1.1\r\nX: "), "body": Raw(server, head("b", 10 * MIB) + b"x")}
        ended = {}
        while len(ended) < 2 and time.monotonic() - began < 60:
            for name, raw in slow.items():
                if name in ended:
                    continue
                readable, _, _ = select.select([raw.socket], [], [], 0.25)
                if readable:
                    said = raw.closed()
                    assert said == b"" or b" 408 " in said.split(b"\r\n")[0], said
                    ended[name] = time.monotonic() - began
                    continue
                try:
                    raw.send(b"x")
                except OSError:
                    ended[name] = time.monotonic() - began
        for raw in slow.values():
            raw.socket.close()
        print({k: round(v, 1) for k, v in ended.items()})
        assert set(ended) == {"head", "body"} and max(ended.values()) < 25, ended
        wait_for(lambda: not server.temporaries() and metric(client, "storaged_puts_in_flight") == 0, 20, "nothing is left")
        assert metric(client, 'storaged_rejected_total{reason="slow"}') >= 1
        equal(keys_of(client), [])


def test_five_puts_at_a_time_are_one_too_many():
    with TempDir() as data, Storaged(data) as server, server.http() as client:
        slow = [Raw(server, head(f"slow{j}", 100) + b"begun") for j in range(4)]
        wait_for(lambda: metric(client, "storaged_puts_in_flight") == 4, 20, "four are in flight")
        answer = put(client, "fifth", b"x")
        equal((answer.status, answer.headers["retry-after"]), (503, "5"))
        with Raw(server, head("fifth", 1, "Expect: 100-continue\r\n")) as raw:  # who asks first need not send
            equal(raw.answer().status, 503)
        equal(client.send("GET", "/health").status, 200)
        for raw in slow:
            raw.send(b"x" * 95)
            equal(raw.answer().status, 204)
            raw.socket.close()
        equal(put(client, "fifth", b"x").status, 204)
        equal(keys_of(client), ["fifth", "slow0", "slow1", "slow2", "slow3"])


def test_more_connections_than_there_are_places():
    """Those beyond the limit wait or are closed; nothing breaks, and afterwards all is as before."""
    with TempDir() as data, Storaged(data) as server:
        many = [Raw(server) for _ in range(300)]
        for raw in many:
            raw.socket.close()

        def healthy():
            try:
                with server.http(5) as client:
                    return client.send("GET", "/health").status == 200
            except OSError:
                return False

        wait_for(healthy, 30, "it answers again")


# ---- kept ----


def test_a_restart_changes_nothing():
    with TempDir() as data:
        bodies = {f"k{j:03}": os.urandom(j * 37) for j in range(120)}
        bodies["x" * 1000] = b"a long key"
        with Storaged(data) as server:
            with server.http() as client:
                etags = {}
                for key, body in bodies.items():
                    answer = put(client, key, body)
                    etags[key] = answer.headers["etag"]
                    equal(etags[key], f'"{hashlib.sha256(body).hexdigest()}"', "the ETag is sha256sum's")
            equal(server.term(), 0)
            server.start()
            with server.http() as client:
                page = client.send("GET", "/storage/list?prefix=k").json()
                equal({o["key"]: (o["size"], f'"{o["etag"]}"') for o in page["objects"]},
                      {k: (len(b), etags[k]) for k, b in bodies.items() if k.startswith("k")})  # fmt: skip
                for key, body in bodies.items():
                    answer = client.send("GET", path("get", key))
                    equal((answer.body, answer.headers["etag"]), (body, etags[key]))
                    equal(client.send("GET", path("get", key), None, {"If-None-Match": etags[key]}).status, 304)
                equal(put(client, "k001", b"new", {"If-Match": etags["k001"]}).status, 204)
                equal(put(client, "k001", b"newer", {"If-Match": etags["k001"]}).status, 412)


class Putter(threading.Thread):
    """Puts version after version of its own keys; remembers what was answered and the one that was not."""

    def __init__(self, server, number, known):
        super().__init__(daemon=True)
        self.server, self.number, self.known = server, number, known
        self.open, self.puts, self.fault = None, 0, None
        self.start()

    def run(self):
        generator = random.Random(os.urandom(8))
        try:
            with self.server.http(10) as client:
                while True:
                    key = f"putter{self.number}/{generator.randrange(6)}"
                    body = f"{key} {generator.random()} ".encode() * generator.choice([1, 100, 20000])
                    self.open = (key, body)
                    answer = put(client, key, body)
                    if answer.status != 204:
                        raise AssertionError(f"{answer.status} {answer.text}")
                    self.known[key], self.open = body, None
                    self.puts += 1
        except (OSError, http.client.HTTPException):
            pass  # the server is gone: that is the point
        except AssertionError as fault:
            self.fault = fault


def test_kill_9_leaves_old_or_new():
    rounds = 4 if os.environ.get("E2E_SANITIZER") else 10
    generator = random.Random(os.urandom(8))
    known, puts, temporaries = {}, 0, 0
    with TempDir() as data, Storaged(data) as server:
        for _ in range(rounds):
            putters = [Putter(server, j, known) for j in range(3)]
            select.select([], [], [], generator.uniform(0.05, 0.6))
            server.kill()
            for putter in putters:
                putter.join(30)
                if putter.fault:
                    raise putter.fault
            temporaries += len(server.temporaries())
            server.start()
            equal(server.temporaries(), [], "swept at the start")
            with server.http() as client:
                for putter in putters:
                    puts += putter.puts
                    if putter.open:
                        key, body = putter.open
                        got = client.send("GET", path("get", key))
                        if got.status == 200 and got.body == body:
                            known[key] = body
                for key, body in known.items():
                    answer = client.send("GET", path("get", key))
                    if answer.status != 200 or answer.body != body:
                        raise AssertionError(f"{key}: {answer.status}, {len(answer.body)} bytes, neither old nor new")
                    equal(answer.headers["etag"], f'"{hashlib.sha256(body).hexdigest()}"')
                equal(set(keys_of(client)), set(known))
    print(f"{rounds} kills, {puts} puts answered, {temporaries} unfinished ones swept, nothing lost")


# ---- vectord on storaged ----


def add(client, name, items):
    return client.send("POST", f"/vectors/index/{name}/add", {"items": items})


def test_vectord_keeps_its_indexes_there():
    names = ["fruit", "a/b c", "100%", ".hidden", "é"]
    with TempDir() as data, Storaged(data) as store:
        with Server(store.url, ["--store-prefix=team"]) as server:
            with server.http() as client:
                for name in names:
                    equal(client.send("POST", "/vectors/index", {"name": name, "dimension": 3}).status, 201, name)
                    for j in range(30):
                        quoted = urllib.parse.quote(name, safe="")
                        answer = add(client, quoted, [{"id": f"i{j}", "vector": [j + 1, 1, 0], "metadata": {"j": j}}])
                        equal((answer.status, answer.json()["length"]), (200, j + 1))
                answer = client.send("POST", "/vectors/index", {"name": "x/../y", "dimension": 3})
                assert answer.status == 400 and '".."' in answer.text, answer.text
            server.kill()
            server.start().wait_ready()
            with server.http() as client:
                equal(client.send("GET", "/vectors/index").json()["names"], sorted(names, key=str.encode))
                for name in names:
                    quoted = urllib.parse.quote(name, safe="")
                    hits = client.send("POST", f"/vectors/index/{quoted}/search", {"vector": [8, 1, 0], "k": 1}).json()["results"]
                    equal((hits[0]["id"], hits[0]["distance"], hits[0]["metadata"]), ("i7", 0, {"j": 7}), name)
                equal(client.send("DELETE", "/vectors/index/fruit").status, 204)
            equal(server.term(), 0)
        with store.http() as client:
            kept = keys_of(client, "team/_vectors/")
            equal([k for k in kept if k.endswith(".lhv1")],
                  sorted((f"team/_vectors/{n}.lhv1" for n in names if n != "fruit"), key=str.encode))  # fmt: skip
            equal(keys_of(client), kept, "nothing beside the prefix, no probe is left")


def test_what_vectord_says_when_it_cannot():
    with TempDir() as data, Storaged(os.path.join(data, "objects")) as store:
        code, said = run("vectord", "--check-config", f"--store-url={store.url}", f"--data-dir={data}")
        assert code == 78 and "not yet supported" in said, (code, said)
        code, said = run("vectord", "--check-config", "--store-url=s3://bucket")
        assert code == 78 and "S3 is not built yet" in said, (code, said)
        code, said = run("vectord", "--check-config", env={"VECTORD_STORE_URL": store.url})
        equal((code, said), (0, "the settings are fine\n"))


def test_vectord_waits_for_a_store_that_is_away():
    with TempDir() as data, Storaged(data) as store:
        with Server(store.url) as server:
            with server.http() as client:
                equal(client.send("POST", "/vectors/index", {"name": "n", "dimension": 2}).status, 201)
                equal(add(client, "n", [{"id": "a", "vector": [1, 0]}]).status, 200)
            equal(server.term(), 0)
            store.term()
            server.start()
            with server.http() as client:
                answer = client.send("POST", "/vectors/index", {"name": "n", "dimension": 2})
                assert answer.status == 503 and "start storaged there" in answer.text, (answer.status, answer.text)
                equal(client.send("GET", "/readyz").status, 503)
            store.start()
            server.wait_ready()
            with server.http() as client:
                hits = client.send("POST", "/vectors/index/n/search", {"vector": [1, 0]}).json()["results"]
                equal([h["id"] for h in hits], ["a"])


def test_a_store_that_lies_is_refused():
    """Whatever answers 200 to everything is no place for an index."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    if client.recv(65536):
                        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        code, said = run("vectord", "--bind=127.0.0.1:0", "--gateway-bind=", "--rpc-bind=", f"--store-url={url}")
        assert code == 69 and "does not honour If-None-Match" in said, (code, said)


def test_a_damaged_frame_is_quarantined_and_set_aside():
    with TempDir() as data, Storaged(data) as store:
        with Server(store.url) as server:
            with server.http() as client:
                equal(client.send("POST", "/vectors/index", {"name": "n", "dimension": 2}).status, 201)
            equal(server.term(), 0)
            with store.http() as client:
                equal(put(client, "_vectors/n.lhv1", b"no frame").status, 204)
            server.start().wait_ready()
            with server.http() as client:
                answer = client.send("POST", "/vectors/index", {"name": "n", "dimension": 2})
                assert answer.status in (409, 503), answer.text
                equal(client.send("DELETE", "/vectors/index/n").status, 204)
                equal(client.send("POST", "/vectors/index", {"name": "n", "dimension": 2}).status, 201)
        with store.http() as client:
            equal(client.send("GET", path("get", "_vectors/n.lhv1.aside-1")).body, b"no frame")


if __name__ == "__main__":
    harness.main(globals())
