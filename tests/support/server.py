"""Starts, watches, stops and kills real vectord and storaged processes on ports of their own.

The binaries come from $VECTORD_BIN and $STORAGED_BIN (ctest sets them). Nothing here sleeps: waiting is polling a condition until a deadline, woken by
the process's own log line or by a readiness answer.
"""

import http.client
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import wire


def binary(name="vectord"):
    variable = name.upper() + "_BIN"
    path = os.environ.get(variable)
    if not path or not os.access(path, os.X_OK):
        raise SystemExit(f"{variable} does not name the {name} binary")
    return path


def clean_environment(more=None):
    """The environment without settings of the daemons (and the tests' own *_BIN), plus `more`."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith(("VECTORD_", "STORAGED_"))}, **(more or {})}


def wait_for(condition, timeout_s, what):
    """Calls condition() until it gives something true, and returns that. AssertionError when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        select.select([], [], [], 0.005)


class TempDir:
    """A folder that goes away with the test (E2E_KEEP=1 keeps it)."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="vectord-e2e-")

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        if os.environ.get("E2E_KEEP"):
            print(f"kept {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)


class Process:
    """One daemon. start() waits for its doors. The log (one JSON object a line) is kept in self.log and printed by show_log()."""

    name = "vectord"

    def __init__(self, args=(), env=None, prefix=()):
        self.args, self.env, self.prefix = list(args), env or {}, list(prefix)
        self.process = None
        self.log = []

    def flags(self):
        raise NotImplementedError

    def start(self, timeout_s=20):
        scratch = tempfile.mkdtemp(prefix="vectord-ports-")
        port_file = os.path.join(scratch, "ports.json")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*self.prefix, binary(self.name), *self.flags(), f"--port-file={port_file}", "--log-format=json", *self.args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=clean_environment(self.env),
        )
        self.reader = threading.Thread(target=self._read_log, args=(self.process.stderr, self.log), daemon=True)
        self.reader.start()

        def doors():
            if self.process.poll() is not None:
                self.reader.join(5)
                raise AssertionError(f"{self.name} ended with {self.process.returncode} at start:\n" + "".join(self.log[-20:]))
            return os.path.exists(port_file)

        try:
            wait_for(doors, timeout_s, f"{self.name} has opened its doors")
            with open(port_file, encoding="utf-8") as f:
                self.ports = json.load(f)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self.host, port = self.ports["http"][0].rsplit(":", 1)
        self.port = int(port)
        return self

    @staticmethod
    def _read_log(pipe, log):
        for line in pipe:
            log.append(line.decode("utf-8", "replace"))
        pipe.close()

    def show_log(self, last=40):
        print("".join([f"--- {self.name}'s log\n", *self.log[-last:]]))

    def http(self, timeout_s=30):
        return wire.Http(self.host, self.port, timeout_s)

    def rss_bytes(self, peak=False):
        wanted = "VmHWM:" if peak else "VmRSS:"
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith(wanted):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no memory figures in /proc")

    def term(self, timeout_s=60):
        """SIGTERM, waits, returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        self._ended()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._ended()

    def _ended(self):
        """A killed process has no exit code that could tell what a sanitizer saw."""
        self.reader.join(5)
        for number, line in enumerate(self.log):
            if "Sanitizer" in line or "runtime error:" in line:
                report = "".join(self.log[number : number + 60])
                self.log.clear()
                raise AssertionError("a sanitizer reported:\n" + report)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if self.process and self.process.poll() is None:
            self.kill()
        if kind:
            self.show_log()


class Storaged(Process):
    """One object daemon on the folder `data`. A restart keeps its port, so that its clients find it again."""

    name = "storaged"

    def __init__(self, data, args=(), env=None, prefix=()):
        super().__init__(args, env, prefix)
        self.data, self.bind = data, "127.0.0.1:0"

    def flags(self):
        return [f"--bind={self.bind}", f"--dir={self.data}"]

    def start(self, timeout_s=20):
        super().start(timeout_s)
        self.bind = f"{self.host}:{self.port}"
        self.url = f"http://{self.bind}"
        return self

    def temporaries(self):
        return [n for n in os.listdir(os.path.join(self.data, "objects")) if n.startswith(".put-")]


class Server(Process):
    """One vectord process. start() waits for its doors, wait_ready() for its indexes.

    data: the folder that keeps indexes (None: --ephemeral), or the URL of an object store. args: further flags. prefix: a command
    that execs what follows it."""

    def __init__(self, data=None, args=(), env=None, prefix=()):
        super().__init__(args, env, prefix)
        self.data = data

    def flags(self):
        doors = ["--bind=127.0.0.1:0", "--gateway-bind=", "--rpc-bind=tcp://127.0.0.1:0"]
        if not self.data:
            return [*doors, "--ephemeral"]
        return [*doors, f"--store-url={self.data}" if self.data.startswith("http://") else f"--data-dir={self.data}"]

    def start(self, timeout_s=20):
        super().start(timeout_s)
        self.nng_url = self.ports["rpc"][0]
        return self

    def is_ready(self):
        """Every index has been loaded or quarantined."""
        if self.process.poll() is not None:
            raise AssertionError(f"vectord ended with {self.process.returncode}:\n" + "".join(self.log[-20:]))
        try:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def wait_ready(self, timeout_s=60):
        wait_for(self.is_ready, timeout_s, "every index is loaded")
        self.ready_s = time.monotonic() - self.started
        return self

    def nng(self, timeout_s=30):
        return wire.Nng(self.nng_url, timeout_s)

    def restart(self, hard=False):
        if hard:
            self.kill()
        else:
            code = self.term()
            assert code == 0, f"a graceful stop ended with {code}"
        return self.start().wait_ready()

    def __enter__(self):
        return self.start().wait_ready()
