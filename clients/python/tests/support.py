"""What the tests share: deterministic vectors, the answers that numpy gives, a folder for files."""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
FRAMES = ROOT / "tests" / "data" / "lhv1"
DIMENSION = 16


def vectors(count: int, dimension: int = DIMENSION, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)


def nearest(base: np.ndarray, query: np.ndarray, k: int, distance: str = "cosine") -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and distances, by measuring everything in float64."""
    x, q = base.astype(np.float64), query.astype(np.float64)
    if distance == "cosine":
        distances = 1 - (x @ q) / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))
    else:
        distances = np.linalg.norm(x - q, axis=1)
    order = np.argsort(distances, kind="stable")[:k]
    return order, distances[order]


class FolderTest(unittest.TestCase):
    """A test with a folder of its own, `self.folder`."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR"))
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
