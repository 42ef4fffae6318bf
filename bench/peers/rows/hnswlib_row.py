"""hnswlib: the reference implementation of HNSW."""

from __future__ import annotations

from typing import Any

import hnswlib
import numpy as np

from .base import EF_CONSTRUCTION, SEED, M, Row, timed


class Hnswlib(Row):
    package = "hnswlib"
    settings = "float32, inner product, M=16, efConstruction=200; built from source for this processor"

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        self.index = hnswlib.Index(space="ip", dim=self.dimension)
        self.index.init_index(max_elements=len(base), ef_construction=EF_CONSTRUCTION, M=M, random_seed=SEED)
        return {"add": timed(lambda: self.index.add_items(base, np.arange(len(base)), num_threads=threads))}

    def set_knob(self, knob: float) -> None:
        self.index.set_ef(int(knob))

    def one(self, query: np.ndarray) -> Any:
        return self.index.knn_query(query, self.k, 1)

    def ids_of(self, answer: Any) -> Any:
        return answer[0][0]

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        return self.index.knn_query(queries, self.k, threads)[0]
