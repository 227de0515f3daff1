"""Pixels of single-frame DICOM images: decoded, rescaled by the slope of their own slice.

Decoders: pydicom's own (RLE), pyjpegls (JPEG-LS), pylibjpeg-openjpeg (JPEG 2000), and SimpleITK's for lossless JPEG,
for which pydicom's only decoder is of another licence. What else is compressed is refused by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.io.dicom.header import DAMAGE, Header

_COPY = "copy or export the file again"
_JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


def check_pixels(headers: Sequence[Header]) -> None:
    """Refuse slices that are no single grey image, or whose file is too short for its pixels; pixels are not read.

    Raises
    ------
    InputError
        Names the file.
    """
    for header in headers:
        if (header.number("SamplesPerPixel") or 1) != 1:
            raise header.refuse("SamplesPerPixel", "is not 1", "give grey images")
        if (header.number("NumberOfFrames") or 1) != 1:
            raise header.refuse("NumberOfFrames", "is not 1", "give a series of one file per slice")
        bits = header.number("BitsAllocated")
        rows, columns = header.number("Rows"), header.number("Columns")
        if bits is None or rows is None or columns is None:
            raise InputError(header.path, "no description of its pixels", _COPY)
        needed = int(rows * columns * bits) // 8
        if header.file_bytes and header.meta("TransferSyntaxUID") in _UNCOMPRESSED and header.file_bytes < needed:
            found = f"{header.file_bytes} bytes, too few for {needed} bytes of pixels: the file ends early"
            raise InputError(header.path, found, _COPY)


def stored_values(header: Header) -> NDArray:
    """Pixels as stored, [y, x], whole numbers.

    Raises
    ------
    InputError
        If the file ends early or cannot be decoded.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import UID

    if header.meta("TransferSyntaxUID") in _JPEG_LOSSLESS:
        return _by_simpleitk(header)
    dataset = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(header.path, force=True)
            if not hasattr(dataset.file_meta, "TransferSyntaxUID"):
                dataset.file_meta.TransferSyntaxUID = UID(_UNCOMPRESSED[0])
            pixels = dataset.pixel_array
    except (*DAMAGE, RuntimeError, InvalidDicomError) as error:
        raise InputError(header.path, f"pixels cannot be decoded ({_reason(dataset, error)})", _COPY) from None
    if pixels.ndim != 2 or pixels.shape != (header.number("Rows"), header.number("Columns")):
        raise InputError(header.path, f"pixels of shape {pixels.shape}", _COPY)
    return np.asarray(pixels)


def _by_simpleitk(header: Header) -> NDArray:
    """SimpleITK rescales what it reads: the stored whole numbers are what slope and intercept are taken off again."""
    import SimpleITK as sitk

    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(header.path), sitk.sitkUnknown, "GDCMImageIO"))
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise InputError(header.path, f"pixels cannot be decoded ({lines[-1].strip()[:120]})", _COPY) from None
    slope, intercept = header.number("RescaleSlope") or 1.0, header.number("RescaleIntercept") or 0.0
    stored = np.rint((values.astype(np.float64) - intercept) / slope)
    stored = stored.reshape(stored.shape[-2:])
    if stored.shape != (header.number("Rows"), header.number("Columns")):
        raise InputError(header.path, f"pixels of shape {stored.shape}", _COPY)
    return stored.astype(np.int32)


def _reason(dataset: object, error: Exception) -> str:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    name = f"{getattr(syntax, 'name', syntax)}: " if syntax else ""
    lines = str(error).strip().splitlines()
    return f"{name}{lines[0][:120] if lines else type(error).__name__}"


def rescaling(header: Header, intercept_allowed: bool) -> tuple[float, float]:
    """Slope and intercept of a slice.

    Parameters
    ----------
    header
        Of the slice.
    intercept_allowed
        A PET's must be 0, as the standard says; a CT has one.

    Raises
    ------
    InputError
        If the slope is missing or not positive, or an intercept is where none may be.
    """
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope is None:
        raise header.refuse("RescaleSlope", "is missing")
    if slope <= 0:
        raise header.refuse("RescaleSlope", f"is {slope:g}")
    if intercept_allowed and intercept is None:
        raise header.refuse("RescaleIntercept", "is missing")
    if not intercept_allowed and intercept:
        raise header.refuse("RescaleIntercept", f"is {intercept:g}, not 0 as in every PET")
    return slope, intercept or 0.0


def same_pixels(one: Header, other: Header) -> bool:
    """Whether two slices hold the same values."""
    if any(one.numbers(keyword) != other.numbers(keyword) for keyword in ("RescaleSlope", "RescaleIntercept")):
        return False
    return np.array_equal(stored_values(one), stored_values(other))
