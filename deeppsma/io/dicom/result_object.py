"""What all DICOM results share: attributes of patient, study, series and equipment, codes, and how they are saved.

A result lies in its PET's study and patient, in a series of its own. Text is UTF-8.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeppsma._version import __version__
from deeppsma.core.defaults import DICOM_KINDS
from deeppsma.core.errors import ConfigurationError, OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.header import DAMAGE
from deeppsma.io.dicom.result_source import OPTIONAL, PATIENT, STUDY, Provenance, ResultSource

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MANUFACTURER, MODEL = "deeppsma", "deeppsma - not for clinical use"
NO_LESION = "No lesion found"
#: Far from scanners' own numbers.
_SERIES_NUMBERS = {kind: 9001 + place for place, kind in enumerate(DICOM_KINDS)}
_TITLES = {"seg": "lesions", "rtstruct": "lesions", "sr": "lesion figures", "capture": "picture", "pdf": "report"}


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
    for keyword in (*PATIENT, *STUDY, "StudyInstanceUID", *OPTIONAL):
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
    known = "".join(f" {note}." for note in about.notes)
    item.ContributionDescription = ascii_text(f"{about.notice} Recipe {about.recipe}.{known}", 1024)
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
