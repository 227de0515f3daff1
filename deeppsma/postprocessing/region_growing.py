"""Organ-aware region growing on the threshold.

The organisers' post-processing, as both reports use it: the mask grows by a
radius, voxels below the threshold go again, and inside some organs the mask
before growing is kept.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.geometry import VectorZyx


def grow(
    mask: NDArray[np.bool_], hot: NDArray[np.bool_], spacing_zyx: VectorZyx, radius_mm: float, kept: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Grow a mask over above-threshold voxels within a radius.

    Parameters
    ----------
    mask
        [z, y, x], what was found.
    hot
        Voxels at or above the threshold.
    spacing_zyx
        mm. Distances within a grid do not depend on how it is turned.
    radius_mm
        A voxel joins if its centre lies at most this far from the centre of a
        voxel of the mask.
    kept
        Voxels (organs) that keep the mask they had.

    Returns
    -------
    ndarray
        New array. An empty mask stays empty; a voxel outside ``kept`` that is
        not hot is never in it.

    Raises
    ------
    ValueError
        If shapes differ or the radius is not positive.

    Notes
    -----
    Same voxels as thresholding the full signed Maurer distance map of the
    mask at ``radius_mm``; only at a distance of just the radius, where ITK's
    rounding depends on the place, may the two differ.
    """
    if not mask.shape == hot.shape == kept.shape:
        raise ValueError(f"mask {mask.shape}, hot {hot.shape} and kept {kept.shape} must have one shape")
    if not radius_mm > 0:
        raise ValueError(f"radius_mm must be positive, not {radius_mm}")
    return np.where(kept, mask, within_radius(mask, spacing_zyx, radius_mm) & hot)


def within_radius(mask: NDArray[np.bool_], spacing_zyx: VectorZyx, radius_mm: float) -> NDArray[np.bool_]:
    """Voxels whose centre lies at most ``radius_mm`` from that of a True voxel.

    Only the surface of the mask is spread, and only by the offsets of a ball,
    so the cost follows the mask's surface and not the image's size.
    """
    around = Box.around_mask(mask)
    out = mask.copy()
    if around is None:
        return out
    reach_z, reach_y, reach_x = (math.floor(radius_mm / s + 1e-6) for s in spacing_zyx)
    reach = (reach_z, reach_y, reach_x)
    # A margin on every side: an offset never wraps from one row into the next.
    padded = np.pad(mask[around.slices], [(r + 1, r + 1) for r in reach])
    grown = padded.reshape(-1).copy()
    seeds = np.flatnonzero(_surface(padded))
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    for offset in _ball(spacing_zyx, radius_mm, reach) @ strides:
        grown[seeds + offset] = True
    box = around.grown((reach_z + 1, reach_y + 1, reach_x + 1))
    inside = box.clipped(mask.shape)
    out[inside.slices] = grown.reshape(padded.shape)[inside.relative_to(box).slices]
    return out


def _surface(padded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True voxels with a False face neighbour; the nearest voxel to any point outside is one of them."""
    inner = padded.copy()
    for axis in range(3):
        for shift in (1, -1):
            inner &= np.roll(padded, shift, axis)
    return padded & ~inner


def _ball(spacing_zyx: VectorZyx, radius_mm: float, reach: tuple[int, int, int]) -> NDArray[np.int64]:
    axes = [np.arange(-r, r + 1) for r in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.sqrt(((offsets * np.array(spacing_zyx)) ** 2).sum(axis=1))
    # ITK's distance map is single precision: so is this comparison, that ties fall alike.
    return np.asarray(offsets[distance.astype(np.float32) <= np.float32(radius_mm)])
