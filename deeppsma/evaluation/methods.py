"""Score several methods on one case, which is read, and run through each network, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.baseline import trivial_answer
from deeppsma.evaluation.froc import CUTOFFS
from deeppsma.evaluation.metrics import LesionCounts, Scores, count_lesions
from deeppsma.evaluation.removals import Removal, find_removals
from deeppsma.evaluation.scoring import Reference, read_references, score_masks
from deeppsma.inference.ensemble import RunLog, gather
from deeppsma.io.cohort import LabelledCase
from deeppsma.models.weights import Member
from deeppsma.pipeline.apply_recipe import Answer, answer, check_members, identity
from deeppsma.pipeline.recipe import Recipe
from deeppsma.pipeline.segment import on_full_grid, read_beside, read_spaces
from deeppsma.preprocessing.auxiliary import Companions, note_formats
from deeppsma.preprocessing.spaces import Space

TRIVIAL = "trivial"


@dataclass(frozen=True)
class Method:
    """A recipe with the members that fill it.

    Parameters
    ----------
    name
        In tables.
    recipe, members
        What is done, with which networks.
    fallbacks
        What did not go as planned when they were chosen, a line each.
    """

    name: str
    recipe: Recipe
    members: tuple[Member, ...]
    fallbacks: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """What two runs must share for their scores to be the same; JSON values."""
        return identity(self.recipe, self.members)


@dataclass(frozen=True)
class CaseScores:
    """Of one case.

    Parameters
    ----------
    scores
        By method ("trivial" is every hot voxel outside kidneys, liver and
        bladder), then tracer.
    sweep
        By tracer: lesions at each cutoff of `CUTOFFS`, of the swept method.
    removals
        By method that refines: FDG lesions that it took away.
    fallbacks
        What did not go as planned, a line each.
    """

    scores: Mapping[str, Mapping[Tracer, Scores]]
    sweep: Mapping[Tracer, Sequence[LesionCounts]]
    removals: Mapping[str, list[Removal]] = field(default_factory=dict)
    fallbacks: list[str] = field(default_factory=list)


def score_case(labelled: LabelledCase, methods: Sequence[Method], swept: str, device: str = "auto") -> CaseScores:
    """Scores of methods on a case.

    Parameters
    ----------
    labelled
        The case with its truth.
    methods
        Names are unique, and so are the names of different members; all with
        one window overlap.
    swept
        Method whose cutoff is moved for the FROC.
    device
        "auto", "cuda" or "cpu".

    Raises
    ------
    ConfigurationError
        If two members share a name, or the overlaps differ.
    """
    members = _members(methods)
    overlaps = {method.recipe.window_overlap for method in methods}
    if len(overlaps) != 1:
        raise ConfigurationError("experiments", f"window overlaps {sorted(overlaps)}", "choose recipes of one overlap")
    for method in methods:
        check_members(method.recipe, method.members)
    log = RunLog()
    case = labelled.case
    note_formats(case, [member.network for member in members], log.fallbacks)
    grids, spaces = read_spaces(case, log)
    companions = read_beside(case, [method.recipe for method in methods], members, log) if spaces else Companions()
    # All answers of a space are needed if any recipe fuses them.
    fusion = next((m.recipe.fusion for m in methods if m.recipe.fusion != "single"), "single")
    evidence = gather(case, spaces, companions, members, fusion, overlaps.pop(), device, log=log)
    references = read_references(labelled)
    scores = {TRIVIAL: score_masks(_trivial(labelled, references, grids), references)}
    sweep: dict[Tracer, list[LesionCounts]] = {}
    removals: dict[str, list[Removal]] = {}

    def whole(found: Answer) -> dict[Tracer, Volume]:
        return {t: on_full_grid(spaces.get(t), found.masks.get(t), grids[t]) for t in Tracer}

    for method in methods:
        found = answer(method.recipe, evidence, method.members, log)
        scores[method.name] = score_masks(whole(found), references)
        if method.recipe.refinement:
            removals[method.name] = _removals(found, references[Tracer.FDG], spaces.get(Tracer.FDG))
        if method.name == swept:
            recipes = [replace(method.recipe, cutoffs=dict.fromkeys(Tracer, cutoff)) for cutoff in CUTOFFS]
            each = [whole(answer(recipe, evidence, method.members, log)) for recipe in recipes]
            sweep = {t: [count_lesions(masks[t].voxels > 0, references[t].truth) for masks in each] for t in Tracer}
    return CaseScores(scores, sweep, removals, log.fallbacks)


def _removals(found: Answer, reference: Reference, space: Space | None) -> list[Removal]:
    if space is None:
        return []
    return find_removals(found, reference.truth[space.box.slices], space.geometry.voxel_volume_ml)


def _members(methods: Sequence[Method]) -> list[Member]:
    by_name: dict[str, Member] = {}
    for member in (member for method in methods for member in method.members):
        if by_name.setdefault(member.name, member) != member:
            raise ConfigurationError("experiments", f"two members named {member.name}", "rename one of them")
    return list(by_name.values())


def _trivial(
    labelled: LabelledCase, references: Mapping[Tracer, Reference], grids: Mapping[Tracer, Geometry]
) -> dict[Tracer, Volume]:
    out = {}
    for tracer in Tracer:
        study = labelled.case.study(tracer)
        pet = Volume(references[tracer].suv, grids[tracer])
        out[tracer] = Volume(trivial_answer(pet, study.threshold_suv, study.read_organs()), pet.geometry)
    return out
