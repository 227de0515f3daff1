"""Image files: headers, voxels, and the checks that every image must pass."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.io.integrity import damage

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Voxels of a scanner are some mm; beyond these limits the header's unit is another.
SPACING_LIMITS_MM = (0.1, 30.0)
_NIFTI_HEADER_BYTES = 352
_COPY_AGAIN = "check that the file is whole, or copy it again"
SUFFIXES = (".mha", ".tif", ".tiff", ".nii.gz", ".nii")


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
    def _header(self) -> tuple[Geometry, int, str | None]:
        """Grid, bytes that the stored voxels end at, and what the header does not say of their position."""
        import SimpleITK as sitk

        check_name(self.path)
        reader = sitk.ImageFileReader()
        reader.SetImageIO(self._reader_name)
        reader.SetFileName(str(self.path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise self._unreadable(error) from None
        size = tuple(reader.GetSize())
        if len(size) != 3 or min(size) < 2:
            raise InputError(self.path, f"a {len(size)}-D image of size {size} (x, y, z)", "give one 3-D volume")
        if reader.GetNumberOfComponents() != 1:
            found = f"{reader.GetNumberOfComponents()} values per voxel"
            raise InputError(self.path, found, "give an image of one value per voxel")
        try:
            geometry = Geometry.from_sitk(reader)
        except ValueError as error:
            raise InputError(self.path, str(error), "write the image again with a valid header") from None
        low, high = SPACING_LIMITS_MM
        if not all(low <= spacing <= high for spacing in geometry.spacing_zyx):
            found = f"a spacing of {' x '.join(f'{s:.4g}' for s in geometry.spacing_zyx)} mm"
            raise InputError(self.path, found, f"write it again in mm: {low:g} to {high:g} are taken")
        unsaid = "TIFF holds no position; slices of 1 mm at 0 assumed" if self._is_tiff else None
        if not reader.HasMetaDataKey("bitpix"):
            component_bytes = sitk.Image(1, 1, reader.GetPixelID()).GetSizeOfPixelComponent()
            return geometry, geometry.voxel_count * component_bytes, unsaid
        # NIfTI may store other bytes than it reads as (rescaled values), and extensions before them.
        voxel_bytes = geometry.voxel_count * int(reader.GetMetaData("bitpix")) // 8
        if all(int(reader.GetMetaData(key)) == 0 for key in ("qform_code", "sform_code")):
            unsaid = "the NIfTI header holds no position; upright axes at 0 assumed"
        return geometry, max(_NIFTI_HEADER_BYTES, int(float(reader.GetMetaData("vox_offset")))) + voxel_bytes, unsaid

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

        geometry, end_of_voxels, _ = self._header
        if problem := damage(self.path, end_of_voxels):
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
        return self._header[2]

    @property
    def _is_tiff(self) -> bool:
        return self.path.name.lower().endswith((".tif", ".tiff"))

    @property
    def _reader_name(self) -> str:
        """SimpleITK knows a format by its suffix in small letters only; "" lets it choose."""
        return "MetaImageIO" if self.path.name.lower().endswith(".mha") else ""

    def _unreadable(self, error: RuntimeError) -> InputError:
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

    Raises
    ------
    RuntimeError
        SimpleITK's, if the file cannot be written.
    """
    import SimpleITK as sitk

    sitk.WriteImage(volume.to_sitk(), str(path), useCompression=compress)


def _own_view(image: sitk.Image) -> NDArray:
    """Array over the image's own memory, kept alive by the array; no copy.

    A SimpleITK view does not own its image. Wrapping it in an array whose base
    is a small owner object makes the pair safe to hand on.
    """
    import SimpleITK as sitk

    view = sitk.GetArrayViewFromImage(image)

    class _Owner:
        __array_interface__ = view.__array_interface__
        keeps = (image, view)

    return np.asarray(_Owner())
