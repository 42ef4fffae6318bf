"""VSAG: HGraph over 8-bit codes, answers put in order again by float32. It has no call for several queries."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyvsag

from .base import EF_CONSTRUCTION, M, Row, timed


class VsagSq8(Row):
    package = "pyvsag"
    knob_name = "ef_search"
    metric = "l2"
    codes = "sq8_uniform"
    settings = "hgraph sq8_uniform, reorder by fp32, l2 on unit vectors, max_degree 32, ef_construction 200"

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        parameters = {
            "dtype": "float32",
            "metric_type": self.metric,
            "dim": self.dimension,
            "index_param": {
                "base_quantization_type": self.codes,
                "use_reorder": True,
                "precise_quantization_type": "fp32",
                "max_degree": 2 * M,
                "ef_construction": EF_CONSTRUCTION,
                "build_thread_count": threads,
                "hgraph_init_capacity": len(base),
            },
        }
        self.index = pyvsag.Index("hgraph", json.dumps(parameters))
        ids = np.arange(len(base), dtype=np.int64)
        return {"build": timed(lambda: self.index.build(base.reshape(-1), ids, len(base), self.dimension))}

    def set_knob(self, knob: float) -> None:
        self.search = json.dumps({"hgraph": {"ef_search": int(knob)}})

    def one(self, query: np.ndarray) -> Any:
        return self.index.knn_search(query, self.k, self.search)

    def ids_of(self, answer: Any) -> Any:
        return answer[0]

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        """With one thread there is nothing but the loop; with more, Python's threads share the queries."""
        if threads == 1:
            return None
        prepared = self.prepare(queries)

        def part(first: int) -> list[np.ndarray]:
            return [self.ids_of(self.one(query)) for query in prepared[first::threads]]

        ids = np.full((len(prepared), self.k), -1, dtype=np.int64)
        with ThreadPoolExecutor(threads) as pool:
            for first, found in enumerate(pool.map(part, range(threads))):
                for i, row in enumerate(found):
                    ids[first + i * threads, : len(row)] = row
        return ids
