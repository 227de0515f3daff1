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
#: Beyond every grid.
_FAR = 1 << 40


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
    # Places, not masks: a mask of the largest grid takes as much as the whole crop.
    hot = {tracer: np.flatnonzero(pets[tracer].voxels >= np.float32(thresholds[tracer])) for tracer in pets}
    spaces = {}
    for fixed in pets:
        moving = fixed.other
        to_fixed = to_other_session(moving, fdg_to_psma) if fdg_to_psma is not None and moving in pets else None
        full = pets[fixed].geometry
        box = _box_of(hot[fixed], full.shape_zyx)
        if to_fixed is not None:
            for points in _mapped(hot[moving], pets[moving].geometry, full, to_fixed):
                mapped = Box.around_points(points)
                box = mapped.union(box) if mapped is not None else box
        if box is None:
            continue
        box = box.grown((MARGIN_VOXELS,) * 3).clipped(full.shape_zyx)
        if box.size == 0:
            continue
        spaces[fixed] = _space(fixed, pets, hot[moving] if moving in pets else None, thresholds[fixed], box, to_fixed)
    return spaces


def _box_of(flat: NDArray[np.int64], shape_zyx: IndexZyx) -> Box | None:
    """Smallest box that holds the voxels at these places; None without one."""
    if not len(flat):
        return None
    bounds = [(int(axis.min()), int(axis.max()) + 1) for axis in np.unravel_index(flat, shape_zyx)]
    (z0, z1), (y0, y1), (x0, x1) = bounds
    return Box((z0, y0, x0), (z1, y1, x1))


def _space(
    fixed: Tracer,
    pets: Mapping[Tracer, Volume],
    moving_hot: NDArray[np.int64] | None,
    threshold_suv: float,
    box: Box,
    to_fixed: RigidTransform | None,
) -> Space:
    moving = fixed.other
    full = pets[fixed].geometry
    geometry = full.cropped(box)
    corners = np.zeros(box.shape_zyx, dtype=bool)
    if to_fixed is None or moving_hot is None:
        moving_pet = np.zeros(box.shape_zyx, dtype=np.float32)
    else:
        moving_pet = resample(pets[moving], geometry, to_fixed.inverse())
        for points in _mapped(moving_hot, pets[moving].geometry, geometry, to_fixed):
            mark_corners(corners, points)
    own = pets[fixed].cropped(box).voxels
    return Space(
        fixed,
        full,
        box,
        geometry,
        {fixed: own, moving: moving_pet},
        {fixed: own >= np.float32(threshold_suv), moving: corners},
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

    Returns
    -------
    iterator of ndarray
        (n, 3) continuous z, y, x indices of the target grid.
    """
    return _mapped(np.flatnonzero(mask), source, target, transform)


def _mapped(
    flat: NDArray[np.int64], source: Geometry, target: Geometry, transform: RigidTransform
) -> Iterator[NDArray[np.float64]]:
    index_map = np.linalg.inv(target.world_from_index) @ transform.matrix @ source.world_from_index
    for start in range(0, len(flat), _CHUNK):
        index = np.stack(np.unravel_index(flat[start : start + _CHUNK], source.shape_zyx), axis=1).astype(float)
        yield index @ index_map[:3, :3].T + index_map[:3, 3]


def mark_corners(mask: NDArray[np.bool_], index_zyx: NDArray[np.float64]) -> None:
    """Set the voxels that linear interpolation at continuous indices touches.

    Rounding may place a point a hair beyond a voxel's centre in one program
    and before it in another, so a hair's breadth counts as both.
    """
    hair = 1e-6
    first = np.floor(index_zyx - hair).astype(np.int64)
    more = np.floor(index_zyx + hair).astype(np.int64) - first  # 1 on a voxel's centre: three are touched
    shape = np.array(mask.shape)
    low = first.min(axis=0, initial=_FAR).clip(-1, shape)
    high = first.max(axis=0, initial=-_FAR).clip(-2, shape - 1) + 1  # the last that is touched on a centre
    if (high < low).any():
        return
    # Corners that come first, then their neighbours: the pairs of all points along an axis are marked at once.
    corners = np.zeros(high - low + 2, dtype=bool)
    for step in np.ndindex(2, 2, 2):
        rows = (more >= step).all(axis=1)
        corner = first[rows] + step
        z, y, x = (corner[((corner >= -1) & (corner < shape)).all(axis=1)] - low).T
        corners[z, y, x] = True
    for axis in range(3):
        last = corners.shape[axis]
        corners[_part(axis, 1, last)] |= corners[_part(axis, 0, last - 1)]
    box = Box(tuple(low.tolist()), tuple((low + corners.shape).tolist()))
    inner = box.clipped(mask.shape)
    mask[inner.slices] |= corners[inner.relative_to(box).slices]


def _part(axis: int, start: int | None, stop: int | None, step: int = 1) -> tuple[slice, ...]:
    """Slices that pick along one axis."""
    return (*(slice(None),) * axis, slice(start, stop, step))


def pooled_maximum(voxels: NDArray, block_zyx: IndexZyx) -> NDArray:
    """Largest value of each block of voxels; a partial block at the end counts what it has.

    Parameters
    ----------
    voxels
        [z, y, x], not negative (the missing part of a block counts as 0).
    block_zyx
        Voxels per block.
    """
    out = voxels
    for axis, block in enumerate(block_zyx):
        if block == 1:
            continue
        pooled = out[_part(axis, 0, None, block)].copy()
        for start in range(1, min(block, out.shape[axis])):
            each = out[_part(axis, start, None, block)]
            np.maximum(pooled[_part(axis, 0, each.shape[axis])], each, out=pooled[_part(axis, 0, each.shape[axis])])
        out = pooled
    return out
