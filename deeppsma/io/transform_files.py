"""The rigid transform in files: the challenge's JSON, and ITK's transform files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.settings import read_json
from deeppsma.core.transforms import RigidTransform

CHALLENGE_KEY = "3d_affine_transform"


def to_challenge(transform: RigidTransform) -> dict[str, list[list[float]]]:
    """The challenge's JSON object; see `from_challenge`."""
    rotation = transform.rotation_matrix.tolist()
    rows = [[*row, t] for row, t in zip(rotation, transform.translation_xyz, strict=True)]
    return {CHALLENGE_KEY: [*rows, [*transform.centre_xyz, 0.0]]}


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
