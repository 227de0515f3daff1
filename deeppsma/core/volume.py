"""An image in memory: voxels, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie.

    Parameters
    ----------
    voxels
        [z, y, x].
    geometry
        Their grid; its shape is the voxels' shape.
    """

    voxels: NDArray
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape_zyx:
            raise ValueError(f"{self.voxels.shape} voxels on a grid of {self.geometry.shape_zyx}")

    def cropped(self, box: Box) -> Volume:
        """A copy of the voxels of a box, so that the whole image can go."""
        return Volume(self.voxels[box.slices].copy(), self.geometry.cropped(box))

    def to_sitk(self) -> sitk.Image:
        """As a SimpleITK image (the voxels are copied)."""
        import SimpleITK as sitk

        voxels = self.voxels.view(np.uint8) if self.voxels.dtype == np.bool_ else self.voxels
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(self.geometry.spacing_zyx[::-1])
        image.SetOrigin(self.geometry.origin_xyz)
        image.SetDirection(self.geometry.direction)
        return image
