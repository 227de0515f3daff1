"""Cohorts of synthetic patients on disk: in the platform's layout, the data set's, or as DICOM studies."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from deeppsma.core.settings import read_json, write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.layouts import Layout, StudyImages, layout_named
from deeppsma.phantom.card import made_with
from deeppsma.phantom.patient import Patient, draw_patient
from deeppsma.phantom.session import PhantomOptions
from deeppsma.phantom.write_dicom import DicomLayout

CARD_NAME = "patient.json"
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class CohortPlan:
    """Which patients to write, and how.

    Parameters
    ----------
    out
        Folder; one sub-folder per patient. The platform layout puts each
        patient's ``input`` and ``truth`` there.
    cases, seed
        Patient i is drawn from ``seed + i``.
    layout
        "platform", "train" or "dicom".
    options
        What to make of each patient.
    """

    out: Path
    cases: int = 1
    seed: int = 0
    layout: str = "platform"
    options: PhantomOptions = field(default_factory=PhantomOptions)

    def __post_init__(self) -> None:
        _layout(self.layout)
        if self.cases < 1 or self.seed < 0:
            raise ValueError(f"need at least one case and a seed of 0 or more, not {self.cases} and {self.seed}")

    def folder(self, number: int) -> Path:
        """Folder of patient ``number`` (from 0)."""
        return self.out / f"{_layout(self.layout).folder_stem}_{self.seed + number:04d}"


def write_cohort(plan: CohortPlan, jobs: int = 1) -> Iterator[Path]:
    """Make a cohort; yields each patient's folder when it is whole.

    A patient whose card is there already is not made again, so that an
    interrupted run goes on where it stopped.

    Raises
    ------
    ValueError
        If a patient is there who was made with other options or by another
        version: a cohort is of one make.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, not {jobs}")
    missing = []
    for number in range(plan.cases):
        card = plan.folder(number) / CARD_NAME
        if card.exists():
            if read_json(card, "remove the folder").get("made_with") != made_with(plan.options):
                raise ValueError(f"{card.parent} was made with other options or another version; remove it")
            yield plan.folder(number)
        else:
            missing.append(number)
    if jobs == 1 or len(missing) < 2:
        keep_memory()
        for number in missing:
            yield _make(plan, number)
        return
    # Spawned, not forked: SimpleITK's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=prepare_worker) as pool:
        for done in as_completed([pool.submit(_make, plan, number) for number in missing]):
            yield done.result()


def write_patient(patient: Patient, folder: Path, layout: str) -> None:
    """Write one patient in a layout of `deeppsma.io.layouts` or as DICOM; his card, written last, says he is whole."""
    chosen = _layout(layout, patient)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    chosen.write(partial, {tracer: _images(patient, tracer) for tracer in Tracer}, patient.fdg_to_psma)
    write_json(partial / CARD_NAME, patient.card)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _layout(name: str, patient: Patient | None = None) -> Layout:
    """The layout of a name; as DICOM with the patient's weight and his scanners' habits."""
    if name != DicomLayout.name:
        return layout_named(name)
    if patient is None:
        return DicomLayout()
    visits = {tracer: session.visit for tracer, session in patient.sessions.items()}
    habits = {tracer: "ge" if visit.scanner.name.startswith("ge") else "siemens" for tracer, visit in visits.items()}
    return DicomLayout(visits[Tracer.PSMA].physique.weight_kg, habits)


def _make(plan: CohortPlan, number: int) -> Path:
    folder = plan.folder(number)
    write_patient(draw_patient(plan.seed + number, plan.options), folder, plan.layout)
    return folder


def prepare_worker() -> None:
    """Make this process one of several on the same machine."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    keep_memory()


def keep_memory() -> None:
    """Let this process keep the memory that it frees.

    glibc hands large blocks back to the system, which zeroes them anew each
    time: a quarter of the time that a patient takes. Other systems: nothing.
    """
    import ctypes

    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(_M_MMAP_MAX, 0)
        tune(_M_TRIM_THRESHOLD, 2**31 - 1)


def _images(patient: Patient, tracer: Tracer) -> StudyImages:
    session = patient.sessions[tracer]
    return StudyImages(
        Volume(session.pet.suv, session.pet.geometry),
        session.pet.threshold_suv,
        Volume(session.organ_labels, session.organ_geometry),
        session.ct,
        Volume(session.pet.truth.astype(np.uint8), session.pet.geometry),
    )
