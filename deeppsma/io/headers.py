"""What an image's header says, and how it is taken at its word.

ITK's readers are lenient: a field that is missing, misspelt, given twice or
no number becomes a default without a word, and a scan lies elsewhere or has
another size. So headers are read here first, strictly, and what ITK makes of
them afterwards must agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK as sitk

#: What headers in single precision, or decimal numbers of six digits, lose of a millimetre, a cosine or a position.
_RELATIVE, _ABSOLUTE_MM = 1e-5, 1e-4
_UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


class HeaderError(ValueError):
    """A header that is broken, or that can be read in two ways; the message says what was found."""


@dataclass(frozen=True)
class StoredImage:
    """What a file's header says of its voxels and of their place.

    Parameters
    ----------
    shape_xyz
        Number of voxels; as many axes as the file has.
    spacing_xyz, origin_xyz
        mm.
    direction
        Nine numbers, row by row, as `deeppsma.core.geometry.Geometry` has them.
    dtype
        Of one stored value, without byte order: "f4", "i2", ...
    components
        Values per voxel.
    start
        Where voxels begin: bytes of the file, or of its content once
        decompressed (``.nii.gz``). 0 where they lie in several pieces.
    unsaid
        What the header leaves open of the position, and what is assumed;
        empty if it says all.
    rescaled
        Whether the header asks for a slope or an intercept, so that values
        are read as another type than is stored.
    """

    shape_xyz: tuple[int, ...]
    spacing_xyz: tuple[float, float, float]
    origin_xyz: tuple[float, float, float]
    direction: tuple[float, ...]
    dtype: str
    components: int = 1
    start: int = 0
    unsaid: tuple[str, ...] = ()
    rescaled: bool = False

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels, decompressed."""
        return math.prod(self.shape_xyz) * self.components * np.dtype(self.dtype).itemsize

    def contradiction(self, reader: sitk.ImageFileReader) -> str | None:
        """What ITK reads otherwise; None where both agree.

        Parameters
        ----------
        reader
            After ``ReadImageInformation``; of three dimensions.
        """
        if tuple(reader.GetSize()) != self.shape_xyz:
            return f"a size of {self.shape_xyz} and of {tuple(reader.GetSize())} (x, y, z)"
        scales = max(1.0, *map(abs, self.origin_xyz))
        for name, own, other, tolerance in (
            ("spacing", self.spacing_xyz, reader.GetSpacing(), _RELATIVE * max(self.spacing_xyz)),
            ("origin", self.origin_xyz, reader.GetOrigin(), _ABSOLUTE_MM + _RELATIVE * scales),
            ("direction", self.direction, reader.GetDirection(), 10 * _RELATIVE),
        ):
            apart = np.abs(np.array(own) - np.array(other))
            if not (apart <= tolerance).all():  # NaN is never within
                return f"{name} {_said(own)} and {_said(other)}"
        if not self.rescaled and reader.GetPixelID() != _pixel_id(self.dtype):
            return f"voxels of type {self.dtype} and of another"
        return None


def finite_numbers(text: str, count: int, what: str) -> tuple[float, ...]:
    """So many numbers in a text, parted by spaces.

    Raises
    ------
    HeaderError
        If there are more or fewer, or one is no finite number.
    """
    words = text.split()
    try:
        # float() also takes "1_0", which no other reader does.
        numbers = tuple(float(word) for word in words if "_" not in word)
    except ValueError:
        numbers = ()
    if len(words) != count or len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise HeaderError(f"{what} is {text[:60]!r}, not {count} finite number{'s' if count > 1 else ''}")
    return numbers


def checked_spacing(values: tuple[float, ...], what: str) -> tuple[float, float, float]:
    """Three spacings above 0.

    Raises
    ------
    HeaderError
        If one is not.
    """
    x, y, z = values
    if not min(values) > 0:
        raise HeaderError(f"{what} is {_said(values)}; it must be above 0")
    return x, y, z


def upright() -> tuple[float, ...]:
    """Direction of an image along the world's axes."""
    return _UPRIGHT


def same_place(a: NDArray[np.float64], b: NDArray[np.float64], shape_xyz: tuple[int, ...], tolerance_mm: float) -> bool:
    """Whether two 4 x 4 matrices from index to world put an image's corners at the same points."""
    corners = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    corners[:, :3] *= np.array(shape_xyz[:3]) - 1
    apart = np.abs(corners @ a.T - corners @ b.T)
    return bool((apart <= tolerance_mm).all())


def _said(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _pixel_id(dtype: str) -> int:
    import SimpleITK as sitk

    return {
        "i1": sitk.sitkInt8,
        "u1": sitk.sitkUInt8,
        "i2": sitk.sitkInt16,
        "u2": sitk.sitkUInt16,
        "i4": sitk.sitkInt32,
        "u4": sitk.sitkUInt32,
        "i8": sitk.sitkInt64,
        "u8": sitk.sitkUInt64,
        "f4": sitk.sitkFloat32,
        "f8": sitk.sitkFloat64,
    }[dtype]
