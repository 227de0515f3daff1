"""What a recipe makes of the networks' logits: masks by tracer, their second opinion, refinement of FDG by PSMA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.logits import Logits
from deeppsma.pipeline.apply_second_opinion import apply_second_opinion, swept_second_opinion
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.tracer_mask import tracer_mask
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.lesions import Scene
from deeppsma.postprocessing.refinement import refine
from deeppsma.preprocessing.prepared_case import PreparedCase


@dataclass(frozen=True)
class CropMasks:
    """Masks of a case on the crops of its spaces.

    Parameters
    ----------
    masks
        By tracer, [z, y, x] bool on the crop of its space; a tracer without a
        space has none.
    removed
        FDG lesions that refinement took away, a line each for the run report.
    unrefined
        The FDG mask before that; None where nothing was refined.
    foci
        By tracer, where a recipe votes on foci or asks for a second opinion: what
        it says of each focus, for the run report.
    """

    masks: Mapping[Tracer, NDArray[np.bool_]]
    removed: Sequence[dict[str, Any]] = field(default_factory=tuple)
    unrefined: NDArray[np.bool_] | None = None
    foci: Mapping[Tracer, tuple[dict[str, Any], ...]] = field(default_factory=dict)


def apply_recipe(method: Method, case: PreparedCase, logits: Mapping[str, Logits]) -> CropMasks:
    """Masks that a recipe makes; PSMA first, because FDG is refined by it.

    Parameters
    ----------
    method
        The recipe, with its members.
    case
        The case; timings and fallbacks go into its log.
    logits
        By member name; see `deeppsma.inference.ensemble.run_members`.
    """
    recipe = method.recipe
    masks: dict[Tracer, NDArray[np.bool_]] = {}
    foci: dict[Tracer, tuple[dict[str, Any], ...]] = {}
    for tracer in case.spaces:
        if not method.members_of(tracer):
            case.log.note(f"recipe {recipe.name} has no member for {tracer.upper()}: its mask is empty")
        elif recipe.second_opinion:
            masks[tracer], foci[tracer] = apply_second_opinion(tracer, method, case, logits)
        else:
            found = tracer_mask(tracer, method, case, logits)
            masks[tracer] = found.mask
            foci |= {} if found.foci is None else {tracer: found.foci}
    return _refined(CropMasks(masks, foci=foci), recipe.refinement, case)


def swept(
    method: Method, case: PreparedCase, logits: Mapping[str, Logits], cutoffs: Sequence[float]
) -> list[CropMasks]:
    """Masks at each of several cutoffs, the same for both tracers; foci are judged once.

    Parameters
    ----------
    method, case, logits
        As for `apply_recipe`.
    cutoffs
        Probabilities, between 0 and 1.
    """
    recipe = method.recipe
    if not recipe.second_opinion:
        return [apply_recipe(method.at_cutoff(cutoff), case, logits) for cutoff in cutoffs]
    asked = [tracer for tracer in case.spaces if method.members_of(tracer)]
    by_tracer = {tracer: swept_second_opinion(tracer, method, case, logits, cutoffs) for tracer in asked}
    found = [CropMasks({tracer: masks[k] for tracer, masks in by_tracer.items()}) for k in range(len(cutoffs))]
    return [_refined(each, recipe.refinement, case) for each in found]


def _refined(found: CropMasks, refinement: str, case: PreparedCase) -> CropMasks:
    """Masks without the FDG lesions that a model of that name takes away; without a name, as they are."""
    if not refinement or not _can_refine(found.masks, case):
        return found
    with case.log.watch.stage("refinement"):
        fdg, removed = refine(_scene(found.masks, case), load_classifier(refinement))
    return replace(found, masks={**found.masks, Tracer.FDG: fdg}, removed=removed, unrefined=found.masks[Tracer.FDG])


def _can_refine(masks: Mapping[Tracer, NDArray[np.bool_]], case: PreparedCase) -> bool:
    """Whether FDG lesions can be refined by PSMA; what stands in the way is noted."""
    if len(case.case.studies) < len(Tracer) or case.case.fdg_to_psma is None:
        case.log.note("FDG lesions are not refined: that takes both tracers and their registration")
        return False
    seen = [case.has_organs(tracer, "FDG lesions are not refined") for tracer in Tracer]
    return all(seen) and Tracer.FDG in masks


def _scene(masks: Mapping[Tracer, NDArray[np.bool_]], case: PreparedCase) -> Scene:
    fdg = case.spaces[Tracer.FDG]
    mask = Volume(masks[Tracer.FDG], fdg.geometry)
    # Without a PSMA voxel above threshold there is no PSMA disease, on any grid.
    psma = Volume(np.zeros_like(mask.voxels), fdg.geometry)
    if Tracer.PSMA in masks:
        psma = Volume(masks[Tracer.PSMA], case.spaces[Tracer.PSMA].geometry)
    return Scene(
        mask,
        fdg.pet[Tracer.FDG],
        psma,
        case.organs(Tracer.FDG),
        case.organs(Tracer.PSMA),
        case.case.transform(Tracer.FDG),
    )
