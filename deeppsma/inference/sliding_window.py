"""Sliding windows: where they lie, how they are blended, which may be skipped.

A window is run only if it holds a voxel whose answer is needed. Every window
over a needed voxel holds that voxel, so none of them is skipped, and the
blended value there is the one that running all windows gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx

#: Standard deviation of the Gaussian over the window's size (nnU-Net, MONAI).
GAUSSIAN_SIGMA = 0.125


def plan_windows(shape_zyx: IndexZyx, patch_zyx: IndexZyx, overlap: float) -> list[Box]:
    """Windows that cover a grid.

    Parameters
    ----------
    shape_zyx
        The grid.
    patch_zyx
        Window size.
    overlap
        Share by which neighbours overlap at least, in [0, 1).

    Returns
    -------
    list of Box
        All of ``patch_zyx``; where the grid is smaller, the window is centred
        on it and reaches outside.

    Raises
    ------
    ValueError
        If a size is not positive or the overlap not in [0, 1).
    """
    if min(shape_zyx) < 1 or min(patch_zyx) < 1 or not 0 <= overlap < 1:
        raise ValueError(f"cannot cover {shape_zyx} by windows of {patch_zyx} with an overlap of {overlap}")
    starts = [_starts(n, p, overlap) for n, p in zip(shape_zyx, patch_zyx, strict=True)]
    pz, py, px = patch_zyx
    return [Box((z, y, x), (z + pz, y + py, x + px)) for z in starts[0] for y in starts[1] for x in starts[2]]


def _starts(size: int, patch: int, overlap: float) -> list[int]:
    if size <= patch:
        return [(size - patch) // 2]
    step = max(1, int(patch * (1 - overlap)))
    count = -(-(size - patch) // step) + 1
    return [min(i * step, size - patch) for i in range(count)]


def gaussian_profile(patch_zyx: IndexZyx) -> NDArray[np.float32]:
    """Weight of each voxel of a window, highest in the middle, never 0; [z, y, x]."""
    profiles = []
    for size in patch_zyx:
        distance = np.arange(size) - (size - 1) / 2
        profiles.append(np.exp(-0.5 * (distance / (GAUSSIAN_SIGMA * size)) ** 2))
    weights = profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
    # A floor keeps a corner that only one window covers from being divided by nothing.
    return np.asarray(np.maximum(weights, 1e-3), dtype=np.float32)


def blend(
    windows: list[Box],
    needed: NDArray[np.bool_],
    outputs: int,
    run: Callable[[Box], NDArray[np.float32]],
    skip: bool = True,
    profile: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Blended network output at the needed voxels.

    Parameters
    ----------
    windows
        All of one size; together they cover ``needed``.
    needed
        [z, y, x].
    outputs
        Number of output channels.
    run
        Gives a window's output, [output, z, y, x].
    skip
        Leave out windows without a needed voxel; False is for tests.
    profile
        Weight of a window's voxels; `gaussian_profile` without. Sums are kept in
        its precision.

    Returns
    -------
    ndarray
        [output, n] for the n needed voxels in C order.
    """
    flat = np.flatnonzero(needed)
    if not len(flat):
        return np.zeros((outputs, 0), dtype=np.float32)
    if profile is None:
        profile = gaussian_profile(windows[0].shape_zyx)
    total = np.zeros((outputs, len(flat)), dtype=profile.dtype)
    weight_sum = np.zeros(len(flat), dtype=profile.dtype)
    for window, rows, local in _picked(windows, needed, flat):
        if skip and not len(rows):
            continue
        values = run(window)
        if len(rows):
            weight = profile.reshape(-1)[local]
            total[:, rows] += values.reshape(outputs, -1)[:, local] * weight.astype(np.float32)
            weight_sum[rows] += weight
    if not (weight_sum > 0).all():
        raise ValueError("the windows do not cover every needed voxel")
    return (total / weight_sum).astype(np.float32)


def _picked(
    windows: list[Box], needed: NDArray[np.bool_], flat: NDArray[np.int64]
) -> Iterator[tuple[Box, NDArray[np.int64], NDArray[np.int64]]]:
    """Each window with its needed voxels: their places in ``flat`` and in the window."""
    for window in windows:
        inner = window.clipped(needed.shape)
        inside = np.argwhere(needed[inner.slices])
        rows = np.searchsorted(flat, np.ravel_multi_index((inside + inner.start_zyx).T, needed.shape))
        local = np.ravel_multi_index((inside + inner.relative_to(window).start_zyx).T, window.shape_zyx)
        yield window, rows, local
