"""Foci to judge: basins of uptake, cut where a network's mask ends.

A basin alone joins a lesion to the organ that it touches; a network's mask
alone joins lesions to each other. Cut by each other, nearly every piece is
either disease or not. Where several networks answer, each one's mask cuts: a
lesion that one of them alone sees is a piece of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx
from deeppsma.postprocessing.second_opinion.basins import Neighbours, basins
from deeppsma.postprocessing.second_opinion.evidence import Evidence

#: A peak stands out by this much of log uptake, smoothed by a Gaussian of this standard deviation.
PROMINENCE, SMOOTHING_MM = 0.12, 1.5
#: Smaller pieces join another one of their basin, if there is one on the same side.
_LEAST_VOXELS = 3
#: Far below the threshold uptake is as good as none.
_FLOOR = 0.05


def pieces_of(evidence: Evidence) -> NDArray[np.int32]:
    """`pieces` of one tracer of a case, as trees are fitted on them and asked about them.

    Parameters
    ----------
    evidence
        Of the tracer.
    """
    ratio = evidence.suv / np.float32(evidence.threshold_suv)
    masks = [logits >= 0 for logits in evidence.members]
    if not masks or evidence.mask is not None:
        masks.append(evidence.found)
    side = np.zeros(len(evidence.own), dtype=np.int64)
    for mask in masks:
        side = 2 * side + mask
    return pieces(ratio, evidence.hot, side, evidence.spacing_zyx)


def pieces(
    ratio: NDArray[np.floating], hot: NDArray[np.bool_], side: NDArray[np.integer | np.bool_], spacing_zyx: VectorZyx
) -> NDArray[np.int32]:
    """Number of the piece of each hot voxel.

    Parameters
    ----------
    ratio
        [z, y, x] PET over threshold.
    hot
        Voxels to divide.
    side
        [n] for the hot voxels in C order, whole numbers from 0: which masks
        they lie in. No piece crosses from one side to another.
    spacing_zyx
        mm.

    Returns
    -------
    ndarray
        [n], from 0 without gaps. Voxels of a piece are connected (18
        neighbours) and on one side, but for pieces of one or two
        voxels that joined another one.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if ratio.shape != hot.shape or side.shape != (int(hot.sum()),):
        raise ValueError(f"PET {ratio.shape}, hot voxels {hot.shape} and sides {side.shape} do not fit")
    if not len(side):
        return np.zeros(0, np.int32)
    neighbours = Neighbours.of(hot)
    basin = basins(_smooth_log(ratio, spacing_zyx)[hot], neighbours, PROMINENCE)
    part = (int(side.max()) + 1) * basin.astype(np.int64) + side
    return _without_specks(neighbours.components(part), part)


def _smooth_log(ratio: NDArray[np.floating], spacing_zyx: VectorZyx) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    log = np.log(np.maximum(ratio, np.float32(_FLOOR)), dtype=np.float32)
    sigma = [SMOOTHING_MM / spacing for spacing in spacing_zyx]
    return np.asarray(gaussian_filter(log, sigma, truncate=2.0, mode="nearest"))


def _without_specks(piece: NDArray[np.int32], part: NDArray[np.integer]) -> NDArray[np.int32]:
    """Specks join the largest piece of their part, a basin on one side; numbered anew without gaps."""
    sizes = np.bincount(piece)
    part_of_piece = part[np.unique(piece, return_index=True)[1]]
    # By part, the largest piece last; of equal ones the first.
    order = np.lexsort((-np.arange(len(sizes)), sizes, part_of_piece))
    largest_of_part = dict(zip(part_of_piece[order].tolist(), order.tolist(), strict=True))
    target = np.array([largest_of_part[each] for each in part_of_piece.tolist()])
    target = np.where(sizes < _LEAST_VOXELS, target, np.arange(len(sizes)))
    return np.asarray(np.unique(target[piece], return_inverse=True)[1], dtype=np.int32)
