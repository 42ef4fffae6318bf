"""What a worker measures with: which cores it may use, how much memory it holds, how right the answers are."""

from __future__ import annotations

import ctypes
import gc
import os
from typing import Any, Iterable, Optional

import numpy as np


def cores(threads: int) -> list[int]:
    """The last `threads` of the processor's cores that this process was started on: the first ones serve interrupts."""
    return sorted(STARTED_ON)[-threads:]


STARTED_ON = os.sched_getaffinity(0)


def pin(threads: int, processes: Iterable[int] = ()) -> None:
    """Keeps every thread of this process, and of the given ones, on as many cores as it may use threads."""
    wanted = cores(threads)
    for process in (os.getpid(), *processes):
        for thread in os.listdir(f"/proc/{process}/task"):
            try:
                os.sched_setaffinity(int(thread), wanted)
            except OSError:  # it ended meanwhile
                pass


def resident(processes: Iterable[int] = ()) -> int:
    """Bytes in memory of this process and the given ones, after giving back what is free."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim:
        trim(0)
    total = 0
    for process in (os.getpid(), *processes):
        with open(f"/proc/{process}/status") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) * 1024
    return total


def recall(found: Any, truth: np.ndarray, k: int) -> float:
    """Share of the true k nearest among the first k answers, by id; `found` has a row of ids for each query."""
    hits = sum(len(set(map(int, ids[:k])) & set(map(int, true[:k]))) for ids, true in zip(found, truth))
    return hits / (len(truth) * k)


def nearest(base: np.ndarray, queries: np.ndarray, k: int, block: int = 100_000) -> np.ndarray:
    """The k nearest by inner product, exact, in blocks of rows."""
    best_ids: Optional[np.ndarray] = None
    best: Optional[np.ndarray] = None
    for first in range(0, len(base), block):
        scores = queries @ base[first : first + block].T
        ids = np.argpartition(-scores, min(k, scores.shape[1] - 1), axis=1)[:, :k]
        scores = np.take_along_axis(scores, ids, axis=1)
        ids = ids + first
        if best is not None and best_ids is not None:
            scores, ids = np.hstack([best, scores]), np.hstack([best_ids, ids])
        order = np.argsort(-scores, axis=1)[:, :k]
        best, best_ids = np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
    assert best_ids is not None
    return best_ids.astype(np.int32)
