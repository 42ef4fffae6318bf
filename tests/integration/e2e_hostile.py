"""Bad input never loses anything: after bodies that are too large, lie about their size, or are noise, the indexes answer as before
to the last bit, and the process has not grown."""

import json
import os
import random
import socket
import struct
import sys

import harness
import numpy
import pynng
import vectord_bytes_pb2 as pbb
import vectord_pb2 as pb
from harness import Skip, equal
from server import Server, TempDir, wait_for

MIB = 1024 * 1024
SANITIZED = bool(os.environ.get("E2E_SANITIZER"))
SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "packages-5k")


class Kept:
    """A server with 1,000 real vectors, the answers it gave, and its memory before the attack."""

    def __enter__(self):
        self.folder = TempDir()
        self.data = self.folder.__enter__()
        self.server = Server(self.data).start().wait_ready()
        base = numpy.load(os.path.join(SAMPLE, "base.npy"))[:1000].astype("<f4")
        with self.server.nng() as client:
            client.call(pbb.CreateIndexRequest(name="kept", dimension=384))
            items = [pbb.Item(id=f"p{j}", vector=v.tobytes(), metadata=f'{{"row":{j}}}') for j, v in enumerate(base)]
            for j in range(0, 1000, 250):
                client.call(pbb.AddItemsRequest(name="kept", items=items[j : j + 250]))
        self.queries = numpy.load(os.path.join(SAMPLE, "queries.npy"))[:50].astype("<f4")
        self.answers = self.ask()
        return self

    def ask(self):
        with self.server.nng() as client:
            requests = [pbb.SearchRequest(name="kept", vector=q.tobytes(), exact=True) for q in self.queries]
            return [client.call(request).SerializeToString() for request in requests]

    def watch(self):
        """From here on peak() is the growth of resident memory."""
        with open(f"/proc/{self.server.process.pid}/clear_refs", "w", encoding="ascii") as f:
            f.write("5")
        self.before = self.server.rss_bytes()

    def peak(self):
        return self.server.rss_bytes(peak=True) - self.before

    def bounded(self, most, what):
        """Resident memory has not grown by more than `most` at any moment since watch(). A sanitizer keeps freed memory: there
        the figure is only shown."""
        print(f"{what}: grew by {self.peak() / MIB:.2f} MiB at most")
        assert SANITIZED or self.peak() < most, f"{what}: {self.peak()} bytes"

    def __exit__(self, kind, *rest):
        try:
            if not kind:
                equal(self.ask(), self.answers, "answers afterwards")
                self.server.restart()
                equal(self.ask(), self.answers, "answers after a restart")
        finally:
            if self.server.process.poll() is None:
                self.server.kill()
            if kind:
                self.server.show_log()
            self.folder.__exit__(kind, *rest)


def speak(server, head, chunks=(), timeout=30):
    """Raw bytes to the HTTP door; everything that comes back until it closes."""
    with socket.create_connection((server.host, server.port), timeout=timeout) as s:
        sent = 0
        try:
            s.sendall(head)
            for chunk in chunks:
                s.sendall(chunk)
                sent += len(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        out = b""
        try:
            while True:
                got = s.recv(65536)
                if not got:
                    break
                out += got
        except ConnectionResetError:
            pass
    return out, sent


HEAD = "POST /vectors/index/kept/add HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


def test_a_whole_conformance_run_beside_it():
    """Most conformance cases are bad input, at and beyond every limit: an index beside them does not notice."""
    if SANITIZED:
        raise Skip("conformance/cases does the same with this build")
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
    import doors
    import run

    table, cases = run.load()
    with Kept() as kept:
        done = 0
        for _, case in cases:
            if any(step.get("op") in ("ListIndexes", "Health") for step in case["steps"]):
                continue  # these count indexes
            name = next(n for n in ("nng", "proto", "json") if n in case.get("doors", run.ALL))
            door = doors.open_door(kept.server, name, table)
            wrong, _ = run.run_case(door, case, table, keep=["kept"])
            door.close()
            assert not wrong, f"{case['title']}: {wrong}"
            done += 1
        print(f"{done} cases")


def test_an_announced_oversize_body_is_refused_before_it_is_kept():
    with Kept() as kept:
        kept.watch()
        for size in (64 * MIB + 1, 200 * MIB):
            head = HEAD + f"Content-Length: {size}\r\n\r\n"
            answer, _ = speak(kept.server, head.encode(), (b" " * MIB for _ in range(size // MIB + 1)))
            assert answer.startswith(b"HTTP/1.1 413 ") and answer.endswith(b"body too large\n"), answer[:300]
        with_question = HEAD + "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
        answer, _ = speak(kept.server, with_question.encode())
        assert answer.startswith(b"HTTP/1.1 413 "), answer[:300]
        kept.bounded(2 * MIB, "bodies of up to 200 MiB")


def test_a_body_without_end_is_cut_off():
    with Kept() as kept:
        kept.watch()
        chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
        answer, sent = speak(kept.server, (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode(), (chunk for _ in range(2000)))
        print(f"took {sent / MIB:.0f} MiB")
        assert sent < 600 * MIB, sent
        assert not answer or answer.startswith(b"HTTP/1.1 413 "), answer[:300]
        kept.bounded(160 * MIB, "a body without end")
        if not SANITIZED:
            wait_for(lambda: kept.server.rss_bytes() - kept.before < 8 * MIB, 20, "the body's memory is given back")


def test_sizes_that_lie_allocate_nothing():
    """A few bytes that promise gigabytes: items, ids, vectors, lengths beyond 2^63, nesting."""
    with Kept() as kept:
        kept.watch()
        lies = []
        for length in (2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1):
            claim = varint(length)
            lies += [b"\x12" + claim, b"\x12\x10\x0a" + claim, b"\x12\x10\x0a\x01a\x12" + claim, b"\x0a" + claim, b"\xa2\x06" + claim]
        lies += [b"\x12\x0c\x0a\x01a\x12" + varint(2**32 - 4) + b"\0" * 4, b"\x0b" * 100000, b"\x12\x00" * 100000]
        with pynng.Req0(dial=kept.server.nng_url, recv_timeout=30000) as client, kept.server.http() as http:
            for lie in lies:
                for whole in (pb.RpcRequest(method="/vectord.v1.VectorService/AddItems", payload=b"\x0a\x04kept" + lie).SerializeToString(), lie):
                    client.send(whole)
                    answer = pb.RpcResponse()
                    answer.ParseFromString(client.recv())
                    assert answer.code in (3, 12), (lie[:40], answer)
                reply = http.send("POST", "/vectors/index/kept/add", lie, {"Content-Type": "application/x-protobuf"})
                equal(reply.status, 400, f"{lie[:40]!r} {reply.text}")
            kept.bounded(24 * MIB, "messages of at most 200 kB")  # 100,000 empty items do become as many messages
            for text in ("[" * 1000000, '{"items":' * 100000, '{"items":[{"vector":"' + "A" * 3000000, '{"items":[' + "{}," * 200000):
                equal(http.send("POST", "/vectors/index/kept/add", text).status, 400)
        kept.bounded(64 * MIB, "bodies of at most 3 MB")


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def test_oversize_messages_on_the_rpc_door():
    with Kept() as kept:
        for size in (66 * MIB, 100 * MIB):
            with pynng.Req0(dial=kept.server.nng_url, recv_timeout=3000, send_timeout=3000) as client:
                client.send(pb.RpcRequest(method="/vectord.v1.VectorService/AddItems", payload=b" " * size).SerializeToString())
                try:
                    answer = pb.RpcResponse()
                    answer.ParseFromString(client.recv())
                    equal((answer.code, answer.message), (8, "body too large"))
                    print(f"{size / MIB:.0f} MiB: answered")
                except (pynng.Timeout, pynng.exceptions.ConnectionReset, pynng.exceptions.NNGException) as error:
                    assert size > 80 * MIB, f"{size / MIB} MiB: {type(error).__name__}, though an answer was promised"
                    print(f"{size / MIB:.0f} MiB: {type(error).__name__}")


def test_noise_on_every_door():
    """Bytes of no meaning and good messages with a few bytes changed; the server answers each or closes, and lives."""
    generator = random.Random(20)
    with Kept() as kept:
        good = pb.AddItemsRequest(name="noise", items=[pb.Item(id="a", vector=[1, 2], metadata='{"x":1}'), pb.Item(id="b", vector=[3, 4])])
        text = '{"items":[{"id":"a\\u00e9","vector":[1,2.5e0],"metadata":{"x":[1,null]}},{"id":"b","vector":"AACAPwAAgD8="}]}'.encode()
        with kept.server.nng() as client:
            client.call(pb.CreateIndexRequest(name="noise", dimension=2))
        with pynng.Req0(dial=kept.server.nng_url, recv_timeout=30000) as client, kept.server.http() as http:
            for _ in range(300 if SANITIZED else 1500):
                payload = mutate(good.SerializeToString(), generator)
                whole = pb.RpcRequest(method="/vectord.v1.VectorService/AddItems", payload=payload).SerializeToString()
                client.send(whole if generator.random() < 0.7 else mutate(whole, generator))
                answer = pb.RpcResponse()
                answer.ParseFromString(client.recv())
                assert answer.code in (0, 3, 5, 12), answer
                status = http.send("POST", "/vectors/index/noise/add", mutate(text, generator)).status
                assert status in (200, 400), status
                headers = {"Content-Type": "application/x-protobuf"}
                status = http.send("POST", "/vectors/index/noise/add", payload, headers).status
                assert status in (200, 400), status
        for _ in range(200):
            line = mutate(b"POST /vectors/index/noise/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", generator)
            with socket.create_connection((kept.server.host, kept.server.port), timeout=5) as s:
                s.sendall(line)
                s.shutdown(socket.SHUT_WR)
                try:
                    while s.recv(65536):
                        pass
                except (ConnectionResetError, socket.timeout):
                    pass
        with kept.server.nng() as client:
            for hit in client.call(pb.SearchRequest(name="noise", vector=[1, 1], k=1000)).results:
                assert hit.id and hit.distance >= 0
                if hit.HasField("metadata"):
                    json.loads(hit.metadata)
            client.call(pb.DeleteIndexRequest(name="noise"))


def mutate(data, generator):
    data = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 3, 8])):
        what = generator.randrange(4)
        at = generator.randrange(len(data)) if data else 0
        if what == 0 and data:
            data[at] = generator.randrange(256)
        elif what == 1 and data:
            data[at] ^= 1 << generator.randrange(8)
        elif what == 2:
            data[at:at] = generator.randbytes(generator.randrange(6))
        else:
            del data[at : at + generator.randrange(1, 6)]
    return bytes(data)


def test_heads_that_two_parsers_would_read_differently():
    with Kept() as kept:
        body = b'{"vector":[1]}'
        for head in (
            b"POST /vectors/index/kept/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 14\r\n\r\n" + body,
            b"POST /vectors/index/kept/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
            b"POST /vectors/index/kept/add HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n" + body,
            b"POST /vectors/index/kept/add HTTP/1.1\r\nHost: localhost\r\nContent-Length : 14\r\n\r\n" + body,
            b"POST /vectors/index/kept/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n" + body,
            b"POST /vectors/index/kept/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n" + body,
            b"GET /vectors/index HTTP/1.1\r\n\r\n",
            b"GET /vectors/index HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
            b"G@T /vectors/index HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /vectors/index HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"GET http://evil.example/vectors/index HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            answer, _ = speak(kept.server, head, timeout=15)
            assert not answer or answer[9:12] in (b"400", b"405", b"413", b"414", b"421", b"431", b"501", b"505"), (head[:80], answer[:80])
            assert b"HTTP/1.1 2" not in answer, (head[:80], answer[:300])


def test_clients_that_hang_up_leave_nothing_behind():
    with Kept() as kept:
        before = len(os.listdir(f"/proc/{kept.server.process.pid}/fd"))
        for j in range(200):
            with socket.create_connection((kept.server.host, kept.server.port)) as s:
                s.sendall((HEAD + "Content-Length: 1000000\r\n\r\n").encode() + b'{"items":' * j)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(20):
            with pynng.Req0(dial=kept.server.nng_url) as client:
                client.send(pb.RpcRequest(method="/vectord.v1.VectorService/ListIndexes").SerializeToString())
        wait_for(lambda: len(os.listdir(f"/proc/{kept.server.process.pid}/fd")) <= before + 2, 20, "all sockets are closed")


if __name__ == "__main__":
    harness.main(globals())
