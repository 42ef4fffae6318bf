"""Plots as SVG: for light and dark pages, a label at the end of each line, told apart by colour, dashes and marks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Callable, Optional, Sequence

import curve

Point = tuple[float, float]

# (light, dark), told apart with any colour vision (after Okabe and Ito); ink is the colour of the text.
COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1f2328", "#e6edf3"),
    "red": ("#d55e00", "#ff8433"),
    "blue": ("#0072b2", "#58a6e0"),
    "green": ("#009e73", "#2fc79c"),
    "pink": ("#cc79a7", "#e6a1c8"),
    "sky": ("#3a9bd9", "#9bd4f5"),
    "amber": ("#c98a00", "#f0bb3d"),
    "violet": ("#6f4fa0", "#b79be6"),
    "soft": ("#6e7781", "#8d96a0"),
}
# name: colour, dashes, mark, width
LOOKS: dict[str, tuple[str, str, str, float]] = {
    "vectord": ("red", "", "disc", 3.2),
    "vectord-plain": ("red", "7 4", "disc", 2.4),
    "hnswlib": ("ink", "", "square", 1.8),
    "faiss": ("blue", "", "disc", 1.5),
    "faiss-sq8": ("blue", "5 3", "ring", 1.5),
    "usearch": ("green", "", "triangle", 1.5),
    "usearch-i8": ("green", "5 3", "triangle", 1.5),
    "voyager": ("pink", "", "diamond", 1.5),
    "svs": ("sky", "", "square", 1.5),
    "svs-lvq": ("sky", "5 3", "square", 1.5),
    "svs-lvq8": ("sky", "2 3", "ring", 1.5),
    "vsag": ("amber", "", "triangle", 1.5),
    "alayalite": ("violet", "", "diamond", 1.5),
}
SPARE = [(colour, "2 3", "ring", 1.5) for colour in ("ink", "amber", "violet", "pink", "green")]
LABEL_GAP = 15.0
FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


@dataclass
class Series:
    title: str
    look: tuple[str, str, str, float]
    points: list[Point]


@dataclass
class Axis:
    """Values to pixels."""

    low: float
    high: float
    start: float
    end: float
    scale: Callable[[float], float]
    ticks: Sequence[float]
    text: Callable[[float], str]
    title: str

    def at(self, value: float) -> float:
        low, high = self.scale(self.low), self.scale(self.high)
        return self.start + (self.end - self.start) * (self.scale(value) - low) / (high - low)


def style() -> str:
    def rules(which: int) -> str:
        lines = [f".{name}{{stroke:{pair[which]}}}.{name}f{{fill:{pair[which]}}}" for name, pair in COLOURS.items()]
        paper, grid = (("#ffffff", "#d8dee4"), ("#0d1117", "#30363d"))[which]
        return "".join(lines) + f".paper{{fill:{paper}}}.paperf{{fill:{paper}}}.grid{{stroke:{grid}}}"

    plain = f"text{{{FONT};font-size:12px}}.line{{fill:none;stroke-linejoin:round}}"
    return f"<style>{plain}{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}</style>"


def mark(kind: str, colour: str, x: float, y: float, size: float = 3.2) -> str:
    if kind == "disc":
        return f'<circle class="{colour}f" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    if kind == "ring":
        return f'<circle class="{colour} paperf" stroke-width="1.4" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    if kind == "square":
        return f'<rect class="{colour}f" x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
    corners = {
        "triangle": ((0, -1.3), (1.2, 1), (-1.2, 1)),
        "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    }[kind]
    places = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f'<polygon class="{colour}f" points="{places}"/>'


def text(x: float, y: float, words: str, colour: str = "ink", anchor: str = "start", extra: str = "") -> str:
    return f'<text class="{colour}f" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def apart(places: list[float], top: float, bottom: float) -> list[float]:
    """The same heights in the same order, no two nearer than a label is high, within top and bottom."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, i in zip(order, order[1:]):
        moved[i] = max(moved[i], moved[before] + LABEL_GAP)
    if order and moved[order[-1]] > bottom:
        moved[order[-1]] = bottom
        for after, i in zip(reversed(order), list(reversed(order))[1:]):
            moved[i] = min(moved[i], moved[after] - LABEL_GAP)
    return [max(top, place) for place in moved]


def frame(x: Axis, y: Axis, strong: Sequence[float] = ()) -> list[str]:
    parts: list[str] = []
    for tick in x.ticks:
        width = ' stroke-width="1.6"' if tick in strong else ""
        parts.append(
            f'<line class="grid"{width} x1="{x.at(tick):.1f}" x2="{x.at(tick):.1f}" y1="{y.end:.1f}" y2="{y.start:.1f}"/>'
        )
        parts.append(text(x.at(tick), y.start + 18, x.text(tick), "ink" if tick in strong else "soft", "middle"))
    for tick in y.ticks:
        parts.append(
            f'<line class="grid" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y.at(tick):.1f}" y2="{y.at(tick):.1f}"/>'
        )
        parts.append(text(x.start - 8, y.at(tick) + 4, y.text(tick), "soft", "end"))
    parts.append(text((x.start + x.end) / 2, y.start + 40, x.title, "ink", "middle"))
    parts.append(text(x.start, y.end - 12, y.title))
    return parts


def lines(series: Sequence[Series], x: Axis, y: Axis) -> list[str]:
    """The lines, the heaviest last and so on top, and their labels to the right."""
    parts: list[str] = []
    drawn = [one for one in series if one.points]
    for one in sorted(drawn, key=lambda s: s.look[3]):
        colour, dashes, kind, width = one.look
        places = [(x.at(a), y.at(b)) for a, b in one.points]
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline class="line {colour}" stroke-width="{width}"{dash} points="{path}"/>')
        parts += [mark(kind, colour, px, py, 2.4 + width / 3) for px, py in places]
    ends = [(x.at(one.points[-1][0]), y.at(one.points[-1][1])) for one in drawn]
    heights = apart([end[1] for end in ends], y.end + 4, y.start)
    for one, (end_x, end_y), height in zip(drawn, ends, heights):
        colour, _, kind, width = one.look
        left = x.end + 22
        if end_x < left - 8:
            ends_at = f'x1="{end_x + 5:.1f}" y1="{end_y:.1f}" x2="{left - 4:.1f}" y2="{height:.1f}"'
            parts.append(f'<line class="{colour}" stroke-width="0.8" stroke-dasharray="1 3" {ends_at}/>')
        parts.append(mark(kind, colour, left + 4, height, 3.6))
        weight = ' font-weight="600"' if width > 2 else ""
        parts.append(text(left + 14, height + 4, one.title, colour, "start", weight))
    return parts


def document(width: int, height: int, title: str, note: str, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    caption = [
        text(20, 28, title, "ink", "start", ' font-weight="600" style="font-size:15px"'),
        text(20, 47, note, "soft"),
    ]
    paper = f'<rect class="paper" width="{width}" height="{height}" rx="6"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", style(), paper, *caption, *parts, "</svg>", ""])


def steps(low: float, high: float, digits: Sequence[int] = (1, 2, 5)) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [value for power in range(first, last + 1) for d in digits if low <= (value := d * 10.0**power) <= high]


def short(value: float) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def log_axis(values: Sequence[float], start: float, end: float, title: str, digits: Sequence[int] = (1, 2, 5)) -> Axis:
    low, high = min(values) / 1.12, max(values) * 1.12
    ticks = steps(low, high, digits)
    if len(ticks) < 3:
        ticks = steps(low, high, range(1, 10))
    return Axis(low, high, start, end, math.log10, ticks, short, title)


def recall_curve(index: dict[str, Any]) -> list[Point]:
    """Ours by single calls, a peer by its better figure; only where more recall costs more."""
    points: list[Point] = []
    for point in index["curve"]:
        rate = point["one_qps"] if index["ours"] else max(point["one_qps"], point["batch_qps"] or 0)
        if not points or point["recall"] > points[-1][0]:
            points.append((point["recall"], rate))
    return points


def peers(found: dict[str, Any]) -> Optional[str]:
    lowest, highest = 0.85, 0.998
    spare = iter(SPARE * 4)
    series: list[Series] = []
    for name, index in found["indexes"].items():
        points = [(recall, rate) for recall, rate in recall_curve(index) if lowest <= recall <= highest]
        if index["plotted"] and points:
            series.append(Series(index["title"], LOOKS.get(name) or next(spare), points))
    if not series:
        return None
    rates = [rate for one in series for _, rate in one.points]
    ticks = (0.85, 0.90, 0.95, 0.98, 0.99, 0.995, 0.998)
    x = Axis(lowest, highest, 70, 690, lambda r: -math.log10(1 - r), ticks, lambda r: f"{r:g}", "recall@10")
    y = log_axis(rates, 500, 84, "queries a second, one thread, one query at a time (log)")
    title = f"{found['rows']:,} x {found['dimension']}: queries a second by recall"
    note = "up and to the right is better; vectord in single calls from Python, peers by the better of those and a batch call"
    return document(880, 560, title, note, frame(x, y, curve.TARGETS) + lines(series, x, y))


def growth(points: list[dict[str, Any]]) -> Optional[str]:
    kinds = sorted({point["kind"] for point in points}, reverse=True)
    titles = {"packages": "packages, 384-d", "clusters": "clusters, 128-d"}

    def gather(field: str) -> list[Series]:
        series: list[Series] = []
        for kind, colour in zip(kinds, ("red", "blue")):
            for target, dashes, shape in zip(curve.TARGETS, ("", "6 4"), ("disc", "ring")):
                places = [
                    (float(p["rows"]), p[field][str(target)])
                    for p in points
                    if p["kind"] == kind and p[field][str(target)]
                ]
                series.append(Series(f"{titles[kind]}, {target}", (colour, dashes, shape, 2.0), places))
        return [one for one in series if one.points]

    left, right = gather("qps"), gather("distances")
    if not left:
        return None
    parts: list[str] = []
    for place, (series, what) in enumerate(
        ((left, "queries a second, one thread (log)"), (right, "distances a query (log)"))
    ):
        if not series:
            continue
        offset = place * 510
        rows = [row for one in series for row, _ in one.points]
        x = log_axis(rows, 70 + offset, 330 + offset, "rows (log)", (1, 3))
        y = log_axis([value for one in series for _, value in one.points], 380, 84, what)
        parts += frame(x, y) + lines(series, x, y)
    return document(
        1020, 440, "vectord as it grows", "at recall@10 of 0.95 and 0.99; one thread, one query at a time", parts
    )


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """One plot for each dimension that was measured, and one of growth. Returns what was written."""
    plots: dict[str, Optional[str]] = {
        f"peers-{found['dimension']}.svg": peers(found) for found in results["sets"].values()
    }
    if results.get("growth"):
        plots["growth.svg"] = growth(results["growth"])
    written: list[Path] = []
    for name, content in plots.items():
        if content:
            (folder / name).write_text(content)
            written.append(folder / name)
    return written
