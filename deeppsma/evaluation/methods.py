"""Score several methods on one case, which is read, and run through each network, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.baseline import trivial_answer
from deeppsma.evaluation.froc import CUTOFFS
from deeppsma.evaluation.metrics import LesionCounts, Scores, count_lesions
from deeppsma.evaluation.removals import Removal, find_removals
from deeppsma.evaluation.scoring import Reference, read_references, score_masks
from deeppsma.io.cohort import LabelledCase
from deeppsma.pipeline.apply_recipe import CropMasks
from deeppsma.pipeline.case_run import CaseRun
from deeppsma.pipeline.method import Method

TRIVIAL = "trivial"


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
        As for `deeppsma.pipeline.case_run.CaseRun`.
    swept
        Method whose cutoff is moved for the FROC; empty for none.
    device
        "auto", "cuda", "cpu" or "openvino".

    Raises
    ------
    ConfigurationError
        If two members share a name, or the overlaps differ.
    """
    methods = [method.for_case(labelled.case) for method in methods]
    run = CaseRun(labelled.case, methods, device)
    references = read_references(labelled)
    scores = {TRIVIAL: score_masks(_trivial(labelled, references), references)}
    sweep: dict[Tracer, list[LesionCounts]] = {}
    removals: dict[str, list[Removal]] = {}
    for method in methods:
        found = run.apply(method)
        scores[method.name] = score_masks(run.on_pets(found), references)
        if method.recipe.refinement:
            removals[method.name] = _removals(found, references[Tracer.FDG], run)
        if method.name == swept:
            each = [run.on_pets(found) for found in run.swept(method, CUTOFFS)]
            sweep = {t: [count_lesions(masks[t].voxels > 0, references[t].truth) for masks in each] for t in Tracer}
    return CaseScores(scores, sweep, removals, run.log.fallbacks)


def _removals(found: CropMasks, reference: Reference, run: CaseRun) -> list[Removal]:
    space = run.prepared.spaces.get(Tracer.FDG)
    if space is None:
        return []
    truth = run.prepared.on_crop(Tracer.FDG, reference.truth)
    return find_removals(found, truth, space.geometry.voxel_volume_ml)


def _trivial(labelled: LabelledCase, references: Mapping[Tracer, Reference]) -> dict[Tracer, Volume]:
    out = {}
    for tracer in Tracer:
        study = labelled.case.study(tracer)
        pet = Volume(references[tracer].suv, study.pet.geometry)
        out[tracer] = Volume(trivial_answer(pet, study.threshold_suv, study.read_organs()), pet.geometry)
    return out
