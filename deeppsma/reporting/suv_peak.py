"""SUVpeak: the mean of a sphere of 1 ml that lies where that mean is highest.

Published definitions differ; this is the one of PET-IndiC (3D Slicer): radius (3 / 4 pi)^(1/3) cm = 6.204 mm, each
voxel weighted by its exact share of the sphere, so that the sphere is 1.000 ml on any grid; its centre is any voxel of
the lesion, and voxels outside the lesion count. The sphere of IBSI ("global peak", 0F91) takes whole voxels whose
centre lies inside, which is 0.83 to 1.29 ml on the grids of PET scanners; it is here for comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.geometry import VectorZyx

#: Of a sphere of 1 ml, mm.
RADIUS_MM = 10 * (3 / (4 * math.pi)) ** (1 / 3)
#: "overlap": share of each voxel inside the sphere. "centre": whole voxels whose centre is inside (IBSI).
SPHERES = ("overlap", "centre")
#: A voxel's share of the sphere is counted on this many points along each axis: the volume is right to 0.1 %.
_POINTS = 15
#: From as many voxels on, a Fourier transform first says which can be the best centre; what it may be wrong by.
_MANY, _ROUNDING = 500, 1e-9
#: Voxels that are transformed at a time.
_TRANSFORMED = 4_000_000


@dataclass(frozen=True)
class Peak:
    """A lesion's SUVpeak.

    Parameters
    ----------
    suv
        Mean of the sphere.
    index_zyx
        Its centre, a voxel of the lesion.
    """

    suv: float
    index_zyx: IndexZyx


def suv_peak(
    suv: NDArray[np.float32], lesion: NDArray[np.bool_], spacing_zyx: VectorZyx, sphere: str = "overlap"
) -> Peak:
    """SUVpeak of one lesion.

    Parameters
    ----------
    suv
        [z, y, x], at least `RADIUS_MM` larger than the lesion on every side, unless the image ends there. Beyond
        the array SUV is 0, as in IBSI's reference programs.
    lesion
        Its voxels, of the same shape.
    spacing_zyx
        mm.
    sphere
        One of `SPHERES`.

    Returns
    -------
    Peak
        Of several voxels with the same mean, the first.

    Raises
    ------
    ValueError
        If shapes differ, the lesion is empty, or there is no such sphere.
    """
    if suv.shape != lesion.shape:
        raise ValueError(f"suv {suv.shape} and lesion {lesion.shape} must have one shape")
    if sphere not in SPHERES:
        raise ValueError(f"sphere must be one of {', '.join(SPHERES)}, not {sphere!r}")
    around = Box.around_mask(lesion)
    if around is None:
        raise ValueError("a lesion without a voxel has no SUVpeak")
    return _suv_peak(suv, lesion, around, sphere_weights(spacing_zyx, sphere))


def _suv_peak(suv: NDArray[np.float32], lesion: NDArray[np.bool_], around: Box, weights: NDArray[np.float64]) -> Peak:
    reach_z, reach_y, reach_x = (n // 2 for n in weights.shape)
    wanted = around.grown((reach_z, reach_y, reach_x))
    inside = wanted.clipped((suv.shape[0], suv.shape[1], suv.shape[2]))
    padded = np.zeros(wanted.shape_zyx)
    padded[inside.relative_to(wanted).slices] = suv[inside.slices]
    centres = np.argwhere(lesion[around.slices])
    if len(centres) > _MANY:
        centres = centres[_may_be_highest(padded, centres, weights)]
    means = np.zeros(len(centres))
    for offset in np.argwhere(weights):
        means += weights[tuple(offset)] * padded[tuple((centres + offset).T)]
    best = int(means.argmax())
    z, y, x = (int(c + s) for c, s in zip(centres[best], around.start_zyx, strict=True))
    return Peak(float(means[best]), (z, y, x))


def _may_be_highest(
    padded: NDArray[np.float64], centres: NDArray[np.intp], weights: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which centres' means come near the highest one, by Fourier transform: exact but for rounding."""
    from scipy.fft import irfftn, next_fast_len, rfftn

    means = np.empty(len(centres))
    high = max(weights.shape[0], _TRANSFORMED // (padded.shape[1] * padded.shape[2]))
    # Centres come plane by plane.
    for first in range(0, int(centres[-1, 0]) + 1, high):
        begin, end = np.searchsorted(centres[:, 0], (first, first + high))
        if begin == end:
            continue
        part = padded[first : first + high + weights.shape[0] - 1]
        size = [next_fast_len(n, real=True) for n in part.shape]
        # The sphere looks the same from all sides: to convolve is to correlate, shifted by its size.
        spread = irfftn(rfftn(part, size) * rfftn(weights, size), size)
        means[begin:end] = spread[tuple((centres[begin:end] - (first, 0, 0) + np.array(weights.shape) - 1).T)]
    return np.asarray(means >= means.max() - _ROUNDING * np.abs(padded).max())


@lru_cache(maxsize=16)
def sphere_weights(spacing_zyx: VectorZyx, sphere: str = "overlap") -> NDArray[np.float64]:
    """Weights of the voxels around a centre; they add up to 1. Odd sizes, [z, y, x]."""
    reach = [math.floor(RADIUS_MM / s + 0.5) for s in spacing_zyx]
    share = np.zeros([2 * r + 1 for r in reach])
    points = _POINTS if sphere == "overlap" else 1
    steps = (np.arange(points) + 0.5) / points - 0.5
    axes = [(np.arange(-r, r + 1)[:, None] + steps).ravel() * s for r, s in zip(reach, spacing_zyx, strict=True)]
    squared = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
    z, y, x = share.shape
    share = (squared <= RADIUS_MM**2).reshape(z, points, y, points, x, points).mean(axis=(1, 3, 5))
    return np.asarray(share / share.sum())
