"""The pipeline: case, spaces, channels, network, fusion, growing, masks.

Everything here runs in one process; images are read once, and cropped before
anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.box import Box
from deeppsma.case import Case
from deeppsma.companions import Companions, read_companions
from deeppsma.evidence import Evidence, ProgressBar, RunLog, gather
from deeppsma.fusion import fuse, wanted_tracers
from deeppsma.geometry import Geometry
from deeppsma.growing import grow
from deeppsma.images import Volume
from deeppsma.predict import Logits
from deeppsma.recipe import Growing, Recipe
from deeppsma.report import describe_run
from deeppsma.resampling import resample
from deeppsma.spaces import Space, build_spaces
from deeppsma.stopwatch import Stopwatch
from deeppsma.tracer import Tracer
from deeppsma.weights import Member, WeightsStore


@dataclass(frozen=True)
class Segmentation:
    """What came out.

    Parameters
    ----------
    masks
        By tracer: 0/1, uint8, [z, y, x], on the exact grid of the PET.
    report
        The run report: JSON values.
    """

    masks: Mapping[Tracer, Volume]
    report: dict[str, Any]


def segment(
    case: Case,
    recipe: Recipe,
    store: WeightsStore,
    device: str = "auto",
    progress: ProgressBar | None = None,
    watch: Stopwatch | None = None,
) -> Segmentation:
    """Segment a case.

    Parameters
    ----------
    case
        From `deeppsma.case.load_case`.
    recipe
        What to do.
    store
        Where the recipe's members are.
    device
        "auto", "cuda" or "cpu".
    progress
        Shows how many windows are done.
    watch
        Stage timings are added to it.

    Returns
    -------
    Segmentation
        Where no voxel reaches its threshold, the masks are empty.

    Raises
    ------
    DeepPsmaError
        One line that names the cause and the remedy.
    """
    log = RunLog(watch or Stopwatch())
    with log.watch.stage("read weights"):
        members = store.choose(recipe.members)
    _note_formats(case, log)
    grids, spaces = read_spaces(case, log)
    companions = read_beside(case, [recipe], members, log) if spaces else Companions()
    evidence = gather(
        case,
        spaces,
        companions,
        members,
        lambda fixed: wanted_tracers(recipe.fusion, fixed),
        recipe.window_overlap,
        device,
        progress,
        log,
    )
    logits = evidence.mean([member.name for member in members])
    masks = {tracer: mask_of(tracer, recipe, evidence, logits, log) for tracer in Tracer if tracer in spaces}
    with log.watch.stage("masks"):
        whole = {tracer: on_full_grid(spaces.get(tracer), masks.get(tracer), grids[tracer]) for tracer in Tracer}
        findings = {t: _findings(spaces.get(t), masks.get(t), case.thresholds[t]) for t in Tracer}
    report = describe_run(case, recipe, members, log.plan, log.watch, log.windows, log.fallbacks, findings)
    return Segmentation(whole, report)


def read_spaces(case: Case, log: RunLog) -> tuple[dict[Tracer, Geometry], dict[Tracer, Space]]:
    """The PETs' whole grids, and the spaces cropped from them."""
    with log.watch.stage("read PET"):
        pets = {tracer: case.study(tracer).read_pet() for tracer in Tracer}
        grids = {tracer: pets[tracer].geometry for tracer in Tracer}
    with log.watch.stage("spaces"):
        return grids, build_spaces(pets, case.thresholds, case.fdg_to_psma)


def _note_formats(case: Case, log: RunLog) -> None:
    for tracer in Tracer:
        study = case.study(tracer)
        for what, file in (("PET", study.pet), ("organ map", study.organs)):
            if file is not None and file.unsaid_position is not None:
                log.fallbacks.append(f"{tracer.upper()} {what}: {file.unsaid_position}")


def read_beside(case: Case, recipes: Sequence[Recipe], members: Sequence[Member], log: RunLog) -> Companions:
    """Organ maps and CTs, where recipes or members need them; see `deeppsma.companions.read_companions`."""
    keeps = any(recipe.growing is not None and bool(recipe.growing.kept_organs) for recipe in recipes)
    with log.watch.stage("read organs, CT"):
        return read_companions(case, members, keeps, log.fallbacks)


def mask_of(
    tracer: Tracer, recipe: Recipe, evidence: Evidence, logits: Mapping[Tracer, Logits], log: RunLog
) -> NDArray[np.bool_]:
    """What a recipe makes of the evidence.

    Parameters
    ----------
    tracer
        Whose mask; its space must be there.
    recipe
        Fusion, cutoffs and growing.
    evidence, logits
        Of the case; the ensemble's logits by fixed tracer.
    log
        Timings are added to it.

    Returns
    -------
    ndarray
        [z, y, x] bool on the crop of the tracer's space.
    """
    with log.watch.stage("fusion"):
        mask = fuse(recipe.fusion, tracer, evidence.spaces, logits, evidence.case.fdg_to_psma, recipe.cutoff(tracer))
    if recipe.growing is None:
        return mask
    with log.watch.stage("growing"):
        return _grown(mask, evidence.spaces[tracer], evidence.companions.organs[tracer], recipe.growing)


def _grown(mask: NDArray[np.bool_], space: Space, organs: Volume | None, growing: Growing) -> NDArray[np.bool_]:
    around = Box.around_mask(mask)
    if around is None:
        return mask
    reach = tuple(int(growing.radius_mm / s) + 2 for s in space.geometry.spacing_zyx)
    box = around.grown((reach[0], reach[1], reach[2])).clipped(mask.shape)
    kept = np.zeros(box.shape_zyx, dtype=bool)
    if organs is not None and growing.kept_organs:
        labels = resample(organs, space.geometry.cropped(box), labels=True)
        kept = np.isin(labels, growing.kept_organs)
    out = mask.copy()
    out[box.slices] = grow(mask[box.slices], space.hot[box.slices], space.geometry.spacing_zyx, growing.radius_mm, kept)
    return out


def on_full_grid(space: Space | None, mask: NDArray[np.bool_] | None, grid: Geometry) -> Volume:
    """Mask of a crop as 0/1 on the PET's whole grid; empty where there is none."""
    whole = np.zeros(grid.shape_zyx, dtype=np.uint8)
    if space is not None and mask is not None:
        whole[space.box.slices] = mask
    return Volume(whole, grid)


def _findings(space: Space | None, mask: NDArray[np.bool_] | None, threshold_suv: float) -> dict[str, Any]:
    """Volume, components and SUV of a mask."""
    if space is None or mask is None or not mask.any():
        return {"threshold_suv": threshold_suv, "volume_ml": 0.0, "components": 0}
    from scipy.ndimage import generate_binary_structure, label

    suv = space.pet[space.fixed][mask]
    around = Box.around_mask(mask) or Box.whole(space.geometry.shape_zyx)
    _, components = label(mask[around.slices], generate_binary_structure(3, 2))
    return {
        "threshold_suv": threshold_suv,
        "volume_ml": round(float(mask.sum()) * space.geometry.voxel_volume_ml, 3),
        "components": int(components),
        "suv_max": round(float(suv.max()), 3),
        "suv_mean": round(float(suv.mean(dtype=np.float64)), 3),
    }
