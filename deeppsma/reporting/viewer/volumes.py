"""Images and labels on the viewer's grid: one for both tracers, coarse enough for a page.

The grid has the world's axes (x to the left, y to the back, z to the head) in the PSMA session, or in the only
session there is; the FDG session is brought there by the registration, so that one cross-hair serves both. It is for
looking: every figure of the report is measured on the PET's own grid.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.reporting.case_result import CaseResult
from deeppsma.reporting.lesion_table import LesionTable
from deeppsma.reporting.review import CANDIDATE_OFFSET, Candidate

#: SUV of one step of a packed PET, and the highest it holds.
SUV_STEP, SUV_MAX = 0.1, 25.5
#: CT window that is packed, HU, and its grey levels.
CT_LOW_HU, CT_HIGH_HU, CT_LEVELS = -160.0, 240.0, 32
#: Not finer than this, and not more voxels than these.
FINEST_MM, MOST_VOXELS = 2.5, 5_000_000
#: What is cut off around the man: rows and columns nowhere above this SUV (mean over all slices), but for a margin.
_BODY_SUV, _MARGIN_MM = 0.1, 12.0


@dataclass(frozen=True)
class ViewerVolumes:
    """All that the viewer draws from; arrays [z, y, x] on one grid.

    Parameters
    ----------
    geometry
        The grid; its axes are the world's.
    pet, ct, labels
        By tracer: uint8 in `SUV_STEP`, uint8 grey levels (tracers with a CT), uint16 lesion numbers (possible misses
        from `CANDIDATE_OFFSET` on).
    """

    geometry: Geometry
    pet: Mapping[Tracer, NDArray[np.uint8]]
    ct: Mapping[Tracer, NDArray[np.uint8]]
    labels: Mapping[Tracer, NDArray[np.uint16]]

    def __post_init__(self) -> None:
        for arrays in (self.pet, self.ct, self.labels):
            if any(a.shape != self.geometry.shape_zyx for a in arrays.values()):
                raise ValueError("all volumes must be on the viewer's grid")

    def voxels_of(self, tracer: Tracer, label: int) -> NDArray[np.intp]:
        """Indices (n, 3) of a label's voxels in the grid, in C order; none where the grid shows nothing of it."""
        flat, numbers = self._labelled[tracer]
        begin, end = np.searchsorted(numbers, (label, label + 1))
        return np.stack(np.unravel_index(flat[begin:end], self.geometry.shape_zyx), axis=1)

    @cached_property
    def _labelled(self) -> dict[Tracer, tuple[NDArray[np.intp], NDArray[np.uint16]]]:
        """Flat indices of all labelled voxels, label by label, and the labels."""
        out = {}
        for tracer, labels in self.labels.items():
            flat = np.flatnonzero(labels != 0)
            numbers = labels.reshape(-1)[flat]
            order = np.argsort(numbers, kind="stable")
            out[tracer] = (flat[order], numbers[order])
        return out


def viewer_volumes(
    result: CaseResult, table: LesionTable, candidates: Sequence[Candidate] = (), with_ct: bool = True
) -> ViewerVolumes:
    """Bring a result to the viewer's grid.

    Parameters
    ----------
    result, table, candidates
        The case.
    with_ct
        Whether the CT goes into the page; it shows the face.
    """
    grid = viewer_grid(result)
    home = result.tracers[0]
    pet, ct, labels = {}, {}, {}
    for tracer in result.tracers:
        scan = result.scans[tracer]
        # Maps the grid's points to this tracer's session.
        there = RigidTransform() if tracer is home else result.transform(home)
        suv = resample(scan.pet, grid, there)
        pet[tracer] = np.clip(np.rint(suv / SUV_STEP), 0, 255).astype(np.uint8)
        if with_ct and scan.ct is not None:
            seen = resample(
                Volume(scan.ct.voxels.astype(np.int16, copy=False), scan.ct.geometry), grid, there, outside=-1024
            )
            share = (seen.astype(np.float32) - CT_LOW_HU) / (CT_HIGH_HU - CT_LOW_HU)
            ct[tracer] = np.rint(np.clip(share, 0, 1) * (CT_LEVELS - 1)).astype(np.uint8)
        labels[tracer] = _labels(result, table, candidates, tracer, grid, there)
    return ViewerVolumes(grid, pet, ct, labels)


def viewer_grid(result: CaseResult) -> Geometry:
    """A grid around the man in the first tracer's session, long enough for the other tracer, too."""
    home = result.tracers[0]
    pet = result.scans[home].pet
    whole = pet.geometry.axis_aligned()
    low, high = _corners(whole)
    for tracer in result.tracers[1:]:
        corners = result.transform(tracer).apply(result.scans[tracer].pet.geometry.corners_world())
        low[2], high[2] = min(low[2], corners[:, 2].min()), max(high[2], corners[:, 2].max())
    body_low, body_high = _body(pet)
    low[:2], high[:2] = np.maximum(low[:2], body_low), np.minimum(high[:2], body_high)
    extent = np.maximum(high - low, 2 * FINEST_MM)
    fine = max(FINEST_MM, min(pet.geometry.spacing_zyx), float((extent.prod() / MOST_VOXELS) ** (1 / 3)))
    x, y, z = (max(1, int(np.ceil(e / fine - 1e-6))) for e in extent)
    first = low + fine / 2
    return Geometry((z, y, x), (fine,) * 3, (float(first[0]), float(first[1]), float(first[2])))


def _corners(grid: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = grid.corners_world()
    return corners.min(axis=0), corners.max(axis=0)


def _body(pet: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World x, y that hold the man: where rows and columns of the PET, averaged over its slices, have uptake."""
    flat = np.asarray(pet.voxels[::4].mean(axis=0, dtype=np.float64))
    y, x = (np.flatnonzero(flat.max(axis=axis) > _BODY_SUV) for axis in (1, 0))
    if not len(y) or not len(x):
        low, high = _corners(pet.geometry)
        return low[:2], high[:2]
    z = pet.geometry.shape_zyx[0] - 1
    box = np.array([(a, b, c) for a in (0, z) for b in (y[0], y[-1]) for c in (x[0], x[-1])])
    world = pet.geometry.index_to_world(box)[:, :2]
    return world.min(axis=0) - _MARGIN_MM, world.max(axis=0) + _MARGIN_MM


def _labels(
    result: CaseResult,
    table: LesionTable,
    candidates: Sequence[Candidate],
    tracer: Tracer,
    grid: Geometry,
    there: RigidTransform,
) -> NDArray[np.uint16]:
    foci = table.maps[tracer]
    small = Volume(foci.labels, foci.geometry.cropped(foci.box))
    out = resample(small, grid, there, labels=True)
    back = there.inverse()
    size = np.array(grid.shape_zyx)
    for lesion in table.of(tracer):
        # A lesion between the grid's voxels is still shown: at its hottest one.
        _mark(out, grid, back.apply(np.array([lesion.hottest_xyz_mm])), lesion.number, size)
    for number, candidate in enumerate((c for c in candidates if c.tracer is tracer), start=1):
        world = result.scans[tracer].pet.geometry.index_to_world(candidate.voxels_zyx)
        _mark(out, grid, back.apply(world), CANDIDATE_OFFSET + number, size)
    return out


def _mark(
    labels: NDArray[np.uint16], grid: Geometry, points: NDArray[np.float64], number: int, size: NDArray[np.intp]
) -> None:
    index = np.rint(grid.world_to_index(points)).astype(np.intp)
    at = tuple(index[((index >= 0) & (index < size)).all(axis=1)].T)
    # The hottest voxel belongs to its lesion; a possible miss takes no lesion's voxel.
    labels[at] = np.where(labels[at] == 0, number, labels[at])


def packed(array: NDArray) -> str:
    """Bytes of an array, little-endian in C order, gzipped, in base64."""
    plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return base64.b64encode(gzip.compress(plain.tobytes(), 6, mtime=0)).decode("ascii")
