"""One index in a process of its own: reads commands, one JSON object a line, and answers each with one line.

compare.py starts it; by hand:  echo '{"do":"build"}' | python worker.py --row hnswlib --folder build/peers/data/NAME
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from typing import Any, Optional

import numpy as np

import machine
import measure
import rows
from rows.base import Row

K = 10
WARM = 1000  # rows of an index that is built before memory is looked at


class Share:
    """How much of its core this process has had since this was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def taken(self) -> float:
        return (time.process_time() - self.cpu) / (time.perf_counter() - self.wall)


class Worker:
    def __init__(self, row: type[Row], folder: str) -> None:
        self.kind = row
        self.folder = folder
        self.queries = np.load(os.path.join(folder, "queries.npy"))
        self.truth = np.load(os.path.join(folder, "truth.npy"))[:, :K]
        if row.max_queries:
            self.queries, self.truth = self.queries[: row.max_queries], self.truth[: row.max_queries]
        self.row: Optional[Row] = None

    def base(self) -> np.ndarray:
        loaded: np.ndarray = np.load(
            os.path.join(self.folder, "base.npy"), mmap_mode="c"
        )  # some libraries take writable arrays only
        return loaded

    def make(self, rows_wanted: int, k: int, threads: int) -> tuple[Row, dict[str, float]]:
        base = np.asarray(self.base()[:rows_wanted]) if rows_wanted else np.asarray(self.base())
        row = self.kind(base.shape[1], len(base), k, self.folder)
        return row, row.build(base, threads)

    def overhead(self, size: int) -> dict[str, Any]:
        """Microseconds of a call on an index of so few vectors. In a worker of its own: not every library survives it."""
        row, _ = self.make(size, 1, 1)
        measure.pin(1, row.processes())
        row.set_knob(row.ladder[0])
        _, times, _ = row.time_one(self.queries[:500], 0.05)
        row.close()
        return {"us": float(np.median(times)) / 1e3}

    def build(self, threads: int) -> dict[str, Any]:
        measure.pin(threads)
        warm, _ = self.make(
            WARM, K, threads
        )  # what the library loads on first use shall not count as the index's memory
        warm.close()
        del warm
        before = measure.resident()
        ticks, cpu = machine.ticks(), time.process_time()
        self.row, seconds = self.make(0, K, threads)
        others = machine.others(ticks, time.process_time() - cpu) if not self.row.processes() else None
        after = measure.resident(self.row.processes())
        count, dimension = self.base().shape
        inside = self.row.rows()
        if inside is not None and inside < count:
            self.truth = measure.nearest(np.asarray(self.base()[:inside]), self.queries, K)
        return {
            "seconds": seconds,
            "others": others,
            "bytes": after - before,
            "raw_bytes": (inside or count) * dimension * 4,
            "rows": inside or count,
            "dimension": dimension,
            "queries": len(self.queries),
            "version": self.row.version(),
            "settings": self.row.settings,
            "knob": self.row.knob_name,
            "ladder": list(self.row.ladder),
            "integer_knob": self.row.integer_knob,
            "facts": self.row.facts(),
        }

    def ready(self, knob: float, threads: int) -> Row:
        assert self.row is not None, "build first"
        measure.pin(threads, self.row.processes())
        self.row.set_knob(knob)
        return self.row

    def recall(self, knob: float) -> dict[str, Any]:
        """How right the answers are, as quickly as it can be found out."""
        row = self.ready(knob, 1)
        found = row.time_batch(self.queries, 1, 0)
        ids = found[0] if found else row.time_one(self.queries, 0)[0]
        return {"recall": measure.recall(ids, self.truth, K)}

    def measure(self, knob: float, seconds: float) -> dict[str, Any]:
        row = self.ready(knob, 1)
        row.time_one(self.queries[:100], 0)  # warm
        before = row.statistics()
        clock = Share()
        answers, times, elapsed = row.time_one(self.queries, seconds)
        share = clock.taken()
        after = row.statistics()
        clock = Share()  # of its own: peers are credited with the better of the two
        many = row.time_batch(self.queries, 1, seconds)
        if many:
            share = min(share, clock.taken())
        return {
            "knob": knob,
            "recall": measure.recall(answers, self.truth, K),
            "one_qps": len(times) / elapsed,
            "p50_us": float(np.percentile(times, 50)) / 1e3,
            "p99_us": float(np.percentile(times, 99)) / 1e3,
            "batch_qps": many[1] if many else None,
            "batch_recall": measure.recall(many[0], self.truth, K) if many else None,
            "own_share": share if not row.processes() else None,
            "per_query": {name: (value - before[name]) / len(times) for name, value in after.items()},
        }

    def threads(self, knob: float, seconds: float, threads: int) -> dict[str, Any]:
        """The batch call on one thread and on several, one right after the other."""
        row = self.ready(knob, 1)
        single = row.time_batch(self.queries, 1, seconds)
        if single is None:
            _, times, elapsed = row.time_one(self.queries, seconds)
            single_qps = len(times) / elapsed
        else:
            single_qps = single[1]
        row = self.ready(knob, threads)
        row.time_batch(self.queries[:100], threads, 0)
        many = row.time_batch(self.queries, threads, seconds)
        return {"knob": knob, "one": single_qps, "many": many[1] if many else None}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        action = command.pop("do")
        if action not in ("build", "recall", "measure", "threads", "overhead"):
            raise ValueError(f"no such command: {action}")
        result: dict[str, Any] = getattr(self, action)(**command)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", required=True, help="name of a row (rows/__init__.py)")
    parser.add_argument("--folder", required=True, help="prepared set: base.npy, queries.npy, truth.npy")
    options = parser.parse_args()

    # Libraries print what they like to descriptor 1; the answers go where it led before.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    try:
        worker = Worker(rows.BY_NAME[options.row].load(), options.folder)
    except Exception as error:  # noqa: BLE001 - the reason is what the other side wants
        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say({"ready": True})
    for line in sys.stdin:
        try:
            say(worker.answer(json.loads(line)))
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"})
    if worker.row:
        worker.row.close()


if __name__ == "__main__":
    main()
