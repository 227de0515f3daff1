"""A patient of two blocks, bone and liver, with a lesion in the bone; and trees small enough to think through."""

from __future__ import annotations

import numpy as np

from deeppsma.core.anatomy import LIVER, VERTEBRAE
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.decide import Role, SecondOpinion
from deeppsma.postprocessing.second_opinion.evidence import Evidence
from deeppsma.postprocessing.second_opinion.features import describe
from deeppsma.postprocessing.second_opinion.pieces import pieces
from deeppsma.postprocessing.second_opinion.trees import Forest

SPACING = (4.0, 4.0, 4.0)
SHAPE = (12, 14, 24)


def small_evidence(tracer: Tracer = Tracer.FDG) -> Evidence:
    """FDG, threshold 3: a liver of SUV 6 that is not disease, a lesion of 9 in bone of 1 that is."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:10, 2:12, 2:10] = LIVER
    labels[1:11, 2:12, 14:23] = VERTEBRAE[0]
    suv = np.full(SHAPE, 0.5, np.float32)
    suv[labels == LIVER] = 6
    suv[labels == VERTEBRAE[0]] = 1
    lesion = np.zeros(SHAPE, bool)
    lesion[4:7, 5:8, 17:20] = True
    suv[lesion] = 9
    suv[5, 6, 18] = 12
    hot = suv >= 3
    own = np.where(lesion, 5.0, -6.0).astype(np.float32)[hot]
    other = np.where(lesion, 3.0, -6.0).astype(np.float32)[hot]
    hounsfield = np.where(labels == VERTEBRAE[0], 150, 40).astype(np.int16)
    hounsfield[lesion] = 300
    return Evidence(
        tracer,
        suv,
        np.where(lesion, 9.0, 1.0).astype(np.float32),
        hot,
        3.0,
        3.0,
        own,
        other,
        np.where(lesion[hot], np.float32(4), np.float32(np.nan)),
        labels,
        hounsfield,
        SPACING,
    )


def feature_names() -> tuple[str, ...]:
    """Names of all features."""
    evidence = small_evidence()
    return describe(evidence, pieces(evidence.suv / 3, evidence.hot, evidence.mean >= 0, SPACING)).names


def stump(feature: int, threshold: float, low: float, high: float) -> Forest:
    """One split: at most the threshold gives ``low``, above it ``high``; NaN as low."""
    return Forest(
        np.array([0]),
        np.array([feature, -1, -1]),
        np.array([threshold, 0.0, 0.0]),
        np.array([1, 1, 2]),
        np.array([2, 1, 2]),
        np.array([True, False, False]),
        np.array([(low + high) / 2, low, high]),
    )


def bone_model(
    tracer: Tracer = Tracer.FDG,
    role: Role = Role.DECIDES,
    offset: float = 0.0,
    scores: tuple[float, float] = (-3.0, 3.0),
) -> SecondOpinion:
    """What lies in bone is disease; scores are those outside it and inside."""
    names = feature_names()
    return SecondOpinion(tracer, names, (stump(names.index("organ.bone"), 0.5, *scores),), offset, role)
