"""Foci: subregions of the above-threshold voxels, one around each prominent peak of uptake.

The division is that of GTRC-Net, by h-maxima and watershed: a lesion and the organ beside it are told apart although
the threshold does not part them. What foci measure: `deeppsma.postprocessing.focus_table`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx
from deeppsma.postprocessing.focus_table import FocusTable, measure
from deeppsma.postprocessing.h_maxima import HMaxima, ball

__all__ = ["GTRC_FOCI", "FocusRule", "FocusTable", "divide", "measure"]


@dataclass(frozen=True)
class FocusRule:
    """How above-threshold voxels are divided into foci.

    Parameters
    ----------
    prominence
        h of the h-maxima, in units of the image (PET / threshold): two peaks count as two if every way from the lower
        to the higher one falls by at least this much.
    ball_radius_mm
        A way goes in steps of at most this length.
    published_numbering
        Number as GTRC-Net's code does. There, foci come in the order of their peaks, those without a peak of their
        own after them, and the first of these shares its number with the last peak of the image: the two count as one
        focus, wherever they lie. If the last peak is below the threshold, nothing is shared.

    References
    ----------
    Peter-MacCallum-Cancer-Centre/GTRC-Net-Pretrained, ``GTRC_Infer.py``, where the prominence is written 0.16666.
    """

    prominence: float = 1 / 6
    ball_radius_mm: float = 8.0
    published_numbering: bool = False

    def __post_init__(self) -> None:
        for name, value in (("prominence", self.prominence), ("ball_radius_mm", self.ball_radius_mm)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}")


#: As GTRC-Net was published.
GTRC_FOCI = FocusRule(prominence=0.16666, published_numbering=True)


def divide(
    image: NDArray[np.floating], inside: NDArray[np.bool_], spacing_zyx: VectorZyx, rule: FocusRule
) -> NDArray[np.int32]:
    """Divide voxels into foci.

    Parameters
    ----------
    image
        [z, y, x], PET / threshold. Single or double precision is kept, anything else becomes single.
    inside
        Voxels to divide, those of at least 1. What is a peak, all of the image decides, also what lies outside.
    spacing_zyx
        mm.
    rule
        What counts as a peak.

    Returns
    -------
    ndarray
        Numbers 1 to n without gaps, in C order of each focus' first voxel, or as the rule says; 0 elsewhere.
        Voxels that no peak reaches over faces are foci too, one for each of their components (faces).
        Nothing inside gives no focus.

    Raises
    ------
    ValueError
        If shapes differ or the image is not finite.

    Notes
    -----
    The same division as ``skimage.morphology.h_maxima`` of the whole image, ``scipy.ndimage.label`` and
    ``skimage.segmentation.watershed``, at a cost that follows the voxels inside. Published numbers have gaps, for
    peaks below the threshold: here they are closed, in the same order. (Published, the ball's two in-plane axes are
    swapped, which only pixels that are not square could show.)
    """
    if image.shape != inside.shape or image.ndim != 3:
        raise ValueError(f"image {image.shape} and inside {inside.shape} must have one shape [z, y, x]")
    image = image if image.dtype in (np.float32, np.float64) else image.astype(np.float32)
    if not np.isfinite(image.max(initial=0) - image.min(initial=0)):
        raise ValueError("image holds values that are not finite")
    hot = np.flatnonzero(inside)
    labels = np.zeros(image.shape, np.int32)
    if not len(hot):
        return labels
    numbers = labels.reshape(-1)
    maxima = HMaxima(image, rule.prominence, ball(spacing_zyx, rule.ball_radius_mm))
    # A peak may go on outside, over voxels equal but for rounding: that counts for its place in the order.
    tops = maxima.whole(maxima.among(hot))
    peaks = face_components(tops, image.shape)
    within = inside.reshape(-1)[tops]
    numbers[tops[within]] = peaks[within]
    _flood(image, labels, hot)
    count = int(peaks.max(initial=0))
    missing = hot[numbers[hot] == 0]
    numbers[missing] = count + face_components(missing, image.shape)
    if not rule.published_numbering:
        numbers[hot] = _by_first_appearance(numbers[hot])
    elif len(missing):
        last = int(tops[peaks == count][0]) if count else -1
        # Published as n_peaks + i with i from 0; without any peak the first one's number is 0, which is no focus.
        numbers[missing] -= not maxima.one_starts_behind(last, but_not=inside)
    return labels


def face_components(voxels: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Number the components, over faces, of voxels given by ascending flat indices: from 1, in C order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(voxels):
        return np.empty(0, np.int32)
    ends = []
    for axis, index in enumerate(np.unravel_index(voxels, shape)):
        here = np.flatnonzero(index < shape[axis] - 1)
        neighbour = voxels[here] + math.prod(shape[axis + 1 :])
        place = np.minimum(np.searchsorted(voxels, neighbour), len(voxels) - 1)
        touch = voxels[place] == neighbour
        ends.append(np.stack([here[touch], place[touch]]))
    pairs = np.concatenate(ends, axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), (len(voxels), len(voxels)))
    return _by_first_appearance(connected_components(graph, directed=False)[1])


def _by_first_appearance(numbers: NDArray[np.integer]) -> NDArray[np.int32]:
    """Renumber from 1 in the order in which numbers first come."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int32)
    order[np.argsort(first)] = np.arange(1, len(first) + 1)
    return order[inverse]


def _flood(image: NDArray[np.floating], labels: NDArray[np.int32], hot: NDArray[np.intp]) -> None:
    """Watershed from the peaks over all that is to be divided, in place."""
    numbers, values = labels.reshape(-1), image.reshape(-1)
    component = face_components(hot, image.shape)
    seeds = np.flatnonzero(numbers[hot])
    seed_component, seed_number = component[seeds], numbers[hot[seeds]]
    count = int(component.max())
    lowest, highest = np.full(count + 1, np.iinfo(np.int32).max, np.int32), np.zeros(count + 1, np.int32)
    np.minimum.at(lowest, seed_component, seed_number)
    np.maximum.at(highest, seed_component, seed_number)
    numbers[hot] = np.where(lowest == highest, highest, 0)[component]
    numbers[hot[seeds]] = seed_number
    several = lowest < highest
    contested = several[seed_component]
    heights = np.stack([seed_component[contested].astype(float), values[hot[seeds]][contested]], axis=1)
    if len(np.unique(heights, axis=0)) < len(heights):
        # Between equal peaks the order in the watershed's queue decides, and so all that is in it.
        numbers[hot] = 0
        numbers[hot[seeds]] = seed_number
        _watershed(image, labels, hot)
        return
    in_order = np.argsort(component, kind="stable")
    parts = np.split(hot[in_order], np.cumsum(np.bincount(component, minlength=count + 1))[:-1])
    for number in np.flatnonzero(several):
        _watershed(image, labels, parts[number])


def _watershed(image: NDArray[np.floating], labels: NDArray[np.int32], voxels: NDArray[np.intp]) -> None:
    from skimage.segmentation import watershed

    index = np.stack(np.unravel_index(voxels, image.shape))
    start, stop = index.min(axis=1), index.max(axis=1) + 1
    place = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    mask = np.zeros(stop - start, bool)
    mask[tuple(index - start[:, None])] = True
    labels[place][mask] = watershed(-image[place], np.where(mask, labels[place], 0), mask=mask)[mask]
