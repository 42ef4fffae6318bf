"""The two doors of vectord as plain calls: Nng (pynng) and Http (http.client). No retries, no interpretation.

PYTHONPATH must hold the stubs that venv.sh made. `pb` are the stubs of the published proto, `pbb` those whose vectors are
bytes (little-endian float32), for numpy.
"""

import http.client
import json
import os
import struct

import pynng
import vectord_bytes_pb2 as pbb
import vectord_pb2 as pb

CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
    "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()
SERVICE = "/vectord.v1.VectorService/"


class RpcError(Exception):
    """A reply whose code is not OK."""

    def __init__(self, code, message, violations=()):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.violations = code, message, list(violations)


class Nng:
    """One REQ socket. call() sends a request message of `pb` or `pbb` and returns the reply message of the same module."""

    def __init__(self, url, timeout_s=30):
        self.socket = pynng.Req0(
            dial=url, block_on_dial=True, recv_timeout=int(timeout_s * 1000), send_timeout=int(timeout_s * 1000)
        )

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def exchange(self, envelope):
        """The bytes of an RpcRequest in, a parsed RpcResponse out."""
        self.socket.send(envelope)
        reply = pb.RpcResponse()
        reply.ParseFromString(self.socket.recv())
        return reply

    def call(self, request, request_id=None, timeout_ms=0):
        module = pbb if type(request).__module__ == pbb.__name__ else pb
        name = type(request).DESCRIPTOR.name.removesuffix("Request")
        envelope = pb.RpcRequest(
            method=SERVICE + name,
            payload=request.SerializeToString(),
            request_id=os.urandom(16) if request_id is None else request_id,
            timeout_ms=timeout_ms,
        )
        reply = self.exchange(envelope.SerializeToString())
        if reply.code:
            raise RpcError(CODES[reply.code], reply.message, [(v.field, v.description) for v in reply.violations])
        out = getattr(module, name + "Response")()
        out.ParseFromString(reply.payload)
        return out


class Answer:
    """An HTTP answer: status, headers (lower-case names), body bytes."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "surrogateescape")

    def json(self):
        return json.loads(self.body)


class Http:
    """One keep-alive connection; opened again after the server has closed it between requests."""

    def __init__(self, host, port, timeout_s=30):
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, method, path, body=None, headers=None):
        """One request. `body` is bytes, str or anything that json.dumps takes; a Content-Type is set for JSON only."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body, ensure_ascii=False)
            headers.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogateescape")
        fresh = self.connection is None
        if fresh:
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
        try:
            self.connection.request(method, path, body, headers)
            got = self.connection.getresponse()
            answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        except (http.client.HTTPException, OSError):
            self.close()
            raise
        if got.will_close:
            self.close()
        return answer


def f32(values):
    """Little-endian float32 bytes of a list of numbers."""
    return struct.pack(f"<{len(values)}f", *values)
