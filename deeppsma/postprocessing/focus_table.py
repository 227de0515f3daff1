"""Measurements of labelled regions (foci, lesions), all in one pass over the labelled voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box


@dataclass(frozen=True, eq=False)
class FocusTable:
    """Foci and what was measured in them: one row a focus, by rising number.

    Parameters
    ----------
    number
        [n], the label of each focus in the image of labels.
    voxel_count
        [n]
    volume_ml
        [n]
    box
        n smallest boxes around the foci.
    maximum, mean
        For each image by name [n], in that image's unit.
    voxels, rows
        Flat indices of all labelled voxels, and the row of each: what `share` looks up.
    shape_zyx
        Of the image of labels.
    """

    number: NDArray[np.int64]
    voxel_count: NDArray[np.int64]
    volume_ml: NDArray[np.float64]
    box: tuple[Box, ...]
    maximum: Mapping[str, NDArray[np.float64]]
    mean: Mapping[str, NDArray[np.float64]]
    voxels: NDArray[np.intp]
    rows: NDArray[np.intp]
    shape_zyx: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.number)

    def share(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Share of each focus' voxels that a mask holds, 0 to 1.

        Raises
        ------
        ValueError
            If the mask is on another grid.
        """
        if mask.shape != self.shape_zyx:
            raise ValueError(f"mask {mask.shape} is not on the grid of the labels {self.shape_zyx}")
        return np.bincount(self.rows, mask.reshape(-1)[self.voxels], len(self)) / self.voxel_count

    def selected(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mask [z, y, x] of the foci that are chosen by row."""
        if chosen.shape != (len(self),):
            raise ValueError(f"{len(self)} foci cannot be chosen by {chosen.shape}")
        mask = np.zeros(self.shape_zyx, bool)
        mask.reshape(-1)[self.voxels[chosen[self.rows]]] = True
        return mask

    @cached_property
    def centre_zyx(self) -> NDArray[np.float64]:
        """[n, 3], mean voxel index of each focus."""
        index = np.unravel_index(self.voxels, self.shape_zyx)
        sums = [np.bincount(self.rows, axis, len(self)) for axis in index]
        return np.stack(sums, axis=1) / self.voxel_count[:, None]


def measure(labels: NDArray[np.integer], images: Mapping[str, NDArray], voxel_volume_ml: float) -> FocusTable:
    """Measure all regions of an image of labels.

    Parameters
    ----------
    labels
        [z, y, x], 0 for none; numbers may have gaps.
    images
        By name, on the same grid.
    voxel_volume_ml
        Volume of a voxel.

    Returns
    -------
    FocusTable
        Without rows where there is no label.

    Raises
    ------
    ValueError
        If an image is on another grid, a label is negative or the volume is not positive.
    """
    for name, image in images.items():
        if image.shape != labels.shape:
            raise ValueError(f"{name} {image.shape} is not on the grid of the labels {labels.shape}")
    if labels.min(initial=0) < 0:
        raise ValueError("labels must not be negative")
    if not 0 < voxel_volume_ml < float("inf"):
        raise ValueError(f"voxel_volume_ml must be positive, not {voxel_volume_ml}")
    voxels = np.flatnonzero(labels)
    values = labels.reshape(-1)[voxels]
    counts = np.bincount(values)
    number = np.flatnonzero(counts)
    count = counts[number]
    rows = (np.cumsum(counts > 0) - 1)[values]
    by_row = np.argsort(rows, kind="stable")
    starts = np.cumsum(count) - count
    maximum, mean = {}, {}
    for name, image in images.items():
        measured = image.reshape(-1)[voxels].astype(np.float64)
        maximum[name] = np.maximum.reduceat(measured[by_row], starts) if len(count) else np.empty(0)
        mean[name] = np.bincount(rows, measured, len(count)) / count
    return FocusTable(
        number=number.astype(np.int64),
        voxel_count=count.astype(np.int64),
        volume_ml=np.asarray(count * voxel_volume_ml, np.float64),
        box=_boxes(voxels[by_row], starts, labels.shape),
        maximum=maximum,
        mean=mean,
        voxels=voxels,
        rows=rows,
        shape_zyx=labels.shape,
    )


def _boxes(voxels: NDArray[np.intp], starts: NDArray[np.intp], shape: tuple[int, ...]) -> tuple[Box, ...]:
    """Box of each run of voxels (flat indices)."""
    if not len(starts):
        return ()
    index = np.stack(np.unravel_index(voxels, shape))
    first = np.minimum.reduceat(index, starts, axis=1).T.tolist()
    last = np.maximum.reduceat(index, starts, axis=1).T.tolist()
    return tuple(Box((a, b, c), (d + 1, e + 1, f + 1)) for (a, b, c), (d, e, f) in zip(first, last, strict=True))
