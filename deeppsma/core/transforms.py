"""The rigid transform between the two sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deeppsma.core.tracer import Tracer

if TYPE_CHECKING:
    import SimpleITK as sitk

#: How far R^T R may be from the identity. Files carry 6 digits or more.
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class RigidTransform:
    """Maps a point p to ``R (p - c) + c + t``; world millimetres, x, y, z.

    Parameters
    ----------
    rotation
        Nine numbers, row by row.
    translation_xyz, centre_xyz
        Millimetres.
    """

    rotation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    translation_xyz: tuple[float, ...] = (0.0, 0.0, 0.0)
    centre_xyz: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        matrix = self.rotation_matrix
        if not np.isfinite([*self.rotation, *self.translation_xyz, *self.centre_xyz]).all():
            raise ValueError("the transform holds NaN or infinite numbers")
        if not np.allclose(matrix.T @ matrix, np.eye(3), atol=ROTATION_TOLERANCE) or np.linalg.det(matrix) < 0:
            raise ValueError("rows 0 to 2, columns 0 to 2 are not a rotation")

    @property
    def rotation_matrix(self) -> NDArray[np.float64]:
        """3 x 3 rotation."""
        return np.array(self.rotation, dtype=float).reshape(3, 3)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Homogeneous 4 x 4 matrix on (x, y, z, 1)."""
        rotation, centre = self.rotation_matrix, np.array(self.centre_xyz)
        out = np.eye(4)
        out[:3, :3] = rotation
        out[:3, 3] = centre + np.array(self.translation_xyz) - rotation @ centre
        return out

    def apply(self, points_xyz: NDArray) -> NDArray[np.float64]:
        """Mapped points, shape (n, 3), x, y, z mm."""
        matrix = self.matrix
        return np.asarray(points_xyz, dtype=float) @ matrix[:3, :3].T + matrix[:3, 3]

    def inverse(self) -> RigidTransform:
        """The transform back: about the same centre, ``R^T`` and ``-R^T t``."""
        rotation = self.rotation_matrix.T
        translation = -rotation @ np.array(self.translation_xyz)
        return RigidTransform(tuple(rotation.ravel().tolist()), tuple(translation.tolist()), self.centre_xyz)

    def to_sitk(self) -> sitk.AffineTransform:
        """As SimpleITK's transform, for `SimpleITK.Resample`."""
        import SimpleITK as sitk

        out = sitk.AffineTransform(3)
        out.SetMatrix(self.rotation)
        out.SetCenter(self.centre_xyz)
        out.SetTranslation(self.translation_xyz)
        return out


def rotation_matrix(turn_deg: ArrayLike) -> NDArray[np.float64]:
    """Rotation about x, then y, then z; degrees."""
    a, b, c = np.deg2rad(np.asarray(turn_deg, dtype=float))
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx)


def to_other_session(tracer: Tracer, fdg_to_psma: RigidTransform) -> RigidTransform:
    """Maps points of a tracer's session to the other session."""
    return fdg_to_psma if tracer is Tracer.FDG else fdg_to_psma.inverse()
