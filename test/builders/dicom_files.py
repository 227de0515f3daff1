"""DICOM series as scanners write them, small, for spoiling one tag at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

PET_CLASS, CT_CLASS = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2"
ROOT = "1.2.826.0.1.3680043.10.999"
DATA = Path(__file__).parents[1] / "data"
Edit = Callable[[Dataset], object]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def image_slice(modality: str, number: int, count: int, series: str, study: str = "1", rows: int = 8) -> Dataset:
    """One slice of a series, without pixels; slices lie 4 mm apart, feet first in file order."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = PET_CLASS if modality == "PT" else CT_CLASS
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.{study}.{series}.{number + 1}"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{ROOT}.{study}", f"{ROOT}.{study}.{series}"
    image.FrameOfReferenceUID = f"{ROOT}.{study}.0"
    image.PatientName, image.PatientID = "SECRET^NAME", "SECRET-ID"
    image.Modality = modality
    image.ImageType = ["ORIGINAL", "PRIMARY"] if modality == "PT" else ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = "20250306"
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = "110000"
    image.InstanceNumber = count - number
    image.ImagePositionPatient = [-16.0, -16.0, 100.0 + 4.0 * number]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [4.0, 4.0], 4.0
    image.Rows = image.Columns = rows
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.RescaleSlope, image.RescaleIntercept = 1.0, (0.0 if modality == "PT" else -1024.0)
    return image


def pet_slice(number: int, count: int, series: str = "1", study: str = "1") -> Dataset:
    image = image_slice("PT", number, count, series, study)
    image.SeriesDescription = "PET WB AC"
    image.SeriesType = ["WHOLE BODY", "IMAGE"]
    image.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"]
    image.Units, image.DecayCorrection, image.CountsSource = "BQML", "START", "EMISSION"
    image.PatientWeight, image.PatientSize = 70.0, 1.75
    image.FrameReferenceTime, image.ActualFrameDuration, image.DecayFactor = 89500.0, 180000, 1.0095
    image.NumberOfSlices = count
    item = Dataset()
    item.Radiopharmaceutical = "Solution"
    item.RadiopharmaceuticalStartTime = "100000"
    item.RadiopharmaceuticalStartDateTime = "20250306100000"
    item.RadionuclideTotalDose = 350e6
    item.RadionuclideHalfLife = 6586.2
    item.RadionuclideCodeSequence = Items([code("C-111A1", "SRT", "^18^Fluorine")])
    item.RadiopharmaceuticalCodeSequence = Items([code("C-B1031", "SRT", "Fluorodeoxyglucose F^18^")])
    image.RadiopharmaceuticalInformationSequence = Items([item])
    return image


def ct_slice(number: int, count: int, series: str = "2", study: str = "1") -> Dataset:
    image = image_slice("CT", number, count, series, study)
    image.SeriesDescription = "CT WB 5.0"
    return image


def injected(image: Dataset) -> Dataset:
    return image.RadiopharmaceuticalInformationSequence[0]


def as_psma(image: Dataset) -> None:
    """Ga-68 PSMA-11 in place of FDG."""
    item = injected(image)
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = 150e6, 4057.7
    item.RadionuclideCodeSequence = Items([code("35337001", "SCT", "^68^Gallium")])
    item.RadiopharmaceuticalCodeSequence = Items([code("C118961", "NCIt", "PSMA-11 Ga^68^")])


def write_slices(folder: Path, images: Sequence[Dataset]) -> Path:
    """Write slices; one without pixels gets 1000 times its place, background 0 in the first row."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        if "PixelData" not in image:
            pixels = np.full((image.Rows, image.Columns), 1000 * (number % 30 + 1), dtype=np.int16)
            pixels[0] = 0
            image.PixelData = pixels.tobytes()
        name = f"{image.Modality}_{image.SeriesInstanceUID.rsplit('.', 1)[-1]}_{number:03d}.dcm"
        image.save_as(folder / name, enforce_file_format=True)
    return folder


def write_pet(folder: Path, edit: Edit | None = None, count: int = 4, series: str = "1", study: str = "1") -> Path:
    """A PET series; ``edit`` changes every slice before it is written."""
    images = [pet_slice(number, count, series, study) for number in range(count)]
    for image in images:
        if edit is not None:
            edit(image)
    return write_slices(folder, images)


def write_ct(folder: Path, edit: Edit | None = None, count: int = 4, series: str = "2", study: str = "1") -> Path:
    images = [ct_slice(number, count, series, study) for number in range(count)]
    for image in images:
        if edit is not None:
            edit(image)
    return write_slices(folder, images)


def edited(**values: Any) -> Edit:
    """An edit that sets attributes; None takes one away."""

    def edit(image: Dataset) -> None:
        for keyword, value in values.items():
            set_or_take(image, keyword, value)

    return edit


def injection_edited(**values: Any) -> Edit:
    """As `edited`, in the item of the injection."""

    def edit(image: Dataset) -> None:
        for keyword, value in values.items():
            set_or_take(injected(image), keyword, value)

    return edit


def set_or_take(dataset: Dataset, keyword: str, value: Any) -> None:
    if value is not None:
        setattr(dataset, keyword, value)
    elif keyword in dataset:
        delattr(dataset, keyword)


def vendor_slices(name: str) -> list[Dataset]:
    """Slices with a vendor's header values from ``test/data/suv_headers``; tags that it does not name are absent."""
    rows = json.loads((DATA / "suv_headers" / f"{name}.json").read_text(encoding="utf-8"))
    out = []
    for number, row in enumerate(rows):
        image = image_slice("PT", number, len(rows), "1")
        for keyword in ("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "StudyDate", "StudyTime"):
            del image[keyword]
        item = Dataset()
        for keyword, value in row.items():
            if keyword == "PhilipsPETPrivateGroup":
                _add_philips(image, value)
            elif keyword.startswith("Radio"):
                setattr(item, keyword, value.strip() if isinstance(value, str) else value)
            else:
                setattr(image, keyword, value)
        image.RadiopharmaceuticalInformationSequence = Items([item])
        out.append(image)
    return out


def _add_philips(image: Dataset, values: dict[str, str]) -> None:
    if not values:
        return
    block = image.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "DS", values["SUVScaleFactor"].strip())
    block.add_new(0x09, "DS", values["ActivityConcentrationScaleFactor"].strip())
