"""What a recipe makes of the networks' logits: fusion, region growing, normal uptake, refinement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from deeppsma.core.box import Box
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.logits import Logits, mean_logits, mean_probabilities
from deeppsma.pipeline.apply_consensus import apply_consensus
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Growing
from deeppsma.postprocessing.fusion import fuse, fused_logits
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.lesions import Scene
from deeppsma.postprocessing.refinement import refine
from deeppsma.postprocessing.region_growing import grow
from deeppsma.postprocessing.second_opinion.decide import Opinion, Role, SecondOpinion, judge
from deeppsma.postprocessing.second_opinion.evidence import Evidence, gather_evidence
from deeppsma.postprocessing.second_opinion.focus_lines import focus_lines
from deeppsma.postprocessing.second_opinion.store import load_second_opinions
from deeppsma.preprocessing.prepared_case import PreparedCase
from deeppsma.preprocessing.spaces import Space


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
        elif recipe.consensus is not None:
            disease, normal = _mean_probabilities(tracer, method, logits)
            decided = apply_consensus(recipe.consensus, method.consensus.get(tracer), case, tracer, disease, normal)
            masks[tracer] = decided.mask
            foci |= {tracer: decided.foci} if recipe.consensus.method == "vote" else {}
        elif recipe.second_opinion:
            masks[tracer], foci[tracer] = _of_second_opinion(tracer, method, case, logits)
        elif recipe.average == "logits":
            masks[tracer] = _of_logits(tracer, method, case, logits)
        else:
            masks[tracer] = _of_probabilities(tracer, method, case, logits)
    if recipe.refinement and _can_refine(masks, case):
        unrefined = masks[Tracer.FDG]
        with case.log.watch.stage("refinement"):
            masks[Tracer.FDG], removed = refine(_scene(masks, case), load_classifier(recipe.refinement))
        return CropMasks(masks, removed, unrefined, foci)
    return CropMasks(masks, foci=foci)


def probabilities(
    method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> dict[Tracer, NDArray[np.float32]]:
    """Probability of disease on the crop of each tracer's space, [z, y, x] float32; 0 below the threshold.

    It is the networks' own, fused as the recipe fuses them, before region
    growing and refinement.

    Parameters
    ----------
    method, case, logits
        As for `apply_recipe`.
    """
    out = {}
    for tracer, space in case.spaces.items():
        dense = np.zeros(space.geometry.shape_zyx, dtype=np.float32)
        if method.members_of(tracer):
            dense[space.hot] = _probability(tracer, method, case, logits)
        out[tracer] = dense
    return out


def _probability(
    tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> NDArray[np.float32]:
    if method.recipe.average == "probabilities":
        return _mean_probabilities(tracer, method, logits)[0]
    mean = mean_logits([logits[member.name] for member in method.members])
    return np.asarray(expit(fused_logits(method.recipe.fusion, tracer, case.spaces, mean, case.case.fdg_to_psma)))


def _of_logits(tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]) -> NDArray[np.bool_]:
    recipe = method.recipe
    with case.log.watch.stage("fusion"):
        mean = mean_logits([logits[member.name] for member in method.members])
        mask = fuse(recipe.fusion, tracer, case.spaces, mean, case.case.fdg_to_psma, recipe.cutoff(tracer))
    return _grown(mask, tracer, case, recipe.growing)


def evidence_of(tracer: Tracer, members: Sequence[str], case: PreparedCase, logits: Mapping[str, Logits]) -> Evidence:
    """What a second opinion on a tracer looks at.

    Parameters
    ----------
    tracer
        Whose; it must have a space.
    members
        Names of those whose logits are averaged.
    case, logits
        As for `apply_recipe`.
    """
    mean = mean_logits([logits[name] for name in members])
    return gather_evidence(
        tracer,
        case.spaces,
        mean,
        case.case.thresholds,
        case.case.fdg_to_psma,
        case.organs(tracer),
        case.ct(tracer),
    )


def _of_second_opinion(
    tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> tuple[NDArray[np.bool_], tuple[dict[str, Any], ...]]:
    """Mask of a tracer after its second opinion, and the lines on its foci."""
    opinions = load_second_opinions(method.recipe.second_opinion)
    space, model = case.spaces[tracer], opinions.models[tracer]
    if opinions.of_weights and {member.sha256 for member in method.members} != set(opinions.of_weights):
        case.log.note("the second opinion has learnt from other weights than these: fit it anew, or choose 'mean'")
    evidence = evidence_of(tracer, [member.name for member in method.members], case, logits)
    for missing in evidence.missing:
        case.log.note(f"no {missing}: the second opinion does without")
    with case.log.watch.stage("second opinion"):
        opinion = judge(model, evidence, method.recipe.cutoff(tracer))
        lines = focus_lines(model, opinion, evidence, space.geometry)
    return _decided(tracer, method, case, logits, model, opinion), lines


def _decided(
    tracer: Tracer,
    method: Method,
    case: PreparedCase,
    logits: Mapping[str, Logits],
    model: SecondOpinion,
    opinion: Opinion,
) -> NDArray[np.bool_]:
    """Mask of a tracer that has been judged: of the trees and the network as far as the role goes, at the cutoff."""
    if model.role is Role.SAYS:
        return _of_logits(tracer, method, case, logits)
    space = case.spaces[tracer]
    mask = np.zeros(space.geometry.shape_zyx, dtype=bool)
    mask[space.hot] = opinion.disease_at(model, method.recipe.cutoff(tracer))
    return mask


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
    each = [replace(method, recipe=replace(recipe, cutoffs=dict.fromkeys(Tracer, cutoff))) for cutoff in cutoffs]
    if not recipe.second_opinion:
        return [apply_recipe(at_cutoff, case, logits) for at_cutoff in each]
    models = load_second_opinions(recipe.second_opinion).models
    masks: list[dict[Tracer, NDArray[np.bool_]]] = [{} for _ in cutoffs]
    for tracer in case.spaces:
        model = models[tracer]
        opinion = judge(model, evidence_of(tracer, [member.name for member in method.members], case, logits))
        for at_cutoff, found in zip(each, masks, strict=True):
            found[tracer] = _decided(tracer, at_cutoff, case, logits, model, opinion)
    return [CropMasks(found) for found in masks]


def _of_probabilities(
    tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> NDArray[np.bool_]:
    space, recipe = case.spaces[tracer], method.recipe
    with case.log.watch.stage("fusion"):
        disease, normal = _mean_probabilities(tracer, method, logits)
        mask = np.zeros(space.geometry.shape_zyx, dtype=bool)
        mask[space.hot] = disease > recipe.cutoff(tracer)
        refused = np.zeros_like(mask)
        refused[space.hot] = normal > recipe.normal_cutoff(tracer)
    return _grown(mask, tracer, case, recipe.growing) & ~refused


def _mean_probabilities(
    tracer: Tracer, method: Method, logits: Mapping[str, Logits]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    members = method.members_of(tracer)
    weights = [method.recipe.member_weights.get(member.name, 1.0) for member in members]
    return mean_probabilities([logits[member.name].of(tracer, tracer) for member in members], weights)


def _grown(mask: NDArray[np.bool_], tracer: Tracer, case: PreparedCase, growing: Growing | None) -> NDArray[np.bool_]:
    if growing is None:
        return mask
    kept = growing.kept(tracer)
    # The map is read, and its absence noted, whether there is anything to grow or not: that is known beforehand.
    organs = case.organs(tracer) if kept and case.has_organs(tracer, "growing spares no organ") else None
    with case.log.watch.stage("growing"):
        return _grown_on(mask, case.spaces[tracer], organs, growing.radius_mm, kept)


def _grown_on(
    mask: NDArray[np.bool_], space: Space, organs: Volume | None, radius_mm: float, kept_organs: tuple[int, ...]
) -> NDArray[np.bool_]:
    around = Box.around_mask(mask)
    if around is None:
        return mask
    reach = tuple(int(radius_mm / s) + 2 for s in space.geometry.spacing_zyx)
    box = around.grown((reach[0], reach[1], reach[2])).clipped(mask.shape)
    kept = np.zeros(box.shape_zyx, dtype=bool)
    if organs is not None and kept_organs:
        labels = resample(organs, space.geometry.cropped(box), labels=True)
        kept = np.isin(labels, kept_organs)
    out = mask.copy()
    out[box.slices] = grow(mask[box.slices], space.hot[box.slices], space.geometry.spacing_zyx, radius_mm, kept)
    return out


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
