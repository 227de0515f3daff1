"""The rigid transform in files: the challenge's JSON, and ITK's transform files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.memory import raise_if_short
from deeppsma.core.settings import read_json
from deeppsma.core.transforms import RigidTransform

CHALLENGE_KEY = "3d_affine_transform"
_TFM_REMEDY = "give an ITK transform file with one Euler3DTransform, FDG fixed and PSMA moving"
#: By ITK's name without precision: SimpleITK's class, parameters, fixed parameters (the order of Euler angles too).
_NAMES = {
    "Euler3DTransform": ("Euler3DTransform", 6, (3, 4)),
    "VersorRigid3DTransform": ("VersorRigid3DTransform", 6, (3,)),
    "Similarity3DTransform": ("Similarity3DTransform", 7, (3,)),
    "AffineTransform": ("AffineTransform", 12, (3,)),
    "MatrixOffsetTransformBase": ("AffineTransform", 12, (3,)),
    "TranslationTransform": ("TranslationTransform", 3, (0,)),
}
_OF_ANY_DIMENSION = ("AffineTransform", "TranslationTransform")
_KINDS = {f"{name}_{precision}_3_3": how for name, how in _NAMES.items() for precision in ("double", "float")}
_COMPOSITES = ("CompositeTransform_double_3_3", "CompositeTransform_float_3_3")
#: Farther than any scanner reaches, mm; also keeps squares finite.
_NUMBER_MAX = 1e6


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
    rows = content[CHALLENGE_KEY]
    try:
        numbers = all(_is_number(value) for row in rows for value in row)
        matrix = np.array(rows if numbers else "numpy takes texts and truths for numbers", dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise InputError(where, "the transform holds something that is not a number", remedy) from None
    if matrix.shape != (4, 4):
        raise InputError(where, f"the transform has shape {matrix.shape}", remedy)
    return _checked(matrix[:3, :3], matrix[:3, 3], matrix[3, :3], where)


def read_challenge_transform(path: Path) -> RigidTransform:
    """Read ``psma-to-fdg-registration.json``; see `from_challenge`."""
    return from_challenge(read_json(path, "give the registration's JSON file"), path)


def read_tfm(path: Path) -> RigidTransform:
    """Read an ITK transform file (``rigid.tfm`` of the training data).

    The text is checked here before ITK makes a transform of its numbers: of
    NaN or words it would read outside its memory, and of a file that ends
    early it would make an identity.

    Parameters
    ----------
    path
        Text as ITK writes it, with one transform of `_KINDS`.

    Raises
    ------
    InputError
        If it holds no such transform, or several; if a number is missing,
        too many or not finite; if it is not a rotation.
    """
    import SimpleITK as sitk

    try:
        kind, parameters, fixed = _parsed(path.read_bytes().decode("ascii"))
        name, _, _ = _KINDS[kind]
        transform = getattr(sitk, name)(3) if name in _OF_ANY_DIMENSION else getattr(sitk, name)()
        if fixed:
            transform.SetFixedParameters(fixed)
        transform.SetParameters(parameters)
        if name == "TranslationTransform":
            return _checked(np.eye(3), np.array(parameters), np.zeros(3), path)
        rotation = np.array(transform.GetMatrix()).reshape(3, 3)
        translation, centre = np.array(transform.GetTranslation()), np.array(transform.GetCenter())
    except OSError as error:
        raise InputError(path, f"not readable ({error.strerror})", _TFM_REMEDY) from None
    except (RuntimeError, ValueError) as error:
        raise_if_short(error)
        raise InputError(path, f"not a rigid ITK transform ({_last_line(error)})", _TFM_REMEDY) from None
    return _checked(rotation, translation, centre, path)


def _parsed(text: str) -> tuple[str, list[float], list[float]]:
    """Kind, parameters and fixed parameters of the one transform in a file.

    Raises
    ------
    ValueError
        If there is another number of transforms, or of numbers.
    """
    if not text.startswith("#Insight Transform File V1.0"):
        raise ValueError("its first line is not '#Insight Transform File V1.0'")
    if not text.endswith("\n"):
        raise ValueError("its last line does not end")  # nor, perhaps, its last number
    entries = [_entry(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if entries and entries[0] in [("Transform", each) for each in _COMPOSITES]:
        entries.pop(0)  # of one transform; it has no numbers of its own
    keys = [key for key, _ in entries]
    if keys.count("Transform") > 1:
        raise ValueError("several transforms in one file")
    if keys != ["Transform", "Parameters", "FixedParameters"]:
        raise ValueError("not Transform, Parameters and FixedParameters, in this order")
    (_, kind), (_, parameters), (_, fixed) = entries
    if kind not in _KINDS:
        raise ValueError(f"{kind[:60]}; known are {', '.join(_KINDS)}")
    _, count, fixed_counts = _KINDS[kind]
    numbers, fixed_numbers = parameters.split(), fixed.split()
    if len(numbers) != count or len(fixed_numbers) not in fixed_counts:
        raise ValueError(f"{len(numbers)} parameters and {len(fixed_numbers)} fixed ones of {kind}")
    return kind, [_number(word) for word in numbers], [_number(word) for word in fixed_numbers]


def _entry(line: str) -> tuple[str, str]:
    key, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"the line {line[:40]!r}")
    return key.strip(), value.strip()


def _number(word: str) -> float:
    value = float(word) if "_" not in word else math.nan
    if not math.isfinite(value) or abs(value) > _NUMBER_MAX:
        raise ValueError(f"{word[:40]} among its numbers")
    return value


def write_tfm(transform: RigidTransform, path: Path) -> None:
    """Write an ITK transform file, as the training data has it."""
    import SimpleITK as sitk

    euler = sitk.Euler3DTransform()
    euler.SetCenter(transform.centre_xyz)
    euler.SetTranslation(transform.translation_xyz)
    euler.SetMatrix(transform.rotation, 1e-4)
    numbers, fixed = (
        " ".join(repr(value + 0.0).removesuffix(".0") for value in each)
        for each in (euler.GetParameters(), euler.GetFixedParameters())
    )
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: Euler3DTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: {fixed}\n",
        encoding="ascii",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked(rotation: NDArray, translation: NDArray, centre: NDArray, where: Path | str) -> RigidTransform:
    try:
        return RigidTransform(tuple(rotation.ravel().tolist()), tuple(translation.tolist()), tuple(centre.tolist()))
    except ValueError as error:
        raise InputError(where, str(error), "give a rigid transform (rotation and translation only)") from None


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
