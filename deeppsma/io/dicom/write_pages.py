"""What every viewer shows: a picture as secondary capture, and a report as encapsulated PDF."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from deeppsma.io.dicom.result_object import ascii_text, begin, code, references
from deeppsma.io.dicom.result_source import Provenance, ResultSource

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CAPTURE_CLASS, PDF_CLASS = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.104.1"


def capture(source: ResultSource, about: Provenance, png: bytes) -> Dataset:
    """A picture as secondary capture, in colour.

    Parameters
    ----------
    source
        The PET that it shows.
    about
        Whose work.
    png
        The picture; it names no patient, and says itself that it is not for clinical use.
    """
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    out = begin(CAPTURE_CLASS, "OT", source, about, "capture")
    out.ConversionType = "WSD"
    out.ImageType = ["DERIVED", "SECONDARY"]
    out.PatientOrientation, out.BodyPartExamined = "", "WHOLEBODY"
    out.BurnedInAnnotation = "NO"  # names nobody
    out.DerivationDescription = ascii_text(about.notice, 1024)
    out.SourceImageSequence = references(source.first)
    out.SamplesPerPixel, out.PhotometricInterpretation, out.PlanarConfiguration = 3, "RGB", 0
    out.Columns, out.Rows = picture.size
    out.BitsAllocated = out.BitsStored = 8
    out.HighBit, out.PixelRepresentation = 7, 0
    out.PixelData = _even(picture.tobytes())
    return out


def encapsulated_pdf(source: ResultSource, about: Provenance, pdf: bytes) -> Dataset:
    """A report as encapsulated PDF.

    Parameters
    ----------
    source
        The PET in whose study it lies.
    about
        Whose work.
    pdf
        The report; it names no patient.
    """
    from pydicom.sequence import Sequence as Items

    out = begin(PDF_CLASS, "DOC", source, about, "pdf")
    out.ConversionType = "WSD"
    out.BurnedInAnnotation = "NO"  # names nobody
    out.AcquisitionDateTime = ""
    out.DocumentTitle = out.SeriesDescription
    out.ConceptNameCodeSequence = Items([code("18748-4", "LN", "Diagnostic Imaging Report")])
    out.VerificationFlag = "UNVERIFIED"
    out.MIMETypeOfEncapsulatedDocument = "application/pdf"
    out.EncapsulatedDocumentLength = len(pdf)
    out.EncapsulatedDocument = _even(pdf)
    return out


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)
