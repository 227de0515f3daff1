"""The lesions of a result: numbered foci with volume, uptake and name.

A lesion is a focus of the mask: a part with a peak of uptake of its own (`deeppsma.postprocessing.foci`); confluent
disease so divides into several. Connected components are counted beside. Numbers are stable: P1, P2, ... (F1, ... on
FDG) from the largest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.components import sparse_components
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.foci import FocusRule, divide
from deeppsma.reporting.anatomy_map import AnatomyMap, name_foci
from deeppsma.reporting.anatomy_names import Naming
from deeppsma.reporting.case_result import CaseResult, TracerResult
from deeppsma.reporting.lesion_probabilities import probabilities_of
from deeppsma.reporting.suv_peak import RADIUS_MM, suv_peak

#: Foci smaller than this are listed apart: their figures depend on a voxel or two.
SMALL_ML, SMALL_VOXELS = 0.5, 3
#: Around the mask, mm: what the division into foci and SUVpeak look at.
_MARGIN_MM = 12.0
LETTERS = {Tracer.PSMA: "P", Tracer.FDG: "F"}
PointXyz = tuple[float, float, float]


@dataclass(frozen=True)
class Lesion:
    """One focus of disease.

    Parameters
    ----------
    id
        "P1" for the largest on PSMA.
    tracer
        On which it was found.
    naming
        What it is called.
    voxels
        How many.
    volume_ml, suv_max, suv_mean, suv_peak
        Volume; SUV of its voxels; SUVpeak as `deeppsma.reporting.suv_peak` defines it.
    centre_xyz_mm, hottest_xyz_mm
        World points of the tracer's session: mean of its voxels' centres, and its hottest voxel.
    at_border
        Whether it touches the first or last slice: the scan may cut it off.
    probability
        That it is disease, where the run gives one.
    """

    id: str
    tracer: Tracer
    naming: Naming
    voxels: int
    volume_ml: float
    suv_max: float
    suv_mean: float
    suv_peak: float
    centre_xyz_mm: PointXyz
    hottest_xyz_mm: PointXyz
    at_border: bool = False
    probability: float | None = None

    def __post_init__(self) -> None:
        if self.voxels < 1 or not self.volume_ml > 0:
            raise ValueError(f"lesion {self.id} has no volume")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"lesion {self.id} has a probability of {self.probability}")

    @property
    def number(self) -> int:
        """1 for the largest."""
        return int(self.id[1:])

    @property
    def total_uptake_g(self) -> float:
        """Volume times SUVmean, g: TLG on FDG, PSMA-TL on PSMA."""
        return self.volume_ml * self.suv_mean

    @property
    def small(self) -> bool:
        """Whether it is listed apart."""
        return self.volume_ml < SMALL_ML or self.voxels < SMALL_VOXELS


@dataclass(frozen=True)
class FocusMap:
    """Which voxel belongs to which lesion.

    Parameters
    ----------
    labels
        [z, y, x] uint16: number of the lesion, 0 elsewhere; a box of the PET's grid.
    box
        Which box.
    geometry
        The whole grid.
    """

    labels: NDArray[np.uint16]
    box: Box
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.labels.shape != self.box.shape_zyx:
            raise ValueError(f"{self.labels.shape} labels in a box of {self.box.shape_zyx}")

    @cached_property
    def count(self) -> int:
        """How many lesions."""
        return int(self.labels.max(initial=0))

    @cached_property
    def voxels(self) -> tuple[NDArray[np.intp], NDArray[np.uint16]]:
        """Indices (n, 3) of all lesions' voxels in the whole grid, lesion by lesion, and whose each is."""
        flat = np.flatnonzero(self.labels != 0)
        numbers = self.labels.reshape(-1)[flat]
        order = np.argsort(numbers, kind="stable")
        index = np.stack(np.unravel_index(flat[order], self.labels.shape), axis=1)
        return index + np.array(self.box.start_zyx), numbers[order]

    @cached_property
    def voxels_by_lesion(self) -> list[NDArray[np.intp]]:
        """The same by number; [0] is empty."""
        index, numbers = self.voxels
        bounds = np.searchsorted(numbers, np.arange(self.count + 2))
        return [index[a:b] for a, b in pairwise(bounds)]

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.uint16]]:
        """World points (n, 3) of all lesions' voxels, lesion by lesion, and whose each is."""
        index, numbers = self.voxels
        return self.geometry.index_to_world(index), numbers


@dataclass(frozen=True)
class LesionTable:
    """All lesions of a case.

    Parameters
    ----------
    lesions
        PSMA first, then by number.
    maps
        By tracer.
    components
        Connected components of each mask (voxels that share a face or an edge).
    """

    lesions: tuple[Lesion, ...]
    maps: Mapping[Tracer, FocusMap]
    components: Mapping[Tracer, int]

    def __post_init__(self) -> None:
        ids = [lesion.id for lesion in self.lesions]
        if len(set(ids)) < len(ids):
            raise ValueError("two lesions have one number")

    def of(self, tracer: Tracer) -> tuple[Lesion, ...]:
        """A tracer's lesions by number."""
        return tuple(lesion for lesion in self.lesions if lesion.tracer is tracer)

    def by_id(self, lesion_id: str) -> Lesion:
        """One lesion.

        Raises
        ------
        KeyError
            If there is none of that number.
        """
        for lesion in self.lesions:
            if lesion.id == lesion_id:
                return lesion
        raise KeyError(lesion_id)


def anatomy_maps(result: CaseResult) -> dict[Tracer, AnatomyMap | None]:
    """Each session's organ map, ready to be asked; None where there is none."""
    return {t: None if (o := result.scans[t].organs) is None else AnatomyMap(o) for t in result.tracers}


def lesion_table(
    result: CaseResult,
    rule: FocusRule | None = None,
    maps_of_organs: Mapping[Tracer, AnatomyMap | None] | None = None,
) -> LesionTable:
    """Find, number, measure and name the lesions of a result.

    Parameters
    ----------
    result
        The case.
    rule
        How the mask divides into foci; None for the published rule with numbers of our own.
    maps_of_organs
        From `anatomy_maps`; made now if None.
    """
    asked = anatomy_maps(result) if maps_of_organs is None else maps_of_organs
    lesions: list[Lesion] = []
    maps: dict[Tracer, FocusMap] = {}
    components: dict[Tracer, int] = {}
    for tracer in result.tracers:
        scan = result.scans[tracer]
        maps[tracer], components[tracer] = divided(scan, rule or FocusRule())
        lesions += measured(scan, maps[tracer], result.run_report, asked[tracer])
    return LesionTable(tuple(lesions), maps, components)


def divided(scan: TracerResult, rule: FocusRule) -> tuple[FocusMap, int]:
    """The mask's foci, numbered from the largest on (ties: the hotter first), and its connected components."""
    grid = scan.pet.geometry
    mask = scan.mask.voxels > 0
    around = Box.around_mask(mask)
    if around is None:
        box = Box((0, 0, 0), (1, 1, 1))
        return FocusMap(np.zeros(box.shape_zyx, np.uint16), box, grid), 0
    z, y, x = (int(_MARGIN_MM / s) + 1 for s in grid.spacing_zyx)
    box = around.grown((z, y, x)).clipped(grid.shape_zyx)
    inside = mask[box.slices]
    del mask
    suv = scan.pet.voxels[box.slices]
    labels = divide(suv / np.float32(scan.threshold_suv), inside, grid.spacing_zyx, rule)
    hot = np.flatnonzero(inside)
    flat, values = labels.reshape(-1)[hot], suv[inside]
    sizes = np.bincount(flat)
    hottest = np.zeros(len(sizes))
    np.maximum.at(hottest, flat, values)
    order = np.lexsort((-hottest[1:], -sizes[1:])) + 1
    numbers = np.zeros(len(sizes), np.uint16)
    numbers[order] = np.arange(1, len(order) + 1)
    numbered = np.zeros(labels.shape, np.uint16)
    numbered.reshape(-1)[hot] = numbers[flat]
    return FocusMap(numbered, box, grid), int(sparse_components(hot, box.shape_zyx).max()) + 1


def measured(
    scan: TracerResult, foci: FocusMap, run_report: Mapping[str, Any], asked: AnatomyMap | None
) -> list[Lesion]:
    """A tracer's lesions, by number."""
    grid = foci.geometry
    reach_z, reach_y, reach_x = (int(RADIUS_MM / s) + 2 for s in grid.spacing_zyx)
    found = []
    for number, index in enumerate(foci.voxels_by_lesion[1:], start=1):
        start, stop = index.min(axis=0), index.max(axis=0) + 1
        around = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        own = around.grown((reach_z, reach_y, reach_x)).clipped(grid.shape_zyx)
        mine = np.zeros(own.shape_zyx, bool)
        mine[tuple((index - np.array(own.start_zyx)).T)] = True
        values = scan.pet.voxels[tuple(index.T)]
        found.append((number, index, values, suv_peak(scan.pet.voxels[own.slices], mine, grid.spacing_zyx).suv))
    points = [grid.index_to_world(index) for _, index, _, _ in found]
    names = name_foci(points, scan.organs, asked)
    probabilities = probabilities_of(run_report, scan.tracer, points)
    lesions = []
    for (number, index, values, peak), world, naming, p in zip(found, points, names, probabilities, strict=True):
        lesions.append(
            Lesion(
                f"{LETTERS[scan.tracer]}{number}",
                scan.tracer,
                naming,
                len(index),
                len(index) * grid.voxel_volume_ml,
                float(values.max()),
                float(values.mean(dtype=np.float64)),
                peak,
                _point(world.mean(axis=0)),
                _point(world[int(values.argmax())]),
                bool(index[:, 0].min() == 0 or index[:, 0].max() == grid.shape_zyx[0] - 1),
                p,
            )
        )
    return lesions


def _point(xyz: NDArray[np.float64]) -> PointXyz:
    x, y, z = (float(value) for value in xyz)
    return x, y, z
