"""Uptake of reference organs: blood in the aorta, and liver.

Both say where a lesion stands and whether the SUV scale can be right; neither is measured in disease.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.box import Box
from deeppsma.core.volume import Volume
from deeppsma.reporting.case_result import TracerResult

#: Erosion of the aorta before its blood is measured, and the voxels it must leave.
_BLOOD_EROSION, _BLOOD_VOXELS = 1, 20
#: Margin within the liver's label, mm, and the voxels it must leave.
_LIVER_EROSION_MM, _LIVER_POINTS = 10.0, 50


def blood_pool_suv(scan: TracerResult) -> float | None:
    """Mean SUV of the aorta's blood; None without a map or with too little of an aorta.

    The aorta's label, one voxel of the organ map eroded, without disease.
    """
    from scipy.ndimage import binary_erosion

    if scan.organs is None:
        return None
    aorta = scan.organs.voxels == organs.AORTA
    around = Box.around_mask(aorta)
    if around is None:
        return None
    inner = binary_erosion(aorta[around.slices], iterations=_BLOOD_EROSION)
    index = np.argwhere(inner) + np.array(around.start_zyx)
    if len(index) < _BLOOD_VOXELS:
        return None
    at = scan.organs.geometry.index_to_world(index)
    values, disease = nearest_values(scan.pet, at), nearest_values(scan.mask, at)
    kept = np.isfinite(values) & (disease == 0)
    return float(values[kept].mean()) if kept.sum() >= _BLOOD_VOXELS else None


def liver_suv(scan: TracerResult) -> tuple[float, float] | None:
    """Mean and standard deviation of SUV in the liver, 10 mm within its label and without disease.

    None without an organ map or with too little of a liver.
    """
    from scipy.ndimage import binary_erosion

    if scan.organs is None:
        return None
    step_z, step_y, step_x = (max(1, round(4.0 / s)) for s in scan.organs.geometry.spacing_zyx)
    steps = (step_z, step_y, step_x)
    liver = scan.organs.voxels[::step_z, ::step_y, ::step_x] == organs.LIVER
    spacing = [s * n for s, n in zip(scan.organs.geometry.spacing_zyx, steps, strict=True)]
    rounds = max(1, round(_LIVER_EROSION_MM / min(spacing)))
    index = np.argwhere(liver)
    if len(index) == 0:
        return None
    low, high = index.min(axis=0), index.max(axis=0) + 1
    crop = liver[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    inner = (np.argwhere(binary_erosion(crop, iterations=rounds)) + low) * np.array(steps)
    at = np.rint(scan.pet.geometry.world_to_index(scan.organs.geometry.index_to_world(inner))).astype(np.intp)
    at = at[((at >= 0) & (at < np.array(scan.pet.geometry.shape_zyx))).all(axis=1)]
    kept = tuple(at[scan.mask.voxels[tuple(at.T)] == 0].T)
    values = scan.pet.voxels[kept]
    if len(values) < _LIVER_POINTS:
        return None
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def nearest_values(volume: Volume, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nearest voxels' values at world points; NaN outside."""
    index = np.rint(volume.geometry.world_to_index(points)).astype(np.intp)
    there = ((index >= 0) & (index < np.array(volume.geometry.shape_zyx))).all(axis=1)
    out = np.full(len(points), np.nan)
    out[there] = volume.voxels[tuple(index[there].T)]
    return out
