"""A TCP proxy that can misbehave in the ways networks and stores do. Changing the mode breaks every open connection off, so that the
new one holds for all that follows.

pass       as if it were not there
refuse     nobody listens
busy       503 with Retry-After: 1 to everything
blackhole  takes the request and never answers
slow       a fifth of a second before each piece of an answer
half       every second connection ends without an answer, after the store has done what was asked; the others after three answers
cut        the answer breaks off after 20 bytes, after the store has done what was asked
"""

import itertools
import select
import socket
import threading

MODES = ("refuse", "busy", "blackhole", "slow", "half", "cut")


class Proxy:
    def __init__(self, host, port):
        self.upstream = (host, port)
        self.lock = threading.Lock()
        self.open, self.mode, self.listener = set(), "pass", None
        self.count = itertools.count()
        self._listen(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"

    def _listen(self, address):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(64)
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def set_mode(self, mode):
        with self.lock:
            self.mode = mode
            doomed, self.open = self.open, set()
        for one in doomed:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if mode == "refuse" and self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        elif mode != "refuse" and not self.listener:
            self._listen(self.address)

    def close(self):
        self.set_mode("refuse")

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                mode = self.mode
                self.open.add(client)
            threading.Thread(target=self._serve, args=(client, mode), daemon=True).start()

    def _serve(self, client, mode):
        try:
            {"busy": self._busy, "blackhole": self._swallow}.get(mode, self._forward)(client, mode)
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(client)
            client.close()

    @staticmethod
    def _busy(client, _):
        """Reads a head, answers, and reads on for a moment so that the answer is not lost with unread bytes."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = client.recv(65536)
            if not more:
                return
            data += more
        client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbusy\n")
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass

    @staticmethod
    def _swallow(client, _):
        while client.recv(65536):
            pass

    def _forward(self, client, mode):
        silent = mode == "half" and next(self.count) % 2 == 0
        with socket.create_connection(self.upstream, timeout=30) as upstream:
            with self.lock:
                self.open.add(upstream)
            try:
                self._pump(client, upstream, mode, silent)
            finally:
                with self.lock:
                    self.open.discard(upstream)

    @staticmethod
    def _pump(client, upstream, mode, silent):
        answers = 0
        while True:
            readable, _, _ = select.select([client, upstream], [], [], 60)
            if client in readable:
                data = client.recv(65536)
                if not data:
                    return
                upstream.sendall(data)
            if upstream in readable:
                data = upstream.recv(65536)
                if not data:
                    return
                if data.startswith(b"HTTP/1.1 100 "):
                    client.sendall(data)
                    continue
                if mode == "slow":
                    select.select([], [], [], 0.2)
                if silent:
                    return
                if mode == "cut":
                    client.sendall(data[:20])
                    return
                client.sendall(data)
                answers += 1
                if mode == "half" and answers == 3:
                    return
