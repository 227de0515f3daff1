"""Tilted grids: what no swapping and flipping of axes brings upright.

Networks have seldom seen a patient who is turned, and lose disease there that they find when he lies straight. So a
PET on a tilted grid is resampled to a straight one for them alone. What comes back is no resampled mask: each hot voxel
of the file's own PET takes the answer of the nearest hot voxel that was judged, so that the threshold still draws
every edge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample
from deeppsma.core.volume import Volume
from deeppsma.preprocessing.orientation import upright_grid

#: Below this, in degrees, a grid counts as straight: patients lie no straighter on the table.
STRAIGHT_DEG = 2.0
#: A hot voxel without a judged one so near, in voxel diagonals, takes no answer: interpolation lost what lies there.
REACH_DIAGONALS = 1.0


def tilt_deg(grid: Geometry) -> float:
    """By how much a grid is turned, in degrees, once its axes are swapped and flipped to be upright."""
    trace = float(np.trace(upright_grid(grid).direction_matrix))
    return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1.0, 1.0))))


def is_tilted(grid: Geometry) -> bool:
    """Whether networks have to see a grid straightened."""
    return tilt_deg(grid) > STRAIGHT_DEG


def straight_grid(grid: Geometry) -> Geometry:
    """Straight grid of a tilted one's spacings that covers all of it."""
    turned = upright_grid(grid)
    corners = turned.corners_world()
    spacing_xyz = np.array(turned.spacing_zyx[::-1])
    extent = np.ptp(corners, axis=0)
    x, y, z = (int(n) for n in np.ceil(extent / spacing_xyz - 1e-6))
    first = corners.mean(axis=0) - (np.array([x, y, z]) - 1) * spacing_xyz / 2
    return Geometry((z, y, x), turned.spacing_zyx, (float(first[0]), float(first[1]), float(first[2])))


def straightened(pet: Volume) -> Volume:
    """A tilted PET on its straight grid, by cubic splines: they keep the peaks that linear interpolation flattens."""
    import SimpleITK as sitk

    grid = straight_grid(pet.geometry)
    seen = sitk.Resample(
        pet.to_sitk(),
        grid.shape_zyx[::-1],
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkBSpline,
        grid.origin_xyz,
        grid.spacing_zyx[::-1],
        grid.direction,
        0.0,
        sitk.sitkFloat32,
    )
    return Volume(np.maximum(sitk.GetArrayFromImage(seen), np.float32(0)), grid)


def answers_on(pet: Volume, threshold_suv: float, judged: Volume, hot: NDArray[np.bool_]) -> NDArray:
    """Answers that were found on a straight grid, on a tilted PET's own voxels.

    Parameters
    ----------
    pet
        The tilted PET, SUV, in any order of axes.
    threshold_suv
        Of its tracer.
    judged
        Answers on the straight grid, or on a crop of it: a mask, or
        probabilities.
    hot
        Voxels of that grid that were judged.

    Returns
    -------
    ndarray
        [z, y, x] on the PET's grid, dtype of the answers; 0 where the PET is
        below its threshold, and where no judged voxel lies near.
    """
    if not hot.any():
        return np.zeros(pet.voxels.shape, dtype=judged.voxels.dtype)
    spacing_mm = np.array(judged.geometry.spacing_zyx)
    away_mm, (z, y, x) = ndimage.distance_transform_edt(~hot, sampling=spacing_mm, return_indices=True)
    near = away_mm <= REACH_DIAGONALS * float(np.linalg.norm(spacing_mm))
    spread = Volume(np.where(near, judged.voxels[z, y, x], 0).astype(judged.voxels.dtype), judged.geometry)
    answers = resample(spread, pet.geometry, labels=True)
    return np.asarray(np.where(pet.voxels >= np.float32(threshold_suv), answers, 0), dtype=judged.voxels.dtype)
