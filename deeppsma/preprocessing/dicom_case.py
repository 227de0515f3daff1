"""A case of a patient's DICOM studies: what the challenge gives and a hospital does not have is made here.

The FDG threshold comes from the liver, the PSMA threshold is 3, the transform between the sessions from their CTs,
organ maps from DICOM, from files, or from TotalSegmentator. Whatever is missing or fails is a note of the case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case, ImageSource, MemoryImage, Study
from deeppsma.io.dicom.files import holds_dicom
from deeppsma.io.dicom.series import DicomSeries
from deeppsma.io.dicom.site import Site
from deeppsma.io.dicom.study import DicomPatient, open_patient
from deeppsma.io.image_files import ImageFile
from deeppsma.io.layouts import PlatformLayout, load_case
from deeppsma.io.organ_segmenter import OrganSegmenter
from deeppsma.preprocessing.liver_threshold import PSMA_THRESHOLD_SUV
from deeppsma.preprocessing.registration import register
from deeppsma.preprocessing.suv_check import SuvCheck, check_suv, known_weight_kg


@dataclass(frozen=True)
class DicomOptions:
    """What the user may say beside the folder.

    Parameters
    ----------
    site
        A hospital's rules.
    thresholds_suv
        By tracer; one that is not there is found by the rule.
    organs
        Organ maps as files, by tracer; they come before those in the folder.
    segmenter
        Makes organ maps that are missing, or None.
    fdg_to_psma
        The transform, if it is known; None to find it.
    """

    site: Site = field(default_factory=Site)
    thresholds_suv: Mapping[Tracer, float] = field(default_factory=dict)
    organs: Mapping[Tracer, Path] = field(default_factory=dict)
    segmenter: OrganSegmenter | None = None
    fdg_to_psma: RigidTransform | None = None


@dataclass(frozen=True)
class DicomCase:
    """A case, and the DICOM series that it was made of.

    Parameters
    ----------
    case
        For the pipeline.
    patient
        The series: results are written into their studies.
    """

    case: Case
    patient: DicomPatient


def open_dicom_case(folder: Path | str, options: DicomOptions | None = None) -> DicomCase:
    """Make a case of a folder of DICOM files.

    Parameters
    ----------
    folder
        Any mix of files of one patient, of one session or both.
    options
        What the user says.

    Returns
    -------
    DicomCase
        The case's notes say how each thing came about. Where the sessions cannot be registered it has no transform.

    Raises
    ------
    InputError
        One line: what cannot be used or decided, and what to do.
    """
    options = options or DicomOptions()
    patient = open_patient(folder, options.site)
    notes = list(patient.notes)
    studies = {tracer: _study(patient, tracer, options, notes) for tracer in patient.tracers}
    transform = _transform(patient, studies, options, notes) if len(studies) == len(Tracer) else None
    return DicomCase(Case(patient.name, studies, transform, tuple(notes)), patient)


def open_case(folder: Path | str, options: DicomOptions | None = None) -> Case:
    """Open whatever lies there: a platform input folder, a ``train_XXXX`` folder, or DICOM files of a patient.

    Parameters
    ----------
    folder
        The case.
    options
        What the user says of DICOM; without effect on the other layouts.

    Raises
    ------
    InputError
        One line: which file, what was found, what to do.
    """
    return open_with_source(folder, options)[0]


def open_with_source(folder: Path | str, options: DicomOptions | None = None) -> tuple[Case, DicomPatient | None]:
    """As `open_case`, with the DICOM series that the case was made of; None for the other layouts."""
    folder = Path(folder)
    if lies_as_dicom(folder):
        opened = open_dicom_case(folder, options)
        return opened.case, opened.patient
    return load_case(folder), None


def lies_as_dicom(folder: Path) -> bool:
    """Whether a folder is a case of DICOM files, and of no other layout."""
    # Folders of DICOM files are called PSMA and FDG, too: what lies in them tells the data set's.
    data_set = any((folder / tracer.upper() / "PET.nii.gz").exists() for tracer in Tracer)
    return folder.is_dir() and not data_set and not PlatformLayout().holds(folder) and holds_dicom(folder)


def _organs(patient: DicomPatient, tracer: Tracer, options: DicomOptions, notes: list[str]) -> ImageSource | None:
    name = f"{tracer.upper()} organ map"
    if tracer in options.organs:
        notes.append(f"{name}: the file given")
        return ImageFile(options.organs[tracer])
    if (found := patient.organs(tracer)) is not None:
        return found
    ct = patient.ct(tracer)
    if options.segmenter is not None and ct is not None:
        made = options.segmenter.segment(ct.read())
        notes.append(f"{name}: made by {Path(options.segmenter.program).name} of the {tracer.upper()} CT")
        return MemoryImage(made, Path(name))
    notes.append(f"{name}: none; what depends on organs is left out")
    return None


def _study(patient: DicomPatient, tracer: Tracer, options: DicomOptions, notes: list[str]) -> Study:
    """PET, CT and organ map of a tracer, with its threshold; SUV is checked on the way."""
    organs = _organs(patient, tracer, options, notes)
    series = patient.pet(tracer)
    check = check_suv(series.read(), known_weight_kg(series), None if organs is None else organs.read(), tracer)
    notes += [f"{tracer.upper()} PET: {line}" for line in check.lines()]
    threshold = _threshold(series, tracer, check, options, notes)
    suv = None if series.suv is None else check.record(series.suv)
    return Study(tracer, series, threshold, organs, patient.ct(tracer), suv=suv)


def _threshold(series: DicomSeries, tracer: Tracer, check: SuvCheck, options: DicomOptions, notes: list[str]) -> float:
    """Threshold as given, or by the rule."""
    if tracer in options.thresholds_suv:
        notes.append(f"{tracer.upper()} threshold: SUV {options.thresholds_suv[tracer]:g}, as given")
        return options.thresholds_suv[tracer]
    if tracer is Tracer.PSMA:
        notes.append(f"PSMA threshold: SUV {PSMA_THRESHOLD_SUV:g}, the challenge's")
        return PSMA_THRESHOLD_SUV
    if check.liver is None:
        remedy = "give an organ map (--organs fdg=FILE), or the threshold (--fdg-threshold SUV)"
        raise InputError(series.path, f"no FDG threshold: it comes from the liver, and {check.unchecked}", remedy)
    notes.append(f"FDG threshold: SUV {check.liver.threshold_suv:.3f}, liver mean + 2 SD")
    return check.liver.threshold_suv


def _transform(
    patient: DicomPatient, studies: Mapping[Tracer, Study], options: DicomOptions, notes: list[str]
) -> RigidTransform | None:
    """FDG to PSMA; None, with a note, where it cannot be found."""
    if options.fdg_to_psma is not None:
        notes.append("registration: as given")
        return options.fdg_to_psma
    if patient.one_frame:
        notes.append("registration: none needed, both PETs lie in one frame of reference")
        return RigidTransform()
    psma, fdg = studies[Tracer.PSMA], studies[Tracer.FDG]
    fixed, moving = fdg.read_ct(), psma.read_ct()
    alone = "each tracer is seen in its own space alone, unless --registration gives a transform"
    if fixed is None or moving is None:
        notes.append(f"registration: not possible without both CTs; {alone}")
        return None
    maps: tuple[Volume | None, Volume | None] = (fdg.read_organs(), psma.read_organs())
    found = register(fixed, moving, *maps)
    if found.quality.failure:
        notes.append(f"registration: failed ({found.quality.failure}); {alone}")
        return None
    notes.append(f"registration: {found.quality.describe()}")
    return found.transform
