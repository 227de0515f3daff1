"""Uptake that looks like disease and is none: inflammation, degeneration, unspecific bone, contamination."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from deeppsma.core.settings import read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.phantom.anatomy.shapes import Part, Shape
from deeppsma.phantom.uptake.focus import Focus, Places, Point, blob
from deeppsma.phantom.uptake.radioligand import Radioligand


@dataclass(frozen=True)
class Pitfall:
    """One kind of finding; see `resources/phantom/pitfalls.toml` for what its fields mean."""

    name: str
    share: Mapping[str, float]
    count: tuple[int, int]
    suv: tuple[float, float]
    volume_ml: tuple[float, float] = (1.0, 0.3)
    sites: Mapping[str, float] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    whole: Mapping[str, float] = field(default_factory=dict)
    jitter_mm: float = 5.0
    fill: float = 1.0
    row: bool = False
    needs: str = ""
    hounsfield: float | None = None
    since: int = 2

    def __post_init__(self) -> None:
        if sum(bool(where) for where in (self.sites, self.points, self.whole)) != 1:
            raise ValueError(f"{self.name}: give one of sites, points, whole")
        if not all(0 <= share <= 1 for share in self.share.values()):
            raise ValueError(f"{self.name}: shares are from 0 to 1")
        if not 1 <= self.count[0] <= self.count[1]:
            raise ValueError(f"{self.name}: count is fewest and most, at least 1")


@cache
def all_pitfalls() -> tuple[Pitfall, ...]:
    """The kinds of `resources/phantom/pitfalls.toml`."""
    return tuple(_pitfall(row) for row in read_toml("phantom", "pitfalls")[1]["pitfall"])


def draw_pitfalls(
    places: Places,
    ligands: Mapping[Tracer, Radioligand],
    rng: np.random.Generator,
    version: int = 3,
    certain: Collection[str] = (),
) -> list[Focus]:
    """Findings of one patient, each on the tracers that show it.

    Parameters
    ----------
    places, ligands
        Where they can be, and what shows them.
    rng
        Source of the draw.
    version
        Of the phantom: a kind is drawn from the version on that brought it.
    certain
        Names of kinds that this patient has, if either ligand shows them at
        all.
    """
    found = []
    for pitfall in all_pitfalls():
        if pitfall.since > version:
            continue
        # One draw for both tracers: what the rarer one shows, the other shows too.
        luck = rng.random()
        if pitfall.name in certain:
            luck *= max(pitfall.share.get(ligand.key, 0.0) for ligand in ligands.values())
        shown = [tracer for tracer, ligand in ligands.items() if luck < pitfall.share.get(ligand.key, 0.0)]
        if not shown or (pitfall.needs and not places.matching(pitfall.needs)):
            continue
        count = int(rng.integers(pitfall.count[0], pitfall.count[1] + 1))
        for site, shape, volume_ml in _sited(pitfall, places, count, rng):
            suv = {tracer: float(rng.lognormal(np.log(pitfall.suv[0]), pitfall.suv[1])) for tracer in shown}
            found.append(
                Focus(pitfall.name, site, shape, suv, False, volume_ml, pitfall.fill, hounsfield=pitfall.hounsfield)
            )
    return found


def _sited(
    pitfall: Pitfall, places: Places, count: int, rng: np.random.Generator
) -> list[tuple[str, tuple[Shape, ...], float]]:
    """Site, shapes and volume of each finding."""
    if pitfall.whole:
        parts = [part for part in (pick(pitfall.whole, places, rng) for _ in range(count)) if part is not None]
        return [(part.name, part.shapes, pitfall.fill * places.volume_ml(part.name)) for part in parts]
    volumes = rng.lognormal(np.log(pitfall.volume_ml[0]), pitfall.volume_ml[1], size=count)
    if pitfall.points:
        at = [_near(pitfall, rng) for _ in range(count)]
        return [("", (blob(p, float(v), rng),), float(v)) for p, v in zip(at, volumes, strict=True)]
    if pitfall.row:
        return _in_a_row(pitfall, places, volumes.tolist(), rng)
    sited: list[tuple[str, tuple[Shape, ...], float]] = []
    for volume in volumes.tolist():
        part = pick(pitfall.sites, places, rng)
        if part is not None:
            sited.append((part.name, (blob(places.point_in(part.name, rng), volume, rng),), volume))
    return sited


def pick(sites: Mapping[str, float], places: Places, rng: np.random.Generator) -> Part | None:
    """One of the man's parts: a site by weight, then a part whose name starts so; None if he has none there."""
    weights = np.array(list(sites.values()), dtype=float)
    start = list(sites)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    matching = places.matching(start)
    return matching[int(rng.integers(len(matching)))] if matching else None


def _near(pitfall: Pitfall, rng: np.random.Generator) -> Point:
    x, y, z = pitfall.points[int(rng.integers(len(pitfall.points)))]
    dx, dy, dz = rng.normal(0, pitfall.jitter_mm, size=3)
    return float(rng.choice([-1, 1])) * x + dx, y + dy, z + dz


def _in_a_row(
    pitfall: Pitfall, places: Places, volumes: list[float], rng: np.random.Generator
) -> list[tuple[str, tuple[Shape, ...], float]]:
    """Neighbouring ribs, broken at the same place of their course."""
    start = str(rng.choice(list(pitfall.sites)))
    first, share = int(rng.integers(3, 10)), float(rng.uniform(0.25, 0.8))
    sited: list[tuple[str, tuple[Shape, ...], float]] = []
    for number, volume in enumerate(volumes, start=first):
        part = places.parts.get(f"{start}{number}")
        if part is not None:
            shape = part.shapes[min(int(share * len(part.shapes)), len(part.shapes) - 1)]
            low, high = shape.bounds()
            x, y, z = ((low + high) / 2 + rng.normal(0, 3, 3)).tolist()
            sited.append((part.name, (blob((x, y, z), volume, rng),), volume))
    return sited


def _pitfall(row: dict[str, Any]) -> Pitfall:
    tuples: dict[str, Any] = {key: tuple(row[key]) for key in ("count", "suv", "volume_ml") if key in row}
    if "points" in row:
        tuples["points"] = tuple((float(x), float(y), float(z)) for x, y, z in row["points"])
    return Pitfall(**{**row, **tuples})
