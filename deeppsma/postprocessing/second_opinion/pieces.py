"""Foci to judge: basins of uptake, cut where the network's mask ends.

A basin alone joins a lesion to the organ that it touches; the network's mask
alone joins lesions to each other. Cut by each other, nearly every piece is
either disease or not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx
from deeppsma.postprocessing.second_opinion.basins import Neighbours, basins
from deeppsma.postprocessing.second_opinion.evidence import Evidence

#: A peak stands out by this much of log uptake, smoothed by a Gaussian of this standard deviation.
PROMINENCE, SMOOTHING_MM = 0.12, 1.5
#: Smaller pieces join another one of their basin, if there is one on the same side of the mask.
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
    return pieces(ratio, evidence.hot, evidence.found, evidence.spacing_zyx)


def pieces(
    ratio: NDArray[np.floating], hot: NDArray[np.bool_], found: NDArray[np.bool_], spacing_zyx: VectorZyx
) -> NDArray[np.int32]:
    """Number of the piece of each hot voxel.

    Parameters
    ----------
    ratio
        [z, y, x] PET over threshold.
    hot
        Voxels to divide.
    found
        [n] for the hot voxels in C order: whether the network calls them
        disease.
    spacing_zyx
        mm.

    Returns
    -------
    ndarray
        [n], from 0 without gaps. Voxels of a piece are connected (18
        neighbours) and on one side of the mask, but for pieces of one or two
        voxels that joined another one.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if ratio.shape != hot.shape or found.shape != (int(hot.sum()),):
        raise ValueError(f"PET {ratio.shape}, hot voxels {hot.shape} and mask {found.shape} do not fit")
    if not len(found):
        return np.zeros(0, np.int32)
    neighbours = Neighbours.of(hot)
    basin = basins(_smooth_log(ratio, spacing_zyx)[hot], neighbours, PROMINENCE)
    side = 2 * basin.astype(np.int64) + found
    return _without_specks(neighbours.components(side), side)


def _smooth_log(ratio: NDArray[np.floating], spacing_zyx: VectorZyx) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    log = np.log(np.maximum(ratio, np.float32(_FLOOR)), dtype=np.float32)
    sigma = [SMOOTHING_MM / spacing for spacing in spacing_zyx]
    return np.asarray(gaussian_filter(log, sigma, truncate=2.0, mode="nearest"))


def _without_specks(piece: NDArray[np.int32], side: NDArray[np.integer]) -> NDArray[np.int32]:
    """Specks join the largest piece of their basin on their side of the mask; numbered anew without gaps."""
    sizes = np.bincount(piece)
    side_of_piece = side[np.unique(piece, return_index=True)[1]]
    # By side, the largest piece last; of equal ones the first.
    order = np.lexsort((-np.arange(len(sizes)), sizes, side_of_piece))
    largest_of_side = dict(zip(side_of_piece[order].tolist(), order.tolist(), strict=True))
    target = np.array([largest_of_side[each] for each in side_of_piece.tolist()])
    target = np.where(sizes < _LEAST_VOXELS, target, np.arange(len(sizes)))
    return np.asarray(np.unique(target[piece], return_inverse=True)[1], dtype=np.int32)
