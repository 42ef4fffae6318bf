"""coder/hnsw, in Go: a program of its own (coder/main.go) searches and takes the time."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Optional

import numpy as np

from .base import Row

SECONDS_TO_BUILD = 90.0


class Coder(Row):
    knob_name = "asked for"
    ladder = (10, 40, 160, 640, 2560)
    max_queries = 200
    settings = f"cosine, M=16, EfSearch 200 while building, one thread, at most {SECONDS_TO_BUILD:.0f} s of rows"

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        program = os.environ.get("PEERS_CODER", "")
        if not os.access(program, os.X_OK):
            raise RuntimeError("the Go program was not built")
        self.program = subprocess.Popen(
            [
                program,
                "-base",
                os.path.join(self.folder, "base.npy"),
                "-queries",
                os.path.join(self.folder, "queries.npy"),
                "-dimension",
                str(self.dimension),
                "-rows",
                str(len(base)),
                "-seconds",
                str(SECONDS_TO_BUILD),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.built = self.ask(do="build")
        self.knob = 10
        return {"add": self.built["seconds"]}

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.program.stdin and self.program.stdout
        self.program.stdin.write(json.dumps(request) + "\n")
        self.program.stdin.flush()
        line = self.program.stdout.readline()
        if not line:
            raise RuntimeError("the Go program ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def rows(self) -> Optional[int]:
        return int(self.built["rows"])

    def processes(self) -> list[int]:
        return [self.program.pid]

    def set_knob(self, knob: float) -> None:
        self.knob = int(knob)

    def time_one(self, queries: np.ndarray, seconds: float) -> tuple[list[Any], np.ndarray, float]:
        answer = self.ask(do="one", knob=self.knob, k=self.k, queries=len(queries), seconds=seconds)
        return answer["ids"], np.array(answer["ns"], dtype=np.int64), answer["seconds"]

    def time_batch(self, queries: np.ndarray, threads: int, seconds: float) -> Optional[tuple[Any, float]]:
        answer = self.ask(do="many", knob=self.knob, k=self.k, queries=len(queries), threads=threads)
        return answer["ids"], len(queries) / answer["seconds"]

    def version(self) -> str:
        go, library = self.ask(do="version")["version"]
        return f"{library} ({go})"

    def close(self) -> None:
        if hasattr(self, "program"):
            assert self.program.stdin
            self.program.stdin.close()
            self.program.wait(10)
