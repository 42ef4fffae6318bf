"""AlayaLite with RaBitQ: a quantised graph in the manner of SymphonyQG, static once built."""

from __future__ import annotations

from typing import Any

import numpy as np
from alayalite.index import Index
from alayalite.schema import IndexParams

from .base import EF_CONSTRUCTION, M, Row, timed


class AlayaRabitq(Row):
    package = "alayalite"
    knob_name = "ef_search"
    metric = "l2"
    settings = "rabitq, l2 on unit vectors, max_nbrs 32, ef_construction 200; its C++ object called directly"

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        parameters = IndexParams(
            index_type="hnsw",
            data_type=np.float32,
            id_type=np.uint32,
            quantization_type="rabitq",
            metric=self.metric,
            capacity=len(base),
            max_nbrs=2 * M,
            build_threads=threads,
        )
        self.outer = Index("peers", parameters)
        seconds = {"fit": timed(lambda: self.outer.fit(base, ef_construction=EF_CONSTRUCTION, num_threads=threads))}
        self.index = self.outer.get_cpp_index()
        self.ef = EF_CONSTRUCTION
        return seconds

    def set_knob(self, knob: float) -> None:
        self.ef = int(knob)

    def one(self, query: np.ndarray) -> Any:
        return self.index.search(query, self.k, self.ef)

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        return self.index.batch_search(queries, self.k, self.ef, threads)
