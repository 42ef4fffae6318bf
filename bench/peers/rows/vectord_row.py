"""vectord's engine through its Python package."""

from __future__ import annotations

import os
from typing import Any, Optional, Sequence

import numpy as np
from vectord import Index, library_version
from vectord._library import library

from .base import EF_CONSTRUCTION, M, Row, timed

RECALLS: tuple[float, ...] = (0.80, 0.85, 0.88, 0.90, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998)


def kernels() -> str:
    """The set of kernels that the engine uses: "avx512", "avx2", ..."""
    name: bytes = library().hnsw_cpu()
    return name.decode()


class Vectord(Row):
    """Optimized and calibrated, asked for a recall."""

    knob_name = "recall"
    integer_knob = False
    ladder: Sequence[float] = RECALLS
    encoding = "auto"
    optimized = True
    settings = "encoding auto, M=16, ef_construction=200; optimized, calibrated; asked for a recall"

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        forced = os.environ.get("VECTORD_CPU")
        if forced and forced != kernels():  # the engine takes its best when it does not have the one that is named
            raise RuntimeError(f"VECTORD_CPU={forced}, but the engine runs {kernels()} here")
        self.index = Index(
            self.dimension, m=M, ef_construction=EF_CONSTRUCTION, encoding=self.encoding, auto_calibrate=False
        )
        self.recall: Optional[float] = None
        self.ef: Optional[int] = None
        seconds = {"add": timed(lambda: self.index.add(None, base, threads=threads))}
        if self.optimized:
            seconds["optimize"] = timed(lambda: self.index.optimize(threads=threads))
        if self.knob_name == "recall":
            seconds["calibrate"] = timed(lambda: self.index.calibrate(threads=threads))
        return seconds

    def set_knob(self, knob: float) -> None:
        if self.knob_name == "recall":
            self.recall = float(knob)
        else:
            self.ef = int(knob)

    def one(self, query: np.ndarray) -> Any:
        return self.index.search(query, self.k, ef=self.ef, recall=self.recall)

    def ids_of(self, answer: Any) -> Any:
        return np.asarray(answer[0]).reshape(-1)

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        return np.asarray(self.index.search(queries, self.k, ef=self.ef, recall=self.recall, threads=threads)[0])

    def version(self) -> str:
        return str(library_version())

    def facts(self) -> dict[str, Any]:
        stats = self.index.stats
        return {
            "encoding": stats.encoding,
            "kernels": kernels(),
            "memory_bytes": stats.memory_bytes,
        }

    def statistics(self) -> dict[str, float]:
        return {"distances": self.index.stats.distances}


class VectordSq8(Vectord):
    encoding = "sq8"
    settings = "encoding sq8, optimized, calibrated; asked for a recall"


class VectordSq4(Vectord):
    encoding = "sq4"
    settings = "encoding sq4, optimized, calibrated; asked for a recall"


class VectordF32(Vectord):
    encoding = "f32"
    settings = "encoding f32, optimized, calibrated; asked for a recall"


class VectordEf(Vectord):
    knob_name = "ef"
    integer_knob = True
    ladder = Row.ladder
    settings = "encoding auto, optimized; a plain pool of ef"


class VectordPlain(VectordEf):
    optimized = False
    settings = "encoding auto, as added: no second pass; a plain pool of ef"
