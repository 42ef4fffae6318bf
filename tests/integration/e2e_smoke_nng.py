"""The wire of the NNG door in 30 lines: REQ socket, one RpcRequest per message, one RpcResponse back.

Everything a client in another language needs is here: the address, the envelope, the method names, the request id.
"""

import os

import pynng
import vectord_pb2 as pb  # protoc --python_out=. vectord.proto
from server import Server


def call(socket, method, request, reply):
    envelope = pb.RpcRequest(method="/vectord.v1.VectorService/" + method, payload=request.SerializeToString())
    envelope.request_id = os.urandom(16)  # REQ sockets send again when an answer is late; a write is applied once all the same
    socket.send(envelope.SerializeToString())
    answer = pb.RpcResponse()
    answer.ParseFromString(socket.recv())
    if answer.code != 0:  # the gRPC codes: 3 invalid argument, 5 not found, 6 already exists, ...
        raise RuntimeError(f"{method}: code {answer.code}: {answer.message}")
    reply.ParseFromString(answer.payload)
    return reply


with Server() as server, pynng.Req0(dial=server.nng_url, recv_timeout=10000) as socket:
    call(socket, "CreateIndex", pb.CreateIndexRequest(name="fruit", dimension=3), pb.CreateIndexResponse())
    items = [pb.Item(id="apple", vector=[1, 0, 0], metadata='{"colour":"red"}'), pb.Item(id="banana", vector=[0, 1, 0])]
    added = call(socket, "AddItems", pb.AddItemsRequest(name="fruit", items=items), pb.AddItemsResponse())
    assert (added.added, added.length) == (2, 2), added
    found = call(socket, "Search", pb.SearchRequest(name="fruit", vector=[2, 1, 0], k=2), pb.SearchResponse())
    assert [hit.id for hit in found.results] == ["apple", "banana"], found
    assert abs(found.results[0].distance - 0.10557281) < 1e-6 and found.results[0].metadata == '{"colour":"red"}', found
    try:
        call(socket, "Search", pb.SearchRequest(name="vegetables", vector=[1, 0, 0]), pb.SearchResponse())
    except RuntimeError as refused:
        assert str(refused) == "Search: code 5: not found", refused
    print("found", [(hit.id, round(hit.distance, 6)) for hit in found.results])
