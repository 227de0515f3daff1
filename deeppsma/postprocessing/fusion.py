"""Fuse the answers of both spaces into one mask per tracer.

CDS report, section 2.4. The mask of a tracer that was found in the other
tracer's space is resampled linearly to its own grid, and every voxel that it
touches joins the union; then voxels below the threshold go. (The union
"unexpectedly outperformed nearest-neighbor interpolation".)

A union can only add. Beyond the report, the spaces may also be averaged:
each is then an opinion on the same voxel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume
from deeppsma.inference.task import Logits
from deeppsma.preprocessing.spaces import Space, mapped_indices


def mean_logits(members: Sequence[Logits]) -> Logits:
    """Ensemble: mean of the members' logits, voxel by voxel.

    Raises
    ------
    ValueError
        If there is no member.
    """
    if not members:
        raise ValueError("an ensemble needs a member")
    return {tracer: np.mean([member[tracer] for member in members], axis=0, dtype=np.float32) for tracer in members[0]}


def mean_probabilities(
    members: Sequence[NDArray[np.float32]], weights: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ensemble: weighted means of the members' probabilities, voxel by voxel (PaIRe).

    Parameters
    ----------
    members
        Logits of one tracer: [n] of disease or not, or of classes: [2, n] of
        background and disease, or [3, n] with normal uptake, too.
    weights
        Of the members.

    Returns
    -------
    disease, normal
        [n] float32. Members that do not know normal uptake do not count for
        it; 0 if none does.

    Raises
    ------
    ValueError
        If there is no member.
    """
    from scipy.special import expit, softmax

    if not members:
        raise ValueError("an ensemble needs a member")
    disease, normal, normal_weights = [], [], []
    for logits, weight in zip(members, weights, strict=True):
        if logits.ndim == 1:
            disease.append(expit(logits))
            continue
        classes = softmax(logits, axis=0)
        disease.append(classes[1])
        if len(classes) > 2:
            normal.append(classes[2])
            normal_weights.append(weight)
    mean = np.average(disease, axis=0, weights=weights)
    none = np.zeros(mean.shape)
    return mean.astype(np.float32), (np.average(normal, axis=0, weights=normal_weights) if normal else none).astype(
        np.float32
    )


def wanted_tracers(fusion: str, fixed: Tracer) -> tuple[Tracer, ...]:
    """Tracers whose answers a fusion takes from a space."""
    return (fixed,) if fusion == "single" else (fixed, fixed.other)


def fuse(
    fusion: str,
    tracer: Tracer,
    spaces: Mapping[Tracer, Space],
    logits: Mapping[Tracer, Logits],
    fdg_to_psma: RigidTransform,
    cutoff: float = 0.5,
) -> NDArray[np.bool_]:
    """Mask of a tracer on the crop of its own space.

    Parameters
    ----------
    fusion
        "single": the tracer's own space alone. "bothways": the union of the
        masks of both. "mean": the mean of both spaces' logits, the other's
        interpolated linearly; its own logit where the other does not see at
        least half of what surrounds a voxel above the threshold.
    tracer
        Whose mask.
    spaces
        By fixed tracer; must hold the tracer's own.
    logits
        By fixed tracer, as `deeppsma.inference.run.Prediction.run` gives them.
    fdg_to_psma
        Maps FDG points to PSMA points.
    cutoff
        Probability from which on a voxel is disease, in (0, 1).

    Returns
    -------
    ndarray
        [z, y, x] bool; only voxels at or above the threshold.
    """
    own, least = spaces[tracer], math.log(cutoff / (1 - cutoff))
    if fusion == "mean" and tracer.other in spaces:
        mean = _mean(own, spaces[tracer.other], tracer, logits, fdg_to_psma)
        return _mask(own, tracer, {tracer: mean}, least)
    mask = _mask(own, tracer, logits[tracer], least)
    if fusion == "bothways" and tracer.other in spaces:
        other = spaces[tracer.other]
        found = Volume(_mask(other, tracer, logits[tracer.other], least).astype(np.float32), other.geometry)
        mask |= resample(found, own.geometry, to_other_session(tracer, fdg_to_psma)) > 0
    return mask & own.hot


def _mask(space: Space, tracer: Tracer, logits: Logits, least: float) -> NDArray[np.bool_]:
    mask = np.zeros(space.geometry.shape_zyx, dtype=bool)
    mask[space.needed[tracer]] = logits[tracer] >= least
    return mask


def _mean(
    own: Space, other: Space, tracer: Tracer, logits: Mapping[Tracer, Logits], fdg_to_psma: RigidTransform
) -> NDArray[np.float32]:
    """Mean logits of the tracer's voxels above threshold, [n]."""
    from scipy.ndimage import map_coordinates

    known = other.needed[tracer].astype(np.float32)
    values = np.zeros_like(known)
    values[other.needed[tracer]] = logits[tracer.other][tracer]
    out = np.array(logits[tracer][tracer], dtype=np.float32)
    start = 0
    for index in mapped_indices(own.hot, own.geometry, other.geometry, to_other_session(tracer, fdg_to_psma)):
        sum_known, share = (map_coordinates(each, index.T, order=1) for each in (values, known))
        here = out[start : start + len(index)]
        seen = share >= 0.5
        here[seen] = (here[seen] + sum_known[seen] / share[seen]) / 2
        start += len(index)
    return out
