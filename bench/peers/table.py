"""The results as a page of markdown."""

from __future__ import annotations

from typing import Any, Optional

import curve
import machine

QUIET = 0.93  # share of the machine that a figure needs to be believed


def number(value: Optional[float], digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def share(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.0%}"


def one_query(index: dict[str, Any], target: float) -> Optional[float]:
    """What counts as "one query": ours in single calls from Python; a peer's better one of that and all queries in one call on one
    thread, so that nothing of Python counts against it."""
    single = curve.rate_at(index["curve"], target, "one_qps")
    if index["ours"]:
        return single
    many = curve.rate_at(index["curve"], target, "batch_qps")
    return max((rate for rate in (single, many) if rate), default=None)


def spread(index: dict[str, Any], target: float) -> Optional[float]:
    """Half of what the rounds differ by, as a share of their middle, in what counts as "one query"."""
    each = (one_query({"ours": index["ours"], "curve": points}, target) for points in index["rounds"])
    rates = [rate for rate in each if rate]
    return (max(rates) - min(rates)) / (max(rates) + min(rates)) if len(rates) > 1 else None


def own_core(index: dict[str, Any]) -> Optional[float]:
    """The least share of its core that the measuring thread had at any setting, in single calls or in one call with all
    queries: the rest went to other processes."""
    shares = [point["own_share"] for point in index["curve"] if point["own_share"] is not None]
    return min(1.0, min(shares)) if shares else None


def disturbed(index: dict[str, Any]) -> bool:
    """Whether other programs had so much of the machine meanwhile that the figures are worth little."""
    return (own_core(index) or 1) < QUIET or (index["others"] or 0) > 1 - QUIET


def reached(index: dict[str, Any], target: float) -> str:
    """Why a figure is missing, or is one of a better recall."""
    recalls = [point["recall"] for point in index["curve"]]
    if max(recalls) < target:
        return f" (recall {max(recalls):.3f} at most)"
    return f" (recall {recalls[0]:.3f} at least)" if recalls[0] > target + 0.001 else ""


def build_seconds(index: dict[str, Any]) -> str:
    seconds: dict[str, float] = index["seconds"]
    if not index["ours"]:
        return number(sum(seconds.values()), 1)
    return " + ".join(number(value, 1) for value in seconds.values())


def titled(index: dict[str, Any]) -> str:
    """With the encoding that was chosen, where that was left to vectord."""
    encoding = index["facts"].get("encoding")
    return str(index["title"]) + (f" ({encoding})" if encoding and encoding not in index["title"] else "")


def set_table(found: dict[str, Any]) -> list[str]:
    at_target = "one query /s at {} | p50 us | p99 us | batch /s"
    columns = ["index", *(at_target.format(target) for target in curve.TARGETS)]
    columns += ["build s", "memory / raw", "2 threads / 1", "a call us", "rounds", "own core", "others, build"]
    head = f"| {' | '.join(columns)} |"
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for index in sorted(found["indexes"].values(), key=lambda i: -(one_query(i, 0.95) or 0)):
        cells = [("**" + titled(index) + "**") if index["ours"] else index["title"]]
        for target in curve.TARGETS:
            points = index["curve"]
            cells += [
                number(one_query(index, target)) + reached(index, target),
                number(curve.value_at(points, target, "p50_us")),
                number(curve.value_at(points, target, "p99_us")),
                number(curve.rate_at(points, target, "batch_qps")),
            ]
        threads, variation = index["threads"], spread(index, 0.95)
        scale = f"{threads['many'] / threads['one']:.2f}" if threads["many"] else "-"
        cells += [
            build_seconds(index),
            f"{index['bytes'] / index['raw_bytes']:.2f}",
            scale,
            number(index["overhead_us"], 1),
            "-" if variation is None else f"± {variation:.0%}",
            share(own_core(index)),
            share(index["others"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


NOTES = """
One query: vectord in single calls from Python, all of Python's cost included; a peer's better one of single calls and one call
with all queries on one thread. Batch: one call with all queries, on one thread. p50 and p99 are of single calls. Figures at 0.95
and 0.99 lie on the line, in time, between the two settings around. Build: on 2 threads; vectord: adding + second pass +
calibration. Memory: what the process grew by, over the bytes of the float32 values. A call: on an index of one vector (of 1,000
for libraries that cannot hold one). Rounds: half of what they differ by at 0.95. Own core: the least share of it that the
measuring thread had; others, build: the share of all cores that other programs had while it was built. A row with much less than
100 % of the one, or much of the other, is worth little.
"""


def settings(found: dict[str, Any]) -> list[str]:
    lines = ["| index | version | settings | knob | rows |", "|---|---|---|---|---|"]
    for index in found["indexes"].values():
        knobs = index["knobs"]
        kernels = index["facts"].get("kernels")
        how = index["settings"] + (f"; kernels: {kernels}" if kernels else "")
        lines.append(
            f"| {index['title']} | {index['version']} | {how} | {index['knob']} {knobs[0]:g} to {knobs[-1]:g} | {index['rows']:,} |"
        )
    return lines


def growth_table(points: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| rows | queries/s at 0.95 | at 0.99 | distances a query at 0.95 | at 0.99 | build s | bytes an item | / raw |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        seconds = " + ".join(number(value, 1) for value in point["seconds"].values())
        cells = [f"{point['rows']:,} x {point['dimension']} {point['kind']}"]
        cells += [number(point["qps"][str(target)]) for target in curve.TARGETS]
        cells += [number(point["distances"][str(target)]) for target in curve.TARGETS]
        cells += [seconds, number(point["bytes"] / point["rows"]), f"{point['bytes'] / point['raw_bytes']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def page(results: dict[str, Any]) -> str:
    facts = results["machine"]
    lines = ["# vectord and its peers", "", machine.sentence(facts) + "."]
    if "minutes" in results:
        lines.append(
            f"Medians of {results['repeat']} rounds; {results['minutes']} minutes; the host took {facts['stolen']:.1%} of the time."
        )
    if results["quick"]:
        lines.append("**A quick run: few rows, one round. These figures only show that everything works.**")
    indexes = [index for found in results["sets"].values() for index in found["indexes"].values()]
    unquiet = sorted({index["title"] for index in indexes if disturbed(index)})
    if unquiet:
        lines += ["", f"**Other programs were running: these rows are worth little: {', '.join(unquiet)}.**"]
    for found in results["sets"].values():
        lines += [
            "",
            f"## {found['rows']:,} x {found['dimension']}, {found['queries']:,} queries, k = 10 ({found['folder']})",
            "",
        ]
        lines += set_table(found)
    if results["sets"]:
        lines += [NOTES, "## Versions and settings", ""]
        lines += settings(next(iter(results["sets"].values())))
    if results.get("growth"):
        lines += ["", "## vectord as it grows", ""] + growth_table(results["growth"])
    if results["missing"]:
        lines += ["", "## Missing", ""] + [f"- {gone['name']}: {gone['reason']}" for gone in results["missing"]]
    return "\n".join(lines) + "\n"
