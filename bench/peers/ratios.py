"""What is aimed at, as ratios of one run's figures, and which of them it reached.

Speeds are compared within each round, where both were measured within minutes of one another; the median of these ratios is
what counts, and their range is printed beside it. Absolute rates on a machine with neighbours drift by half within an hour.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Optional, Sequence

import curve
import table

HNSWLIB, DEFAULT = "hnswlib", "vectord"
ENCODINGS = ("vectord", "vectord-sq8", "vectord-sq4", "vectord-f32")
NOT_COMPARED = ("coder",)  # on fewer queries, and never at these recalls


class Ratio:
    def __init__(self, rounds: Sequence[Optional[float]]) -> None:
        known = [one for one in rounds if one]
        self.value: Optional[float] = statistics.median(known) if known else None
        self.range = f"{min(known):.2f} to {max(known):.2f}" if len(known) > 1 else ""


class Figures:
    """The figures of one dimension; None where something was not measured."""

    def __init__(self, results: dict[str, Any], dimension: int) -> None:
        found = [one for one in results["sets"].values() if one["dimension"] == dimension]
        self.indexes: dict[str, Any] = found[0]["indexes"] if found else {}

    def one(self, name: str, target: float) -> Optional[float]:
        return table.one_query(self.indexes[name], target) if name in self.indexes else None

    def each(self, name: str, rate: Callable[[dict[str, Any]], Optional[float]]) -> list[Optional[float]]:
        """A rate in each round."""
        index = self.indexes.get(name)
        return [rate({"ours": index["ours"], "curve": points}) for points in index["rounds"]] if index else []

    def ratio(self, above: str, below: str, target: float, batch: bool = False) -> Ratio:
        """How many times faster `above` was, round by round."""

        def rate(index: dict[str, Any]) -> Optional[float]:
            return curve.rate_at(index["curve"], target, "batch_qps") if batch else table.one_query(index, target)

        return Ratio([a / b for a, b in zip(self.each(above, rate), self.each(below, rate)) if a and b])

    def best(self, names: Iterable[str], target: float) -> tuple[Optional[float], str]:
        rates = [(rate, name) for name in names if (rate := self.one(name, target))]
        return max(rates) if rates else (None, "nothing")

    def of(self, names: Iterable[str]) -> list[dict[str, Any]]:
        return [self.indexes[name] for name in names if name in self.indexes]

    def peers(self) -> list[str]:
        return [name for name, index in self.indexes.items() if not index["ours"] and name not in NOT_COMPARED]

    def seconds(self, name: str, *stages: str) -> Optional[float]:
        if name not in self.indexes:
            return None
        taken: dict[str, float] = self.indexes[name]["seconds"]
        return sum(taken[stage] for stage in stages or taken)

    def scaling(self, name: str) -> Optional[float]:
        threads = self.indexes[name]["threads"] if name in self.indexes else None
        return threads["many"] / threads["one"] if threads and threads["many"] else None


@dataclass
class Check:
    what: str
    recall: str
    ratio: Ratio
    goal: float
    rows: list[dict[str, Any]]  # whose figures these are

    def verdict(self) -> str:
        if self.ratio.value is None:
            return "not measured"
        said = "reached" if self.ratio.value >= self.goal else "**not reached**"
        unquiet = [row["title"] for row in self.rows if table.disturbed(row)]
        return said + (f", but other programs disturbed {' and '.join(unquiet)}" if unquiet else "")


def quotient(above: Optional[float], below: Optional[float]) -> Ratio:
    return Ratio([above / below] if above and below else [])


def at(target: float, goals: Sequence[float], small: Figures, large: Figures) -> list[Check]:
    """The ratios of speed at one recall."""
    _, encoding = large.best(ENCODINGS, target)
    _, small_name = small.best(small.peers(), target)
    _, large_name = large.best(large.peers(), target)
    best = f"768-d, best encoding ({encoding})"
    found: list[tuple[str, Figures, tuple[str, str], bool]] = [
        ("384-d, one query, vectord / hnswlib", small, (DEFAULT, HNSWLIB), False),
        ("384-d, plain ef without second pass / hnswlib", small, ("vectord-plain", HNSWLIB), False),
        (f"{best} / hnswlib", large, (encoding, HNSWLIB), False),
        ("384-d, batch on one thread / hnswlib's", small, (DEFAULT, HNSWLIB), True),
        (f"384-d, one query / best peer ({small_name})", small, (DEFAULT, small_name), False),
        (f"{best} / best peer ({large_name})", large, (encoding, large_name), False),
        ("384-d, AVX2 only / hnswlib", small, ("vectord-avx2", HNSWLIB), False),
    ]
    return [
        Check(what, f"{target:.2f}", figures.ratio(*names, target, batch), goal, figures.of(names))
        for (what, figures, names, batch), goal in zip(found, goals)
    ]


def checks(results: dict[str, Any]) -> list[Check]:
    small, large = Figures(results, 384), Figures(results, 768)
    build, added = small.seconds(HNSWLIB), small.seconds(DEFAULT, "add")
    whole = small.seconds(DEFAULT, "add", "optimize")
    both = small.of((DEFAULT, HNSWLIB))
    building = "384-d, building on 2 threads, {}: hnswlib / vectord"
    return [
        *at(0.95, (8, 5, 8, 9, 2.5, 2, 4), small, large),
        *at(0.99, (10, 5, 12, 13, 3, 2.5, 4), small, large),
        Check(building.format("before the second pass"), "", quotient(build, added), 4, both),
        Check(building.format("with it"), "", quotient(build, whole), 1.8, both),
        Check("384-d, vectord on two threads / on one", "", Ratio([small.scaling(DEFAULT)]), 1.8, small.of((DEFAULT,))),
    ]


def page(results: dict[str, Any]) -> str:
    lines = ["## Ratios", "", "Speeds: the median of the rounds' ratios.", ""]
    lines += ["| ratio | recall | measured | rounds | aimed at | |", "|---|---|---|---|---|---|"]
    for check in checks(results):
        value = table.number(check.ratio.value, 2)
        lines.append(
            f"| {check.what} | {check.recall} | {value} | {check.ratio.range} | {check.goal:g} | {check.verdict()} |"
        )
    return "\n".join(lines) + "\n"
