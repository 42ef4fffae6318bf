"""The data: rows, queries and their true neighbours, made ready as float32 of unit length in a folder of the cache."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

import measure

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "packages-5k"
TRUE_NEIGHBOURS = 10
CLOSENESS, NOISE = np.float32(0.5), np.float32(0.3)  # of the synthetic clusters, beside a spread of 1


@dataclass(frozen=True)
class Set:
    name: str
    folder: Path
    rows: int
    dimension: int
    queries: int


def available() -> list[str]:
    """Names of the sets in the folder VECTORD_BENCH_DATA, or that of the sample when it has none."""
    place = os.environ.get("VECTORD_BENCH_DATA")
    found = sorted(path.name[: -len("-base.f16.npy")] for path in Path(place).glob("*-base.f16.npy")) if place else []
    return found or [SAMPLE.name]


def choose(names: Optional[str]) -> list[str]:
    """A part of a name will do: "384" means every set that has it in its name."""
    have = available()
    if not names:
        return have
    chosen: list[str] = []
    for wanted in names.split(","):
        hits = [name for name in have if wanted in name]
        if not hits:
            raise ValueError(f"there is no set {wanted!r}: there are {', '.join(have)} (VECTORD_BENCH_DATA says where)")
        chosen += [name for name in hits if name not in chosen]
    return chosen


def files(name: str) -> tuple[Path, Path, Path]:
    if name == SAMPLE.name:
        return SAMPLE / "base.npy", SAMPLE / "queries.npy", SAMPLE / "truth10.npy"
    place = Path(os.environ["VECTORD_BENCH_DATA"])
    return place / f"{name}-base.f16.npy", place / f"{name}-queries.f16.npy", place / f"{name}-truth100.npy"


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, dtype=np.float32)
    return np.ascontiguousarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


def sources(paths: tuple[Path, ...]) -> list[list[Any]]:
    """What tells other files of the same names apart."""
    return [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def current(folder: Path, made_from: Optional[list[list[Any]]]) -> bool:
    """Whether the folder is there and was made from these very files."""
    facts = folder / "set.json"
    return facts.exists() and json.loads(facts.read_text()).get("made_from") == made_from


def store(
    folder: Path,
    base: np.ndarray,
    queries: np.ndarray,
    truth: np.ndarray,
    made_from: Optional[list[list[Any]]] = None,
) -> None:
    """All or nothing: a folder that is there is whole. What rows of the comparison keep in it goes with an old one."""
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    np.save(new / "base.npy", base)
    np.save(new / "queries.npy", queries)
    np.save(new / "truth.npy", truth)
    facts = {"rows": len(base), "dimension": base.shape[1], "queries": len(queries), "made_from": made_from}
    (new / "set.json").write_text(json.dumps(facts))
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def opened(name: str, folder: Path) -> Set:
    facts: dict[str, Any] = json.loads((folder / "set.json").read_text())
    return Set(name, folder, facts["rows"], facts["dimension"], facts["queries"])


def prepare(name: str, cache: Path, rows: int = 0, queries: int = 0) -> Set:
    """The set, or its first `rows` rows and `queries` queries with their own true neighbours."""
    base_file, queries_file, truth_file = paths = files(name)
    part = "".join(f"-{letter}{count}" for letter, count in (("r", rows), ("q", queries)) if count)
    folder = cache / "data" / f"{name}{part}"
    made_from = sources(paths)
    if not current(folder, made_from):
        print(f"preparing {folder.name}", flush=True)
        base, asked = unit(np.load(base_file)), unit(np.load(queries_file))
        whole = not rows or rows >= len(base)
        base, asked = base[: rows or None], asked[: queries or None]
        if whole:
            truth = np.load(truth_file)[: len(asked), :TRUE_NEIGHBOURS]
            check(base, asked, truth)
        else:
            truth = measure.nearest(base, asked, TRUE_NEIGHBOURS)
        store(folder, base, asked, truth, made_from)
    return opened(name, folder)


def check(base: np.ndarray, queries: np.ndarray, truth: np.ndarray, sample: int = 50) -> None:
    """A truth file that belongs to other rows would make every recall worthless."""
    agreed = measure.recall(measure.nearest(base, queries[:sample], TRUE_NEIGHBOURS), truth[:sample], TRUE_NEIGHBOURS)
    if agreed < 0.995:
        raise ValueError(f"the truth file agrees with an exact search in {agreed:.1%} only")


def synthetic(cache: Path, rows: int, dimension: int, queries: int, seed: int = 7) -> Set:
    """Overlapping clusters of uneven size, each with its own few directions, and some noise: as embeddings are."""
    name = f"clusters-{rows}x{dimension}"
    folder = cache / "data" / name
    if not (folder / "set.json").exists():
        print(f"making {name}", flush=True)
        random = np.random.default_rng(seed)
        clusters, inner = 1000, 20
        centres = CLOSENESS * random.standard_normal((clusters, dimension), dtype=np.float32)
        spread = random.standard_normal((16, inner, dimension), dtype=np.float32) / np.sqrt(inner).astype(np.float32)
        weight = random.dirichlet(np.full(clusters, 0.7))
        total = rows + queries
        member = random.choice(clusters, total, p=weight)
        vectors = np.empty((total, dimension), dtype=np.float32)
        for first in range(0, total, 50_000):
            who = member[first : first + 50_000]
            latent = random.standard_normal((len(who), inner), dtype=np.float32)
            noise = NOISE * random.standard_normal((len(who), dimension), dtype=np.float32)
            for kind in range(len(spread)):
                mine = who % len(spread) == kind
                noise[mine] += latent[mine] @ spread[kind]
            vectors[first : first + 50_000] = centres[who] + noise
        vectors = unit(vectors)
        base, asked = vectors[:rows], vectors[rows:]
        store(folder, base, asked, measure.nearest(base, asked, TRUE_NEIGHBOURS))
    return opened(name, folder)
