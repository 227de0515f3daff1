"""The step of a second opinion, on a case: what the trees look at, and what they make of a recipe's mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from deeppsma.core.tracer import Tracer
from deeppsma.inference.logits import Logits
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Recipe
from deeppsma.pipeline.tracer_mask import disease_and_normal, tracer_mask
from deeppsma.postprocessing.second_opinion.decide import judge
from deeppsma.postprocessing.second_opinion.evidence import Evidence, gather_evidence
from deeppsma.postprocessing.second_opinion.focus_lines import focus_lines
from deeppsma.postprocessing.second_opinion.store import load_second_opinions
from deeppsma.preprocessing.prepared_case import PreparedCase
from deeppsma.preprocessing.spaces import Space

#: Probabilities nearer to 0 or 1 than this say no more.
_LEAST_PROBABILITY = 1e-6


def evidence_of(tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]) -> Evidence:
    """What a second opinion on a tracer looks at.

    Parameters
    ----------
    tracer
        Whose; it must have a space, and members that answer for it.
    method, case, logits
        As for `deeppsma.pipeline.apply_recipe.apply_recipe`.
    """
    return gather_evidence(
        tracer,
        case.spaces,
        _voices(tracer, method, logits),
        case.case.thresholds,
        case.case.fdg_to_psma,
        case.organs(tracer),
        case.ct(tracer),
        _mask_at_hot(tracer, method, case, logits),
    )


def apply_second_opinion(
    tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> tuple[NDArray[np.bool_], tuple[dict[str, Any], ...]]:
    """Mask of a tracer after its second opinion, [z, y, x] on the crop, and the lines on its foci.

    Parameters
    ----------
    tracer, method, case, logits
        As for `evidence_of`; the log says what the trees had to do without.
    """
    opinions = load_second_opinions(method.recipe.second_opinion)
    space, model = case.spaces[tracer], opinions.models[tracer]
    if opinions.of_weights and {member.sha256 for member in method.members} != set(opinions.of_weights):
        case.log.note("the second opinion has learnt from other weights than these: fit it anew, or choose 'mean'")
    evidence = evidence_of(tracer, method, case, logits)
    for missing in evidence.missing:
        case.log.note(f"no {missing}: the second opinion does without")
    cutoff = _cutoff(method.recipe, tracer)
    with case.log.watch.stage("second opinion"):
        opinion = judge(model, evidence, cutoff)
        lines = focus_lines(model, opinion, evidence, space.geometry)
    if unconvinced := opinion.unconvinced_by(model, cutoff):
        case.log.note(
            f"no {tracer.upper()} focus is likely to be disease, so the mask is empty; "
            f"{unconvinced} that might be {'is' if unconvinced == 1 else 'are'} for a reader to judge"
        )
    return _dense(space, opinion.disease), lines


def swept_second_opinion(
    tracer: Tracer,
    method: Method,
    case: PreparedCase,
    logits: Mapping[str, Logits],
    cutoffs: Sequence[float],
) -> list[NDArray[np.bool_]]:
    """Mask of a tracer at each of several cutoffs, [z, y, x] on the crop; its foci are judged once.

    Parameters
    ----------
    tracer, method, case, logits
        As for `evidence_of`.
    cutoffs
        Probabilities, between 0 and 1.
    """
    model = load_second_opinions(method.recipe.second_opinion).models[tracer]
    evidence = evidence_of(tracer, method, case, logits)
    opinion = judge(model, evidence)
    masks = []
    for cutoff in cutoffs:
        # A mean of both spaces is cut by the opinion itself; other recipes make their mask anew.
        found = None if evidence.mask is None else _mask_at_hot(tracer, method.at_cutoff(cutoff), case, logits)
        masks.append(_dense(case.spaces[tracer], opinion.disease_at(model, cutoff, found)))
    return masks


def _voices(tracer: Tracer, method: Method, logits: Mapping[str, Logits]) -> list[Logits]:
    """What each member says, as logits of disease or not; of probabilities what they say together."""
    if method.recipe.average == "logits":
        return [logits[member.name] for member in method.members]
    disease, _ = disease_and_normal(tracer, method, logits)
    clipped = np.clip(disease, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return [Logits({(tracer, tracer): np.asarray(logit(clipped), dtype=np.float32)[None]})]


def _mask_at_hot(
    tracer: Tracer, method: Method, case: PreparedCase, logits: Mapping[str, Logits]
) -> NDArray[np.bool_] | None:
    """What the recipe calls disease, [n] at the hot voxels; None where that is what the mean of both spaces does."""
    recipe = method.recipe
    if recipe.average == "logits" and recipe.fusion != "bothways" and recipe.growing is None:
        return None
    return tracer_mask(tracer, method, case, logits).mask[case.spaces[tracer].hot]


def _cutoff(recipe: Recipe, tracer: Tracer) -> float:
    """Of networks and trees together; cutoffs on means of probabilities are the networks' alone."""
    return recipe.cutoff(tracer) if recipe.average == "logits" else 0.5


def _dense(space: Space, at_hot: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.zeros(space.geometry.shape_zyx, dtype=bool)
    mask[space.hot] = at_hot
    return mask
