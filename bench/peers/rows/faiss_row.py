"""Faiss: HNSW over float32 and over 8-bit scalar quantisation (which is not measured again exactly afterwards)."""

from __future__ import annotations

import sys
from typing import Any

import faiss
import numpy as np

from .base import EF_CONSTRUCTION, M, Row, timed


class FaissFlat(Row):
    package = "faiss-cpu"
    settings = "IndexHNSWFlat, inner product, M=16, efConstruction=200"

    def make(self) -> Any:
        return faiss.IndexHNSWFlat(self.dimension, M, faiss.METRIC_INNER_PRODUCT)

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        faiss.omp_set_num_threads(threads)
        self.index = self.make()
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        seconds = {"train": timed(lambda: self.index.train(base)), "add": timed(lambda: self.index.add(base))}
        faiss.omp_set_num_threads(1)
        self.threads = 1
        return seconds

    def set_knob(self, knob: float) -> None:
        self.index.hnsw.efSearch = int(knob)

    def use(self, threads: int) -> None:
        if threads != self.threads:
            faiss.omp_set_num_threads(threads)
            self.threads = threads

    def prepare(self, queries: np.ndarray) -> list[np.ndarray]:
        self.use(1)
        return [query.reshape(1, -1) for query in np.ascontiguousarray(queries)]

    def one(self, query: np.ndarray) -> Any:
        return self.index.search(query, self.k)

    def ids_of(self, answer: Any) -> Any:
        return answer[1][0]

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        self.use(threads)
        return self.index.search(queries, self.k)[1]

    def facts(self) -> dict[str, Any]:
        loaded = [name for name in sys.modules if name.startswith("faiss._swigfaiss")]
        return {"module": loaded, "compiled": faiss.get_compile_options()}


class FaissSq8(FaissFlat):
    settings = "IndexHNSWSQ QT_8bit, inner product, M=16, efConstruction=200"

    def make(self) -> Any:
        return faiss.IndexHNSWSQ(self.dimension, faiss.ScalarQuantizer.QT_8bit, M, faiss.METRIC_INNER_PRODUCT)
