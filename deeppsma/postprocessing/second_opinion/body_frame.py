"""Where in the body a voxel lies, told by the organ map: whichever way a scan is stored, and however tall the man."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.anatomy import (
    HIP_LEFT,
    HIP_RIGHT,
    LUNG_LOWER_LEFT,
    LUNG_LOWER_RIGHT,
    LUNG_MIDDLE_RIGHT,
    LUNG_UPPER_LEFT,
    LUNG_UPPER_RIGHT,
    VERTEBRAE,
)
from deeppsma.core.geometry import VectorZyx

_LEFT_LUNG, _RIGHT_LUNG = (LUNG_UPPER_LEFT, LUNG_LOWER_LEFT), (LUNG_UPPER_RIGHT, LUNG_MIDDLE_RIGHT, LUNG_LOWER_RIGHT)
#: A landmark of fewer voxels is cut off by the field of view, or a speck of the map.
_LEAST_VOXELS = 8


@dataclass(frozen=True)
class BodyFrame:
    """Three axes of the body, in trunks: the way from the hips to the lungs, about 40 cm, is one.

    Parameters
    ----------
    origin_mm
        [z, y, x] between the hips, in mm from the first voxel.
    axes
        [axis, zyx] upwards, to the left and to the front, at right angles, a
        trunk's length each turned into 1.
    """

    origin_mm: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, labels: NDArray[np.uint8], spacing_zyx: VectorZyx) -> BodyFrame | None:
        """The frame of a map, [z, y, x]; None where it lacks a lung, a hip or the spine."""
        spacing = np.array(spacing_zyx)
        marks = (_LEFT_LUNG, _RIGHT_LUNG, (HIP_LEFT,), (HIP_RIGHT,), VERTEBRAE)
        left_lung, right_lung, left_hip, right_hip, spine = (_centre(labels, each) * spacing for each in marks)
        lungs, hips = (left_lung + right_lung) / 2, (left_hip + right_hip) / 2
        up = lungs - hips
        trunk = float(np.linalg.norm(up))
        left = _square_to((left_lung - right_lung) + (left_hip - right_hip), up)
        # The lungs lie before the spine.
        front = _square_to(lungs - spine, up, left)
        lengths = [float(np.linalg.norm(axis)) for axis in (up, left, front)]
        if not all(length > 0 for length in lengths):  # NaN is not, too
            return None
        return cls(hips, np.stack([a / n for a, n in zip((up, left, front), lengths, strict=True)]) / trunk)

    def places(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Heights over the hips, to the left and to the front, [point, 3] in trunks, of points [point, zyx] in mm."""
        return np.asarray((points_mm - self.origin_mm) @ self.axes.T)


def _centre(labels: NDArray[np.uint8], members: Sequence[int]) -> NDArray[np.float64]:
    """Mean index of some labels, [zyx]; NaN where there are next to none."""
    is_member = np.zeros(256, dtype=bool)
    is_member[list(members)] = True
    inside = is_member[labels]
    count = int(inside.sum())
    if count < _LEAST_VOXELS:
        return np.full(3, np.nan)
    sums = [inside.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    return np.array([float(np.dot(np.arange(len(each)), each)) / count for each in sums])


def _square_to(vector: NDArray[np.float64], *axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of a vector at right angles to some axes, which are at right angles to each other."""
    for axis in axes:
        vector = vector - axis * (vector @ axis) / (axis @ axis)
    return vector
