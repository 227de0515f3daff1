"""What deserves a second look: findings with a reason, and hot foci that were not called disease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.components import sparse_components
from deeppsma.core.tracer import Tracer
from deeppsma.reporting.anatomy_map import AnatomyMap
from deeppsma.reporting.anatomy_names import Naming, unnamed
from deeppsma.reporting.case_result import CaseResult, TracerResult
from deeppsma.reporting.concordance import PARTIAL_VOLUME_ML, Concordance, Match
from deeppsma.reporting.lesion_probabilities import probabilities_of
from deeppsma.reporting.lesion_table import LETTERS, SMALL_ML, Lesion, LesionTable, PointXyz, anatomy_maps

#: Reasons: this near to the threshold; probability between these; another name this near.
NEAR_THRESHOLD, UNSURE, NAME_MARGIN_MM = 1.15, (0.2, 0.8), 1.5
#: Organs whose normal uptake is taken for disease, and how near is near.
_PITFALLS = {
    "bladder": (organs.BLADDER,),
    "kidney": (organs.KIDNEY_RIGHT, organs.KIDNEY_LEFT),
    "bowel": (organs.SMALL_BOWEL, organs.DUODENUM, organs.COLON),
}
_NEAR_MM, _NEAR_SHARE = 5.0, 0.1
#: Organs of normal uptake, by tracer: a hot focus mostly inside one is not listed as a possible miss.
_NORMAL = {
    Tracer.PSMA: (1, 2, 3, 4, 5, 6, 7, 18, 19, 20, 21, 23, 24, 64),
    Tracer.FDG: (2, 3, 4, 5, 6, 18, 19, 20, 21, 23, 24, 51, 61, 90),
}
_NORMAL_SHARE = 0.5
#: A possible miss has this volume at least; as many are listed.
CANDIDATE_ML, CANDIDATES = 0.3, 10
#: Its number is this much above the tracer's lesions' in the label image of foci.
CANDIDATE_OFFSET = 30000


@dataclass(frozen=True)
class Candidate:
    """A hot focus that was not called disease.

    Parameters
    ----------
    id
        "PX1": the first on PSMA.
    tracer, naming
        Where.
    volume_ml, suv_max, suv_mean
        Of its voxels at or above the threshold.
    hottest_xyz_mm
        World point of its hottest voxel.
    voxels_zyx
        Its voxels (n, 3), indices of the PET's grid.
    removed_at
        Probability at which trees removed it from what the networks had called disease; None where they had not.
    """

    id: str
    tracer: Tracer
    naming: Naming
    volume_ml: float
    suv_max: float
    suv_mean: float
    hottest_xyz_mm: PointXyz
    voxels_zyx: NDArray[np.int32]
    removed_at: float | None = None

    @property
    def note(self) -> str:
        """What became of it, in words; "" for one that nothing had called disease."""
        at = self.removed_at
        return "" if at is None else f"the networks called it disease; removed at p = {at:.2f}"


@dataclass(frozen=True)
class Review:
    """Both lists.

    Parameters
    ----------
    reasons
        By lesion: why it deserves a second look; lesions without a reason are not there.
    candidates
        Possible misses: what trees removed first, then the hottest.
    note
        What the list of possible misses cannot know; "" where nothing is to be said.
    """

    reasons: dict[str, tuple[str, ...]]
    candidates: tuple[Candidate, ...]
    note: str = ""


def review(
    result: CaseResult,
    table: LesionTable,
    found: Concordance | None,
    maps_of_organs: Mapping[Tracer, AnatomyMap | None] | None = None,
) -> Review:
    """Both lists of a result; ``maps_of_organs`` as for `deeppsma.reporting.lesion_table.lesion_table`."""
    maps = anatomy_maps(result) if maps_of_organs is None else maps_of_organs
    reasons: dict[str, tuple[str, ...]] = {}
    for tracer in result.tracers:
        asked = maps[tracer]
        near = _near_pitfalls(table, tracer, asked) if asked is not None else {}
        for lesion in table.of(tracer):
            mine = reasons_for(lesion, result.scans[tracer].threshold_suv)
            mine += [f"within {_NEAR_MM:g} mm of the {organ}" for organ in near.get(lesion.id, [])]
            if found is not None:
                match = found.counterparts[lesion.id].match
                if tracer is Tracer.FDG and match in (Match.ONLY, Match.BELOW) and lesion.volume_ml < PARTIAL_VOLUME_ML:
                    mine.append(f"FDG without PSMA disease, below {PARTIAL_VOLUME_ML:g} ml")
                if match is Match.UNSEGMENTED:
                    mine.append(f"the {tracer.other.upper()} scan is above its threshold here, not called disease")
            if mine:
                reasons[lesion.id] = tuple(mine)
    candidates: list[Candidate] = []
    notes = []
    for tracer in result.tracers:
        listed, in_head = _candidates(result.scans[tracer], maps[tracer], result.run_report)
        candidates += listed
        if in_head:
            notes.append(
                f"{in_head} hot foci in the soft tissue of the head are not listed on {tracer.upper()}: "
                "salivary and lacrimal glands, tonsils and mucosa take up normally and have no label"
            )
    missing = [tracer.upper() for tracer in result.tracers if maps[tracer] is None]
    if missing:
        notes.append(f"no organ map for {' and '.join(missing)}: normal organs are among the possible misses")
    return Review(reasons, tuple(candidates), "; ".join(notes))


def reasons_for(lesion: Lesion, threshold_suv: float) -> list[str]:
    """Reasons that the lesion's own figures give."""
    reasons = []
    if lesion.probability is not None and lesion.probability <= UNSURE[1]:
        unlikely = lesion.probability < UNSURE[0]
        word, why = ("unlikely", "; kept so that few true lesions are lost") if unlikely else ("uncertain", "")
        reasons.append(f"{word}: p = {lesion.probability:.2f}{why}")
    if lesion.small:
        reasons.append(f"small: below {SMALL_ML:g} ml")
    if lesion.suv_max < NEAR_THRESHOLD * threshold_suv:
        reasons.append(f"SUVmax within {NEAR_THRESHOLD - 1:.0%} of the threshold".replace("%", " %"))
    if lesion.at_border:
        reasons.append("cut by the end of the scan")
    second = lesion.naming.second
    if lesion.naming.first.name == "unlabelled":
        reasons.append("no labelled organ near")
    elif second is not None and second.kind != lesion.naming.first.kind and lesion.naming.margin_mm < NAME_MARGIN_MM:
        reasons.append(f"place uncertain: {second.text}?")
    return reasons


def _near_pitfalls(table: LesionTable, tracer: Tracer, asked: AnatomyMap) -> dict[str, list[str]]:
    points, numbers = table.maps[tracer].points()
    sizes = np.bincount(numbers)
    near: dict[str, list[str]] = {}
    for organ, labels in _PITFALLS.items():
        close = np.bincount(numbers[asked.within(points, labels, _NEAR_MM)], minlength=len(sizes))
        for lesion in table.of(tracer):
            if close[lesion.number] > _NEAR_SHARE * sizes[lesion.number]:
                near.setdefault(lesion.id, []).append(organ)
    return near


def _candidates(
    scan: TracerResult, asked: AnatomyMap | None, run_report: Mapping[str, Any]
) -> tuple[list[Candidate], int]:
    """Connected parts at or above the threshold, not in the mask, not mostly inside an organ of normal uptake.

    And how many lie in the soft tissue of the head, which are not among them.
    """
    suv, mask = scan.pet.voxels, scan.mask.voxels
    grid = scan.pet.geometry
    # Plane by plane: a whole-body PET's mask of hot voxels costs as much as its lists of them.
    plane = grid.shape_zyx[1] * grid.shape_zyx[2]
    hot = [np.flatnonzero((suv[z] >= scan.threshold_suv) & (mask[z] == 0)) + z * plane for z in range(len(suv))]
    flat = np.concatenate(hot)
    if not len(flat):
        return [], 0
    parts = sparse_components(flat, grid.shape_zyx)
    sizes = np.bincount(parts)
    order = np.argsort(parts, kind="stable")
    stops = np.cumsum(sizes)
    least = max(1, round(CANDIDATE_ML / grid.voxel_volume_ml))
    found = []
    for part in np.flatnonzero(sizes >= least):
        own = flat[order[stops[part] - sizes[part] : stops[part]]]
        voxels = np.stack(np.unravel_index(own, grid.shape_zyx), axis=1).astype(np.int32)
        if _touches(mask, voxels):
            continue
        if asked is not None:
            labels = asked.labels_at(grid.index_to_world(voxels))
            if np.isin(labels, _NORMAL[scan.tracer]).mean() >= _NORMAL_SHARE:
                continue
        values = suv[tuple(voxels.T)]
        found.append((float(values.max()), voxels, values))
    removed = probabilities_of(
        run_report, scan.tracer, [grid.index_to_world(voxels) for _, voxels, _ in found], removed=True
    )
    found_removed = sorted(zip(found, removed, strict=True), key=lambda each: (each[1] is None, -each[0][0]))
    out: list[Candidate] = []
    in_head = 0
    for (highest, voxels, values), removed_at in found_removed:
        number = len(out) + 1
        if number > CANDIDATES:
            break
        world = grid.index_to_world(voxels)
        if asked is not None and asked.in_head(world):
            in_head += 1
            continue
        x, y, z = (float(v) for v in world[int(values.argmax())])
        naming = unnamed() if asked is None else asked.name(world)
        volume = len(voxels) * grid.voxel_volume_ml
        mean = float(values.mean(dtype=np.float64))
        name = f"{LETTERS[scan.tracer]}X{number}"
        out.append(Candidate(name, scan.tracer, naming, volume, highest, mean, (x, y, z), voxels, removed_at))
    return out, in_head


def _touches(mask: NDArray[np.uint8], voxels: NDArray[np.int32]) -> bool:
    """Whether voxels share a face with the mask: then they are a lesion's rim."""
    for axis in range(3):
        for step in (-1, 1):
            near = voxels.copy()
            near[:, axis] = np.clip(near[:, axis] + step, 0, mask.shape[axis] - 1)
            if mask[tuple(near.T)].any():
                return True
    return False


def is_kept(is_miss: bool, decision: str | None) -> bool:
    """Whether a focus is disease after a review: a possible miss if it was confirmed, a lesion unless it was rejected.

    Parameters
    ----------
    is_miss
        Whether it is a possible miss.
    decision
        "confirm", "reject", "unsure", or None for none.
    """
    return decision == "confirm" if is_miss else decision != "reject"
