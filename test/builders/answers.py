"""Answers of networks at every hot voxel of a case, set by hand."""

from __future__ import annotations

import numpy as np
from builders.cases import TINY_NETWORK
from builders.networks import CLASSES

from deeppsma.core.tracer import Tracer
from deeppsma.inference.logits import Logits
from deeppsma.models.weights import Member
from deeppsma.pipeline.recipe import Recipe

FDG_MEMBER, BOTH = Member("fdg", None, CLASSES, ""), Member("both", None, TINY_NETWORK, "")


def classes(background, disease, normal, n):
    """Logits with these probabilities at every voxel."""
    return np.repeat(np.log(np.array([background, disease, normal], np.float32))[:, None], n, axis=1)


def logits_of(case, fdg_classes, both=-10.0):
    """Of `FDG_MEMBER`, whose classes are a function of how many voxels there are, and of `BOTH`."""
    n = {tracer: int(case.spaces[tracer].hot.sum()) for tracer in Tracer}
    return {
        "fdg": Logits({(Tracer.FDG, Tracer.FDG): fdg_classes(n[Tracer.FDG])}),
        "both": Logits({(t, t): np.full((1, n[t]), both, np.float32) for t in Tracer}),
    }


def paire(**more):
    """A recipe that averages their probabilities."""
    return Recipe("r", ("fdg", "both"), "single", average="probabilities", **more)
