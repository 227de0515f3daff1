"""Where voxels lie in the patient: size, spacing, origin, direction.

World coordinates are ITK's: millimetres, x to the patient's left, y to the
back, z to the head (LPS). Arrays are indexed ``[z, y, x]``; names say which
order a value is in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx

if TYPE_CHECKING:
    import SimpleITK as sitk

VectorZyx = tuple[float, float, float]
VectorXyz = tuple[float, float, float]

#: Two grids are the same if no corner voxel lies farther apart than this share of the smallest spacing.
SAME_GRID_TOLERANCE = 1e-3
#: How far a direction matrix may be from orthonormal: what single-precision headers lose.
ORTHONORMAL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Geometry:
    """Grid of an image, carried beside its voxels.

    Parameters
    ----------
    shape_zyx
        Number of voxels.
    spacing_zyx
        Distance between voxel centres, mm.
    origin_xyz
        World position of the centre of voxel (0, 0, 0), mm.
    direction
        Nine numbers, row by row, as SimpleITK gives them: column j is the
        world direction of image axis j in the order x, y, z.
    """

    shape_zyx: IndexZyx
    spacing_zyx: VectorZyx
    origin_xyz: VectorXyz = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if len(self.shape_zyx) != 3 or min(self.shape_zyx) < 1:
            raise ValueError(f"a grid needs three positive sizes, not {self.shape_zyx}")
        if not all(math.isfinite(s) and s > 0 for s in self.spacing_zyx):
            raise ValueError(f"spacing must be positive and finite, not {self.spacing_zyx}")
        if not all(math.isfinite(o) for o in self.origin_xyz):
            raise ValueError(f"origin must be finite, not {self.origin_xyz}")
        matrix = self.direction_matrix
        if not np.allclose(matrix.T @ matrix, np.eye(3), atol=ORTHONORMAL_TOLERANCE):
            raise ValueError(f"direction cosines are not orthonormal: {self.direction}")

    @classmethod
    def from_sitk(cls, image: sitk.Image | sitk.ImageFileReader) -> Geometry:
        """Grid of a 3-D SimpleITK image, or of the header a reader has read."""
        x, y, z = (int(n) for n in image.GetSize())
        sx, sy, sz = (float(s) for s in image.GetSpacing())
        ox, oy, oz = (float(o) for o in image.GetOrigin())
        return cls((z, y, x), (sz, sy, sx), (ox, oy, oz), tuple(float(d) for d in image.GetDirection()))

    @property
    def direction_matrix(self) -> NDArray[np.float64]:
        """3 x 3 direction cosines, columns in image order x, y, z."""
        return np.array(self.direction, dtype=float).reshape(3, 3)

    @property
    def voxel_count(self) -> int:
        """Number of voxels of the grid."""
        return math.prod(self.shape_zyx)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel, ml."""
        return math.prod(self.spacing_zyx) / 1000.0

    @property
    def world_from_index(self) -> NDArray[np.float64]:
        """4 x 4 matrix from a homogeneous index (z, y, x, 1) to world (x, y, z, 1) mm."""
        matrix = np.eye(4)
        spacing_xyz = np.array(self.spacing_zyx[::-1])
        matrix[:3, :3] = (self.direction_matrix * spacing_xyz)[:, ::-1]
        matrix[:3, 3] = self.origin_xyz
        return matrix

    def index_to_world(self, index_zyx: NDArray) -> NDArray[np.float64]:
        """World points (n, 3) x, y, z mm of continuous indices (n, 3) z, y, x."""
        matrix = self.world_from_index
        return np.asarray(index_zyx, dtype=float) @ matrix[:3, :3].T + matrix[:3, 3]

    def world_to_index(self, world_xyz: NDArray) -> NDArray[np.float64]:
        """Continuous indices (n, 3) z, y, x of world points (n, 3) x, y, z mm."""
        matrix = np.linalg.inv(self.world_from_index)
        return np.asarray(world_xyz, dtype=float) @ matrix[:3, :3].T + matrix[:3, 3]

    def cropped(self, box: Box) -> Geometry:
        """Grid of a box of this grid's voxels; the box may reach outside."""
        origin = self.index_to_world(np.array([box.start_zyx]))[0]
        return replace(self, shape_zyx=box.shape_zyx, origin_xyz=(float(origin[0]), float(origin[1]), float(origin[2])))

    def coarsened(self, factor_zyx: IndexZyx) -> Geometry:
        """Grid of blocks of ``factor_zyx`` voxels; the last block of an axis may be partly outside."""
        shape = tuple(-(-n // f) for n, f in zip(self.shape_zyx, factor_zyx, strict=True))
        spacing = tuple(s * f for s, f in zip(self.spacing_zyx, factor_zyx, strict=True))
        first_centre = np.array([[(f - 1) / 2 for f in factor_zyx]])
        origin = self.index_to_world(first_centre)[0]
        return Geometry(
            (shape[0], shape[1], shape[2]),
            (spacing[0], spacing[1], spacing[2]),
            (float(origin[0]), float(origin[1]), float(origin[2])),
            self.direction,
        )

    def corners_world(self) -> NDArray[np.float64]:
        """World positions (8, 3) of the outer corners of the grid (voxel faces, not centres)."""
        edges = [(-0.5, n - 0.5) for n in self.shape_zyx]
        index = np.array([(z, y, x) for z in edges[0] for y in edges[1] for x in edges[2]])
        return self.index_to_world(index)

    def axis_aligned(self) -> Geometry:
        """A grid with the world's axes around this one, as fine as its finest axis."""
        corners = self.corners_world()
        step = min(self.spacing_zyx)
        low, high = corners.min(axis=0), corners.max(axis=0)
        x, y, z = (max(1, int(np.ceil(e / step))) for e in high - low)
        first = low + step / 2
        return Geometry((z, y, x), (step,) * 3, (float(first[0]), float(first[1]), float(first[2])))

    def same_grid(self, other: Geometry) -> bool:
        """Whether both grids have the same voxels at the same places.

        Sizes must be equal; corners may differ by `SAME_GRID_TOLERANCE` of a
        voxel, which is what headers of different formats lose.
        """
        if self.shape_zyx != other.shape_zyx:
            return False
        apart = np.abs(self.corners_world() - other.corners_world()).max()
        return bool(apart <= SAME_GRID_TOLERANCE * min(self.spacing_zyx))

    def describe(self) -> str:
        """One phrase for messages: size, spacing, origin and direction."""
        numbers = [" x ".join(f"{v:.6g}" for v in values) for values in (self.shape_zyx, self.spacing_zyx)]
        origin = ", ".join(f"{v:.6g}" for v in self.origin_xyz)
        turned = "" if np.allclose(self.direction_matrix, np.eye(3)) else ", turned axes"
        return f"{numbers[0]} voxels (z, y, x) of {numbers[1]} mm at ({origin}){turned}"
