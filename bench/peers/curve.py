"""Which settings to measure, and what lies between two of them."""

from __future__ import annotations

import math
import statistics
from typing import Any, Callable, Optional, Sequence

TARGETS = (0.95, 0.99)
LOWEST, HIGHEST = 0.90, 0.995  # a curve reaches beyond both where the index can
CLOSE = {0.95: 0.012, 0.99: 0.004}  # recall between the two settings around a target


def between(low: float, high: float, integer: bool) -> float:
    """A setting in the middle: of two sizes by ratio, of two recalls by what they leave out."""
    if integer:
        return float(round(math.sqrt(low * high)))
    return round(1 - math.sqrt((1 - low) * (1 - high)), 5)


def around(points: Sequence[tuple[float, float]], target: float) -> Optional[int]:
    """Index of the first of (knob, recall) at or above the target whose predecessor lies below."""
    for i in range(1, len(points)):
        if points[i - 1][1] < target <= points[i][1]:
            return i
    return None


def sweep(ladder: Sequence[float], integer: bool, recall_at: Callable[[float], float]) -> list[tuple[float, float]]:
    """Settings and their recall, from the last below LOWEST to the first above HIGHEST, closer together around the targets."""
    points: list[tuple[float, float]] = []
    idle = 0
    for knob in ladder:
        recall = recall_at(knob)
        idle = idle + 1 if integer and points and recall - points[-1][1] < 0.001 else 0  # larger sizes find no more
        points.append((knob, recall))
        if recall > HIGHEST or idle == 2:
            break
    while len(points) > 2 and points[2][1] < LOWEST and points[-1][1] >= LOWEST:
        points.pop(0)
    for target in TARGETS:
        for _ in range(3):
            i = around(points, target)
            if i is None or points[i][1] - points[i - 1][1] <= CLOSE[target]:
                break
            middle = between(points[i - 1][0], points[i][0], integer)
            if middle in (points[i - 1][0], points[i][0]):
                break
            points.insert(i, (middle, recall_at(middle)))
    return points


def decisive(points: Sequence[tuple[float, float]]) -> set[float]:
    """The settings that the figures at the targets lie between."""
    return {points[j][0] for target in TARGETS if (i := around(points, target)) is not None for j in (i - 1, i)}


def value_at(points: Sequence[dict[str, Any]], target: float, field: str) -> Optional[float]:
    """A time, or whatever else grows with recall, at exactly this recall: linear between the two settings around it."""
    known = [(p["recall"], p[field]) for p in points if p.get(field) is not None]
    for (recall_low, low), (recall_high, high) in zip(known, known[1:]):
        if recall_low < target <= recall_high:
            return float(low + (high - low) * (target - recall_low) / (recall_high - recall_low))
    if known and known[0][0] >= target:  # even the cheapest setting is better than that
        return float(known[0][1])
    return None


def rate_at(points: Sequence[dict[str, Any]], target: float, field: str) -> Optional[float]:
    """Queries a second at exactly this recall, by the time of a query."""
    times = [{"recall": p["recall"], "time": 1 / p[field] if p.get(field) else None} for p in points]
    time = value_at(times, target, "time")
    return 1 / time if time else None


def knob_at(points: Sequence[dict[str, Any]], target: float) -> Optional[float]:
    """The first setting that reaches the target."""
    return next((p["knob"] for p in points if p["recall"] >= target), None)


def medians(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """One measurement out of several of the same setting, field by field."""
    merged: dict[str, Any] = {}
    for field, first in samples[0].items():
        values = [sample[field] for sample in samples]
        if isinstance(first, dict):
            merged[field] = medians(values)
        else:
            merged[field] = None if None in values else statistics.median(values)
    return merged
