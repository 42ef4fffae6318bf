"""Voyager, float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import voyager

from .base import EF_CONSTRUCTION, SEED, M, Row, timed


class Voyager(Row):
    package = "voyager"
    space = voyager.Space.Cosine
    settings = "Float32, cosine, M=16, ef_construction=200"

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        self.index = voyager.Index(
            self.space, self.dimension, M=M, ef_construction=EF_CONSTRUCTION, random_seed=SEED, max_elements=len(base)
        )
        self.ef = EF_CONSTRUCTION
        return {"add": timed(lambda: self.index.add_items(base, num_threads=threads))}

    def set_knob(self, knob: float) -> None:
        self.ef = int(knob)

    def one(self, query: np.ndarray) -> Any:
        return self.index.query(query, self.k, 1, self.ef)

    def ids_of(self, answer: Any) -> Any:
        return answer[0]

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        return self.index.query(queries, self.k, threads, self.ef)[0]
