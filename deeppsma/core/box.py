"""Axis-aligned boxes of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

IndexZyx = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """Half-open box of voxel indices, ``start_zyx <= index < stop_zyx``.

    A box may reach outside its grid (negative start); `clip` brings it back.
    A box with ``stop == start`` on an axis is empty.
    """

    start_zyx: IndexZyx
    stop_zyx: IndexZyx

    def __post_init__(self) -> None:
        if any(b < a for a, b in zip(self.start_zyx, self.stop_zyx, strict=True)):
            raise ValueError(f"box stops before it starts: {self.start_zyx} to {self.stop_zyx}")

    @classmethod
    def whole(cls, shape_zyx: IndexZyx) -> Box:
        """Box of a whole grid."""
        return cls((0, 0, 0), shape_zyx)

    @classmethod
    def around_mask(cls, mask: NDArray[np.bool_]) -> Box | None:
        """Smallest box that holds every True voxel of a 3-D mask.

        Returns
        -------
        Box or None
            None where the mask is empty.
        """
        in_z = np.asarray(mask.any(axis=(1, 2)))
        if not in_z.any():
            return None
        in_plane = np.asarray(mask.any(axis=0))
        occupied = (in_z, np.asarray(in_plane.any(axis=1)), np.asarray(in_plane.any(axis=0)))
        return cls._from_bounds([_first_and_last(axis) for axis in occupied])

    @classmethod
    def around_points(cls, index_zyx: ArrayLike) -> Box | None:
        """Smallest box that holds the voxels around continuous indices.

        Parameters
        ----------
        index_zyx
            Shape (n, 3), continuous voxel indices.

        Returns
        -------
        Box or None
            Every voxel that linear interpolation at one of the points could
            touch lies inside. None where there is no point.
        """
        points = np.asarray(index_zyx, dtype=float)
        if len(points) == 0:
            return None
        low, high = np.floor(points.min(axis=0)), np.floor(points.max(axis=0)) + 2
        return cls._from_bounds(list(zip(low.astype(int), high.astype(int), strict=True)))

    @classmethod
    def _from_bounds(cls, bounds: list[tuple[int, int]]) -> Box:
        (z0, z1), (y0, y1), (x0, x1) = ((int(a), int(b)) for a, b in bounds)
        return cls((z0, y0, x0), (z1, y1, x1))

    @property
    def shape_zyx(self) -> IndexZyx:
        """Number of voxels along each axis."""
        z, y, x = (b - a for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    @property
    def size(self) -> int:
        """Number of voxels inside."""
        z, y, x = self.shape_zyx
        return z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index an array with these; the box must not reach below zero."""
        if min(self.start_zyx) < 0:
            raise ValueError(f"{self} reaches below zero; clip it to its grid first")
        z, y, x = (slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    def grown(self, margin_zyx: IndexZyx) -> Box:
        """Box with a margin added on both sides of each axis."""
        return self._from_bounds(
            [(a - m, b + m) for a, b, m in zip(self.start_zyx, self.stop_zyx, margin_zyx, strict=True)]
        )

    def clipped(self, shape_zyx: IndexZyx) -> Box:
        """Part of the box that lies inside a grid (empty where none does)."""
        return self._from_bounds(
            [
                (min(max(a, 0), n), max(min(b, n), min(max(a, 0), n)))
                for a, b, n in zip(self.start_zyx, self.stop_zyx, shape_zyx, strict=True)
            ]
        )

    def union(self, other: Box | None) -> Box:
        """Smallest box that holds both."""
        if other is None:
            return self
        starts = zip(self.start_zyx, other.start_zyx, strict=True)
        stops = zip(self.stop_zyx, other.stop_zyx, strict=True)
        return self._from_bounds([(min(a), max(b)) for a, b in zip(starts, stops, strict=True)])

    def relative_to(self, outer: Box) -> Box:
        """Same voxels, counted from the start of ``outer``."""
        o = outer.start_zyx
        return self._from_bounds([(a - k, b - k) for a, b, k in zip(self.start_zyx, self.stop_zyx, o, strict=True)])


def _first_and_last(occupied: NDArray[np.bool_]) -> tuple[int, int]:
    where = np.flatnonzero(occupied)
    return int(where[0]), int(where[-1]) + 1
