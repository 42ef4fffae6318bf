"""What Python's http.client makes of the answers, above all of one that comes while it is still sending: a 413 must be
readable, not a broken pipe. argv: port. Standard library only."""

import http.client
import sys

PORT = int(sys.argv[1])
LIMIT = 64 * 1024 * 1024


def call(method, path, body=None, headers=None, chunked=False):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    try:
        connection.request(method, path, body, headers or {}, encode_chunked=chunked)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def pieces(size):
    while size:
        yield b" " * min(size, 1 << 20)
        size -= min(size, 1 << 20)


def check(got, want):
    if got != want:
        sys.exit(f"want {want}, got {got}")


check(call("POST", "/vectors/index", b'{"name":"py","dimension":2}')[0], 201)
for path in ("/vectors/index/py/add", "/v1/vectors/index/py/add", "/vectors/index/py/search"):
    check(call("POST", path, b" " * (LIMIT + 1)), (413, b"body too large\n"))
    check(call("POST", path, pieces(LIMIT + 1), {"Transfer-Encoding": "chunked"}, chunked=True), (413, b"body too large\n"))
check(call("POST", "/vectors/index/nowhere/add", b" " * 10_000_000), (404, b"not found\n"))
check(call("POST", "/vectors/index/py/add", b" " * 10_000_000, {"Host": "evil.example"})[0], 421)
check(call("POST", "/vectors/index/py/add", b" " * 10_000_000, {"Origin": "http://evil.example"})[0], 403)
check(call("POST", "/vectors/index/py/add", b" " * 10_000_000, {"Content-Type": "multipart/form-data"})[0], 415)
body = b'{"items":[{"id":"a","vector":[1,2]}]}'
check(call("POST", "/vectors/index/py/add", body + b" " * (LIMIT - len(body))), (200, b'{"added":1,"length":1}\n'))

# One connection for all: after a refused body the next request on it is answered as well.
connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
for n in range(3):
    connection.request("POST", "/vectors/index/nowhere/add", b" " * 1_000_000)
    reply = connection.getresponse()
    check((reply.status, reply.read()), (404, b"not found\n"))
    connection.request("GET", "/vectors/index/py")
    reply = connection.getresponse()
    check(reply.status, 200)
    reply.read()
connection.close()
print("ok")
