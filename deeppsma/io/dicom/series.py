"""A DICOM series as an image source: grouped, ordered, checked, and read like an image file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.header import Header, shared
from deeppsma.io.dicom.pixels import check_pixels, rescaling, same_pixels, stored_values
from deeppsma.io.dicom.slices import Stack, stack_slices
from deeppsma.io.dicom.suv import SuvDerivation

PET_CLASS, CT_CLASS = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2"
SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_REFUSED_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.7": "a screen picture (secondary capture)",
    "1.2.840.10008.5.1.4.1.1.20": "an NM image",
}
_SINGLE_FRAME = "export it as single-frame PET or CT images"


@dataclass(frozen=True)
class SeriesFiles:
    """Files of one series, not yet checked.

    Parameters
    ----------
    uid
        SeriesInstanceUID.
    modality
        As the first file has it.
    headers
        By path.
    """

    uid: str
    modality: str
    headers: tuple[Header, ...]

    @property
    def first(self) -> Header:
        """Header of the first file, for what all share."""
        return self.headers[0]

    @property
    def label(self) -> str:
        """How lists name it: modality, end of the UID, number of files. Holds nothing of the patient."""
        return f"{self.modality or '?'} ...{self.uid[-12:]} ({len(self.headers)} files)"


def group_series(headers: Sequence[Header]) -> tuple[SeriesFiles, ...]:
    """Files by their SeriesInstanceUID, in the order of these.

    A file given twice (the same SOPInstanceUID) is kept here: `open_series` compares their pixels.
    """
    groups: dict[str, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.text("SeriesInstanceUID"), []).append(header)
    return tuple(
        SeriesFiles(uid, group[0].text("Modality").upper(), tuple(group)) for uid, group in sorted(groups.items())
    )


@dataclass(frozen=True)
class DicomSeries:
    """A volume of single-frame PET or CT images; the same surface as an image file.

    Parameters
    ----------
    files
        Where it comes from.
    stack
        Its slices in order, and their grid.
    notes
        What was noticed when it was opened: dropped copies, jitter.
    suv
        Of a PET: `read` then gives SUV; None for a CT, which is read in HU.
    """

    files: SeriesFiles
    stack: Stack
    notes: tuple[str, ...] = ()
    suv: SuvDerivation | None = None

    def __post_init__(self) -> None:
        if self.suv is not None and len(self.suv.factors) != len(self.stack.headers):
            raise ValueError(f"{len(self.suv.factors)} SUV factors for {len(self.stack.headers)} slices")

    @property
    def geometry(self) -> Geometry:
        """Grid, from the headers."""
        return self.stack.geometry

    @property
    def path(self) -> Path:
        """First slice's file: what messages name."""
        return self.stack.headers[0].path

    @property
    def unsaid_position(self) -> str | None:
        """None: a slice without a position is refused."""
        return None

    def read(self, dtype: type[np.float32] | None = None) -> Volume:
        """Read the voxels: SUV, or HU.

        Parameters
        ----------
        dtype
            float32, or None: a PET is float32 anyway, a CT int16 where that holds all its values.

        Raises
        ------
        InputError
            If a file is damaged, cannot be decoded, or its rescaling makes no sense.
        """
        if self.files.modality == "CT" and self.suv is None:
            return Volume(self._hounsfield(dtype), self.geometry)
        factors = self.suv.factors if self.suv is not None else (1.0,) * len(self.stack.headers)
        voxels = np.empty(self.geometry.shape_zyx, dtype=np.float32)
        for plane, header, factor in zip(voxels, self.stack.headers, factors, strict=True):
            slope, _ = rescaling(header, intercept_allowed=False)
            np.multiply(stored_values(header), slope * factor, out=plane, casting="unsafe")
        return Volume(voxels, self.geometry)

    def _hounsfield(self, dtype: type[np.float32] | None) -> NDArray:
        scales = [rescaling(header, intercept_allowed=True) for header in self.stack.headers]
        whole = all(slope == int(slope) and intercept == int(intercept) for slope, intercept in scales)
        kind: type = np.float32 if dtype is np.float32 or not whole else np.int16
        voxels: NDArray = np.empty(self.geometry.shape_zyx, dtype=kind)
        limits = np.iinfo(np.int16)
        for plane, header, (slope, intercept) in zip(voxels, self.stack.headers, scales, strict=True):
            values = stored_values(header) * slope + intercept
            if kind is np.int16 and not (limits.min <= values.min() and values.max() <= limits.max):
                found = f"values from {values.min():g} to {values.max():g}"
                raise InputError(header.path, found, "give the CT in Hounsfield units")
            plane[:] = values
        return voxels

    def in_suv(self, suv: SuvDerivation) -> DicomSeries:
        """The same series, read as SUV."""
        return replace(self, suv=suv)

    @cached_property
    def frame_of_reference(self) -> str:
        """FrameOfReferenceUID; "" where there is none."""
        return shared(self.stack.headers, "FrameOfReferenceUID")

    @property
    def expected_slices(self) -> int | None:
        """How many slices the series says it has (NumberOfSlices); None where it does not."""
        number = self.files.first.number("NumberOfSlices")
        return None if number is None else int(number)


def open_series(files: SeriesFiles) -> DicomSeries:
    """Check a PET or CT series and put its slices in order; no pixel is read but those of doubled slices.

    Localizers that lie in a CT's series are left out, identical copies of a slice too; both are noted.

    Raises
    ------
    InputError
        One line: which file, what was found, what to do.
    """
    _check_class(files)
    notes: list[str] = []
    headers = [header for header in files.headers if "LOCALIZER" not in header.text("ImageType").upper().split("\\")]
    if not headers:
        raise InputError(files.first.path, "a localizer, not a volume", "give the CT or PET itself")
    if len(headers) < len(files.headers):
        notes.append(f"{len(files.headers) - len(headers)} localizer images left out")
    for keyword in ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID"):
        shared(headers, keyword)
    check_pixels(headers)
    stack = stack_slices(headers)
    for kept, copy in stack.copies:
        if not same_pixels(kept, copy):
            found = f"lies where {kept.path.name} lies, with other pixels (frames in time, or gates, of one place?)"
            raise InputError(copy.path, found, "give a static series")
    if stack.copies:
        notes.append(f"{len(stack.copies)} identical copies of slices left out")
    for header in stack.headers:
        rescaling(header, intercept_allowed=files.modality == "CT")
    return DicomSeries(files, stack, (*notes, *stack.notes))


def _check_class(files: SeriesFiles) -> None:
    classes = {header.text("SOPClassUID") for header in files.headers}
    expected = {"PT": PET_CLASS, "CT": CT_CLASS}.get(files.modality)
    where = files.first.path
    for uid in sorted(classes):
        if uid in _REFUSED_CLASSES:
            raise InputError(where, f"{_REFUSED_CLASSES[uid]} is not read", _SINGLE_FRAME)
    if expected is None:
        raise InputError(where, f"modality {files.modality or 'missing'} is not used", "give PET and CT")
    if classes != {expected}:
        strange = ", ".join(sorted(classes - {expected}))
        raise InputError(where, f"SOP class {strange} is not read", _SINGLE_FRAME)
    if {header.text("Modality").upper() for header in files.headers} != {files.modality}:
        raise InputError(where, "a series of several modalities", "export the series again")


def check_pet_kind(files: SeriesFiles) -> None:
    """Refuse a PET that is no static image of its own: dynamic, gated, a projection, a picture made of another.

    Raises
    ------
    InputError
        Names the tag.
    """
    header = files.first
    kinds = [text.upper() for text in header.texts("SeriesType")]
    if kinds and kinds[0] in ("DYNAMIC", "GATED"):
        raise header.refuse("SeriesType", f"is {kinds[0]}", "give the static or whole-body series")
    if "REPROJECTION" in kinds[1:]:
        raise header.refuse("SeriesType", "is REPROJECTION: a projection", "give the volume itself")
    image_type = [text.upper() for text in header.texts("ImageType")]
    projections = {"MIP", "PROJECTION", "PROJECTION IMAGE", "MPR", "REPROJECTION"}
    if "SECONDARY" in image_type[1:2] or projections & set(image_type):
        raise header.refuse("ImageType", f"is {'/'.join(image_type)}: made of another image", "give the original PET")
    if header.text("LossyImageCompression") == "01":
        raise header.refuse("LossyImageCompression", "is 01: values are not the scanner's", "give it without loss")
