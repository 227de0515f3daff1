"""Whose a DICOM result is, and whose work: the PET series that it refers to, the method, UIDs that follow from both.

A rerun finds its UIDs again and replaces what it wrote before. Under a pseudonym all of them are others.
"""

from __future__ import annotations

import re
import uuid
import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.header import Header
from deeppsma.io.dicom.series import PET_CLASS, DicomSeries

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Of the patient and of the study; every result has them.
PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
#: Copied where they are; the standard asks for none of them.
OPTIONAL = (
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
    notes
        What a reader must know about the run, a line each: what was missing, and what was done without.
    """

    method: str
    recipe: str
    notice: str
    created: datetime
    reviewed: bool = False
    notes: tuple[str, ...] = ()


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
    for keyword in (*PATIENT, *STUDY):
        setattr(out, keyword, _as_text(header, keyword))
    for keyword in OPTIONAL:
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
    for keyword in ("PatientBirthDate", *STUDY):
        setattr(out, keyword, "")
    for keyword in ("IssuerOfPatientID", "StudyDescription"):
        if keyword in out:
            delattr(out, keyword)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        setattr(out, keyword, result_uid("pseudonym", getattr(one_slice, keyword)))
    return out


def decimal(value: float) -> str:
    """A number as DICOM's decimal string, at most 16 characters: to 0.1 micrometre, or six digits."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text if len(text) <= 16 else f"{value:.6g}"
