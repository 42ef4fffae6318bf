"""What a row of the comparison is: one index, built once and searched with one knob."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional, Sequence

import numpy as np

EF_LADDER: tuple[float, ...] = (10, 15, 22, 33, 50, 75, 110, 165, 250, 375, 560, 840, 1260, 1900)

M = 16
EF_CONSTRUCTION = 200
SEED = 1


class Row:
    """Subclasses fill in build, set_knob, one and batch; vectors and queries come with unit length, float32, C order."""

    package: str = ""  # distribution whose version is reported
    knob_name: str = "ef"
    ladder: Sequence[float] = EF_LADDER
    integer_knob: bool = True
    max_queries: int = 0  # 0: all
    settings: str = ""  # how it was built, for the report

    def __init__(self, dimension: int, capacity: int, k: int, folder: str) -> None:
        self.dimension = dimension
        self.capacity = capacity
        self.k = k
        self.folder = folder  # where base.npy lies; a row may keep derived files there

    # ---- to fill in ----

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        """Seconds by stage; their sum is the build."""
        raise NotImplementedError

    def set_knob(self, knob: float) -> None:
        raise NotImplementedError

    def one(self, query: np.ndarray) -> Any:
        """One query as `prepare` shaped it; whatever the library answers with (`ids_of` reads it, outside the timing)."""
        raise NotImplementedError

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        """All queries in one call; None when the library has no such call."""
        raise NotImplementedError

    # ---- may be overridden ----

    def prepare(self, queries: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(query) for query in queries]

    def ids_of(self, answer: Any) -> Any:
        return answer

    def version(self) -> str:
        from importlib.metadata import version

        return version(self.package)

    def facts(self) -> dict[str, Any]:
        """Anything worth having beside the figures: instruction set, chosen encoding."""
        return {}

    def statistics(self) -> dict[str, float]:
        """Counters of the library that only grow; what they grew by is reported per query."""
        return {}

    def processes(self) -> list[int]:
        """Further processes that do this row's work."""
        return []

    def rows(self) -> Optional[int]:
        """How many rows are in, where that may be fewer than were given."""
        return None

    def close(self) -> None:
        pass

    # ---- timing ----

    def time_one(self, queries: np.ndarray, seconds: float) -> tuple[list[Any], np.ndarray, float]:
        """Every query at least once, one call after another. Answers, nanoseconds of each call, seconds of all."""
        prepared = self.prepare(queries)
        clock: Callable[[], int] = time.perf_counter_ns
        one = self.one
        answers: list[Any] = [None] * len(prepared)
        times: list[int] = []
        began = clock()
        end = began + int(seconds * 1e9)
        while True:
            for i, query in enumerate(prepared):
                start = clock()
                answers[i] = one(query)
                times.append(clock() - start)
            if clock() >= end:
                break
        elapsed = (clock() - began) / 1e9
        return [self.ids_of(answer) for answer in answers], np.array(times, dtype=np.int64), elapsed

    def time_batch(self, queries: np.ndarray, threads: int, seconds: float) -> Optional[tuple[Any, float]]:
        """All queries in one call, as often as fits. Ids and queries a second."""
        calls = 0
        began = time.perf_counter()
        while True:
            ids = self.batch(queries, threads)
            if ids is None:
                return None
            calls += 1
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                return ids, calls * len(queries) / elapsed


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
