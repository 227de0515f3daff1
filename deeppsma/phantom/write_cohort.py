"""Cohorts of synthetic patients on disk, in the platform's or the data set's layout."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.settings import read_json, write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.grand_challenge import CT, ORGANS, PET, REGISTRATION, SOCKETS, THRESHOLD
from deeppsma.io.image_files import write_image
from deeppsma.io.transform_files import to_challenge, write_tfm
from deeppsma.phantom.card import made_with
from deeppsma.phantom.patient import Patient, draw_patient
from deeppsma.phantom.session import PhantomOptions

LAYOUTS = ("platform", "train")
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
        "platform" or "train".
    options
        What to make of each patient.
    """

    out: Path
    cases: int = 1
    seed: int = 0
    layout: str = "platform"
    options: PhantomOptions = field(default_factory=PhantomOptions)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {self.layout!r}")
        if self.cases < 1 or self.seed < 0:
            raise ValueError(f"need at least one case and a seed of 0 or more, not {self.cases} and {self.seed}")

    def folder(self, number: int) -> Path:
        """Folder of patient ``number`` (from 0)."""
        stem = "train" if self.layout == "train" else "case"
        return self.out / f"{stem}_{self.seed + number:04d}"


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
    """Write one patient; his card is written last and says that he is whole."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (_write_platform if layout == "platform" else _write_train)(patient, partial)
    write_json(partial / CARD_NAME, patient.card)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


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


def _volumes(patient: Patient, tracer: Tracer) -> dict[str, Volume]:
    session = patient.sessions[tracer]
    volumes = {
        PET: Volume(session.pet.suv, session.pet.geometry),
        ORGANS: Volume(session.organ_labels, session.organ_geometry),
        "truth": Volume(session.pet.truth.astype(np.uint8), session.pet.geometry),
    }
    if session.ct is not None:
        volumes[CT] = session.ct
    return volumes


def _write_platform(patient: Patient, folder: Path) -> None:
    (folder / "truth").mkdir()
    listed = []
    for socket in SOCKETS:
        target = folder / "input" / socket.relative_path
        value: Any = None
        if socket.kind == REGISTRATION:
            value = to_challenge(patient.fdg_to_psma)
        elif socket.tracer is not None and socket.kind == THRESHOLD:
            value = patient.sessions[socket.tracer].pet.threshold_suv
        if value is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_json(target, value)
        elif socket.tracer is not None and socket.kind in (volumes := _volumes(patient, socket.tracer)):
            target.mkdir(parents=True)
            write_image(volumes[socket.kind], target / f"{socket.slug}.mha")
        else:
            continue  # a cohort without CT has no CT sockets
        interface = {"slug": socket.slug, "relative_path": socket.relative_path}
        listed.append({"file": None, "image": None, "value": None, "interface": interface})
    write_json(folder / "input" / "inputs.json", listed)
    for tracer in Tracer:
        write_image(_volumes(patient, tracer)["truth"], folder / "truth" / f"{tracer}.mha")


def _write_train(patient: Patient, folder: Path) -> None:
    names = {PET: "PET", CT: "CT", ORGANS: "totseg_24", "truth": "TTB"}
    for tracer in Tracer:
        (folder / tracer.upper()).mkdir()
        for kind, volume in _volumes(patient, tracer).items():
            write_image(volume, folder / tracer.upper() / f"{names[kind]}.nii.gz")
        threshold = patient.sessions[tracer].pet.threshold_suv
        write_json(folder / tracer.upper() / "threshold.json", {"suv_threshold": threshold})
    write_tfm(patient.fdg_to_psma, folder / Tracer.FDG.upper() / "rigid.tfm")
    write_tfm(patient.fdg_to_psma.inverse(), folder / Tracer.PSMA.upper() / "rigid.tfm")
