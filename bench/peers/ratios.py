"""What is aimed at, as ratios of one run's figures, and which of them it reached."""

from __future__ import annotations

from typing import Any, Iterable, Optional

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


def quotient(above: Optional[float], below: Optional[float]) -> Optional[float]:
    return above / below if above and below else None


def checks(results: dict[str, Any]) -> list[tuple[str, str, Optional[float], float]]:
    """What, at which recall, measured, aimed at."""
    small, large = Figures(results, 384), Figures(results, 768)
    rows: list[tuple[str, str, Optional[float], float]] = []
    for target, goals in ((0.95, (8, 5, 8, 9, 2.5, 2, 4)), (0.99, (10, 5, 12, 13, 3, 2.5, 4))):
        reference = small.one(HNSWLIB, target)
        best_large, encoding = large.best(ENCODINGS, target)
        peer_small, peer_small_name = small.best(small.peers(), target)
        peer_large, peer_large_name = large.best(large.peers(), target)
        ours = small.one(DEFAULT, target)
        measured = (
            ("384-d, one query, vectord / hnswlib", quotient(ours, reference)),
            ("384-d, plain ef without second pass / hnswlib", quotient(small.one("vectord-plain", target), reference)),
            (f"768-d, best encoding ({encoding}) / hnswlib", quotient(best_large, large.one(HNSWLIB, target))),
            (
                "384-d, batch on one thread / hnswlib's",
                quotient(small.batch(DEFAULT, target), small.batch(HNSWLIB, target)),
            ),
            (f"384-d, one query / best peer ({peer_small_name})", quotient(ours, peer_small)),
            (f"768-d, best encoding ({encoding}) / best peer ({peer_large_name})", quotient(best_large, peer_large)),
            ("384-d, AVX2 only / hnswlib", quotient(small.one("vectord-avx2", target), reference)),
        )
        rows += [(what, f"{target:.2f}", value, goal) for (what, value), goal in zip(measured, goals)]
    build = small.seconds(HNSWLIB)
    rows += [
        (
            "384-d, building on 2 threads, before the second pass: hnswlib / vectord",
            "",
            quotient(build, small.seconds(DEFAULT, "add")),
            4,
        ),
        (
            "384-d, building on 2 threads, with it: hnswlib / vectord",
            "",
            quotient(build, small.seconds(DEFAULT, "add", "optimize")),
            1.8,
        ),
        ("384-d, vectord on two threads / on one", "", small.scaling(DEFAULT), 1.8),
    ]
    return rows


def page(results: dict[str, Any]) -> str:
    lines = ["## Ratios", "", "| ratio | recall | measured | aimed at | |", "|---|---|---|---|---|"]
    for what, recall, value, goal in checks(results):
        verdict = "not measured" if value is None else "reached" if value >= goal else "**not reached**"
        lines.append(f"| {what} | {recall} | {table.number(value, 2)} | {goal:g} | {verdict} |")
    return "\n".join(lines) + "\n"
