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
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume
from deeppsma.inference.logits import Logits
from deeppsma.preprocessing.spaces import Space, mapped_indices


def fuse(
    fusion: str,
    tracer: Tracer,
    spaces: Mapping[Tracer, Space],
    logits: Logits,
    fdg_to_psma: RigidTransform | None,
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
        Of disease or not: one class.
    fdg_to_psma
        Maps FDG points to PSMA points. None: only the own space counts.
    cutoff
        Probability from which on a voxel is disease, in (0, 1).

    Returns
    -------
    ndarray
        [z, y, x] bool; only voxels at or above the threshold.
    """
    own, least = spaces[tracer], math.log(cutoff / (1 - cutoff))
    other = _other_view(tracer, spaces, logits, fdg_to_psma)
    if fusion == "mean" and other is not None:
        return _hot_mask(own, mean_of_spaces(own, other, tracer, logits, fdg_to_psma) >= least)
    mask = _mask(own, tracer, logits, least)
    if fusion == "bothways" and other is not None and fdg_to_psma is not None:
        found = Volume(_mask(other, tracer, logits, least).astype(np.float32), other.geometry)
        mask |= resample(found, own.geometry, to_other_session(tracer, fdg_to_psma)) > 0
    return mask & own.hot


def fused_logits(
    fusion: str,
    tracer: Tracer,
    spaces: Mapping[Tracer, Space],
    logits: Logits,
    fdg_to_psma: RigidTransform | None,
) -> NDArray[np.float32]:
    """Logits [n] behind `fuse`, at a tracer's voxels at or above its threshold.

    Of "bothways" the higher of both spaces', the other's interpolated
    linearly: a voxel that only touches disease of the other space counts in
    the union, and its logit here may be below the cutoff.

    Parameters
    ----------
    fusion, tracer, spaces, logits, fdg_to_psma
        As for `fuse`.
    """
    own = spaces[tracer]
    other = _other_view(tracer, spaces, logits, fdg_to_psma)
    if fusion == "single" or other is None:
        return logits.of(tracer, tracer)[0]
    if fusion == "mean":
        return mean_of_spaces(own, other, tracer, logits, fdg_to_psma)
    values, seen = seen_elsewhere(own, other, tracer, logits, fdg_to_psma)
    mine = logits.of(tracer, tracer)[0]
    return np.where(seen, np.maximum(mine, values), mine)


def _other_view(
    tracer: Tracer, spaces: Mapping[Tracer, Space], logits: Logits, fdg_to_psma: RigidTransform | None
) -> Space | None:
    """The other tracer's space, where it has been asked for this tracer's disease."""
    asked = fdg_to_psma is not None and tracer.other in spaces and logits.knows(tracer, tracer.other)
    return spaces[tracer.other] if asked else None


def _mask(space: Space, tracer: Tracer, logits: Logits, least: float) -> NDArray[np.bool_]:
    mask = np.zeros(space.geometry.shape_zyx, dtype=bool)
    mask[space.needed[tracer]] = logits.of(tracer, space.fixed)[0] >= least
    return mask


def _hot_mask(own: Space, disease: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.zeros(own.geometry.shape_zyx, dtype=bool)
    mask[own.hot] = disease
    return mask


def mean_of_spaces(
    own: Space, other: Space, tracer: Tracer, logits: Logits, fdg_to_psma: RigidTransform | None
) -> NDArray[np.float32]:
    """Mean logits [n] of the tracer's voxels above threshold; its own where the other space does not see them."""
    out = np.array(logits.of(tracer, tracer)[0], dtype=np.float32)
    values, seen = seen_elsewhere(own, other, tracer, logits, fdg_to_psma)
    out[seen] = (out[seen] + values[seen]) / 2
    return out


def seen_elsewhere(
    own: Space, other: Space, tracer: Tracer, logits: Logits, fdg_to_psma: RigidTransform | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits of the other space at the tracer's voxels above threshold.

    Parameters
    ----------
    own, other
        The tracer's space, and the other tracer's.
    tracer, logits, fdg_to_psma
        As for `fuse`.

    Returns
    -------
    values, seen
        [n] float32, interpolated linearly over what the other space knows; [n]
        bool, whether it knows at least half of what surrounds the voxel.

    Raises
    ------
    ValueError
        If the sessions are not registered.
    """
    from scipy.ndimage import map_coordinates

    if fdg_to_psma is None:
        raise ValueError("the sessions are not registered")
    known = other.needed[tracer].astype(np.float32)
    values = np.zeros_like(known)
    values[other.needed[tracer]] = logits.of(tracer, tracer.other)[0]
    count = int(own.hot.sum())
    out, seen = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=bool)
    start = 0
    for index in mapped_indices(own.hot, own.geometry, other.geometry, to_other_session(tracer, fdg_to_psma)):
        sum_known, share = (map_coordinates(each, index.T, order=1) for each in (values, known))
        enough = share >= 0.5
        here = slice(start, start + len(index))
        seen[here] = enough
        out[here][enough] = sum_known[enough] / share[enough]
        start += len(index)
    return out, seen
