"""What is aimed at, as ratios of one run's figures, and which of them it reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Optional, Sequence

import curve
import table

HNSWLIB, DEFAULT = "hnswlib", "vectord"
ENCODINGS = ("vectord", "vectord-sq8", "vectord-sq4", "vectord-f32")
NOT_COMPARED = ("coder",)  # on fewer queries, and never at these recalls


class Figures:
    """The figures of one dimension; None where something was not measured."""

    def __init__(self, results: dict[str, Any], dimension: int) -> None:
        found = [one for one in results["sets"].values() if one["dimension"] == dimension]
        self.indexes: dict[str, Any] = found[0]["indexes"] if found else {}

    def one(self, name: str, target: float) -> Optional[float]:
        return table.one_query(self.indexes[name], target) if name in self.indexes else None

    def batch(self, name: str, target: float) -> Optional[float]:
        return curve.rate_at(self.indexes[name]["curve"], target, "batch_qps") if name in self.indexes else None

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
    value: Optional[float]
    goal: float
    rows: list[dict[str, Any]]  # whose figures these are

    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        said = "reached" if self.value >= self.goal else "**not reached**"
        unquiet = [row["title"] for row in self.rows if table.disturbed(row)]
        return said + (f", but other programs disturbed {' and '.join(unquiet)}" if unquiet else "")


def quotient(above: Optional[float], below: Optional[float]) -> Optional[float]:
    return above / below if above and below else None


def at(target: float, goals: Sequence[float], small: Figures, large: Figures) -> list[Check]:
    """The ratios of speed at one recall."""
    reference, large_reference = small.one(HNSWLIB, target), large.one(HNSWLIB, target)
    best_large, encoding = large.best(ENCODINGS, target)
    peer_small, small_name = small.best(small.peers(), target)
    peer_large, large_name = large.best(large.peers(), target)
    ours, plain, narrow = (small.one(name, target) for name in (DEFAULT, "vectord-plain", "vectord-avx2"))
    batches = quotient(small.batch(DEFAULT, target), small.batch(HNSWLIB, target))
    best = f"768-d, best encoding ({encoding})"
    found: list[tuple[str, Optional[float], Figures, tuple[str, str]]] = [
        ("384-d, one query, vectord / hnswlib", quotient(ours, reference), small, (DEFAULT, HNSWLIB)),
        (
            "384-d, plain ef without second pass / hnswlib",
            quotient(plain, reference),
            small,
            ("vectord-plain", HNSWLIB),
        ),
        (f"{best} / hnswlib", quotient(best_large, large_reference), large, (encoding, HNSWLIB)),
        ("384-d, batch on one thread / hnswlib's", batches, small, (DEFAULT, HNSWLIB)),
        (f"384-d, one query / best peer ({small_name})", quotient(ours, peer_small), small, (DEFAULT, small_name)),
        (f"{best} / best peer ({large_name})", quotient(best_large, peer_large), large, (encoding, large_name)),
        ("384-d, AVX2 only / hnswlib", quotient(narrow, reference), small, ("vectord-avx2", HNSWLIB)),
    ]
    return [
        Check(what, f"{target:.2f}", value, goal, figures.of(names))
        for (what, value, figures, names), goal in zip(found, goals)
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
        Check("384-d, vectord on two threads / on one", "", small.scaling(DEFAULT), 1.8, small.of((DEFAULT,))),
    ]


def page(results: dict[str, Any]) -> str:
    lines = ["## Ratios", "", "| ratio | recall | measured | aimed at | |", "|---|---|---|---|---|"]
    for check in checks(results):
        value = table.number(check.value, 2)
        lines.append(f"| {check.what} | {check.recall} | {value} | {check.goal:g} | {check.verdict()} |")
    return "\n".join(lines) + "\n"
