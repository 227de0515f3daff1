"""Where a method's masks are settled before all of its members have answered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.inference.ensemble import Unsettled
from deeppsma.inference.logits import Logits
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.weights import Member
from deeppsma.pipeline.method import Method
from deeppsma.postprocessing.settled import Bounds, Voter


def unsettled_by(method: Method, before: Mapping[str, Logits]) -> Unsettled | None:
    """Tells where a method still needs a member's answer.

    Parameters
    ----------
    method
        All of its members will have answered in the end, except where they need not.
    before
        What members said earlier, by name.

    Returns
    -------
    callable or None
        None where nothing can be settled early: logits have no bounds, so that only a mean of probabilities can be;
        and a second opinion looks at all of it.

    Notes
    -----
    The folds of one model of nnU-Net are one member here: nnU-Net averages their logits.
    """
    if method.recipe.average != "probabilities" or method.recipe.second_opinion:
        return None

    def unsettled(tracer: Tracer, so_far: Mapping[str, Logits]) -> NDArray[np.bool_] | None:
        said = {**before, **so_far}
        answers = {
            each.name: said[each.name].of(tracer, tracer)
            for each in method.members_of(tracer)
            if each.name in said and said[each.name].knows(tracer, tracer)
        }
        if not answers:
            return None
        count = next(iter(answers.values())).shape[1]
        weights = method.recipe.member_weights
        voters = [
            Voter(weights.get(each.name, 1.0), _class_count(each, tracer) > 2, answers.get(each.name))
            for each in method.members_of(tracer)
        ]
        bounds = Bounds.of(voters, count)
        if method.recipe.consensus is not None:
            return ~bounds.settled_by_class()
        return ~bounds.settled_by_cutoffs(method.recipe.cutoff(tracer), method.recipe.normal_cutoff(tracer))

    return unsettled


def _class_count(member: Member, tracer: Tracer) -> int:
    network = member.network
    return len(network.known_classes if isinstance(network, ModelConfig) else network.rows(tracer))
