"""Where nnU-Net's windows lie, and how it weighs them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.inference.sliding_window import GAUSSIAN_SIGMA


def planned_windows(shape: IndexZyx, patch: IndexZyx, step: float = 0.5) -> list[Box]:
    """Windows that cover a grid, spread evenly.

    Parameters
    ----------
    shape, patch
        Of the grid, of a window.
    step
        Largest step between windows, as a share of the window.

    Returns
    -------
    list of Box
        Where the grid is smaller than a window, the window reaches outside on
        both sides, by one more voxel at the end if the sum is odd.

    Raises
    ------
    ValueError
        If a size is not positive, or the step not in (0, 1].
    """
    if min(shape) < 1 or min(patch) < 1 or not 0 < step <= 1:
        raise ValueError(f"cannot cover {shape} by windows of {patch} in steps of {step}")
    starts = [_starts(n, p, step) for n, p in zip(shape, patch, strict=True)]
    a, b, c = patch
    return [Box((i, j, k), (i + a, j + b, k + c)) for i in starts[0] for j in starts[1] for k in starts[2]]


def _starts(size: int, patch: int, step: float) -> list[int]:
    if size <= patch:
        return [-((patch - size) // 2)]
    count = math.ceil((size - patch) / (patch * step)) + 1
    # Half steps go to the even neighbour, as numpy rounds.
    return [int(np.round((size - patch) / (count - 1) * i)) for i in range(count)]


def planned_weights(patch: IndexZyx) -> NDArray[np.float16]:
    """Weight of each voxel of a window: a Gaussian about voxel ``size // 2``, never 0.

    nnU-Net weighs and sums in half precision, with 10 in the middle. At a
    window's corners, where no other window lies, that shows in the answer
    (by up to 0.1 in a probability); the same precision gives the same answer.
    """
    from scipy.ndimage import gaussian_filter

    weights = np.zeros(patch)
    weights[tuple(n // 2 for n in patch)] = 1
    weights = gaussian_filter(weights, [n * GAUSSIAN_SIGMA for n in patch], mode="constant")
    weights = (10 * weights / weights.max()).astype(np.float16)
    return np.where(weights > 0, weights, weights[weights > 0].min())
