"""The driver's end of a worker."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from rows import Entry

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """A row cannot go on; the text is the reason."""


class Session:
    def __init__(self, entry: Entry, folder: Path, log: Path) -> None:
        self.entry = entry
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **entry.environment, "PYTHONUNBUFFERED": "1"}
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "worker.py"), "--row", entry.name, "--folder", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        self.buffer = b""
        self.read(120)

    def ask(self, within: float, **command: Any) -> dict[str, Any]:
        """One command and its answer, within so many seconds."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self.last_words()) from None
        return self.read(within)

    def recall_at(self, knob: float) -> float:
        return float(self.ask(600, do="recall", knob=knob)["recall"])

    def read(self, seconds: float) -> dict[str, Any]:
        assert self.process.stdout
        while b"\n" not in self.buffer:
            if not select.select([self.process.stdout], [], [], seconds)[0]:
                self.process.kill()
                self.process.wait()
                raise Failed(f"no answer within {seconds:.0f} s")
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            if not piece:
                raise Failed(self.last_words())
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def last_words(self) -> str:
        code = self.process.wait()
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"ended with {why}" + (f": {lines[-1][:200]}" if lines else "")

    def close(self) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
