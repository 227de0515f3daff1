"""What a recipe makes of the evidence: fusion, growing, normal uptake, refinement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.ensemble import Evidence, RunLog
from deeppsma.inference.task import Logits
from deeppsma.models.weights import Member
from deeppsma.pipeline.recipe import Growing, Recipe
from deeppsma.postprocessing.fusion import fuse, mean_probabilities
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.lesions import Scene
from deeppsma.postprocessing.refinement import refine
from deeppsma.postprocessing.region_growing import grow
from deeppsma.preprocessing.spaces import Space


@dataclass(frozen=True)
class Answer:
    """Masks of a case.

    Parameters
    ----------
    masks
        By tracer, [z, y, x] bool on the crop of its space; a tracer without a
        space has none.
    removed
        FDG lesions that refinement took away, a line each for the run report.
    unrefined
        The FDG mask before that; None where nothing was refined.
    """

    masks: dict[Tracer, NDArray[np.bool_]]
    removed: list[dict[str, Any]] = field(default_factory=list)
    unrefined: NDArray[np.bool_] | None = None


def check_members(recipe: Recipe, members: Sequence[Member]) -> None:
    """Refuse members that a recipe cannot average.

    Raises
    ------
    ConfigurationError
        If logits are averaged over classes that exclude each other, a tracer
        is left without a member, or the refinement makes no sense.
    """
    where = f"recipe {recipe.name}"
    if recipe.average == "logits":
        for member in members:
            if member.network.classes:
                found = f"averages logits, and {member.name} answers with classes"
                raise ConfigurationError(where, found, "average probabilities, or choose other members")
    if recipe.refinement:
        load_classifier(recipe.refinement)  # that it makes no sense is said before the networks run
    for tracer in Tracer:
        if not any(tracer in member.network.tracers for member in members):
            raise ConfigurationError(where, f"no member answers for {tracer.upper()}", "add one")


def identity(recipe: Recipe, members: Sequence[Member]) -> dict[str, Any]:
    """What two answers must share to be the same, names and summaries apart; JSON values."""
    what = {key: value for key, value in recipe.as_dict().items() if key not in ("name", "summary", "source")}
    if recipe.refinement:
        what["refinement"] = load_classifier(recipe.refinement).as_dict()
    networks = [{key: value for key, value in asdict(m.network).items() if key != "summary"} for m in members]
    return {"recipe": what, "sha256": [member.sha256 for member in members], "networks": networks}


def answer(recipe: Recipe, evidence: Evidence, members: Sequence[Member], log: RunLog) -> Answer:
    """Masks that a recipe makes; PSMA first, because FDG is refined by it.

    Parameters
    ----------
    recipe
        What to do.
    evidence
        Of the case, with the members' logits.
    members
        That fill the recipe; see `check_members`.
    log
        Timings are added to it.
    """
    masks = {}
    logits = evidence.mean([member.name for member in members]) if recipe.average == "logits" else {}
    for tracer in Tracer:
        if tracer in evidence.spaces:
            if recipe.average == "logits":
                masks[tracer] = _of_logits(tracer, recipe, evidence, logits, log)
            else:
                masks[tracer] = _of_probabilities(tracer, recipe, evidence, members, log)
    seen = all(evidence.companions.organs[tracer] is not None for tracer in Tracer)  # else the log says so already
    if recipe.refinement and Tracer.FDG in masks and seen:
        unrefined = masks[Tracer.FDG]
        with log.watch.stage("refinement"):
            masks[Tracer.FDG], removed = refine(_scene(masks, evidence), load_classifier(recipe.refinement))
        return Answer(masks, removed, unrefined)
    return Answer(masks)


def _of_logits(
    tracer: Tracer, recipe: Recipe, evidence: Evidence, logits: Mapping[Tracer, Logits], log: RunLog
) -> NDArray[np.bool_]:
    with log.watch.stage("fusion"):
        mask = fuse(recipe.fusion, tracer, evidence.spaces, logits, evidence.case.fdg_to_psma, recipe.cutoff(tracer))
    return _grown(mask, tracer, evidence, recipe.growing, log)


def _of_probabilities(
    tracer: Tracer, recipe: Recipe, evidence: Evidence, members: Sequence[Member], log: RunLog
) -> NDArray[np.bool_]:
    space = evidence.spaces[tracer]
    mine = [member for member in members if tracer in member.network.tracers]
    with log.watch.stage("fusion"):
        logits = [evidence.logits[member.name][tracer][tracer] for member in mine]
        disease, normal = mean_probabilities(logits, [recipe.weights.get(member.name, 1.0) for member in mine])
        mask = np.zeros(space.geometry.shape_zyx, dtype=bool)
        mask[space.hot] = disease > recipe.cutoff(tracer)
        refused = np.zeros_like(mask)
        refused[space.hot] = normal > recipe.normal_cutoff(tracer)
    return _grown(mask, tracer, evidence, recipe.growing, log) & ~refused


def _grown(
    mask: NDArray[np.bool_], tracer: Tracer, evidence: Evidence, growing: Growing | None, log: RunLog
) -> NDArray[np.bool_]:
    if growing is None:
        return mask
    with log.watch.stage("growing"):
        organs = evidence.companions.organs[tracer]
        return _grown_on(mask, evidence.spaces[tracer], organs, growing.radius_mm, growing.kept(tracer))


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


def _scene(masks: Mapping[Tracer, NDArray[np.bool_]], evidence: Evidence) -> Scene:
    fdg = evidence.spaces[Tracer.FDG]
    mask = Volume(masks[Tracer.FDG], fdg.geometry)
    # Without a PSMA voxel above threshold there is no PSMA disease, on any grid.
    psma = Volume(np.zeros_like(mask.voxels), fdg.geometry)
    if Tracer.PSMA in masks:
        psma = Volume(masks[Tracer.PSMA], evidence.spaces[Tracer.PSMA].geometry)
    organs = evidence.companions.organs
    return Scene(mask, fdg.pet[Tracer.FDG], psma, organs[Tracer.FDG], organs[Tracer.PSMA], evidence.case.fdg_to_psma)
