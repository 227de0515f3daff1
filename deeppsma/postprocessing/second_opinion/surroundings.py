"""What lies around a focus: places some millimetres off its voxels, in fourteen directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx

#: Faces and corners of a cube, as directions.
_DIRECTIONS = np.array(
    [
        *((s if a == 0 else 0, s if a == 1 else 0, s if a == 2 else 0) for a in range(3) for s in (-1, 1)),
        *((z, y, x) for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)),
    ],
    dtype=float,
)


def surroundings(
    hot: NDArray[np.bool_], focus: NDArray[np.integer], spacing_zyx: VectorZyx, radius_mm: float
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Voxels at a distance from those of each focus, and outside of it.

    Parameters
    ----------
    hot
        [z, y, x].
    focus
        [n] number of the focus of each hot voxel, in C order.
    spacing_zyx, radius_mm
        mm. A step is at least one voxel.

    Returns
    -------
    focus, flat
        [m] a focus, and the flat index of a voxel near it that is not its
        own. A voxel that is near in several ways comes up as often.
    """
    offsets = offsets_at(spacing_zyx, radius_mm)
    margin = np.abs(offsets).max(axis=0)
    number = np.full([size + 2 * m for size, m in zip(hot.shape, margin, strict=True)], -1, dtype=np.int32)
    inner = tuple(slice(m, m + size) for size, m in zip(hot.shape, margin, strict=True))
    number[inner][hot] = focus
    flat_number = number.reshape(-1)
    index = np.stack(np.nonzero(hot), axis=1)
    strides = np.array([number.shape[1] * number.shape[2], number.shape[2], 1])
    place = (index + margin) @ strides
    flat = np.ravel_multi_index(tuple(index.T), hot.shape)
    plain = np.array([hot.shape[1] * hot.shape[2], hot.shape[2], 1])
    foci, places = [], []
    for offset in offsets:
        moved = index + offset
        outside = flat_number[place + int(offset @ strides)] != focus
        for axis, step in enumerate(offset):
            if step:
                outside &= (moved[:, axis] >= 0) & (moved[:, axis] < hot.shape[axis])
        foci.append(focus[outside].astype(np.int32))
        places.append(flat[outside] + int(offset @ plain))
    return np.concatenate(foci), np.concatenate(places)


def offsets_at(spacing_zyx: VectorZyx, radius_mm: float) -> NDArray[np.int64]:
    """Steps of a distance in fourteen directions, in voxels, [14, 3]; none is shorter than a voxel."""
    unit = _DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)
    steps = np.rint(unit * radius_mm / np.array(spacing_zyx)).astype(np.int64)
    # On wide voxels a slanted step may round to nothing: then it goes one voxel along.
    nothing = ~steps.any(axis=1)
    steps[nothing] = np.sign(_DIRECTIONS[nothing]).astype(np.int64)
    return steps
