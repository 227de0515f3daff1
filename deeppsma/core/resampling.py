"""Images on other grids: the one place that resamples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk


def resample(
    volume: Volume,
    grid: Geometry,
    transform: RigidTransform | None = None,
    labels: bool = False,
    outside: float = 0,
) -> NDArray:
    """Voxels of an image on another grid.

    Parameters
    ----------
    volume
        The image.
    grid
        Where its values are wanted.
    transform
        Maps points of the grid's session to the image's; None within a
        session.
    labels
        Nearest neighbour instead of linear interpolation.
    outside
        Value beyond the image.

    Returns
    -------
    ndarray
        [z, y, x], the image's dtype. A linear mask should be float32.
    """
    import SimpleITK as sitk

    transform = transform or RigidTransform()
    box = seen_box(volume.geometry, grid, transform)
    if box.size == 0:
        return np.full(grid.shape_zyx, outside, dtype=volume.voxels.dtype)
    # What the grid cannot see is not copied.
    part = Volume(volume.voxels[box.slices], volume.geometry.cropped(box))
    return np.asarray(sitk.GetArrayFromImage(resample_image(part.to_sitk(), grid, transform, labels, outside)))


def seen_box(image: Geometry, grid: Geometry, transform: RigidTransform | None = None, margin_mm: float = 0) -> Box:
    """Voxels of an image that can reach a grid on which it is resampled; empty where none can.

    Parameters
    ----------
    image, grid, transform
        As for `resample`.
    margin_mm
        How far beyond the grid's outermost centres.
    """
    seen = Box.around_points(image.world_to_index((transform or RigidTransform()).apply(grid.corners_world())))
    if seen is None:
        return Box((0, 0, 0), (0, 0, 0))
    z, y, x = (2 + int(np.ceil(margin_mm / spacing)) for spacing in image.spacing_zyx)
    return seen.grown((z, y, x)).clipped(image.shape_zyx)


def resample_labels(organs: Volume | None, grid: Geometry, transform: RigidTransform | None = None) -> NDArray:
    """Label map on another grid, as `resample`; without a map there is no organ anywhere."""
    if organs is None:
        return np.zeros(grid.shape_zyx, dtype=np.uint8)
    return resample(organs, grid, transform, labels=True)


def resample_image(
    image: sitk.Image, grid: Geometry, transform: RigidTransform, labels: bool = False, outside: float = 0.0
) -> sitk.Image:
    """SimpleITK image on another grid; see `resample`.

    Parameters
    ----------
    image, grid, transform, labels, outside
        As for `resample`.
    """
    import SimpleITK as sitk

    return sitk.Resample(
        image,
        grid.shape_zyx[::-1],
        transform.to_sitk(),
        sitk.sitkNearestNeighbor if labels else sitk.sitkLinear,
        grid.origin_xyz,
        grid.spacing_zyx[::-1],
        grid.direction,
        outside,
    )
