"""The rows of the comparison, by name. Libraries are imported in the worker of a row only."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Row


@dataclass(frozen=True)
class Entry:
    name: str
    title: str  # in tables and plots
    module: str
    class_name: str
    ours: bool = False
    extra: bool = False  # only when asked for by name
    plotted: bool = True
    slow: bool = False  # measured in the first round only
    environment: dict[str, str] = field(default_factory=dict)

    def load(self) -> "type[Row]":
        loaded: type[Row] = getattr(importlib.import_module(f"rows.{self.module}"), self.class_name)
        return loaded


ENTRIES: tuple[Entry, ...] = (
    Entry("vectord", "vectord", "vectord_row", "Vectord", ours=True),
    Entry("vectord-ef", "vectord, ef", "vectord_row", "VectordEf", ours=True, plotted=False),
    Entry("vectord-plain", "vectord, not optimized", "vectord_row", "VectordPlain", ours=True),
    Entry("vectord-sq8", "vectord sq8", "vectord_row", "VectordSq8", ours=True, plotted=False),
    Entry("vectord-sq4", "vectord sq4", "vectord_row", "VectordSq4", ours=True, plotted=False),
    Entry("vectord-f32", "vectord f32", "vectord_row", "VectordF32", ours=True, plotted=False),
    Entry(
        "vectord-avx2",
        "vectord, AVX2 only",
        "vectord_row",
        "Vectord",
        ours=True,
        plotted=False,
        environment={"VECTORD_CPU": "avx2"},
    ),
    Entry("hnswlib", "hnswlib", "hnswlib_row", "Hnswlib"),
    Entry("faiss", "Faiss HNSW", "faiss_row", "FaissFlat"),
    Entry("faiss-sq8", "Faiss HNSW SQ8", "faiss_row", "FaissSq8"),
    Entry("usearch", "USearch f32", "usearch_row", "UsearchF32"),
    Entry("usearch-i8", "USearch i8", "usearch_row", "UsearchI8"),
    Entry("voyager", "Voyager", "voyager_row", "Voyager"),
    Entry("svs", "SVS Vamana", "svs_row", "SvsF32"),
    Entry("svs-lvq", "SVS LVQ4x8", "svs_row", "SvsLvq"),
    Entry("svs-lvq8", "SVS LVQ8", "svs_row", "SvsLvq8"),
    Entry("vsag", "VSAG sq8", "vsag_row", "VsagSq8"),
    Entry("alayalite", "AlayaLite RaBitQ", "alaya_row", "AlayaRabitq"),
    Entry("coder", "coder/hnsw", "coder_row", "Coder", slow=True, plotted=False),
    # Other settings of the same libraries, to see that the ones above are their best.
    Entry("svs-leanvec", "SVS LeanVec", "svs_row", "SvsLeanVec", extra=True),
)

BY_NAME: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}


def choose(names: str) -> list[Entry]:
    """`names`: rows, or the words ours, peers and all, separated by commas. An unknown one is an error that lists them."""
    chosen: list[Entry] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in ("all", "ours", "peers"):
            found = [e for e in ENTRIES if not e.extra and (name == "all" or e.ours == (name == "ours"))]
        elif name in BY_NAME:
            found = [BY_NAME[name]]
        else:
            raise ValueError(f"there is no row {name!r}: choose from all, ours, peers, {', '.join(BY_NAME)}")
        chosen += [entry for entry in found if entry not in chosen]
    return chosen
