"""Where in the body a voxel lies, told by the organ map, or by the lungs on the CT where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.anatomy import (
    HIP_LEFT,
    HIP_RIGHT,
    LABEL_MAX,
    LUNG_LOWER_LEFT,
    LUNG_LOWER_RIGHT,
    LUNG_MIDDLE_RIGHT,
    LUNG_UPPER_LEFT,
    LUNG_UPPER_RIGHT,
    VERTEBRAE,
)
from deeppsma.core.geometry import VectorZyx
from deeppsma.postprocessing.second_opinion.grouped import Groups

#: From the hips to the lungs, where it is not known.
_TRUNK_MM = 400.0
#: Lungs on the CT: wide and enclosed places below this, of this volume at least, searched on voxels of about this size.
_LUNG_BELOW_HU, _LEAST_ML, _COARSE_MM = -400, 500.0, 8.0
#: What a map is measured by: the left lung and the right one, the left hip and the right one, the spine.
_LANDMARKS = (
    (LUNG_UPPER_LEFT, LUNG_LOWER_LEFT),
    (LUNG_UPPER_RIGHT, LUNG_MIDDLE_RIGHT, LUNG_LOWER_RIGHT),
    (HIP_LEFT,),
    (HIP_RIGHT,),
    VERTEBRAE,
)
#: Landmarks that lie no farther apart make no body.
_LEAST_MM = 1.0
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
        left_lung, right_lung, left_hip, right_hip, spine = _centres(labels) * np.array(spacing_zyx)
        lungs, hips = (left_lung + right_lung) / 2, (left_hip + right_hip) / 2
        up = lungs - hips
        left = _square_to((left_lung - right_lung) + (left_hip - right_hip), up)
        # The lungs lie before the spine.
        front = _square_to(lungs - spine, up, left)
        axes = np.stack([up, left, front])
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        if not (lengths > _LEAST_MM).all():  # nor is NaN
            return None
        return cls(hips, axes / lengths / lengths[0])

    @classmethod
    def of_ct(cls, hounsfield: NDArray[np.integer | np.floating], spacing_zyx: VectorZyx) -> BodyFrame | None:
        """The frame of a CT, [z, y, x] in HU, that is stored upright: slices to the head, columns to the left.

        Its origin lies 40 cm below the lungs, amidst the body that is around
        them; a trunk is 40 cm. None where no lung is seen whole.
        """
        lungs = _lungs_mm(hounsfield, spacing_zyx)
        if lungs is None:
            return None
        upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
        return cls(lungs - np.array([_TRUNK_MM, 0.0, 0.0]), upright / _TRUNK_MM)

    def places(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Heights over the hips, to the left and to the front, [point, 3] in trunks, of points [point, zyx] in mm."""
        return np.asarray((points_mm - self.origin_mm) @ self.axes.T)


def _centres(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean index of each of `_LANDMARKS`, [landmark, zyx]; NaN where there is next to nothing of it."""
    of_label = np.zeros(LABEL_MAX + 1, dtype=np.uint8)
    for number, members in enumerate(_LANDMARKS, start=1):
        of_label[list(members)] = number
    landmark = of_label[labels]
    inside = np.nonzero(landmark)
    groups = Groups(landmark[inside] - 1, len(_LANDMARKS))
    centres = np.stack([groups.mean(axis) for axis in inside], axis=1)
    centres[groups.sizes < _LEAST_VOXELS] = np.nan
    return centres


def _lungs_mm(hounsfield: NDArray[np.integer | np.floating], spacing_zyx: VectorZyx) -> NDArray[np.float64] | None:
    """Middle of the lungs and of the breadth there, [zyx] in mm from the first voxel; None where none is seen whole."""
    from scipy import ndimage

    steps = [max(1, round(_COARSE_MM / spacing)) for spacing in spacing_zyx]
    air = hounsfield[:: steps[0], :: steps[1], :: steps[2]] < _LUNG_BELOW_HU
    # The windpipe is too narrow to stay, and with it the way to the air outside.
    inside = ndimage.binary_opening(air, iterations=1)
    part, count = ndimage.label(inside)
    faces = [np.take(part, end, axis=axis) for axis in range(3) for end in (0, -1)]
    outside = np.unique(np.concatenate([face.ravel() for face in faces]))
    sizes = np.bincount(part.ravel(), minlength=count + 1).astype(float)
    sizes[outside] = 0
    sizes[0] = 0
    pitch = np.array(steps) * np.array(spacing_zyx)
    lungs = np.flatnonzero(sizes * float(np.prod(pitch)) / 1000 >= _LEAST_ML)
    if not len(lungs):
        return None
    z, y, _ = np.argwhere(np.isin(part, lungs)).T
    # One lung may be open to the outside, or full: what is left and right the whole body says.
    x = np.nonzero(~air[z.min() : z.max() + 1])[2]
    return np.array([z.mean(), y.mean(), x.mean()]) * pitch


def _square_to(vector: NDArray[np.float64], *axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of a vector at right angles to some axes, which are at right angles to each other."""
    for axis in axes:
        vector = vector - axis * (vector @ axis) / np.maximum(axis @ axis, _LEAST_MM**2)
    return vector
