"""A synthetic patient as DICOM PET/CT studies, one per tracer, as scanners write them; the truth lies beside.

Two habits are imitated: GE's (one acquisition time for all beds, frame reference times of the frames' starts, its own
tag for the scan's start) and Siemens's (each bed its own acquisition time, frame reference times of mean counts). Both
write a rescale slope for each slice. Organ maps are DICOM SEG label maps. Names and numbers are nobody's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.settings import write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.agents import Nuclide, catalogue
from deeppsma.io.dicom.files import holds_dicom, require_pydicom
from deeppsma.io.dicom.organ_map import organ_numbers
from deeppsma.io.dicom.reference_time import mean_count_time_s
from deeppsma.io.dicom.series import CT_CLASS, PET_CLASS, SEG_CLASSES
from deeppsma.io.image_files import write_image
from deeppsma.io.layouts import StudyImages
from deeppsma.io.transform_files import write_tfm

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_FRAME_S, _BED_MM = 180, 150.0
_UPTAKE = timedelta(minutes=60)
_STORED_MAX = 32767
#: What is injected: nuclide, activity in Bq, agent's code, scheme and meaning.
_INJECTIONS = {
    Tracer.FDG: ("F-18", 300e6, "35321007", "SCT", "Fluorodeoxyglucose F^18^"),
    Tracer.PSMA: ("Ga-68", 150e6, "C118961", "NCIt", "PSMA-11 Ga^68^"),
}
#: When the sessions begin: clock times that no real patient's date stands for.
_SCANS = {Tracer.PSMA: datetime(2000, 1, 3, 10, 0), Tracer.FDG: datetime(2000, 1, 10, 11, 0)}


class DicomLayout:
    """``input/{psma,fdg}/{pt,ct,seg}/*.dcm``, and ``truth`` beside: masks, thresholds, and the transform.

    Parameters
    ----------
    weight_kg
        Of the patient.
    habits
        "ge" or "siemens", by tracer; those that are not there are "ge".
    """

    name = "dicom"
    folder_stem = "case"

    def __init__(self, weight_kg: float = 84.0, habits: Mapping[Tracer, str] | None = None) -> None:
        self.weight_kg, self.habits = weight_kg, habits or {}
        if not weight_kg > 0:
            raise ValueError(f"weight_kg must be positive, not {weight_kg}")
        if strange := set(self.habits.values()) - {"ge", "siemens"}:
            raise ValueError(f'habits are "ge" or "siemens", not {sorted(strange)}')

    def holds(self, folder: Path) -> bool:
        """Whether there is a DICOM file below."""
        return holds_dicom(folder)

    def write(self, folder: Path, studies: Mapping[Tracer, StudyImages], fdg_to_psma: RigidTransform) -> None:
        """Write a patient; the folder exists and is empty."""
        require_pydicom()
        patient = hashlib.sha256(b"".join(s.pet.voxels.tobytes() for s in studies.values())).hexdigest()[:12]
        truth = folder / "truth"
        truth.mkdir()
        for tracer, study in studies.items():
            habit = self.habits.get(tracer, "ge")
            session = _Session(tracer, patient, self.weight_kg, habit)
            place = folder / "input" / str(tracer)
            _write(place / "pt", session.pet_slices(study.pet))
            if study.ct is not None:
                _write(place / "ct", session.ct_slices(study.ct))
            if study.organs is not None:
                _write(place / "seg", [session.organ_map(study.organs)])
            if study.truth is not None:
                write_image(study.truth, truth / f"{tracer}.mha")
        write_json(truth / "thresholds.json", {str(t): study.threshold_suv for t, study in studies.items()})
        if len(studies) == len(Tracer):
            write_tfm(fdg_to_psma, truth / "fdg_to_psma.tfm")

    def read(self, folder: Path) -> Any:
        """Not here: what a case needs beside its images is made in `deeppsma.preprocessing.dicom_case`."""
        raise InputError(folder, "DICOM has no thresholds and no transform", "open it with open_dicom_case")


def _write(folder: Path, images: Sequence[Dataset]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images, 1):
        image.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


@dataclass(frozen=True)
class _Session:
    """One visit's tags."""

    tracer: Tracer
    patient: str
    weight_kg: float
    habit: str

    def uid(self, *parts: object) -> str:
        """The same parts give the same UID, below pydicom's own root."""
        from pydicom.uid import generate_uid

        return generate_uid(entropy_srcs=[self.patient, str(self.tracer), *(str(part) for part in parts)])

    @property
    def scan(self) -> datetime:
        """When the PET began."""
        return _SCANS[self.tracer]

    def image(self, sop_class: str, modality: str, number: int) -> Dataset:
        """What every file of the session has."""
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import UID, ExplicitVRLittleEndian

        out = Dataset()
        out.file_meta = FileMetaDataset()
        out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        out.SOPClassUID = out.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        out.SOPInstanceUID = out.file_meta.MediaStorageSOPInstanceUID = UID(self.uid(modality, number))
        out.StudyInstanceUID, out.SeriesInstanceUID = self.uid("study"), self.uid("series", modality)
        out.FrameOfReferenceUID, out.PositionReferenceIndicator = self.uid("frame"), ""
        out.PatientName, out.PatientID = "Synthetic^Patient", f"SYNTHETIC-{self.patient}"
        out.PatientBirthDate, out.PatientSex = "", "M"
        out.PatientWeight, out.PatientSize = round(self.weight_kg, 1), 1.75
        out.PatientPosition = "HFS"
        out.StudyID, out.AccessionNumber, out.ReferringPhysicianName = "", "", ""
        out.StudyDescription = f"Synthetic PET/CT {self.tracer.upper()}"
        out.Manufacturer = "deeppsma phantom"
        out.ManufacturerModelName = f"synthetic, {self.habit}-like"
        out.Modality, out.InstanceNumber = modality, number
        begun = self.scan - timedelta(minutes=4)
        out.StudyDate, out.StudyTime = _day(begun), _clock(begun)
        out.SeriesDate, out.SeriesTime = _day(self.scan), _clock(self.scan)
        out.ContentDate, out.ContentTime = _day(self.scan), _clock(self.scan)
        out.SeriesNumber = {"CT": 2, "PT": 3, "SEG": 4}[modality]
        return out

    def pet_slices(self, pet: Volume) -> list[Dataset]:
        """SUV as Bq/ml at the scan's start, 16 bits and a slope for each slice, head first."""
        nuclide, injection = self._injection()
        decayed_bq = _INJECTIONS[self.tracer][1] * 2 ** (-_UPTAKE.total_seconds() / nuclide.half_life_s)
        to_activity = decayed_bq / (1000 * round(self.weight_kg, 1))
        count = pet.geometry.shape_zyx[0]
        out = []
        for number, z in enumerate(reversed(range(count)), 1):
            image = self.image(PET_CLASS, "PT", number)
            _place(image, pet.geometry, z)
            activity = np.maximum(pet.voxels[z].astype(np.float64), 0) * to_activity
            slope = float(f"{max(float(activity.max()), 1.0) / _STORED_MAX:.9g}")
            _stored(image, np.minimum(np.rint(activity / slope), _STORED_MAX).astype(np.int16), slope, 0)
            self._pet_tags(image, nuclide, int(z * pet.geometry.spacing_zyx[0] / _BED_MM), count)
            image.RadiopharmaceuticalInformationSequence = _items(injection)
            out.append(image)
        return out

    def _pet_tags(self, image: Dataset, nuclide: Nuclide, bed: int, count: int) -> None:
        """From the thighs upward, bed after bed."""
        image.ImageType = ["ORIGINAL", "PRIMARY"]
        image.SeriesDescription = f"{self.tracer.upper()} WB AC"
        image.SeriesType, image.CountsSource = ["WHOLE BODY", "IMAGE"], "EMISSION"
        image.Units, image.DecayCorrection = "BQML", "START"
        image.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"]
        image.AttenuationCorrectionMethod, image.ScatterCorrectionMethod = "measured", "model-based"
        image.ReconstructionMethod, image.RandomsCorrectionMethod = "OSEM", "DLYD"
        image.CollimatorType = "NONE"
        image.NumberOfSlices, image.ImageIndex = count, image.InstanceNumber
        image.ActualFrameDuration = 1000 * _FRAME_S
        middle_s, start_s = mean_count_time_s(_FRAME_S, nuclide.half_life_s), float(bed * _FRAME_S)
        begun = self.scan + timedelta(seconds=start_s if self.habit == "siemens" else 0)
        image.AcquisitionDate, image.AcquisitionTime = _day(begun), _clock(begun)
        reference_s = start_s + (middle_s if self.habit == "siemens" else 0)
        image.FrameReferenceTime = round(1000 * reference_s, 3)
        image.DecayFactor = round(2 ** ((start_s + middle_s) / nuclide.half_life_s), 6)
        if self.habit == "ge":
            block = image.private_block(0x0009, "GEMS_PETD_01", create=True)
            block.add_new(0x0D, "DT", f"{_day(self.scan)}{_clock(self.scan)}.00")

    def _injection(self) -> tuple[Nuclide, Dataset]:
        from pydicom.dataset import Dataset

        name, dose_bq, agent, scheme, meaning = _INJECTIONS[self.tracer]
        nuclide = next(n for n in catalogue().nuclides if n.name == name)
        at = self.scan - _UPTAKE
        item = Dataset()
        item.Radiopharmaceutical = "Solution" if self.habit == "siemens" else meaning
        item.RadiopharmaceuticalStartTime = _clock(at)
        if self.habit == "siemens":
            item.RadiopharmaceuticalStartDateTime = f"{_day(at)}{_clock(at)}"
        item.RadionuclideTotalDose, item.RadionuclideHalfLife = dose_bq, nuclide.half_life_s
        element, mass = name.split("-")
        long_name = {"F": "Fluorine", "Ga": "Gallium"}[element]
        code = nuclide.codes[0].split(":")[1]
        item.RadionuclideCodeSequence = _items(_code(code, "SCT", f"^{mass}^{long_name}"))
        item.RadiopharmaceuticalCodeSequence = _items(_code(agent, scheme, meaning))
        return nuclide, item

    def ct_slices(self, ct: Volume) -> list[Dataset]:
        """HU plus 1024, head first."""
        out = []
        for number, z in enumerate(reversed(range(ct.geometry.shape_zyx[0])), 1):
            image = self.image(CT_CLASS, "CT", number)
            begun = self.scan - timedelta(minutes=2)
            image.AcquisitionDate, image.AcquisitionTime = _day(begun), _clock(begun)
            image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            image.SeriesDescription, image.KVP, image.AcquisitionNumber = "CT WB", 120, 1
            _place(image, ct.geometry, z)
            _stored(image, (ct.voxels[z].astype(np.int32) + 1024).astype(np.int16), 1.0, -1024)
            image.RescaleType = "HU"
            out.append(image)
        return out

    def organ_map(self, organs: Volume) -> Dataset:
        """Label map as DICOM SEG (Supplement 243), JPEG-LS; segments have TotalSegmentator's numbers and names."""
        from pydicom.dataset import Dataset
        from pydicom.uid import JPEGLSLossless

        image = self.image(SEG_CLASSES[1], "SEG", 1)
        image.ImageType, image.SeriesDescription = ["DERIVED", "PRIMARY"], "Organs"
        image.SegmentationType, image.ContentLabel = "LABELMAP", "ORGANS"
        image.ContentDescription, image.ContentCreatorName = "synthetic", "deeppsma^phantom"
        _stored(image, organs.voxels[0].astype(np.uint8), None, None)
        count = organs.geometry.shape_zyx[0]
        image.NumberOfFrames, image.PixelData = count, organs.voxels.astype(np.uint8).tobytes()
        names = {number: name for name, number in organ_numbers().items()}
        image.SegmentSequence = _items(*(_segment(int(n), names[int(n)]) for n in np.unique(organs.voxels) if n))
        shared, measures, orientation = Dataset(), Dataset(), Dataset()
        placed = Dataset()
        _place(placed, organs.geometry, 0)
        measures.PixelSpacing, measures.SliceThickness = placed.PixelSpacing, placed.SliceThickness
        orientation.ImageOrientationPatient = placed.ImageOrientationPatient
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = _items(measures), _items(orientation)
        image.SharedFunctionalGroupsSequence = _items(shared)
        image.PerFrameFunctionalGroupsSequence = _items(*(_frame(organs.geometry, z) for z in range(count)))
        image.compress(JPEGLSLossless, generate_instance_uid=False)
        return image


def _frame(grid: Geometry, z: int) -> Dataset:
    from pydicom.dataset import Dataset

    out, position, placed = Dataset(), Dataset(), Dataset()
    _place(placed, grid, z)
    position.ImagePositionPatient = placed.ImagePositionPatient
    out.PlanePositionSequence = _items(position)
    return out


def _segment(number: int, name: str) -> Dataset:
    from pydicom.dataset import Dataset

    out = Dataset()
    out.SegmentNumber, out.SegmentLabel, out.SegmentAlgorithmType = number, name, "AUTOMATIC"
    out.SegmentAlgorithmName = "deeppsma phantom"
    out.SegmentedPropertyCategoryCodeSequence = _items(_code("123037004", "SCT", "Anatomical Structure"))
    out.SegmentedPropertyTypeCodeSequence = _items(_code(f"ORGAN{number}", "99DEEPPSMA", name))
    return out


def _place(image: Dataset, grid: Geometry, z: int) -> None:
    """Position, orientation and size of a slice's voxels; numbers of 16 characters at most."""
    matrix = grid.direction_matrix
    origin = grid.index_to_world(np.array([[z, 0, 0]]))[0]
    image.ImagePositionPatient = [_decimal(value) for value in origin]
    image.ImageOrientationPatient = [_decimal(value) for value in (*matrix[:, 0], *matrix[:, 1])]
    image.PixelSpacing = [_decimal(value) for value in grid.spacing_zyx[1:]]
    image.SliceThickness = _decimal(grid.spacing_zyx[0])
    image.SliceLocation = _decimal(origin[2])


def _decimal(value: float) -> str:
    return f"{round(float(value), 6) + 0.0:.10g}"


def _stored(image: Dataset, pixels: NDArray, slope: float | None, intercept: float | None) -> None:
    bits = 8 * pixels.dtype.itemsize
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = bits
    image.HighBit, image.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    if slope is not None and intercept is not None:
        image.RescaleSlope, image.RescaleIntercept = f"{slope:.9g}", f"{intercept:g}"
    image.PixelData = pixels.tobytes()


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    out = Dataset()
    out.CodeValue, out.CodingSchemeDesignator, out.CodeMeaning = value, scheme, meaning
    return out


def _items(*datasets: Dataset) -> Any:
    from pydicom.sequence import Sequence as Items

    return Items(datasets)


def _day(at: datetime) -> str:
    return at.strftime("%Y%m%d")


def _clock(at: datetime) -> str:
    seconds = at.second + at.microsecond / 1e6
    return f"{at:%H%M}{math.floor(seconds):02d}"
