"""Orientation: images as the networks know them, and masks back on the grid of their PET.

The networks were trained on axial slices with x to the patient's left, y to his back, z to his head. Files may
hold the same patient in any other order of voxels (converters leave y flipped, viewers write sagittal slices). Axes are
swapped and flipped, never interpolated: what comes out is the same voxels in another order. An oblique grid keeps its
tilt; each of its axes becomes the one that it is nearest to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import IndexZyx
from deeppsma.core.geometry import Geometry, VectorXyz
from deeppsma.core.volume import Volume

_Number = TypeVar("_Number", int, float)
#: Origins are rounded to this many digits of a millimetre after a flip, so that turning there and back is exact.
_ORIGIN_DIGITS = 6


@dataclass(frozen=True)
class Orientation:
    """How an array's axes have to be swapped and flipped to be upright.

    Parameters
    ----------
    axes
        Upright axis i (z, y, x) is the file's axis ``axes[i]``.
    flipped
        By upright axis: whether it runs the other way.
    """

    axes: IndexZyx = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    def __post_init__(self) -> None:
        if sorted(self.axes) != [0, 1, 2] or len(self.flipped) != 3:
            raise ValueError(f"no order of three axes: {self.axes}, {self.flipped}")

    @classmethod
    def of(cls, geometry: Geometry) -> Orientation:
        """The order that brings a grid nearest to upright.

        Of the six orders of axes, the one whose axes lie nearest to the
        world's; ties go to the first, which keeps what it can.
        """
        # Column j: world direction (z, y, x) of the array's axis j (z, y, x).
        along = geometry.direction_matrix[::-1, ::-1]
        closeness = {axes: sum(abs(along[world, axes[world]]) for world in range(3)) for axes in permutations(range(3))}
        best = max(closeness.values())
        a, b, c = next(axes for axes, value in closeness.items() if value >= best - 1e-9)
        axes = (a, b, c)
        z, y, x = (bool(along[world, axes[world]] < 0) for world in range(3))
        return cls(axes, (z, y, x))

    @property
    def is_upright(self) -> bool:
        """Whether there is nothing to do."""
        return self.axes == (0, 1, 2) and not any(self.flipped)

    def turned(self, voxels: NDArray) -> NDArray:
        """An array of the file's order, upright; a copy in C order unless it is upright already."""
        if self.is_upright:
            return voxels
        return np.ascontiguousarray(np.flip(voxels.transpose(self.axes), self._flipped_axes))

    def turned_back(self, voxels: NDArray) -> NDArray:
        """An upright array in the file's order; the inverse of `turned`."""
        if self.is_upright:
            return voxels
        return np.ascontiguousarray(np.flip(voxels, self._flipped_axes).transpose(np.argsort(self.axes)))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, flip in enumerate(self.flipped) if flip)


def upright(volume: Volume) -> Volume:
    """The same voxels at the same places, in upright order; the volume itself if it is upright already."""
    orientation = Orientation.of(volume.geometry)
    if orientation.is_upright:
        return volume
    return Volume(orientation.turned(volume.voxels), upright_grid(volume.geometry))


def upright_grid(geometry: Geometry) -> Geometry:
    """Grid of `upright` voxels."""
    orientation = Orientation.of(geometry)
    if orientation.is_upright:
        return geometry
    axes, flipped = orientation.axes, orientation.flipped
    first = np.zeros((1, 3))  # index, in the file's order, of the voxel that comes first upright
    columns = []
    for axis, flip in zip(axes, flipped, strict=True):
        if flip:
            first[0, axis] = geometry.shape_zyx[axis] - 1
        column = geometry.direction_matrix[:, 2 - axis]
        columns.append(-column if flip else column)
    direction = np.stack(columns[::-1], axis=1) + 0.0  # no negative zeros
    return Geometry(
        _picked(geometry.shape_zyx, axes),
        _picked(geometry.spacing_zyx, axes),
        _rounded(geometry.index_to_world(first)[0]),
        tuple(direction.ravel().tolist()),
    )


def _picked(values: tuple[_Number, _Number, _Number], axes: IndexZyx) -> tuple[_Number, _Number, _Number]:
    return values[axes[0]], values[axes[1]], values[axes[2]]


def _rounded(point_xyz: NDArray[np.float64]) -> VectorXyz:
    x, y, z = (round(float(value), _ORIGIN_DIGITS) + 0.0 for value in point_xyz)
    return x, y, z
