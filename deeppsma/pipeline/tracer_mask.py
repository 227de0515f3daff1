"""One tracer's mask as a recipe's networks make it: fusion, averages, growing, votes on foci."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from deeppsma.postprocessing.region_growing import grow
from deeppsma.preprocessing.prepared_case import PreparedCase
from deeppsma.preprocessing.spaces import Space


@dataclass(frozen=True)
class TracerMask:
    """A tracer's mask [z, y, x] on the crop of its space.

    ``foci`` is a row of plain values for each focus, where the recipe votes on foci.
    """

    mask: NDArray[np.bool_]
    foci: tuple[dict[str, Any], ...] | None = None


def tracer_mask(tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]) -> TracerMask:
    """What a recipe calls disease of one tracer, without second opinion and refinement.

    Parameters
    ----------
    tracer
        It has a space, and members that answer for it.
    method, case, logits
        As for `deeppsma.pipeline.apply_recipe.apply_recipe`.
    """
    recipe = method.recipe
    if recipe.consensus is not None:
        disease, normal = disease_and_normal(tracer, method, logits)
        decided = apply_consensus(recipe.consensus, method.consensus.get(tracer), case, tracer, disease, normal)
        return TracerMask(decided.mask, decided.foci if recipe.consensus.method == "vote" else None)
    if recipe.average == "logits":
        return TracerMask(_of_logits(tracer, method, case, logits))
    return TracerMask(_of_probabilities(tracer, method, case, logits))


def probabilities(
    method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> dict[Tracer, NDArray[np.float32]]:
    """Probability of disease on the crop of each tracer's space, [z, y, x] float32; 0 below the threshold.

    It is the networks' own, fused as the recipe fuses them, before region
    growing and refinement.

    Parameters
    ----------
    method, case, logits
        As for `deeppsma.pipeline.apply_recipe.apply_recipe`.
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
        return disease_and_normal(tracer, method, logits)[0]
    mean = mean_logits([logits[member.name] for member in method.members])
    return np.asarray(expit(fused_logits(method.recipe.fusion, tracer, case.spaces, mean, case.case.fdg_to_psma)))


def _of_logits(tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]) -> NDArray[np.bool_]:
    recipe = method.recipe
    with case.log.watch.stage("fusion"):
        mean = mean_logits([logits[member.name] for member in method.members])
        mask = fuse(recipe.fusion, tracer, case.spaces, mean, case.case.fdg_to_psma, recipe.cutoff(tracer))
    return _grown(mask, tracer, case, recipe.growing)


def _of_probabilities(
    tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> NDArray[np.bool_]:
    space, recipe = case.spaces[tracer], method.recipe
    with case.log.watch.stage("fusion"):
        disease, normal = disease_and_normal(tracer, method, logits)
        mask = np.zeros(space.geometry.shape_zyx, dtype=bool)
        mask[space.hot] = disease > recipe.cutoff(tracer)
        refused = np.zeros_like(mask)
        refused[space.hot] = normal > recipe.normal_cutoff(tracer)
    return _grown(mask, tracer, case, recipe.growing) & ~refused


def disease_and_normal(
    tracer: Tracer, method: Method, logits: Mapping[str, Logits]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean probabilities of disease and of normal uptake, [n] each, of a recipe that averages probabilities."""
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
