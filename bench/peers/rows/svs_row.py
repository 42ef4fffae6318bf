"""Scalable Vector Search: Vamana over float32, over LVQ codes and over LeanVec."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import svs

from .base import EF_CONSTRUCTION, M, Row, timed


class SvsF32(Row):
    package = "scalable-vs"
    knob_name = "window"
    settings = "Vamana float32, MIP, degree 32, window 200, alpha 0.95"

    def data(self, base: np.ndarray) -> Any:
        return base

    def build(self, base: np.ndarray, threads: int) -> dict[str, float]:
        parameters = svs.VamanaBuildParameters(alpha=0.95, graph_max_degree=2 * M, window_size=EF_CONSTRUCTION)
        data = self.data(base)

        def work() -> None:
            self.index = svs.Vamana.build(parameters, data, svs.DistanceType.MIP, num_threads=threads)

        seconds = {"build": timed(work)}
        self.index.num_threads = self.threads = 1
        return seconds

    def set_knob(self, knob: float) -> None:
        parameters = self.index.search_parameters
        parameters.buffer_config = svs.SearchBufferConfig(int(knob))  # a larger buffer made no set faster
        self.index.search_parameters = parameters

    def use(self, threads: int) -> None:
        if threads != self.threads:
            self.index.num_threads = self.threads = threads

    def prepare(self, queries: np.ndarray) -> list[np.ndarray]:
        self.use(1)
        return super().prepare(queries)

    def one(self, query: np.ndarray) -> Any:
        return self.index.search(query, self.k)

    def ids_of(self, answer: Any) -> Any:
        return answer[0][0]

    def batch(self, queries: np.ndarray, threads: int) -> Any:
        self.use(threads)
        return self.index.search(queries, self.k)[0]

    def version(self) -> str:
        return str(svs.library_version())


class SvsLvq(SvsF32):
    """Its loaders read files only, so the rows are written out once."""

    primary = 4  # bits that are walked with
    residual = 8  # and those that the window is put in order with at the end
    settings = "Vamana LVQ4x8, MIP, degree 32, window 200, alpha 0.95"

    def file(self, base: np.ndarray) -> Any:
        path = os.path.join(self.folder, f"svs-{len(base)}.fvecs")
        if not os.path.exists(path):
            svs.write_vecs(np.ascontiguousarray(base), path + ".new.fvecs")
            os.replace(path + ".new.fvecs", path)
        return svs.VectorDataLoader(path, svs.DataType.float32, dims=self.dimension)

    def data(self, base: np.ndarray) -> Any:
        return svs.LVQLoader(self.file(base), primary=self.primary, residual=self.residual, padding=32)


class SvsLvq8(SvsLvq):
    primary, residual = 8, 0
    settings = "Vamana LVQ8, MIP, degree 32, window 200, alpha 0.95"


class SvsLeanVec(SvsLvq):
    settings = "Vamana LeanVec to half the dimensions, lvq8 and lvq8, MIP, degree 32, window 200, alpha 0.95"

    def data(self, base: np.ndarray) -> Any:
        kind = svs.LeanVecKind.lvq8
        return svs.LeanVecLoader(self.file(base), self.dimension // 2, primary_kind=kind, secondary_kind=kind)
