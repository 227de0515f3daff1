"""Both tracers together: what each lesion's other tracer shows at the same place.

No published rule says when a lesion of one tracer is the other's (tolerance, volume or overlap); this one is declared
here and in `deeppsma.reporting.pairing`, and its tolerance printed. Lesion by lesion, not voxel by voxel: edges of one
and the same node differ between tracers, so that voxels of one tracer alone are mostly edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.box import Box
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.region_growing import within_radius
from deeppsma.reporting.case_result import CaseResult, TracerResult
from deeppsma.reporting.lesion_table import LETTERS, Lesion, LesionTable
from deeppsma.reporting.pairing import Nearness, hosts_and_guests, nearness
from deeppsma.reporting.reference_uptake import blood_pool_suv, nearest_values

#: Distances at which volumes are given, mm; the middle one decides the class.
TOLERANCES_MM = (0.0, 5.0, 10.0)
TOLERANCE_MM = 5.0
#: Below this volume a missing uptake may be blurred away (partial volume).
PARTIAL_VOLUME_ML = 2.0
#: Organs of high normal uptake on either tracer: what lies in or beside them is not judged by that tracer.
_BRIGHT = (organs.KIDNEY_RIGHT, organs.KIDNEY_LEFT, organs.BLADDER, organs.BRAIN, organs.HEART, organs.LIVER,
           organs.SPLEEN, organs.SMALL_BOWEL, organs.DUODENUM, organs.COLON, organs.STOMACH)  # fmt: skip
#: A share above this decides "outside the other's field of view" and "hidden".
_HALF = 0.5


class Match(StrEnum):
    """What the other tracer shows at a lesion."""

    CONCORDANT = "concordant"
    BELOW = "below the other's threshold"
    UNSEGMENTED = "above the other's threshold, not called disease"
    ONLY = "this tracer only"
    UNKNOWN = "not judged"


@dataclass(frozen=True)
class Counterpart:
    """A lesion seen by the other tracer.

    Parameters
    ----------
    lesion_id
        Which lesion.
    match
        The class, at `TOLERANCE_MM`.
    group
        "C1": lesions of both tracers that are one place; "" for none.
    partners
        Its host on the other tracer (`deeppsma.reporting.pairing`), and lesions there whose host it is.
    distance_mm
        Nearest voxel of the other's mask; 0 where one lies in it, infinite without any.
    other_suv_max
        Highest SUV of the other tracer within `TOLERANCE_MM` of the lesion: in its disease where it calls something
        there disease, else outside organs of high normal uptake and outside its disease elsewhere. NaN where it was
        not seen.
    notes
        What weakens the class: "small: ...", "outside ...", "hidden ...".
    """

    lesion_id: str
    match: Match
    group: str
    partners: tuple[str, ...]
    distance_mm: float
    other_suv_max: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Concordance:
    """Both tracers' lesions, held against each other.

    Parameters
    ----------
    counterparts
        By lesion.
    shared_ml, single_ml
        By tracer, then tolerance (mm): volume of lesions that have, and have not, a partner at it.
    blood_suv
        Mean of the aorta's blood by tracer; None where it could not be measured.
    """

    counterparts: Mapping[str, Counterpart]
    shared_ml: Mapping[Tracer, Mapping[float, float]]
    single_ml: Mapping[Tracer, Mapping[float, float]]
    blood_suv: Mapping[Tracer, float | None]

    def class_ml(self, table: LesionTable, tracer: Tracer, match: Match) -> float:
        """Volume of a tracer's lesions of a class."""
        return sum(lesion.volume_ml for lesion in table.of(tracer) if self.counterparts[lesion.id].match is match)


def concordance(result: CaseResult, table: LesionTable) -> Concordance | None:
    """Hold both tracers' lesions against each other; None with one tracer alone."""
    if len(result.tracers) < 2:
        return None
    blood = {tracer: blood_pool_suv(result.scans[tracer]) for tracer in Tracer}
    mapped: dict[Tracer, NDArray[np.float64]] = {}
    near: dict[str, Nearness] = {}
    for tracer in Tracer:
        points, numbers = table.maps[tracer].points()
        mapped[tracer] = result.transform(tracer).apply(points)
        found = nearness(mapped[tracer], numbers, table.maps[tracer.other], max(TOLERANCES_MM))
        near |= {f"{LETTERS[tracer]}{number}": each for number, each in found.items()}
    partners = {mm: _partners(table, near, mm) for mm in TOLERANCES_MM}
    pairs = partners[TOLERANCE_MM]
    counterparts: dict[str, Counterpart] = {}
    for tracer in Tracer:
        ends = np.cumsum([0, *(lesion.voxels for lesion in table.of(tracer))])
        for lesion, start, stop in zip(table.of(tracer), ends, ends[1:], strict=False):
            other, own = result.scans[tracer.other], mapped[tracer][start:stop]
            nearest = near[lesion.id].nearest_mm
            counterparts[lesion.id] = _judged(
                lesion, own, other, blood[tracer.other], nearest, pairs.get(lesion.id, ())
            )
    groups = _groups(counterparts)
    counterparts = {key: replace(each, group=groups.get(key, "")) for key, each in counterparts.items()}
    total = {t: sum(lesion.volume_ml for lesion in table.of(t)) for t in Tracer}
    shared = {
        t: {mm: sum(x.volume_ml for x in table.of(t) if x.id in with_one) for mm, with_one in partners.items()}
        for t in Tracer
    }
    single = {t: {mm: total[t] - ml for mm, ml in shared[t].items()} for t in Tracer}
    return Concordance(counterparts, shared, single, blood)


def _partners(table: LesionTable, near: Mapping[str, Nearness], tolerance_mm: float) -> dict[str, tuple[str, ...]]:
    """Partners by lesion at a tolerance; lesions without one are not there."""
    hosts = {}
    for lesion in table.lesions:
        if number := near[lesion.id].host(tolerance_mm):
            hosts[lesion.id] = f"{LETTERS[lesion.tracer.other]}{number}"
    return hosts_and_guests(hosts)


def _judged(
    lesion: Lesion,
    mapped: NDArray[np.float64],
    other: TracerResult,
    blood_suv: float | None,
    distance: float,
    partners: tuple[str, ...],
) -> Counterpart:
    notes = []
    index = other.pet.geometry.world_to_index(mapped)
    size = np.array(other.pet.geometry.shape_zyx)
    outside = ~((index > -0.5) & (index < size - 0.5)).all(axis=1)
    around, hidden, disease = _around(mapped, other)
    # Where both tracers call it disease, the other's disease is what is looked at: a kidney beside it is hotter.
    seen = disease if partners and disease.size else around
    highest = float(seen.max()) if seen.size else float("nan")
    if partners:
        match = Match.CONCORDANT
    elif outside.mean() > _HALF:
        match = Match.UNKNOWN
        notes.append(f"outside the {other.tracer.upper()} scan's field of view")
    elif hidden > _HALF or not around.size:
        match = Match.UNKNOWN
        notes.append(f"hidden by an organ of high normal {other.tracer.upper()} uptake")
    elif highest >= other.threshold_suv:
        match = Match.UNSEGMENTED
    elif blood_suv is not None and highest > blood_suv:
        match = Match.BELOW
    elif blood_suv is None:
        match = Match.ONLY
        notes.append(f"{other.tracer.upper()} blood pool not measured: faint uptake is not told from none")
    else:
        match = Match.ONLY
    if match in (Match.BELOW, Match.ONLY) and lesion.volume_ml < PARTIAL_VOLUME_ML:
        notes.append(f"below {PARTIAL_VOLUME_ML:g} ml: the {other.tracer.upper()} uptake may be blurred away")
    return Counterpart(lesion.id, match, "", partners, distance, highest, tuple(notes))


def _around(mapped: NDArray[np.float64], other: TracerResult) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """The other's SUV within the tolerance of a lesion.

    Returns
    -------
    elsewhere
        Outside bright organs and the other's disease, which is another lesion's uptake.
    hidden
        Share of the lesion that lies in bright organs.
    disease
        In the other's disease.
    """
    grid = other.pet.geometry
    size = np.array(grid.shape_zyx)
    at = np.rint(grid.world_to_index(mapped)).astype(np.intp)
    at = at[((at >= 0) & (at < size)).all(axis=1)]
    around = Box.around_points(at)
    if around is None:
        return np.empty(0), 0.0, np.empty(0)
    z, y, x = (int(TOLERANCE_MM / s) + 1 for s in grid.spacing_zyx)
    place = around.grown((z, y, x)).clipped(grid.shape_zyx)
    lesion = np.zeros(place.shape_zyx, bool)
    lesion[tuple((at - np.array(place.start_zyx)).T)] = True
    within = within_radius(lesion, grid.spacing_zyx, TOLERANCE_MM)
    box = place.slices
    found = other.mask.voxels[box] > 0
    disease = other.pet.voxels[box][within & found].astype(np.float64)
    near = within & ~found
    values = other.pet.voxels[box][near].astype(np.float64)
    if other.organs is None:
        return values, 0.0, disease
    labels = nearest_values(other.organs, grid.index_to_world(np.argwhere(near) + np.array(place.start_zyx)))
    bright = np.isin(labels, _BRIGHT)
    hidden = float(np.isin(nearest_values(other.organs, mapped), _BRIGHT).mean())
    return values[~bright], hidden, disease


def _groups(found: Mapping[str, Counterpart]) -> dict[str, str]:
    """Names of connected sets of partners: C1 holds the largest PSMA lesion that has a partner."""
    group_of: dict[str, str] = {}
    count = 0
    for key in found:
        if key in group_of or not found[key].partners:
            continue
        count += 1
        waiting = [key]
        while waiting:
            here = waiting.pop()
            if here in group_of:
                continue
            group_of[here] = f"C{count}"
            waiting += found[here].partners
    return group_of
