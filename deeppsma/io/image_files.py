"""Image files: headers, voxels, and the checks that every image must pass."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError, OutputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.memory import raise_if_short
from deeppsma.core.volume import Volume
from deeppsma.io.headers import HeaderError, StoredImage
from deeppsma.io.integrity import cut_short, damage, read_header

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Voxels of a scanner are some mm; beyond these limits the header's unit is another.
SPACING_LIMITS_MM = (0.1, 30.0)
_COPY_AGAIN = "check that the file is whole, or copy it again"
_WRITE_AGAIN = "write the image again with a valid header"
_READERS = {
    ".mha": "MetaImageIO",
    ".tif": "TIFFImageIO",
    ".tiff": "TIFFImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
}
SUFFIXES = tuple(_READERS)


def is_image(path: Path) -> bool:
    """Whether the file's name says that it is an image we read; hidden files are none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


@dataclass(frozen=True)
class ImageFile:
    """An image on disk; only what is asked for is read.

    Parameters
    ----------
    path
        One of `SUFFIXES`.
    """

    path: Path

    @property
    def geometry(self) -> Geometry:
        """Grid from the header alone; no voxel is decompressed.

        Raises
        ------
        InputError
            If the file is no image, has not three dimensions, several values
            per voxel, or a grid that makes no sense.
        """
        return self._header[0]

    @cached_property
    def _header(self) -> tuple[Geometry, StoredImage]:
        """Grid, and what the header says; ITK and our own parser must read it alike."""
        stored = self._stored()
        if len(stored.shape_xyz) != 3 or min(stored.shape_xyz) < 2:
            found = f"a {len(stored.shape_xyz)}-D image of size {stored.shape_xyz} (x, y, z)"
            raise InputError(self.path, found, "give one 3-D volume")
        if stored.components != 1:
            raise InputError(self.path, f"{stored.components} values per voxel", "give an image of one value per voxel")
        geometry = self._geometry_of(stored)
        low, high = SPACING_LIMITS_MM
        if not all(low <= spacing <= high for spacing in geometry.spacing_zyx):
            found = f"a spacing of {' x '.join(f'{s:.4g}' for s in geometry.spacing_zyx)} mm"
            raise InputError(self.path, found, f"write it again in mm: {low:g} to {high:g} are taken")
        return geometry, stored

    def _stored(self) -> StoredImage:
        check_name(self.path)
        if not self.path.name.lower().endswith(SUFFIXES):
            raise InputError(self.path, "no image by its name", f"give one of {', '.join(SUFFIXES)}")
        try:
            return read_header(self.path)
        except OSError as error:
            if isinstance(error, PermissionError):
                raise InputError(self.path, "this user may not read it", "give the user read access to it") from None
            raise InputError(self.path, f"not a readable image ({error.strerror or error})", _COPY_AGAIN) from None
        except HeaderError as error:
            raise InputError(self.path, f"not a readable image: {error}", _WRITE_AGAIN) from None

    def _geometry_of(self, stored: StoredImage) -> Geometry:
        import SimpleITK as sitk

        reader = sitk.ImageFileReader()
        reader.SetImageIO(self._reader_name)
        reader.SetFileName(str(self.path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise self._unreadable(error) from None
        if found := stored.contradiction(reader):
            raise InputError(self.path, f"its header can be read as {found}", _WRITE_AGAIN)
        try:
            return Geometry.from_sitk(reader)
        except ValueError as error:
            raise InputError(self.path, str(error), _WRITE_AGAIN) from None

    def read(self, dtype: type[np.float32] | None = None) -> Volume:
        """Read the voxels.

        Parameters
        ----------
        dtype
            float32 for PET, None for what the file holds.

        Raises
        ------
        InputError
            If the file is damaged or holds NaN or infinite values.
        """
        import SimpleITK as sitk

        geometry, _ = self._header
        if problem := damage(self.path):
            raise InputError(self.path, f"not a readable image: {problem}", _COPY_AGAIN)
        kind = sitk.sitkFloat32 if dtype is np.float32 else sitk.sitkUnknown
        try:
            image = sitk.ReadImage(str(self.path), kind, self._reader_name)
        except RuntimeError as error:
            raise self._unreadable(error) from None
        voxels = _own_view(image)
        if voxels.dtype.kind == "f" and not np.isfinite([voxels.min(), voxels.max()]).all():
            raise InputError(self.path, "NaN or infinite voxels", "write the image again with finite values everywhere")
        return Volume(voxels, geometry)

    @property
    def unsaid_position(self) -> str | None:
        """What the file does not say of its position, and what is assumed; None where it says all."""
        return "; ".join(self._header[1].unsaid) or None

    @property
    def _reader_name(self) -> str:
        """Which reader: SimpleITK would go by a suffix in small letters, or by what is in the file."""
        name = self.path.name.lower()
        return next(reader for suffix, reader in _READERS.items() if name.endswith(suffix))

    def _unreadable(self, error: RuntimeError) -> InputError:
        raise_if_short(error)
        if self.path.exists() and not os.access(self.path, os.R_OK):
            return InputError(self.path, "this user may not read it", "give the user read access to the file")
        reason = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = reason[-1] if reason else "no reason given"
        return InputError(self.path, f"not a readable image ({detail})", _COPY_AGAIN)


def check_name(path: Path, error: type[InputError] = InputError) -> None:
    """Refuse a path that is not UTF-8: ITK ends the whole process over it.

    Parameters
    ----------
    path
        Of an image, or of a folder that images go to.
    error
        What to raise; it shows the path with what cannot be written replaced.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", errors="replace")
        raise error(shown, "the name is not UTF-8", "rename the file or folder") from None


def write_image(volume: Volume, path: Path, compress: bool = True) -> None:
    """Write an image; the suffix decides the format.

    The file is on the disk when this returns: ITK does not notice a disk that
    is full before the last block is written.

    Raises
    ------
    OutputError
        If the file cannot be written, or is not whole.
    """
    import SimpleITK as sitk

    try:
        sitk.WriteImage(volume.to_sitk(), str(path), useCompression=compress)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        found = cut_short(path)
    except (RuntimeError, OSError) as error:
        raise_if_short(error)
        found = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
    if found:
        path.unlink(missing_ok=True)
        raise OutputError(path, f"could not be written ({found})", "check the folder's free space and rights")


class _Owner:
    """Memory of a SimpleITK image, kept alive by whoever looks at it.

    Of the module: a class made for each image would be garbage that goes only
    when cycles are looked for, and the image with it.
    """

    def __init__(self, image: sitk.Image) -> None:
        import SimpleITK as sitk

        self._image, self._view = image, sitk.GetArrayViewFromImage(image)
        self.__array_interface__ = self._view.__array_interface__


def _own_view(image: sitk.Image) -> NDArray:
    """Array over the image's own memory, no copy; it keeps the image alive, which a SimpleITK view does not."""
    return np.asarray(_Owner(image))
