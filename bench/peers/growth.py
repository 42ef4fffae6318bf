"""vectord alone on ever more rows: what a query costs, and what holding and building cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import curve
import rows
import sets
from session import Failed, Session

THREADS = 2
QUERIES = 500


def prepared(cache: Path, small: bool) -> list[tuple[str, sets.Set]]:
    """Real rows of the first set that has many, and clusters that a seed makes."""
    found: list[tuple[str, sets.Set]] = []
    name = next((name for name in sets.available() if "384" in name), sets.available()[0])
    whole = sets.prepare(name, cache)
    for count in (2_500, 5_000) if small else (10_000, 30_000, 100_000):
        if count <= whole.rows:
            found.append(("packages", sets.prepare(name, cache, count if count < whole.rows else 0)))
    for count in (20_000,) if small else (100_000, 1_000_000):
        found.append(("clusters", sets.synthetic(cache, count, 128, QUERIES)))
    return found


def measure(
    cache: Path, small: bool, repeat: int, seconds: float, say: Callable[[str], None], lost: Callable[[str, str], None]
) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for kind, data in prepared(cache, small):
        say(f"growth: {data.rows:,} x {data.dimension} {kind}")
        try:
            session = Session(rows.BY_NAME["vectord"], data.folder, cache / "logs" / f"growth-{data.folder.name}.log")
            built = session.ask(3600, do="build", threads=THREADS)
            knobs = [knob for knob, _ in curve.sweep(built["ladder"], built["integer_knob"], session.recall_at)]
            rounds = [
                [session.ask(600, do="measure", knob=knob, seconds=seconds) for knob in knobs] for _ in range(repeat)
            ]
            session.close()
        except Failed as reason:
            lost(f"growth at {data.rows:,} x {data.dimension}", str(reason))
            continue
        points_here = [curve.medians([one[i] for one in rounds]) for i in range(len(knobs))]
        for point in points_here:
            point["distances"] = point["per_query"].get("distances")
        rates = {str(target): curve.rate_at(points_here, target, "one_qps") for target in curve.TARGETS}
        distances = {str(target): curve.value_at(points_here, target, "distances") for target in curve.TARGETS}
        points.append(
            {
                "kind": kind,
                "rows": data.rows,
                "dimension": data.dimension,
                "qps": rates,
                "distances": distances,
                "seconds": built["seconds"],
                "bytes": built["bytes"],
                "raw_bytes": built["raw_bytes"],
                "curve": points_here,
            }
        )
        say(f"  {rates}")
    return points
