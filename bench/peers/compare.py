"""Puts vectord's engine beside its peers: the same rows, the same queries, the same core, one after another, in one go.

run.sh makes everything ready and calls this; see README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import curve
import growth
import machine
import plot
import ratios
import rows
import sets
import table
from session import Failed, Session

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
THREADS = 2
WARM = 1000  # rows that every library can hold
BUILD_SECONDS, ANSWER_SECONDS = 1800.0, 600.0  # after so long a worker is given up


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10,000 rows, 500 queries, one round: does it run?")
    parser.add_argument(
        "--only",
        default="all",
        metavar="NAMES",
        help="rows, separated by commas: all, ours, peers, " + ", ".join(rows.BY_NAME),
    )
    parser.add_argument(
        "--sets", metavar="NAMES", help="parts of names, separated by commas: 384,768 (all that VECTORD_BENCH_DATA has)"
    )
    parser.add_argument(
        "--repeat", type=int, default=5, metavar="N", help="rounds over all rows; medians are reported (5)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.25,
        metavar="S",
        help="of each figure in each round, but all queries at least once (0.25)",
    )
    parser.add_argument("--growth", action="store_true", help="also vectord alone on 10k to 1M rows")
    parser.add_argument("--growth-only", action="store_true", help="nothing but that")
    parser.add_argument(
        "--exact-ratio", action="store_true", help="also print which of the ratios that are aimed at were reached"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="plots (docs/img; in the cache with --quick, --only or --from)"
    )
    parser.add_argument("--results", type=Path, metavar="DIR", help="results.json and results.md (the cache)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=ROOT / "build" / "peers",
        metavar="DIR",
        help="environment, data, logs (build/peers)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="measure nothing: tables and plots of an earlier results.json",
    )
    chosen = parser.parse_args()
    if chosen.repeat < 1:
        parser.error("--repeat: at least 1")
    if chosen.quick:
        chosen.repeat, chosen.seconds = 1, 0.1
    try:
        chosen.rows = rows.choose(chosen.only)
        chosen.set_names = [] if chosen.growth_only or chosen.source else sets.choose(chosen.sets)
    except ValueError as error:
        parser.error(str(error))
    part = chosen.quick or chosen.only != "all" or chosen.source
    chosen.out = chosen.out or (chosen.cache / "img" if part else ROOT / "docs" / "img")
    chosen.results = chosen.results or chosen.cache / "results"
    return chosen


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


@dataclass
class Contender:
    """An index that was built and waits for its turns."""

    entry: rows.Entry
    session: Session
    built: dict[str, Any]
    decisive: set[float]
    rounds: list[list[dict[str, Any]]] = field(default_factory=list)
    threads: list[dict[str, Any]] = field(default_factory=list)
    failed: bool = False

    def result(self) -> dict[str, Any]:
        samples: dict[float, list[dict[str, Any]]] = {}
        for points in self.rounds:
            for point in points:
                samples.setdefault(point["knob"], []).append(point)
        points = [curve.medians(samples[knob]) for knob in self.built["knobs"] if knob in samples]
        return {**self.built, "curve": points, "threads": curve.medians(self.threads), "rounds": self.rounds}


class Run:
    def __init__(self, chosen: argparse.Namespace) -> None:
        self.options = chosen
        self.results: dict[str, Any] = {
            "machine": machine.facts(),
            "repeat": chosen.repeat,
            "quick": chosen.quick,
            "sets": {},
            "missing": self.not_built(),
        }

    def not_built(self) -> list[dict[str, str]]:
        """What run.sh could not make ready: name, tab, reason, a line each."""
        file = self.options.cache / "missing"
        lines = file.read_text().splitlines() if file.exists() else []
        return [dict(zip(("name", "reason"), line.split("\t", 1))) for line in lines]

    def lost(self, name: str, reason: str) -> None:
        say(f"  {name}: {reason}")
        self.results["missing"].append({"name": name, "reason": reason})

    def start(self, entry: rows.Entry, data: sets.Set) -> Optional[Contender]:
        """Builds one index and finds the settings of its curve."""
        session: Optional[Session] = None
        try:
            session = Session(entry, data.folder, self.options.cache / "logs" / f"{data.folder.name}-{entry.name}.log")
            built = session.ask(BUILD_SECONDS, do="build", threads=THREADS)
            settings = curve.sweep(built["ladder"], built["integer_knob"], session.recall_at)
            built["overhead_us"] = self.overhead(entry, data)
        except Failed as reason:
            self.lost(f"{entry.name} on {data.name}", str(reason))
            if session:
                session.close()
            return None
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in built["seconds"].items())
        memory = built["bytes"] / built["raw_bytes"]
        call = f"{built['overhead_us']:.1f} us" if built["overhead_us"] else "not known"
        say(f"  {entry.name}: {stages}; {memory:.2f} x raw; a call {call}; {len(settings)} settings")
        built.update(title=entry.title, ours=entry.ours, plotted=entry.plotted, knobs=[knob for knob, _ in settings])
        return Contender(entry, session, built, curve.decisive(settings))

    def overhead(self, entry: rows.Entry, data: sets.Set) -> Optional[float]:
        """Microseconds of a call that has next to nothing to search, as far as the library can hold next to nothing."""
        for size in (1, WARM):
            session: Optional[Session] = None
            try:
                session = Session(
                    entry, data.folder, self.options.cache / "logs" / f"{data.folder.name}-{entry.name}-{size}.log"
                )
                return float(session.ask(20, do="overhead", size=size)["us"])
            except Failed:
                continue
            finally:
                if session:
                    session.close()
        return None

    def measure(self, one: Contender, turn: int) -> None:
        """All settings in the first and the last round, those that the figures hang on in every one."""
        seconds, last = self.options.seconds, self.options.repeat - 1
        knobs = [knob for knob in one.built["knobs"] if turn in (0, last) or knob in one.decisive or not one.decisive]
        points = [one.session.ask(ANSWER_SECONDS, do="measure", knob=knob, seconds=seconds) for knob in knobs]
        knob = curve.knob_at(points, curve.TARGETS[0]) or knobs[-1]
        threads = one.session.ask(ANSWER_SECONDS, do="threads", knob=knob, seconds=seconds, threads=THREADS)
        one.rounds.append(points)
        one.threads.append(threads)
        rates = (f"{target}: {table.number(curve.rate_at(points, target, 'one_qps'))}" for target in curve.TARGETS)
        say(f"  round {turn + 1}/{self.options.repeat}  {one.entry.name:15} {', '.join(rates)} /s")

    def compare(self, data: sets.Set) -> None:
        shape = f"{data.rows:,} x {data.dimension}, {data.queries:,} queries"
        say(f"{data.folder.name}: {shape}; building on {THREADS} threads")
        started = [self.start(entry, data) for entry in self.options.rows]
        contenders = [one for one in started if one]
        for turn in range(self.options.repeat):
            for one in contenders if turn % 2 == 0 else contenders[::-1]:
                if one.failed or (turn and one.entry.slow):
                    continue
                try:
                    self.measure(one, turn)
                except Failed as reason:
                    one.failed = True
                    self.lost(f"{one.entry.name} on {data.name}, round {turn + 1}", str(reason))
                time.sleep(0.2)  # threads of a library that spin before they sleep
        found: dict[str, Any] = {}
        for one in contenders:
            one.session.close()
            if one.rounds:
                found[one.entry.name] = one.result()
        self.results["sets"][data.name] = {
            "folder": data.folder.name,
            "rows": data.rows,
            "dimension": data.dimension,
            "queries": data.queries,
            "indexes": found,
        }

    def everything(self) -> None:
        began, before = time.time(), machine.ticks()
        small = self.options.quick
        for name in self.options.set_names:
            self.compare(sets.prepare(name, self.options.cache, *((10_000, 500) if small else (0, 0))))
            self.save()
        if self.options.growth or self.options.growth_only:
            self.results["growth"] = growth.measure(
                self.options.cache, small, self.options.repeat, self.options.seconds, say, self.lost
            )
        after = machine.ticks()
        self.results["minutes"] = round((time.time() - began) / 60, 1)
        self.results["machine"]["stolen"] = (after["stolen"] - before["stolen"]) / max(1, after["all"] - before["all"])
        self.save()

    def save(self) -> None:
        self.options.results.mkdir(parents=True, exist_ok=True)
        (self.options.results / "results.json").write_text(json.dumps(self.results, indent=1) + "\n")


def report(results: dict[str, Any], chosen: argparse.Namespace) -> None:
    text = table.page(results)
    if chosen.exact_ratio:
        text += "\n" + ratios.page(results)
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "results.md").write_text(text)
    print("\n" + text)
    chosen.out.mkdir(parents=True, exist_ok=True)
    written = plot.write(results, chosen.out)
    measured = [] if chosen.source else [chosen.results / "results.json"]
    for path in [*measured, chosen.results / "results.md", *written]:
        print(f"wrote {os.path.relpath(path)}")
    for gone in results["missing"]:
        print(f"missing: {gone['name']}: {gone['reason']}")


def main() -> None:
    chosen = options()
    if chosen.source:
        report(json.loads(chosen.source.read_text()), chosen)
        return
    run = Run(chosen)
    say(machine.sentence(run.results["machine"]))
    run.everything()
    report(run.results, chosen)
    if not run.results["sets"] and "growth" not in run.results:
        sys.exit(1)


if __name__ == "__main__":
    main()
