"""USearch, float32 and 8-bit integers (which are not measured again exactly afterwards)."""

from __future__ import annotations

from typing import Any

import numpy as np
from usearch.index import Index

from .base import EF_CONSTRUCTION, M, Row, timed


class UsearchF32(Row):
    package = "usearch"
    knob_name = "expansion"
    dtype = "f32"
    metric = "ip"
    settings = "f32, inner product, connectivity 16, expansion_add 200"

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        self.index = Index(
            ndim=self.dimension, metric=self.metric, dtype=self.dtype, connectivity=M, expansion_add=EF_CONSTRUCTION
        )
        keys = np.arange(len(base))
        return {"add": timed(lambda: self.index.add(keys, base, threads=threads))}

    def set_knob(self, knob: float) -> None:
        self.index.expansion_search = int(knob)

    def one(self, query: np.ndarray) -> Any:
        return self.index.search(query, self.k, threads=1)

    def ids_of(self, answer: Any) -> Any:
        return answer.keys

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        return self.index.search(queries, self.k, threads=threads).keys

    def facts(self) -> dict[str, Any]:
        return {"kernels": self.index.hardware_acceleration}


class UsearchI8(UsearchF32):
    dtype = "i8"
    settings = "i8, inner product, connectivity 16, expansion_add 200"
