"""What all DICOM results share: whose they are, whose work, and UIDs that a second run finds again.

A result lies in its PET's study and patient, in a series of its own. Its UIDs follow from the PET series, the method
and the kind of object by a hash, so that a rerun replaces what it wrote before and doubles nothing. Text is UTF-8.
"""

from __future__ import annotations

import re
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma._version import __version__
from deeppsma.core.defaults import DICOM_KINDS
from deeppsma.core.errors import ConfigurationError, InputError, OutputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.header import DAMAGE, Header
from deeppsma.io.dicom.series import PET_CLASS, DicomSeries

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MANUFACTURER, MODEL = "deeppsma", "deeppsma - not for clinical use"
NO_LESION = "No lesion found"
#: Far from scanners' own numbers.
_SERIES_NUMBERS = {kind: 9001 + place for place, kind in enumerate(DICOM_KINDS)}
_TITLES = {"seg": "lesions", "rtstruct": "lesions", "sr": "lesion figures", "capture": "picture", "pdf": "report"}
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
#: Copied where they are; the standard asks for none of them.
_OPTIONAL = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
)
_DATES = {"PatientBirthDate": r"\d{8}", "StudyDate": r"\d{8}", "StudyTime": r"\d{2,6}(\.\d{1,6})?"}


def result_uid(*parts: str) -> str:
    """UID that the same parts always give: 2.25 and a number of 128 bits, as the standard allows to everybody."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(('deeppsma', *parts))).int}"


def require_highdicom() -> None:
    """Refuse to go on without the package that writes.

    Raises
    ------
    ConfigurationError
        If highdicom is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        remedy = "pip install 'deeppsma[dicom]', or choose --dicom none"
        raise ConfigurationError("DICOM results", "the package highdicom is not installed", remedy) from None


@dataclass(frozen=True)
class Provenance:
    """Whose work a result is.

    Parameters
    ----------
    method
        What distinguishes it from other ways to a result: recipe and weights. Part of every UID.
    recipe
        Its name, for people.
    notice
        Not for clinical use, and what the weights have seen.
    created
        When.
    reviewed
        Whether a physician's decisions are in it; he replaces no unreviewed result.
    """

    method: str
    recipe: str
    notice: str
    created: datetime
    reviewed: bool = False


@dataclass(frozen=True)
class ResultSource:
    """The PET series that results refer to.

    Parameters
    ----------
    tracer
        Which PET.
    series_uid
        SeriesInstanceUID that UIDs of results follow from: the scanner's, or under a pseudonym the one that stands for
        it, so that an archive which gets both never takes one for the other.
    slices
        For each slice of the PET's grid, from the first on, what results need of its header.
    geometry
        The PET's grid. Where slices jitter, ``slices`` say where each lies.
    """

    tracer: Tracer
    series_uid: str
    slices: tuple[Dataset, ...]
    geometry: Geometry

    def __post_init__(self) -> None:
        if len(self.slices) != self.geometry.shape_zyx[0]:
            raise ValueError(f"{len(self.slices)} headers for {self.geometry.shape_zyx[0]} slices")

    @classmethod
    def of(cls, tracer: Tracer, series: DicomSeries, pseudonym: str = "") -> ResultSource:
        """The source that a PET series is.

        Parameters
        ----------
        tracer, series
            The PET.
        pseudonym
            Stands for the patient's name and number, if not empty; see `pseudonymised`.

        Raises
        ------
        InputError
            If the series lacks what every result must refer to.
        """
        headers = series.stack.headers
        middle = headers[len(headers) // 2]
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
            if not middle.text(keyword):
                remedy = "results cannot refer to it: mend the tag, or choose --dicom none"
                raise middle.refuse(keyword, "is missing", remedy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that the standard does not know are the hospital's
            slices = [_slice(header, middle, series.geometry) for header in headers]
            if pseudonym:
                slices = [pseudonymised(each, pseudonym) for each in slices]
        series_uid = result_uid("pseudonym", series.files.uid) if pseudonym else series.files.uid
        return cls(tracer, series_uid, tuple(slices), series.geometry)

    @property
    def first(self) -> Dataset:
        """A slice, for what all share."""
        return self.slices[0]

    @cached_property
    def origins_xyz(self) -> NDArray[np.float64]:
        """(slices, 3): where the centre of each slice's first voxel lies, mm."""
        return np.array([[float(v) for v in each.ImagePositionPatient] for each in self.slices])

    def uid(self, about: Provenance, *parts: str) -> str:
        """UID of something that a method finds in this series."""
        state = "reviewed" if about.reviewed else "found"
        return result_uid(self.series_uid, about.method, state, *parts)

    def sop_uid(self, about: Provenance, kind: str) -> str:
        """SOPInstanceUID of an object; others refer to it."""
        return self.uid(about, kind, "instance")


def _slice(header: Header, middle: Header, grid: Geometry) -> Dataset:
    """What results need of a slice's header; positions and cosines as the header has them."""
    from pydicom.dataset import Dataset

    out = Dataset()
    out.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*_PATIENT, *_STUDY):
        setattr(out, keyword, _as_text(header, keyword))
    for keyword in _OPTIONAL:
        if value := _as_text(header, keyword):
            setattr(out, keyword, value)
    out.StudyInstanceUID, out.SeriesInstanceUID = header.text("StudyInstanceUID"), header.text("SeriesInstanceUID")
    out.SOPClassUID, out.SOPInstanceUID = PET_CLASS, header.text("SOPInstanceUID")
    out.FrameOfReferenceUID = middle.text("FrameOfReferenceUID")
    out.PositionReferenceIndicator = _as_text(header, "PositionReferenceIndicator")
    out.Modality = "PT"
    out.ImageType = ["ORIGINAL", "PRIMARY"]
    out.InstanceNumber = int(header.number("InstanceNumber") or 0)
    out.Rows, out.Columns = grid.shape_zyx[1:]
    out.ImagePositionPatient = header.raw("ImagePositionPatient")
    out.ImageOrientationPatient = middle.raw("ImageOrientationPatient")
    out.PixelSpacing = middle.raw("PixelSpacing")
    out.SliceThickness = decimal(header.number("SliceThickness") or grid.spacing_zyx[0])
    return out


def _as_text(header: Header, keyword: str) -> str:
    """Text as it is; empty where it is no value of its kind, for another's slip must not stop a result."""
    try:
        text = header.text(keyword)
    except InputError:
        return ""
    if keyword == "PatientSex" and text not in ("M", "F", "O"):
        return ""
    pattern = _DATES.get(keyword)
    return text if pattern is None or re.fullmatch(pattern, text) else ""


def pseudonymised(one_slice: Dataset, pseudonym: str) -> Dataset:
    """A slice's identity replaced, the same way in every slice, object and session.

    Name and number of the patient become the pseudonym; birth date, study date, study ID, accession number, referring
    physician and study description become empty; every UID becomes another that only the original gives.
    """
    from pydicom.dataset import Dataset

    out = Dataset()
    out.update(one_slice)
    out.PatientName, out.PatientID = f"{pseudonym}^", pseudonym
    for keyword in ("PatientBirthDate", *_STUDY):
        setattr(out, keyword, "")
    for keyword in ("IssuerOfPatientID", "StudyDescription"):
        if keyword in out:
            delattr(out, keyword)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        setattr(out, keyword, result_uid("pseudonym", getattr(one_slice, keyword)))
    return out


def begin(sop_class: str, modality: str, source: ResultSource, about: Provenance, kind: str) -> Dataset:
    """A new object of a kind, with what all have; Implicit VR, whose values may be longer than 64 KB."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ImplicitVRLittleEndian

    out = Dataset()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out.SOPClassUID = out.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    out.Modality, out.InstanceNumber = modality, 1
    finish(out, source, about, kind)
    return out


def finish(out: Dataset, source: ResultSource, about: Provenance, kind: str) -> None:
    """Put on an object what all have: patient, study, series, whose work it is, and its UIDs."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import UID

    out.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*_PATIENT, *_STUDY, "StudyInstanceUID", *_OPTIONAL):
        if keyword in source.first:
            setattr(out, keyword, getattr(source.first, keyword))
    out.SeriesInstanceUID = source.uid(about, kind, "series")
    out.SOPInstanceUID = out.file_meta.MediaStorageSOPInstanceUID = UID(source.sop_uid(about, kind))
    out.SeriesNumber = _SERIES_NUMBERS[kind] + (10 if about.reviewed else 0)
    out.SeriesDescription = series_description(source.tracer, about, kind)
    out.Manufacturer, out.ManufacturerModelName = MANUFACTURER, MODEL
    out.SoftwareVersions, out.DeviceSerialNumber = __version__, "none"
    for keyword in ("InstanceCreation", "Series", "Content" if kind != "rtstruct" else "StructureSet"):
        setattr(out, f"{keyword}Date", about.created.strftime("%Y%m%d"))
        setattr(out, f"{keyword}Time", about.created.strftime("%H%M%S"))
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Items([code("109102", "DCM", "Processing Equipment")])
    item.Manufacturer, item.ManufacturerModelName, item.SoftwareVersions = MANUFACTURER, MODEL, __version__
    item.ContributionDescription = ascii_text(f"{about.notice} Recipe {about.recipe}.", 1024)
    out.ContributingEquipmentSequence = Items([item])


def series_description(tracer: Tracer, about: Provenance, kind: str) -> str:
    """What viewers list."""
    reviewed = "reviewed " if about.reviewed else ""
    return f"deeppsma {tracer.upper()} {reviewed}{_TITLES[kind]}, not for clinical use"


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence's item."""
    from pydicom.dataset import Dataset

    out = Dataset()
    out.CodeValue, out.CodingSchemeDesignator, out.CodeMeaning = value, scheme, meaning
    return out


def references(*slices: Dataset) -> Any:
    """Items that refer to images."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    items = []
    for each in slices:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = each.SOPClassUID, each.SOPInstanceUID
        items.append(item)
    return Items(items)


def decimal(value: float) -> str:
    """A number as DICOM's decimal string, at most 16 characters: to 0.1 micrometre, or six digits."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text if len(text) <= 16 else f"{value:.6g}"


def ascii_text(text: str, longest: int) -> str:
    """Text of plain characters, cut at the length that the standard allows."""
    plain = text.replace("\N{PLUS-MINUS SIGN}", "+-").encode("ascii", "replace").decode("ascii")
    return plain.replace("\\", "/")[:longest]


def save(objects: Mapping[str, Dataset], folder: Path) -> list[Path]:
    """Write objects by kind as ``{kind}.dcm`` into a folder, which is made.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, made in objects.items():
        path = folder / f"{kind}.dcm"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.save_as(path, enforce_file_format=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise OutputError(path, f"cannot be written ({reason})", "check the folder's free space") from None
        except DAMAGE as error:
            raise OutputError(path, f"cannot be encoded ({error})", "choose --dicom none, and tell us") from None
        written.append(path)
    return written
