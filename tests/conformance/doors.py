"""The doors a case runs over. Each takes one step of a case and gives an Outcome in the same plain form."""

import os
import urllib.parse

import pynng
import vectord_pb2 as pb
import wire
from values import expand, from_json, from_message, to_json, to_message

PROTO = "application/x-protobuf"
PROBLEM = "application/problem+json"


class Outcome:
    """code: the status by name. http: status or None (NNG). text: the error's sentence. fields: violation fields. reply: plain form.
    body: the answer's text as it stood (JSON doors). headers: of an HTTP answer."""

    def __init__(self, code=None, http=None, text="", fields=None, reply=None, body=None, headers=None):
        self.code, self.http, self.text, self.fields = code, http, text, fields or []
        self.reply, self.body, self.headers = reply, body, headers or {}

    def comparable(self):
        """What must be equal over all doors. An epoch is random, and each door makes indexes of its own."""
        reply = self.reply
        if isinstance(reply, dict) and isinstance(reply.get("receipt"), dict):
            reply = {**reply, "receipt": {**reply["receipt"], "epoch": len(reply["receipt"].get("epoch", ""))}}
        return {"code": self.code, "text": self.text, "fields": self.fields, "reply": reply}

    def __repr__(self):
        shown = {k: v for k, v in vars(self).items() if v not in (None, "", [], {}) and k != "headers"}
        text = repr(shown)
        return text if len(text) < 600 else text[:600] + "..."


class Door:
    """What the doors share: `{run}` in a request id stands for eight characters of this run over this door."""

    def __init__(self, name):
        self.name, self.token = name, os.urandom(4).hex()

    def key(self, value):
        return expand(value).replace("{run}", self.token)


class HttpDoor(Door):
    """REST with JSON bodies (or protobuf ones) under a prefix."""

    def __init__(self, name, server, prefix, operations, binary=False):
        super().__init__(name)
        self.prefix, self.binary, self.operations = prefix, binary, operations
        self.http = server.http(timeout_s=60)

    def close(self):
        self.http.close()

    def _path(self, pattern, request):
        rest = dict(request)
        if "{name}" in pattern:
            name = rest.pop("name", "")
            pattern = pattern.replace("{name}", urllib.parse.quote(name, safe=""))
        return (pattern[1:] if pattern.startswith("=") else self.prefix + pattern), rest

    def run(self, step):
        if "http_request" in step:
            return self._raw(expand(step["http_request"]))
        operation = self.operations[step["op"]]
        request = expand(step.get("request", {}))
        path, rest = self._path(operation["path"], request)
        headers = {k: self.key(v) for k, v in step.get("headers", {}).items()}
        if "request_id" in step:
            headers["Idempotency-Key"] = self.key(step["request_id"])
        body = None
        if operation["method"] == "POST":
            if self.binary:
                body = expand(step["payload"]) if "payload" in step else None
                if body is None:
                    body = to_message(getattr(pb, step["op"] + "Request")(), rest).SerializeToString()
                headers.setdefault("Content-Type", PROTO)
            else:
                body = expand(step["body"]) if "body" in step else to_json(rest)
                headers.setdefault("Content-Type", "application/json")
        if self.binary:
            headers.setdefault("Accept", PROTO)
        answer = self.http.send(operation["method"], path, body, headers)
        if answer.status < 300:
            return self._good(step["op"], answer)
        return self._bad(answer, lambda: self.http.send(operation["method"], path, body, {**headers, "Accept": PROBLEM}))

    def _good(self, op, answer):
        if answer.status == 204:
            if answer.body:
                raise ValueError(f"204 with a body: {answer.body[:80]!r}")
            return Outcome("OK", 204, reply={}, headers=answer.headers)
        kind = answer.headers.get("content-type", "").split(";")[0]
        if self.binary:
            if kind != PROTO:
                raise ValueError(f"Content-Type {kind!r} in answer to Accept: {PROTO}")
            reply = getattr(pb, op + "Response")()
            reply.ParseFromString(answer.body)
            return Outcome("OK", answer.status, reply=from_message(reply), headers=answer.headers)
        if kind != "application/json":
            raise ValueError(f"Content-Type {kind!r}, not application/json")
        return Outcome("OK", answer.status, reply=from_json(answer.text), body=answer.text, headers=answer.headers)

    def _bad(self, answer, again):
        """A refusal changes nothing, so it can be asked for twice: as text, as the original has it, and as a problem."""
        if not answer.text.endswith("\n") or not answer.headers["content-type"].startswith("text/plain"):
            raise ValueError(f"an error is text/plain and a newline, not {answer.headers['content-type']} {answer.text[:80]!r}")
        out = Outcome(None, answer.status, answer.text.rstrip("\n"), headers=answer.headers)
        problem = again()
        if problem.status != answer.status or not problem.headers["content-type"].startswith(PROBLEM):
            raise ValueError(f"as a problem: {problem.status} {problem.headers['content-type']} {problem.text[:200]!r}")
        said = problem.json()
        if said["status"] != answer.status or said["detail"] != out.text:
            raise ValueError(f"text {out.text!r} and problem differ: {problem.text!r}")
        out.code = said["code"]
        out.fields = [v["field"] for v in said.get("errors", [])]
        return out

    def _raw(self, request):
        path = request["path"]
        path = path[1:] if path.startswith("=") else self.prefix + path
        answer = self.http.send(request["method"], path, request.get("body"), request.get("headers", {}))
        return Outcome(None, answer.status, "" if answer.status < 300 else answer.text.rstrip("\n"), body=answer.text,
                       headers=answer.headers)


class NngDoor(Door):
    """One protobuf envelope per message over REQ/REP."""

    def __init__(self, name, server, refines):
        super().__init__(name)
        self.refines = refines
        self.socket = pynng.Req0(dial=server.nng_url, block_on_dial=True, recv_timeout=60000, send_timeout=60000)

    def close(self):
        self.socket.close()

    def run(self, step):
        op = step.get("op", "")
        if "envelope" in step:
            data = expand(step["envelope"])
        else:
            envelope = pb.RpcRequest(method=expand(step.get("method", wire.SERVICE + op)))
            if "payload" in step:
                envelope.payload = expand(step["payload"])
            elif op:
                envelope.payload = to_message(getattr(pb, op + "Request")(), expand(step.get("request", {}))).SerializeToString()
            if "request_id" in step:
                envelope.request_id = self.key(step["request_id"]).encode()
            if "timeout_ms" in step:
                envelope.timeout_ms = step["timeout_ms"]
            data = envelope.SerializeToString()
        self.socket.send(data)
        answer = pb.RpcResponse()
        answer.ParseFromString(self.socket.recv())
        if answer.code:
            code = wire.CODES[answer.code]
            status = {pair.key: pair.value for pair in answer.metadata}["status"]
            if self.refines.get(status, status) != code:
                raise ValueError(f"status {status} travels as code {code}")
            return Outcome(status, None, answer.message, [v.field for v in answer.violations])
        reply = getattr(pb, op + "Response")()
        reply.ParseFromString(answer.payload)
        return Outcome("OK", None, reply=from_message(reply))


def open_door(server, name, table):
    make = {
        "json": lambda: HttpDoor("json", server, "/vectors", table["operations"]),
        "json-v1": lambda: HttpDoor("json-v1", server, "/v1/vectors", table["operations"]),
        "proto": lambda: HttpDoor("proto", server, "/vectors", table["operations"], binary=True),
        "nng": lambda: NngDoor("nng", server, table["refines"]),
    }
    return make[name]()
