"""The two spaces of a case: each tracer's native grid, with both tracers on it.

The one place that maps between the sessions. A space is cropped to the box
that can hold disease: voxels at or above either tracer's threshold, and a
margin (CDS report, section 2.2: "the union of tracer-specific fields of view,
defined by their respective thresholds").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume

#: Voxels around the box of above-threshold voxels.
MARGIN_VOXELS = 5
#: Above-threshold voxels that are mapped at a time: some tens of megabytes.
_CHUNK = 1_000_000


@dataclass(frozen=True)
class Space:
    """A tracer's grid, cropped, with both tracers' images on it.

    Parameters
    ----------
    fixed
        Whose grid it is.
    full
        The PET's whole grid.
    box
        The crop, in voxels of ``full``.
    geometry
        Grid of the crop; the arrays below are on it, [z, y, x].
    pet
        SUV by tracer, float32; the other tracer linearly resampled, 0 outside
        and where it is not seen from here.
    needed
        By tracer: the voxels where that tracer's answer can reach a mask. For
        the fixed tracer, its voxels at or above threshold; for the other one,
        the voxels that linear interpolation touches at an above-threshold
        voxel of that tracer's own grid.
    sees_other
        Whether the other tracer is seen from here: the case has it, and the
        two sessions are registered.
    """

    fixed: Tracer
    full: Geometry
    box: Box
    geometry: Geometry
    pet: Mapping[Tracer, NDArray[np.float32]]
    needed: Mapping[Tracer, NDArray[np.bool_]]
    sees_other: bool = True

    @property
    def hot(self) -> NDArray[np.bool_]:
        """Voxels of the fixed tracer at or above its threshold."""
        return self.needed[self.fixed]


def build_spaces(
    pets: Mapping[Tracer, Volume], thresholds: Mapping[Tracer, float], fdg_to_psma: RigidTransform | None
) -> dict[Tracer, Space]:
    """The spaces of a case.

    Parameters
    ----------
    pets
        Whole PETs, SUV, upright; of one tracer or both.
    thresholds
        SUV; a voxel at or above it may be disease.
    fdg_to_psma
        Maps FDG points to PSMA points. None: each tracer is seen from its own
        space alone.

    Returns
    -------
    dict
        By fixed tracer. Empty where no voxel of either tracer reaches its
        threshold inside the other's field of view or its own: there is no
        disease then.
    """
    hot = {tracer: pets[tracer].voxels >= np.float32(thresholds[tracer]) for tracer in pets}
    spaces = {}
    for fixed in pets:
        moving = fixed.other
        to_fixed = to_other_session(moving, fdg_to_psma) if fdg_to_psma is not None and moving in pets else None
        full = pets[fixed].geometry
        box = Box.around_mask(hot[fixed])
        if to_fixed is not None:
            for points in mapped_indices(hot[moving], pets[moving].geometry, full, to_fixed):
                mapped = Box.around_points(points)
                box = mapped.union(box) if mapped is not None else box
        if box is None:
            continue
        box = box.grown((MARGIN_VOXELS,) * 3).clipped(full.shape_zyx)
        if box.size == 0:
            continue
        spaces[fixed] = _space(fixed, pets, hot, box, to_fixed)
    return spaces


def _space(
    fixed: Tracer,
    pets: Mapping[Tracer, Volume],
    hot: Mapping[Tracer, NDArray[np.bool_]],
    box: Box,
    to_fixed: RigidTransform | None,
) -> Space:
    moving = fixed.other
    full = pets[fixed].geometry
    geometry = full.cropped(box)
    corners = np.zeros(box.shape_zyx, dtype=bool)
    if to_fixed is None:
        moving_pet = np.zeros(box.shape_zyx, dtype=np.float32)
    else:
        moving_pet = resample(pets[moving], geometry, to_fixed.inverse())
        for points in mapped_indices(hot[moving], pets[moving].geometry, geometry, to_fixed):
            mark_corners(corners, points)
    own = pets[fixed].cropped(box).voxels
    return Space(
        fixed,
        full,
        box,
        geometry,
        {fixed: own, moving: moving_pet},
        {fixed: hot[fixed][box.slices].copy(), moving: corners},
        to_fixed is not None,
    )


def mapped_indices(
    mask: NDArray[np.bool_], source: Geometry, target: Geometry, transform: RigidTransform
) -> Iterator[NDArray[np.float64]]:
    """Where the True voxels of one grid lie on another, in chunks.

    Parameters
    ----------
    mask
        [z, y, x] on ``source``.
    source, target
        The grids.
    transform
        Maps world points of the source's session to the target's.

    Yields
    ------
    ndarray
        (n, 3) continuous z, y, x indices of the target grid.
    """
    flat = np.flatnonzero(mask)
    index_map = np.linalg.inv(target.world_from_index) @ transform.matrix @ source.world_from_index
    for start in range(0, len(flat), _CHUNK):
        index = np.stack(np.unravel_index(flat[start : start + _CHUNK], mask.shape), axis=1).astype(float)
        yield index @ index_map[:3, :3].T + index_map[:3, 3]


def mark_corners(mask: NDArray[np.bool_], index_zyx: NDArray[np.float64]) -> None:
    """Set the voxels that linear interpolation at continuous indices touches.

    Rounding may place a point a hair beyond a voxel's centre in one program
    and before it in another, so a hair's breadth counts as both.
    """
    hair = 1e-6
    first = np.floor(index_zyx - hair).astype(np.int64)
    last = np.floor(index_zyx + hair).astype(np.int64) + 1  # first + 1, or first + 2 on a voxel's centre
    on_centre = (last - first == 2).any(axis=1)
    for size, rows in ((2, slice(None)), (3, on_centre)):
        for step in np.ndindex(size, size, size):
            corner = first[rows] + step
            inside = ((corner >= 0) & (corner < mask.shape) & (corner <= last[rows])).all(axis=1)
            z, y, x = corner[inside].T
            mask[z, y, x] = True


def pooled_maximum(voxels: NDArray, block_zyx: IndexZyx) -> NDArray:
    """Largest value of each block of voxels; a partial block at the end counts what it has.

    Parameters
    ----------
    voxels
        [z, y, x], not negative (the missing part of a block counts as 0).
    block_zyx
        Voxels per block.
    """
    if block_zyx == (1, 1, 1):
        return voxels
    out = voxels
    for axis, block in enumerate(block_zyx):
        starts = np.arange(0, out.shape[axis], block)
        out = np.maximum.reduceat(out, starts, axis=axis)
    return out
