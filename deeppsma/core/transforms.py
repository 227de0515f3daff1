"""The rigid transform between the two sessions, and the challenge's encoding of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.jsonfile import read_json
from deeppsma.core.tracer import Tracer

if TYPE_CHECKING:
    import SimpleITK as sitk

#: How far R^T R may be from the identity. Files carry 6 digits or more.
ROTATION_TOLERANCE = 1e-3
CHALLENGE_KEY = "3d_affine_transform"


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

    def to_challenge(self) -> dict[str, list[list[float]]]:
        """The challenge's JSON object; see `from_challenge`."""
        rotation = self.rotation_matrix.tolist()
        rows = [[*row, t] for row, t in zip(rotation, self.translation_xyz, strict=True)]
        return {CHALLENGE_KEY: [*rows, [*self.centre_xyz, 0.0]]}


def rotation_matrix(turn_deg: ArrayLike) -> NDArray[np.float64]:
    """Rotation about x, then y, then z; degrees."""
    a, b, c = np.deg2rad(np.asarray(turn_deg, dtype=float))
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx)


def from_challenge(content: Any, where: Path | str = "transform") -> RigidTransform:
    """Read the challenge's encoding: the FDG-to-PSMA transform of a case.

    The 4 x 4 list is not a homogeneous matrix: rows 0 to 2 hold rotation and
    translation, **row 3, columns 0 to 2 the centre of rotation**. The result
    maps a point of FDG space to PSMA space (FDG fixed, PSMA moving).

    Parameters
    ----------
    content
        The parsed JSON: ``{"3d_affine_transform": [[...], ...]}``.
    where
        Named in error messages.

    Raises
    ------
    InputError
        If it has another shape, holds NaN, or is not a rotation.
    """
    remedy = f'it must be {{"{CHALLENGE_KEY}": 4 x 4 numbers}}, as the challenge writes it'
    if not isinstance(content, dict) or CHALLENGE_KEY not in content:
        raise InputError(where, f'no "{CHALLENGE_KEY}" in it', remedy)
    try:
        matrix = np.array(content[CHALLENGE_KEY], dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise InputError(where, "the transform holds something that is not a number", remedy) from None
    if matrix.shape != (4, 4):
        raise InputError(where, f"the transform has shape {matrix.shape}", remedy)
    return _checked(matrix[:3, :3], matrix[:3, 3], matrix[3, :3], where)


def read_challenge_transform(path: Path) -> RigidTransform:
    """Read ``psma-to-fdg-registration.json``; see `from_challenge`."""
    return from_challenge(read_json(path, "give the registration's JSON file"), path)


def read_tfm(path: Path) -> RigidTransform:
    """Read an ITK transform file (``rigid.tfm`` of the training data)."""
    import SimpleITK as sitk

    try:
        transform = sitk.ReadTransform(str(path))
        while isinstance(transform, sitk.CompositeTransform) or transform.GetName() == "CompositeTransform":
            composite = sitk.CompositeTransform(transform)
            if composite.GetNumberOfTransforms() != 1:
                raise InputError(path, "several transforms in one file", "give a single rigid transform")
            transform = composite.GetNthTransform(0)
        linear = transform.Downcast()
        rotation = np.array(linear.GetMatrix()).reshape(3, 3)
        translation, centre = np.array(linear.GetTranslation()), np.array(linear.GetCenter())
    except (RuntimeError, AttributeError, ValueError) as error:
        found = f"not a rigid ITK transform ({_last_line(error)})"
        raise InputError(path, found, "give an Euler3DTransform") from None
    return _checked(rotation, translation, centre, path)


def to_other_session(tracer: Tracer, fdg_to_psma: RigidTransform) -> RigidTransform:
    """Maps points of a tracer's session to the other session."""
    return fdg_to_psma if tracer is Tracer.FDG else fdg_to_psma.inverse()


def write_tfm(transform: RigidTransform, path: Path) -> None:
    """Write an ITK transform file, as the training data has it."""
    import SimpleITK as sitk

    euler = sitk.Euler3DTransform()
    euler.SetCenter(transform.centre_xyz)
    euler.SetTranslation(transform.translation_xyz)
    euler.SetMatrix(transform.rotation, 1e-4)
    sitk.WriteTransform(euler, str(path))


def _checked(rotation: NDArray, translation: NDArray, centre: NDArray, where: Path | str) -> RigidTransform:
    try:
        return RigidTransform(tuple(rotation.ravel().tolist()), tuple(translation.tolist()), tuple(centre.tolist()))
    except ValueError as error:
        raise InputError(where, str(error), "give a rigid transform (rotation and translation only)") from None


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
