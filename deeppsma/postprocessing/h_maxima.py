"""h-maxima of an image, only where they are asked for.

``skimage.morphology.h_maxima`` reconstructs a whole image. Whether a voxel is one is settled by those that reach
nearly its own height around it: here these are looked through, from the voxels that are asked about.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx


def ball(spacing_zyx: VectorZyx, radius_mm: float) -> NDArray[np.intp]:
    """Offsets (n, 3) in [z, y, x] to the voxels at most ``radius_mm`` away, nearest first, without the voxel itself."""
    reach = [math.ceil(radius_mm / spacing) for spacing in spacing_zyx]
    offsets = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    z, y, x = (offsets * np.array(spacing_zyx)).T
    distance = np.sqrt(x**2 + y**2 + z**2)
    near = (distance <= radius_mm) & offsets.any(axis=1)
    return offsets[near][np.argsort(distance[near], kind="stable")]


_FACES = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, -1], [0, -1, 0], [-1, 0, 0]])


class HMaxima:
    """The h-maxima of one image, asked for voxel by voxel.

    A voxel of height v is none if a way over neighbours leads from it to a higher one and never falls to v - h.

    Parameters
    ----------
    image
        [z, y, x], float32 or float64, finite.
    height
        h: how far a maximum stands out.
    offsets
        To the voxels that count as neighbours, (n, 3), as `ball` gives them.

    Notes
    -----
    Every comparison is that of scikit-image, in the image's own precision: a maximum is where the image stands at
    least h above its reconstruction from itself lowered by h and a little more, 2e-6 of its size in single precision.
    """

    def __init__(self, image: NDArray[np.floating], height: float, offsets: NDArray[np.intp]) -> None:
        self._values = np.ascontiguousarray(image).reshape(-1)
        self._shape = image.shape
        self._strides = np.array([image.shape[1] * image.shape[2], image.shape[2], 1])
        self._height = self._values.dtype.type(height)
        self._offsets = offsets
        self._seen = np.zeros(len(self._values), bool)
        # scikit-image knows no maximum in an image flatter than h.
        # What a flood learnt, kept: a plateau of equal voxels is looked through once.
        self._known: dict[int, bool] = {}
        self._flat = bool(height > np.ptp(self._values))
        self._lowest = self._values.min()

    def among(self, voxels: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of some voxels (flat indices) that are h-maxima, in the order given."""
        if self._flat:
            return voxels[:0]
        left = self._not_below_a_neighbour(voxels)
        return left[np.array([self._is_maximum(voxel) for voxel in left.tolist()], bool)]

    def whole(self, maxima: NDArray[np.intp]) -> NDArray[np.intp]:
        """Some h-maxima with all those that touch them over faces, and those that touch these; ascending."""
        found = np.unique(maxima)
        new = found
        while len(new):
            # Each once: on a plateau, what is met from several sides would multiply at every step.
            touching = np.unique(self._neighbours(new, _FACES))
            new = self.among(touching[~np.isin(touching, found)])
            found = np.union1d(found, new)
        return found

    def one_starts_behind(self, after: int, but_not: NDArray[np.bool_]) -> bool:
        """Whether an h-maximum outside of a mask has its first voxel, in C order, behind a flat index.

        One that touches others over faces starts where the first of them does.
        """
        if self._flat:
            return False
        values = self._values[after + 1 :]
        # From a voxel less than h above the lowest, ways lead everywhere, also to the highest.
        highest = self._lowered(np.array([np.argmax(self._values)]))
        possible = (values - self._lowest >= self._height) | (values - highest >= self._height)
        possible &= ~but_not.reshape(-1)[after + 1 :]
        left = self._not_below_a_neighbour(after + 1 + np.flatnonzero(possible))
        highest_first = left[np.argsort(-self._values[left], kind="stable")]
        return any(self._is_maximum(v) and self.whole(np.array([v]))[0] > after for v in highest_first.tolist())

    def _not_below_a_neighbour(self, voxels: NDArray[np.intp]) -> NDArray[np.intp]:
        """Voxels that no single step proves to be no maxima."""
        left = np.asarray(voxels)
        for offset in self._offsets:
            here, neighbours = self._step(left, offset)
            beaten = here[self._values[left[here]] - self._lowered(neighbours) < self._height]
            left = np.delete(left, beaten)
        return left

    def _step(self, voxels: NDArray[np.intp], offset: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which of the voxels a step leaves in the image, and where it leads them."""
        within = np.ones(len(voxels), bool)
        for index, step, size in zip(np.unravel_index(voxels, self._shape), offset, self._shape, strict=True):
            within &= (index + step >= 0) & (index + step < size)
        here = np.flatnonzero(within)
        return here, voxels[here] + offset @ self._strides

    def _neighbours(self, voxels: NDArray[np.intp], offsets: NDArray[np.intp]) -> NDArray[np.intp]:
        """All that lie one step from any of the voxels; some more than once."""
        reach = np.abs(offsets).max(axis=0)
        amid = np.ones(len(voxels), bool)
        for index, r, size in zip(np.unravel_index(voxels, self._shape), reach, self._shape, strict=True):
            amid &= (index >= r) & (index < size - r)
        found = [(voxels[amid][:, None] + offsets @ self._strides).reshape(-1)]
        if not amid.all():
            index = np.stack(np.unravel_index(voxels[~amid], self._shape), axis=1)
            around = (index[:, None] + offsets).reshape(-1, 3)
            found.append(around[((around >= 0) & (around < self._shape)).all(axis=1)] @ self._strides)
        return np.concatenate(found)

    def _is_maximum(self, voxel: int) -> bool:
        if voxel not in self._known:
            self._flood(voxel)
        return self._known[voxel]

    def _flood(self, voxel: int) -> None:
        """Look along all ways from a voxel; what is learnt holds for each equally high voxel that was met too."""
        value = self._values[voxel]
        front = np.array([voxel])
        met = []
        while True:
            self._seen[front] = True
            met.append(front)
            maximum = not (value - self._lowered(front) < self._height).any()
            if not (maximum and len(front)):
                break
            front = self._neighbours(front, self._offsets)
            front = front[~self._seen[front]]
            front = np.unique(front[value - self._values[front] < self._height])
        seen = np.concatenate(met)
        self._seen[seen] = False
        self._known.update(dict.fromkeys(seen[self._values[seen] == value].tolist(), maximum))

    def _lowered(self, voxels: NDArray[np.intp]) -> NDArray[np.floating]:
        values = self._values[voxels]
        return values - self._height - 2 * np.finfo(values.dtype).resolution * np.abs(values)
