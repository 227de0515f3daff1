"""The pipeline: case, spaces, evidence (channels, network), answer (fusion, growing), masks.

Everything here runs in one process; images are read once, and cropped before
anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.components import components_of
from deeppsma.core.geometry import Geometry
from deeppsma.core.stopwatch import Stopwatch
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.ensemble import ProgressBar, RunLog, gather
from deeppsma.io.case import Case
from deeppsma.models.store import ALL_MEMBERS, WeightsStore
from deeppsma.models.weights import Member
from deeppsma.pipeline.apply_recipe import answer, check_members
from deeppsma.pipeline.recipe import Recipe
from deeppsma.pipeline.run_report import describe_run
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.preprocessing.auxiliary import Companions, note_formats, read_companions
from deeppsma.preprocessing.spaces import Space, build_spaces


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
        From `deeppsma.io.case.load_case`.
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
        members = store.choose(recipe.members, recipe.average)
        check_members(recipe, members)
    log.fallbacks += left_out(recipe, store, members)
    note_formats(case, [member.network for member in members], log.fallbacks)
    grids, spaces = read_spaces(case, log)
    companions = read_beside(case, [recipe], members, log) if spaces else Companions()
    evidence = gather(
        case,
        spaces,
        companions,
        members,
        recipe.fusion,
        recipe.window_overlap,
        device,
        progress,
        log,
    )
    found = answer(recipe, evidence, members, log)
    with log.watch.stage("masks"):
        whole = {tracer: on_full_grid(spaces.get(tracer), found.masks.get(tracer), grids[tracer]) for tracer in Tracer}
        findings = {t: _findings(spaces.get(t), found.masks.get(t), case.thresholds[t]) for t in Tracer}
    report = describe_run(case, recipe, members, log.plan, log.watch, log.windows, log.fallbacks, findings)
    if recipe.refinement:
        model = load_classifier(recipe.refinement)
        report["refinement"] = {"model": model.as_dict(), "removed_fdg_lesions": found.removed}
    return Segmentation(whole, report)


def left_out(recipe: Recipe, store: WeightsStore, members: Sequence[Member]) -> list[str]:
    """A line on what a recipe of all members cannot average; none if there is nothing such."""
    left = store.passed_over(members) if recipe.members == (ALL_MEMBERS,) else []
    return [f"not averaged, because recipe {recipe.name} cannot: {', '.join(left)}"] if left else []


def read_spaces(case: Case, log: RunLog) -> tuple[dict[Tracer, Geometry], dict[Tracer, Space]]:
    """The PETs' whole grids, and the spaces cropped from them."""
    with log.watch.stage("read PET"):
        pets = {tracer: case.study(tracer).read_pet() for tracer in Tracer}
        grids = {tracer: pets[tracer].geometry for tracer in Tracer}
    with log.watch.stage("spaces"):
        return grids, build_spaces(pets, case.thresholds, case.fdg_to_psma)


def read_beside(case: Case, recipes: Sequence[Recipe], members: Sequence[Member], log: RunLog) -> Companions:
    """Organ maps and CTs, where recipes or members need them; see `read_companions`."""
    effects = []
    if any(recipe.growing is not None and recipe.growing.kept(Tracer.FDG) for recipe in recipes):
        effects.append("growing spares no organ")
    if any(recipe.refinement for recipe in recipes):
        effects.append("FDG lesions are not refined")
    with log.watch.stage("read organs, CT"):
        return read_companions(case, members, effects, log.fallbacks)


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
    suv = space.pet[space.fixed][mask]
    around = Box.around_mask(mask) or Box.whole(space.geometry.shape_zyx)
    _, components = components_of(mask[around.slices])
    return {
        "threshold_suv": threshold_suv,
        "volume_ml": round(float(mask.sum()) * space.geometry.voxel_volume_ml, 3),
        "components": components,
        "suv_max": round(float(suv.max()), 3),
        "suv_mean": round(float(suv.mean(dtype=np.float64)), 3),
    }
