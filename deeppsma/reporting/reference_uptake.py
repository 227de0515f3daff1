"""Uptake of reference organs: blood in the aorta, and liver.

Both say where a lesion stands and whether the SUV scale can be right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.box import Box
from deeppsma.core.volume import Volume
from deeppsma.preprocessing.liver_threshold import liver_uptake
from deeppsma.reporting.case_result import TracerResult

#: Erosion of the aorta before its blood is measured, and the voxels it must leave.
_BLOOD_EROSION, _BLOOD_VOXELS = 1, 20


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
    """Mean and standard deviation of SUV in the liver's core; None without an organ map or with too little of a liver.

    The core of `deeppsma.preprocessing.liver_threshold`, as for thresholds and in the run report: two definitions of a
    liver in one result would contradict each other. What lies far from the core's median (lesions, and a hot kidney
    that a shifted organ map takes in) is no liver.
    """
    found = None if scan.organs is None else liver_uptake(scan.pet, scan.organs)
    return None if found is None else (found.mean_suv, found.sd_suv)


def nearest_values(volume: Volume, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nearest voxels' values at world points; NaN outside."""
    index = np.rint(volume.geometry.world_to_index(points)).astype(np.intp)
    there = ((index >= 0) & (index < np.array(volume.geometry.shape_zyx))).all(axis=1)
    out = np.full(len(points), np.nan)
    out[there] = volume.voxels[tuple(index[there].T)]
    return out
