"""Images at another shape by splines, as scipy does it, on any device.

A spline of an image is a spline along each axis: one small matrix an axis
says what scipy's prefilter and interpolation make of a line, and multiplying
by matrices is what devices do best.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import IndexZyx
from deeppsma.models.nnunet.plans import Resampling

if TYPE_CHECKING:
    import torch

#: So many lines are made at a time: a matrix is narrow, and only what they lie on is read.
_BLOCK = 48
#: A spline's prefilter fades by 0.27 a voxel; what is below this share is lost in single precision anyhow.
_NEGLIGIBLE = 1e-9


def resized(
    image: NDArray[np.float32],
    shape: IndexZyx,
    how: Resampling,
    coarse: int | None = None,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Image at another shape: splines on voxels' centres, never beyond the image's own range.

    Parameters
    ----------
    image
        [a, b, c].
    shape
        Wanted.
    how
        Spline orders.
    coarse
        Axis along which ``order_z`` counts instead; each plane across it is
        resampled, and kept in its range, by itself.
    device
        Where: "cuda" or "cpu".

    Notes
    -----
    As `scipy.ndimage.zoom` with ``mode="nearest", grid_mode=True``; along a
    coarse axis as `scipy.ndimage.map_coordinates`.
    """
    if image.shape == shape:
        return image
    import torch

    out = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    across = [axis for axis in range(3) if axis != coarse]
    low, high = _range(out, across)
    # What shrinks most goes first: the rest has less to do.
    for axis in sorted(across, key=lambda axis: shape[axis] / image.shape[axis]):
        out = _along(out, axis, shape[axis], how.order)
    out = torch.minimum(torch.maximum(out, low), high)
    if coarse is not None and image.shape[coarse] != shape[coarse]:
        if how.order_z == 0:
            out = out.index_select(coarse, torch.from_numpy(_nearest(image.shape[coarse], shape[coarse])).to(device))
        else:
            out = _along(out, coarse, shape[coarse], how.order_z)
    return np.asarray(out.cpu().numpy())


@lru_cache(maxsize=16)
def spline_matrix(old: int, new: int, order: int) -> NDArray[np.float64]:
    """What a spline makes of a line: [new, old].

    Parameters
    ----------
    old, new
        Voxels of the line, before and after.
    order
        Of the spline, 0 to 5.
    """
    from scipy.ndimage import zoom

    columns = [zoom(unit, new / old, order=order, mode="nearest", grid_mode=True) for unit in np.eye(old)]
    return np.stack(columns, axis=1)


def _range(image: torch.Tensor, axes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    if len(axes) == 3:
        return image.amin(), image.amax()
    return image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    position = (np.arange(new) + 0.5) * (old / new) - 0.5
    return np.clip(np.floor(position + 0.5), 0, old - 1).astype(np.int64)


def _along(image: torch.Tensor, axis: int, new: int, order: int) -> torch.Tensor:
    """A spline along one axis, in blocks."""
    import torch

    if image.shape[axis] == new:
        return image
    matrix = spline_matrix(image.shape[axis], new, order)
    shape = list(image.shape)
    shape[axis] = new
    out = image.new_empty(shape)
    for start in range(0, new, _BLOCK):
        rows = matrix[start : start + _BLOCK]
        used = np.flatnonzero(np.abs(rows).max(axis=0) > _NEGLIGIBLE)
        first, last = int(used[0]), int(used[-1]) + 1
        weights = torch.from_numpy(rows[:, first:last].astype(np.float32)).to(image.device)
        part, target = image.narrow(axis, first, last - first), out.narrow(axis, start, len(rows))
        if axis == 0:
            target.copy_((weights @ part.flatten(1)).view(target.shape))
        else:
            target.copy_(weights @ part if axis == 1 else part @ weights.T)
    return out
